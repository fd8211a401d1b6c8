"""A loan's life as scores see it: the source's cases, passing days, bounced payments, corrections in any order."""

from __future__ import annotations

import math

import pytest

from schemas.kinds import RejectCode
from state.versions import Policy
from streams.scoring.status import status_score
from tests.scoring.customers import Customers, of


def status_of(counts: list[int]) -> float:
    return float(status_score([counts])[0])


def test_case_1_of_the_source_four_loans_paid_late() -> None:
    ann = Customers()
    for n, due in enumerate([10, 20, 30, 40]):
        ann.issued(n, f"L-{n}", due)
    changes = []
    for n, paid in enumerate([10 + 18, 20 + 18, 30 + 41, 40 + 235]):
        changes += ann.repaid(paid, f"L-{n}")
    assert of(changes, "status")[-1]["new"] == pytest.approx(2.174, abs=5e-4)
    assert of(changes, "revenue")[-1]["new"] == pytest.approx(1.0, abs=1e-9)
    assert of(changes, "revenue")[-1]["reasons"]["LATE_COSTS"][0] == pytest.approx(-0.10)


def test_case_2_of_the_source_a_loan_repaid_in_part_while_npl() -> None:
    ann = Customers()
    for n in range(6):
        ann.issued(0, f"L-{n}", 10)
    changes = ann.repaid(9, "L-0") + ann.repaid(9, "L-1")
    for n, late in ((2, 6), (3, 19), (4, 11)):
        changes += ann.repaid(10 + late, f"L-{n}")
    changes += ann.repaid(10 + 120, "L-5", 80_850.0)
    changes += ann.repaid(10 + 223, "L-5", 19_150.0)
    assert of(changes, "status")[-1]["new"] == pytest.approx(2.641, abs=5e-4)
    assert of(changes, "revenue")[-1]["new"] == pytest.approx(1.04840, abs=1e-5)


def test_time_alone_moves_the_status_on_each_of_the_four_days_at_the_turn_of_the_day() -> None:
    ann = Customers()
    assert of(ann.issued(0, "L-1", 10), "status") == []
    assert of(ann.advance(10.99), "status") == []
    seen = []
    for day in range(11, 230):
        seen += of(ann.advance(day), "status")
    assert [(change["day"], change["cause"], change["loan"]) for change in seen] == [
        (11.0, "time", "L-1"),
        (41.0, "time", "L-1"),
        (101.0, "time", "L-1"),
        (191.0, "time", "L-1"),
    ]
    expected = [status_of(counts) for counts in ([0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1])]
    assert [change["new"] for change in seen] == pytest.approx(expected)
    assert seen[0]["new"] < status_of([1, 0, 0, 0, 0])
    assert math.isnan(seen[0]["old"])


def test_a_policy_lets_an_unpaid_loan_count_only_from_day_31_past_due() -> None:
    """By the source's formula one day past due raises a short history: 2.23 with one loan on time, 2.46 with that."""
    said = {}
    for first_day in (1, 31):
        ann = Customers(Policy(count_unpaid_from_day=first_day))
        ann.issued(0, "L-1", 10)
        ann.repaid(9, "L-1")
        ann.issued(20, "L-2", 30)
        changes = [change for day in range(21, 240) for change in ann.advance(day)]
        said[first_day] = [(change["day"], change["new"]) for change in of(changes, "status")]
        assert {change["day"] for change in of(changes, "revenue")} == {day for day, _ in said[first_day]}
        assert ann.row().emitted_counts == [1, 0, 0, 0, 1]
    late = [status_of(counts) for counts in ([1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1])]
    assert late[0] > status_of([1, 0, 0, 0, 0])
    assert said[1] == [(31.0, late[0]), (61.0, late[1]), (121.0, late[2]), (211.0, late[3])]
    assert said[31] == said[1][1:]


def test_a_loan_paid_late_counts_whatever_the_policy_says_of_unpaid_ones() -> None:
    for first_day in (1, 31):
        ann = Customers(Policy(count_unpaid_from_day=first_day))
        ann.issued(0, "L-1", 10)
        changes = of(ann.advance(15) + ann.repaid(15, "L-1"), "status")
        assert changes[-1]["new"] == status_of([0, 1, 0, 0, 0])


def test_one_long_silence_says_the_same_as_many_short_ones() -> None:
    slow, fast = Customers(), Customers()
    for one in (slow, fast):
        one.transaction(0, 500)
        one.issued(0, "L-1", 10)
    said = [change for day in range(1, 400) for change in slow.advance(day)]
    assert repr(fast.advance(399)) == repr(said)  # NaN is not equal to itself, its text is
    assert slow.rows == fast.rows


def test_valid_until_is_kept() -> None:
    ann = Customers()
    changes = ann.transaction(0, 500) + ann.issued(0, "L-1", 10)
    until = changes[-1]["valid_until"]
    for day in range(1, 60):
        now = ann.advance(day)
        assert not now or day >= until
        if now:
            until = now[-1]["valid_until"]


