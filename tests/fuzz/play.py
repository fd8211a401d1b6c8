"""One round of the fuzz: a deployment with two workers and a learner, disturbed at random for a while, then judged.

A round is told by its seed and its kind. What goes on while the workers run:

- `values`, always: almost-right records into every input topic (`tests.fuzz.inputs`);
- `bodies`: broadcast records of any shape (`tests.fuzz.bodies`);
- `outputs`: rubbish in topics that workers write;
- `rows`: keys of the store deleted, any subset at any moment;
- `commands`: every command that reads, again and again, and some that write.

Then everything comes to rest, and the recount says what had to come of it. A worker that ended, a command that showed a
traceback or hung, or any difference from the recount fails the round.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import redis
from confluent_kafka import Producer

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from tests.faults.verdict import Verdict, judge
from tests.fuzz.bodies import broadcasts
from tests.fuzz.inputs import Sent, records
from tests.integration.deployment import RESCORE, Deployment, deployment

KINDS = ("values", "bodies", "outputs", "rows", "commands")
RATE = 250.0
MARK = ("fuzz", b"1")
"""A header of what the fuzz itself wrote to topics of ours: the judge leaves it out."""
RUBBISH_TOPICS = (
    "score-changes",
    "scorecards",
    "transactions.dlq",
    "rescore-examples",
    "rescore-learner",
    "rescore-publications",
    "point-scores",
)
COMMAND_SECONDS = 90.0


@dataclass
class Round:
    """What came of one."""

    seed: int
    kinds: Sequence[str]
    sent: int = 0
    bodies: int = 0
    rubbish: int = 0
    keys_deleted: int = 0
    commands: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    failures: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing ended, hung, was lost, doubled or wrong."""
        return not self.failures and self.verdict.clean

    def line(self) -> str:
        """The round in a line."""
        v = self.verdict
        return (
            f"seed {self.seed} ({', '.join(self.kinds)}): {self.sent:,} records, {v.letters:,} dead letters, "
            f"{v.changes:,} changes, {self.bodies} broadcast bodies, {self.rubbish} rubbish records, "
            f"{self.keys_deleted} keys deleted, {self.commands} commands: {'good' if self.good else 'FAILED'}"
        )


class Fuzzed(Deployment):
    """A deployment whose topics hold what the fuzz wrote into them; who judges does not see that."""

    def read(self, topic: str) -> list[Record]:
        """All committed records but the fuzz's own."""
        found = super().read(topic)
        return found if topic in INPUT_TOPICS else [r for r in found if MARK not in (r.headers or [])]


def play(seed: int, kinds: Sequence[str], seconds: float, servers: str, redis_url: str, folder: Path) -> Round:
    """Play one round of this many seconds, and judge it."""
    played, random = Round(seed, kinds), Random(f"{seed}/{'/'.join(kinds)}")
    name = f"fuzz{os.getpid()}-{seed}-{'-'.join(kinds)}"
    more = {"PARTITIONS": "2", "LOG__FORMAT": "text", "LEARNING__EPOCH_SECONDS": "5"}
    with deployment(servers, redis_url, name, folder, **more) as made:
        where = Fuzzed(made.bootstrap_servers, made.redis_url, made.name, made.folder, made.more, made.workers)
        for slot in (0, 1):
            where.start_worker(slot)
        where.start_learner()
        try:
            where.wait(lambda: all(" started: " in where.log(slot) for slot in (0, 1)), "the workers run")
            with _disturbed(where, played, random, seconds):
                _publish(where, played, random, seconds)
            _alive(where)
            where.catch_up()
            _alive(where)
            where.stop()
            played.verdict = judge(where, compiled=True)
            played.failures += [f"traceback: {line}" for line in _tracebacks(where)]
        except Exception as failure:  # noqa: BLE001 - told with its seed; the other rounds are played
            played.failures.append(str(failure) or repr(failure))
    return played


def _publish(where: Fuzzed, played: Round, random: Random, seconds: float) -> None:
    """Almost-right records at a steady rate."""
    producer = _producer(where)
    began = time.monotonic()
    for sent in records(random):
        if time.monotonic() - began > seconds:
            break
        while time.monotonic() < began + played.sent / RATE:
            producer.poll(0.01)
        _produce(producer, where, sent)
        played.sent += 1
        if played.sent % 500 == 0:
            _alive(where)
    assert producer.flush(60) == 0


def _producer(where: Fuzzed) -> Producer:
    return Producer(
        {"bootstrap.servers": where.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 5, "log_level": 0}
    )


def _produce(producer: Producer, where: Fuzzed, sent: Sent, marked: bool = False) -> None:
    place = {} if sent.partition is None else {"partition": sent.partition}
    headers = [MARK] if marked else []
    producer.produce(where.settings.topic(sent.topic), sent.value, sent.key, headers=headers, **place)
    producer.poll(0)


