"""Credit risk: known answers, sums, confidence, what is absent, what would have made it better."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from streams.customers.adverse import (
    counterfactuals,
    loans_on_time_needed,
    model_shortfalls,
    revenue_if_all_paid,
    revenue_shortfalls,
    status_shortfalls,
)
from streams.scoring.models.manifest import Feature, Manifest, RefusedManifest, checked, protected_attribute
from streams.scoring.models.model import UnreadableModel, read_model
from streams.scoring.models.risk import (
    CATEGORIES,
    RISK_MANIFEST,
    Level,
    behaviour_of,
    category_confidence,
    category_of,
    declared_of,
    expected_balance_30d,
    risk_features,
    risk_of,
)
from streams.versions.packaged_models import MANIFESTS, packaged_estimator, packaged_model

SOURCE = {"income": 2500, "debt": 350, "renta": 800, "debt_total": 15000, "working_time": 720, "moroso": 0}
"""The person of the source's example."""

MODEL = packaged_model("risk")


def score(*people, behaviour=None):
    return risk_of(MODEL.weights, risk_features(declared_of(people), behaviour_of(behaviour or [{}] * len(people))))


def test_the_sources_score_of_0_359_is_high_risk():
    assert category_of(1 - 0.359) == "high"


@pytest.mark.parametrize(
    "chance, category, level",
    [
        (0.0499, "low", 5),
        (0.05, "low", 4),
        (0.0999, "low", 4),
        (0.10, "medium", 3),
        (0.2999, "medium", 3),
        (0.30, "high", 2),
    ],
)
def test_thresholds_belong_to_the_worse_category(chance, category, level):
    assert category_of(chance) == category
    assert Level.VERY_LOW - np.searchsorted((0.05, 0.10, 0.30), chance, side="right") == level


def test_features_of_the_sources_person_are_those_of_the_definition():
    row = dict(zip(RISK_MANIFEST.names, risk_features(declared_of([SOURCE]), behaviour_of([{}]))[0], strict=True))
    assert row["dti"] == pytest.approx(350 / 2500)
    assert row["renta_to_income"] == pytest.approx(800 / 2500)
    assert row["debt_to_income"] == pytest.approx(15000 / 30000)
    assert row["working_time"] == pytest.approx(math.log1p(720))
    assert row["moroso"] == 0
    assert all(math.isnan(row[f.name]) for f in RISK_MANIFEST.features if f.source != "declared")
    assert math.isnan(row["loan_to_income"])


def test_transactions_are_in_cents_and_income_is_the_mean_of_three_months():
    behaviour = {"deposits_90": 750_000, "withdrawals_90": 600_000, "balance": 124_500, "failed_30": 1}
    row = dict(
        zip(RISK_MANIFEST.names, risk_features(declared_of([SOURCE]), behaviour_of([behaviour]))[0], strict=True)
    )
    assert row["trx_income"] == pytest.approx(math.log1p(2500))
    assert row["trx_income_share"] == pytest.approx(1.0)
    assert row["trx_expenses"] == pytest.approx(0.8)
    assert row["trx_balance"] == pytest.approx(1245 / 2500)


def test_an_income_of_zero_makes_ratios_absent_not_infinite():
    features = risk_features(declared_of([{**SOURCE, "income": 0}]), behaviour_of([{"deposits_90": 0, "balance": 5}]))
    assert not np.isinf(features).any()
    assert np.isfinite(score({**SOURCE, "income": 0}).credit_score).all()


def test_contributions_and_base_sum_to_the_logit_of_the_score():
    people = [SOURCE, {}, {**SOURCE, "moroso": 1, "debt": 1500}, {"income": 1e12}, {"debt": -5.0, "income": 100}]
    found = score(*people)
    logits = np.log(found.credit_score / (1 - found.credit_score))
    assert np.abs(found.base_logit + found.contributions.sum(axis=1) - logits).max() < 1e-9


def test_what_is_worse_scores_worse():
    good, indebted, listed = score(SOURCE, {**SOURCE, "debt": 1500}, {**SOURCE, "moroso": 1}).credit_score
    assert good > indebted
    assert good > listed
    names = [*RISK_MANIFEST.names]
    assert score({**SOURCE, "debt": 1500}).contributions[0, names.index("dti")] < 0


def test_confidence_is_the_chance_of_the_category_under_the_logits_posterior():
    sums, variances = np.array([-1.0]), np.array([0.49])
    draws = np.random.default_rng(5).normal(-1.0, 0.7, 400_000)
    chance = 1 / (1 + np.exp(-draws))
    for category, (low, high) in enumerate([(0, 0.1), (0.1, 0.3), (0.3, 1)]):
        expected = np.mean((chance >= low) & (chance < high))
        assert category_confidence(sums, variances, np.array([category]))[0] == pytest.approx(expected, abs=0.003)


def test_expected_balance_goes_on_as_the_last_ninety_days_went():
    assert expected_balance_30d([100.0], [900.0], [-600.0]).tolist() == [200.0]
    assert expected_balance_30d([100.0], [900.0], [600.0]).tolist() == [200.0]


