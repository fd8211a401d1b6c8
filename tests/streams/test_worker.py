"""The loop on twins: everything said once and in order, timers in silence, limits kept."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batch import FOREVER_MS
from streams.log.memory import CommitFault
from streams.log.protocol import TopicPartition
from streams.worker.observer import BatchReport, Observer
from tests.streams.world import INPUTS, World


class Reports(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.batches: list[BatchReport] = []
        self.holds: list[str] = []
        self.halts: dict[int, str] = {}
        self.lags: list[dict[tuple[str, int], int]] = []

    def batch(self, report: BatchReport) -> None:
        self.batches.append(report)

    def held(self, reason: str) -> None:
        self.holds.append(reason)

    def halted(self, partition: int, reason: str) -> None:
        self.halts[partition] = reason

    def lag(self, records, seconds) -> None:  # type: ignore[no-untyped-def]
        self.lags.append(dict(records))


class Backs(Observer):
    """Notes when a batch came to nothing."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.at_ms: list[int] = []

    def rewound(self, partitions, reason) -> None:  # type: ignore[no-untyped-def]
        self.at_ms.append(self.now_ms)


class Buffers(Observer):
    """Keeps the last that was told of what waits."""

    last = (0, 0, 0)

    def buffered(self, records: int, size_bytes: int, held_back: int) -> None:
        self.last = (records, size_bytes, held_back)


class Shut:
    """A gate that lets no time pass."""

    def until_ms(self, newest_ms: int) -> int:
        return -FOREVER_MS


def test_everything_is_said_once_and_in_the_order_of_time() -> None:
    world = World()
    world.story()
    world.run(world.worker())
    world.check()


def test_two_workers_share_the_partitions_and_say_the_same() -> None:
    world = World()
    world.story()
    world.run(world.worker("a"), world.worker("b"))
    world.check()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 30))
def test_batch_cuts_alter_nothing(records_max: int, users_max: int, buffered_max: int) -> None:
    world = World()
    world.story(users=4, days=4)
    world.run(world.worker(records_max=records_max, users_max=users_max, buffered_max=buffered_max))
    world.check()


def test_partitions_take_turns_where_they_may_not_share_a_transaction() -> None:
    world, reports = World(), Reports()
    for i in range(40):
        for user in ("ann", "bob", "cem", "dee"):
            world.write("transactions", user, i)
    world.run(world.worker(observer=reports, records_max=200, users_max=1, partitions_max=None))  # half of two
    world.check()
    turns = [batch.partitions for batch in reports.batches]
    assert all(len(partitions) == 1 for partitions in turns)
    while_both_have_work = turns[: 2 * min(turns.count([0]), turns.count([1])) - 2]
    assert len(while_both_have_work) > 10
    assert all(before != after for before, after in pairwise(while_both_have_work))


def test_where_much_waits_all_partitions_share_a_transaction() -> None:
    world, reports = World(), Reports()
    world.story()
    world.run(world.worker(observer=reports, partitions_max=1, buffered_max=4))
    world.check()
    assert [0, 1] in [sorted(batch.partitions) for batch in reports.batches]


def test_a_batch_touches_no_more_users_than_allowed() -> None:
    world, reports = World(), Reports()
    world.story(users=9)
    world.run(world.worker(records_max=500, users_max=2, observer=reports))
    assert max(report.images for report in reports.batches) <= 2 * 2  # two partitions
    world.check()


def test_a_batch_has_no_more_bytes_than_allowed_unless_one_record_has() -> None:
    world, reports = World(), Reports()
    for i, size in enumerate([400, 400, 400, 5_000, 10, 10]):
        world.write("transactions", "ann", i, "x" * size)
    world.run(world.worker(records_max=500, bytes_max=1_000, observer=reports))
    assert [report.records for report in reports.batches] == [2, 1, 1, 2]
    world.check()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3_000), st.integers(1, 3_000))
