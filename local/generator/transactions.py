"""Transactions of the sample customers, a week at a time: purchases by appetite, flows by rule, exact balances.

Random numbers of a week come from (seed, week), so that a week is the same whichever weeks were drawn before it; only
balances are carried on. Money is int64 cents throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from local.generator.population import People, Population, Stream
from local.generator.tables import (
    CURRENCIES,
    FLOWS,
    KIND_CODE,
    LEANINGS,
    MOVES_MONEY,
    PERSONA_NAMES,
    PERSONAS,
    SPENDING,
)
from schemas.batch import DAY_MS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

WEEK = 7
DECLINED, FAILED = 2, 3
FAILED_SHARE = 0.008
COMPLETED_SHARE = 0.3  # of the successes, for both words are in use
OVERDRAFT_CENTS = 30_000
SPENT_SHARE = 0.92  # of what income leaves after rent and bills
JOBLESS_SPENDING = 0.55
BENEFIT_SHARE = 0.45
FOREIGN_OPENING_CENTS = 2_000_000
CASH = KIND_CODE["cash"]
MONTHLY_BILLS: tuple[tuple[str, int, int], ...] = (("utilities", 10, 7_500), ("phone", 18, 2_200))
"""(kind, day of the month, cents)."""


class TransactionColumns(NamedTuple):
    """Transactions of a week in order of time. `balance_cents` is the account's after each of them."""

    user: Integers
    time_ms: Integers
    amount_cents: Integers
    balance_cents: Integers
    currency: Integers  # index into CURRENCIES
    kind: Integers  # index into KINDS
    state: Integers  # index into STATES
    number: Integers  # counts the transactions of the population from 0; its event_id


class _Draft(NamedTuple):
    """What is to be tried: `forced` moves money whatever the balance (loan payments, deposits, bank's own)."""

    user: Integers
    time_ms: Integers
    amount_cents: Integers
    currency: Integers
    kind: Integers
    forced: NDArray[np.bool_]


