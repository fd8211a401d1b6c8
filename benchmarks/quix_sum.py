"""Quix Streams beside Rescore: one rolling sum of amounts for each customer, written out for each transaction.

    python benchmarks/quix_sum.py BOOTSTRAP_SERVERS TOPIC OUTPUT_TOPIC STATE_FOLDER

Exactly once, with a commit every second (its default is every five).
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import fastavro
from quixstreams import Application, State

FINGERPRINT_BYTES = 10
SCHEMA = fastavro.parse_schema(
    json.loads((Path(__file__).parent.parent / "schemas" / "avro" / "Transaction.avsc").read_text("utf-8"))
)


def add(value: bytes, state: State) -> float:
    """The customer's sum with this transaction."""
    transaction = fastavro.schemaless_reader(io.BytesIO(value[FINGERPRINT_BYTES:]), SCHEMA, None)
    total: float = state.get("sum", 0.0) + transaction["transaction_amount"]
    state.set("sum", total)
    return total


def main(bootstrap_servers: str, topic: str, output: str, folder: str) -> None:
    """Take records until SIGTERM."""
    app = Application(
        broker_address=bootstrap_servers,
        consumer_group="quix-sum",
        auto_offset_reset="earliest",
        commit_interval=1.0,
        processing_guarantee="exactly-once",
        state_dir=folder,
        auto_create_topics=True,
        loglevel="WARNING",
        consumer_extra_config={"session.timeout.ms": 6000},
    )
    stream = app.dataframe(app.topic(topic, value_deserializer="bytes"))
    stream = stream.apply(add, stateful=True)
    stream.to_topic(app.topic(output, value_serializer="double"))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
