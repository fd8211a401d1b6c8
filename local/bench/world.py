"""Where benchmarks happen: a Kafka and a Valkey of their own, processes that are watched, how far a group has come."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from local.servers.kafka import Kafka
from local.servers.process import free_port, tail
from local.servers.valkey import Valkey
from schemas.errors import RescoreError
from streams.settings import Settings, load

ROOT = Path(__file__).parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02
KAFKA_HEAP_MB = 1024


class BenchFailed(RescoreError):
    """What was to be measured did not go on. The message says what, and shows the end of its log."""

    in_lines = True


@dataclass(frozen=True, slots=True)
class World:
    """The servers of one benchmark, and the settings and environment of the workers beside them."""

    bootstrap_servers: str
    redis_url: str
    folder: Path
    settings: Settings
    environment: Mapping[str, str]

    @property
    def partitions(self) -> int:
        """Of every input topic."""
        return self.settings.partitions


@contextmanager
def world(folder: Path, **more: str) -> Iterator[World]:
    """Start a Kafka and a Valkey, and create Rescore's topics. `more` are settings, names without `RESCORE_`."""
    with (
        Kafka.start(folder / "kafka", heap_mb=KAFKA_HEAP_MB) as kafka,
        # Rewriting the append-only file is a matter of hours, not of the minutes that are measured here.
        Valkey.start(folder / "valkey", settings={"auto-aof-rewrite-percentage": "0"}) as valkey,
    ):
        yield world_of(kafka.bootstrap_servers, valkey.url, folder, **more)


def world_of(bootstrap_servers: str, redis_url: str, folder: Path, **more: str) -> World:
    """Servers that are there already, with Rescore's topics."""
    ours = {
        "KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "REDIS__URL": redis_url,
        "CLOCK": "records",
        "PARTITIONS": "4",
        "LOG__LEVEL": "info",
        "LOG__FORMAT": "json",
        "METRICS__PORT": "0",
        **more,
    }
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RESCORE_")}
    chosen = {f"RESCORE_{name}": value for name, value in ours.items()}
    environment = {**outside, "PYTHONPATH": str(ROOT), **chosen}
    made = World(bootstrap_servers, redis_url, folder, load(chosen).settings, environment)
    run_command(made, "topics", "apply")
    return made


def run_command(here: World, *arguments: str) -> None:
    """Run a command of Rescore in this world. Raises BenchFailed."""
    command = [sys.executable, "-m", "streams", *arguments]
    done = subprocess.run(command, env=dict(here.environment), check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchFailed(f"rescore {' '.join(arguments)} failed: {done.stderr[-2000:]}")


class Watched:
    """A process whose CPU, children's included, and memory are looked at from outside."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, metrics_port: int = 0) -> None:
        self.name, self.process, self.log, self.metrics_port = name, process, log, metrics_port

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree, threads included, and of children that have ended."""
        return sum(_ticks(pid) for pid in self.tree()) / TICKS

    def memory_mb(self) -> float:
        """The most that was resident at any time, in 2^20 bytes, added up over the tree."""
        return sum(_high_water_kb(pid) for pid in self.tree()) / 1024

    def tree(self) -> list[int]:
        """This process and all below it."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                children.setdefault(int(_fields(stat)[1]), []).append(int(stat.parent.name))
            except OSError:  # it has just ended
                continue
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for something to happen. Raises BenchFailed when the process ends before, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            code = self.process.poll()
            if code is not None:
                raise BenchFailed(
                    f"{self.name} ended with exit code {code} before {what}; the end of its log:\n{tail(self.log)}"
                )
            if time.monotonic() > deadline:
                raise BenchFailed(f"{self.name}: not {what} after {seconds:.0f} s; its log:\n{tail(self.log)}")
            time.sleep(POLL_SECONDS)

    def metrics(self) -> dict[str, float]:
        """What a worker serves at /metrics: `name{labels}` and value. Empty while it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except (URLError, OSError):
            return {}
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def partitions_running(self) -> int:
        """How many partitions a worker takes records of."""
        pattern = re.compile(r'rescore_partition_state\{.*state="running".*\}')
        return sum(value == 1 for name, value in self.metrics().items() if pattern.fullmatch(name))


def _fields(stat: Path) -> list[str]:
    return stat.read_text("ascii", errors="replace").rpartition(")")[2].split()


def _ticks(pid: int) -> int:
    try:
        return sum(map(int, _fields(Path(f"/proc/{pid}/stat"))[11:15]))
    except OSError:
        return 0


def _high_water_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", errors="replace")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) if found else 0


@contextmanager
def running(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, metrics_port: int = 0
) -> Iterator[Watched]:
    """Start a program and end it in order at the end: SIGTERM, and SIGKILL where that does not help."""
    log = folder / f"{name.replace(' ', '-')}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
        )
    try:
        yield Watched(name, process, log, metrics_port)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def worker(here: World, name: str = "worker", **more: str) -> Iterator[Watched]:
    """A worker of Rescore as a process of its own."""
    port = free_port()
    changed = {"METRICS__PORT": str(port), **more}
    environment = {**here.environment, **{f"RESCORE_{key}": value for key, value in changed.items()}}
    with running(name, [sys.executable, "-m", "streams", "worker"], environment, here.folder, port) as started:
        yield started


class Place(NamedTuple):
    """A topic and its number of partitions."""

    topic: str
    partitions: int


class Positions:
    """How far groups have come, asked from the broker. Topics here hold no control records: offsets count records."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def committed(self, group: str, place: Place) -> int:
        """Records of the topic that the group has committed."""
        return sum(self.committed_by_partition(group, place).values())

    def committed_by_partition(self, group: str, place: Place) -> dict[int, int]:
        """The same by partition; 0 where nothing is committed or the group is not known yet."""
        wanted = [TopicPartition(place.topic, partition) for partition in range(place.partitions)]
        asked = [ConsumerGroupTopicPartitions(group, wanted)]
        try:
            found = self._admin.list_consumer_group_offsets(asked, request_timeout=5)[group].result(10)
        except KafkaException:
            return dict.fromkeys(range(place.partitions), 0)
        return {answer.partition: max(answer.offset, 0) for answer in found.topic_partitions}

    def published(self, place: Place) -> int:
        """Records the topic holds."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(place.topic, partition): latest for partition in range(place.partitions)}
        return sum(answer.result(10).offset for answer in self._admin.list_offsets(asked, request_timeout=5).values())


def make_topics(bootstrap_servers: str, names: Sequence[str], partitions: int) -> None:
    """Topics for those beside Rescore, that the broker does not make by itself."""
    if names:
        admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        for made in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
            made.result(30)
