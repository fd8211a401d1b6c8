"""Additive models that bend: a logit, or a number, as a sum of one function per feature, each with its uncertainty.

A number's function is piecewise linear on its knots (hat functions), a category has a level for each value, and what is
absent has a level of its own, so that nothing is ever filled in. Weights are one Gaussian: mean (D,) and covariance
(D, D). So a score is explained by its terms, which add up; its uncertainty is the variance of the sum; and no input,
however extreme, moves it beyond the outermost knots. Scalar compiled functions, shared by scoring and by the
estimators in `streams.learning`. Definition: docs/scores.md, additive models.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.scoring.models.manifest import Feature

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Layout(NamedTuple):
    """Where each feature's weights stand. Position 0 is the intercept; then a block per feature.

    A number with k knots takes k + 1 positions (the last: absent), a category with k slots k + 2 (other, absent).
    """

    starts: Integers  # (F,)
    sizes: Integers  # (F,) knots or slots
    categorical: NDArray[np.bool_]  # (F,)
    knots: Floats  # (F, most knots), padded with the last knot

    @property
    def width(self) -> int:
        """D: how many weights there are."""
        return int(self.starts[-1] + self.sizes[-1] + 1 + self.categorical[-1]) if len(self.starts) else 1


class Additive(NamedTuple):
    """One version of an additive model, as the scoring functions read it."""

    layout: Layout
    mean: Floats  # (D,)
    covariance: Floats  # (D, D)
    phi_mean: Floats  # (D,): the basis of the population's mean customer, against whom reasons are told


def layout_of(features: tuple[Feature, ...]) -> Layout:
    """The layout for features whose knots are known (at least two for a number)."""
    categorical = np.array([feature.kind == "category" for feature in features], np.bool_)
    sizes = np.array([f.slots if f.kind == "category" else len(f.knots) for f in features], np.int64)
    if (sizes[~categorical] < 2).any():
        lacking = [f.name for f in features if f.kind == "number" and len(f.knots) < 2]
        raise ValueError(f"numbers need two knots at least: {', '.join(lacking)}")
    blocks = sizes + 1 + categorical
    knots = np.zeros((len(features), max(sizes[~categorical], default=1)))
    for j, feature in enumerate(features):
        if not categorical[j]:
            knots[j] = feature.knots[-1]
            knots[j, : len(feature.knots)] = feature.knots
    return Layout(1 + np.cumsum(blocks) - blocks, sizes, categorical, knots)


@compiled
def place(inputs: Floats, layout: Layout, at: Integers, share: Floats) -> None:
    """phi of one row (F,), sparse: positions `at` and values `share`, each (1 + 2 F,). NaN is absent.

    A category's input is the number of its slot; any other number is "other". Beyond its knots a number is as at the
    nearest one, infinities too, so that one row's leverage is bounded whatever it says.
    """
    at[0] = 0
    share[0] = 1.0
    for j in range(len(inputs)):
        x = inputs[j]
        left = 1 + 2 * j
        start, size = layout.starts[j], layout.sizes[j]
        share[left] = 1.0
        share[left + 1] = 0.0
        if layout.categorical[j]:
            slot = size + 1 if math.isnan(x) else size
            if 0.0 <= x < size:
                slot = int(x)
            at[left] = at[left + 1] = start + slot
        elif math.isnan(x):
            at[left] = at[left + 1] = start + size
        else:
            k = 0
            while k < size - 2 and x >= layout.knots[j, k + 1]:
                k += 1
            low, high = layout.knots[j, k], layout.knots[j, k + 1]
            part = min(max((min(max(x, low), high) - low) / (high - low), 0.0), 1.0)
            at[left], at[left + 1] = start + k, start + k + 1
            share[left], share[left + 1] = 1.0 - part, part


@compiled
def _place_rows(inputs: Floats, layout: Layout, at: Integers, share: Floats) -> None:
    for i in range(len(inputs)):
        place(inputs[i], layout, at[i], share[i])


@compiled
def _sums(at: Integers, share: Floats, mean: Floats, covariance: Floats, sums: Floats, variances: Floats) -> None:
    for i in range(len(at)):
        total, variance = 0.0, 0.0
        for a in range(at.shape[1]):
            total += share[i, a] * mean[at[i, a]]
            for b in range(at.shape[1]):
                variance += share[i, a] * share[i, b] * covariance[at[i, a], at[i, b]]
        sums[i] = total
        variances[i] = max(variance, 0.0)


def placed(layout: Layout, inputs: Floats) -> tuple[Integers, Floats]:
    """phi of rows (n, F), sparse: positions and values, each (n, 1 + 2 F). Raises `ValueError` for another F."""
    rows = np.ascontiguousarray(inputs, np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(layout.starts):
        raise ValueError(f"inputs have the shape {rows.shape}, give (n, {len(layout.starts)})")
    at = np.empty((len(rows), 1 + 2 * rows.shape[1]), np.int64)
    share = np.empty(at.shape)
    _place_rows(rows, layout, at, share)
    return at, share


def sums_of(model: Additive, inputs: Floats) -> tuple[Floats, Floats]:
    """The model's sum for each row of inputs (n, F), and its variance; each (n,). About 2 us a row of 25 features."""
    at, share = placed(model.layout, inputs)
    sums, variances = np.empty(len(at)), np.empty(len(at))
    _sums(at, share, model.mean, model.covariance, sums, variances)
    return sums, variances


def terms_of(model: Additive, inputs: Floats) -> tuple[float, Floats]:
    """The sum of the population's mean customer, and by how much each feature of each row (n, F) departs from it.

    base + terms.sum(axis=1) is the sum of the row, to rounding.
    """
    at, share = placed(model.layout, inputs)
    parts = (share * model.mean[at])[:, 1:].reshape(len(at), -1, 2).sum(axis=2)
    base, means = _mean_customer(model)
    return base, parts - means


def best_terms(model: Additive, *, lowest: bool) -> Floats:
    """The best term each feature can have (F,) where it is told: the lowest if the sum is a risk, else the highest.

    "Absent" and "other" are nobody's to attain, so they are left out.
    """
    best = np.min if lowest else np.max
    pairs = zip(model.layout.starts, model.layout.sizes, strict=True)
    return np.array([best(model.mean[start : start + size]) for start, size in pairs]) - _mean_customer(model)[1]


def _mean_customer(model: Additive) -> tuple[float, Floats]:
    """The sum of the population's mean customer, and each feature's part in it (F,)."""
    weighed = model.phi_mean * model.mean
    means = np.add.reduceat(weighed, model.layout.starts) if len(model.layout.starts) else np.zeros(0)
    return float(weighed[0] + means.sum()), means


def logistic(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1.0 + np.exp(-np.abs(x)))


def tempered(sums: Floats, variances: Floats) -> Floats:
    """The logit of the mean probability under a Gaussian logit: what is not well known is said less boldly.

    D. MacKay, "The evidence framework applied to classification networks" (1992): sum / sqrt(1 + pi variance / 8).
    """
    return sums / np.sqrt(1.0 + math.pi * variances / 8.0)
