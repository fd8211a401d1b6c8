"""What learning costs, in this process alone: `python -m local.bench_learning` prints it.

The worker's part is what cases and reports add to what batches take: generated customers over two months of whom every
tenth has declared something (`--declared-share`), with loans as the generator grants them. The learner's part is cases
a CPU-second, with the 15 features of risk, model and memory records included. No Kafka, no Redis.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, ClassVar

import numpy as np

from local.generator import events, population
from schemas.batch import Record
from schemas.codec import CloudEvents, Decoder, Encoder, StaticRegistry
from schemas.kinds import INPUT_TOPICS
from state.calendar import DAY_MS, day_starts
from streams.avro_values import Values
from streams.learner_memory import LearnerMemory
from streams.learning.cases import CaseExample
from streams.learning.credit_learner import CreditLearner
from streams.learning.epochs import Epochs, LearningPolicy
from streams.learning.rounds import Rounds, Waiting
from streams.learning.value_learner import ValueLearner
from streams.output import Message, Output
from streams.packaged_models import packaged_body
from streams.processor import ScoreProcessor
from streams.scoring.reasons import REASON_TEXTS
from streams.scoring.risk import RISK_MANIFEST
from streams.scoring.specs import PACKAGED_SPECS
from streams.versions import Known, first_policy
from streams.warm import warm

RECORDS = 2_000
CUSTOMERS, DAYS = 2_000, 60
SEED = 5


class Watched(ScoreProcessor):
    """A processor that tells what its cases and reports take: two sides by turns differ by more than that by chance."""

    spent: ClassVar[dict[str, float]] = {}

    def _more(self, *given: Any) -> list[tuple[int, Message]]:
        with timed(self.spent, "cases and reports"):
            return super()._more(*given)


def history(declared_share: float) -> list[Record]:
    """Generated events, and declarations of some customers on the first day."""
    people = population(SEED, CUSTOMERS, date(2025, 1, 1), DAYS)
    begin_ms, values = people.begin_ms, Values()
    encoders = {topic: values.encoder(topic) for topic in INPUT_TOPICS}
    made: list[tuple[int, str, str, bytes]] = []
    for name in people.user_ids[: round(declared_share * CUSTOMERS)]:
        said = {"event_id": f"d-{name}", "user_id": name, "income": 2_500.0, "debt": 350.0, "request_id": None}
        made.append((begin_ms, "applicants", name, encoders["applicants"](said)))
    made += [
        (event.timestamp_ms, event.topic, event.key, encoders[event.topic](event.value))
        for event in events(people)
        if event.topic in INPUT_TOPICS and isinstance(event.value, dict)
    ]
    made.sort(key=lambda one: (one[0], INPUT_TOPICS.index(one[1])))
    return [Record(topic, 0, i, at_ms, key.encode(), value) for i, (at_ms, topic, key, value) in enumerate(made)]


@contextmanager
def timed(spent: dict[str, float], name: str) -> Iterator[None]:
    """Add the CPU seconds of what is done inside."""
    began = time.process_time()
    yield
    spent[name] = spent.get(name, 0.0) + time.process_time() - began


def worker_cost(declared_share: float) -> dict[str, float]:
    """CPU seconds of batches, and of their cases and reports; how many events, loans and examples there were."""
    known = Known.first(first_policy("EUR", "UTC"))
    encoder = Encoder(StaticRegistry(), REASON_TEXTS)
    decoder = Decoder(StaticRegistry(), 1)
    processor = Watched(decoder, encoder, CloudEvents("/bench"), lambda: known.versions, b"key")
    rows: dict[bytes, bytes] = {}
    records = history(declared_share)
    spent = Watched.spent = {"said": 0, "events": len(records), "loans": sum(r.topic == "loans" for r in records)}
    for start in range(0, len(records), RECORDS):
        with timed(spent, "all"):
            output = _taken(processor, rows, records[start : start + RECORDS])
        spent["said"] += len(output.examples)
    return spent


def _taken(processor: ScoreProcessor, rows: dict[bytes, bytes], batch: Sequence[Record]) -> Output:
    clock_ms = batch[-1].timestamp_ms
    output = processor.process(0, batch, lambda users: [rows.get(user) for user in users], (), clock_ms)
    for image in output.images:
        if image.row is not None:
            rows[image.user] = image.row
    return output


def learner_cost(examples: int, per_epoch: int) -> dict[str, float]:
    """CPU seconds of cases through the rounds of learning, and of what is remembered of each step."""
    policy = LearningPolicy(epoch_ms=DAY_MS)
    epochs = Epochs([policy], day_starts("UTC"))
    known, memory = Known.first(first_policy("EUR", "UTC")), LearnerMemory()
    rounds = Rounds(
        ValueLearner(known.versions.weights[0], policy),
        begin=lambda spec: CreditLearner(spec, policy, packaged_body(spec.begins_with)),
    )
    spent: dict[str, float] = {"bytes": 0}
    rng = np.random.default_rng(SEED)
    for day in range(examples // per_epoch):
        waiting = _cases(rng, day, per_epoch)
        with timed(spent, "learn"):
            done = rounds.advance(
                20_000 * DAY_MS + day * DAY_MS, waiting, [], epochs, lambda n, _: PACKAGED_SPECS.get(n)
            )
        assert done is not None
        with timed(spent, "remember"):
            spent["bytes"] += sum(len(key) + len(value or b"") for key, value in memory.changes(rounds, done))
    return spent


def _cases(rng: np.random.Generator, day: int, count: int) -> list[Waiting]:
    at_ms = (20_000 + day) * DAY_MS
    found = []
    for i in range(count):
        inputs = {name: round(float(x), 6) for name, x in zip(RISK_MANIFEST.names, rng.normal(1, 1, 15), strict=True)}
        case = day.to_bytes(8, "big") + i.to_bytes(8, "big")
        asked = CaseExample(at_ms, case, "risk", "request", case, inputs)
        told = CaseExample(at_ms, case, "risk", "outcome", case, label=float(rng.random() < 0.1))
        found += [Waiting(at_ms, asked, 0, 2 * i), Waiting(at_ms, told, 0, 2 * i + 1)]
    return found


def main(arguments: Sequence[str], say: Callable[[str], None] = print) -> None:
    """Measure and say it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--declared-share", type=float, default=0.1)
    parser.add_argument("--examples", type=int, default=20_000)
    chosen = parser.parse_args(arguments)
    warm()
    found = worker_cost(chosen.declared_share)
    rest = found["all"] - found["cases and reports"]
    say(
        f"worker: {found['events']:,.0f} events, {found['loans']:,.0f} of loans, {found['said']:,.0f} examples: "
        f"{rest / found['events'] * 1e6:.2f} us of CPU an event, cases and reports "
        f"{found['cases and reports'] / found['events'] * 1e6:.2f} more: {found['cases and reports'] / rest:+.1%}"
    )
    for per_epoch in (20, 200, 2_000):
        count = chosen.examples // (10 if per_epoch < 200 else 1)
        spent = learner_cost(count, per_epoch)
        each = {name: spent[name] / count * 1e6 for name in ("learn", "remember")}
        say(
            f"learner, {per_epoch:,} cases an epoch: {1e6 / sum(each.values()):,.0f} cases a CPU-second "
            f"({each['learn']:.0f} us to learn, {each['remember']:.0f} to remember {spent['bytes'] / count:,.0f} bytes)"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
