"""What a batch costs, part by part, in this process alone: no Kafka, no Redis, the same functions a worker calls.

The figures are CPU microseconds an event of batches as a worker takes them. They leave out what talks to servers: see
the steps `merge`, `transact` and `save` that `rescore bench` tells of the worker itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from local.bench.population import Population, first_versions, grown, user_name
from local.bench.stream import transaction_values
from local.generator.columns import benchmark_columns
from schemas.batch import DAY_MS, Record
from schemas.codec import (
    CloudEvents,
    Decoder,
    Encoder,
    StaticRegistry,
    VersionNames,
    decode,
    encode_changes,
    encode_scorecards,
    partition_of,
)
from state.table import Table
from streams.log.messages import MessageColumns
from streams.processing.processor import rows_written
from streams.scoring.reasons import REASON_TEXTS
from streams.scoring.step import Clocks, step
from streams.worker.garbage_collector import GarbageCollector
from streams.worker.merge import Merge

BEGIN_MS = 1_767_247_200_000  # 2026-01-01T06:00:00Z
PARTITIONS = 4
RECORDS_MAX = 10_000
USERS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class PartsResult:
    """CPU microseconds an event by part, in the order of a batch, and how large batches were."""

    events: int
    batches: int
    users_a_batch: float
    changes_an_event: float
    parts: dict[str, float]

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


class _Watch:
    """Adds up the CPU time of parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - began


def run(users: int, events: int, zipf: float | None, cache: Path) -> PartsResult:
    """Take the stream of one partition in batches. Rows live in a dictionary here."""
    records, take_batch = _records(users, events, zipf), _batch(_Rows(grown(BEGIN_MS, cache)))
    merge = Merge(("transactions",), {"transactions": 0}, BEGIN_MS)
    counted, watch = _Counted(), _Watch()
    GarbageCollector()  # as a worker has it
    for start in range(0, len(records), RECORDS_MAX // PARTITIONS):
        with watch.part("merge"):
            merge.add(records[start : start + RECORDS_MAX // PARTITIONS])
            merge.reached_end("transactions", min(start + RECORDS_MAX // PARTITIONS, len(records)))
        while merge.buffered("transactions")[0]:
            with watch.part("merge"):
                taken = merge.take(RECORDS_MAX, USERS_MAX)
            counted.add(taken.count, *take_batch(taken.records, taken.clock_ms, watch))
        if start == 0:  # warming up
            counted, watch = _Counted(), _Watch()
    parts = {name: round(seconds / counted.events * 1e6, 2) for name, seconds in watch.seconds.items()}
    users_a_batch = round(counted.users / counted.batches, 1)
    return PartsResult(
        counted.events, counted.batches, users_a_batch, round(counted.changes / counted.events, 3), parts
    )


@dataclass(slots=True)
class _Counted:
    events: int = 0
    batches: int = 0
    users: int = 0
    changes: int = 0

    def add(self, events: int, users: int, changes: int) -> None:
        """One more batch."""
        self.events += events
        self.batches += 1
        self.users += users
        self.changes += changes


class _Rows:
    """A store in this process: the rows of a population until they change."""

    def __init__(self, population: Population) -> None:
        self._patterns, self._population = population.rows(), population
        self.kept: dict[bytes, bytes | None] = {}

    def load(self, users: list[bytes]) -> list[bytes | None]:
        """Rows of these users."""
        chosen = self._population.patterns_of(users).tolist()
        return [self.kept.get(user, self._patterns[pattern]) for user, pattern in zip(users, chosen, strict=True)]


def _records(users: int, events: int, zipf: float | None) -> list[Record]:
    """The records of partition 0 of a stream of so many events."""
    columns = benchmark_columns(1, events, users, BEGIN_MS, BEGIN_MS + DAY_MS // 2, zipf)
    names = [user_name(number) for number in range(users)]
    ours = np.array([partition_of(name, PARTITIONS) == 0 for name in names])
    chosen = np.flatnonzero(ours[columns.user])
    values = transaction_values(columns)
    return [
        Record("transactions", 0, offset, int(columns.time_ms[i]), names[columns.user[i]], values[i])
        for offset, i in enumerate(chosen.tolist())
    ]


Batch = Callable[[list[Record], int, _Watch], tuple[int, int]]


def _batch(rows: _Rows) -> Batch:
    """Takes a batch as `streams.processing.processor` does, each call under the watch; returns users touched and
    changes."""
    registry, versions = StaticRegistry(), first_versions()
    decoder, encoder = Decoder(registry, PARTITIONS), Encoder(registry, REASON_TEXTS)
    names = VersionNames(
        tuple(weights.version for weights in versions.weights),
        tuple(policy.version for policy in versions.policies),
        tuple(policy.value_band_floors for policy in versions.policies),
    )
    events = CloudEvents("/rescore/bench")

    def take(records: list[Record], clock_ms: int, watch: _Watch) -> tuple[int, int]:
        with watch.part("decode"):
            batch = decode(records, 0, decoder)
        loaded = rows.load(batch.users)
        with watch.part("table"):
            table = Table.of(batch.users, loaded)
        with watch.part("step"):
            done = step(table, batch, versions, Clocks(clock_ms))
        users = done.table.names
        with watch.part("encode changes"):
            values = encode_changes(done.changes, batch, users, names, encoder)
        with watch.part("headers"):
            headers = events.change_headers(done.changes, batch, users)
        with watch.part("encode scorecards"):
            cards = encode_scorecards(done.changes, users, names, encoder)
        with watch.part("messages"):
            MessageColumns(users.of_those(done.changes.rows["user"]), values, headers)
            MessageColumns(users.of_those(done.changes.cards["user"]), cards)
        with watch.part("rows written"):
            images, _ = rows_written(done.table)
        rows.kept |= {image.user: image.row for image in images}
        return users.size, values.size

    return take
