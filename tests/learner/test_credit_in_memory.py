"""Credit models on twins of Kafka and Redis: requests, grants and outcomes through workers and learner, to the byte."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from schemas.batch import DAY_MS
from streams.learning.chances import RunningChances
from streams.log.learner import LEARNER_STEPS
from streams.log.protocol import STEPS
from streams.processing.processor import user_hash
from streams.scoring.models.manifest import protected_attribute
from streams.scoring.models.risk import RISK_MANIFEST
from tests.learner.credit_story import DAYS, FIRST_MS, Teller, lending
from tests.learner.test_epochs_in_memory import Crash, crash_at, run_with_crashes, said
from tests.learner.world import POLICY, VALUES, LearningWorld

STORY = lending()
LEARNING = replace(POLICY, epoch_ms=3 * DAY_MS, request_days=30)


def bank() -> LearningWorld:
    """A world with the whole story in it, and what persons decide on the way."""
    world = LearningWorld(learning=LEARNING)
    grown = {"tree": {"kind": "tree", "window_examples": 100}, "grove": {"kind": "forest", "window_examples": 100}}
    world.declare("acceptance", FIRST_MS, challengers={"steady": {}, "nimble": {"half_life_examples": 5_000}, **grown})
    world.decide("promote", FIRST_MS + 60 * DAY_MS, "steady", model="acceptance")
    world.decide("promote", FIRST_MS + 122 * DAY_MS, "nimble", model="risk")
    world.publish(STORY, advance_days=4)
    return world


@pytest.fixture(scope="module")
def calm() -> LearningWorld:
    world = bank()
    world.run(world.worker(), world.learner())
    return world


def examples(world: LearningWorld, kind: str) -> list[dict]:
    found = [VALUES.decode("rescore-examples", r.value or b"") for r in world.broker.visible("rescore-examples")]
    return [example for example in found if example["kind"] == kind]


def learned(world: LearningWorld, name: str) -> dict:
    body: dict = json.loads(world.models()[b"credit/" + name.encode()])
    return body


def test_a_grant_is_an_example_with_what_was_known_just_before_it(calm):
    grants = [e for e in examples(calm, "request") if e["model"] == "risk"]
    assert len(grants) == len([e for e in STORY if e[0] == "loans" and b'"issued"' in e[2]])
    first = min(grants, key=lambda e: e["timestamp_ms"])
    assert set(first["inputs"]) <= set(RISK_MANIFEST.names)
    assert first["inputs"]["dti"] == pytest.approx(500 / 900, abs=1e-6)
    assert "status" not in first["inputs"]  # no earlier loan was counted
    assert "days_past_due" not in first["inputs"]
    mine = sorted((e for e in grants if e["user_hash"] == user_hash(b"p1", b"key")), key=lambda e: e["timestamp_ms"])
    assert mine[-1]["inputs"]["status"] > 2.2  # by then loans were paid on time


def test_no_protected_attribute_is_among_the_inputs_and_each_is_kept_aside(calm):
    asked = [e for e in examples(calm, "request") if e["model"] == "acceptance"]
    assert asked
    assert not [name for e in asked for name in e["inputs"] if protected_attribute(name)]
    assert {e["aside"]["gender"] for e in asked} == {"female", "male"}
    groups = learned(calm, "acceptance")["fairness"]["groups"]["gender"]
    assert set(groups) == {"female", "male"}


def test_no_id_of_anybody_is_in_an_example(calm):
    values = b"".join(r.value or b"" for r in calm.broker.visible("rescore-examples"))
    assert b"p1-4" not in values
    assert b"request/" not in values


def test_a_loan_unpaid_on_day_91_is_a_default_and_every_other_was_paid(calm):
    told = [e for e in examples(calm, "outcome") if e["model"] == "risk"]
    assert told
    assert all(e["label"] == 1.0 for e in told)
    body = learned(calm, "risk")
    taught = body["lately"]["steady"]["examples"]
    loans = [e[2] for e in STORY if e[0] == "loans"]
    issued, cancelled = ([one for one in loans if word in one] for word in (b'"issued"', b'"cancelled"'))
    assert body["counts"]["withdrawn"] == len(cancelled)
    assert taught == len(issued) - len(cancelled)


def test_whatever_comes_of_requests_is_counted(calm):
    counts = learned(calm, "acceptance")["counts"]
    asked = {e[1] for e in STORY if e[0] == "applicants" and b"credit.loan" in e[2]}
    answered = [e[1] for e in STORY if e[0] == "outcomes"]
    assert counts["requests"] == len(asked)
    assert counts["contradicted"] == len(answered) - len(set(answered)) > 10
    assert counts["unanswered"] > 0
    assert counts["unknown"] > 0
    assert learned(calm, "acceptance")["lately"]["steady"]["examples"] == len(asked & set(answered))


def test_challengers_learn_what_the_packaged_model_does_not_know(calm):
    model = calm.learner()
    while not model.credit:
        model.turn()
    acceptance = model.credit["acceptance"]
    assert acceptance.lately["steady"].auc > 0.8
    assert acceptance.lately["steady"].log_loss < acceptance.approved[0].lately.log_loss
    assert acceptance.cases.size_bytes > 0


def test_trees_learn_every_case_and_what_is_kept_of_them_is_bounded_by_their_windows(calm):
    body = learned(calm, "acceptance")
    for name in ("tree", "grove"):
        assert body["lately"][name]["examples"] == body["lately"]["steady"]["examples"]
        assert RunningChances.of(body["lately"][name]).auc > 0.65
        kept = [key for key in calm.models() if key.startswith(b"credit/acceptance/seen/" + name.encode())]
        assert 50 <= len(kept) <= 100
    risk = [key for key in calm.models() if key.startswith(b"credit/risk/seen/tree/")]
    assert len(risk) == learned(calm, "risk")["lately"]["tree"]["examples"]


def test_nothing_is_adopted_but_by_a_person(calm):
    versions = [VALUES.decode("rescore-weights", value) for _, _, value in calm.weights()]
    others = [version for version in versions if version["model"] is not None]
    assert [version["model"] for version in others] == ["acceptance", "risk"]
    assert all(version["cause"].startswith("promoted") for version in others)
    lines = learned(calm, "acceptance")["timeline"]
    assert [(line[1], line[3]) for line in lines] == [("promoted", "ann")]


def test_a_promoted_risk_version_moves_the_streams_score_when_it_comes_into_force(calm):
    (version,) = [
        said for _, _, value in calm.weights() if (said := VALUES.decode("rescore-weights", value))["model"] == "risk"
    ]
    changes = [
        said
        for values in calm.outputs()["score-changes"].values()
        for value in values
        if (said := VALUES.decode("score-changes", value))["score"] == "risk"
    ]
    moved = [change for change in changes if change["decided_ms"] == version["effective_ms"]]
    assert len(moved) > 5
    assert {change["weights_version"] for change in moved} == {version["version"]}
    assert all(any(r["code"] == "new_weights" and r["moved"] for r in change["reasons"]) for change in moved)
    assert {c["weights_version"] for c in changes if c["decided_ms"] < version["effective_ms"]} == {"risk-1"}


def test_functions_score_with_the_version_in_force(calm):
    known = calm.broadcast(calm.learner()._log, False)
    while not known.read_on():
        pass
    after = FIRST_MS + DAYS * DAY_MS
    assert known.versions.refused == ()
    assert known.versions.model_at("acceptance", FIRST_MS).version == "acceptance-1"
    assert known.versions.model_at("acceptance", after).version.startswith("acceptance-2025")
    assert known.versions.model_at("home_insurance", after).version == "home_insurance-1"


@pytest.mark.parametrize("workers, records_max", [(1, 7), (2, 300)])
def test_the_number_of_workers_and_the_cuts_of_batches_alter_no_byte(calm, workers, records_max):
    world = bank()
    world.run(*(world.worker(slot, records_max=records_max) for slot in "ab"[:workers]), world.learner())
    assert said(world) == said(calm)


@pytest.mark.parametrize("step", ["L2.learned", "L5.all_written", "L7.committed"])
def test_a_learner_that_crashes_says_the_same(calm, step):
    assert step in LEARNER_STEPS
    world = bank()
    failpoint = crash_at(step, 20)
    assert run_with_crashes(world, world.worker, lambda: world.learner(failpoint)) == 1
    assert said(world) == said(calm)


def test_crashes_of_both_at_random_say_the_same(calm):
    chance, world = random.Random(3), bank()
    assert STEPS

    def reach(_step: str) -> None:
        if chance.random() < 0.015:
            raise Crash

    assert run_with_crashes(world, lambda: world.worker("a", reach), lambda: world.learner(reach)) > 5
    assert said(world) == said(calm)


LEASES = {
    "purpose": "credit",
    "features": [{"name": "dti", "knots": [0, 0.3, 0.6]}, {"name": "type", "kind": "category"}],
}


def test_a_declared_model_learns_from_its_requests_and_an_undeclared_one_is_counted():
    world, teller = LearningWorld(), Teller()
    world.declare("leases", FIRST_MS, **LEASES, challengers={"only": {}})
    for number in range(60):
        at_ms = FIRST_MS + DAY_MS + number * 3_600_000
        teller.ask(number, at_ms, model="leases", dti=number / 60, type="car", gender="female", shoe_size=44.0)
        teller.answer(number, at_ms + 60_000, number > 30, "leases")
        teller.ask(1_000 + number, at_ms, model="gossip")
    world.publish(teller.events, advance_days=4)
    world.run(world.worker(), world.learner())
    asked = [e for e in examples(world, "request") if e["model"] == "leases"]
    assert {name for e in asked for name in e["inputs"]} == {"dti", "type"}
    body = learned(world, "leases")
    assert set(body["lately"]) == {"only"}
    assert body["lately"]["only"]["examples"] == 60
    assert body["approved"] == []
    assert json.loads(world.memory()[b"checkpoint"])["unknown"] == 60
    assert b"credit/gossip" not in world.models()


def test_an_outcome_told_of_a_loan_counts_as_its_end_and_time_then_contradicts_nothing():
    world, teller = LearningWorld(), Teller()
    teller.declare("ann", FIRST_MS, income=2_000.0)
    for loan in ("told", "left", "moved"):
        teller.lend("ann", loan, FIRST_MS + DAY_MS, 5)
    teller.tell("outcomes", "ann", FIRST_MS + 9 * DAY_MS, user_id="ann", loan_id="told", model="risk", label=True)
    terms = {"order_amount": 500.0, "currency": "EUR", "order_date": "2025-01-02", "due_date": "2025-01-20"}
    teller.tell(
        "loans", "ann", FIRST_MS + 3 * DAY_MS, user_id="ann", event="issued", loan_id="moved", revision=1, **terms
    )
    teller.pay("ann", FIRST_MS + 105 * DAY_MS, 5.0)
    world.publish(teller.events, advance_days=10)
    world.run(world.worker(), world.learner())
    defaults = [e for e in examples(world, "outcome") if e["label"] == 1.0]
    assert sorted((e["timestamp_ms"] - FIRST_MS) // DAY_MS for e in defaults) == [9, 97, 97, 110]
    body = learned(world, "risk")
    assert body["counts"] == {"requests": 3, "moved": 1, "repeated": 1}
    assert body["lately"]["steady"]["examples"] == 3
    assert sum(body["lately"]["steady"]["happened"]) > 2.9


def test_a_customer_who_has_declared_nothing_is_no_case():
    world, teller = LearningWorld(), Teller()
    teller.lend("bob", "b1", FIRST_MS, 5)
    world.publish(teller.events, advance_days=120)
    world.run(world.worker(), world.learner())
    assert examples(world, "request") == examples(world, "outcome") == []


def test_an_erased_customer_leaves_no_case():
    world, teller = LearningWorld(), Teller()
    teller.declare("ann", FIRST_MS, request_id=7, income=2_000.0)
    teller.lend("ann", "a1", FIRST_MS + DAY_MS, 5)
    teller.tell("commands", "ann", FIRST_MS + 5 * DAY_MS, user_id="ann", command="erase", author="o", reason="asked")
    world.publish(teller.events, advance_days=4)
    world.run(world.worker(), world.learner())
    assert learned(world, "risk")["counts"] == {"requests": 2, "erased": 2}
    assert not [key for key in world.models() if b"/case/" in key or b"/row/" in key or b"/seen/" in key]
