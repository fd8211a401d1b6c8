"""The case of writers' schemas on a real Kafka, with a registry over HTTP: every line next to a good transaction."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.registry import ConfluentRegistry
from schemas.writing import decode_value
from tests.integration.deployment import deployment
from tests.schemas.registry_server import RegistryServer, running

CASE = Path(__file__).parents[1] / "cases" / "avro-writers-schema-of-other-types"


def lines(name: str) -> list[Any]:
    return [json.loads(line) for line in (CASE / name).read_text("utf-8").splitlines()]


class Registry(RegistryServer):
    """The schemas of the case by id; what the program registers itself comes behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = {line["id"]: json.dumps(line["schema"]) for line in lines("schemas.jsonl")}
        self.subjects: dict[str, list[int]] = {}

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        asked = re.match(r"/schemas/ids/(\d+)", path)
        if asked and int(asked[1]) in self.texts:
            return 200, {"schema": self.texts[int(asked[1])]}
        subject = re.match(r"/subjects/([^/?]+)(/versions)?", path)
        if subject and body and subject[2]:
            number = max(self.texts) + 1
            self.texts[number] = body["schema"]
            self.subjects.setdefault(subject[1], []).append(number)
            return 200, {"id": number}
        for number in self.subjects.get(subject[1], ()) if subject and body else ():
            return 200, {"subject": subject[1], "version": 1, "id": number, "schema": self.texts[number]}
        return 404, {"error_code": 40403, "message": "Schema not found"}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running(Registry()) as registry:
        yield registry


@pytest.mark.timeout(600)
def test_a_worker_takes_or_refuses_each_line_of_the_case_and_goes_on(kafka, shared_valkey, tmp_path, registry) -> None:
    name = f"writers{os.getpid()}"
    more = {"PARTITIONS": "1", "REGISTRY__URL": registry.url}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, tmp_path, **more) as live:
        live.start_worker()
        now_ms = time.time_ns() // 1_000_000
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_ms / 1_000))
        for number, line in enumerate(lines("records.jsonl")):
            live.send(line["topic"], [(line["key"], bytes.fromhex(line["value_hex"]), now_ms)])
            good = {"user_id": f"good{number}", "transaction_amount": 5.0, "transaction_currency": "EUR"}
            good["transaction_date"] = date
            live.send("transactions", [(good["user_id"], json.dumps(good).encode(), now_ms)])
        last = f"good{number}".encode()
        live.wait(lambda: last in {record.key for record in live.read("score-changes")}, "the last good one is taken")
        live.catch_up()

        changed = {record.key for record in live.read("score-changes")}
        letters = {}
        for topic in ("transactions", "loans", "applicants", "commands"):
            for letter in live.read(f"{topic}.dlq"):
                headers = dict(letter.headers or [])
                letters[letter.key] = headers["__streams.errors.message"].decode()
        assert {f"good{i}".encode() for i in range(number + 1)} <= changed
        for line in lines("records.jsonl"):
            key, right = line["key"].encode(), line["right"]
            if right.startswith("dead letter"):
                assert key in letters, line["case"]
                field = right.partition("names ")[2]
                assert field in letters[key], (line["case"], letters[key])
            elif "dead letter" in right and key in letters:
                assert right.partition("names ")[2] in letters[key], (line["case"], letters[key])
            else:
                assert key not in letters, (line["case"], letters[key])
                assert key in changed or line["topic"] != "transactions", line["case"]
        assert live.workers[0].poll() is None

        values = ConfluentRegistry(registry.url, topic_prefix=live.settings.topic_prefix)
        (change,) = [
            decode_value("ScoreChange", record.value or b"", values)
            for record in live.read("score-changes")
            if record.key == b"e-uuid" and b"/value/" in (record.value or b"")
        ]
        assert change["cause"]["event_id"] == "6f1c1e0a-0d3b-4b8e-9d55-0f3c2b1a7e11"
        shown = live.rescore("dlq", "list", "--json").stdout.splitlines()
        assert len(shown) == len(letters)
        names = [json.loads(letter)["letter"] for letter in shown]
        assert len(live.rescore("dlq", "show", "--json", *names).stdout.splitlines()) == len(letters)
        live.stop()
