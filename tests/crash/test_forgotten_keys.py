"""A store that loses single keys: rows, the index, the position, any of them together, at any step.

The worker notices before anything is decided on what is missing, and rebuilds the partition from the changelog: what
was said and what is remembered is what the recount says, and the store is whole again in the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from state.store import UsersAt
from streams.log.progress import Standing
from streams.log.protocol import STEPS, Failpoint
from streams.worker.loop import VERIFIED_USERS, Worker
from streams.worker.lost_rows import REBUILD_SECONDS, REBUILD_SECONDS_MAX, WITHOUT_LOSS_SECONDS
from streams.worker.observer import Observer
from streams.worker.options import NoMarks
from streams.worker.output import Thought
from tests.crash.test_crash_in_memory import IN_A_BATCH, die, live_until_death, on_hit
from tests.streams.world import CountingProcessor, World

SOON = 0.2
"""Seconds from one look round to the next: twenty turns."""

PARTS = ("a row", "every row", "the index", "the position")
KINDS = [parts for size in (1, 2, 3) for parts in itertools.combinations(PARTS, size) if "every row" not in parts[1:]]


def forget(world: World, parts: Sequence[str], partitions: Sequence[int] = (0, 1)) -> None:
    """Delete keys of partitions, as a server that evicts them."""
    for partition in partitions:
        held = world.store._partitions.get(partition)
        rows = sorted(held.rows) if held else []
        users = rows if "every row" in parts else rows[:1] if "a row" in parts else []
        world.store.forget(partition, users, index="the index" in parts, meta="the position" in parts)


def is_whole(world: World) -> bool:
    """Every partition has what it was given."""
    return all(
        held.position is not None
        and held.position.ready
        and held.rows.keys() == held.due_ms.keys()
        and held.users == len(held.rows)
        for held in world.store._partitions.values()
    )


def heal(world: World, worker: Worker) -> None:
    """Until all is taken and the store is whole; then everything is held against the recount."""
    world.run(worker, until=lambda: world.at_rest() and is_whole(world))
    world.check()


class Told(Observer):
    """What was told of losses."""

    def __init__(self) -> None:
        self.losses: list[tuple[int, int, float]] = []
        self.reasons: list[str] = []
        self.ran: list[int] = []
        self.evicting: list[str] = []

    def lost_rows(self, partition: int, customers: int, wait_seconds: float) -> None:
        self.losses.append((partition, customers, wait_seconds))

    def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
        self.reasons.append(reason)

    def running(self, partition: int, standing: Standing) -> None:
        self.ran.append(partition)

    def evicts(self, reason: str) -> None:
        self.evicting.append(reason)


@pytest.mark.parametrize("step", IN_A_BATCH)
def test_keys_forgotten_at_any_step_mislead_nobody(step: str) -> None:
    for parts, hit in itertools.product(KINDS, (2, 7)):
        world = World()
        world.story(users=4, days=5)
        heal(
            world, world.worker("a", on_hit(step, hit, lambda w=world, p=parts: forget(w, p)), look_round_seconds=SOON)
        )


@pytest.mark.parametrize("step", ["K14.resolving", "K15.restoring"])
def test_keys_forgotten_on_the_way_back_mislead_nobody(step: str) -> None:
    for parts, hit in itertools.product(KINDS, (1, 2)):
        world = World()
        world.story(users=12, days=3)
        world.run(world.worker("a", users_max=5))
        world.forget()
        world.advance(20_000)
        heal(
            world,
            world.worker(
                "a", on_hit(step, hit, lambda w=world, p=parts: forget(w, p)), users_max=5, look_round_seconds=SOON
            ),
        )


@pytest.mark.parametrize("parts", KINDS)
def test_keys_forgotten_while_no_worker_runs_are_missed_at_the_start(parts: Sequence[str]) -> None:
    world, told = World(), Told()
    world.story()
    world.run(world.worker("a"))
    forget(world, parts)
    for user in range(5):
        world.write("transactions", f"user-{user}", 10_000)
    heal(world, world.worker("a", observer=told, look_round_seconds=SOON))
    assert {partition for partition, _, _ in told.losses} == (set() if "the position" in parts else {0, 1})


@pytest.mark.parametrize("parts", KINDS)
def test_keys_forgotten_at_rest_are_missed_though_nobody_asks_for_them(parts: Sequence[str]) -> None:
    world = World()
    world.story()
    worker = world.worker("a", look_round_seconds=SOON)
    world.run(worker)
    forget(world, parts)
    world.run(worker, until=lambda: is_whole(world), turns_max=25)  # one look
    world.check()


def test_one_row_among_thousands_is_missed_in_bounded_time() -> None:
    world, told = World(), Told()
    users = [f"user-{i:05}" for i in range(3 * VERIFIED_USERS)]
    for user in users:
        world.write("transactions", user, 10)
    worker = world.worker("a", observer=told, records_max=10_000, look_round_seconds=SOON)
    world.run(worker)
    user = users[-1].encode()
    partition = world.partition_of(user)
    looks = len(world.store._partitions[partition].rows) // VERIFIED_USERS + 2
    world.store.forget(partition, [user])
    world.run(worker, until=lambda: is_whole(world), turns_max=looks * 25)
    assert told.losses == [(partition, 1, 0.0)]
    assert "1 customer" in told.reasons[-1]
    world.check()


@pytest.mark.parametrize("seed", range(25))
def test_any_keys_forgotten_again_and_again_under_load_mislead_nobody(seed: int) -> None:
    world, random = World(), Random(seed)
    print("seed", seed)
    world.story(users=6, days=9)

    def strike(step: str) -> None:
        if step in STEPS and random.random() < 0.03:
            forget(world, random.choice(KINDS), random.choice([(0,), (1,), (0, 1)]))

    struck: Failpoint = strike
    worker = world.worker("a", struck, users_max=random.choice([2, 1_000]), look_round_seconds=SOON)
    for _ in range(300):
        world.clock.ms += 10
        worker.turn()
    worker._failpoint = worker._log._failpoint = lambda step: None  # type: ignore[attr-defined]
    heal(world, worker)


def test_a_worker_that_dies_while_it_rebuilds_leaves_the_rest_to_the_next() -> None:
    for hit in (1, 2):
        world = World()
        world.story(users=12, days=3)
        first = world.worker("a", on_hit("K15.restoring", hit, die), users_max=3)
        world.run(first)
        forget(world, ["a row"])
        world.advance(20_000)
        live_until_death(world, first)
        world.store.forget(0, [], index=True)
        heal(world, world.worker("a", users_max=3, look_round_seconds=SOON))


class Everyone(NoMarks):
    """Weights that ask for everyone to be scored again."""

    def rescored_ms(self, until_ms: int) -> int | None:
        return 5_000 if until_ms >= 5_000 else None


class Sweeping(CountingProcessor):
    """Notes who was looked at."""

    def __init__(self) -> None:
        self.looked_at: list[bytes] = []

    def process(self, partition, records, due_users, clock_ms, swept_ms=0, **_):  # type: ignore[no-untyped-def]
        thought: Thought = super().process(partition, records, due_users, clock_ms)
        self.looked_at += due_users
        return thought


def swept(world: World) -> bool:
    return is_whole(world) and all(progress.swept_ms == 5_000 for progress in world.progress().values())


def sweeping(nth: int, act: Callable[[World], Any]) -> tuple[World, Worker, Sweeping]:
    """Twenty customers who are all to be scored again, and an act in place of the n-th naming of some of them."""
    world, processor, calls = World(), Sweeping(), itertools.count(1)
    for user in range(20):
        world.write("transactions", f"user-{user}", 10)
    world.run(world.worker("a"))
    world.advance(6_000)
    worker = world.worker("a", users_max=3, look_round_seconds=SOON)
    worker._marks, worker._processor = Everyone(), processor
    named = world.store.users_at

    def users_at(*given: Any) -> Any:
        answer = act(world) if next(calls) == nth else None
        return answer or named(*given)

    world.store.users_at = users_at  # type: ignore[method-assign]
    return world, worker, processor


@pytest.mark.parametrize("parts", KINDS)
@pytest.mark.parametrize("nth", [1, 2, 4])
def test_keys_forgotten_during_a_sweep_leave_nobody_out(parts: Sequence[str], nth: int) -> None:
    world, worker, processor = sweeping(nth, lambda world: forget(world, parts))
    world.run(worker, until=lambda: swept(world))
    assert set(processor.looked_at) >= {b"user-%d" % user for user in range(20)}
    world.check()


def test_a_sweep_looks_at_everyone_once() -> None:
    world, worker, processor = sweeping(0, lambda world: None)
    world.run(worker, until=lambda: swept(world))
    for _ in range(20):
        worker.turn()
    assert sorted(processor.looked_at) == sorted(b"user-%d" % user for user in range(20))


@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize("lost", [None, 7])
def test_an_index_that_is_empty_for_one_answer_ends_no_sweep(nth: int, lost: int | None) -> None:
    def empty(world: World) -> UsersAt:
        held = world.store.position(0)
        return [], b"", None if lost is None or held is None else held._replace(lost=lost)

    world, worker, processor = sweeping(nth, empty)
    world.run(worker, until=lambda: swept(world))
    assert set(processor.looked_at) >= {b"user-%d" % user for user in range(20)}


def test_a_partition_that_loses_rows_again_waits_longer_each_time_and_no_longer_than_its_bound() -> None:
    world, told = World(), Told()
    world.write("transactions", "ann", 10)
    worker = world.worker("a", observer=told, look_round_seconds=SOON)
    world.run(worker)
    partition = world.partition_of(b"ann")

    def lose() -> None:
        seen = len(told.losses)
        world.store.forget(partition, [b"ann"])
        world.write("transactions", "ann", 20 + seen)
        world.run(worker, until=lambda: len(told.losses) > seen)
        world.clock.ms += int(told.losses[-1][2] * 1_000)
        world.run(worker)

    for _ in range(10):
        lose()
    waits = [wait_seconds for _, _, wait_seconds in told.losses]
    assert waits[:4] == [0.0, REBUILD_SECONDS, 2 * REBUILD_SECONDS, 4 * REBUILD_SECONDS]
    assert waits[-1] == REBUILD_SECONDS_MAX
    world.clock.ms += int(WITHOUT_LOSS_SECONDS * 1_000)
    lose()
    assert told.losses[-1] == (partition, 1, 0.0)
    world.check()


def test_a_rebuild_that_waits_is_not_hurried_nor_forgotten_by_a_store_that_is_away() -> None:
    world, told = World(), Told()
    world.write("transactions", "ann", 10)
    worker = world.worker("a", observer=told, look_round_seconds=SOON)
    world.run(worker)
    partition = world.partition_of(b"ann")
    restored = world.count_restores()
    world.store.forget(partition, [b"ann"])
    world.write("transactions", "ann", 20)
    world.run(worker, until=lambda: bool(told.losses))
    worker._rewind([0, 1], "the store does not answer")
    assert restored == []
    heal(world, worker)
    assert restored == [partition]


def test_the_policy_of_the_server_is_asked_again_while_the_worker_runs() -> None:
    world, told = World(), Told()
    worker = world.worker("a", observer=told, look_round_seconds=SOON)
    policy = ["", "maxmemory-policy is allkeys-lru", ""]
    world.store.evicts = lambda: policy[min(len(told.evicting), 2)]  # type: ignore[method-assign]
    world.write("transactions", "ann", 10)
    world.run(worker, until=lambda: len(told.evicting) == 3)
    assert told.evicting == policy


Deed = Callable[[], None]
