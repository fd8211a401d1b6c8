"""The learner's last guard: what raises is left out, told and counted; the rest is learned as if it had never been."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from schemas.batch import Record
from schemas.codec import RegistryUnavailable
from streams import learner as learner_module
from streams.broadcast import NOTICE_MS, Broadcast
from streams.failures import Failure
from streams.learner import FAILURES_MAX, Learner
from streams.learner_guard import ALONE_MAX, learned_without
from streams.learner_log import LEARNER_STEPS
from streams.learner_telling import LearnerMetrics, LearnerObservers
from streams.learning.rounds import Waiting
from streams.learning.text_learner import TextExample, TextLearner
from streams.learning.value_learner import ValueExample, ValueLearner
from streams.log import HaltPartition
from streams.memory_log import MemoryBroker, MemoryLog
from tests.learner.test_epochs_in_memory import Crash, crash_at
from tests.learner.world import LearningWorld, Reports, history

STORY = history(14, 42)


@dataclass
class Told(Reports):
    """What failed, too."""

    failures: list[Failure] = field(default_factory=list)
    left: int = 0

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)

    def left_out(self, examples: int) -> None:
        self.left += examples


def is_bad(example: object) -> bool:
    """Some examples, reports and descriptions, whoever learns from them."""
    if not isinstance(example, ValueExample | TextExample) or (isinstance(example, ValueExample) and example.erased):
        return False
    return zlib.crc32(b"%b %d" % (example.user_hash, example.timestamp_ms)) % 7 == 0


def planted(patch: pytest.MonkeyPatch) -> None:
    """Learning a bad example raises: of the descriptions once the model has learned all the others."""
    value, text = ValueLearner.learn, TextLearner.learn

    def learn_value(self: ValueLearner, examples: Sequence[ValueExample], boundary_ms: int) -> int:
        if any(map(is_bad, examples)):
            raise ZeroDivisionError("planted")
        return value(self, examples, boundary_ms)

    def learn_text(self: TextLearner, examples: Sequence[TextExample], erased: Mapping[bytes, int]) -> int:
        taught = text(self, [one for one in examples if not is_bad(one)], erased)
        if any(map(is_bad, examples)):
            raise ZeroDivisionError("planted")
        return taught

    patch.setattr(ValueLearner, "learn", learn_value)
    patch.setattr(TextLearner, "learn", learn_text)


def without_the_bad_ones(patch: pytest.MonkeyPatch) -> None:
    """The bad examples are none: whoever reads them does not know what they are."""
    real = learner_module.example_of

    def example_of(said: Any) -> Any:
        example = real(said)
        if is_bad(example):
            raise ValueError("left out")
        return example

    patch.setattr(learner_module, "example_of", example_of)


def run(world: LearningWorld, told: Told, steps: Sequence[tuple[str, int]] = ()) -> None:
    """Live through the story; the learner dies at these steps and is started again."""
    world.publish(STORY)
    worker = world.worker()
    todo = list(steps)

    def learner() -> Learner:
        step, hit = todo.pop(0) if todo else ("never", 1)
        return world.learner(crash_at(step, hit), told)

    now = learner()
    for turn in range(30_000):
        world.clock.ms += 10
        worker.turn()
        try:
            now.turn()
        except Crash:
            now = learner()
        if turn % 8 == 0 and world.at_rest():
            return
    raise AssertionError(f"not at rest: {world.clocks()}, learned until {world.learned_until()}")


@pytest.fixture(scope="module")
def without() -> LearningWorld:
    """A world in which the bad examples were never there."""
    world = LearningWorld()
    with pytest.MonkeyPatch.context() as patch:
        without_the_bad_ones(patch)
        run(world, Told())
    return world


def test_what_is_learned_is_what_would_be_without_the_examples_that_raise(without: LearningWorld) -> None:
    world, told = LearningWorld(), Told()
    with pytest.MonkeyPatch.context() as patch:
        planted(patch)
        run(world, told)
    assert world.weights() == without.weights()
    assert world.models() == without.models()
    assert world.learned_until() == without.learned_until()
    blamed = [failure for failure in told.failures if failure.record]
    assert told.left == len(blamed) == len({failure.record for failure in blamed}) > 3
    assert all(failure.record.startswith("rescore-examples/") for failure in blamed)
    assert {failure.exception for failure in blamed} == {"ZeroDivisionError"}


def test_the_same_examples_are_left_out_whenever_the_learner_dies(without: LearningWorld) -> None:
    random = Random(5)
    steps = [(random.choice(LEARNER_STEPS), random.randrange(1, 4)) for _ in range(6)]
    print(f"dies at {steps}")
    world, told = LearningWorld(), Told()
    with pytest.MonkeyPatch.context() as patch:
        planted(patch)
        run(world, told, steps)
    assert world.weights() == without.weights()
    assert world.models() == without.models()


def test_what_is_no_example_is_told_with_its_place_and_counted(without: LearningWorld) -> None:
    registry = CollectorRegistry()
    told = Told()
    world = LearningWorld()
    world.broker.write("rescore-examples", b"x", b"rubbish", 5, 1)
    world.broker.write("rescore-examples", b"x", None, 5, 2)
    learner = world.learner(observer=LearnerObservers(told, LearnerMetrics(registry)))
    world.run(learner, until=lambda: told.left == 2)
    assert {failure.record for failure in told.failures} == {"rescore-examples/1/0", "rescore-examples/2/0"}
    assert registry.get_sample_value("rescore_learner_examples_total", {"outcome": "left out"}) == 2
    assert registry.get_sample_value("rescore_learner_internal_errors_total", {"stage": "read"}) == 2


def waiting(count: int) -> list[Waiting]:
    return [Waiting(i, ValueExample(i, b"%d" % i, None, None, None), 0, i) for i in range(count)]


@pytest.mark.parametrize("seed", range(8))
def test_only_what_raises_is_left_out_while_there_is_little_of_it(seed: int) -> None:
    random = Random(seed)
    print(f"seed {seed}")
    examples = waiting(random.randrange(1, 200))
    bad = set(random.sample(range(len(examples)), min(len(examples), random.randrange(ALONE_MAX))))
    tries = []

    def attempt(state: list[int], told: Sequence[Waiting]) -> int:
        tries.append(len(told))
        for one in told:
            state.append(one.offset)
            if one.offset in bad:
                raise KeyError(one.offset)
        return len(told)

    random.shuffle(examples)
    before: list[int] = []
    learned = learned_without(attempt, before, examples)
    assert [left.example.offset for left in learned.left_out] == sorted(bad)
    assert learned.state == [i for i in range(len(examples)) if i not in bad]
    assert learned.result == len(examples) - len(bad)
    assert before == []
    assert len(tries) <= (len(bad) + 1) * 11


def test_an_epoch_full_of_examples_that_raise_ends_soon() -> None:
    tries = []

    def attempt(state: list[int], told: Sequence[Waiting]) -> int:
        tries.append(len(told))
        if told:
            raise KeyError
        return 0

    learned = learned_without(attempt, [], waiting(20_000))
    assert len(learned.left_out) == 20_000
    assert sum(left.failure is not None for left in learned.left_out) < 30
    assert len(tries) < 500


def test_an_epoch_that_raises_without_any_example_halts() -> None:
    def attempt(state: list[int], told: Sequence[Waiting]) -> int:
        raise KeyError("a decision")

    with pytest.raises(HaltPartition, match=r"without any example: KeyError at .*'a decision'"):
        learned_without(attempt, [], waiting(3))


def test_a_fault_around_learning_starts_again_and_one_that_stays_ends_with_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, told = LearningWorld(), Told()
    world.publish(STORY[:200])
    learner, left = world.learner(observer=told), [2]
    real = learner._log.poll

    def poll(timeout_seconds: float) -> Sequence[Record]:
        left[0] -= 1
        if left[0] == 0:
            raise RuntimeError("the adapter has a fault")
        return real(timeout_seconds)

    monkeypatch.setattr(learner._log, "poll", poll)
    world.run(world.worker(), learner)
    assert [failure.exception for failure in told.failures] == ["RuntimeError"]
    assert told.restarts == [f"internal error: {told.failures[0].clause}"]

    def never(timeout_seconds: float) -> Sequence[Record]:
        raise RuntimeError("always")

    monkeypatch.setattr(learner._log, "poll", never)
    with pytest.raises(HaltPartition, match=f"{FAILURES_MAX + 1} times in a row: RuntimeError"):
        world.run(learner, until=lambda: False)


def test_a_registry_that_is_away_is_waited_for_and_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world, told = LearningWorld(), Told()
    world.publish(STORY[:200])
    learner, left = world.learner(observer=told), [5]
    real = learner._wire.example

    def example(value: bytes) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise RegistryUnavailable("the registry does not answer")
        return real(value)

    object.__setattr__(learner._wire, "example", example)
    world.run(world.worker(), learner)
    assert len(told.restarts) == 5
    assert told.left == 0


def test_a_version_that_could_not_be_read_is_read_again_before_clocks_pass_it() -> None:
    broker = MemoryBroker({"fx-rates": 1})
    broker.write("fx-rates", b"a", b"first", 0)
    raising = [True]

    def adopt(known: list[bytes], records: Sequence[Record]) -> list[bytes]:
        if raising.pop():
            raise RegistryUnavailable("the registry does not answer")
        raising.append(False)
        return [*known, *(record.value or b"" for record in records)]

    broadcast = Broadcast(MemoryLog(broker, "a", ["fx-rates"]), ["fx-rates"], list[bytes](), adopt)
    with pytest.raises(RegistryUnavailable):
        broadcast.until_ms(1_000)
    raising.append(False)
    assert broadcast.until_ms(1_000) == 1_000 + NOTICE_MS
    assert broadcast.versions == [b"first"]
