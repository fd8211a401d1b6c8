"""The embedded Kafka is a real one: transactions, restarts on the same data, compaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from local.servers.kafka import Kafka
from local.servers.process import StartFailed


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


def test_a_killed_broker_comes_back_on_its_port_with_what_was_acknowledged(prefix):
    with Kafka.start() as kafka:
        before = kafka.bootstrap_servers
        producer = Producer({"bootstrap.servers": before, "acks": "all", "log_level": 0})
        _make(kafka, f"{prefix}kept")
        producer.produce(f"{prefix}kept", b"first")
        assert producer.flush(20) == 0
        kafka.kill()
        assert not kafka.running
        kafka.restart()
        assert kafka.bootstrap_servers == before
        producer.produce(f"{prefix}kept", b"second")
        assert producer.flush(20) == 0
        assert values(before, f"{prefix}kept") == [b"first", b"second"]


def test_data_in_a_folder_of_the_users_are_there_at_the_next_start(tmp_path: Path):
    with Kafka.start(tmp_path / "mine") as kafka:
        _make(kafka, "kept")
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        producer.produce("kept", b"value")
        assert producer.flush(20) == 0
    with Kafka.start(tmp_path / "mine") as kafka:
        assert values(kafka.bootstrap_servers, "kept") == [b"value"]


def test_compaction_can_be_waited_for(kafka, topics, eventually: Callable[..., None]):
    (topic,) = topics.make(
        "state",
        config={
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "200",
        },
    )
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    written = 0

    def older_images_are_gone() -> bool:
        nonlocal written
        written += 1  # segments are rolled by writing, and only closed ones are compacted
        producer.produce(topic, b"image %d" % written, key=b"user")
        assert producer.flush(20) == 0
        return b"image 1" not in values(kafka.bootstrap_servers, topic)

    eventually(older_images_are_gone, "compaction", seconds=30)
    assert values(kafka.bootstrap_servers, topic)[-1] == b"image %d" % written


def test_a_topic_is_not_made_by_asking_for_it(kafka, prefix):
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    before = set(admin.list_topics(timeout=10).topics)
    admin.list_topics(f"{prefix}typo", timeout=10)
    assert set(admin.list_topics(timeout=10).topics) == before


def test_a_start_that_fails_shows_the_end_of_the_log_and_leaves_nothing(tmp_path: Path):
    with pytest.raises(StartFailed, match=r"log\.retention\.ms") as failure:
        Kafka.start(tmp_path / "mine", settings={"log.retention.ms": "not a number"})
    assert "log" in str(failure.value)
    with pytest.raises(StartFailed):
        Kafka.start(tmp_path / "mine", settings={"num.network.threads": "0"})


def _make(kafka: Kafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result(20)
