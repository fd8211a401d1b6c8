"""What topics must be, and what is refused."""

from __future__ import annotations

import pytest

from schemas.batch import DAY_MS
from schemas.kinds import INPUT_TOPICS
from state.errors import RefusedSettings
from streams.kafka.topics import (
    BROADCAST_TOPICS,
    FOR_EVER,
    FoundTopic,
    TopicOptions,
    events_of_customers,
    problems,
    refuse,
    specification,
    warnings,
)
from streams.kafka.topics_clock import CLOCKED_TOPICS, Clocks, clocks_in, refuse_other_clock

RECORDS = TopicOptions(clock="records")


def sound(options: TopicOptions) -> dict[str, FoundTopic]:
    return {topic.name: FoundTopic(topic.partitions, dict(topic.config)) for topic in specification(options)}


@pytest.mark.parametrize("options", [TopicOptions(), RECORDS, TopicOptions(prefix="test.", partitions=1)])
def test_topics_as_specified_are_sound(options: TopicOptions) -> None:
    assert problems(options, sound(options)) == []
    refuse([])


def test_a_missing_topic_is_named() -> None:
    found = sound(RECORDS)
    del found["outcomes.dlq"]
    (problem,) = problems(RECORDS, found)
    assert problem.topic == "outcomes.dlq"
    assert "rescore topics apply" in problem.remedy


@pytest.mark.parametrize(
    "topic, key, value",
    [
        ("loans", "retention.ms", "604800000"),
        ("rescore-journal", "retention.ms", "604800000"),
        ("rescore-weights", "retention.ms", "604800000"),
        ("transactions", "message.timestamp.type", "LogAppendTime"),
        ("transactions", "cleanup.policy", "compact"),
        ("rescore-state", "cleanup.policy", "delete"),
        ("loans.dlq", "max.message.bytes", "1048576"),
        ("score-changes", "max.message.bytes", "500000"),
        ("loans", "unclean.leader.election.enable", "true"),
        ("loans", "message.timestamp.after.max.ms", "9223372036854775807"),
    ],
)
def test_a_setting_that_would_lose_or_disorder_history_is_refused(topic: str, key: str, value: str) -> None:
    found = sound(RECORDS)
    found[topic].config[key] = value
    (problem,) = problems(RECORDS, found)
    assert problem.topic == topic
    assert key in problem.what
    with pytest.raises(RefusedSettings, match=key):
        refuse([problem])


def test_live_topics_are_stamped_by_the_broker() -> None:
    options = TopicOptions()
    found = sound(options)
    found["loans"].config["message.timestamp.type"] = "CreateTime"
    assert [problem.topic for problem in problems(options, found)] == ["loans"]


def test_unequal_numbers_of_partitions_are_refused_with_each_number() -> None:
    found = sound(RECORDS)
    found["loans"] = FoundTopic(3, found["loans"].config)
    (problem,) = problems(RECORDS, found)
    assert problem.topic == "loans"
    assert all(f"{topic} " in problem.what for topic in (*INPUT_TOPICS, "rescore-state"))


def test_more_room_and_longer_keeping_do_no_harm() -> None:
    options = TopicOptions()
    found = sound(options)
    found["loans.dlq"].config["max.message.bytes"] = str(2**24)
    found["loans"].config["retention.ms"] = "-1"
    found["rescore-state"].config["segment.bytes"] = "1048576"
    assert problems(options, found) == []


def test_every_dead_letter_topic_has_room_for_the_largest_record_and_its_headers() -> None:
    topics = {topic.name: topic.config for topic in specification(RECORDS)}
    for name in INPUT_TOPICS:
        assert int(topics[f"{name}.dlq"]["max.message.bytes"]) == int(topics[name]["max.message.bytes"]) + 65_536


def test_events_kept_for_ever_are_warned_of_and_a_finite_retention_is_not() -> None:
    for_ever, finite = TopicOptions(retention_ms=FOR_EVER), TopicOptions(retention_ms=400 * DAY_MS)
    (warning,) = warnings(for_ever, sound(for_ever))
    assert set(events_of_customers()) == set(warning.topic.split(", "))
    assert "RESCORE_RETENTION_DAYS=400" in warning.remedy
    assert warnings(finite, sound(finite)) == []
    (of_history,) = warnings(RECORDS, sound(RECORDS))
    assert "RESCORE_CLOCK=records" in of_history.remedy


def test_versions_are_kept_though_events_expire() -> None:
    """A policy that expired would be replaced by the packaged one, and every score with it."""
    finite = TopicOptions(retention_ms=400 * DAY_MS)
    kept = {
        topic.name: topic.config["retention.ms"] for topic in specification(finite) if topic.name in BROADCAST_TOPICS
    }
    assert kept == dict.fromkeys(BROADCAST_TOPICS, "-1")
    found = sound(finite)
    found["rescore-config"].config["retention.ms"] = str(400 * DAY_MS)
    (problem,) = problems(finite, found)
    assert problem.topic == "rescore-config"


def test_the_clock_is_what_apply_has_given_the_topics() -> None:
    for options, clock in ((RECORDS, "records"), (TopicOptions(), "wall")):
        topics = {name: topic for name, topic in sound(options).items() if name in CLOCKED_TOPICS}
        assert clocks_in(topics).clock == clock
    assert clocks_in({"loans": sound(RECORDS)["loans"], "outcomes": sound(TopicOptions())["outcomes"]}) == Clocks(
        ("loans",), ("outcomes",)
    )


def test_topics_that_others_made_with_the_defaults_of_kafka_say_nothing_of_a_clock() -> None:
    default = FoundTopic(1, {"message.timestamp.type": "CreateTime", "segment.ms": "604800000"})
    assert clocks_in({"loans": default, "outcomes": FoundTopic(1, {})}).clock is None
    refuse_other_clock("wall", clocks_in({"loans": default}))


@pytest.mark.parametrize(
    "wanted, clocks, words",
    [
        ("wall", Clocks(("loans",)), "set RESCORE_CLOCK=records"),
        ("records", Clocks((), ("loans",)), "leave RESCORE_CLOCK out"),
        ("wall", Clocks(("loans",), ("outcomes",)), "run `rescore topics go-live` again"),
        ("records", Clocks(("loans",), ("outcomes",)), "run `rescore topics go-live` again"),
    ],
)
def test_another_clock_than_that_of_the_topics_is_refused_with_what_to_do(wanted, clocks, words) -> None:
    with pytest.raises(RefusedSettings) as refused:
        refuse_other_clock(wanted, clocks)
    assert words in refused.value.remedy
    assert "loans" in refused.value.what
