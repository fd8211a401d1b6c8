"""What learning costs the hot path, in this process alone: `rescore bench learning`. No Kafka, no Redis.

The same stream goes through four processors: without any learning, with the examples of the value model, with cases and
borrowers' reports too, and with descriptions as well. They take turns batch by batch, in another order each time, so
that whatever else the machine does falls on all of them alike. Of each batch the round counts in which it took least;
how the rounds' own ratios vary is told beside it. What talks to servers is left out: a worker's own share is smaller.

The stream: generated customers, whose transactions and loans are the generator's. Of a share of them each has declared
income and debts before anything is measured, and asks for a decision once in 365 days, which is answered 10 days later.
The first `PRELUDE_DAYS` are taken and not measured: by then examples have labels, and loans have come to day 91.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from time import process_time
from typing import Any

import numpy as np

from local.generator.events import events, population
from schemas.batch import DAY_MS, Record
from schemas.codec import CloudEvents, Decoder, Encoder, StaticRegistry, decode_value
from schemas.kinds import INPUT_TOPICS
from schemas.topic_values import Values
from state.versions import Versions
from streams.learning.epochs import Epochs, LearningPolicy
from streams.log.message import Message
from streams.processing.processor import ScoreProcessor
from streams.processing.text_examples import OneIn, told_nothing
from streams.processing.warm import warm
from streams.scoring.reasons import REASON_TEXTS
from streams.versions.known import Known, first_policy
from streams.worker.garbage_collector import GarbageCollector
from streams.worker.output import Output, thought_through

PRELUDE_DAYS = 110
ASKS_EVERY_DAYS, ANSWERED_AFTER_DAYS = 365, 10
EPOCH_MS = 300_000
SEED = 5
WITHOUT, VALUE, CASES, WHOLE = range(4)
SHARES = (0.0, 0.1, 1.0)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured, and in what batches."""

    customers: int = 1_000
    days: int = 30
    records: int = 1_000  # in a batch
    rounds: int = 9


@dataclass(frozen=True, slots=True)
class HotPath:
    """What a stream costs without learning, and by how much more with it."""

    declared_share: float
    events: int
    batches: int
    said: dict[str, int]  # examples by kind and model
    microseconds: float  # CPU an event without learning
    value_share: float  # more by the examples of the value model: 0.01 is a hundredth
    cases_share: float  # more by these, cases and reports
    whole_share: float  # more by all of learning
    rounds: list[float]  # more by all of learning, round by round

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


class _WithoutCases(ScoreProcessor):
    """Knows of the value model's examples alone."""

    def _more(self, *_given: Any) -> list[tuple[int, Message]]:
        return []


@dataclass(slots=True)
class _Side:
    """One of the processors, and the rows it has made."""

    processor: ScoreProcessor
    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)  # CPU of each batch

    def take(self, batch: Sequence[Record]) -> Output:
        """Take a batch as a worker does."""
        began = process_time()
        output = thought_through(self.processor.process(0, batch, (), batch[-1].timestamp_ms), self._load)
        self.seconds.append(process_time() - began)
        self.rows.update((image.user, image.row) for image in output.images)
        return output

    def _load(self, users: Sequence[bytes]) -> list[bytes | None]:
        return [self.rows.get(user) for user in users]


def run(size: Size, shares: Sequence[float] = SHARES) -> Iterator[HotPath]:
    """Measure streams of which such shares of the customers have declared something. About half a minute each."""
    warm()
    GarbageCollector()  # as a worker has it
    for share in shares:
        yield measure(size, share)


def measure(size: Size, declared_share: float) -> HotPath:
    """Take the same stream on all sides, round after round."""
    prelude, measured = _batches(stream(size, declared_share), size.records)
    sides = _sides()
    _in_turns(sides, prelude)
    before = [dict(side.rows) for side in sides]
    seconds, outputs = np.empty((size.rounds, len(sides), len(measured))), []
    for each in seconds:
        for side, rows in zip(sides, before, strict=True):
            side.rows, side.seconds = dict(rows), []
        outputs = _in_turns(sides, measured)
        each[:] = [side.seconds for side in sides]
    count = sum(map(len, measured))
    least = seconds.min(axis=0).sum(axis=1)
    rounds = seconds[:, WHOLE].sum(axis=1) / seconds[:, WITHOUT].sum(axis=1) - 1.0
    value, cases, whole = (round(float(least[side] / least[WITHOUT]) - 1.0, 4) for side in (VALUE, CASES, WHOLE))
    return HotPath(
        declared_share,
        count,
        len(measured),
        _said(outputs),
        round(float(least[WITHOUT]) / count * 1e6, 2),
        value,
        cases,
        whole,
        np.sort(rounds).round(4).tolist(),
    )


