"""Every way back leads to what the log says; where going on would lose or repeat something, the partition halts."""

from __future__ import annotations

import pytest

from state.store import Position
from streams.log.memory import CommitFault
from streams.log.protocol import RecreateProducer, StopWorker, TopicPartition, Transaction
from streams.worker.loop import Worker
from streams.worker.recovery import PROGRESS_KEY, ROWS_PER_WRITE
from tests.streams.test_worker import Reports
from tests.streams.world import INPUTS, World

FAULTS = [CommitFault.REFUSED, CommitFault.COMMITTED_ANSWER_LOST, CommitFault.OPEN_ANSWER_LOST]


def half_way(world: World, worker: Worker) -> None:
    world.run(worker, until=lambda: sum(len(lines) for lines in world.changes().values()) > 20)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("nth", [0, 1, 5])
def test_a_commit_of_unknown_outcome_is_read_from_the_log(fault: CommitFault, nth: int) -> None:
    world = World()
    world.story()
    world.broker.commit_faults = [None] * nth + [fault, fault, None, fault]
    world.run(world.worker())
    assert not world.broker.commit_faults
    world.check()


def test_markers_that_lag_behind_their_commit_are_waited_for() -> None:
    world = World()
    world.story()
    worker = world.worker()
    half_way(world, worker)
    world.broker.markers_lag = True
    world.broker.commit_faults = [CommitFault.COMMITTED_ANSWER_LOST]
    for _ in range(5):
        worker.turn()
    world.broker.markers_lag = False
    world.run(worker)
    world.check()


def test_a_new_owner_waits_for_the_markers_of_the_old_one() -> None:
    world = World()
    world.story()
    first = world.worker("a")
    half_way(world, first)
    world.broker.markers_lag = True
    first.turn()
    undecided = [p for p in range(2) if world.broker.stable_position([TopicPartition(t, p) for t in INPUTS]) is None]
    before = [world.broker.visible("score-changes", p) for p in undecided]
    world.broker.expel("a")
    second = world.worker("b")
    turns(second)
    assert undecided
    assert [world.broker.visible("score-changes", p) for p in undecided] == before
    world.broker.markers_lag = False
    world.broker.write_markers()
    world.run(second)
    world.check()


def test_a_store_that_was_emptied_is_rebuilt() -> None:
    world = World()
    world.story()
    worker = world.worker()
    half_way(world, worker)
    world.forget()
    world.run(worker)
    world.check()
    world.forget()
    world.run(world.worker())
    world.check()


def test_a_store_that_was_rolled_back_catches_up() -> None:
    world = World()
    world.story()
    worker = world.worker()
    half_way(world, worker)
    copy = world.copy_of_store()
    for _ in range(3):
        worker.turn()
    world.put_store_back(copy)
    world.run(worker)
    world.check()


def test_an_emptied_store_is_noticed_though_no_record_comes() -> None:
    world = World()
    world.story()
    worker = world.worker()
    world.run(worker)
    world.forget()
    world.clock.ms += 10_000
    world.run(worker)
    world.check()


def test_a_timer_due_after_the_store_was_emptied_still_fires() -> None:
    world = World()
    world.clock.ms = 5_000
    worker = world.worker(silence_ms=1_000)
    world.write("loans", "ann", 5_000, "due=7000")
    world.run(worker)
    world.forget()
    world.clock.ms = world.broker.now_ms = 8_000
    world.run(worker, until=lambda: len(world.changes()[b"ann"]) == 2)


def far_behind() -> World:
    """A world whose store lacks the rows of more users than one write may hold."""
    world = World()
    for i in range(5):
        world.write("loans", f"early-{i}", 10)
    worker = world.worker(records_max=5_000)
    world.run(worker)
    copy = world.copy_of_store()
    for i in range(3 * ROWS_PER_WRITE):
        world.write("transactions", f"user-{i}", 20)
    world.run(worker)
    world.put_store_back(copy)
    return world


def test_a_store_that_is_far_behind_takes_what_it_lacks_in_pieces() -> None:
    world = far_behind()
    restored = world.count_restores()
    world.run(world.worker(records_max=5_000))
    assert not restored
    world.check()


def test_a_worker_that_dies_between_two_pieces_leaves_a_store_that_is_rebuilt() -> None:
    class Crash(BaseException):
        pass

    def die(step: str) -> None:
        if step == "K15.restoring":
            raise Crash

    world = far_behind()
    doomed = world.worker(failpoint=die, records_max=5_000)
    with pytest.raises(Crash):
        turns(doomed)
    restored = world.count_restores()
    world.run(world.worker(records_max=5_000))
    assert restored
    world.check()


def test_a_store_that_is_too_old_for_tombstones_is_rebuilt_whole() -> None:
    world = World()
    world.write("loans", "ann", 10)
    worker = world.worker()
    world.run(worker)
    copy = world.copy_of_store()
    world.broker.now_ms = world.clock.ms = 13 * 3_600_000
    world.write("loans", "ann", 20)
    world.run(worker)
    world.put_store_back(copy)
    restored = world.count_restores()
    world.run(world.worker())
    assert restored
    world.check()


def test_a_rebuild_reads_a_compacted_changelog_to_the_same_rows() -> None:
    world = World()
    world.story()
    world.run(world.worker())
    rows = world.rows()
    world.broker.compact("rescore-state")
    world.forget()
    world.run(world.worker())
    assert world.rows() == rows


