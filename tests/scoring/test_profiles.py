"""Lifestyle profiles as customers have them: what enters, what stays, what time takes away, and why it is said."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from schemas.batch import Record
from schemas.categories import CATEGORY_NAMES, MOVED_MONEY, Category
from schemas.codec import Encoder, StaticRegistry, card_to_dict, decode_value, encode_scorecards
from schemas.decode import Decoder, decode
from schemas.kinds import RejectCode
from state.profiles import Profile, ProfileBook, Trigger
from state.row import Row
from state.spending import EVERYTHING, SPENDING_MAX, faded
from state.versions import Policy, Versions
from streams.scoring.profiles import categories_in, next_profile_day, profiles_on, strength_of
from streams.scoring.reference.evaluate import marks_of, places_of
from streams.scoring.tables import profile_table
from streams.scoring.version_names import names_of
from streams.versions.known import Known, reader
from streams.versions.packaged_profiles import packaged_book, packaged_profiles
from streams.versions.records import profile_record
from tests.scoring.customers import Customers, at_ms, of
from tests.scoring.test_step_equals_oracle import run_both

PETS, GROCERIES, FUEL, BETS, CASH, HOTEL = "5995", "5411", "5541", "7995", "6011", "7011"


def buy(ann: Customers, day: float, mcc: str | None, amount: float = -30.0, **more: Any) -> list[dict[str, Any]]:
    return of(ann.transaction(day, amount, mcc=mcc, **more), "profiles")


def owner_of_a_dog(day: float = 0.0) -> Customers:
    """Three purchases for an animal, one for a person."""
    ann = Customers()
    for i, mcc in enumerate((GROCERIES, PETS, PETS, PETS)):
        buy(ann, day + 0.1 * i, mcc)
    return ann


def place(ann: Customers, category: Category | int) -> Any:
    return next((one for one in ann.row().spending if one.category == category), None)


def test_a_profile_is_entered_with_enough_purchases_and_says_why() -> None:
    ann = Customers()
    assert buy(ann, 0.0, GROCERIES) == buy(ann, 0.1, PETS) == buy(ann, 0.2, PETS, -20.0) == []
    (change,) = buy(ann, 0.3, PETS, -40.0)
    assert (change["old_list"], change["new_list"], change["cause"]) == ([], ["pet_owner"], "event")
    assert (change["sequence"], change["reasons"]) == (1, {})
    (hit,) = change["hits"]
    assert (hit["profile"], hit["held"], hit["category"], hit["amount_minor"]) == ("pet_owner", True, "pets", 9_000)
    assert (hit["purchases"], hit["purpose"], hit["sensitive"]) == (3.0, "marketing", False)
    assert hit["share"] == pytest.approx(90 / 120)
    assert hit["strength"] == pytest.approx(3 / 4.5)
    assert "animal" in hit["text"]


def test_who_buys_nothing_of_a_known_category_has_neither_profiles_nor_bytes_for_them() -> None:
    ann = Customers()
    for day in range(20):
        assert buy(ann, day, None, description="XR 7 0001") == []
    assert ann.row().spending == ann.row().profiles == []


def test_a_profile_that_weakens_stays_until_it_is_below_the_lower_limit() -> None:
    ann = owner_of_a_dog()
    left = [change for day in range(1, 90) for change in of(ann.advance(day), "profiles")]
    (change,) = left
    assert (change["cause"], change["new_list"]) == ("time", [])
    (hit,) = change["hits"]
    assert not hit["held"]
    assert hit["strength"] < Policy().profile_leave
    # 3 purchases of 4.5, half of them after 90 days: 0.667 * 2 ** (-d / 90) < 0.45 from d = 51.03 on.
    assert change["day"] == 52


def test_silence_is_known_ahead() -> None:
    ann = owner_of_a_dog()
    for day in range(1, 52):
        assert of(ann.advance(day), "profiles") == []
        assert ann.dues[b"ann"] <= at_ms(52)
    assert len(of(ann.advance(52), "profiles")) == 1
    assert of(ann.advance(400), "profiles") == []


def test_a_profile_just_entered_stays_for_the_dwell_time_whatever_is_taken_back() -> None:
    ann = owner_of_a_dog()
    said = {"revision": 1, "event_id": "t-3", "transaction_state": "REVERSED"}
    previous = {"transaction_amount": -30.0, "transaction_currency": "EUR", "transaction_date": at_text(0.3)}
    assert buy(ann, 0.5, PETS, previous=previous, **said) == []
    assert of(ann.advance(6.9), "profiles") == []
    (change,) = of(ann.advance(7.0), "profiles")
    assert (change["cause"], change["new_list"], change["day"]) == ("time", [], 7.0)


def test_a_profile_just_left_is_entered_again_when_the_dwell_time_ends() -> None:
    ann = owner_of_a_dog()
    assert len(of(ann.advance(52), "profiles")) == 1
    for i in range(3):
        assert buy(ann, 53 + 0.1 * i, PETS) == []
    (change,) = of(ann.advance(80), "profiles")
    assert (change["cause"], change["new_list"], change["day"]) == ("time", ["pet_owner"], 59)


def at_text(day: float) -> str:
    from tests.scoring.customers import iso

    return iso(day)


def test_the_same_purchase_again_changes_nothing_and_a_reversal_takes_it_back() -> None:
    ann = Customers()
    buy(ann, 0.0, GROCERIES)
    before = ann.row().spending
    buy(ann, 0.1, PETS, -80.0, event_id="dog")
    held = ann.row().spending
    buy(ann, 0.2, PETS, -80.0, event_id="dog", transaction_date=at_text(0.1))
    assert ann.row().spending == held
    previous = {"transaction_amount": -80.0, "transaction_currency": "EUR", "transaction_date": at_text(0.1)}
    buy(ann, 0.3, PETS, -80.0, event_id="dog", revision=1, transaction_state="REVERSED", previous=previous)
    assert ann.row().spending == before


def test_a_correction_of_the_merchants_code_moves_the_purchase() -> None:
    ann = Customers()
    buy(ann, 0.0, GROCERIES, event_id="e")
    previous = {"transaction_amount": -30.0, "transaction_currency": "EUR", "transaction_date": at_text(0.0)}
    buy(ann, 0.1, PETS, event_id="e", revision=1, previous={**previous, "mcc": GROCERIES})
    assert place(ann, Category.GROCERIES) is None
    assert place(ann, Category.PETS).purchases == place(ann, EVERYTHING).purchases == 100


def test_failed_and_pending_attempts_buy_nothing() -> None:
    ann = Customers()
    for state in ("DECLINED", "PENDING"):
        buy(ann, 0.0, PETS, transaction_state=state)
    assert ann.row().spending == []


def test_money_that_comes_back_from_a_merchant_is_spent_less_and_no_purchase() -> None:
    ann = Customers()
    buy(ann, 0.0, HOTEL, -200.0)
    buy(ann, 0.1, HOTEL, 150.0)
    assert (place(ann, Category.LODGING).amount_minor, place(ann, Category.LODGING).purchases) == (5_000, 100)
    buy(ann, 0.2, BETS, 900.0)
    assert place(ann, Category.GAMBLING) is None


@pytest.mark.parametrize("words", ["LIDL LOHN 11/26", "Sainsbury's payroll", "FRESSNAPF"])
def test_money_that_comes_in_is_no_refund_by_the_words_of_its_description(words: str) -> None:
    ann = Customers()
    buy(ann, 0.0, None, -80.0, description=words)
    before = ann.row().spending
    assert place(ann, EVERYTHING).amount_minor == 8_000
    buy(ann, 0.1, None, 2_400.0, description=words, event_id="salary")
    assert ann.row().spending == before
    previous = {"transaction_amount": 2_400.0, "transaction_currency": "EUR", "transaction_date": at_text(0.1)}
    buy(ann, 0.2, None, 2_500.0, description=words, event_id="salary", revision=1, previous=previous)
    assert ann.row().spending == before


def test_a_refund_takes_at_most_what_its_category_holds_from_it_and_from_all_spending() -> None:
    ann = Customers()
    buy(ann, 0.0, GROCERIES, -200.0)
    buy(ann, 0.1, HOTEL, -50.0)
    buy(ann, 0.2, HOTEL, 900.0)
    assert (place(ann, Category.LODGING).amount_minor, place(ann, EVERYTHING).amount_minor) == (0, 20_000)
    buy(ann, 0.3, FUEL, 900.0)
    assert place(ann, EVERYTHING).amount_minor == 20_000


def test_a_corrected_refund_is_what_its_last_revision_says() -> None:
    ann = Customers()
    buy(ann, 0.0, HOTEL, -100.0)
    buy(ann, 0.1, HOTEL, 80.0, event_id="r")
    previous = {"transaction_amount": 80.0, "transaction_currency": "EUR", "transaction_date": at_text(0.1)}
    buy(ann, 0.2, HOTEL, 70.0, event_id="r", revision=1, previous=previous)
    assert [one.amount_minor for one in ann.row().spending] == [3_000, 3_000]
    assert (place(ann, EVERYTHING).purchases, place(ann, Category.LODGING).purchases) == (100, 100)


def parts(row: Row) -> tuple[int, int]:
    """Money and purchases of the kept categories, as they weigh on the last day of all spending."""
    bought = [one for one in row.spending if one.category not in (EVERYTHING, *MOVED_MONEY)]
    last = row.spending[0].day
    amount = sum(int(faded(one.amount_minor, last - one.day)) for one in bought)
    return amount, sum(int(faded(one.purchases, last - one.day)) for one in bought)


def random_purchase(random: Random, day: float, codes: Sequence[str]) -> dict[str, Any]:
    """A purchase or, as often as not, money that comes in; with a code, or with the words of a shop."""
    coded = {"mcc": random.choice(codes)} if random.random() < 0.8 else {"description": "FRESSNAPF 0815 Berlin"}
    amount = round(random.choice([-1, -1, 1]) * random.random() * 200, 2)
    return coded | {"transaction_amount": amount, "transaction_date": at_text(day)}


@pytest.mark.parametrize("seed", range(3))
def test_all_spending_is_the_sum_of_its_categories_and_never_less_than_one(seed: int) -> None:
    random, ann, sent, given_up = Random(seed), Customers(), dict[str, dict[str, Any]](), False
    few, more = (GROCERIES, PETS, FUEL, BETS, CASH), ("5812", "4111", "5912", "5651", "5732", "5942", "7832", "7230")
    for i in range(140):
        day = 3.0 * i
        fields = random_purchase(random, day - random.choice([0, 0, 0, 40, 200]), few if i < 90 else (*few, *more))
        event_id, revision = f"e{i}", {}
        if sent and random.random() < 0.25:
            event_id = random.choice(list(sent))
            previous = sent.pop(event_id)
            kept = {
                name: previous[name] for name in ("transaction_amount", "transaction_date", "mcc") if name in previous
            }
            revision = {"revision": 1, "previous": {"transaction_currency": "EUR", **kept}}
        else:
            sent[event_id] = fields
        ann.transaction(day, event_id=event_id, amount=0.0, **(fields | revision))
        if not ann.row().spending or (total := place(ann, EVERYTHING)) is None:
            continue
        held, summed = (total.amount_minor, total.purchases), parts(ann.row())
        assert held == summed or i >= 90
        assert held >= summed
        assert held[1] >= summed[1]
        given_up = given_up or held > summed
    assert given_up
    assert ann.rejects == []
    batch = decode(ann.records, 0, Decoder(StaticRegistry(), 1))
    steps = run_both(batch, sorted(random.sample(range(1, 140), 4)), ann.versions)
    assert steps[-1].table.row(0) == ann.rows[b"ann"]


def test_cash_has_its_place_and_no_part_in_all_spending() -> None:
    ann = Customers()
    buy(ann, 0.0, CASH, -100.0)
    assert [one.category for one in ann.row().spending] == [Category.CASH]
    buy(ann, 0.1, GROCERIES)
    assert place(ann, EVERYTHING).amount_minor == 3_000


def test_a_late_purchase_weighs_as_on_its_own_day() -> None:
    late, punctual = Customers(), Customers()
    buy(late, 60.0, PETS)
    buy(late, 0.0, PETS, -50.0, known=60.5)
    buy(punctual, 0.0, PETS, -50.0)
    buy(punctual, 60.0, PETS)
    assert late.row().spending == punctual.row().spending
    assert place(late, Category.PETS).purchases == 150
    assert place(late, Category.PETS).amount_minor == 3_000 + 2_500


def test_the_smallest_place_is_given_up_but_not_for_what_is_long_ago() -> None:
    codes = ["5411", "5812", "5541", "4111", "5912", "5651", "5732", "5942", "5995", "7832", "7230", "5944"]
    ann = Customers()
    for i in range(SPENDING_MAX):
        for again in range(2 if i != 4 else 1):
            buy(ann, i + 0.1 * again, codes[i])
    assert len(ann.row().spending) == SPENDING_MAX + 1
    least = place(ann, Category.HEALTH)
    assert least.purchases == 100
    buy(ann, -100.0, codes[10], known=12.0)
    assert place(ann, Category.BEAUTY) is None
    buy(ann, 12.1, codes[10])
    assert place(ann, Category.HEALTH) is None
    assert place(ann, Category.BEAUTY).purchases == 100
    assert len(ann.row().spending) == SPENDING_MAX + 1


def test_without_a_code_the_description_tells_and_with_one_it_does_not() -> None:
    ann = Customers()
    for i in range(3):
        buy(ann, 0.1 * i, None, description="FRESSNAPF 0815 Berlin")
    assert ann.row().profiles != []
    bob = Customers()
    buy(bob, 0.0, GROCERIES, description="FRESSNAPF 0815 Berlin")
    buy(bob, 0.1, "0000", description="FRESSNAPF 0815 Berlin")
    assert [one.category for one in bob.row().spending] == [EVERYTHING, Category.GROCERIES, Category.PETS]


def test_a_sensitive_profile_is_off_as_shipped() -> None:
    ann = Customers()
    assert [change for i in range(9) for change in buy(ann, 0.1 * i, BETS)] == []
    assert {one.profile_id for one in packaged_profiles() if one.sensitive} >= {"gambler", "smoker"}
    assert not any(one.enabled for one in packaged_profiles() if one.sensitive)
    assert {one.purpose for one in packaged_profiles()} <= {"marketing", "care"}


def test_a_profile_that_is_switched_off_is_left_when_the_customer_is_looked_at_next() -> None:
    ann = owner_of_a_dog()
    off = [replace(one, enabled=False) for one in packaged_profiles()]
    book = ProfileBook("off-1", at_ms(5.0), tuple(off))
    ann.versions = replace(ann.versions, books=[packaged_book(), book], memo={})
    assert buy(ann, 4.9, GROCERIES) == []
    (change,) = buy(ann, 5.1, GROCERIES)
    assert (change["old_list"], change["new_list"], change["version"]) == (["pet_owner"], [], "off-1")


def test_a_published_file_is_in_force_from_its_time_on_and_not_before() -> None:
    camper = Profile("camper", "Camper", "camps again and again", (Trigger((Category.LODGING,), 2.0),), 30.0)
    encoder = Encoder(StaticRegistry())
    _, key, value = profile_record(camper, "camper-1", at_ms(10.0), "ann", "a summer", encoder)
    record = Record("rescore-config", 0, 7, at_ms(9.0), key, value)
    known = Known.first(Policy()).adopt([record], reader(StaticRegistry(), ""))
    assert known.refused == ()
    ann = Customers()
    ann.versions = known.versions
    assert buy(ann, 9.8, HOTEL, -20.0) == buy(ann, 9.9, HOTEL, -20.0) == []
    (change,) = buy(ann, 10.1, GROCERIES)  # the first look under the new version
    assert (change["new_list"], change["version"]) == (["camper"], "camper-1")
    assert change["hits"][0]["title"] == "Camper"


def test_when_a_profile_is_withdrawn_everyone_is_looked_at() -> None:
    ann = owner_of_a_dog()
    dog = next(one for one in packaged_profiles() if one.profile_id == "pet_owner")
    _, key, value = profile_record(
        replace(dog, enabled=False), "pet_owner-1", at_ms(3.5), "ann", "no dogs", Encoder(StaticRegistry())
    )
    record = Record("rescore-config", 0, 7, at_ms(3.0), key, value)
    ann.versions = Known.first(Policy()).adopt([record], reader(StaticRegistry(), "")).versions
    assert ann.versions.rescores == (at_ms(3.5),)
    ann.dues[b"ann"] = at_ms(3.5)  # as a worker looks at everyone then
    (change,) = of(ann.advance(3.6), "profiles")
    assert (change["new_list"], change["cause"], change["day"]) == ([], "time", 3.5)


def test_a_profile_under_another_name_or_of_a_wrong_shape_counts_as_never_published() -> None:
    encoder = Encoder(StaticRegistry())
    camper = Profile("camper", "Camper", "camps", (Trigger((Category.LODGING,), 2.0),), 30.0)
    _, key, value = profile_record(camper, "camper-1", 0, "ann", "why", encoder)
    fields = dict(decode_value("Config", value, StaticRegistry()))
    wrong = [{**fields, "name": "profile.gamer"}, {**fields, "body": '{"id": "camper"}'}, {**fields, "body": "{"}]
    records = [Record("rescore-config", 0, i, 0, key, encode_config(said, encoder)) for i, said in enumerate(wrong)]
    known = Known.first(Policy()).adopt(records, reader(StaticRegistry(), ""))
    assert len(known.refused) == len(wrong)
    assert known.versions.books == [packaged_book()]


def encode_config(fields: dict[str, Any], encoder: Encoder) -> bytes:
    from schemas.codec import encode_value

    return encode_value("Config", fields, encoder)


def test_there_may_be_so_many_profiles_and_no_more() -> None:
    encoder, records = Encoder(StaticRegistry()), []
    for number in range(40):
        one = Profile(f"p_{number}", "P", "p", (Trigger((1,), 5.0),), 30.0)
        _, key, value = profile_record(one, f"p-{number}", 0, "ann", "why", encoder)
        records.append(Record("rescore-config", 0, number, 0, key, value))
    known = Known.first(Policy()).adopt(records, reader(StaticRegistry(), ""))
    assert len(known.versions.profile_ids) == 50
    assert len(known.refused) == 40 - (50 - len(packaged_profiles()))
    assert "50 profiles" in known.refused[0].reason


def test_an_erasure_ends_the_profiles_and_forgets_what_they_rest_on() -> None:
    ann = owner_of_a_dog()
    (change,) = of(ann.command(1.0, "erase"), "profiles")
    assert (change["old_list"], change["new_list"], change["cause"], change["hits"]) == (
        ["pet_owner"], [], "erasure", [],
    )  # fmt: skip
    assert ann.row().spending == ann.row().profiles == []


def test_nobody_can_hold_a_profile_by_hand() -> None:
    ann = owner_of_a_dog()
    assert ann.command(1.0, "override", score="profiles", value=1.0, expires_at=at_text(30)) == []
    assert [reject.code for reject in ann.rejects] == [RejectCode.OVERRIDE_OUT_OF_RANGE]


def test_the_scorecard_lists_them() -> None:
    ann = owner_of_a_dog()
    names = names_of(ann.versions)
    (value,) = encode_scorecards(ann.last.changes, ann.last.table.names, names, Encoder(StaticRegistry())).cuts()
    card = decode_value("Scorecard", value, StaticRegistry())
    assert card["profiles"] == ["pet_owner"]
    assert card["sequences"]["profiles"] == 1
    assert card["confidence"]["profiles"] == pytest.approx(4 / 9)
    assert json.dumps(card) == json.dumps(card_to_dict(0, ann.last.changes, ann.last.table.users, names))


def naive_strength(row: Any, profile: Profile, day: int) -> float:
    """The definition again, by hand."""
    last = max((one.day for one in row.spending), default=0)

    def weighed(categories: tuple[int, ...], what: str, when: int) -> float:
        return math.fsum(
            getattr(one, what) * 0.5 ** ((when - one.day) / profile.half_life_days)
            for one in row.spending
            if one.category in categories
        )

    best = 0.0
    for trigger in profile.triggers:
        met = [weighed(trigger.categories, "purchases", day) / 100 / trigger.purchases]
        if met[0] == 0:
            continue
        if trigger.spent_minor:
            met.append(weighed(trigger.categories, "amount_minor", day) / trigger.spent_minor)
        for share, what in (
            (trigger.share_of_spending, "amount_minor"),
            (trigger.share_of_purchases, "purchases"),
        ):
            if share:
                whole = weighed((EVERYTHING,), what, last)
                met.append(min(weighed(trigger.categories, what, last) / whole, 1.0) / share if whole else 0.0)
        best = max(best, min(1.0, *met))
    return best


@pytest.mark.parametrize("seed", range(5))
def test_strength_is_what_the_definition_says_and_the_next_day_is_the_first_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ann = Customers()
    codes = ["5995", "5411", "7011", "3000", "5816", "5812", "6011", "5651", "8398", "5200"]
    chosen = rng.choice(codes, 4, replace=False)
    for day in np.sort(rng.uniform(0, 60, 40)):
        buy(ann, float(day), str(rng.choice(chosen)), -float(rng.integers(1, 300)))
    row, policy = ann.row(), ann.policy
    table, places, marks = profile_table(ann.versions)[1][0], places_of(row), marks_of(row)
    found, today = int(categories_in(places, len(places))), at_ms(60) // 86_400_000
    assert row.profiles
    profiles = {one.profile_id: one for one in packaged_profiles()}
    for i, name in enumerate(ann.versions.profile_ids):
        for day in (today, today + 40):
            strength, _ = strength_of(places, len(places), found, table[i], day)
            assert strength == pytest.approx(naive_strength(row, profiles[name], day))
    rule = (policy.profile_enter, policy.profile_leave, policy.profile_dwell_days)
    held = profiles_on(places, len(places), marks, len(marks), table, today, *rule)
    moves = (
        day
        for day in range(today + 1, today + 900)
        if profiles_on(places, len(places), marks, len(marks), table, day, *rule) != held
    )
    assert next_profile_day(places, len(places), marks, len(marks), table, today, *rule) == next(moves)


def test_what_fades_is_rounded_half_to_even_and_ends() -> None:
    assert [int(faded(weight, 60)) for weight in (1, 2, 3, 5)] == [0, 1, 2, 2]
    assert int(faded(10**13, 20 * 60)) == 0


def test_versions_without_profiles_give_nobody_any() -> None:
    ann = Customers()
    ann.versions = Versions(ann.versions.policies, ann.versions.weights, [], [])
    assert [change for i in range(5) for change in buy(ann, 0.1 * i, PETS)] == []
    assert place(ann, Category.PETS).purchases == 500  # so that profiles published later find what they rest on


def test_every_category_has_a_name_of_its_own() -> None:
    assert len(set(CATEGORY_NAMES)) == len(Category)
    assert FUEL
