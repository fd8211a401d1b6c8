"""Credit risk: how likely a person is not to pay back, from what they declare and what their account shows.

`credit_score` is 1 - the probability of default. The model is additive on the log-odds of default over the features
below, so every score comes with contributions that sum to it, with the probability that its category is right, and with
what is furthest from the best attainable. Absent is a level of its own: nothing is filled in. Definition:
docs/scores.md, credit risk; source: the risk scoring text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.scoring.models.additive import Additive, Floats, logistic, sums_of, tempered, terms_of
from streams.scoring.models.manifest import Feature, Manifest

CATEGORY_FLOORS = (0.10, 0.30)
"""Probability of default from which on a person is medium, high; policy."""

CATEGORIES = ("low", "medium", "high")
LEVEL_FLOORS = (0.05, 0.10, 0.30)
UNCERTAINTY = "uncertainty"
"""The contribution of not knowing the weights exactly: it draws every score towards even odds."""


class Level(IntEnum):
    """The source's five levels; 5 is best."""

    FRAUD = 1  # from the fraud flow alone
    HIGH = 2
    MEDIUM = 3
    LOW = 4
    VERY_LOW = 5


def _number(name: str, purpose: str, knots: tuple[float, ...], source: str, expected_rise: float) -> Feature:
    return Feature(name, purpose=purpose, knots=knots, source=source, expected_rise=expected_rise)


RISK_MANIFEST = Manifest(
    "risk",
    "credit",
    (
        _number("income", "what can be paid from, a month", (6.5, 7.2, 7.6, 8.0, 8.7), "declared", -0.5),
        _number("dti", "share of income that debts take", (0.0, 0.15, 0.3, 0.45, 0.8), "declared", 1.0),
        _number("renta_to_income", "share of income that housing takes", (0.0, 0.2, 0.35, 0.5, 0.9), "declared", 0.5),
        _number("debt_to_income", "all debts, in years of income", (0.0, 0.3, 1.0, 2.5, 6.0), "declared", 0.5),
        _number("working_time", "length of the employment", (0.0, 4.5, 5.9, 7.0, 8.3, 9.2), "declared", -0.75),
        _number("moroso", "listed as a bad debtor", (0.0, 1.0), "declared", 1.5),
        _number("loan_to_income", "the loan, in years of income", (0.0, 0.2, 0.6, 1.5, 4.0), "declared", 0.5),
        _number("trx_income", "income seen on the account", (0.0, 6.5, 7.2, 8.0, 8.7), "transactions", -0.5),
        _number("trx_income_share", "declared income that is seen", (0.0, 0.5, 0.9, 1.2, 2.0), "transactions", -0.5),
        _number("trx_expenses", "share of income that is spent", (0.3, 0.8, 1.0, 1.2, 2.0), "transactions", 0.75),
        _number("trx_balance", "months of income on the account", (-1.0, 0.0, 0.5, 2.0, 6.0), "transactions", -1.0),
        _number("trx_failed", "payments that failed", (0.0, 0.7, 1.4, 2.5), "transactions", 1.0),
        _number("trx_active_days", "how much the account is used", (0.0, 3.0, 8.0, 20.0), "transactions", -0.25),
        _number("status", "how earlier loans were paid", (1.0, 1.9, 2.3, 3.0, 4.0, 4.8), "loans", -1.5),
        _number("days_past_due", "the oldest unpaid amount", (0.0, 3.45, 4.52, 5.2), "loans", 2.0),
    ),
)
"""What the risk model sees: declared data and behaviour, nothing protected. Money in logarithms, ratios as they are."""


class Declared(NamedTuple):
    """What people declare, (n,) each, NaN where absent. Money in whole units a month, working time in days."""

    income: Floats
    debt: Floats
    renta: Floats  # cost of housing
    debt_total: Floats
    working_time: Floats
    moroso: Floats
    loan_amount: Floats


class Behaviour(NamedTuple):
    """What accounts and loans show, (n,) each, NaN where there are none. Money in minor units (cents)."""

    deposits_90: Floats
    withdrawals_90: Floats  # as a positive amount
    balance: Floats
    failed_30: Floats
    active_days_30: Floats
    status: Floats  # status score
    days_past_due: Floats


