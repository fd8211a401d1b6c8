"""`rescore verify` beside running workers: events flow, timers fire, topics are compacted, and it never cries wolf."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.batch import Record
from schemas.times import iso_of
from streams.audit import reading as replay_reading
from streams.commands.verify import as_plain, compare
from tests.integration.deployment import Deployment, deployment

CUSTOMERS = 25
LOOKS = 20


def value_of(number: int, now_ms: int) -> tuple[str, str, dict[str, Any]]:
    """Transactions, some of them late; overrides that end a second later, so that time changes scores; erasures."""
    user = f"c-{number % CUSTOMERS}"
    if number % 13 == 0:
        until = {"score": "status", "value": 3.0, "expires_at": iso_of(now_ms + 1_000)}
        return "commands", user, {"command": "override", "author": "ann", "user_id": user} | until
    if number % 97 == 0:
        return "commands", user, {"command": "erase", "user_id": user}
    at_ms = now_ms - 86_400_000 * (number % 7)
    money = {"transaction_currency": "EUR", "transaction_amount": float(number % 90 - 30)}
    return (
        "transactions",
        user,
        {"event_id": f"e-{number}", "user_id": user, "transaction_date": iso_of(at_ms), **money},
    )


def publish(where: Deployment, numbers: Iterable[int]) -> None:
    now_ms = time.time_ns() // 1_000_000
    by_topic: dict[str, list[tuple[str | bytes | None, bytes, int]]] = {}
    for topic, user, fields in (value_of(number, now_ms) for number in numbers):
        by_topic.setdefault(topic, []).append((user, json.dumps(fields).encode(), now_ms))
    for topic, values in by_topic.items():
        where.send(topic, values)


@contextmanager
def flowing(where: Deployment) -> Iterator[None]:
    """Some fifty events a second until the end."""
    over, numbers = threading.Event(), count(1)

    def flow() -> None:
        while not over.wait(0.2):
            publish(where, islice(numbers, 10))

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def compact_often(where: Deployment) -> None:
    """Have segments of the compacted topics closed and cleaned within a second."""
    admin = AdminClient({"bootstrap.servers": where.bootstrap_servers})
    wanted = {"segment.ms": "300", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "300"}
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in wanted.items()]
    topics = [where.settings.topic(topic) for topic in ("rescore-state", "scorecards")]
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries) for topic in topics]
    for answer in admin.incremental_alter_configs(resources).values():
        answer.result(20.0)


@pytest.fixture(scope="module")
def live(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    folder, name = tmp_path_factory.mktemp("live"), f"live{os.getpid()}"
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, PARTITIONS="2") as where:
        where.start_worker(0)
        where.start_worker(1)
        compact_often(where)
        yield where


@pytest.mark.timeout(600)
def test_it_is_equal_twenty_times_beside_running_workers(live: Deployment) -> None:
    changes, moved = [], 0
    with flowing(live):
        live.wait(lambda: live.taken() > 100, "events flow")
        for _ in range(LOOKS):
            found = as_plain(compare(live.settings), 1.0)
            assert found["equal"], found["differences"][:3]
            assert found["customers"] >= CUSTOMERS - 1
            changes.append(found["changes"])
            moved += found["moving"]
    assert changes == sorted(changes)
    assert changes[-1] > changes[0]  # they were at it
    assert moved < CUSTOMERS  # and were compared


@pytest.mark.timeout(600)
def test_a_change_published_twice_is_found_though_workers_run(live: Deployment) -> None:
    with flowing(live):
        change = next(one for one in live.read("score-changes") if one.key == b"c-1")
        live.send("score-changes", [(change.key, change.value or b"", change.timestamp_ms)])
        first = as_plain(compare(live.settings), 1.0)["differences"][0]
        assert first["user"] == "c-1"
        assert "was committed twice" in first["sentence"]


@pytest.mark.timeout(600)
def test_rows_that_compaction_removes_while_it_reads_are_no_difference(
    live: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst that a cleaner can do: of each key only what is newest now is left, at the first reading."""
    real, readings = replay_reading.read_between, []
    compacted = {live.settings.topic(topic) for topic in ("rescore-state", "scorecards")}

    def cleaned(kafka: Any, starts: Any, ends: Any, open_seconds: float | None = None) -> Iterator[Record]:
        if {topic for topic, _ in ends} != compacted or readings:
            yield from real(kafka, starts, ends, open_seconds)
            return
        readings.append(ends)
        publish(live, range(10_000, 10_000 + 2 * CUSTOMERS))
        live.wait(lambda: live.waiting() == 0, "everyone has changed since")
        newest = {(one.topic, one.key): one.offset for name in names for one in live.read(name)}
        yield from (one for one in real(kafka, starts, ends, open_seconds) if newest[one.topic, one.key] <= one.offset)

    names = ("rescore-state", "scorecards")
    monkeypatch.setattr(replay_reading, "read_between", cleaned)
    found = as_plain(compare(live.settings, partitions=[0]), 1.0)
    assert readings
    assert {one["user"] for one in found["differences"]} <= {"c-1"}  # see the test before
    assert found["customers"] > 5
    assert found["moving"] == 0
