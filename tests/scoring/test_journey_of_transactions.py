"""Transactions as scores see them: windows, lateness, duplicates, corrections, failed attempts, erasure, overrides."""

from __future__ import annotations

import math

import numpy as np
import pytest

from schemas.kinds import Reason, RejectCode
from state.versions import Policy, Rate, pack_currency
from streams.scoring.reasons import REASONS
from streams.scoring.reference.evaluate import features_of, window_sums
from tests.scoring.customers import Customers, at_ms, of


def day_number(day: float) -> int:
    return at_ms(day) // 86_400_000


def test_a_value_score_appears_with_the_first_transaction() -> None:
    (change,) = of(Customers().transaction(0, 100.0), "value")
    assert (change["sequence"], change["cause"]) == (1, "event")
    assert math.isnan(change["old"])
    assert 1.0 <= change["new"] <= 5.0


def test_levels_sum_to_the_value_and_moves_to_the_change() -> None:
    ann = Customers()
    rng = np.random.default_rng(7)
    changes = []
    for day in range(0, 300, 3):
        changes += ann.transaction(day, float(rng.normal(50, 400)))
        if day % 30 == 0:
            changes += ann.issued(day + 0.1, f"L-{day}", day + 20, promo=100.0)
        if day % 30 == 15 and day % 60 != 15:
            changes += ann.repaid(day + 0.2, f"L-{day - 15}", 50_000.0)
        changes += ann.advance(day + 2.5)
    numbers = [change for change in changes if change["reasons"]]
    assert {change["score"] for change in numbers} == {"value", "status", "revenue"}
    assert len(numbers) > 80
    for change in numbers:
        levels = math.fsum(level for level, _ in change["reasons"].values())
        moves = math.fsum(moved for _, moved in change["reasons"].values())
        start = change["base"] if math.isnan(change["old"]) else change["old"]
        assert change["base"] + levels == pytest.approx(change["new"], abs=1e-9)
        assert moves == pytest.approx(change["new"] - start, abs=1e-9)


def test_windows_are_exact_and_end_on_their_day() -> None:
    ann = Customers()
    events = [(0, 100.0), (0.5, -40.0), (3, 60.0), (29.9, 10.0), (30, -5.0), (365, 1.0)]
    for day, amount in events:
        ann.transaction(day, amount)
        row, today = ann.row(), day_number(day)
        for window in (1, 7, 30, 90, 365):
            held = [a for d, a in events if d <= day and day_number(d) > today - window]
            deposits, withdrawals, transactions, _ = window_sums(row, today, window)
            assert deposits == round(100 * sum(a for a in held if a > 0))
            assert withdrawals == round(-100 * sum(a for a in held if a < 0))
            assert transactions == len(held)
    assert (ann.row().deposits_minor, ann.row().transactions) == (17_100, 6)


def test_a_late_event_lands_in_its_own_day_and_a_very_late_one_in_the_lifetime_alone() -> None:
    ann = Customers()
    ann.transaction(400, 1.0)
    ann.transaction(390, 50.0, known=401)
    ann.transaction(10, 70.0, known=402)
    assert [(day.day, day.deposits_minor) for day in ann.row().days] == [
        (day_number(390), 5_000),
        (day_number(400), 100),
    ]
    assert ann.row().deposits_minor == 12_100


def test_an_event_published_again_changes_nothing_but_is_counted() -> None:
    ann = Customers()
    ann.transaction(0, 100.0, event_id="once")
    before = ann.row()
    assert ann.transaction(0, 100.0, event_id="once", known=0.5) == []
    row = ann.row()
    assert (row.duplicates, ann.rejects) == (1, [])
    assert (row.days, row.deposits_minor) == (before.days, before.deposits_minor)
    assert row.sequences == before.sequences


