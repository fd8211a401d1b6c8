"""`rescore erase --prove` on a real Kafka and a real Valkey: every copy is looked into, and nothing is glossed over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.codec import StaticRegistry, decode_value
from schemas.times import iso_of
from state.layout import decode_row
from streams.commands.erasure import look
from tests.integration.deployment import Deployment, deployment

NOW_MS = time.time_ns() // 1_000_000
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def running(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """A worker that has taken two customers."""
    name, more = f"erase{os.getpid()}", {"PARTITIONS": "1", "RETENTION_DAYS": "365"}
    folder = tmp_path_factory.mktemp("erase")
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, **more) as made:
        made.start_worker()
        made.send("transactions", [(user, transaction(user, i), NOW_MS) for user in ("ann", "bob") for i in range(5)])
        made.wait(lambda: set(made.rows()) == {b"ann", b"bob"}, "both are known")
        yield made
        made.stop()


def transaction(user: str, number: int) -> bytes:
    fields = {
        "event_id": f"{user}-{number}", "user_id": user, "transaction_currency": "EUR",
        "transaction_amount": 100.0 + number, "transaction_date": iso_of(NOW_MS - number * DAY_MS),
    }  # fmt: skip
    return json.dumps(fields).encode()


def by_place(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {copy["place"]: copy for copy in found["copies"]}


@pytest.mark.timeout(400)
def test_before_an_erasure_everything_remains(running: Deployment) -> None:
    copies = {copy.place: copy for copy in look(running.settings, b"bob", NOW_MS)}
    for place in ("row in the store", "rescore-state", "scorecards"):
        assert copies[place].standing == "remains"
    done = running.rescore("erase", "bob", "--prove-only", check=False)
    assert done.returncode == 1
    assert "never erased" in done.stderr


@pytest.mark.timeout(400)
def test_an_erasure_is_proven_copy_by_copy(running: Deployment) -> None:
    done = running.rescore("erase", "ann", "--yes", "--reason", "asked for", "--prove", "--json", check=False)
    found = json.loads(done.stdout)
    copies = by_place(found)
    assert [copy for copy in copies.values() if copy["standing"] == "remains"] == []
    assert (found["erased"], done.returncode) == (True, 0)
    assert all((copy["until_ms"] is not None) == (copy["standing"] == "expires") for copy in copies.values())
    assert copies["row in the store"]["what"] == "a marker with the moment of the erasure alone"
    assert NOW_MS + DAY_MS < copies["row in the store"]["until_ms"] < NOW_MS + 2 * DAY_MS
    assert "earlier wait for compaction" in copies["rescore-state"]["what"]
    assert "a tombstone is the last word" in copies["scorecards"]["what"]
    assert copies["transactions"]["what"] == "5 records"
    assert copies["transactions"]["until_ms"] > NOW_MS + 365 * DAY_MS
    assert copies["loans"]["standing"] == "gone"
    assert not decode_row(running.rows()[b"ann"]).exists
    (word,) = [decode_value("Example", r.value or b"", StaticRegistry()) for r in running.read("rescore-examples")]
    assert word["kind"] == "erasure"
    told = running.rescore("erase", "ann", "--prove-only").stdout
    assert told.startswith("forgotten: ann; the last of it is gone by ")
    assert "score-changes" in told


@pytest.mark.timeout(400)
def test_one_who_comes_back_is_a_new_life_and_the_old_one_is_forgotten_all_the_same(running: Deployment) -> None:
    now_ms = time.time_ns() // 1_000_000  # behind the erasure, however long ago these tests were collected
    fields = json.loads(transaction("ann", 0)) | {"event_id": "back", "transaction_date": iso_of(now_ms)}
    running.send("transactions", [("ann", json.dumps(fields).encode(), now_ms)])
    running.wait(lambda: decode_row(running.rows()[b"ann"]).exists, "ann is known again")
    copies = by_place(json.loads(running.rescore("erase", "ann", "--prove-only", "--json").stdout))
    assert copies["row in the store"]["what"] == "a new life, begun after the erasure"
    assert copies["rescore-state"]["standing"] == "expires"


@pytest.mark.timeout(400)
def test_with_the_default_retention_the_proof_says_what_to_do_and_then_it_can_be_proven(running: Deployment) -> None:
    running.more["RESCORE_RETENTION_DAYS"] = "-1"
    warned = running.rescore("topics", "apply")
    assert "warning: " in warned.stderr
    assert "an erasure can never be proven" in warned.stderr
    kept = running.rescore("erase", "ann", "--prove-only", check=False)
    assert kept.returncode == 1
    assert "NOT forgotten" in kept.stdout
    assert "to do: Set RESCORE_RETENTION_DAYS=400 and run `rescore topics apply`" in kept.stderr
    checked = running.rescore("topics", "check", "--json")
    (warning,) = json.loads(checked.stdout)["warnings"]
    assert "transactions" in warning["topic"]

    running.more["RESCORE_RETENTION_DAYS"] = "400"
    assert "warning: " not in running.rescore("topics", "apply").stderr
    found = json.loads(running.rescore("erase", "ann", "--prove-only", "--json").stdout)
    assert (found["erased"], found["to_do"]) == (True, [])
