"""The sums of a customer's money, compiled: what `state.sums` does, over a scratch."""

from __future__ import annotations

from schemas.compiled import compiled
from schemas.kinds import TransactionState
from state.compiled.row import (
    A_CURRENCY,
    D_DAY,
    D_DEPOSITS,
    D_FAILED,
    D_TRANSACTIONS,
    D_WITHDRAWALS,
    H_ACCOUNTS,
    H_DAYS,
    H_DAYS_KEPT,
    H_DEPOSITS,
    H_FAILED,
    H_TRANSACTIONS,
    H_WITHDRAWALS,
    Scratch,
)
from state.row import WINDOW_DAYS_MAX

ABSENT, SUCCEEDED = int(TransactionState.ABSENT), int(TransactionState.SUCCEEDED)
FAILED, PENDING = int(TransactionState.FAILED), int(TransactionState.PENDING)


@compiled
def counted_state(state: int, amount: float) -> int:
    """See `state.sums.counted_state`."""
    if state == ABSENT:
        return SUCCEEDED if amount != 0.0 else FAILED
    return state


@compiled
def add_money(row: Scratch, today: int, day: int, state: int, amount: int, sign: int) -> None:
    """See `state.sums.add_money`."""
    h = row.h
    day = min(day, today)
    deposits, withdrawals, transactions, failed = 0, 0, 0, 0
    if state == SUCCEEDED:
        deposits = sign * max(amount, 0)
        withdrawals = sign * max(-amount, 0)
        transactions = sign
    elif state == FAILED:
        failed = sign
    h[H_DEPOSITS] += deposits
    h[H_WITHDRAWALS] += withdrawals
    h[H_TRANSACTIONS] += transactions
    h[H_FAILED] += failed
    if day <= today - WINDOW_DAYS_MAX:
        return
    at = h[H_DAYS]
    while at > 0 and row.days[at - 1, D_DAY] > day:
        at -= 1
    if at > 0 and row.days[at - 1, D_DAY] == day:
        at -= 1
    else:
        for k in range(h[H_DAYS], at, -1):
            for j in range(5):
                row.days[k, j] = row.days[k - 1, j]
        h[H_DAYS] += 1
        row.days[at, :] = 0
        row.days[at, D_DAY] = day
    h[H_DAYS_KEPT] = min(h[H_DAYS_KEPT], at)
    entry = row.days[at]
    entry[D_DEPOSITS] += deposits
    entry[D_WITHDRAWALS] += withdrawals
    entry[D_TRANSACTIONS] += transactions
    entry[D_FAILED] += failed
    if entry[D_DEPOSITS] == 0 and entry[D_WITHDRAWALS] == 0 and entry[D_TRANSACTIONS] == 0 and entry[D_FAILED] == 0:
        for k in range(at, h[H_DAYS] - 1):
            for j in range(5):
                row.days[k, j] = row.days[k + 1, j]
        h[H_DAYS] -= 1


@compiled
def finds_transaction(row: Scratch, state: int, currency: int, amount: int, day: int, today: int) -> bool:
    """See `state.sums.finds_transaction`."""
    h = row.h
    if state == PENDING:
        return True
    known = False
    for k in range(h[H_ACCOUNTS]):
        known = known or row.accounts[k, A_CURRENCY] == currency
    if not known:
        return False
    oldest = today - WINDOW_DAYS_MAX + 1
    is_kept = day >= oldest
    deposits, withdrawals, transactions, failed = 0, 0, 0, 0
    for k in range(h[H_DAYS]):
        held = row.days[k]
        if held[D_DAY] == day if is_kept else held[D_DAY] >= oldest:
            deposits += held[D_DEPOSITS]
            withdrawals += held[D_WITHDRAWALS]
            transactions += held[D_TRANSACTIONS]
            failed += held[D_FAILED]
    if not is_kept:
        deposits, withdrawals = h[H_DEPOSITS] - deposits, h[H_WITHDRAWALS] - withdrawals
        transactions, failed = h[H_TRANSACTIONS] - transactions, h[H_FAILED] - failed
    return _holds(deposits, withdrawals, transactions, failed, state, amount) and _holds(
        h[H_DEPOSITS], h[H_WITHDRAWALS], h[H_TRANSACTIONS], h[H_FAILED], state, amount
    )


@compiled
def _holds(deposits: int, withdrawals: int, transactions: int, failed: int, state: int, amount: int) -> bool:
    if state == FAILED:
        return failed >= 1
    deposits -= max(amount, 0)
    withdrawals -= max(-amount, 0)
    moved = (1 if deposits > 0 else 0) + (1 if withdrawals > 0 else 0)
    return deposits >= 0 and withdrawals >= 0 and transactions - 1 >= moved
