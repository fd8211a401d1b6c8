"""kill -9 of a worker process at each named step, on a real Kafka and a real Valkey: nothing twice, nothing lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from state.redis_store import RedisStore
from streams.log.protocol import STEPS
from tests.integration.kafka_world import KafkaWorld
from tests.streams.world import INPUTS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(kafka: Any, valkey: Any, topics: Any) -> Iterator[KafkaWorld]:
    topics.make(*INPUTS, "score-changes", "loans.dlq", partitions=2, config={"retention.ms": "-1"})
    topics.make("rescore-state", partitions=2, config={"cleanup.policy": "compact"})
    store: Any = RedisStore(valkey.url, topics.prefix, 2, require_append_only=False)
    made = KafkaWorld(store=store, bootstrap_servers=kafka.bootstrap_servers, prefix=topics.prefix)
    yield made
    made.close()


@contextmanager
def victim(world: KafkaWorld, url: str, step: str, hit: int) -> Iterator[subprocess.Popen[bytes]]:
    command = ["-m", "tests.crash.victim", world.bootstrap_servers, world.prefix, url, step, str(hit)]
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "step, hit",
    [*((step, 3) for step in STEPS[:12]), ("K8.committing", 0), ("K14.resolving", 1)],
)
def test_a_worker_killed_at_a_step_comes_back_and_says_everything_once(
    world: KafkaWorld, valkey: Any, eventually: Callable[..., None], step: str, hit: int
) -> None:
    world.story(users=4, days=4)
    world.producer.flush()
    with victim(world, valkey.url, step, hit) as doomed:
        assert doomed.wait(30) == -signal.SIGKILL
    with victim(world, valkey.url, "-", 1):
        eventually(world.at_rest, "rest", seconds=40)
    world.check()


def test_a_valkey_flushed_while_the_worker_runs_is_rebuilt(
    world: KafkaWorld, valkey: Any, eventually: Callable[..., None]
) -> None:
    world.story(users=4, days=3)
    world.producer.flush()
    client = redis.Redis.from_url(valkey.url)
    with victim(world, valkey.url, "-", 1):
        eventually(world.at_rest, "rest", seconds=40)
        for key in client.scan_iter(f"{{{world.prefix}.*"):
            client.unlink(key)
        assert world.store.position(0) is None
        for i in range(4):
            world.write("transactions", f"user-{i}", 50_000 + i)
        world.producer.flush()
        eventually(world.at_rest, "rest again", seconds=40)
    world.check()
