"""A tree or a forest of river's as a challenger: it foretells and learns every case, and can never be in force.

Its state is no list of weights, so what is kept are the examples it learned from, as plain JSON, and the trees are
grown again from them after a restart. So that this is bounded, they are a function of the last `window_examples` at
most: two generations stand at a time, one begun with each half of a window. The older one speaks, both learn; when a
third begins, the oldest goes, and its examples with it. Where a customer is erased, their examples go and the trees are
grown again without them: these, unlike sums, unlearn. The same examples in the same order give the same trees. Pure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from streams.learning.cases import Labelled
from streams.learning.chances import Floats
from streams.scoring.models.manifest import Feature
from streams.scoring.models.plain_values import number_of
from streams.scoring.models.specs import Challenger

CHANCE_MIN = 0.01
"""A leaf that has seen but one answer is not certain: no chance is said to be nearer to 0 or 1."""

NUMBER_MAX = 1e9
"""Where no knots bound a number: no square of it is out of measure."""

SLICE_EXAMPLES = 100

Grown = list[tuple[int, Any]]
"""Generations, the older first: the number of the first example each may learn from, and the tree or forest."""


class TreeChallenger:
    """See the module. `rows` are the examples by their number, `changed` those written or dropped since last looked at.

    Cost an example of 15 features, both generations: 0.2 ms a tree, 1.5 ms a forest.
    """

    def __init__(self, challenger: Challenger, features: Iterable[Feature]) -> None:
        wanted = challenger.features
        self.kind, self._one_in = challenger.kind, challenger.one_in
        self._features = tuple(one for one in features if not wanted or one.name in wanted)
        self._bounds = {one.name: _bounds(one) for one in self._features if one.kind == "number"}
        self._half = max(challenger.window_examples // 2, 1)
        self.examples = 0
        self.rows: dict[int, bytes] = {}
        self.changed: dict[int, bytes | None] = {}
        self._grown: Grown = []
        self._growing: Iterator[None] | None = None

    def takes(self, case: bytes) -> bool:
        """Whether it looks at this case: one in so many, by the case's hash, which is as good as drawn by lot."""
        return int.from_bytes(case[:8], "big") % self._one_in == 0

    def learn_before(self, known: Sequence[Labelled]) -> Floats:
        """Foretell, then learn each in turn: the chances (n,)."""
        self._finish_growing()
        said = np.zeros(len(known))
        for i, one in enumerate(known):
            inputs = self._inputs(one.inputs)
            said[i] = self._chance(inputs)
            kept = [one.known_ms, one.user_hash.hex(), one.label, dict(one.inputs)]
            self.rows[self.examples] = self.changed[self.examples] = _json(kept)
            self._learn(self.examples, inputs, one.label)
            self.examples += 1
        return said

    def probabilities(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """The chance of True for each row (n,), learning nothing."""
        self._finish_growing()
        return np.array([self._chance(self._inputs(row)) for row in rows])

    def forget(self, erased_ms: Mapping[bytes, int]) -> None:
        """Grow again without what was known of customers by the moment of their erasure."""
        gone = {user.hex(): at_ms for user, at_ms in erased_ms.items()}
        found = []
        for number, row in self.rows.items():
            known_ms, user, *_ = json.loads(row)
            if known_ms <= gone.get(user, -math.inf):
                found.append(number)
        for number in found:
            del self.rows[number]
            self.changed[number] = None
        if found:
            self._growing = self._grow()

    def body(self) -> dict[str, Any]:
        """What is kept beside the examples."""
        return {"kind": self.kind, "examples": self.examples}

    def restore(self, body: Mapping[str, Any], rows: Iterable[tuple[int, Any]]) -> None:
        """Know again what was kept; the trees grow by `grow`, or when they are needed."""
        self.examples = body["examples"]
        self.rows = {number: _json(row) for number, row in sorted(rows)}
        self.changed.clear()
        self._growing = self._grow()

    def grow(self) -> Iterator[None]:
        """Grow again what has to be grown, in slices of `SLICE_EXAMPLES`."""
        while self._growing is not None:
            if next(self._growing, self) is self:
                self._growing = None
            yield

    # Inside.

    def _finish_growing(self) -> None:
        for _ in self.grow():
            pass

    def _grow(self) -> Iterator[None]:
        self._grown = []
        for done, number in enumerate(list(self.rows), start=1):
            _, _, label, inputs = json.loads(self.rows[number])
            self._learn(number, self._inputs(inputs), label)
            if done % SLICE_EXAMPLES == 0:
                yield

    def _learn(self, number: int, inputs: dict[Any, Any], label: float) -> None:
        begun = number // self._half * self._half
        if not self._grown or self._grown[-1][0] < begun:
            oldest = max(begun - self._half, 0)
            self._grown = [one for one in self._grown if one[0] >= oldest]
            for start in range(oldest, begun + 1, self._half):
                if all(start != one[0] for one in self._grown):
                    self._grown.append((start, _made(self.kind)))
            self._drop_before(oldest)
        for _, model in self._grown:
            model.learn_one(inputs, label > 0.5)

    def _drop_before(self, oldest: int) -> None:
        for number in [number for number in self.rows if number < oldest]:
            del self.rows[number]
            self.changed[number] = None

    def _chance(self, inputs: dict[Any, Any]) -> float:
        if not self._grown:
            return 0.5
        found = self._grown[0][1].predict_proba_one(inputs)
        chance = float(found.get(True, 0.0)) if found else 0.5
        return min(max(chance, CHANCE_MIN), 1.0 - CHANCE_MIN) if math.isfinite(chance) else 0.5

    def _inputs(self, row: Mapping[str, Any]) -> dict[Any, Any]:
        """A row as river takes it, no number further out than it can mean anything."""
        from streams.learning.challengers import inputs_for

        bounded = dict(row)
        for name, (low, high) in self._bounds.items():
            number = number_of(row.get(name))
            if math.isfinite(number):
                bounded[name] = min(max(number, low), high)
        return inputs_for(self.kind, self._features, bounded)


def _made(kind: str) -> Any:
    from streams.learning.challengers import challengers  # river's trees take a second and a half to import

    return challengers()[kind]()


def _bounds(feature: Feature) -> tuple[float, float]:
    """As far outside of the knots as these lie apart, and no further."""
    if not feature.knots:
        return -NUMBER_MAX, NUMBER_MAX
    low, high = feature.knots[0], feature.knots[-1]
    return low - (high - low), high + (high - low)


def _json(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
