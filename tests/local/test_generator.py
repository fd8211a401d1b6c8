"""The sample data is the same for the same seed, and true to itself: balances, proportions, order, story."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from typing import Any

import numpy as np
import pytest
from fastavro.validation import validate

from local.generator.columns import OPENING_CENTS, benchmark_columns
from local.generator.events import Population, SampleEvent, events, population
from local.generator.population import DAY_MS, STORY_CUSTOMERS
from local.generator.story import moved_cents
from local.generator.tables import PERSONA_NAMES, POINTS, PROVINCES, STATE_COUNTS
from local.generator.transactions import transaction_weeks
from schemas.definitions import SCHEMA_OF_TOPIC, parsed

FIRST_DAY = date(2024, 9, 1)
SHARES = np.array(STATE_COUNTS) / sum(STATE_COUNTS)


@cache
def sample() -> Population:
    return population(seed=7, customers=300, first_day=FIRST_DAY, days=210)


@cache
def stream() -> tuple[SampleEvent, ...]:
    return tuple(events(sample()))


@cache
def large() -> Population:
    return population(seed=3, customers=20_000, first_day=FIRST_DAY, days=365)


def fields(topic: str) -> Iterator[dict[str, Any]]:
    return (event.value for event in stream() if event.topic == topic and isinstance(event.value, dict))


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    def first(seed: int) -> list[SampleEvent]:
        return list(events(population(seed=seed, customers=40, first_day=FIRST_DAY, days=20)))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_events_come_in_order_of_their_timestamps() -> None:
    times = [event.timestamp_ms for event in stream()]
    assert times == sorted(times)
    assert times[-1] < sample().end_ms


def test_no_event_is_known_before_it_happens() -> None:
    names = {"transactions": ("transaction_date",), "loans": ("paid_at", "order_date", "cancelled_at")}
    for event in stream():
        if isinstance(event.value, dict) and event.topic in names:
            happened = next(event.value[name] for name in names[event.topic] if event.value.get(name))
            assert datetime.fromisoformat(happened).timestamp() * 1_000 <= event.timestamp_ms


def test_every_event_fits_its_schema_and_has_its_customer_as_key() -> None:
    for event in stream():
        if isinstance(event.value, dict):
            assert validate(event.value, parsed(SCHEMA_OF_TOPIC[event.topic]), strict=True)
            assert event.key == event.value.get("user_id", event.value.get("currency"))


def test_event_ids_are_unique_but_for_the_correction_and_the_duplicate() -> None:
    seen: dict[str, int] = defaultdict(int)
    for topic in ("transactions", "loans"):
        for value in fields(topic):
            seen[value["event_id"]] += 1
    repeated = {event_id for event_id, count in seen.items() if count > 1}
    assert repeated == {beat.about for beat in sample().story if beat.name in ("correction", "duplicate")}


def test_balances_add_up_in_the_order_of_booking() -> None:
    balance: dict[tuple[str, str], int] = {}
    booked = set()
    for value in fields("transactions"):
        account = value["user_id"], value["transaction_currency"]
        event = value["event_id"], value.get("revision", 0)
        if event in booked:
            continue
        booked.add(event)
        after = round(value["user_balance"] * 100)
        if account in balance:
            assert after == balance[account] + moved_cents(value), value
        balance[account] = after
    assert len(booked) > 10_000


def test_declined_purchases_are_those_the_account_has_no_money_for() -> None:
    declined = [value for value in fields("transactions") if value["transaction_state"] == "DECLINED"]
    assert declined
    assert all(value["user_balance"] + value["transaction_amount"] < 0 for value in declined)


def test_final_states_of_loans_keep_the_proportions_of_the_source() -> None:
    fates = np.bincount(large().loans.fate, minlength=5) / large().loans.fate.size
    assert np.allclose(fates, SHARES, atol=0.001)


def test_loan_states_recounted_from_the_payments_keep_the_proportions_too() -> None:
    loans = large().loans
    old = (loans.due_day + 181 <= large().first_day + large().days) & (loans.cancelled_ms == 0)
    settled_cents = np.cumsum(loans.paid_cents, axis=1) >= loans.order_cents[:, None]
    assert np.all(loans.paid_cents.sum(axis=1) <= loans.order_cents)
    settled_day = loans.paid_ms[:, -1] // DAY_MS
    late_days = np.where(settled_cents[:, -1], settled_day - loans.due_day, 10_000)
    state = np.searchsorted([0, 30, 90, 180], late_days, side="left")
    assert np.array_equal(state[loans.cancelled_ms == 0], loans.fate[loans.cancelled_ms == 0])
    shares = np.bincount(state[old], minlength=5) / old.sum()
    assert old.sum() > 3_000
    assert np.allclose(shares, SHARES, atol=0.03)


def test_a_lost_job_makes_loans_late_and_deposits_fall() -> None:
    people, loans = large().people, large().loans
    jobless = (people.job_lost_day[loans.user] < loans.due_day) & (loans.due_day < people.job_found_day[loans.user])
    assert jobless.sum() > 100
    assert loans.fate[jobless].mean() > loans.fate[~jobless].mean() + 0.5


def test_some_loans_are_paid_in_parts_some_in_instalments_some_never() -> None:
    loans = large().loans
    parts = (loans.paid_ms > 0).sum(axis=1)
    assert set(parts.tolist()) == {0, 1, 2, 3}
    assert 0.05 < (loans.instalment > 0).mean() < 0.4
    unpaid = loans.paid_cents.sum(axis=1) < loans.order_cents
    assert np.all(loans.fate[unpaid & (loans.cancelled_ms == 0)] == 4)


def test_instalments_of_a_loan_add_up_to_what_was_lent() -> None:
    instalments = defaultdict(list)
    for value in fields("loans"):
        if value["event"] == "issued" and "/" in value["loan_id"]:
            instalments[value["loan_id"].partition("/")[0]].append(value)
    assert instalments
    for loan in instalments.values():
        assert [value["loan_id"].partition("/")[2] for value in loan] == [str(n + 1) for n in range(len(loan))]
        assert [value["due_date"] for value in loan] == sorted(value["due_date"] for value in loan)


def test_there_are_146_points_in_22_provinces() -> None:
    assert (len(POINTS), len(PROVINCES)) == (146, 22)
    assert len({name for name, _ in POINTS}) == 146


def test_groceries_sell_better_at_weekends_and_toys_in_december() -> None:
    days: dict[str, list[date]] = defaultdict(list)
    for value in fields("transactions"):
        days[value["category"]].append(date.fromisoformat(value["transaction_date"][:10]))
    weekend = np.mean([day.weekday() >= 5 for day in days["groceries"]])
    december = np.mean([day.month == 12 for day in days["toys"]])
    assert weekend > 2 / 7 + 0.03
    assert december > 2 * 31 / 210


def test_salaries_come_on_working_days() -> None:
    paid = [
        date.fromisoformat(value["transaction_date"][:10])
        for value in fields("transactions")
        if value["category"] == "salary"
    ]
    assert len(paid) > 500
    assert all(day.weekday() < 5 for day in paid)


def test_every_persona_lives_in_a_population_of_some_size() -> None:
    assert set(large().people.persona.tolist()) == set(range(len(PERSONA_NAMES)))


def test_traders_hold_accounts_in_other_currencies_and_rates_are_there_first() -> None:
    rates: dict[str, str] = {}
    for event in stream():
        assert isinstance(event.value, dict) or event.topic == "transactions"
        if event.topic == "fx-rates" and isinstance(event.value, dict):
            rates.setdefault(event.key, event.value["effective_at"])
        elif isinstance(event.value, dict) and event.value.get("transaction_currency", "EUR") != "EUR":
            assert rates[event.value["transaction_currency"]] <= event.value["transaction_date"]
    assert any(value["transaction_currency"] == "USD" for value in fields("transactions"))


@pytest.mark.parametrize(
    "name",
    [
        *("salary", "job lost", "unpaid day 1", "unpaid day 31", "unpaid day 91", "ageing day 1", "ageing day 31"),
        *("part paid", "settled", "correction", "late event", "duplicate", "poison"),
    ],
)
def test_the_story_has_this_beat_once_its_day_has_come(name: str) -> None:
    assert any(beat.name == name and beat.time_ms >= sample().story_day * DAY_MS for beat in sample().story)


def test_each_beat_about_an_event_has_that_event_at_its_time() -> None:
    at = {
        (value["event_id"], event.timestamp_ms)
        for event in stream()
        if event.topic != "fx-rates" and isinstance(value := event.value, dict)
    }
    told = [beat for beat in sample().story if not beat.about.startswith("L-") or "-r" in beat.about]
    for beat in told:
        if beat.name != "poison":
            assert (beat.about, beat.time_ms) in at, beat


def test_the_correction_says_what_it_replaces() -> None:
    beat = next(beat for beat in sample().story if beat.name == "correction")
    first, second = (value for value in fields("transactions") if value["event_id"] == beat.about)
    assert (second["revision"], second["previous"]["transaction_amount"]) == (1, first["transaction_amount"])
    assert second["transaction_date"] == first["transaction_date"]


def test_the_late_event_is_three_days_late_and_the_duplicate_is_exact() -> None:
    beats = {beat.name: beat for beat in sample().story}
    late = next(value for value in fields("transactions") if value["event_id"] == beats["late event"].about)
    happened_ms = datetime.fromisoformat(late["transaction_date"]).timestamp() * 1_000
    assert 2 * DAY_MS < beats["late event"].time_ms - happened_ms < 4 * DAY_MS
    first, second = (value for value in fields("transactions") if value["event_id"] == beats["duplicate"].about)
    assert first == second


def test_the_poisoned_event_is_the_only_one_that_is_bytes() -> None:
    poison = [event for event in stream() if isinstance(event.value, bytes)]
    assert [(event.key, event.timestamp_ms) for event in poison] == [
        (beat.user_id, beat.time_ms) for beat in sample().story if beat.name == "poison"
    ]


def test_bruno_gets_no_salary_after_he_loses_his_job() -> None:
    lost = next(beat for beat in sample().story if beat.name == "job lost")
    paid = [
        event.timestamp_ms
        for event in stream()
        if event.key == lost.user_id and isinstance(event.value, dict) and event.value.get("category") == "salary"
    ]
    assert paid
    assert max(paid) < lost.time_ms


def test_a_population_without_room_for_the_story_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 6 customers"):
        population(seed=1, customers=STORY_CUSTOMERS, first_day=FIRST_DAY, days=10)


def test_a_short_period_of_a_few_customers_can_be_drawn() -> None:
    few = population(seed=1, customers=7, first_day=FIRST_DAY, days=1)
    assert all(event.timestamp_ms < few.end_ms for event in events(few))


def test_weeks_as_columns_hold_the_same_transactions_as_the_events() -> None:
    generated = [value for value in fields("transactions") if value["event_id"].startswith("t-")]
    assert sum(week.user.size for week in transaction_weeks(sample())) == len(generated)


@pytest.mark.parametrize("zipf", [None, 1.1])
def test_benchmark_balances_add_up_for_even_and_skewed_customers(zipf: float | None) -> None:
    columns = benchmark_columns(seed=1, events=20_000, users=500, begin_ms=0, end_ms=DAY_MS, zipf=zipf)
    assert np.all(np.diff(columns.time_ms) >= 0)
    for user in np.unique(columns.user)[:50]:
        mine = columns.user == user
        assert np.array_equal(columns.balance_cents[mine], OPENING_CENTS + np.cumsum(columns.amount_cents[mine]))


def test_skewed_benchmark_customers_are_skewed() -> None:
    def busiest_share(zipf: float | None) -> float:
        user = benchmark_columns(seed=1, events=50_000, users=1_000, begin_ms=0, end_ms=DAY_MS, zipf=zipf).user
        return float(np.sort(np.bincount(user))[-10:].sum() / user.size)

    assert busiest_share(None) < 0.02
    assert busiest_share(1.1) > 0.3
