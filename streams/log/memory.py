"""The log in memory: transactions, read_committed, fencing and a consumer group, without a thread or a clock.

It ships, because with it a whole worker runs in one process at full speed, and every ugly moment can be had on
purpose: a crash in the middle of a transaction leaves it open, an answer to a commit can be lost, markers can lag, a
member can be expelled and go on not knowing. It is harsher than a real group: a new owner may start at once, while
the old one still believes in its partitions. It is a twin, no proof: the guarantees are tested on Apache Kafka.
"""

# ruff: noqa: ARG002 - it never waits, whatever the protocol allows
from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from schemas.batch import Record
from streams.log.message import Message
from streams.log.protocol import (
    AbortAndRewind,
    Assigned,
    AssignmentChange,
    End,
    Failpoint,
    Lost,
    Polled,
    RecreateProducer,
    Revoked,
    StopWorker,
    TooLarge,
    TopicPartition,
    Transaction,
    no_failpoint,
)

Partitioner = Callable[[bytes, int], int]


def crc32_partition(key: bytes, partitions: int) -> int:
    """A partitioner that needs no other module; the same key always goes to the same partition."""
    return zlib.crc32(key) % partitions


class _State(Enum):
    OPEN = 0
    PREPARED = 1  # decided to commit, not every marker is written yet
    COMMITTED = 2
    ABORTED = 3


@dataclass(slots=True, eq=False)
class _Transaction:
    slot: str
    epoch: int
    state: _State = _State.OPEN
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    first_written: dict[TopicPartition, int] = field(default_factory=dict)
    unmarked: set[TopicPartition] = field(default_factory=set)
    positions_marked: bool = False

    @property
    def pending(self) -> bool:
        return self.state in (_State.OPEN, _State.PREPARED)

    def visible_in(self, where: TopicPartition) -> bool:
        return self.state is _State.COMMITTED or (self.state is _State.PREPARED and where not in self.unmarked)


@dataclass(slots=True)
class _Entry:
    record: Record | None  # None: a marker, or compacted away
    transaction: _Transaction | None = None


class CommitFault(Enum):
    """What can happen to a commit."""

    REFUSED = "refused"  # aborted, and we are told
    COMMITTED_ANSWER_LOST = "committed, answer lost"
    OPEN_ANSWER_LOST = "not committed, answer lost"


class Marker(NamedTuple):
    """A commit marker that is still to be written: in one partition, or (`where` None) in the group's offsets."""

    slot: str
    where: TopicPartition | None


