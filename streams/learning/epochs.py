"""Rounds of learning: where they end, when what was learned comes into force, how far clocks may go before it is known.

The boundaries of epochs are the multiples of the learning policy's `epoch_ms`. What is learned from the examples up to
a boundary comes into force at the boundary's *adoption*: the next turn of a day that leaves the notice every version
needs, or just after that notice. All of it is a function of times and policies, so that everyone finds the same.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FOREVER_MS
from state.calendar import day_of, start_of_day

NOTICE_MS = 30_000
"""What is learned up to a boundary comes into force at least this much later."""


@dataclass(frozen=True, slots=True)
class LearningPolicy:
    """What a deployment decides about learning. `epoch_ms` 0: nothing is learned and no clock ever waits.

    `adopt`: new weights come into force once a day at its turn ("daily") or after each epoch ("each_epoch");
    `rescore_everyone`: everyone is scored again then, or each customer at the next event.
    """

    version: str = "learning-1"
    effective_ms: int = NOTICE_MS
    epoch_ms: int = 0
    adopt: Literal["daily", "each_epoch"] = "daily"
    rescore_everyone: bool = True
    examples_min: int = 200  # before weights replace the packaged ones
    sample_max: int = 100_000  # customers whose scores make the percentile tables
    sample_days: int = 31  # a customer who said nothing for so long leaves the sample
    borrower_days: int = 365  # likewise a borrower who reports no loan and no change of status or revenue
    table_points_max: int = 2_000  # of a percentile table as it is published
    noise: float = 1.0  # standard deviation of a label around its forecast, ln units
    residual_max: float = 5.0  # no label moves a model by more than this error would
    half_life_examples: int = 5_000  # of the model that forgets
    error_half_life_examples: int = 500  # of the running errors that models are compared by
    worse_ratio: float = 1.1  # an error so much larger than that of an approved version means: roll back
    drift_threshold: float = 40.0  # Page-Hinkley: sum of errors above their mean that counts as drift
    quarantine_days: int = 7  # after a drift was noticed nothing new is adopted by itself
    request_days: int = 180  # a request waits so long for its outcome, an outcome for its request
    loan_days: int = 1_095  # a loan due later than so long after its grant is not waited for
    requests_max: int = 250_000  # cases of one model that are remembered
    envelope_days: int = 30  # at least between two versions that an envelope lets in
    envelope_stability: float = 0.10  # PSI of the new version's scores against the old one's, at most
    envelope_moves: float = 0.05  # share of people in another band, at most
    texts_one_in: int = 128  # transactions of which one teaches the model that reads descriptions; 0: none does
    text_days: int = 30  # at least between two versions of that model that come into force by themselves


def moment_text(moment_ms: int) -> str:
    """A boundary in words.

    >>> moment_text(86_400_000)
    '1970-01-02T00:00:00Z'
    """
    return f"{np.datetime64(moment_ms // 1_000, 's')}Z"


class Epochs:
    """The boundaries that these policies (by effective time) make, in days that begin at `days`.

    >>> days = np.arange(-25_567, 84_007) * 86_400_000
    >>> epochs = Epochs([LearningPolicy(epoch_ms=3_600_000)], days)
    >>> epochs.next_after(0), epochs.last_until(3_700_000)
    (3600000, 3600000)
    >>> epochs.adoption_ms(3_600_000), epochs.closing(3_600_000)
    (86400000, 82800000)
    """

    def __init__(self, policies: list[LearningPolicy] | tuple[LearningPolicy, ...], days: NDArray[np.int64]) -> None:
        self._policies = tuple(sorted(policies, key=lambda policy: policy.effective_ms))
        self._from_ms = [policy.effective_ms for policy in self._policies]
        self._ends_ms = [*self._from_ms[1:], FOREVER_MS] if self._policies else []
        self._days = days

    @property
    def learning(self) -> bool:
        """Whether there is a boundary at all."""
        return any(policy.epoch_ms for policy in self._policies)

    def policy_at(self, moment_ms: int) -> LearningPolicy:
        """The policy in force; one that learns nothing before the first."""
        at = bisect_right(self._from_ms, moment_ms)
        return self._policies[at - 1] if at else LearningPolicy()

    def texts_one_in(self, moments_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """One transaction in how many is to teach from its description at these moments (n,); 0: none."""
        shares = [0, *(one.texts_one_in if one.epoch_ms else 0 for one in self._policies)]
        found: NDArray[np.int64] = np.array(shares, np.int64)[np.searchsorted(self._from_ms, moments_ms, side="right")]
        return found

    def day_of(self, moment_ms: int) -> int:
        """The day of a moment, counted from 1970-01-01."""
        return int(day_of(self._days, moment_ms))

    def next_after(self, moment_ms: int) -> int:
        """The first boundary after a moment; `FOREVER_MS` where there is none."""
        for policy, end_ms in zip(self._policies, self._ends_ms, strict=True):
            if policy.epoch_ms:
                first = max(moment_ms + 1, policy.effective_ms)
                boundary = -(-first // policy.epoch_ms) * policy.epoch_ms
                if boundary < end_ms:
                    return boundary
        return FOREVER_MS

    def last_until(self, moment_ms: int) -> int | None:
        """The last boundary up to a moment; None where there is none."""
        for policy, end_ms in zip(reversed(self._policies), reversed(self._ends_ms), strict=True):
            if policy.epoch_ms:
                boundary = min(moment_ms, end_ms - 1) // policy.epoch_ms * policy.epoch_ms
                if boundary >= policy.effective_ms:
                    return boundary
        return None

    def adoption_ms(self, boundary_ms: int) -> int:
        """When what was learned up to this boundary comes into force."""
        noticed_ms = boundary_ms + NOTICE_MS
        if self.policy_at(boundary_ms).adopt == "each_epoch":
            return noticed_ms
        day = day_of(self._days, noticed_ms)
        start_ms = int(start_of_day(self._days, day))
        return start_ms if start_ms >= noticed_ms else int(start_of_day(self._days, day + 1))

    def closing(self, boundary_ms: int) -> int:
        """The last boundary with the same adoption: the one at which a version is published."""
        adoption_ms = self.adoption_ms(boundary_ms)
        last = self.last_until(adoption_ms - NOTICE_MS)
        return last if last is not None and self.adoption_ms(last) == adoption_ms else boundary_ms

    def following(self, done_ms: int | None) -> int:
        """The boundary after the last one that is done; the first where none is (None)."""
        start_ms = self._from_ms[0] - 1 if self._policies else 0
        return self.next_after(start_ms if done_ms is None else done_ms)

    def limit_ms(self, done_ms: int | None) -> int:
        """Clocks may go up to here where everything learned up to `done_ms` is known (None: nothing is)."""
        if not self._policies:
            return FOREVER_MS
        following = self.following(done_ms)
        return FOREVER_MS if following >= FOREVER_MS else self.adoption_ms(following) - 1