def _alive(where: Fuzzed) -> None:
    for slot, worker in where.workers.items():
        assert worker.poll() is None, f"process {slot} ended with {worker.poll()}: {where.log(slot)}"


def _tracebacks(where: Fuzzed) -> Iterator[str]:
    for path in sorted(where.folder.glob(f"{where.name}-*.log")):
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if line.startswith("Traceback"):
                yield f"{path.name}, line {number}"


@contextmanager
def _disturbed(where: Fuzzed, played: Round, random: Random, seconds: float) -> Iterator[None]:
    """The disturbances of this round, each in a thread of its own; what goes wrong in one is told at the end."""
    ended = threading.Event()
    ways: dict[str, Callable[[Fuzzed, Round, Random, threading.Event], None]] = {
        "bodies": _write_bodies, "outputs": _write_rubbish, "rows": _delete_keys, "commands": _give_commands,
    }  # fmt: skip

    def run(kind: str, own: Random) -> None:
        try:
            ways[kind](where, played, own, ended)
        except Exception as failure:  # noqa: BLE001 - told with the round
            played.failures.append(f"{kind}: {failure!r}")

    threads = [
        threading.Thread(target=run, args=(kind, Random(random.random())), daemon=True)
        for kind in played.kinds
        if kind in ways
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(COMMAND_SECONDS + 10)


def _write_bodies(where: Fuzzed, played: Round, random: Random, ended: threading.Event) -> None:
    producer = _producer(where)
    for sent in broadcasts(random):
        if ended.wait(0.2):
            break
        _produce(producer, where, sent)
        played.bodies += 1
    producer.flush(30)


def _write_rubbish(where: Fuzzed, played: Round, random: Random, ended: threading.Event) -> None:
    producer = _producer(where)
    while not ended.wait(0.1):
        topic = random.choice(RUBBISH_TOPICS)
        key = random.choice((None, b"", b"c1", random.randbytes(9)))
        value = random.choice(
            (None, b"", b"{", b"{}", b"null", b"\xc3\x01", b"\xc3\x01" + random.randbytes(60), random.randbytes(40))
        )
        _produce(producer, where, Sent(topic, key, value, 0), marked=True)
        played.rubbish += 1
    producer.flush(30)


def _delete_keys(where: Fuzzed, played: Round, random: Random, ended: threading.Event) -> None:
    """A random subset of this deployment's keys, now and then: rows, indexes and positions alike."""
    client = redis.Redis.from_url(where.redis_url)
    while not ended.wait(random.uniform(0.5, 4.0)):
        keys = sorted(client.scan_iter(match=f"{{{where.name}.*", count=5_000))
        share = random.choice((0.0, 0.02, 0.3, 1.0))
        chosen = [key for key in keys if random.random() < share] or random.sample(keys, min(1, len(keys)))
        if chosen:
            played.keys_deleted += int(client.unlink(*chosen))


READING: tuple[tuple[str, ...], ...] = (
    ("lag",), ("lag", "--json"), ("inspect", "c1"), ("inspect", "c2", "--json"), ("inspect", "77"), ("explain", "c1"),
    ("explain", "c3", "--json"), ("explain", "c4", "--adverse"), ("explain", "77", "--request", "77"), ("dlq", "list"),
    ("dlq", "list", "--json"), ("models", "list"), ("models", "list", "--json"),
    ("profiles", "list"), ("topics", "check"),
    ("config", "show"), ("subscribe", "--from-beginning", "--exit-at-end"),
    ("subscribe", "--from-beginning", "--exit-at-end", "--json", "--score", "status"),
    ("erase", "c5", "--yes"),
    ("override", "c6", "--score", "status", "--value", "2", "--until", "2090-01-01", "--reason", "fuzz"),
)  # fmt: skip
DOCUMENTED_EXITS = range(6)


def _give_commands(where: Fuzzed, played: Round, random: Random, ended: threading.Event) -> None:
    while not ended.wait(0.1):
        words = random.choice(READING)
        try:
            done = subprocess.run(
                [*RESCORE, *words], env=where.environment, capture_output=True, timeout=COMMAND_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            played.failures.append(f"rescore {' '.join(words)} did not end within {COMMAND_SECONDS:.0f} s")
            continue
        played.commands += 1
        said = done.stdout + done.stderr
        if b"Traceback" in said or done.returncode not in DOCUMENTED_EXITS:
            played.failures.append(
                f"rescore {' '.join(words)}: exit {done.returncode}: {said[-600:].decode('utf-8', 'replace')}"
            )
        if b"\x1b[2J" in said or b"\x1b[31mred" in said:
            played.failures.append(f"rescore {' '.join(words)} let an escape of a customer's id through")
