"""What a worker reports while it runs, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streams.log.failures import Failure, tell_each
from streams.log.progress import Standing
from streams.log.protocol import TopicPartition


@dataclass(slots=True)
class BatchReport:
    """One batch: one transaction over all partitions that had something to do."""

    partitions: list[int] = field(default_factory=list)
    records: int = 0
    due_users: int = 0
    changes: int = 0
    images: int = 0
    dead_letters: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)  # dead letters by their reason
    inversions: int = 0
    overruns: int = 0  # event ids forgotten within the horizon of duplicates
    committed: bool = False
    clock_ms: dict[int, int] = field(default_factory=dict)
    seq: dict[int, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # by step: merge, process, transact, save


class Observer:
    """Is told what happens; the base says nothing. Metrics and the log line of a batch are observers."""

    def turned(self, at_seconds: float) -> None:
        """The loop went round once more (monotonic seconds)."""

    def batch(self, report: BatchReport) -> None:
        """A batch was processed, committed and saved."""

    def brokers(self, *, answer: bool) -> None:
        """Whether the brokers answered a question of the loop, which asks one every few seconds."""

    def assigned(self, partitions: tuple[int, ...]) -> None:
        """The group has assigned these partitions to this worker; none, where others have all of them."""

    def resolving(self, partition: int) -> None:
        """A partition is being brought to a known state; readers may see it restoring."""

    def running(self, partition: int, standing: Standing) -> None:
        """A partition stands where the log says and takes records."""

    def given_up(self, partitions: tuple[int, ...], *, lost: bool) -> None:
        """Partitions went to other workers; lost: before we knew."""

    def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
        """A batch came to nothing, its partitions go back to what is committed."""

    def lost_rows(self, partition: int, customers: int, wait_seconds: float) -> None:
        """The store has lost keys of at least so many customers; the partition's rebuild begins after this wait."""

    def evicts(self, reason: str) -> None:
        """Why the store may delete rows by itself (asked every few seconds); empty where it does not."""

    def held(self, reason: str) -> None:
        """Nothing could be taken as something does not answer."""

    def halted(self, partition: int, reason: str) -> None:
        """A partition stands still until a person has looked."""

    def lag(self, records: Mapping[tuple[str, int], int], seconds: Mapping[int, float]) -> None:
        """Records behind by input topic and partition, seconds behind by partition."""

    def open_transactions(self, seconds: Mapping[TopicPartition, float]) -> None:
        """How long each input of ours has ended at an open transaction of a publisher; 0 where none is open."""

    def buffered(self, records: int, size_bytes: int, held_back: int) -> None:
        """What waits in this worker, and how many inputs are fetched no further until less of them does."""

    def refused_versions(self, records: Mapping[str, int]) -> None:
        """Records of the broadcast topics that count as never published, by topic; all of them so far."""

    def failed(self, failure: Failure) -> None:
        """This program raised what nobody expected; a record was isolated for it, or partitions go back or halt."""


class Unobserved(Observer):
    """Nobody looks: a failure is raised, as silence would hide it."""

    def failed(self, failure: Failure) -> None:
        """Raises RuntimeError."""
        raise RuntimeError(failure.traceback)


class Observers(Observer):
    """Tells several observers. One that raises ends no worker: it is told to the log once, and the others go on."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self._broken: set[tuple[str, str]] = set()

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        tell_each(self._observers, tell, self._broken)

    def turned(self, at_seconds: float) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.turned(at_seconds))

    def batch(self, report: BatchReport) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.batch(report))

    def brokers(self, *, answer: bool) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.brokers(answer=answer))

    def assigned(self, partitions: tuple[int, ...]) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.assigned(partitions))

    def resolving(self, partition: int) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.resolving(partition))

    def running(self, partition: int, standing: Standing) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.running(partition, standing))

    def given_up(self, partitions: tuple[int, ...], *, lost: bool) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.given_up(partitions, lost=lost))

    def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.rewound(partitions, reason))

    def lost_rows(self, partition: int, customers: int, wait_seconds: float) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.lost_rows(partition, customers, wait_seconds)

    def evicts(self, reason: str) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.evicts(reason)

    def held(self, reason: str) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.held(reason))

    def halted(self, partition: int, reason: str) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.halted(partition, reason))

    def lag(self, records: Mapping[tuple[str, int], int], seconds: Mapping[int, float]) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.lag(records, seconds))

    def open_transactions(self, seconds: Mapping[TopicPartition, float]) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.open_transactions(seconds)

    def buffered(self, records: int, size_bytes: int, held_back: int) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.buffered(records, size_bytes, held_back))

    def refused_versions(self, records: Mapping[str, int]) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.refused_versions(records))

    def failed(self, failure: Failure) -> None:
        """See `Observer`."""
        self._tell(lambda observer: observer.failed(failure))
