"""Compile every kernel, or load it from the cache: a worker does so before it joins its group.

    python -m streams.warm

About a minute where nothing is cached yet (`make setup` and the image do it), a second where it is.
"""

from __future__ import annotations

import numpy as np

from schemas.batch import DECLARED, EVENT, EventBatch
from schemas.codec import warm as warm_codec
from state.calendar import start_of_day
from state.row import Loan, Row
from state.table import Table
from state.versions import Policy, Versions
from streams.scoring.evaluate import risk_row_of
from streams.scoring.step import Clocks, step
from streams.versions import packaged_weights


def warm() -> None:
    """Run each compiled function once on next to nothing."""
    warm_codec()
    empty = EventBatch(0, [], np.zeros(0, EVENT), np.zeros(0, np.uint8), [])
    versions = Versions([Policy()], [packaged_weights()])
    step(Table.of([b"nobody"], [None]), empty, versions, Clocks(0))
    _warm_cases(versions)


def _warm_cases(versions: Versions) -> None:
    """What the first grant asks for (`streams.credit_examples`), of a customer with a loan that is paid."""
    loan = Loan(b"1", 0, 100, 10, 0, 100, 10, 0, 0, 0, 0, 0, paid=[100, 0, 0, 0, 0], settled_day=0)
    row = Row(declared=[1.0] * len(DECLARED), loans=[loan], points=[(b"", b"")], last_transaction_day=0)
    risk_row_of(row, int(start_of_day(versions.days, 1)), versions)


if __name__ == "__main__":
    warm()
