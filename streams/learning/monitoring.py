"""How wrong a model is lately, whether that has changed, how far a population has moved. Plain numbers throughout."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRIFT_ALLOWANCE = 0.1
"""Share of the unit by which errors may exceed their mean without adding to the alarm."""
PSI_BINS = 10
SHARE_MIN = 1e-4


@dataclass(slots=True)
class RunningError:
    """Mean of squared errors in which an example counts half after `half_life` further ones.

    >>> error = RunningError()
    >>> error.take(np.array([4.0, 4.0]), half_life=1.0)
    >>> error.rmse, error.examples
    (2.0, 2)
    """

    total: float = 0.0
    weight: float = 0.0
    examples: int = 0

    def take(self, squared: Floats, half_life: float) -> None:
        """Take errors in the order of their examples."""
        n = len(squared)
        shares = 0.5 ** (np.arange(n - 1, -1, -1) / half_life)
        kept = 0.5 ** (n / half_life)
        self.total = kept * self.total + float(np.sum(squared * shares))
        self.weight = kept * self.weight + float(np.sum(shares))
        self.examples += n

    @property
    def rmse(self) -> float:
        """Root of the mean squared error; infinite before the first example."""
        return float(np.sqrt(self.total / self.weight)) if self.weight > 0 else float("inf")


@dataclass(slots=True)
class PageHinkley:
    """Notices that a mean has risen: the sum of what exceeds it, from its lowest point, passes a threshold.

    Source: E. Page, Biometrika 41 (1954); D. Hinkley, Biometrika 58 (1971). Deviations are counted in means, or in
    standard deviations where these are larger, so that the threshold has no unit and a few large errors among many
    small ones, which are the rule where amounts are foretold, do not pass it. `settle` examples go by before it can
    speak. `before` is what the mean was when the rise began.
    """

    mean: float = 0.0
    count: int = 0
    sum: float = 0.0
    lowest: float = 0.0
    squares: float = 0.0
    before: float = 0.0

    def take(self, values: Floats, threshold: float, settle: int) -> bool:
        """Take values in order; True where the mean has risen, after which it begins again."""
        for value in values.tolist():
            self.count += 1
            off = value - self.mean
            self.mean += off / self.count
            self.squares += off * (value - self.mean)
            if self.count <= settle:
                self.before = self.mean
                continue
            unit = max(self.mean, math.sqrt(self.squares / self.count), 1e-12)
            self.sum += (value - self.mean) / unit - DRIFT_ALLOWANCE
            if self.sum <= self.lowest:
                self.lowest, self.before = self.sum, self.mean
            if self.sum - self.lowest > threshold:
                self.mean = self.sum = self.lowest = self.squares = 0.0
                self.count = 0
                return True
        return False


def stability_index(expected: Floats, found: Floats) -> float:
    """Population stability index of a sample against a sorted one, over ten equal shares of the latter.

    Below 0.10 nothing to speak of, above 0.25 another population.

    >>> stability_index(np.arange(100.0), np.arange(100.0))
    0.0
    """
    if not len(expected) or not len(found):
        return 0.0
    inner = expected[(np.arange(1, PSI_BINS) * len(expected)) // PSI_BINS]
    shares = [
        np.maximum(
            np.bincount(np.searchsorted(inner, sample, side="right"), minlength=PSI_BINS) / len(sample), SHARE_MIN
        )
        for sample in (expected, found)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def body_of(monitor: RunningError | PageHinkley) -> dict[str, Any]:
    """Its numbers."""
    return asdict(monitor)
