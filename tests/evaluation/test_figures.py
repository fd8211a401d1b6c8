"""Figures against their definitions, and against scikit-learn's where it has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from local.evaluation import cards
from local.evaluation.figures import (
    auc,
    brier,
    calibration,
    chance_figures,
    correlation,
    coverage,
    difference,
    group_coverage,
    kolmogorov_smirnov,
    learning_curve,
    lift,
    log_loss,
    rank_correlation,
    roc,
    slope_of,
    stability_index,
)
from streams.commands.evaluate import DATASETS

RANDOM = np.random.default_rng(11)
CHANCES = np.round(RANDOM.beta(1, 3, 800), 2)  # with ties
LABELS = (RANDOM.random(800) < CHANCES).astype(float)


def test_auc_brier_and_log_loss_are_scikit_learns():
    assert auc(LABELS, CHANCES) == pytest.approx(metrics.roc_auc_score(LABELS, CHANCES))
    assert brier(LABELS, CHANCES) == pytest.approx(metrics.brier_score_loss(LABELS, CHANCES))
    inside = np.clip(CHANCES, 0.01, 0.99)
    assert log_loss(LABELS, inside) == pytest.approx(metrics.log_loss(LABELS, inside))


def test_the_area_under_the_curve_is_the_auc_and_ks_its_largest_rise():
    x, y = roc(LABELS, CHANCES)
    assert np.trapezoid(y, x) == pytest.approx(auc(LABELS, CHANCES))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    by_hand = max(
        abs((CHANCES[LABELS == 1] >= t).mean() - (CHANCES[LABELS == 0] >= t).mean()) for t in np.unique(CHANCES)
    )
    assert kolmogorov_smirnov(LABELS, CHANCES) == pytest.approx(by_hand)


def test_the_calibration_slope_is_that_of_a_logistic_regression_without_penalty():
    inside = np.clip(CHANCES, 0.01, 0.99)
    logits = np.log(inside / (1 - inside))
    expected = LogisticRegression(C=np.inf).fit(logits[:, None], LABELS).coef_[0, 0]
    assert slope_of(LABELS, inside) == pytest.approx(expected, abs=1e-3)
    too_bold = 1 / (1 + np.exp(-2 * logits))
    assert slope_of(LABELS, too_bold) == pytest.approx(expected / 2, abs=1e-3)


def test_calibration_bins_hold_every_row_once():
    bent = calibration(LABELS, CHANCES)
    assert bent.rows.sum() == len(LABELS)
    assert np.average(bent.happened, weights=bent.rows) == pytest.approx(LABELS.mean())
    assert np.average(bent.said, weights=bent.rows) == pytest.approx(CHANCES.mean())


def test_lift_of_everything_is_one_and_of_the_perfect_order_is_the_inverse_share():
    assert lift(LABELS, CHANCES, 1.0) == pytest.approx(1.0)
    assert lift([1, 0, 0, 0], [0.9, 0.1, 0.2, 0.3], 0.25) == pytest.approx(4.0)


def test_figures_that_do_not_exist_are_nan_and_not_an_error():
    assert math.isnan(auc([1, 1], [0.2, 0.3]))
    assert math.isnan(lift([0, 0], [0.2, 0.3], 0.5))
    assert math.isnan(correlation([1, 1], [1, 2]))
    assert math.isnan(chance_figures(np.ones(5), np.full(5, 0.5))["calibration_slope"])


def test_a_shifted_population_is_unstable_and_the_same_is_not():
    assert stability_index(CHANCES[:400], CHANCES[400:]) < 0.1
    assert stability_index(CHANCES, CHANCES + 0.3) > 0.25


def test_ranks_do_not_care_how_far_apart_values_are():
    x = RANDOM.random(50)
    assert rank_correlation(x, np.exp(20 * x)) == pytest.approx(1.0)


def test_the_learning_curve_ends_with_the_figures_of_all():
    curve = learning_curve(LABELS, CHANCES)
    assert curve[-1]["rows"] == len(LABELS)
    assert curve[-1]["auc"] == pytest.approx(auc(LABELS, CHANCES))


def test_cards_are_made_of_the_sets_that_are_there_and_figures_are_rounded(tmp_path):
    (tmp_path / "taiwan").mkdir()
    made = {part.dataset: cards.command_of(part, tmp_path, tmp_path / "out.json") for part in cards.PARTS}
    there = {name for name, command in made.items() if command}
    assert there == {"taiwan", "home-insurance", "life-insurance"}
    assert made["taiwan"][3:6] == ["evaluate", "taiwan", str(tmp_path / "taiwan")]
    assert made["taiwan"][-2:] == ["--card", str(cards.DOCS / "risk.md")]
    assert cards.rounded({"a": [0.123456, {"b": None}], "c": 5}) == {"a": [0.1235, {"b": None}], "c": 5}
    assert {part.dataset for part in cards.PARTS} == {*DATASETS} - {"csv"}


def test_coverage_of_normal_errors_is_what_was_asked():
    off = np.random.default_rng(1).normal(0, 1, 20_000)
    assert all(abs(point["held"] - point["asked"]) < 0.01 for point in coverage(off))
    narrow = coverage(2.0 * off)  # deviations that are half of what they should be
    assert all(point["held"] < point["asked"] - 0.03 for point in narrow if 0.2 < point["asked"] < 0.95)


def test_groups_hold_what_they_should_where_chances_are_right_and_less_where_they_are_not():
    random = np.random.default_rng(2)
    chances = random.beta(2, 5, 30_000)
    labels = (random.random(30_000) < chances).astype(float)
    held = {p["asked"]: p["held"] for p in group_coverage(labels, chances, np.zeros(30_000))}
    assert abs(held[0.9] - 0.9) < 0.05
    bold = np.clip(chances * 1.3, 0, 0.99)
    wrong = {p["asked"]: p["held"] for p in group_coverage(labels, bold, np.zeros(30_000))}
    assert wrong[0.9] < 0.7


def test_a_difference_says_what_sampling_leaves_open_and_the_same_each_time():
    random = np.random.default_rng(3)
    truth = random.normal(0, 1, 400)
    good, poor = truth + random.normal(0, 1, 400), truth + random.normal(0, 3, 400)
    found = difference(correlation, truth, good, poor)
    assert 0 < found["from"] < found["better_by"] < found["to"]
    assert found == difference(correlation, truth, good, poor)
    same = difference(correlation, truth, good, good)
    assert same == {"better_by": 0.0, "from": 0.0, "to": 0.0}
