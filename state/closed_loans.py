"""What a row remembers of loans it no longer holds and of payments it has counted, so that nothing counts twice.

A loan leaves the row when it was settled long ago (it is folded into the sums) or cancelled. Its events may be
published again at any later time, for example in a quarterly file. The row keeps 47 bits of a hash of the loan_id and
the order day of the newest `ROW_CLOSED_MAX` such loans, 7 bytes each. Of older ones it keeps the newest order day among
them: a loan that is unknown and was ordered no later cannot be told from one of those.

Of each payment of a loan in the row it keeps 40 bits of a hash, 5 bytes, as duplicates are remembered for a day only.
The compiled twin is `state.compiled.closed`. Decision: docs/decisions/0015-loans-that-come-again.md.
"""

from __future__ import annotations

from bisect import insort

import xxhash

from schemas.batch import DAY_MS
from state.row import LOAN_PAYMENTS_MAX, ROW_CLOSED_MAX, ClosedLoan, Loan, Row

ID_HASH_BITS = 47  # with the bit that says cancelled or settled: 6 bytes
PAYMENT_HASH_BITS = 40
SPREAD = 0x9E3779B97F4A7C15
"""An odd number without a pattern: what differs in low bits differs in high ones once multiplied by it."""
_WORD = 2**64 - 1


def id_hash(loan_id: bytes) -> int:
    """What a closed loan is known by.

    Two of a customer's 17 loans share it once in 10^12 customers; the second is then refused, with words.
    """
    return xxhash.xxh64_intdigest(loan_id) >> 64 - ID_HASH_BITS


def payment_hash(event_hash: int, content_hash: int) -> int:
    """What a payment is known by: its identity (event_id and revision) and all that it says.

    What it says is part of it, so that another payment under a number that is used again is not taken for this one.
    """
    return ((event_hash ^ content_hash) * SPREAD & _WORD) >> 64 - PAYMENT_HASH_BITS


def closed_loan(row: Row, loan_id: bytes) -> ClosedLoan | None:
    """The closed loan of this id, None where the row remembers none."""
    wanted = id_hash(loan_id)
    return next((closed for closed in row.closed if closed.id_hash == wanted), None)


def remember_closed(row: Row, loan: Loan, cancelled: bool) -> None:
    """Note a loan that leaves the row. Of too many the one with the oldest order day is forgotten."""
    _add(row, ClosedLoan(id_hash(loan.loan_id), loan.order_day, cancelled))


def _add(row: Row, closed: ClosedLoan) -> None:
    if any(known.id_hash == closed.id_hash for known in row.closed):
        return
    insort(row.closed, closed, key=lambda one: (one.order_day, one.id_hash))
    if len(row.closed) > ROW_CLOSED_MAX:
        day = row.closed.pop(0).order_day
        row.closed_until_day = day if row.closed_until_day is None else max(row.closed_until_day, day)


def is_known_payment(loan: Loan, event_hash: int, content_hash: int) -> bool:
    """True for a payment that the loan has counted. A payment without an event_id (hash 0) is never known again."""
    return event_hash != 0 and payment_hash(event_hash, content_hash) in loan.payments


def remember_payment(loan: Loan, event_hash: int, content_hash: int) -> bool:
    """Note a payment that was counted; True where an older one had to be forgotten for it."""
    if event_hash == 0:
        return False
    loan.payments.append(payment_hash(event_hash, content_hash))
    if len(loan.payments) <= LOAN_PAYMENTS_MAX:
        return False
    loan.payments.pop(0)
    return True


def remember_of_sums(row: Row) -> None:
    """What a row of layout 3 or older lets know of its folded loans: two of their ids, and the newest order day of all.

    That day is taken from the order time in UTC and one more, as the row does not name its time zone. So no folded loan
    can come again. Refused besides are loans that were ordered no later, at least 90 days ago, and never published.
    """
    folded = row.folded
    if folded is None:
        return
    newest_day = folded.point_order_ms // DAY_MS
    row.closed_until_day = newest_day + 1
    _add(row, ClosedLoan(id_hash(folded.first_loan_id), folded.first_order_day))
    _add(row, ClosedLoan(id_hash(folded.point_loan_id), newest_day))
