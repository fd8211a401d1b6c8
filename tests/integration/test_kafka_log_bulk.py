"""Records queued in columns on a real Kafka: the same records as those queued one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from schemas.cloud_events import Headers
from schemas.texts import Texts
from streams.kafka import bulk_producer as kafka_log_bulk
from streams.kafka.bulk_producer import Bulk
from streams.log.messages import MessageColumns

NAME = "bulk.test"
Seen = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]] | None]


@pytest.fixture
def make(kafka: Any) -> Iterator[Callable[..., Producer]]:
    made: list[Producer] = []

    def producer(**more: Any) -> Producer:
        settings = {"bootstrap.servers": kafka.bootstrap_servers, "client.id": NAME, "partitioner": "murmur2_random"}
        made.append(Producer({**settings, **more}))
        return made[-1]

    yield producer
    for one in made:
        one.purge()
        one.flush(5)


def bulk_of(producer: Producer) -> Bulk:
    bulk = Bulk.of(producer, NAME)
    assert bulk is not None, (
        "the client that is installed is not one whose handle is known: look it up, and add it to HANDLE_KNOWN_IN"
    )
    return bulk


def seen_in(bootstrap_servers: str, topic: str, partitions: int, count: int) -> list[Seen]:
    """What lies in a topic, by partition in its order."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "none", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    found = consumer.consume(count, 20)
    consumer.close()
    assert len(found) == count
    seen = [(m.partition() or 0, m.offset() or 0, m.key(), m.value(), m.headers()) for m in found]
    return [(partition, key, value, headers) for partition, _, key, value, headers in sorted(seen, key=lambda m: m[:2])]


def random_texts(random: np.random.Generator, count: int, longest: int) -> list[bytes]:
    return [random.bytes(int(size)) for size in random.integers(0, longest, count)]


@pytest.mark.parametrize("partition", [-1, 1])
def test_rows_are_the_records_they_would_be_one_by_one(
    kafka: Any, topics: Any, make: Callable[..., Producer], partition: int
) -> None:
    topics.make("slow", "fast", partitions=3)
    random, producer = np.random.default_rng(partition + 2), make()
    keys, values = random_texts(random, 500, 30), random_texts(random, 500, 700)
    deleted = random.random(500) < 0.2
    for key, value, gone in zip(keys, values, deleted.tolist(), strict=True):
        producer.produce(topics.name("slow"), None if gone else value, key, partition)
    bulk = bulk_of(producer)
    bulk.produce(topics.name("fast"), partition, Texts.of(keys), Texts.of(values), deleted=deleted)
    bulk.produce(topics.name("fast"), partition, Texts.of([]), Texts.of([]))
    assert producer.flush(20) == 0
    slow, fast = (seen_in(kafka.bootstrap_servers, topics.name(name), 3, 500) for name in ("slow", "fast"))
    assert fast == slow
    assert {value is None for _, _, value, _ in fast} == {True, False}


def test_headers_are_those_they_would_be_one_by_one(kafka: Any, topics: Any, make: Callable[..., Producer]) -> None:
    topics.make("slow", "fast", partitions=3)
    random, producer = np.random.default_rng(5), make()
    names, count = ("ce_id", "ce_time", "traceparent"), 300
    texts = Texts.of(random_texts(random, count * len(names), 60))
    headers = Headers(names, texts, random.random((count, len(names))) < 0.7)
    columns = MessageColumns(
        Texts.of(random_texts(random, count, 30)), Texts.of(random_texts(random, count, 300)), headers
    )
    for key, value, said in columns:
        producer.produce(topics.name("slow"), value, key, headers=said or [])
    bulk_of(producer).produce(topics.name("fast"), -1, columns.keys, columns.values, headers=columns.headers)
    assert producer.flush(20) == 0
    slow, fast = (seen_in(kafka.bootstrap_servers, topics.name(name), 3, count) for name in ("slow", "fast"))
    assert fast == slow
    assert {len(said or ()) for *_, said in fast} == {0, 1, 2, 3}


def test_what_can_not_be_queued_is_refused_as_the_client_refuses_it(topics: Any, make: Callable[..., Producer]) -> None:
    topics.make("fast")
    large, none = Texts.of([b"x" * 3_000_000]), Headers((), Texts.of([]), np.zeros((1, 0), np.bool_))
    producer = make()
    for headers in (None, none):
        with pytest.raises(KafkaException) as refused:
            bulk_of(producer).produce(topics.name("fast"), 0, Texts.of([b"k"]), large, headers=headers)
        assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    many = Texts.of([b"k"] * 20)
    headers = Headers(("h",), Texts.of([b"v"] * 20), np.ones((20, 1), np.bool_))
    for given in (None, headers):
        full = make(**{"queue.buffering.max.messages": 10, "linger.ms": 60_000})
        with pytest.raises(BufferError):
            bulk_of(full).produce(topics.name("fast"), 0, many, many, headers=given)


def test_a_client_that_is_not_surely_known_gets_its_records_one_by_one(
    make: Callable[..., Producer], monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make()
    assert Bulk.of(producer, "another") is None
    monkeypatch.setattr(kafka_log_bulk, "HANDLE_KNOWN_IN", ((1, 9),))
    assert Bulk.of(producer, NAME) is None