def test_another_event_under_a_known_id_is_a_letter_that_says_which() -> None:
    ann = Customers()
    ann.transaction(0, 100.0, event_id="once\x1b[2J")
    before = ann.rows[b"ann"]
    assert ann.transaction(0, 999.0, event_id="once\x1b[2J", known=0.6) == []
    (letter,) = ann.rejects
    assert letter.code == RejectCode.EVENT_ID_REUSED
    assert letter.message.startswith(
        "event_id 'once\\x1b[2J' is that of another transaction, with other content: give each event of a topic an "
        "event_id of its own; publish a change of an event as its correction (revision + 1, with `previous`)."
    )
    assert ann.rows[b"ann"] == before


def test_beyond_the_horizon_an_event_counts_again_as_the_readme_says() -> None:
    ann = Customers()
    ann.transaction(0, 100.0, event_id="once")
    ann.transaction(0, 100.0, event_id="once", known=1.1)
    assert ann.row().deposits_minor == 20_000


def test_more_events_than_are_remembered_are_counted_as_overruns() -> None:
    ann = Customers(Policy(duplicates_max=3))
    for n in range(5):
        ann.transaction(0.01 * n, 1.0)
    assert (len(ann.row().seen), ann.row().overruns) == (3, 2)


def test_a_correction_takes_back_what_was_on_its_own_day() -> None:
    ann = Customers()
    ann.transaction(0, 100.0, event_id="e")
    previous = {
        "transaction_amount": 100.0, "transaction_currency": "EUR", "transaction_date": "2026-01-01T00:00:00",
        "transaction_state": "SUCCEEDED",
    }  # fmt: skip
    changes = ann.transaction(2, -3000.0, event_id="e", revision=1, previous=previous)
    row = ann.row()
    assert [(d.day, d.deposits_minor, d.withdrawals_minor) for d in row.days] == [(day_number(2), 0, 300_000)]
    assert (row.deposits_minor, row.withdrawals_minor, row.transactions) == (0, 300_000, 1)
    assert {change["cause"] for change in changes} == {"correction"}


def test_pending_moves_nothing_and_its_final_state_comes_as_a_revision() -> None:
    ann = Customers()
    assert of(ann.transaction(0, 100.0, event_id="e", transaction_state="PENDING"), "value") == []
    previous = {
        "transaction_amount": 100.0, "transaction_currency": "EUR", "transaction_date": "2026-01-01T00:00:00",
        "transaction_state": "PENDING",
    }  # fmt: skip
    assert of(ann.transaction(0, 100.0, event_id="e", revision=1, previous=previous, known=1), "value")
    assert (ann.row().transactions, ann.row().deposits_minor) == (1, 10_000)


def test_a_failed_attempt_moves_no_money_and_is_counted_for_30_days() -> None:
    ann = Customers()
    ann.transaction(0, -100.0, transaction_state="DECLINED")
    row = ann.row()
    assert (row.withdrawals_minor, row.failed) == (0, 1)
    assert features_of(row, day_number(29))[12] == pytest.approx(math.log(2))
    assert features_of(row, day_number(30))[12] == 0.0


def test_several_currencies_are_converted_and_noticed_for_90_days() -> None:
    usd = pack_currency("USD")
    ann = Customers(rates=[Rate(usd, at_ms(-10), 0.5)])
    ann.transaction(0, 100.0)
    ann.transaction(1, 100.0, transaction_currency="USD", user_balance=40.0)
    row = ann.row()
    assert [day.deposits_minor for day in row.days] == [10_000, 5_000]
    assert sum(account.balance_minor for account in row.accounts) == 102_000
    assert [features_of(row, day_number(day))[18] for day in (1, 89, 90)] == [1.0, 1.0, 0.0]


def test_a_transaction_in_an_unknown_currency_is_a_dead_letter_that_leaves_no_trace() -> None:
    ann = Customers()
    ann.transaction(0, 1.0, transaction_currency="XYZ")
    assert [reject.code for reject in ann.rejects] == [RejectCode.UNKNOWN_CURRENCY]
    assert ann.rows.get(b"ann") is None


