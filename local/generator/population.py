"""Who the sample customers are: one row of columns for each, drawn once from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from local.generator.tables import CURRENCIES, CURRENCY_RATES, PERSONA_NAMES, PERSONAS, POINTS, WEEKLY_RATE_SPREAD
from schemas.batch import DAY_MS

STORY_CUSTOMERS = 6
"""The first customers of every population live by script (`local.generator.story`)."""

NEVER = 2**30
"""A day that does not come."""


class Stream:
    """Names of the independent random streams: what is drawn in one cannot shift another."""

    PEOPLE = 0
    LOANS = 1
    SPENDING = 2
    RATES = 3


class Beat(NamedTuple):
    """A moment of the story that can be followed: who, when, what happens, about which event or loan."""

    name: str
    user_id: str
    time_ms: int
    text: str
    about: str


class LoanTable(NamedTuple):
    """All loans of a population, a row for each instalment. Money is in cents; `instalment` 0: repaid in one."""

    user: NDArray[np.int64]
    number: NDArray[np.int64]
    instalment: NDArray[np.int64]
    order_ms: NDArray[np.int64]
    due_day: NDArray[np.int64]
    order_cents: NDArray[np.int64]
    margin_cents: NDArray[np.int64]
    promo_cents: NDArray[np.int64]
    point: NDArray[np.int64]
    commodity: NDArray[np.int64]
    tenor_days: NDArray[np.int64]
    cancelled_ms: NDArray[np.int64]  # 0: not cancelled
    fate: NDArray[np.int64]  # index into STATE_COUNTS: the state it ends in
    paid_ms: NDArray[np.int64]  # (loans, 3), 0: no such payment
    paid_cents: NDArray[np.int64]  # (loans, 3)


@dataclass(frozen=True, slots=True)
class People:
    """The customers as columns. Days count from 1970-01-01."""

    persona: NDArray[np.int64]
    income_cents: NDArray[np.int64]  # per month
    pay_day: NDArray[np.int64]  # of the month
    web: NDArray[np.bool_]
    created_ms: NDArray[np.int64]
    first_day: NDArray[np.int64]  # of activity
    last_day: NDArray[np.int64]
    job_lost_day: NDArray[np.int64]
    job_found_day: NDArray[np.int64]
    foreign: NDArray[np.int64]  # index into CURRENCIES; 0: none
    point: NDArray[np.int64]
    opening_cents: NDArray[np.int64]  # balance of the first day


@dataclass(frozen=True, slots=True)
class Population:
    """Everything about the sample that does not take long to draw; `local.generator.events.events` unrolls it."""

    seed: int
    first_day: int  # days since 1970-01-01
    days: int
    story_day: int  # days since 1970-01-01
    user_ids: list[str]
    people: People
    loans: LoanTable
    rates: NDArray[np.float64]  # (weeks, currencies), euros for one unit
    story: tuple[Beat, ...]

    @property
    def customers(self) -> int:
        """Number of customers, those of the story included."""
        return len(self.user_ids)

    @property
    def begin_ms(self) -> int:
        """The first instant."""
        return self.first_day * DAY_MS

    @property
    def end_ms(self) -> int:
        """The instant after the last."""
        return (self.first_day + self.days) * DAY_MS


def user_id(index: int) -> str:
    """The id of a customer.

    >>> user_id(416)
    'c-000417'
    """
    return f"c-{index + 1:06d}"


def day_of(date_of_day: date) -> int:
    """Days since 1970-01-01.

    >>> day_of(date(1970, 1, 3))
    2
    """
    return (date_of_day - date(1970, 1, 1)).days


def iso(time_ms: int) -> str:
    """A time as ISO 8601 in UTC, to the millisecond.

    >>> iso(0)
    '1970-01-01T00:00:00.000Z'
    """
    return datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def draw_people(seed: int, customers: int, first_day: int, days: int) -> People:
    """The customers. Cost: about a microsecond each."""
    random = np.random.default_rng([seed, Stream.PEOPLE])
    shares = np.array([persona.share for persona in PERSONAS])
    kind = random.choice(len(PERSONAS), customers, p=shares / shares.sum())
    median = np.array([persona.monthly_income for persona in PERSONAS])[kind]
    spread = np.array([persona.income_spread for persona in PERSONAS])[kind]
    income = np.round(median * np.exp(random.normal(0, 1, customers) * spread) / 10) * 1_000
    age_days = random.integers(40, 4_000, customers)
    # One in twelve opens the account during the period, one in thirty goes silent.
    opens = first_day + random.integers(0, max(days, 1), customers)
    created_day = np.where(random.random(customers) < 1 / 12, opens, first_day - age_days)
    silent_day = first_day + random.integers(days // 4, max(days, days // 4 + 1), customers)
    last_day = np.where(random.random(customers) < 1 / 30, np.maximum(silent_day, created_day + 20), NEVER)
    lost, found = _jobs(random, kind, first_day, days)
    trader = kind == PERSONA_NAMES.index("currency_trader")
    buffer = np.array([persona.buffer_months for persona in PERSONAS])[kind]
    scripted = np.arange(customers) < STORY_CUSTOMERS
    return People(
        persona=kind,
        income_cents=income.astype(np.int64),
        pay_day=random.choice(np.array([1, 15, 25, 26, 27, 28]), customers, p=[0.1, 0.05, 0.15, 0.15, 0.2, 0.35]),
        web=random.random(customers) < np.array([persona.web_share for persona in PERSONAS])[kind],
        created_ms=created_day * DAY_MS + random.integers(8 * 3_600, 18 * 3_600, customers) * 1_000,
        first_day=np.where(scripted, NEVER, np.maximum(created_day + 1, first_day)),
        last_day=last_day,
        job_lost_day=lost,
        job_found_day=found,
        foreign=np.where(trader, random.integers(1, len(CURRENCIES), customers), 0),
        point=random.integers(0, len(POINTS), customers),
        opening_cents=np.round(income * buffer * random.gamma(2.0, 0.5, customers)).astype(np.int64) + 5_000,
    )


def _jobs(
    random: np.random.Generator, kind: NDArray[np.int64], first_day: int, days: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When jobs are lost (six in a hundred a year, of those who have one) and found again."""
    employed = np.isin(kind, [PERSONA_NAMES.index(name) for name in ("salaried", "family", "high_earner")])
    lost = employed & (random.random(kind.size) < 0.06 * days / 365)
    lost_day = np.where(lost, first_day + random.integers(0, max(days, 1), kind.size), NEVER)
    return lost_day, np.where(lost, lost_day + random.integers(45, 240, kind.size), NEVER)


def draw_rates(seed: int, days: int) -> NDArray[np.float64]:
    """Weekly exchange rates: euros for one unit of each currency, (weeks, currencies)."""
    random = np.random.default_rng([seed, Stream.RATES])
    steps = random.normal(0, WEEKLY_RATE_SPREAD, (days // 7 + 1, len(CURRENCIES)))
    steps[:, 0] = steps[0] = 0.0
    return np.round(np.array(CURRENCY_RATES) * np.exp(np.cumsum(steps, axis=0)), 5)
