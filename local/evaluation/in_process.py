"""The deployment of an evaluation within this process: the real worker and learner on twins of Kafka and Redis.

It says the same as the one on a real Kafka, to the byte, and is there when nothing but this process is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

from local.evaluation.journey import (
    BASE_CURRENCY,
    HISTORIES,
    PARTITIONS,
    READ_TOPICS,
    TIME_ZONE,
    Outputs,
    Sending,
    Terms,
    Told,
    is_over,
    known_of,
    progress_of,
)
from schemas.batch import FOREVER_MS
from schemas.codec import CloudEvents, Decoder, Encoder, StaticRegistry
from schemas.kinds import INPUT_TOPICS
from schemas.partitioner import Partitioner, partition_of
from schemas.topic_values import Values
from state.memory_store import MemoryStore
from streams.kafka.topics import BROADCAST_TOPICS, DEAD_LETTERS, MEMORY_TOPIC
from streams.learner.loop import Learner, LearnerOptions
from streams.learner.wire import learner_wire
from streams.learning.epochs import LearningPolicy
from streams.log.learner import MemoryLearnerLog
from streams.log.memory import MemoryBroker, MemoryLog
from streams.processing.epoch_markers import EpochMarks
from streams.processing.processor import ScoreProcessor
from streams.processing.wire import marker_of, wire_of
from streams.scoring.reasons import REASON_TEXTS
from streams.versions.broadcast import Broadcast
from streams.versions.known import Known, first_policy, first_records, learning_record, reader
from streams.worker.loop import Worker
from streams.worker.options import WorkerOptions

OUTPUTS = ("score-changes", "scorecards", "rescore-state", "rescore-journal", "rescore-examples")
RECORDS_MAX = 2_000
LOOK_EVERY_TURNS = 50
TURNS_MAX = 2_000_000


class _Steps:
    """A clock that goes on by a hundredth of a second whenever it is asked: nothing here depends on real time."""

    def __init__(self) -> None:
        self._asked = count()

    def wall_ms(self) -> int:
        """See `Clock`."""
        return next(self._asked) * 10

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return next(self._asked) / 100.0


class InProcess:
    """See `local.evaluation.journey.Deployment`."""

    def __init__(self, terms: Terms = HISTORIES) -> None:
        self._terms, self._registry = terms, StaticRegistry()
        self._values = Values(self._registry)
        letters = [topic + DEAD_LETTERS for topic in INPUT_TOPICS]
        topics = dict.fromkeys((*INPUT_TOPICS, *OUTPUTS, *letters), PARTITIONS)
        single = dict.fromkeys((*BROADCAST_TOPICS, MEMORY_TOPIC), 1)
        self._broker = MemoryBroker({**topics, **single}, partial(partition_of, partitioner=Partitioner.MURMUR2))
        self._nonces = count()

    def play(self, sendings: Sequence[Sending], until_ms: int, told: Told) -> Outputs:
        """See `local.evaluation.journey.Deployment`."""
        self._publish(sendings, until_ms)
        worker, learner = self._worker(), self._learner()
        inputs = [where for where in self._broker.entries if where.topic in INPUT_TOPICS]
        total = sum(len(self._broker.entries[where]) for where in inputs)
        for turn in range(TURNS_MAX):
            worker.turn()
            learner.turn()
            if turn % LOOK_EVERY_TURNS == 0:
                taken = sum(self._broker.committed.get(where) or 0 for where in inputs)
                told(taken, total)
                if taken == total and self._is_over(until_ms):
                    return self._outputs()
        raise RuntimeError(f"not over after {TURNS_MAX:,} turns: {self._progress()}")

    def _publish(self, sendings: Sequence[Sending], until_ms: int) -> None:
        encoder = Encoder(self._registry)
        terms = self._terms
        policy = LearningPolicy(effective_ms=0, epoch_ms=terms.epoch_seconds * 1_000, adopt=terms.adopt)
        first = first_records(first_policy(BASE_CURRENCY, TIME_ZONE), encoder)
        for topic, key, value in [*first, learning_record(policy, "rescore evaluate", "", encoder)]:
            self._broker.write(topic, key, value, 0)
        for fields in terms.declared:
            name, value = str(fields["name"]), self._values.encoder("rescore-config")(dict(fields))
            self._broker.write("rescore-config", name.encode(), value, 0)
        encoders = {topic: self._values.encoder(topic) for topic in INPUT_TOPICS}
        for one in sendings:
            self._broker.write(one.topic, one.key.encode(), encoders[one.topic](dict(one.fields)), one.time_ms)
        advance = encoders["commands"]({"command": "advance", "to": until_ms})
        for partition in range(PARTITIONS):
            self._broker.write("commands", b"advance", advance, until_ms, partition)

    def _worker(self) -> Worker:
        log = MemoryLog(self._broker, "0", INPUT_TOPICS)
        broadcast = self._broadcast(log, holding=True)
        processor = ScoreProcessor(
            Decoder(self._registry, PARTITIONS, Partitioner.MURMUR2),
            Encoder(self._registry, REASON_TEXTS),
            CloudEvents("/rescore/evaluate"),
            lambda: broadcast.versions.versions,
            specs=lambda: broadcast.versions.specs,
            texts_one_in=lambda: broadcast.versions.epochs.texts_one_in,
        )
        marks = EpochMarks(
            lambda: broadcast.versions.epochs,
            lambda: broadcast.versions.versions.rescores,
            lambda: broadcast.versions.limit_ms,
            partial(marker_of, self._values),
        )
        options = WorkerOptions(silence_ms=None, records_max=RECORDS_MAX)
        return Worker(
            log, MemoryStore(), processor, wire_of(self._values), _Steps(), lambda: f"n{next(self._nonces)}", options,
            gate=broadcast, marks=marks,
        )  # fmt: skip

    def _learner(self) -> Learner:
        log = MemoryLearnerLog(self._broker)
        options = LearnerOptions(clocks_wait=lambda: True)
        return Learner(log, learner_wire(self._values), self._broadcast(log, holding=False), _Steps(), options)

    def _broadcast(self, log: Any, *, holding: bool) -> Broadcast[Known]:
        read = reader(self._registry, "")
        first = Known.first(first_policy(BASE_CURRENCY, TIME_ZONE))
        limit = (lambda known: known.limit_ms) if holding else (lambda _known: FOREVER_MS)
        return Broadcast(log, BROADCAST_TOPICS, first, lambda known, records: known.adopt(records, read), limit)

    def _progress(self) -> Any:
        return progress_of(self._broker.visible("rescore-state"), self._values)

    def _is_over(self, until_ms: int) -> bool:
        rescores = known_of(self._broker.visible("rescore-weights"), self._registry).versions.rescores
        return is_over(self._progress(), rescores, until_ms)

    def _outputs(self) -> Outputs:
        letters = [record for topic in INPUT_TOPICS for record in self._broker.visible(topic + DEAD_LETTERS)]
        return Outputs({topic: self._broker.visible(topic) for topic in READ_TOPICS}, letters)
