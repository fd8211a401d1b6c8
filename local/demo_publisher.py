"""The demo's source of events: the past as fast as it goes, then simulated days in seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from local.generator import SampleEvent
from schemas.batch import DAY_MS
from streams.publish import Producer, Published, finish, send

REMEMBERED = 20_000
WAIT_SECONDS = 0.02
FLUSH_SECONDS = 15.0
POLL_EVERY = 500

Clock = Callable[[], float]
"""Seconds that never go back."""


class Sent(NamedTuple):
    """What is remembered of an event: when it was sent (None for the past, which waits), and what it was in words."""

    at_seconds: float | None
    words: str


class Pace(NamedTuple):
    """Events before `live_ms` go at once; from then on `days_per_second` of their days pass in a second."""

    live_ms: int
    days_per_second: float

    def seconds_until(self, time_ms: int) -> float:
        """Seconds of live time after which an event of this time is due; not above 0 for the past.

        >>> Pace(live_ms=0, days_per_second=2.0).seconds_until(86_400_000)
        0.5
        """
        return (time_ms - self.live_ms) / DAY_MS / self.days_per_second


class Publisher(threading.Thread):
    """Publishes a stream in its own thread, remembers the latest events, and stops when told or at the stream's end.

    Before the first live event it waits until `caught_up` is set: the story is not for a worker that is still busy
    with the past, or with starting.
    """

    def __init__(
        self,
        stream: Iterable[SampleEvent],
        producer: Producer,
        encode: Callable[[str, dict[str, Any]], bytes],
        topic_name: Callable[[str], str],
        pace: Pace,
        clock: Clock,
    ) -> None:
        super().__init__(name="demo-publisher", daemon=True)
        self.published = Published()
        self.past_is_out = threading.Event()
        self.caught_up = threading.Event()
        self.now_ms = 0
        self.failure: Exception | None = None
        self._stream, self._producer, self._encode, self._topic_name = stream, producer, encode, topic_name
        self._pace, self._clock = pace, clock
        self._stopped = threading.Event()
        self._live = False
        self._remembered: dict[str, Sent] = {}

    def run(self) -> None:
        """Publish until the end."""
        try:
            self._publish()
        except Exception as error:  # noqa: BLE001 - told by the thread that watches this one
            self.failure = error
        finally:
            self.past_is_out.set()

    def stop(self) -> None:
        """Publish no more; returns once Kafka has acknowledged what was sent."""
        self._stopped.set()
        self.caught_up.set()
        self.join()

    def sent(self, event_id: str) -> Sent | None:
        """What is remembered of an event."""
        return self._remembered.get(event_id)

    def words(self, event_id: str) -> str | None:
        """What an event was, in words."""
        sent = self._remembered.get(event_id)
        return sent.words if sent else None

    def _publish(self) -> None:
        live_began: float | None = None
        for event in self._stream:
            if live_began is None and event.timestamp_ms >= self._pace.live_ms:
                live_began = self._begin_live()
            if live_began is not None:
                self._wait_until(live_began + self._pace.seconds_until(event.timestamp_ms))
            if self._stopped.is_set():
                break
            self._send(event)
        finish(self._producer, self.published)

    def _begin_live(self) -> float:
        self._producer.flush(FLUSH_SECONDS)
        self.past_is_out.set()
        self.caught_up.wait()
        self._live = True
        return self._clock()

    def _wait_until(self, at_seconds: float) -> None:
        while (missing := at_seconds - self._clock()) > 0 and not self._stopped.is_set():
            self._producer.poll(0)
            self._stopped.wait(min(missing, WAIT_SECONDS))

    def _send(self, event: SampleEvent) -> None:
        value = event.value if isinstance(event.value, bytes) else self._encode(event.topic, event.value)
        self._remember(event)
        self.now_ms = event.timestamp_ms
        topic = self._topic_name(event.topic)
        send(
            self._producer,
            self.published,
            topic=topic,
            key=event.key.encode(),
            value=value,
            timestamp=event.timestamp_ms,
        )
        if self.published.sent % POLL_EVERY == 0:
            self._producer.poll(0)

    def _remember(self, event: SampleEvent) -> None:
        if isinstance(event.value, dict) and (event_id := event.value.get("event_id")):
            self._remembered[event_id] = Sent(self._clock() if self._live else None, words_of(event.topic, event.value))
            if len(self._remembered) > REMEMBERED:
                del self._remembered[next(iter(self._remembered))]


def words_of(topic: str, value: Mapping[str, Any]) -> str:
    """An event in a few words.

    >>> words_of("transactions", {"category": "salary", "transaction_amount": 2450.0, "transaction_currency": "EUR"})
    'salary +2,450'
    >>> words_of("loans", {"event": "repaid", "loan_id": "L-24", "amount": 480.0})
    'loan L-24 repaid 480'
    """
    if topic == "loans":
        amount = value.get("amount") or value.get("order_amount")
        return f"loan {value['loan_id']} {value['event']}" + (f" {amount:,.0f}" if amount else "")
    currency = value["transaction_currency"]
    failed = value.get("transaction_state") in ("DECLINED", "FAILED")
    amount = f"{value['transaction_amount']:+,.0f}" + ("" if currency == "EUR" else f" {currency}")
    return f"{value.get('category') or 'transaction'} {amount}" + (" failed" if failed else "")
