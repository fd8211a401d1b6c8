"""Where a call of the compiled step writes, and what it looks with: room the caller makes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import Columns
from schemas.compiled import compiled
from schemas.kinds import SCORES
from state.compiled.row import H_ARENA, H_LOANS, Scratch
from state.profiles import PROFILES_MAX
from streams.scoring.compiled.evaluate import LEVELS, SEEN
from streams.scoring.customer_risk import RISK_FEATURES

CHANGES_OF_ONE_LOOK = SCORES
REASONS_OF_ONE_LOOK = LEVELS + 8
CANDIDATES_MAX = 64
ID_BYTES_MAX = 256

(U_ROWS, U_CHANGES, U_REASONS, U_TEXT, U_CARDS, U_EXAMPLES, U_INVERSIONS, U_REJECTS, U_CORRUPT, U_HITS) = range(10)
U_CASES, U_TOLD, U_OVERRUNS, USED = range(10, 14)

CASE = np.dtype(
    [
        ("user", np.int32),
        ("event", np.int32),  # -1: a default, which time has decided
        ("kind", np.uint8),  # Kind of the event
        ("declared", np.bool_),  # whether the customer has declared something by then
        ("made", np.bool_),  # of a loan that was issued: it was not known before
        ("moment_ms", np.int64),
        ("loan_at", np.int32),  # of a default: the loan, a slice of Changes.text
        ("loan_length", np.int32),
        ("inputs", np.float64, (RISK_FEATURES,)),  # of the risk model, NaN where absent: of requests and grants
    ]
)
"""What the step notes of requests, grants, outcomes and defaults (`streams.scoring.compiled.cases`)."""


class Room(NamedTuple):
    """Where a call writes, and how much of each is used (`used`, by U_...)."""

    rows: NDArray[np.uint8]
    starts: NDArray[np.int64]
    due_ms: NDArray[np.int64]
    changed: NDArray[np.bool_]
    ended_ms: NDArray[np.int64]  # the user's clock when an erasure ended their life, else MISSING_TIME_MS
    changes: Columns
    reasons: Columns
    text: NDArray[np.uint8]
    cards: Columns
    examples: Columns
    inversions: Columns
    rejects: NDArray[np.int64]  # (event, code, why, day): see `state.refusals`
    hits: Columns
    cases: Columns  # CASE
    told: NDArray[np.int64]  # the changes, by index, of status and revenue
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
        ("is_request", np.bool_),  # the row is that of a request without a customer: nothing is said of it
    ]
)
"""Room for the evaluations of one user, as one record."""

Eyes = Any
"""A record of EYES."""


@compiled
def has_room(room: Room, row: Scratch) -> bool:
    """Is there room for one more look at this row? Where time comes to it, all its loans may be in default at once."""
    used, loans = room.used, row.h[H_LOANS]
    return (
        used[U_CHANGES] + CHANGES_OF_ONE_LOOK <= len(room.changes)
        and used[U_REASONS] + REASONS_OF_ONE_LOOK <= len(room.reasons)
        and used[U_TEXT] + 4096 + min(row.h[H_ARENA], loans * ID_BYTES_MAX) <= len(room.text)
        and used[U_EXAMPLES] + 1 <= len(room.examples)
        and used[U_HITS] + PROFILES_MAX <= len(room.hits)
        and used[U_CASES] + loans + 1 <= len(room.cases)
    )
