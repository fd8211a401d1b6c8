"""The learner: reads the examples of all partitions, learns an epoch when all have marked its end, publishes weights.

One turn: poll -> buffer -> (where every partition has marked a boundary) read decisions -> learn -> one transaction of
new weights, models, sample and checkpoint -> tell. The checkpoint says how far each partition was read and what mark
was in force there, so that a crash at any step leaves either all of an epoch or nothing of it: what is read again after
it is assigned to the same epochs, and what was learned is left out. There is one way to start, whatever happened
before: own the transactional id, read the topics of versions, read the checkpoint to its end, follow the examples.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from schemas.batch import FOREVER_MS, Record
from schemas.codec import RegistryUnavailable, SchemaNotRegistered
from schemas.time_text import text_of_ms
from schemas.times import FIRST_TIMESTAMP_MS
from state.versions import Weights
from streams.clock import FOREVER_SECONDS, Clock, way_back_seconds
from streams.learner.checkpoint import CHECKPOINT, LearnerMemory, Memory, checked_checkpoint
from streams.learner.guard import learned_without
from streams.learner.reading import ReadPartition, is_ahead
from streams.learning.credit_learner import CreditLearner
from streams.learning.decisions import Order
from streams.learning.epochs import Epochs
from streams.learning.rounds import VALUE, Decided, Round, Rounds, Waiting
from streams.learning.text_learner import TextLearner
from streams.learning.value_learner import ValueLearner
from streams.log.failures import Failure, failure_of
from streams.log.learner import LearnerLog, Written
from streams.log.protocol import (
    AbortAndRewind,
    Failpoint,
    HaltPartition,
    RecreateProducer,
    StopWorker,
    TopicPartition,
    no_failpoint,
)
from streams.log.topic_ids import TopicIds
from streams.log.unreadable import Unreadable
from streams.scoring.models.model import ModelWeights
from streams.scoring.models.specs import ModelSpec, spec_at
from streams.versions.broadcast import Broadcast
from streams.versions.known import Known
from streams.versions.packaged_models import packaged_body
from streams.versions.schema.base import RefusedBody
from streams.versions.schema.records import CHARS_MAX as CAUSE_CHARS_MAX

WAITING_TOLD_SECONDS = 5.0
TOPICS_ASKED_SECONDS = 5.0
FAILURES_MAX = 8
"""So often the learner starts again for exceptions that nobody expected, some 5 s in all, before it ends."""


@dataclass(frozen=True, slots=True)
class LearnerOptions:
    """Names of topics. `clocks_wait`: workers hold their clocks until a version is there (`RESCORE_CLOCK=records`).

    It is asked at every step forward, as a history may go live.
    """

    examples: str = "rescore-examples"
    weights: str = "rescore-weights"
    memory: str = "rescore-learner"
    broadcast: tuple[str, ...] = ()  # topics of versions
    from_beginning: frozenset[str] = frozenset()  # topic ids that a person decided about, see `streams.log.topic_ids`
    same_offsets: frozenset[str] = frozenset()
    clocks_wait: Callable[[], bool] = lambda: False
    idle_seconds: float = 0.05

    @property
    def topics(self) -> TopicIds:
        """The topics that have to stay the ones they are."""
        lost = (
            f"What was learned was in {self.memory}. To learn it again from the examples that are there, delete "
            f"{self.memory} while no learner runs, run `rescore topics apply`, and start the learner."
        )
        begins = (self.examples, *self.broadcast)
        return TopicIds(begins, self.memory, lost, self.from_beginning, self.same_offsets)


@dataclass(frozen=True, slots=True)
class LearnerWire:
    """The words the learner reads and writes; the composition root takes them from `schemas`."""

    example: Callable[[bytes], Mapping[str, Any]]
    weights: Callable[[Weights | ModelWeights, str], bytes]  # and why this version
    learned_until: Callable[[int], bytes]


@dataclass(slots=True)
class LearnerReport:
    """What a step forward came to."""

    round: Round
    model: ValueLearner
    credit: Mapping[str, CreditLearner] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    text: TextLearner | None = None
    unknown: int = 0  # records about models that do not exist, so far


class LearnerObserver:
    """Is told what happens; the base says nothing."""

    def turned(self, at_seconds: float) -> None:
        """The loop went round once more (monotonic seconds)."""

    def brokers(self, *, answer: bool) -> None:
        """Whether the brokers answered a question of the loop, which asks one every few seconds."""

    def started(self, done_ms: int | None, partitions: int) -> None:
        """Where learning goes on."""

    def learned(self, report: LearnerReport) -> None:
        """Epochs were learned and committed."""

    def waits(self, boundary_ms: int | None, partitions: Sequence[int], reason: str) -> None:
        """These partitions have not come to a boundary yet."""

    def restarted(self, reason: str) -> None:
        """A transaction came to nothing, or nobody knows: the log is asked."""

    def refused_versions(self, records: Mapping[str, int]) -> None:
        """Records of the broadcast topics that count as never published, by topic; all of them so far."""

    def unreadable(self, count: int, first: str) -> None:
        """So many records of the examples, in all, are none; where the first lies and why."""

    def not_published(self, version: str, reason: str) -> None:
        """Learned weights are not published, because every reader would refuse them."""

    def failed(self, failure: Failure) -> None:
        """This program raised what nobody expected; an example was left out for it, or the learner starts again."""

    def left_out(self, examples: int) -> None:
        """So many examples were left out of an epoch, as learning them raises."""


class UnobservedLearner(LearnerObserver):
    """Nobody looks: a failure is raised, as silence would hide it."""

    def failed(self, failure: Failure) -> None:
        """Raises RuntimeError."""
        raise RuntimeError(failure.traceback)


class Learner:
    """Takes one model of a deployment forward. One thread; everything that touches the world is handed in."""

    def __init__(
        self,
        log: LearnerLog,
        wire: LearnerWire,
        broadcast: Broadcast[Known],
        clock: Clock,
        options: LearnerOptions | None = None,
        observer: LearnerObserver | None = None,
        failpoint: Failpoint = no_failpoint,
    ) -> None:
        self._log, self._wire, self._broadcast, self._clock = log, wire, broadcast, clock
        self._options = options or LearnerOptions()
        self._observer = observer or UnobservedLearner()
        self._failpoint = failpoint
        self._starting: Iterator[None] | None = self._start()
        self._reading: dict[int, ReadPartition] = {}
        self._rounds: Rounds | None = None
        self._told_limit_ms: int | None = None
        self._memory = LearnerMemory()
        self._waits_since_seconds: float | None = None
        self._careful = False  # an epoch has raised: it is learned on copies, and what raises is left out
        self._ways_back = 0  # to the checkpoint, in a row
        self._failures = 0  # likewise, for exceptions that nobody expected
        self._not_before_seconds = -FOREVER_SECONDS
        self._topic_ids: Mapping[str, str] = {}
        self._asked_topics_seconds = clock.monotonic_seconds()
        self._unreadable = Unreadable()

    def run(self, stopped: Callable[[], bool]) -> None:
        """Take turns until told to stop. `StopWorker` means that another learner took our place."""
        try:
            while not stopped():
                self.turn()
        finally:
            self._log.close()

    @property
    def model(self) -> ValueLearner | None:
        """The model as it stands; None before the start is done."""
        return None if self._rounds is None else self._rounds.model

    @property
    def credit(self) -> Mapping[str, CreditLearner]:
        """The models that learn from requests, by name."""
        return {} if self._rounds is None else self._rounds.credit

    def turn(self) -> None:
        """One turn of the loop: at most one transaction."""
        now_seconds = self._clock.monotonic_seconds()
        self._observer.turned(now_seconds)
        try:
            if now_seconds < self._not_before_seconds:
                self._log.poll(self._options.idle_seconds)  # nothing is followed: it only lets time pass
                return
            if self._starting is not None:
                if next(self._starting, self) is self:
                    self._starting = None
                return
            self._watch_topics(now_seconds)
            self._buffer(self._log.poll(self._options.idle_seconds))
            self._failpoint("L1.polled")
            self._go_forward()
        except (AbortAndRewind, RecreateProducer) as error:
            self._start_again(str(error))
        except (RegistryUnavailable, SchemaNotRegistered) as error:
            self._ways_back += 1
            self._start_again(str(error))
        except (HaltPartition, StopWorker, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is: that is what a last guard is for
            self._fall_back(error)

    def _watch_topics(self, now_seconds: float) -> None:
        """Every few seconds: are the topics still the ones that we learn from? Raises `HaltPartition`."""
        if now_seconds - self._asked_topics_seconds >= TOPICS_ASKED_SECONDS:
            self._asked_topics_seconds, topics = now_seconds, self._options.topics
            found = self._log.topic_ids(topics.topics)
            self._observer.brokers(answer=found is not None)
            if others := topics.others(self._topic_ids, found or {}):
                raise HaltPartition(topics.words("the learner", others))

    def _start_again(self, reason: str) -> None:
        """Back to the checkpoint; at once at first, later after a while."""
        self._observer.restarted(reason)
        self._starting = self._start()
        self._log.follow({})
        self._not_before_seconds = self._clock.monotonic_seconds() + way_back_seconds(self._ways_back)

    def _fall_back(self, error: Exception) -> None:
        """Back to the checkpoint after an exception that nobody expected; who comes back to it again and again ends."""
        failure = failure_of(error, "turn")
        self._observer.failed(failure)
        self._failures += 1
        if self._failures > FAILURES_MAX:
            raise HaltPartition(
                f"the learner failed {self._failures} times in a row: {failure.clause}. Nothing is lost. Report it "
                f"with the traceback in its log; a restart tries again. If {self._options.memory} cannot be read, "
                f"delete it and run `rescore topics apply`: the learner learns again from the examples that are there."
            ) from error
        self._careful, self._ways_back = True, self._ways_back + 1
        self._start_again(f"internal error: {failure.clause}")

    # The one way to start.

    def _start(self) -> Iterator[None]:
        while not self._log.open():
            yield
        while not self._broadcast.read_on():
            yield
        while (count := self._log.partitions(self._options.examples)) is None:
            yield
        memory = Memory(self._options.memory)
        yield from self._read_memory(memory)
        with memory.told():
            self._rounds, checkpoint = self._remember(memory)
            for model in self._rounds.credit.values():
                for tree in model.trees.values():
                    yield from tree.grow()
        while (found := self._log.topic_ids(self._options.topics.topics)) is None:
            yield
        topics = self._options.topics.same(checkpoint.get("topic_ids"), found, "the learner")
        self._topic_ids = topics.ids
        if self._options.examples in topics.begun:
            checkpoint = {**checkpoint, "partitions": {}}
        places = [TopicPartition(self._options.examples, p) for p in range(count)]
        while (firsts := self._log.first_offsets(places)) is None:
            yield
        with memory.told():
            self._reading = {where.partition: ReadPartition.of(where, firsts[where], checkpoint) for where in places}
        self._log.follow({where: self._reading[where.partition].next_offset for where in places})
        self._observer.started(self._rounds.done_ms, count)

    def _read_memory(self, memory: Memory) -> Iterator[None]:
        """The last value of each key, to an end asked for after our transactional id was ours."""
        where = TopicPartition(self._options.memory, 0)
        while (firsts := self._log.first_offsets([where])) is None or (ends := self._log.end_offsets([where])) is None:
            yield
        for records in self._log.read(where, firsts[where], ends[where]):
            if not records:
                yield
            for record in records:
                memory.take(record)

    def _remember(self, memory: Mapping[bytes, Any]) -> tuple[Rounds, Mapping[str, Any]]:
        """The state that the checkpoint says; that of the first day where there is none."""
        known = self._broadcast.versions
        checkpoint: Mapping[str, Any] = checked_checkpoint(memory[CHECKPOINT]) if CHECKPOINT in memory else {}
        done_ms = checkpoint.get("done_ms")
        policy = known.epochs.policy_at(FOREVER_MS if done_ms is None else done_ms)
        model = ValueLearner(known.versions.weights[0], policy)
        self._memory = LearnerMemory()

        def begin(spec: ModelSpec) -> CreditLearner:
            body = packaged_body(spec.begins_with) if spec.begins_with else None
            return CreditLearner(spec, self._broadcast.versions.epochs.policy_at(FOREVER_MS), body)

        def again(name: str) -> CreditLearner:
            spec = spec_at(known.specs, name, FOREVER_MS)
            if spec is None:
                raise HaltPartition(f"model {name!r} was learned here and is declared no more: declare it again")
            return begin(spec)

        rounds = Rounds(model, done_ms, begin=begin)
        if checkpoint:
            self._memory.recall_value(model, memory)
            rounds.open_until, rounds.unknown = dict(checkpoint["open_until"]), checkpoint["unknown"]
            rounds.credit = self._memory.recall_credit(memory, again)
            rounds.text = self._memory.recall_text(memory, policy)
        self._told_limit_ms = checkpoint.get("told_limit_ms")
        return rounds, checkpoint

    # Forward: buffer, learn, commit.

    def _buffer(self, records: Sequence[Record]) -> None:
        assert self._rounds is not None
        before = sum(self._unreadable.counts.values())
        for record in records:
            partition = self._reading[record.partition]
            failure = partition.take(record, self._wire.example, self._rounds.done_ms, self._unreadable)
            if failure is not None:
                self._leave_out(failure, record.partition, record.offset)
        count = sum(self._unreadable.counts.values())
        if count > before:
            self._observer.unreadable(count, next(iter(self._unreadable.firsts.values())))

    def _go_forward(self) -> None:
        rounds, epochs = self._rounds, self._broadcast.versions.epochs
        assert rounds is not None
        if not epochs.learning:
            self._wait(None, (), "no learning policy says when epochs end: see `rescore models epochs --help`")
            self._broadcast.read_on()
            return
        marks = [one.mark_ms for one in self._reading.values() if one.mark_ms is not None]
        least_ms = min(marks) if len(marks) == len(self._reading) else None
        self._pause_ahead(least_ms)
        if least_ms is None or not is_ahead(epochs.last_until(least_ms), rounds.done_ms):
            self._tell_missing(least_ms, epochs)
            return
        self._waits_since_seconds = None
        if not self._broadcast.read_on():
            return
        watch = self._clock.monotonic_seconds()
        waiting = [one for partition in self._reading.values() for one in partition.waiting]
        learned = self._learn(least_ms, waiting)
        if learned is None:  # a new policy has moved the boundaries
            return
        done, records = learned
        for partition in self._reading.values():
            partition.forget_until(done.until_ms)
        self._failpoint("L2.learned")
        learned_seconds = self._clock.monotonic_seconds()
        self._log.transact([*records, self._checkpoint()])
        self._careful, self._ways_back, self._failures = False, 0, 0
        self._failpoint("L8.remembered")
        seconds = {"learn": learned_seconds - watch, "transact": self._clock.monotonic_seconds() - learned_seconds}
        assert self._rounds is not None
        now = self._rounds
        self._observer.learned(LearnerReport(done, now.model, now.credit, seconds, now.text, now.unknown))

    def _learn(self, least_ms: int, waiting: Sequence[Waiting]) -> tuple[Round, list[Written]] | None:
        """The next epochs, and what is to be written of them; with care where they have raised before."""
        assert self._rounds is not None
        known = self._broadcast.versions
        specs, texts, decided = partial(spec_at, known.specs), known.versions.texts, _decided(known)

        def attempt(state: _State, examples: Sequence[Waiting]) -> tuple[Round, list[Written]] | None:
            done = state.rounds.advance(least_ms, examples, decided, known.epochs, specs, texts)
            return None if done is None else (done, self._records(state, done, known.epochs))

        state = _State(self._rounds, self._memory, self._told_limit_ms)
        if not self._careful:
            result = attempt(state, waiting)
        else:
            state, result, left_out = learned_without(attempt, state, waiting)
            for one in left_out:
                if one.failure is not None:
                    self._leave_out(one.failure, one.example.partition, one.example.offset)
            if len(left_out) > sum(one.failure is not None for one in left_out):
                self._observer.left_out(sum(one.failure is None for one in left_out))
        self._rounds, self._memory, self._told_limit_ms = state.rounds, state.memory, state.told_limit_ms
        return result

    def _leave_out(self, failure: Failure, partition: int, offset: int) -> None:
        """Tell of an example that is not learned, as it raises."""
        self._observer.failed(failure._replace(record=f"{self._options.examples}/{partition}/{offset}"))
        self._observer.left_out(1)

    def _pause_ahead(self, least_ms: int | None) -> None:
        """Partitions that have marked more than others are not read further: what waits stays about one epoch."""
        ahead = [one.where for one in self._reading.values() if is_ahead(one.mark_ms, least_ms)]
        self._log.pause(ahead)

    def _tell_missing(self, least_ms: int | None, epochs: Epochs) -> None:
        missing = tuple(number for number, one in self._reading.items() if one.mark_ms == least_ms)
        if len(missing) < len(self._reading) or least_ms is None:
            done_ms = self._rounds.done_ms if self._rounds else None
            self._wait(None if done_ms is None else epochs.next_after(done_ms), missing, "not passed yet")
        else:
            self._waits_since_seconds = None

    def _wait(self, boundary_ms: int | None, partitions: Sequence[int], reason: str) -> None:
        now_seconds = self._clock.monotonic_seconds()
        if self._waits_since_seconds is None:
            self._waits_since_seconds = now_seconds
        elif now_seconds - self._waits_since_seconds > WAITING_TOLD_SECONDS:
            self._waits_since_seconds = float("inf")
            self._observer.waits(boundary_ms, partitions, reason)

    def _records(self, state: _State, done: Round, epochs: Epochs) -> list[Written]:
        """Everything a step forward says, in one transaction, but for the checkpoint."""
        options, rounds, clocks_wait = self._options, state.rounds, self._options.clocks_wait()
        records = list[Written]()

        def weights(key: str, value: bytes, boundary_ms: int) -> None:
            stamp_ms = max(boundary_ms, FIRST_TIMESTAMP_MS) if clocks_wait else None
            records.append(Written(options.weights, 0, key.encode(), value, stamp_ms))

        for closed in done.closed:
            made = closed.weights
            timeline = rounds.timeline_of(made.name if isinstance(made, ModelWeights) else VALUE)
            why = next((h.what + ": " + h.why for h in timeline if h.version == made.version), "")
            try:
                value = self._wire.weights(made, why[:CAUSE_CHARS_MAX])
            except RefusedBody as error:  # published, it would stop nobody and serve nobody
                self._observer.not_published(made.version, str(error))
            else:
                weights(made.version, value, closed.boundary_ms)
        limit_ms = epochs.limit_ms(done.until_ms)
        if clocks_wait and limit_ms != state.told_limit_ms:
            weights("epoch", self._wire.learned_until(done.until_ms), done.until_ms)
            state.told_limit_ms = limit_ms
        return records + [Written(options.memory, 0, key, body) for key, body in state.memory.changes(rounds, done)]

    def _checkpoint(self) -> Written:
        """Where the learner stands once this is committed."""
        rounds = self._rounds
        assert rounds is not None
        checkpoint = {
            "done_ms": rounds.done_ms,
            "open_until": rounds.open_until,
            "unknown": rounds.unknown,
            "told_limit_ms": self._told_limit_ms,
            "topic_ids": self._topic_ids,
            "partitions": {
                str(number): [one.resume_offset, one.resume_mark_ms] for number, one in self._reading.items()
            },
        }
        body = json.dumps(checkpoint, separators=(",", ":")).encode()
        return Written(self._options.memory, 0, CHECKPOINT, body)


@dataclass(slots=True)
class _State:
    """What learning an epoch changes; copied as one where an epoch may have to be learned again."""

    rounds: Rounds
    memory: LearnerMemory
    told_limit_ms: int | None


def _decided(known: Known) -> list[Decided]:
    """What persons decided about models; the card they had looked at is part of the reason."""
    return [
        Decided(
            one.effective_ms,
            Order(one.what, one.version, one.author, one.reason + (f" ({one.card})" if one.card else "")),
            one.model,
        )
        for one in known.decisions
    ]


def waiting_words(boundary_ms: int | None, partitions: Sequence[int], reason: str) -> str:
    """A sentence for a log line.

    >>> waiting_words(86_400_000, [2, 3], "not passed yet")
    'waits for the end of an epoch, 1970-01-02T00:00:00Z: not passed yet by partitions 2, 3'
    """
    if not partitions:
        return reason
    named = f"partition{'s' if len(partitions) > 1 else ''} {', '.join(map(str, partitions))}"
    end = "the first" if boundary_ms is None else text_of_ms(boundary_ms)
    return f"waits for the end of an epoch, {end}: {reason} by {named}"
