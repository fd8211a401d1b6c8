"""`rescore publish`: events to Kafka, idempotently, each at its own partition and, for history, at its own time.

A worker's clock is driven by the timestamps of records. Live topics are stamped by the broker; history
(`clock = records`) is stamped here with the event time, and then time must not go back: `refuse_to_go_back` asks the
topics for the latest timestamp they hold before the first event is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from schemas.errors import RescoreError
from schemas.time_text import text_of_ms
from streams.kafka.producer import (
    POLL_EVERY,
    Producer,
    Published,
    finish,
    send,
    timestamp_option,
)
from streams.publish.events import Event


class TimeGoesBack(RescoreError):
    """The events begin before the end of what the topics hold; with `clock = records` they would be taken as late."""


def publish(
    events: Iterable[Event],
    producer: Producer,
    topic_name: Callable[[str], str] = str,
    stamp: bool = False,
    published: Published | None = None,
    told: Callable[[Published], None] = lambda _published: None,
) -> Published:
    """Send events in the order given and wait until Kafka has acknowledged them all.

    `stamp` gives each record its event time as timestamp. `told` hears how far it is, a thousand events a time;
    `published` may be given to be looked at after an interruption. Raises NotDelivered, TimeGoesBack.
    """
    done = published if published is not None else Published()
    for event in events:
        if stamp:
            not_back(event, done)
            topic, stamp_of_event = topic_name(event.topic), timestamp_option(event.time_ms)
            send(producer, done, topic=topic, key=event.key, value=event.value, **stamp_of_event)
        else:
            send(producer, done, topic=topic_name(event.topic), key=event.key, value=event.value)
        done.last_time_ms = event.time_ms
        if done.sent % POLL_EVERY == 0:
            producer.poll(0)
            told(done)
    finish(producer, done)
    told(done)
    return done


def not_back(event: Event, done: Published) -> None:
    """Raise TimeGoesBack where an event is earlier than the one before it."""
    if done.last_time_ms is not None and event.time_ms < done.last_time_ms:
        raise TimeGoesBack(
            f"an event of {text_of_ms(event.time_ms)} comes after one of {text_of_ms(done.last_time_ms)}: "
            "leave out --as-is"
        )


def refuse_to_go_back(first_ms: int, latest_ms: dict[str, int]) -> None:
    """Raise TimeGoesBack where the first event is earlier than a record some input topic holds.

    >>> refuse_to_go_back(5, {"loans": 4})
    """
    if not latest_ms:
        return
    topic = max(latest_ms, key=lambda name: latest_ms[name])
    if first_ms < latest_ms[topic]:
        raise TimeGoesBack(
            f"topic {topic} holds records up to {text_of_ms(latest_ms[topic])}; "
            f"these events begin at {text_of_ms(first_ms)}"
        )


def advances(
    to_ms: int, partitions: Sequence[int], encode: Callable[[dict[str, Any]], bytes]
) -> list[tuple[int, bytes]]:
    """(partition, value) of the commands that bring the clock of each partition to `to_ms`."""
    value = encode({"command": "advance", "to": to_ms})
    return [(partition, value) for partition in partitions]


def publish_advances(
    topic: str, values: Sequence[tuple[int, bytes]], to_ms: int, producer: Producer, stamp: bool, published: Published
) -> None:
    """Send the `advance` commands, each to its own partition, and wait for them. Raises NotDelivered."""
    for partition, value in values:
        timestamp = timestamp_option(to_ms if stamp else None)
        send(producer, published, topic=topic, key=b"advance", value=value, partition=partition, **timestamp)
    finish(producer, published)
