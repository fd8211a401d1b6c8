"""The log as the worker sees it: one small protocol, kept by Apache Kafka (`kafka_log`) and in memory (`memory_log`).

Partitions of the input topics are co-partitioned: *partition 3* means partition 3 of every input topic, owned by one
worker. Everything that happens to ownership arrives as a value from `poll`, never as work inside a callback. A
transaction never spans a `poll`, so that a partition is given up only between two batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from schemas.batch import Record
from schemas.errors import Exit, RescoreError
from state.store import RowWrite
from streams.log.message import Message

Failpoint = Callable[[str], None]
"""Called with the name of each step of the protocol, so that a test can crash exactly there."""


STEPS = (
    "K1.polled",
    "K2.processed",
    "K3.begun",
    "K4.first_written",
    "K5.half_written",
    "K6.all_written",
    "K7.positions_sent",
    "K8.committing",
    "K9.committed",
    "K10.remembered",
    "K11.saving",
    "K12.saved",
    "K13.given_up",
    "K14.resolving",
    "K15.restoring",
)
"""Steps of the protocol at which a failpoint is called, in the order of a batch; the last three are on ways back."""


def no_failpoint(step: str) -> None:
    """Crash nowhere."""


class AbortAndRewind(Exception):
    """The transaction was refused and has been aborted: nothing of it is visible. Rewind, then go on."""


class RecreateProducer(Exception):
    """Nobody knows how the transaction ended: `open` a new producer, then let RESOLVE read the outcome from the log."""


class TooLarge(Exception):
    """A record of the transaction is larger than its topic takes, now and for ever. It has been aborted: nothing of it
    is visible. The message says which topic, and what to set.
    """


class HaltPartition(RescoreError):
    """The partition must not go on until a person has looked: going on would lose or repeat something."""

    remedy = 'see docs/operations.md, "A worker halted"'
    code = Exit.HALTED


class StopWorker(RescoreError):
    """This worker must end, as another one has taken its place."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Assigned(NamedTuple):
    """These partitions are ours now. Nothing of them is fetched before `seek` and `resume`."""

    partitions: tuple[int, ...]


class Revoked(NamedTuple):
    """These partitions go to another worker; what was committed stays, what was buffered is dropped."""

    partitions: tuple[int, ...]


class Unmatched(NamedTuple):
    """These partitions were given to us, though not every input has them: none of their records may be taken."""

    partitions: tuple[int, ...]
    missing_in: tuple[str, ...]  # inputs that lack at least one of them


class Lost(NamedTuple):
    """These partitions have been given away already: this worker was away for longer than its session."""

    partitions: tuple[int, ...]


AssignmentChange = Assigned | Unmatched | Revoked | Lost


class End(NamedTuple):
    """A fetch of this topic and partition found nothing behind `offset` (a memory of that fetch, not a fact of now)."""

    topic: str
    partition: int
    offset: int


class Polled(NamedTuple):
    """What one poll brought: changes of ownership first, then records (in offset order per topic), then ends."""

    changes: Sequence[AssignmentChange]
    records: Sequence[Record]
    ends: Sequence[End]


@dataclass(slots=True)
class Transaction:
    """One atomic step: all of it becomes visible, or none.

    `messages`, in runs, go to a topic with the partition chosen by key, `placed` and `rows` (key and value of each) to
    a given partition. `progress` records are written last in their partition. `positions` are the next offsets of the
    inputs of **every** partition touched: they make the group coordinator refuse a worker that has lost its partitions
    (an empty list is not checked at all).
    """

    positions: dict[TopicPartition, int]
    messages: dict[str, list[Sequence[Message]]] = field(default_factory=dict)
    placed: dict[TopicPartition, list[Message]] = field(default_factory=dict)
    progress: dict[TopicPartition, Message] = field(default_factory=dict)
    rows: dict[TopicPartition, Sequence[RowWrite]] = field(default_factory=dict)


class Log(Protocol):
    """A partitioned log with transactions and one consumer group. One thread uses it. Offsets are opaque."""

    def poll(self, records_max: int, timeout_seconds: float) -> Polled:
        """Wait for the first thing to happen, then return all that is there, at most `records_max` records."""
        ...

    def open(self) -> bool:
        """Make sure of a producer that owns our transactional id; ends what an earlier life of ours left open.

        False while the brokers do not answer: ask again. Raises `StopWorker` if another worker has our name.
        """
        ...

    def transact(self, transaction: Transaction) -> dict[TopicPartition, int]:
        """Commit all of it; returns the offset of each progress record.

        Raises `AbortAndRewind` (nothing was committed), `TooLarge` (nothing, and never will be) or `RecreateProducer`
        (nobody knows: RESOLVE finds out).
        """
        ...

    def committed(self, partition: int) -> dict[str, int | None] | None:
        """Stable committed offset by input topic (None: there is none). None as a whole: not stable yet, ask again.

        This is the barrier of RESOLVE: it does not answer while a transaction that moves these offsets is open.
        """
        ...

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """High watermarks (behind open transactions too), asked from the brokers now. None: no answer."""
        ...

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """Oldest offsets that are still there, asked from the brokers now. None: no answer."""
        ...

    def offset_at(self, where: TopicPartition, time_ms: int) -> int | None:
        """Offset of the first record with at least this timestamp, the end if there is none. None: no answer."""
        ...

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """Committed records in `[from_offset, until_offset)`, in pieces; an empty piece means: nothing new yet.

        Ends when everything before `until_offset` was read or is known to be aborted. Independent of the group.
        """
        ...

    def partitions(self, topic: str) -> int | None:
        """Number of partitions of a topic. None: no answer."""
        ...

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """Ids of topics, asked from the brokers now; a topic that was created again has another one.

        A topic whose server gives no id is left out. None: no answer, or one of the topics is not there.
        """
        ...

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Fetch these inputs from these offsets on, once resumed."""
        ...

    def pause(self, where: Sequence[TopicPartition]) -> None:
        """Fetch no more of these inputs."""
        ...

    def resume(self, where: Sequence[TopicPartition]) -> None:
        """Fetch these inputs again, from where they were paused or sought to."""
        ...

    def close(self) -> None:
        """Leave: end what is open, give the partitions up."""
        ...


class PauseAndRetry(Exception):
    """Something that must answer before the batch can be decided does not answer: hold the partition, try again."""
