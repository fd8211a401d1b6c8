"""`python -m tests.faults.limits`: more than a worker can take at once; what becomes of memory, latency and truth.

Writes docs/limits.md. Each case is a deployment of its own, as in the matrix, and is held against the recount as well.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from rich.console import Console

from local.generator.columns import benchmark_columns
from schemas.codec import StaticRegistry, decode_value
from schemas.kinds import INPUT_TOPICS
from streams.kafka.client import admin_of
from tests.faults.load import Planned, plan
from tests.faults.report import colophon
from tests.faults.stage import KafkaBehindRoad, Stage, broker, command, delete_topics, stage
from tests.faults.verdict import Verdict, judge

DOCS = Path(__file__).parents[2] / "docs" / "limits.md"
KNOWN = DOCS.with_suffix(".json")
AT_ONCE = 1e9
LOOK_SECONDS = 0.2


@dataclass
class Measured:
    """What one case has shown."""

    name: str
    what: str
    verdict: Verdict = field(default_factory=Verdict)
    peak_mb: int = 0
    idle_mb: int = 0
    seconds: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    metrics: str = ""
    notes: list[str] = field(default_factory=list)
    failure: str = ""


@dataclass(frozen=True)
class Case:
    """One limit: what is published, and what is done meanwhile."""

    what: str
    planned: Callable[[], list[Planned]]
    play: Callable[[Stage, Watch], None]
    pace: float = AT_ONCE
    settings: dict[str, str] = field(default_factory=dict)


class Watch(threading.Thread):
    """Looks at a worker as an operator does: its memory, its metrics; and at the changes as a subscriber sees them."""

    def __init__(self, at: Stage) -> None:
        super().__init__(name="watch", daemon=True)
        self.at = at
        self.arrived: list[tuple[int, bytes]] = []
        self.seen: dict[str, float] = {}
        self.steps: dict[str, float] = {}
        self.peak_mb = self.idle_mb = 0
        self._ended = threading.Event()

    def run(self) -> None:
        """Until `end`."""
        topic = self.at.app.settings.topic("score-changes")
        consumer = Consumer(
            {
                "bootstrap.servers": self.at.app.bootstrap_servers,
                "group.id": f"{self.at.app.name}.watch",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        consumer.subscribe([topic])
        looked = 0.0
        while not self._ended.is_set():
            for message in consumer.consume(1_000, 0.02):
                if message.error() is None:
                    self.arrived.append((time.time_ns() // 1_000_000, message.value() or b""))
            if time.monotonic() > looked + LOOK_SECONDS:
                looked = time.monotonic()
                self._look()
        consumer.close()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()

    def _look(self) -> None:
        for worker in list(self.at.driven.workers.values()):
            status = Path(f"/proc/{worker.pid}/status")
            if status.exists() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text("ascii"))):
                self.peak_mb = max(self.peak_mb, int(peak[1]) // 1024)
        if found := re.findall(r"metrics at (http://\S+/metrics)", self.at.text(0)):
            try:
                with urllib.request.urlopen(found[-1], timeout=2) as answer:
                    self._note(answer.read().decode())
            except OSError:
                return

    def _note(self, text: str) -> None:
        values: dict[str, list[float]] = {}
        for name, labels, value in re.findall(r"^(rescore_\w+)(\{[^}]*\})? (\S+)$", text, re.MULTILINE):
            values.setdefault(name, []).append(float(value))
            if name == "rescore_batch_step_duration_seconds_sum":
                self.steps[re.findall(r'"(\w+)"', labels)[0]] = float(value)
        for name, numbers in values.items():
            self.seen[name] = max(self.seen.get(name, 0.0), sum(numbers))

    def words(self) -> str:
        """What the metrics have said, as one reads them aloud."""
        seen, whole = self.seen, sum(self.steps.values()) or 1.0
        slowest = max(self.steps, key=lambda step: self.steps[step], default="-")
        return (
            f"lag up to {seen.get('rescore_lag_records', 0):,.0f} records, "
            f"{seen.get('rescore_lag_seconds', 0):.1f} s; up to "
            f"{seen.get('rescore_buffered_bytes', 0) / 2**20:.1f} MiB "
            f"wait here; {self.steps.get(slowest, 0) / whole:.0%} of the time is "
            f"{slowest}; rewinds {seen.get('rescore_rewinds_total', 0):.0f}, "
            f"dead letters {seen.get('rescore_dead_letters_total', 0):,.0f}"
        )


def flood(events: int, users: int, zipf: float | None = 1.1) -> list[Planned]:
    """Transactions of the last weeks, as many as you like."""
    now = datetime.now(UTC)
    begin_ms, end_ms = (int((now - timedelta(days=days)).timestamp() * 1000) for days in (25, 1))
    columns = benchmark_columns(3, events, users, begin_ms, end_ms, zipf)
    rows = zip(*(column.tolist() for column in columns[:4]), columns.number.tolist(), strict=True)
    return [_transaction(f"u-{user:06d}", *row) for user, *row in rows]


def _transaction(
    user: str, time_ms: int, amount_cents: int, balance_cents: int, number: int, text: str = ""
) -> Planned:
    when = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    fields = {
        "event_id": f"e-{number}", "user_id": user, "transaction_state": "SUCCEEDED", "transaction_currency": "EUR",
        "user_balance": balance_cents / 100, "transaction_amount": amount_cents / 100, "user_created": "2024-01-01",
        "user_category": "WEB", "transaction_date": when, "description": text,
    }  # fmt: skip
    value = json.dumps(fields).encode()
    return Planned("transactions", user.encode(), lambda: value)


def drained(at: Stage, watch: Watch) -> None:
    """Everything lies there before the worker starts."""
    at.load.start()
    at.wait(lambda: not at.load.is_alive(), "everything is published", 300)
    at.start_worker()
    at.wait(lambda: at.runs(0), "the worker runs", 240)
    watch.idle_mb = watch.peak_mb


def while_it_flows(begin: Callable[[Stage], None], end: Callable[[Stage], None]) -> Callable[[Stage, Watch], None]:
    """Something is slow between a quarter and three quarters of the events."""

    def play(at: Stage, watch: Watch) -> None:
        at.start_worker()
        at.wait(lambda: at.runs(0), "the worker runs", 240)
        watch.idle_mb = watch.peak_mb
        at.load.start()
        at.wait_sent(0.25)
        begin(at)
        at.wait_sent(0.75)
        end(at)

    return play


def lowered(at: Stage, watch: Watch) -> None:
    """An output topic takes less than a change has: the worker halts; raised again, it goes on."""
    at.flow(share=0.3)
    _limit(at, "score-changes", 200)
    at.wait(lambda: " is halted: " in at.text(0), "the worker halts")
    at.notes.append(next(line for line in at.text(0).splitlines() if " is halted: " in line))
    _limit(at, "score-changes", 2**20)
    at.end(0)
    at.start_worker(0)


def _limit(at: Stage, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, at.app.settings.topic(topic), incremental_configs=[entry])
    for answer in admin_of(at.app.settings.kafka).incremental_alter_configs([resource]).values():
        answer.result(10)


CASES: dict[str, Case] = {
    "paced": Case(
        "400 events a second, nothing slow: what the others are compared with",
        lambda: plan(4_000),
        while_it_flows(lambda at: None, lambda at: None),
        pace=400.0,
    ),
    "flood": Case(
        "300,000 events of 20,000 customers wait when the worker starts", lambda: flood(300_000, 20_000), drained
    ),
    "hot-user": Case("100,000 events of one customer wait", lambda: flood(100_000, 1, None), drained),
    "large-letters": Case(
        "2,000 events wait, 312 of them with 1.2 MB, each a dead letter: more than one transaction may hold",
        lambda: plan(2_000, 1_200_000, 5),
        drained,
    ),
    "slow-store": Case(
        "every call to Valkey takes 20 ms more",
        lambda: plan(4_000),
        while_it_flows(lambda at: at.valkey_road.delay(0.01), lambda at: at.valkey_road.mend()),
        pace=400.0,
    ),
    "paused-store": Case(
        "Valkey answers nobody for 3 s (CLIENT PAUSE)",
        lambda: plan(4_000),
        while_it_flows(lambda at: _ignore(command(at.valkey, "CLIENT", "PAUSE", "3000", "ALL")), lambda at: None),
        pace=400.0,
    ),
    "slow-broker": Case(
        "every word to and from Kafka takes 20 ms more",
        lambda: plan(4_000),
        while_it_flows(lambda at: at.kafka.road.delay(0.02), lambda at: at.kafka.road.mend()),
        pace=400.0,
    ),
    "lowered-limit": Case(
        "score-changes takes 200 bytes a record for a while (max.message.bytes): no change fits",
        lambda: plan(4_000),
        lowered,
        pace=400.0,
    ),
}


def _ignore(_: object) -> None: ...


def measure(name: str, case: Case, kafka: KafkaBehindRoad) -> Measured:
    """One case, from the first topic to the verdict."""
    found = Measured(name, case.what)
    app_name = f"limits{os.getpid()}-{list(CASES).index(name)}"
    with tempfile.TemporaryDirectory(prefix="rescore-limits-") as place:
        with stage(kafka, Path(place), app_name, pace=case.pace, planned=case.planned(), **case.settings) as at:
            watch = Watch(at)
            watch.start()
            try:
                began = time.monotonic()
                case.play(at, watch)
                at.rest()
                found.seconds = round(time.monotonic() - began, 1)
                watch.end()
                found.verdict = judge(at.app, compiled=True)
                found.p50_ms, found.p99_ms = _latencies(at, watch) if case.pace != AT_ONCE else (None, None)
            except Exception as failure:  # noqa: BLE001 - the other cases are played whatever came of this one
                found.failure = str(failure) or repr(failure)
            found.peak_mb, found.idle_mb = watch.peak_mb, watch.idle_mb
            found.metrics, found.notes = watch.words(), at.notes
        delete_topics(at.app)
    return found


def _latencies(at: Stage, watch: Watch) -> tuple[float, float]:
    """From the broker's append of an event to the subscriber's sight of its change: p50 and p99 in ms."""
    appended = {record[:3]: record.timestamp_ms for topic in INPUT_TOPICS for record in at.app.read(topic)}
    registry, waited = StaticRegistry(), []
    for at_ms, value in watch.arrived:
        cause: dict[str, Any] = decode_value("ScoreChange", value, registry)["cause"]
        place = cause["topic"], cause["partition"], cause["offset"]
        if place in appended:
            waited.append(at_ms - appended[place])
    p50, p99 = np.percentile(waited, [50, 99])
    return round(float(p50), 1), round(float(p99), 1)


HEAD = """\
# Limits

