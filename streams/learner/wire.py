"""The encodings of the topics that a learner reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.topic_values import Values
from state.versions import Weights
from streams.learner.loop import LearnerWire
from streams.scoring.models.model import ModelWeights
from streams.versions.records import mark_value, weights_value


def learner_wire(values: Values) -> LearnerWire:
    """A learner's: examples in, weights out."""

    def example(value: bytes) -> Mapping[str, Any]:
        return values.decode("rescore-examples", value)

    def weights(made: Weights | ModelWeights, cause: str) -> bytes:
        return weights_value(made, cause, values.encoding)

    def learned_until(boundary_ms: int) -> bytes:
        return mark_value(boundary_ms, values.encoding)

    return LearnerWire(example, weights, learned_until)
