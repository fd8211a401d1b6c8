"""The learner's log on Apache Kafka: one assigned consumer, one transactional producer, a reader (confluent-kafka).

Unlike a worker the learner joins no group: it reads all partitions, and its place is in its own checkpoint. What fences
a learner that was given up is the transactional id, `app.learner`: the next one that takes it ends what was left open.
After any error the producer is thrown away, as a worker's is; what it left open is ended by the next one of its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.batch import Record
from streams.kafka.calls import Calls, NeverReturned
from streams.kafka.reader import (
    PIECE_RECORDS,
    TOO_LARGE,
    Asking,
    Readers,
    common_settings,
    hear_of,
    insist,
    producer_settings,
    reader_settings,
    records_of,
    refuse_what_is_gone,
    serve_log_lines,
)
from streams.kafka.reasons import make
from streams.log.learner import Written
from streams.log.protocol import (
    AbortAndRewind,
    Failpoint,
    HaltPartition,
    RecreateProducer,
    StopWorker,
    TopicPartition,
    no_failpoint,
)

FENCED = (KafkaError.INVALID_PRODUCER_EPOCH, KafkaError._FENCED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)  # noqa: SLF001 - public in the library's documentation


@dataclass(frozen=True, slots=True)
class KafkaLearnerOptions:
    """How to reach Kafka and under which name. `client` are further librdkafka settings for every client."""

    bootstrap_servers: str
    name: str  # transactional id and client id
    transaction_timeout_seconds: float = 15.0
    answer_timeout_seconds: float = 1.0  # of a question to the brokers
    call_timeout_seconds: float = 5.0  # of one step of a transaction; tried again while that is allowed
    record_bytes_max: int = 8 * 2**20
    client: Mapping[str, Any] = field(default_factory=dict)

    def common(self) -> dict[str, Any]:
        """Settings of every client."""
        return common_settings(self.bootstrap_servers, self.name, self.client)

    def reader(self) -> dict[str, Any]:
        """Settings of everything that reads."""
        # librdkafka asks for a group; nothing is ever committed under it.
        return {**reader_settings(self.common()), "group.id": f"{self.name}.reader"}

    def producer(self) -> dict[str, Any]:
        """Settings of the transactional producer. Models are numbers in text: half as long when compressed."""
        made = producer_settings(self.common(), self.name, self.transaction_timeout_seconds, self.record_bytes_max)
        return {"compression.type": "zstd", **made}


class KafkaLearnerLog:
    """The protocol of `streams.log.learner` on Apache Kafka. Connects when it is made."""

    def __init__(self, options: KafkaLearnerOptions, failpoint: Failpoint = no_failpoint) -> None:
        self._options, self._failpoint = options, failpoint
        self._producer: Calls | None = None
        self._asking = Asking(options.common(), options.answer_timeout_seconds)
        self._readers = Readers(options.reader(), f"{options.name}.reader", options.answer_timeout_seconds)
        self._consumer = make(Consumer, options.reader())
        self._followed: list[TopicPartition] = []
        self._paused: set[TopicPartition] = set()

    def open(self) -> bool:
        """See `LearnerLog`."""
        if self._producer is None:
            producer, seconds = Calls(Producer(self._options.producer())), self._options.call_timeout_seconds
            try:
                producer.make(lambda: producer.of.init_transactions(seconds), seconds)
            except (KafkaException, NeverReturned):
                producer.discard()
                return False
            self._producer = producer
        return True

    def follow(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `LearnerLog`."""
        for topic in sorted({where.topic for where in offsets}):
            hear_of(self._consumer, topic, self._options.answer_timeout_seconds)
        self._consumer.assign([KafkaPartition(w.topic, w.partition, offset) for w, offset in offsets.items()])
        self._followed, self._paused = list(offsets), set()

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        """See `LearnerLog`. Raises `HaltPartition` where examples are gone before they were read."""
        serve_log_lines(self._producer, self._asking, self._readers)
        first = self._consumer.poll(timeout_seconds)
        messages = [] if first is None else [first, *self._consumer.consume(PIECE_RECORDS, 0)]
        for message in messages:
            refuse_what_is_gone(message)
        return [r for r in records_of(messages) if TopicPartition(r.topic, r.partition) in self._followed]

    def pause(self, where: Sequence[TopicPartition]) -> None:
        """See `LearnerLog`."""
        wanted = set(where)
        if more := wanted - self._paused:
            self._consumer.pause([KafkaPartition(*place) for place in more])
        if fewer := self._paused - wanted:
            self._consumer.resume([KafkaPartition(*place) for place in fewer])
        self._paused = wanted

    def transact(self, records: Sequence[Written]) -> None:
        """See `LearnerLog`. Raises `HaltPartition` for a record that its topic will never take."""
        producer = self._producer
        if producer is None:
            raise RecreateProducer("there is no producer: call open first")
        try:
            self._transact(producer, records)
        except (KafkaException, BufferError, NeverReturned) as failure:
            self._producer = None
            producer.discard()
            error = failure.args[0]
            if isinstance(error, KafkaError) and error.code() in FENCED:
                raise StopWorker(f"another learner is {self._options.name!r} ({error.str()})") from failure
            refused = isinstance(failure, BufferError) or (isinstance(error, KafkaError) and error.code() in TOO_LARGE)
            if refused or (isinstance(error, KafkaError) and error.txn_requires_abort()):
                # It was never asked to commit, and cannot be any more: the next producer of this name aborts it.
                if words := self._asking.too_large(_largest(records), self._options.record_bytes_max):
                    raise HaltPartition(words) from failure
                raise AbortAndRewind(str(error)) from failure
            raise RecreateProducer(str(error)) from failure

    def _transact(self, calls: Calls, records: Sequence[Written]) -> None:
        producer, seconds = calls.of, self._options.call_timeout_seconds
        producer.begin_transaction()
        self._failpoint("L3.begun")
        for i, record in enumerate(records):
            if i == len(records) // 2:
                self._failpoint("L4.half_written")
            stamp: dict[str, Any] = {} if record.timestamp_ms is None else {"timestamp": record.timestamp_ms}
            producer.produce(record.topic, record.value, record.key, record.partition, **stamp)
        self._failpoint("L5.all_written")
        self._failpoint("L6.committing")
        insist(lambda: calls.make(lambda: producer.commit_transaction(seconds), seconds))
        self._failpoint("L7.committed")

    def partitions(self, topic: str) -> int | None:
        """See `LearnerLog`."""
        return self._asking.partitions(topic)

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `LearnerLog`."""
        return self._asking.first_offsets(where)

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """See `LearnerLog`."""
        return self._asking.end_offsets(where)

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """See `LearnerLog`."""
        return self._asking.topic_ids(topics)

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """See `LearnerLog`."""
        return self._readers.read(where, from_offset, until_offset)

    def close(self) -> None:
        """See `LearnerLog`."""
        if self._producer is not None:
            self._producer.discard().join(self._options.call_timeout_seconds)
            self._producer = None
        self._consumer.close()
        self._readers.close()


def _largest(records: Sequence[Written]) -> dict[str, int]:
    """Bytes of the largest record for each topic."""
    largest: dict[str, int] = {}
    for record in records:
        size = len(record.key) + len(record.value or b"")
        largest[record.topic] = max(largest.get(record.topic, 0), size)
    return largest
