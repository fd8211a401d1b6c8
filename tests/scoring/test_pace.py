"""The pace: how often a customer comes, less the longer they have been silent for their own rhythm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from schemas.batch import FEATURE_SLOTS
from schemas.kinds import Reason
from streams.learning.value_regression import Design, ValueRegression, design_of, paces
from streams.scoring.value import (
    BASIS,
    CONTINUOUS,
    FAMILY_OF_TERM,
    KNOTS,
    PACE_AT,
    PACE_MAX,
    PACE_TERM,
    TERMS,
    VALUE_LEVELS,
    VALUE_REASONS,
    ValueModel,
    basis_of,
    forecast_of,
    pace_of,
    pace_of_features,
    pack_feature,
    unpack_features,
    value_of,
    whole_basis,
)
from streams.versions.known import body_of_weights, packaged_weights, weights_of

YESTERDAY, TWO_MONTHS, HALF_A_YEAR = 1, 6, 8  # bins of recency
THIRD_MONTH, YEARS, UNKNOWN = 1, 5, 7  # bins of age


def customers(count: int, seed: int = 0) -> np.ndarray:
    """Inputs as examples hold them (count, FEATURE_SLOTS)."""
    rng = np.random.default_rng(seed)
    inputs = np.abs(rng.normal(2.0, 1.5, (count, FEATURE_SLOTS)))
    inputs[:, 11] = np.log1p(rng.integers(0, 900, count))
    inputs[:, 15], inputs[:, 16] = rng.integers(0, 10, count), rng.integers(0, 8, count)
    inputs[:, 17:] = rng.integers(0, 2, (count, 2))
    return unpack_features(np.vectorize(pack_feature)(inputs).astype(np.uint16))


def model_with(beta: np.ndarray, knots: np.ndarray) -> ValueModel:
    forecasts = np.linspace(-5.0, 25.0, 400)
    return ValueModel(beta, knots, np.zeros(TERMS), 4.0, 0.5, forecasts, np.linspace(0.0, 1.0, 50), 0.7)


def test_who_comes_regularly_and_was_here_yesterday_goes_on_at_that_pace():
    rate = 40 / (365 + 30)
    assert pace_of(40, YESTERDAY, YEARS) == pytest.approx(30 * rate / (1 + (0.5 * rate) ** 2), rel=1e-12)
    assert pace_of(40, YESTERDAY, YEARS) == pytest.approx(3.03, abs=0.01)


def test_a_short_past_is_a_past_of_that_length_and_not_of_a_year():
    assert pace_of(4, YESTERDAY, THIRD_MONTH) > 3 * pace_of(4, YESTERDAY, YEARS)
    assert pace_of(4, YESTERDAY, UNKNOWN) == pace_of(4, YESTERDAY, YEARS)


def test_of_two_who_are_silent_for_as_long_the_one_who_came_more_often_is_the_likelier_to_have_gone():
    assert pace_of(60, HALF_A_YEAR, YEARS) < pace_of(2, HALF_A_YEAR, YEARS)
    assert pace_of(60, YESTERDAY, YEARS) > pace_of(2, YESTERDAY, YEARS)


def test_where_one_transaction_has_been_missed_half_the_pace_is_left():
    rate = 1 / 73  # TWO_MONTHS: 73 silent days
    transactions = round(rate * (365 + 30))
    assert pace_of(transactions, TWO_MONTHS, YEARS) == pytest.approx(30 * rate / 2, rel=0.1)


def test_no_number_of_transactions_goes_beyond_once_a_day_nor_below_nothing():
    assert pace_of(10**9, 0, 0) == PACE_MAX
    assert pace_of(0, 0, 0) == pace_of(-3, 0, 0) == 0.0


def test_learner_and_scoring_see_the_same_numbers_in_the_same_inputs():
    inputs, knots = customers(500), packaged_weights().knots
    assert paces(inputs).tolist() == [pace_of_features(one) for one in inputs]
    design, phi = design_of(inputs, knots), np.zeros(BASIS)
    for i, one in enumerate(inputs):
        basis_of(one, knots, phi)
        dense = np.bincount(design.columns[i], design.values[i], BASIS)
        assert np.allclose(dense, phi, rtol=0, atol=1e-12)


def test_a_count_that_was_stored_in_16_bits_gives_the_pace_of_the_count():
    for transactions in (0, 1, 2, 17, 365, 1_500):
        one = np.zeros(FEATURE_SLOTS)
        one[11], one[15], one[16] = math.log1p(transactions), 4, 3
        stored = unpack_features(np.array([pack_feature(x) for x in one], np.uint16))
        assert pace_of_features(stored) == pace_of(transactions, 4, 3)


def test_what_the_pace_adds_is_a_reason_of_its_own_and_reasons_add_up():
    rng = np.random.default_rng(3)
    knots = np.sort(rng.uniform(0, 6, (CONTINUOUS, KNOTS)), axis=1)
    model = model_with(rng.normal(0, 0.3, BASIS), knots)
    terms, levels = np.zeros(TERMS), np.zeros(VALUE_LEVELS)
    for one in customers(200):
        score, base, forecast = value_of(one, 0.3, model, terms, levels)
        assert base + levels.sum() == pytest.approx(score, abs=1e-9)
        assert forecast == pytest.approx(terms.sum(), abs=1e-9)
        assert terms[PACE_TERM] == model.beta[PACE_AT] * pace_of_features(one)
    assert VALUE_REASONS[FAMILY_OF_TERM[PACE_TERM]] == Reason.PACE


def test_weights_of_before_the_pace_are_read_and_forecast_what_they_did():
    body = body_of_weights(packaged_weights())
    shorter = body | {name: body[name][:PACE_AT] for name in ("beta", "phi_mean")}
    weights = weights_of(shorter, 0)
    assert weights.beta.shape == (BASIS,)
    assert weights.beta[PACE_AT] == 0.0
    model, terms = model_with(weights.beta, weights.knots), np.zeros(TERMS)
    for one in customers(20):
        forecast = forecast_of(one, model, terms)
        assert forecast == pytest.approx(terms[:PACE_TERM].sum(), abs=1e-12)


def test_weights_of_any_other_length_are_refused_with_the_length_they_should_have():
    body = body_of_weights(packaged_weights())
    with pytest.raises(ValueError, match="beta has 109 items; it must have at least 110"):
        weights_of(body | {"beta": body["beta"][:109]}, 0)


def test_what_a_learner_knew_before_the_pace_is_kept_and_it_learns_the_pace_from_then_on():
    inputs, knots, prior = customers(400), packaged_weights().knots, packaged_weights().beta
    design, labels = design_of(inputs, knots), np.full(400, 3.0)
    earlier = ValueRegression(prior, 1.0, 5.0)
    blind = Design(design.columns, design.values * (design.columns != PACE_AT))
    earlier.learn(blind, labels)
    stored = shortened(earlier.body())
    later = ValueRegression(prior, 1.0, 5.0)
    later.restore(stored)
    assert later.body() == earlier.body()
    assert later.beta[PACE_AT] == 0.0
    later.learn(design, labels + paces(inputs))
    assert later.beta[PACE_AT] > 0.05


def shortened(body: dict) -> dict:
    """A learner's body as it was stored before the pace was an input."""
    square = np.zeros((BASIS, BASIS))
    square[np.triu_indices(BASIS)] = body["gained"]
    numbers = {name: body[name][:PACE_AT] for name in ("prior", "told", "beta")}
    return body | numbers | {"gained": square[:PACE_AT, :PACE_AT][np.triu_indices(PACE_AT)].tolist()}


def test_coefficients_of_the_present_length_stay_as_they_are():
    assert whole_basis(np.arange(float(BASIS))).tolist() == list(range(BASIS))
