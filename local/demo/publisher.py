"""The demo's source of events: the past as fast as it goes, the last weeks in seconds, then the present."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from local.demo.present import at_present, of_the_present
from local.generator.events import SampleEvent
from schemas.batch import DAY_MS
from streams.kafka.producer import Producer, Published, finish, send, timestamp_option

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
    """Events before `story_ms` go at once; then `days_per_second` days pass in a second; today `per_second` events."""

    story_ms: int
    days_per_second: float
    per_second: float

    def seconds_until(self, time_ms: int) -> float:
        """Seconds from the beginning of the story until an event of this time is due; not above 0 before it.

        >>> Pace(story_ms=0, days_per_second=2.0, per_second=1.0).seconds_until(86_400_000)
        0.5
        """
        return (time_ms - self.story_ms) / DAY_MS / self.days_per_second


class Publisher(threading.Thread):
    """Publishes a stream in its own thread: first what was until now, then the rest as if it happened now.

    It remembers the latest events, and stops when told or at the stream's end. It waits twice: before the story until
    `caught_up` is set, as a worker that is still busy with the past would not show it; and before the first event of
    the present until `live` is set.
    """

    def __init__(
        self,
        stream: Iterable[SampleEvent],
        producer: Producer,
        encode: Callable[[str, dict[str, Any]], bytes],
        topic_name: Callable[[str], str],
        pace: Pace,
        clock: Clock,
        wall_ms: Callable[[], int],
    ) -> None:
        super().__init__(name="demo-publisher", daemon=True)
        self.published = Published()
        self.past_is_out, self.history_is_out = threading.Event(), threading.Event()
        self.caught_up, self.live = threading.Event(), threading.Event()
        self.now_ms = 0
        self.failure: Exception | None = None
        self._stream, self._producer, self._encode, self._topic_name = iter(stream), producer, encode, topic_name
        self._pace, self._clock, self._wall_ms = pace, clock, wall_ms
        self._stopped = threading.Event()
        self._watched = False  # whether events are sent one by one, so that the lag can be told
        self._remembered: dict[str, Sent] = {}

    def run(self) -> None:
        """Publish until the end."""
        try:
            first = self._publish_history()
            finish(self._producer, self.published)
            self.past_is_out.set()
            if first is not None:
                self.history_is_out.set()
                self.live.wait()
                self._publish_present(first)
                finish(self._producer, self.published)
        except Exception as error:  # noqa: BLE001 - told by the thread that watches this one
            self.failure = error
        finally:
            self.past_is_out.set()

    def stop(self) -> None:
        """Publish no more; returns once Kafka has acknowledged what was sent."""
        self._stopped.set()
        self.caught_up.set()
        self.live.set()
        self.join()

    def sent(self, event_id: str) -> Sent | None:
        """What is remembered of an event."""
        return self._remembered.get(event_id)

    def words(self, event_id: str) -> str | None:
        """What an event was, in words."""
        sent = self._remembered.get(event_id)
        return sent.words if sent else None

    def _publish_history(self) -> SampleEvent | None:
        """What happened until now, at its own times; answers the first event that is yet to come."""
        story_began: float | None = None
        for event in self._stream:
            if event.timestamp_ms >= self._wall_ms():
                return event
            if story_began is None and event.timestamp_ms >= self._pace.story_ms:
                story_began = self._begin_story()
            if story_began is not None:
                self._wait_until(story_began + self._pace.seconds_until(event.timestamp_ms))
            if self._stopped.is_set():
                return None
            self._send(event, timestamp_option(event.timestamp_ms))
        return None

    def _begin_story(self) -> float:
        self._producer.flush(FLUSH_SECONDS)
        self.past_is_out.set()
        self.caught_up.wait()
        self._watched = True
        return self._clock()

    def _publish_present(self, first: SampleEvent) -> None:
        """The rest as if it happened now, stamped by the broker."""
        due = self._clock()
        for event in of_the_present(chain([first], self._stream)):
            self._wait_until(due)
            if self._stopped.is_set():
                return
            self._send(at_present(event, self._wall_ms()), {})
            due = max(due + 1 / self._pace.per_second, self._clock())

    def _wait_until(self, at_seconds: float) -> None:
        while (missing := at_seconds - self._clock()) > 0 and not self._stopped.is_set():
            self._producer.poll(0)
            self._stopped.wait(min(missing, WAIT_SECONDS))

    def _send(self, event: SampleEvent, stamp: dict[str, int]) -> None:
        value = event.value if isinstance(event.value, bytes) else self._encode(event.topic, event.value)
        self._remember(event)
        self.now_ms = event.timestamp_ms
        topic, key = self._topic_name(event.topic), event.key.encode()
        send(self._producer, self.published, topic=topic, key=key, value=value, **stamp)
        if self._watched or self.published.sent % POLL_EVERY == 0:
            self._producer.poll(0)
        if self.published.refusals:
            finish(self._producer, self.published)  # says what Kafka refused, and why

    def _remember(self, event: SampleEvent) -> None:
        if isinstance(event.value, dict) and (event_id := event.value.get("event_id")):
            self._remembered[event_id] = Sent(
                self._clock() if self._watched else None, words_of(event.topic, event.value)
            )
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
