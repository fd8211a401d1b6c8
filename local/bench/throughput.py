"""How fast a worker is beside a bare pipe and other engines: one topic, one machine, one run, each in its own process.

Customers have a past before anything is measured (`local.bench.population`). The stream follows on from there. Its
first hour holds one transaction of each customer, so that every engine has a state for each when counting begins; the
rest is published a piece a round, and in each round every engine takes the piece, one engine after the other. What an
engine does before it has taken a fifth of its piece is its warming up and not counted. Figures are medians of rounds.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from local.bench.bytes import data_bytes
from local.bench.engines import PEERS, Engine, Load, NotHere, bare_pipe, rescore
from local.bench.population import PATTERNS, Population, grown
from local.bench.stream import fill_state, in_pieces, publish_transactions
from local.bench.world import BenchFailed, Place, Positions, Watched, World, make_topics, running, worker
from local.generator.columns import benchmark_columns, one_each
from schemas.batch import DAY_MS

BEGIN_MS = 1_767_247_200_000  # 2026-01-01T06:00:00Z
FIRST_HOUR_MS = 3_600_000
WARMING_SHARE = 0.2
TAKEN_SECONDS = 600.0
RESTORED_SECONDS = 300.0
STEPS = ("merge", "process", "transact", "save")
COUNTERS = (
    "records_taken",
    "score_changes",
    "rows_written",
    "timers_due",
    "transactions",
    "dead_letters",
    "inversions",
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured. `zipf` None: all customers alike. `hours` is the time the stream spans, from 07:00 on."""

    users: int = 100_000
    events: int = 1_000_000
    zipf: float | None = 1.1
    rounds: int = 1
    hours: float = 11.0
    peers: tuple[str, ...] = ()
    bare: bool = True
    patterns: int = PATTERNS
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """What one engine did in one round after its warming up."""

    events: int
    cpu_seconds: float
    wall_seconds: float
    memory_mb: float


@dataclass(slots=True)
class Figures:
    """Of one engine. CPU is that of its whole process tree; ratios are those of one run."""

    name: str
    says: str
    events_per_cpu_second: int
    events_per_wall_second: int
    memory_mb: int
    pieces: list[Piece] = field(repr=False)


@dataclass(slots=True)
class BenchResult:
    """What was found. `steps` are microseconds of wall time an event in each step of the worker's batches; `counted` is
    what the worker has counted meanwhile."""

    options: BenchOptions
    at: str
    cores: int
    load_before: float  # of the machine in the minute before: what others were doing
    engines: list[Figures]
    left_out: dict[str, str]
    store_bytes_per_user: int
    steps: dict[str, float]
    counted: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)

    def of(self, name: str) -> Figures | None:
        """The figures of an engine; None where it was left out."""
        return next((figures for figures in self.engines if figures.name == name), None)


def run(here: World, options: BenchOptions, cache: Path, say: Say) -> BenchResult:
    """Fill, then take the stream in rounds. Raises BenchFailed, with the log, where something does not go on."""
    bench, load_before = _Bench(here, options, cache, say), round(os.getloadavg()[0], 1)
    population = grown(BEGIN_MS, cache, options.patterns)
    bytes_per_user = bench.fill(population)
    engines, left_out = bench.engines()
    found: dict[str, list[Piece]] = {engine.name: [] for engine in engines}
    counted: list[dict[str, float]] = []
    stream_ms = BEGIN_MS + FIRST_HOUR_MS
    publish_transactions(
        here.bootstrap_servers, bench.place.topic, one_each(options.seed, options.users, BEGIN_MS, stream_ms)
    )
    for engine in list(engines):
        say(f"  {engine.name} takes one transaction of each customer")
        try:
            bench.catch_up(engine)
        except BenchFailed as failure:
            if engine.is_rescore:
                raise
            left_out[engine.name] = str(failure)
            engines.remove(engine)
    columns = benchmark_columns(
        options.seed,
        options.events * options.rounds,
        options.users,
        stream_ms,
        stream_ms + round(options.hours * DAY_MS / 24),
        options.zipf,
    )
    for number, piece in enumerate(in_pieces(columns, options.rounds)):
        publish_transactions(here.bootstrap_servers, bench.place.topic, piece)
        # Alternately forwards and backwards, so that no engine always comes first.
        for engine in engines if number % 2 == 0 else engines[::-1]:
            try:
                taken, metrics = bench.take(engine)
            except BenchFailed as failure:
                if engine.is_rescore:
                    raise
                left_out[engine.name] = str(failure)
                continue
            found[engine.name].append(taken)
            counted += [metrics] if metrics else []
            per_second = round(taken.events / taken.cpu_seconds)
            say(f"  {engine.name:<28} {per_second:>9,} events per CPU-second ({number + 1} of {options.rounds})")
    return BenchResult(
        options,
        datetime.now(UTC).isoformat(timespec="seconds"),
        os.cpu_count() or 1,
        load_before,
        [_figures(engine, found[engine.name]) for engine in engines if found[engine.name]],
        left_out,
        bytes_per_user,
        *_of_worker(counted),
    )


