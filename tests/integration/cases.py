"""Cases (`tests/cases`): stories of records, published as bytes to a deployment, and what a deployment says of them.

Several cases can share a deployment: give each a `prefix` of its own, which is put before its users' names, and publish
them merged by time (`in_time_order`), so that time goes back for nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Producer

from schemas.codec import StaticRegistry, decode_value
from schemas.kinds import INPUT_TOPICS
from schemas.times import time_ms
from state.layout import decode_row
from state.row import Row
from streams.log.dead_letters import DeadLetter, open_letters
from tests.integration.deployment import Deployment

CASES = Path(__file__).parents[1] / "cases"
REGISTRY = StaticRegistry()


class CaseRecord(NamedTuple):
    """One record to be published; a time of None leaves the timestamp to the producer."""

    topic: str
    key: bytes | None
    value: bytes | None
    time_ms: int | None


def records_of(case: str, prefix: str = "") -> list[CaseRecord]:
    """The records of a case, byte for byte but for the names of users where a prefix is given."""
    lines = (CASES / case / "records.jsonl").read_text("utf-8").splitlines()
    return [_record(json.loads(line), prefix) for line in lines if line.strip()]


def in_time_order(*cases: Iterable[CaseRecord]) -> list[CaseRecord]:
    """The records of several cases, merged by their times; every record needs one."""
    return sorted((record for case in cases for record in case), key=lambda record: record.time_ms or 0)


def publish(deployment: Deployment, records: Iterable[CaseRecord]) -> None:
    """Publish in this order, each record acknowledged before the next, to the partitions that Java clients choose."""
    producer = Producer(
        {
            "bootstrap.servers": deployment.bootstrap_servers,
            "partitioner": "murmur2_random",
            "message.max.bytes": 30_000_000,
            "linger.ms": 0,
        }
    )
    for record in records:
        timestamp = {} if record.time_ms is None else {"timestamp": record.time_ms}
        producer.produce(deployment.settings.topic(record.topic), record.value, record.key, **timestamp)
        assert producer.flush(60) == 0


def changes_of(deployment: Deployment, user: str) -> list[dict[str, Any]]:
    """The score changes of a user, in their order."""
    records = deployment.read("score-changes")
    return [decode_value("ScoreChange", r.value or b"", REGISTRY) for r in records if r.key == user.encode()]


def latest_of(deployment: Deployment, user: str) -> dict[str, Any]:
    """The last value published of each score of a user."""
    return {change["score"]: change["new"] for change in changes_of(deployment, user)}


def letters_of(deployment: Deployment, user: str) -> list[DeadLetter]:
    """The open dead letters with a user's key, in order of time."""
    records = [record for topic in INPUT_TOPICS for record in deployment.read(f"{topic}.dlq")]
    return [letter for letter in open_letters(records) if letter.key == user.encode()]


def row_of(deployment: Deployment, user: str) -> Row:
    """What the store holds of a user."""
    return decode_row(deployment.rows()[user.encode()])


def _record(line: dict[str, Any], prefix: str) -> CaseRecord:
    moment_ms = time_ms(line["time"]) if line.get("time") else None
    value = line.get("value")
    if prefix and isinstance(value, dict) and value.get("user_id") == line.get("key"):
        line = line | {"key": prefix + line["key"], "value": value | {"user_id": prefix + value["user_id"]}}
    return CaseRecord(line["topic"], _bytes(line, "key"), _bytes(line, "value"), moment_ms)


def _bytes(line: dict[str, Any], name: str) -> bytes | None:
    if f"{name}_hex" in line:
        return bytes.fromhex(line[f"{name}_hex"])
    said = line.get(f"{name}_text", line.get(name))
    if said is None:
        return None
    return said.encode() if isinstance(said, str) else json.dumps(said).encode()
