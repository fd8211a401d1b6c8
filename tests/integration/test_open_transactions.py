"""Open transactions of publishers and halted partitions: `rescore lag` and all that reads to an end answers in time.

A real Kafka and a real worker. A hung publisher begins, writes, and neither commits nor aborts; another commits again
and again, at moments that the test chooses.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.request import urlopen

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from schemas.times import iso_of
from streams.__main__ import app
from streams.commands import lag as lag_command
from streams.composition.versions import publish_first_versions
from streams.kafka import client as kafka_client
from streams.kafka.client import producer, read, require_topics
from streams.settings import load
from tests.integration.deployment import Deployment, deployment

NOW_MS = time.time_ns() // 1_000_000
SOME_SECONDS = 12.0  # what a command may take on a busy machine beside the seconds it was asked to wait


def transaction(user: str, number: int) -> bytes:
    fields = {
        "event_id": f"{user}-{number}", "user_id": user, "transaction_currency": "EUR",
        "transaction_amount": 10.0 + number, "transaction_date": iso_of(NOW_MS),
    }  # fmt: skip
    return json.dumps(fields).encode()


@pytest.fixture(scope="module")
def running(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """A worker that has taken one customer."""
    name = f"open{os.getpid()}"
    folder = tmp_path_factory.mktemp("open")
    more = {"PARTITIONS": "1", "RETENTION_DAYS": "365"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, **more) as made:
        made.start_worker()
        made.send("transactions", [("ann", transaction("ann", i), NOW_MS) for i in range(3)])
        made.wait(lambda: set(made.rows()) == {b"ann"}, "ann is known")
        made.wait(lambda: made.waiting() == 0, "everything is taken")
        yield made
        made.stop()


def run(deployment: Deployment, *arguments: str) -> tuple[Result, float]:
    """A command in this process, and how long it took."""
    names = [name for name in deployment.environment if name.startswith("RESCORE_")]
    began = time.monotonic()
    result = CliRunner().invoke(app, list(arguments), env={name: deployment.environment[name] for name in names})
    return result, time.monotonic() - began


@contextmanager
def hung(deployment: Deployment, topics: Sequence[str], name: str = "hung") -> Iterator[Producer]:
    """A publisher whose transaction stays open: one record in partition 0 of each topic."""
    producer = Producer(
        {
            "bootstrap.servers": deployment.bootstrap_servers,
            "transactional.id": f"{deployment.name}-{name}",
            "transaction.timeout.ms": 400_000,
        }
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for topic in topics:
        producer.produce(deployment.settings.topic(topic), transaction("hung", 0), b"hung", 0)
    assert producer.flush(30) == 0
    try:
        yield producer
    finally:
        producer.abort_transaction(30)


@pytest.mark.timeout(400)
def test_lag_and_a_proof_end_in_time_and_name_the_open_transaction(running: Deployment) -> None:
    result, _ = run(running, "lag")
    assert (result.exit_code, result.stdout.split()[0]) == (0, "OK"), result.output
    place = f"{running.settings.topic('transactions')}/0"
    with hung(running, ["transactions"]):
        running.send("transactions", [("bob", transaction("bob", 0), NOW_MS)])
        result, seconds = run(running, "lag")
        assert result.exit_code == 1
        assert f"a transaction of a publisher on {place} is open since 20" in result.stdout
        assert seconds < 2 + SOME_SECONDS
        told = json.loads(run(running, "lag", "--seconds", "0.5", "--json")[0].stdout)
        (one,) = told["open_transactions"]
        assert (told["verdict"], one["place"], one["offsets_behind"]) == ("BEHIND", place, 2)
        assert (
            abs(time.time() - time.mktime(time.strptime(one["since"][:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 60
        )
        result, seconds = run(running, "erase", "ann", "--yes", "--prove", "--wait-seconds", "5")
        assert result.exit_code == 1
        assert seconds < 5 + SOME_SECONDS
        assert "NOT proven for ann: transactions: what lies behind an open transaction" in result.stdout
        assert f"a transaction on {place} is open since 20" in result.stdout
        running.wait(
            lambda: metric(running, "rescore_open_transaction_seconds", "transactions") > 0, "the metric says it"
        )
        assert metric(running, "rescore_lag_records", "transactions") >= 2
    running.wait(lambda: run(running, "lag", "--seconds", "0.5")[0].exit_code == 0, "it is OK when it was aborted")
    result, _ = run(running, "erase", "ann", "--prove-only")
    assert result.exit_code == 0, result.output


def metric(deployment: Deployment, name: str, topic: str) -> float:
    """The value of a gauge of the worker for partition 0 of a topic."""
    line = next(line for line in deployment.log(0).splitlines() if "metrics at" in line)
    url = line.partition("metrics at ")[2].split()[0].rstrip('",}')
    wanted = f'{name}{{partition="0",topic="{deployment.settings.topic(topic)}"}}'
    found = [line for line in urlopen(url).read().decode().splitlines() if line.startswith(wanted)]
    return float(found[0].split()[-1]) if found else 0.0


@pytest.mark.timeout(400)
def test_a_publisher_that_commits_again_and_again_leaves_lag_ok_or_behind(running: Deployment, monkeypatch) -> None:
    looked = threading.Event()
    look = lag_command._look

    def look_and_tell(chosen):
        found = look(chosen)
        looked.set()
        return found

    monkeypatch.setattr(lag_command, "_look", look_and_tell)
    topic, verdicts = running.settings.topic("transactions"), []
    with hung(running, ["transactions"], "steady") as producer, ThreadPoolExecutor(1) as pool:
        for number in range(3):
            looked.clear()
            asked = pool.submit(run, running, "lag", "--seconds", "8", "--json")
            assert looked.wait(60)
            producer.commit_transaction(30)
            producer.begin_transaction()
            producer.produce(topic, transaction("carl", number), b"carl", 0)
            assert producer.flush(30) == 0
            result, seconds = asked.result(60)
            assert seconds < 8 + SOME_SECONDS
            verdicts.append(json.loads(result.stdout)["verdict"])
    assert set(verdicts) <= {"OK", "BEHIND"}, verdicts


@pytest.mark.timeout(400)
def test_no_command_that_reads_to_an_end_waits_for_ever(running: Deployment, monkeypatch) -> None:
    monkeypatch.setattr(kafka_client, "OPEN_SECONDS", 0.3)
    topics = ["score-changes", "transactions.dlq", "applicants", "transactions", "rescore-config", "rescore-learner"]
    topics.append("rescore-publications")
    commands: dict[tuple[str, ...], str] = {
        ("subscribe", "--from-beginning", "--exit-at-end"): "score-changes",
        ("explain", "ann"): "score-changes",
        ("explain", "ann", "--request", "7"): "applicants",
        ("dlq", "list"): "transactions.dlq",
        ("dlq", "replay", "--all"): "transactions.dlq",
        ("models", "list"): "rescore-learner",
        ("models", "promote", "x", "--reason", "y"): "rescore-learner",
        ("profiles", "list"): "rescore-config",
        ("profiles", "learn"): "transactions",
        ("publications",): "rescore-publications",
        ("verify",): "rescore-config",
        ("erase", "ann", "--prove-only", "--wait-seconds", "1"): "transactions",
    }
    with hung(running, topics, "everywhere"):
        for command, topic in commands.items():
            result, seconds = run(running, *command)
            words = " ".join(result.output.split())
            assert seconds < SOME_SECONDS, (command, seconds)
            assert result.exit_code == 1, (command, words)
            assert f"a transaction on {running.settings.topic(topic)}/0 is open since 20" in words, (command, words)
            if command == ("subscribe", "--from-beginning", "--exit-at-end"):
                assert "ann" in result.stdout  # what is committed is shown all the same


@pytest.mark.timeout(400)
def test_a_worker_that_died_while_it_wrote_the_first_versions_keeps_none_from_starting(
    kafka, topics, monkeypatch
) -> None:
    monkeypatch.setattr(kafka_client, "OPEN_SECONDS", 0.3)
    topics.make("rescore-config", "rescore-weights")
    own = {"RESCORE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "RESCORE_TOPIC_PREFIX": topics.prefix}
    chosen = load({**own, "RESCORE_APP": topics.prefix + "app", "RESCORE_CONFIG": ""}).settings
    died = producer(chosen.kafka, f"{chosen.app}.versions")
    died.begin_transaction()
    died.produce(chosen.topic("rescore-config"), b"half", b"policy")
    assert died.flush(30) == 0
    publish_first_versions(chosen)
    records = list(read(chosen.kafka, require_topics(chosen.kafka, map(chosen.topic, ["rescore-config"]))))
    assert [record.key for record in records] == [b"policy"]
    assert records[0].value != b"half"


@pytest.mark.timeout(400)
def test_a_halted_partition_is_not_ok_though_nothing_waits(running: Deployment) -> None:
    result, _ = run(running, "lag")
    assert result.exit_code == 0, result.output
    store = running._store()
    store._client.hset(b"{%b.0}:m" % running.name.encode(), "seq", 9_999)  # as of another deployment's backup
    store.close()
    running.wait(lambda: "is halted" in running.log(0), "the partition is halted")
    assert running.waiting() == 0
    result, _ = run(running, "lag", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["verdict"]) == (1, "HALTED"), told
    assert "the store holds transaction 9999" in told["halted"]["0"]
    assert told["halted"]["0"].rstrip(".") in told["sentence"]
