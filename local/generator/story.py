"""The story that can be followed: six customers whose every event is written by hand, each with a turn at a known time.

Ana is paid. Bruno loses his job, and a loan of his ages. Carla pays late, in parts. Dario's bank corrects a booking.
Elena's card is used offline, so one payment arrives three days late, and one is published twice. Farid's is poisoned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple

from local.generator.population import Beat, iso, user_id
from local.generator.tables import MOVES_MONEY, STATES
from schemas.batch import DAY_MS
from schemas.definitions import fingerprint_of, schema

ANA, BRUNO, CARLA, DARIO, ELENA, FARID = range(6)
CREATED = "2019-03-04T09:30:00Z"
HOUR_MS = 3_600_000
MINUTE_MS = 60_000

OPENING_CENTS = 180_000
SALARY_DAY = 28
SALARIES_CENTS = (245_000, 198_000, 0, 221_000, 176_000, 263_000)
GROCERIES_CENTS = (6_410, 5_230, 4_890, 5_870, 3_940, 7_150)
RENT_CENTS = (72_000, 61_000, 38_000, 64_000, 52_000, 81_000)
CROP_CENTS = 96_000
CROP_EVERY_DAYS = 14

# Days after the story's first day on which something turns.
JOB_LOST = 2
BRUNO_DUE = 3
CARLA_DUE = 1
CARLA_PART_PAID = 13
CARLA_SETTLED = 40
WRONG_BOOKING = 4
CORRECTED = 5
OFFLINE_PAYMENT = 3
OFFLINE_ARRIVED = 6
DUPLICATED = 7
POISONED = 8
TENOR_DAYS = 30


class StoryEvent(NamedTuple):
    """An event by hand; `value` as bytes is published as it is."""

    topic: str
    timestamp_ms: int
    user_id: str
    value: dict[str, Any] | bytes


@dataclass
class Script:
    """What has been written so far. Balances come last, when the order in which the bank books is known."""

    events: list[StoryEvent] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    count: int = 0
    jobless: bool = False
    wrong: dict[str, Any] | None = None

    def book(
        self,
        who: int,
        time_ms: int,
        cents: int,
        category: str,
        description: str,
        booked_ms: int | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """A transaction that happened at `time_ms` and became known at `booked_ms`."""
        self.count += 1
        value = {
            "event_id": f"s-{self.count:05d}",
            "user_id": user_id(who),
            "transaction_state": STATES[0],
            "transaction_currency": "EUR",
            "user_balance": None,
            "transaction_amount": cents / 100,
            "user_created": CREATED,
            "user_category": "WEB",
            "transaction_date": iso(time_ms),
            "description": description,
            "category": category,
            "country": "ES",
        } | more
        self.events.append(StoryEvent("transactions", booked_ms or time_ms, user_id(who), value))
        return value

    def lend(self, who: int, name: str, order_ms: int, due_day: int, cents: int) -> None:
        """A loan for feed at the point in Lleida."""
        value = {
            "event_id": f"{name}-i",
            "user_id": user_id(who),
            "event": "issued",
            "loan_id": name,
            "order_amount": cents / 100,
            "gross_margin": cents / 1_000,
            "promo": 0.0,
            "currency": "EUR",
            "order_date": iso(order_ms),
            "due_date": iso(due_day * DAY_MS)[:10],
            "point": "Lleida-03",
            "province": "Lleida",
            "commodity": "feed",
            "tenor_days": due_day - order_ms // DAY_MS,
        }
        self.events.append(StoryEvent("loans", order_ms, user_id(who), value))

    def repay(self, who: int, name: str, part: int, paid_ms: int, cents: int) -> None:
        """A payment of a loan: on the account, and a moment later at the lender's."""
        self.book(who, paid_ms - 5_000, -cents, "loan", "Loan repayment")
        head = {"event_id": f"{name}-r{part}", "user_id": user_id(who), "event": "repaid", "loan_id": name}
        value = head | {"amount": cents / 100, "paid_at": iso(paid_ms)}
        self.events.append(StoryEvent("loans", paid_ms, user_id(who), value))

    def beat(self, name: str, who: int, time_ms: int, text: str, about: str) -> None:
        """Something worth telling."""
        self.beats.append(Beat(name, user_id(who), time_ms, text, about))


