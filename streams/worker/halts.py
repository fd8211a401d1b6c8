"""What a worker leaves where all can read it about partitions that it has halted: `rescore lag` reads these notes.

A halted partition writes nothing to the log, as nothing of it may be decided, and its worker stays a member of the
group. So neither the log nor the group tells it from one for which nothing arrives.
"""

# ruff: noqa: ARG002 - an observer is told more than it needs
from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from state.errors import RefusedSettings, StoreUnavailable
from streams.log.progress import Standing
from streams.worker.observer import Observer

REPEAT_SECONDS = 5.0
NOTE_SECONDS = 20.0
"""How long a note is there after it was last repeated: a worker that has ended says nothing of its partitions."""


class Notes(Protocol):
    """Where notes are left: `state.redis_store_halts`."""

    def write(self, partition: int, reason: str, seconds: float) -> None:
        """Say that a partition is halted, for so many seconds from now."""

    def delete(self, partition: int) -> None:
        """Say that a partition is halted no longer."""


class HaltTeller(Observer):
    """Keeps the notes of this worker's halted partitions. A server that does not answer is asked again later."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._reasons: dict[int, str] = {}
        self._repeat_at_seconds = 0.0

    def halted(self, partition: int, reason: str) -> None:
        """See `Observer`."""
        self._reasons[partition] = reason
        self._write([partition])

    def running(self, partition: int, standing: Standing) -> None:
        """See `Observer`."""
        self._reasons.pop(partition, None)
        with suppress(StoreUnavailable, RefusedSettings):
            self._notes.delete(partition)

    def given_up(self, partitions: tuple[int, ...], *, lost: bool) -> None:
        """See `Observer`. The notes expire, or the next worker of these partitions writes its own."""
        for partition in partitions:
            self._reasons.pop(partition, None)

    def resolving(self, partition: int) -> None:
        """See `Observer`."""
        self._reasons.pop(partition, None)

    def turned(self, at_seconds: float) -> None:
        """See `Observer`."""
        if self._reasons and at_seconds >= self._repeat_at_seconds:
            self._write(list(self._reasons))
            self._repeat_at_seconds = at_seconds + REPEAT_SECONDS

    def _write(self, partitions: list[int]) -> None:
        with suppress(StoreUnavailable, RefusedSettings):
            for partition in partitions:
                self._notes.write(partition, self._reasons[partition], NOTE_SECONDS)
