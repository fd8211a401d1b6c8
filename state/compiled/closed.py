"""What a row remembers of closed loans and counted payments, compiled: `state.closed_loans` over a scratch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.hashing import xxh64
from state.closed_loans import ID_HASH_BITS, PAYMENT_HASH_BITS, SPREAD
from state.compiled.row import (
    C_CANCELLED,
    C_DAY,
    C_HASH,
    H_ARENA,
    H_CLOSED,
    H_CLOSED_UNTIL,
    L_ID_AT,
    L_ID_LENGTH,
    L_ORDER_DAY,
    L_PAYMENTS,
    L_PAYMENTS_AT,
    Scratch,
    keep_text,
)
from state.row import LOAN_PAYMENTS_MAX, ROW_CLOSED_MAX

PAYMENT_BYTES = PAYMENT_HASH_BITS // 8
ID_SHIFT, PAYMENT_SHIFT, SPREAD_WORD = (
    np.uint64(64 - ID_HASH_BITS),
    np.uint64(64 - PAYMENT_HASH_BITS),
    np.uint64(SPREAD),
)


@compiled
def id_hash(text: NDArray[np.uint8], at: int, length: int) -> Any:
    """See `state.closed_loans.id_hash`."""
    return np.int64(xxh64(text, at, length, 0) >> ID_SHIFT)


@compiled
def closed_at(row: Scratch, hashed: int) -> int:
    """Which closed loan has this hash of its id, -1 where none has."""
    for i in range(row.h[H_CLOSED]):
        if row.closed[i, C_HASH] == hashed:
            return i
    return -1


@compiled
def remember_closed(row: Scratch, loan_at: int, cancelled: int) -> None:
    """See `state.closed_loans.remember_closed`."""
    loan, closed = row.loans[loan_at], row.closed
    hashed, day = id_hash(row.arena, loan[L_ID_AT], loan[L_ID_LENGTH]), loan[L_ORDER_DAY]
    if closed_at(row, hashed) >= 0:
        return
    at = row.h[H_CLOSED]
    while at > 0 and (
        closed[at - 1, C_DAY] > day or (closed[at - 1, C_DAY] == day and closed[at - 1, C_HASH] > hashed)
    ):
        for j in range(3):
            closed[at, j] = closed[at - 1, j]
        at -= 1
    closed[at, C_HASH], closed[at, C_DAY], closed[at, C_CANCELLED] = hashed, day, cancelled
    row.h[H_CLOSED] += 1
    if row.h[H_CLOSED] > ROW_CLOSED_MAX:
        row.h[H_CLOSED_UNTIL] = max(row.h[H_CLOSED_UNTIL], closed[0, C_DAY])
        row.h[H_CLOSED] = ROW_CLOSED_MAX
        for i in range(ROW_CLOSED_MAX):
            for j in range(3):
                closed[i, j] = closed[i + 1, j]


@compiled
def payment_hash(event_hash: int, content_hash: int) -> Any:
    """See `state.closed_loans.payment_hash`."""
    return (np.uint64(event_hash) ^ np.uint64(content_hash)) * SPREAD_WORD >> PAYMENT_SHIFT


@compiled
def is_known_payment(row: Scratch, loan_at: int, event_hash: int, content_hash: int) -> bool:
    """See `state.closed_loans.is_known_payment`."""
    if event_hash == 0:
        return False
    wanted, loan = payment_hash(event_hash, content_hash), row.loans[loan_at]
    for i in range(loan[L_PAYMENTS]):
        known, at = np.uint64(0), loan[L_PAYMENTS_AT] + PAYMENT_BYTES * i
        for j in range(PAYMENT_BYTES):
            known |= np.uint64(row.arena[at + j]) << np.uint64(8 * j)
        if known == wanted:
            return True
    return False


@compiled
def remember_payment(row: Scratch, loan_at: int, event_hash: int, content_hash: int) -> bool:
    """See `state.closed_loans.remember_payment`. The hashes of a loan lie in the arena, one behind the other."""
    if event_hash == 0:
        return False
    loan, h = row.loans[loan_at], row.h
    first = 1 if loan[L_PAYMENTS] == LOAN_PAYMENTS_MAX else 0
    at, kept = loan[L_PAYMENTS_AT] + PAYMENT_BYTES * first, loan[L_PAYMENTS] - first
    if kept == 0 or at + PAYMENT_BYTES * kept != h[H_ARENA]:
        at = keep_text(row, row.arena, at, PAYMENT_BYTES * kept)
    hashed = payment_hash(event_hash, content_hash)
    for j in range(PAYMENT_BYTES):
        row.arena[h[H_ARENA] + j] = np.uint8((hashed >> np.uint64(8 * j)) & np.uint64(0xFF))
    h[H_ARENA] += PAYMENT_BYTES
    loan[L_PAYMENTS_AT], loan[L_PAYMENTS] = at, kept + 1
    return first == 1
