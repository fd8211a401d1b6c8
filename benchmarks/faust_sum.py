"""faust-streaming beside Rescore: one rolling sum of amounts for each customer, written out for each transaction.

python benchmarks/faust_sum.py BOOTSTRAP_SERVERS TOPIC PARTITIONS exactly_once|at_least_once STATE_FOLDER
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import fastavro
import faust

FINGERPRINT_BYTES = 10
SCHEMA = fastavro.parse_schema(
    json.loads((Path(__file__).parent.parent / "schemas" / "avro" / "Transaction.avsc").read_text("utf-8"))
)


def main(bootstrap_servers: str, topic: str, partitions: str, promise: str, folder: str) -> None:
    """Take records until SIGTERM."""
    app = faust.App(
        f"faust-{promise}",
        broker=f"kafka://{bootstrap_servers}",
        processing_guarantee=promise,
        datadir=folder,
        store="memory://",
        topic_partitions=int(partitions),
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=1.0,
        web_enabled=False,
    )
    transactions = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    output = app.topic(f"faust-{promise}-out", key_type=bytes, value_type=float, key_serializer="raw")
    kept = faust.Schema(key_type=bytes, value_type=float, key_serializer="raw")
    sums = app.Table("sums", default=float, partitions=int(partitions), schema=kept)

    @app.agent(transactions)
    async def add(stream: faust.StreamT) -> None:
        async for event in stream.events():
            data = io.BytesIO(event.value[FINGERPRINT_BYTES:])
            sums[event.key] += fastavro.schemaless_reader(data, SCHEMA, None)["transaction_amount"]
            await output.send(key=event.key, value=sums[event.key])

    sys.argv[1:] = ["worker", "-l", "warn", "--without-web"]
    app.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
