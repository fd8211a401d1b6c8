"""How good chances are lately: log loss, AUC, calibration, each from numbers that fade. Plain, the same to the byte.

Chances are counted in bins of their log-odds, apart for what happened and what did not; what is read from the bins
(AUC, calibration) differs from the exact figure by what lies within a bin, some thousandths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 64
LOGIT_MAX = 6.3
CHANCE_MIN = 1e-6
"""No forecast is punished for more than this much confidence."""

CALIBRATION_GROUPS = 10


class Group(NamedTuple):
    """One group of a calibration: how many (faded), the chance that was said, the share that happened."""

    weight: float
    said: float
    happened: float


def losses(chances: Floats, labels: Floats) -> Floats:
    """-ln of the chance given to what happened (n,)."""
    p = np.clip(np.where(labels > 0.5, chances, 1.0 - chances), CHANCE_MIN, 1.0)
    lost: Floats = -np.log(p)
    return lost


def _zeros() -> Floats:
    return np.zeros(BINS)


@dataclass(slots=True)
class RunningDifference:
    """How much a loss differs from another on the same cases, and how sure that is; fading like `RunningChances`.

    >>> against = RunningDifference()
    >>> against.take(np.array([0.1, -0.1, 0.3, 0.1]), 1e9)
    >>> round(against.mean, 3), round(against.error, 3)
    (0.1, 0.071)
    """

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    weight_squares: float = 0.0

    def take(self, differences: Floats, half_life: float) -> None:
        """Take differences (n,) in order."""
        n = len(differences)
        shares = 0.5 ** (np.arange(n - 1, -1, -1) / half_life)
        kept = 0.5 ** (n / half_life)
        self.weight = kept * self.weight + float(np.sum(shares))
        self.total = kept * self.total + float(np.sum(shares * differences))
        self.squares = kept * self.squares + float(np.sum(shares * differences * differences))
        self.weight_squares = kept * kept * self.weight_squares + float(np.sum(shares * shares))

    @property
    def mean(self) -> float:
        """The mean difference; NaN before the first."""
        return self.total / self.weight if self.weight > 0 else math.nan

    @property
    def error(self) -> float:
        """The standard error of the mean; NaN before the first."""
        if self.weight <= 0:
            return math.nan
        variance = max(self.squares / self.weight - self.mean**2, 0.0)
        return math.sqrt(variance * self.weight_squares) / self.weight

    def body(self) -> list[float]:
        """Its numbers."""
        return [self.weight, self.total, self.squares, self.weight_squares]


@dataclass(slots=True)
class RunningChances:
    """Chances against what happened; an example counts half after `half_life` further ones.

    >>> lately = RunningChances()
    >>> lately.take(np.array([0.9, 0.2, 0.8, 0.1]), np.array([1.0, 0.0, 0.0, 0.0]), 1e9)
    >>> lately.examples, lately.auc, round(lately.log_loss, 3)
    (4, 1.0, 0.511)
    """

    examples: int = 0
    loss: float = 0.0
    weight: float = 0.0
    happened: Floats = field(default_factory=_zeros)
    not_happened: Floats = field(default_factory=_zeros)
    said: Floats = field(default_factory=_zeros)  # sum of chances

    def take(self, chances: Floats, labels: Floats, half_life: float) -> None:
        """Take chances (n,) and what happened (n,), in order."""
        n = len(chances)
        shares = 0.5 ** (np.arange(n - 1, -1, -1) / half_life)
        kept = 0.5 ** (n / half_life)
        odds = np.log(np.clip(chances, 1e-9, 1 - 1e-9) / np.clip(1.0 - chances, 1e-9, 1 - 1e-9))
        bins = np.clip(((odds + LOGIT_MAX) * (BINS / (2 * LOGIT_MAX))).astype(np.int64), 0, BINS - 1)
        self.happened = kept * self.happened + np.bincount(bins, shares * labels, BINS)
        self.not_happened = kept * self.not_happened + np.bincount(bins, shares * (1.0 - labels), BINS)
        self.said = kept * self.said + np.bincount(bins, shares * chances, BINS)
        self.loss = kept * self.loss + float(np.sum(shares * losses(chances, labels)))
        self.weight = kept * self.weight + float(np.sum(shares))
        self.examples += n

    @property
    def log_loss(self) -> float:
        """Mean -ln of the chance that was given to what happened; infinite before the first example."""
        return self.loss / self.weight if self.weight > 0 else math.inf

    @property
    def auc(self) -> float:
        """The chance that what happened was given the higher chance; NaN while one of the two has not been seen."""
        positives, negatives = float(self.happened.sum()), float(self.not_happened.sum())
        if positives <= 0 or negatives <= 0:
            return math.nan
        below = np.cumsum(self.not_happened) - self.not_happened
        return float(np.sum(self.happened * (below + self.not_happened / 2.0))) / (positives * negatives)

    def calibration(self) -> list[Group]:
        """At most ten groups of about equal weight, from the lowest chances to the highest."""
        weights = self.happened + self.not_happened
        total = float(weights.sum())
        if total <= 0:
            return []
        middle = (np.cumsum(weights) - weights / 2.0) / total
        group = np.minimum((middle * CALIBRATION_GROUPS).astype(np.int64), CALIBRATION_GROUPS - 1)
        sums = [np.bincount(group, part, CALIBRATION_GROUPS) for part in (weights, self.said, self.happened)]
        return [Group(w, s / w, h / w) for w, s, h in zip(*(part.tolist() for part in sums), strict=True) if w > 0]

    @property
    def calibration_error(self) -> float:
        """Mean distance of what was said from what happened over these groups; NaN before the first example."""
        groups = self.calibration()
        total = sum(group.weight for group in groups)
        return sum(g.weight * abs(g.said - g.happened) for g in groups) / total if total else math.nan

    def body(self) -> dict[str, Any]:
        """Its numbers."""
        return {"examples": self.examples, "loss": self.loss, "weight": self.weight,
                "happened": self.happened.tolist(), "not_happened": self.not_happened.tolist(),
                "said": self.said.tolist()}  # fmt: skip

    @classmethod
    def of(cls, body: dict[str, Any]) -> RunningChances:
        """What `body` said."""
        numbers = {name: np.array(body[name], np.float64) for name in ("happened", "not_happened", "said")}
        return cls(body["examples"], body["loss"], body["weight"], **numbers)
