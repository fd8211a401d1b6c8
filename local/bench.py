"""How fast a worker is: events per CPU-second of its process, every score computed, every output written, exactly once.

Topics are filled before the worker runs, so that what is measured is the worker and not the sender. Customers first
get a past (loans and transactions), which is not counted; the measured events follow on from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from local.generator_columns import benchmark_columns
from local.generator_transactions import TransactionColumns
from schemas.codec import Encoder, StaticRegistry, encode_value
from schemas.kinds import INPUT_TOPICS
from schemas.times import iso_of
from state.redis_store import RedisStore
from streams.kafka_client import group_of, producer, require_topics, waiting_records
from streams.settings import Settings, load

BEGIN_MS = 1_735_689_600_000  # 2025-01-01
DAY_MS = 86_400_000
PAST_DAYS = 90
BATCH = 10_000
READY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured. `zipf` None: all customers alike."""

    users: int = 20_000
    events: int = 200_000
    past_per_user: int = 10
    event_days: float = 1.0
    partitions: int = 4
    zipf: float | None = 1.1
    seed: int = 1


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What was found. CPU is that of the worker's process alone, user and system, its librdkafka threads included."""

    options: BenchOptions
    events: int  # of those published; the first batches are the worker's warming up and not counted
    cpu_seconds: float
    wall_seconds: float
    events_per_cpu_second: float
    events_per_wall_second: float
    redis_bytes_per_user: float

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


def run(
    bootstrap_servers: str, redis_url: str, options: BenchOptions, folder: Path, say: Callable[[str], None]
) -> BenchResult:
    """Fill, warm, measure. Raises RuntimeError, with the worker's log, where it does not keep going."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RESCORE_")},
        "RESCORE_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "RESCORE_REDIS__URL": redis_url,
        "RESCORE_REDIS__REQUIRE_APPEND_ONLY": "false",
        "RESCORE_CLOCK": "records",
        "RESCORE_PARTITIONS": str(options.partitions),
        "RESCORE_METRICS__PORT": "0",
        "RESCORE_LOG__LEVEL": "warning",
    }
    chosen = load({name: value for name, value in environment.items() if name.startswith("RESCORE_")}).settings
    _command(environment, "topics", "apply")
    past = benchmark_columns(
        options.seed,
        options.users * options.past_per_user,
        options.users,
        BEGIN_MS,
        BEGIN_MS + PAST_DAYS * DAY_MS,
        None,
    )
    begin_ms = BEGIN_MS + PAST_DAYS * DAY_MS
    measured = benchmark_columns(
        options.seed + 1,
        options.events,
        options.users,
        begin_ms,
        begin_ms + round(options.event_days * DAY_MS),
        options.zipf,
    )
    say(f"publishing a past of {len(past.user):,} transactions of {options.users:,} customers")
    _publish(chosen, past, "p")
    with _worker(environment, folder) as worker:
        say("the worker takes the past")
        _until_taken(chosen, worker, folder)
    say(f"publishing {len(measured.user):,} transactions to be measured")
    _publish(chosen, measured, "m")
    with _worker(environment, folder) as worker:
        say("the worker takes them")
        events, start_cpu, started = _start_of_work(chosen, worker, folder)
        _until_taken(chosen, worker, folder)
        wall, cpu = time.monotonic() - started, _cpu_seconds(worker.pid) - start_cpu
    return BenchResult(
        options,
        events,
        round(cpu, 2),
        round(wall, 2),
        round(events / cpu),
        round(events / wall),
        round(_redis_bytes(chosen) / options.users),
    )


def _command(environment: Mapping[str, str], *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "streams", *arguments], env=environment, check=True, capture_output=True)


def _publish(chosen: Settings, columns: TransactionColumns, name: str) -> None:
    sender = producer(chosen.kafka)
    encoder = Encoder(StaticRegistry())
    rows = zip(*(column.tolist() for column in columns[:4]), columns.number.tolist(), strict=True)
    for user, time_ms, amount, balance, number in rows:
        fields = {
            "event_id": f"{name}-{number}",
            "user_id": f"c-{user:07d}",
            "transaction_state": "SUCCEEDED",
            "transaction_currency": "EUR",
            "user_balance": balance / 100,
            "transaction_amount": amount / 100,
            "user_created": "2024-01-01",
            "user_category": "WEB",
            "transaction_date": iso_of(time_ms),
        }
        sender.produce(
            "transactions", encode_value("Transaction", fields, encoder), fields["user_id"], timestamp=time_ms
        )
        sender.poll(0)
    sender.flush(120)


@contextmanager
def _worker(environment: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "worker.log").open("ab") as log:
        worker = subprocess.Popen([sys.executable, "-m", "streams", "worker"], env=environment, stdout=log, stderr=log)
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait(60)


def _waiting(chosen: Settings) -> int:
    counts = require_topics(chosen.kafka, INPUT_TOPICS)
    return sum(waiting_records(chosen.kafka, counts, group_of(chosen.kafka, chosen.app, counts).committed).values())


def _until(condition: Callable[[], bool], worker: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if worker.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker does not go on: {(folder / 'worker.log').read_text('utf-8')[-2000:]}")
        time.sleep(0.05)


def _until_taken(chosen: Settings, worker: subprocess.Popen[bytes], folder: Path) -> None:
    _until(lambda: _waiting(chosen) == 0, worker, folder)


def _start_of_work(chosen: Settings, worker: subprocess.Popen[bytes], folder: Path) -> tuple[int, float, float]:
    """Events still waiting, CPU and wall, once the first batches are committed: what comes before is the start-up."""
    first = _waiting(chosen)
    _until(lambda: _waiting(chosen) < first, worker, folder)
    return _waiting(chosen), _cpu_seconds(worker.pid), time.monotonic()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _redis_bytes(chosen: Settings) -> int:
    store = RedisStore(chosen.redis.url.get_secret_value(), chosen.app, chosen.partitions, require_append_only=False)
    try:
        return store.data_bytes()
    finally:
        store.close()
