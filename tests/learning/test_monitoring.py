"""Drift detectors: silent on errors as they are, few of them very large; soon aware of a mean that has risen."""

from __future__ import annotations

import numpy as np
import pytest

from streams.learning.epochs import LearningPolicy
from streams.learning.monitoring import PageHinkley

POLICY = LearningPolicy()


def alarms(values: np.ndarray) -> list[int]:
    """After how many values it spoke."""
    detector = PageHinkley()
    return [
        i for i, value in enumerate(values)
        if detector.take(np.array([value]), POLICY.drift_threshold, POLICY.examples_min)
    ]  # fmt: skip


def squared_errors(seed: int, count: int) -> np.ndarray:
    """With a standard deviation of some four means and some of a hundred, as generated customers have them."""
    return np.exp(np.random.default_rng(seed).normal(0, 1.7, count))


def test_a_few_large_errors_are_hardly_ever_taken_for_a_drift():
    assert sum(len(alarms(squared_errors(seed, 5_000))) for seed in range(6)) <= 1


@pytest.mark.parametrize("seed", range(6))
def test_errors_that_have_risen_are_noticed(seed):
    values = squared_errors(seed, 4_000)
    values[2_000:] *= 4.0
    found = alarms(values)
    assert found
    assert 2_000 < found[0] < 3_000


@pytest.mark.parametrize("seed", range(6))
def test_losses_of_chances_are_watched_as_closely(seed):
    rng = np.random.default_rng(seed)
    chances = rng.beta(1, 5, 3_000)
    happened = rng.random(3_000) < chances
    happened[1_500:] = ~happened[1_500:]
    (first, *_) = alarms(-np.log(np.where(happened, chances, 1 - chances).clip(1e-6)))
    assert 1_500 < first < 1_600


def test_it_says_what_the_mean_was_before_it_rose():
    detector = PageHinkley()
    assert not detector.take(np.full(1_000, 2.0), 40.0, 200)
    assert detector.take(np.full(1_000, 4.0), 40.0, 200)
    assert detector.before == pytest.approx(2.0, rel=0.01)
