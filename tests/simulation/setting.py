"""What a seed chooses before anything happens, and what a meaning of events has to offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from streams.log.failures import Failure
from streams.log.memory import Partitioner
from streams.worker.options import Wire
from streams.worker.output import Processor
from tests.simulation.workload import Publication

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

START_MS = 1_767_225_600_000  # 2026-01-01
RATES = "fx-rates"
SLOTS = ("a", "b", "c")


class Workload(Protocol):
    """Makes events for one meaning."""

    def event(self, now_ms: int) -> Publication:
        """The next one."""
        ...


class Meaning(Protocol):
    """What events mean: the real scores, or the ledger that stands for them."""

    topics: dict[str, int]
    partitioner: Partitioner
    wire: Wire
    gaps_ms: tuple[int, ...]  # by which time leaps now and then
    tick_ms: int  # between events where the time is in the records
    patience_ms: int  # after so long every timer has fired

    def workload(self, random: Random, users: int) -> Workload:
        """Events to publish."""
        ...

    def judge(self, simulation: Simulation) -> None:
        """Is everything said, remembered and refused as it must be? Raises AssertionError."""
        ...

    def processor(
        self, rates: Callable[[], tuple[int, ...]], layout: int, tell: Callable[[Failure], None]
    ) -> Processor:
        """The thinking part of a worker, guarded; `tell` hears of exceptions."""
        ...


@dataclass(frozen=True)
class Setting:
    """What a seed chooses before anything happens."""

    users: int
    workers: int
    wall: bool  # time is the brokers'; else it is in the records
    events: int
    storm_steps: int
    fault_share: float
    records_max: int
    users_max: int
    timers_max: int
    buffered_max: int
    upgrade_at: int  # step from which on programs start with the newer layout

    @classmethod
    def of(cls, random: Random) -> Setting:
        """Drawn."""
        return cls(
            users=random.choice([1, 2, 4, 4, 9]),
            workers=random.choice([1, 2, 2, 3]),
            wall=random.random() < 0.75,
            events=random.randrange(15, 120),
            storm_steps=random.randrange(100, 500),
            fault_share=random.choice([0.0, 0.05, 0.15, 0.3]),
            records_max=random.choice([1, 3, 8, 50]),
            users_max=random.choice([1, 2, 5, 1_000]),
            timers_max=random.choice([1, 3, 250]),
            buffered_max=random.choice([2, 10, 20_000]),
            upgrade_at=random.choice([0, 10, 60, 150, 10**9]),
        )
