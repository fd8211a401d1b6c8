"""The two updates of a Gaussian over weights by one example: of a chance (logistic) and of an amount (linear).

Both are exact along the one direction an example speaks of: with g = S phi and v = phi' S phi, the posterior's mode
moves along g alone, so one number has to be found. The cost is O(D^2) an example. Plain scalar loops in a fixed order:
the same examples in the same order give the same bytes.

An example cannot break a model: phi is bounded (`streams.scoring.models.additive`), a label is 0 or 1 or clipped,
the step of the logit is at most v, that of a forecast at most four standard deviations, and the covariance only
shrinks; forgetting never lets it grow beyond the prior's.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.scoring.models.additive import Floats, Integers

RESIDUAL_MAX = 4.0
"""Standard deviations beyond which an amount's surprise counts no further (Huber's bound)."""


@compiled
def _direction(at: Integers, share: Floats, mean: Floats, covariance: Floats, gain: Floats) -> tuple[float, float]:
    """Sum and variance of one row; `gain` (D,) becomes S phi."""
    gain[:] = 0.0
    total = 0.0
    for a in range(len(at)):
        weight = share[a]
        if weight != 0.0:
            total += weight * mean[at[a]]
            row = covariance[at[a]]
            for d in range(len(gain)):
                gain[d] += weight * row[d]
    variance = 0.0
    for a in range(len(at)):
        variance += share[a] * gain[at[a]]
    return total, max(variance, 0.0)


@compiled
def _move(mean: Floats, covariance: Floats, gain: Floats, step: float, shrink: float) -> None:
    """mean + step g, and S - shrink g g'; the covariance stays symmetric to the bit."""
    size = len(gain)
    for d in range(size):
        mean[d] += step * gain[d]
    for d in range(size):
        scaled = shrink * gain[d]
        if scaled != 0.0:
            for e in range(d + 1):
                changed = covariance[d, e] - scaled * gain[e]
                covariance[d, e] = changed
                covariance[e, d] = changed


@compiled
def _forget(covariance: Floats, prior_variances: Floats, keep: float, cap: Floats) -> None:
    """What was learned counts `keep` times as much: uncertainty grows, each weight's to the prior's at most.

    `cap` (D,) is scratch.
    """
    size = len(covariance)
    for d in range(size):
        grown = covariance[d, d] / keep
        cap[d] = 1.0 if grown <= prior_variances[d] else math.sqrt(prior_variances[d] / grown)
    for d in range(size):
        for e in range(size):
            covariance[d, e] *= cap[d] * cap[e] / keep


@compiled
def _count_in(at: Integers, share: Floats, phi_mean: Floats, examples: int) -> None:
    """The running mean of phi, after `examples` of them."""
    part = 1.0 / examples
    for d in range(len(phi_mean)):
        phi_mean[d] -= part * phi_mean[d]
    for a in range(len(at)):
        phi_mean[at[a]] += part * share[a]


@compiled
def mode_of(total: float, variance: float, label: float) -> float:
    """The logit that is likeliest after the label: the root of a - total = variance (label - p(a)).

    Newton's steps between the two ends it must lie within; where they do not halve, the ends' middle.
    """
    low = total + min(0.0, variance * (label - 1.0))
    high = total + max(0.0, variance * label)
    a, step_before = total, high - low
    for _ in range(100):
        p = 1.0 / (1.0 + math.exp(-a)) if a >= 0 else math.exp(a) / (1.0 + math.exp(a))
        miss = a - total - variance * (label - p)
        if miss > 0:
            high = a
        else:
            low = a
        step = -miss / (1.0 + variance * p * (1.0 - p))
        if not low <= a + step <= high or abs(step) > 0.5 * step_before:
            step = 0.5 * (low + high) - a
        a += step
        step_before = abs(step)
        if step_before <= 1e-13 * max(1.0, abs(a)):
            break
    return a


@compiled
def learn_labels(
    at: Integers,
    share: Floats,
    labels: Floats,
    mean: Floats,
    covariance: Floats,
    phi_mean: Floats,
    prior_variances: Floats,
    examples: int,
    keep: float,
    sums: Floats,
    variances: Floats,
    gain: Floats,
) -> None:
    """Logistic: learns rows of phi (n, k), as positions and values, with labels 0 or 1 (n,), in order, in place.

    `sums` and `variances` (n,) are what was predicted of each row before it was learned; `gain` (D,) is scratch.
    """
    for i in range(len(at)):
        total, variance = _direction(at[i], share[i], mean, covariance, gain)
        sums[i], variances[i] = total, variance
        a = mode_of(total, variance, labels[i])
        p = 1.0 / (1.0 + math.exp(-a)) if a >= 0 else math.exp(a) / (1.0 + math.exp(a))
        curvature = p * (1.0 - p)
        _move(mean, covariance, gain, labels[i] - p, curvature / (1.0 + variance * curvature))
        if keep < 1.0:
            _forget(covariance, prior_variances, keep, gain)
        _count_in(at[i], share[i], phi_mean, examples + i + 1)


@compiled
def learn_amounts(
    at: Integers,
    share: Floats,
    labels: Floats,
    mean: Floats,
    covariance: Floats,
    phi_mean: Floats,
    prior_variances: Floats,
    examples: int,
    keep: float,
    noise: NDArray[np.float64],
    sums: Floats,
    variances: Floats,
    gain: Floats,
) -> None:
    """Linear: learns rows of phi (n, k), as positions and values, with amounts (n,), in order, in place.

    `noise` (2,) is the running variance of the residuals and its weight in examples; `variances` those of the weights;
    `gain` (D,) is scratch.
    """
    for i in range(len(at)):
        total, variance = _direction(at[i], share[i], mean, covariance, gain)
        sums[i], variances[i] = total, variance
        spread = noise[0] + variance
        bound = RESIDUAL_MAX * math.sqrt(spread)
        surprise = min(max(labels[i] - total, -bound), bound)
        _move(mean, covariance, gain, surprise / spread, 1.0 / spread)
        # A residual's expected square is noise + variance, so this share of it is the noise's.
        noise[1] += 1.0
        noise[0] += (surprise * surprise * noise[0] / spread - noise[0]) / noise[1]
        noise[0] = max(noise[0], 1e-6)
        if keep < 1.0:
            _forget(covariance, prior_variances, keep, gain)
        _count_in(at[i], share[i], phi_mean, examples + i + 1)
