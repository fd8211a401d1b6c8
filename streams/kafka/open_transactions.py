"""The first records of open transactions: what tells since when one is open."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, TopicPartition

from streams.log.open_transactions import OpenTransaction

FIRST_RECORD_SECONDS = 1.0


def with_first_records(settings: Mapping[str, Any], found: Sequence[OpenTransaction]) -> list[OpenTransaction]:
    """The same transactions with the timestamps of their first records, as far as these are read within a second."""
    if not found:
        return []
    known = {(one.topic, one.partition): one for one in found}
    consumer = Consumer(
        {
            **settings,
            "group.id": "rescore-reader",  # librdkafka asks for one; nothing is committed under it
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
        }
    )
    missing, deadline = set(known), time.monotonic() + FIRST_RECORD_SECONDS
    try:
        consumer.assign([TopicPartition(one.topic, one.partition, one.offset) for one in found])
        while missing and time.monotonic() < deadline:
            for message in consumer.consume(100, 0.05):
                where = (str(message.topic()), int(message.partition() or 0))
                if message.error() is None and where in missing and message.offset() == known[where].offset:
                    kind, first_ms = message.timestamp()
                    by_broker = kind == TIMESTAMP_LOG_APPEND_TIME
                    known[where] = known[where]._replace(first_ms=first_ms, by_broker=by_broker)
                    missing.discard(where)
    finally:
        consumer.close()
    return list(known.values())
