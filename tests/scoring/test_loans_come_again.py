"""Loans whose events are published again at any later time, and dates that nobody filled in.

Random histories of loans are told twice: once plainly, and once with every event again after a second, a week or two
years, and with whole files each quarter. Two judges: the plain history told to the same program, and a ledger that
remembers every event for ever and counts by the definitions of docs/scores.md alone.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from schemas.batch import Record
from schemas.decode import decode
from schemas.kinds import Kind, RejectCode, Score
from schemas.times import time_ms
from state.versions import Policy
from streams.scoring.reference import step as oracle
from streams.scoring.revenue import revenue_score
from streams.scoring.status import status_score
from tests.scoring.cases_of_loans import (
    AFTERWARDS,
    COMES_AGAIN,
    DEFAULT_DATES,
    Known,
    check_comes_again,
    check_default_dates,
    records_of,
)
from tests.scoring.customers import Customers, at_ms, iso

LAST_DAY = 900.0
RATES = (0.0, 0.05, 0.10, 0.15, 0.20)


class ReadableCustomers(Customers):
    """Customers of the readable step: some ten times as slow."""

    def _step(self, records: list[Record], clock_ms: int) -> list[dict[str, Any]]:
        batch = decode(records, 0, self.decoder)
        due = sorted(user for user, at in self.dues.items() if at <= clock_ms and user not in batch.users)
        users = [*batch.users, *due]
        done = oracle.step(users, [self.rows.get(user) for user in users], batch, self.versions, clock_ms)
        for user, row, due_ms in zip(users, done.rows, done.dues, strict=True):
            self.rows[user], self.dues[user] = row, 2**62 if due_ms is None else due_ms
        self.rejects += [*batch.rejects, *done.rejects]
        return []


class Told(NamedTuple):
    """An event as it is published: when it becomes known, and its fields."""

    day: float
    fields: dict[str, Any]

    @property
    def identity(self) -> tuple[str, int]:
        return self.fields["event_id"], self.fields.get("revision") or 0


@dataclass
class LedgerLoan:
    """A loan as a person would keep it."""

    terms: dict[str, Any]
    revision: int = 0
    moves: list[tuple[int, int]] = field(default_factory=list)  # (known on day, due day until then)
    payments: dict[str, tuple[int, float]] = field(default_factory=dict)  # by event_id: day, amount
    cancelled: bool = False

    def due_on(self, day: int) -> int:
        """The due day that was in force."""
        return next((due for known, due in self.moves if day <= known), self.terms["due"])


@dataclass
class Ledger:
    """Remembers every event for ever, takes each once, and counts by the definitions."""

    count_unpaid_from_day: int
    seen: set[tuple[str, int]] = field(default_factory=set)
    loans: dict[str, LedgerLoan] = field(default_factory=dict)

    def take(self, told: Told) -> None:
        if told.identity in self.seen:
            return
        self.seen.add(told.identity)
        fields, name = told.fields, told.fields["loan_id"]
        if fields["event"] == "issued":
            terms = {name: fields[name] for name in ("order_amount", "gross_margin", "promo")}
            terms["due"] = day_number(fields["due_date"])
            loan = self.loans.setdefault(name, LedgerLoan(terms))
            if told.identity[1] > loan.revision:
                if terms["due"] != loan.terms["due"]:
                    loan.moves.append((math.floor(told.day), loan.terms["due"]))
                loan.terms, loan.revision = terms, told.identity[1]
        elif fields["event"] == "repaid":
            self.loans[name].payments[fields["event_id"]] = day_number(fields["paid_at"]), fields["amount"]
        else:
            self.loans[name].cancelled = True

    def counts_and_scores(self, today: int) -> tuple[list[int], float, float]:
        """Counts by state, status, revenue."""
        counts, sums = [0] * 5, Counter[str]()
        for loan in self.loans.values():
            amount, margin = round(100 * loan.terms["order_amount"]), round(100 * loan.terms["gross_margin"])
            paid = [0] * 5
            for day, payment in loan.payments.values():
                paid[state_of(day - loan.due_on(day))] += round(100 * payment)
            rest, filled, state = amount, [0] * 5, None
            for s in range(5):
                filled[s] = min(paid[s], rest)
                rest -= filled[s]
                if rest == 0 and state is None:
                    state = s
            late = today - loan.terms["due"]
            if loan.cancelled or (state is None and late < self.count_unpaid_from_day):
                continue
            state = state_of(late) if state is None else state
            counts[state] += 1
            costs = sum(rate * part for rate, part in zip(RATES, filled, strict=True))
            sums.update(
                margin=margin, order=amount, promo=round(100 * loan.terms["promo"]),
                cost=round(margin * (costs / amount)), unpaid=round(margin * (rest / amount)),
                ongoing=round(RATES[state] * (margin * (rest / amount))),
            )  # fmt: skip
        if not any(counts):
            return counts, math.nan, math.nan
        revenue = revenue_score(*(
            [float(sums[name])] for name in ("margin", "margin", "order", "cost", "unpaid", "ongoing", "promo")
        ))  # fmt: skip
        return counts, float(status_score([counts])[0]), float(revenue[0][0])


def state_of(late: int) -> int:
    return 0 if late <= 0 else 1 if late <= 30 else 2 if late <= 90 else 3 if late <= 180 else 4


def day_number(text: str) -> int:
    """The day of an ISO text, counted from the start of `customers`."""
    moment_ms = time_ms(text)
    assert moment_ms is not None
    return (moment_ms - at_ms(0)) // 86_400_000


def history(chance: random.Random) -> list[Told]:
    """Some loans of one customer over two years, in the order in which they become known."""
    told: list[Told] = []
    for n in range(chance.randint(2, 7)):
        told += loan_history(chance, f"L-{n}")
    return sorted(told, key=lambda one: one.day)


def loan_history(chance: random.Random, name: str) -> list[Told]:
    ordered = chance.uniform(0, 500)
    due, amount = math.floor(ordered) + chance.choice([0, 14, 30, 60]), float(chance.randint(100, 900))
    issued = {
        "event": "issued", "event_id": f"{name}-i", "loan_id": name, "order_amount": amount, "gross_margin": 20.0,
        "promo": chance.choice([0.0, 3.0]), "currency": "EUR", "order_date": iso(ordered), "due_date": iso(due)[:10],
    }  # fmt: skip
    told = [Told(ordered, issued)]
    if due > ordered + 3 and chance.random() < 0.2:
        known = ordered + chance.uniform(0.001, 3)
        cancelled = {"event": "cancelled", "event_id": f"{name}-c", "loan_id": name, "cancelled_at": iso(known)}
        return [*told, Told(known, cancelled)]
    if chance.random() < 0.3:
        moved = {**issued, "due_date": iso(due + chance.randint(1, 40))[:10], "revision": 1, "gross_margin": 25.0}
        told.append(Told(ordered + chance.uniform(0.01, 9), moved))
    begun, parts = told[-1].day, chance.choice([0, 1, 1, 2, 3])
    for part in range(parts):
        paid = max(begun, due) + chance.choice([-10, 0, 1, 20, 100, 200]) + chance.uniform(0, 3)
        paid = max(paid, begun + 0.01)
        payment = {
            "event": "repaid", "event_id": f"{name}-p{part}", "loan_id": name, "paid_at": iso(paid),
            "amount": round(amount / parts, 2) + (0.01 if chance.random() < 0.8 else -1.0),
        }  # fmt: skip
        told.append(Told(paid, payment))
        if chance.random() < 0.2:
            before = {"amount": payment["amount"], "paid_at": payment["paid_at"]}
            corrected = {**payment, "amount": chance.choice([0.0, 20.0]), "revision": 1, "previous": before}
            told.append(Told(paid + chance.uniform(0.001, 4), corrected))
    return told


def again(chance: random.Random, plain: list[Told]) -> list[tuple[Told, bool]]:
    """The history with repeats (True) at any later time, and whole files at the ends of quarters."""
    told = [(one, False) for one in plain]
    for one in plain:
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            gap = chance.choice([0.00001, 0.5, 7.0, 95.0, LAST_DAY]) * chance.uniform(0.5, 1.0)
            told.append((Told(min(one.day + gap, LAST_DAY - 1), one.fields), True))
    for quarter in (90, 180, 270, 360, 450, 540, 630, 720, 810):
        if chance.random() < 0.3:
            file = [one for one in plain if one.day < quarter]
            told += [(Told(quarter + i * 0.001, one.fields), True) for i, one in enumerate(file)]
    return sorted(told, key=lambda one: (one[0].day, one[1]))


@dataclass
class Outcome:
    """What a customer came to, and what was noted for learners."""

    counts: list[int]
    status: float
    revenue: float
    cases: list[tuple[int, int, bool]]


def outcome_of(told: Iterable[tuple[Told, bool]], customers: Customers) -> Outcome:
    """Tell a history; each repeat has to be a letter or a duplicate, everything else has to be taken."""
    customers.declared(0, income=2_000.0)
    cases: list[tuple[int, int, bool]] = []
    for one, is_repeat in told:
        before = customers.row()
        customers.take("loans", one.day, {"user_id": "ann", **one.fields})
        row = customers.row()
        letters = len(customers.rejects)
        if is_repeat:
            assert letters + row.duplicates == 1 + before.duplicates + customers.known_letters, one
        else:
            assert (letters, row.duplicates) == (customers.known_letters, before.duplicates), (one, customers.rejects)
        customers.known_letters = letters
        cases += cases_of(customers)
    customers.advance(LAST_DAY)
    cases += cases_of(customers)
    row = customers.row()
    assert {RejectCode(reject.code).name for reject in customers.rejects} <= {"LOAN_CLOSED", "LOAN_EXISTS"}
    return Outcome(list(row.emitted_counts), row.emitted[Score.STATUS], row.emitted[Score.REVENUE], cases)


def cases_of(customers: Customers) -> list[tuple[int, int, bool]]:
    """Grants, cancellations and defaults that the last step noted: kind, moment, whether the loan was new."""
    last = getattr(customers, "last", None)
    noted = [] if last is None else last.cases
    loans = [case for case in noted if case["kind"] in (0, Kind.LOAN_ISSUED, Kind.LOAN_CANCELLED)]
    return [(int(case["kind"]), int(case["moment_ms"]), bool(case["made"])) for case in loans]


def policy_of(chance: random.Random) -> Policy:
    return Policy(
        fold_loan_after_days=chance.choice([5, 30, 90]),
        count_unpaid_from_day=chance.choice([1, 31]),
        status_step=1e-9,
        revenue_step=1e-9,
    )


def check_again(seed: int, world: Callable[[Policy], Customers] = Customers) -> Counter[str]:
    """One seed; answers what became of the repeats."""
    chance = random.Random(seed)
    policy, plain = policy_of(chance), history(chance)
    told = again(chance, plain)
    ledger, repeated = Ledger(policy.count_unpaid_from_day), world(policy)
    for one, _ in told:
        ledger.take(one)
    alone, twice = outcome_of([(one, False) for one in plain], world(policy)), outcome_of(told, repeated)
    counts, status, revenue = ledger.counts_and_scores(math.floor(LAST_DAY))
    for said in (alone, twice):
        assert said.counts == counts, f"seed {seed}"
        assert said.status == pytest.approx(status, abs=1e-12, nan_ok=True), f"seed {seed}"
        assert said.revenue == pytest.approx(revenue, abs=1e-12, nan_ok=True), f"seed {seed}"
    assert twice.cases == alone.cases, f"seed {seed}"
    found = Counter(RejectCode(reject.code).name for reject in repeated.rejects)
    return found + Counter(duplicates=repeated.row().duplicates)


def test_what_is_published_again_at_any_later_time_counts_once_and_teaches_once() -> None:
    found = Counter[str]()
    for seed in range(25):
        found += check_again(seed)
    assert min(found[name] for name in ("LOAN_CLOSED", "LOAN_EXISTS", "duplicates")) > 50


def test_the_readable_step_counts_once_what_is_published_again() -> None:
    for seed in range(3):
        check_again(seed, ReadableCustomers)


DATES = [
    "0001-01-01", "0001-01-01T00:00:00Z", "1601-01-01", "1753-01-01", "1899-12-30", "1899-12-31T00:00:00Z",
    "1900-01-01", "1900-01-01T00:00:00+01:00", "1904-01-01", "1960-01-01", "1969-12-31T19:00:00-05:00", "1970-01-01",
    "1970-01-01T00:00:00Z", "1980-01-01", "1980-01-06T00:00:00Z", "2000-01-01", "2001-01-01T00:00:00Z",
]  # fmt: skip
"""Zero in .NET and Go, Windows, SQL Server, spreadsheets, Mac OS, SAS, Unix, DOS, GPS, PostgreSQL, Cocoa."""
OF_ORDERS = DATES[:-2]
"""Later ones may be the order date of a loan."""


def with_default_dates(chance: random.Random, plain: list[Told]) -> list[tuple[Told, bool]]:
    """The history, and beside it the same events with a date that nobody filled in (True)."""
    told = [(one, False) for one in plain]
    for i, one in enumerate(plain):
        fields, moment = dict(one.fields), one.day + 0.000_05
        if fields["event"] == "issued":
            name, dates = chance.choice([("due_date", [*DATES, "9999-12-31"]), ("order_date", OF_ORDERS)])
            fields |= {name: chance.choice(dates), "loan_id": f"default-{i}", "event_id": f"default-{i}"}
        elif "previous" in fields:
            fields["previous"], moment = {**fields["previous"], "paid_at": chance.choice(DATES)}, one.day - 0.000_05
        elif fields["event"] == "repaid":
            fields |= {"paid_at": chance.choice(DATES), "event_id": f"default-{i}"}
        else:
            fields["cancelled_at"], moment = chance.choice(OF_ORDERS), one.day - 0.000_05
        told.append((Told(moment, fields), True))
    return sorted(told, key=lambda one: one[0].day)


def check_dates(seed: int, world: Callable[[Policy], Customers] = Customers) -> None:
    """Nobody is written off or paid by a default date, and each is a letter that names its field."""
    chance = random.Random(seed)
    policy, plain = policy_of(chance), history(chance)
    ledger, ann = Ledger(policy.count_unpaid_from_day), world(policy)
    for one in plain:
        ledger.take(one)
    counts, status, revenue = ledger.counts_and_scores(math.floor(LAST_DAY))
    for one, is_default in with_default_dates(chance, plain):
        ann.take("loans", one.day, {"user_id": "ann", **one.fields})
        assert len(ann.rejects) == ann.known_letters + is_default, (seed, one, ann.rejects)
        ann.known_letters += is_default
        if is_default:
            assert ann.rejects[-1].code == RejectCode.IMPLAUSIBLE_DATE, (seed, one, ann.rejects[-1])
            assert ann.rejects[-1].message.split(" is ")[0].removeprefix("previous.") in one.fields
    ann.advance(LAST_DAY)
    row = ann.row()
    assert list(row.emitted_counts) == counts, f"seed {seed}"
    assert row.emitted[Score.STATUS] == pytest.approx(status, abs=1e-12, nan_ok=True), f"seed {seed}"
    assert row.emitted[Score.REVENUE] == pytest.approx(revenue, abs=1e-12, nan_ok=True), f"seed {seed}"


def test_nobody_is_written_off_or_paid_by_a_date_that_was_never_filled_in() -> None:
    for seed in range(20):
        check_dates(seed)


def test_the_readable_step_takes_no_date_that_was_never_filled_in() -> None:
    for seed in range(3):
        check_dates(seed, ReadableCustomers)


@pytest.mark.parametrize(
    "topic, name, fields",
    [
        ("transactions", "user_created", {"transaction_date": iso(1)}),
        ("transactions", "transaction_date", {}),
        ("applicants", "declared_at", {"income": 1.0}),
        ("outcomes", "known_at", {"model": "risk", "loan_id": "L", "label": 1.0}),
    ],
)
@pytest.mark.parametrize("date", ["0001-01-01", "1899-12-30", "1900-01-01", "1970-01-01", "1970-01-01T00:00:00Z"])
def test_dates_of_other_events_that_were_never_filled_in_are_letters(topic, name, fields, date) -> None:
    ann = Customers()
    if topic == "transactions":
        fields = {"transaction_amount": 5.0, "transaction_currency": "EUR", **fields}
    ann.take(topic, 1, {"event_id": "e", "user_id": "ann", **fields, name: date})
    (reject,) = ann.rejects
    early = name != "user_created" and date < "1900"
    assert reject.code == (RejectCode.BEFORE_FIRST_DAY if early else RejectCode.IMPLAUSIBLE_DATE)
    assert early or reject.message.startswith(f"{name} is ")
    assert "ann" not in {user.decode() for user, row in ann.rows.items() if row}


def test_an_account_may_be_older_than_any_event_and_a_deposit_may_come_before_the_order() -> None:
    ann = Customers()
    ann.transaction(0, 5.0, user_created="1951-05-02")
    ann.issued(0, "L", 10)
    ann.repaid(-30, "L", known=1)
    assert ann.rejects == []
    assert ann.row().loans[0].settled_day is not None


def known_of(customers: Customers, name: str) -> Known:
    """What came of a customer of a case."""
    packed = customers.rows.get(name.encode())
    letters = tuple(
        (RejectCode(reject.code).name, reject.message) for who, reject in customers.letters_by_user if who == name
    )
    if packed is None:
        return Known((0, 0, 0, 0, 0), None, None, letters)
    row = customers.row(name)
    status, revenue = (None if math.isnan(x) else x for x in row.emitted[Score.STATUS : Score.REVENUE + 1])
    return Known(tuple(row.emitted_counts), status, revenue, letters)


@pytest.mark.parametrize("world", [Customers, ReadableCustomers])
@pytest.mark.parametrize("case, check", [(COMES_AGAIN, check_comes_again), (DEFAULT_DATES, check_default_dates)])
def test_the_case_comes_to_what_its_page_says(case, check, world) -> None:
    customers = world()
    customers.letters_by_user = []
    for record in records_of(case):
        before = len(customers.rejects)
        customers.take_value(*record)
        customers.letters_by_user += [(record.key, reject) for reject in customers.rejects[before:]]
    customers._step([], time_ms(AFTERWARDS) or 0)
    check({name: known_of(customers, name) for name in sorted({record.key for record in records_of(case)})})