def test_silence_lowers_the_value_of_a_customer_who_was_active() -> None:
    ann = Customers()
    for day in range(90):
        ann.transaction(day, 300.0)
    last = ann.row().emitted[0]
    changes = of([change for day in range(90, 500) for change in ann.advance(day)], "value")
    assert changes[-1]["new"] < last
    assert {change["cause"] for change in changes} == {"time"}


def test_every_30_days_an_example_is_taken_and_its_label_known_30_days_later() -> None:
    ann = Customers()
    for day in range(120):
        ann.transaction(day, 100.0)
    days = [int(example["day"]) for example in ann.examples]
    assert np.diff(days).tolist() == [30] * (len(days) - 1)
    assert len(days) >= 2
    for example in ann.examples:
        inside = min(int(example["day"]) + 30, day_number(120)) - max(int(example["day"]), day_number(0))
        assert example["label"] == pytest.approx(math.log1p(inside))
        assert int(example["timestamp_ms"]) == (int(example["day"]) + 30) * 86_400_000
    assert ann.row().labels == len(days)


def test_examples_end_395_days_after_the_last_event_and_the_row_then_rests() -> None:
    ann = Customers()
    ann.transaction(0, 100.0)
    ann.advance(1000)
    days = [int(example["day"]) - day_number(0) for example in ann.examples]
    assert max(days) <= 395
    assert ann.row().pending is None
    assert ann.advance(3000) == []


def test_an_erased_customer_is_forgotten_and_comes_back_as_a_new_one() -> None:
    ann = Customers()
    ann.transaction(0, 100.0)
    ann.transaction(1, 100.0)
    first = ann.row()
    changes = ann.command(2, "erase", author="officer", reason="asked for")
    assert {change["cause"] for change in changes} == {"erasure"}
    assert all(math.isnan(change["new"]) for change in of(changes, "value"))
    marker = ann.row()
    assert not marker.exists
    assert (marker.days, marker.deposits_minor, marker.emitted[0]) == ([], 0, pytest.approx(math.nan, nan_ok=True))
    ann.transaction(1, 5.0, known=2.2)
    assert ann.rejects[-1].code == RejectCode.ERASED
    (again,) = of(ann.transaction(2.5, 5.0), "value")
    assert again["sequence"] == 1
    assert (ann.row().incarnation_rank, ann.row().incarnation_offset) != (
        first.incarnation_rank,
        first.incarnation_offset,
    )


def test_an_erasure_published_again_erases_again_who_has_come_back_since() -> None:
    ann = Customers()
    ann.transaction(0, 100.0)
    erasure = {"event_id": "7", "author": "officer", "reason": "asked for"}
    assert {change["cause"] for change in ann.command(1, "erase", **erasure)} == {"erasure"}
    assert ann.command(1.2, "erase", **erasure) == []  # nobody is left: nothing to say, only the marker is newer
    assert (ann.row().exists, ann.row().erased_ms, ann.row().seen) == (False, at_ms(1.2), [])
    ann.transaction(1.5, 5.0, event_id="7")  # an id of another kind
    assert ann.row().deposits_minor == 500
    assert {change["cause"] for change in ann.command(1.6, "erase", **erasure)} == {"erasure"}
    assert (ann.row().exists, ann.row().erased_ms, ann.row().deposits_minor) == (False, at_ms(1.6), 0)
    assert ann.rejects == []


def test_an_erasure_without_a_number_of_its_own_leaves_no_hash_of_what_was_erased() -> None:
    ann = Customers()
    ann.transaction(0, 100.0, event_id="7")
    ann.command(1, "erase", event_id=None, author="officer")
    assert ann.row().seen == []
    assert ann.transaction(1.5, 8.0, event_id="7")
    assert ann.rejects == []


