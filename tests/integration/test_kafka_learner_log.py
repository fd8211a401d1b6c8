"""The learner's log on a real Kafka: alone, fenced, told what is too large, and there after a broker's restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from local.servers.kafka import Kafka
from streams.kafka.learner_log import KafkaLearnerLog, KafkaLearnerOptions
from streams.log.learner import Written
from streams.log.protocol import AbortAndRewind, HaltPartition, RecreateProducer, StopWorker, TopicPartition
from tests.conftest import Topics


class Place:
    """Topics of one test, and learners' logs on them."""

    def __init__(self, servers: str, topics: Topics) -> None:
        self.servers, self.prefix = servers, topics.prefix
        topics.make("examples", partitions=2, config={"retention.ms": "-1"})
        topics.make("memory", partitions=1, config={"cleanup.policy": "compact"})
        self.examples, self.memory = topics.name("examples"), topics.name("memory")
        self.logs: list[KafkaLearnerLog] = []

    def log(self) -> KafkaLearnerLog:
        self.logs.append(
            KafkaLearnerLog(KafkaLearnerOptions(self.servers, f"{self.prefix}learner", call_timeout_seconds=2.0))
        )
        return self.logs[-1]

    def close(self) -> None:
        for log in self.logs:
            log.close()

    def send(self, *values: bytes, partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for value in values:
            producer.produce(self.examples, value, b"k", partition)
        assert producer.flush(30) == 0

    def where(self) -> dict[TopicPartition, int]:
        return {TopicPartition(self.examples, p): 0 for p in range(2)}

    def said(self, *values: bytes) -> list[Written]:
        return [Written(self.memory, 0, b"key", value) for value in values]

    def remembered(self, log: KafkaLearnerLog) -> list[bytes | None]:
        place = TopicPartition(self.memory, 0)
        ends = log.end_offsets([place])
        assert ends is not None
        return [record.value for piece in log.read(place, 0, ends[place]) for record in piece]


@pytest.fixture
def place(kafka: Any, topics: Topics) -> Iterator[Place]:
    made = Place(kafka.bootstrap_servers, topics)
    yield made
    made.close()


@pytest.fixture
def mortal() -> Iterator[Kafka]:
    """A broker of its own: it is killed, and the one that all tests share is not."""
    with Kafka.start() as broker:
        yield broker


@pytest.fixture
def place_there(mortal: Kafka) -> Iterator[Place]:
    made = Place(mortal.bootstrap_servers, Topics(mortal.bootstrap_servers, ""))
    yield made
    made.close()


def opened(log: KafkaLearnerLog, eventually: Callable[..., None]) -> KafkaLearnerLog:
    eventually(log.open, "a producer", 60)
    return log


def test_all_partitions_are_followed_from_their_offsets_and_paused_alone(place: Place, eventually: Any) -> None:
    place.send(b"1", b"2")
    place.send(b"3", partition=1)
    log = place.log()
    log.follow({where: 1 if where.partition == 0 else 0 for where in place.where()})
    found: list[bytes | None] = []
    eventually(lambda: found.extend(r.value for r in log.poll(0.1)) or len(found) == 2, "both records")
    assert sorted(found, key=str) == [b"2", b"3"]
    log.pause([TopicPartition(place.examples, 0)])
    place.send(b"4")
    place.send(b"5", partition=1)
    eventually(lambda: found.extend(r.value for r in log.poll(0.1)) or b"5" in found, "what is not paused")
    assert b"4" not in found
    log.pause([])
    eventually(lambda: found.extend(r.value for r in log.poll(0.1)) or b"4" in found, "what was paused")


def test_what_was_written_is_there_as_a_whole(place: Place, eventually: Any) -> None:
    log = opened(place.log(), eventually)
    log.transact(place.said(b"one", b"two"))
    assert place.remembered(log) == [b"one", b"two"]


def test_a_learner_whose_name_was_taken_is_told_to_stop(place: Place, eventually: Any) -> None:
    first = opened(place.log(), eventually)
    second = opened(place.log(), eventually)
    with pytest.raises(StopWorker, match="another learner is"):
        first.transact(place.said(b"late"))
    second.transact(place.said(b"mine"))
    assert place.remembered(second) == [b"mine"]


def test_a_record_that_its_topic_never_takes_is_told_with_both_sizes(place: Place, eventually: Any) -> None:
    log = opened(place.log(), eventually)
    incompressible = bytes(range(256)) * 9_000 * 4
    with pytest.raises(HaltPartition, match=r"9,216,\d\d\d bytes.*max.message.bytes"):
        log.transact(place.said(b"small", incompressible))
    opened(log, eventually).transact(place.said(b"fits"))
    assert place.remembered(log) == [b"fits"]


@pytest.mark.timeout(180)
def test_a_brokers_restart_is_survived_by_reader_producer_and_questions(
    mortal: Kafka, place_there: Place, eventually: Any
) -> None:
    place, kafka = place_there, mortal
    place.send(b"before")
    log = opened(place.log(), eventually)
    log.follow(place.where())
    found: list[bytes | None] = []
    eventually(lambda: found.extend(r.value for r in log.poll(0.1)) or found == [b"before"], "the first record")
    log.transact(place.said(b"one"))
    kafka.kill()
    assert log.end_offsets([TopicPartition(place.memory, 0)]) is None
    with pytest.raises((RecreateProducer, AbortAndRewind)):
        log.transact(place.said(b"lost"))
    kafka.restart()
    place.send(b"after")
    eventually(lambda: found.extend(r.value for r in log.poll(0.1)) or found == [b"before", b"after"], "it", 30)
    opened(log, eventually).transact(place.said(b"two"))
    eventually(lambda: log.end_offsets([TopicPartition(place.memory, 0)]) is not None, "an answer", 30)
    assert place.remembered(log) == [b"one", b"two"]
