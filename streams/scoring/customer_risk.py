"""The credit risk of one customer, as a stream sees it: what they declared, what their account and loans show.

`streams.scoring.models.risk` says what the model is, for rows of people; here are the same numbers for one row of
state, as scalar compiled functions that the oracle and the kernel call alike. In a stream, days past due count by
the state they make (1, 31, 91, 181), so that time moves the score only on days on which a loan turns. Reasons are
the contributions on the log-odds, scaled to what they move the score, so that they add up to it like those of every
other score.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.kinds import Reason
from streams.scoring.models.additive import Layout, layout_of, place
from streams.scoring.models.risk import RISK_MANIFEST

RISK_LAYOUT = layout_of(RISK_MANIFEST.features)
RISK_FEATURES = len(RISK_MANIFEST.features)
RISK_PLACES = 1 + 2 * RISK_FEATURES
RISK_WIDTH = RISK_LAYOUT.width
RISK_KNOTS = RISK_LAYOUT.knots.shape[1]
RISK_LEVELS = RISK_FEATURES + 1
RISK_REASONS = np.arange(Reason.RISK_INCOME, Reason.RISK_UNCERTAINTY + 1, dtype=np.uint16)
LATE_FLOORS = np.array([181, 91, 31, 1])

_STARTS, _SIZES, _CATEGORICAL = RISK_LAYOUT.starts, RISK_LAYOUT.sizes, RISK_LAYOUT.categorical

Floats = NDArray[np.float64]


class RiskModel(NamedTuple):
    """One version of the model as the scoring functions read it."""

    knots: Floats  # (RISK_FEATURES, RISK_KNOTS)
    mean: Floats  # (RISK_WIDTH,)
    covariance: Floats  # (RISK_WIDTH, RISK_WIDTH)
    base: float  # log-odds of the population's mean customer
    means: Floats  # (RISK_FEATURES,): each feature's part in it


class Behaviour(NamedTuple):
    """What account and loans show of one customer. Money in minor units of the base currency."""

    has_transactions: bool
    deposits_90: int
    withdrawals_90: int
    balance: int
    failed_30: int
    active_days_30: int
    status: float  # NaN: none yet
    days_past_due: int  # of the oldest unpaid loan, as `late_floor` gives it; -1 without a loan


@compiled
def late_floor(days_past_due: int) -> int:
    """The first day of the state that so many days past due make; 0 while nothing is due.

    >>> [late_floor(days) for days in (-3, 0, 1, 30, 31, 400)]
    [0, 0, 1, 1, 31, 181]
    """
    for floor in LATE_FLOORS:
        if days_past_due >= floor:
            return int(floor)
    return 0


@compiled
def _log(x: float) -> float:
    return math.nan if math.isnan(x) else math.log1p(max(x, 0.0))


@compiled
def risk_inputs(declared: Floats, seen: Behaviour, inputs: Floats) -> None:
    """The features of RISK_MANIFEST into `inputs` (RISK_FEATURES,); NaN where absent.

    `declared` is what `schemas.batch.DECLARED` names; see `streams.scoring.models.risk.risk_features`.
    """
    declared_income = declared[0]
    income = declared_income if declared_income > 0.0 else math.nan
    deposits = withdrawals = balance = failed = active = math.nan
    if seen.has_transactions:
        deposits, withdrawals, balance = float(seen.deposits_90), float(seen.withdrawals_90), float(seen.balance)
        failed, active = float(seen.failed_30), float(seen.active_days_30)
    earned = deposits / 3.0 / 100.0
    inputs[0] = _log(declared_income)
    inputs[1] = declared[1] / income
    inputs[2] = declared[2] / income
    inputs[3] = declared[3] / (12.0 * income)
    inputs[4] = _log(declared[4])
    inputs[5] = declared[5]
    inputs[6] = declared[6] / (12.0 * income)
    inputs[7] = _log(earned)
    inputs[8] = earned / income
    inputs[9] = withdrawals / deposits if deposits > 0.0 else math.nan
    inputs[10] = balance / 100.0 / (earned if earned > 0.0 else income)
    inputs[11] = _log(failed)
    inputs[12] = active
    inputs[13] = seen.status
    inputs[14] = math.nan if seen.days_past_due < 0 else math.log1p(float(seen.days_past_due))


@compiled
def risk_sums(inputs: Floats, model: RiskModel, at: NDArray[np.int64], share: Floats) -> tuple[float, float]:
    """Log-odds of default, and their variance. `at` and `share` are scratch of RISK_PLACES."""
    place(inputs, Layout(_STARTS, _SIZES, _CATEGORICAL, model.knots), at, share)
    total, variance = 0.0, 0.0
    for a in range(RISK_PLACES):
        if share[a] == 0.0:
            continue
        total += share[a] * model.mean[at[a]]
        for b in range(RISK_PLACES):
            if share[b] != 0.0:
                variance += share[a] * share[b] * model.covariance[at[a], at[b]]
    return total, max(variance, 0.0)


@compiled
def tempered_logit(total: float, variance: float) -> float:
    """See `streams.scoring.models.additive.tempered`."""
    return total / math.sqrt(1.0 + math.pi * variance / 8.0)


@compiled
def credit_score(logit: float) -> float:
    """1 less the probability of default of these log-odds."""
    return 1.0 - (1.0 / (1.0 + math.exp(-logit)) if logit >= 0.0 else math.exp(logit) / (1.0 + math.exp(logit)))


@compiled
def risk_band(score: float, floors: Floats) -> int:
    """0 low, 1 medium, 2 high, by the probability of default; -1 where there is no score."""
    if math.isnan(score):
        return -1
    band = 0
    for k in range(len(floors)):
        if 1.0 - score >= floors[k]:
            band = k + 1
    return band


@compiled
def band_confidence(total: float, variance: float, floors: Floats) -> float:
    """The posterior probability that the band is right: that the log-odds lie where it begins and ends."""
    deviation = math.sqrt(max(variance, 1e-12))
    band = risk_band(credit_score(tempered_logit(total, variance)), floors)
    low, high = 0.0, 1.0
    if band > 0:
        low = _normal_cdf((_logit(floors[band - 1]) - total) / deviation)
    if band < len(floors):
        high = _normal_cdf((_logit(floors[band]) - total) / deviation)
    return high - low


@compiled
def _logit(p: float) -> float:
    return math.log(p / (1.0 - p))


@compiled
def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@compiled
def risk_reasons(inputs: Floats, model: RiskModel, at: NDArray[np.int64], share: Floats, levels: Floats) -> float:
    """Fill `levels` (RISK_LEVELS,) and answer the base: base + sum of levels = score, to rounding of doubles."""
    total, variance = risk_sums(inputs, model, at, share)
    logit = tempered_logit(total, variance)
    score, base = credit_score(logit), credit_score(model.base)
    distance = model.base - logit  # what speaks for the customer is positive
    slope = 0.0 if distance == 0.0 else (score - base) / distance
    explained = 0.0
    for j in range(RISK_FEATURES):
        left = 1 + 2 * j
        term = share[left] * model.mean[at[left]] + share[left + 1] * model.mean[at[left + 1]] - model.means[j]
        levels[j] = 0.0 - slope * term
        explained += term
    levels[RISK_FEATURES] = slope * (model.base + explained - logit)
    return base
