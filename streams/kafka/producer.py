"""Producers: their settings, and records sent with every delivery checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.errors import RescoreError
from schemas.time_text import text_of_ms
from schemas.times import FIRST_TIMESTAMP_MS

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