def write_story(first_day: int, days: int, story_day: int) -> tuple[list[StoryEvent], tuple[Beat, ...]]:
    """(events in order of their timestamps, beats in order of time) of the story within the period."""
    script = Script()
    for day in range(first_day, first_day + days):
        for act in (_everyday, _bruno, _carla, _dario, _elena, _farid):
            act(script, day, day - story_day)
    end_ms = (first_day + days) * DAY_MS
    beats = (beat for beat in script.beats if beat.time_ms < end_ms)
    events = sorted(script.events, key=lambda event: event.timestamp_ms)
    _fill_balances(events)
    return [event for event in events if event.timestamp_ms < end_ms], tuple(
        sorted(beats, key=lambda beat: beat.time_ms)
    )


def _fill_balances(events: list[StoryEvent]) -> None:
    """Give each transaction the balance after it, in the order of booking; one published twice is booked once."""
    cents: dict[str, int] = {}
    for event in events:
        value = event.value
        if event.topic == "transactions" and isinstance(value, dict) and value["user_balance"] is None:
            balance = cents.get(event.user_id, OPENING_CENTS) + moved_cents(value)
            cents[event.user_id] = balance
            value["user_balance"] = balance / 100


def moved_cents(value: dict[str, Any]) -> int:
    """By how much a transaction moves its account: nothing if it failed, the difference if it corrects another.

    >>> before = {"transaction_state": "SUCCEEDED", "transaction_amount": -480.0}
    >>> moved_cents({"transaction_state": "SUCCEEDED", "transaction_amount": -48.0, "previous": before})
    43200
    """
    now = round(value["transaction_amount"] * 100) if value["transaction_state"] in STATES[:MOVES_MONEY] else 0
    previous = value.get("previous")
    return now - (moved_cents(previous) if previous else 0)


def _everyday(script: Script, day: int, _: int) -> None:
    """Wages, rent and groceries: what goes on while the story goes on."""
    for who in range(6):
        begin_ms = day * DAY_MS + who * 7 * MINUTE_MS
        if _is_pay_day(day) and SALARIES_CENTS[who] and not (who == BRUNO and script.jobless):
            paid = script.book(who, begin_ms + 7 * HOUR_MS, SALARIES_CENTS[who], "salary", "Salary")
            if who == ANA:
                script.beat("salary", ANA, begin_ms + 7 * HOUR_MS, "Ana's salary arrives", paid["event_id"])
        if who == CARLA and day % CROP_EVERY_DAYS == 0:
            script.book(who, begin_ms + 11 * HOUR_MS, CROP_CENTS, "income", "Cooperative, crop delivered")
        if _date(day).day == 2:
            script.book(who, begin_ms + 8 * HOUR_MS, -RENT_CENTS[who], "housing", "Rent", mcc="6513")
        if (day + who) % 4 == 0:
            script.book(who, begin_ms + 17 * HOUR_MS, -GROCERIES_CENTS[who], "groceries", "Mercado Olivo", mcc="5411")


def _is_pay_day(day: int) -> bool:
    """The 28th, or the Friday before where that is a weekend."""
    today = _date(day)
    if today.weekday() >= 5:
        return False
    reach = 3 if today.weekday() == 4 else 1
    return SALARY_DAY in {(today + timedelta(days=ahead)).day for ahead in range(reach)}


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


def _bruno(script: Script, day: int, turn: int) -> None:
    """On time twice; then no job, and a loan that is not paid."""
    _good_loans(script, BRUNO, day, turn, (("L-11", -150), ("L-12", -80)))
    if turn == BRUNO_DUE - TENOR_DAYS:
        script.lend(BRUNO, "L-13", day * DAY_MS + 10 * HOUR_MS, day + TENOR_DAYS, 90_000)
    if turn == JOB_LOST:
        script.jobless = True
        last = script.book(BRUNO, day * DAY_MS + 16 * HOUR_MS, 61_000, "severance", "Severance, end of contract")
        script.beat("job lost", BRUNO, day * DAY_MS + 16 * HOUR_MS, "Bruno loses his job", last["event_id"])
    for late_days in (1, 31, 91):
        if turn == BRUNO_DUE + late_days and _issued(script, "L-13"):
            text = f"Bruno's loan L-13 is {late_days} day{'s' if late_days > 1 else ''} past due"
            script.beat(f"unpaid day {late_days}", BRUNO, day * DAY_MS, text, "L-13")


