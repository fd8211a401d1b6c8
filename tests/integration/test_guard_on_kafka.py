"""What no worker may be ended by, on a real Kafka: a record on which it fails, one that the client cannot read."""

from __future__ import annotations

from typing import Any

import numpy as np
from confluent_kafka import Producer

from schemas.cloud_events import Headers
from schemas.texts import Texts
from streams.kafka.bulk_producer import Bulk
from streams.kafka.reader import UNREADABLE_HEADERS
from streams.log.failures import Failure
from streams.log.message import Message
from streams.processing.guard import GuardedProcessor
from streams.worker.observer import Observer
from tests.integration.kafka_world import KafkaWorld, PrefixedProcessor


class Told(Observer):
    """Why partitions halted, and what failed."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self.failures: list[Failure] = []

    def halted(self, partition: int, reason: str) -> None:
        self.reasons[partition] = reason

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)


def test_a_record_on_which_the_program_fails_is_a_dead_letter_and_the_rest_is_taken(
    world: KafkaWorld, topics: Any
) -> None:
    """The last guard between a real Kafka and the store: one transaction with the letter and everyone's changes."""

    class Planted(PrefixedProcessor):
        def process(self, partition: int, records: Any, due_users: Any, clock_ms: int) -> Any:  # type: ignore[override]
            output = yield from super().process(partition, records, due_users, clock_ms)
            if any(record.value == b"boom" for record in records):
                raise ZeroDivisionError("planted")
            return output

    def letter_of(record: Any, failure: Failure) -> tuple[str, Message]:
        return topics.name("loans.dlq"), Message(record.key, record.value, [("why", failure.clause.encode())])

    world.story(users=4, days=4)
    for i in range(60):
        world.write("transactions", f"user-{i % 4}", 10_000 + i, "boom" if i % 20 == 7 else "x")
    world.producer.flush()
    told = Told()
    guarded = GuardedProcessor(Planted(world.prefix), letter_of, told.failed)
    worker = world.worker(observer=told, processor=guarded)
    world.run_for(worker, 60)
    letters = [record for record in world.visible("loans.dlq") if record.value == b"boom"]
    assert len(letters) == 3
    assert all(b"ZeroDivisionError at " in dict(letter.headers or [])["why"] for letter in letters)
    assert len(told.failures) == 3
    assert not told.reasons
    places = {(r.topic, r.partition, r.offset) for r in world.visible("transactions") if r.value != b"boom"}
    changes = [line for lines in world.changes().values() for line in lines if " transactions " in line]
    assert len(changes) == len(places)


class NotUtf8(str):
    """A name of a header in bytes that are no text."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


def test_a_header_whose_name_is_not_utf8_ends_no_worker_and_its_record_is_taken(world: KafkaWorld) -> None:
    """confluent-kafka raises SystemError when it is asked for such headers, at every start again."""
    producer = Producer({"bootstrap.servers": world.bootstrap_servers, "client.id": "strange"})
    bulk = Bulk.of(producer, "strange")
    assert bulk is not None
    headers = Headers((NotUtf8("?"), "good"), Texts.of([b"1", b"2"]), np.ones((1, 2), np.bool_))
    bulk.produce(f"{world.prefix}transactions", 1, Texts.of([b"ann"]), Texts.of([b"x"]), headers=headers)
    assert producer.flush(20) == 0
    for i in range(10):
        world.producer.produce(
            f"{world.prefix}transactions", b"x", b"ann", 1, timestamp=10**12 + i, headers=[("a", None)]
        )
    world.producer.flush()
    told = Told()
    world.run_for(world.worker(observer=told), 40, lambda: len(world.changes().get(b"ann", [])) == 11)
    assert not told.reasons
    assert not told.failures
    strange, *others = world.visible("transactions", 1)
    assert strange.headers == UNREADABLE_HEADERS
    assert all(record.headers == [("a", None)] for record in others)
