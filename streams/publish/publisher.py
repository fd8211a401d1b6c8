"""`rescore publish`: events to Kafka, idempotently, each at its own partition and, for history, at its own time.

A worker's clock is driven by the timestamps of records. Live topics are stamped by the broker; history
(`clock = records`) is stamped here with the event time, and then time must not go back: `refuse_to_go_back` asks the
topics for the latest timestamp they hold before the first event is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from schemas.errors import RescoreError
from schemas.times import FIRST_TIMESTAMP_MS
from streams.publish.events import Event

FLUSH_SECONDS = 120.0
POLL_EVERY = 1_000


class Producer(Protocol):
    """The part of confluent_kafka.Producer that is used."""

    @property
    def produce(self) -> Callable[..., None]:
        """Give a record to the queue; raises BufferError while it is full."""

    @property
    def poll(self) -> Callable[[float], int]:
        """Serve delivery reports, waiting at most so many seconds for one."""

    @property
    def flush(self) -> Callable[[float], int]:
        """Wait at most so many seconds for all reports; returns how many are missing."""


class TimeGoesBack(RescoreError):
    """The events begin before the end of what the topics hold; with `clock = records` they would be taken as late."""


class NotDelivered(RescoreError):
    """Kafka did not acknowledge every record in time, or refused some."""


@dataclass(slots=True)
class Published:
    """What a publication has done so far."""

    sent: int = 0
    acknowledged: int = 0
    last_time_ms: int | None = None
    since_seconds: float | None = None  # when the first record was about to be sent, on a clock of the caller's
    refusals: dict[str, int] = field(default_factory=dict)  # why Kafka refused records: how many

    def delivered(self, error: Any, _message: Any) -> None:
        """Delivery report of one record."""
        if error is None:
            self.acknowledged += 1
        else:
            self.refusals[str(error)] = self.refusals.get(str(error), 0) + 1


def producer_settings(
    bootstrap_servers: str, partitioner: str, librdkafka: dict[str, str]
) -> dict[str, str | int | bool]:
    """Settings of an idempotent producer whose keys go where the Java client would send them.

    librdkafka's own default partitioner sends three quarters of the users elsewhere.
    """
    return {
        "linger.ms": 20,
        "compression.type": "lz4",
        **librdkafka,
        "bootstrap.servers": bootstrap_servers,
        "partitioner": "murmur2_random" if partitioner == "murmur2" else "consistent_random",
        "enable.idempotence": True,
        "acks": "all",
    }


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


def timestamp_option(time_ms: int | None) -> dict[str, int]:
    """The option of `produce` that stamps a record with a time; no option where the broker stamps it (None).

    Raises NotDelivered for a time that cannot be a timestamp: librdkafka would stamp the record with the present.

    >>> timestamp_option(1_000), timestamp_option(None)
    ({'timestamp': 1000}, {})
    """
    if time_ms is None:
        return {}
    if time_ms < FIRST_TIMESTAMP_MS:
        raise NotDelivered(
            f"no record can have the timestamp {time_ms} ms: the first is {text_of_ms(FIRST_TIMESTAMP_MS)}, "
            "and nothing was sent with it"
        )
    return {"timestamp": time_ms}


def send(producer: Producer, done: Published, **record: Any) -> None:
    """Give one record to the producer, waiting while its queue is full."""
    while True:
        try:
            producer.produce(on_delivery=done.delivered, **record)
        except BufferError:  # its queue is full: Kafka is slower than we read
            producer.poll(0.1)
        else:
            done.sent += 1
            return


def finish(producer: Producer, done: Published) -> None:
    """Wait for every acknowledgement. Raises NotDelivered that says how many are missing and why."""
    waiting = producer.flush(FLUSH_SECONDS)
    if done.refusals:
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in done.refusals.items())
        raise NotDelivered(f"Kafka refused {sum(done.refusals.values()):,} of {done.sent:,} records: {reasons}")
    if waiting:
        raise NotDelivered(f"{waiting:,} records have not been acknowledged within {FLUSH_SECONDS:.0f} s")


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


def text_of_ms(time_ms: int) -> str:
    """A time as ISO 8601 in UTC, without needless zeros.

    >>> text_of_ms(725846400000)
    '1993-01-01T00:00:00Z'
    """
    moment = datetime.fromtimestamp(time_ms / 1_000, UTC)
    return moment.isoformat(timespec="milliseconds" if time_ms % 1_000 else "seconds").replace("+00:00", "Z")