def _carla(script: Script, day: int, turn: int) -> None:
    """Three loans on time; the fourth ages over midnights, is paid in part, and settled after day 31."""
    _good_loans(script, CARLA, day, turn, (("L-21", -200), ("L-22", -140), ("L-23", -75)))
    name, cents = "L-24", 120_000
    if turn == CARLA_DUE - TENOR_DAYS:
        script.lend(CARLA, name, day * DAY_MS + 9 * HOUR_MS, day + TENOR_DAYS, cents)
    for late_days in (1, 31):
        if turn == CARLA_DUE + late_days and _issued(script, name):
            text = f"Carla's loan {name} is {late_days} day{'s' if late_days > 1 else ''} past due"
            script.beat(f"ageing day {late_days}", CARLA, day * DAY_MS, text, name)
    for part, (pays, share_cents) in enumerate(((CARLA_PART_PAID, 48_000), (CARLA_SETTLED, cents - 48_000))):
        if turn == pays and _issued(script, name):
            paid_ms = day * DAY_MS + 12 * HOUR_MS
            script.repay(CARLA, name, part, paid_ms, share_cents)
            text = f"Carla repays {'the rest' if part else 'a part'} of {name}"
            script.beat("settled" if part else "part paid", CARLA, paid_ms, text, f"{name}-r{part}")


def _good_loans(script: Script, who: int, day: int, turn: int, loans: tuple[tuple[str, int], ...]) -> None:
    for name, ordered in loans:
        if turn == ordered:
            script.lend(who, name, day * DAY_MS + 10 * HOUR_MS, day + TENOR_DAYS, 60_000)
        if turn == ordered + TENOR_DAYS - 2 and _issued(script, name):
            script.repay(who, name, 0, day * DAY_MS + 15 * HOUR_MS, 60_000)


def _issued(script: Script, name: str) -> bool:
    """Whether the loan was ordered within the period; where not, nothing is told of it."""
    return any(isinstance(event.value, dict) and event.value.get("loan_id") == name for event in script.events)


def _dario(script: Script, day: int, turn: int) -> None:
    """A booking of 480 that should have been 48, and its correction: same event_id, revision 1, what it replaces."""
    if turn == WRONG_BOOKING:
        script.wrong = script.book(DARIO, day * DAY_MS + 12 * HOUR_MS, -48_000, "groceries", "Super Lince", mcc="5411")
    if turn == CORRECTED and script.wrong:
        now_ms = day * DAY_MS + 9 * HOUR_MS
        replaced = ("transaction_amount", "transaction_currency", "transaction_date", "transaction_state")
        value = script.wrong | {
            "transaction_amount": -48.0,
            "revision": 1,
            "previous": {name: script.wrong[name] for name in replaced},
        }
        script.events.append(StoryEvent("transactions", now_ms, user_id(DARIO), value))
        script.beat("correction", DARIO, now_ms, "Dario's booking of 480 is corrected to 48", value["event_id"])


def _elena(script: Script, day: int, turn: int) -> None:
    """A payment that becomes known three days after it happened; and one that is published twice, byte for byte."""
    if turn == OFFLINE_ARRIVED:
        happened_ms = (day - OFFLINE_ARRIVED + OFFLINE_PAYMENT) * DAY_MS + 20 * HOUR_MS
        known_ms = day * DAY_MS + 6 * HOUR_MS
        late = script.book(ELENA, happened_ms, -8_650, "restaurants", "Bar Estrella", booked_ms=known_ms, mcc="5812")
        script.beat("late event", ELENA, known_ms, "Elena's payment of three days ago arrives", late["event_id"])
    if turn == DUPLICATED:
        first_ms = day * DAY_MS + 13 * HOUR_MS
        value = script.book(ELENA, first_ms, -3_200, "clothes", "Moda Luna", mcc="5651")
        script.events.append(StoryEvent("transactions", first_ms + 2 * MINUTE_MS, user_id(ELENA), value))
        text = "Elena's purchase is published a second time: nothing changes"
        script.beat("duplicate", ELENA, first_ms + 2 * MINUTE_MS, text, value["event_id"])


def _farid(script: Script, day: int, turn: int) -> None:
    """A transaction whose Avro ends in the middle."""
    if turn == POISONED:
        at_ms = day * DAY_MS + 14 * HOUR_MS
        cut_short = b"\xc3\x01" + fingerprint_of(schema("Transaction")) + b"\x02\x20poison"
        script.events.append(StoryEvent("transactions", at_ms, user_id(FARID), cut_short))
        script.beat(
            "poison", FARID, at_ms, "one of Farid's events is damaged: see the dead letters", "transactions.dlq"
        )
