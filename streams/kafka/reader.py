"""What every log on Apache Kafka shares: settings of its clients, questions to the brokers, reading to an offset.

A worker's log (`kafka_log`) and the learner's (`kafka_learner_log`) survive a broker's restart in the same way, because
it is written here once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from schemas.batch import Record
from streams.kafka.calls import Calls
from streams.kafka.reasons import make
from streams.kafka.topic_ids import topic_ids
from streams.log.protocol import HaltPartition, TopicPartition

PARTITION_EOF: int = KafkaError._PARTITION_EOF  # noqa: SLF001 - public in the library's documentation
AUTO_OFFSET_RESET: int = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
GONE = (AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
"""What is to be read is not there any more."""

TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)
FRAME_BYTES = 128
"""What a record takes beside its key, value and headers, at most, when it is sent alone."""

PIECE_RECORDS = 5_000
RETRY_MS = 5
Answer = TypeVar("Answer")


def common_settings(bootstrap_servers: str, name: str, client: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of every client; `client` are a deployment's own."""
    return {
        # A broker that is back is to be found within a second, and one that is away is worth a line, not hundreds.
        "reconnect.backoff.max.ms": 1_000,
        "log_level": 4,
        **client,
        "bootstrap.servers": bootstrap_servers,
        "client.id": name,
    }


