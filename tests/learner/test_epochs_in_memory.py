"""Workers and a learner on twins: the same log gives the same weights to the byte, whatever happens on the way."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.batch import DAY_MS
from schemas.codec import decode_value
from streams.learner.loop import Learner, waiting_words
from streams.log.learner import LEARNER_STEPS
from streams.log.memory import CommitFault
from streams.log.protocol import STEPS
from streams.worker.loop import Worker
from streams.worker.observer import Observer
from tests.learner.world import POLICY, REGISTRY, LearningWorld, Reports, history, place

STORY = history(30, 75)


class Crash(BaseException):
    """kill -9."""


def crash_at(step: str, hit: int) -> Callable[[str], None]:
    """A failpoint that crashes when a step is reached for the hit-th time, and never again."""
    left = [hit]

    def reach(reached: str) -> None:
        if reached == step:
            left[0] -= 1
            if left[0] == 0:
                raise Crash(step)

    return reach


class Holds(Observer):
    """Keeps why time stood still."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def held(self, reason: str) -> None:
        self.reasons.append(reason)


def said(world: LearningWorld) -> tuple[object, ...]:
    """All that must not depend on what happened on the way."""
    return world.weights(), world.models(), world.outputs(), world.learned_until()


@pytest.fixture(scope="module")
def calm() -> LearningWorld:
    """One worker and one learner that nothing happens to."""
    world = LearningWorld()
    world.publish(STORY)
    world.run(world.worker(), world.learner())
    return world


def run_with_crashes(
    world: LearningWorld,
    make_worker: Callable[[], Worker],
    make_learner: Callable[[], Learner],
    turns_max: int = 20_000,
) -> int:
    """Take turns; who crashes is started again in the same place. Returns how many crashes there were."""
    makers: list[Callable[[], Worker | Learner]] = [make_worker, make_learner]
    parts, crashes = [make() for make in makers], 0
    for turn in range(turns_max):
        world.clock.ms += 10
        for i, part in enumerate(parts):
            try:
                part.turn()
            except Crash:
                crashes += 1
                parts[i] = makers[i]()
        if turn % 8 == 0 and world.at_rest():
            return crashes
    raise AssertionError(f"not at rest: {world.clocks()}, learned until {world.learned_until()}")


def test_versions_appear_one_a_day_each_in_force_at_the_next_turn_of_the_day(calm):
    of_value = [one for one in calm.weights() if one[1].startswith(b"value")]
    weights = [decode_value("Weights", value, REGISTRY) for _, _, value in of_value]
    assert len(weights) > 5
    for (stamp_ms, key, _), version in zip(of_value, weights, strict=True):
        assert version["version"].encode() == key
        assert version["effective_ms"] == stamp_ms + DAY_MS
        assert version["cause"]
        assert len(version["forecasts"]) >= 1_000
    assert len({key for _, key, _ in of_value}) == len(weights)


def test_every_example_is_learned_once(calm):
    model = json.loads(calm.models()[b"model/value/steady"])
    labelled = [
        example
        for record in calm.broker.visible("rescore-examples")
        if (example := decode_value("Example", record.value or b"", REGISTRY))["kind"] == "example"
        and example["timestamp_ms"] <= (calm.learned_until() or 0)
    ]
    assert model["examples"] == len(labelled) > 30


def test_calm_customers_are_no_drift(calm):
    """Some of them surprise by ten times as much as the rest: that is how amounts are."""
    for name in (b"model/value", b"model/categories"):
        assert "drift" not in [line[1] for line in json.loads(calm.models()[name])["timeline"]]


def texts_told(world: LearningWorld) -> list[dict]:
    told = [decode_value("Example", r.value or b"", REGISTRY) for r in world.broker.visible("rescore-examples")]
    return [dict(example) for example in told if example["kind"] == "text"]


def test_one_transaction_in_four_teaches_from_its_description_and_each_once(calm):
    bought = [e for e in STORY if e[0] == "transactions"]
    told = texts_told(calm)
    assert len(bought) / 6 < len(told) < len(bought) / 3
    model = json.loads(calm.models()[b"model/categories"])
    due = [one for one in told if one["timestamp_ms"] <= (calm.learned_until() or 0)]
    assert model["lately"]["online"][0] == len(due) > 100
    assert {len(one["user_hash"]) for one in told} == {16}
    assert b"description" not in b"".join(r.value or b"" for r in calm.broker.visible("rescore-examples"))


