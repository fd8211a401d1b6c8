"""The learner's last guard: what raises is left out, told and counted; the rest is learned as if it had never been."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from schemas.batch import Record
from schemas.codec import RegistryUnavailable
from streams.learner import reading as learner_reading
from streams.learner.loop import FAILURES_MAX, Learner, LearnerObserver, LearnerOptions
from streams.learner.metrics import LearnerMetrics, LearnerObservers
from streams.learner.wire import learner_wire
from streams.learning.text_learner import TextExample, TextLearner
from streams.learning.value_learner import ValueExample, ValueLearner
from streams.log.failures import Failure
from streams.log.learner import LEARNER_STEPS, MemoryLearnerLog
from streams.log.protocol import HaltPartition
from tests.learner.test_epochs_in_memory import Crash, crash_at
from tests.learner.world import BROADCAST, VALUES, LearningWorld, Reports, history

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
    real = learner_reading.example_of

    def example_of(said: Any) -> Any:
        example = real(said)
        if is_bad(example):
            raise ValueError("left out")
        return example

    patch.setattr(learner_reading, "example_of", example_of)


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


def test_what_is_no_example_is_told_with_its_place_and_counted() -> None:
    class Unread(LearnerObserver):
        counts: tuple[int, str] = (0, "")

        def unreadable(self, count: int, first: str) -> None:
            self.counts = count, first

    registry, told = CollectorRegistry(), Unread()
    world = LearningWorld()
    world.broker.write("rescore-examples", b"x", b"rubbish", 5, 1)
    world.broker.write("rescore-examples", b"x", None, 5, 2)
    learner = world.learner(observer=LearnerObservers(told, LearnerMetrics(registry)))
    world.run(learner, until=lambda: told.counts[0] == 2)
    assert told.counts[1].startswith(("1/0: ", "2/0: "))
    assert registry.get_sample_value("rescore_learner_unreadable_examples") == 2


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


# Topics that were deleted and created again.


@pytest.fixture(scope="module")
def learned() -> LearningWorld:
    """A world that has learned the first part of the story."""
    world = LearningWorld()
    world.publish(STORY[: len(STORY) * 3 // 4])
    world.run(world.worker(), world.learner())
    return world


def copied(world: LearningWorld) -> LearningWorld:
    """The same world once more, for somebody else to change."""
    twin = LearningWorld()
    twin.broker, twin.store, twin.clock = copy.deepcopy((world.broker, world.store, world.clock))
    return twin


def halt_of(world: LearningWorld, learner: Learner, seconds: float) -> str:
    for _ in range(round(seconds * 100)):
        world.clock.ms += 10
        try:
            learner.turn()
        except HaltPartition as halt:
            return str(halt)
    raise AssertionError(f"the learner has not halted within {seconds} s")


@pytest.mark.parametrize("topic", ["rescore-examples", "rescore-learner", "rescore-weights"])
def test_a_topic_that_was_created_again_halts_a_learner_that_is_up(learned: LearningWorld, topic: str) -> None:
    world = copied(learned)
    learner = world.learner()
    world.run(learner)
    world.broker.create_again(topic)
    words = halt_of(world, learner, 8)
    assert words.startswith(f"the learner: {topic} is another topic now: its topic id is {topic}-2")
    assert f"had {topic}-1" in words
    assert ("delete rescore-learner" in words) == (topic == "rescore-learner")


@pytest.mark.parametrize("again", ["shorter", "as long", "longer"])
def test_examples_that_were_created_again_halt_a_learner_that_comes_back(learned: LearningWorld, again: str) -> None:
    world = copied(learned)
    examples = world.broker.visible("rescore-examples", 0)
    count = {"shorter": len(examples) // 2, "as long": len(examples), "longer": 2 * len(examples)}[again]
    world.broker.create_again("rescore-examples")
    for record in [*examples, *examples][:count]:
        world.broker.write("rescore-examples", record.key, record.value, record.timestamp_ms, 0)
    assert "rescore-examples is another topic now" in halt_of(world, world.learner(), 1)
    log = MemoryLearnerLog(world.broker)
    options = LearnerOptions(
        clocks_wait=lambda: True, broadcast=BROADCAST, from_beginning=frozenset(["rescore-examples-2"])
    )
    told = Told()
    wire = learner_wire(VALUES)
    learner = Learner(log, wire, world.broadcast(log, False), world.clock, options, told)
    for _ in range(200):
        world.clock.ms += 10
        learner.turn()
    assert all(
        partition.next_offset == len(world.broker.entries[partition.where]) for partition in learner._reading.values()
    )


def test_a_learner_of_the_program_before_has_no_ids_and_a_server_without_ids_halts_nothing(
    learned: LearningWorld,
) -> None:
    world = copied(learned)
    world.broker.has_topic_ids = False
    world.run(world.learner(), until=lambda: world.learned_until() is not None)
    world.broker.has_topic_ids = True
    learner = world.learner()
    for _ in range(900):
        world.clock.ms += 10
        learner.turn()