def test_the_marker_of_an_erasure_ends_with_the_horizon() -> None:
    ann = Customers()
    ann.transaction(0, 100.0)
    ann.command(1, "erase", author="officer", reason="asked for")
    ann.advance(1.99)
    assert ann.rows[b"ann"] is not None
    ann.advance(2.01)
    assert ann.rows[b"ann"] is None


def test_an_override_holds_a_score_until_it_expires() -> None:
    ann = Customers()
    ann.transaction(0, 100.0)
    computed = ann.row().emitted[0]
    (held,) = ann.command(
        1, "override", score="value", value=4.8, expires_at="2026-01-11T12:00:00", author="a", reason="b"
    )
    assert (held["new"], held["cause"], held["reasons"]) == (4.8, "override", {"OVERRIDE": (4.8, 4.8 - computed)})
    assert held["valid_until"] <= 10.5
    assert of(ann.transaction(2, 90_000.0), "value") == []
    (freed,) = of(ann.advance(10.5), "value")
    assert (freed["old"], freed["cause"], freed["day"]) == (4.8, "override", 10.5)
    assert "EARLIER_SMALL_MOVES" not in freed["reasons"]
    assert freed["reasons"]["OVERRIDE_ENDED"][1] != 0.0
    assert REASONS[Reason.OVERRIDE_ENDED].text == "the manual override ended"
    assert sum(moved for _, moved in freed["reasons"].values()) == pytest.approx(freed["new"] - 4.8)
    assert freed["sequence"] == held["sequence"] + 1


def test_an_override_that_has_expired_when_it_comes_is_a_dead_letter_and_changes_nothing() -> None:
    ann = Customers()
    ann.transaction(0, 100.0)
    held = {"score": "value", "author": "a", "reason": "b"}
    ann.command(1, "override", value=4.8, expires_at="2026-01-21", **held)
    for day, expires_at in ((10.5, "2026-01-11"), (11, "2026-01-12"), (11, "1970-01-01")):  # also the very moment
        assert ann.command(day, "override", value=1.5, expires_at=expires_at, **held) == []
    assert [reject.code for reject in ann.rejects] == [RejectCode.OVERRIDE_EXPIRED] * 3
    assert "order it again with an expiry to come" in ann.rejects[0].message
    assert [override.value for override in ann.row().overrides] == [4.8]


def test_lifting_an_override_goes_back_at_once() -> None:
    ann = Customers()
    ann.transaction(0, 100.0)
    computed = ann.row().emitted[0]
    ann.command(1, "override", score="value", value=4.8, expires_at="2027-01-01", author="a", reason="b")
    (freed,) = of(ann.command(1.5, "lift", score="value", author="a", reason="b"), "value")
    assert (freed["old"], freed["cause"]) == (4.8, "override")
    assert freed["new"] == pytest.approx(computed, abs=0.2)


def test_a_record_behind_its_time_is_taken_at_the_users_clock_and_journaled() -> None:
    ann = Customers()
    ann.transaction(5, 100.0)
    ann.transaction(4, 50.0)
    (inversion,) = ann.inversions
    assert (inversion["ordinal"], inversion["clock_ms"]) == (1, at_ms(5))
    assert ann.row().inversions == 1


def test_one_user_is_the_same_alone_and_among_others() -> None:
    alone, among = Customers(), Customers()
    rng = np.random.default_rng(3)
    for day in range(60):
        amount = float(rng.normal(0, 200))
        alone.transaction(day, amount, event_id=f"a{day}")
        among.offset = alone.offset - 1
        among.transaction(day, amount, event_id=f"a{day}")
        for other in ("bob", "eve"):
            among.transaction(day + 0.1, float(rng.normal(0, 50)), user=other)
        alone.offset = max(alone.offset, among.offset)
    assert repr(among.row().emitted) == repr(alone.row().emitted)
    assert among.row().sequences == alone.row().sequences
