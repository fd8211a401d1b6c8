"""Merging the inputs of one partition by time, so that every run takes records in the same order. Pure: no I/O.

Order: (timestamp, rank of the topic, offset). Within one input offsets rule: a record behind an earlier one with a
later timestamp waits for it. So the order is that of (largest timestamp so far in its input, rank, offset).

A record is taken when every other input has a later one buffered or was at its end at the last fetch; no waiting
beyond that. An `advance` command is stricter, because timers fire on its word alone: it is taken when every other
input has a later record buffered or has been read to an end that was asked for after the advance had arrived.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, islice, repeat
from operator import itemgetter

from schemas.batch import FOREVER_MS, Record

AdvanceTo = Callable[[Record], int | None]
"""The clock an `advance` command asks for (ms), None for every other record of `commands`."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Records to process now, in order; advances are not among them, they only move the clock.

    `count` includes advances; `clock_ms` is the partition's clock after them (never goes back).
    """

    records: list[Record]
    count: int
    clock_ms: int


Waiting = tuple[int, int, Record]
"""(largest timestamp so far in its input, rank, record): these sort in the order of the merge, offsets last."""

FEW = 16
"""With room for so few users more, records are looked at one by one."""

_topic_of, _timestamp_of, _key_of, _value_of = (
    itemgetter(Record._fields.index(name)) for name in ("topic", "timestamp_ms", "key", "value")
)
_place = itemgetter(0, 1)
_time = itemgetter(0)


class _Input:
    """One input: what is buffered, how far it was read, whether it was at its end. `times_ms` never fall."""

    __slots__ = ("asked_end", "at_end", "bytes", "fetched", "rank", "records", "time_ms", "times_ms", "topic")

    def __init__(self, topic: str, rank: int, next_offset: int) -> None:
        self.topic = topic
        self.rank = rank
        self.fetched = next_offset
        self.time_ms = -FOREVER_MS
        self.at_end = False
        self.asked_end: int | None = None
        self.records: list[Record] = []
        self.bytes = 0  # of the values of these
        self.times_ms: list[int] = []

    @property
    def next_offset(self) -> int:
        """Where reading goes on after what has been taken."""
        return self.records[0].offset if self.records else self.fetched

    @property
    def last(self) -> tuple[int, int]:
        """Where the last record that waits stands in the order; behind it this input may bring anything."""
        return self.times_ms[-1], self.rank

    def add(self, records: list[Record], times_ms: Iterable[int]) -> None:
        """Buffer records that say so of time; what they say falls never behind what was said before."""
        said = list(accumulate(times_ms, max, initial=self.time_ms))
        self.times_ms += said[1:]
        self.records += records
        self.bytes += bytes_of(records)
        self.time_ms = said[-1]
        self.fetched = records[-1].offset + 1
        self.at_end = False

    def drop(self, count: int) -> None:
        """Forget the first records: they have been taken."""
        self.bytes -= self.bytes if count == len(self.records) else bytes_of(islice(self.records, count))
        del self.records[:count]
        del self.times_ms[:count]

    def waiting(self) -> Iterator[Waiting]:
        """What waits, in order."""
        return zip(self.times_ms, repeat(self.rank), self.records)


class Merge:
    """The merged inputs of one partition.

    `inputs` are the topics in order of rank; `next_offsets` say where each starts, `clock_ms` is the partition's clock.
    Costs half a microsecond per record where one input is alone, twice that where inputs interleave.

    >>> merge = Merge(("commands", "loans"), {"commands": 0, "loans": 0}, clock_ms=0)
    >>> merge.add([Record("loans", 0, 7, 1000, b"ann", b"...")])
    >>> merge.take().count  # commands may still bring an earlier one
    0
    >>> merge.reached_end("commands", 0)
    >>> taken = merge.take()
    >>> taken.records[0].offset, taken.clock_ms
    (7, 1000)
    >>> merge.next_offsets
    {'commands': 0, 'loans': 8}
    """

    def __init__(
        self,
        inputs: Sequence[str],
        next_offsets: Mapping[str, int],
        clock_ms: int,
        advance_to: AdvanceTo = lambda _: None,
        commands: str = "commands",
    ) -> None:
        self._inputs = {topic: _Input(topic, rank, next_offsets[topic]) for rank, topic in enumerate(inputs)}
        self._commands = commands
        self._advance_to = advance_to
        self._advances: set[int] = set()  # offsets of the advances that wait
        self.clock_ms = clock_ms
        self.newest_ms = clock_ms
        """The largest timestamp received so far, taken or not."""

    def add(self, records: Sequence[Record]) -> None:
        """Buffer records as they were fetched, each input in its own order. What was added before is dropped."""
        for topic, run in groupby(records, _topic_of):
            source, fetched = self._inputs[topic], list(run)
            if fetched[0].offset < source.fetched:
                fetched = [record for record in fetched if record.offset >= source.fetched]
            if not fetched:
                continue
            if topic == self._commands:
                source.add(fetched, map(self._time_of_command, fetched))
            else:
                source.add(fetched, map(_timestamp_of, fetched))
            self.newest_ms = max(self.newest_ms, source.time_ms)

    def _time_of_command(self, record: Record) -> int:
        """What a command says about time: an advance may not claim more than the log knew when it was written."""
        to_ms = self._advance_to(record)
        if to_ms is None:
            return record.timestamp_ms
        self._advances.add(record.offset)
        for source in self._inputs.values():
            source.asked_end = None  # asked before this one had arrived: worth nothing
        return min(to_ms, record.timestamp_ms)

    def reached_end(self, topic: str, offset: int) -> None:
        """A fetch found the end of an input at this offset."""
        source = self._inputs[topic]
        if offset >= source.fetched:
            source.fetched = offset
            source.at_end = True

    def asked_ends(self, ends: Mapping[str, int]) -> None:
        """End offsets of the inputs, asked from the brokers after everything buffered here had arrived."""
        for topic, end in ends.items():
            self._inputs[topic].asked_end = end

    @property
    def wants_ends(self) -> bool:
        """True while an advance waits at the head for ends that nobody has asked for yet."""
        head = self._head()
        if head is None or not self._is_advance(head) or self._is_safe(head):
            return False
        return any(source.asked_end is None for source in self._others())

    @property
    def next_offsets(self) -> dict[str, int]:
        """Where each input goes on after what has been taken."""
        return {topic: source.next_offset for topic, source in self._inputs.items()}

    @property
    def oldest_ms(self) -> int | None:
        """The earliest timestamp among the records that wait at the heads; None if none waits."""
        return min((s.records[0].timestamp_ms for s in self._inputs.values() if s.records), default=None)

    @property
    def next_ms(self) -> int | None:
        """When the next record will be taken; None while an input may still bring an earlier one, or all are empty."""
        head, limit = self._head(), self._limit()
        if head is None or limit is None or head[:2] > limit or (self._is_advance(head) and not self._is_safe(head)):
            return None
        return head[0]

    def rests_at(self, topic: str) -> int | None:
        """Where the last fetch of an input found its end; None where it has brought more since."""
        source = self._inputs[topic]
        return source.fetched if source.at_end else None

    def buffered(self, topic: str) -> tuple[int, int]:
        """Records of one input that wait here, and the bytes of their values."""
        return len(self._inputs[topic].records), self._inputs[topic].bytes

    def take(
        self,
        records_max: int = 1_000_000,
        users_max: int = 1_000,
        until_ms: int = FOREVER_MS,
        bytes_max: int = 2**62,
    ) -> Taken:
        """Take what may be taken: at most so many records, users and bytes (one record may have more), and nothing that
        moves time past `until_ms`. Where the next record lies behind that, time goes up to there.
        """
        waiting = [source for source in self._inputs.values() if source.records]
        limit = self._limit()
        if not waiting or limit is None:
            return Taken([], 0, self.clock_ms)
        if until_ms < min(source.times_ms[0] for source in waiting) and self.next_ms is not None:
            self.clock_ms = max(self.clock_ms, until_ms)
            return Taken([], 0, self.clock_ms)
        if len(waiting) == 1 and not self._advances:
            return self._take_from_one(waiting[0], records_max, users_max, until_ms, bytes_max)
        merged = sorted(entry for source in waiting for entry in source.waiting())
        merged = merged[: min(bisect_right(merged, limit, key=_place), bisect_right(merged, until_ms, key=_time))]
        merged = self._up_to_an_unsafe_advance(merged[:records_max])
        merged = merged[: _within_users([record for _, _, record in merged], len(merged), users_max)]
        if sum(source.bytes for source in waiting) > bytes_max:
            merged = merged[: _within_bytes([record for _, _, record in merged], bytes_max)]
        if not merged:
            return Taken([], 0, self.clock_ms)
        records = [record for _, _, record in merged]
        self._drop(waiting, len(merged), merged[-1])
        self.clock_ms = max(self.clock_ms, merged[-1][0])
        if self._advances:
            kept = [
                record for record in records if record.topic != self._commands or record.offset not in self._advances
            ]
            self._advances.difference_update(record.offset for record in records if record.topic == self._commands)
            return Taken(kept, len(records), self.clock_ms)
        return Taken(records, len(records), self.clock_ms)

    def _take_from_one(self, source: _Input, records_max: int, users_max: int, until_ms: int, bytes_max: int) -> Taken:
        """One input alone has records and all others are at their end: nothing to merge."""
        count = min(records_max, bisect_right(source.times_ms, until_ms))
        count = _within_users(source.records, count, users_max)
        if source.bytes > bytes_max:
            count = _within_bytes(source.records[:count], bytes_max)
        records = source.records[:count]
        if count:
            self.clock_ms = max(self.clock_ms, source.times_ms[count - 1])
        source.drop(count)
        return Taken(records, count, self.clock_ms)

    def _head(self) -> Waiting | None:
        """The first of what waits."""
        return min((next(source.waiting()) for source in self._inputs.values() if source.records), default=None)

    def _drop(self, waiting: list[_Input], count: int, last: Waiting) -> None:
        """Forget what was taken: everything up to `last` in the order of the merge."""
        time_ms, last_rank, _ = last
        for source in waiting:
            if source.rank != last_rank:
                at = (bisect_right if source.rank < last_rank else bisect_left)(source.times_ms, time_ms)
                source.drop(at)
                count -= at
        next(source for source in waiting if source.rank == last_rank).drop(count)

    def _limit(self) -> tuple[int, int] | None:
        """Up to where nothing can come in between; None where an input may bring anything."""
        open_ended = [source for source in self._inputs.values() if not source.at_end]
        if not all(source.records for source in open_ended):
            return None
        return min((source.last for source in open_ended), default=(FOREVER_MS, len(self._inputs)))

    def _up_to_an_unsafe_advance(self, merged: list[Waiting]) -> list[Waiting]:
        if self._advances:
            for i, entry in enumerate(merged):
                if self._is_advance(entry) and not self._is_safe(entry):
                    return merged[:i]
        return merged

    def _is_advance(self, entry: Waiting) -> bool:
        return entry[2].topic == self._commands and entry[2].offset in self._advances

    def _is_safe(self, advance: Waiting) -> bool:
        """No input can still bring a record that belongs before this advance."""
        return all(
            (source.records and source.last > advance[:2])
            or (source.asked_end is not None and source.fetched >= source.asked_end)
            for source in self._others()
        )

    def _others(self) -> list[_Input]:
        return [source for source in self._inputs.values() if source.topic != self._commands]


def bytes_of(records: Iterable[Record]) -> int:
    """Bytes of the values of records."""
    return sum(map(len, filter(None, map(_value_of, records))))


def _within_bytes(records: Sequence[Record], bytes_max: int) -> int:
    """How many records from the first on have at most so many bytes together; the first in any case."""
    sizes = accumulate(len(record.value or b"") for record in records)
    return max(min(1, len(records)), sum(1 for size in sizes if size <= bytes_max))


def _within_users(records: Sequence[Record], count: int, users_max: int) -> int:
    """How many of the first `count` records have at most so many different keys. Looks no further than it must."""
    users: set[bytes | None] = set()
    at = 0
    while at < count and (room := users_max - len(users)) > FEW:
        users.update(map(_key_of, records[at : min(count, at + room)]))
        at = min(count, at + room)
    for i in range(at, count):
        users.add(records[i].key)
        if len(users) > users_max:
            return i
    return count
