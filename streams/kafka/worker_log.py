"""The log on Apache Kafka: one consumer, one transactional producer, a few readers (confluent-kafka, librdkafka).

Choices, each of which cost somebody days:

- The classic group protocol with `range` and a static member id: a worker killed with -9 is back in its partitions
  within a second. `range` gives the same partition numbers of all inputs to one worker.
- `subscribe`, never `assign`, for the group: the broker refuses offsets of a stale generation only from members.
- Group id, member id and transactional id are stable (`app`, `app.slot`): coming back ends what was left open.
- After any error the producer is thrown away, and a new one of the same id ends what was open: an indefinite error can
  end a later transaction, and librdkafka loses count of a partition whose records were refused.
- Offsets are opaque: markers leave gaps. What was read is known from records and from ends of partition.
- Callbacks only note what happened; all work is done after the poll has returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.batch import Record
from state.row_columns import RowColumns
from state.store import RowWrite
from streams.kafka.calls import Calls, NeverReturned, aside
from streams.kafka.reader import (
    GONE,
    PARTITION_EOF,
    TOO_LARGE,
    Asking,
    Readers,
    common_settings,
    insist,
    producer_settings,
    reader_settings,
    records_of,
    serve_log_lines,
)
from streams.kafka.reasons import make
from streams.log.message import Message
from streams.log.messages import MessageColumns
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
    Unmatched,
    no_failpoint,
)

FATAL: int = KafkaError._FATAL  # noqa: SLF001 - public in the library's documentation

TRANSACTIONS_BETWEEN_REJOINS = 1_000
"""A member that is fenced again before it has committed so many is another worker's namesake, not its own."""


