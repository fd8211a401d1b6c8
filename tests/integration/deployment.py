"""A whole deployment for a test: topics of its own on a real Kafka, rows on a real Valkey, workers as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from schemas.row_keys import PROGRESS_KEY
from state.redis_store import RedisStore
from streams.kafka.client import read, require_topics
from streams.kafka.groups import group_of, waiting_records
from streams.settings import Settings, load

RESCORE = [sys.executable, "-m", "streams"]
LEARNER = -1
READY_SECONDS = 240.0  # compiling everything on a busy machine; a second where the cache is warm


@dataclass
class Deployment:
    """One app with its topics. `start` makes the topics; workers are started and killed by slot."""

    bootstrap_servers: str
    redis_url: str
    name: str
    folder: Path
    more: dict[str, str] = field(default_factory=dict)
    workers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this deployment is started with."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("RESCORE_")}
        return own | {
            "RESCORE_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "RESCORE_REDIS__URL": self.redis_url,
            "RESCORE_REDIS__REQUIRE_APPEND_ONLY": "false",
            "RESCORE_METRICS__PORT": "0",
            "RESCORE_TOPIC_PREFIX": f"{self.name}.",
            "RESCORE_APP": self.name,
            **self.more,
        }

    @property
    def settings(self) -> Settings:
        """The same as settings."""
        wanted = {name: value for name, value in self.environment.items() if name.startswith("RESCORE_")}
        return load({**wanted, "RESCORE_CONFIG": ""}).settings

    def rescore(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of ours, to its end."""
        done = subprocess.run(
            [*RESCORE, *arguments], env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def start_worker(
        self, slot: int = 0, failpoint: str = "", program: Sequence[str] = RESCORE, **more: str
    ) -> subprocess.Popen[bytes]:
        """Start a worker; with a failpoint it dies there as by kill -9. `more` is put into its environment."""
        environment = self.environment | {"RESCORE_SLOT": str(slot)} | more
        if failpoint:
            environment["RESCORE_FAILPOINT"] = failpoint
        with (self.folder / f"{self.name}-{slot}.log").open("ab") as log:
            self.workers[slot] = subprocess.Popen([*program, "worker"], env=environment, stdout=log, stderr=log)
        return self.workers[slot]

    def start_learner(self, failpoint: str = "") -> None:
        """Start the learner; among the workers it has a slot of its own."""
        environment = self.environment | ({"RESCORE_FAILPOINT": failpoint} if failpoint else {})
        with (self.folder / f"{self.name}-{LEARNER}.log").open("ab") as log:
            self.workers[LEARNER] = subprocess.Popen([*RESCORE, "learner"], env=environment, stdout=log, stderr=log)

    def kill(self, slot: int) -> None:
        """kill -9."""
        self.workers[slot].send_signal(signal.SIGKILL)
        self.workers.pop(slot).wait()

    def stop(self) -> None:
        """End every worker in good order."""
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            worker.wait(60)
        self.workers.clear()

    def send(self, topic: str, values: Sequence[tuple[str | bytes | None, bytes, int]]) -> None:
        """Records (key, value, timestamp) to a topic, as any client would send them."""
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "partitioner": "murmur2_random",
                "message.max.bytes": 30_000_000,
                "linger.ms": 5,
                "enable.idempotence": True,  # in the order they are given, whatever is tried again
            }
        )
        for key, value, timestamp_ms in values:
            producer.produce(self.settings.topic(topic), value, key, timestamp=timestamp_ms)
            producer.poll(0)
        assert producer.flush(60) == 0

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until the broker has forgotten it."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        admin.delete_topics([topic], operation_timeout=20.0)[topic].result(20.0)
        self.wait(lambda: topic not in admin.list_topics(timeout=20.0).topics, f"{topic} is gone", 30)

    def waiting(self) -> int:
        """Input records that no worker has taken yet."""
        kafka = self.settings.kafka
        counts = require_topics(kafka, [self.settings.topic(name) for name in INPUT_TOPICS])
        return sum(waiting_records(kafka, counts, group_of(kafka, self.name, counts).committed).values())

    def taken(self) -> int:
        """Input offsets that workers have committed."""
        kafka = self.settings.kafka
        counts = require_topics(kafka, [self.settings.topic(name) for name in INPUT_TOPICS])
        return sum(offset for offset in group_of(kafka, self.name, counts).committed.values() if offset > 0)

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Poll until it is so; a worker that has died meanwhile is a failure."""
        deadline = time.monotonic() + seconds
        while not condition():
            for slot, worker in self.workers.items():
                assert worker.poll() is None, f"worker {slot} ended: {self.log(slot)}"
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s; {self.log(0)}"
            time.sleep(0.05)

    def catch_up(self) -> None:
        """Until everything sent was taken, the store has it, and every timer due by then has fired.

        Positions are committed before the store is written: whoever is killed between the two, or slow there, leaves a
        store behind that says of no timer that it is due. Timers go in slices behind events.
        """
        self.wait(lambda: self.waiting() == 0, "everything is taken")
        clocks_ms: dict[int, int] = {}
        for topic in INPUT_TOPICS:
            for record in self.read(topic):
                clocks_ms[record.partition] = max(clocks_ms.get(record.partition, 0), record.timestamp_ms)
        marks = {r.partition: r.offset for r in self.read("rescore-state") if r.key == PROGRESS_KEY}
        with closing(self._store()) as store:

            def at_rest(partition: int) -> bool:
                due_ms, held = store.earliest_due_at(partition)
                saved = held is not None and held.ready and held.state_offset >= marks[partition]
                return saved and (due_ms is None or due_ms > clocks_ms[partition]) and is_whole(store, partition)

            for partition in clocks_ms:
                self.wait(partial(at_rest, partition), f"partition {partition} is saved, whole and has no timer due")

    def log(self, slot: int) -> str:
        """The end of what a worker wrote."""
        path = self.folder / f"{self.name}-{slot}.log"
        return path.read_text("utf-8")[-3000:] if path.exists() else ""

    def read(self, topic: str) -> list[Record]:
        """All committed records of a topic."""
        name = self.settings.topic(topic)
        return list(read(self.settings.kafka, require_topics(self.settings.kafka, [name])))

    def by_user(self, topic: str) -> dict[bytes, list[bytes]]:
        """Committed values by key in their order, without this deployment's name: two deployments can be compared."""
        own = f"{self.name}.".encode()
        found: dict[bytes, list[bytes]] = {}
        for record in self.read(topic):
            value = (record.value or b"").replace(own, b"#" * len(own))
            found.setdefault(record.key or b"", []).append(value)
        return found

    def rows(self) -> dict[bytes, bytes]:
        """Every row in Redis by user."""
        with closing(self._store()) as store:
            client = store._client
            found: dict[bytes, bytes] = {}
            for partition in range(self.settings.partitions):
                prefix = b"{%b.%d}:u:" % (self.name.encode(), partition)
                for key in client.scan_iter(match=prefix.replace(b"{", b"\\{") + b"*", count=10_000):
                    found[key.removeprefix(prefix)] = client.get(key)
            return found

    def _store(self) -> RedisStore:
        return RedisStore(self.redis_url, self.name, self.settings.partitions, require_append_only=False)


def is_whole(store: RedisStore, partition: int) -> bool:
    """Whether the index has everyone and everyone in it has a row: what a worker finds out slice by slice."""
    cursor, first = b"", True
    while first or cursor:
        cursor, held = store.verify(partition, cursor, 5_000)
        if held is None or held.lost:
            return False
        first = False
    return True


@contextmanager
def deployment(kafka_servers: str, redis_url: str, name: str, folder: Path, **more: str) -> Iterator[Deployment]:
    """A deployment whose topics are made and whose workers end with the test."""
    made = Deployment(kafka_servers, redis_url, name, folder, {f"RESCORE_{key}": value for key, value in more.items()})
    made.rescore("topics", "apply")
    try:
        yield made
    finally:
        for worker in made.workers.values():
            worker.kill()
            worker.wait()
