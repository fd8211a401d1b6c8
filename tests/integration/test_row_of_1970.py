"""A row dated 1970-01-01 in a history, on a real Kafka: refused with its line, and no clock goes to the present."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from schemas.codec import StaticRegistry, decode_value
from schemas.errors import Exit
from streams.__main__ import app
from streams.publish.events import time_ms
from tests.integration.deployment import Deployment, deployment

SMALL = Path(__file__).parents[1] / "cases/publish-row-of-1970/small.csv"
ADVANCE = "2026-04-01"


def run(bank: Deployment, *arguments: str) -> Result:
    """A command in this process."""
    environment = {name: value for name, value in bank.environment.items() if name.startswith("RESCORE_")}
    return CliRunner().invoke(app, list(arguments), env=environment, catch_exceptions=False)


def stamps(bank: Deployment, *topics: str) -> list[int]:
    return [record.timestamp_ms for topic in topics for record in bank.read(topic)]


@pytest.mark.timeout(400)
def test_one_row_of_1970_moves_no_clock(kafka, shared_valkey, tmp_path) -> None:
    more = {"CLOCK": "records", "PARTITIONS": "2"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"row{os.getpid()}", tmp_path, **more) as bank:
        # A command in a history without a record: the first moment there is, not the present.
        until = ["--until", "2030-01-01", "--reason", "seen", "--create"]
        assert run(bank, "override", "zoe", "--score", "status", "--value", "3.5", *until).exit_code == Exit.OK
        assert stamps(bank, "commands") == [1]
        assert "1 bad line: nothing was published" in run(bank, "publish", str(SMALL)).stderr
        published = run(bank, "publish", str(SMALL), "--skip-bad-lines", "--advance-to", ADVANCE)
        assert published.exit_code == Exit.FAILURE
        assert "small.csv, line 32: happened on or before 1970-01-01T00:00:00Z" in published.stderr
        assert "1 bad line left out, all others are published" in published.stderr
        assert "published 32 records" in published.stderr  # 30 events, an advance for each partition
        # A record of somebody else's that has no timestamp at all is a dead letter that says so.
        nil = {"user_id": "nil", "transaction_currency": "EUR", "transaction_amount": 1, "transaction_date": ADVANCE}
        bank.send("transactions", [("nil", json.dumps(nil).encode(), -1)])
        latest_ms = time_ms(ADVANCE)
        assert max(stamps(bank, "transactions", "commands")) == latest_ms
        bank.start_worker()
        bank.catch_up()
        changes = [decode_value("ScoreChange", r.value or b"", StaticRegistry()) for r in bank.read("score-changes")]
        assert {change["user_id"] for change in changes} >= {"ann"}
        assert max(change["decided_ms"] for change in changes) <= latest_ms
        assert not {"xen", "nil"} & {change["user_id"] for change in changes}
        assert bank.read("rescore-journal") == []
        (letter,) = bank.read("transactions.dlq")
        assert b"The record has no timestamp (-1)" in dict(letter.headers or [])["__streams.errors.message"]
        # Time goes on as it should: a pipe with the row first, as it comes.
        lines = [
            {"user_id": "ann", "transaction_currency": "EUR", "transaction_amount": 5, "transaction_date": moment}
            for moment in ("1970-01-01T01:00:00+01:00", "2026-04-02", "2026-04-03")
        ]
        (tmp_path / "more.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        more_lines = run(bank, "publish", "--as-is", "--skip-bad-lines", str(tmp_path / "more.jsonl"))
        assert (more_lines.exit_code, "line 1: happened on" in more_lines.stderr) == (Exit.FAILURE, True)
        bank.catch_up()
        assert max(stamps(bank, "transactions")) == time_ms("2026-04-03")
        assert run(bank, "publish", "--advance-to", "1970-01-01").exit_code == Exit.USAGE
        bank.stop()
        assert run(bank, "verify").stdout.startswith("equal:")


def test_a_negative_timestamp_would_be_taken_by_the_broker(kafka, topics) -> None:
    """Why they are refused here: the broker keeps -1 as a record without a timestamp, and Java clients copy none."""
    (name,) = topics.make("t", config={"message.timestamp.type": "CreateTime"})
    told: list[int] = []
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    producer.produce(name, b"x", timestamp=-1, on_delivery=lambda error, message: told.append(message.timestamp()[1]))
    producer.produce(name, b"x", timestamp=0, on_delivery=lambda error, message: told.append(message.timestamp()[1]))
    assert producer.flush(20) == 0
    assert min(told) == -1
    assert max(told) > time_ms("2020-01-01")