@dataclass(frozen=True, slots=True)
class KafkaLogOptions:
    """How to reach Kafka and under which names. `client` are further librdkafka settings for every client."""

    bootstrap_servers: str
    app: str
    slot: str
    inputs: tuple[str, ...]
    partitioner: str = "murmur2_random"
    session_timeout_seconds: float = 6.0
    transaction_timeout_seconds: float = 15.0
    answer_timeout_seconds: float = 1.0  # of a question to the brokers
    call_timeout_seconds: float = 5.0  # of one step of a transaction; tried again while that is allowed
    record_bytes_max: int = 20 * 2**20
    client: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Transactional id and static member id."""
        return f"{self.app}.{self.slot}"

    def common(self) -> dict[str, Any]:
        """Settings of every client."""
        return common_settings(self.bootstrap_servers, self.name, self.client)

    def reader(self) -> dict[str, Any]:
        """Settings of everything that reads."""
        return reader_settings(self.common())

    def consumer(self) -> dict[str, Any]:
        """Settings of the member of the group."""
        return {
            **self.reader(),
            "group.id": self.app,
            "group.instance.id": self.name,
            "group.protocol": "classic",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": int(self.session_timeout_seconds * 1000),
            "topic.metadata.refresh.interval.ms": 30_000,  # partitions that somebody adds are noticed within this
            "heartbeat.interval.ms": max(100, int(self.session_timeout_seconds * 1000 / 6)),
            "max.poll.interval.ms": 300_000,
        }

    def producer(self) -> dict[str, Any]:
        """Settings of the transactional producer."""
        made = producer_settings(self.common(), self.name, self.transaction_timeout_seconds, self.record_bytes_max)
        return {**made, "partitioner": self.partitioner, "batch.num.messages": 100_000}


class KafkaLog:
    """One member of the group on Apache Kafka: the protocol of `streams.log.protocol`. Connects when it is made."""

    def __init__(self, options: KafkaLogOptions, failpoint: Failpoint = no_failpoint) -> None:
        self._options = options
        self._failpoint = failpoint
        self._changes: list[AssignmentChange] = []
        self._closing = False
        self._owned: set[int] = set()
        self._producer: Calls | None = None
        seconds = options.answer_timeout_seconds
        self._asking = Asking(options.common(), seconds)
        self._readers = Readers(options.reader(), f"{options.app}.reader", seconds)
        self._transactions_since_rejoin = TRANSACTIONS_BETWEEN_REJOINS
        self._consumer = self._join()

    def _join(self) -> Consumer:
        consumer = make(Consumer, self._options.consumer())
        consumer.subscribe(
            list(self._options.inputs), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        return consumer

    # Fetching and ownership.

    def poll(self, records_max: int, timeout_seconds: float) -> Polled:
        """See `Log.poll`. What was fetched beside a rebalance is dropped: every partition is sought again after it."""
        serve_log_lines(self._producer, self._asking, self._readers)
        first = self._consumer.poll(timeout_seconds)
        messages = self._consumer.consume(records_max, 0) if first is not None or timeout_seconds == 0 else []
        if first is not None:
            messages.insert(0, first)
        if fenced := [error.str() for m in messages if (error := m.error()) is not None and _is_fatal(error)]:
            self._rejoin(fenced[0])
        if self._changes:
            changes, self._changes = self._changes, []
            return Polled(changes, [], [])
        ends = [self._end_of(message) for message in messages if message.error() is not None]
        changes, self._changes = self._changes, []
        return Polled(changes, records_of(messages), [end for end in ends if end is not None])

    def _rejoin(self, reason: str) -> None:
        """Take a consumer that was fenced as a static member out of service, and join again.

        librdkafka can fence itself: a session that times out while its broker restarts is joined again under another
        member id, and a request still under way with the former one is fatal (librdkafka issue 3437, seen with 2.16).
        Joining again tells which it was: where another process has our name, one of the two is soon fenced again.
        """
        if self._transactions_since_rejoin < TRANSACTIONS_BETWEEN_REJOINS:
            raise StopWorker(f"another worker is {self._options.name!r} ({reason}); give each its own RESCORE_SLOT")
        self._transactions_since_rejoin = 0
        if self._owned:
            self._changes.append(Lost(tuple(sorted(self._owned))))
            self._owned = set()
        fenced, self._consumer = self._consumer, self._join()
        aside(fenced.close)

    def _end_of(self, message: KafkaMessage) -> End | None:
        error = message.error()
        if error is None:
            return None
        if error.code() == PARTITION_EOF:
            return End(message.topic() or "", message.partition() or 0, message.offset() or 0)
        if error.code() in GONE:
            # Retention has run past us. The partition delivers nothing more, and RESOLVE will say so.
            self._changes.append(Assigned((message.partition() or 0,)))
        return None  # everything else (a broker away, a leader moving) librdkafka mends by itself

    def _on_assign(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        if self._closing or consumer is not self._consumer:
            consumer.unassign()
            return
        # As numbers: for a logical offset of a leader it has not heard of yet librdkafka lets half a second pass.
        firsts = self._asking.first_offsets([TopicPartition(p.topic, p.partition) for p in partitions]) or {}
        places = [
            KafkaPartition(p.topic, p.partition, firsts.get(TopicPartition(p.topic, p.partition), OFFSET_BEGINNING))
            for p in partitions
        ]
        consumer.assign(places)
        consumer.pause(places)
        topics = set(self._options.inputs)
        numbers = sorted({p.partition for p in partitions})
        given = {n: {p.topic for p in partitions if p.partition == n} for n in numbers}
        self._owned = {n for n in numbers if given[n] == topics}
        self._changes.append(Assigned(tuple(sorted(self._owned))))
        if unmatched := [n for n in numbers if n not in self._owned]:
            missing_in = sorted(set().union(*(topics - given[n] for n in unmatched)))
            self._changes.append(Unmatched(tuple(unmatched), tuple(missing_in)))

    def _on_revoke(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return  # it was fenced, and is being closed in a thread of its own
        self._changes.append(Revoked(tuple(sorted({p.partition for p in partitions}))))
        self._owned = set()

    def _on_lost(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        if consumer is not self._consumer:
            return  # it was fenced, and is being closed in a thread of its own
        self._changes.append(Lost(tuple(sorted({p.partition for p in partitions}))))
        self._owned = set()

    def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Log.seek`."""
        for where, offset in offsets.items():
            self._consumer.seek(KafkaPartition(where.topic, where.partition, offset))

    def pause(self, where: Sequence[TopicPartition]) -> None:
        """See `Log.pause`."""
        if places := self._assigned(where):
            self._consumer.pause(places)

    def resume(self, where: Sequence[TopicPartition]) -> None:
        """See `Log.resume`."""
        if places := self._assigned(where):
            self._consumer.resume(places)

    def _assigned(self, where: Iterable[TopicPartition]) -> list[KafkaPartition]:
        return [KafkaPartition(w.topic, w.partition) for w in where if w.partition in self._owned]

    # Writing.

    def open(self) -> bool:
        """See `Log.open`."""
        if self._producer is None:
            seconds = self._options.call_timeout_seconds
            producer = Calls(Producer(self._options.producer()), self._options.name)
            try:
                producer.make(lambda: producer.of.init_transactions(seconds), seconds)
            except (KafkaException, NeverReturned):
                producer.discard()
                return False
            self._producer = producer
        return True

    def transact(self, transaction: Transaction) -> dict[TopicPartition, int]:
        """See `Log.transact`; the failpoints K3 to K9 are called on the way."""
        producer = self._producer
        if producer is None:
            raise RecreateProducer("there is no producer: call open first")
        if not transaction.positions:
            raise ValueError("a transaction without positions is not fenced by the group")
        if not self._consumer.memberid() or not {w.partition for w in transaction.positions} <= self._owned:
            raise AbortAndRewind("partitions of this transaction are no longer ours")
        try:
            return self._transact(producer, transaction)
        except (KafkaException, BufferError, NeverReturned) as failure:
            error = failure.args[0]
            self._producer = None
            producer.discard()
            if isinstance(failure, NeverReturned):
                raise RecreateProducer(str(failure)) from failure
            if isinstance(failure, BufferError) or error.code() in TOO_LARGE or error.txn_requires_abort():
                # It was never asked to commit, and cannot be any more: the next producer of this name aborts it.
                if words := self._too_large(transaction):
                    raise TooLarge(words) from failure
                raise AbortAndRewind(str(error)) from failure
            raise RecreateProducer(str(error)) from failure
        except Exception as failure:
            # Nobody knows what the client has done of it: as after any other error, a new producer ends what was open.
            self._producer = None
            producer.discard()
            raise RecreateProducer(f"{type(failure).__name__}: {failure}") from failure

    def _transact(self, calls: Calls, transaction: Transaction) -> dict[TopicPartition, int]:
        producer, seconds = calls.of, self._options.call_timeout_seconds
        producer.begin_transaction()
        self._failpoint("K3.begun")
        self._write(calls, transaction)
        offsets: dict[TopicPartition, int] = {}
        for where, message in transaction.progress.items():
            producer.produce(
                where.topic, message.value, message.key, where.partition, on_delivery=_note_offset(offsets, where)
            )
        self._failpoint("K6.all_written")
        positions = [KafkaPartition(w.topic, w.partition, offset) for w, offset in transaction.positions.items()]
        group = self._consumer.consumer_group_metadata()
        insist(lambda: calls.make(lambda: producer.send_offsets_to_transaction(positions, group, seconds), seconds))
        self._failpoint("K7.positions_sent")
        self._failpoint("K8.committing")
        insist(lambda: calls.make(lambda: producer.commit_transaction(seconds), seconds))
        self._failpoint("K9.committed")
        self._transactions_since_rejoin += 1
        producer.flush(seconds)  # nothing is on its way any more: this only hands over the last delivery reports
        return offsets

    def _write(self, calls: Calls, transaction: Transaction) -> None:
        runs = ((topic, told) for topic, runs in transaction.messages.items() for told in runs)
        parts = [partial(_produce, calls, topic, -1, told) for topic, told in runs]
        parts += [partial(_produce, calls, *where, told) for where, told in transaction.placed.items()]
        parts += [partial(_produce_rows, calls, *where, rows) for where, rows in transaction.rows.items()]
        for i, write in enumerate(parts):
            if i == 1:
                self._failpoint("K4.first_written")
            if i == len(parts) // 2:
                self._failpoint("K5.half_written")
            write()

    def _too_large(self, transaction: Transaction) -> str:
        """Which record can never be taken, and what to do; nothing if each fits."""
        largest: dict[str, int] = {}
        for topic, runs in transaction.messages.items():
            largest[topic] = max((_size_of(message) for messages in runs for message in messages), default=0)
        for where, messages in transaction.placed.items():
            largest[where.topic] = max(largest.get(where.topic, 0), *map(_size_of, messages), 0)
        for where, rows in transaction.rows.items():
            sizes = [len(user) + len(row or b"") for user, row, _ in rows]
            largest[where.topic] = max(largest.get(where.topic, 0), *sizes, 0)
        return self._asking.too_large(largest, self._options.record_bytes_max)

    # Asking.

    def committed(self, partition: int) -> dict[str, int | None] | None:
        """See `Log.committed`. The brokers hold the answer back while a transaction with these offsets is open."""
        places = [KafkaPartition(topic, partition) for topic in self._options.inputs]
        try:
            answers = self._consumer.committed(places, self._options.answer_timeout_seconds)
        except KafkaException:
            return None
        if any(answer.error is not None for answer in answers):
            return None  # the offset of such an answer looks like "none", and is not
        return {answer.topic: answer.offset if answer.offset >= 0 else None for answer in answers}

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `Log.end_offsets`."""
        return self._asking.end_offsets(where)

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `Log.first_offsets`."""
        return self._asking.first_offsets(where)

    def offset_at(self, where: TopicPartition, time_ms: int) -> int | None:
        """See `Log.offset_at`."""
        return self._asking.offset_at(where, time_ms)

    def partitions(self, topic: str) -> int | None:
        """See `Log.partitions`."""
        return self._asking.partitions(topic)

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """See `Log.topic_ids`."""
        return self._asking.topic_ids(topics)

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """See `Log.read`."""
        return self._readers.read(where, from_offset, until_offset)

    def close(self) -> None:
        """See `Log.close`. Our partitions stay ours until the session ends, as a static member is expected back."""
        self._closing = True
        if self._producer is not None:
            self._producer.discard().join(self._options.call_timeout_seconds)
            self._producer = None
        self._leave()
        aside(self._consumer.close).join(self._options.session_timeout_seconds)
        self._readers.close()

    def _leave(self) -> None:
        """An assignment that nobody has heard of yet would keep the consumer from closing for ever: hear it first."""
        with suppress(KafkaException, RuntimeError):
            self._consumer.unsubscribe()
            for _ in range(20):
                self._consumer.poll(0.02)
                if not self._consumer.assignment():
                    return


