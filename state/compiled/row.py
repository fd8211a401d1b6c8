"""A row in arrays: the scratch space in which the compiled kernel holds one customer at a time.

The same fields as `state.row.Row`. Integers of the row are in `h` (indexed by H_...), doubles in `f` (F_...), lists in
tables with one row per entry. Text is copied into `arena`; `*_AT`, `*_LENGTH` are slices of it. Kernels allocate one
scratch per call and reuse it for every user.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FEATURE_SLOTS
from schemas.compiled import compiled
from schemas.kinds import NO_SCORES, SCORES
from state.row import (
    ROW_CLOSED_MAX,
    ROW_CURRENCIES_MAX,
    ROW_DUE_MOVES_MAX,
    ROW_LOANS_MAX,
    ROW_OVERRIDES_MAX,
    ROW_POINTS_MAX,
    ROW_PROFILES_MAX,
)
from state.spending import SPENDING_MAX

NO_DAY = -(2**40)
NO_TIME_MS = -(2**62)

(
    H_INCARNATION_RANK,
    H_INCARNATION_OFFSET,
    H_CLOCK,
    H_TODAY,
    H_LAST_TIMESTAMP,
    H_LAST_RANK,
    H_TAKEN,
    H_DUE,
    H_FIRST_EVENT,
    H_LAST_EVENT,
    H_EVENTS,
    H_LAST_TRANSACTION_DAY,
    H_CREATED_DAY,
    H_WEB,
    H_DEPOSITS,
    H_WITHDRAWALS,
    H_TRANSACTIONS,
    H_FAILED,
    H_DUPLICATES,
    H_CONFLICTS,
    H_OVERRUNS,
    H_INVERSIONS,
    H_ERASED,
    H_LABELS,
    H_DAYS_KEPT,  # of the oldest days, how many are as they were read; not stored, nor are the next two
    H_DAYS_DROPPED,  # how many older ones have been dropped since
    H_DAYS_BYTES,  # of all days as they were read
    H_DAYS,  # how many entries each list has
    H_ACCOUNTS,
    H_POINTS,
    H_LOANS,
    H_SEEN,
    H_CLOSED,
    H_OVERRIDES,
    H_SPENDING,
    H_MARKS,
    H_PROFILE_RULE,  # what is known of the next day on which profiles turn: under which versions, looked at from which
    H_PROFILE_FROM,  # day, and that day; not stored, and of no meaning where the rule is 0
    H_PROFILE_DAY,
    H_ARENA,
    H_HAS_FOLDED,
    H_HAS_PENDING,
    H_PENDING_DAY,
    H_HAS_DECLARED,
    H_DECLARED_TIME,
    H_STATUS_LEVEL,
    H_REVENUE_LEVEL,
    H_RECENCY_DIGIT,
    H_FREQUENCY_DIGIT,
    H_MONETARY_DIGIT,
    H_CLOSED_UNTIL,  # NO_DAY: no closed loan has been forgotten
    H_WHY,  # of the event that was refused last: `state.refusals.Why` and a day; not stored
    H_WHY_DAY,
    H_SEQUENCE,  # SCORES of them
) = range(54)
H_EMITTED_COUNTS = H_SEQUENCE + SCORES
H_FOLDED = H_EMITTED_COUNTS + 5
"""Folded: 5 counts, then G_... ."""
(
    G_MARGIN,
    G_BASE,
    G_ORDER,
    G_COST,
    G_PROMO,
    G_LATEST_DUE,
    G_FIRST_ORDER,
    G_FIRST_DUE,
    G_FIRST_ID_AT,
    G_FIRST_ID_LENGTH,
    G_FIRST_DEFAULTED,
    G_POINT_ORDER_MS,
    G_POINT_ID_AT,
    G_POINT_ID_LENGTH,
    G_POINT,
) = range(H_FOLDED + 5, H_FOLDED + 20)
H_SIZE = H_FOLDED + 20

F_EMITTED = 0
F_CONSISTENCY = SCORES
F_PENDING_FORECAST = SCORES + 1
F_DECLARED = SCORES + 2
F_SIZE = SCORES + 10

D_DAY, D_DEPOSITS, D_WITHDRAWALS, D_TRANSACTIONS, D_FAILED = range(5)
A_CURRENCY, A_LAST_DAY, A_BALANCE, A_BALANCE_TIME, A_BALANCE_REVISION = range(5)
(
    L_ID_AT,
    L_ID_LENGTH,
    L_CURRENCY,
    L_ORDER,
    L_MARGIN,
    L_PROMO,
    L_BASE_ORDER,
    L_BASE_MARGIN,
    L_BASE_PROMO,
    L_ORDER_MS,
    L_ORDER_DAY,
    L_DUE,
    L_POINT,
    L_REVISION,
    L_PAID,
) = range(15)
L_SETTLED_DAY = L_PAID + 5
L_PAYMENTS_AT = L_SETTLED_DAY + 1
L_PAYMENTS = L_PAYMENTS_AT + 1
L_MOVES = L_PAYMENTS + 1
L_MOVE = L_MOVES + 1
L_SIZE = L_MOVE + 2 * ROW_DUE_MOVES_MAX

P_POINT_AT, P_POINT_LENGTH, P_PROVINCE_AT, P_PROVINCE_LENGTH = range(4)
S_CONTENT, S_CLOCK = range(2)
O_SCORE, O_UNTIL, O_AUTHOR_AT, O_AUTHOR_LENGTH = range(4)
Q_CATEGORY, Q_DAY, Q_AMOUNT, Q_PURCHASES = range(4)
K_KEY, K_SINCE, K_HELD = range(3)
C_HASH, C_DAY, C_CANCELLED = range(3)

DAYS_CAPACITY = 368
DAY_BYTES_MAX = 46  # a head, and five numbers of at most nine bytes
NO_SCORE = np.array(NO_SCORES)
SEEN_CAPACITY = 4097
ARENA_BYTES = 1 << 22


SCRATCH = np.dtype(
    [
        ("h", np.int64, (H_SIZE,)),
        ("f", np.float64, (F_SIZE,)),
        ("days", np.int64, (DAYS_CAPACITY, 5)),
        ("day_bytes", np.uint8, (DAYS_CAPACITY * DAY_BYTES_MAX,)),  # as they were read, newest first
        ("day_at", np.int64, (DAYS_CAPACITY,)),  # where each day as it was read begins in there
        ("accounts", np.int64, (ROW_CURRENCIES_MAX, 5)),
        ("points", np.int64, (ROW_POINTS_MAX, 4)),
        ("loans", np.int64, (ROW_LOANS_MAX, L_SIZE)),
        ("seen", np.int64, (SEEN_CAPACITY, 2)),
        ("seen_hash", np.uint64, (SEEN_CAPACITY,)),
        ("closed", np.int64, (ROW_CLOSED_MAX + 1, 3)),
        ("overrides", np.int64, (ROW_OVERRIDES_MAX, 4)),
        ("override_values", np.float64, (ROW_OVERRIDES_MAX,)),
        ("spending", np.int64, (SPENDING_MAX + 1, 4)),
        ("marks", np.int64, (ROW_PROFILES_MAX, 3)),
        ("features", np.uint16, (FEATURE_SLOTS,)),
        ("arena", np.uint8, (ARENA_BYTES,)),
    ]
)
"""One row, spread out, as one record: compiled functions pass it as a bare pointer, where a tuple of arrays would be
copied and counted at every call (measured: ten times slower)."""

Scratch = Any
"""A record of SCRATCH."""


def scratch() -> Scratch:
    """An empty scratch (about 5 MB, most of it never touched)."""
    return np.zeros(1, SCRATCH)[0]


@compiled
def clear(row: Scratch) -> None:
    """Make the scratch the row of a customer of whom nothing is known."""
    h, f = row.h, row.f
    h[:] = 0
    f[:] = 0.0
    h[H_INCARNATION_OFFSET] = -1
    h[H_DUE] = NO_TIME_MS
    h[H_LAST_TRANSACTION_DAY] = NO_DAY
    h[H_CREATED_DAY] = NO_DAY
    h[H_ERASED] = NO_TIME_MS
    h[H_CLOSED_UNTIL] = NO_DAY
    for digit in range(H_STATUS_LEVEL, H_MONETARY_DIGIT + 1):
        h[digit] = -1
    f[F_CONSISTENCY] = 0.5
    for score in range(SCORES):
        f[F_EMITTED + score] = NO_SCORE[score]


@compiled
def keep_text(row: Scratch, source: NDArray[np.uint8], at: int, length: int) -> int:
    """Copy text into the arena; answers where it is."""
    start = row.h[H_ARENA]
    for i in range(length):
        row.arena[start + i] = source[at + i]
    row.h[H_ARENA] = start + length
    return start


@compiled
def same_text(row: Scratch, at: int, length: int, other: NDArray[np.uint8], other_at: int, other_length: int) -> bool:
    """Is the text in the arena the same as one elsewhere?"""
    if length != other_length:
        return False
    for i in range(length):  # noqa: SIM110 - numba has no generators here
        if row.arena[at + i] != other[other_at + i]:
            return False
    return True


@compiled
def text_before(row: Scratch, at: int, length: int, other_at: int, other_length: int) -> bool:
    """Byte order of two texts of the arena: is the first less than the second?"""
    for i in range(min(length, other_length)):
        a, b = row.arena[at + i], row.arena[other_at + i]
        if a != b:
            return a < b
    return length < other_length
