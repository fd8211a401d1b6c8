"""Whose clock stamps the records of the inputs: the publisher's (a history) or the broker's (live); and the switch.

The topics hold the only answer. `rescore topics apply` gives the topics of a history CreateTime and segments of ten
years; live topics have LogAppendTime. Topics with CreateTime and ordinary segments are not ours yet: they say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.kinds import INPUT_TOPICS
from state.errors import RefusedSettings
from streams.kafka.client import KafkaUnreachable, admin_of, unreachable
from streams.kafka.topics import BROADCAST_TOPICS, HISTORY_SEGMENT_MS, FoundTopic, describe, set_config
from streams.settings import KafkaSettings

CLOCKED_TOPICS = (*BROADCAST_TOPICS, *INPUT_TOPICS)
"""Topics whose timestamps drive a clock: a command that writes to one of them must stamp as the others do."""

NOT_ALLOWED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


class Clocks(NamedTuple):
    """Full names of the topics that hold a history, and of those that the broker stamps."""

    history: tuple[str, ...] = ()
    live: tuple[str, ...] = ()

    @property
    def clock(self) -> Literal["records", "wall", "between"] | None:
        """What RESCORE_CLOCK has to be; "between" after an interrupted switch; None if the topics say nothing.

        >>> Clocks(("loans",)).clock, Clocks(("loans",), ("transactions",)).clock, Clocks().clock
        ('records', 'between', None)
        """
        if self.history:
            return "between" if self.live else "records"
        return "wall" if self.live else None


def clocks_in(found: Mapping[str, FoundTopic]) -> Clocks:
    """Which of these topics hold a history and which are live, by their configuration."""
    history = tuple(name for name, topic in found.items() if _holds_history(topic))
    live = tuple(name for name, topic in found.items() if _timestamps(topic) == "LogAppendTime")
    return Clocks(history, live)


def _timestamps(topic: FoundTopic) -> str | None:
    return topic.config.get("message.timestamp.type")


def _holds_history(topic: FoundTopic) -> bool:
    return _timestamps(topic) == "CreateTime" and int(topic.config.get("segment.ms", 0)) >= HISTORY_SEGMENT_MS


def clocks_of(kafka: KafkaSettings, prefix: str) -> Clocks:
    """The clocks of a deployment's topics as the brokers say them now.

    Raises KafkaUnreachable, and RefusedSettings if this login may not read the configuration of topics.
    """
    try:
        return clocks_in(describe(admin_of(kafka), [prefix + name for name in CLOCKED_TOPICS]))
    except KafkaException as error:
        if error.args[0].code() not in NOT_ALLOWED:
            raise unreachable(kafka, error) from None
        raise RefusedSettings(
            f"this login may not read the configuration of the topics ({error.args[0].str()}), and without it nobody "
            "knows whether they hold a history or are live",
            "allow it DescribeConfigs on the input and broadcast topics",
        ) from None
    except TimeoutError:
        raise KafkaUnreachable(
            f"Kafka at {kafka.bootstrap_servers} does not say how its topics are configured"
        ) from None


def refuse_other_clock(wanted: Literal["wall", "records"], clocks: Clocks) -> None:
    """Raise RefusedSettings if the topics have another clock than RESCORE_CLOCK says.

    >>> refuse_other_clock("records", Clocks(history=("loans",)))
    >>> refuse_other_clock("wall", Clocks(history=("loans",)))
    Traceback (most recent call last):
    ...
    state.errors.RefusedSettings: RESCORE_CLOCK is wall, but topic loans holds a history: ...
    """
    found = clocks.clock
    if found is None or found == wanted:
        return
    if found == "between":
        raise RefusedSettings(
            f"`rescore topics go-live` was interrupted: {len(clocks.live)} topics are live, and "
            f"{', '.join(clocks.history)} not yet",
            "run `rescore topics go-live` again; it continues where it was",
        )
    if found == "records":
        raise RefusedSettings(
            f"RESCORE_CLOCK is wall, but topic {clocks.history[0]} holds a history: its records carry their own time "
            "(message.timestamp.type=CreateTime), and one record stamped with the present would end it",
            "set RESCORE_CLOCK=records; once the history is complete, `rescore topics go-live` ends it",
        )
    raise RefusedSettings(
        f"RESCORE_CLOCK is records, but topic {clocks.live[0]} is live: the broker stamps its records "
        "(message.timestamp.type=LogAppendTime)",
        "leave RESCORE_CLOCK out; a history goes into topics of its own (RESCORE_TOPIC_PREFIX, RESCORE_APP)",
    )


def switch_to_live(admin: AdminClient, topics: Iterable[str]) -> Iterator[str]:
    """Let the broker stamp the records of these topics from now on; yields each one that is switched.

    Records keep the timestamps they have, and retention stays: a shorter one would delete the history.
    """
    for name in topics:
        set_config(
            admin,
            name,
            {"message.timestamp.type": "LogAppendTime"},
            reset=("segment.ms", "message.timestamp.after.max.ms"),
        )
        yield name
