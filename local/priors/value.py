"""The packaged first weights: what the value model knows before it has learned anything from a bank's own customers.

    python -m local.priors.value state/packaged/weights-1.json

Generated customers (the demo's generator, whose loans keep the source's proportions of states) go through the scoring
step; each example day gives inputs and, 30 days later, a label. A ridge regression over the hat basis gives beta; a
second pass with it gives the population sample: forecasts, consistencies, status, revenue and recency, and their cuts.
The same seed gives the same file. Takes some minutes.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray
from rich.progress import track

from local.generator.events import events, population
from schemas.batch import BEGINNING_MS, Record
from schemas.decode import Decoder, decode
from schemas.kinds import INPUT_TOPICS, Score
from schemas.known_schemas import StaticRegistry
from schemas.times import time_ms
from state.layout import decode_row
from state.row import Row
from state.table import Table
from state.versions import Policy, Rate, Versions, Weights, pack_currency
from streams.scoring.population import cuts
from streams.scoring.reference.evaluate import evaluate, features_of
from streams.scoring.step import Clocks, step
from streams.scoring.value import BASIS, CONTINUOUS, KNOTS, PACE_AT, RECENCY_AT, basis_of, unpack_features
from streams.versions.known import body_of_weights

SEED = 20_261
CUSTOMERS = 1_400
DAYS = 430
BATCH = 4_000
SAMPLE = 1_000
RIDGE = 20.0
THIRDS, FIFTHS = (1 / 3, 2 / 3), (0.2, 0.4, 0.6, 0.8)


def sample_batches() -> tuple[list[Record], list[Rate]]:
    """All input records of the generated customers, and the exchange rates they need."""
    records, rates = [], []
    for offset, event in enumerate(events(population(SEED, CUSTOMERS, date(2025, 1, 1), DAYS))):
        if event.topic == "fx-rates" and not isinstance(event.value, bytes):
            effective_ms = time_ms(event.value["effective_at"])
            rates.append(Rate(pack_currency(event.value["currency"]), effective_ms or 0, event.value["rate"]))
        elif event.topic in INPUT_TOPICS:
            value = event.value if isinstance(event.value, bytes) else msgspec.json.encode(event.value)
            records.append(Record(event.topic, 0, offset, event.timestamp_ms, event.key.encode(), value))
    return sorted(records, key=lambda record: record.timestamp_ms), rates


def run(
    records: list[Record], versions: Versions
) -> tuple[dict[bytes, bytes], NDArray[np.float64], NDArray[np.float64]]:
    """Rows at the end, and inputs and labels of every example."""
    decoder = Decoder(StaticRegistry(), partitions=1)
    rows: dict[bytes, bytes | None] = {}
    dues: dict[bytes, int] = {}
    inputs, labels = [], []
    batches = [records[start : start + BATCH] for start in range(0, len(records), BATCH)]
    for batch_records in track(batches, "scoring the generated customers"):
        batch = decode(batch_records, 0, decoder, versions.zone)
        clock_ms = batch_records[-1].timestamp_ms
        due = [user for user, at in dues.items() if at <= clock_ms and user not in set(batch.users)]
        users = [*batch.users, *due]
        done = step(Table.of(users, [rows.get(user) for user in users]), batch, versions, Clocks(clock_ms))
        for i, user in enumerate(users):
            rows[user] = done.table.row(i)
            dues[user] = int(done.table.due_ms[i])
        inputs.append(unpack_features(done.examples["features"]))
        labels.append(done.examples["label"].astype(np.float64))
    held = {user: row for user, row in rows.items() if row}
    return held, np.concatenate(inputs, dtype=np.float64), np.concatenate(labels, dtype=np.float64)


def fit(inputs: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots at the quantiles of each input, and beta by ridge regression around the mean label."""
    knots = np.zeros((CONTINUOUS, KNOTS))
    for j in range(CONTINUOUS):
        column = inputs[:, j]
        knots[j] = np.quantile(column, np.linspace(0.0, 1.0, KNOTS))
        # Equal knots (an input that is mostly 0) are spread, so that every hat has a width.
        span = max(float(column.max() - column.min()), 1.0)
        knots[j] = np.maximum.accumulate(knots[j] + np.arange(KNOTS) * span * 1e-3)
    knots = np.round(knots, 4)
    basis = np.zeros((len(inputs), BASIS))
    for i, features in enumerate(inputs):
        basis_of(features, knots, basis[i])
    # Hats of one input sum to 1, so the mean label is shared among the inputs and only the rest is shrunk.
    start = np.zeros(BASIS)
    start[: CONTINUOUS * KNOTS] = labels.mean() / CONTINUOUS
    # Generated customers come at one pace and do not drift away, so they have nothing to teach about it: its
    # coefficient is 0 until a bank's own customers say otherwise.
    basis[:, PACE_AT] = 0.0
    beta = start + np.linalg.solve(basis.T @ basis + RIDGE * np.eye(BASIS), basis.T @ (labels - basis @ start))
    # Examples are taken at the turn of a day, when nobody has been active "today" yet: that bin has no examples of its
    # own, and a customer's first event of a day must not look like a loss. It says what yesterday's does.
    beta[RECENCY_AT] = beta[RECENCY_AT + 1]
    print(f"{len(labels):,} examples, R2 {1 - np.var(labels - basis @ beta) / np.var(labels):.3f}", file=sys.stderr)
    return knots, np.round(beta, 5).astype(np.float64)


