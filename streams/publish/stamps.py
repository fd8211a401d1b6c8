"""Records that a person's command writes: whose clock stamps them, who gave the command."""

from __future__ import annotations

import getpass
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.settings import Settings


def require_clock(chosen: Settings) -> None:
    """Refuse to write if RESCORE_CLOCK is not the clock of the topics. Raises RefusedSettings.

    Every command that writes to an input or broadcast topic asks first: one record stamped with the present ends a
    history, and one stamped with an old time would be late in a live topic.
    """
    from streams.kafka.topics_clock import clocks_of, refuse_other_clock

    refuse_other_clock(chosen.clock, clocks_of(chosen.kafka, chosen.topic_prefix))


def stamp_ms(chosen: Settings) -> int | None:
    """The timestamp of a record written by hand: the broker's own, or for history the latest there is.

    Raises RefusedSettings if the topics have the other clock.
    """
    require_clock(chosen)
    return _latest_ms(chosen)


def _latest_ms(chosen: Settings) -> int | None:
    """The latest timestamp of a history; None if the clock is the broker's.

    Time comes from the records there; the present would take every customer decades forward. Where no record is there
    yet, it is the first timestamp a record can have.
    """
    if chosen.clock == "wall":
        return None
    from schemas.kinds import INPUT_TOPICS
    from schemas.times import FIRST_TIMESTAMP_MS
    from streams.kafka.client import latest_timestamps_ms, require_topics

    latest = latest_timestamps_ms(chosen.kafka, require_topics(chosen.kafka, map(chosen.topic, INPUT_TOPICS)))
    return max(latest.values(), default=FIRST_TIMESTAMP_MS)


def who() -> str:
    """Who gives a command, for the records that keep an author."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def present_ms(chosen: Settings) -> int:
    """The present; for history the latest time that records have told."""
    stamped = _latest_ms(chosen)
    return time.time_ns() // 1_000_000 if stamped is None else stamped


def send_broadcast(chosen: Settings, topic: str, key: bytes, value: bytes, at_ms: int) -> None:
    """Publish a version to a broadcast topic and wait until Kafka has it. Raises RefusedSettings as `stamp_ms` does."""
    from streams.kafka.client import producer, require_topics
    from streams.kafka.producer import Published, finish, send, timestamp_option

    name = chosen.topic(topic)
    require_topics(chosen.kafka, [name])
    require_clock(chosen)
    done, sender = Published(), producer(chosen.kafka)
    stamp = timestamp_option(at_ms if chosen.clock == "records" else None)
    send(sender, done, topic=name, key=key, value=value, **stamp)
    finish(sender, done)
