"""The verdict: one word for each way workers can stand, and what to do."""

from __future__ import annotations

from streams.log.open_transactions import OpenTransaction
from streams.monitoring.lag import HUNG_MS, Look, StoreLook, Verdict, judge

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


NOW_MS = 1_800_000_000_000
OPEN = OpenTransaction("transactions", 0, 17, 19, NOW_MS - 3_000, by_broker=True)


def _behind(waiting: int = 0, workers: int = 1, open_one: OpenTransaction | None = OPEN, taken: int = 9) -> Look:
    found = {} if open_one is None else {("transactions", 0): open_one}
    return Look(0, workers, "STABLE", {PLACE: taken}, {PLACE: waiting}, found)


def test_a_transaction_that_is_open_all_the_while_is_named_with_its_beginning() -> None:
    answer = judge(_behind(), _behind(), wall_ms=NOW_MS)
    assert answer.verdict is Verdict.BEHIND
    assert "all that is committed is taken; a transaction of a publisher on transactions/0" in answer.sentence
    assert "is open since 2027-01-15T07:59:57Z: 2 offsets from 17 on wait for it" in answer.sentence
    assert "describe-producers --topic transactions --partition 0" in answer.next


def test_one_that_is_open_for_long_hangs_and_what_ends_it_is_said() -> None:
    old = OPEN._replace(first_ms=NOW_MS - HUNG_MS)
    answer = judge(_behind(open_one=old), _behind(open_one=old), wall_ms=NOW_MS)
    assert answer.verdict is Verdict.STALLED
    assert "kafka-transactions.sh abort --topic transactions --partition 0 --start-offset 17" in answer.next


def test_a_publisher_that_goes_on_is_no_trouble() -> None:
    following = OPEN._replace(offset=19, end=21)
    assert judge(_behind(), _behind(open_one=following), wall_ms=NOW_MS).verdict is Verdict.OK
    assert judge(_behind(), _behind(open_one=None), wall_ms=NOW_MS).verdict is Verdict.OK
    assert judge(_behind(5), _behind(3, open_one=following, taken=12), wall_ms=NOW_MS).verdict is Verdict.BEHIND


def test_records_that_nobody_takes_are_stalled_and_the_open_transaction_is_named_too() -> None:
    answer = judge(_behind(4), _behind(4), wall_ms=NOW_MS)
    assert answer.verdict is Verdict.STALLED
    assert "nothing was taken from loans/0; a transaction of a publisher on transactions/0" in answer.sentence
    assert "a transaction of a publisher" in judge(_behind(workers=0), _behind(workers=0), wall_ms=NOW_MS).sentence


def test_in_a_history_only_the_time_of_the_first_record_is_known() -> None:
    own = OPEN._replace(first_ms=725_846_400_000, by_broker=False)
    answer = judge(_behind(open_one=own), _behind(open_one=own), wall_ms=NOW_MS)
    assert answer.verdict is Verdict.BEHIND
    assert "is open (its first record is of 1993-01-01T00:00:00Z)" in answer.sentence


def test_a_halted_partition_is_halted_whether_anything_waits_or_not() -> None:
    store = StoreLook(halted={2: "the store is ahead. Look.", 0: "the group was reset."})
    for waiting in (0, 9):
        answer = judge(_look(0, 9, waiting), _look(2, 9, waiting), store)
        assert answer.verdict is Verdict.HALTED
        assert answer.sentence.startswith("partition 0 is halted: the group was reset; so is partition 2; ")
    assert judge(_look(0, 9, 0, workers=0), _look(0, 9, 0, workers=0), store).verdict is Verdict.STOPPED


def test_rows_being_restored_and_timers_that_do_not_fire_are_not_ok() -> None:
    look = _look(0, 9, 0)
    assert judge(look, look, StoreLook(restoring=(3,))).verdict is Verdict.BEHIND
    answer = judge(look, look, StoreLook(overdue_ms={1: 86_400_000, 2: 0}))
    assert answer.verdict is Verdict.BEHIND
    assert "timers of partition 2 are due since 1970-01-01T00:00:00Z" in answer.sentence