More than a worker can take at once, and what that does to its memory, to latency and to the truth of the scores.
Written by `python -m tests.faults.limits` (`--only NAME` for one case). Deployments, load and recount are those of
[faults.md](faults.md).

**Memory is bounded** by settings of the program, whatever is published: of each input and partition at most 20,000
records or 16 MiB wait in the worker (and one fetch more, 32 MiB over all of them), a batch of a partition takes at most
10,000 records, 1,000 customers or 16 MiB. A single record is larger than that only if the topic allows it. What waits
beyond stays in Kafka. The peak below is that of the whole process (VmHWM); some {idle} MB of it are Python, the
compiled kernels and librdkafka, before the first event.

**What a row holds** is bounded, and nothing that meets a bound is lost without words:

| limit | when it is met |
|---|---|
| 2,048 loans that are not yet folded, 2,048 points of sale | dead letter `TOO_MANY_LOANS` |
| 64 currencies | dead letter `TOO_MANY_CURRENCIES` |
| 3 moves of a loan's due date | dead letter `TOO_MANY_DUE_DATES` |
| 256 closed loans (settled or cancelled), 7 bytes each | the ones ordered first are forgotten, see below |
| 128 payments of a loan, 5 bytes each | the oldest is forgotten, counted in `overruns`; if it comes again it counts |
| 256 events, 24 hours (`duplicates_max`, `duplicate_horizon_ms`) | the oldest is forgotten, counted in `overruns` |

