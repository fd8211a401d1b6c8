"""Descriptions that teach: which transactions do, what is kept of whom, and what an erasure takes along."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from schemas.batch import DAY_MS
from schemas.categories import Category, words_of_text
from schemas.time_text import text_of_ms
from tests.learner.credit_story import FIRST_MS, Teller
from tests.learner.world import POLICY, VALUES, LearningWorld

EVERY = replace(POLICY, texts_one_in=1)


def buy(teller: Teller, who: str, minute: int, **more: Any) -> None:
    at_ms = FIRST_MS + minute * 60_000
    said = {"transaction_currency": "EUR", "transaction_amount": -5.0, "transaction_date": text_of_ms(at_ms)}
    teller.tell("transactions", who, at_ms, user_id=who, user_balance=100.0, **said, **more)


def told(world: LearningWorld) -> list[dict[str, Any]]:
    found = [VALUES.decode("rescore-examples", r.value or b"") for r in world.broker.visible("rescore-examples")]
    return [example for example in found if example["kind"] == "text"]


def lived(teller: Teller, learning: Any = EVERY) -> LearningWorld:
    world = LearningWorld(learning=learning)
    world.publish(teller.events, advance_days=3)
    world.run(world.worker(), world.learner())
    return world


def test_only_what_has_a_code_and_words_teaches_and_a_correction_does_not():
    teller = Teller()
    buy(teller, "ann", 1, mcc="5995", description="BLORBO 0815 Tiere GmbH")
    buy(teller, "ann", 2, mcc="5995")
    buy(teller, "ann", 3, description="BLORBO")
    buy(teller, "ann", 4, mcc="5995", description="12 34")
    buy(teller, "ann", 5, mcc="0000", description="BLORBO")
    buy(teller, "ann", 6, mcc="5411", description="BLORBO", revision=1)
    buy(teller, "ann", 7, mcc="5995", description="BLORBO", transaction_state="NONSENSE")
    (example,) = told(lived(teller))
    assert example["category"] == "pets"
    assert example["words"] == words_of_text("blorbo tiere gmbh")
    assert example["model"] == "categories"


def test_which_transactions_teach_is_told_by_their_ids_alone():
    teller = Teller()
    for minute in range(400):
        buy(teller, f"p{minute % 7}", minute, mcc="5995", description="BLORBO")
    some, others = lived(teller, replace(POLICY, texts_one_in=8)), lived(teller, replace(POLICY, texts_one_in=4))
    taught, twice = ({one["timestamp_ms"] for one in told(world)} for world in (some, others))
    assert 20 < len(taught) < 90
    assert taught < twice


def test_an_erased_customer_takes_along_the_words_that_nobody_else_has_used():
    teller = Teller()
    buy(teller, "ann", 1, mcc="8999", description="MARTA KOWALSKA")
    buy(teller, "bob", 2, mcc="8999", description="KOWALSKA")
    first = lived(teller)
    waiting = {key: json.loads(body) for key, body in first.models().items() if key.startswith(b"text/waiting/")}
    assert len(waiting) == 2
    at_ms = FIRST_MS + 2 * DAY_MS
    teller.tell("commands", "ann", at_ms, user_id="ann", command="erase", author="officer", reason="asked")
    kept = {key: json.loads(body) for key, body in lived(teller).models().items() if key.startswith(b"text/waiting/")}
    ((_, (_, users)),) = kept.items()
    assert len(users) == 1
    assert set(kept) < set(waiting)


def test_nobody_owns_a_word_that_many_have_used():
    teller = Teller()
    for customer in range(6):
        buy(teller, f"p{customer}", customer, mcc="5995", description="ZYXXELBLORB")
    world = lived(teller)
    (word,) = words_of_text("zyxxelblorb")
    assert json.loads(world.models()[b"text/word/%08x" % word]) == [[int(Category.PETS), 6.0]]
    assert b"text/waiting/%08x" % word not in world.models()


def test_a_persons_decision_about_it_is_obeyed():
    teller = Teller()
    for minute in range(60):
        buy(teller, f"p{minute % 9}", minute, mcc="5995", description="ZYXXELBLORB")
    for day in range(1, 8):
        buy(teller, "p1", day * 1_440, mcc="5995", description="ZYXXELBLORB")
    world = LearningWorld(learning=replace(EVERY, text_days=1_000))
    world.decide("freeze", FIRST_MS, model="categories")
    world.decide("promote", FIRST_MS + 4 * DAY_MS, "online", model="categories")
    world.publish(teller.events, advance_days=3)
    world.run(world.worker(), world.learner())
    body = json.loads(world.models()[b"model/categories"])
    assert [line[1] for line in body["timeline"]] == ["frozen", "promoted"]
    versions = [VALUES.decode("rescore-weights", value) for _, key, value in world.weights() if b"categories" in key]
    assert [version["cause"] for version in versions] == ["promoted: online: so"]
