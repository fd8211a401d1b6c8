"""Transactions for benchmarks: plain columns, any number of customers, even or skewed as the busiest of a bank are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from local.generator.tables import KIND_CODE, SPENDING
from local.generator.transactions import TransactionColumns

DEPOSIT_SHARE = 0.12
OPENING_CENTS = 100_000
OTHERS_FROM = 1_000_000_000  # numbers, and so event_ids, that no stream of the same customers has


def benchmark_columns(
    seed: int, events: int, users: int, begin_ms: int, end_ms: int, zipf: float | None = 1.1
) -> TransactionColumns:
    """`events` transactions of `users` customers in order of time, spread evenly over [begin_ms, end_ms).

    `zipf` is the exponent of the customers' activity (None: all alike). The busiest are scattered over the ids, and so
    over partitions. Every transaction succeeds in the base currency and balances add up. Cost: 0.3 us, 64 bytes each.

    >>> columns = benchmark_columns(seed=1, events=1_000, users=50, begin_ms=0, end_ms=86_400_000)
    >>> len(columns.user), int(columns.user.max()) < 50
    (1000, True)
    """
    random = np.random.default_rng([seed, events, users])
    return _columns(random, _users(random, events, users, zipf), begin_ms, end_ms)


def one_each(seed: int, users: int, begin_ms: int, end_ms: int) -> TransactionColumns:
    """Likewise one transaction of each customer, in an order by chance.

    >>> sorted(one_each(seed=1, users=3, begin_ms=0, end_ms=86_400_000).user.tolist())
    [0, 1, 2]
    """
    random = np.random.default_rng([seed, users])
    columns = _columns(random, random.permutation(users), begin_ms, end_ms)
    return columns._replace(number=columns.number + OTHERS_FROM)


def _columns(random: np.random.Generator, user: NDArray[np.int64], begin_ms: int, end_ms: int) -> TransactionColumns:
    events = len(user)
    kind = random.integers(0, len(SPENDING), events)
    spent = -np.maximum(np.round(np.exp(random.normal(3.3, 0.8, events)) * 100), 50)
    deposit = random.random(events) < DEPOSIT_SHARE
    amount = np.where(deposit, np.round(random.gamma(2.0, 12_500, events)) + 100, spent).astype(np.int64)
    return TransactionColumns(
        user=user,
        time_ms=begin_ms + (np.arange(events) * ((end_ms - begin_ms) / max(events, 1))).astype(np.int64),
        amount_cents=amount,
        balance_cents=_balances(user, amount),
        currency=np.zeros(events, np.int64),
        kind=np.where(deposit, KIND_CODE["salary"], kind),
        state=np.zeros(events, np.int64),
        number=np.arange(events),
    )


def _users(random: np.random.Generator, events: int, users: int, zipf: float | None) -> NDArray[np.int64]:
    if zipf is None:
        return random.integers(0, users, events)
    weights = np.arange(1, users + 1, dtype=np.float64) ** -zipf
    place = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(events))
    chosen: NDArray[np.int64] = random.permutation(users)[np.minimum(place, users - 1)]
    return chosen


def _balances(user: NDArray[np.int64], amount_cents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The balance after each transaction, all customers beginning with the same."""
    order = np.argsort(user, kind="stable")
    running = np.cumsum(amount_cents[order])
    first = np.flatnonzero(np.diff(user[order], prepend=-1))
    before = np.where(first > 0, running[first - 1], 0)
    balances = np.empty_like(amount_cents)
    balances[order] = OPENING_CENTS + running - np.repeat(before, np.diff(first, append=user.size))
    return balances
