"""Sample data: a stream of events of realistic bank customers, the same for the same seed.

    people = population(seed=1, customers=500, first_day=date(2025, 1, 1), days=180)
    for event in events(people): ...

Everything is drawn from numpy generators seeded with (seed, purpose, week). Events come in order of their timestamps,
which are their event times, except where the story has one arrive late.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from local.generator.loans import draw_loans, loan_steps
from local.generator.population import STORY_CUSTOMERS, Beat, Population, day_of, draw_people, draw_rates, iso, user_id
from local.generator.story import StoryEvent, write_story
from local.generator.tables import CURRENCIES, CURRENCY_COUNTRIES, FLOWS, SPENDING, STATES, Flow, Spending
from local.generator.transactions import TransactionColumns, transaction_weeks
from schemas.batch import DAY_MS

__all__ = ["Beat", "Population", "SampleEvent", "events", "population"]

HOUR_MS = 3_600_000
WEEK_MS = 7 * DAY_MS


class SampleEvent(NamedTuple):
    """One record to publish: `value` are the fields of the topic's schema, or bytes to be sent as they are (poison)."""

    topic: str
    timestamp_ms: int
    key: str
    value: dict[str, Any] | bytes


def population(
    seed: int, customers: int, first_day: date, days: int, story_after_days: int | None = None
) -> Population:
    """Draw the customers, their loans and exchange rates, and say when what happens in the story.

    `days` from `first_day` are generated; the story turns from `story_after_days` on (default: a third of the days).
    The first six customers are the story's. Raises ValueError for fewer than seven. Cost: 5 microseconds a customer.

    >>> people = population(seed=1, customers=50, first_day=date(2025, 1, 1), days=90)
    >>> people.customers, people.story[0].name
    (50, 'salary')
    """
    if customers <= STORY_CUSTOMERS or days < 1:
        raise ValueError(f"ask for more than {STORY_CUSTOMERS} customers and at least one day")
    first = day_of(first_day)
    story_day = first + (days // 3 if story_after_days is None else story_after_days)
    people = draw_people(seed, customers, first, days)
    return Population(
        seed=seed,
        first_day=first,
        days=days,
        story_day=story_day,
        user_ids=[user_id(index) for index in range(customers)],
        people=people,
        loans=draw_loans(seed, people, first, days),
        rates=draw_rates(seed, days),
        story=write_story(first, days, story_day)[1],
    )


def events(population: Population) -> Iterator[SampleEvent]:
    """Every event of the population in order of its timestamp: exchange rates, transactions, loans, the story.

    Memory: a week of transactions, and all loan events. Cost: a few microseconds an event.

    >>> stream = events(population(seed=1, customers=50, first_day=date(2025, 1, 1), days=10))
    >>> [event.topic for event in stream][:4]
    ['fx-rates', 'fx-rates', 'fx-rates', 'transactions']
    """
    words = _Words(population)
    rates = list(_rate_events(population))
    loans = [SampleEvent("loans", time_ms, user, value) for time_ms, user, value in loan_steps(population)]
    story = [_of_story(event) for event in write_story(population.first_day, population.days, population.story_day)[0]]
    others = sorted([*rates, *loans, *story], key=_when)
    done = 0
    for week, columns in enumerate(transaction_weeks(population)):
        until = bisect_left(others, population.begin_ms + (week + 1) * WEEK_MS, key=_when)
        # Two sorted runs: Python's sort merges them, and keeps the account's side of a payment first.
        yield from sorted([*words.transactions(columns), *others[done:until]], key=_when)
        done = until


def _when(event: SampleEvent) -> int:
    return event.timestamp_ms


def _of_story(event: StoryEvent) -> SampleEvent:
    return SampleEvent(event.topic, event.timestamp_ms, event.user_id, event.value)


def _rate_events(population: Population) -> Iterator[SampleEvent]:
    """Each week's rates, an hour before they are in force; the first ones a day before everything else."""
    for week, row in enumerate(population.rates.tolist()):
        effective_ms = population.begin_ms + week * WEEK_MS - (0 if week else DAY_MS)
        for currency, rate in zip(CURRENCIES[1:], row[1:], strict=True):
            value = {
                "currency": currency,
                "base_currency": CURRENCIES[0],
                "effective_at": iso(effective_ms),
                "rate": rate,
            }
            yield SampleEvent("fx-rates", effective_ms - HOUR_MS, currency, value)


class _Words:
    """Turns columns of transactions into the fields of the schema."""

    def __init__(self, population: Population) -> None:
        people = population.people
        self.user_ids = population.user_ids
        self.created = [
            f"{text}Z" for text in np.datetime_as_string(people.created_ms.astype("M8[ms]"), unit="s").tolist()
        ]
        self.channel = np.where(people.web, "WEB", "API").tolist()
        every: list[Spending | Flow] = [*SPENDING, *FLOWS.values()]
        self.category = [one.category for one in every]
        self.mcc = [one.mcc for one in every]
        self.merchants = [one.merchants for one in every]

    def transactions(self, columns: TransactionColumns) -> list[SampleEvent]:
        """The transactions of a week as events."""
        dates = np.datetime_as_string(columns.time_ms.astype("M8[ms]"), unit="ms").tolist()
        rows = zip(
            *(column.tolist() for column in columns[:2]),
            (columns.amount_cents / 100).tolist(),
            (columns.balance_cents / 100).tolist(),
            *(column.tolist() for column in columns[4:]),
            dates,
            strict=True,
        )
        return [self._transaction(*row) for row in rows]

    def _transaction(
        self,
        user: int,
        time_ms: int,
        amount: float,
        balance: float,
        currency: int,
        kind: int,
        state: int,
        number: int,
        at: str,
    ) -> SampleEvent:
        name = self.user_ids[user]
        merchants = self.merchants[kind]
        value = {
            "event_id": f"t-{number:08d}",
            "user_id": name,
            "transaction_state": STATES[state],
            "transaction_currency": CURRENCIES[currency],
            "user_balance": balance,
            "transaction_amount": amount,
            "user_created": self.created[user],
            "user_category": self.channel[user],
            "transaction_date": at + "Z",
            "description": merchants[(user + number) % len(merchants)],
            "category": self.category[kind],
            "mcc": self.mcc[kind],
            "country": CURRENCY_COUNTRIES[currency],
        }
        return SampleEvent("transactions", time_ms, name, value)
