"""Each protection is switched off in turn, and the crash tests must notice: else they would prove nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from state.memory_store import MemoryStore
from state.store import Position, SaveOutcome
from streams.log import TopicPartition
from streams.memory_log import MemoryBroker, MemoryLog
from streams.merge import Merge
from streams.worker import Worker
from tests.crash import test_crash_in_memory as crash
from tests.streams import test_merge, test_resolve

Patch = Callable[[pytest.MonkeyPatch], None]


def scenarios() -> Iterator[Callable[[], None]]:
    """What the other tests do, one after the other."""
    for fault in test_resolve.FAULTS:
        yield lambda fault=fault: test_resolve.test_a_commit_of_unknown_outcome_is_read_from_the_log(fault, 1)
    yield test_resolve.test_markers_that_lag_behind_their_commit_are_waited_for
    yield test_resolve.test_a_new_owner_waits_for_the_markers_of_the_old_one
    yield test_merge.test_an_advance_waits_until_the_ends_asked_for_after_it_came_are_read
    for step in crash.IN_A_BATCH:
        for hit in crash.HITS:
            yield lambda step=step, hit=hit: crash.test_a_worker_killed_at_any_step_comes_back_and_says_everything_once(
                step, hit
            )
            yield lambda step=step, hit=hit: crash.test_a_frozen_worker_that_wakes_up_after_its_session_does_no_harm(
                step, hit
            )
        yield lambda step=step: crash.test_a_store_emptied_at_any_step_is_rebuilt_to_the_same_rows(step)
        yield lambda step=step: crash.test_a_store_rolled_back_at_any_step_catches_up(step)


def no_positions(patch: pytest.MonkeyPatch) -> None:
    """Transactions without positions: a zombie is not refused."""
    send = MemoryBroker.send_positions
    patch.setattr(MemoryBroker, "send_positions", lambda self, t, generation, p: send(self, t, self.generation, p))


def no_barrier(patch: pytest.MonkeyPatch) -> None:
    """Committed offsets are read while a transaction may still move them."""

    def unstable(self: MemoryBroker, where: Any) -> dict[str, int | None]:
        return {w.topic: self.committed.get(w) for w in where}

    patch.setattr(MemoryBroker, "stable_position", unstable)


def end_is_the_last_stable_offset(patch: pytest.MonkeyPatch) -> None:
    """The changelog is read only up to what is stable, without waiting for markers that lag."""

    def stable(self: MemoryLog, where: Any) -> dict[TopicPartition, int]:
        return {w: self._broker.stable_end(w) for w in where}

    no_barrier(patch)
    patch.setattr(MemoryLog, "end_offsets", stable)


def no_look_at_the_position_after_loading(patch: pytest.MonkeyPatch) -> None:
    """Rows are trusted whatever happened to the store."""
    patch.setattr(Worker, "_check_position", lambda self, held, standing: None)


def no_fence_on_the_store(patch: pytest.MonkeyPatch) -> None:
    """Any session may write at any time."""

    def unfenced(self: MemoryStore, partition: int, seq: int, position: Position, writes: Any) -> SaveOutcome:
        self._partitions[partition].write(writes)
        self._partitions[partition].position = position
        return SaveOutcome.OK

    patch.setattr(MemoryStore, "save", unfenced)


def advances_at_once(patch: pytest.MonkeyPatch) -> None:
    """Time in silence is believed without asking how far the inputs go."""
    patch.setattr(Merge, "_is_safe", lambda self, advance: True)


def no_rewind_after_an_abort(patch: pytest.MonkeyPatch) -> None:
    """What came to nothing is not taken again."""
    rewind = Worker._rewind

    def forgetful(self: Worker, partitions: Any, reason: str = "") -> None:
        if "refused" not in reason:
            rewind(self, partitions, reason)

    patch.setattr(Worker, "_rewind", forgetful)


def caught(scenario: Callable[[], None]) -> bool:
    try:
        scenario()
    except (Exception, crash.Crash, pytest.fail.Exception):  # noqa: BLE001 - any of them is a cry
        return True
    return False


@pytest.mark.parametrize(
    "switch_off",
    [
        no_positions,
        no_barrier,
        end_is_the_last_stable_offset,
        no_look_at_the_position_after_loading,
        no_fence_on_the_store,
        advances_at_once,
        no_rewind_after_an_abort,
    ],
)
def test_a_protection_that_is_switched_off_is_missed(switch_off: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off(monkeypatch)
    assert any(caught(scenario) for scenario in scenarios()), switch_off.__doc__
