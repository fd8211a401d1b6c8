"""Days: whole days in the policy's time zone, a day beginning at its first existing instant.

A calendar is one array, the first millisecond of each day, so that both directions (which day is this moment in, when
does that day begin) are the same search, zone transitions included, in the kernel as in plain Python.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from schemas.batch import DAY_MS
from schemas.compiled import compiled
from schemas.zones import FIRST_DAY, LAST_DAY, zone_of


@lru_cache(maxsize=8)
def day_starts(time_zone: str) -> NDArray[np.int64]:
    """First millisecond of each day from FIRST_DAY to LAST_DAY in a zone of the IANA database.

    A day that a zone skipped altogether (the date line) begins, empty, where the next does: `first_of_day_ms` of each.

    >>> int(day_starts("UTC")[-FIRST_DAY])
    0
    """
    zone = zone_of(time_zone)
    midnights = np.arange(FIRST_DAY, LAST_DAY + 1, dtype=np.int64) * DAY_MS
    at = np.searchsorted(zone.local_ms, midnights, side="right") - 1
    starts: NDArray[np.int64] = np.minimum(midnights - zone.offset_ms[at], zone.since_ms[at + 1])
    starts.setflags(write=False)
    return starts


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
