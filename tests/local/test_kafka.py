"""The embedded Kafka is a real one: transactions, restarts on the same data, compaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from local.kafka import Kafka
from local.process import StartFailed


def values(bootstrap_servers: str, topic: str) -> list[bytes | None]:
    """Committed values of partition 0, in order, to its end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while (message := consumer.poll(20.0)) is not None and message.error() is None:
        found.append(message.value())
    consumer.close()
    assert message is not None, f"no end of {topic} within 20 s"
    return found


def test_a_transaction_is_seen_when_committed_and_not_when_aborted(kafka, topics, prefix):
    (topic,) = topics.make("transactions")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": f"{prefix}writer"})
    producer.init_transactions(20)
    for value, commit in ((b"kept", True), (b"dropped", False), (b"kept too", True)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    assert values(kafka.bootstrap_servers, topic) == [b"kept", b"kept too"]
