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
from typing import Any, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
)
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from schemas.batch import Record
from state.store import RowWrite
from streams.kafka_log_calls import Calls, NeverReturned, aside
from streams.log import (
    AbortAndRewind,
    Assigned,
    AssignmentChange,
    End,
    Failpoint,
    HaltPartition,
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
from streams.output import Message

PARTITION_EOF: int = KafkaError._PARTITION_EOF  # noqa: SLF001 - public in the library's documentation
AUTO_OFFSET_RESET: int = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
FATAL: int = KafkaError._FATAL  # noqa: SLF001

TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)
FRAME_BYTES = 128
"""What a record takes beside its key, value and headers, at most, when it is sent alone."""

PIECE_RECORDS = 5_000
TRANSACTIONS_BETWEEN_REJOINS = 1_000
"""A member that is fenced again before it has committed so many is another worker's namesake, not its own."""
Answer = TypeVar("Answer")


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
        return {
            # A broker that is back is to be found within a second, and one that is away is worth a line, not hundreds.
            "reconnect.backoff.max.ms": 1_000,
            "log_level": 4,
            **self.client,
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": self.name,
        }

    def reader(self) -> dict[str, Any]:
        """Settings of everything that reads."""
        return {
            **self.common(),
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "fetch.wait.max.ms": 10,
            "fetch.error.backoff.ms": 50,
            "fetch.message.max.bytes": 4 * 2**20,
            "queued.max.messages.kbytes": 32 * 2**10,
        }

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
        return {
            **self.common(),
            "transactional.id": self.name,
            "transaction.timeout.ms": int(self.transaction_timeout_seconds * 1000),
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            "partitioner": self.partitioner,
            "message.max.bytes": self.record_bytes_max,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2**20,
            "batch.num.messages": 100_000,
        }


