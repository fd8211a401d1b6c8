"""Profiles in the words of the commands: one line of `subscribe`, the story of `explain`, the tables of `inspect`."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from local.demo.words import row_of
from state.row import Row
from state.spending import ProfileMark, Spending
from streams.customers.changes import line, shown_value, turned
from streams.customers.row_view import packaged_names, tables
from streams.customers.story import Story, adverse_lines, as_lines
from streams.versions.packaged_profiles import packaged_profiles

HIT = {
    "profile": "pet_owner", "title": "Pet owner", "held": True, "since_ms": 0, "strength": 0.7, "category": "pets",
    "share": 0.125, "amount_minor": 9_000, "purchases": 3.0, "text": "buys for an animal", "purpose": "marketing",
    "sensitive": False,
}  # fmt: skip
OTHER = HIT | {"profile": "gambler", "title": "Gambler", "held": False, "sensitive": True}
CHANGE: dict[str, Any] = {
    "change_id": "ann/profiles/3-1/2", "user_id": "ann", "score": "profiles", "sequence": 2, "incarnation": "3-1",
    "old": None, "new": None, "old_text": None, "new_text": None, "old_band": None, "new_band": None,
    "cause": {"kind": "event", "topic": "transactions", "partition": 0, "offset": 7, "event_id": "t", "loan_id": None},
    "event_time_ms": 0, "decided_ms": 0, "weights_version": "profiles-1", "policy_version": "policy-1", "base": None,
    "reasons": [], "confidence": 0.5, "first_event_ms": 0, "last_event_ms": 0, "events": 4, "valid_until_ms": 9,
    "point": None, "segment": "none", "old_list": ["gambler"], "new_list": ["pet_owner"], "hits": [OTHER, HIT],
}  # fmt: skip


def test_a_line_says_which_profiles_were_entered_and_left_and_on_what_that_rests() -> None:
    told = line(CHANGE, "10:00")
    assert "gambler" in told
    assert "+ Pet owner: buys for an animal (pets: 90.00 in 3.0 purchases, 12.5% of spending)" in told
    assert "- Gambler [sensitive]" in told
    assert (shown_value(CHANGE, "old"), shown_value(CHANGE | {"new_list": []}, "new")) == ("gambler", "-")


def test_what_neither_was_entered_nor_left_is_not_told_as_the_reason_of_a_change() -> None:
    stayed = CHANGE | {"old_list": ["gambler", "pet_owner"]}
    assert [hit["profile"] for hit in turned(stayed)] == ["gambler"]


def test_the_story_tells_what_holds_and_that_it_is_no_ground_for_a_credit_decision() -> None:
    story = Story("profiles", [CHANGE])
    lines = "\n".join(as_lines(story, str))
    assert lines.startswith("profiles pet_owner")
    assert "    + Pet owner: buys for an animal" in lines
    assert story.adds_up()
    assert adverse_lines(story, str) == [
        "profiles: made for service and marketing; it is no ground for a credit decision"
    ]


def test_the_demo_counts_them_and_names_those_that_turned() -> None:
    row = row_of(CHANGE, "10:00", lambda _event: None)
    assert (row.old, row.new, row.up) == ("1", "1", None)
    assert row.why == "- Gambler (pets, 3.0 purchases), + Pet owner (pets, 3.0 purchases)"


def test_a_row_shows_spending_by_category_and_profiles_by_name() -> None:
    dog = next(profile for profile in packaged_profiles() if profile.profile_id == "pet_owner")
    row = Row(incarnation_offset=1, spending=[Spending(0, 0, 12_345, 400), Spending(21, 0, 9_000, 300)])
    row.profiles = [ProfileMark(dog.key, 0, held=True), ProfileMark(7, 0, held=True), ProfileMark(8, 0, held=False)]
    row.profiles.append(ProfileMark(9, 0, held=True))
    console = Console(width=160)
    with console.capture() as captured:
        for table in tables(row, packaged_names() | {9: "camper"}):
            console.print(table)
    shown = captured.get()
    assert "pet_owner, #00000007, camper" in shown
    assert ["pets", "90.00", "3.00", "1970-01-01"] in [line.split() for line in shown.splitlines()]
