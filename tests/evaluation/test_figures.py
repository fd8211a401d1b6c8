"""Figures against their definitions, and against scikit-learn's where it has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from local.evaluation.figures import (
    auc,
    brier,
    calibration,
    chance_figures,
    correlation,
    kolmogorov_smirnov,
    learning_curve,
    lift,
    log_loss,
    rank_correlation,
    roc,
    slope_of,
    stability_index,
)

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
