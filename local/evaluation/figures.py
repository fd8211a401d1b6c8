"""The figures a score is judged by, from predictions that were made before their label was learned. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CURVE_POINTS = 20
CALIBRATION_BINS = 10
CLIP = 1e-12
SLOPE_MAX = 1e3
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Shares of the truth that intervals are asked to hold."""

GROUP_ROWS = 100
DRAWS = 500


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The chance that a positive scores above a negative, ties half; NaN where there is only one kind.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    positives = y.sum()
    negatives = len(y) - positives
    if not positives or not negatives:
        return math.nan
    _, where, counts = np.unique(s, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[where]
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def roc(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    order = np.argsort(-s, kind="stable")
    last = np.append(np.diff(s[order]) != 0, True)
    hits, misses = np.cumsum(y[order])[last], np.cumsum(1 - y[order])[last]
    return np.append(0.0, misses / max(misses[-1], 1)), np.append(0.0, hits / max(hits[-1], 1))


def kolmogorov_smirnov(labels: ArrayLike, scores: ArrayLike) -> float:
    """The largest distance between the distributions of positives and negatives."""
    false, true = roc(labels, scores)
    return float(np.max(np.abs(true - false)))


def log_loss(labels: ArrayLike, chances: ArrayLike) -> float:
    """Mean -ln of the chance that was given to what happened."""
    y, p = np.asarray(labels, np.float64), np.clip(np.asarray(chances, np.float64), CLIP, 1 - CLIP)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


def brier(labels: ArrayLike, chances: ArrayLike) -> float:
    """Mean squared distance of the chance from what happened."""
    return float(np.mean((np.asarray(chances, np.float64) - np.asarray(labels, np.float64)) ** 2))


class Calibration(NamedTuple):
    """Chances said against shares that happened, in bins of equally many rows."""

    said: Floats
    happened: Floats
    rows: NDArray[np.int64]
    slope: float  # of the log-odds that happened over the log-odds that were said: 1 is right, below 1 too bold
    error: float  # mean distance of said from happened


def calibration(labels: ArrayLike, chances: ArrayLike) -> Calibration:
    """How far chances can be taken at their word."""
    y, p = np.asarray(labels, np.float64), np.asarray(chances, np.float64)
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), CALIBRATION_BINS) if len(part)]
    said, happened = np.array([p[i].mean() for i in parts]), np.array([y[i].mean() for i in parts])
    rows = np.array([len(i) for i in parts], np.int64)
    return Calibration(said, happened, rows, slope_of(y, p), float(np.average(np.abs(said - happened), weights=rows)))


def slope_of(labels: Floats, chances: Floats) -> float:
    """Slope of a logistic regression of the labels on the log-odds said; NaN where these are all alike."""
    clipped = np.clip(chances, CLIP, 1 - CLIP)
    x = np.log(clipped) - np.log1p(-clipped)
    if np.ptp(x) < 1e-9 or not 0 < labels.sum() < len(labels):
        return math.nan
    design, weights = np.column_stack([np.ones_like(x), x]), np.array([0.0, 1.0])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -50, 50)))
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (labels - p))
        weights += step
        if np.abs(step).max() < 1e-10:
            break
    # Labels that the chances part without a fault have no slope: it would grow for ever.
    return float(weights[1]) if abs(weights[1]) < SLOPE_MAX else math.nan


def lift(labels: ArrayLike, scores: ArrayLike, share: float) -> float:
    """How many times more positives the best `share` of scores holds than the average; NaN without positives."""
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    number = max(1, round(share * len(y)))
    best = np.argsort(-s, kind="stable")[:number]
    return float(y[best].mean() / y.mean()) if y.sum() else math.nan


def correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's; NaN where one does not vary."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's: Pearson's of the mean ranks."""
    return correlation(_ranks(np.asarray(x, np.float64)), _ranks(np.asarray(y, np.float64)))


def _ranks(values: Floats) -> Floats:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2.0)[where]
    return ranks


