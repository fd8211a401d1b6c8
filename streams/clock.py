"""The clocks that a process is given, and how long it waits before it tries again."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time from outside. The wall decides when to ask and when to measure, never what a score is."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...

    def monotonic_seconds(self) -> float:
        """Seconds that never go back, for durations."""
        ...


FOREVER_SECONDS = float("inf")
WAYS_BACK_AT_ONCE = 2
WAY_BACK_SECONDS = 0.05
WAY_BACK_SECONDS_MAX = 2.0
"""A partition that went back twice in a row waits before it tries again, longer each time, up to this."""


def way_back_seconds(times: int) -> float:
    """Backoff before the nth recovery in a row: none for the first two, then doubling up to 2 s.

    >>> [way_back_seconds(times) for times in (1, 2, 3, 4, 20)]
    [0.0, 0.0, 0.1, 0.2, 2.0]
    """
    if times <= WAYS_BACK_AT_ONCE:
        return 0.0
    doublings = min(times - WAYS_BACK_AT_ONCE, 16)
    return min(WAY_BACK_SECONDS_MAX, WAY_BACK_SECONDS * float(1 << doublings))
