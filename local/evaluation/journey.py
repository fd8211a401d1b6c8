"""What goes into a deployment that is judged, and what it is judged by: records in, records out, nothing in between.

A deployment takes a data set's rows as records of the input topics and goes through them as it would through any
history: workers, learner, clocks of `records`. What it said is read from its topics: the examples with the forecasts
that were made thirty days before their label was known, the rows, the weights, the scorecards. The two kinds there are,
`local.evaluation.deployment` on a real Kafka and `local.evaluation.in_process`, say the same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import Record
from schemas.known_schemas import Registry
from schemas.row_keys import PROGRESS_KEY
from schemas.topic_values import Values
from state.calendar import day_of
from state.layout import decode_row
from state.row import Row
from state.versions import Weights
from streams.learning.value_regression import design_of
from streams.log.progress import Progress
from streams.scoring.expectation import expectation
from streams.scoring.reference.evaluate import features_of
from streams.scoring.value import unpack_features
from streams.versions.known import Known, first_policy, reader

Floats = NDArray[np.float64]

PARTITIONS = 2
BASE_CURRENCY, TIME_ZONE = "EUR", "UTC"
READ_TOPICS = ("rescore-examples", "rescore-state", "rescore-weights", "rescore-learner", "scorecards")
"""What an evaluation looks at; the dead letters are counted beside."""


class Sending(NamedTuple):
    """One event on its way to an input topic, at the time at which it happened."""

    time_ms: int
    topic: str
    key: str
    fields: Mapping[str, Any]


class Terms(NamedTuple):
    """What a deployment that is judged has decided: when it learns, when that counts, which models there are."""

    epoch_seconds: int
    adopt: Literal["daily", "each_epoch"]
    declared: Sequence[Mapping[str, Any]] = ()  # fields of records of `rescore-config`, known before everything else


HISTORIES = Terms(86_400, "daily")
"""Histories of customers: everyone is scored again each day with what was learned until the day before."""

Told = Callable[[int, int], None]
"""Is told how many records of how many have been taken."""


class Deployment(Protocol):
    """Something that takes a history and can be read afterwards."""

    def play(self, sendings: Sequence[Sending], until_ms: int, told: Told) -> Outputs:
        """Publish, wait until every clock stands at `until_ms` and everyone is scored, and read what was said."""
        ...


@dataclass(slots=True)
class Outputs:
    """The records of the topics that are looked at, in the order of each partition."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    dead_letters: list[Record] = field(default_factory=list)


class Journey(NamedTuple):
    """What a deployment has said about histories, in plain arrays."""

    inputs: Floats  # (n, FEATURE_SLOTS) of the examples, in the order in which their labels became known
    forecasts: Floats  # (n,) what was forecast on the day of the inputs, with the weights of that day
    labels: Floats  # (n,) what came true in the thirty days after
    rows: Mapping[str, Row]  # at the end, by customer
    weights: Weights  # in force at the end
    versions: int  # how many came into force on the way
    scores: Mapping[str, float]  # the value score each customer's scorecard shows at the end
    until_ms: int

    @property
    def customers(self) -> list[str]:
        """Everyone with a row, in the order of their names."""
        return sorted(self.rows)

    def present(self, customers: Sequence[str]) -> Floats:
        """Inputs of customers (n, FEATURE_SLOTS) as they stand at the end."""
        return np.array([features_of(self.rows[customer], self._day) for customer in customers])

    @property
    def _day(self) -> int:
        return int(day_of(Known.first(first_policy(BASE_CURRENCY, TIME_ZONE)).versions.days, self.until_ms))

    def forecast(self, customers: Sequence[str]) -> Floats:
        """What the weights in force at the end forecast of customers (n,), in ln units."""
        return design_of(self.present(customers), self.weights.knots).predict(self.weights.beta)

    def expected_days(self, customers: Sequence[str]) -> Floats:
        """Days with a transaction that customers' rows let expect from the end on (n,)."""
        found = [expectation(self.rows[customer], self._day) for customer in customers]
        return np.array([0.0 if one is None else one.days for one in found])


def journey_of(outputs: Outputs, registry: Registry, until_ms: int) -> Journey:
    """The story in a deployment's records."""
    values, known = Values(registry), known_of(outputs.records["rescore-weights"], registry)
    weights = [one for one in known.versions.weights if one.effective_ms <= until_ms]
    examples = [
        values.decode("rescore-examples", record.value or b"") for record in outputs.records["rescore-examples"]
    ]
    told = [one for one in examples if one["kind"] == "example" and one["model"] == "value"]
    told.sort(key=lambda one: (one["timestamp_ms"], one["user_hash"]))
    latest = {record.key or b"": record.value for record in outputs.records["scorecards"]}
    cards = {user.decode(): values.decode("scorecards", card) for user, card in latest.items() if card}
    scores = {user: card["value"] for user, card in cards.items()}
    return Journey(
        inputs=unpack_features(np.array([one["features"] for one in told], np.uint16)),
        forecasts=np.array([one["forecast"] for one in told], np.float64),
        labels=np.array([one["label"] for one in told], np.float64),
        rows={user.decode(): decode_row(row) for user, row in rows_of(outputs.records["rescore-state"]).items()},
        weights=max(weights, key=lambda one: one.effective_ms),
        versions=len(weights),
        scores={user: float(score) for user, score in scores.items() if score is not None},
        until_ms=until_ms,
    )


def known_of(records: Iterable[Record], registry: Registry) -> Known:
    """The versions that records of the broadcast topics make."""
    return Known.first(first_policy(BASE_CURRENCY, TIME_ZONE)).adopt(records, reader(registry, ""))


def rows_of(state: Iterable[Record]) -> dict[bytes, bytes]:
    """The last after-image of each customer."""
    latest = {record.key or b"": record.value for record in state if record.key != PROGRESS_KEY}
    return {user: row for user, row in latest.items() if row}


def progress_of(state: Iterable[Record], values: Values) -> dict[int, Progress]:
    """The last progress record of each partition."""
    latest = {record.partition: record.value for record in state if record.key == PROGRESS_KEY}
    return {p: Progress(**values.decode("rescore-state", value)) for p, value in latest.items() if value}


def is_over(progress: Mapping[int, Progress], rescores: Sequence[int], until_ms: int) -> bool:
    """Whether every clock has come to the end and everyone has been scored with all weights that ask for it."""
    last = max((at_ms for at_ms in rescores if at_ms <= until_ms), default=None)
    return len(progress) == PARTITIONS and all(
        one.clock_ms >= until_ms and (last is None or (one.swept_ms or 0) >= last) for one in progress.values()
    )
