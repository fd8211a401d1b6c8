"""The matrix: everything that can break, one row each. `inject` brings the stage into mid-stream and breaks it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from local.servers.valkey import Valkey
from schemas.kinds import INPUT_TOPICS
from streams.kafka.client import admin_of, require_topics
from streams.kafka.groups import group_of, waiting_records
from streams.log.protocol import STEPS
from tests.faults.load import late
from tests.faults.stage import READY_SECONDS, Stage, command, copy_of_log, keys_of, put_back
from tests.integration.deployment import RESCORE

ROOT = Path(__file__).parents[2]

Inject = Callable[[Stage], None]


@dataclass(frozen=True)
class Row:
    """One fault: what happened, how it was made, what is played. `quick` rows run with every `make test`."""

    name: str
    fault: str
    how: str
    inject: Inject
    events: int = 2_400
    quick: bool = False
    huge_bytes: int = 1_200_000
    huge_every: int = 1_500
    disk_mb: int = 0  # a broker of its own on a disk of this size
    rests: bool = True  # everything published is taken in the end
    settings: dict[str, str] = field(default_factory=dict)


ROWS: dict[str, Row] = {}


def row(name: str, fault: str, how: str, **more: object) -> Callable[[Inject], Inject]:
    """Enter a function into the matrix."""

    def enter(inject: Inject) -> Inject:
        ROWS[name] = Row(name, fault, how, inject, **more)  # type: ignore[arg-type]
        return inject

    return enter


# Workers.


@row("nothing", "nothing", "the same load with nothing broken: what the others are compared with")
def nothing(stage: Stage) -> None:
    stage.flow()
    stage.mended()


def _killed(step: str, nth: int) -> Inject:
    def inject(stage: Stage) -> None:
        stage.flow(f"{step}:{nth}")
        assert stage.dies(0) == -signal.SIGKILL
        stage.mended()
        stage.start_worker(0)

    return inject


QUICK_STEPS = ("K7.positions_sent", "K9.committed", "K11.saving")
for _step in STEPS[:12]:
    _nth = 60 if _step == "K1.polled" else 6  # in mid-stream on a busy machine too
    ROWS[f"kill-{_step}"] = Row(
        f"kill-{_step}",
        f"worker killed at {_step}",
        f"SIGKILL to itself the {_nth}th time it gets there; started again at once",
        _killed(_step, _nth),
        quick=_step in QUICK_STEPS,
    )


@row("kill-K13.given_up", "worker killed at K13.given_up", "a second worker joins; the first dies giving up its half")
def killed_giving_up(stage: Stage) -> None:
    stage.flow("K13.given_up:1")
    stage.start_worker(1)
    assert stage.dies(0) == -signal.SIGKILL
    stage.mended()
    stage.start_worker(0)


@row("kill-K14.resolving", "worker killed at K14.resolving, twice", "killed in mid-stream, and again on the way back")
def killed_resolving(stage: Stage) -> None:
    stage.flow()
    stage.kill(0)
    stage.start_worker(0, "K14.resolving:1")
    assert stage.dies(0) == -signal.SIGKILL
    stage.mended()
    stage.start_worker(0)


@row(
    "kill-K15.restoring",
    "worker killed at K15.restoring",
    "the store is flushed, and the worker dies while it rebuilds it",
    events=6_000,
    settings={"PARTITIONS": "1"},
)
def killed_restoring(stage: Stage) -> None:
    stage.flow("K15.restoring:1", share=0.8)
    command(stage.valkey, "FLUSHALL")
    assert stage.dies(0) == -signal.SIGKILL
    stage.mended()
    stage.start_worker(0)


@row("kill-both", "both workers killed at K9.committed", "SIGKILL to themselves; both started again at once")
def both_killed(stage: Stage) -> None:
    stage.flow("K9.committed:6", "K9.committed:6")
    for slot in (0, 1):
        assert stage.dies(slot) == -signal.SIGKILL
    stage.mended()
    for slot in (0, 1):
        stage.start_worker(slot)


@row("kill-again-and-again", "worker killed five times", "kill -9 a second after each start")
def killed_again_and_again(stage: Stage) -> None:
    stage.flow()
    for lives in range(2, 7):
        stage.last(1.0)
        stage.kill(0)
        stage.start_worker(0)
        stage.wait(lambda lives=lives: stage.text(0).count(" started: ") == lives, "the worker runs")
    stage.mended()


def _frozen(step: str) -> Inject:
    def inject(stage: Stage) -> None:
        stage.flow(f"{step}:6:STOP", "")
        stage.frozen(0)
        stage.wait(lambda: _runs(stage, 1) == {"0", "1"}, "the other one has taken over", 60)
        stage.signal(0, signal.SIGCONT)
        stage.mended()

    return inject


for _step in ("K2.processed", "K6.all_written", "K8.committing", "K11.saving"):
    ROWS[f"zombie-{_step}"] = Row(
        f"zombie-{_step}",
        f"worker frozen at {_step}, past its session",
        "SIGSTOP there, until another worker has its partitions; then SIGCONT",
        _frozen(_step),
        events=8_000,
        quick=_step == "K8.committing",
    )


@row("frozen-short", "worker frozen for 3 s", "SIGSTOP in mid-stream, SIGCONT within its session")
def frozen_short(stage: Stage) -> None:
    stage.flow()
    stage.signal(0, signal.SIGSTOP)
    stage.last(3.0)
    stage.signal(0, signal.SIGCONT)
    stage.mended()


@row(
    "abort-by-broker",
    "transaction aborted by the broker",
    "frozen at K6.all_written for longer than its transaction timeout of 2 s, within its session of 30 s",
    settings={"KAFKA__TRANSACTION_TIMEOUT_SECONDS": "2", "KAFKA__SESSION_TIMEOUT_SECONDS": "30"},
    quick=True,
)
def aborted_by_broker(stage: Stage) -> None:
    stage.flow("K6.all_written:6:STOP")
    stage.frozen(0)
    stage.last(5.0)
    stage.signal(0, signal.SIGCONT)
    stage.mended()


@row("terminated", "worker ended by SIGTERM in mid-batch", "SIGTERM in mid-stream, then started again")
def terminated(stage: Stage) -> None:
    stage.flow()
    assert stage.end(0) == 0
    stage.mended()
    stage.start_worker(0)


@row(
    "rebalances",
    "workers that come and go every 2 s",
    "of three slots one is ended, killed or started every 2 s; 6 partitions",
    events=10_000,
    settings={"PARTITIONS": "6"},
)
def rebalances(stage: Stage) -> None:
    stage.flow(workers=2, share=0.1)
    for turn in range(8):
        slot = turn % 3
        if slot not in stage.driven.workers:
            stage.start_worker(slot)
        elif turn % 2:
            stage.kill(slot)
        else:
            stage.end(slot)
        stage.last(2.0)
    for slot in range(2):
        if slot not in stage.driven.workers:
            stage.start_worker(slot)
    stage.mended()


# The broker.


@row("broker-killed", "broker killed", "kill -9, started again 3 s later on the same data", quick=True)
def broker_killed(stage: Stage) -> None:
    stage.flow()
    stage.kafka.kill()
    stage.last(3.0)
    stage.kafka.restart()
    stage.mended()


@row("broker-restarted", "broker restarted in good order", "SIGTERM, started again at once")
def broker_restarted(stage: Stage) -> None:
    stage.flow()
    stage.kafka.restart()
    stage.mended()


@row("broker-frozen", "broker that does not answer for 10 s", "SIGSTOP of the broker, SIGCONT")
def broker_frozen(stage: Stage) -> None:
    stage.flow()
    os.kill(stage.kafka.pid, signal.SIGSTOP)
    stage.last(10.0)
    os.kill(stage.kafka.pid, signal.SIGCONT)
    stage.mended()


@row("kafka-cut", "network to Kafka cut for 3 s", "the proxy resets every connection", quick=True)
def kafka_cut(stage: Stage) -> None:
    stage.flow()
    stage.kafka.road.cut()
    stage.last(3.0)
    stage.kafka.road.mend()
    stage.mended()


@row("kafka-cut-long", "network to Kafka cut for 20 s", "the proxy resets connections, past session and transaction")
def kafka_cut_long(stage: Stage) -> None:
    stage.flow()
    stage.kafka.road.cut()
    stage.last(20.0)
    stage.kafka.road.mend()
    stage.mended()


@row("kafka-stalled", "network to Kafka silent for 8 s", "the proxy holds all bytes back, past the session")
def kafka_stalled(stage: Stage) -> None:
    stage.flow()
    stage.kafka.road.stall()
    stage.last(8.0)
    stage.kafka.road.mend()
    stage.mended()


@row("kafka-delayed", "network to Kafka delayed by 200 ms each way", "the proxy, for 10 s")
def kafka_delayed(stage: Stage) -> None:
    stage.flow()
    stage.kafka.road.delay(0.2)
    stage.last(10.0)
    stage.kafka.road.mend()
    stage.mended()


@row(
    "kafka-flaps",
    "network to Kafka cut again and again",
    "the proxy resets every connection each 300 ms, for 9 s",
)
def kafka_flaps(stage: Stage) -> None:
    stage.flow()
    for _ in range(30):
        stage.kafka.road.cut()
        stage.last(0.05)
        stage.kafka.road.mend()
        stage.last(0.25)
    stage.mended()


@row(
    "disk-full",
    "the broker's disk full",
    "a broker on a small file system of its own, filled to the last byte; 3 s later emptied, the broker started again",
    disk_mb=256,
)
def disk_full(stage: Stage) -> None:
    stage.flow()
    filler = stage.kafka.folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(2**16)):
            pass
    stage.last(3.0)
    stage.notes.append("the broker ended by itself" if not stage.kafka.running else "the broker stayed up")
    filler.unlink()
    stage.kafka.restart()
    stage.mended()


# The store.


@row("store-killed", "Valkey killed", "kill -9, started again 2 s later on its file")
def store_killed(stage: Stage) -> None:
    stage.flow()
    stage.valkey.kill()
    stage.last(2.0)
    stage.valkey.restart()
    stage.mended()


@row("store-rolled-back", "Valkey rolled back to an older copy", "killed, its file of 3 s ago put back", quick=True)
def store_rolled_back(stage: Stage) -> None:
    stage.flow()
    copy = stage.driven.folder / "copy"
    copy_of_log(stage.valkey, copy)
    stage.last(3.0)
    stage.valkey.kill()
    put_back(stage.valkey, copy)
    stage.valkey.restart()
    stage.mended()


@row("store-flushed", "Valkey emptied", "FLUSHALL in mid-stream", quick=True)
def store_flushed(stage: Stage) -> None:
    stage.flow(share=0.5)
    stage.mended()
    command(stage.valkey, "FLUSHALL")


@row(
    "store-failed-over",
    "Valkey failed over to a replica that lags",
    "the replica's link stalls for 2 s, then the primary is killed and the replica takes its place",
)
def store_failed_over(stage: Stage) -> None:
    from tests.faults.proxy import Proxy

    link = stage.kept.enter_context(Proxy(stage.valkey.port))
    replica = stage.kept.enter_context(Valkey.start(settings={"replicaof": f"127.0.0.1 {link.port}"}))
    stage.flow()
    stage.wait(lambda: b"master_link_status:up" in command(replica, "INFO", "replication"), "the replica follows")
    stage.last(1.0)
    link.stall()
    stage.last(2.0)
    stage.valkey.kill()
    command(replica, "REPLICAOF", "NO", "ONE")
    stage.valkey_road.retarget(replica.port)
    stage.app.redis_url = replica.url
    stage.mended()


@row("store-cut", "network to Valkey cut for 3 s", "the proxy resets every connection", quick=True)
def store_cut(stage: Stage) -> None:
    stage.flow()
    stage.valkey_road.cut()
    stage.last(3.0)
    stage.valkey_road.mend()
    stage.mended()


@row("store-stalled", "network to Valkey silent for 8 s", "the proxy holds all bytes back, past the timeout of 5 s")
def store_stalled(stage: Stage) -> None:
    stage.flow()
    stage.valkey_road.stall()
    stage.last(8.0)
    stage.valkey_road.mend()
    stage.mended()


@row("store-delayed", "network to Valkey delayed by 200 ms each way", "the proxy, for 8 s")
def store_delayed(stage: Stage) -> None:
    stage.flow()
    stage.valkey_road.delay(0.2)
    stage.last(8.0)
    stage.valkey_road.mend()
    stage.mended()


@row("store-full", "Valkey out of memory for 4 s", "CONFIG SET maxmemory below what it holds")
def store_full(stage: Stage) -> None:
    stage.flow()
    command(stage.valkey, "CONFIG", "SET", "maxmemory", "1mb")
    stage.last(4.0)
    command(stage.valkey, "CONFIG", "SET", "maxmemory", "0")
    stage.mended()


FORGETS_SEED = 11


@row(
    "store-forgets",
    "Valkey loses random keys again and again",
    "some of the rows, the index, the position of a partition, any of them together, deleted each 300 ms, for 6 s",
    quick=True,
)
def store_forgets(stage: Stage) -> None:
    random = Random(FORGETS_SEED)
    stage.flow()
    for _ in range(20):
        partition = f"{{{stage.app.name}.{random.randrange(2)}}}"
        rows = keys_of(stage.valkey, f"{partition}:u:*")
        gone = random.sample(rows, int(len(rows) * random.choice([0.0, 0.01, 0.3, 1.0])))
        gone += [f"{partition}:due"] * (random.random() < 0.3) + [f"{partition}:m"] * (random.random() < 0.15)
        if gone:
            command(stage.valkey, "DEL", *gone)
        stage.last(0.3)
    stage.notes.append(f"seed {FORGETS_SEED}")
    stage.notes.append(_last_line(stage, 0, "the store has lost rows"))
    stage.mended()


@row(
    "store-evicts",
    "Valkey evicts rows",
    "CONFIG SET maxmemory-policy allkeys-lru and maxmemory below what it holds, each 400 ms again, for 6 s",
)
def store_evicts(stage: Stage) -> None:
    stage.flow()
    command(stage.valkey, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    for _ in range(15):
        used = int(re.findall(rb"used_memory:(\d+)", command(stage.valkey, "INFO", "memory"))[0])
        command(stage.valkey, "CONFIG", "SET", "maxmemory", str(used - 100_000))
        stage.last(0.4)
    evicted = re.findall(rb"evicted_keys:(\d+)", command(stage.valkey, "INFO", "stats"))[0].decode()
    assert int(evicted) > 0
    stage.notes.append(f"{evicted} keys were evicted")
    stage.notes.append(_last_line(stage, 0, "maxmemory-policy is allkeys-lru"))
    command(stage.valkey, "CONFIG", "SET", "maxmemory", "0")
    command(stage.valkey, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    stage.mended()


# What is published.


@row(
    "poison-and-huge",
    "poison and 10 MB events among good ones",
    "of a hundred events two are broken, of two hundred one has 10 MB",
    huge_bytes=10_000_000,
    huge_every=200,
)
def poison_and_huge(stage: Stage) -> None:
    stage.flow()
    stage.mended()


# Operators.


@row("one-slot-one-machine", "two workers with one slot, on one machine", "RESCORE_SLOT=0 twice", quick=True)
def one_slot(stage: Stage) -> None:
    stage.flow()
    first = stage.driven.workers[0]
    second = stage.start_worker(0)
    stage.driven.workers[0] = first  # whatever comes of this row, it ends with the stage
    assert second.wait(60) == 1
    stage.notes.append(_last_line(stage, 0, "slot 0"))
    stage.mended()


@row("one-slot-two-machines", "two workers with one slot, on two machines", "RESCORE_SLOT=0 twice, each its own /tmp")
def one_slot_elsewhere(stage: Stage) -> None:
    stage.flow()
    first = stage.driven.workers[9] = stage.driven.workers.pop(0)
    elsewhere = stage.driven.folder / "elsewhere"
    elsewhere.mkdir()
    second = stage.start_worker(0, TMPDIR=str(elsewhere))
    stage.wait(lambda: first.poll() is not None, "the first one ends", alive=False)
    assert second.poll() is None
    assert stage.driven.workers.pop(9).returncode == 1
    assert "Traceback" not in stage.text(0)
    stage.notes.append(_last_line(stage, 0, "RESCORE_SLOT"))
    stage.mended()


@row(
    "offsets-reset",
    "the group's offsets reset by an operator",
    "to the beginning, while no worker runs: every partition halts; then deleted, as the words say",
)
def offsets_reset(stage: Stage) -> None:
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    stage.flow()
    stage.end(0)
    app, admin = stage.app, admin_of(stage.app.settings.kafka)
    places = [TopicPartition(app.settings.topic(name), p, 0) for name in INPUT_TOPICS for p in range(2)]
    asked = [ConsumerGroupTopicPartitions(app.name, places)]
    stage.wait(lambda: _done(lambda: admin.alter_consumer_group_offsets(asked)), "offsets are reset")
    said = len(app.read("score-changes"))
    stage.start_worker(0)
    stage.wait(lambda: stage.text(0).count(" is halted: ") >= 2, "both partitions are halted")
    stage.notes.append(_last_line(stage, 0, " is halted: "))
    good, words = stage.ready(0)
    assert not good, words
    assert len(app.read("score-changes")) == said
    stage.end(0)
    stage.wait(lambda: _done(lambda: admin.delete_consumer_groups([app.name])), "offsets are deleted")
    stage.mended()
    stage.start_worker(0)


@row(
    "partitions-added",
    "partitions added to one input",
    "transactions gets a third partition while a worker runs: it halts, its customers elsewhere are dead letters, the "
    "next start is refused",
    rests=False,
)
def partitions_added(stage: Stage) -> None:
    from confluent_kafka.admin import NewPartitions

    stage.flow(share=1.0)
    topic, admin = stage.app.settings.topic("transactions"), admin_of(stage.app.settings.kafka)
    stage.wait(lambda: _done(lambda: admin.create_partitions([NewPartitions(topic, 3)])), "a partition is added")
    stage.wait(lambda: "partition 2 is halted: " in stage.text(0), "the worker tells")
    stage.notes.append(_last_line(stage, 0, " is halted: "))
    assert not stage.ready(0)[0]
    moved = [late(f"c-{number:06d}", number) for number in range(300)]
    stage.app.send("transactions", [(planned.key, planned.value(), 0) for planned in moved])
    stage.wait(lambda: _waiting_in(stage, (0, 1)) == 0, "what lies in the partitions that are whole is taken")
    assert _waiting_in(stage, (2,)) > 0
    stage.end(0)
    stage.start_worker(0)
    assert stage.dies(0) == 3
    stage.notes.append(_last_line(stage, 0, "partitions"))


@row(
    "clock-steps",
    "the worker's clock steps about",
    "its wall clock is an hour ahead, an hour behind or a day ahead, another of these every second",
    quick=True,
)
def clock_steps(stage: Stage) -> None:
    program = [sys.executable, "-m", "tests.faults.stepped_worker"]
    stage.flow(program=program)
    stage.wait_sent(0.8)
    stage.mended()


UPGRADE_FROM = "2e35cb5"
"""A commit of this project before the one under test, with the same outputs and the same layout of rows."""


@row(
    "upgrade",
    "rolling upgrade",
    f"two workers of commit {UPGRADE_FROM}, ended and started again as this version one by one",
    events=12_000,
)
def upgrade(stage: Stage) -> None:
    former = stage.driven.folder / "former"
    former.mkdir()
    archive = subprocess.run(["git", "archive", UPGRADE_FROM], capture_output=True, cwd=ROOT, check=False)
    assert archive.returncode == 0, f"the project's history is needed: {archive.stderr.decode()}"
    subprocess.run(["tar", "-x", "-C", str(former)], input=archive.stdout, check=True)
    program = ["env", "-C", str(former), sys.executable, "-m", "streams"]
    stage.flow(program=program, workers=2, share=0.1)
    # No way back: the former version cannot read this one's progress records, and halts with words.
    for slot, then in ((0, RESCORE), (1, RESCORE)):
        stage.last(3.0)
        stage.end(slot)
        began = stage.text(slot).count(" started: ")
        stage.start_worker(slot, program=then)
        stage.wait(lambda s=slot, n=began: stage.text(s).count(" started: ") > n, "it runs", READY_SECONDS)
    stage.mended()


# Helpers.


def _waiting_in(stage: Stage, partitions: Sequence[int]) -> int:
    """Input records of these partitions that nobody has taken."""
    kafka = stage.app.settings.kafka
    counts = require_topics(kafka, [stage.app.settings.topic(name) for name in INPUT_TOPICS])
    waiting = waiting_records(kafka, counts, group_of(kafka, stage.app.name, counts).committed)
    return sum(count for (_, partition), count in waiting.items() if partition in partitions)


def _runs(stage: Stage, slot: int) -> set[str]:
    """The partitions that a worker takes forward, as its log tells."""
    runs: set[str] = set()
    for line in stage.text(slot).splitlines():
        if came := re.search(r" partition (\d+) runs from transaction ", line):
            runs.add(came[1])
        elif gone := re.search(r" partitions ([\d, ]+) (?:go to another worker|were given away|go back)", line):
            runs.difference_update(gone[1].split(", "))
    return runs


def _last_line(stage: Stage, slot: int, words: str) -> str:
    """The last line of a worker's log that holds these words."""
    lines = [line for line in stage.text(slot).splitlines() if words in line]
    assert lines, f"no line with {words!r}: {stage.text(slot)[-2000:]}"
    return lines[-1]


def _done(ask: Callable[[], dict[object, object]]) -> bool:
    """Whether an order to the broker went through."""
    try:
        for future in ask().values():
            future.result(5)  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - asked again until the deadline
        return False
    return True
