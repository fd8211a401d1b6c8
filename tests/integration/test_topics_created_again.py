"""Inputs that are deleted and created again on a real Kafka: shorter, equal, longer; with the worker down and up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from state.layout import decode_row
from streams.worker.loop import Worker
from streams.worker.observer import Observer
from tests.integration.deployment import deployment
from tests.integration.kafka_world import KafkaWorld
from tests.streams.world import INPUTS

KEPT = {"retention.ms": "-1"}
LENGTHS = (12, 20, 30)  # of the new topic; 20 records of the old one were taken


class Told(Observer):
    """Why partitions halted."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def halted(self, partition: int, reason: str) -> None:
        self.reasons[partition] = reason


def publish(world: KafkaWorld, count: int, from_ms: int) -> None:
    for i in range(count):
        world.write("transactions", "ann", from_ms + i)
    world.producer.flush()


def said(world: KafkaWorld) -> int:
    lines = world.changes().get(b"ann", [])
    assert [int(line.split(" ")[0]) for line in lines] == list(range(1, len(lines) + 1))
    return len(lines)


def until_said(world: KafkaWorld, worker: Worker, count: int) -> None:
    world.run_for(worker, 40, lambda: said(world) == count)


def test_ids_are_told_and_a_topic_that_is_not_there_has_no_answer(
    world: KafkaWorld, topics: Any, eventually: Callable[..., None]
) -> None:
    names = [topics.name(name) for name in (*INPUTS, "rescore-state")]
    eventually(lambda: world.reader.topic_ids(names), "an answer")
    ids = world.reader.topic_ids(names)
    assert ids is not None
    assert ids == {name: topics.topic_id(name.removeprefix(topics.prefix)) for name in names}
    assert len(set(ids.values())) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", one) for one in ids.values())
    assert world.reader.topic_ids([*names, topics.name("nowhere")]) is None
    topics.create_again("loans", 2, KEPT)
    assert topics.topic_id("loans") != ids[topics.name("loans")]


@pytest.mark.parametrize("while_up", [False, True])
def test_an_input_that_is_created_again_halts_and_is_taken_whole_once_a_person_says_so(
    world: KafkaWorld, topics: Any, while_up: bool
) -> None:
    publish(world, 20, 1_000)
    told = Told()
    worker = world.worker(observer=told)
    until_said(world, worker, 20)
    total = 20
    for n, length in enumerate(LENGTHS):
        before = topics.topic_id("transactions")
        if not while_up:
            worker._log.close()
        topics.create_again("transactions", 2, KEPT)
        publish(world, length, 10_000 * (n + 1))
        now = topics.topic_id("transactions")
        if not while_up:
            worker = world.worker(observer=told)
        world.run_for(worker, 60, lambda: any("another topic" in words for words in told.reasons.values()))
        words = next(words for words in told.reasons.values() if "another topic" in words)
        assert f"its topic id is {now}, the last one that was taken had {before}" in words
        taken = said(world)
        assert taken == total or while_up  # up: some may have been taken before it was noticed, none was skipped since
        if while_up:
            worker._log.close()
        told.reasons.clear()
        worker = world.worker(observer=told, from_beginning=[str(now)])
        until_said(world, worker, taken + length)
        assert not told.reasons
        total = taken + length


def test_the_case_with_commands_as_an_operator_gives_them(
    kafka: Any, valkey: Any, prefix: str, tmp_path: Any, eventually: Callable[..., None]
) -> None:
    """`topic-made-anew-while-no-worker-runs`: 20 events of ann, 30 of the new topic; never 30 events with lag OK."""
    with deployment(kafka.bootstrap_servers, valkey.url, prefix.strip("-"), tmp_path, PARTITIONS="1") as app:
        topic = app.settings.topic("transactions")

        def events(first: int, last: int) -> None:
            fields = {"user_id": "ann", "transaction_amount": 1.0, "transaction_currency": "EUR"}
            values = [
                json.dumps(fields | {"event_id": f"e{i}", "transaction_date": f"2026-01-{1 + i % 28:02}T00:00:00Z"})
                for i in range(first, last)
            ]
            app.send("transactions", [("ann", value.encode(), 0) for value in values])

        events(0, 20)
        app.start_worker()
        app.catch_up()
        app.stop()
        app.delete_topic(topic)
        applied = app.rescore("topics", "apply")
        assert f"{topic}: made with 1 partition" in applied.stdout
        assert "workers will halt" in applied.stderr
        events(20, 50)
        checked = app.rescore("topics", "check", check=False)
        assert checked.returncode == 1
        (now,) = re.findall(r"its topic id is (\S+),", checked.stdout)
        app.start_worker()
        app.wait(lambda: "is halted" in app.log(0), "the partition halts")
        assert f"{topic} is another topic now: its topic id is {now}" in app.log(0)
        lag = app.rescore("lag", check=False)
        assert lag.returncode != 0
        assert "OK" not in lag.stdout
        app.stop()
        app.start_worker(RESCORE_CHANGED_TOPICS__FROM_BEGINNING=now)
        app.catch_up()
        app.stop()
        (row,) = [decode_row(row) for user, row in app.rows().items() if user == b"ann"]
        assert (row.events, row.transactions, row.deposits_minor) == (50, 50, 5_000)
        assert app.rescore("topics", "check").returncode == 0
