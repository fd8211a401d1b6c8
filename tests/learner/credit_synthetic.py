"""A lender whose truth is known: requests of a day, answers on the next, and what may happen to either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from schemas.batch import DAY_MS
from state.calendar import day_starts
from streams.learning.cases import CaseExample
from streams.learning.credit_learner import CreditLearner
from streams.learning.decisions import Order
from streams.learning.epochs import Epochs, LearningPolicy
from streams.learning.rounds import Closed, Decided, Rounds, Waiting
from streams.learning.value_learner import ValueLearner
from streams.scoring.models.specs import ModelSpec, spec_of
from streams.versions.known import packaged_weights

FIRST_DAY = 20_000
SPEC = spec_of("leases", {"purpose": "credit", "features": [
    {"name": "dti", "knots": [-2, -1, 0, 1, 2]}, {"name": "ltv", "knots": [-2, -1, 0, 1, 2]},
    {"name": "type", "kind": "category"},
]}, 0)  # fmt: skip

Applicants = Callable[[int, np.random.Generator, int], np.ndarray]
"""Inputs (n, 2) of a day's applicants."""
Truth = Callable[[int, np.ndarray], np.ndarray]
"""Log-odds of default (n,) of a day's applicants."""


def usual(_day: int, rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(0, 1, (count, 2))


def plain(_day: int, x: np.ndarray) -> np.ndarray:
    return -1.5 + 1.6 * x[:, 0] + 0.8 * x[:, 1]


class Lender:
    """Days of requests and answers through the rounds of learning."""

    def __init__(self, truth: Truth = plain, people: Applicants = usual, per_day: int = 40, **policy: Any) -> None:
        self.truth, self.people, self.per_day = truth, people, per_day
        made = LearningPolicy(**{
            "epoch_ms": DAY_MS, "examples_min": 200, "error_half_life_examples": 400, "half_life_examples": 600,
            "request_days": 30, **policy,
        })  # fmt: skip
        self.epochs = Epochs([made], day_starts("UTC"))

        def begin(spec: ModelSpec) -> CreditLearner:
            return CreditLearner(spec, made)

        self.rounds = Rounds(ValueLearner(packaged_weights(), made), begin=begin)
        self.closed: list[Closed] = []
        self.day = 0

    @property
    def model(self) -> CreditLearner:
        return self.rounds.credit["leases"]

    def live(self, days: int, *orders: Order) -> None:
        """So many days; the orders count from the first of them."""
        for _ in range(days):
            now_ms = (FIRST_DAY + self.day) * DAY_MS
            decided = [Decided(now_ms, order, "leases") for order in orders]
            examples = [*self._asked(self.day), *self._answered(self.day - 1)]
            spec_at = lambda name, _ms: SPEC if name == "leases" else None  # noqa: E731
            done = self.rounds.advance(now_ms, examples, decided, self.epochs, spec_at)
            assert done is not None
            self.closed += done.closed
            self.day += 1
            orders = ()

    def _people(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((7, day))
        x = self.people(day, rng, self.per_day)
        chance = 1 / (1 + np.exp(-self.truth(day, x)))
        return x, (rng.random(self.per_day) < chance).astype(float)

    def _asked(self, day: int) -> list[Waiting]:
        x, _ = self._people(day)
        return [
            self._waiting(day, i, "request", inputs={"dti": float(a), "ltv": float(b), "type": "car"})
            for i, (a, b) in enumerate(x)
        ]

    def _answered(self, day: int) -> list[Waiting]:
        if day < 0:
            return []
        _, labels = self._people(day)
        return [self._waiting(day, i, "outcome", later=1, label=label) for i, label in enumerate(labels.tolist())]

    def _waiting(self, day: int, i: int, kind: str, later: int = 0, **more: Any) -> Waiting:
        at_ms, case = (FIRST_DAY + day + later) * DAY_MS, b"%d/%d" % (day, i)
        return Waiting(at_ms, CaseExample(at_ms, case.rjust(16), "leases", kind, case, **more), 0, i)

    def happened(self, what: str) -> list[int]:
        """The days on which something happened."""
        return [line.at_ms // DAY_MS - FIRST_DAY for line in self.model.timeline if line.what == what]