def reader_settings(common: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of everything that reads."""
    return {
        **common,
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


def producer_settings(
    common: Mapping[str, Any], name: str, timeout_seconds: float, record_bytes_max: int
) -> dict[str, Any]:
    """Settings of a transactional producer; `name` is its transactional id."""
    return {
        **common,
        "transactional.id": name,
        "transaction.timeout.ms": int(timeout_seconds * 1000),
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        # While the markers of one transaction are being written, the broker asks to try the next one again.
        "retry.backoff.ms": RETRY_MS,
        "message.max.bytes": record_bytes_max,
        "queue.buffering.max.messages": 0,
        "queue.buffering.max.kbytes": 2**20,
    }


class Asking:
    """Questions to the brokers. Each is answered within a second or two, or not at all (None)."""

    def __init__(self, common: Mapping[str, Any], answer_timeout_seconds: float) -> None:
        self._admin = make(AdminClient, common)
        self._seconds = answer_timeout_seconds

    def serve_log_lines(self) -> None:
        """Hand over what the client has to say: it keeps its log lines until then. A microsecond."""
        self._admin.poll(0)

    def partitions(self, topic: str) -> int | None:
        """Number of partitions of a topic."""
        with suppress(KafkaException):
            found = self._admin.list_topics(topic, timeout=self._seconds).topics.get(topic)
            if found is not None and found.error is None:
                return len(found.partitions)
        return None

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """Ids by topic; see `streams.log.protocol.Log.topic_ids`."""
        return topic_ids(self._admin, topics, self._seconds)

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """High watermarks."""
        return self._offsets(where, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """Oldest offsets."""
        return self._offsets(where, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def offset_at(self, where: TopicPartition, time_ms: int) -> int | None:
        """The first offset whose record is not older than a time; the end where there is none."""
        found = self._offsets([where], OffsetSpec.for_timestamp(max(0, time_ms)))
        if found is not None and found[where] < 0:
            found = self.end_offsets([where])
        return None if found is None else found[where]

    def _offsets(self, where: Sequence[TopicPartition], what: OffsetSpec) -> dict[TopicPartition, int] | None:
        answers = self._admin.list_offsets(
            {KafkaPartition(w.topic, w.partition): what for w in where},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=self._seconds,
        )
        try:
            found = {where: answer.result(2 * self._seconds).offset for where, answer in answers.items()}
        except (KafkaException, TimeoutError):
            # It may have asked as of an epoch that a broker's restart has ended, and would go on to for minutes: this
            # tells it who leads now.
            with suppress(KafkaException):
                self._admin.list_topics(timeout=self._seconds)
            return None
        return {TopicPartition(where.topic, where.partition): offset for where, offset in found.items()}

    def too_large(self, largest: Mapping[str, int], record_bytes_max: int) -> str:
        """Which record can never be taken, and what to do; nothing if each fits. The client's own error says neither:
        by the time it is told, it is that of the records behind. `largest`: bytes of the largest record by topic.
        """
        limits = self._limits([topic for topic, size in largest.items() if size], record_bytes_max)
        for topic, size in largest.items():
            if size + FRAME_BYTES > (limit := limits.get(topic, record_bytes_max)):
                return (
                    f"a record for {topic} has {size:,} bytes, its max.message.bytes is {limit:,}: it will never be "
                    f"taken. Raise max.message.bytes of {topic}, then restart this worker. Nothing of its batch was "
                    f"committed, and nothing is lost."
                )
        return ""

    def _limits(self, topics: Sequence[str], record_bytes_max: int) -> dict[str, int]:
        """max.message.bytes of topics, or less where this client sends no more; none of it without an answer."""
        asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        limits: dict[str, int] = {}
        with suppress(KafkaException, TimeoutError, ValueError):
            for resource, answer in self._admin.describe_configs(asked, request_timeout=self._seconds).items():
                found = int(answer.result(2 * self._seconds)["max.message.bytes"].value)
                limits[resource.name] = min(found, record_bytes_max)
        return limits


class Readers:
    """Reads partitions from an offset to another, each with a reader of its own, so that several go side by side."""

    def __init__(self, settings: Mapping[str, Any], group: str, answer_timeout_seconds: float) -> None:
        # librdkafka asks for a group; nothing is ever committed under it.
        self._settings = {**settings, "group.id": group}
        self._seconds = answer_timeout_seconds
        self._idle: list[Consumer] = []

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """See `streams.log.protocol.Log.read`."""
        if from_offset >= until_offset:
            return
        reader = self._idle.pop() if self._idle else Consumer(self._settings)
        try:
            hear_of(reader, where.topic, self._seconds)
            reader.assign([KafkaPartition(where.topic, where.partition, from_offset)])
            position = from_offset
            while position < until_offset:
                position, records = _read_piece(reader, position)
                yield [record for record in records if record.offset < until_offset]
        finally:
            reader.unassign()
            self._idle.append(reader)

    def serve_log_lines(self) -> None:
        """See `Asking.serve_log_lines`; of readers that have nothing to read."""
        for reader in self._idle:
            reader.poll(0)

    def close(self) -> None:
        """Let go of all readers."""
        for reader in self._idle:
            reader.close()


def serve_log_lines(producer: Calls | None, asking: Asking, readers: Readers) -> None:
    """Hand over the log lines of the clients that no poll for records reaches."""
    if producer is not None:
        producer.of.poll(0)
    asking.serve_log_lines()
    readers.serve_log_lines()


def hear_of(reader: Consumer, topic: str, seconds: float) -> None:
    """Ask for the topic's leaders now: of a topic that is new to a client librdkafka hears a second later."""
    with suppress(KafkaException):
        reader.list_topics(topic, seconds)


def _read_piece(reader: Consumer, position: int) -> tuple[int, list[Record]]:
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
        else:
            refuse_what_is_gone(message, position)
    return position, records_of(messages)


def refuse_what_is_gone(message: KafkaMessage, position: int | None = None) -> None:
    """Raises `HaltPartition` where this says that what is to be read was deleted."""
    error = message.error()
    if error is not None and error.code() in GONE:
        what = "what is to be read" if position is None else f"offset {position}"
        raise HaltPartition(
            f"{message.topic()}/{message.partition()}: {what} is not there any more. Records were deleted while they "
            f"were read; set cleanup.policy and retention as `rescore topics check` says."
        )


UNREADABLE_HEADERS = [("__rescore.headers", b"the name of a header is not UTF-8: the headers could not be read")]
"""Stands for headers that the client cannot say.

Kafka lets a header be named by any bytes. For a name that is not UTF-8 confluent-kafka 2.16 raises SystemError when
it is asked first, and then answers with a list that ends the process when it is looked at. So it is asked once.
"""


def records_of(messages: Iterable[KafkaMessage]) -> list[Record]:
    """The records among what a client delivered. About 0.8 us each."""
    records: list[Record] = []
    append, make, left = records.append, Record._make, iter(messages)
    while True:
        try:
            for m in left:
                if m.error() is None:
                    append(
                        make((m.topic(), m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers()))
                    )
        except (SystemError, UnicodeError):
            place = m.topic(), m.partition(), m.offset(), m.timestamp()[1]
            append(make((*place, m.key(), m.value(), list(UNREADABLE_HEADERS))))
        else:
            return records


def headers_of(message: KafkaMessage) -> Any:
    """The headers of a message; to be asked once."""
    try:
        return message.headers()
    except (SystemError, UnicodeError):
        return list(UNREADABLE_HEADERS)


def insist(call: Callable[[], Answer], attempts_max: int = 3) -> Answer:
    """Call again while Kafka says that the same call may be repeated: that is how a transaction goes on."""
    for _ in range(attempts_max - 1):
        try:
            return call()
        except KafkaException as failure:
            if not failure.args[0].retriable():
                raise
    return call()
