"""The sums of a customer's money by day and for life: adding, taking back, and what must be there to be taken back.

A row keeps sums, not events. A correction takes `previous` out of them, so the test is whether the sums may hold what
`previous` describes, and whether what is left without it may still be sums of events. A right correction always passes,
as its original is in exactly these sums. One whose original was never taken, or not yet, fails as soon as it would take
more than is there. So no sum of amounts and no count is ever below zero.

`state.compiled.sums` does the same in compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.kinds import TransactionState
from state.loans import state_of_days_past_due
from state.row import WINDOW_DAYS_MAX, Day, Loan, Row


def counted_state(state: int, amount: float) -> TransactionState:
    """The state that counts: an absent one is a success if money moved, however little, and a failed attempt if none.

    >>> counted_state(0, 5).name, counted_state(0, 0).name, counted_state(3, 5).name
    ('SUCCEEDED', 'FAILED', 'PENDING')
    """
    if state == TransactionState.ABSENT:
        return TransactionState.SUCCEEDED if amount != 0 else TransactionState.FAILED
    return TransactionState(state)


def add_money(row: Row, today: int, day: int, state: TransactionState, amount_minor: int, sign: int) -> None:
    """Add a transaction to its own day and to the lifetime, or (sign -1) take it back. No day is later than today."""
    day = min(day, today)  # what a correction says of the past may be wrong
    entry = Day(day)
    if state == TransactionState.SUCCEEDED:
        entry.deposits_minor = sign * max(amount_minor, 0)
        entry.withdrawals_minor = sign * max(-amount_minor, 0)
        entry.transactions = sign
    elif state == TransactionState.FAILED:
        entry.failed = sign
    row.deposits_minor += entry.deposits_minor
    row.withdrawals_minor += entry.withdrawals_minor
    row.transactions += entry.transactions
    row.failed += entry.failed
    if day <= today - WINDOW_DAYS_MAX:
        return
    for held in row.days:
        if held.day == day:
            held.deposits_minor += entry.deposits_minor
            held.withdrawals_minor += entry.withdrawals_minor
            held.transactions += entry.transactions
            held.failed += entry.failed
            break
    else:
        row.days.append(entry)
    row.days = sorted((held for held in row.days if not held.is_empty()), key=lambda held: held.day)


def finds_transaction(
    row: Row, state: TransactionState, currency: int, amount_minor: int, day: int, today: int
) -> bool:
    """True if the row may hold a transaction of this state and amount on `day`, which is not later than `today`.

    A pending one leaves no trace, so there is nothing to find. On a day that the row keeps, that day's sums must hold
    it; of an older day, what the lifetime sums have beyond all days kept. Cost: a search of at most 365 days.
    """
    if state == TransactionState.PENDING:
        return True
    if all(account.currency != currency for account in row.accounts):
        return False
    kept = [held for held in row.days if held.day > today - WINDOW_DAYS_MAX]
    lifetime = (row.deposits_minor, row.withdrawals_minor, row.transactions, row.failed)
    if day > today - WINDOW_DAYS_MAX:
        place = _sums([held for held in kept if held.day == day])
    else:
        place = tuple(all_of - some for all_of, some in zip(lifetime, _sums(kept), strict=True))
    return _holds(place, state, amount_minor) and _holds(lifetime, state, amount_minor)


def finds_payment(loan: Loan, day: int, amount_minor: int) -> bool:
    """True if the loan's payments of the state that one had on `day` come to at least this amount."""
    return loan.paid[state_of_days_past_due(day - loan.due_day_on(day))] >= amount_minor


def _sums(days: Sequence[Day]) -> tuple[int, ...]:
    return (
        sum(day.deposits_minor for day in days),
        sum(day.withdrawals_minor for day in days),
        sum(day.transactions for day in days),
        sum(day.failed for day in days),
    )


def _holds(sums: tuple[int, ...], state: TransactionState, amount_minor: int) -> bool:
    """True if sums without this transaction are sums still: none below zero, and no money that nothing has moved."""
    deposits_minor, withdrawals_minor, transactions, failed = sums
    if state == TransactionState.FAILED:
        return failed >= 1
    deposits_minor -= max(amount_minor, 0)
    withdrawals_minor -= max(-amount_minor, 0)
    moved = (deposits_minor > 0) + (withdrawals_minor > 0)
    return deposits_minor >= 0 and withdrawals_minor >= 0 and transactions - 1 >= moved