def transaction_weeks(population: Population) -> Iterator[TransactionColumns]:
    """Transactions of each week. Memory: one week's. Cost: a microsecond each, where there are thousands a week."""
    habits = _Habits(population.people)
    balance = np.zeros((population.customers, len(CURRENCIES)), np.int64)
    balance[:, 0] = population.people.opening_cents
    balance[:, 1:] = FOREIGN_OPENING_CENTS
    number = 0
    for week in range((population.days + WEEK - 1) // WEEK):
        random = np.random.default_rng([population.seed, Stream.SPENDING, week])
        first = population.first_day + week * WEEK
        days = range(first, min(first + WEEK, population.first_day + population.days))
        draft = _in_order([*_purchases(random, population.people, habits, days), *_flows(random, population, days)])
        columns = _settle(random, draft, balance, number)
        number += columns.user.size
        yield columns


class _Habits:
    """What follows from who the customers are: scales of tickets, frequencies of categories by persona and day."""

    def __init__(self, people: People) -> None:
        weights = np.array(
            [[s.weight * LEANINGS.get(p, {}).get(s.category, 1.0) for s in SPENDING] for p in PERSONA_NAMES]
        )
        weights /= weights.sum(axis=1, keepdims=True)
        self.weights = weights
        self.weekend = np.array([s.weekend for s in SPENDING])
        self.december = np.array([s.december for s in SPENDING])
        # Relative to the mean day, so that seasons move spending in time without adding to it.
        self.mean_factor = np.array([(s.weekend * 2 + 5) / 7 * (s.december + 11) / 12 for s in SPENDING])
        ticket = np.array([s.ticket * np.exp(s.spread**2 / 2) for s in SPENDING])
        persona = people.persona
        rate = np.array([p.purchases_per_day for p in PERSONAS])[persona]
        rent = np.array([p.rent_share for p in PERSONAS])[persona]
        bills = sum(cents for _, _, cents in MONTHLY_BILLS)
        free = np.maximum(people.income_cents * (1 - rent) - bills, 6_000) * SPENT_SHARE
        self.ticket_scale = np.clip(free / 100 / (30.4 * rate * (weights @ ticket)[persona]), 0.15, 8.0)
        self.rate = rate

    def of_day(self, day: int) -> tuple[Floats, Floats]:
        """(factor of the day's purchases by persona, cumulative shares of categories by persona)."""
        date_of_day = date(1970, 1, 1) + timedelta(days=day)
        factor = np.where(date_of_day.weekday() >= 5, self.weekend, 1.0) / self.mean_factor
        if date_of_day.month == 12:
            factor = factor * self.december
        today = self.weights * factor
        total = today.sum(axis=1)
        return total, np.cumsum(today, axis=1) / total[:, None]


def _purchases(random: np.random.Generator, people: People, habits: _Habits, days: range) -> Iterator[_Draft]:
    spread = np.array([s.spread for s in SPENDING])
    ticket = np.array([s.ticket for s in SPENDING])
    hour = np.array([s.hour for s in SPENDING])
    for day in days:
        factor, shares = habits.of_day(day)
        jobless = (people.job_lost_day <= day) & (day < people.job_found_day)
        active = (people.first_day <= day) & (day < people.last_day)
        rate = np.where(active, habits.rate * factor[people.persona], 0.0)
        user = np.repeat(np.arange(rate.size), random.poisson(rate))
        kind = (shares[people.persona[user]] < random.random(user.size)[:, None]).sum(axis=1)
        scale = habits.ticket_scale[user] * np.where(jobless[user], JOBLESS_SPENDING, 1.0)
        cents = np.exp(random.normal(0, 1, user.size) * spread[kind]) * ticket[kind] * scale * 100
        cents = np.maximum(np.where(kind == CASH, np.ceil(cents / 1_000) * 1_000, np.round(cents)), 50)
        time_ms = _time_of_day(random, day, hour[kind])
        away = (people.foreign[user] > 0) & (random.random(user.size) < 0.25)
        currency = np.where(away, people.foreign[user], 0)
        yield _Draft(user, time_ms, -cents.astype(np.int64), currency, kind, np.zeros(user.size, bool))


def _time_of_day(random: np.random.Generator, day: int, hour: Floats) -> Integers:
    seconds = np.clip(random.normal(hour, 2.5), 0.05, 23.95) * 3_600
    result: Integers = day * DAY_MS + (seconds * 1_000).astype(np.int64)
    return result


def _flows(random: np.random.Generator, population: Population, days: range) -> Iterator[_Draft]:
    for day in days:
        yield from _wages(random, population.people, day)
        yield from _bills(random, population.people, day)
        yield from _exchanges(random, population, day)
    yield _repayments(population, days)


def _flow(
    random: np.random.Generator,
    day: int,
    kind: str,
    user: Integers,
    cents: NDArray[Any],
    currency: Integers | None = None,
    forced: bool = True,
) -> _Draft:
    hours = np.full(user.size, FLOWS[kind].hour)
    return _Draft(
        user,
        _time_of_day(random, day, hours),
        np.asarray(cents).astype(np.int64),
        np.zeros(user.size, np.int64) if currency is None else currency,
        np.full(user.size, KIND_CODE[kind]),
        np.full(user.size, forced),
    )


def _wages(random: np.random.Generator, people: People, day: int) -> Iterator[_Draft]:
    """Salaries on each customer's pay day, on the Friday before if that is a weekend; invoices when they are paid."""
    active = (people.first_day <= day) & (day < people.last_day)
    jobless = (people.job_lost_day <= day) & (day < people.job_found_day)
    paid_today = active & np.isin(people.pay_day, _pay_days(day))
    monthly = {"salary": ("salaried", "family", "high_earner", "currency_trader"), "pension": ("pensioner",)}
    monthly["allowance"] = ("student",)
    for kind, names in monthly.items():
        has = np.isin(people.persona, [PERSONA_NAMES.index(name) for name in names])
        user = np.flatnonzero(paid_today & has & ~jobless)
        yield _flow(random, day, kind, user, people.income_cents[user])
    user = np.flatnonzero(paid_today & jobless)
    yield _flow(random, day, "benefit", user, people.income_cents[user] * BENEFIT_SHARE)
    month = (date(1970, 1, 1) + timedelta(days=day)).month
    for kind, name, per_month in (
        ("invoice", "freelancer", 3.0),
        ("harvest", "farmer", 3.2 if 6 <= month <= 10 else 1.2),
    ):
        mean = 3.0 if kind == "invoice" else 2.0333  # payments of a mean month
        earns = active & (people.persona == PERSONA_NAMES.index(name))
        user = np.flatnonzero(earns & (random.random(earns.size) < per_month / 30.4))
        yield _flow(random, day, kind, user, people.income_cents[user] / mean * random.gamma(4.0, 0.25, user.size))


def _pay_days(day: int) -> list[int]:
    """Which pay days of the month are paid on this day: its own, and on a Friday those of the weekend."""
    today = date(1970, 1, 1) + timedelta(days=day)
    if today.weekday() >= 5:
        return []
    reach = 3 if today.weekday() == 4 else 1
    return [(today + timedelta(days=ahead)).day for ahead in range(reach)]


def _bills(random: np.random.Generator, people: People, day: int) -> Iterator[_Draft]:
    active = (people.first_day <= day) & (day < people.last_day)
    rent = np.array([persona.rent_share for persona in PERSONAS])[people.persona]
    day_of_month = (date(1970, 1, 1) + timedelta(days=day)).day
    if day_of_month == 2:
        user = np.flatnonzero(active & (rent > 0))
        yield _flow(
            random, day, "rent", user, -np.round(people.income_cents[user] * rent[user] / 500) * 500, forced=False
        )
    for kind, of_month, cents in MONTHLY_BILLS:
        if day_of_month == of_month:
            user = np.flatnonzero(active & (people.income_cents > 0))
            yield _flow(random, day, kind, user, -cents * random.uniform(0.6, 1.5, user.size), forced=False)


def _exchanges(random: np.random.Generator, population: Population, day: int) -> Iterator[_Draft]:
    """Traders buy foreign currency on some days and sell on others: two transactions, one on each account."""
    people = population.people
    trades = (people.foreign > 0) & (people.first_day <= day) & (day < people.last_day)
    user = np.flatnonzero(trades & (random.random(trades.size) < 0.35))
    foreign = people.foreign[user]
    euro_cents = np.round(random.gamma(2.0, 15_000, user.size)) + 1_000
    rate = population.rates[(day - population.first_day) // WEEK, foreign]
    buys = random.random(user.size) < 0.5
    sign = np.where(buys, 1, -1)
    kinds = np.where(buys, KIND_CODE["bought_currency"], KIND_CODE["sold_currency"])
    home = _flow(random, day, "bought_currency", user, -sign * euro_cents)
    away = _flow(random, day, "bought_currency", user, sign * np.round(euro_cents / rate), foreign)
    yield home._replace(kind=kinds)
    yield away._replace(kind=kinds, time_ms=home.time_ms + 1_000)


def _repayments(population: Population, days: range) -> _Draft:
    """The account's side of loan payments, a few seconds before the lender hears of them."""
    loans = population.loans
    due = (loans.paid_ms // DAY_MS >= days.start) & (loans.paid_ms // DAY_MS < days.stop)
    loan, part = np.nonzero(due)
    n = loan.size
    time_ms = loans.paid_ms[loan, part] - 5_000
    return _Draft(
        loans.user[loan],
        np.maximum(time_ms, days.start * DAY_MS),
        -loans.paid_cents[loan, part],
        np.zeros(n, np.int64),
        np.full(n, KIND_CODE["repayment"]),
        np.ones(n, bool),
    )


def _in_order(drafts: list[_Draft]) -> _Draft:
    columns: list[NDArray[Any]] = [np.concatenate(column) for column in zip(*drafts, strict=True)]
    user, time_ms, *_ = columns
    order = np.lexsort((user, time_ms))
    return _Draft(*[column[order] for column in columns])


def _settle(random: np.random.Generator, draft: _Draft, balance: Integers, number: int) -> TransactionColumns:
    """Which attempts succeed, and the balance after each; `balance` is brought up to date.

    One pass per account, all accounts side by side: the k-th transaction of every account at once.
    """
    n = draft.user.size
    state = np.where(random.random(n) < COMPLETED_SHARE, 1, 0)
    state[(random.random(n) < FAILED_SHARE) & ~draft.forced] = FAILED
    account = draft.user * len(CURRENCIES) + draft.currency
    order = np.argsort(account, kind="stable")
    sizes = np.bincount(account, minlength=balance.size)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    flat = balance.reshape(-1)
    after = np.empty(n, np.int64)
    accounts = np.flatnonzero(sizes)
    for turn in range(int(sizes.max(initial=0))):
        accounts = accounts[sizes[accounts] > turn]
        at = order[starts[accounts] + turn]
        there = flat[accounts] + draft.amount_cents[at]
        short = (there < -OVERDRAFT_CENTS) & (draft.amount_cents[at] < 0) & ~draft.forced[at]
        state[at] = np.where(short & (state[at] < MOVES_MONEY), DECLINED, state[at])
        flat[accounts] = np.where(state[at] < MOVES_MONEY, there, flat[accounts])
        after[at] = flat[accounts]
    return TransactionColumns(
        draft.user,
        draft.time_ms,
        draft.amount_cents,
        after,
        draft.currency,
        draft.kind,
        state,
        np.arange(number, number + n),
    )
