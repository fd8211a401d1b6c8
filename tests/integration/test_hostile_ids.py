"""Every command, shown ids that are made to take a terminal over: nothing of them is obeyed, and `--json` is exact.

A real deployment of one worker: a customer, loans, points, dead letters with headers, overrides with authors and
reasons, profiles with titles, files with names. A command that is not in the tables below makes the first test fail.
"""

from __future__ import annotations

import json
import os
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.main import get_command
from typer.testing import CliRunner, Result

from schemas.times import iso_of
from streams.__main__ import app
from streams.learner.checkpoint import CHECKPOINT, MODEL
from streams.learning.decisions import Order
from streams.versions.profile_files import read_profile, text_of_profile
from tests.integration.deployment import Deployment, deployment
from tests.learner.synthetic import Bank, calm
from tests.streams.hostile import HOSTILE, SHOWN, check_clean

NOW_MS = time.time_ns() // 1_000_000
DAY_MS = 86_400_000
PROFILE = {"id": "camper", "title": HOSTILE, "text": HOSTILE, "purpose": "marketing", "half_life_days": 90}
BRIEF = {"mcc": "7033", "description": HOSTILE, "category": HOSTILE}

SHOW_HOSTILE: dict[str, tuple[str, ...]] = {
    "publish": ("publish", "FILE", "--skip-bad-lines"),
    "publications": ("publications",),
    "publish --dry-run": ("publish", "FILE", "--dry-run"),
    "subscribe": ("subscribe", "--from-beginning", "--exit-at-end"),
    "inspect": ("inspect", HOSTILE),
    "explain": ("explain", HOSTILE),
    "explain --adverse": ("explain", HOSTILE, "--adverse"),
    "explain --request": ("explain", HOSTILE, "--request", "7"),
    "lag": ("lag", "--seconds", "0.5"),
    "verify": ("verify", "--user", HOSTILE),
    "override": ("override", HOSTILE, "--score", "value", "--value", "3", "--until", "2090-01-01", "--reason", HOSTILE),
    "override --lift": ("override", HOSTILE, "--score", "value", "--lift", "--author", HOSTILE),
    "dlq list": ("dlq", "list"),
    "dlq show": ("dlq", "show", "LETTER"),
    "dlq replay": ("dlq", "replay", HOSTILE),
    "dlq drop": ("dlq", "drop", HOSTILE, "--yes"),
    "models list": ("models", "list"),
    "models show": ("models", "show", HOSTILE),
    "models promote": ("models", "promote", HOSTILE, "--reason", HOSTILE),
    "models rollback": ("models", "rollback", HOSTILE, "--reason", HOSTILE),
    "models freeze": ("models", "freeze", "--name", HOSTILE, "--reason", HOSTILE),
    "models thaw": ("models", "thaw", "--name", HOSTILE, "--reason", HOSTILE),
    "models envelope": ("models", "envelope", "--name", HOSTILE, "--reason", HOSTILE),
    "models declare": ("models", "declare", HOSTILE, "FILE", "--reason", HOSTILE),
    "models epochs": ("models", "epochs", "60", "--adopt", HOSTILE, "--reason", HOSTILE),
    "models challenge": ("models", "challenge", HOSTILE, HOSTILE, "--reason", HOSTILE),
    "profiles publish": ("profiles", "publish", "PROFILE", "--reason", HOSTILE, "--author", HOSTILE),
    "profiles list": ("profiles", "list"),
    "profiles show": ("profiles", "show", HOSTILE),
    "profiles check": ("profiles", "check", "PROFILE"),
    "profiles learn": ("profiles", "learn", "--reason", HOSTILE),
    "topics apply": ("topics", "apply"),
    "topics check": ("topics", "check"),
    "topics go-live": ("topics", "go-live", "--wait-seconds", "1"),
    "config show": ("config", "show"),
    "config check": ("config", "check"),
    "erase": ("erase", HOSTILE, "--yes", "--reason", HOSTILE, "--author", HOSTILE, "--prove"),
    "a wrong argument": ("inspect", "ann", HOSTILE),
    "a wrong option": (f"--{HOSTILE}",),
    "a wrong command": (HOSTILE,),
    "a wrong value": ("subscribe", "--score", HOSTILE),
}
"""By name: what is run, with the files FILE and PROFILE in their places."""

WITHOUT_IDS = {"demo", "worker", "learner", "evaluate", "bench"}
"""They run for long and show what they have made up themselves, or write logs (`tests/streams/test_terminal.py`)."""

NOTHING_HOSTILE = {
    "explain --adverse", "lag", "verify", "profiles publish", "profiles list", "profiles learn",
    "topics apply", "topics check", "topics go-live", "config show", "config check", "models epochs",
}  # fmt: skip
"""What these show of this deployment names nothing of a stranger's."""

EXACT_JSON = ("subscribe", "inspect", "explain", "dlq list", "dlq show", "override", "erase")
"""Those whose `--json` names the customer."""


def commands() -> set[str]:
    found = set()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        if command.hidden:
            continue
        inner = getattr(command, "commands", {})
        found |= {f"{name} {one}" for one in inner} if inner and name not in WITHOUT_IDS else {name}
    return found - WITHOUT_IDS


def test_no_command_is_forgotten() -> None:
    assert commands() <= set(SHOW_HOSTILE)