class MemoryBroker:
    """Topics, transactions and one consumer group that several `MemoryLog`s share.

    `now_ms` stamps what is written without a timestamp. `commit_faults` are used up one per commit, None is a good one.
    While `markers_lag`, commits are decided but not visible before `write_markers`, or partition by partition, in any
    order, before `write_marker`. While not `reachable`, questions about offsets get no answer. A transaction with a
    value of more than `record_bytes_max` is aborted.
    """

    def __init__(self, topics: Mapping[str, int], partitioner: Partitioner = crc32_partition) -> None:
        self.entries: dict[TopicPartition, list[_Entry]] = {
            TopicPartition(topic, p): [] for topic, count in topics.items() for p in range(count)
        }
        self.counts = dict(topics)
        self.created: dict[str, int] = dict.fromkeys(topics, 1)  # how often each topic was
        self.has_topic_ids = True
        self.partitioner = partitioner
        self.first: dict[TopicPartition, int] = dict.fromkeys(self.entries, 0)
        self.now_ms = 0
        self.record_bytes_max = 2**62
        self.commit_faults: list[CommitFault | None] = []
        self.markers_lag = False
        self.reachable = True
        self.committed: dict[TopicPartition, int] = {}
        self.generation = 0
        self._members: dict[str, MemoryLog] = {}
        self._epochs: dict[str, int] = {}
        self._transactions: list[_Transaction] = []
        self._holding_back: dict[TopicPartition, list[_Transaction]] = {where: [] for where in self.entries}

    # What producers and subscribers outside of the group do.

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, timestamp_ms: int | None = None, partition: int = -1
    ) -> int:
        """Append one record without a transaction; returns its offset."""
        if partition < 0:
            partition = self.partitioner(key or b"", self.counts[topic])
        return self._append(TopicPartition(topic, partition), Message(key, value), None, timestamp_ms)

    def visible(self, topic: str, partition: int | None = None) -> list[Record]:
        """What a read_committed subscriber sees, partition after partition."""
        partitions = range(self.counts[topic]) if partition is None else [partition]
        return [
            record
            for p in partitions
            for record in self.committed_between(TopicPartition(topic, p), 0, self.stable_end(TopicPartition(topic, p)))
        ]

    def write_markers(self, slot: str | None = None) -> None:
        """Make every decided transaction (of one slot) visible."""
        for transaction in [t for t in self._transactions if t.state is _State.PREPARED and slot in (None, t.slot)]:
            self._end(transaction, commit=True)

    def missing_markers(self) -> list[Marker]:
        """Markers of decided transactions that `write_marker` may write next."""
        prepared = [t for t in self._transactions if t.state is _State.PREPARED]
        groups = [Marker(t.slot, None) for t in prepared if not t.positions_marked]
        return groups + [Marker(t.slot, where) for t in prepared for where in t.first_written if where in t.unmarked]

    def write_marker(self, marker: Marker) -> None:
        """Make a decided transaction visible in one place; the last marker ends it."""
        transaction = next(t for t in self._transactions if t.slot == marker.slot and t.state is _State.PREPARED)
        self._mark(transaction, marker.where)
        if transaction.positions_marked and not transaction.unmarked:
            self._end(transaction, commit=True)

    def expire_transactions(self, slot: str | None = None) -> None:
        """The transaction timeout: abort whatever is open (of one slot); its producer is fenced."""
        for transaction in [t for t in self._transactions if t.state is _State.OPEN and slot in (None, t.slot)]:
            self._epochs[transaction.slot] += 1
            self._end(transaction, commit=False)

    def expel(self, slot: str) -> None:
        """The session timeout of a member: its partitions go to others, it finds out at its next poll."""
        if self._members.pop(slot, None):
            self._rebalance()

    def compact(self, topic: str) -> None:
        """Keep the last committed record of each key; offsets stay as they are."""
        for p in range(self.counts[topic]):
            where = TopicPartition(topic, p)
            end = self.stable_end(where)
            last = {record.key: record.offset for record in self.committed_between(where, 0, end)}
            for offset, entry in enumerate(self.entries[where][:end]):
                if entry.record is not None and last.get(entry.record.key) != offset:
                    entry.record = None

    def delete_before(self, where: TopicPartition, offset: int) -> None:
        """Retention: nothing before this offset is there any more."""
        self.first[where] = offset
        for entry in self.entries[where][:offset]:
            entry.record = None

    def create_again(self, topic: str) -> None:
        """Delete a topic and create it again: empty, under another id; the group forgets what it had committed of it.

        Members go on with the offsets they had.
        """
        self.created[topic] += 1
        for p in range(self.counts[topic]):
            where = TopicPartition(topic, p)
            for transaction in self._holding_back[where]:
                transaction.unmarked.discard(where)
                del transaction.first_written[where]
            self._holding_back[where] = []
            self.entries[where], self.first[where] = [], 0
            self.committed.pop(where, None)
            for transaction in self._transactions:
                transaction.positions.pop(where, None)

    # What members of the group ask for.

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """Ids of topics; none of them where the server has none, None where it does not answer."""
        if not self.reachable:
            return None
        return {topic: f"{topic}-{self.created[topic]}" for topic in topics} if self.has_topic_ids else {}

    def stable_end(self, where: TopicPartition) -> int:
        """The last stable offset: nothing behind it can be read committed yet."""
        held_back = (transaction.first_written[where] for transaction in self._holding_back[where])
        return min(held_back, default=len(self.entries[where]))

    def committed_between(self, where: TopicPartition, start: int, end: int) -> list[Record]:
        """Records of `[start, end)` that are not aborted; the caller keeps `end` within the last stable offset."""
        return [
            entry.record
            for entry in self.entries[where][start:end]
            if entry.record is not None and (entry.transaction is None or entry.transaction.visible_in(where))
        ]

    def join(self, slot: str, member: MemoryLog) -> None:
        """Make `member` the one that holds the slot."""
        known = slot in self._members
        self._members[slot] = member
        if not known or self.generation == 0:
            self._rebalance()

    def leave(self, slot: str, member: MemoryLog) -> None:
        """Give the slot up, if it is still this member's."""
        if self._members.get(slot) is member:
            self.expel(slot)

    def holder(self, slot: str) -> MemoryLog | None:
        """The member that holds a slot now."""
        return self._members.get(slot)

    def assignment(self, slot: str, partitions: int) -> tuple[int, ...]:
        """The range of partitions of a slot."""
        slots = sorted(self._members)
        share, extra = divmod(partitions, len(slots))
        i = slots.index(slot)
        start = i * share + min(i, extra)
        return tuple(range(start, start + share + (i < extra)))

    def own(self, slot: str) -> int:
        """Give the transactional id to the caller; ends what its former holder left open. Returns the new epoch."""
        for transaction in [t for t in self._transactions if t.slot == slot and t.pending]:
            self._end(transaction, commit=transaction.state is _State.PREPARED)
        self._epochs[slot] = self._epochs.get(slot, 0) + 1
        return self._epochs[slot]

    def begin(self, slot: str, epoch: int) -> _Transaction:
        """Open a transaction; `RecreateProducer` if the id has another holder."""
        if self._epochs.get(slot) != epoch:
            raise RecreateProducer(f"the transactional id {slot!r} was taken over")
        self.write_markers(slot)
        transaction = _Transaction(slot, epoch)
        self._transactions.append(transaction)
        return transaction

    def append(
        self, transaction: _Transaction, where: TopicPartition, message: Message, timestamp_ms: int | None = None
    ) -> int:
        """Write one record within a transaction."""
        self._check_holder(transaction)
        if len(message.value or b"") > self.record_bytes_max:
            self._end(transaction, commit=False)
            raise TooLarge(f"a record for {where.topic} has more than {self.record_bytes_max} bytes")
        if where not in transaction.first_written:
            transaction.first_written[where] = len(self.entries[where])
            transaction.unmarked.add(where)
            self._holding_back[where].append(transaction)
        return self._append(where, message, transaction, timestamp_ms)

    def send_positions(
        self, transaction: _Transaction, member: MemoryLog, generation: int, positions: dict[TopicPartition, int]
    ) -> None:
        """Positions of the group within the transaction; refused from a member of an earlier generation.

        From one whose slot was taken, too, though its generation goes on and it has taken the transactional id back: it
        is fenced as a static member.
        """
        self._check_holder(transaction)
        if positions and generation != self.generation:
            self._end(transaction, commit=False)
            raise AbortAndRewind("the group has gone on without this member")
        if positions and self._members.get(transaction.slot, member) is not member:
            self._end(transaction, commit=False)
            raise AbortAndRewind("the slot was taken")
        transaction.positions.update(positions)

    def commit(self, transaction: _Transaction) -> None:
        """Commit, unless a fault is due."""
        self._check_holder(transaction)
        fault = self.commit_faults.pop(0) if self.commit_faults else None
        if fault is CommitFault.OPEN_ANSWER_LOST:
            raise RecreateProducer("no answer to the commit")
        if fault is CommitFault.REFUSED:
            self.abort(transaction)
            raise AbortAndRewind("the commit was refused")
        transaction.state = _State.PREPARED
        if not self.markers_lag:
            self._end(transaction, commit=True)
        if fault is CommitFault.COMMITTED_ANSWER_LOST:
            raise RecreateProducer("no answer to the commit")

    def abort(self, transaction: _Transaction) -> None:
        """End it: nothing of it is ever visible."""
        self._end(transaction, commit=False)

    def stable_position(self, where: Sequence[TopicPartition]) -> dict[str, int | None] | None:
        """Committed positions, None while a transaction that moves one of them is pending."""
        moving = [t.positions for t in self._transactions if not t.positions_marked]
        if not self.reachable or any(w in positions for positions in moving for w in where):
            return None
        return {w.topic: self.committed.get(w) for w in where}

    def _check_holder(self, transaction: _Transaction) -> None:
        if not transaction.pending or self._epochs.get(transaction.slot) != transaction.epoch:
            raise RecreateProducer(f"the transactional id {transaction.slot!r} was taken over")

    def _end(self, transaction: _Transaction, *, commit: bool) -> None:
        if commit:
            self._mark(transaction, None)
        for where in [w for w in transaction.first_written if w in transaction.unmarked]:
            self._mark(transaction, where)
        transaction.state = _State.COMMITTED if commit else _State.ABORTED
        self._transactions.remove(transaction)

    def _mark(self, transaction: _Transaction, where: TopicPartition | None) -> None:
        """Write one marker: from here on readers know in this place how the transaction has ended."""
        if where is not None:
            transaction.unmarked.remove(where)
            self._holding_back[where].remove(transaction)
            self.entries[where].append(_Entry(None))
        elif not transaction.positions_marked:
            transaction.positions_marked = True
            self.committed.update(transaction.positions)

    def _append(
        self, where: TopicPartition, message: Message, transaction: _Transaction | None, timestamp_ms: int | None
    ) -> int:
        entries = self.entries[where]
        time_ms = self.now_ms if timestamp_ms is None else timestamp_ms
        entries.append(_Entry(Record(where.topic, where.partition, len(entries), time_ms, *message), transaction))
        return len(entries) - 1

    def _rebalance(self) -> None:
        self.generation += 1


