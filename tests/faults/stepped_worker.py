"""`rescore` with a wall clock that steps about: what a machine does whose clock is set while it works."""

from __future__ import annotations

import itertools
import threading
import time

from streams.__main__ import main

HOUR_NS = 3_600 * 10**9
STEPS_NS = (HOUR_NS, -HOUR_NS, 24 * HOUR_NS, 0)
true_time_ns = time.time_ns
offset_ns = [0]


def step_about() -> None:
    """Another time every second."""
    for offset_ns[0] in itertools.cycle(STEPS_NS):
        waited = threading.Event()
        waited.wait(1.0)


time.time_ns = lambda: true_time_ns() + offset_ns[0]
threading.Thread(target=step_about, daemon=True).start()
main()
