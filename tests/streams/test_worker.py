"""The loop on twins: everything said once and in order, timers in silence, limits kept."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.log import TopicPartition
from streams.merge import FOREVER_MS
from streams.wiring import BatchReport, Observer
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


def test_a_batch_touches_no_more_users_than_allowed() -> None:
    world, reports = World(), Reports()
    world.story(users=9)
    world.run(world.worker(records_max=500, users_max=2, observer=reports))
    assert max(report.images for report in reports.batches) <= 2 * 2  # two partitions
    world.check()


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