class MemoryLog:
    """One member of the group on a `MemoryBroker`: the protocol of `streams.log.protocol`."""

    def __init__(
        self, broker: MemoryBroker, slot: str, inputs: Sequence[str], failpoint: Failpoint = no_failpoint
    ) -> None:
        self._broker = broker
        self._slot = slot
        self._inputs = tuple(inputs)
        self._failpoint = failpoint
        self._epoch = 0
        self._opened = False
        self._polls = 0
        self._generation = 0
        self._owned: tuple[int, ...] = ()
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        broker.join(slot, self)

    def poll(self, records_max: int, timeout_seconds: float) -> Polled:
        """See `Log.poll`; never waits."""
        if changes := self._changes():
            return Polled(changes, [], [])
        records: list[Record] = []
        ends: list[End] = []
        fetched = [w for w in self._positions if w not in self._paused]
        self._polls += 1
        start = self._polls % max(1, len(fetched))  # every input has its turn to be first
        if gone := {w.partition for w in fetched if self._positions[w] > len(self._broker.entries[w])}:
            return Polled([Assigned(tuple(sorted(gone)))], [], [])  # out of range: RESOLVE says why
        for where in fetched[start:] + fetched[:start]:
            stable_end = self._broker.stable_end(where)
            piece = self._broker.committed_between(where, self._positions[where], stable_end)
            room = records_max - len(records)
            records += piece[:room]
            self._positions[where] = piece[room].offset if len(piece) > room else stable_end
            if len(piece) <= room:
                ends.append(End(where.topic, where.partition, stable_end))
        return Polled([], records, ends)

    def _changes(self) -> list[AssignmentChange]:
        holder = self._broker.holder(self._slot)
        if holder is not self:
            owned = self._give_up()
            if holder is not None:
                raise StopWorker(f"another worker has taken slot {self._slot!r}; give each worker its own RESCORE_SLOT")
            self._broker.join(self._slot, self)
            return [Lost(owned)] if owned else []
        if self._generation == self._broker.generation:
            return []
        owned = self._give_up()
        self._generation = self._broker.generation
        self._owned = self._broker.assignment(self._slot, self._broker.counts[self._inputs[0]])
        self._paused = {TopicPartition(topic, p) for p in self._owned for topic in self._inputs}
        changes: list[AssignmentChange] = [Revoked(owned)] if owned else []
        return [*changes, Assigned(self._owned)] if self._owned else changes

    def _give_up(self) -> tuple[int, ...]:
        owned, self._owned = self._owned, ()
        self._positions.clear()
        self._paused.clear()
        return owned

    def open(self) -> bool:
        """See `Log.open`."""
        if not self._opened and self._broker.reachable:
            self._epoch = self._broker.own(self._slot)
            self._opened = True
        return self._opened

    def transact(self, transaction: Transaction) -> dict[TopicPartition, int]:
        """See `Log.transact`; the failpoints K3 to K9 are called on the way."""
        try:
            return self._transact(transaction)
        except (RecreateProducer, TooLarge):
            self._opened = False
            raise

    def _transact(self, transaction: Transaction) -> dict[TopicPartition, int]:
        broker, count = self._broker, self._broker.counts
        writes = [
            (TopicPartition(topic, broker.partitioner(message.key or b"", count[topic])), message)
            for topic, runs in transaction.messages.items()
            for messages in runs
            for message in messages
        ]
        writes += [(where, message) for where, messages in transaction.placed.items() for message in messages]
        writes += [(where, Message(user, row)) for where, rows in transaction.rows.items() for user, row, _ in rows]
        opened = broker.begin(self._slot, self._epoch)
        self._failpoint("K3.begun")
        for i, (where, message) in enumerate(writes):
            if i == 1:
                self._failpoint("K4.first_written")
            if i == len(writes) // 2:
                self._failpoint("K5.half_written")
            broker.append(opened, where, message)
        offsets = {where: broker.append(opened, where, message) for where, message in transaction.progress.items()}
        self._failpoint("K6.all_written")
        broker.send_positions(opened, self, self._generation, transaction.positions)
        self._failpoint("K7.positions_sent")
        self._failpoint("K8.committing")
        broker.commit(opened)
        self._failpoint("K9.committed")
        return offsets

    def committed(self, partition: int) -> dict[str, int | None] | None:
        """See `Log.committed`."""
        return self._broker.stable_position([TopicPartition(topic, partition) for topic in self._inputs])

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `Log.end_offsets`."""
        return {w: len(self._broker.entries[w]) for w in where} if self._broker.reachable else None

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `Log.first_offsets`."""
        return {w: self._broker.first[w] for w in where} if self._broker.reachable else None

    def offset_at(self, where: TopicPartition, time_ms: int) -> int | None:
        """See `Log.offset_at`."""
        entries = self._broker.entries[where]
        found = (e.record.offset for e in entries if e.record is not None and e.record.timestamp_ms >= time_ms)
        return next(found, len(entries)) if self._broker.reachable else None

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """See `Log.topic_ids`."""
        return self._broker.topic_ids(topics)

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """See `Log.read`."""
        position = from_offset
        while position < until_offset:
            end = min(self._broker.stable_end(where), until_offset)
            yield self._broker.committed_between(where, position, end)
            position = max(position, end)

    def partitions(self, topic: str) -> int | None:
        """See `Log.partitions`."""
        return self._broker.counts[topic] if self._broker.reachable else None

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Log.seek`."""
        self._positions.update(offsets)

    def pause(self, where: Sequence[TopicPartition]) -> None:
        """See `Log.pause`."""
        self._paused.update(where)

    def resume(self, where: Sequence[TopicPartition]) -> None:
        """See `Log.resume`."""
        self._paused.difference_update(where)

    def close(self) -> None:
        """See `Log.close`."""
        self._broker.leave(self._slot, self)
        self._give_up()