def test_shortfalls_are_the_largest_four_never_positive_and_name_what_is_bad():
    person = {**SOURCE, "moroso": 1, "debt": 1800, "renta": 1200}
    found = score(person)
    reasons = model_shortfalls(MODEL.weights, MODEL.manifest.features, found.terms[0], higher_is_worse=True)
    assert len(reasons) == 4
    assert all(reason.shortfall > 0 and reason.words for reason in reasons)
    assert {"moroso", "dti"} <= {reason.code for reason in reasons}
    assert [r.shortfall for r in reasons] == sorted((r.shortfall for r in reasons), reverse=True)


def test_a_counterfactual_brings_the_chance_below_and_nothing_nearer_does():
    person = {**SOURCE, "debt": 1500, "loan_amount": 20000}
    chance_of = lambda people: 1 - score(*people).credit_score  # noqa: E731
    below = float(chance_of([person])[0]) - 0.02
    found = counterfactuals(person, chance_of, below)
    assert "debt" in {one.name for one in found}
    for one in found:
        assert chance_of([{**person, one.name: one.needed}])[0] < below
        step = (one.needed - one.now) / 40
        assert chance_of([{**person, one.name: one.needed - 2 * step - (one.needed - one.now) * 0.3}])[0] >= below
    assert counterfactuals(person, chance_of, 0.0) == []
    assert counterfactuals({}, chance_of, 0.5) == []


def test_a_status_scores_shortfalls_add_up_to_five():
    reasons = status_shortfalls((2, 3, 0, 0, 1))
    assert sum(reason.shortfall for reason in reasons) == pytest.approx(5 - 2.641, abs=5e-4)
    assert [reason.code for reason in status_shortfalls((5, 0, 0, 0, 0))] == ["history"]


def test_how_many_loans_on_time_a_better_status_takes():
    assert loans_on_time_needed((0, 0, 0, 0, 0), 2.23) == 2  # one gives 2.2294
    assert loans_on_time_needed((5, 0, 0, 0, 0), 2.0) == 0
    assert loans_on_time_needed((5, 0, 0, 0, 0), 5.0) is None


def test_revenues_reasons_are_its_penalties_and_what_paying_now_would_give():
    assert [r.code for r in revenue_shortfalls((0.1, 0.0, 0.5, 0.2), 1.0)] == ["unpaid", "ongoing_costs", "late_costs"]
    assert revenue_if_all_paid((0.1, 0.0, 0.5, 0.2), 0.3) == pytest.approx(1.2)


@pytest.mark.parametrize(
    "name",
    [
        "sex",
        "Gender",
        "MARRIAGE",
        "marital_status",
        "single",
        "race",
        "afam",
        "ethnicity",
        "religion",
        "nationality",
        "welfare",
    ],
)
def test_a_credit_model_with_a_protected_attribute_is_refused_at_load_by_name(name):
    body = json.loads(json.dumps(packaged_estimator("risk").body()))
    body["features"][0]["name"] = name
    with pytest.raises(RefusedManifest, match="protected"):
        read_model(body, "risk", "credit", "risk-2")


def test_a_flag_protects_what_no_name_tells_and_marketing_may_see_it():
    features = (Feature("x17", protected=True, knots=(0.0, 1.0)),)
    with pytest.raises(RefusedManifest, match="x17"):
        checked(Manifest("risk", "insurance", features))
    assert checked(Manifest("value", "marketing", features)).features == features


def test_names_that_only_look_protected_are_not():
    assert [protected_attribute(name) for name in ("income", "single_payment", "trace", "race_condition")] == [None] * 4


def test_a_model_that_can_not_be_read_is_refused_with_a_reason():
    body = packaged_estimator("risk").body()
    for change in ({"format": 9}, {"mean": [1.0]}, {"features": [{"name": "x", "slot": 1}]}, {"features": []}):
        with pytest.raises(UnreadableModel):
            read_model({**body, **change}, "risk", "credit", "risk-2")


@pytest.mark.parametrize("name", list(MANIFESTS))
def test_packaged_models_read_and_learn_on(name):
    model, estimator = packaged_model(name), packaged_estimator(name)
    assert model.manifest.features == MANIFESTS[name].features == estimator.known_features
    before = estimator.predict_proba_one({})[True]
    for _ in range(50):
        estimator.learn_one({}, True)
    assert estimator.predict_proba_one({})[True] > before


def test_the_packaged_models_are_what_their_command_makes(tmp_path):
    subprocess.run([sys.executable, "-m", "local.priors.credit", str(tmp_path)], check=True, capture_output=True)
    for name in MANIFESTS:
        made = json.loads((tmp_path / f"{name}-1.json").read_text())
        packaged = packaged_estimator(name).body()
        assert made["features"] == packaged["features"]
        assert np.allclose(made["mean"], packaged["mean"], atol=2e-4)  # other machines' libm may round differently


def test_categories_are_named_in_the_order_of_their_thresholds():
    assert CATEGORIES == ("low", "medium", "high")
