"""The verdict: one word for each way workers can stand, and what to do."""

from __future__ import annotations

from streams.lag import Look, Verdict, judge

PLACE = ("loans", 0)
OTHER = ("transactions", 1)


def _look(seconds: float, taken: int, waiting: int, workers: int = 1, state: str = "STABLE") -> Look:
    return Look(seconds, workers, state, {PLACE: taken, OTHER: 5}, {PLACE: waiting, OTHER: 0})


def test_nothing_waiting_is_ok() -> None:
    assert judge(_look(0, 9, 0), _look(0, 9, 0)).verdict is Verdict.OK


def test_records_that_are_being_taken_are_behind_with_the_time_left() -> None:
    answer = judge(_look(0, 100, 1_000), _look(2, 300, 800))
    assert answer.verdict is Verdict.BEHIND
    assert "800 records wait; about 8 s at 100 records/s" in answer.sentence


def test_records_that_nobody_takes_are_stalled_and_the_place_is_named() -> None:
    answer = judge(_look(0, 100, 10), _look(2, 100, 10))
    assert answer.verdict is Verdict.STALLED
    assert "loans/0" in answer.sentence
    assert "transactions" not in answer.sentence


def test_a_record_that_came_between_the_looks_is_no_stall() -> None:
    assert judge(_look(0, 100, 0), _look(2, 100, 1)).verdict is Verdict.BEHIND


def test_no_worker_is_stopped_whether_anything_waits_or_not() -> None:
    assert judge(_look(0, 9, 0, workers=0), _look(0, 9, 0, workers=0)).verdict is Verdict.STOPPED
    answer = judge(_look(0, 9, 1, workers=0), _look(2, 9, 1, workers=0))
    assert (answer.verdict, answer.next) == (Verdict.STOPPED, "rescore worker")
    assert "1 record waits" in answer.sentence


def test_a_group_that_is_given_its_partitions_is_rebalancing() -> None:
    assert judge(_look(0, 9, 5), _look(2, 9, 5, state="PREPARING_REBALANCING")).verdict is Verdict.REBALANCING
