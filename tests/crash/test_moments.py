"""What comes between two looks at the store: an empty moment, a late word of a former session."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from state.errors import StoreUnavailable
from state.memory_store import MemoryStore
from state.store import Position, RowWrite, SaveOutcome
from tests.crash.test_crash_in_memory import on_hit
from tests.streams.world import World


class Flickering(MemoryStore):
    """A server that is empty at its n-th answer and back at the next one, as in a failover after a bare restart."""

    def __init__(self, empty_at: int) -> None:
        super().__init__()
        self.answers_left = empty_at

    def _is_empty_now(self) -> bool:
        self.answers_left -= 1
        return self.answers_left == 0

    def position(self, partition: int) -> Position | None:
        return None if self._is_empty_now() else super().position(partition)

    def load(self, partition: int, users: Sequence[bytes]) -> list[bytes | None]:
        return [None for _ in users] if self._is_empty_now() else super().load(partition, users)

    def load_at(self, partition: int, users: Sequence[bytes]) -> tuple[list[bytes | None], Position | None]:
        if self._is_empty_now():
            return [None for _ in users], None
        return super().load(partition, users), super().position(partition)

    def due(self, partition: int, until_ms: int, limit: int) -> list[bytes]:
        return [] if self._is_empty_now() else super().due(partition, until_ms, limit)

    def earliest_due_at(self, partition: int) -> tuple[int | None, Position | None]:
        if self._is_empty_now():
            return None, None
        return super().earliest_due_ms(partition), super().position(partition)


@pytest.mark.parametrize("empty_at", range(1, 60))
def test_a_store_that_is_empty_for_one_answer_misleads_nobody(empty_at: int) -> None:
    store = Flickering(empty_at)
    world = World(store=store)
    world.story(users=3, days=4)
    world.run(world.worker(), turns_max=400)  # before it looks round, which would help
    store.answers_left = 0  # it stays
    world.check()


def test_a_late_write_of_a_former_session_that_comes_during_a_way_back_is_refused() -> None:
    world = World()
    world.story()
    late: list[tuple[int, int, Position, Sequence[RowWrite]]] = []
    save = world.store.save

    def delayed(partition: int, expected_seq: int, position: Position, writes: Sequence[RowWrite]) -> SaveOutcome:
        if expected_seq == 3 and not late:
            late.append((partition, expected_seq, position, writes))
            raise StoreUnavailable("the write is on its way")
        return save(partition, expected_seq, position, writes)

    world.store.save = delayed  # type: ignore[method-assign]
    worker = world.worker("a")
    world.run(worker, until=lambda: bool(world.store.position(0) and world.store.position(1)))
    copies = []
    while not late:
        copies.append(world.copy_of_store())
        world.run(worker, until=lambda: True)
    world.run(worker)
    world.put_store_back(copies[-1])
    world.store.save = delayed  # type: ignore[method-assign]
    outcomes = []

    def arrives() -> None:
        outcomes.append(save(*late[0]))

    heir = world.worker("a", on_hit("K14.resolving", 1 + late[0][0], arrives))
    world.write("transactions", "user-1", 10_000)
    world.run(heir)
    world.check()
    assert outcomes == [SaveOutcome.FENCED]


@pytest.mark.parametrize("hit", [1, 2])
def test_a_zombie_that_would_fire_timers_alone_is_refused(hit: int) -> None:
    world = World()
    for i in range(8):
        world.write("loans", f"user-{i}", 10, "due=500")
    world.run(world.worker("a"))
    world.advance(1_000)

    def be_away() -> None:
        world.broker.expel("a")
        world.run(world.worker("b"))

    zombie = world.worker("a", on_hit("K2.processed", hit, be_away), users_max=2)
    world.run(zombie)
    world.run(zombie)
    world.check()


def test_a_new_owner_waits_for_markers_of_the_changelog_that_come_after_those_of_the_offsets() -> None:
    world = World()
    world.story()
    first = world.worker("a")
    world.run(first, until=lambda: len(world.progress()) == 2)
    world.broker.markers_lag = True
    while not world.broker.missing_markers():
        first.turn()
    for marker in world.broker.missing_markers():
        if marker.where is None or marker.where.topic != "rescore-state":
            world.broker.write_marker(marker)
    world.broker.expel("a")
    second = world.worker("b")
    for _ in range(5):
        second.turn()
    world.broker.markers_lag = False
    world.broker.write_markers()
    world.run(second)
    world.check()