def test_what_was_learned_from_descriptions_comes_into_force_like_any_other_version(calm):
    versions = [(stamp_ms, key, value) for stamp_ms, key, value in calm.weights() if key.startswith(b"categories")]
    assert versions
    (stamp_ms, _, value), *_ = versions
    said = decode_value("Weights", value, REGISTRY)
    assert (said["model"], said["effective_ms"], said["rescore"]) == ("categories", stamp_ms + DAY_MS, None)
    assert said["cause"].startswith("adopted: online: on the same purchases guesses")
    known = calm.broadcast(calm.learner()._log, False)
    while not known.read_on():
        pass
    texts = known.versions.versions.texts
    assert known.versions.refused == ()
    assert [text.version for text in texts] == ["categories-1", *(key.decode() for _, key, _ in versions)]
    online = json.loads(calm.models()[b"model/categories"])["lately"]["online"]
    assert online[3] / online[2] > 0.9  # of what it guessed, lately


def test_without_a_share_no_description_teaches():
    world = LearningWorld(learning=replace(POLICY, texts_one_in=0))
    world.publish(STORY[:200])
    world.run(world.worker(), world.learner())
    assert texts_told(world) == []
    assert b"model/categories" not in world.models()


def test_changes_name_the_learned_versions_that_made_them(calm):
    names = {
        decode_value("ScoreChange", value, REGISTRY)["weights_version"]
        for values in calm.outputs()["score-changes"].values()
        for value in values
    }
    assert {key.decode() for _, key, _ in calm.weights()} & names


def test_no_version_is_late(calm):
    """Nothing was scored at or after a version's time with an earlier one."""
    effective = {
        version["version"]: version["effective_ms"]
        for _, key, value in calm.weights()
        if key.startswith(b"value")
        for version in [decode_value("Weights", value, REGISTRY)]
    }
    for values in calm.outputs()["score-changes"].values():
        for value in values:
            change = decode_value("ScoreChange", value, REGISTRY)
            if change["score"] == "profiles":
                continue  # they name versions of their own
            in_force = [name for name, at_ms in effective.items() if at_ms <= change["decided_ms"]]
            latest = max(in_force, key=lambda name: effective[name], default="weights-1")
            assert change["weights_version"] == latest


@pytest.mark.parametrize("workers, records_max", [(1, 7), (2, 500), (3, 40)])
def test_the_number_of_workers_and_the_cuts_of_batches_alter_no_byte(calm, workers, records_max):
    world = LearningWorld()
    world.publish(STORY)
    world.run(*(world.worker(slot, records_max=records_max) for slot in "abc"[:workers]), world.learner())
    assert said(world) == said(calm)


@pytest.mark.parametrize("step, hit", [*((step, 5) for step in LEARNER_STEPS), ("L5.all_written", 1)])
def test_a_learner_that_crashes_at_any_step_says_the_same(calm, step, hit):
    world = LearningWorld()
    world.publish(STORY)
    failpoint = crash_at(step, hit)
    assert run_with_crashes(world, world.worker, lambda: world.learner(failpoint)) == 1
    assert said(world) == said(calm)


@pytest.mark.parametrize("step", [STEPS[1], *STEPS[4:9], STEPS[10], STEPS[11]])
def test_a_worker_that_crashes_at_any_step_says_the_same(calm, step):
    world = LearningWorld()
    world.publish(STORY)
    failpoint = crash_at(step, 40)
    assert run_with_crashes(world, lambda: world.worker("a", failpoint), world.learner) == 1
    assert said(world) == said(calm)


@pytest.mark.parametrize("seed", [1, 2])
def test_crashes_of_both_at_random_say_the_same(calm, seed):
    random_steps, world = random.Random(seed), LearningWorld()
    world.publish(STORY)

    def reach(_step: str) -> None:
        if random_steps.random() < 0.02:
            raise Crash

    crashes = run_with_crashes(world, lambda: world.worker("a", reach), lambda: world.learner(reach))
    assert crashes > 10
    assert said(world) == said(calm)


@pytest.mark.parametrize("fault", list(CommitFault))
def test_whatever_a_commit_answers_the_learner_says_the_same(calm, fault):
    world, reports = LearningWorld(), Reports()
    world.publish(STORY)
    worker, learner = world.worker(), world.learner(observer=reports)
    world.run(worker, learner, until=lambda: bool(world.weights()))
    world.broker.commit_faults[:] = [fault] * 3
    world.run(worker, learner)
    assert said(world) == said(calm)


def test_two_learners_of_one_name_harm_nothing(calm):
    world = LearningWorld()
    world.publish(STORY)
    world.run(world.worker(), world.learner(), world.learner())
    assert said(world) == said(calm)


