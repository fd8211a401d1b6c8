"""Time zones as columns: what moment a local time is, the same in the kernel as in plain Python.

A zone is the list of its changes of offset. A local time that a change skips is read with the offset before the change,
and so is the first of two that a change repeats (RFC 5545, section 3.3.5). A date alone is its first existing instant.
"""

from __future__ import annotations

from datetime import UTC as UTC_OFFSET
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from schemas.batch import BEGINNING_MS, DAY_MS, FOREVER_MS
from schemas.compiled import compiled

FIRST_DAY = -25_567
"""1900-01-01, counted from 1970-01-01. Before it, a zone keeps the offset that it has then."""
LAST_DAY = 84_006
"""2200-01-01. From then on, a zone keeps the offset that it has then."""
DAY_SECONDS = 86_400


class Zone(NamedTuple):
    """The offsets of a time zone, ascending by time; the first one holds since ever. All in milliseconds.

    Offset i holds from the instant `since_ms[i]` to `since_ms[i + 1]`; local times are read with it from `local_ms[i]`
    to `local_ms[i + 1]`. `since_ms` has one entry more, after all times.
    """

    since_ms: NDArray[np.int64]
    local_ms: NDArray[np.int64]
    offset_ms: NDArray[np.int64]


@lru_cache(maxsize=64)
def zone_of(name: str) -> Zone:
    """The zone of a name in the IANA database. Raises ZoneInfoNotFoundError. Cost: 0.1 s once for each name.

    >>> [int(offset) for offset in zone_of("Asia/Kathmandu").offset_ms[-1:]]
    [20700000]
    """
    if name == "UTC":
        return UTC
    zone = ZoneInfo(name)
    changes: list[tuple[int, int, int]] = []  # instant, offset before it, offset from it on; all in seconds
    first = before = _offset_at(FIRST_DAY * DAY_SECONDS, zone)
    # No zone has two changes within a day that undo each other: looking once a day finds them all.
    for end in range((FIRST_DAY + 1) * DAY_SECONDS, (LAST_DAY + 1) * DAY_SECONDS, DAY_SECONDS):
        low = end - DAY_SECONDS
        while _offset_at(end, zone) != before:
            low, after = _next_change(low, end, before, zone)
            changes.append((low, before, after))
            before = after
    return _frozen(
        [BEGINNING_MS, *(at * 1_000 for at, _, _ in changes), FOREVER_MS],
        [BEGINNING_MS, *((at + max(old, new)) * 1_000 for at, old, new in changes)],
        [first * 1_000, *(new * 1_000 for _, _, new in changes)],
    )


def _frozen(*columns: list[int]) -> Zone:
    """Read-only columns, as everybody shares them; the kernels are compiled for those alone."""
    arrays = [np.array(column, np.int64) for column in columns]
    for array in arrays:
        array.setflags(write=False)
    return Zone(*arrays)


def _next_change(low: int, high: int, before: int, zone: ZoneInfo) -> tuple[int, int]:
    """The first second in (low, high] whose offset is not `before`, and its offset."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset_at(middle, zone) == before else (low, middle)
    return high, _offset_at(high, zone)


def _offset_at(second: int, zone: ZoneInfo) -> int:
    offset = (_EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC_OFFSET)

UTC = _frozen([BEGINNING_MS, FOREVER_MS], [BEGINNING_MS], [0])
"""The zone of a policy that names none."""


@compiled
def instant_ms(zone: Zone, local_ms: int) -> int:
    """The moment at which the zone's clocks show a local time, itself as milliseconds since 1970-01-01T00:00 local.

    >>> new_york, eight = zone_of("America/New_York"), 8 * 3_600_000
    >>> int(instant_ms(new_york, eight)) - eight == 5 * 3_600_000
    True
    """
    return local_ms - zone.offset_ms[_index(zone, local_ms)]  # type: ignore[no-any-return]


@compiled
def first_of_day_ms(zone: Zone, day: int) -> int:
    """The first instant of a day that exists. A day that the zone skipped begins, empty, where the next one does.

    >>> int(first_of_day_ms(UTC, 1))
    86400000
    """
    at = _index(zone, day * DAY_MS)
    return min(day * DAY_MS - zone.offset_ms[at], zone.since_ms[at + 1])  # type: ignore[no-any-return]


@compiled
def _index(zone: Zone, local_ms: int) -> int:
    """Which offset a local time is read with."""
    low, high = 0, len(zone.local_ms)
    while high - low > 1:
        middle = (low + high) // 2
        if zone.local_ms[middle] <= local_ms:
            low = middle
        else:
            high = middle
    return low
