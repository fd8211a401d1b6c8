"""Rubbish in every topic, and registries without our schemas, on a real Kafka and Valkey: words, and no traceback.

Worker and learner are processes; the commands run in this one, so that each costs no start.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner, Result

from schemas.codec import StaticRegistry, decode_value
from schemas.errors import Exit
from schemas.kinds import INPUT_TOPICS
from schemas.row_keys import PROGRESS_KEY
from schemas.times import time_ms
from streams.__main__ import app
from tests.integration.deployment import LEARNER, Deployment, deployment
from tests.streams.broadcast_cases import REVENUE, every_case, late_loan
from tests.streams.rubbish import fixed_values, value_of

YEAR = 2025
BEGIN_MS, TODAY = time_ms(f"{YEAR}-08-01") or 0, f"{YEAR}-11-01"
OWN = ("score-changes", "scorecards", "point-scores", "actions", "rescore-journal", "rescore-examples",
       "rescore-learner", "rescore-publications", *(f"{topic}.dlq" for topic in INPUT_TOPICS))  # fmt: skip
BROADCAST = ("fx-rates", "rescore-weights", "rescore-config")
STRANGER = b"stranger"
PARTITIONS = 2


def bag(topic: str) -> list[tuple[bytes, bytes, int]]:
    """Rubbish for a topic, of a few keys that are nobody's; tombstones, which are none in some topics, are left out."""
    rng = random.Random(topic)
    values = [*fixed_values(topic), *(value_of(rng, topic) for _ in range(30))]
    return [(STRANGER + b"%d" % (i % 3), value, BEGIN_MS + i) for i, value in enumerate(values) if value is not None]


Run = Callable[..., Result]


def runner(where: Deployment, **more: str) -> Run:
    """Runs a command of a deployment in this process."""
    environment = {**where.environment, "RESCORE_CONFIG": "", **more}

    def run(*arguments: str, code: int | tuple[int, ...] = Exit.OK, typed: str | None = None) -> Result:
        result = CliRunner().invoke(app, list(arguments), env=environment, input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exc_info)
        codes = code if isinstance(code, tuple) else (code,)
        assert result.exit_code in codes, (arguments, result.exit_code, result.output, result.stderr)
        assert "Traceback" not in result.output + result.stderr
        return result

    return run


