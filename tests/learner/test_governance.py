"""Versions are adopted when they have earned it, kept from a drift, rolled back when they got worse, and by persons."""

from __future__ import annotations

import json

import numpy as np
import pytest

from schemas.batch import DAY_MS
from streams.learning.decisions import Order
from streams.learning.monitoring import RunningError
from streams.learning.value_learner import ValueLearner
from streams.learning.value_regression import ValueRegression, design_of
from streams.scoring.value import unpack_features
from streams.versions.known import packaged_weights
from tests.learner.synthetic import FIRST_DAY, Bank, calm, examples_of


def flipped(first: int, last: int):
    """Labels upside down on some days."""

    def truth(day, forecast):
        said = calm(day, forecast)
        return 8.0 - said if first <= day < last else said

    return truth


def shifted(first: int):
    """Everyone moves four times as much from a day on."""
    return lambda day, forecast: calm(day, forecast) + (1.4 if day >= first else 0.0)


def test_a_learner_finds_what_the_packaged_weights_do_not_know_and_is_adopted():
    bank = Bank(calm)
    bank.live(15)
    assert bank.happened("adopted")[0] == 2  # 120 examples: the floor is 100
    champion, first = bank.model.champion, bank.model.approved[0]
    assert champion.error.rmse < 0.6 < first.error.rmse


@pytest.mark.parametrize("ratio, comes_in", [(1.0005, True), (1.005, False)])
def test_a_learner_within_a_thousandth_of_the_champion_counts_as_no_worse_as_it_knows_more(ratio, comes_in):
    bank = Bank(calm)
    bank.live(10)
    model, before = bank.model, bank.model.champion
    boundary_ms = (FIRST_DAY + 10) * DAY_MS
    model.learn([one.example for one in examples_of(10, 40, calm)], boundary_ms)
    error = before.error
    for learner in model.learners:
        model.errors[learner] = RunningError(error.total * ratio**2, error.weight, error.examples)
    model.close(boundary_ms, "value-11")
    assert model.champion.version == ("value-11" if comes_in else before.version)


def test_too_few_examples_change_nothing():
    bank = Bank(calm, per_day=3)
    bank.live(30)
    assert bank.closed == []
    assert bank.model.champion.version == "weights-1"


def test_flipped_labels_are_noticed_and_what_was_learned_from_them_is_forgotten():
    bank = Bank(flipped(30, 34), quarantine_days=7)
    bank.live(30)
    before = bank.model.champion.error.rmse
    bank.live(30)
    assert bank.happened("drift")[0] == 30
    assert not [day for day in bank.happened("adopted") if 30 <= day < 37]
    assert bank.happened("forgot") or bank.happened("rolled_back")
    assert bank.model.champion.error.rmse < 1.1 * before


def test_a_version_that_got_worse_than_an_approved_one_is_rolled_back_by_itself():
    """Labels that are wrong for so long that they are believed, and then come right again."""
    bank = Bank(flipped(30, 50), quarantine_days=5)
    bank.live(52)
    assert [day for day in bank.happened("adopted") if 35 <= day < 50]  # the new truth was adopted after quarantine
    bank.live(25)
    assert bank.happened("rolled_back")
    words = next(line for line in bank.model.timeline if line.what == "rolled_back")
    assert words.who == "learner"
    assert "was off by" in words.why
    assert bank.model.champion.error.rmse < 0.6


def test_a_shift_that_stays_is_noticed_and_then_followed():
    bank = Bank(shifted(30), quarantine_days=5)
    bank.live(30)
    before = bank.model.champion.error.rmse
    bank.live(45)
    assert bank.happened("drift")[0] in (30, 31)
    assert [day for day in bank.happened("adopted") if day >= 35]
    assert bank.model.champion.error.rmse < 1.3 * before


def test_a_frozen_model_publishes_nothing_and_goes_on_learning():
    bank = Bank(calm)
    bank.live(10)
    published, examples = len(bank.closed), bank.model.learners["steady"].examples
    bank.live(10, Order("freeze", "", "ann", "audit"))
    assert len(bank.closed) == published
    assert bank.model.learners["steady"].examples == examples + 400
    bank.live(5, Order("thaw", "", "ann", "audit passed"))
    assert len(bank.closed) > published
    assert [line.who for line in bank.model.timeline if line.what in ("frozen", "thawed")] == ["ann", "ann"]


