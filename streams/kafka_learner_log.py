"""The learner's log on Apache Kafka: one assigned consumer, one transactional producer, a reader (confluent-kafka).

Unlike a worker the learner joins no group: it reads all partitions, and its place is in its own checkpoint. What fences
a learner that was given up is the transactional id, `app.learner`: the next one that takes it ends what was left open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from schemas.batch import Record
from streams.learner_log import Written
from streams.log import (
    AbortAndRewind,
    Failpoint,
    HaltPartition,
    RecreateProducer,
    StopWorker,
    TopicPartition,
    no_failpoint,
)

PARTITION_EOF: int = KafkaError._PARTITION_EOF  # noqa: SLF001 - public in the library's documentation
AUTO_OFFSET_RESET: int = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
FENCED = (KafkaError.INVALID_PRODUCER_EPOCH, KafkaError._FENCED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)  # noqa: SLF001
PIECE_RECORDS = 5_000
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class KafkaLearnerOptions:
    """How to reach Kafka and under which name. `client` are further librdkafka settings for every client."""

    bootstrap_servers: str
    name: str  # transactional id and client id
    transaction_timeout_seconds: float = 15.0
    answer_timeout_seconds: float = 1.0
    record_bytes_max: int = 8 * 2**20
    client: Mapping[str, Any] = field(default_factory=dict)

    def common(self) -> dict[str, Any]:
        """Settings of every client."""
        return {**self.client, "bootstrap.servers": self.bootstrap_servers, "client.id": self.name}

    def reader(self) -> dict[str, Any]:
        """Settings of everything that reads."""
        return {
            **self.common(),
            "group.id": f"{self.name}.reader",  # librdkafka asks for one; nothing is ever committed under it
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
            "fetch.error.backoff.ms": 50,
            "queued.max.messages.kbytes": 32 * 2**10,
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
            "message.max.bytes": self.record_bytes_max,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2**20,
        }


class KafkaLearnerLog:
    """The protocol of `streams.learner_log` on Apache Kafka. Connects when it is made."""

    def __init__(self, options: KafkaLearnerOptions, failpoint: Failpoint = no_failpoint) -> None:
        self._options, self._failpoint = options, failpoint
        self._producer: Producer | None = None
        self._admin = AdminClient(options.common())
        self._consumer = Consumer(options.reader())
        self._reader: Consumer | None = None
        self._followed: list[TopicPartition] = []
        self._paused: set[TopicPartition] = set()

    def open(self) -> bool:
        """See `LearnerLog`."""
        if self._producer is None:
            producer = Producer(self._options.producer())
            try:
                producer.init_transactions(self._options.answer_timeout_seconds * 5)
            except KafkaException:
                _discard(producer)
                return False
            self._producer = producer
        return True

    def follow(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `LearnerLog`."""
        self._consumer.assign([KafkaPartition(w.topic, w.partition, offset) for w, offset in offsets.items()])
        self._followed, self._paused = list(offsets), set()

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        """See `LearnerLog`. Raises `HaltPartition` where examples are gone before they were read."""
        first = self._consumer.poll(timeout_seconds)
        messages = [] if first is None else [first, *self._consumer.consume(PIECE_RECORDS, 0)]
        for message in messages:
            _refuse_what_is_gone(message)
        return [r for r in _records(messages) if TopicPartition(r.topic, r.partition) in self._followed]

    def pause(self, where: Sequence[TopicPartition]) -> None:
        """See `LearnerLog`."""
        wanted = set(where)
        if more := wanted - self._paused:
            self._consumer.pause([KafkaPartition(*place) for place in more])
        if fewer := self._paused - wanted:
            self._consumer.resume([KafkaPartition(*place) for place in fewer])
        self._paused = wanted

    def transact(self, records: Sequence[Written]) -> None:
        """See `LearnerLog`."""
        producer = self._producer
        if producer is None:
            raise RecreateProducer("there is no producer: call open first")
        try:
            self._transact(producer, records)
        except (KafkaException, BufferError) as failure:
            error = failure.args[0]
            if isinstance(error, KafkaError) and error.code() in FENCED:
                raise StopWorker(f"another learner is {self._options.name!r} ({error.str()})") from failure
            if (isinstance(failure, BufferError) or error.txn_requires_abort()) and self._abort(producer):
                raise AbortAndRewind(str(error)) from failure
            self._producer = None
            _discard(producer)
            raise RecreateProducer(str(error)) from failure

    def _transact(self, producer: Producer, records: Sequence[Written]) -> None:
        seconds = self._options.transaction_timeout_seconds
        producer.begin_transaction()
        self._failpoint("L3.begun")
        for i, record in enumerate(records):
            if i == len(records) // 2:
                self._failpoint("L4.half_written")
            stamp: dict[str, Any] = {} if record.timestamp_ms is None else {"timestamp": record.timestamp_ms}
            producer.produce(record.topic, record.value, record.key, record.partition, **stamp)
        self._failpoint("L5.all_written")
        self._failpoint("L6.committing")
        _insist(lambda: producer.commit_transaction(seconds))
        self._failpoint("L7.committed")

    def _abort(self, producer: Producer) -> bool:
        """True if it is certain that nothing of the transaction will ever be seen."""
        seconds = self._options.transaction_timeout_seconds
        with suppress(KafkaException):
            producer.purge(in_flight=False)
            producer.flush(seconds)
            _insist(lambda: producer.abort_transaction(seconds))
            return True
        return False

    def partitions(self, topic: str) -> int | None:
        """See `LearnerLog`."""
        with suppress(KafkaException):
            found = self._admin.list_topics(topic, timeout=self._options.answer_timeout_seconds).topics.get(topic)
            if found is not None and found.error is None:
                return len(found.partitions)
        return None

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `LearnerLog`."""
        return self._offsets(where, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `LearnerLog`."""
        return self._offsets(where, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def _offsets(self, where: Sequence[TopicPartition], what: OffsetSpec) -> dict[TopicPartition, int] | None:
        seconds = self._options.answer_timeout_seconds
        answers = self._admin.list_offsets(
            {KafkaPartition(w.topic, w.partition): what for w in where},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=seconds,
        )
        try:
            return {TopicPartition(p.topic, p.partition): f.result(2 * seconds).offset for p, f in answers.items()}
        except (KafkaException, TimeoutError):
            return None

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """See `LearnerLog`. One read at a time."""
        if from_offset >= until_offset:
            return
        if self._reader is None:
            self._reader = Consumer(self._options.reader())
        self._reader.assign([KafkaPartition(where.topic, where.partition, from_offset)])
        position = from_offset
        while position < until_offset:
            first = self._reader.poll(0.1)
            messages = [] if first is None else [first, *self._reader.consume(PIECE_RECORDS, 0)]
            for message in messages:
                _refuse_what_is_gone(message)
                error = message.error()
                if error is None:
                    position = (message.offset() or 0) + 1
                elif error.code() == PARTITION_EOF:
                    position = max(position, message.offset() or 0)
            yield [record for record in _records(messages) if record.offset < until_offset]
        self._reader.unassign()

    def close(self) -> None:
        """See `LearnerLog`."""
        if self._producer is not None:
            _aside(self._producer.close).join(self._options.transaction_timeout_seconds)
        for consumer in (self._consumer, self._reader):
            if consumer is not None:
                consumer.close()


def _refuse_what_is_gone(message: KafkaMessage) -> None:
    error = message.error()
    if error is not None and error.code() in (AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise HaltPartition(
            f"{message.topic()}/{message.partition()}: what is to be read is not there any more. Records were deleted "
            f"before they were read; set retention as `rescore topics check` says."
        )


def _records(messages: Iterable[KafkaMessage]) -> list[Record]:
    make = Record._make
    return [
        make((m.topic(), m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers()))
        for m in messages
        if m.error() is None
    ]


def _insist(call: Callable[[], Answer], attempts_max: int = 3) -> Answer:
    """Call again while Kafka says that the same call may be repeated."""
    for _ in range(attempts_max - 1):
        try:
            return call()
        except KafkaException as failure:
            if not failure.args[0].retriable():
                raise
    return call()


def _discard(producer: Producer) -> None:
    """Throw a producer away without waiting: after a fatal error closing it may hang."""
    producer.purge(blocking=False)
    _aside(producer.close)


def _aside(close: Callable[[], object]) -> threading.Thread:
    """Run a call that may hang in a thread of its own, which ends with the process at the latest."""

    def run() -> None:
        with suppress(KafkaException, RuntimeError):
            close()

    thread = threading.Thread(target=run, name="rescore-closing", daemon=True)
    thread.start()
    return thread
