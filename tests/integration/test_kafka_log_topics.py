"""Topics made and mended on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from schemas.kinds import INPUT_TOPICS
from streams.kafka import topics as topics_module
from streams.kafka.topics import FoundTopic, TopicOptions, apply, check, specification


def test_apply_makes_what_is_missing_mends_what_differs_and_then_has_nothing_to_do(
    kafka: Any, topics: Any, eventually: Callable[..., None]
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    live = TopicOptions(partitions=2, prefix=topics.prefix, replication_factor=1)
    topics.make("transactions", partitions=2, config={"retention.ms": "1000"})
    assert {problem.topic for problem in check(admin, live)} == {topic.name for topic in specification(live)}
    lines = apply(admin, live)
    assert len(lines) == len(specification(live))
    eventually(lambda: check(admin, live) == [], "sound topics", seconds=30)
    assert apply(admin, live) == []
    larger = TopicOptions(partitions=2, prefix=topics.prefix, replication_factor=1, record_bytes_max=2**21)
    assert len(apply(admin, larger)) == 2 * len(INPUT_TOPICS)
    eventually(lambda: check(admin, larger) == [], "larger limits", seconds=30)
    assert apply(admin, live) == []  # a limit that somebody raised stays raised

    history = TopicOptions(partitions=2, prefix=topics.prefix, replication_factor=1, clock="records")
    assert any("message.timestamp.type" in problem.what for problem in check(admin, history))
    apply(admin, history)
    eventually(lambda: check(admin, history) == [], "topics for history", seconds=30)
    topics.made = [topic.name for topic in specification(live)]


def test_a_topic_that_a_broker_has_not_heard_of_yet_is_set_right_too(
    kafka: Any, topics: Any, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    live = TopicOptions(partitions=1, prefix=topics.prefix, replication_factor=1)
    topics.make("transactions", config={"retention.ms": "1000"})
    describe, looks = topics_module.describe, []

    def late(admin: AdminClient, names: Iterable[str]) -> dict[str, FoundTopic]:
        looks.append(names)
        return {} if len(looks) == 1 else describe(admin, names)

    monkeypatch.setattr(topics_module, "describe", late)
    lines = apply(admin, live)
    (line,) = [line for line in lines if line.startswith(topics.name("transactions:"))]
    assert "retention.ms=" in line
    eventually(lambda: check(admin, live) == [], "sound topics", seconds=30)
    topics.made = [topic.name for topic in specification(live)]