@pytest.fixture(scope="module")
def bank(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """Topics full of rubbish before anybody starts; then a worker, a learner, and a customer."""
    folder, name = tmp_path_factory.mktemp("rubbish"), f"rubbish{os.getpid()}"
    more = {"CLOCK": "records", "PARTITIONS": str(PARTITIONS), "LEARNING__EPOCH_SECONDS": "86400"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, **more) as made:
        for case in every_case():
            made.send(case.topic, [(case.key, case.value, BEGIN_MS)])
        for topic in (*OWN, *BROADCAST):
            made.send(topic, bag(topic))
        for fields in late_loan("ann", YEAR):
            at_ms = time_ms(fields.get("paid_at") or fields["order_date"]) or 0
            made.send("loans", [(b"ann", json.dumps(fields).encode(), at_ms)])
        runner(made)("publish", "--advance-to", TODAY)
        made.start_worker()
        made.start_learner()
        yield made
        made.stop()


def revenue_of(where: Deployment, user: bytes) -> list[float]:
    registry = StaticRegistry()
    changes = [
        decode_value("ScoreChange", r.value or b"", registry) for r in where.read("score-changes") if r.key == user
    ]
    return [round(change["new"], 6) for change in changes if change["score"] == "revenue"]


@pytest.mark.timeout(600)
def test_worker_learner_and_every_command_live_with_rubbish_in_every_topic(bank: Deployment, tmp_path) -> None:
    bank.wait(lambda: REVENUE in revenue_of(bank, b"ann"), "the late loan scores by the packaged policy")
    bank.catch_up()
    bank.wait(lambda: b"checkpoint" in {r.key for r in bank.read("rescore-learner")}, "the learner has learned a day")
    run = runner(bank)
    for slot in (0, LEARNER):
        log = bank.log(slot) if slot == LEARNER else (bank.folder / f"{bank.name}-0.log").read_text("utf-8")
        assert "Traceback" not in log
    worker_log = (bank.folder / f"{bank.name}-0.log").read_text("utf-8")
    assert "counts as never published: policy: cost_rates is null; it must be a list" in worker_log
    learner_log = (bank.folder / f"{bank.name}-{LEARNER}.log").read_text("utf-8")
    assert "counts as never published: policy: cost_rates is null; it must be a list" in learner_log
    assert "cannot be read, first at" in learner_log  # records of rescore-examples

    refused = json.loads(run("config", "check", "--json", code=Exit.FAILURE).stdout)["refused"]
    assert len(refused) > 100
    assert any(one["reason"] == "policy: cost_rates is null; it must be a list" for one in refused)
    assert "count as never published" in run("config", "check", code=Exit.FAILURE).stderr
    run("config", "show")
    run("topics", "check")

    lines = run("subscribe", "--from-beginning", "--exit-at-end", "--json")
    assert any(json.loads(line)["new"] == pytest.approx(REVENUE) for line in lines.stdout.splitlines())
    assert "cannot be read, first at" in lines.stderr
    run("subscribe", "--from-beginning", "--exit-at-end", "--user", "ann")
    assert "revenue 0.630" in run("explain", "ann", "--score", "revenue").stdout
    run("explain", "ann", "--adverse")
    run("explain", "stranger0", code=(Exit.OK, Exit.FAILURE))
    run("explain", "ann", "--request", "5", code=Exit.FAILURE)
    run("inspect", "ann")
    run("inspect", "stranger0", code=Exit.FAILURE)
    run("lag", "--seconds", "0.5", code=(Exit.OK, Exit.FAILURE))

    told = run("verify", "--jobs", "1", "--json", code=Exit.FAILURE)
    differences = json.loads(told.stdout)["differences"]
    assert {one["what"] for one in differences} >= {"change", "journal"}
    assert not [one for one in differences if one["user"] == "ann"]
    assert json.loads(run("verify", "--user", "ann", "--json").stdout)["equal"]
    run("verify", "--jobs", "1", code=Exit.FAILURE)

    run("models", "list")
    run("models", "show", "--json")
    run("models", "freeze", "--reason", "audit")
    run("models", "promote", "nobody", "--reason", "x", code=Exit.USAGE)
    run("profiles", "list")
    run("profiles", "show", "pet_owner")
    run("profiles", "learn")

    letters = [json.loads(line) for line in run("dlq", "list", "--json").stdout.splitlines()]
    assert len(letters) > 100
    run("dlq", "list")
    run("dlq", "show", letters[0]["letter"], letters[-1]["letter"])
    run("dlq", "show", letters[0]["letter"], "--json")
    run("dlq", "drop", letters[0]["letter"], "--yes")

    rates = tmp_path / "rates.csv"
    rates.write_text(f"currency,base_currency,effective_at,rate\nUSD,EUR,{TODAY},-1\nCZK,EUR,{TODAY}T01:00:00Z,0.04\n")
    bad = run("publish", str(rates), "--topic", "fx-rates", "--as-is", "--skip-bad-lines", code=Exit.FAILURE)
    assert "line 2: rate: rate is -1.0; it must be above 0" in bad.stderr
    run("override", "ann", "--score", "status", "--value", "3", "--until", "2027-01-31", "--reason", "seen")
    run("erase", "bob", "--yes")
    bank.catch_up()
    proof = json.loads(run("erase", "bob", "--prove-only", "--json", code=(Exit.OK, Exit.FAILURE)).stdout)
    assert proof["user_id"] == "bob"
    run("erase", "stranger0", "--prove-only", code=Exit.FAILURE)


@pytest.mark.timeout(600)
def test_rubbish_in_the_changelog_and_in_the_learners_memory_halts_in_words(bank: Deployment) -> None:
    """Comes last: the deployment is damaged behind it."""
    bank.stop()
    run = runner(bank)
    state = bank.settings.topic("rescore-state")
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bank.bootstrap_servers})
    producer.produce(state, b"rubbish", PROGRESS_KEY, 1)
    assert producer.flush(30) == 0
    words = "the progress record at offset"
    assert words in run("verify", "--jobs", "1", code=Exit.FAILURE).stderr
    in_it = next(user for user in ("a", "b", "c", "d", "e") if partition_of(bank, user) == 1)
    run("erase", in_it, "--yes")
    assert words in run("erase", in_it, "--prove-only", "--wait-seconds", "0", code=Exit.FAILURE).stderr
    assert "revenue 0.630" in run("explain", "ann", "--score", "revenue").stdout

    bank.start_worker(1)
    path = bank.folder / f"{bank.name}-1.log"
    bank.wait(lambda: "partition 1 is halted" in path.read_text("utf-8"), "partition 1 is halted")
    bank.wait(lambda: "partition 0 runs" in path.read_text("utf-8"), "partition 0 goes on")
    log = path.read_text("utf-8")
    assert "cannot be read" in log
    assert "docs/operations.md" in log
    assert "Traceback" not in log
    bank.stop()

    bank.send("rescore-learner", [(b"model/value", b"[]", BEGIN_MS)])
    told = run("models", "list", code=Exit.FAILURE).stderr
    assert "the record of model/value cannot be read" in told
    run("models", "freeze", "--reason", "x", code=Exit.FAILURE)
    halted = run("learner", code=Exit.HALTED).stderr
    assert "the record of model/value cannot be read" in halted