def test_a_way_back_that_slept_while_the_changelog_was_compacted_begins_anew() -> None:
    world, reports, slept = World(), Reports(), list[str]()
    first = world.worker("a")
    moving, resting = ("ann", "bob", "cem", "dee"), ("eve", "fay", "gil", "hal")
    assert {world.partition_of(user.encode()) for user in moving} == {0, 1}
    assert {world.partition_of(user.encode()) for user in resting} == {0, 1}
    for user in moving:
        world.write("loans", user, 10)
    world.run(first)
    copy = world.copy_of_store()
    for user in resting:  # their rows stay where they are when the changelog is compacted
        world.write("loans", user, 20)
    world.run(first)
    world.broker.expel("a")
    world.put_store_back(copy)

    def sleep(step: str) -> None:
        if step == "K14.resolving" and not slept:
            slept.append(step)
            world.broker.expel("b")
            for user in moving:
                world.write("transactions", user, 30)
            world.run(world.worker("c"))
            world.broker.compact("rescore-state")

    turns(world.worker("b", failpoint=sleep, observer=reports))
    assert slept
    assert not reports.halts
    assert world.changes() == world.expected()[0]


def test_offsets_that_the_group_has_forgotten_are_no_error() -> None:
    world = World()
    world.story()
    half_way(world, world.worker())
    world.broker.committed.clear()
    world.run(world.worker())
    world.check()


def turns(worker: Worker, count: int = 10) -> None:
    for _ in range(count):
        worker.turn()


def test_offsets_that_somebody_reset_halt_the_partition() -> None:
    world, reports = World(), Reports()
    world.story()
    world.run(world.worker())
    said = world.changes()
    world.broker.committed = dict.fromkeys(world.broker.committed, 0)
    turns(world.worker(observer=reports))
    assert reports.halts.keys() == {0, 1}
    assert "delete-offsets" in reports.halts[0]
    assert world.changes() == said


def test_a_progress_record_of_a_newer_program_halts_the_partition_and_says_so() -> None:
    world, reports = World(), Reports()
    world.story()
    world.run(world.worker())
    said = world.changes()
    world.broker.write("rescore-state", PROGRESS_KEY, b"not a word of it", 1, 0)
    turns(world.worker(observer=reports))
    assert reports.halts.keys() == {0}
    assert "upgrade this worker" in reports.halts[0]
    assert world.changes() == said


def test_offsets_without_a_changelog_halt_the_partition() -> None:
    world, reports = World(), Reports()
    world.story()
    world.run(world.worker())
    world.forget()
    for p in range(2):
        world.broker.entries[TopicPartition("rescore-state", p)].clear()
    turns(world.worker(observer=reports))
    assert reports.halts.keys() == {0, 1}


def test_a_store_that_is_ahead_of_the_log_halts_the_partition() -> None:
    world, reports = World(), Reports()
    world.story()
    world.run(world.worker())
    for p in range(2):
        world.broker.entries[TopicPartition("rescore-state", p)].clear()
        world.broker.committed.clear()
    turns(world.worker(observer=reports))
    assert reports.halts.keys() == {0, 1}
    assert "store holds transaction" in reports.halts[0]


def test_a_store_of_another_log_halts_the_partition() -> None:
    world, reports = World(), Reports()
    world.story()
    world.run(world.worker())
    position = world.store.position(0)
    assert position is not None
    world.store.restore(0, Position(position.seq, "other", position.state_offset - 1), [])
    turns(world.worker(observer=reports))
    assert reports.halts.keys() == {0}


def test_records_that_retention_took_before_they_were_read_halt_the_partition() -> None:
    world, reports = World(), Reports()
    world.story()
    half_way(world, world.worker())
    behind = [w for w, offset in world.broker.committed.items() if offset < len(world.broker.entries[w])]
    for where in behind:
        world.broker.delete_before(where, len(world.broker.entries[where]))
    turns(world.worker(observer=reports))
    assert behind
    assert reports.halts.keys() == {where.partition for where in behind}
    assert all("deleted before they were taken" in reason for reason in reports.halts.values())


def test_a_halted_partition_does_not_hold_the_others() -> None:
    world, reports = World(), Reports()
    world.story()
    world.run(world.worker(), until=lambda: len(world.progress()) == 2)
    for topic in INPUTS:
        world.broker.committed[TopicPartition(topic, 0)] = 0
    world.run(
        world.worker(observer=reports),
        until=lambda: (
            reports.halts.keys() == {0}
            and all(
                world.broker.committed[TopicPartition(topic, 1)] == len(world.broker.entries[TopicPartition(topic, 1)])
                for topic in INPUTS
            )
        ),
    )


def test_brokers_that_do_not_answer_are_waited_for() -> None:
    world = World()
    world.story()
    world.broker.reachable = False
    worker = world.worker()
    turns(worker)
    assert not world.changes()
    world.broker.reachable = True
    world.run(worker)
    world.check()


def test_partitions_come_and_go_and_nothing_is_lost() -> None:
    world = World()
    world.story(days=12)
    first = world.worker("a")
    turns(first, 6)
    second = world.worker("b")
    for _ in range(4):
        first.turn()
        second.turn()
    world.broker.expel("a")
    turns(second, 6)
    world.run(first, second)
    world.check()


def test_a_worker_whose_slot_was_taken_stops() -> None:
    world = World()
    first = world.worker("a")
    turns(first, 3)
    second = world.worker("a")
    second.turn()
    with pytest.raises(StopWorker, match="RESCORE_SLOT"):
        first.turn()


def test_a_producer_whose_id_was_taken_over_can_not_commit() -> None:
    world = World()
    first, second = (world.worker("a")._log for _ in range(2))
    first.open()
    second.open()
    with pytest.raises(RecreateProducer):
        first.transact(Transaction({}))