def _figures(engine: Engine, pieces: Sequence[Piece]) -> Figures:
    return Figures(
        engine.name,
        engine.says,
        round(statistics.median(piece.events / piece.cpu_seconds for piece in pieces)),
        round(statistics.median(piece.events / piece.wall_seconds for piece in pieces)),
        round(max(piece.memory_mb for piece in pieces)),
        list(pieces),
    )


def _of_worker(counted: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, int]]:
    """Microseconds an event by step, and sums of counters, from what the worker's metrics grew by."""

    def total(name: str) -> float:
        return sum(metrics.get(name, 0.0) for metrics in counted)

    counters = {name: round(total(f"rescore_{name}_total")) for name in COUNTERS}
    taken = max(counters["records_taken"], 1)
    sums = {step: total(f'rescore_batch_step_duration_seconds_sum{{step="{step}"}}') for step in STEPS}
    return {step: round(seconds / taken * 1e6, 2) for step, seconds in sums.items()}, counters


class _Moment(NamedTuple):
    events: int
    cpu: float
    wall: float


@dataclass(slots=True)
class _Bench:
    here: World
    options: BenchOptions
    cache: Path
    say: Say
    place: Place = field(init=False)
    positions: Positions = field(init=False)

    def __post_init__(self) -> None:
        self.place = Place(self.here.settings.topic("transactions"), self.here.partitions)
        self.positions = Positions(self.here.bootstrap_servers)

    def fill(self, population: Population) -> int:
        """Customers with a past, in the log and, by the worker's own restore, in the store; its bytes a customer."""
        here, users = self.here, self.options.users
        self.say(f"filling {users:,} customers, each with 100 transactions in a year and two loans")
        before = data_bytes(here)
        state = here.settings.topic("rescore-state")
        fill_state(here.bootstrap_servers, state, population, users, here.partitions)
        with worker(here) as started:
            started.until(lambda: started.partitions_running() == here.partitions, RESTORED_SECONDS, "restored")
        return round((data_bytes(here) - before) / users)

    def engines(self) -> tuple[list[Engine], dict[str, str]]:
        """Those that can run here, their topics made; and why others cannot."""
        engines, left_out = [rescore(self.here)], {}
        here, load = self.here, Load(self.place.topic, self.options.users, self.options.zipf is None)
        makers: dict[str, Callable[[], list[Engine]]] = {}
        if self.options.bare:
            makers["bare pipe"] = lambda: [bare_pipe(here, load)]
        makers |= {name: partial(PEERS[name], here, load, self.cache) for name in self.options.peers}
        for name, make in makers.items():
            try:
                engines += make()
            except NotHere as why:
                left_out[name] = str(why)
                self.say(f"  {name} is left out: {why}")
        topics = sorted({topic for engine in engines for topic in engine.topics})
        make_topics(self.here.bootstrap_servers, topics, self.place.partitions)
        return engines, left_out

    def catch_up(self, engine: Engine) -> None:
        """Let an engine take what there is, uncounted."""
        target = min(self.positions.published(self.place), self._committed(engine) + engine.events_max)
        with self._started(engine) as started:
            self._until(started, engine, target, TAKEN_SECONDS)

    def take(self, engine: Engine) -> tuple[Piece, dict[str, float]]:
        """Let an engine take what it has not taken yet; of Rescore also what its metrics counted meanwhile."""
        start = self._committed(engine)
        target = min(self.positions.published(self.place), start + engine.events_max)
        with self._started(engine) as started:
            self._until(started, engine, start + round((target - start) * WARMING_SHARE), engine.start_seconds)
            before, first = started.metrics() if engine.is_rescore else {}, self._moment(started, engine)
            self._until(started, engine, target, TAKEN_SECONDS)
            last = self._moment(started, engine)
            if last.events <= first.events or last.cpu <= first.cpu:
                raise BenchFailed(f"{engine.name} took all of it in one go: measure more events")
            after = started.metrics() if engine.is_rescore else {}
            piece = Piece(last.events - first.events, last.cpu - first.cpu, last.wall - first.wall, started.memory_mb())
        return piece, {name: value - before.get(name, 0.0) for name, value in after.items()}

    @contextmanager
    def _started(self, engine: Engine) -> Iterator[Watched]:
        with ExitStack() as stack:
            if engine.is_rescore:
                yield stack.enter_context(worker(self.here))
            else:
                environment = {**self.here.environment, **engine.environment}
                yield stack.enter_context(running(engine.name, engine.command, environment, self.here.folder))

    def _until(self, started: Watched, engine: Engine, events: int, seconds: float) -> None:
        started.until(lambda: self._committed(engine) >= events, seconds, f"at {events:,} records")

    def _moment(self, started: Watched, engine: Engine) -> _Moment:
        return _Moment(self._committed(engine), started.cpu_seconds(), time.monotonic())

    def _committed(self, engine: Engine) -> int:
        return self.positions.committed(engine.group, self.place)
