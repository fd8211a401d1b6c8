"""Records of benchmarks to Kafka: transactions as bytes in bulk, and a state topic as a worker would have left it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from local.bench.population import Population, user_name
from local.generator.transactions import TransactionColumns
from schemas.batch import FOREVER_MS
from schemas.codec import Encoder, StaticRegistry, encode_value, partition_of
from schemas.row_keys import PROGRESS_KEY
from schemas.times import iso_of
from schemas.topic_values import Values
from streams.log.progress import Progress

PIECE = 20_000
QUEUED_MAX = 200_000
EVENT_ID = "m-0000000000"
"""Texts of the stream have one length each, so that a record is a row of bytes and digits are columns."""
BALANCE, AMOUNT = 1.5, 2.5


def producer_of(bootstrap_servers: str, **more: Any) -> Producer:
    """A producer for much at once, whose keys go where the Java client would send them."""
    return Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "log_level": 0,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 2**20,
            **more,
        }
    )


def transaction_values(columns: TransactionColumns) -> list[bytes]:
    """Values of the topic `transactions`, as `encode_value` would write them, at 1 us each instead of 8."""
    count = len(columns.user)
    fields = {
        "event_id": EVENT_ID,
        "user_id": user_name(0).decode(),
        "transaction_state": "SUCCEEDED",
        "transaction_currency": "EUR",
        "user_balance": BALANCE,
        "transaction_amount": AMOUNT,
        "user_created": "2024-01-01",
        "user_category": "WEB",
        "transaction_date": iso_of(0),
    }
    one = encode_value("Transaction", fields, Encoder(StaticRegistry()))
    rows = np.tile(np.frombuffer(one, np.uint8), (count, 1))
    at = one.index(EVENT_ID.encode()) + len("m-")
    rows[:, at : at + 10] = _digits(columns.number, 10)
    at = one.index(user_name(0)) + len("c-")
    rows[:, at : at + 7] = _digits(columns.user, 7)
    for value, cents in ((BALANCE, columns.balance_cents), (AMOUNT, columns.amount_cents)):
        at = one.index(np.float64(value).tobytes())
        rows[:, at : at + 8] = (cents / 100).astype("<f8").reshape(-1, 1).view(np.uint8)
    at = one.index(iso_of(0).encode())
    texts = np.datetime_as_string(columns.time_ms.astype("datetime64[ms]"), unit="ms").astype("S23")
    rows[:, at : at + 23] = texts.reshape(-1, 1).view(np.uint8)
    whole, length = rows.tobytes(), len(one)
    return [whole[start : start + length] for start in range(0, count * length, length)]


def _digits(numbers: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return (numbers.reshape(-1, 1) // powers % 10 + ord("0")).astype(np.uint8)


def publish_transactions(bootstrap_servers: str, topic: str, columns: TransactionColumns) -> None:
    """Send them all, each stamped with its own time, and wait until Kafka has them. About 4 us each."""
    sender = producer_of(bootstrap_servers)
    values = transaction_values(columns)
    users, times = columns.user.tolist(), columns.time_ms.tolist()
    for value, user, time_ms in zip(values, users, times, strict=True):
        sender.produce(topic, value, user_name(user), timestamp=time_ms)  # in bulk Kafka's client takes no timestamps
        if len(sender) > QUEUED_MAX:
            _wait_for_room(sender)
    _finish(sender)


def fill_state(
    bootstrap_servers: str,
    topic: str,
    population: Population,
    users: int,
    partitions: int,
    due_until_ms: int = FOREVER_MS,
) -> int:
    """Fill the topic of after-images as if the population had been scored; returns the bytes of the rows.

    A worker that starts on it rebuilds its store from there and goes on: nothing has been taken of the inputs yet.
    """
    sender = producer_of(bootstrap_servers, **{"compression.type": "none"})
    rows, written = population.rows(), 0
    for start in range(0, users, PIECE):
        names = [user_name(number) for number in range(start, min(start + PIECE, users))]
        batch = [
            {"value": rows[pattern], "key": name}
            for name, pattern in zip(names, population.patterns_of(names, due_until_ms).tolist(), strict=True)
        ]
        written += sum(len(entry["value"]) for entry in batch)
        _send(sender, topic, batch)
    _finish(sender)
    progress = Progress(1, {}, population.clock_ms, "bench", "bench")
    value = Values().encoder("rescore-state")(progress._asdict())
    for partition in range(partitions):
        sender.produce(topic, value, PROGRESS_KEY, partition)
    _finish(sender)
    return written


def _send(sender: Producer, topic: str, batch: list[dict[str, Any]]) -> None:
    """Queue a batch; what the queue does not take is tried again."""
    while batch:
        sender.produce_batch(topic, batch)
        batch = [entry for entry in batch if "_error" in entry]
        for entry in batch:
            del entry["_error"]
        sender.poll(0.1 if batch else 0)
        if len(sender) > QUEUED_MAX:
            _wait_for_room(sender)


def _wait_for_room(sender: Producer) -> None:
    while len(sender) > QUEUED_MAX // 2:
        sender.poll(0.02)


def _finish(sender: Producer) -> None:
    if sender.flush(120):
        raise RuntimeError("Kafka has not taken everything that was published within two minutes")


def in_pieces(columns: TransactionColumns, pieces: int) -> Iterator[TransactionColumns]:
    """The stream cut into so many pieces of equal length, one behind the other."""
    cuts = np.linspace(0, len(columns.user), pieces + 1).astype(int).tolist()
    for start, end in pairwise(cuts):
        yield TransactionColumns(*(column[start:end] for column in columns))


def users_by_partition(users: Sequence[bytes], partitions: int) -> dict[int, list[bytes]]:
    """Users under the partition each belongs to."""
    found: dict[int, list[bytes]] = {partition: [] for partition in range(partitions)}
    for user in users:
        found[partition_of(user, partitions)].append(user)
    return found


def paced(rate: float, seconds: float, burst_seconds: float = 0.002) -> Iterator[int]:
    """How many records are due now, again and again until the time is over: an even pace with little waking."""
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * rate) - sent
        if due > 0:
            sent += due
            yield due
        time.sleep(burst_seconds)
