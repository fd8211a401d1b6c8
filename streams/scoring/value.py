"""Customer value: what a customer will move in the next 30 days, and how predictably, as 1.00 to 5.00.

The forecast is a Bayesian linear regression on bent inputs: each continuous input is a piecewise-linear function on six
packaged knots (so that it bends like a tree and stays additive), recency and age are bins, and the pace is one number
made of three of them: how often a customer comes, less the longer they have been silent for their own rhythm. The
score weighs the percentile of the forecast and of the customer's consistency among the population. Definition:
docs/scores.md, customer value; source: the customer scoring text. Scalar compiled functions, called by the oracle and
by the kernel alike.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.batch import FEATURE_SLOTS
from schemas.compiled import compiled
from schemas.kinds import Reason
from streams.scoring.population import percentile_of

UNIT_MINOR = 10_000.0
"""s of the formulas: 100 base units."""

CONTINUOUS = 15
KNOTS = 6
RECENCY_SLOT, AGE_SLOT, WEB_SLOT, CURRENCIES_SLOT = 15, 16, 17, 18
RECENCY_EDGES = np.array([0, 1, 3, 7, 14, 30, 60, 90, 180, 365])
AGE_EDGES = np.array([0, 30, 90, 180, 365, 730, 1825])
AGE_UNKNOWN = len(AGE_EDGES)
RECENCY_AT = CONTINUOUS * KNOTS
AGE_AT = RECENCY_AT + len(RECENCY_EDGES)
WEB_AT = AGE_AT + len(AGE_EDGES) + 1
CURRENCIES_AT = WEB_AT + 1
PACE_AT = CURRENCIES_AT + 1
BASIS = PACE_AT + 1
"""Length of phi and of beta: 15 x 6 hats, 10 bins of recency, 8 of age (last: unknown), channel, currencies, pace."""

YEAR_COUNT_SLOT = 11
PACE_TERM = FEATURE_SLOTS
TERMS = FEATURE_SLOTS + 1
"""A forecast is the sum of what each input adds and of what the pace adds, which is made of inputs and not stored."""

SILENT_DAYS = np.array([0.0, 0.5, 3.5, 9.0, 20.0, 43.0, 73.0, 133.0, 269.0, 364.0])
"""Whole days without a transaction, by recency bin: in the middle of the bin."""
KNOWN_DAYS = np.array([15.0, 60.0, 135.0, 270.0, 365.0, 365.0, 365.0, 365.0])
"""For how long the transactions of a year have been counted, by age bin: in the middle of the bin, a year at most."""
PACE_MAX = 30.0
"""Once a day: beyond it the number of transactions says how they are split, not how often somebody comes."""

FEATURE_NAMES: tuple[str, ...] = (
    *(f"deposits_{days}d" for days in (7, 30, 90, 365)),
    *(f"withdrawals_{days}d" for days in (7, 30, 90, 365)),
    *(f"transactions_{days}d" for days in (7, 30, 90, 365)),
    "failed_30d",
    "active_days_30d",
    "balance",
    "recency",
    "account_age",
    "web",
    "several_currencies_90d",
)

FAMILIES = 11
FAMILY_OF_TERM = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10])
CONSISTENCY_LEVEL, ROUNDING_LEVEL = FAMILIES, FAMILIES + 1
VALUE_LEVELS = FAMILIES + 2
VALUE_REASONS = np.array(
    [
        Reason.DEPOSITS,
        Reason.WITHDRAWALS,
        Reason.TRANSACTION_COUNT,
        Reason.FAILED_ATTEMPTS,
        Reason.ACTIVE_DAYS,
        Reason.BALANCE,
        Reason.RECENCY,
        Reason.ACCOUNT_AGE,
        Reason.CHANNEL,
        Reason.CURRENCIES,
        Reason.PACE,
        Reason.CONSISTENCY,
        Reason.ROUNDING,
    ],
    np.uint16,
)

FEATURE_SCALE = 2048.0
"""Stored inputs are multiples of 1/2048, offset so that they fit 16 bits: plenty for a piecewise-linear model."""
FEATURE_OFFSET = 12.0


class ValueModel(NamedTuple):
    """One version of the weights as the scoring functions read it."""

    beta: NDArray[np.float64]  # (BASIS,)
    knots: NDArray[np.float64]  # (CONTINUOUS, KNOTS)
    term_means: NDArray[np.float64]  # (TERMS,): beta . mean phi of the sample, by term
    forecast_mean: float
    consistency_median: float
    forecasts: NDArray[np.float64]  # sorted
    consistencies: NDArray[np.float64]  # sorted
    weight: float  # of the forecast's percentile against consistency's


@compiled
def log_of_amount(amount_minor: int) -> float:
    """ln(1 + amount / s); a sum that corrections have made negative counts as nothing."""
    return math.log1p(max(amount_minor, 0) / 10_000.0)


@compiled
def log_of_count(count: int) -> float:
    """ln(1 + count)."""
    return math.log1p(float(max(count, 0)))


@compiled
def bent_balance(balance_minor: int) -> float:
    """asinh(balance / s): logarithmic for large balances of either sign, linear around nothing."""
    return math.asinh(balance_minor / 10_000.0)


@compiled
def bin_of(edges: NDArray[np.int64], days: int) -> int:
    """Index of the last edge that `days` has reached; the first where it has reached none."""
    at = 0
    for k in range(1, len(edges)):
        if days >= edges[k]:
            at = k
    return at


@compiled
def pace_of(transactions: int, recency_bin: int, age_bin: int) -> float:
    """Transactions in 30 days at the customer's own rhythm, less the longer the silence is for that rhythm.

    r = n / (days known + 30), n of 365 days; pace = 30 r / (1 + q^2), q = r x silent days: how many transactions this
    rhythm would have brought meanwhile. Half is left where one has been missed, a tenth where three have. Where two
    customers are silent for as long, the one who came more often is the likelier to have gone, which no sum of terms of
    frequency and of recency can say. The idea is that of BG/NBD (P. Fader, B. Hardie, K. Lee, Marketing Science 24,
    2005), in a form that takes no logarithm and nothing that is not in the inputs already: 2 divisions.
    """
    silent = SILENT_DAYS[recency_bin]
    rate = max(transactions, 0) / (max(KNOWN_DAYS[age_bin], silent) + 30.0)
    missed = rate * silent
    return min(30.0 * rate / (1.0 + missed * missed), PACE_MAX)


@compiled
def pace_of_features(features: NDArray[np.float64]) -> float:
    """The pace of a customer whose inputs these are; the count is a whole number again."""
    return pace_of(np.int64(np.rint(math.expm1(features[11]))), np.int64(features[15]), np.int64(features[16]))


@compiled
def hat_position(knots: NDArray[np.float64], x: float) -> tuple[int, float]:
    """Between which two knots x lies, and how far: phi is 1 - share at the left one and share at the right one."""
    if x <= knots[0]:
        return 0, 0.0
    for k in range(1, len(knots)):
        if x < knots[k]:
            return k - 1, (x - knots[k - 1]) / (knots[k] - knots[k - 1])
    return len(knots) - 2, 1.0


@compiled
def basis_of(features: NDArray[np.float64], knots: NDArray[np.float64], phi: NDArray[np.float64]) -> None:
    """phi(x) in full, for learners and tests; scoring itself never builds it."""
    phi[:] = 0.0
    for j in range(15):
        at, share = hat_position(knots[j], features[j])
        phi[j * 6 + at] += 1.0 - share
        phi[j * 6 + at + 1] += share
    phi[90 + int(features[15])] = 1.0
    phi[100 + int(features[16])] = 1.0
    phi[108] = features[17]
    phi[109] = features[18]
    phi[110] = pace_of_features(features)


@compiled
def term_of(slot: int, feature: float, beta: NDArray[np.float64], knots: NDArray[np.float64]) -> float:
    """What one input adds to the forecast; `knots` (KNOTS,) are its own, and read for a continuous one alone."""
    if slot < 15:
        at, share = hat_position(knots, feature)
        return (1.0 - share) * beta[slot * 6 + at] + share * beta[slot * 6 + at + 1]
    if slot == 15:
        return beta[90 + int(feature)]
    if slot == 16:
        return beta[100 + int(feature)]
    return beta[91 + slot] * feature


@compiled
def forecast_of(features: NDArray[np.float64], model: ValueModel, terms: NDArray[np.float64]) -> float:
    """yhat = beta . phi(x), with the contribution of each input and of the pace in `terms` (TERMS,)."""
    total = 0.0
    for j in range(19):
        terms[j] = term_of(j, features[j], model.beta, model.knots[min(j, 14)])
        total += terms[j]
    terms[19] = model.beta[110] * pace_of_features(features)
    return total + terms[19]


@compiled
def score_of_ranks(share: float, steady: float, weight: float) -> float:
    """The score of the percentiles of forecast and consistency, to two decimals, half to even."""
    return np.rint((1.0 + 4.0 * (weight * share + (1.0 - weight) * steady)) * 100.0) / 100.0


@compiled
def value_of(
    features: NDArray[np.float64],
    consistency: float,
    model: ValueModel,
    terms: NDArray[np.float64],
    levels: NDArray[np.float64],
) -> tuple[float, float, float]:
    """Score, base and forecast; `levels` (VALUE_LEVELS,) sum with the base to the score (to rounding of doubles).

    `terms` is scratch of TERMS. The base is the score of the sample's mean customer; each family of inputs is
    credited with its share of the distance of forecasts, in percentile points.
    """
    forecast = forecast_of(features, model, terms)
    share = percentile_of(model.forecasts, forecast)
    share_mean = percentile_of(model.forecasts, model.forecast_mean)
    steady = percentile_of(model.consistencies, consistency)
    steady_mean = percentile_of(model.consistencies, model.consistency_median)
    weight = model.weight
    score = score_of_ranks(share, steady, weight)
    base = 1.0 + 4.0 * (weight * share_mean + (1.0 - weight) * steady_mean)
    distance = forecast - model.forecast_mean
    slope = 0.0 if distance == 0.0 else 4.0 * weight * (share - share_mean) / distance
    levels[:] = 0.0
    for j in range(20):
        levels[FAMILY_OF_TERM[j]] += slope * (terms[j] - model.term_means[j])
    levels[11] = 4.0 * (1.0 - weight) * (steady - steady_mean)
    explained = base
    for j in range(12):
        explained += levels[j]
    levels[12] = score - explained
    return score, base, forecast


@compiled
def band_of(score: float, floors: NDArray[np.float64]) -> int:
    """Category of a rounded score: 0 low, 1 medium, 2 high, 3 top; -1 where there is no score."""
    if math.isnan(score):
        return -1
    band = 0
    for k in range(len(floors)):
        if score >= floors[k]:
            band = k + 1
    return band


@compiled
def label_of(moved_minor: int) -> float:
    """y = ln(1 + Y / s), clipped to [0, 25]."""
    return min(math.log1p(max(moved_minor, 0) / 10_000.0), 25.0)


@compiled
def consistency_after(consistency: float, forecast: float, moved_minor: int) -> float:
    """c <- c + (r - c) / 4 with r = 1 - |Y - Yhat| / (Y + Yhat), and r = 0 for a customer who moved nothing."""
    moved = max(moved_minor, 0) / 10_000.0
    expected = max(0.0, math.expm1(min(forecast, 25.0)))
    hit = 0.0 if moved == 0.0 else 1.0 - abs(moved - expected) / (moved + expected)
    return consistency + (hit - consistency) / 4.0


@compiled
def pack_feature(x: float) -> int:
    """An input in 16 bits, to a 2048th; bins and flags are kept exactly."""
    return int(min(max(np.rint((x + 12.0) * 2048.0), 0.0), 65535.0))


def unpack_features(packed: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The inputs of a stored example.

    >>> float(unpack_features(np.array([pack_feature(3.5)], np.uint16))[0])
    3.5
    """
    return packed / FEATURE_SCALE - FEATURE_OFFSET


def whole_basis(numbers: ArrayLike) -> NDArray[np.float64]:
    """Coefficients of phi as they were stored. Before the pace was known there was one less: it counts as 0.

    >>> len(whole_basis([1.0] * (BASIS - 1))), float(whole_basis([1.0] * (BASIS - 1))[-1])
    (111, 0.0)
    """
    stored = np.asarray(numbers, np.float64)
    return np.append(stored, 0.0) if stored.shape == (BASIS - 1,) else stored


assert len(FEATURE_NAMES) == FEATURE_SLOTS == len(FAMILY_OF_TERM) - 1
assert len(RECENCY_EDGES) == len(SILENT_DAYS)
assert len(AGE_EDGES) + 1 == len(KNOWN_DAYS)
