"""A worker compiles before it joins its group: nothing is left to compile when its first records come."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROBE = """
import gc
from numba.core.dispatcher import Dispatcher
from streams.processing.warm import warm
from tests.streams.test_processor import taken, transaction

def known():
    ours = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    return {(one.py_func.__module__, one.py_func.__name__, str(types)) for one in ours for types in one.signatures}

warm()
before = known()
rows = {}
taken(rows, transaction(0), transaction(1, 1))
taken(rows, *(transaction(2 + i, 2 + i, user_id="bob")._replace(key=b"bob") for i in range(3)), transaction(9, 9))
taken(rows, transaction(50, 50), due=(b"bob",), day=60)
for module, name, types in sorted(known() - before):
    print(module, name, types[:300])
print(len(rows), "rows,", len(before), "compiled")
"""


def test_nothing_is_left_to_compile_for_the_first_records() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    *late, counted = ran.stdout.splitlines()
    assert late == []
    assert counted.startswith("2 rows, ")
