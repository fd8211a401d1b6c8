"""The log on a real Kafka, and the loop on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streams.log import AbortAndRewind, Assigned, RecreateProducer, TopicPartition, Transaction
from streams.output import Message
from tests.integration.kafka_world import KafkaWorld
from tests.streams.world import INPUTS


@pytest.fixture
def world(kafka: Any, topics: Any) -> Iterator[KafkaWorld]:
    topics.make(*INPUTS, "score-changes", "loans.dlq", partitions=2, config={"retention.ms": "-1"})
    topics.make("rescore-state", partitions=2, config={"cleanup.policy": "compact"})
    made = KafkaWorld(bootstrap_servers=kafka.bootstrap_servers, prefix=topics.prefix)
    yield made
    made.close()


def join(log: Any, eventually: Callable[..., None]) -> tuple[int, ...]:
    owned: list[int] = []

    def assigned() -> bool:
        for change in log.poll(100, 0.05).changes:
            owned.extend(change.partitions if isinstance(change, Assigned) else ())
        return bool(owned)

    eventually(assigned, "an assignment")
    return tuple(owned)


def positions(world: KafkaWorld, offset: int = 0) -> dict[TopicPartition, int]:
    return {TopicPartition(world.prefix + topic, 0): offset for topic in INPUTS}


def test_a_story_is_said_once_and_in_the_order_of_time(world: KafkaWorld) -> None:
    world.story()
    world.producer.flush()
    world.run_for(world.worker(), 30)
    world.check()
