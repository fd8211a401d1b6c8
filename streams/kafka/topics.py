"""The topics: what each must be, making them so, and refusing to start where they are not.

`specification` and `problems` are pure: names and settings in, values out. `apply` and `describe` talk to Kafka.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from schemas.batch import DAY_MS
from schemas.kinds import INPUT_TOPICS
from schemas.printable import counted
from state.errors import RefusedSettings

BROADCAST_TOPICS = ("fx-rates", "rescore-weights", "rescore-config")
STATE_TOPIC = "rescore-state"
EXAMPLES_TOPIC = "rescore-examples"
MEMORY_TOPIC = "rescore-learner"
JOURNAL_TOPIC = "rescore-journal"
PUBLICATIONS_TOPIC = "rescore-publications"
ONE_PARTITION = (*BROADCAST_TOPICS, MEMORY_TOPIC, PUBLICATIONS_TOPIC)
MEMORY_BYTES_MAX = 4 * 2**20
DEAD_LETTERS = ".dlq"
DEAD_LETTER_ROOM_BYTES = 64 * 2**10
"""A dead letter is its record plus headers that say what was wrong: its topic must hold more than the input's."""

OUTPUT_BYTES_MAX = 2**20
"""Rows and changes are far smaller, but a client sends up to 1,000,000 bytes of records as one batch: a topic that
takes less refuses them all."""

COMPACTION_DAYS_MAX = 7
"""What was overwritten or erased in a compacted topic is gone from the disk after so many days at the latest."""

FOR_EVER = -1
RECOMMENDED_RETENTION_DAYS = 400
"""A year, the longest time that a score looks back, and some weeks: see docs/decisions/0026."""
HISTORY_SEGMENT_MS = 3_650 * DAY_MS
"""Kafka closes a segment once its records span `segment.ms`: by default a history has one for each week."""
ANSWER_SECONDS = 15.0
METADATA_QUESTIONS_MAX = 200


@dataclass(frozen=True, slots=True)
class TopicOptions:
    """What a deployment decides. `retention_ms` is that of topics with customers' events (`events_of_customers`)."""

    partitions: int = 4
    replication_factor: int = -1  # the broker's default
    clock: Literal["wall", "records"] = "wall"
    retention_ms: int = 365 * DAY_MS
    record_bytes_max: int = 2**20
    prefix: str = ""


class TopicSpecification(NamedTuple):
    """What one topic must be."""

    name: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """What one topic is."""

    partitions: int
    config: dict[str, str] = field(default_factory=dict)


class Problem(NamedTuple):
    """Something about a topic that would lose or disorder data, and what to do about it."""

    topic: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} {self.remedy}"


def specification(options: TopicOptions) -> list[TopicSpecification]:
    """Every topic of the contract under its full name.

    >>> topics = {topic.name: topic for topic in specification(TopicOptions(partitions=8, clock="records"))}
    >>> topics["loans"].partitions, topics["loans"].config["retention.ms"], topics["rescore-state"].partitions
    (8, '-1', 8)
    """
    limit = {"max.message.bytes": str(options.record_bytes_max)}
    kept = _kept(options)
    dead_letter = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": kept["retention.ms"],  # dead letters are decided once: verify needs them as long as inputs
        "max.message.bytes": str(options.record_bytes_max + DEAD_LETTER_ROOM_BYTES),
    }
    room = {"max.message.bytes": str(OUTPUT_BYTES_MAX)}
    stream = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"} | room
    lag = {"max.compaction.lag.ms": str(COMPACTION_DAYS_MAX * DAY_MS)}
    table = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"} | lag | room
    state = table | {"segment.bytes": str(64 * 2**20), "min.cleanable.dirty.ratio": "0.2"}
    configs = {
        **dict.fromkeys(INPUT_TOPICS, kept | limit),
        **{topic + DEAD_LETTERS: dead_letter for topic in INPUT_TOPICS},
        # Versions name no customer, and one that is in force must not expire.
        **dict.fromkeys(
            BROADCAST_TOPICS, kept | {"retention.ms": str(FOR_EVER), "max.message.bytes": str(MEMORY_BYTES_MAX)}
        ),
        "score-changes": stream,
        "scorecards": table,
        "point-scores": table,
        "actions": stream,
        STATE_TOPIC: state,
        JOURNAL_TOPIC: {**stream, "retention.ms": kept["retention.ms"]},
        EXAMPLES_TOPIC: {**stream, "retention.ms": kept["retention.ms"]},
        MEMORY_TOPIC: table | {"max.message.bytes": str(MEMORY_BYTES_MAX)},
        PUBLICATIONS_TOPIC: table,
    }
    return [
        TopicSpecification(options.prefix + name, 1 if name in ONE_PARTITION else options.partitions, config)
        for name, config in configs.items()
    ]