def test_a_person_promotes_and_rolls_back_with_name_and_reason():
    bank = Bank(calm)
    bank.live(10)
    bank.live(1, Order("promote", "steady", "ann", "card 7"))
    promoted = bank.model.champion
    assert np.array_equal(promoted.beta[1:3], np.round(bank.model.learners["steady"].beta, 9)[1:3])
    bank.live(1, Order("rollback", "weights-1", "bob", "complaints"))
    rolled = next(line for line in bank.model.timeline if line.what == "rolled_back")
    assert (rolled.who, rolled.why) == ("bob", "to weights-1: complaints")
    assert np.array_equal(bank.closed[-1].weights.beta, bank.model.approved[0].beta)


def test_a_decision_about_an_unknown_version_is_refused_and_told():
    bank = Bank(calm)
    bank.live(1, Order("promote", "value-1999", "ann", "?"))
    (line,) = [line for line in bank.model.timeline if line.what == "refused"]
    assert "weights-1" in line.why


def test_poisoned_examples_teach_nothing_and_are_counted():
    bank = Bank(calm)
    bank.live(5)
    before = bank.model.learners["steady"].beta.copy()
    good = examples_of(5, 10, calm)
    poison = [
        good[0].example._replace(label=float("nan")),
        good[1].example._replace(label=1e300),
        good[2].example._replace(label=-1.0),
        good[3].example._replace(features=(65_535,) * 19),
        good[4].example._replace(features=(0,) * 19),
    ]
    assert bank.model.learn(poison, 0) == 0
    assert bank.model.refused == 5
    assert np.array_equal(bank.model.learners["steady"].beta, before)


def test_no_label_moves_a_model_by_more_than_the_largest_step():
    bank = Bank(calm)
    bank.live(10)
    example = examples_of(10, 1, calm)[0].example
    design = design_of(unpack_features(np.array([example.features], np.uint16)), bank.model._first.knots)
    learner = bank.model.learners["steady"]
    before = design.predict(learner.beta)[0]
    largest = bank.model.policy.residual_max

    def moved(label: float) -> float:
        model = ValueLearner(bank.model._first, bank.model.policy).learners["steady"]
        model.restore(learner.body())
        model.learn(design, np.array([label]))
        return float(design.predict(model.beta)[0] - before)

    assert abs(moved(25.0) - moved(before + largest)) < 1e-9
    assert moved(25.0) > moved(before + 0.5 * largest) > 0
    assert moved(25.0) < 0.5 * largest


def test_the_noise_of_labels_is_learned_and_one_strange_month_is_not_believed():
    first = packaged_weights()
    close, far = (ValueRegression(first.beta, 1.0, 5.0) for _ in range(2))
    for model, noise in ((close, 0.1), (far, 2.0)):
        for day in range(40):
            told = [waiting.example for waiting in examples_of(day, 30, calm, noise=noise)]
            features = unpack_features(np.array([example.features for example in told], np.uint16))
            model.learn(design_of(features, first.knots), np.array([example.label for example in told]))
    assert close.noise < 0.3  # what is not learned yet counts as noise
    assert 1.5 < far.noise < 2.5
    design = design_of(features[:1], first.knots)
    before, largest = design.predict(close.beta)[0], 5 * close.noise
    close.learn(design, np.array([before + 4.0]))
    assert 0 < design.predict(close.beta)[0] - before < largest
    twin = ValueRegression(first.beta, 1.0, 5.0)
    twin.restore(far.body())
    assert twin.noise == far.noise


def test_what_a_learner_knows_survives_as_plain_json_to_the_byte():
    bank, twin = Bank(flipped(12, 15)), Bank(flipped(12, 15))
    bank.live(25)
    twin.live(13)
    again = Bank(flipped(12, 15))
    again.day = twin.day
    again.rounds.done_ms, again.rounds.open_until = twin.rounds.done_ms, dict(twin.rounds.open_until)
    again.model.restore(json.loads(json.dumps(twin.model.body())))
    for name, learner in twin.model.learners.items():
        again.model.learners[name].restore(json.loads(json.dumps(learner.body())))
    again.model.good = json.loads(json.dumps(twin.model.good))
    again.model.sample.restore(twin.model.sample.members.items())
    again.live(12)
    assert json.dumps(again.model.body()) == json.dumps(bank.model.body())
    assert again.closed[-1].weights.beta.tobytes() == bank.closed[-1].weights.beta.tobytes()


def test_the_sample_forgets_who_is_silent_and_who_was_erased():
    bank = Bank(calm, sample_max=500)
    bank.live(20)
    assert len(bank.model.sample) == 500
    hashed = min(bank.model.sample.members)
    bank.model.learn([examples_of(20, 1, calm)[0].example._replace(user_hash=hashed, erased=True)], 0)
    assert hashed not in bank.model.sample.members
    bank.truth = calm
    bank.per_day = 1
    bank.live(40)
    assert len(bank.model.sample) <= 33
