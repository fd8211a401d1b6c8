"""Where a fault is played: a real broker and a real store behind roads that can be made bad, workers as users run them,
a load that goes on all the while, and a watch that says how long it took until scores were current again.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from local.servers.kafka import HEAP_MB, Kafka
from local.servers.process import LOOPBACK, free_port
from local.servers.valkey import Valkey
from schemas.kinds import INPUT_TOPICS
from streams.kafka.client import KafkaUnreachable, admin_of, require_topics
from streams.kafka.groups import group_of
from tests.faults.load import Load, Planned, plan, rates
from tests.faults.proxy import Proxy
from tests.integration.deployment import RESCORE, Deployment

PACE = 400.0
READY_SECONDS = 240.0  # compiling everything on a busy machine; two seconds where the cache is warm
RECOVER_SECONDS = 90.0


class KafkaBehindRoad(Kafka):
    """A broker with a second listener that is told to clients as the road's address: those who come by the road stay
    on it, all others stay off.
    """

    road: Proxy
    road_port: int

    def _properties(self) -> str:
        own, road = f"PLAINTEXT://{self.address}", f"ROAD://{LOOPBACK}:{self.road_port}"
        return super()._properties() + (
            f"listeners={own},{road},CONTROLLER://{LOOPBACK}:{self._controller_port}\n"
            f"advertised.listeners={own},ROAD://{self.road.address}\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,ROAD:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            "inter.broker.listener.name=PLAINTEXT\n"
        )


@contextmanager
def broker(folder: Path | None = None) -> Iterator[KafkaBehindRoad]:
    """A broker with its road; ends with the block."""
    made = KafkaBehindRoad(folder, None, {}, HEAP_MB)
    made.road_port = free_port()
    with Proxy(made.road_port) as made.road, made.launch():
        yield made


@dataclass
class Stage:
    """One fault being played. Workers reach Kafka and Valkey by the roads, everybody else directly."""

    kafka: KafkaBehindRoad
    valkey: Valkey
    valkey_road: Proxy
    app: Deployment  # as everybody else sees it
    driven: Deployment  # as its workers see it
    load: Load
    notes: list[str] = field(default_factory=list)
    kept: ExitStack = field(default_factory=ExitStack)
    mended_seconds: float | None = None
    owed: dict[tuple[str, int], int] = field(default_factory=dict)

    # Workers.

    def start_worker(
        self, slot: int = 0, failpoint: str = "", program: Sequence[str] = RESCORE, **more: str
    ) -> subprocess.Popen[bytes]:
        """A worker process with the settings of a user."""
        return self.driven.start_worker(slot, failpoint, program, **more)

    def flow(self, *failpoints: str, workers: int = 1, share: float = 0.25, program: Sequence[str] = RESCORE) -> None:
        """Workers run (with failpoints, as far as given), events flow, and this share of them has been published."""
        for slot in range(max(workers, len(failpoints))):
            self.start_worker(slot, failpoints[slot] if slot < len(failpoints) else "", program)
        if not any("K14" in point for point in failpoints):
            self.wait(lambda: all(self.runs(slot) for slot in self.driven.workers), "all workers run", READY_SECONDS)
        self.load.start()
        self.wait_sent(share)

    def runs(self, slot: int) -> bool:
        """Whether the worker has told that it started."""
        return " started: " in self.text(slot)

    def text(self, slot: int) -> str:
        """All that a worker has logged."""
        path = self.driven.folder / f"{self.driven.name}-{slot}.log"
        return path.read_text("utf-8") if path.exists() else ""

    def wait_sent(self, share: float) -> None:
        """Until this share of the events has been published."""
        self.wait(lambda: self.load.sent >= share * len(self.load.planned), f"{share:.0%} is published", alive=False)

    def signal(self, slot: int, what: signal.Signals) -> None:
        """Send a worker a signal."""
        self.driven.workers[slot].send_signal(what)

    def kill(self, slot: int) -> None:
        """kill -9."""
        self.driven.kill(slot)

    def end(self, slot: int, seconds: float = 30.0) -> int:
        """SIGTERM, and the exit code."""
        worker = self.driven.workers.pop(slot)
        worker.terminate()
        return worker.wait(seconds)

    def dies(self, slot: int, seconds: float = 60.0) -> int:
        """Wait for a worker to end by itself; its exit code."""
        code = self.driven.workers[slot].wait(seconds)
        del self.driven.workers[slot]
        return code

    def frozen(self, slot: int) -> None:
        """Wait until a worker has been stopped by its failpoint."""
        status = Path(f"/proc/{self.driven.workers[slot].pid}/status")
        self.wait(lambda: "T (stopped)" in status.read_text("ascii"), f"worker {slot} is frozen", 60.0)

    def ready(self, slot: int) -> tuple[bool, str]:
        """What a probe hears from a worker's /readyz."""
        found = re.findall(r"metrics at (http://[^/\s]+)/metrics", self.text(slot))
        try:
            with urllib.request.urlopen(f"{found[-1]}/readyz", timeout=5) as answer:
                return True, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return False, refusal.read().decode()

    # Time.

    def wait(self, so: Callable[[], object], what: str, seconds: float = RECOVER_SECONDS, alive: bool = True) -> None:
        """Poll until it is so. A worker that has ended meanwhile, unasked, is a failure."""
        deadline = time.monotonic() + seconds
        while not so():
            for slot, worker in self.driven.workers.items() if alive else ():
                assert worker.poll() is None, f"worker {slot} ended unasked: {self.text(slot)[-3000:]}"
            assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s\n{self.tail()}"
            time.sleep(0.02)

    def last(self, seconds: float) -> None:
        """Let the fault last."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.02)

    def mended(self) -> None:
        """The fault is over: from here on the time to recover is counted."""
        self.mended_seconds = time.monotonic()
        self.owed = dict(self.load.delivered)

    def recovered(self) -> float:
        """Seconds from the end of the fault until everything published before it has been taken."""
        assert self.mended_seconds is not None
        counts = require_topics(self.app.settings.kafka, [self.app.settings.topic(name) for name in INPUT_TOPICS])

        def current() -> bool:
            try:
                taken = group_of(self.app.settings.kafka, self.app.name, counts).committed
            except KafkaUnreachable:  # a broker that has just started still reads its groups
                return False
            return all(taken.get(place, -1) > offset for place, offset in self.owed.items())

        self.wait(current, "what was published before the fault's end is taken")
        return time.monotonic() - self.mended_seconds

    def rest(self) -> None:
        """Everything is published and taken, every timer due has fired; then the workers end in order."""
        while self.load.is_alive():
            self.load.join(1.0)
        assert not self.load.failures, self.load.failures
        self.driven_is_well()
        self.app.workers.update(self.driven.workers)
        self.app.catch_up()
        self.app.workers.clear()
        self.driven.stop()

    def driven_is_well(self) -> None:
        """The roads are good again, whatever was done to them."""
        self.kafka.road.mend()
        self.valkey_road.mend()

    def tail(self) -> str:
        """The ends of all logs."""
        logs = self.driven.folder.glob(f"{self.app.name}-*.log")
        slots = sorted({int(path.stem.rpartition("-")[2]) for path in logs})
        return "\n".join(f"--- worker {slot}\n{self.text(slot)[-1500:]}" for slot in slots)


@contextmanager
def stage(
    kafka: KafkaBehindRoad,
    folder: Path,
    name: str,
    events: int = 3_000,
    pace: float = PACE,
    huge_bytes: int = 1_200_000,
    huge_every: int = 1_500,
    planned: list[Planned] | None = None,
    **settings: str,
) -> Iterator[Stage]:
    """Topics of its own on the broker, a Valkey of its own, a load that is ready to start."""
    with ExitStack() as kept:
        valkey = kept.enter_context(Valkey.start(settings={"save": ""}))
        road = kept.enter_context(Proxy(valkey.port))
        more = {f"RESCORE_{key}": value for key, value in settings.items()}
        more = {"RESCORE_PARTITIONS": "2", "RESCORE_LOG__FORMAT": "text"} | more
        app = Deployment(kafka.bootstrap_servers, valkey.url, name, folder, more)
        driven = Deployment(kafka.road.address, f"redis://{road.address}/0", name, folder, more)
        app.rescore("topics", "apply")
        app.send("fx-rates", [(key, value, time.time_ns() // 1_000_000) for key, value in rates()])
        load = Load(app.bootstrap_servers, app.settings.topic, planned or plan(events, huge_bytes, huge_every), pace)
        played = Stage(kafka, valkey, road, app, driven, load, kept=kept)
        try:
            yield played
        finally:
            for worker in driven.workers.values():
                worker.kill()
                worker.wait()
            if load.is_alive():
                load.stop()
            kafka.road.mend()


@contextmanager
def small_disk(size_mb: int) -> Iterator[Path]:
    """A file system of its own that can be filled; needs the right to mount."""
    with tempfile.TemporaryDirectory(prefix="rescore-disk-") as place:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", place], capture_output=True, check=False
        )
        assert mounted.returncode == 0, f"a file system cannot be mounted here: {mounted.stderr.decode().strip()}"
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "-l", place], check=True)


def delete_topics(app: Deployment) -> None:
    """Make room on the broker for the next row."""
    admin = admin_of(app.settings.kafka)
    names = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{app.name}.")]
    for done in admin.delete_topics(names, operation_timeout=20).values():
        with suppress(Exception):
            done.result(20)


def command(valkey: Valkey, *words: str) -> bytes:
    """One command to a server, asked as plainly as can be; the raw answer."""
    packed = [word.encode() for word in words]
    request = b"*%d\r\n" % len(packed) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in packed)
    with socket.create_connection((LOOPBACK, valkey.port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(2**16)


def keys_of(valkey: Valkey, pattern: str) -> list[str]:
    """Every key that fits a pattern, in order."""
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        return sorted(client.scan_iter(match=pattern, count=10_000))


def copy_of_log(valkey: Valkey, to: Path) -> None:
    """The store's append-only file as it is now: what an old backup would bring back."""
    shutil.copytree(valkey.folder / "appendonlydir", to, dirs_exist_ok=True)


def put_back(valkey: Valkey, copy: Path) -> None:
    """An older append-only file in place of the one there is; the server has to be down."""
    shutil.rmtree(valkey.folder / "appendonlydir")
    shutil.copytree(copy, valkey.folder / "appendonlydir")