class KafkaLog:
    """One member of the group on Apache Kafka: the protocol of `streams.log`. Connects when it is made."""

    def __init__(self, options: KafkaLogOptions, failpoint: Failpoint = no_failpoint) -> None:
        self._options = options
        self._failpoint = failpoint
        self._changes: list[AssignmentChange] = []
        self._closing = False
        self._owned: set[int] = set()
        self._producer: Calls | None = None
        self._readers: list[Consumer] = []
        self._admin = AdminClient(options.common())
        self._transactions_since_rejoin = TRANSACTIONS_BETWEEN_REJOINS
        self._consumer = self._join()

    def _join(self) -> Consumer:
        consumer = Consumer(self._options.consumer())
        consumer.subscribe(
            list(self._options.inputs), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        return consumer

    # Fetching and ownership.

    def poll(self, records_max: int, timeout_seconds: float) -> Polled:
        """See `Log.poll`. What was fetched beside a rebalance is dropped: every partition is sought anew after it."""
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
        return Polled(changes, _records(messages), [end for end in ends if end is not None])

    def _rejoin(self, reason: str) -> None:
        """Take a consumer that was fenced as a static member out of service, and join anew.

        librdkafka can fence itself: a session that times out while its broker restarts is joined anew under another
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
        if error.code() in (AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            # Retention has run past us. The partition delivers nothing more, and RESOLVE will say so.
            self._changes.append(Assigned((message.partition() or 0,)))
        return None  # everything else (a broker away, a leader moving) librdkafka mends by itself

    def _on_assign(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        if self._closing or consumer is not self._consumer:
            consumer.unassign()
            return
        places = [KafkaPartition(p.topic, p.partition, OFFSET_BEGINNING) for p in partitions]
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
            producer, seconds = Calls(Producer(self._options.producer())), self._options.call_timeout_seconds
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
                # It was never asked to commit, and can not be any more: the next producer of this name aborts it.
                if words := self._too_large(transaction):
                    raise TooLarge(words) from failure
                raise AbortAndRewind(str(error)) from failure
            raise RecreateProducer(str(error)) from failure

    def _transact(self, calls: Calls, transaction: Transaction) -> dict[TopicPartition, int]:
        producer, seconds = calls.of, self._options.call_timeout_seconds
        producer.begin_transaction()
        self._failpoint("K3.begun")
        self._write(producer, transaction)
        offsets: dict[TopicPartition, int] = {}
        for where, message in transaction.progress.items():
            producer.produce(
                where.topic, message.value, message.key, where.partition, on_delivery=_note_offset(offsets, where)
            )
        self._failpoint("K6.all_written")
        positions = [KafkaPartition(w.topic, w.partition, offset) for w, offset in transaction.positions.items()]
        group = self._consumer.consumer_group_metadata()
        _insist(lambda: calls.make(lambda: producer.send_offsets_to_transaction(positions, group, seconds), seconds))
        self._failpoint("K7.positions_sent")
        self._failpoint("K8.committing")
        _insist(lambda: calls.make(lambda: producer.commit_transaction(seconds), seconds))
        self._failpoint("K9.committed")
        self._transactions_since_rejoin += 1
        producer.flush(seconds)  # nothing is on its way any more: this only hands over the last delivery reports
        return offsets

    def _write(self, producer: Producer, transaction: Transaction) -> None:
        parts: list[tuple[str, int, Sequence[Message | RowWrite]]]
        parts = [(topic, -1, messages) for topic, messages in transaction.messages.items()]
        parts += [(where.topic, where.partition, messages) for where, messages in transaction.placed.items()]
        parts += [(where.topic, where.partition, rows) for where, rows in transaction.rows.items()]
        for i, (topic, partition, messages) in enumerate(parts):
            if i == 1:
                self._failpoint("K4.first_written")
            if i == len(parts) // 2:
                self._failpoint("K5.half_written")
            _produce(producer, topic, partition, messages)

    def _too_large(self, transaction: Transaction) -> str:
        """Which record can never be taken, and what to do; nothing if each fits. The client's own error says neither:
        by the time it is told, it is that of the records behind.
        """
        largest: dict[str, int] = {}
        for topic, messages in transaction.messages.items():
            largest[topic] = max(map(_size_of, messages), default=0)
        for where, messages in transaction.placed.items():
            largest[where.topic] = max(largest.get(where.topic, 0), *map(_size_of, messages), 0)
        for where, rows in transaction.rows.items():
            sizes = [len(user) + len(row or b"") for user, row, _ in rows]
            largest[where.topic] = max(largest.get(where.topic, 0), *sizes, 0)
        limits = self._limits([topic for topic, size in largest.items() if size])
        for topic, size in largest.items():
            if size + FRAME_BYTES > (limit := limits.get(topic, self._options.record_bytes_max)):
                return (
                    f"a record for {topic} has {size:,} bytes, its max.message.bytes is {limit:,}: it will never be "
                    f"taken. Raise max.message.bytes of {topic}, then restart this worker. Nothing of its batch was "
                    f"committed, and nothing is lost."
                )
        return ""

    def _limits(self, topics: Sequence[str]) -> dict[str, int]:
        """max.message.bytes of topics, or less where this client sends no more; none of it without an answer."""
        asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        seconds = self._options.answer_timeout_seconds
        limits: dict[str, int] = {}
        with suppress(KafkaException, TimeoutError, ValueError):
            for resource, answer in self._admin.describe_configs(asked, request_timeout=seconds).items():
                found = int(answer.result(2 * seconds)["max.message.bytes"].value)
                limits[resource.name] = min(found, self._options.record_bytes_max)
        return limits

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
        return self._offsets(where, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `Log.first_offsets`."""
        return self._offsets(where, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def offset_at(self, where: TopicPartition, time_ms: int) -> int | None:
        """See `Log.offset_at`."""
        found = self._offsets([where], OffsetSpec.for_timestamp(max(0, time_ms)))
        if found is not None and found[where] < 0:
            found = self.end_offsets([where])
        return None if found is None else found[where]

    def partitions(self, topic: str) -> int | None:
        """See `Log.partitions`."""
        with suppress(KafkaException):
            found = self._admin.list_topics(topic, timeout=self._options.answer_timeout_seconds).topics.get(topic)
            if found is not None and found.error is None:
                return len(found.partitions)
        return None

    def _offsets(self, where: Sequence[TopicPartition], what: OffsetSpec) -> dict[TopicPartition, int] | None:
        asked = {KafkaPartition(w.topic, w.partition): what for w in where}
        seconds = self._options.answer_timeout_seconds
        answers = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=seconds
        )
        try:
            return {TopicPartition(p.topic, p.partition): f.result(2 * seconds).offset for p, f in answers.items()}
        except (KafkaException, TimeoutError):
            # It may have asked as of an epoch that a broker's restart has ended, and would go on to for minutes: this
            # tells it who leads now.
            with suppress(KafkaException):
                self._admin.list_topics(timeout=seconds)
            return None

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """See `Log.read`. Takes a reader of its own, so that several partitions can be read side by side."""
        if from_offset >= until_offset:
            return
        reader = self._readers.pop() if self._readers else Consumer(self._reader_settings())
        try:
            self._hear_of(reader, where.topic)
            reader.assign([KafkaPartition(where.topic, where.partition, from_offset)])
            position = from_offset
            while position < until_offset:
                position, records = self._read_piece(reader, position)
                yield [record for record in records if record.offset < until_offset]
        finally:
            reader.unassign()
            self._readers.append(reader)

    def _hear_of(self, reader: Consumer, topic: str) -> None:
        """Ask for the topic's leaders now: of a topic that is new to a client librdkafka hears a second later."""
        with suppress(KafkaException):
            reader.list_topics(topic, self._options.answer_timeout_seconds)

    def _read_piece(self, reader: Consumer, position: int) -> tuple[int, list[Record]]:
        first = reader.poll(0.1)
        if first is None:
            return position, []
        messages = [first, *reader.consume(PIECE_RECORDS, 0)]
        for message in messages:
            error = message.error()
            if error is None:
                position = (message.offset() or 0) + 1
            elif error.code() == PARTITION_EOF:
                position = max(position, message.offset() or 0)
            elif error.code() in (AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                raise HaltPartition(
                    f"{message.topic()}/{message.partition()}: offset {position} is not there any more. Records were "
                    f"deleted while they were read; set cleanup.policy and retention as `rescore topics check` says."
                )
        return position, _records(messages)

    def _reader_settings(self) -> dict[str, Any]:
        # librdkafka asks for a group; nothing is ever committed under it.
        return {**self._options.reader(), "group.id": f"{self._options.app}.reader"}

    def close(self) -> None:
        """See `Log.close`. Our partitions stay ours until the session ends, as a static member is expected back."""
        self._closing = True
        if self._producer is not None:
            self._producer.discard().join(self._options.call_timeout_seconds)
            self._producer = None
        self._leave()
        aside(self._consumer.close).join(self._options.session_timeout_seconds)
        for reader in self._readers:
            reader.close()

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


def _records(messages: Iterable[KafkaMessage]) -> list[Record]:
    make = Record._make
    return [
        make((m.topic(), m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers()))
        for m in messages
        if m.error() is None
    ]


def _produce(producer: Producer, topic: str, partition: int, messages: Sequence[Message | RowWrite]) -> None:
    """Queue records one by one: the client's own way to queue many takes a dictionary for each, which costs more."""
    produce = producer.produce
    for message in messages:
        headers = message.headers if isinstance(message, Message) else None
        if headers:
            produce(topic, message[1], message[0], partition, headers=headers)  # type: ignore[arg-type]
        else:
            produce(topic, message[1], message[0], partition)


def _size_of(message: Message) -> int:
    headers = sum(len(name) + len(value) for name, value in message.headers or ())
    return len(message.key or b"") + len(message.value or b"") + headers


def _note_offset(
    offsets: dict[TopicPartition, int], where: TopicPartition
) -> Callable[[KafkaError | None, KafkaMessage], None]:
    def note(error: KafkaError | None, message: KafkaMessage) -> None:
        if error is None:
            offsets[where] = message.offset() or 0

    return note


def _insist(call: Callable[[], Answer], attempts_max: int = 3) -> Answer:
    """Call again while Kafka says that the same call may be repeated: that is how a transaction goes on."""
    for _ in range(attempts_max - 1):
        try:
            return call()
        except KafkaException as failure:
            if not failure.args[0].retriable():
                raise
    return call()
