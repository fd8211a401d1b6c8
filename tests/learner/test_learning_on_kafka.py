"""Learning on a real Kafka: kill -9 of learner and workers at random moments, and two workers, alter no byte of it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator

import pytest

from schemas.batch import DAY_MS
from schemas.row_keys import PROGRESS_KEY
from schemas.time_text import text_of_ms
from tests.integration.deployment import LEARNER, Deployment, deployment
from tests.learner.credit_story import lending
from tests.learner.world import VALUES, history

CUSTOMERS = history(60, 85)
LENDING = tuple(event for event in lending() if event[3] <= CUSTOMERS[-1][3])
STORY = tuple(sorted((*CUSTOMERS, *LENDING), key=lambda event: event[3]))
LAST_MS = (STORY[-1][3] // DAY_MS + 2) * DAY_MS
MORE = {"CLOCK": "records", "PARTITIONS": "3", "LEARNING__EPOCH_SECONDS": "259200", "LEARNING__EXAMPLES_MIN": "20",
        "LEARNING__TEXTS_ONE_IN": "8"}  # fmt: skip
"""Epochs of three days."""


def publish(where: Deployment) -> None:
    by_topic: dict[str, list[tuple[bytes, bytes, int]]] = {}
    for topic, key, value, at_ms in STORY:
        by_topic.setdefault(topic, []).append((key, value, at_ms))
    for topic, values in by_topic.items():
        where.send(topic, values)
    where.rescore("publish", "--advance-to", text_of_ms(LAST_MS))

    return text_of_ms(at_ms)


def learned(where: Deployment) -> list[tuple[int, bytes, bytes]]:
    """Every version of weights that was learned."""
    return [
        (r.timestamp_ms, r.key or b"", r.value or b"") for r in where.read("rescore-weights")[1:] if r.key != b"epoch"
    ]


def models(where: Deployment) -> dict[bytes, bytes]:
    """What the learner remembers, but for places in the log."""
    found: dict[bytes, bytes] = {}
    for record in where.read("rescore-learner"):
        if record.value is None:
            found.pop(record.key or b"", None)
        else:
            found[record.key or b""] = record.value
    found.pop(b"checkpoint", None)
    return found


def done_ms(where: Deployment) -> int:
    checkpoints = [json.loads(r.value or b"{}") for r in where.read("rescore-learner") if r.key == b"checkpoint"]
    return checkpoints[-1]["done_ms"] if checkpoints else 0


def finish(where: Deployment) -> None:
    epoch_ms = int(MORE["LEARNING__EPOCH_SECONDS"]) * 1_000
    where.wait(lambda: done_ms(where) >= LAST_MS // epoch_ms * epoch_ms, "everything is learned")
    where.catch_up()
    where.wait(lambda: swept(where), "everyone is scored anew")
    where.stop()


def swept(where: Deployment) -> bool:
    """Every partition has looked at everyone for all weights that are in force by its clock."""
    versions = [VALUES.decode("rescore-weights", value) for _, _, value in learned(where)]
    rescores = [version["effective_ms"] for version in versions if version["rescore"]]
    last = {r.partition: r.value for r in where.read("rescore-state") if r.key == PROGRESS_KEY}
    said = [VALUES.decode("rescore-state", value or b"") for value in last.values()]
    return all(
        one["swept_ms"] == max((at_ms for at_ms in rescores if at_ms <= one["clock_ms"]), default=None) for one in said
    )


@pytest.fixture(scope="module")
def calm(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """One worker and one learner that nothing happens to."""
    folder = tmp_path_factory.mktemp("calm")
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"calml{os.getpid()}", folder, **MORE) as made:
        publish(made)
        made.start_worker()
        made.start_learner()
        finish(made)
        yield made


@pytest.mark.timeout(900)
def test_versions_appear_and_score_changes_name_them(calm):
    versions = [key.decode() for _, key, _ in learned(calm)]
    assert len(versions) > 5
    named = {
        VALUES.decode("score-changes", record.value or b"")["weights_version"] for record in calm.read("score-changes")
    }
    assert len(named & set(versions)) > 3


@pytest.mark.timeout(900)
def test_requests_and_grants_teach_credit_models_beside(calm):
    found = {name: json.loads(models(calm)[b"credit/" + name]) for name in (b"acceptance", b"risk")}
    assert found[b"acceptance"]["lately"]["steady"]["examples"] > 100
    assert found[b"acceptance"]["counts"]["contradicted"] > 5
    assert found[b"risk"]["counts"]["requests"] > 100


@pytest.mark.timeout(900)
def test_a_person_sees_all_models_and_promotes_none_without_a_card(calm, tmp_path):
    said = json.loads(calm.rescore("models", "list", "--json").stdout)
    assert set(said["models"]) == {"value", "categories", "acceptance", "risk"}
    assert next(row for row in said["models"]["categories"]["versions"] if row["version"] == "online")["worth"] > 0.5
    assert said["models"]["acceptance"]["champion"] == "acceptance-1"
    shown = json.loads(calm.rescore("models", "show", "steady", "--name", "acceptance", "--json").stdout)
    assert {line["group"] for line in shown["fairness"]} == {"female", "male"}
    assert shown["version"]["auc"] > 0.6
    assert "remembered" in calm.rescore("models", "show", "--name", "risk").stdout
    promote = ("models", "promote", "steady", "--name", "acceptance", "--reason", "because")
    tree = calm.rescore("models", "promote", "tree", *promote[3:], "--card", str(tmp_path / "card.md"), check=False)
    assert (tree.returncode, "can never be in force" in tree.stderr) == (2, True)
    refused = calm.rescore(*promote, check=False)
    assert (refused.returncode, "--card FILE" in refused.stderr) == (2, True)
    card = tmp_path / "card.md"
    card.write_text("what was looked at", "utf-8")
    calm.rescore(*promote, "--card", str(card))
    decided = VALUES.decode("rescore-config", calm.read("rescore-config")[-1].value or b"")
    assert decided["name"] == "models.acceptance"
    assert "card card.md, sha256 " in decided["body"]
    manifest = tmp_path / "leases.json"
    manifest.write_text(json.dumps({"purpose": "credit", "features": [{"name": "gender"}]}), "utf-8")
    declare = calm.rescore("models", "declare", "leases", str(manifest), "--reason", "pilot", check=False)
    assert (declare.returncode, "is protected" in declare.stderr) == (2, True)


@pytest.mark.timeout(900)
def test_kill_9_of_learner_and_workers_at_random_moments_alters_no_byte(calm, tmp_path):
    with deployment(calm.bootstrap_servers, calm.redis_url, f"wildl{os.getpid()}", tmp_path, **MORE) as wild:
        publish(wild)
        moments = random.Random(7)
        wild.start_worker(0)
        wild.start_worker(1)
        wild.start_learner()
        total = len(learned(calm))
        for kills, share in enumerate((0.1, 0.3, 0.5, 0.7)):
            wild.wait(lambda share=share: len(learned(wild)) > share * total, "some of it is learned")
            wild.kill(LEARNER)
            wild.start_learner()
            if kills % 2:
                slot = moments.randrange(2)
                wild.kill(slot)
                wild.start_worker(slot)
        finish(wild)
        assert learned(wild) == learned(calm)
        assert models(wild) == models(calm)
        assert wild.by_user("score-changes") == calm.by_user("score-changes")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", ["L3.begun", "L5.all_written", "L7.committed"])
def test_a_learner_killed_at_a_step_of_its_transaction_says_the_same(calm, tmp_path, step):
    with deployment(calm.bootstrap_servers, calm.redis_url, f"step{step[:2]}{os.getpid()}", tmp_path, **MORE) as wild:
        publish(wild)
        wild.start_worker(0)
        wild.start_learner(step)
        wild.workers[LEARNER].wait(240)
        wild.workers.pop(LEARNER)
        wild.start_learner()
        finish(wild)
        assert learned(wild) == learned(calm)
        assert models(wild) == models(calm)