Of the closed loans that are forgotten the row keeps the newest order day. An unknown loan that was ordered no later is
a dead letter `LOAN_CLOSED`, which names both causes: it was closed before, or it is published for the first time.

**A batch that is too large for a transaction** cannot come up: batches are cut by bytes. **A record too large for its
output topic** halts its partition alone, with the topic, both sizes and the remedy; others go on. A record that fits
its input topic compressed and its dead-letter topic not, leaves a dead letter without value that names its place.

**Amounts** are at most 10^11 in major units; a larger one is a dead letter (`AMOUNT_OUT_OF_RANGE`). A loan's own
amounts are whole minor units of its currency by ISO 4217 (none to four decimals); further decimals are rounded away,
half to even. Sums in the base currency are hundredths ([scores.md](scores.md)).

**A schema or a value in Avro** has at most 50 levels. A value has at most 100,000 fields, items and entries, a schema
10,000 types. What is larger is a dead letter within milliseconds ([avro.md](avro.md)).

**A record on which the program itself fails** is found by taking its batch in halves: three times the batch's time for
one, some 2 ms each if there are many. **A topic that was created again** halts its partitions before anything is taken,
or within 5 s while a worker runs; what is taken in these seconds is taken again if a person has the topic taken from
its beginning.

| case | events | s | peak MB | p50 ms | p99 ms | lost | doubled | wrong | out of order | the metrics say |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|
"""


FOOT = """
*s*: until everything is taken, every due timer has fired and the worker has ended; a start of the worker is part of it.
*p50*, *p99*: from the broker's append of an event to a `read_committed` subscriber's sight of its change, over the
whole run, good and bad times together. These figures are those of a machine of 2 cores on which much else was running
(a load of 20 and more): they show that nothing breaks and that memory stays, not how fast it is; for that see
[benchmarks.md](benchmarks.md).

