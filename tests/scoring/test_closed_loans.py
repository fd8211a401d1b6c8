"""What a row remembers of closed loans and counted payments: bounds, order, collisions, rows of older layouts; and the
compiled code says the same as the readable one."""

from __future__ import annotations

import random
from itertools import count

import numpy as np
import pytest

from schemas.batch import EventBatch
from schemas.kinds import Kind, RejectCode
from state import closed_loans
from state.layout import decode_row, encode_row
from state.row import LOAN_PAYMENTS_MAX, ROW_CLOSED_MAX, ClosedLoan, Loan, Row
from state.table import Table
from state.versions import Policy
from streams.scoring.reference import step as oracle
from streams.scoring.step import Clocks, step
from tests.scoring import random_streams as streams
from tests.scoring.customers import Customers, at_ms

EUR = 0x455552


def loan(name: str, order_day: int) -> Loan:
    return Loan(name.encode(), EUR, 100, 10, 0, 100, 10, 0, order_day * 86_400_000, order_day, order_day + 30, 0)


@pytest.mark.parametrize("seed", range(3))
def test_of_many_closed_loans_the_newest_are_known_whatever_the_order_in_which_they_were_closed(seed: int) -> None:
    chance, rows = random.Random(seed), []
    loans = [loan(f"L-{i}", chance.randrange(20_000, 20_150)) for i in range(ROW_CLOSED_MAX + 50)]
    for _ in range(2):
        chance.shuffle(loans)
        row = Row()
        for one in loans:
            closed_loans.remember_closed(row, one, cancelled=False)
        rows.append(row)
    assert rows[0] == rows[1]
    by_day = sorted(loans, key=lambda one: (one.order_day, closed_loans.id_hash(one.loan_id)))
    assert rows[0].closed_until_day == by_day[49].order_day
    assert [closed_loans.closed_loan(rows[0], one.loan_id) is not None for one in by_day] == [False] * 50 + [True] * 256


def test_a_loan_that_is_closed_twice_is_remembered_once() -> None:
    row = Row()
    for cancelled in (True, False):
        closed_loans.remember_closed(row, loan("L", 20_000), cancelled)
    assert row.closed == [ClosedLoan(closed_loans.id_hash(b"L"), 20_000, True)]


def test_a_payment_is_known_by_identity_and_amount() -> None:
    held = loan("L", 20_000)
    assert not closed_loans.is_known_payment(held, 7, 100)
    closed_loans.remember_payment(held, 7, 100)
    assert closed_loans.is_known_payment(held, 7, 100)
    assert not closed_loans.is_known_payment(held, 7, 101)
    assert not closed_loans.is_known_payment(held, 8, 100)
    assert not closed_loans.remember_payment(held, 0, 100)
    assert not closed_loans.is_known_payment(held, 0, 100)


def test_of_very_many_payments_the_newest_are_known_and_the_row_says_how_many_are_not() -> None:
    ann = Customers()
    ann.issued(0, "L", 400)
    for day in range(1, LOAN_PAYMENTS_MAX + 4):
        ann.repaid(day, "L", 1.0, event_id=f"pay-{day}")
    row = ann.row()
    assert (len(row.loans[0].payments), row.overruns) == (LOAN_PAYMENTS_MAX, 3)
    paid = row.loans[0].paid
    ann.repaid(4, "L", 1.0, event_id="pay-4", known=200)
    assert (ann.row().loans[0].paid, ann.row().duplicates) == (paid, 1)
    ann.repaid(3, "L", 1.0, event_id="pay-3", known=201)  # forgotten: docs/limits.md
    assert ann.row().loans[0].paid[0] == paid[0] + 100


