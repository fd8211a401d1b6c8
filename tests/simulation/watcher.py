"""What workers tell, counted and put into the story; and the clock of the machine that one of them runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.log.failures import Failure
from streams.log.progress import Standing
from streams.worker.observer import BatchReport, Observer
from tests.simulation.life import Life

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


class Watcher(Observer):
    """Counts what workers tell, and puts it into the story."""

    def __init__(self, simulation: Simulation, life: Life) -> None:
        self._simulation, self._life = simulation, life

    def _tell(self, words: str, *counted: str) -> None:
        for name in counted:
            self._simulation.seen[name] += 1
        self._simulation.tell(f"{self._life.name} {words}")

    def batch(self, report: BatchReport) -> None:
        """See `Observer`."""
        self._tell(
            f"batch of {report.records} records, {report.due_users} due: {report.changes} changes, seq {report.seq}"
        )

    def running(self, partition: int, standing: Standing) -> None:
        """See `Observer`."""
        self._tell(f"runs partition {partition} from transaction {standing.seq}")

    def given_up(self, partitions: tuple[int, ...], *, lost: bool) -> None:
        """See `Observer`."""
        self._tell(f"gives up {partitions}{' (lost)' if lost else ''}")

    def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
        """See `Observer`."""
        counted = {
            "the group has gone on": "zombie refused",
            "the store answered fenced": "fenced by the store",
            "the store answered behind": "store was behind",
            "the store answered missing": "store was missing",
            "the store is at": "store moved under a batch",
            "the store has lost": "lost rows noticed",
        }
        self._tell(
            f"rewinds {partitions}: {reason}", *(name for said, name in counted.items() if reason.startswith(said))
        )

    def halted(self, partition: int, reason: str) -> None:
        """See `Observer`."""
        self._life.halts[partition] = reason
        self._tell(f"halts partition {partition}: {reason}")

    def failed(self, failure: Failure) -> None:
        """See `Observer`."""
        if failure.record and "planted" in failure.line:
            self._tell(f"isolates {failure.record}", "record isolated")
        else:
            self._simulation.failures.append(failure.traceback)
            self._tell(f"fails: {failure.clause}")


class Clock:
    """The clock of one machine: that of the world, and a little beside it."""

    def __init__(self, simulation: Simulation, life: Life) -> None:
        self._simulation, self._life = simulation, life

    def wall_ms(self) -> int:
        """See `streams.clock.Clock`."""
        return self._simulation.now_ms + self._life.skew_ms

    def monotonic_seconds(self) -> float:
        """See `streams.clock.Clock`."""
        return self._simulation.now_ms / 1000
