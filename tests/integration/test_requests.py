"""A stranger's request whose number is a customer's user_id, on a real Kafka and Valkey: neither touches the other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.codec import StaticRegistry, decode_value
from schemas.row_keys import request_key
from state.layout import decode_row
from streams.__main__ import app
from tests.integration.deployment import Deployment, deployment

CASE = Path(__file__).parents[1] / "cases" / "request-number-is-a-customer" / "records.jsonl"
CASE_MS = 1_777_800_000_000  # 2026-05-03, the day after the customer's transaction
REGISTRY = StaticRegistry()
BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("applicants", "9007199254740992", {"request_id": 2**53, "income": 1.0}, "REQUEST_ID_OUT_OF_RANGE"),
    ("outcomes", "77", {"user_id": "77", "model": "risk", "label": True}, "OUTCOME_OF_NOTHING"),
    ("outcomes", "77", {"request_id": 77, "model": "value", "label": True}, "OUTCOME_OF_NOTHING"),
]


@pytest.fixture(scope="module")
def lived(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """A worker that has taken the case, record by record as it was published, and some that are refused."""
    name, more = f"requests{os.getpid()}", {"PARTITIONS": "2", "CLOCK": "records"}
    folder = tmp_path_factory.mktemp("requests")
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, **more) as where:
        for i, line in enumerate(map(json.loads, CASE.read_text().splitlines())):
            publish(where, line["topic"], line["key"], line["value"], CASE_MS + 1_000 * i)
        for topic, key, value, _ in BAD:
            publish(where, topic, key, value, CASE_MS + 60_000)
        where.start_worker()
        where.catch_up()
        yield where
        where.stop()


def publish(where: Deployment, topic: str, key: str, value: dict[str, Any], at_ms: int) -> None:
    where.send(topic, [(key, json.dumps(value).encode(), at_ms)])


def said_of(where: Deployment, *arguments: str) -> tuple[int, str]:
    """Exit code and everything that a command says, run in this process; nothing of it is a byte of ours."""
    own = {name: value for name, value in where.environment.items() if name.startswith("RESCORE_")}
    done = CliRunner().invoke(app, list(arguments), env=own, catch_exceptions=False)
    assert "\0" not in done.output
    assert "\\x00" not in done.output
    return done.exit_code, done.stdout if "--json" in arguments else done.output


def examples(where: Deployment, kind: str) -> list[dict[str, Any]]:
    told = [decode_value("Example", r.value or b"", REGISTRY) for r in where.read("rescore-examples")]
    return [one for one in told if one["kind"] == kind]


@pytest.mark.timeout(600)
def test_the_customer_keeps_what_they_declared_and_nobody_is_made(lived: Deployment) -> None:
    changes = [decode_value("ScoreChange", r.value or b"", REGISTRY) for r in lived.read("score-changes")]
    assert {record.key for record in lived.read("score-changes")} == {b"77"}
    assert {record.key for record in lived.read("scorecards")} == {b"77"}
    risk = [change for change in changes if change["score"] == "risk"]
    assert len(risk) == 2  # declared, and then seen with a transaction
    assert {change["new_band"] for change in risk} == {"low"}
    causes = {(change["cause"]["topic"], change["cause"]["event_id"]) for change in changes}
    assert {event_id for _, event_id in causes} == {"a", "s"}
    rows = lived.rows()
    assert set(rows) == {b"77", request_key(77), request_key(78)}
    assert decode_row(rows[request_key(77)]).sequences == [0] * 8
    own = decode_row(rows[b"77"]).declared
    assert own is not None
    assert own[0] == 4_000.0


@pytest.mark.timeout(600)
def test_the_request_is_a_case_that_its_outcome_teaches(lived: Deployment) -> None:
    (answer,) = examples(lived, "outcome")
    asked = {one["case"]: one for one in examples(lived, "request")}
    assert len(asked) == 2
    assert asked[answer["case"]]["user_hash"] == answer["user_hash"]
    assert asked[answer["case"]]["inputs"]["moroso"] == 1.0
    assert answer["label"] == 1.0
    assert not examples(lived, "report")


@pytest.mark.timeout(600)
def test_what_names_no_request_that_can_be_is_a_dead_letter(lived: Deployment) -> None:
    for topic, key, _, reason in BAD:
        letters = [record for record in lived.read(f"{topic}.dlq") if (record.key or b"").decode() == key]
        assert reason.encode() in [dict(record.headers or [])["__streams.errors.exception"] for record in letters]
    _, told = said_of(lived, "dlq", "list")
    assert "from 0 to 2^53 - 1" in " ".join(told.split()) or "REQUEST_ID_OUT_OF_RANGE" in told


@pytest.mark.timeout(600)
def test_every_command_says_which_of_the_two_it_speaks_of(lived: Deployment) -> None:
    code, told = said_of(lived, "explain", "77", "--request", "77")
    assert (code, told.startswith("request 77 (names no customer): declined by risk")) == (0, True)
    code, told = said_of(lived, "explain", "77")
    assert code == 0
    assert "risk" in told
    code, told = said_of(lived, "explain", "78")
    assert code == 1
    assert "no score of a customer '78' has changed; there is a request 78, which names no customer" in told
    code, told = said_of(lived, "inspect", "78")
    assert code == 1
    assert "no customer '78' is known; a request of that number is" in told
    assert "rescore inspect --request 78" in told
    code, told = said_of(lived, "inspect", "--request", "78")
    assert (code, "request 78 (names no customer)" in told, "moroso" in told) == (0, True, True)
    assert json.loads(said_of(lived, "inspect", "--request", "77", "--json")[1])["request_id"] == 77
    assert said_of(lived, "inspect", "77")[0] == 0
    assert said_of(lived, "inspect")[0] == said_of(lived, "inspect", "77", "--request", "77")[0] == 2
    assert said_of(lived, "lag")[0] == 0


@pytest.mark.timeout(600)
def test_the_audit_finds_both_equal_together_and_apart(lived: Deployment) -> None:
    found = json.loads(said_of(lived, "verify", "--json")[1])
    assert (found["equal"], found["customers"], found["requests"], found["cards"]) == (True, 1, 2, 1)
    assert found["stored"] == 3
    for chosen, customers, requests in ((("--user", "77"), 1, 0), (("--request", "77"), 0, 1)):
        found = json.loads(said_of(lived, "verify", *chosen, "--readable", "--json")[1])
        assert (found["equal"], found["customers"], found["requests"]) == (True, customers, requests)
    code, told = said_of(lived, "verify")
    assert (code, "1 customer, 2 requests without one" in told) == (0, True)
    code, told = said_of(lived, "verify", "--request", "79")
    assert (code, "nothing was ever said of request 79" in told) == (1, True)


@pytest.mark.timeout(600)
def test_each_of_the_two_is_erased_by_itself(lived: Deployment) -> None:
    _, text = said_of(lived, "erase", "77", "--yes", "--prove", "--json")
    found = {copy["place"]: copy for copy in json.loads(text)["copies"]}
    assert found["row in the store"]["standing"] == "expires"
    assert found["applicants"]["what"] == "1 record, kept for ever: retention.ms is -1"
    assert found["outcomes"]["what"].startswith("1 record")  # theirs is the one that was refused
    rows = lived.rows()
    assert not decode_row(rows[b"77"]).exists
    assert decode_row(rows[request_key(77)]).exists
    assert len(examples(lived, "erasure")) == 1
    assert said_of(lived, "explain", "--request", "77")[0] == 0
    assert said_of(lived, "erase", "--request", "78", "--prove-only")[0] == 1  # never erased

    _, text = said_of(lived, "erase", "--request", "77", "--yes", "--prove", "--json")
    told = json.loads(text)
    found = {copy["place"]: copy for copy in told["copies"]}
    assert (told["request_id"], "user_id" in told) == (77, False)
    assert found["row in the store"]["what"] == "a marker with the moment of the erasure alone"
    assert found["scorecards"]["what"] == found["score-changes"]["what"] == found["transactions"]["what"] == "nothing"
    assert found["applicants"]["what"].startswith("1 record")
    assert found["rescore-examples (by keyed hash)"]["what"].endswith("learners are told to forget them")
    erased = {one["user_hash"] for one in examples(lived, "erasure")}
    assert len(erased) == 2
    assert erased & {one["user_hash"] for one in examples(lived, "request")}
    assert {record.key for record in lived.read("scorecards")} == {b"77"}
    found = json.loads(said_of(lived, "verify", "--json")[1])
    assert (found["equal"], found["customers"], found["requests"]) == (True, 1, 2)