def difference(
    measure: Callable[[Floats, Floats], float], truth: Floats, mine: Floats, other: Floats
) -> dict[str, float]:
    """How much better the first forecast (n,) is than the second on the same rows, and between what 95 of 100 such
    differences lie when as many rows are drawn from these again (B. Efron, 1979). The same rows give the same answer.
    """
    random = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        drawn = random.integers(0, len(truth), len(truth))
        found.append(measure(mine[drawn], truth[drawn]) - measure(other[drawn], truth[drawn]))
    low, high = np.nanquantile(found, (0.025, 0.975))
    return {"better_by": measure(mine, truth) - measure(other, truth), "from": float(low), "to": float(high)}


def coverage(off: ArrayLike) -> list[dict[str, float]]:
    """How many of these errors, each over the standard deviation that was said, lie within the intervals of a normal
    distribution that should hold a given share.

    >>> [point["held"] for point in coverage([0.0, 0.5, 1.0, 3.0]) if point["asked"] in (0.5, 0.9)]
    [0.5, 0.75]
    """
    distance = np.abs(np.asarray(off, np.float64))
    reach = {level: NormalDist().inv_cdf((1.0 + level) / 2.0) for level in LEVELS}
    return [{"asked": level, "held": float(np.mean(distance <= far))} for level, far in reach.items()]


def group_coverage(labels: ArrayLike, chances: ArrayLike, logit_variances: ArrayLike) -> list[dict[str, float]]:
    """Coverage of what a chance and its uncertainty say of a hundred rows that are alike: how many of them happen.

    Rows are put in the order of their chances and cut into groups. That a group's number varies by itself and that its
    weights are uncertain, alike for all of its rows, both widen the interval. One row cannot say whether a chance was
    right; a group can.
    """
    y, p, v = (np.asarray(x, np.float64) for x in (labels, chances, logit_variances))
    order = np.argsort(p, kind="stable")
    groups = np.array_split(order, max(1, len(order) // GROUP_ROWS))
    off = []
    for rows in groups:
        spread = p[rows] * (1.0 - p[rows])
        deviation = math.sqrt(max(float(spread.sum() + (spread * np.sqrt(v[rows])).sum() ** 2), 1e-12))
        off.append(float(y[rows].sum() - p[rows].sum()) / deviation)
    return coverage(off)


def stability_index(before: ArrayLike, after: ArrayLike, bins: int = 10) -> float:
    """Population stability index of a score between two samples, in bins of the first: below 0.10 is stable.

    >>> stability_index([1, 2, 3, 4], [1, 2, 3, 4], bins=2)
    0.0
    """
    a, b = np.asarray(before, np.float64), np.asarray(after, np.float64)
    edges = np.unique(np.quantile(a, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) / len(x), 1e-4)
        for x in (a, b)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def chance_figures(labels: ArrayLike, chances: ArrayLike) -> dict[str, float]:
    """All figures of one model of chances, by name."""
    y, p = np.asarray(labels, np.float64), np.asarray(chances, np.float64)
    ranked = auc(y, p)
    return {
        "auc": ranked,
        "gini": 2 * ranked - 1,
        "ks": kolmogorov_smirnov(y, p),
        "brier": brier(y, p),
        "log_loss": log_loss(y, p),
        "calibration_slope": slope_of(y, p),
        "lift_10": lift(y, p, 0.10),
    }


def learning_curve(labels: ArrayLike, chances: ArrayLike) -> list[dict[str, float]]:
    """AUC and log loss of everything predicted so far, at points over the pass."""
    y, p = np.asarray(labels, np.float64), np.asarray(chances, np.float64)
    ends = np.unique(np.linspace(0, len(y), CURVE_POINTS + 1)[1:].astype(int))
    return [{"rows": float(n), "auc": auc(y[:n], p[:n]), "log_loss": log_loss(y[:n], p[:n])} for n in ends if n]
