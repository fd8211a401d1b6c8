"""A profile published while a worker runs, on a real Kafka and a real Valkey: a file, and no program changed."""

from __future__ import annotations

import json
import os

import pytest

from schemas.times import iso_of
from tests.integration.deployment import deployment

START_MS = 1_735_725_600_000  # 2025-01-01T10:00:00Z
DAY_MS = 86_400_000
CAMPER = """
id = "camper"
title = "Camper"
text = "camps again and again"
half_life_days = 60
[[triggers]]
categories = ["lodging"]
purchases = 3
"""


def purchase(number: int, day: int, mcc: str | None, description: str) -> tuple[str, bytes, int]:
    at_ms = START_MS + day * DAY_MS
    said = {
        "event_id": f"t-{number}", "user_id": "ann", "transaction_currency": "EUR", "transaction_amount": -50.0,
        "transaction_date": iso_of(at_ms), "mcc": mcc, "description": description,
    }  # fmt: skip
    return "ann", json.dumps(said).encode(), at_ms


@pytest.mark.timeout(600)
def test_a_file_published_while_a_worker_runs_gives_customers_a_profile(kafka, shared_valkey, tmp_path) -> None:
    more = {"CLOCK": "records", "PARTITIONS": "1"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"camp{os.getpid()}", tmp_path, **more) as bank:
        bank.send("transactions", [purchase(day, day, "7033", "Camping Sol") for day in range(2)])
        bank.start_worker()
        bank.catch_up()
        file = tmp_path / "camper.toml"
        file.write_text(CAMPER)
        published = json.loads(
            bank.rescore("profiles", "publish", str(file), "--reason", "a summer", "--author", "eve", "--json").stdout
        )
        assert (published["version"], published["enabled"]) == ("camper-1", True)
        listed = json.loads(bank.rescore("profiles", "list", "--json").stdout)
        assert [one["version"] for one in listed["later"]] == ["camper-1"]
        bank.send("transactions", [purchase(10, 2, None, "HOTEL PARADOR 12"), purchase(11, 3, "5411", "Mercado")])
        bank.catch_up()
        wanted = ["--score", "profiles", "--json", "--from-beginning", "--exit-at-end"]
        told = [json.loads(line) for line in bank.rescore("subscribe", *wanted).stdout.splitlines()]
        first = next(change for change in told if "camper" in change["new_list"])
        assert (first["weights_version"], first["decided_ms"]) == ("camper-1", START_MS + 2 * DAY_MS)
        (hit,) = [hit for hit in first["hits"] if hit["profile"] == "camper"]
        assert (hit["held"], hit["category"], hit["title"]) == (True, "lodging", "Camper")
        explained = bank.rescore("explain", "ann", "--score", "profiles").stdout
        assert "Camper: camps again and again (lodging:" in explained
        assert "no ground for a credit decision" in bank.rescore("explain", "ann", "--adverse").stdout
        inspected = json.loads(bank.rescore("inspect", "ann", "--json").stdout)
        (profiles,) = [score for score in inspected["scores"] if score["score"] == "profiles"]
        assert "camper" in profiles["value"]
        assert "camper" in bank.rescore("inspect", "ann").stdout
        assert {place["category"] for place in inspected["spending"]} >= {"all", "lodging"}
        assert 0.0 < inspected["expected_30d"]["days"] < 30.0
        learned = json.loads(bank.rescore("profiles", "learn", "--json").stdout)
        assert (learned["transactions"], learned["version"]) == (3, None)
        bank.stop()
        assert bank.rescore("verify", check=False).returncode == 0
