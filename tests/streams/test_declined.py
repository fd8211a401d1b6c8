"""Why a request was declined and what would have been enough: asked again with that, the answer is another one."""

from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from streams.__main__ import app
from streams.avro_values import Values
from streams.commands.topics import options_of
from streams.declined import as_json, lines, verdict, way_words
from streams.kafka_client import admin_of, producer
from streams.packaged_models import packaged_model
from streams.publish import Published, finish, send
from streams.scoring.adverse import Counterfactual
from streams.scoring.specs import PACKAGED_SPECS
from streams.settings import load
from streams.topics import apply

POOR = {
    "model": "acceptance", "credit.value": 200_000.0, "credit.loan": 195_000.0, "credit.time": 20.0, "credit.tin": 3.5,
    "client1.income": 1_900.0, "client1.renta": 26_000.0, "client1.debt_month": 450.0, "client1.debt_total": 20_000.0,
    "client1.time": 2.0, "client1.contract": "temporary",
}  # fmt: skip
SPEC, MODEL = PACKAGED_SPECS["acceptance"], packaged_model("acceptance")


def test_each_way_that_would_have_been_enough_is_enough_and_hardly_less_is_not() -> None:
    said = verdict(SPEC, MODEL, POOR)
    assert said.declined
    assert said.enough
    for way in said.enough:
        changed = {**POOR, way.name: way.needed}
        if way.name == "together":
            changed = POOR | {n: POOR[n] * way.needed for n in POOR if n.endswith(("loan", "debt_month", "debt_total"))}
        assert not verdict(SPEC, MODEL, changed).declined
        if way.name != "together":
            back = way.now + (way.needed - way.now) * 0.97 - (0.0 if way.needed < way.now else 1e-9)
            assert verdict(SPEC, MODEL, {**POOR, way.name: back}).chance <= verdict(SPEC, MODEL, changed).chance


def test_reasons_against_are_at_most_four_each_above_nothing_the_largest_first() -> None:
    said = verdict(SPEC, MODEL, POOR)
    amounts = [reason.shortfall for reason in said.shortfalls]
    assert 0 < len(amounts) <= 4
    assert amounts == sorted(amounts, reverse=True)
    assert min(amounts) > 0
    assert "client1.income" not in said.used  # what is told are the model's inputs
    assert said.used["ltv"] == pytest.approx(0.975)


def test_who_was_accepted_is_given_no_reasons_and_no_ways() -> None:
    rich = POOR | {"credit.loan": 60_000.0, "client1.income": 6_000.0, "client1.debt_month": 0.0}
    said = verdict(SPEC, MODEL, rich)
    assert not said.declined
    assert said.enough == []
    text = lines(said, 7, "today")
    assert text[0].startswith("request 7: not declined by acceptance")
    assert len(text) == 2
    assert json.loads(json.dumps(as_json(said)))["declined"] is False


def test_ways_are_told_in_words() -> None:
    assert way_words(Counterfactual("client2.debt_month", 300.0, 90.0)) == (
        "monthly payments on other debts, second person, of 90.00 instead of 300.00"
    )
    assert way_words(Counterfactual("together", 1.0, 0.8)) == "all debts and the loan smaller by 20.0%"


def test_the_command_finds_a_request_and_says_what_the_decision_has_to_say(kafka, prefix, monkeypatch) -> None:
    for name, value in {
        "RESCORE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "RESCORE_TOPIC_PREFIX": f"{prefix}.",
        "RESCORE_APP": prefix.strip("-"),
        "RESCORE_PARTITIONS": "2",
    }.items():
        monkeypatch.setenv(name, value)
    chosen = load(dict(os.environ)).settings
    apply(admin_of(chosen.kafka), options_of(chosen))
    sender, done, encode = producer(chosen.kafka), Published(), Values().encoder("applicants")
    for number in (40, 41):
        fields = {"user_id": "ann", "request_id": number, "attributes": POOR}
        send(sender, done, topic=chosen.topic("applicants"), key=b"ann", value=encode(fields))
    finish(sender, done)
    told = CliRunner().invoke(app, ["explain", "ann", "--request", "41", "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert (said["request_id"], said["model"], said["declined"]) == (41, "acceptance", True)
    assert said["enough"]
    assert said["contest"]
    text = CliRunner().invoke(app, ["explain", "ann", "--request", "41"]).stdout
    assert "would have been enough" in text
    missing = CliRunner().invoke(app, ["explain", "ann", "--request", "42"])
    assert missing.exit_code == 1
    assert "no request 42" in missing.output
