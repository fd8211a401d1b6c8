"""Killed, replaced or frozen at each named step of the protocol: nothing twice, nothing lost, the store caught up.

In one process on twins: a crash is an exception that nothing catches, after which the worker is never touched again. A
zombie is a worker during whose step the whole rest of the story is told by another one, and which then goes on.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.log.protocol import STEPS, StopWorker
from streams.worker.loop import Worker
from tests.streams.world import World

IN_A_BATCH = STEPS[:12]
HITS = (1, 2, 4)


class Crash(BaseException):
    """kill -9."""


def on_hit(step: str, hit: int, act: Callable[[], None]) -> Callable[[str], None]:
    """A failpoint that acts at the `hit`-th time a step is reached."""
    left = {step: hit}

    def failpoint(at: str) -> None:
        if at in left:
            left[at] -= 1
            if left[at] == 0:
                act()

    return failpoint


def die() -> None:
    raise Crash


def live_until_death(world: World, worker: Worker) -> None:
    with pytest.raises(Crash):
        world.run(worker, until=lambda: False)


@pytest.mark.parametrize("hit", HITS)
@pytest.mark.parametrize("step", IN_A_BATCH)
def test_a_worker_killed_at_any_step_comes_back_and_says_everything_once(step: str, hit: int) -> None:
    world = World()
    world.story()
    live_until_death(world, world.worker("a", on_hit(step, hit, die)))
    world.run(world.worker("a"))
    world.check()


@pytest.mark.parametrize("hit", HITS)
@pytest.mark.parametrize("step", IN_A_BATCH)
def test_another_worker_takes_over_from_one_killed_at_any_step(step: str, hit: int) -> None:
    world = World()
    world.story()
    live_until_death(world, world.worker("a", on_hit(step, hit, die)))
    world.broker.expel("a")
    heir = world.worker("b")
    for _ in range(5):
        heir.turn()
    world.broker.expire_transactions()  # the dead one's transaction times out
    world.run(heir)
    world.check()


@pytest.mark.parametrize("hit", HITS)
@pytest.mark.parametrize("step", IN_A_BATCH)
def test_a_frozen_worker_that_wakes_up_after_its_session_does_no_harm(step: str, hit: int) -> None:
    world = World()
    world.story()

    def be_away() -> None:
        world.broker.expel("a")
        heir = world.worker("b")
        for _ in range(5):
            heir.turn()
        world.broker.expire_transactions()
        world.run(heir)
        world.check()
        world.write("transactions", "user-1", 10_000)  # there is more to do when the zombie is back
        world.write("transactions", "user-2", 10_001)
        heir.turn()

    zombie = world.worker("a", on_hit(step, hit, be_away))
    world.run(zombie)
    world.run(zombie, world.worker("c"))
    world.check()


@pytest.mark.parametrize("step", IN_A_BATCH)
def test_a_frozen_worker_whose_slot_was_taken_can_not_commit_and_stops(step: str) -> None:
    world = World()
    world.story()

    def be_replaced() -> None:
        world.run(world.worker("a"))

    with pytest.raises(StopWorker):
        world.run(world.worker("a", on_hit(step, 2, be_replaced)), until=lambda: False)
    world.run(world.worker("a"))
    world.check()


@pytest.mark.parametrize("step", IN_A_BATCH)
def test_a_store_emptied_at_any_step_is_rebuilt_to_the_same_rows(step: str) -> None:
    world = World()
    world.story()
    world.run(world.worker("a", on_hit(step, 2, world.forget)))
    world.check()


@pytest.mark.parametrize("step", IN_A_BATCH)
def test_a_store_rolled_back_at_any_step_catches_up(step: str) -> None:
    world = World()
    world.story()
    world.run(world.worker("a"), until=lambda: len(world.progress()) == 2)
    copy = world.copy_of_store()
    seqs = [progress.seq for progress in world.progress().values()]
    world.run(world.worker("a", on_hit(step, 5, lambda: world.put_store_back(copy))))
    world.check()
    assert sum(progress.seq for progress in world.progress().values()) > sum(seqs) + 4  # it did fall back


@pytest.mark.parametrize("step", ["K14.resolving", "K15.restoring"])
@pytest.mark.parametrize("hit", [1, 2])
def test_a_worker_killed_on_its_way_back_finds_it_again(step: str, hit: int) -> None:
    world = World()
    for i in range(4_500):
        world.write("transactions", f"user-{i}", 10)
    world.run(world.worker("a", records_max=10_000))
    world.forget()
    live_until_death(world, world.worker("a", on_hit(step, hit, die), records_max=10_000))
    world.run(world.worker("a", records_max=10_000))
    world.check()


def test_a_worker_killed_while_it_gives_partitions_up_leaves_them_whole() -> None:
    world = World()
    world.story()
    first = world.worker("a", on_hit("K13.given_up", 1, die))
    for _ in range(6):
        first.turn()
    second = world.worker("b")
    live_until_death(world, first)
    world.broker.expel("a")
    world.run(second)
    world.check()


def test_partitions_that_change_hands_during_a_rebuild_are_rebuilt_by_the_new_owner() -> None:
    world = World()
    for i in range(4_500):
        world.write("transactions", f"user-{i}", 10)
    world.run(world.worker("a", records_max=10_000))
    world.forget()
    others: list[Worker] = []
    first = world.worker(
        "a",
        on_hit("K15.restoring", 1, lambda: others.append(world.worker("b", records_max=10_000))),
        records_max=10_000,
    )
    for _ in range(10):
        first.turn()
    world.run(first, *others)
    assert others
    world.check()


def test_time_in_silence_survives_a_crash_at_any_step() -> None:
    for step in IN_A_BATCH:
        world = World()
        world.clock.ms = world.broker.now_ms = 5_000
        world.write("loans", "ann", 5_000, "due=60000")
        world.run(world.worker("a", silence_ms=1_000))
        world.clock.ms = world.broker.now_ms = 61_500
        live_until_death(world, world.worker("a", on_hit(step, 1, die), silence_ms=1_000))
        world.clock.ms = world.broker.now_ms = 63_000
        world.run(world.worker("a", silence_ms=1_000), until=lambda w=world: len(w.changes()[b"ann"]) == 2)
        world.check()
