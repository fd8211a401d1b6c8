"""The whole way on a real Kafka and a real Valkey: two workers and kill -9 say what one undisturbed worker says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import redis

from local.generator.events import events, population
from schemas.codec import StaticRegistry, decode_value
from schemas.kinds import INPUT_TOPICS
from tests.integration.deployment import Deployment, deployment
from tests.simulation.judge import differing

BERKA = os.environ.get("RESCORE_TEST_BERKA", "")
"""A folder with the Berka files: the journey is then run on them too (some minutes)."""

SOURCES = ["generated", *(["berka"] if BERKA else [])]
COMMON = {"CLOCK": "records", "PARTITIONS": "4"}


def publish(source: str, where: Deployment) -> None:
    """The same events in the same order into the same partitions, whatever the deployment."""
    if source == "berka":
        maps = Path("docs/examples")
        pairs = [("trans_1993-94", "transactions"), ("loan_1993-96", "loans"), ("trans_1993-94", "repayments")]
        for file, mapping in pairs:
            path = f"{BERKA}/{file}.csv.gz"
            chosen = ["--map-file", str(maps / f"berka-{mapping}.toml"), "--until", "1995-01-01"]
            where.rescore("publish", path, *chosen, "--skip-bad-lines", check=False)
        return
    by_topic: dict[str, list[tuple[str, bytes, int]]] = {}
    for event in events(population(11, 80, date(2025, 1, 1), 100)):
        value = event.value if isinstance(event.value, bytes) else json.dumps(event.value).encode()
        by_topic.setdefault(event.topic, []).append((event.key, value, event.timestamp_ms))
    for topic, values in by_topic.items():
        where.send(topic, sorted(values, key=lambda value: value[2]))


@pytest.fixture(scope="module", params=SOURCES)
def undisturbed(request, kafka, shared_valkey, tmp_path_factory) -> Iterator[tuple[str, Deployment]]:
    """One worker that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    name = f"calm{os.getpid()}{request.param[0]}"
    more = COMMON | ({"POLICY__BASE_CURRENCY": "CZK"} if request.param == "berka" else {})
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, **more) as calm:
        publish(request.param, calm)
        calm.start_worker()
        calm.catch_up()
        calm.stop()
        yield request.param, calm


@pytest.mark.timeout(900)
def test_two_workers_and_kill_9_say_what_one_undisturbed_worker_says(undisturbed, tmp_path) -> None:
    source, calm = undisturbed
    name = f"wild{os.getpid()}{source[0]}"
    same = {key.removeprefix("RESCORE_"): value for key, value in calm.more.items()}
    with deployment(calm.bootstrap_servers, calm.redis_url, name, tmp_path, **same) as wild:
        publish(source, wild)
        expected = calm.taken()
        wild.start_worker(0)
        wild.start_worker(1)
        wild.wait(lambda: wild.taken() > expected // 2, "half is taken")
        wild.kill(1)
        wild.start_worker(1)
        wild.catch_up()
        wild.stop()
        changes = wild.by_user("score-changes")
        assert sum(map(len, changes.values())) > 500
        assert changes == calm.by_user("score-changes")
        assert wild.by_user("transactions.dlq") == calm.by_user("transactions.dlq")
        assert not differing(wild.rows(), calm.rows())
        assert_contiguous(changes)


def assert_contiguous(changes: dict[bytes, list[bytes]]) -> None:
    """No change twice, none missing: sequences count from 1 without a gap, per user, score and incarnation."""
    registry = StaticRegistry()
    for user, values in changes.items():
        seen: dict[tuple[str, str], int] = {}
        for value in values:
            change = decode_value("ScoreChange", value, registry)
            key = (change["score"], change["incarnation"])
            assert change["sequence"] == seen.get(key, 0) + 1, (user, change)
            seen[key] = change["sequence"]


@pytest.mark.timeout(600)
def test_a_flushed_redis_is_rebuilt_to_the_same_bytes(undisturbed) -> None:
    _, calm = undisturbed
    before = calm.rows()
    assert len(before) > 50
    with redis.Redis.from_url(calm.redis_url) as client:
        for key in client.scan_iter(match=f"{{{calm.name}.*".replace("{", "\\{"), count=10_000):
            client.delete(key)
    assert calm.rows() == {}
    calm.start_worker()
    calm.catch_up()
    calm.stop()
    assert not differing(calm.rows(), before)


def test_every_input_topic_has_its_dead_letters(undisturbed) -> None:
    source, calm = undisturbed
    letters = {topic: calm.read(f"{topic}.dlq") for topic in INPUT_TOPICS}
    if source == "generated":  # the story's one poisoned event
        (letter,) = letters["transactions"]
        headers = dict(letter.headers or [])
        assert headers["__streams.errors.topic"].decode() == calm.settings.topic("transactions")
        assert headers["__streams.errors.message"]


@pytest.mark.timeout(300)
def test_workers_that_start_at_once_on_new_topics_publish_the_first_versions_once(
    kafka, shared_valkey, tmp_path
) -> None:
    name = f"crowd{os.getpid()}"
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, tmp_path, PARTITIONS="3") as crowd:
        for slot in range(3):
            crowd.start_worker(slot)
        crowd.wait(lambda: all(" started: 3 partitions" in crowd.log(slot) for slot in range(3)), "all three started")
        assert [len(crowd.read(topic)) for topic in ("rescore-config", "rescore-weights")] == [1, 1]
        crowd.stop()
