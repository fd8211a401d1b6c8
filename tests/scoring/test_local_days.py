"""A thousand customers in five zones: day, due date, status and windows by an independent calendar (zoneinfo)."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from schemas.kinds import Score
from state.calendar import day_of
from state.versions import Policy
from streams.scoring.reference.evaluate import window_sums
from streams.scoring.status import status_score
from tests.scoring.customers import Customers

ZONES = ("America/New_York", "America/Sao_Paulo", "Pacific/Honolulu", "Europe/Prague", "Asia/Kathmandu")
CUSTOMERS = 200
LATEST_DAYS = (0, 30, 90, 180)
"""Days past due up to which a loan is in each of the first four states."""


class Story(NamedTuple):
    """One customer: local times as their bank writes them, and what an independent calendar says of them."""

    spent: list[tuple[datetime, bool]]  # with or without a time
    due: date
    paid: datetime
    ordered: datetime


def a_local_time(random: Random) -> datetime:
    """Near a change of the clocks or a turn of the day rather often."""
    day = datetime(2017, 1, 1) + timedelta(days=random.randrange(3_000))  # noqa: DTZ001 - a local time
    if random.random() < 0.3:
        month, first = random.choice([(3, 8), (3, 25), (10, 14), (10, 25), (11, 1)])
        day = day.replace(month=month, day=first) + timedelta(days=random.randrange(7))
    hour = random.choice([0, 1, 2, 3, 12, 18, 22, 23])
    return day + timedelta(hours=hour, minutes=random.choice([0, 1, 15, 30, 45, 59]), seconds=random.randrange(60))


def a_story(random: Random) -> Story:
    ordered = a_local_time(random)
    due = ordered.date() + timedelta(days=random.randrange(1, 40))
    late = random.choice([-1, 0, 0, 0, 1, 1, 30, 31, 90, 91, 180, 181])
    paid = datetime.combine(due + timedelta(days=late), a_local_time(random).time())
    paid = max(paid, ordered + timedelta(hours=3))
    spent = [(paid - timedelta(days=random.randrange(0, 8), hours=random.randrange(24)), random.random() < 0.4)]
    spent += [(paid - timedelta(days=random.randrange(0, 8)), random.random() < 0.4)]
    return Story(spent, due, paid, ordered)


def moment_ms(local: datetime, zone: ZoneInfo) -> int:
    return int(local.replace(tzinfo=zone).timestamp()) * 1_000


def local_day(local: datetime, zone: ZoneInfo) -> date:
    """The day of a local time, by way of the moment: a time that the clocks skipped can be another day's."""
    return datetime.fromtimestamp(local.replace(tzinfo=zone).timestamp(), UTC).astimezone(zone).date()


@pytest.mark.parametrize("name", ZONES)
def test_days_due_dates_status_and_windows_are_those_of_the_calendar(name: str) -> None:
    random, zone = Random(name), ZoneInfo(name)
    ann, states = Customers(Policy(time_zone=name)), Counter[int]()
    for n in range(CUSTOMERS):
        user, story = f"c{n}", a_story(random)
        take(ann, user, story, zone)
        assert ann.rejects == [], (user, story)
        row, epoch = ann.row(user), date(1970, 1, 1)
        (loan,) = row.loans
        paid_day, due_day = local_day(story.paid, zone), story.due
        assert (epoch + timedelta(days=loan.due_day), epoch + timedelta(days=loan.order_day)) == (
            due_day, local_day(story.ordered, zone)
        )  # fmt: skip
        # The state of a payment is that of its own day past due.
        past_due = (paid_day - due_day).days
        state = next((i for i, latest in enumerate(LATEST_DAYS) if past_due <= latest), 4)
        assert [i for i, paid in enumerate(loan.paid) if paid] == [state], story
        counts = [int(i == state) for i in range(5)]
        assert row.emitted_counts == counts
        assert row.emitted[Score.STATUS] == pytest.approx(float(status_score([counts])[0]), abs=2e-3)
        # Each transaction is in its own local day; the window of a week is today and the six days before it.
        spent = Counter(local_day(moment, zone) if timed else moment.date() for moment, timed in story.spent)
        held = {epoch + timedelta(days=day.day): day.transactions for day in row.days}
        assert held == spent, story
        today = datetime.fromtimestamp(row.clock_ms / 1_000, UTC).astimezone(zone).date()
        for days in (7, 30):
            begins = today - timedelta(days=days - 1)
            in_window = window_sums(row, int(day_of(ann.versions.days, row.clock_ms)), days)[2]
            assert in_window == sum(count for day, count in spent.items() if begins <= day <= today), story
        states[state] += 1
    assert len(states) >= 4


def take(ann: Customers, user: str, story: Story, zone: ZoneInfo) -> None:
    """Publish a story, each record at the moment at which it happened, as others' clocks tell it."""
    known = max(moment_ms(story.paid, zone), *(moment_ms(moment, zone) for moment, _ in story.spent))
    loan = {"user_id": user, "loan_id": "L"}
    terms = {"order_amount": 100.0, "currency": "EUR", "due_date": story.due.isoformat()}
    issued = {**loan, "event": "issued", "order_date": story.ordered.isoformat(), **terms}
    ann.take_value("loans", user, json.dumps(issued), moment_ms(story.ordered, zone))
    for moment, timed in sorted(story.spent):
        written = moment.isoformat() if timed else moment.date().isoformat()
        bought = {"transaction_amount": 5.0, "transaction_currency": "EUR", "transaction_date": written}
        ann.take_value("transactions", user, json.dumps({"user_id": user, **bought}), known)
    paid = {**loan, "event": "repaid", "amount": 100.0, "paid_at": story.paid.isoformat()}
    ann.take_value("loans", user, json.dumps(paid), known)
