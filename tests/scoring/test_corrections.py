"""A correction finds what it corrects or is a dead letter: no sum of amounts and no count is ever below zero.

Right corrections are all taken, and leave the sums of the latest revisions. Whatever else is published as a correction
is taken or a dead letter, and what is left could still be sums of events.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from schemas.batch import Record
from schemas.decode import Decoder, decode
from schemas.kinds import RejectCode
from schemas.known_schemas import StaticRegistry
from schemas.times import iso_of, time_ms
from state.layout import decode_row, encode_row
from state.row import Day, Row
from state.table import Table
from state.versions import Policy, Rate, Versions, pack_currency
from streams.scoring.step import Clocks, step
from streams.versions.known import packaged_weights
from tests.scoring import random_streams as streams
from tests.scoring.customers import Customers, at_ms, iso
from tests.scoring.test_step_equals_oracle import run_both

DAY_MS = streams.DAY_MS
STATES = ("SUCCEEDED", "SUCCEEDED", None, "FAILED", "PENDING")
USD = pack_currency("USD")
RATES = [(streams.START_MS - 3_000 * DAY_MS, 0.9), (streams.START_MS + 100 * DAY_MS, 0.83)]


def rate_at(moment_ms: int) -> float:
    """Euros for a dollar."""
    return max((since_ms, rate) for since_ms, rate in RATES if since_ms <= moment_ms)[1]


@dataclass
class Books:
    """What one customer's sums must be: the latest revision of each event, in full."""

    random: Random
    now_ms: int = streams.START_MS
    transactions: dict[str, dict[str, Any]] = field(default_factory=dict)
    payments: dict[str, dict[str, Any]] = field(default_factory=dict)
    due: list[tuple[int, int]] = field(default_factory=list)  # (from which day on, due day)
    records: list[Record] = field(default_factory=list)

    @property
    def today(self) -> int:
        return self.now_ms // DAY_MS

    def publish(self, topic: str, **fields: Any) -> None:
        """One more record."""
        said = {name: value for name, value in fields.items() if value is not None} | {"user_id": "ann"}
        self.records.append(
            Record(topic, 0, len(self.records), self.now_ms, b"ann", json.dumps(said).encode()),
        )

    def issue(self, due_day: int, revision: int) -> None:
        """The one loan, or another due day for it."""
        self.due.append((self.today if revision else -(2**40), due_day))
        self.publish(
            "loans", event="issued", event_id="loan", loan_id="L", order_amount=1e9, gross_margin=1.0, currency="EUR",
            order_date=iso_of(streams.START_MS), due_date=iso_of(due_day * DAY_MS), revision=revision or None,
        )  # fmt: skip

    def due_on(self, day: int) -> int:
        """The due day in force on a day: one that was moved counts from the day after."""
        return [due for since, due in self.due if since < day][-1]

    def state_of(self, payment: dict[str, Any]) -> int:
        """0 on time to 4 written off, by the payment's own day."""
        day = (time_ms(payment["paid_at"]) or 0) // DAY_MS
        return sum(day - self.due_on(day) >= late for late in (1, 31, 91, 181))

    def transact(self) -> None:
        """A transaction, new or a right correction of one."""
        random = self.random
        days_ago = random.choice([0, 0, 0, random.random(), 30 * random.random(), 500 * random.random()])
        said = {
            "transaction_state": random.choice(STATES),
            "transaction_currency": random.choice(["EUR", "EUR", "USD"]),
            "transaction_amount": random.choice([0.0, 0.004, 12.5, -12.5, round(random.gauss(0, 400), 2)]),
            "transaction_date": iso_of(self.now_ms - int(days_ago * DAY_MS)),
        }
        if self.transactions and random.random() < 0.5:
            name = random.choice(list(self.transactions))
            previous = self.transactions[name]
            revision = previous["revision"] + random.choice([1, 1, 3])
            before = {key: value for key, value in previous.items() if value is not None and key != "revision"}
        else:
            name, revision, before = f"t{len(self.transactions)}", 0, None
        self.transactions[name] = said | {"revision": revision}
        self.publish("transactions", event_id=name, revision=revision or None, previous=before, **said)

    def pay(self) -> None:
        """A payment, new or a right correction of one, which may be that it bounced."""
        random = self.random
        said = {"amount": round(random.uniform(1, 900), 2), "paid_at": iso_of(self.now_ms - random.randrange(DAY_MS))}
        if self.payments and random.random() < 0.5:
            name = random.choice(list(self.payments))
            previous = self.payments[name]
            revision, before = previous["revision"] + 1, {key: previous[key] for key in ("amount", "paid_at")}
            said["amount"] = random.choice([0.0, said["amount"]])
        else:
            name, revision, before = f"p{len(self.payments)}", 0, None
        self.payments[name] = said | {"revision": revision, "state": self.state_of(said)}
        self.publish(
            "loans", event="repaid", event_id=name, loan_id="L", revision=revision or None, previous=before, **said
        )

    def days(self) -> dict[int, list[int]]:
        """Deposits, withdrawals, transactions, failed attempts by day."""
        sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for said in self.transactions.values():
            moment_ms = time_ms(said["transaction_date"]) or 0
            rate = 1.0 if said["transaction_currency"] == "EUR" else rate_at(moment_ms)
            minor = round(said["transaction_amount"] * rate * 100.0)
            state = said["transaction_state"] or ("SUCCEEDED" if said["transaction_amount"] else "FAILED")
            day = sums[moment_ms // DAY_MS]
            if state == "SUCCEEDED":
                day[0], day[1], day[2] = day[0] + max(minor, 0), day[1] + max(-minor, 0), day[2] + 1
            elif state == "FAILED":
                day[3] += 1
        return {day: counted for day, counted in sums.items() if any(counted)}

    def paid(self) -> list[int]:
        """What was paid of the loan by state."""
        sums = [0] * 5
        for said in self.payments.values():
            sums[said["state"]] += round(said["amount"] * 100.0)
        return sums


def books(seed: int, events: int = 160) -> Books:
    """A customer who publishes right corrections of everything, over some two years."""
    made = Books(Random(seed))
    made.issue(made.today + 30, 0)
    moves = 0
    for _ in range(events):
        made.now_ms += int(made.random.expovariate(1 / (5 * DAY_MS)))
        if moves < 3 and made.random.random() < 0.02:
            moves += 1
            made.issue(made.today + made.random.randrange(-20, 60), moves)
        made.transact() if made.random.random() < 0.6 else made.pay()
    return made


@pytest.mark.parametrize("seed", range(5))
def test_right_corrections_are_all_taken_and_leave_the_sums_of_the_latest_revisions(seed: int) -> None:
    made = books(seed)
    rates = [Rate(USD, since_ms, rate) for since_ms, rate in RATES]
    versions = Versions([Policy()], [packaged_weights()], rates)
    batch = decode(made.records, 0, Decoder(StaticRegistry(), 1))
    cuts = sorted({made.random.randrange(1, len(made.records)) for _ in range(4)})
    steps = run_both(batch, cuts, versions)
    assert [*batch.rejects, *(reject for one in steps for reject in one.journal.rejects)] == []
    row = decode_row(steps[-1].table.row(0) or b"")
    days = made.days()
    kept = {day: tuple(counted) for day, counted in days.items() if day > made.today - 365}
    held = {d.day: (d.deposits_minor, d.withdrawals_minor, d.transactions, d.failed) for d in row.days}
    assert held == kept
    lifetime = [sum(counted[i] for counted in days.values()) for i in range(4)]
    assert [row.deposits_minor, row.withdrawals_minor, row.transactions, row.failed] == lifetime
    assert row.loans[0].paid == made.paid()
    assert len(days) > len(kept) > 5


def not_below_zero(row: Row, today: int) -> None:
    """Every sum of amounts and every count of a row, and what the lifetime has beyond the days kept."""
    days = [day for day in row.days if day.day > today - 365]
    older = Day(
        0,
        row.deposits_minor - sum(day.deposits_minor for day in days),
        row.withdrawals_minor - sum(day.withdrawals_minor for day in days),
        row.transactions - sum(day.transactions for day in days),
        row.failed - sum(day.failed for day in days),
    )
    for held in [*row.days, older]:
        assert min(held.deposits_minor, held.withdrawals_minor, held.transactions, held.failed) >= 0, held
        assert held.transactions >= (held.deposits_minor > 0) + (held.withdrawals_minor > 0), held
    for loan in row.loans:
        assert min(loan.paid) >= 0, loan
    if row.folded is not None:
        folded = row.folded
        assert min(*folded.counts, folded.base, folded.order_amount, folded.cost, folded.promo) >= 0, folded
    for place in row.spending:
        assert place.amount_minor >= 0, place
        assert place.purchases > 0, place


def absurd(seed: int, events: int) -> list[Record]:
    """Events of two customers, half of them corrections of what was, what will be, or what never was."""
    random, now_ms, records = Random(seed), streams.START_MS, list[Record]()
    sent: list[tuple[str, dict[str, Any]]] = []
    for offset in range(events):
        now_ms += int(random.expovariate(1 / (3 * DAY_MS))) if random.random() < 0.7 else 0
        ago_ms = int(random.choice([0, 0, 0.3, 2, 500]) * DAY_MS * random.random())
        at, loan = iso_of(now_ms - ago_ms), f"L{random.randrange(3)}"
        topic, fields = random.choice(
            [("transactions", {
                "transaction_amount": random.choice([10.0, -10.0, 0.0, 25.5, round(random.gauss(0, 90), 2)]),
                "transaction_currency": random.choice(["EUR", "USD"]), "transaction_date": at,
                "transaction_state": random.choice(STATES), "mcc": random.choice([None, "5995", "7995"]),
            })] * 4 + [("loans", {
                "event": "repaid", "loan_id": loan, "amount": random.choice([10.0, 25.5, 60.0]), "paid_at": at,
            })] * 3 + [("loans", {
                "event": "issued", "loan_id": loan, "order_amount": 60.0, "gross_margin": random.choice([-3.0, 5.0]),
                "currency": "EUR", "order_date": at, "due_date": iso_of(now_ms + random.randrange(-30, 60) * DAY_MS),
                "promo": 1.0,
            }), ("loans", {"event": "cancelled", "loan_id": loan, "cancelled_at": at})]
        )  # fmt: skip
        fields = {"event_id": f"e{random.randrange(30)}", "user_id": random.choice(["ann", "bob"])} | fields
        if fields.get("event") != "cancelled" and random.random() < 0.5:
            fields["revision"] = random.randrange(1, 4)
            if fields.get("event") != "issued":
                fields["previous"] = described(random, topic, fields, sent)
        value = json.dumps({name: said for name, said in fields.items() if said is not None}).encode()
        records.append(Record(topic, 0, offset, now_ms, fields["user_id"].encode(), value))
        sent.append((topic, fields))
    return records


def described(
    random: Random, topic: str, fields: dict[str, Any], sent: list[tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    """What a correction says that it replaces: an event that was sent, nearly one, or itself."""
    names = ("amount", "paid_at") if topic == "loans" else (
        "transaction_amount", "transaction_currency", "transaction_date", "transaction_state", "mcc",
    )  # fmt: skip
    like = [one for at, one in sent if at == topic and one.get("event") == fields.get("event")]
    mine = [one for one in like if one["user_id"] == fields["user_id"]]
    chosen = random.choice(random.choice([mine, like, []]) or [fields])
    said = {name: chosen[name] for name in names if chosen.get(name) is not None}
    if random.random() < 0.2:
        name = names[0]
        said[name] = said[name] * random.choice([2.0, 0.5]) + random.choice([0.0, 0.01])
    return said


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_called_a_correction_no_sum_is_below_zero(seed: int) -> None:
    records = absurd(seed, 160)
    batch = decode(records, 0, Decoder(StaticRegistry(), 1))
    assert batch.rejects == []
    rates = [Rate(USD, since_ms, rate) for since_ms, rate in RATES]
    versions = Versions([Policy()], [packaged_weights()], rates, texts=streams.versions().texts)
    steps = run_both(batch, list(range(1, len(records))), versions)
    taken, codes = 0, []
    for one, record in zip(steps, records, strict=True):
        refused = [RejectCode(reject.code) for reject in one.journal.rejects]
        codes += refused
        for user in range(len(one.table.users)):
            packed = one.table.row(user)
            if packed is not None:
                not_below_zero(decode_row(packed), record.timestamp_ms // DAY_MS)
        taken += not refused
    assert taken + len(codes) == len(records)
    assert taken > 50
    assert codes.count(RejectCode.CORRECTION_OF_NOTHING) > 10


def previous(amount: float, day: float, state: str | None = "SUCCEEDED", currency: str = "EUR") -> dict[str, Any]:
    """What a transaction's correction replaces."""
    said = {"transaction_amount": amount, "transaction_currency": currency, "transaction_date": iso(day)}
    return said if state is None else said | {"transaction_state": state}


def codes_of(ann: Customers) -> list[RejectCode]:
    return [RejectCode(reject.code) for reject in ann.rejects]


def test_a_correction_that_comes_first_is_a_letter_and_is_taken_once_its_original_is_there() -> None:
    ann = Customers()
    ann.transaction(0, 5.0)
    correction = {"event_id": "e", "revision": 1, "previous": previous(100.0, 1)}
    ann.transaction(1, 120.0, known=2, **correction)
    assert codes_of(ann) == [RejectCode.CORRECTION_OF_NOTHING]
    (letter,) = ann.rejects
    assert letter.message == (
        "Revision 1 of event_id 'e' replaces a succeeded transaction of 100.0 EUR at 2026-01-02T00:00:00.000Z, which "
        "the customer does not have on that day: publish the original event first, then replay the dead letter; where "
        "`previous` is not the revision before, publish the correction again with the right one."
    )
    ann.transaction(1, 100.0, event_id="e", known=3)
    ann.transaction(1, 120.0, known=4, **correction)
    assert len(ann.rejects) == 1
    assert (ann.row().deposits_minor, ann.row().transactions) == (12_500, 2)


def test_a_correction_of_a_correction_replaces_the_latest_revision_alone() -> None:
    ann = Customers()
    ann.transaction(0, 100.0, event_id="e")
    ann.transaction(0, 120.0, event_id="e", revision=1, previous=previous(100.0, 0), known=1)
    ann.transaction(0, 150.0, event_id="e", revision=2, previous=previous(100.0, 0), known=2)
    assert codes_of(ann) == [RejectCode.CORRECTION_OF_NOTHING]  # 20 would be left that no transaction has moved
    ann.transaction(0, 150.0, event_id="e", revision=2, previous=previous(120.0, 0), known=3)
    assert len(ann.rejects) == 1
    assert (ann.row().deposits_minor, ann.row().transactions) == (15_000, 1)


@pytest.mark.parametrize("amount,counts", [(0.0, (1, 0)), (0.004, (0, 1))])
def test_a_transaction_without_a_state_is_corrected_as_what_it_was_counted(amount: float, counts: tuple) -> None:
    ann = Customers()
    ann.transaction(0, amount, event_id="e", transaction_state=None)
    assert (ann.row().failed, ann.row().transactions) == counts  # however little has moved, it was no failed attempt
    ann.transaction(0, 7.0, event_id="e", revision=1, previous=previous(amount, 0, None), known=1)
    assert ann.rejects == []
    assert (ann.row().failed, ann.row().transactions) == (0, 1)
    ann.transaction(0, 8.0, event_id="f", revision=1, previous=previous(amount, 0, None), known=2)
    assert codes_of(ann) == [RejectCode.CORRECTION_OF_NOTHING]


def test_a_pending_event_leaves_no_trace_and_its_final_state_needs_none() -> None:
    ann = Customers()
    ann.transaction(0, 9.0, event_id="e", revision=1, previous=previous(9.0, 0, "PENDING"))
    assert ann.rejects == []
    ann.transaction(0, 9.0, event_id="f", revision=1, previous=previous(9.0, 0, "FAILED"), known=1)
    assert codes_of(ann) == [RejectCode.CORRECTION_OF_NOTHING]


def test_the_original_is_looked_for_in_its_currency_and_on_its_own_day() -> None:
    ann = Customers(rates=[Rate(USD, at_ms(-10), 0.5), Rate(USD, at_ms(10), 0.25)])
    ann.transaction(0, 100.0, event_id="e", transaction_currency="USD")
    ann.transaction(20, 1.0, event_id="x")
    wrong = [previous(50.0, 20), previous(100.0, 1, currency="USD"), previous(1.0, 20, currency="GBP")]
    for said in wrong:
        ann.transaction(0, 10.0, event_id="e", revision=1, previous=said, known=20.5)
    assert codes_of(ann) == [*[RejectCode.CORRECTION_OF_NOTHING] * 2, RejectCode.UNKNOWN_CURRENCY]
    # At the rate of its own day, which another one has followed since.
    ann.transaction(0, 10.0, event_id="e", revision=1, previous=previous(100.0, 0, currency="USD"), known=20.6)
    assert len(ann.rejects) == 3
    assert (ann.row().deposits_minor, ann.row().transactions) == (1_100, 2)


def test_a_currency_the_customer_never_used_has_nothing_to_correct() -> None:
    ann = Customers(rates=[Rate(USD, at_ms(-10), 0.5)])
    ann.transaction(0, 50.0, event_id="e")
    ann.transaction(0, 10.0, event_id="e", revision=1, previous=previous(100.0, 0, currency="USD"), known=1)
    assert codes_of(ann) == [RejectCode.CORRECTION_OF_NOTHING]


def test_of_a_day_that_is_no_longer_kept_the_lifetime_sums_must_have_it_beyond_the_days() -> None:
    ann = Customers()
    ann.transaction(0, 100.0, event_id="old")
    ann.transaction(390, 100.0)
    ann.transaction(0, 30.0, event_id="old", revision=1, previous=previous(100.0, 0), known=400)
    assert ann.rejects == []
    assert (ann.row().deposits_minor, ann.row().transactions) == (13_000, 2)
    ann.transaction(0, 1.0, event_id="older", revision=1, previous=previous(100.0, 1), known=401)
    assert codes_of(ann) == [RejectCode.CORRECTION_OF_NOTHING]  # the other hundred lies in a day that is kept


def test_a_payment_is_covered_by_the_payments_of_its_state_on_its_own_loan() -> None:
    ann = Customers()
    ann.issued(0, "L-1", 10)
    ann.issued(0, "L-2", 10)
    ann.repaid(5, "L-1", 60.0, event_id="pay")
    bounced = {"event_id": "pay", "revision": 1, "amount": 0.0}
    for loan, before in (
        ("L-2", {"amount": 60.0, "paid_at": iso(5)}),
        ("L-1", {"amount": 60.01, "paid_at": iso(5)}),
        ("L-1", {"amount": 60.0, "paid_at": iso(11)}),
    ):
        ann.repaid(12, loan, **bounced, previous=before)
    assert codes_of(ann) == [RejectCode.CORRECTION_OF_NOTHING] * 3
    assert ann.rejects[0].message.startswith(
        "Revision 1 of event_id 'pay' replaces a payment of 60.0 at 2026-01-06T00:00:00.000Z, which loan 'L-2' does "
        "not have: publish the original event first, then replay the dead letter"
    )
    ann.repaid(13, "L-1", **bounced, previous={"amount": 60.0, "paid_at": iso(5)})
    assert len(ann.rejects) == 3
    assert [loan.paid for loan in ann.row().loans] == [[0] * 5, [0] * 5]


def test_rows_whose_sums_an_earlier_version_has_let_fall_below_zero_are_read_and_fall_no_further() -> None:
    ann = Customers()
    ann.transaction(0, 5.0)
    row = ann.row()
    row.deposits_minor, row.transactions, row.conflicts = -9_500, 0, 3
    row.days = [Day(row.days[0].day, -9_500, 0, 0, 0)]
    ann.rows[b"ann"] = encode_row(row, row.days[0].day)
    ann.transaction(0.5, 20.0, event_id="e", revision=1, previous=previous(10.0, 0))
    assert codes_of(ann) == [RejectCode.CORRECTION_OF_NOTHING]
    ann.transaction(0.6, 7.0)
    after = ann.row()
    assert (after.deposits_minor, after.transactions, after.conflicts) == (-8_800, 1, 3)


def test_a_letter_leaves_the_row_to_the_byte() -> None:
    ann = Customers()
    ann.transaction(0, 5.0, event_id="e")
    before = ann.rows[b"ann"]
    ann.transaction(0, 6.0, event_id="e", known=0.1)
    ann.transaction(0, 6.0, event_id="f", revision=1, previous=previous(7.0, 0), known=0.2)
    assert codes_of(ann) == [RejectCode.EVENT_ID_REUSED, RejectCode.CORRECTION_OF_NOTHING]
    assert ann.rows[b"ann"] == before
    empty = step(Table.of([b"ann"], [before]), decode([], 0, ann.decoder), ann.versions, Clocks(at_ms(0.2)))
    assert empty.table.row(0) == before
