"""Inputs that end at an open transaction: told by what a worker knows anyway, without another question to the brokers.

A fetch of committed records finds its end at the last stable offset. Where that stays before the high watermark, a
transaction is open there, and everything behind it waits for its publisher.
"""

from __future__ import annotations

from collections.abc import Mapping

from streams.log.protocol import TopicPartition


class HeldInputs:
    """Since when each input has rested before its high watermark.

    >>> held, loans = HeldInputs(), TopicPartition("loans", 0)
    >>> held.seconds({loans: 7}, {loans: 9}, 100.0), held.seconds({loans: 7}, {loans: 12}, 105.0)
    ({TopicPartition(topic='loans', partition=0): 0.0}, {TopicPartition(topic='loans', partition=0): 5.0})
    >>> held.seconds({loans: 12}, {loans: 12}, 110.0)
    {TopicPartition(topic='loans', partition=0): 0.0}
    """

    def __init__(self) -> None:
        self._since: dict[TopicPartition, tuple[int, float]] = {}

    def seconds(
        self, resting: Mapping[TopicPartition, int | None], ends: Mapping[TopicPartition, int], now_seconds: float
    ) -> dict[TopicPartition, float]:
        """How long each input has rested where it does, with something behind it; 0 where nothing is.

        `resting`: where a fetch found the end of an input, None where more is on its way. `ends`: high watermarks.
        """
        before, self._since = self._since, {}
        found: dict[TopicPartition, float] = {}
        for where, end in ends.items():
            offset = resting.get(where)
            if offset is None or offset >= end:
                found[where] = 0.0
                continue
            known = before.get(where)
            since = known if known is not None and known[0] == offset else (offset, now_seconds)
            self._since[where] = since
            found[where] = now_seconds - since[1]
        return found