## What a customer's row holds

| what | at most | beyond that |
|---|---|---|
| event ids remembered, so that an event published again changes nothing | those of 24 hours, 256 (`duplicate_horizon_ms` and `duplicates_max` of the policy, at most 4,096) | The oldest are forgotten: such an event counts again if it is published again. The metric `rescore_event_ids_forgotten_total` and a warning of the worker say so, and `rescore inspect` for a customer. |
| days with their own sums | 365 | An older transaction counts in the lifetime sums. A correction of it is compared with what they hold beyond these days. |
| open loans, and points of sale | 2,048 each | dead letter `TOO_MANY_LOANS` |
| due dates of a loan | the first and 3 later ones | dead letter `TOO_MANY_DUE_DATES` |
| currencies | 64 | dead letter `TOO_MANY_CURRENCIES` |
| bytes of an id | 256 | dead letter `TOO_LARGE` |
"""  # noqa: E501 - a row of a table is one line


def page(found: list[Measured]) -> str:
    """The page in docs/."""
    idle = max((one.idle_mb for one in found), default=0)
    lines = [HEAD.format(idle=round(idle, -1))]
    for one in found:
        verdict = one.verdict
        figures = [f"{verdict.events:,}", f"{one.seconds:.0f}", str(one.peak_mb)]
        figures += ["-" if ms is None else f"{ms:,.0f}" for ms in (one.p50_ms, one.p99_ms)]
        figures += [str(n) for n in (verdict.lost, verdict.doubled, verdict.wrong, verdict.out_of_order)]
        told = one.metrics if not one.failure else f"**not played to its end: {one.failure.splitlines()[0]}**"
        lines.append(f"| {one.what} | {' | '.join(figures)} | {told} |\n")
    lines.append(FOOT)
    return "".join(lines) + colophon()


def _write_docs(one: Measured) -> None:
    """A case that was measured takes the place of what was known of it; the page is made from all."""
    known = json.loads(KNOWN.read_text("utf-8")) if KNOWN.exists() else {}
    known[one.name] = asdict(one)
    known = {name: known[name] for name in CASES if name in known}
    KNOWN.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    told = [of | {"what": CASES[name].what, "verdict": Verdict(**of["verdict"])} for name, of in known.items()]
    DOCS.write_text(page([Measured(**of) for of in told]), "utf-8")


def main() -> int:
    """The exit code is 1 where something was lost, doubled, wrong or out of order, or a case could not be played."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.limits", description=main.__doc__)
    parser.add_argument("--only", action="append", choices=[*CASES], help="repeatable")
    given = parser.parse_args()
    console, found = Console(), []
    with broker() as kafka:
        for name in given.only or CASES:
            found.append(one := measure(name, CASES[name], kafka))
            console.print_json(json.dumps(asdict(one)))
            _write_docs(one)
    return 0 if all(one.verdict.clean and not one.failure for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
