"""Compile every kernel, or load it from the cache: a worker does so before it joins its group.

    python -m streams.warm

About a minute where nothing is cached yet (`make setup` and the image do it), a second where it is.
"""

from __future__ import annotations

import numpy as np

from schemas.batch import EVENT, EventBatch
from schemas.codec import warm as warm_codec
from state.table import Table
from state.versions import Policy, Versions
from streams.rows_within import NO_EVENTS, Question, Rows, Within
from streams.scoring.step import ByUser, Clocks, step
from streams.versions import packaged_weights


def warm() -> None:
    """Run each compiled function once on next to nothing."""
    warm_codec()
    empty = EventBatch(0, [], np.zeros(0, EVENT), np.zeros(0, np.uint8), [])
    versions = Versions([Policy()], [packaged_weights()])
    step(Table.of([b"nobody"], [None]), empty, versions, Clocks(0))
    _warm_cases(versions)


def _warm_cases(versions: Versions) -> None:
    """What the first grant and the first default ask for (`streams.credit_examples`)."""
    empty = EventBatch(0, [], np.zeros(0, EVENT), np.zeros(0, np.uint8), [])
    by_user = ByUser(NO_EVENTS, np.zeros(2, np.int64))
    found = Rows(Within(empty, [None], [b"nobody"], by_user, versions, 0), [Question(0, NO_EVENTS)]).found()
    found.inputs(0)
    found.loans_ended(1, 0)


if __name__ == "__main__":
    warm()
