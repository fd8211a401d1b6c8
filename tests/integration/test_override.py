"""An override is checked before it is sent, is held, and its end is told; what programs read of it is documented."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from schemas.errors import Exit
from streams.__main__ import app
from streams.publish.events import time_ms
from tests.integration.deployment import Deployment, deployment

DAY = "2026-03-01T10:00:00Z"
FIELDS = {"user_id": "ann", "transaction_currency": "EUR", "transaction_amount": 1_000.0, "transaction_date": DAY}
UNTIL = ("--until", "2026-04-01T00:00:00Z")
WHY = ("--reason", "documents seen")


@pytest.fixture(scope="module")
def bank(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    folder, more = tmp_path_factory.mktemp("override"), {"PARTITIONS": "1", "CLOCK": "records"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"over{os.getpid()}", folder, **more) as made:
        made.start_worker()
        value = json.dumps(FIELDS | {"event_id": "t"}).encode()
        made.send("transactions", [("ann", value, time_ms(DAY))])
        made.catch_up()
        yield made
        made.stop()


def run(bank: Deployment, *arguments: str) -> Result:
    environment = {name: value for name, value in bank.environment.items() if name.startswith("RESCORE_")}
    return CliRunner().invoke(app, list(arguments), env=environment, catch_exceptions=False)


@pytest.mark.timeout(500)
def test_every_mistake_is_told_and_nothing_is_sent_and_the_end_of_an_override_is_told(bank: Deployment) -> None:
    def override(user: str, score: str, *more: str) -> Result:
        return run(bank, "override", user, "--score", score, *more)

    for score, value, words in (
        ("value", "9", "value can be fixed at a number from 0 to 5, not at '9'"),
        ("status", "nan", "status can be fixed at a number from 0 to 5"),
        ("class", "2.5", "class can be fixed at a whole number from 1 to 6"),
        ("rfm", "678", "rfm can be fixed at three digits from 1 to 5"),
        ("segment", "best", "segment can be fixed at one of none, new"),
        ("profiles", "1", "profiles cannot be fixed"),
        ("statsu", "1", "there is no score 'statsu'"),
    ):
        refused = override("ann", score, "--value", value, *UNTIL, *WHY)
        assert (refused.exit_code, words in refused.stderr) == (Exit.USAGE, True), refused.stderr
    wrong_end = ("--value", "4", "--until", "2026-02-01")
    assert "would have expired" in override("ann", "value", *wrong_end, *WHY).stderr
    assert "needs a reason" in override("ann", "value", "--value", "4", *UNTIL, "--reason", " ").stderr
    assert "needs a value and an end" in override("ann", "value", "--value", "4", *WHY).stderr
    unknown = override("Ann", "value", "--value", "4", *UNTIL, *WHY)
    assert unknown.exit_code == Exit.FAILURE
    assert "no customer 'Ann' is known; nothing was sent" in unknown.stderr
    assert "value of 'ann' has no override" in override("ann", "value", "--lift").stderr
    assert bank.read("commands") == []

    assert override("ann", "value", "--value", "4.25", *UNTIL, *WHY, "--author", "kim").exit_code == Exit.OK
    assert override("new", "segment", "--value", "regular", *UNTIL, *WHY, "--create").exit_code == Exit.OK
    bank.catch_up()
    scores = {one["score"]: one for one in json.loads(run(bank, "inspect", "ann", "--json").stdout)["scores"]}
    assert scores["value"]["value"] == 4.25
    assert scores["value"]["override"] == {"value": 4.25, "until": "2026-04-01T00:00:00.000Z", "author": "kim"}
    assert override("ann", "value", "--lift", *WHY).exit_code == Exit.OK
    bank.catch_up()
    told = run(bank, "explain", "ann", "--score", "value")
    assert "the manual override ended" in told.stdout
    (story,) = json.loads(run(bank, "explain", "ann", "--score", "value", "--json").stdout)["scores"]
    assert [change["cause"]["kind"] for change in story["changes"]] == ["event", "override", "override"]
    assert {reason["code"] for reason in story["now"]["reasons"]} >= {"override_ended"}
    assert story["changes"][1]["new"] == 4.25
