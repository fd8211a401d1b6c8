"""What a customer takes in Redis, by part: of the row, and of what the server keeps about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from local.bench.population import Population, grown
from local.bench.stream import fill_state
from local.bench.world import World, worker
from schemas.batch import DAY_MS
from state.layout import decode_row, encode_row
from state.redis_store import RedisStore
from state.row import Row

BEGIN_MS = 1_767_247_200_000  # 2026-01-01T06:00:00Z
START_SECONDS = 300.0

PARTS: dict[str, Callable[[Row], Row]] = {
    "days": lambda row: dataclasses.replace(row, days=[]),
    "loans": lambda row: dataclasses.replace(row, loans=[], points=[]),
    "accounts": lambda row: dataclasses.replace(row, accounts=[]),
    "duplicates": lambda row: dataclasses.replace(row, seen=[]),
    "forecast and its inputs": lambda row: dataclasses.replace(row, pending=None),
}
"""A row without each of its parts: what is missing then is what the part takes."""


@dataclass(frozen=True, slots=True)
class BytesResult:
    """Bytes a customer. `row` is their sum without `around`: what the server adds, keys, index and tables."""

    users: int
    parts: dict[str, float]
    row: float
    around: float
    whole: float

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


def run(here: World, users: int, cache: Path) -> BytesResult:
    """Fill, let a worker restore, look."""
    population = grown(BEGIN_MS, cache)
    before = data_bytes(here)
    state = here.settings.topic("rescore-state")
    written = fill_state(here.bootstrap_servers, state, population, users, here.partitions)
    with worker(here) as started:
        started.until(lambda: started.partitions_running() == here.partitions, START_SECONDS, "restored")
    whole, row = (data_bytes(here) - before) / users, written / users
    parts = parts_of(population)
    return BytesResult(users, parts, round(row, 1), round(whole - row, 1), round(whole, 1))


def parts_of(population: Population) -> dict[str, float]:
    """Mean bytes of each part of the population's rows; what is in no part is the header."""
    sums = dict.fromkeys(PARTS, 0)
    rows = population.rows()
    for data in rows:
        row = decode_row(data)
        day = row.clock_ms // DAY_MS  # the policy's time zone is UTC here
        for name, without in PARTS.items():
            sums[name] += len(data) - len(encode_row(without(row), day))
    parts = {name: round(total / len(rows), 1) for name, total in sums.items()}
    return {**parts, "header and what was last said": round(sum(map(len, rows)) / len(rows) - sum(parts.values()), 1)}


def data_bytes(here: World) -> int:
    """Memory of the server's data with all overhead."""
    store = RedisStore(here.redis_url, here.settings.app, here.partitions, require_append_only=False)
    try:
        return store.data_bytes()
    finally:
        store.close()
