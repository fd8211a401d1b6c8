"""The model that reads descriptions: guesses before it learns, keeps nobody's words, decides, and survives as JSON."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from schemas.categories import CATEGORY_NAMES, Category, words_of_text
from state.category_text import body_of_counts, counts_of, packaged_counts, text_weights
from streams.learner.report import Remembered, as_tables, details, summary, timeline_lines
from streams.learning import text_learner
from streams.learning.decisions import Order
from streams.learning.epochs import LearningPolicy
from streams.learning.text_learner import CUSTOMERS_MIN, LEARNER, TextExample, TextLearner, text_of
from streams.learning.value_learner import ValueLearner
from streams.versions.known import packaged_weights

DAY_MS = 86_400_000
POLICY = LearningPolicy(examples_min=40, text_days=10)
SHOPS = (("blorbo tiere", Category.PETS), ("quix brot", Category.GROCERIES), ("zorp kino", Category.CULTURE))


def purchases(count: int, first: int = 0, wrong: bool = False, customers: int = 30) -> list[TextExample]:
    found = []
    for i in range(first, first + count):
        text, category = SHOPS[i % 3]
        if wrong:
            category = SHOPS[(i + 1) % 3][1]
        found.append(TextExample(i, b"user%02d" % (i % customers), tuple(words_of_text(text)), category))
    return found


def taught(*parts: list[TextExample], policy: LearningPolicy = POLICY) -> TextLearner:
    learner = TextLearner(policy)
    for part in parts:
        learner.learn(part, {})
    return learner


def again(learner: TextLearner) -> TextLearner:
    """What its records say, through JSON."""
    made = TextLearner(learner.policy)
    words = [(word, json.loads(json.dumps(learner.word_body(word)))) for word in learner.model.words]
    waiting = [(word, json.loads(json.dumps(learner.waiting_body(word)))) for word in learner.waiting]
    versions = {one.version: json.dumps(body_of_counts(one.counts)) for one in learner.approved}
    body = json.loads(json.dumps(learner.body()))
    made.restore(body, words, waiting, lambda version: counts_of(json.loads(versions[version])))
    return made


def test_each_purchase_is_guessed_before_it_is_learned_from():
    learner = TextLearner(POLICY)
    learner.learn(purchases(1), {})
    assert (learner.lately.examples, learner.lately.guessed) == (1, 0.0)
    learner.learn(purchases(300, 1), {})
    assert learner.lately.worth > 0.8
    assert learner.champion.lately.worth < 0.5


def test_a_word_counts_once_enough_customers_have_used_it_and_then_with_all_that_was_said():
    (word, _), learner = words_of_text("zyxxel zyxxel"), TextLearner(POLICY)
    for user in range(CUSTOMERS_MIN):
        assert word not in learner.model.words
        for _ in range(3):
            learner.learn([TextExample(user, b"user%d" % user, (word,), Category.PETS)], {})
    assert word not in learner.waiting
    assert learner.model.cells(word) == [(int(Category.PETS), 3.0 * CUSTOMERS_MIN)]


def test_who_is_erased_takes_along_what_waits_and_is_not_learned_from():
    words = words_of_text("marta kowalska")
    learner = taught([TextExample(5, user, tuple(words), Category.SERVICES) for user in (b"marta", b"other")])
    assert set(learner.waiting[words[0]].told) == {b"marta", b"other"}
    learner.learn([TextExample(8, b"marta", tuple(words), Category.SERVICES)], {b"marta": 9})
    assert set(learner.waiting[words[0]].told) == {b"other"}
    learner.learn([], {b"other": 9})
    assert learner.waiting == {}
    assert learner.waiting_body(words[0]) is None
    assert set(words) <= learner.changed_waiting


def test_the_order_of_purchases_makes_no_difference_to_what_is_learned():
    one, other = purchases(200), purchases(200)
    random.Random(4).shuffle(other)
    assert taught(one).model.counts() == taught(other).model.counts()


def test_what_is_learned_and_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_learner, "WORDS_KNOWN_MAX", 20)
    monkeypatch.setattr(text_learner, "WORDS_WAITING_MAX", 50)
    learner = taught(purchases(60))
    for word in range(1_000, 1_100):
        learner.learn([TextExample(word, b"user%d" % user, (word,), Category.PETS) for user in range(6)], {})
    for word in range(2_000, 2_200):
        learner.learn([TextExample(word, b"user", (word,), Category.PETS)], {})
    assert len(learner.model.words) - len({word for word, _ in packaged_counts()}) <= 20
    assert len(learner.waiting) <= 50
    assert 2_199 in learner.waiting
    assert {word for word, _ in packaged_counts()} <= set(learner.model.words)
    assert set(words_of_text("blorbo tiere")) <= set(learner.model.words)  # used more often than the rubbish


def test_a_better_learner_comes_into_force_after_a_floor_of_purchases_and_not_every_day():
    learner = taught(purchases(30))
    assert learner.close(100 * DAY_MS, "a") is None
    learner.learn(purchases(200, 30), {})
    made = learner.close(101 * DAY_MS, "b")
    assert made is not None
    assert (made.name, made.version) == ("categories", "b")
    (line,) = learner.timeline
    assert (line.what, line.version, line.who) == ("adopted", "b", "learner")
    assert counts_of(made.body) == learner.model.counts()
    learner.learn(purchases(10, 300), {})
    assert learner.close(105 * DAY_MS, "c") is None


def test_flipped_codes_are_not_adopted_and_a_version_that_learned_them_is_gone_back_from():
    learner = taught(purchases(200))
    good = learner.close(DAY_MS, "good")
    assert good is not None
    learner.learn(purchases(100, 200, wrong=True), {})
    learner.obey(Order("promote", LEARNER, "bob", "it looked better"), 12 * DAY_MS)
    assert learner.close(12 * DAY_MS, "bad") is not None
    for epoch in range(4):
        learner.learn(purchases(100, 300 + 100 * epoch, wrong=True), {})
    learner.obey(Order("promote", LEARNER, "bob", "once more"), 13 * DAY_MS)
    assert learner.close(13 * DAY_MS, "worse") is not None
    for epoch in range(8):
        learner.learn(purchases(200, 700 + 200 * epoch), {})
    back = learner.close(14 * DAY_MS, "back")
    assert back is not None
    assert back.body == good.body
    assert learner.timeline[-1].what == "rolled_back"
    assert learner.model.counts() == learner.champion.counts


def test_frozen_nothing_is_published_and_learning_goes_on():
    learner = taught(purchases(100))
    learner.obey(Order("freeze", "", "ann", "audit"), 1)
    assert learner.close(DAY_MS, "a") is None
    learner.learn(purchases(50, 100), {})
    learner.obey(Order("thaw", "", "ann", "passed"), 2)
    assert learner.close(2 * DAY_MS, "b") is not None
    assert [line.what for line in learner.timeline] == ["frozen", "thawed", "adopted"]


@pytest.mark.parametrize(
    "order, words",
    [
        (Order("promote", LEARNER, "ann", "?"), "40 are needed"),
        (Order("promote", "categories-9", "ann", "?"), "there is no such version"),
        (Order("rollback", "", "ann", "?"), "no approved version to go back to"),
        (Order("envelope", "", "ann", "?"), "is for credit and insurance models"),
    ],
)
def test_what_can_not_be_done_is_refused_with_a_reason(order, words):
    learner = taught(purchases(3))
    learner.obey(order, 1)
    assert learner.close(DAY_MS, "x") is None
    (line,) = learner.timeline
    assert line.what == "refused"
    assert words in line.why


def test_a_version_that_somebody_published_is_followed_once_and_can_be_gone_back_to():
    learner = taught(purchases(100))
    theirs = text_weights("categories-2", 5, {**packaged_counts(), (77, int(Category.PETS)): 3.0})
    later = text_weights("categories-3", 50, packaged_counts())
    for _ in range(2):
        learner.follow([theirs, later], 10)
    assert [one.version for one in learner.approved] == ["categories-1", "categories-2"]
    learner.obey(Order("rollback", "", "ann", "complaints"), 11)
    made = learner.close(12, "back")
    assert made is not None
    assert counts_of(made.body) == packaged_counts()


def test_what_it_knows_survives_as_json_at_any_moment():
    calm = restarted = taught(purchases(7))
    restarted = again(calm)
    for epoch in range(6):
        part = [*purchases(40, 40 * epoch), *purchases(7, 40 * epoch, customers=3)]
        for learner in (calm, restarted):
            learner.learn(part, {b"user01": 30} if epoch == 3 else {})
        names = [one.close((5 * epoch + 1) * DAY_MS, f"v{epoch}") for one in (calm, restarted)]
        assert names[0] == names[1]
        restarted = again(restarted)
        assert restarted.body() == calm.body()
        assert restarted.model.counts() == calm.model.counts()
        assert restarted.waiting == calm.waiting
    assert [line.what for line in calm.timeline].count("adopted") >= 1


def test_it_is_shown_beside_the_other_models():
    learner = taught(purchases(300))
    learner.close(DAY_MS, "categories-2025")
    value = ValueLearner(packaged_weights(), POLICY).body()
    remembered = Remembered(5, {"value": value, "categories": json.loads(json.dumps(learner.body()))})
    said = summary(remembered)["models"]["categories"]
    assert said["champion"] == "categories-2025"
    online = next(row for row in said["versions"] if row["version"] == LEARNER)
    assert online["worth"] > 0.8
    assert online["examples"] == 300
    assert remembered.versions("categories") == [LEARNER, "categories-1", "categories-2025"]
    assert len(list(as_tables(summary(remembered)))) == 2
    shown = details(remembered, "categories-2025", "categories")
    assert any("adopted" in line for line in timeline_lines(shown["timeline"]))
    json.dumps([said, shown], allow_nan=False)


def test_a_policy_says_how_long_to_wait():
    learner = taught(purchases(100), policy=replace(POLICY, examples_min=101))
    assert learner.close(DAY_MS, "a") is None


SAID = {"timestamp_ms": 5, "user_hash": b"u", "words": [7, 9], "category": "pets"}


def test_an_example_is_read_from_its_record():
    assert text_of(SAID) == TextExample(5, b"u", (7, 9), Category.PETS)


@pytest.mark.parametrize(
    "change",
    [{"timestamp_ms": None}, {"user_hash": None}, {"words": None}, {"words": [0]}, {"words": [2**32]},
     {"words": list(range(1, 9))}, {"category": "nonsense"}, {"category": CATEGORY_NAMES[0]}, {"category": None}],
)  # fmt: skip
def test_a_record_that_is_no_example_is_refused(change):
    with pytest.raises(ValueError, match=r"text|words"):
        text_of(SAID | change)