def _in_turns(sides: Sequence[_Side], batches: Sequence[Sequence[Record]]) -> list[Output]:
    """Each batch on each side, in another order each time; what the last side said of each."""
    found: list[Output] = []
    for i, batch in enumerate(batches):
        turns = [(i + turn) % len(sides) for turn in range(len(sides))]
        found.append({which: sides[which].take(batch) for which in turns}[WHOLE])
    return found


def _sides() -> list[_Side]:
    with_learning = Known.first(first_policy("EUR", "UTC")).versions
    # Nobody is ever active enough to be an example; nothing else looks at this.
    silent = [replace(policy, example_activity_days=-1) for policy in with_learning.policies]
    without = replace(with_learning, policies=silent, memo={})
    epochs = Epochs([LearningPolicy(epoch_ms=EPOCH_MS)], without.days)
    return [
        _Side(_processor(_WithoutCases, without)),
        _Side(_processor(_WithoutCases, with_learning)),
        _Side(_processor(ScoreProcessor, with_learning)),
        _Side(_processor(ScoreProcessor, with_learning, epochs.texts_one_in)),
    ]


def _processor(kind: type[ScoreProcessor], versions: Versions, texts: OneIn = told_nothing) -> ScoreProcessor:
    encoder = Encoder(StaticRegistry(), REASON_TEXTS)
    decoder, events = Decoder(StaticRegistry(), 1), CloudEvents("/bench")
    return kind(decoder, encoder, events, lambda: versions, b"key", texts_one_in=lambda: texts)


def _said(outputs: Sequence[Output]) -> dict[str, int]:
    registry = StaticRegistry()
    said = [decode_value("Example", one.value or b"", registry) for output in outputs for one in output.examples]
    return dict(sorted(Counter(f"{one['kind']} {one['model']}" for one in said).items()))


def _batches(records: list[Record], size: int) -> tuple[list[list[Record]], list[list[Record]]]:
    """Batches of the prelude, and those that are measured."""
    begin_ms = records[0].timestamp_ms + PRELUDE_DAYS * DAY_MS
    cut = sum(record.timestamp_ms < begin_ms for record in records)
    parts = (records[:cut], records[cut:])
    return tuple([part[at : at + size] for at in range(0, len(part), size)] for part in parts)  # type: ignore[return-value]


def stream(size: Size, declared_share: float) -> list[Record]:
    """The records of a partition in order of time: transactions, loans, and what those who declare say and ask."""
    people = population(SEED, size.customers, date(2025, 1, 1), PRELUDE_DAYS + size.days)
    values = Values()
    encode = {topic: values.encoder(topic) for topic in INPUT_TOPICS}
    told = [
        (event.timestamp_ms, event.topic, event.key, event.value)
        for event in events(people)
        if event.topic in INPUT_TOPICS and isinstance(event.value, dict)
    ]
    chance = np.random.default_rng(SEED)
    for number, name in enumerate(people.user_ids[: round(declared_share * size.customers)]):
        told += _declaration(name, people.begin_ms)
        asked_day = int(chance.integers(ASKS_EVERY_DAYS))
        told += _request(name, number, people.begin_ms + asked_day * DAY_MS + int(chance.integers(DAY_MS)))
    end_ms = people.begin_ms + (PRELUDE_DAYS + size.days) * DAY_MS
    told = sorted((one for one in told if one[0] < end_ms), key=lambda one: (one[0], INPUT_TOPICS.index(one[1])))
    return [
        Record(topic, 0, offset, at_ms, key.encode(), encode[topic](fields))
        for offset, (at_ms, topic, key, fields) in enumerate(told)
    ]


Told = tuple[int, str, str, dict[str, Any]]


def _declaration(name: str, at_ms: int) -> Iterator[Told]:
    yield at_ms, "applicants", name, {"event_id": f"d-{name}", "user_id": name, "income": 2_500.0, "debt": 350.0}


def _request(name: str, number: int, at_ms: int) -> Iterator[Told]:
    """A customer asks for a loan or, every other one, whether a mortgage would be accepted; and is answered."""
    model, attributes = "risk", {"model": "risk"}
    if number % 2:
        model, attributes = "acceptance", {"model": "acceptance", **MORTGAGE}
    asked = {"event_id": f"q-{name}", "user_id": name, "request_id": number, "attributes": attributes}
    declared = {"income": 2_600.0, "debt": 300.0, "loan_amount": 5_000.0}
    yield at_ms, "applicants", name, asked | declared
    answer = {"event_id": f"a-{name}", "user_id": name, "request_id": number, "model": model, "label": number % 3 == 0}
    yield at_ms + ANSWERED_AFTER_DAYS * DAY_MS, "outcomes", name, answer


MORTGAGE: dict[str, Any] = {
    "credit.loan": 80_000.0, "credit.value": 100_000.0, "credit.time": 30.0, "credit.tin": 3.0, "credit.type": "first",
    "client1.income": 3_000.0, "client1.contract": "permanent", "client1.debt_month": 100.0, "gender": "female",
}  # fmt: skip
