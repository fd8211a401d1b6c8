"""The estimators: river's contract, bytes, bounds, and what they learn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from river import checks

from streams.learning.bayesian import BayesianLinearRegression, BayesianLogisticRegression
from streams.learning.updates import mode_of
from streams.scoring.models.additive import layout_of, logistic, sums_of, tempered, terms_of
from streams.scoring.models.manifest import Feature
from streams.scoring.models.model import UnreadableModel
from streams.scoring.models.prior import prior_covariance, quantile_knots

FEATURES = (
    Feature("income", knots=(0.0, 1.0, 2.0, 3.0)),
    Feature("debt", knots=(0.0, 0.5, 1.0), expected_rise=1.0),
    Feature("lender", "category", slots=3),
)
MODELS = (BayesianLogisticRegression(), BayesianLinearRegression(), BayesianLogisticRegression(warm_up_examples=5))


@pytest.mark.filterwarnings("ignore")  # the checks' own libraries warn
@pytest.mark.parametrize(
    "model, check",
    [
        pytest.param(m, c, id=f"{type(m).__name__}-{i}-{c.__name__}")
        for m in MODELS
        for i, c in enumerate(checks.yield_checks(m))
    ],
)
def test_river_finds_nothing_against_its_conventions(model, check):
    check(model.clone())


def examples(number: int, seed: int = 1) -> tuple[list[dict[str, float | str]], list[bool]]:
    """Rows whose logit is 2 debt - income + 1 (lender a), and their labels."""
    random = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(number):
        income, debt = random.uniform(0, 3), random.uniform(0, 1)
        lender = "abcdef"[random.integers(6)]
        logit = 4 * debt - income + (1.0 if lender == "a" else 0.0)
        labels.append(bool(random.random() < 1 / (1 + math.exp(-logit))))
        row: dict[str, float | str] = {"income": income, "debt": debt, "lender": lender}
        if random.random() < 0.1:
            del row["debt"]
        rows.append(row)
    return rows, labels


def body_bytes(model) -> str:
    return json.dumps(model.body(), sort_keys=True)


def test_the_same_examples_in_the_same_order_give_the_same_bytes_however_they_are_cut():
    rows, labels = examples(600)
    one, cut, restored = (BayesianLogisticRegression(FEATURES) for _ in range(3))
    for row, label in zip(rows, labels, strict=True):
        one.learn_one(row, label)
    cut.learn_before(rows[:7], labels[:7])
    cut.learn_before(rows[7:], labels[7:])
    restored.learn_before(rows[:301], labels[:301])
    restored = BayesianLogisticRegression.from_body(json.loads(body_bytes(restored)))
    restored.learn_before(rows[301:], labels[301:])
    assert body_bytes(one) == body_bytes(cut) == body_bytes(restored)


@pytest.mark.parametrize("kind", [BayesianLogisticRegression, BayesianLinearRegression])
def test_a_model_read_back_while_it_waits_for_its_knots_goes_on_to_the_same_bytes(kind):
    rows, labels = examples(300)
    whole, halved = kind(warm_up_examples=100), kind(warm_up_examples=100)
    whole.learn_before(rows, labels)
    halved.learn_before(rows[:60], labels[:60])
    halved = kind.from_body(json.loads(json.dumps(halved.body())))
    halved.learn_before(rows[60:], labels[60:])
    assert body_bytes(whole) == body_bytes(halved)


def test_it_predicts_each_row_before_it_learns_it():
    rows, labels = examples(50)
    model, twin = BayesianLogisticRegression(FEATURES), BayesianLogisticRegression(FEATURES)
    sums, variances = model.learn_before(rows, labels)
    for row, label, total, variance in zip(rows, labels, sums, variances, strict=True):
        assert twin.sums_many([row])[0][0] == pytest.approx(total, abs=1e-12)
        assert twin.sums_many([row])[1][0] == pytest.approx(variance, abs=1e-12)
        twin.learn_one(row, label)


def test_it_finds_the_odds_that_made_the_labels_and_says_them_calibrated():
    rows, labels = examples(6_000)
    model = BayesianLogisticRegression(FEATURES)
    sums, variances = model.learn_before(rows, labels)
    chance = logistic(tempered(sums, variances))[1_000:]
    happened = np.array(labels[1_000:])
    for low in np.arange(0.1, 0.9, 0.2):
        within = (chance >= low) & (chance < low + 0.2)
        assert chance[within].mean() == pytest.approx(happened[within].mean(), abs=0.05)
    assert model.predict_proba_one({"income": 0.0, "debt": 1.0, "lender": "a"})[True] > 0.95
    assert model.predict_proba_one({"income": 3.0, "debt": 0.0, "lender": "b"})[True] < 0.1


def test_terms_and_base_add_up_to_the_sum_of_every_row():
    rows, labels = examples(400)
    model = BayesianLogisticRegression(FEATURES)
    model.learn_before(rows, labels)
    weights = model.weights
    inputs = model.inputs([*rows, {}, {"lender": "never seen"}])
    base, terms = terms_of(weights, inputs)
    sums, _ = sums_of(weights, inputs)
    assert np.abs(base + terms.sum(axis=1) - sums).max() < 1e-12
    # The base is the mean customer's: over the customers learned from, departures cancel out.
    assert np.abs(terms[: len(rows)].mean(axis=0)).max() < 0.02


def test_the_update_is_the_posterior_of_one_weight():
    """Against the definition: the mode of prior times likelihood, found on a fine grid."""
    model = BayesianLogisticRegression((Feature("x", "category", slots=1),), prior_variance=0.5)
    before = sums_of(model.weights, model.inputs([{"x": "a"}]))
    model.learn_one({"x": "a"}, True)
    weights = model.weights
    # "a" was unknown ("other") when asked before; its own slot has the same prior.
    total, variance = before[0][0], before[1][0]
    grid = np.linspace(total - 8, total + 8, 400_001)
    density = -((grid - total) ** 2) / (2 * variance) - np.log1p(np.exp(-grid))
    assert sums_of(weights, model.inputs([{"x": "a"}]))[0][0] == pytest.approx(grid[density.argmax()], abs=1e-4)


@pytest.mark.parametrize("total", [-40.0, -1.0, 0.0, 2.0, 800.0])
@pytest.mark.parametrize("variance", [0.0, 0.3, 50.0, 1e6])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_mode_solves_its_equation_and_never_leaves_the_bounds(total, variance, label):
    a = mode_of(total, variance, label)
    miss = a - total - variance * (label - float(logistic(np.array([a]))[0]))
    assert abs(miss) <= 1e-9 * max(1.0, variance)
    assert min(0.0, variance * (label - 1)) - 1e-9 <= a - total <= max(0.0, variance * label) + 1e-9


def test_what_is_no_example_breaks_nothing_and_is_counted():
    rows, labels = examples(500)
    model = BayesianLogisticRegression(FEATURES)
    model.learn_before(rows, labels)
    asked = rows[:50]
    before = model.probabilities(asked)
    odd = [math.nan, math.inf, -math.inf, 1e308, "1e999", None, [], object(), 10**400]
    for value in odd:
        model.learn_one({"income": value, "debt": value, "lender": value}, True)
        model.learn_one({"income": 1.0}, value)
    assert model.refused == len(odd)
    after = model.probabilities(asked)
    assert np.isfinite(after).all()
    assert np.abs(after - before).max() < 0.15


def test_an_adversary_moves_a_learned_model_little_however_extreme_the_examples():
    rows, labels = examples(3_000)
    model = BayesianLogisticRegression(FEATURES)
    model.learn_before(rows, labels)
    before = model.probabilities(rows[:200])
    for _ in range(20):
        model.learn_one({"income": 1e300, "debt": -1e300, "lender": "z" * 1000}, True)
    assert np.abs(model.probabilities(rows[:200]) - before).mean() < 0.02


def test_an_amount_without_measure_counts_as_four_deviations():
    model = BayesianLinearRegression((Feature("days", knots=(0.0, 10.0)),))
    for days in range(200):
        model.learn_one({"days": days % 11}, 2.0 + 0.1 * (days % 11) + 0.05 * (-1) ** days)
    before = model.predict_one({"days": 5.0})
    model.learn_one({"days": 5.0}, 1e12)
    assert before == pytest.approx(2.5, abs=0.05)
    assert model.predict_one({"days": 5.0}) == pytest.approx(before, abs=0.02)


def test_the_linear_model_is_the_ridge_regression_of_its_examples():
    random = np.random.default_rng(3)
    features = (Feature("a", knots=(0.0, 0.5, 1.0)), Feature("b", knots=(0.0, 1.0)))
    model = BayesianLinearRegression(features)
    # Noise that is known and does not move: then the posterior is that of the normal equations.
    model._noise[:] = (0.25, 1e15)
    rows = [{"a": random.random(), "b": random.random()} for _ in range(300)]
    labels = [row["a"] ** 2 - row["b"] + random.normal(0, 0.5) for row in rows]
    prior = prior_covariance(layout_of(features), model.prior_variance, model.intercept_variance)
    model.learn_before(rows, labels)
    phi = np.array([_phi(row) for row in rows])
    precision = np.linalg.inv(prior) + phi.T @ phi / 0.25
    expected = np.linalg.solve(precision, phi.T @ np.array(labels) / 0.25)
    assert np.abs(model.weights.mean - expected).max() < 1e-6


def _phi(row: dict[str, float]) -> list[float]:
    a, b = row["a"], row["b"]
    hats = [max(0.0, 1 - 2 * abs(a - knot)) for knot in (0.0, 0.5, 1.0)]
    return [1.0, *hats, 0.0, 1 - b, b, 0.0]


def test_forgetting_follows_a_world_that_turns_and_keeps_the_prior_as_its_bound():
    rows, labels = examples(1_500)
    steady = BayesianLogisticRegression(FEATURES)
    fading = BayesianLogisticRegression(FEATURES, half_life_examples=150.0)
    for model in (steady, fading):
        model.learn_before(rows, labels)
        model.learn_before(rows[:600], [not label for label in labels[:600]])
    loss = [
        -np.mean(np.log(np.where(np.array(labels[600:]), 1 - p, p)))
        for p in (model.probabilities(rows[600:]) for model in (steady, fading))
    ]
    assert loss[1] < loss[0] - 0.1
    prior = np.diag(prior_covariance(layout_of(FEATURES), fading.prior_variance, fading.intercept_variance))
    assert (np.diag(fading.weights.covariance) <= prior * (1 + 1e-9)).all()
    assert np.linalg.eigvalsh(fading.weights.covariance).min() > -1e-9


def test_the_covariance_stays_symmetric_and_positive():
    rows, labels = examples(5_000)
    model = BayesianLogisticRegression(FEATURES)
    model.learn_before(rows, labels)
    covariance = model.weights.covariance
    assert (covariance == covariance.T).all()
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_categories_beyond_the_slots_share_one_place_and_memory_stays_bounded():
    model = BayesianLogisticRegression(FEATURES)
    for number in range(1_000):
        model.learn_one({"lender": f"lender {number}"}, False)
    assert len(model.body()["slots"]["lender"]) == 3
    assert model.predict_proba_one({"lender": "lender 999"}) == model.predict_proba_one({"lender": "one more"})


def test_a_packaged_prior_knows_its_means_and_is_as_unsure_as_any():
    rows, labels = examples(2_000)
    taught = BayesianLogisticRegression(FEATURES)
    taught.learn_before(rows, labels)
    body = taught.body()
    del body["covariance"]
    packaged = BayesianLogisticRegression.from_body(body)
    assert np.array_equal(packaged.sums_many(rows)[0], taught.sums_many(rows)[0])
    assert (packaged.sums_many(rows)[1] > taught.sums_many(rows)[1]).all()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "pickle"},
        {"format": 2},
        {"mean": [0.0]},
        {"mean": None},
        {"features": [{"nom": "x"}]},
        {"examples": "many"},
    ],
)
def test_a_body_that_is_none_is_refused_with_a_reason(change):
    rows, labels = examples(20)
    model = BayesianLogisticRegression(FEATURES)
    model.learn_before(rows, labels)
    with pytest.raises(UnreadableModel, match="weights"):
        BayesianLogisticRegression.from_body({**model.body(), **change})


def test_a_body_with_a_weight_that_is_not_finite_is_refused():
    model = BayesianLogisticRegression(FEATURES)
    body = model.body()
    body["mean"][1] = math.nan
    with pytest.raises(UnreadableModel, match="not finite"):
        BayesianLogisticRegression.from_body(body)


def test_knots_are_inside_the_extremes_and_ascend():
    values = [*np.linspace(0, 1, 1_000), 1e9]
    knots = quantile_knots(values, 6)
    assert knots[-1] < 1.0
    assert list(knots) == sorted(set(knots))
    assert quantile_knots([math.inf, math.nan, 7.0], 6) == (7.0, 14.0)
