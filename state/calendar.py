"""Days: whole days in the policy's time zone, a day beginning at its first existing instant.

A calendar is one array, the first millisecond of each day, so that both directions (which day is this moment in, when
does that day begin) are the same search, zone transitions included, in the kernel as in plain Python.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from schemas.batch import DAY_MS
from schemas.compiled import compiled

FIRST_DAY = -25_567
"""1900-01-01, counted from 1970-01-01. Earlier moments count as this day."""
LAST_DAY = 84_006
"""2200-01-01. Later moments count as this day."""


@lru_cache(maxsize=8)
def day_starts(time_zone: str) -> NDArray[np.int64]:
    """First millisecond of each day from FIRST_DAY to LAST_DAY in a zone of the IANA database.

    Cost: nothing for UTC, about half a second once for another zone.

    >>> int(day_starts("UTC")[-FIRST_DAY])
    0
    """
    days = np.arange(FIRST_DAY, LAST_DAY + 1, dtype=np.int64)
    if time_zone == "UTC":
        starts = days * DAY_MS
    else:
        zone = ZoneInfo(time_zone)
        starts = np.array([_first_instant_ms(int(day), zone) for day in days], np.int64)
        # A day that a zone skipped altogether (the date line) has no instant: it begins, empty, where the next does.
        starts = np.minimum.accumulate(starts[::-1])[::-1].copy()
    starts.setflags(write=False)
    return starts


def _first_instant_ms(day: int, zone: ZoneInfo) -> int:
    midnight = datetime(1970, 1, 1) + timedelta(days=day)  # noqa: DTZ001 - a local time, of the zone at hand
    first = midnight.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) != midnight:
        # Midnight does not exist: the clock was put forward over it. The offset before the gap names its first instant.
        before = (midnight - timedelta(hours=3)).replace(tzinfo=zone).utcoffset()
        after = (midnight + timedelta(hours=3)).replace(tzinfo=zone).utcoffset()
        assert before is not None
        assert after is not None
        low, high = midnight - max(before, after), midnight - min(before, after)
        while high - low > timedelta(milliseconds=1):
            middle = low + (high - low) / 2
            local = middle.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
            low, high = (low, middle) if local >= midnight else (middle, high)
        first = high.replace(tzinfo=UTC)
    return round((first - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


@compiled
def day_of(starts: NDArray[np.int64], moment_ms: int) -> int:
    """The day a moment belongs to.

    >>> int(day_of(day_starts("UTC"), 86_400_000)), int(day_of(day_starts("Europe/Prague"), 86_400_000 - 3_600_000))
    (1, 1)
    """
    last = len(starts) - 1
    at = moment_ms // 86_400_000 + 25_567
    at = min(max(at, 0), last)
    while at > 0 and starts[at] > moment_ms:
        at -= 1
    while at < last and starts[at + 1] <= moment_ms:
        at += 1
    return at - 25_567


@compiled
def start_of_day(starts: NDArray[np.int64], day: int) -> int:
    """The first millisecond of a day."""
    return starts[min(max(day + 25_567, 0), len(starts) - 1)]
