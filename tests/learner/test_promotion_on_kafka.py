"""A person promotes a credit model on a real Kafka, by the command; scores move by it, each with its reason."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import pytest

from schemas.batch import DAY_MS
from schemas.time_text import text_of_ms
from tests.integration.deployment import LEARNER, Deployment, deployment
from tests.learner.credit_story import FIRST_MS, PEOPLE, Told, lending
from tests.learner.world import VALUES

MORE = {"CLOCK": "records", "PARTITIONS": "2", "LEARNING__EPOCH_SECONDS": "604800", "LEARNING__EXAMPLES_MIN": "20"}
EPOCH_MS = 7 * DAY_MS
DECIDED_MS = FIRST_MS + 123 * DAY_MS
"""By then the loans are paid or in default."""
LAST_MS = FIRST_MS + 138 * DAY_MS


def publish(where: Deployment, events: Sequence[Told], until_ms: int) -> None:
    by_topic: dict[str, list[tuple[bytes, bytes, int]]] = {}
    for topic, key, value, at_ms in events:
        by_topic.setdefault(topic, []).append((key, value, at_ms))
    for topic, values in by_topic.items():
        where.send(topic, values)
    where.rescore("publish", "--advance-to", text_of_ms(until_ms))
    where.wait(lambda: learned_until(where) >= until_ms // EPOCH_MS * EPOCH_MS, "everything is learned")
    where.catch_up()


def learned_until(where: Deployment) -> int:
    checkpoints = [r.value or b"{}" for r in where.read("rescore-learner") if r.key == b"checkpoint"]
    return int(json.loads(checkpoints[-1])["done_ms"]) if checkpoints else 0


def risk_of(where: Deployment) -> dict[str, Any]:
    models: dict[str, Any] = json.loads(where.rescore("models", "list", "--json").stdout)["models"]
    return dict(models["risk"])


def changes_of_risk(where: Deployment) -> list[dict[str, Any]]:
    told = [VALUES.decode("score-changes", record.value or b"") for record in where.read("score-changes")]
    return [change for change in told if change["score"] == "risk"]


@pytest.mark.timeout(600)
def test_a_promoted_risk_model_moves_scores_from_its_time_on_and_the_log_explains_them(
    kafka, shared_valkey, tmp_path
) -> None:
    name = f"promo{os.getpid()}"
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, tmp_path, **MORE) as bank:
        bank.start_worker()
        bank.start_learner()
        publish(bank, [event for event in lending() if event[3] < DECIDED_MS], DECIDED_MS)
        assert risk_of(bank)["champion"] == "risk-1"
        asked = ("models", "challenge", "risk", "grove", "--reason", "to see")
        bank.rescore(*asked, "--kind", "forest", "--window-examples", "200")
        refused = bank.rescore(*asked, "--one-in", "2", check=False)
        assert (refused.returncode, "is for tree and forest alone" in refused.stderr) == (2, True)
        card = tmp_path / "risk.md"
        card.write_text("what was looked at", "utf-8")
        why = ("--name", "risk", "--card", str(card), "--reason", "minutes of May", "--author", "eve")
        bank.rescore("models", "promote", "steady", *why)
        bank.kill(LEARNER)
        bank.start_learner()
        publish(bank, [event for event in lending() if event[3] >= DECIDED_MS], LAST_MS)
        versions = [VALUES.decode("rescore-weights", record.value or b"") for record in bank.read("rescore-weights")]
        (version,) = [one for one in versions if one["model"] == "risk"]
        assert version["cause"].startswith("promoted: steady: minutes of May (card risk.md, sha256 ")
        assert DECIDED_MS < version["effective_ms"] < LAST_MS

        def moved() -> list[dict[str, Any]]:
            return [one for one in changes_of_risk(bank) if one["decided_ms"] == version["effective_ms"]]

        bank.wait(lambda: len({one["user_id"] for one in moved()}) > PEOPLE // 2, "everyone is scored anew")
        assert {one["weights_version"] for one in moved()} == {version["version"]}
        for change in moved():
            assert change["new"] == pytest.approx(change["base"] + sum(r["level"] for r in change["reasons"]), abs=1e-9)
            assert any(reason["code"] == "new_weights" and reason["moved"] for reason in change["reasons"])
        before = [one for one in changes_of_risk(bank) if one["decided_ms"] < version["effective_ms"]]
        assert {one["weights_version"] for one in before} == {"risk-1"}
        someone = moved()[0]
        assert version["version"] in bank.rescore("explain", someone["user_id"], "--score", "risk").stdout
        grove = next(row for row in risk_of(bank)["versions"] if row["version"] == "grove")
        assert grove["role"] == "shadow forest"
        timeline = json.loads(bank.rescore("models", "show", "--name", "risk", "--json").stdout)["timeline"]
        assert [(line["what"], line["version"], line["who"]) for line in timeline] == [
            ("promoted", version["version"], "eve")
        ]
        bank.stop()
        assert bank.rescore("verify", check=False).returncode == 0
