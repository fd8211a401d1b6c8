"""Versions that reach every worker: rates, weights, policy. Known in time, so that none is ever late.

A version takes effect at least `NOTICE_MS` after it was written. So before a partition's clock passes T, it is enough
to have read every broadcast topic to an end that was asked for after T - `NOTICE_MS`. That moment is told by the log
itself: whoever has received a record with timestamp T asks after T. Until the answer is read, clocks hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from schemas.batch import FOREVER_MS, Record
from streams.log.protocol import TopicPartition

NOTICE_MS = 30_000
"""A version's effective time is at least this much later than its own timestamp, or counts as that."""

V = TypeVar("V")


class BroadcastLog(Protocol):
    """The part of a `Log` that reading broadcast topics needs."""

    def partitions(self, topic: str) -> int | None:
        """Number of partitions; None: no answer."""
        ...

    def first_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """Oldest offsets, asked now; None: no answer."""
        ...

    def end_offsets(self, where: Sequence[TopicPartition]) -> dict[TopicPartition, int] | None:
        """High watermarks, asked now; None: no answer."""
        ...

    def read(self, where: TopicPartition, from_offset: int, until_offset: int) -> Iterator[list[Record]]:
        """Committed records in pieces; an empty piece means: nothing new yet."""
        ...


class Broadcast(Generic[V]):
    """What the broadcast topics say, and until when that is all there is to know: a `Gate` for clocks.

    `adopt(versions, records)` returns the versions with new records taken in; it decides what a record means. Records
    come in order of their offset within a partition; between partitions and topics there is no order, so `adopt` must
    not depend on one. If it raises, nothing of the piece is taken in, and the next call reads the piece again.
    `limit_ms` says from the versions how far clocks may go until there are more of them (the next ones learned, where
    clocks wait for the learner). Never blocks for longer than the log's own answers take.
    """

    def __init__(
        self,
        log: BroadcastLog,
        topics: Sequence[str],
        versions: V,
        adopt: Callable[[V, Sequence[Record]], V],
        limit_ms: Callable[[V], int] = lambda _versions: FOREVER_MS,
    ) -> None:
        self._log = log
        self._topics = tuple(topics)
        self._adopt = adopt
        self._limit_ms = limit_ms
        self._position: dict[TopicPartition, int] | None = None
        self._reading: Iterator[bool] | None = None
        self._asked_at_ms = 0
        self._known_until_ms = -FOREVER_MS
        self.versions: V = versions
        """Everything read so far. Versions that are not in force yet do no harm: they wait for their time."""

    def until_ms(self, newest_ms: int) -> int:
        """Clocks may pass times up to this one. Asks and reads on where `newest_ms` comes near it.

        Half of the notice ahead, so that live clocks never have to wait for the answer.
        """
        limit_ms = self._limit_ms(self.versions)
        if newest_ms <= min(self._known_until_ms - NOTICE_MS // 2, limit_ms):
            return min(self._known_until_ms, limit_ms)
        if self._reading is None:
            self._asked_at_ms = newest_ms
        if self.read_on():
            self._known_until_ms = self._asked_at_ms + NOTICE_MS
        return min(self._known_until_ms, self._limit_ms(self.versions))

    def read_on(self) -> bool:
        """Read to the end of the topics as they are now, a step a call; True when that is done."""
        if self._reading is None:
            self._reading = self._read_to_the_end()
        reading, self._reading = self._reading, None  # a step that raises ends the reading, and it begins again
        done = next(reading, True)
        if not done:
            self._reading = reading
        return done

    def _read_to_the_end(self) -> Iterator[bool]:
        """Yields False whenever there is something to wait for; ends when everything asked for was read."""
        while not self._find_positions():
            yield False
        position = self._position or {}
        while (ends := self._log.end_offsets(list(position))) is None:
            yield False
        for where, end in ends.items():
            for records in self._log.read(where, position[where], end):
                if not records:
                    yield False
                    continue
                self.versions = self._adopt(self.versions, records)
                position[where] = records[-1].offset + 1
            position[where] = max(position[where], end)

    def _find_positions(self) -> bool:
        if self._position is None:
            counts = {topic: self._log.partitions(topic) for topic in self._topics}
            where = [TopicPartition(topic, p) for topic, count in counts.items() for p in range(count or 0)]
            if all(counts.values()):
                self._position = self._log.first_offsets(where)
        return self._position is not None
