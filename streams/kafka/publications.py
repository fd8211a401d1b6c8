"""Kafka for publishers of files: transactional producers, and the records of what was published."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.batch import Record
from streams.kafka.client import common, latest_timestamps_ms, read, require_topics, topic_ids, unreachable
from streams.kafka.producer import NotDelivered, producer_settings, timestamp_option
from streams.kafka.publisher_protocol import Fenced, RecordRefused, Sender, Written
from streams.kafka.reader import TOO_LARGE
from streams.settings import KafkaSettings

OPEN_SECONDS_MAX = 30
"""The broker ends a transaction by itself after so long: others wait no longer for one whose publisher was killed."""
INIT_SECONDS = 30.0
COMMIT_SECONDS = 120.0
STEP_SECONDS = 10.0
ABORT_SECONDS = 5.0
FENCED = frozenset(
    {
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError._FENCED,  # noqa: SLF001 - public in the library's documentation
        KafkaError.PRODUCER_FENCED,
    }
)


class KafkaSender:
    """A transactional producer on Kafka; see `Sender`."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def begin(self) -> None:
        """See `Sender`."""
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise _meaning(error) from None

    def send(self, record: Written) -> None:
        """See `Sender`. Waits while the producer's queue is full."""
        stamp: dict[str, Any] = dict(timestamp_option(record.timestamp_ms))
        while True:
            try:
                self._producer.produce(record.topic, record.value, record.key, **stamp)
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                if error.args[0].code() in TOO_LARGE:
                    raise RecordRefused(f"Kafka does not take it: {error.args[0].str()}") from None
                raise _meaning(error) from None
            else:
                return

    def commit(self) -> None:
        """See `Sender`. A broker that does not answer is asked again for two minutes."""
        deadline = time.monotonic() + COMMIT_SECONDS
        while True:
            try:
                self._producer.commit_transaction(STEP_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise _meaning(error) from None
            else:
                return

    def abort(self) -> None:
        """See `Sender`."""
        with suppress(KafkaException):
            self._producer.purge()
            self._producer.abort_transaction(ABORT_SECONDS)

    def close(self) -> None:
        """See `Sender`."""
        with suppress(KafkaException):
            self._producer.close()


def _meaning(error: KafkaException) -> Exception:
    cause = error.args[0]
    if cause.code() in FENCED:
        return Fenced(cause.str())
    return NotDelivered(
        f"Kafka has not taken the last transaction: {cause.str()}; what was committed before stays, and the same "
        "command goes on after it"
    )


@dataclass(frozen=True, slots=True)
class KafkaPublicationLog:
    """See `PublicationLog`. `topic` is the full name of the topic of publications."""

    kafka: KafkaSettings
    topic: str

    def own(self, transactional_id: str) -> Sender:
        """See `PublicationLog`. Raises KafkaUnreachable."""
        settings = common(self.kafka) | producer_settings(
            self.kafka.bootstrap_servers, self.kafka.partitioner, self.kafka.librdkafka
        )
        producer = Producer(
            settings | {"transactional.id": transactional_id, "transaction.timeout.ms": OPEN_SECONDS_MAX * 1_000}
        )
        try:
            producer.init_transactions(INIT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                raise NotDelivered(
                    f"Kafka does not let this login write transactions as {transactional_id}: allow Write and "
                    "Describe on the transactional ids that begin with <app>.publish."
                ) from None
            raise unreachable(self.kafka, error) from None
        return KafkaSender(producer)

    def records(self) -> Iterable[Record]:
        """See `PublicationLog`. Raises TopicMissing, KafkaUnreachable, BehindOpenTransaction."""
        return read(self.kafka, require_topics(self.kafka, [self.topic]))

    def topic_id(self, topic: str) -> str:
        """See `PublicationLog`."""
        return topic_ids(self.kafka, [topic]).get(topic, "")

    def latest_timestamps_ms(self, topics: Iterable[str]) -> dict[str, int]:
        """See `PublicationLog`. Raises TopicMissing, KafkaUnreachable."""
        return latest_timestamps_ms(self.kafka, require_topics(self.kafka, topics))
