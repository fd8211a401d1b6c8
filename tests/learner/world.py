"""A deployment in memory: real scoring, workers and a learner on twins of Kafka and Redis, time from the records."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import count
from typing import Any

from local.generator.events import events, population
from schemas.batch import DAY_MS, FOREVER_MS
from schemas.codec import CloudEvents, Decoder, Encoder, StaticRegistry
from schemas.kinds import INPUT_TOPICS
from schemas.partitioner import Partitioner, partition_of
from schemas.topic_values import Values
from state.memory_store import MemoryStore
from streams.learner.loop import Learner, LearnerObserver, LearnerOptions, LearnerReport
from streams.learner.wire import learner_wire
from streams.learning.epochs import LearningPolicy
from streams.log.learner import MemoryLearnerLog
from streams.log.memory import MemoryBroker, MemoryLog
from streams.log.progress import Progress
from streams.log.protocol import Failpoint, no_failpoint
from streams.processing.epoch_markers import EpochMarks
from streams.processing.processor import ScoreProcessor
from streams.processing.wire import marker_of, wire_of
from streams.scoring.reasons import REASON_TEXTS
from streams.versions.broadcast import Broadcast
from streams.versions.known import Known, first_policy, first_records, learning_record, reader
from streams.worker.loop import Worker
from streams.worker.observer import Observer
from streams.worker.options import WorkerOptions

REGISTRY = StaticRegistry()
VALUES = Values(REGISTRY)
BROADCAST = ("fx-rates", "rescore-weights", "rescore-config")
OUTPUTS = ("score-changes", "scorecards", "rescore-state", "rescore-journal", "rescore-examples")
POLICY = LearningPolicy(
    epoch_ms=DAY_MS, examples_min=30, error_half_life_examples=100, texts_one_in=4, text_days=20
)  # fmt: skip


def place(key: bytes, partitions: int) -> int:
    return partition_of(key, partitions, Partitioner.MURMUR2)


@dataclass
class HandClock:
    """Moves by hand alone."""

    ms: int = 10**12

    def wall_ms(self) -> int:
        return self.ms

    def monotonic_seconds(self) -> float:
        return self.ms / 1000


@dataclass
class Reports(LearnerObserver):
    """Keeps what the learner tells."""

    learned_reports: list[LearnerReport] = field(default_factory=list)
    waited: list[tuple[int | None, tuple[int, ...], str]] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)

    def learned(self, report: LearnerReport) -> None:
        self.learned_reports.append(report)

    def waits(self, boundary_ms: int | None, partitions: Sequence[int], reason: str) -> None:
        self.waited.append((boundary_ms, tuple(partitions), reason))

    def restarted(self, reason: str) -> None:
        self.restarts.append(reason)


@functools.cache
def history(customers: int, days: int, seed: int = 11) -> tuple[tuple[str, bytes, bytes, int], ...]:
    """Topic, key, value and timestamp of generated events, in order of time."""
    found = [
        (event.topic, event.key.encode(),
         event.value if isinstance(event.value, bytes) else json.dumps(event.value).encode(), event.timestamp_ms)
        for event in events(population(seed, customers, date(2025, 1, 1), days))
        if event.topic in INPUT_TOPICS
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda event: event[3]))


@dataclass
class LearningWorld:
    """The broker and the store outlive workers and learners, which come and go."""

    partitions: int = 3
    learning: LearningPolicy = POLICY
    records_clock: bool = True

    def __post_init__(self) -> None:
        topics = dict.fromkeys((*INPUT_TOPICS, *OUTPUTS, *(f"{topic}.dlq" for topic in INPUT_TOPICS)), self.partitions)
        self.broker = MemoryBroker({**topics, **dict.fromkeys((*BROADCAST, "rescore-learner"), 1)}, place)
        self.store = MemoryStore()
        self.clock = HandClock()
        self._nonces = count()
        encoder = Encoder(REGISTRY)
        first = first_records(first_policy("EUR", "UTC"), encoder)
        for topic, key, value in [*first, learning_record(self.learning, "test", "", encoder)]:
            self.broker.write(topic, key, value, 0)

    def publish(self, story: Sequence[tuple[str, bytes, bytes, int]], advance_days: float = 1.0) -> None:
        """Write a history and say that it is over."""
        for topic, key, value, at_ms in story:
            self.broker.write(topic, key, value, at_ms)
        if advance_days:
            self.advance(story[-1][3] + round(advance_days * DAY_MS))

    def advance(self, to_ms: int) -> None:
        """Say in every partition how late it is."""
        value = VALUES.encoder("commands")({"command": "advance", "to": to_ms})
        for partition in range(self.partitions):
            self.broker.write("commands", b"advance", value, to_ms, partition)

    def decide(self, what: str, at_ms: int, version: str = "", who: str = "ann", model: str = "value") -> None:
        """A person's decision about a model."""
        body = json.dumps({"decision": what, "version": version})
        self.configure(f"models.{model}", body, at_ms, who)

    def declare(self, model: str, at_ms: int, **body: Any) -> None:
        """Declare a model that learns from requests."""
        self.configure(f"manifest.{model}", json.dumps(body), at_ms, "ann")

    def configure(self, name: str, body: str, at_ms: int, who: str) -> None:
        said = {"name": name, "version": "", "effective_ms": at_ms, "body": body, "author": who, "reason": "so"}
        value = VALUES.encoder("rescore-config")(said)
        self.broker.write("rescore-config", name.encode(), value, max(at_ms - 60_000, 0))

    def worker(
        self,
        slot: str = "a",
        failpoint: Failpoint = no_failpoint,
        observer: Observer | None = None,
        records_max: int = 500,
    ) -> Worker:
        log = MemoryLog(self.broker, slot, INPUT_TOPICS, failpoint)
        broadcast = self.broadcast(log, True)
        processor = ScoreProcessor(
            Decoder(REGISTRY, self.partitions, Partitioner.MURMUR2),
            Encoder(REGISTRY, REASON_TEXTS),
            CloudEvents("/rescore/test"),
            lambda: broadcast.versions.versions,
            b"key",
            specs=lambda: broadcast.versions.specs,
            texts_one_in=lambda: broadcast.versions.epochs.texts_one_in,
        )
        limit = lambda: broadcast.versions.limit_ms if self.records_clock else FOREVER_MS  # noqa: E731
        rescores = lambda: broadcast.versions.versions.rescores  # noqa: E731
        marks = EpochMarks(lambda: broadcast.versions.epochs, rescores, limit, partial(marker_of, VALUES))
        options = WorkerOptions(is_live=lambda: not self.records_clock, records_max=records_max)
        return Worker(
            log, self.store, processor, wire_of(VALUES), self.clock, lambda: f"n{next(self._nonces)}", options,
            gate=broadcast, observer=observer, failpoint=failpoint, marks=marks,
        )  # fmt: skip

    def broadcast(self, log: Any, holding: bool) -> Broadcast[Known]:
        read = reader(REGISTRY, "")
        limit = lambda known: known.limit_ms if holding and self.records_clock else FOREVER_MS  # noqa: E731
        return Broadcast(log, BROADCAST, Known.first(first_policy("EUR", "UTC")), lambda k, r: k.adopt(r, read), limit)

    def learner(self, failpoint: Failpoint = no_failpoint, observer: LearnerObserver | None = None) -> Learner:
        log = MemoryLearnerLog(self.broker, failpoint=failpoint)
        options = LearnerOptions(clocks_wait=lambda: self.records_clock, broadcast=BROADCAST)
        return Learner(log, learner_wire(VALUES), self.broadcast(log, False), self.clock, options, observer, failpoint)

    def run(self, *parts: Worker | Learner, until: Callable[[], bool] | None = None, turns_max: int = 20_000) -> None:
        """Take turns until nothing is left to do."""
        done = until or self.at_rest
        for turn in range(turns_max):
            self.clock.ms += 10
            for part in parts:
                part.turn()
            if turn % 8 == 0 and done():
                return
        raise AssertionError(f"not at rest: {self.clocks()}, learned until {self.learned_until()}")

    def at_rest(self) -> bool:
        """Every input is taken, and the learner stands at the last boundary that all have passed."""
        for where, entries in self.broker.entries.items():
            if where.topic in INPUT_TOPICS and (self.broker.committed.get(where) or 0) < len(entries):
                return False
        marks = [progress.marked_ms for progress in self.progress().values()]
        if len(marks) < self.partitions or any(mark is None for mark in marks):
            return False
        least = min(mark for mark in marks if mark is not None)
        clock = min(progress.clock_ms for progress in self.progress().values())
        return self.learned_until() == least and clock // DAY_MS * DAY_MS == least and self.swept()

    def swept(self) -> bool:
        """Everyone has been looked at for all weights in force: a day's weights are at the end of the next."""
        rescores = [stamp_ms + DAY_MS for stamp_ms, key, _ in self.weights() if not key.startswith(b"categories")]
        return all(
            progress.swept_ms == max((at_ms for at_ms in rescores if at_ms <= progress.clock_ms), default=None)
            for progress in self.progress().values()
        )

    def progress(self) -> dict[int, Progress]:
        """The last progress record of each partition."""
        wire = wire_of(VALUES)
        return {
            p: wire.progress.decode(record.value or b"")
            for p in range(self.partitions)
            for record in self.broker.visible("rescore-state", p)
            if record.key == b"\x00progress"
        }

    def clocks(self) -> dict[int, int]:
        return {p: progress.clock_ms for p, progress in self.progress().items()}

    def memory(self) -> dict[bytes, bytes]:
        """What the learner remembers: the last value of each key."""
        found: dict[bytes, bytes] = {}
        for record in self.broker.visible("rescore-learner"):
            if record.value is None:
                found.pop(record.key or b"", None)
            else:
                found[record.key or b""] = record.value
        return found

    def learned_until(self) -> int | None:
        checkpoint = json.loads(self.memory().get(b"checkpoint", b"{}"))
        done: int | None = checkpoint.get("done_ms")
        return done

    def weights(self) -> list[tuple[int, bytes, bytes]]:
        """Timestamp, key and value of every version that was learned: what must be the same to the byte."""
        return [
            (r.timestamp_ms, r.key or b"", r.value or b"")
            for r in self.broker.visible("rescore-weights")[1:]
            if r.key != b"epoch"
        ]

    def models(self) -> dict[bytes, bytes]:
        """Models and sample; the checkpoint's places in the log are a matter of the run."""
        return {key: value for key, value in self.memory().items() if key != b"checkpoint"}

    def outputs(self) -> dict[str, dict[bytes, list[bytes]]]:
        """Changes and examples by key."""
        found: dict[str, dict[bytes, list[bytes]]] = {}
        for topic in ("score-changes", "rescore-examples"):
            for record in self.broker.visible(topic):
                if record.key != b"epoch":
                    found.setdefault(topic, {}).setdefault(record.key or b"", []).append(record.value or b"")
        return found