def _kept(options: TopicOptions) -> dict[str, str]:
    """Settings of topics that verify needs. History carries its own time, which the broker must neither replace nor
    take for an age: records stamped 1993 would be deleted within minutes by a finite retention."""
    if options.clock == "wall":
        return {
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(options.retention_ms),
        }
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "CreateTime",
        "retention.ms": str(FOR_EVER),
        "segment.ms": str(HISTORY_SEGMENT_MS),
        "message.timestamp.after.max.ms": str(300_000),
    }


def problems(options: TopicOptions, found: Mapping[str, FoundTopic]) -> list[Problem]:
    """What is wrong with the topics that are there; empty if a worker may start."""
    apply = "Run `rescore topics apply`."
    wrong: list[Problem] = []
    for wanted in specification(options):
        topic = found.get(wanted.name)
        if topic is None:
            wrong.append(Problem(wanted.name, "is not there.", apply))
            continue
        for key, value in wanted.config.items():
            is_value = topic.config.get(key)
            if is_value is not None and not _serves(key, value, is_value):
                wrong.append(Problem(wanted.name, f"{key} is {is_value}, not {value}.", _why(key) + apply))
        if topic.config.get("unclean.leader.election.enable") == "true":
            remedy = "A broker that missed records could become their leader: set it to false."
            wrong.append(Problem(wanted.name, "unclean.leader.election.enable is true.", remedy))
    return wrong + _unequal_partitions(options, found)


def events_of_customers(prefix: str = "") -> list[str]:
    """The topics that keep what customers did for as long as the deployment decides."""
    names = (*INPUT_TOPICS, *(topic + DEAD_LETTERS for topic in INPUT_TOPICS), JOURNAL_TOPIC, EXAMPLES_TOPIC)
    return [prefix + name for name in names]


def warnings(options: TopicOptions, found: Mapping[str, FoundTopic]) -> list[Problem]:
    """What loses and disorders nothing, and still keeps a promise from being kept.

    >>> (warning,) = warnings(TopicOptions(), {"loans": FoundTopic(4, {"retention.ms": "-1"})})
    >>> warning.topic, warning.what
    ('loans', 'records are kept for ever, so an erasure can never be proven.')
    """
    for_ever = [
        name
        for name in events_of_customers(options.prefix)
        if name in found and found[name].config.get("retention.ms") == str(FOR_EVER)
    ]
    if not for_ever:
        return []
    what = "records are kept for ever, so an erasure can never be proven."
    return [Problem(", ".join(for_ever), what, how_to_forget(options.clock) + ".")]


def how_to_forget(clock: Literal["wall", "records"]) -> str:
    """What to do so that events expire, as the end of a sentence."""
    see = 'See "Is this customer forgotten?" in docs/audit.md'
    if clock == "records":
        return f"History (RESCORE_CLOCK=records) needs that: its records would expire by their own times. {see}"
    return (
        f"Set RESCORE_RETENTION_DAYS={RECOMMENDED_RETENTION_DAYS} and run `rescore topics apply`: it deletes what is "
        f"older. {see}"
    )


def _serves(key: str, wanted: str, found: str) -> bool:
    """A larger limit or a longer retention than asked for does no harm."""
    if key in ("max.message.bytes", "segment.ms"):
        return int(found) >= int(wanted)
    if key == "max.compaction.lag.ms":
        return int(found) <= int(wanted)
    if key in ("segment.bytes", "min.cleanable.dirty.ratio"):
        return True  # a matter of speed
    if key == "retention.ms":
        return int(found) == FOR_EVER or int(found) >= int(wanted) > 0
    return found == wanted


def _is_less(key: str, wanted: str, found: str) -> bool:
    """Whether `apply` has to set it: a limit that somebody raised stays raised."""
    return not _serves(key, wanted, found) if key == "max.message.bytes" else wanted != found


def _why(key: str) -> str:
    reasons = {
        "message.timestamp.type": "With RESCORE_CLOCK=wall the broker stamps, with records the publisher does. ",
        "retention.ms": "Records deleted before they are taken are lost, and `rescore verify` needs all of them. ",
        "cleanup.policy": "Compaction of an input loses events; without it the state topic grows without end. ",
        "max.compaction.lag.ms": "What a customer had erased must be gone from the disk by a known day. ",
        "max.message.bytes": "A record that does not fit its output or its dead-letter topic stops its partition. ",
    }
    return reasons.get(key, "")


