"""Why a request was declined and what would have been enough: asked again with that, the answer is another one."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from schemas.topic_values import Values
from streams.__main__ import app
from streams.composition.topics import options_of
from streams.customers.adverse import Counterfactual
from streams.customers.requests import Asked, Verdict, lines, verdict, way_words
from streams.customers.story_documents import request_explanation
from streams.kafka.client import admin_of, producer
from streams.kafka.producer import Published, finish, send
from streams.kafka.topics import apply
from streams.scoring.models.specs import PACKAGED_SPECS
from streams.settings import load
from streams.versions.packaged_models import packaged_model
from tests.scoring import random_streams as streams

POOR = {
    "model": "acceptance", "credit.value": 200_000.0, "credit.loan": 195_000.0, "credit.time": 20.0, "credit.tin": 3.5,
    "client1.income": 1_900.0, "client1.renta": 26_000.0, "client1.debt_month": 450.0, "client1.debt_total": 20_000.0,
    "client1.time": 2.0, "client1.contract": "temporary",
}  # fmt: skip
STRANGER = {"income": 600.0, "debt": 500.0, "renta": 500.0, "debt_total": 60_000.0, "working_time": 5.0, "moroso": 1.0,
            "loan_amount": 90_000.0}  # fmt: skip
VERSIONS = streams.versions()


def said_of(attributes: dict[str, Any], name: str = "acceptance", **declared: float) -> Verdict:
    asked = Asked({"attributes": attributes, **declared}, streams.START_MS, VERSIONS)
    return verdict(PACKAGED_SPECS[name], packaged_model(name), asked)


def test_each_way_that_would_have_been_enough_is_enough_and_hardly_less_is_not() -> None:
    said = said_of(POOR)
    assert said.declined
    assert said.enough
    for way in said.enough:
        changed = {**POOR, way.name: way.needed}
        if way.name == "together":
            changed = POOR | {n: POOR[n] * way.needed for n in POOR if n.endswith(("loan", "debt_month", "debt_total"))}
        assert not said_of(changed).declined
        if way.name != "together":
            back = way.now + (way.needed - way.now) * 0.97 - (0.0 if way.needed < way.now else 1e-9)
            assert said_of({**POOR, way.name: back}).chance <= said_of(changed).chance


def test_reasons_against_are_at_most_four_each_above_nothing_the_largest_first() -> None:
    said = said_of(POOR)
    amounts = [reason.shortfall for reason in said.shortfalls]
    assert 0 < len(amounts) <= 4
    assert amounts == sorted(amounts, reverse=True)
    assert min(amounts) > 0
    assert "client1.income" not in said.used  # what is told are the model's inputs
    assert said.used["ltv"] == pytest.approx(0.975)


def test_who_was_accepted_is_given_no_reasons_and_no_ways() -> None:
    rich = POOR | {"credit.loan": 60_000.0, "client1.income": 6_000.0, "client1.debt_month": 0.0}
    said = said_of(rich)
    assert not said.declined
    assert not said.enough
    text = lines(said, "request 7", "today")
    assert text[0].startswith("request 7: not declined by acceptance")
    assert len(text) == 2
    assert json.loads(json.dumps(request_explanation("ann", 7, 0, said)))["declined"] is False


def test_a_request_to_the_risk_model_is_told_by_what_is_declared_in_it_alone() -> None:
    said = said_of({}, "risk", **STRANGER)
    assert said.declined  # a chance of default in the policy's worst band
    assert said.chance > VERSIONS.policy_at(streams.START_MS).risk_band_floors[-1]
    assert said.used["moroso"] == 1.0
    assert not {"trx_income", "status", "days_past_due"} & set(said.used)  # no account, no loans
    assert not said.enough  # nothing near would do for somebody listed as a bad debtor
    unlisted = {**STRANGER, "moroso": 0.0, "working_time": 2_000.0}
    ways = said_of({}, "risk", **unlisted).enough
    assert ways
    for way in ways:
        less = ("debt", "debt_total", "renta", "loan_amount") if way.name == "together" else ()
        changed = {name: unlisted[name] * way.needed for name in less} or {way.name: way.needed}
        assert not said_of({}, "risk", **{**unlisted, **changed}).declined
    good = said_of({}, "risk", income=4_000.0, debt=100.0, moroso=0.0, working_time=3_000.0)
    assert not good.declined
    assert not good.enough


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
    told: list[tuple[bytes, dict[str, Any]]] = [
        (b"ann", {"user_id": "ann", "request_id": 40, "attributes": POOR}),
        (b"ann", {"user_id": "ann", "request_id": 41, "attributes": POOR}),
        (b"41", {"request_id": 41, "attributes": POOR | {"credit.loan": 60_000.0}}),
        (b"77", {"request_id": 77, **STRANGER}),
        (b"78", {"user_id": "78", "request_id": 78, "attributes": POOR}),
        (b"78", {"request_id": 78, **STRANGER}),
    ]
    for key, fields in told:
        send(sender, done, topic=chosen.topic("applicants"), key=key, value=encode(fields))
    finish(sender, done)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["explain", *arguments])

    found = run("ann", "--request", "41", "--json")
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert (said["user_id"], said["request_id"], said["model"], said["declined"]) == ("ann", 41, "acceptance", True)
    assert said["enough"]
    assert said["contest"]
    text = run("ann", "--request", "41").stdout
    assert text.startswith("request 41 of customer ann: declined")
    assert "would have been enough" in text
    for missing in (run("ann", "--request", "42"), run("--request", "40")):
        assert missing.exit_code == 1
        assert "is on" in missing.output
    # A request that names no customer is not that of a customer of its number.
    for arguments in (("--request", "77"), ("77", "--request", "77")):
        assert run(*arguments).stdout.startswith("request 77 (names no customer): declined by risk risk-1")
    assert json.loads(run("--request", "77", "--json").stdout)["user_id"] is None
    assert run("--request", "41").stdout.startswith("request 41 (names no customer): ")
    both = run("78", "--request", "78")
    assert both.stdout.startswith("request 78 of customer 78: declined by acceptance")
    assert "another request 78 names no customer: rescore explain --request 78" in both.stderr
    assert run("--request", "78").stdout.startswith("request 78 (names no customer): declined by risk")
    alone = run("77")
    assert alone.exit_code == 1
    assert "no score of a customer '77' has changed; there is a request 77, which names no customer" in alone.stderr
    assert "rescore explain --request 77" in alone.stderr
    assert "rescore inspect ann" in run("ann").stderr
    assert run().exit_code == 2