def _is_fatal(error: KafkaError) -> bool:
    return error.fatal() or error.code() in (KafkaError.FENCED_INSTANCE_ID, FATAL)


# What does not come in columns is queued one by one: the client's own way to queue many takes a dictionary for each,
# which costs more.


def _produce(calls: Calls, topic: str, partition: int, messages: Sequence[Message]) -> None:
    if calls.bulk is not None and isinstance(messages, MessageColumns):
        calls.bulk.produce(topic, partition, messages.keys, messages.values, headers=messages.headers)
        return
    for key, value, headers in messages:
        calls.of.produce(topic, value, key, partition, headers=headers or [])  # type: ignore[arg-type]


def _produce_rows(calls: Calls, topic: str, partition: int, rows: Sequence[RowWrite]) -> None:
    if calls.bulk is not None and isinstance(rows, RowColumns):
        calls.bulk.produce(topic, partition, rows.names, rows.rows, deleted=rows.deleted)
        return
    for user, row, _ in rows:
        calls.of.produce(topic, row, user, partition)


def _size_of(message: Message) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in message.headers or ())  # a header may have no value
    return len(message.key or b"") + len(message.value or b"") + headers


def _note_offset(
    offsets: dict[TopicPartition, int], where: TopicPartition
) -> Callable[[KafkaError | None, KafkaMessage], None]:
    def note(error: KafkaError | None, message: KafkaMessage) -> None:
        if error is None:
            offsets[where] = message.offset() or 0

    return note