def _unequal_partitions(options: TopicOptions, found: Mapping[str, FoundTopic]) -> list[Problem]:
    names = [options.prefix + name for name in (*INPUT_TOPICS, STATE_TOPIC, EXAMPLES_TOPIC)]
    counts = {name: found[name].partitions for name in names if name in found}
    if len(set(counts.values())) <= 1:
        return []
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    remedy = (
        "One customer's records must have one partition number in all of them. Make new topics with equal numbers of "
        "partitions and publish again: adding partitions to a topic would move customers away from their state."
    )
    return [Problem(min(counts, key=lambda name: counts[name]), f"unequal numbers of partitions: {told}.", remedy)]


def refuse(wrong: Sequence[Problem]) -> None:
    """Raise `RefusedSettings` that names every problem; nothing where there is none."""
    if wrong:
        raise RefusedSettings(
            f"{counted(len(wrong), 'topic setting')} would lose or disorder data:\n"
            + "\n".join(f"  {problem}" for problem in wrong),
            "`rescore topics apply` sets what can be set; for the rest, each line says what to do.",
        )


def describe(admin: AdminClient, names: Iterable[str]) -> dict[str, FoundTopic]:
    """The topics of these names that are there. Raises `KafkaException` if no broker answers."""
    wanted = set(names)
    metadata = admin.list_topics(timeout=ANSWER_SECONDS)
    counts = {
        name: len(topic.partitions) for name, topic in metadata.topics.items() if name in wanted and topic.error is None
    }
    if not counts:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in counts]
    answers = admin.describe_configs(resources, request_timeout=ANSWER_SECONDS)
    return {
        resource.name: FoundTopic(
            counts[resource.name], {key: entry.value for key, entry in answer.result(ANSWER_SECONDS).items()}
        )
        for resource, answer in answers.items()
    }


def found_topics(admin: AdminClient, options: TopicOptions) -> dict[str, FoundTopic]:
    """The topics of a deployment that are on the brokers."""
    return describe(admin, [topic.name for topic in specification(options)])


def check(admin: AdminClient, options: TopicOptions) -> list[Problem]:
    """What is wrong with the topics on the brokers."""
    return problems(options, found_topics(admin, options))


def apply(admin: AdminClient, options: TopicOptions) -> list[str]:
    """Make missing topics and set what is set otherwise; returns a line per topic touched. Repeatable.

    Numbers of partitions are left alone: `problems` says what to do about them.
    """
    wanted = specification(options)
    found = describe(admin, [topic.name for topic in wanted])
    missing = [topic for topic in wanted if topic.name not in found]
    made = _make(admin, missing, options.replication_factor)
    # A broker hears of a new topic late: what somebody else made a moment ago was missing, and is there.
    found |= describe(admin, [topic.name for topic in missing if topic.name not in made])
    done = [
        f"{topic.name}: made with {counted(topic.partitions, 'partition')}" for topic in missing if topic.name in made
    ]
    for topic in wanted:
        if topic.name not in found:
            continue
        has = found[topic.name].config
        other = {key: value for key, value in topic.config.items() if key not in has or _is_less(key, value, has[key])}
        if other:
            set_config(admin, topic.name, other)
            done.append(f"{topic.name}: set " + ", ".join(f"{key}={value}" for key, value in other.items()))
    return done


def _make(admin: AdminClient, topics: Sequence[TopicSpecification], replication_factor: int) -> set[str]:
    """Make topics; returns the names of those that were not there."""
    if not topics:
        return set()
    new = [NewTopic(topic.name, topic.partitions, replication_factor, config=topic.config) for topic in topics]
    made = set()
    for name, answer in admin.create_topics(new, operation_timeout=ANSWER_SECONDS).items():
        try:
            answer.result(2 * ANSWER_SECONDS)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        else:
            made.add(name)
    # A broker knows a new topic a moment after the controller: whoever starts next must find all of them.
    for _ in range(METADATA_QUESTIONS_MAX):
        if {topic.name for topic in topics} <= admin.list_topics(timeout=ANSWER_SECONDS).topics.keys():
            break
    return made


def set_config(admin: AdminClient, name: str, config: Mapping[str, str], reset: Iterable[str] = ()) -> None:
    """Change the configuration of a topic, all of it or nothing; the keys in `reset` get the broker's default back."""
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()]
    entries += [ConfigEntry(key, None, incremental_operation=AlterConfigOpType.DELETE) for key in reset]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result(ANSWER_SECONDS)
