"""How long customers wait: until an empty store is rebuilt, a restarted worker scores, a partition has moved."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from local.bench.latency import START_SECONDS, LatencyOptions, send, stream
from local.bench.population import grown
from local.bench.stream import fill_state, publish_transactions
from local.bench.world import Place, Positions, Watched, World, worker
from local.generator.columns import benchmark_columns
from schemas.batch import DAY_MS

BEGIN_MS = 1_767_247_200_000  # 2026-01-01T06:00:00Z
FIRST_EVENTS = 1_000
MOVE_RATE = 500
MOVE_SECONDS = 25.0
FIRST_SECONDS = 120.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Of how many customers."""

    users: int = 1_000_000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """Seconds, from outside: of the process's start, or of what its log says. CPU is the worker's.

    `restore_seconds`: empty store, from joining the group to the last partition running; `restore_start_seconds` and
    `restore_cpu_seconds`: the same from the start of the process. `warm_first_seconds`, `warm_cpu_seconds`: store as it
    was left, from the start of the process to the first event committed. `move_seconds`: by partition that moved, from
    the former owner's word that it goes to the new owner's that it runs.
    """

    options: RestoreOptions
    row_bytes: int
    restore_seconds: float
    restore_start_seconds: float
    restore_cpu_seconds: float
    warm_first_seconds: float
    warm_cpu_seconds: float
    move_seconds: dict[str, float]

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


def run(here: World, options: RestoreOptions, cache: Path, say: Say) -> RestoreResult:
    """Rebuild, restart, move; each once."""
    population = grown(BEGIN_MS, cache)
    say(f"filling the log with the state of {options.users:,} customers")
    state = here.settings.topic("rescore-state")
    row_bytes = fill_state(here.bootstrap_servers, state, population, options.users, here.partitions)
    place = Place(here.settings.topic("transactions"), here.partitions)
    say("a worker rebuilds the empty store")
    began = time.monotonic()
    with worker(here, "restoring") as started:
        _until_running(started, here.partitions)
        whole, cpu = time.monotonic() - began, started.cpu_seconds()
        # What the log says first is that kernels are ready; then the group is joined.
        joined = _time_of(started, r"worker .* started")
        last = max(_times_of(started, r"partition (\d+) runs").values())
    restore = last - joined
    say(f"  {restore:.1f} s; a worker starts with the store as it was left")
    warm_first, warm_cpu = _warm_start(here, place, options)
    say(f"  first event after {warm_first:.1f} s; partitions move from one worker to two")
    moves = _move(here, place, options)
    return RestoreResult(
        options,
        round(row_bytes / options.users),
        round(restore, 2),
        round(whole, 2),
        round(cpu, 2),
        round(warm_first, 2),
        round(warm_cpu, 2),
        moves,
    )


def _until_running(started: Watched, partitions: int) -> None:
    started.until(lambda: started.partitions_running() == partitions, START_SECONDS, "running")


def _warm_start(here: World, place: Place, options: RestoreOptions) -> tuple[float, float]:
    """Seconds, and those of CPU, from the start of the process until the first of events that wait is committed."""
    columns = benchmark_columns(options.seed, FIRST_EVENTS, options.users, BEGIN_MS, BEGIN_MS + 60_000, None)
    publish_transactions(here.bootstrap_servers, place.topic, columns)
    positions = Positions(here.bootstrap_servers)
    group = here.settings.app
    began = time.time()
    with worker(here, "warm") as started:
        started.until(lambda: positions.committed(group, place) > 0, FIRST_SECONDS, "at its first event")
        first, cpu = time.time() - began, started.cpu_seconds()
        started.until(lambda: positions.committed(group, place) == FIRST_EVENTS, FIRST_SECONDS, "done")
    return first, cpu


def _move(here: World, place: Place, options: RestoreOptions) -> dict[str, float]:
    """Events go on at an even pace while a second worker takes half of the partitions of the first."""
    begin_ms = BEGIN_MS + DAY_MS // 24
    pace = LatencyOptions(MOVE_RATE, MOVE_SECONDS, 0.0, options.users, None, seed=2)
    columns = stream(pace, begin_ms, MOVE_SECONDS)
    with worker(here, "one") as one:
        _until_running(one, here.partitions)
        began = time.time()
        with worker(here, "two") as two:
            send(here, place.topic, columns, MOVE_RATE, MOVE_SECONDS, begin_ms - round(began * 1000))
            two.until(lambda: two.partitions_running() > 0, START_SECONDS, "given a partition")
            runs = _times_of(two, r"partition (\d+) runs")
            goes = _time_of(one, r"partitions .* go to another worker")
    return {str(partition): round(at - goes, 2) for partition, at in sorted(runs.items())}


def _lines(started: Watched) -> list[tuple[float, str]]:
    """Time and message of the lines of a worker's log (JSON)."""
    found = []
    for line in started.log.read_text("utf-8").splitlines():
        if line.startswith("{"):
            said = json.loads(line)
            found.append((datetime.fromisoformat(said["time"]).timestamp(), str(said["message"])))
    return found


def _time_of(started: Watched, pattern: str) -> float:
    return next(at for at, message in _lines(started) if re.match(pattern, message))


def _times_of(started: Watched, pattern: str) -> dict[str, float]:
    """Of each thing the pattern captures the first time it was said."""
    times: dict[str, float] = {}
    for at, message in _lines(started):
        if found := re.match(pattern, message):
            times.setdefault(found[1], at)
    return times
