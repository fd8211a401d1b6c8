"""Generated events of days to come, moved to the present: how the demo's bank goes on once its history is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

from local.generator.events import SampleEvent
from local.generator.population import iso
from schemas.batch import DAY_MS

TOPICS = frozenset({"transactions", "loans"})
"""Exchange rates stay as they are: those of weeks to come would come into force within minutes."""

TIMES = ("transaction_date", "order_date", "paid_at", "cancelled_at")
DAYS = ("due_date",)


def at_present(event: SampleEvent, now_ms: int) -> SampleEvent:
    """The same event as if it happened now. Its times move with it, its dates by whole days.

    >>> sold = SampleEvent("loans", 0, "c-1", {"order_date": "1970-01-01T00:00:00Z", "due_date": "1970-01-31"})
    >>> at_present(sold, 2 * DAY_MS + 1_000).value
    {'order_date': '1970-01-03T00:00:01.000Z', 'due_date': '1970-02-02'}
    """
    assert isinstance(event.value, dict)
    ahead_ms = now_ms - event.timestamp_ms
    ahead = timedelta(days=now_ms // DAY_MS - event.timestamp_ms // DAY_MS)
    moved: dict[str, Any] = {}
    for name in TIMES:
        if name in event.value:
            moved[name] = iso(_ms_of(event.value[name]) + ahead_ms)
    for name in DAYS:
        if name in event.value:
            moved[name] = (date.fromisoformat(event.value[name]) + ahead).isoformat()
    return event._replace(timestamp_ms=now_ms, value=event.value | moved)


def of_the_present(stream: Iterable[SampleEvent]) -> Iterator[SampleEvent]:
    """The events of a stream that can happen at any time: no exchange rates, nothing damaged."""
    return (event for event in stream if event.topic in TOPICS and isinstance(event.value, dict))


def _ms_of(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)
