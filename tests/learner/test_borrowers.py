"""Borrowers tell the learner their status, revenue and due days, and the cuts of class and RFM follow them."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.batch import DAY_MS
from streams.learner.reading import example_of
from streams.learning.population_sample import Member
from streams.learning.rounds import Waiting
from streams.learning.value_learner import ValueExample
from streams.processing.borrower_examples import is_sampled
from streams.processing.processor import user_hash
from streams.scoring.population import QUINTILES, TERCILES, cuts
from streams.versions.known import packaged_weights
from tests.learner.credit_story import lending
from tests.learner.synthetic import FIRST_DAY, Bank, calm
from tests.learner.world import VALUES, LearningWorld


@pytest.fixture(scope="module")
def world() -> LearningWorld:
    made = LearningWorld()
    made.publish([event for event in lending() if event[0] == "loans"], advance_days=2)
    made.run(made.worker(records_max=30), made.learner())
    return made


def reports(world: LearningWorld) -> list[dict]:
    found = [VALUES.decode("rescore-examples", r.value or b"") for r in world.broker.visible("rescore-examples")]
    return [said for said in found if said["kind"] == "report"]


def test_those_in_the_sample_report_what_is_said_of_them_and_nobody_else(world):
    found = reports(world)
    people = {event[1] for event in lending() if event[0] == "loans"}
    sampled = {who for who in people if is_sampled(who)}
    assert sampled
    assert {said["user_hash"] for said in found} == {user_hash(who, b"key") for who in sampled}
    for who in sampled:
        mine = [said for said in found if said["user_hash"] == user_hash(who, b"key")]
        for score in ("status", "revenue"):
            changes = [VALUES.decode("score-changes", value) for value in world.outputs()["score-changes"][who]]
            told = [(c["decided_ms"], c["new"]) for c in changes if c["score"] == score and c["new"] is not None]
            assert [(r["timestamp_ms"], r["member"][score]) for r in mine if r["member"][score] is not None] == told


def test_a_due_day_is_told_as_days_from_the_day_of_the_report(world):
    due = [said for said in reports(world) if said["member"]["recency"] is not None]
    assert due
    assert {said["member"]["recency"] for said in due} == {10.0}
    example = example_of(due[0])
    assert isinstance(example, ValueExample)
    assert example.member is not None
    assert example.member.recency == due[0]["timestamp_ms"] // DAY_MS + 10


def test_the_cuts_are_those_of_the_borrowers_on_the_day():
    rng = np.random.default_rng(1)
    status, revenue = rng.uniform(1, 4, 300), rng.uniform(0, 2, 300)
    due = FIRST_DAY + rng.integers(-100, 50, 300)
    at_ms = FIRST_DAY * DAY_MS
    columns = zip(status.tolist(), revenue.tolist(), due.astype(float).tolist(), strict=True)
    members = [Member(at_ms, None, 0.5, *one) for one in columns]
    told = [
        Waiting(at_ms, ValueExample(at_ms, i.to_bytes(16, "big"), None, None, None, member), 0, i)
        for i, member in enumerate(members)
    ]
    bank = Bank(calm)
    for day in range(3):
        done = bank.rounds.advance(at_ms + day * DAY_MS, told if day == 0 else [], [], bank.epochs)
        assert done is not None
        bank.closed += done.closed
    weights = bank.closed[-1].weights
    assert np.array_equal(weights.status_terciles, cuts(np.sort(status), TERCILES))
    assert np.array_equal(weights.revenue_quintiles, cuts(np.sort(revenue), QUINTILES))
    assert np.array_equal(weights.recency_quintiles, cuts(np.sort(due - FIRST_DAY).astype(float), QUINTILES))
    assert np.array_equal(weights.beta, packaged_weights().beta)  # nothing was learned of value


def test_a_later_report_keeps_what_it_does_not_say_and_the_latest_due_day():
    first = Member(1, None, 0.5, 2.0, 1.0, 100.0)
    again = first.updated(Member(9, None, 0.5, 3.0, None, 90.0))
    assert again == Member(9, None, 0.5, 3.0, 1.0, 100.0)


def test_a_report_that_is_not_finite_is_refused():
    bank = Bank(calm)
    bad = Member(0, None, 0.5, float("nan"), None, None)
    bank.model.learn([ValueExample(0, b"u" * 16, None, None, None, bad)], 0)
    assert (bank.model.refused, len(bank.model.borrowers)) == (1, 0)