def test_limits_in_bytes_alter_nothing(bytes_max: int, buffered_bytes_max: int) -> None:
    world = World()
    world.story(users=4, days=4)
    for i in range(10):
        world.write("transactions", f"user-{i % 3}", 5_000 + i, "x" * 300 * i)
    world.run(world.worker(records_max=50, bytes_max=bytes_max, buffered_bytes_max=buffered_bytes_max))
    world.check()


def test_an_input_with_large_records_is_not_fetched_without_end_while_it_waits_for_the_others() -> None:
    world = World()
    told = Buffers()
    worker = world.worker(records_max=10, buffered_bytes_max=2_000, gate=Shut(), observer=told)
    for i in range(200):
        world.write("transactions", f"user-{i}", i, "x" * 100)
    for _ in range(60):
        worker.turn()
    buffered = [partition.merge.buffered("transactions")[1] for partition in worker._running()]
    assert len(buffered) == 2
    assert all(2_000 < size <= 2_000 + 10 * 100 for size in buffered)
    world.clock.ms += 10_000
    worker.turn()
    assert told.last == (sum(buffered) // 100, sum(buffered), 2)


def test_a_record_too_large_for_its_topic_halts_its_own_partition_with_words_and_no_other() -> None:
    world, reports = World(), Reports()
    world.story(users=8, days=2)
    world.broker.record_bytes_max = 3_000
    doomed = b"user-0"
    world.write("loans", doomed.decode(), 150, "due=" + "9" * 3_500)
    worker = world.worker(records_max=500, observer=reports)
    where = world.partition_of(doomed)
    others = {key for key in (b"user-%d" % i for i in range(8)) if world.partition_of(key) != where}
    world.run(worker, until=lambda: others <= world.changes().keys())
    assert reports.halts.keys() == {where}
    assert "more than 3000 bytes" in reports.halts[where]
    assert doomed not in world.changes()


def test_a_partition_that_goes_back_again_and_again_waits_longer_each_time() -> None:
    world, backs = World(), Backs()
    world.broker.commit_faults = [CommitFault.REFUSED] * 12
    world.write("transactions", "ann", 1)
    worker = world.worker(observer=backs)
    for _ in range(2_000):
        world.clock.ms += 10
        worker.turn()
        backs.now_ms = world.clock.ms
    gaps = [after - before for before, after in pairwise(backs.at_ms)]
    assert len(backs.at_ms) == 12
    assert gaps[0] <= 50
    assert all(before <= after for before, after in pairwise(gaps[1:]))
    assert 1_900 <= gaps[-1] <= 2_100
    world.run(worker)
    world.check()


def test_positions_behind_the_last_record_are_written_down_so_that_retention_may_take_markers_too() -> None:
    world = World()
    world.clock.ms = 5_000
    worker = world.worker(silence_ms=1_000)
    world.write("loans", "ann", 5_000, "due=60000")
    world.run(worker)
    world.clock.ms = world.broker.now_ms = 61_000
    world.run(worker, until=lambda: len(world.changes()[b"ann"]) == 2)
    world.run(worker)
    commands = TopicPartition("commands", world.partition_of(b"ann"))
    for _ in range(600):  # the marker of the worker's own advance lies behind the last record
        world.clock.ms += 10
        worker.turn()
    world.broker.delete_before(commands, len(world.broker.entries[commands]))
    reports = Reports()
    world.write("loans", "ann", 70_000)
    world.run(world.worker(observer=reports), until=lambda: len(world.changes()[b"ann"]) == 3)
    assert not reports.halts


def test_a_timer_fires_in_silence_a_second_after_it_is_due_and_once() -> None:
    world = World()
    world.clock.ms = 5_000
    worker = world.worker(silence_ms=1_000)
    world.write("loans", "ann", 5_000, "due=60000")
    world.run(worker)
    for world.clock.ms in (59_999, 60_000, 60_999):
        worker.turn()
        worker.turn()
    assert world.changes()[b"ann"] == ["1 loans 0"]
    world.clock.ms = world.broker.now_ms = 61_000
    for _ in range(5):
        worker.turn()
    assert world.changes()[b"ann"] == ["1 loans 0", "2 timer 60000"]
    for world.clock.ms in range(62_000, 70_000, 500):
        worker.turn()
    assert world.changes()[b"ann"] == ["1 loans 0", "2 timer 60000"]
    assert len([r for r in world.broker.visible("commands") if (r.value or b"").startswith(b"advance=")]) == 1


def test_a_clock_that_was_ahead_and_is_set_right_holds_no_timer_up() -> None:
    world = World()
    world.clock.ms = world.broker.now_ms = 5_000
    worker = world.worker(silence_ms=1_000)
    world.write("loans", "ann", 5_000, "due=60000")
    world.run(worker)
    world.clock.wall_ahead_ms = 3_600_000
    worker.turn()  # writes an advance, which claims no more than the brokers' own time
    world.clock.wall_ahead_ms = 0
    world.clock.ms = world.broker.now_ms = 62_000
    world.run(worker, until=lambda: len(world.changes()[b"ann"]) == 2, turns_max=20)


def test_a_timer_does_not_fire_before_a_payment_that_the_brokers_have_already() -> None:
    world = World()
    world.clock.ms = 5_000
    worker = world.worker(silence_ms=1_000)
    world.write("loans", "ann", 5_000, "due=60000")
    world.run(worker)
    world.clock.ms = world.broker.now_ms = 61_000
    worker.turn()  # writes the advance
    partition = world.broker.partitioner(b"ann", 2)
    world.broker.write("transactions", b"ann", b"paid", 59_000, partition)
    world.run(worker)
    assert world.changes()[b"ann"] == ["1 loans 0", "2 transactions 0", "3 timer 60000"]


def test_time_stands_still_in_silence_while_the_brokers_do_not_answer() -> None:
    world, reports = World(), Reports()
    world.clock.ms = 5_000
    worker = world.worker(silence_ms=1_000, observer=reports)
    world.write("loans", "ann", 5_000, "due=60000")
    world.run(worker)
    world.clock.ms = world.broker.now_ms = 61_000
    worker.turn()
    world.broker.reachable = False
    for _ in range(5):
        worker.turn()
    assert world.changes()[b"ann"] == ["1 loans 0"]
    assert any("ends of the inputs" in reason for reason in reports.holds)
    world.broker.reachable = True
    world.run(worker, until=lambda: len(world.changes()[b"ann"]) == 2)


def test_in_records_mode_the_wall_says_nothing() -> None:
    world = World()
    worker = world.worker(silence_ms=None)
    world.write("loans", "ann", 5_000, "due=60000")
    world.clock.ms = world.broker.now_ms = 10**12
    world.run(worker)
    for _ in range(5):
        worker.turn()
    assert world.changes()[b"ann"] == ["1 loans 0"]
    assert not world.broker.visible("commands")


def test_a_worker_of_a_history_that_goes_live_breaks_the_silence_from_then_on() -> None:
    world, live = World(), []
    worker = world.worker(silence_ms=1_000, is_live=lambda: bool(live))
    world.write("loans", "ann", 5_000, "due=60000")
    world.clock.ms = world.broker.now_ms = 61_000
    world.run(worker)
    for _ in range(5):
        worker.turn()
    assert world.changes()[b"ann"] == ["1 loans 0"]
    live.append("now")
    world.run(worker, until=lambda: len(world.changes()[b"ann"]) == 2, turns_max=20)
    assert world.changes()[b"ann"] == ["1 loans 0", "2 timer 60000"]


def test_a_check_that_says_nothing_writes_no_transaction() -> None:
    world = World()
    worker = world.worker()
    world.write("loans", "ann", 1_000, "check=2000")
    world.run(worker)
    seq = {p: progress.seq for p, progress in world.progress().items()}
    world.advance(3_000)
    world.run(worker)
    after = world.progress()
    assert all(after[p].seq == seq.get(p, 0) + 1 for p in after)  # the advance itself, no more
    assert world.store.earliest_due_ms(world.broker.partitioner(b"ann", 2)) is None
    assert world.changes()[b"ann"] == ["1 loans 0"]


def test_a_check_that_the_store_has_forgotten_is_made_again() -> None:
    """A store that falls back to a copy of the same position has an earlier due time again, and nobody else knows."""
    world = World()
    user = b"ann"
    world.broker.write("loans", user, b"1", 1_000)
    worker = world.worker()
    world.run(worker)
    partition, copy = world.partition_of(user), world.copy_of_store()
    copy.index(partition, [(user, 1_000)])  # as it was before the last check
    world.put_store_back(copy)
    assert not world.at_rest()
    seq = world.progress()[partition].seq
    world.run(worker)
    assert world.store.earliest_due_ms(partition) != 1_000
    assert world.progress()[partition].seq == seq  # a check that says nothing


def test_events_come_before_the_timers_of_others() -> None:
    world, reports = World(), Reports()
    for i in range(20):
        world.write("loans", f"user-{i}", 1_000, "due=2000")
    worker = world.worker(records_max=100, observer=reports)
    world.run(worker)
    for i in range(6):
        world.write("transactions", f"late-{i}", 3_000 + i)
    world.advance(4_000)
    reports.batches.clear()
    world.run(worker)
    assert reports.batches[0].records == 6
    assert reports.batches[0].due_users <= 2 * 2  # `timers_max` of each partition
    world.check()


def test_an_input_that_runs_ahead_of_its_fellows_is_held_back_and_comes_back() -> None:
    world = World()
    for i in range(60):
        world.write("transactions", "ann", 10 + i)
        world.write("loans", "bob", 10 + i)
    worker = world.worker(records_max=7, buffered_max=4)
    world.run(worker)
    world.check()


def test_no_clock_passes_the_gate() -> None:
    class Closed:
        limit = 50

        def until_ms(self, newest_ms: int) -> int:
            return self.limit

    world, gate, reports = World(), Closed(), Reports()
    worker = world.worker(gate=gate, observer=reports)
    world.write("loans", "ann", 40)
    world.write("loans", "ann", 60)
    for _ in range(20):
        worker.turn()
    assert world.changes() == {b"ann": ["1 loans 0"]}
    assert reports.holds == []  # waiting a moment for an answer is part of life
    world.clock.ms += 1_500
    for _ in range(20):
        worker.turn()
    assert len(reports.holds) == 1
    gate.limit = FOREVER_MS
    world.run(worker)
    world.check()


def test_who_takes_over_fires_no_timer_before_it_knows_what_is_in_force() -> None:
    world = World()
    for i in range(8):
        world.write("loans", f"user-{i}", 10 + i, "due=50")
    world.run(world.worker(slot="a"))
    world.advance(100)
    first = world.worker(slot="a", users_max=1)
    world.run(first, until=lambda: any("timer" in line for lines in world.changes().values() for line in lines))
    said = world.changes()
    heir = world.worker(slot="a", gate=Shut())  # timers of some are left over
    for _ in range(30):
        heir.turn()
    assert world.changes() == said
    assert sum("timer" in line for lines in said.values() for line in lines) < 8
    world.run(world.worker(slot="a"))
    world.check()


def test_lag_is_measured_in_records_by_input() -> None:
    world, reports = World(), Reports()
    worker = world.worker(observer=reports)
    world.write("loans", "ann", 40)
    world.run(worker)
    world.clock.ms += 6_000
    worker.turn()
    assert reports.lags[-1] == {(topic, p): 0 for topic in INPUTS for p in range(2)}


def test_run_leaves_the_group_when_it_is_told_to_stop() -> None:
    world = World()
    world.story()
    worker = world.worker("a")
    turns = iter([False] * 4 + [True])
    worker.run(lambda: next(turns))
    assert world.broker.holder("a") is None
    world.run(world.worker("b"))
    world.check()


def test_positions_are_committed_for_every_input_of_a_partition_touched() -> None:
    world = World()
    world.write("loans", "ann", 40)
    world.run(world.worker())
    partition = world.broker.partitioner(b"ann", 2)
    assert {w for w in world.broker.committed if w.partition == partition} == {
        TopicPartition(topic, partition) for topic in INPUTS
    }