def test_a_bounced_payment_reopens_the_loan_as_if_never_paid() -> None:
    paid, never = Customers(), Customers()
    for one in (paid, never):
        one.issued(0, "L-1", 10)
    paid.repaid(5, "L-1", event_id="pay")
    paid.repaid(
        6, "L-1", 0.0, event_id="pay", revision=1, previous={"amount": 100_000.0, "paid_at": "2026-01-06T00:00:00"}
    )
    never.advance(6)
    assert [(c["score"], c["new"]) for c in paid.advance(50)][-1] == [
        (c["score"], c["new"]) for c in never.advance(50)
    ][-1]
    assert paid.row().loans[0].paid == [0] * 5


def test_a_correction_that_comes_before_what_it_corrects_is_a_letter_that_can_come_back() -> None:
    first, second = Customers(), Customers()
    original = {"event_id": "pay", "amount": 60_000.0}
    correction = {
        "event_id": "pay", "amount": 90_000.0, "revision": 1,
        "previous": {"amount": 60_000.0, "paid_at": "2026-01-06T00:00:00"},
    }  # fmt: skip
    for one, order in ((first, (original, correction)), (second, (correction, original, correction))):
        one.issued(0, "L-1", 10)
        for fields in order:
            one.repaid(5, "L-1", **fields)
    assert [reject.code for reject in first.rejects] == []
    assert [reject.code for reject in second.rejects] == [RejectCode.CORRECTION_OF_NOTHING]
    assert first.row().loans == second.row().loans
    assert first.row().loans[0].paid == [9_000_000, 0, 0, 0, 0]


def test_a_correction_without_what_it_replaces_is_a_dead_letter() -> None:
    ann = Customers()
    ann.issued(0, "L-1", 10)
    ann.repaid(5, "L-1", revision=1)
    assert [reject.code for reject in ann.rejects] == [RejectCode.CORRECTION_WITHOUT_PREVIOUS]


def test_moving_the_due_date_leaves_payments_their_state_and_ages_the_rest_anew() -> None:
    ann = Customers()
    ann.issued(0, "L-1", 10, event_id="issue")
    ann.repaid(15, "L-1", 40_000.0)
    ann.issued(0, "L-1", 40, event_id="issue", revision=1, known=20)
    assert ann.rejects == []
    assert ann.row().loans[0].paid == [0, 4_000_000, 0, 0, 0]
    ann.repaid(41, "L-1", 60_000.0)
    assert ann.row().loans[0].paid == [0, 10_000_000, 0, 0, 0]


def test_overpayment_scores_nothing() -> None:
    ann = Customers()
    ann.issued(0, "L-1", 10)
    ann.repaid(5, "L-1", 250_000.0)
    assert of(ann.repaid(20, "L-1", 5_000.0), "revenue") == []


def test_a_payment_of_an_unknown_loan_is_a_dead_letter_that_can_come_back() -> None:
    ann = Customers()
    assert ann.repaid(5, "L-1") == []
    assert [reject.code for reject in ann.rejects] == [RejectCode.UNKNOWN_LOAN]
    assert ann.rows.get(b"ann") is None
    ann.issued(6, "L-1", 10)
    assert of(ann.repaid(5, "L-1", known=7), "status")[0]["new"] == pytest.approx(2.229, abs=5e-4)


@pytest.mark.parametrize("allowed", [False, True])
def test_cancelling_after_the_due_day_needs_the_policy(allowed: bool) -> None:
    ann = Customers(Policy(cancel_after_due=allowed))
    ann.issued(0, "L-1", 10)
    ann.advance(12)
    changes = of(ann.cancelled(13, "L-1"), "status")
    assert [reject.code for reject in ann.rejects] == ([] if allowed else [RejectCode.CANCEL_AFTER_DUE])
    assert [math.isnan(change["new"]) for change in changes] == ([True] if allowed else [])


def test_folding_a_settled_loan_after_90_days_moves_no_score_and_closes_it() -> None:
    ann = Customers()
    for n in range(3):
        ann.issued(0, f"L-{n}", 10, gross_margin=333.33, order_amount=777.77, promo=1.11)
        ann.repaid(10 + 20 * n, f"L-{n}", 777.77)
    before = ann.row()
    ann.transaction(200, 5.0)
    row = ann.row()
    assert len(before.loans) == 3
    assert row.loans == []
    assert row.folded is not None
    assert row.folded.counts == [1, 1, 1, 0, 0]
    assert row.emitted[1:3] == before.emitted[1:3]
    ann.repaid(201, "L-0", 5.0)
    assert [reject.code for reject in ann.rejects] == [RejectCode.LOAN_CLOSED]


def test_the_point_is_that_of_the_latest_loan_and_goes_back_when_it_is_cancelled() -> None:
    ann = Customers()
    ann.issued(0, "L-1", 10, point="p-1")
    ann.repaid(1, "L-1")
    ann.issued(2, "L-2", 30, point="p-2")
    assert of(ann.issued(3, "L-3", 9, point="p-3"), "revenue") == []
    assert ann.advance(10)[-1]["point"] == "p-3"
    ann.repaid(11, "L-3")
    ann.cancelled(12, "L-2")
    assert {change["point"] for change in ann.issued(12.5, "L-4", 13, point="p-1") + ann.advance(14)} == {"p-1"}
