"""Telling score changes to people: one line of each, the story of a score, the reasons of a decision."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.time_text import text_of_ms
from streams.customers.changes import Wanted, line, shown_band, shown_value, why
from streams.customers.story import adverse_lines, as_lines, shortfalls, stories
from streams.customers.story_documents import explanation


def _change(sequence: int = 1, **fields: Any) -> dict[str, Any]:
    base = 1.868
    change = {
        "user_id": "ann",
        "score": "status",
        "sequence": sequence,
        "incarnation": "3-0",
        "old": None if sequence == 1 else 2.0,
        "new": base + 1.1226 - 0.1207 - 0.1685 - 0.5281,
        "old_text": None,
        "new_text": None,
        "old_band": None,
        "new_band": None,
        "cause": {
            "kind": "time",
            "topic": None,
            "partition": None,
            "offset": None,
            "event_id": None,
            "loan_id": "L-88",
        },
        "event_time_ms": 1_000 * sequence,
        "decided_ms": 1_000 * sequence,
        "weights_version": "weights-1",
        "policy_version": "policy-1",
        "base": base,
        "reasons": [
            {"code": "HISTORY", "text": "loans counted", "level": 1.1226, "moved": 0.0},
            {"code": "LATE_BDR_30", "text": "1 to 30 days late", "level": -0.1207, "moved": 0.02},
            {"code": "LATE_BDR_30_PLUS", "text": "31 to 90 days late", "level": -0.1685, "moved": -0.1685},
            {"code": "LATE_WO", "text": "over 180 days late", "level": -0.5281, "moved": 0.0},
        ],
        "confidence": 0.44,
        "first_event_ms": 0,
        "last_event_ms": 86_400_000,
        "events": 12,
        "valid_until_ms": 172_800_000,
        "point": None,
        "segment": "regular",
    }
    change |= fields
    return change | {"change_id": f"{change['user_id']}/{change['score']}/{change['incarnation']}/{sequence}"}


def test_a_line_names_loan_reasons_by_size_and_cause() -> None:
    assert why(_change()) == "loan L-88: 31 to 90 days late (-0.17), 1 to 30 days late (+0.02)   [time passed]"
    text = line(_change(2), "10:31:07")
    assert text.startswith("10:31:07")
    assert "2.000" in text
    assert "2.173" in text


def test_a_change_without_reasons_names_its_loan_and_cause() -> None:
    assert why(_change(reasons=[])) == "loan L-88   [time passed]"


@pytest.mark.parametrize(
    "fields, shown",
    [
        ({"score": "value", "new": 4.0}, "4.00"),
        ({"score": "rfm", "new": None, "new_text": "545"}, "545"),
        ({"score": "class", "new": 3.0}, "3"),
        ({"score": "class", "new": 0.0}, "-"),
        ({"new": None}, "-"),
    ],
)
def test_a_value_is_shown_as_its_score_is_read(fields: dict[str, Any], shown: str) -> None:
    assert shown_value(_change(**fields), "new") == shown


def test_a_band_is_shown_as_a_way_only_where_it_moved() -> None:
    assert shown_band({"old_band": "high", "new_band": "high"}) == "high"
    assert shown_band({"old_band": None, "new_band": "low"}) == "low"
    assert shown_band({"old_band": None, "new_band": None}) == ""


def test_changes_are_filtered_by_user_score_and_band() -> None:
    change = _change(score="value", old_band="high", new_band="top")
    assert Wanted.of().has(change)
    assert Wanted.of(["ann"], ["value"], ["high"]).has(change)
    assert not Wanted.of(["bob"]).has(change)
    assert not Wanted.of(scores=["status"]).has(change)
    assert not Wanted.of(bands=["low"]).has(change)
    with pytest.raises(ValueError, match="there is no score 'statsu'; there are value, status"):
        Wanted.of(scores=["statsu"])


def test_a_story_shows_reasons_that_add_up_to_the_score_and_how_it_came_there() -> None:
    (story,) = stories("ann", [_change(1), _change(2), _change(2), _change(1, user_id="bob")])
    assert len(story.changes) == 2
    assert story.adds_up()
    text = "\n".join(as_lines(story, text_of_ms))
    assert "status 2.173" in text
    assert "time alone does not change it before 1970-01-03T00:00:00Z" in text
    assert (
        "confidence 0.44; 12 events from 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z; decided by weights-1, policy-1"
        in text
    )
    assert "DO NOT ADD UP" not in text
    assert text.count("[time passed]") == 2


def test_reasons_that_do_not_add_up_are_told_and_not_hidden() -> None:
    (story,) = stories("ann", [_change(new=3.0)])
    assert "DO NOT ADD UP" in "\n".join(as_lines(story, text_of_ms))


def test_an_event_is_named_by_its_place_in_kafka() -> None:
    cause = {"kind": "event", "topic": "loans", "partition": 2, "offset": 7, "event_id": "e", "loan_id": None}
    (story,) = stories("ann", [_change(cause=cause)])
    assert "[an event]  loans/2/7" in "\n".join(as_lines(story, text_of_ms))


def test_changes_no_longer_on_the_topic_are_counted_by_their_sequence() -> None:
    (story,) = stories("ann", [_change(4), _change(5)])
    assert story.missing == 3


def test_only_the_latest_life_of_a_customer_is_told() -> None:
    (story,) = stories("ann", [_change(1), _change(2), _change(1, incarnation="3-9")])
    assert [change["incarnation"] for change in story.changes] == ["3-9"]


def test_shortfalls_are_at_most_four_all_negative_and_the_largest_first() -> None:
    (story,) = stories("ann", [_change()])
    found = shortfalls(story)
    assert [words for words, _ in found] == [
        "short history: loans repaid on time lengthen it",
        "over 180 days late",
        "31 to 90 days late",
        "1 to 30 days late",
    ]
    assert found[0][1] == pytest.approx(1.868 + 1.1226 - 5)
    assert all(amount < 0 for _, amount in found)
    assert "loans counted" not in "\n".join(adverse_lines(story, text_of_ms))


def test_a_marketing_score_is_no_ground_against_a_customer() -> None:
    (story,) = stories("ann", [_change(score="value")])
    assert "no ground for a credit decision" in adverse_lines(story, text_of_ms)[0]
    assert explanation("ann", [story], {})["scores"][0]["adverse"] is None


def test_a_story_is_json_as_well() -> None:
    (story,) = stories("ann", [_change()])
    assert json.loads(json.dumps(explanation("ann", [story])))["scores"][0]["adds_up"] is True
