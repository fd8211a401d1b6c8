"""How far behind the demo's worker is, from looks at offsets: also where nothing comes that could be measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from streams.log.open_transactions import Where

STALE_SECONDS = 2.0
LOOKS_MAX = 1_000


class _Look(NamedTuple):
    at_seconds: float
    ends: dict[Where, int]


class Backlog:
    """Remembers where the inputs ended and forgets it once the worker has committed that far."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque()
        self._last_seconds: float | None = None

    def look(self, at_seconds: float, committed: Mapping[Where, int], waiting: Mapping[Where, int]) -> None:
        """What the brokers said at a moment: committed offsets, and how many records wait behind them."""
        self._last_seconds = at_seconds
        if len(self._looks) < LOOKS_MAX:  # the first ones tell the lag
            ends = {place: committed.get(place, 0) + count for place, count in waiting.items()}
            self._looks.append(_Look(at_seconds, ends))
        while self._looks and all(committed.get(place, 0) >= end for place, end in self._looks[0].ends.items()):
            self._looks.popleft()

    def seconds(self, now_seconds: float) -> float | None:
        """So long at least the oldest record has been waiting; None before the first look.

        >>> backlog, place = Backlog(), ("loans", 0)
        >>> backlog.look(10.0, {place: 5}, {place: 2})
        >>> backlog.look(14.0, {place: 6}, {place: 1})
        >>> backlog.seconds(14.1)
        4.0
        >>> backlog.look(15.0, {place: 7}, {place: 0})
        >>> backlog.seconds(15.1)
        0.0
        """
        if self._last_seconds is None:
            return None
        silent_seconds = now_seconds - self._last_seconds  # while brokers do not answer nobody knows better
        oldest_seconds = self._looks[0].at_seconds if self._looks else self._last_seconds
        return self._last_seconds - oldest_seconds + (silent_seconds if silent_seconds > STALE_SECONDS else 0.0)
