"""Reads one partition of score-changes at any place, for `streams.customers.history`.

Of most records nothing but the key is looked at, about 1 us each; those of the customer are decoded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.kafka.client import (
    OPEN_SECONDS,
    SILENT_SECONDS,
    as_record,
    common,
    end_offsets,
    first_offsets,
    open_transactions,
    stable_offsets,
    unreachable,
)
from streams.log.unreadable import Unreadable, readable
from streams.settings import KafkaSettings

OPEN_PAUSE_SECONDS = 0.02
PROBE_RECORDS = 8
"""So many records are looked at to tell how far time has come at a place."""


class KafkaChanges:
    """A `streams.customers.history.ChangesReader` on Kafka, up to the last stable offset. To be used in a `with`.

    Raises KafkaUnreachable. Records that cannot be read are noted in `unreadable`, each as often as it is met.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        partition: int,
        decode: Callable[[bytes], Mapping[str, Any]],
        unreadable: Unreadable,
    ) -> None:
        self._kafka, self._topic, self._partition = kafka, topic, partition
        self._decode, self._unreadable = decode, unreadable
        where, place = (topic, partition), TopicPartition(topic, partition)
        self.first = first_offsets(kafka, [place])[where]
        until, deadline = end_offsets(kafka, [place])[where], time.monotonic() + OPEN_SECONDS
        while (stable := stable_offsets(kafka, [place])[where]) < until and time.monotonic() < deadline:
            time.sleep(OPEN_PAUSE_SECONDS)  # a worker's own transaction ends within milliseconds
        self.end = max(stable, self.first)
        self.behind = [one for one in open_transactions(kafka, [where]).values() if stable < until]
        """Transactions that keep this reader from the rest."""
        self._consumer = Consumer(
            common(kafka)
            | {
                "group.id": "rescore-reader",  # librdkafka asks for one; nothing is committed under it
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
                "queued.max.messages.kbytes": 16 * 1024,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def decided_ms(self, offset: int) -> int | None:
        """See `ChangesReader`. Some milliseconds."""
        messages = itertools.islice(self._messages(offset, self.end, PROBE_RECORDS), PROBE_RECORDS)
        told = readable(map(as_record, messages), self._decode, Unreadable())
        return max((int(change["decided_ms"]) for _, change in told), default=None)

    def of_user(self, user: str, start: int, end: int) -> list[Mapping[str, Any]]:
        """See `ChangesReader`."""
        key = user.encode()
        records = (as_record(message) for message in self._messages(start, end) if message.key() == key)
        return [change for _, change in readable(records, self._decode, self._unreadable) if change["user_id"] == user]

    def _messages(self, start: int, end: int, at_once: int = 10_000) -> Iterator[Any]:
        """Committed records of [start, end)."""
        if start >= end:
            return
        self._consumer.assign([TopicPartition(self._topic, self._partition, start)])
        quiet_seconds, wait_seconds = 0.0, 0.05
        while True:
            messages = self._consumer.consume(at_once, wait_seconds)
            quiet_seconds = 0.0 if messages else quiet_seconds + wait_seconds
            if quiet_seconds > SILENT_SECONDS:
                raise unreachable(self._kafka, KafkaException(KafkaError(KafkaError._TIMED_OUT)))  # noqa: SLF001
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - a name of librdkafka's
                        return
                    raise unreachable(self._kafka, KafkaException(error))
                offset = int(message.offset() or 0)
                if offset < end:
                    yield message
                if offset >= end - 1:
                    return
