"""Compile every kernel, or load it from the cache: a worker does so before it joins its group.

    python -m streams.warm

About a minute where nothing is cached yet (`make setup` and the image do it), a second where it is.
"""

from __future__ import annotations

import numpy as np

from schemas.batch import EVENT, EventBatch
from schemas.codec import warm as warm_codec
from schemas.texts import warm as warm_texts
from state.table import Table
from state.versions import Policy, Versions
from streams.scoring.step import Clocks, step
from streams.versions import packaged_weights


def warm() -> None:
    """Run each compiled function once on next to nothing."""
    warm_codec()
    warm_texts()
    empty = EventBatch(0, [], np.zeros(0, EVENT), np.zeros(0, np.uint8), [])
    versions = Versions([Policy()], [packaged_weights()])
    step(Table.of([b"nobody"], [None]), empty, versions, Clocks(0))


if __name__ == "__main__":
    warm()
