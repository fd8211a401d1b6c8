"""Credit models come into force by persons or an envelope, are kept from drift and poison, go back by themselves."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from schemas.batch import DAY_MS
from streams.learner.report import Remembered, as_tables, details, more_lines, summary, timeline_lines
from streams.learning.bayesian import BayesianLogisticRegression
from streams.learning.cases import CaseExample
from streams.learning.decisions import Order
from streams.scoring.models.model import ModelWeights, read_model
from tests.learner.credit_synthetic import FIRST_DAY, SPEC, Lender, plain, usual

PROMOTE = Order("promote", "steady", "ann", "card 7")
ENVELOPE = Order("envelope", "", "board", "minutes of March")


def flipped(first: int, last: int):
    """Answers upside down on some days: who paid is told as in default."""
    return lambda day, x: -plain(day, x) if first <= day < last else plain(day, x)


def shifted(first: int):
    """Other people ask from a day on."""
    return lambda day, rng, count: usual(day, rng, count) + (1.5 if day >= first else 0.0)


def test_nothing_comes_into_force_by_itself_however_good_it_is():
    lender = Lender()
    lender.live(60)
    assert lender.closed == []
    assert lender.model.lately["steady"].auc > 0.78
    assert lender.model.champion is None


def test_a_person_promotes_a_challenger_with_name_and_reason():
    lender = Lender()
    lender.live(30)
    lender.live(1, PROMOTE)
    (closed,) = lender.closed
    made = closed.weights
    assert isinstance(made, ModelWeights)
    assert (made.name, made.version) == ("leases", lender.model.champion.version)
    model = read_model(made.body, "leases", "credit", made.version)
    assert model.weights.mean.tolist() == np.round(lender.model.learners["steady"].weights.mean, 9).tolist()
    (line,) = lender.model.timeline
    assert (line.what, line.who, line.why) == ("promoted", "ann", "steady: card 7")


def test_too_few_outcomes_are_refused_whoever_asks():
    lender = Lender()
    lender.live(4)
    lender.live(2, PROMOTE)
    (line,) = lender.model.timeline
    assert line.what == "refused"
    assert "200 are needed" in line.why


@pytest.mark.parametrize("what, version", [("promote", "leases-1999"), ("rollback", ""), ("rollback", "nimble")])
def test_what_can_not_be_done_is_refused_with_a_reason(what, version):
    lender = Lender()
    lender.live(1)
    lender.live(2, Order(what, version, "ann", "?"))
    assert [line.what for line in lender.model.timeline] == ["refused"]


def test_an_envelope_lets_in_small_steps_once_in_its_time():
    lender = Lender(envelope_days=30)
    lender.live(45)
    lender.live(1, PROMOTE)
    lender.live(70, ENVELOPE)
    promoted, adopted = lender.happened("promoted"), lender.happened("adopted")
    assert len(adopted) in (1, 2)
    assert all(later - earlier >= 30 for earlier, later in zip([*promoted, *adopted], adopted, strict=False))
    words = next(line for line in lender.model.timeline if line.what == "adopted")
    assert "within the envelope that board approved" in words.why


def test_what_would_move_many_people_stays_outside_the_envelope():
    lender = Lender(shifted_truth(45), drift_threshold=1e9)
    lender.live(40)
    lender.live(1, PROMOTE)
    lender.live(45, ENVELOPE)
    assert lender.happened("adopted") == []
    assert "PSI" in lender.model.envelope_now or "another band" in lender.model.envelope_now


def shifted_truth(first: int):
    """Far more defaults from a day on."""
    return lambda day, x: plain(day, x) + (2.0 if day >= first else 0.0)


def test_an_envelope_that_was_taken_back_lets_nothing_in():
    lender = Lender(envelope_days=5)
    lender.live(40)
    lender.live(1, PROMOTE)
    lender.live(1, ENVELOPE)
    lender.live(30, Order("no_envelope", "", "board", "audit"))
    assert lender.happened("adopted") == []


def test_a_frozen_model_goes_on_learning_and_publishes_nothing():
    lender = Lender(envelope_days=5)
    lender.live(40)
    lender.live(1, PROMOTE)
    lender.live(1, ENVELOPE, Order("freeze", "", "ann", "audit"))
    taught = lender.model.lately["steady"].examples
    lender.live(30)
    assert len(lender.closed) == 1
    assert lender.model.lately["steady"].examples == taught + 30 * 40


def test_flipped_labels_are_noticed_kept_out_and_forgotten():
    lender = Lender(flipped(60, 63), envelope_days=5, quarantine_days=10)
    lender.live(45)
    lender.live(1, PROMOTE)
    lender.live(15, ENVELOPE)
    before = lender.model.champion.lately.log_loss
    lender.live(25)
    (noticed,) = lender.happened("drift")
    assert noticed in (61, 62, 63)  # answers come a day later
    (forgot,) = lender.happened("forgot")
    assert noticed < forgot <= 75
    assert not [day for day in lender.happened("adopted") if noticed <= day < forgot]
    assert lender.model.lately["steady"].log_loss < 1.35 * before


def test_a_version_that_learned_flipped_labels_is_rolled_back_to_an_approved_one():
    """Someone promotes in the middle of wrong labels; when they come right again, the earlier version does better."""
    lender = Lender(flipped(50, 70))
    lender.live(40)
    lender.live(1, PROMOTE)
    good = lender.model.champion
    lender.live(24)
    lender.live(1, Order("promote", "nimble", "bob", "it looked better"))
    lender.live(30)
    (line,) = [line for line in lender.model.timeline if line.what == "rolled_back"]
    assert line.who == "learner"
    assert line.why.startswith(f"to {good.version}: on the same cases")
    assert lender.model.champion.body == good.body
    assert lender.closed[-1].weights.body == good.body


def test_people_who_are_others_are_noticed():
    lender = Lender(people=shifted(60), quarantine_days=3)
    lender.live(45)
    lender.live(1, PROMOTE)
    lender.live(50)
    drift = [line for line in lender.model.timeline if line.what == "drift"]
    assert any("those who ask are others" in line.why for line in drift)
    assert min(lender.happened("drift")) >= 60


def poison() -> list[CaseExample]:
    """Requests and answers of someone who wishes the model ill."""
    at_ms = (FIRST_DAY + 30) * DAY_MS
    inputs = [
        {"dti": math.nan, "ltv": math.inf, "type": "car"},
        {"dti": -math.inf, "ltv": 1e308, "type": "x" * 10_000},
        {"dti": "no number", "strange": 1.0},
        {"gender": "female", "race": "black"},
        {},
    ]
    asked = [CaseExample(at_ms, b"u" * 16, "leases", "request", b"bad%d" % i, one) for i, one in enumerate(inputs)]
    labels = [0.0, 1.0, 1.0, 1.0, 0.0]
    return [*asked, *(one._replace(kind="outcome", inputs=None, label=y) for one, y in zip(asked, labels, strict=True))]


def test_poisoned_examples_can_not_break_a_model():
    lender = Lender()
    lender.live(30)
    rows = [{"dti": float(a), "ltv": float(b), "type": "car"} for a in (-2, 0, 2) for b in (-2, 0, 2)]
    before = lender.model.learners["steady"].probabilities(rows)
    assert lender.model.learn(poison(), (FIRST_DAY + 30) * DAY_MS) == 5
    after = lender.model.learners["steady"].probabilities(rows)
    assert np.isfinite(after).all()
    assert np.abs(after - before).max() < 0.05
    assert "race" not in json.dumps(lender.model.people.rows())
    for label in (math.nan, math.inf, 0.5, -1.0):
        told = CaseExample(0, b"u" * 16, "leases", "outcome", b"l%f" % label, label=label)
        assert lender.model.cases.take(told) is None


def test_an_adversary_moves_a_model_no_further_than_its_uncertainty():
    """The same lie a thousand times: each moves less than the one before, and every step is bounded by the variance."""
    model = BayesianLogisticRegression(SPEC.manifest.features)
    row, last = {"dti": 2.0, "ltv": 2.0, "type": "car"}, 1e9
    for _ in range(1_000):
        total, variance = (float(part[0]) for part in model.sums_many([row]))
        model.learn_one(row, False)
        moved = abs(float(model.sums_many([row])[0][0]) - total)
        assert moved <= min(variance, last) + 1e-9
        last = moved


def test_what_a_learner_knows_survives_as_plain_json_to_the_byte():
    lender, twin = Lender(flipped(30, 33)), Lender(flipped(30, 33))
    for one in (lender, twin):
        one.live(26)
        one.live(1, PROMOTE, ENVELOPE)
        one.live(4)
    body, versions = json.loads(json.dumps(twin.model.body())), {v.version: v.body for v in twin.model.approved}
    again = Lender(flipped(30, 33)).rounds.begin(SPEC)
    again.restore(body, lambda version: json.loads(json.dumps(versions[version])))
    for name, learner in twin.model.learners.items():
        again.learners[name] = BayesianLogisticRegression.from_body(json.loads(json.dumps(learner.body())))
        again.good[name] = json.loads(json.dumps(twin.model.good[name]))
    for name, tree in twin.model.trees.items():
        rows = [(number, json.loads(row)) for number, row in tree.rows.items()]
        again.trees[name].restore(json.loads(json.dumps(tree.body())), rows)
    again.cases.restore(twin.model.cases.held.items(), body["counts"])
    again.people.restore(((place, list(row)) for place, row in twin.model.people._places.items()),
                         twin.model.people.next_place)  # fmt: skip
    twin.rounds.credit["leases"] = again
    for one in (lender, twin):
        one.live(25)
    assert json.dumps(twin.model.body()) == json.dumps(lender.model.body())
    assert [c.weights for c in twin.closed] == [c.weights for c in lender.closed]


def test_an_erased_person_is_neither_learned_from_nor_remembered():
    lender = Lender()
    lender.live(20)
    held, places = len(lender.model.cases), len(lender.model.people.rows())
    someone = CaseExample((FIRST_DAY + 19) * DAY_MS, b"19/3".rjust(16), "", "erasure", b"")
    lender.model.learn([someone], (FIRST_DAY + 20) * DAY_MS)
    assert (len(lender.model.cases), len(lender.model.people.rows())) == (held - 1, places - 1)


def test_challengers_come_and_go_by_declaration():
    lender = Lender()
    lender.live(10)
    steady = lender.model.learners["steady"]
    more = {"steady": SPEC.challengers["steady"], "narrow": SPEC.challengers["nimble"]._replace(features=("dti",))}
    lender.model.follow(SPEC._replace(challengers=more))
    assert lender.model.learners["steady"] is steady
    assert set(lender.model.learners) == set(lender.model.lately) == set(lender.model.good) == {"steady", "narrow"}
    assert lender.model.trees == {}
    assert [f.name for f in lender.model.learners["narrow"].known_features] == ["dti"]


def test_a_tree_learns_in_the_shadow_and_is_never_in_force():
    lender = Lender()
    lender.live(30)
    lender.live(1, PROMOTE)
    lender.live(1, ENVELOPE, PROMOTE._replace(version="tree"))
    lender.live(1, PROMOTE._replace(what="rollback", version="tree"))
    model = lender.model
    assert [(line.what, line.version) for line in model.timeline if line.version == "tree"] == [("refused", "tree")] * 2
    assert "can never be in force" in model.timeline[-1].why
    assert model.lately["tree"].examples == model.lately["steady"].examples > 1_000
    assert 0.65 < model.lately["tree"].auc < model.lately["steady"].auc
    lender.live(40)
    assert {line.why.split(":")[0] for line in model.timeline if line.what in ("promoted", "adopted")} <= {
        "steady", "within the envelope that board approved", "nimble",
    }  # fmt: skip
    assert len(lender.closed) >= 1


def test_challengers_are_compared_with_the_champion_case_by_case():
    lender = Lender()
    lender.live(20)
    assert lender.model.against["tree"].weight == 0.0  # nobody to compare with
    lender.live(1, PROMOTE)
    lender.live(20)
    tree, steady = lender.model.against["tree"], lender.model.against["steady"]
    assert tree.mean > 2 * tree.error > 0.0
    assert abs(steady.mean) < tree.mean
    lender.live(1, Order("promote", "nimble", "ann", "?"))
    assert lender.model.against["tree"].weight == 0.0


def test_a_rollback_leaves_trees_as_they_are():
    lender = Lender()
    lender.live(30)
    lender.live(1, PROMOTE)
    lender.live(1, PROMOTE._replace(version="nimble"))
    before = lender.model.trees["tree"].examples
    lender.live(2, Order("rollback", "", "ann", "?"))
    assert lender.model.trees["tree"].examples == before + 80


def test_models_are_shown_with_who_would_move_and_how_good_they_are():
    lender = Lender()
    lender.live(40)
    lender.live(1, PROMOTE)
    lender.live(10)
    value = lender.rounds.model.body()
    kinds = {"challengers": {"tree": [None, [], None, "tree", 10_000, 1]}}
    leases = json.loads(json.dumps(lender.model.body())) | kinds
    remembered = Remembered(FIRST_DAY * DAY_MS, {"value": value, "leases": leases})
    said = summary(remembered)
    leases = said["models"]["leases"]
    assert leases["champion"] == lender.model.champion.version
    nimble = next(row for row in leases["versions"] if row["version"] == "nimble")
    assert nimble["auc"] > 0.75
    assert nimble["would_move"]["of"] == 1_000
    assert leases["waiting"]["bytes"] > 0
    tree = next(row for row in leases["versions"] if row["version"] == "tree")
    assert (tree["role"], tree["against_champion"]["is"]) == ("shadow tree", "worse")
    assert sum(count for *_, count in details(remembered, "tree", "leases")["moves"]) == sum(
        tree["would_move"][way] for way in ("up", "down")
    )
    assert "tree" not in remembered.versions("leases")
    shown = details(remembered, "nimble", "leases")
    assert len(shown["calibration"]) > 5
    assert any("remembered" in line for line in more_lines(shown))
    assert len(list(as_tables(said))) == 2
    assert any("promoted" in line for line in timeline_lines(details(remembered, "")["timeline"]))
    json.dumps([said, shown], allow_nan=False)