def test_clocks_wait_for_the_learner_and_say_so():
    world, told = LearningWorld(), Holds()
    world.publish(STORY)
    worker = world.worker(observer=told)
    for _ in range(400):
        world.clock.ms += 10
        worker.turn()
    assert world.outputs() == {}
    (reason,) = told.reasons
    assert "rescore learner" in reason
    world.run(worker, world.learner())
    assert world.weights()


def test_the_learner_names_the_partitions_it_waits_for():
    world, reports = LearningWorld(), Reports()
    silent_from_ms = STORY[0][3] + 50 * DAY_MS
    of = lambda event: place(event[1], 3)  # noqa: E731
    world.publish([e for e in STORY if of(e) != 1 or e[3] < silent_from_ms], advance_days=0)
    worker, learner = world.worker(), world.learner(observer=reports)
    world.run(worker, learner, until=lambda: bool(reports.waited))
    boundary_ms, missing, _ = reports.waited[-1]
    assert missing == (1,)
    assert boundary_ms is not None
    assert abs(boundary_ms - silent_from_ms) <= DAY_MS
    assert waiting_words(*reports.waited[-1]).endswith("not passed yet by partition 1")
    world.advance(STORY[-1][3] + DAY_MS)
    world.run(worker, learner)


def test_what_waits_is_bounded_by_an_epoch_however_far_a_partition_lags():
    world = LearningWorld()
    story = [event for event in STORY if world.broker.partitioner(event[1], 3) != 0]
    world.publish(story, advance_days=0)
    learner = world.learner()
    for _ in range(400):
        world.clock.ms += 10
        learner.turn()
    assert all(len(one.waiting) == 0 for one in learner._reading.values())


def test_without_a_learning_policy_nothing_is_marked_and_nothing_waits():
    world, reports = LearningWorld(learning=replace(POLICY, epoch_ms=0)), Reports()
    world.publish(STORY)
    learner = world.learner(observer=reports)

    def taken() -> bool:
        places = [where for where in world.broker.entries if where.topic in ("transactions", "commands")]
        return all((world.broker.committed.get(where) or 0) >= len(world.broker.entries[where]) for where in places)

    world.run(world.worker(), learner, until=taken)
    assert not [r for r in world.broker.visible("rescore-examples") if r.key == b"epoch"]
    assert world.weights() == []


def test_live_clocks_never_wait_and_versions_come_all_the_same():
    world = LearningWorld(records_clock=False)
    world.broker.now_ms = world.clock.ms = STORY[0][3]
    worker, learner = world.worker(), world.learner()
    for topic, key, value, at_ms in STORY:
        while world.clock.ms < at_ms:
            world.clock.ms = world.broker.now_ms = min(at_ms, world.clock.ms + 6 * 3_600_000)
            worker.turn()
            learner.turn()
        world.broker.write(topic, key, value)
    for _ in range(50):
        worker.turn()
        learner.turn()
    weights = [decode_value("Weights", value, REGISTRY) for _, _, value in world.weights()]
    assert len(weights) > 5
    assert all(b"epoch" not in (r.key or b"") for r in world.broker.visible("rescore-weights"))


def test_a_history_goes_live_while_a_worker_and_a_learner_run():
    world = LearningWorld()
    past, live = STORY[: len(STORY) * 2 // 3], STORY[len(STORY) * 2 // 3 :]
    world.publish(past, advance_days=0)
    world.advance(live[0][3])
    worker, learner = world.worker(), world.learner()
    world.run(worker, learner)
    learned, told = len(world.weights()), _epochs_told(world)
    world.broker.now_ms = world.clock.ms = live[0][3]
    world.records_clock = False
    for topic, key, value, at_ms in live:
        while world.clock.ms < at_ms:
            world.clock.ms = world.broker.now_ms = min(at_ms, world.clock.ms + 6 * 3_600_000)
            worker.turn()
            learner.turn()
        world.broker.write(topic, key, value)
    for _ in range(50):
        worker.turn()
        learner.turn()
    stamps = [stamp_ms for stamp_ms, _, _ in world.weights()]
    assert len(stamps) > learned > 1
    assert all(stamp_ms % DAY_MS == 0 for stamp_ms in stamps[:learned])  # the boundary of its epoch
    assert min(stamps[learned:]) > live[0][3]  # the broker's
    assert _epochs_told(world) == told  # nobody waits to hear of it any more


def _epochs_told(world: LearningWorld) -> int:
    return len([record for record in world.broker.visible("rescore-weights") if record.key == b"epoch"])