@pytest.fixture(scope="module")
def bank(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """A worker that has taken a hostile customer with a loan, and refused some of their events."""
    folder = tmp_path_factory.mktemp("hostile")
    more = {"PARTITIONS": "1", "RETENTION_DAYS": "365"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"hostile{os.getpid()}", folder, **more) as made:
        made.start_worker()
        producer = Producer({"bootstrap.servers": made.bootstrap_servers})

        def send(topic: str, fields: dict[str, object], key: str = HOSTILE) -> None:
            value = json.dumps({"user_id": HOSTILE} | fields).encode()
            producer.produce(made.settings.topic(topic), value, key.encode(), headers=[(HOSTILE, HOSTILE.encode())])

        day = {"transaction_currency": "EUR", "transaction_amount": -50.0, "transaction_date": iso_of(NOW_MS)}
        send("transactions", {**day, **BRIEF, "event_id": HOSTILE})
        for number in range(4):
            send("transactions", {**day, **BRIEF, "event_id": f"{HOSTILE}{number}"})
        send("transactions", {**day, "event_id": "x", "transaction_currency": HOSTILE})
        send("transactions", {**day, "event_id": "y"}, key=f"{HOSTILE}2")
        loan = {
            "event": "issued", "loan_id": HOSTILE, "order_amount": 100.0, "currency": "EUR", "point": HOSTILE,
            "province": HOSTILE, "order_date": iso_of(NOW_MS - 90 * DAY_MS), "due_date": iso_of(NOW_MS - 40 * DAY_MS),
        }  # fmt: skip
        send("loans", {**loan, "event_id": "l"})
        request = {"request_id": 7, "attributes": {"model": HOSTILE}, "event_id": "r"}
        send("applicants", request)
        held = {"command": "override", "score": "status", "value": 3.0, "expires_at": "2090-01-01"}
        send("commands", {**held, "author": HOSTILE, "reason": HOSTILE, "event_id": "o"})
        for key, body in remembered().items():
            producer.produce(made.settings.topic("rescore-learner"), json.dumps(body).encode(), key)
        assert producer.flush(30) == 0
        made.wait(lambda: HOSTILE.encode() in made.rows(), "the customer is known")
        made.wait(lambda: made.waiting() == 0, "everything is taken")
        yield made
        made.stop()


def remembered() -> dict[bytes, dict[str, Any]]:
    """What a learner would have written down: a version and a decision under hostile names."""
    learned = Bank(calm)
    learned.live(2, Order("freeze", "", HOSTILE, HOSTILE))
    body = learned.model.body()
    body["approved"][0]["version"] = HOSTILE
    checkpoint = {"done_ms": NOW_MS, "open_until": {}, "unknown": 0, "partitions": {}}
    return {CHECKPOINT: checkpoint, MODEL: body}


def run(bank: Deployment, *arguments: str) -> Result:
    environment = {name: value for name, value in bank.environment.items() if name.startswith("RESCORE_")}
    return CliRunner().invoke(app, list(arguments), env=environment, catch_exceptions=False)


def letter(bank: Deployment) -> dict[str, str]:
    """The name of a dead letter that is open."""
    listed = run(bank, "dlq", "list", "--json").stdout.splitlines()
    return {"LETTER": json.loads(listed[0])["letter"]}


def files(folder: Path) -> dict[str, str]:
    """A data file and a profile, under names that are hostile as well."""
    name = HOSTILE.replace("/", "")
    data, profile = folder / f"{name}.csv", folder / f"{name}.toml"
    row = f'"{HOSTILE}",{{}},EUR,{iso_of(NOW_MS)},{{}}\n'
    head = "user_id,transaction_amount,transaction_currency,transaction_date,mcc\n"
    data.write_text(head + row.format("x", "") + row.format("1", "742"), "utf-8", newline="")
    lines = [f"{key} = {json.dumps(value)}" for key, value in PROFILE.items()]
    profile.write_text("\n".join([*lines, "[[triggers]]", 'categories = ["lodging"]', "purchases = 3"]), "utf-8")
    return {"FILE": str(data), "PROFILE": str(profile)}


@pytest.mark.timeout(500)
def test_nothing_that_a_terminal_obeys_is_shown_by_any_command(bank: Deployment, tmp_path) -> None:
    made, silent = files(tmp_path) | letter(bank), set()
    for name, given in SHOW_HOSTILE.items():
        result = run(bank, *(made.get(argument, argument) for argument in given))
        assert "Traceback" not in result.output, (name, result.output)
        check_clean(result.stdout)
        check_clean(result.stderr)
        if SHOWN.split("]0")[0] not in result.output:
            silent.add(name)
    assert silent == NOTHING_HOSTILE, silent ^ NOTHING_HOSTILE
    check_clean(bank.log(0))


@pytest.mark.timeout(500)
def test_json_names_customers_exactly(bank: Deployment, tmp_path) -> None:
    made = files(tmp_path) | letter(bank)
    for name in EXACT_JSON:
        result = run(bank, *(made.get(argument, argument) for argument in SHOW_HOSTILE[name]), "--json")
        check_clean(result.stdout)
        for line in result.stdout.splitlines():
            told = json.loads(line)
            assert HOSTILE in str(told.get("user_id") or told["key"]), (name, told)


def test_a_profile_is_shown_as_the_file_it_came_from(tmp_path) -> None:
    profile = read_profile(Path(files(tmp_path)["PROFILE"]).read_text("utf-8"))
    check_clean(text_of_profile(profile))
    assert tomllib.loads(text_of_profile(profile))["title"] == HOSTILE
    assert read_profile(text_of_profile(profile)) == profile
