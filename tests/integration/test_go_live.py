"""A bank loads two years of history and goes live: one deployment, and what was said equals the recount throughout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from local.generator.events import events, population
from schemas.codec import StaticRegistry, decode_value
from schemas.errors import Exit
from schemas.kinds import INPUT_TOPICS
from schemas.times import iso_of
from streams.__main__ import app
from streams.kafka import topics_clock
from streams.kafka.client import admin_of
from streams.kafka.topics import describe
from streams.kafka.topics_clock import CLOCKED_TOPICS, clocks_of
from tests.integration.deployment import RESCORE, Deployment, deployment
from tests.integration.test_open_transactions import hung

DAYS = 730
SECONDS = 60.0


@pytest.fixture(scope="module")
def bank(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """Two years of history of a few customers, which no worker has taken yet."""
    folder = tmp_path_factory.mktemp("bank")
    more = {"CLOCK": "records", "PARTITIONS": "2"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"bank{os.getpid()}", folder, **more) as made:
        send_history(made, DAYS)
        yield made
        made.stop()


def send_history(bank: Deployment, days: int) -> None:
    """The events of a few customers in so many days, up to the day before yesterday."""
    first_day = (datetime.now(UTC) - timedelta(days=days + 2)).date()
    by_topic: dict[str, list[tuple[str, bytes, int]]] = {}
    for event in events(population(11, 8, first_day, days)):
        value = event.value if isinstance(event.value, bytes) else json.dumps(event.value).encode()
        by_topic.setdefault(event.topic, []).append((event.key, value, event.timestamp_ms))
    for topic, values in by_topic.items():
        bank.send(topic, values)


def run(bank: Deployment, *arguments: str, clock: str | None = "records", typed: str | None = None) -> Result:
    """A command in this process, with this RESCORE_CLOCK or without one."""
    env: dict[str, str | None] = {n: v for n, v in bank.environment.items() if n.startswith("RESCORE_")}
    return CliRunner().invoke(app, list(arguments), env=env | {"RESCORE_CLOCK": clock}, input=typed)


def started(bank: Deployment, process: str, clock: str) -> subprocess.CompletedProcess[str]:
    """A process that is expected to end at once."""
    environment = bank.environment | {"RESCORE_CLOCK": clock, "RESCORE_SLOT": "9"}
    return subprocess.run(
        [*RESCORE, process], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def clock(bank: Deployment) -> str | None:
    """What the topics say."""
    return clocks_of(bank.settings.kafka, bank.settings.topic_prefix).clock


def ends(bank: Deployment) -> dict[str, int]:
    """How many records each input and broadcast topic has."""
    return {topic: len(bank.read(topic)) for topic in CLOCKED_TOPICS}


def changes(bank: Deployment) -> list[dict[str, Any]]:
    """Every score change."""
    registry = StaticRegistry()
    return [decode_value("ScoreChange", record.value or b"", registry) for record in bank.read("score-changes")]


def statuses(bank: Deployment, user: str) -> list[float | None]:
    """The status of a customer after each change."""
    return [one["new"] for one in changes(bank) if (one["user_id"], one["score"]) == (user, "status")]


def in_the_file(path: Path, *fields: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in fields))
    return str(path)


def transaction(number: int, at: datetime) -> dict[str, Any]:
    return {
        "event_id": f"go-live-{number}", "user_id": f"c-00000{number}", "transaction_currency": "EUR",
        "transaction_amount": -10.0 - number, "transaction_date": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip


def test_go_live_is_refused_while_nobody_has_taken_the_history(bank: Deployment) -> None:
    before = ends(bank)
    result = run(bank, "topics", "go-live")
    assert result.exit_code == Exit.FAILURE
    assert "the history is not fully taken: no worker runs; " in result.stderr
    assert "rescore worker; then run `rescore topics go-live` again" in result.stderr
    assert (clock(bank), ends(bank)) == ("records", before)


@pytest.mark.parametrize(
    "command",
    [
        ("publish", "FILE"),
        ("publish", "--advance-to", "2020-01-01"),
        ("override", "c-000001", "--score", "status", "--value", "3.5", "--until", "2030-01-01", "--reason", "test"),
        ("override", "c-000001", "--score", "status", "--lift"),
        ("erase", "c-000001", "--yes"),
        ("dlq", "replay", "--all"),
        ("models", "epochs", "300", "--reason", "test"),
        ("profiles", "publish", "PROFILE", "--reason", "test"),
        ("topics", "apply"),
    ],
    ids=" ".join,
)
def test_what_would_stamp_the_present_into_a_history_is_refused_and_writes_nothing(
    bank: Deployment, command: tuple[str, ...], tmp_path: Path
) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text(run(bank, "profiles", "show", "pet_owner", "--packaged").stdout)
    files = {"FILE": in_the_file(tmp_path / "t.jsonl", transaction(1, datetime.now(UTC))), "PROFILE": str(profile)}
    before = ends(bank)
    result = run(bank, *(files.get(word, word) for word in command), clock=None)
    assert result.exit_code == Exit.REFUSED_SETTINGS, result.output
    assert "RESCORE_CLOCK is wall, but topic" in result.stderr
    assert "set RESCORE_CLOCK=records" in result.stderr
    assert (clock(bank), ends(bank)) == ("records", before)


@pytest.mark.parametrize("process", ["worker", "learner"])
def test_a_process_with_the_wrong_clock_does_not_start(bank: Deployment, process: str) -> None:
    before = ends(bank)
    ended = started(bank, process, "wall")
    assert ended.returncode == Exit.REFUSED_SETTINGS
    assert "RESCORE_CLOCK is wall, but topic" in ended.stderr
    assert ends(bank) == before


def test_the_check_of_the_topics_says_so_too(bank: Deployment) -> None:
    result = run(bank, "topics", "check", "--json", clock=None)
    assert result.exit_code == Exit.FAILURE
    (problem,) = json.loads(result.stdout)["problems"]
    assert "RESCORE_CLOCK is wall" in problem["what"]
    assert "rescore topics go-live" in problem["remedy"]


@pytest.mark.timeout(400)
def test_a_history_goes_live_whatever_interrupts_it_and_the_recount_is_equal(
    bank: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    bank.start_worker()
    bank.catch_up()
    with hung(bank, ["transactions"]):
        result = run(bank, "topics", "go-live")
        assert "the history is not fully taken" in result.stderr
        assert "a transaction of a publisher on" in result.stderr
    with hung(bank, ["rescore-config"]):
        result = run(bank, "topics", "go-live")
        assert "the history is not fully taken: a transaction of a publisher on" in result.stderr
    assert (clock(bank), bank.read("commands")) == ("records", [])

    # Killed while it waits for a worker that does not answer: clocks have been moved, nothing has been switched.
    bank.workers[0].send_signal(signal.SIGSTOP)
    process = subprocess.Popen([*RESCORE, "topics", "go-live"], env=bank.environment, stderr=subprocess.PIPE)
    eventually(lambda: len(bank.read("commands")) == 2, "an advance for each partition", SECONDS)
    process.kill()
    process.communicate()
    bank.workers[0].send_signal(signal.SIGCONT)
    assert clock(bank) == "records"

    # Interrupted after the first topic: nothing may write, and the same command finishes.
    set_config, calls = topics_clock.set_config, []

    def interrupted(*arguments: Any, **more: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        set_config(*arguments, **more)

    bank.wait(lambda: bank.waiting() == 0, "the advances are taken")
    with monkeypatch.context() as patched:
        patched.setattr(topics_clock, "set_config", interrupted)
        assert run(bank, "topics", "go-live").exit_code == Exit.INTERRUPTED
    eventually(lambda: clock(bank) == "between", "one topic is live", SECONDS)
    for setting in ("records", None):
        result = run(bank, "override", "c-000001", "--score", "status", "--lift", clock=setting)
        assert result.exit_code == Exit.REFUSED_SETTINGS
        assert "run `rescore topics go-live` again" in result.stderr
    result = run(bank, "topics", "go-live", "--json", clock=None)
    assert result.exit_code == Exit.OK, result.output
    assert len(json.loads(result.stdout)["switched"]) == len(CLOCKED_TOPICS) - 1
    assert clock(bank) == "wall"
    assert "live already" in run(bank, "topics", "go-live").stderr

    # From now on: the running worker follows, time goes on in silence, and the old setting is refused.
    bank.wait(lambda: "the topics went live" in bank.log(0), "the worker follows", SECONDS)
    found = describe(admin_of(bank.settings.kafka), [bank.settings.topic(name) for name in INPUT_TOPICS])
    assert {topic.config["retention.ms"] for topic in found.values()} == {"-1"}
    assert {topic.config["segment.ms"] for topic in found.values()} == {"604800000"}
    file = in_the_file(tmp_path / "today.jsonl", *(transaction(n, datetime.now(UTC)) for n in (1, 2, 3)))
    for command in (("publish", file), ("topics", "apply")):
        result = run(bank, *command)
        assert result.exit_code == Exit.REFUSED_SETTINGS, result.output
        assert "RESCORE_CLOCK is records, but topic" in result.stderr
    assert "RESCORE_CLOCK is records, but topic" in started(bank, "worker", "records").stderr
    bank.more["RESCORE_CLOCK"] = "wall"
    assert run(bank, "topics", "check", clock=None).exit_code == Exit.OK
    assert run(bank, "publish", file, clock=None).exit_code == Exit.OK
    until = iso_of(time.time_ns() // 1_000_000 + 5_000)
    held = ("override", "c-000001", "--score", "status", "--value", "3.5", "--until", until, "--reason", "documents")
    assert run(bank, *held, clock=None).exit_code == Exit.OK
    bank.wait(lambda: 3.5 in statuses(bank, "c-000001")[:-1], "the override ends, with no record", SECONDS)
    bank.catch_up()
    result = run(bank, "replay", "--json", clock=None)
    assert result.exit_code == Exit.OK, result.output


def test_apply_changes_the_clock_of_empty_topics_only(kafka, shared_valkey, tmp_path: Path) -> None:
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"new{os.getpid()}", tmp_path, PARTITIONS="1") as new:
        for wanted in ("records", "wall", "records"):
            assert run(new, "topics", "apply", clock=wanted).exit_code == Exit.OK
            result = run(new, "topics", "check", clock=wanted)
            assert (result.exit_code, clock(new)) == (Exit.OK, wanted), result.output
        new.send("loans", [("ann", b"{}", 1_000_000_000_000)])
        assert run(new, "topics", "apply", clock="wall").exit_code == Exit.REFUSED_SETTINGS
        assert clock(new) == "records"


@pytest.mark.timeout(400)
def test_what_a_history_teaches_is_learned_before_it_goes_live(kafka, shared_valkey, tmp_path: Path) -> None:
    more = {"CLOCK": "records", "PARTITIONS": "2", "LEARNING__EPOCH_SECONDS": str(20 * 86_400)}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"school{os.getpid()}", tmp_path, **more) as school:
        send_history(school, 60)
        school.start_worker()
        school.wait(lambda: "Is `rescore learner` running?" in school.log(0), "clocks wait for the learner")
        result = run(school, "topics", "go-live")
        assert result.exit_code == Exit.FAILURE
        assert "time waits at" in result.stderr
        assert "rescore learner, or read its log; then run `rescore topics go-live` again" in result.stderr
        assert clock(school) == "records"
        school.start_learner()
        school.catch_up()
        result = run(school, "topics", "go-live")
        assert result.exit_code == Exit.OK, result.output
        for slot in school.workers:
            school.wait(
                lambda slot=slot: "the topics went live" in school.log(slot), f"process {slot} follows", SECONDS
            )
        result = run(school, "replay", clock=None)
        assert result.exit_code == Exit.OK, result.output
        school.stop()
