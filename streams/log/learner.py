"""The log as the learner sees it, and its in-memory twin. On Apache Kafka it is `kafka_learner_log`.

The learner reads every partition of the examples and is alone: it needs no group. Its place is in its own checkpoint,
written in the same transaction as what it says; a second learner of the same name fences the first.
"""

# ruff: noqa: ARG002 - the twin never waits, whatever the protocol allows
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from schemas.batch import Record
from streams.log.memory import MemoryBroker
from streams.log.message import Message
from streams.log.protocol import Failpoint, TopicPartition, no_failpoint

LEARNER_STEPS = (
    "L1.polled",
    "L2.learned",
    "L3.begun",
    "L4.half_written",
    "L5.all_written",
    "L6.committing",
    "L7.committed",
    "L8.remembered",
)
"""Steps at which a failpoint is called, in the order of an epoch."""


class Written(NamedTuple):
    """A record to be written; without a timestamp the broker, or the present, gives it one."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    timestamp_ms: int | None = None


class LearnerLog(Protocol):
    """What the learner needs of a log. One thread uses it."""

    def open(self) -> bool:
        """Own the transactional id; ends what an earlier life left open. False: no answer yet, ask again."""
        ...

    def follow(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Poll these partitions from these offsets on, and no others."""
        ...

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        """Committed records of what is followed and not paused, in the order of each partition."""
        ...

    def pause(self, where: Sequence[TopicPartition]) -> None:
        """Poll nothing of these for now; what is not named is polled."""
        ...

    def transact(self, records: Sequence[Written]) -> None:
        """Write all of it or nothing. Raises `AbortAndRewind`, `RecreateProducer`, `StopWorker`."""
        ...

    def partitions(self, topic: str) -> int | None:
        """See `streams.log.protocol.Log`."""
        ...

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `streams.log.protocol.Log`."""
        ...

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `streams.log.protocol.Log`."""
        ...

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """See `streams.log.protocol.Log`."""
        ...

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """See `streams.log.protocol.Log`."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class MemoryLearnerLog:
    """A learner's log on a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, name: str = "learner", failpoint: Failpoint = no_failpoint) -> None:
        self._broker, self._name, self._failpoint = broker, name, failpoint
        self._epoch: int | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    def open(self) -> bool:
        """See `LearnerLog`."""
        if self._epoch is None and self._broker.reachable:
            self._epoch = self._broker.own(self._name)
        return self._epoch is not None

    def follow(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `LearnerLog`."""
        self._positions = dict(offsets)
        self._paused.clear()

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        """See `LearnerLog`; never waits."""
        found: list[Record] = []
        for where in [where for where in self._positions if where not in self._paused]:
            end = self._broker.stable_end(where)
            found += self._broker.committed_between(where, self._positions[where], end)
            self._positions[where] = end
        return found

    def pause(self, where: Sequence[TopicPartition]) -> None:
        """See `LearnerLog`."""
        self._paused = set(where)

    def transact(self, records: Sequence[Written]) -> None:
        """See `LearnerLog`."""
        epoch, self._epoch = self._epoch, None  # a way out by an exception leaves no producer
        opened = self._broker.begin(self._name, -1 if epoch is None else epoch)
        self._failpoint("L3.begun")
        for i, record in enumerate(records):
            if i == len(records) // 2:
                self._failpoint("L4.half_written")
            where = TopicPartition(record.topic, record.partition)
            self._broker.append(opened, where, Message(record.key, record.value), record.timestamp_ms)
        self._failpoint("L5.all_written")
        self._failpoint("L6.committing")
        self._broker.commit(opened)
        self._failpoint("L7.committed")
        self._epoch = epoch

    def partitions(self, topic: str) -> int | None:
        """See `LearnerLog`."""
        return self._broker.counts[topic] if self._broker.reachable else None

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `LearnerLog`."""
        return {w: self._broker.first[w] for w in where} if self._broker.reachable else None

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `LearnerLog`."""
        return {w: len(self._broker.entries[w]) for w in where} if self._broker.reachable else None

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """See `LearnerLog`."""
        return self._broker.topic_ids(topics)

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """See `LearnerLog`."""
        position = from_offset
        while position < until_offset:
            end = min(self._broker.stable_end(where), until_offset)
            yield self._broker.committed_between(where, position, end)
            position = max(position, end)

    def close(self) -> None:
        """See `LearnerLog`."""
        self._positions.clear()
