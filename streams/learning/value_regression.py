"""Bayesian linear regression over the value model's basis, an epoch at a time, the same bytes for the same examples.

The posterior is kept as precision and information, A = s^2 A0 + sum phi phi' and b = s^2 A0 beta0 + sum phi y, so that
an example is an addition, whatever the order, and forgetting is a pull of both towards the prior: it can neither blow
up nor lose the prior. The noise s is learned too, from the errors of forecasts: labels that lie close are believed
sooner, and a surprise beyond so many s counts as that many. Sums and the solution are plain loops in one fixed order,
not BLAS, whose order depends on the number of cores. Source: C. Bishop, Pattern Recognition and Machine Learning, 2006,
3.3; the pull is "stabilised forgetting" (R. Kulhavy, M. Zarrop, 1993).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.scoring.value import (
    AGE_AT,
    AGE_SLOT,
    AGE_UNKNOWN,
    BASIS,
    CONTINUOUS,
    CURRENCIES_AT,
    CURRENCIES_SLOT,
    KNOTS,
    KNOWN_DAYS,
    PACE_AT,
    PACE_MAX,
    RECENCY_AT,
    RECENCY_EDGES,
    RECENCY_SLOT,
    SILENT_DAYS,
    WEB_AT,
    WEB_SLOT,
    YEAR_COUNT_SLOT,
    whole_basis,
)

Floats = NDArray[np.float64]

ACTIVE = 2 * CONTINUOUS + 5
"""Basis functions that are not 0 for one customer, at most."""

PRIOR_PRECISION = 10.0
"""Of each coefficient, 1 / variance in ln units: the packaged ones are worth so many examples of noise 1."""

NOISE_EXAMPLES = 20
"""What the policy's noise is worth against what is seen."""

NOISE_HALF_LIFE_EXAMPLES = 2_000
SURPRISE_MAX = 5.0
"""Standard deviations of the noise: one strange month of one customer must not bend the forecasts of all."""

NOISE2_MIN = 1e-6

LABEL_MAX = 25.0
CHUNK = 512


@dataclass(frozen=True, slots=True)
class Design:
    """phi of n customers, without the zeros: `columns` and `values` are (n, ACTIVE)."""

    columns: NDArray[np.int64]
    values: Floats

    def predict(self, beta: Floats) -> Floats:
        """beta . phi (n,), summed in the order of the columns."""
        total = np.zeros(len(self.columns))
        for k in range(ACTIVE):
            total += beta[self.columns[:, k]] * self.values[:, k]
        return total

    def mean(self) -> Floats:
        """The mean of phi over the customers (BASIS,)."""
        sums = np.bincount(self.columns.ravel(), self.values.ravel(), BASIS)
        return sums / max(len(self.columns), 1)


def design_of(features: Floats, knots: Floats) -> Design:
    """phi of customers from their inputs (n, FEATURE_SLOTS); the same numbers as `scoring.value.basis_of`."""
    n = len(features)
    columns, values = np.zeros((n, ACTIVE), np.int64), np.zeros((n, ACTIVE))
    for j in range(CONTINUOUS):
        x, edge = features[:, j], knots[j]
        left = np.clip(np.searchsorted(edge, x, side="right") - 1, 0, KNOTS - 2)
        width = edge[left + 1] - edge[left]
        share = np.clip((x - edge[left]) / np.where(width > 0, width, 1.0), 0.0, 1.0)
        columns[:, 2 * j], columns[:, 2 * j + 1] = j * KNOTS + left, j * KNOTS + left + 1
        values[:, 2 * j], values[:, 2 * j + 1] = 1.0 - share, share
    at = 2 * CONTINUOUS
    columns[:, at] = RECENCY_AT + features[:, RECENCY_SLOT].astype(np.int64)
    columns[:, at + 1] = AGE_AT + features[:, AGE_SLOT].astype(np.int64)
    columns[:, at + 2], columns[:, at + 3] = WEB_AT, CURRENCIES_AT
    values[:, at : at + 2] = 1.0
    columns[:, at + 4] = PACE_AT
    values[:, at + 2], values[:, at + 3] = features[:, WEB_SLOT], features[:, CURRENCIES_SLOT]
    values[:, at + 4] = paces(features)
    return Design(columns, values)


def paces(features: Floats) -> Floats:
    """The pace of customers (n,) from their inputs (n, FEATURE_SLOTS): `streams.scoring.value.pace_of_features`."""
    transactions = np.maximum(np.rint(np.expm1(features[:, YEAR_COUNT_SLOT])), 0.0)
    silent = SILENT_DAYS[features[:, RECENCY_SLOT].astype(np.int64)]
    known = KNOWN_DAYS[features[:, AGE_SLOT].astype(np.int64)]
    rate = transactions / (np.maximum(known, silent) + 30.0)
    missed = rate * silent
    found: Floats = np.minimum(30.0 * rate / (1.0 + missed * missed), PACE_MAX)
    return found


