"""What is published while something breaks: transactions, loans, overrides, and everything that should not be there.

The same events in the same order every time; only their times are those of the run, because the topics are live.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count as count_from
from itertools import islice
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from local.generator.events import events, population

CUSTOMERS = 2_400
SEED = 7
PAST_DAYS = 20
HELD_SECONDS = 3.0
"""An override ends by itself this long after it was published: a timer that fires in mid-stream."""

Value = Callable[[], bytes]


class Planned(NamedTuple):
    """One record to publish; its bytes are made when its time has come."""

    topic: str
    key: bytes | None
    value: Value


def plan(count: int, huge_bytes: int = 1_200_000, huge_every: int = 1_500) -> list[Planned]:
    """So many records: of a hundred, four duplicates, two poisoned ones, one override that expires, one late event;
    now and then one that is too large for a score and one erasure.
    """
    return list(islice(_disturbed(huge_bytes, huge_every), count))


def _disturbed(huge_bytes: int, huge_every: int) -> Iterator[Planned]:
    first_day = (datetime.now(UTC) - timedelta(days=PAST_DAYS)).date()
    people = population(SEED, CUSTOMERS, first_day, PAST_DAYS - 2)
    good = (event for event in events(people) if event.topic != "fx-rates")
    said: list[Planned] = []
    for number in count_from(1):
        event = next(good)
        value = event.value if isinstance(event.value, bytes) else json.dumps(event.value).encode()
        said.append(Planned(event.topic, event.key.encode(), _bytes(value)))
        yield said[-1]
        if number % 25 == 0:
            yield said[-20]
        if number % 50 == 0:
            yield Planned("transactions", said[-1].key, _bytes(b'{"user_id": "%d' % number))
        if number % 100 == 10:
            yield Planned("commands", event.key.encode(), _override(event.key))
        if number % 100 == 20:
            yield late(event.key, number)
        if number % 1_000 == 30:
            yield Planned("commands", event.key.encode(), _bytes(_erasure(event.key, number)))
        if number % huge_every == min(40, huge_every - 1):
            yield Planned("transactions", said[-1].key, _bytes(b"x" * huge_bytes))


def rates() -> list[tuple[str, bytes]]:
    """Exchange rates, which have to be in force before the first event."""
    people = population(SEED, CUSTOMERS, (datetime.now(UTC) - timedelta(days=PAST_DAYS)).date(), 1)
    found = [event for event in events(people) if event.topic == "fx-rates"]
    return [(event.key, json.dumps(event.value).encode()) for event in found]


def _bytes(value: bytes) -> Value:
    return lambda: value


def _override(user: str) -> Value:
    def value() -> bytes:
        until = datetime.now(UTC) + timedelta(seconds=HELD_SECONDS)
        fields: dict[str, Any] = {
            "event_id": f"hold-{user}",
            "user_id": user,
            "command": "override",
            "score": "status",
            "value": 1.5,
            "author": "matrix",
            "expires_at": until.isoformat(),
        }
        return json.dumps(fields).encode()

    return value


def _erasure(user: str, number: int) -> bytes:
    return json.dumps({"event_id": f"erase-{number}", "user_id": user, "command": "erase"}).encode()


def late(user: str, number: int) -> Planned:
    """A transaction of two months ago."""
    when = datetime.now(UTC) - timedelta(days=60, minutes=number)
    fields = {
        "event_id": f"late-{number}", "user_id": user, "transaction_state": "SUCCEEDED", "transaction_currency": "EUR",
        "user_balance": 100.0, "transaction_amount": 1.0 + number, "user_created": "2024-01-01",
        "user_category": "WEB", "transaction_date": when.isoformat(timespec="milliseconds"),
    }  # fmt: skip
    return Planned("transactions", user.encode(), _bytes(json.dumps(fields).encode()))


class Load(threading.Thread):
    """Publishes what is planned at a steady pace, straight to the broker; waits where the broker is away."""

    def __init__(
        self, bootstrap_servers: str, topic: Callable[[str], str], planned: list[Planned], rate: float
    ) -> None:
        super().__init__(name="load", daemon=True)
        self.planned = planned
        self.sent = 0
        self.delivered: dict[tuple[str, int], int] = {}
        self.failures: list[str] = []
        self._topic, self._rate = topic, rate
        self._go_on = threading.Event()
        self._go_on.set()
        self._ended = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "partitioner": "murmur2_random",
                "message.max.bytes": 30_000_000,
                "linger.ms": 5,
                "enable.idempotence": True,  # in the order they are given, whatever is tried again
                "log_level": 0,
            }
        )

    def run(self) -> None:
        """Publish all of it."""
        began = time.monotonic()
        for planned in self.planned:
            if self._ended.is_set():
                break
            while not self._go_on.is_set():
                self._go_on.wait(1.0)
                began += 1.0 if not self._go_on.is_set() else 0.0
            while time.monotonic() < began + self.sent / self._rate:
                self._producer.poll(0.005)
            self._send(planned)
        if self._producer.flush(120):
            self.failures.append("not everything was acknowledged")

    def stop(self) -> None:
        """Publish no more."""
        self._ended.set()
        self._go_on.set()
        self.join()

    def pause(self) -> None:
        """Publish nothing until `go_on`."""
        self._go_on.clear()

    def go_on(self) -> None:
        """Publish again."""
        self._go_on.set()

    def _send(self, planned: Planned) -> None:
        while True:
            try:
                self._producer.produce(self._topic(planned.topic), planned.value(), planned.key, on_delivery=self._note)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.sent += 1
                return

    def _note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failures.append(f"{message.topic()}: {error.str()}")
            return
        place = message.topic() or "", message.partition() or 0
        self.delivered[place] = max(self.delivered.get(place, -1), message.offset() or 0)
