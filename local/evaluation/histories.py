"""Events of customers through the product's own decoder and step, in this process: what came of it, day by day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import Record
from schemas.decode import Decoder, decode
from schemas.known_schemas import StaticRegistry
from state.layout import decode_row
from state.row import Row
from state.table import Table
from state.versions import Policy, Versions
from streams.scoring.step import Clocks, step
from streams.scoring.value import unpack_features
from streams.versions import packaged_weights

Floats = NDArray[np.float64]

BATCH = 4_000


class History(NamedTuple):
    """What the step gave: examples in the order in which their labels became known, and the rows at the end."""

    inputs: Floats  # (n, FEATURE_SLOTS)
    labels: Floats  # (n,)
    rows: dict[str, Row]
    versions: Versions


def transaction(time_ms: int, customer: str, amount: float, offset: int, created_ms: int | None = None) -> Record:
    """A transaction as it would be on its topic, its record stamped with its event time."""
    body = {
        "event_id": str(offset),
        "user_id": customer,
        "transaction_currency": "EUR",
        "transaction_amount": round(amount, 2),
        "transaction_date": _text(time_ms),
        "user_created": None if created_ms is None else _text(created_ms),
    }
    return Record("transactions", 0, offset, time_ms, customer.encode(), json.dumps(body).encode())


def run(records: Sequence[Record], until_ms: int, policy: Policy | None = None) -> History:
    """Take records in the order of their timestamps, and let the clock go on until the end."""
    versions = Versions([policy or Policy()], [packaged_weights()])
    decoder = Decoder(StaticRegistry(), partitions=1)
    rows: dict[bytes, bytes | None] = {}
    dues: dict[bytes, int] = {}
    examples: list[tuple[int, bytes, Floats, float]] = []
    for start in range(0, len(records), BATCH):
        part = list(records[start : start + BATCH])
        batch = decode(part, 0, decoder)
        clock_ms = until_ms if start + BATCH >= len(records) else part[-1].timestamp_ms
        present = set(batch.users)
        users = [*batch.users, *(user for user, due in dues.items() if due <= clock_ms and user not in present)]
        done = step(Table.of(users, [rows.get(user) for user in users]), batch, versions, Clocks(clock_ms))
        for i, user in enumerate(users):
            rows[user], dues[user] = done.table.row(i), int(done.table.due_ms[i])
        for one, inputs in zip(done.examples, unpack_features(done.examples["features"]), strict=True):
            examples.append((int(one["timestamp_ms"]), users[one["user"]], inputs, float(one["label"])))
    examples.sort(key=lambda example: example[:2])
    return History(
        np.array([inputs for _, _, inputs, _ in examples]),
        np.array([label for *_, label in examples]),
        {user.decode(): decode_row(row) for user, row in rows.items() if row},
        versions,
    )


def _text(time_ms: int) -> str:
    return str(np.datetime64(time_ms, "ms"))
