"""What several tests on real servers share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.kafka_world import KafkaWorld
from tests.streams.world import INPUTS


@pytest.fixture
def world(kafka: Any, topics: Any) -> Iterator[KafkaWorld]:
    """Topics of two partitions, none of which forgets, and what writes to them and runs workers on them."""
    topics.make(*INPUTS, "score-changes", "loans.dlq", partitions=2, config={"retention.ms": "-1"})
    topics.make("rescore-state", partitions=2, config={"cleanup.policy": "compact"})
    made = KafkaWorld(bootstrap_servers=kafka.bootstrap_servers, prefix=topics.prefix)
    yield made
    made.close()
