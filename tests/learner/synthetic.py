"""Examples with a truth that is known, day by day: what a learner must find, and what may happen to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from schemas.batch import DAY_MS, FEATURE_SLOTS
from state.calendar import day_starts
from streams.learning.decisions import Order
from streams.learning.epochs import Epochs, LearningPolicy
from streams.learning.rounds import Closed, Decided, Rounds, Waiting
from streams.learning.value_learner import ValueExample, ValueLearner
from streams.learning.value_regression import design_of
from streams.scoring.value import pack_feature, unpack_features
from streams.versions.known import packaged_weights

FIRST_DAY = 20_000
Truth = Callable[[int, np.ndarray], np.ndarray]
"""Labels of a day's customers from the day's number and what the packaged weights forecast of them."""


def calm(_day: int, forecast: np.ndarray) -> np.ndarray:
    """A bank whose customers move a little more than the packaged weights say."""
    return 0.8 * forecast + 1.2


def examples_of(day: int, count: int, truth: Truth, seed: int = 0, noise: float = 0.5) -> list[Waiting]:
    """A day's examples."""
    rng = np.random.default_rng((seed, day))
    inputs = np.abs(rng.normal(3.0, 1.2, (count, FEATURE_SLOTS)))
    inputs[:, 15], inputs[:, 16] = rng.integers(1, 8, count), rng.integers(0, 7, count)
    inputs[:, 17], inputs[:, 18] = rng.integers(0, 2, count), 0
    packed = np.vectorize(pack_feature)(inputs).astype(np.uint16)
    design = design_of(unpack_features(packed), packaged_weights().knots)
    forecast = design.predict(packaged_weights().beta)
    labels = np.clip(truth(day, forecast) + rng.normal(0, noise, count), 0, 25)
    at_ms = (FIRST_DAY + day) * DAY_MS
    return [
        Waiting(
            at_ms,
            ValueExample(at_ms, rng.bytes(16), tuple(map(int, row)), float(said), float(label)),
            0,
            day * count + i,
        )
        for i, (row, said, label) in enumerate(zip(packed, forecast, labels, strict=True))
    ]


class Bank:
    """Days of examples through the rounds of learning."""

    def __init__(self, truth: Truth, per_day: int = 40, **policy: object) -> None:
        self.truth, self.per_day = truth, per_day
        made = LearningPolicy(
            epoch_ms=DAY_MS, examples_min=100, error_half_life_examples=150, half_life_examples=600, **policy
        )  # type: ignore[arg-type]
        self.epochs = Epochs([made], day_starts("UTC"))
        self.rounds = Rounds(ValueLearner(packaged_weights(), made))
        self.closed: list[Closed] = []
        self.day = 0

    @property
    def model(self) -> ValueLearner:
        return self.rounds.model

    def live(self, days: int, *orders: Order) -> None:
        """So many days; the orders count from the first of them."""
        for _ in range(days):
            now_ms = (FIRST_DAY + self.day) * DAY_MS
            decided = [Decided(now_ms, order) for order in orders]
            done = self.rounds.advance(now_ms, examples_of(self.day, self.per_day, self.truth), decided, self.epochs)
            assert done is not None
            self.closed += done.closed
            self.day += 1
            orders = ()

    def happened(self, what: str) -> list[int]:
        """The days on which something happened."""
        return [line.at_ms // DAY_MS - FIRST_DAY for line in self.model.timeline if line.what == what]