class Risk(NamedTuple):
    """Scores of n people."""

    credit_score: Floats  # (n,) 1 - probability of default
    category: NDArray[np.int64]  # (n,) index in CATEGORIES
    confidence: Floats  # (n,) probability that the category is right
    level: NDArray[np.int64]  # (n,) 2..5; 1 is the fraud flow's
    base_logit: float  # log-odds of the population's mean person
    contributions: Floats  # (n, F + 1) to the log-odds of the score: what speaks against is negative; last UNCERTAINTY
    terms: Floats  # (n, F) the same features on the log-odds of default, for adverse-action reasons


def declared_of(people: Sequence[Mapping[str, float | None]]) -> Declared:
    """Columns of requests that name the fields as the source does; what is missing or null is absent."""
    return Declared(*(_column([person.get(name) for person in people]) for name in Declared._fields))


def behaviour_of(people: Sequence[Mapping[str, float | None]]) -> Behaviour:
    """Columns of what accounts show; a person without an account or a loan has an empty mapping."""
    return Behaviour(*(_column([person.get(name) for person in people]) for name in Behaviour._fields))


def risk_features(declared: Declared, behaviour: Behaviour) -> Floats:
    """The columns (n, F) of RISK_MANIFEST; NaN where absent. A ratio needs both its parts, and an income above 0.

    >>> nothing = behaviour_of([{}])
    >>> person = declared_of([{"income": 2500, "debt": 350, "renta": 800, "debt_total": 15000}])
    >>> risk_features(person, nothing)[0, 1:4].round(3).tolist()
    [0.14, 0.32, 0.5]
    """
    income = np.where(declared.income > 0, declared.income, np.nan)
    trx_income = behaviour.deposits_90 / 3.0 / 100.0
    earning = np.where(trx_income > 0, trx_income, np.nan)
    columns = (
        _log(declared.income),
        declared.debt / income,
        declared.renta / income,
        declared.debt_total / (12.0 * income),
        _log(declared.working_time),
        declared.moroso,
        declared.loan_amount / (12.0 * income),
        _log(trx_income),
        trx_income / income,
        behaviour.withdrawals_90 / np.where(behaviour.deposits_90 > 0, behaviour.deposits_90, np.nan),
        behaviour.balance / 100.0 / np.where(np.isnan(earning), income, earning),
        _log(behaviour.failed_30),
        behaviour.active_days_30,
        behaviour.status,
        _log(behaviour.days_past_due),
    )
    return np.column_stack(columns)


def risk_of(model: Additive, features: Floats) -> Risk:
    """Score rows of features (n, F); about 10 us a row. base + contributions = logit(credit_score)."""
    sums, variances = sums_of(model, features)
    logits = tempered(sums, variances)
    base, terms = terms_of(model, features)
    chance = logistic(logits)
    category = np.searchsorted(CATEGORY_FLOORS, chance, side="right")
    return Risk(
        1.0 - chance,
        category,
        category_confidence(sums, variances, category),
        Level.VERY_LOW - np.searchsorted(LEVEL_FLOORS, chance, side="right"),
        -base,
        -np.column_stack([terms, logits - base - terms.sum(axis=1)]),
        terms,
    )


def category_confidence(sums: Floats, variances: Floats, category: NDArray[np.int64]) -> Floats:
    """The posterior probability (n,) that each logit N(sum, variance) lies within its category."""
    edges = np.array([-math.inf, *(math.log(p / (1.0 - p)) for p in CATEGORY_FLOORS), math.inf])
    deviations = np.sqrt(np.maximum(variances, 1e-12))
    return _normal_cdf((edges[category + 1] - sums) / deviations) - _normal_cdf((edges[category] - sums) / deviations)


def category_of(probability_of_default: float, floors: Sequence[float] = CATEGORY_FLOORS) -> str:
    """low, medium or high.

    >>> category_of(1 - 0.359), category_of(0.10), category_of(0.0999)
    ('high', 'medium', 'low')
    """
    return CATEGORIES[int(np.searchsorted(np.asarray(floors), probability_of_default, side="right"))]


def expected_balance_30d(balance: ArrayLike, deposits_90: ArrayLike, withdrawals_90: ArrayLike) -> Floats:
    """The balance in 30 days if the last 90 go on: balance + (deposits - withdrawals) / 3, in the unit given.

    >>> float(expected_balance_30d(124500, 300000, -150000))
    174500.0
    """
    flow = np.asarray(deposits_90, np.float64) - np.abs(np.asarray(withdrawals_90, np.float64))
    return np.asarray(balance, np.float64) + flow / 3.0


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _log(x: Floats) -> Floats:
    """ln(1 + x); what is negative counts as 0."""
    return np.log1p(np.maximum(x, 0.0))


def _normal_cdf(x: Floats) -> Floats:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in x])