def sampled(rows: dict[bytes, bytes], weights: Weights, policy: Policy, rates: list[Rate]) -> Weights:
    """The weights with the population sample of these rows, re-scored with them."""
    versions = Versions([policy], [weights], rates)
    chosen = sorted(rows, key=xxhash.xxh64_intdigest)[:SAMPLE]
    held = [decode_row(rows[user]) for user in chosen]
    now_ms = max(row.clock_ms for row in held)
    seen = [evaluate(row, now_ms, versions, now_ms) for row in held]
    status = np.array([s.scores[Score.STATUS] for s in seen])
    revenue = np.array([s.scores[Score.REVENUE] for s in seen])
    forecasts = np.array([s.forecast for s in seen])
    phi = np.zeros((len(held), BASIS))
    for i, row in enumerate(held):
        basis_of(features_of(row, seen[i].day), weights.knots, phi[i])
    has_value = ~np.isnan(forecasts)
    consistencies = np.sort([row.consistency for row in held])
    recency = np.array(
        [-float(seen[i].day - _latest_due(row)) for i, row in enumerate(held) if row.loans or row.folded]
    )
    status, revenue = status[~np.isnan(status)], revenue[~np.isnan(revenue)]
    return replace(
        weights,
        phi_mean=np.round(phi[has_value].mean(axis=0), 6),
        consistency_median=round(float(np.median(consistencies)), 6),
        forecasts=np.sort(np.round(forecasts[has_value], 5)),
        consistencies=np.round(consistencies, 5),
        status_terciles=cuts(np.sort(status), THIRDS),
        revenue_terciles=cuts(np.sort(revenue), THIRDS),
        recency_quintiles=cuts(np.sort(recency), FIFTHS),
        status_quintiles=cuts(np.sort(status), FIFTHS),
        revenue_quintiles=cuts(np.sort(revenue), FIFTHS),
    )


def _latest_due(row: Row) -> int:
    dues = [loan.due_day for loan in row.loans]
    return max([*dues, row.folded.latest_due_day] if row.folded else dues)


def blank_weights(knots: NDArray[np.float64], beta: NDArray[np.float64]) -> Weights:
    """Weights without a population: everyone is at its middle."""
    middle = np.zeros(1)
    return Weights(
        "weights-1", BEGINNING_MS, beta, knots, np.zeros(BASIS), 0.5, middle, middle,
        np.full(2, np.inf), np.full(2, np.inf), np.full(4, np.inf), np.full(4, np.inf), np.full(4, np.inf),
    )  # fmt: skip


def main(path: str) -> None:
    """Fit and write the packaged weights."""
    records, rates = sample_batches()
    policy = Policy()
    flat = np.tile(np.arange(KNOTS, dtype=np.float64), (CONTINUOUS, 1))
    _, inputs, labels = run(records, Versions([policy], [blank_weights(flat, np.zeros(BASIS))], rates))
    fitted = blank_weights(*fit(inputs, labels))
    rows, _, _ = run(records, Versions([policy], [fitted], rates))
    weights = sampled(rows, fitted, policy, rates)
    body = body_of_weights(weights)
    Path(path).write_text(json.dumps(body, separators=(",", ":")) + "\n", "utf-8")
    print(f"{path}: weights and a sample of {len(weights.forecasts):,} customers", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
