"""What learning costs the learner, in this process alone: cases a CPU-second, and the memory of those that wait.

Cases have the 15 inputs of the risk model, and their outcome at once; what the learner writes of each step, model and
memory records included, is counted too. Waiting cases are added one by one until as many wait as may, then one more
for each that is dropped; a learner that starts has to read them all again.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import process_time

import numpy as np

from schemas.batch import DAY_MS
from state.calendar import day_starts
from streams.learner.checkpoint import LearnerMemory
from streams.learning.cases import CaseExample, Cases
from streams.learning.credit_learner import CreditLearner
from streams.learning.epochs import Epochs, LearningPolicy
from streams.learning.rounds import Rounds, Waiting
from streams.learning.value_learner import ValueLearner
from streams.scoring.models.risk import RISK_MANIFEST
from streams.scoring.models.specs import PACKAGED_SPECS
from streams.versions.known import Known, first_policy
from streams.versions.packaged_models import packaged_body

FIRST_DAY = 20_000
SEED = 5


@dataclass(frozen=True, slots=True)
class Learning:
    """CPU microseconds a case where an epoch has so many, and bytes written for each."""

    cases_an_epoch: int
    learn: float
    remember: float
    bytes: float

    @property
    def cases_a_second(self) -> float:
        """Cases a CPU-second."""
        return 1e6 / (self.learn + self.remember)

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Memory:
    """What cases that wait take in the learner."""

    cases: int
    bytes_told: float  # a case, as `rescore_learner_cases_bytes` counts
    bytes_held: float  # a case, as Python holds it
    restore_seconds: float  # CPU, of all of them
    added: float  # CPU microseconds to add a case while there is room
    added_when_full: float  # and to add one for which the oldest has to go
    forgotten_seconds: float  # CPU, to forget one customer: it looks at all cases

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


def learning(examples: int, per_epoch: int) -> Learning:
    """Take cases through the rounds of learning, and write what is remembered of each step."""
    policy = LearningPolicy(epoch_ms=DAY_MS)
    epochs = Epochs([policy], day_starts("UTC"))
    known, memory = Known.first(first_policy("EUR", "UTC")), LearnerMemory()
    rounds = Rounds(
        ValueLearner(known.versions.weights[0], policy),
        begin=lambda spec: CreditLearner(spec, policy, packaged_body(spec.begins_with)),
    )
    learn, remember, size = 0.0, 0.0, 0
    chance, count = np.random.default_rng(SEED), max(examples // per_epoch, 1)
    for day in range(count):
        waiting = [Waiting(one.timestamp_ms, one, 0, at) for at, one in enumerate(_answered(chance, day, per_epoch))]
        began = process_time()
        until_ms = (FIRST_DAY + day) * DAY_MS
        done = rounds.advance(until_ms, waiting, [], epochs, lambda name, _: PACKAGED_SPECS.get(name))
        learned = process_time()
        if done is None:
            raise RuntimeError(f"nothing was learned at the end of day {day}")
        size += sum(len(key) + len(value or b"") for key, value in memory.changes(rounds, done))
        learn, remember = learn + learned - began, remember + process_time() - learned
    total = count * per_epoch
    return Learning(per_epoch, round(learn / total * 1e6, 1), round(remember / total * 1e6, 1), round(size / total, 1))


def memory(waiting: int, more: int = 2_000) -> Memory:
    """Let so many cases wait, and then more of them. Takes some 60 us a case twice."""
    requests = list(_requests(np.random.default_rng(SEED), waiting + more))
    tracemalloc.start()
    cases = Cases()
    _take(cases, requests[:waiting], waiting)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    told_bytes, again = cases.size_bytes, Cases()
    restore = _seconds(lambda: again.restore(cases.held.items(), cases.counts))
    added = _seconds(lambda: _take(Cases(), requests[:more], waiting))
    full = _seconds(lambda: _take(again, requests[waiting:], waiting))
    if len(again) != waiting or again.counts["evicted"] != more:
        raise RuntimeError(f"{len(again):,} cases wait, {again.counts['evicted']:,} were dropped")
    forgotten = _seconds(lambda: again.forget({requests[-1].user_hash: requests[-1].timestamp_ms}))
    return Memory(
        waiting,
        round(told_bytes / waiting, 1),
        round(held_bytes / waiting, 1),
        round(restore, 2),
        round(added / more * 1e6, 1),
        round(full / more * 1e6, 1),
        round(forgotten, 3),
    )


def _take(cases: Cases, requests: list[CaseExample], cases_max: int) -> None:
    for request in requests:
        cases.take(request)
        cases.changed.clear()  # as who has written them does
        cases.shrink(cases_max)


def _seconds(work: Callable[[], None]) -> float:
    began = process_time()
    work()
    return process_time() - began


def _requests(chance: np.random.Generator, count: int) -> Iterator[CaseExample]:
    """Requests a minute apart, each of a customer of its own."""
    for number in range(count):
        yield _request(chance, FIRST_DAY * DAY_MS + number * 60_000, number.to_bytes(16, "big"))


def _request(chance: np.random.Generator, at_ms: int, case: bytes) -> CaseExample:
    drawn = chance.normal(1, 1, len(RISK_MANIFEST.names)).tolist()
    inputs = {name: round(value, 6) for name, value in zip(RISK_MANIFEST.names, drawn, strict=True)}
    return CaseExample(at_ms, case, "risk", "request", case, inputs)


def _answered(chance: np.random.Generator, day: int, count: int) -> Iterator[CaseExample]:
    """Requests of a day, each with its outcome."""
    at_ms = (FIRST_DAY + day) * DAY_MS
    for number in range(count):
        case = day.to_bytes(8, "big") + number.to_bytes(8, "big")
        yield _request(chance, at_ms, case)
        yield CaseExample(at_ms, case, "risk", "outcome", case, label=float(chance.random() < 0.1))
