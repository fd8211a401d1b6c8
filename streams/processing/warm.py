"""Compile every kernel, or load it from the cache: a worker does so before it joins its group.

    python -m streams.processing.warm           # everything, one after the other
    python -m streams.processing.warm step      # one of two halves, for two processes at once: the loop of the scores
    python -m streams.processing.warm others    # the other half: messages, texts, and parts of the loop

About a minute on two cores where nothing is cached yet (`make setup` and the image do it), a second where it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from schemas.batch import EVENT, EventBatch
from schemas.codec import warm as warm_codec
from schemas.texts import warm as warm_texts
from state.table import Table
from state.versions import Policy, Versions
from streams.scoring.step import Clocks, compile_parts, step
from streams.versions.known import packaged_weights


def warm() -> None:
    """Run each compiled function once on next to nothing."""
    warm_codec()
    warm_texts()
    warm_step()


def warm_step() -> None:
    """The loop of the scores, three quarters of all."""
    step(*_nothing(), Clocks(0))


def warm_others() -> None:
    """Parts of the loop, so that `warm_step` in another process finds them; then everything else."""
    compile_parts(*_nothing())
    warm_codec()
    warm_texts()


def _nothing() -> tuple[Table, EventBatch, Versions]:
    empty = EventBatch(0, [], np.zeros(0, EVENT), np.zeros(0, np.uint8), [])
    return Table.of([b"nobody"], [None]), empty, Versions([Policy()], [packaged_weights()])


PARTS: dict[str, Callable[[], None]] = {"step": warm_step, "others": warm_others}

if __name__ == "__main__":
    for part in sys.argv[1:]:
        PARTS[part]()
    if not sys.argv[1:]:
        warm()