def test_the_compiled_fold_forgets_what_the_readable_one_forgets() -> None:
    """More loans are closed than a row remembers; then loans come that are known, forgotten and new."""
    chance = np.random.default_rng(5)
    batch = streams.stream(5, events=2 * ROW_CLOSED_MAX + 260, users=1, gap_days=0.0, inversions=0.0)
    names, text = count(), bytearray()
    for i, fields in enumerate(batch.events):
        kind = Kind.LOAN_ISSUED if i % 2 == 0 else Kind.LOAN_CANCELLED
        name = b"N-%d" % (next(names) if i % 2 == 0 else i // 2)
        if i > 2 * ROW_CLOSED_MAX + 160:
            kind, name = Kind.LOAN_ISSUED, b"N-%d" % chance.integers(2 * ROW_CLOSED_MAX)
        fields["kind"], fields["rank"], fields["currency"] = kind, streams.RANKS[kind], EUR
        fields["event_hash"], fields["revision"], fields["has_previous"] = 1_000 + i, 0, False
        fields["timestamp_ms"] = streams.START_MS + i * 1_000
        fields["event_time_ms"] = streams.START_MS - int(chance.integers(400)) * streams.DAY_MS
        fields["due_ms"], fields["order_amount"] = streams.START_MS + 30 * streams.DAY_MS, 100.0
        fields["loan_id_at"], fields["loan_id_length"] = len(text), len(name)
        fields["point_length"] = fields["province_length"] = 0
        text += name
    batch = EventBatch(0, batch.records, batch.events, np.frombuffer(bytes(text), np.uint8), batch.users)
    versions, clock_ms = streams.versions(adoptions=False), int(batch.events["timestamp_ms"].max())
    fast = step(Table.of(batch.users, [None]), batch, versions, Clocks(clock_ms))
    slow = oracle.step(batch.users, [None], batch, versions, clock_ms)
    assert fast.table.row(0) == slow.rows[0]
    assert fast.journal.rejects == slow.rejects
    row = decode_row(fast.table.row(0) or b"")
    assert len(row.closed) == ROW_CLOSED_MAX
    assert row.closed_until_day is not None
    said = {
        words for reject in slow.rejects for words in ("was cancelled", "cannot be told") if words in reject.message
    }
    assert said == {"was cancelled", "cannot be told"}
    assert any(row.loans)


def test_a_loan_that_may_be_a_forgotten_one_is_refused_with_both_causes_and_a_newer_one_is_taken() -> None:
    ann = Customers()
    for i in range(ROW_CLOSED_MAX + 1):
        ann.issued(i * 0.01 + (i > 0), f"L-{i}", 300)
        ann.cancelled(i * 0.01 + (i > 0) + 0.001, f"L-{i}")
    assert ann.rejects == []
    ann.issued(0, "L-0", 300, known=50)
    ann.issued(0, "L-new", 300, known=51)
    first, second = ann.rejects
    assert first.code == second.code == RejectCode.LOAN_CLOSED
    for words in ("ordered on 2026-01-01", "if it was settled or cancelled before, drop", "if it was never published"):
        assert words in first.message
    ann.repaid(52, "L-0")
    assert ann.rejects[-1].code == RejectCode.UNKNOWN_LOAN
    assert "settled or cancelled before" in ann.rejects[-1].message
    ann.issued(53, "L-newer", 300)
    assert len(ann.rejects) == 3
    assert [one.loan_id for one in ann.row().loans] == [b"L-newer"]


def test_an_erased_customer_has_no_closed_loans() -> None:
    ann = Customers()
    ann.issued(0, "L", 300)
    ann.cancelled(1, "L")
    assert len(ann.row().closed) == 1
    ann.command(2, "erase")
    assert (ann.row().closed, ann.row().closed_until_day) == ([], None)
    ann.issued(3, "L", 300)
    assert [one.loan_id for one in ann.row().loans] == [b"L"]


def as_version_3(row: Row) -> bytes:
    """The bytes that the program before wrote: no payments of loans, no closed loans."""
    for one in row.loans:
        assert one.payments == []
    row.closed, row.closed_until_day = [], None
    newest = bytearray(encode_row(row, row.clock_ms // 86_400_000))
    assert row.loans == []  # else each would end with the number of its payments
    newest[0] = 3
    return bytes(newest)


def test_a_row_of_layout_3_refuses_what_it_may_have_folded_and_takes_new_loans() -> None:
    ann = Customers()
    for i, day in enumerate((0, 40, 80)):
        ann.issued(day, f"L-{i}", day + 10)
        ann.repaid(day + 5, f"L-{i}")
    ann.transaction(300, 5.0)
    before = ann.row()
    assert before.folded is not None
    assert before.folded.counts == [3, 0, 0, 0, 0]
    ann.rows[b"ann"] = as_version_3(before)
    for i, day in enumerate((0, 40, 80)):
        ann.issued(day, f"L-{i}", day + 10, known=301 + i)
    assert [reject.code for reject in ann.rejects] == [RejectCode.LOAN_CLOSED] * 3
    ann.repaid(85, "L-2", known=305)  # one of the two whose ids the sums hold
    assert ann.rejects[-1].code == RejectCode.LOAN_CLOSED
    ann.repaid(45, "L-1", known=306)
    assert ann.rejects[-1].code == RejectCode.UNKNOWN_LOAN
    rejected = len(ann.rejects)
    ann.issued(310, "L-3", 320)
    ann.issued(200, "L-4", 320, known=311)  # published late, ordered after all that was folded
    assert len(ann.rejects) == rejected
    assert [one.loan_id for one in ann.row().loans] == [b"L-3", b"L-4"]
    assert ann.row().folded == before.folded


def test_a_row_of_layout_3_without_folded_loans_refuses_nothing() -> None:
    ann = Customers()
    ann.transaction(0, 5.0)
    ann.rows[b"ann"] = as_version_3(ann.row())
    ann.issued(-400, "L", 10, known=1)
    assert ann.rejects == []
    assert at_ms(0) == ann.row().last_event_ms or ann.row().events == 2


def test_the_policy_says_how_long_before_the_order_a_payment_may_be() -> None:
    for days, refused in ((10, True), (11, False)):
        ann = Customers(Policy(payment_days_before_order=days))
        ann.issued(100, "L", 110)
        ann.repaid(89, "L", known=101)
        assert [reject.code for reject in ann.rejects] == [RejectCode.IMPLAUSIBLE_DATE] * refused