def usable(features: Floats, labels: Floats) -> NDArray[np.bool_]:
    """Which examples (n,) a model may see: finite, in their bins. A poisoned one teaches nothing."""
    with np.errstate(invalid="ignore"):
        bins = (features[:, RECENCY_SLOT] >= 0) & (features[:, RECENCY_SLOT] < len(RECENCY_EDGES))
        ages = (features[:, AGE_SLOT] >= 0) & (features[:, AGE_SLOT] <= AGE_UNKNOWN)
        flags = np.isin(features[:, [WEB_SLOT, CURRENCIES_SLOT]], (0.0, 1.0)).all(axis=1)
        found: NDArray[np.bool_] = np.isfinite(features).all(axis=1) & (labels >= 0.0) & (labels <= LABEL_MAX)
    return found & bins & ages & flags


class ValueRegression:
    """One model that learns. `noise` is what is thought of it at first; `half_life` counts examples, None: for ever."""

    def __init__(self, beta: Floats, noise: float, residual_max: float, half_life: float | None = None) -> None:
        self._prior = beta
        self._residual_max, self._half_life = residual_max, half_life
        self._squares, self._weight = NOISE_EXAMPLES * noise * noise, float(NOISE_EXAMPLES)
        self._gained = np.zeros((BASIS, BASIS))  # A - s^2 A0
        self._told = np.zeros(BASIS)  # b - A beta0: what was learned is how labels differ from the prior's forecasts
        self.examples = 0
        self.beta: Floats = beta.copy()

    def begin_at(self, beta: Floats) -> None:
        """Begin again with these coefficients as what is known before any example."""
        self._prior, self.beta = beta, beta.copy()
        self._gained[:], self._told[:] = 0.0, 0.0

    def learn(self, design: Design, labels: Floats) -> None:
        """Take an epoch's examples. Cost: about 10 us each and 5 ms an epoch.

        No label pulls harder than one `residual_max`, or so many times the noise, away from the present forecast.
        """
        if not len(labels):
            return
        if self._half_life is not None:
            kept = 0.5 ** (len(labels) / self._half_life)
            self._gained *= kept
            self._told *= kept
        largest = min(self._residual_max, SURPRISE_MAX * self.noise)
        off = np.clip(labels - design.predict(self.beta), -largest, largest)
        self._see_noise(off)
        target = off + design.predict(self.beta - self._prior)
        for start in range(0, len(labels), CHUNK):
            columns, values = design.columns[start : start + CHUNK], design.values[start : start + CHUNK]
            pairs = (columns[:, :, None] * BASIS + columns[:, None, :]).ravel()
            products = (values[:, :, None] * values[:, None, :]).ravel()
            self._gained += np.bincount(pairs, products, BASIS * BASIS).reshape(BASIS, BASIS)
            pulled = (values * target[start : start + CHUNK, None]).ravel()
            self._told += np.bincount(columns.ravel(), pulled, BASIS)
        self.examples += len(labels)
        ridge = PRIOR_PRECISION * self.noise**2 * np.eye(BASIS)
        self.beta = self._prior + solved(self._gained + ridge, self._told)

    @property
    def noise(self) -> float:
        """Standard deviation of a label around its forecast, in ln units, as it is known so far."""
        return math.sqrt(max(self._squares / self._weight, NOISE2_MIN))

    def _see_noise(self, off: Floats) -> None:
        kept = 0.5 ** (len(off) / NOISE_HALF_LIFE_EXAMPLES)
        # cumsum adds in the order of the examples; a sum by halves would depend on how it was built
        self._squares = self._squares * kept + float(np.cumsum(off * off)[-1])
        self._weight = self._weight * kept + len(off)

    def body(self) -> dict[str, Any]:
        """Everything that was learned, as plain numbers."""
        upper = np.triu_indices(BASIS)
        return {
            "examples": self.examples,
            "prior": self._prior.tolist(),
            "gained": self._gained[upper].tolist(),
            "told": self._told.tolist(),
            "beta": self.beta.tolist(),
            "noise": [self._squares, self._weight],
        }

    def restore(self, body: dict[str, Any]) -> None:
        """Know again what `body` said, also one from before the pace was an input."""
        width = len(body["told"])
        gained = np.zeros((BASIS, BASIS))
        gained[:width, :width][np.triu_indices(width)] = body["gained"]
        self._gained = gained + np.triu(gained, 1).T
        self._told, self._prior = whole_basis(body["told"]), whole_basis(body["prior"])
        self.beta, self.examples = whole_basis(body["beta"]), int(body["examples"])
        self._squares, self._weight = body.get("noise", (self._squares, self._weight))  # older ones did not learn it


def solved(precision: Floats, information: Floats) -> Floats:
    """x with A x = b for a symmetric positive A (n, n): Cholesky in one fixed order.

    >>> solved(np.array([[4.0, 2.0], [2.0, 3.0]]), np.array([8.0, 7.0])).round(12).tolist()
    [1.25, 1.5]
    """
    n = len(information)
    left, x = precision.copy(), information.copy()
    for k in range(n):
        pivot = np.sqrt(left[k, k])
        left[k:, k] /= pivot
        left[k + 1 :, k + 1 :] -= left[k + 1 :, k, None] * left[None, k + 1 :, k]
    for k in range(n):
        x[k] /= left[k, k]
        x[k + 1 :] -= left[k + 1 :, k] * x[k]
    for k in reversed(range(n)):
        x[k] /= left[k, k]
        x[:k] -= left[k, :k] * x[k]
    return x
