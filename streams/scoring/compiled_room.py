"""Where a call of the compiled step writes, and what it looks with: room the caller makes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import Columns
from schemas.compiled import compiled
from schemas.kinds import SCORES
from state.profiles import PROFILES_MAX
from streams.scoring.compiled_evaluate import LEVELS, SEEN

CHANGES_OF_ONE_LOOK = SCORES
REASONS_OF_ONE_LOOK = LEVELS + 8
CANDIDATES_MAX = 64

(U_ROWS, U_CHANGES, U_REASONS, U_TEXT, U_CARDS, U_EXAMPLES, U_INVERSIONS, U_REJECTS, U_CORRUPT, U_HITS) = range(10)
USED = 10


class Room(NamedTuple):
    """Where a call writes, and how much of each is used (`used`, by U_...)."""

    rows: NDArray[np.uint8]
    starts: NDArray[np.int64]
    due_ms: NDArray[np.int64]
    changed: NDArray[np.bool_]
    changes: Columns
    reasons: Columns
    text: NDArray[np.uint8]
    cards: Columns
    examples: Columns
    inversions: Columns
    rejects: NDArray[np.int64]  # (event, code)
    hits: Columns
    used: NDArray[np.int64]


EYES = np.dtype(
    [
        ("now", SEEN),
        ("before", SEEN),  # just before the event
        ("adopted", SEEN),  # likewise, under the earlier versions
        ("ahead", SEEN),
        ("moments", np.int64, (CANDIDATES_MAX,)),
        ("emitted", np.float64, (SCORES,)),
        ("sequences", np.int64, (SCORES,)),
    ]
)
"""Room for the evaluations of one user, as one record."""

Eyes = Any
"""A record of EYES."""


@compiled
def has_room(room: Room) -> bool:
    """Is there room for one more look at any row?"""
    used = room.used
    return (
        used[U_CHANGES] + CHANGES_OF_ONE_LOOK <= len(room.changes)
        and used[U_REASONS] + REASONS_OF_ONE_LOOK <= len(room.reasons)
        and used[U_TEXT] + 4096 <= len(room.text)
        and used[U_EXAMPLES] + 1 <= len(room.examples)
        and used[U_HITS] + PROFILES_MAX <= len(room.hits)
    )