def partition_of(where: Deployment, user: str) -> int:
    from streams.composition.registry import partition_of as place

    return place(where.settings, user, PARTITIONS)


# Registries.


@dataclass
class Answer:
    """What a registry says to everything."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


ANSWERS = {
    "empty": Answer(404, b'{"error_code": 40401, "message": "Subject not found."}'),
    "no version": Answer(404, b'{"error_code": 40402, "message": "Version not found."}'),
    "no id": Answer(404, b'{"error_code": 40403, "message": "Schema not found"}'),
    "bare 404": Answer(404, b"<html>404 Not Found</html>"),
    "login": Answer(401, b'{"error_code": 40101, "message": "Unauthorized"}'),
    "forbidden": Answer(403, b'{"error_code": 40301, "message": "Forbidden"}'),
    "incompatible": Answer(409, b'{"error_code": 409, "message": "Schema being registered is incompatible"}'),
    "page": Answer(200, b"<!doctype html><title>Welcome</title>" + b"x" * 5_000),
    "nothing": Answer(200, b""),
    "object": Answer(200, b"{}"),
    "list": Answer(200, b"[]"),
    "texts": Answer(200, b'{"id": "seven", "schema": 5, "subject": [], "version": null}'),
    "elsewhere": Answer(302, b"", (("Location", "http://127.0.0.1:1/login"),)),
    "away": Answer(503, b""),
}


@pytest.fixture
def registry() -> Iterator[Callable[[str], str]]:
    """Starts a registry that answers everything alike; `start(name)` is its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(name: str) -> str:
        answer = ANSWERS[name]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(answer.status)
                for header in answer.headers:
                    self.send_header(*header)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


WRITERS: tuple[tuple[str, ...], ...] = (
    ("worker",), ("learner",),
    ("override", "ann", "--score", "status", "--value", "3", "--until", "2027-01-31", "--reason", "x", "--create"),
    ("erase", "ann", "--yes"), ("publish", "--advance-to", "2025-11-02"),
    ("models", "epochs", "300", "--reason", "x"), ("models", "challenge", "risk", "grove", "--reason", "x"),
    ("models", "declare", "leases", "FILE", "--reason", "x"),
    ("topics", "apply"),
)  # fmt: skip
READERS: tuple[tuple[str, ...], ...] = (
    ("subscribe", "--from-beginning", "--exit-at-end"), ("explain", "ann"), ("inspect", "ann"), ("config", "check"),
    ("profiles", "list"), ("profiles", "learn"), ("dlq", "list"), ("dlq", "replay", "--topic", "loans"),
    ("lag", "--seconds", "0.5"), ("verify", "--jobs", "1"), ("erase", "ann", "--prove-only", "--wait-seconds", "0"),
    ("models", "list"), ("explain", "ann", "--request", "5"), ("publications",),
)  # fmt: skip


@pytest.fixture(scope="module")
def framed(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """Topics whose records were framed by a registry that is not this one any more."""
    folder, name = tmp_path_factory.mktemp("framed"), f"framed{os.getpid()}"
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, PARTITIONS="1") as made:
        for topic in (*BROADCAST, "score-changes", "scorecards", "transactions", "commands", "rescore-examples"):
            made.send(topic, [(b"ann", b"\x00\x00\x00\x00\x07\x02\x02", BEGIN_MS)])
        yield made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_registry_without_our_schemas_is_told_in_words(
    framed: Deployment, registry: Callable[[str], str], name: str, tmp_path
) -> None:
    file = tmp_path / "leases.json"
    file.write_text('{"purpose": "credit", "features": [{"name": "dti", "knots": [0, 1]}]}')
    own = f"{framed.name}-{name.replace(' ', '-')}"  # a learner of one name is in use until this process ends
    run = runner(framed, RESCORE_REGISTRY__URL=registry(name), RESCORE_APP=own)
    whole = name in ("empty", "page")  # every command for two of them, a few for each
    for command in WRITERS if whole else WRITERS[:2] + WRITERS[-1:]:
        arguments = [str(file) if one == "FILE" else one for one in command]
        told = run(*arguments, code=(Exit.FAILURE, Exit.UNREACHABLE)).stderr
        assert "registry" in told or "hold the current schema" in told, (command, told)
        assert "to do:" in told, (command, told)
        assert len(told) < 2_000
    for command in READERS if whole else READERS[:1]:
        told = run(*command, code=(Exit.OK, Exit.FAILURE, Exit.UNREACHABLE)).stderr
        assert len(told) < 3_000
