"""Rows made events: every value brought to the type its field has, each event given its time, key and identity.

The types are the schemas' own, so that a field added there can be published without a word being changed here.
"""

from __future__ import annotations

import contextlib
import heapq
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from schemas import times
from schemas.batch import DAY_MS
from schemas.row_keys import kafka_key_of
from schemas.times import FIRST_TIMESTAMP_MS
from schemas.zones import UTC, Zone
from streams.publish.conversion import Schema
from streams.publish.envelopes import Change, Revisions
from streams.publish.files import BadLine, Header, HearHeader, Progress, read_lines
from streams.publish.identity import Identify, Identity, default_id, no_ids, own_identity
from streams.publish.mapping import FileMapping
from streams.publish.remarks import remark_on
from streams.publish.rows import Fields, Read, Rows, decided

TIME_FIELDS: dict[str, tuple[str, ...]] = {
    "transactions": ("transaction_date",),
    "loans": ("paid_at", "order_date", "cancelled_at"),
    "applicants": ("declared_at",),
    "outcomes": ("known_at",),
    "fx-rates": ("effective_at",),
}
"""Topics events can be published to, and which field says when one happened; of several the first that it has."""

RATE_AHEAD_MS = 60_000
"""A rate must be known at least 30 s before it takes effect: its record carries a time as much earlier, but none before
the first timestamp there is, so that a rate may hold from 1970 or 1900 on."""

CHECKED_TOGETHER = 256
"""Rows that the workers' own decoder checks together: few, because the garbage collector looks at all that waits."""

_PLAIN_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")
EPOCH_DAY = date(1970, 1, 1).toordinal()

NO_TIMESTAMP = (
    "happened on or before 1970-01-01T00:00:00Z, which cannot be the timestamp of a record (RESCORE_CLOCK=records): "
    "a default date is not a time; write the time at which it happened, or leave the line out"
)

Encode = Callable[[Fields], bytes]
"""The bytes of an event's fields; raises ValueError where they do not fit the schema."""


class Event(NamedTuple):
    """One event on its way to a topic. `order` keeps events of one millisecond as they were in the files."""

    time_ms: int
    order: tuple[int, int, int]  # file, line, event of that line
    topic: str
    key: bytes
    value: bytes
    identity: Identity | None = None  # if it has an event_id of its own


@dataclass(frozen=True, slots=True)
class Source:
    """One file (None: standard input) and how it becomes events of a topic."""

    path: Path | None
    topic: str
    mapping: FileMapping

    @property
    def name(self) -> str:
        """The file's name in messages, without its folder."""
        return self.path.name if self.path else "-"


class Check(Protocol):
    """Finds events that workers would refuse."""

    def refusals(self, events: Sequence[Event]) -> dict[int, str]:
        """What is wrong with which of the events."""


Take = Callable[[Event, Fields], None]
"""Told of each event that is good, with its fields."""


def read_events(
    source: Source,
    schema: Schema,
    encode: Encode,
    number: int = 0,
    standard_input: IO[bytes] | None = None,
    progress: Progress = lambda _done: None,
    stamp: bool = False,
    remark: Callable[[BadLine], None] = lambda _line: None,
    identify: Identify = no_ids,
    zone: Zone = UTC,
    check: Check | None = None,
    header: HearHeader = lambda _header: None,
    take: Take | None = None,
    leave_out: Callable[[int], None] = lambda _number: None,
    streaming: bool = False,
) -> Iterator[Event | BadLine]:
    """Events of one file in its own order, and a `BadLine` for each line that does not become one.

    With `stamp` the time of an event becomes the timestamp of its record, so that a time that cannot be one makes a bad
    line: 1970-01-01T00:00:00Z above all, which librdkafka takes for the present. `remark` hears of lines that become
    events, and not those that their writer meant; `take` of each good event, `leave_out` of rows that `where` or a
    lookup leaves out. Times without a zone are read in `zone`, the policy's. With `streaming` events are sent as they
    are read: a number that only a later line explains is refused.

    An event without `event_id` gets one from `identify` and its line. Raises NoIdentity where that makes none, and
    MappingMistake and UnreadableFile for what is wrong with the file as a whole.
    """
    folder = source.path.parent if source.path else Path()
    rows = Rows(source.name, folder, source.topic, source.mapping, schema)
    maker = _Maker(source, rows, encode, number, stamp, remark, identify, zone)

    def hear(found: Header) -> None:
        if found.columns is not None:
            rows.expect(found.columns, TIME_FIELDS.get(source.topic, ()))
            unread = tuple(name for name in found.columns if name not in rows.mapper.columns.read)
            found = found._replace(unread=unread)
        header(found)

    lines = read_lines(source.path, standard_input or _no_input(), progress, source.mapping.reading, hear)
    made = _events_of_lines(maker, decided(rows, lines, streaming), keep_fields=take is not None)
    while batch := list(islice(made, 1 if streaming else CHECKED_TOGETHER)):
        yield from _checked(source.name, batch, check, take, leave_out)
    rows.mapper.columns.refuse_unseen(source.name)


class _Made(NamedTuple):
    """The events of a line, and as much of it as is needed to tell what it was."""

    number: int
    raw: str | None
    row: dict[str, Any] | None
    events: list[Event]
    fields: list[Fields]  # of each event, if somebody takes them


def _events_of_lines(maker: _Maker, lines: Iterator[Read | BadLine], keep_fields: bool) -> Iterator[_Made | BadLine]:
    for one in lines:
        if isinstance(one, BadLine):
            yield one
            continue
        number, row, raw = one.line
        row_kept = row if raw is None else None
        try:
            events = maker.events(one)
        except ValueError as error:
            yield BadLine(maker.source.name, number, str(error), raw, row_kept)
            continue
        fields = list(one.events) if keep_fields and not isinstance(one.events, str) else []
        yield _Made(number, raw, row_kept, events, fields)


def _checked(
    name: str, batch: list[_Made | BadLine], check: Check | None, take: Take | None, leave_out: Callable[[int], None]
) -> Iterator[Event | BadLine]:
    """The events of rows all of whose events are good; a row is published whole or not at all."""
    events = [event for one in batch if type(one) is _Made for event in one.events]
    refused = check.refusals(events) if check else {}
    at = 0
    for one in batch:
        if isinstance(one, BadLine):
            yield one
            continue
        if refused:
            places, at = range(at, at + len(one.events)), at + len(one.events)
            if wrong := next((refused[place] for place in places if place in refused), None):
                yield BadLine(name, one.number, wrong, one.raw, one.row)
                continue
        if take:
            for event, fields in zip(one.events, filter(None, one.fields), strict=True):
                take(event, fields)
        if not one.events:
            leave_out(one.number)
        yield from one.events


@dataclass(slots=True)
class _Maker:
    """What makes events of the fields of a file's lines."""

    source: Source
    rows: Rows
    encode: Encode
    number: int
    stamp: bool
    remark: Callable[[BadLine], None]
    identify: Identify
    zone: Zone
    revisions: Revisions = field(default_factory=Revisions)

    def events(self, read: Read) -> list[Event]:
        """The events of a line. Raises ValueError."""
        if isinstance(read.events, str):
            raise ValueError(read.events)  # noqa: TRY004 - not a type, a line that was found to be bad
        events = []
        change, number, line = read.change, self.number, read.line.number
        for repeat, fields in enumerate(read.events):
            if not fields:  # a change that `where` or a lookup leaves out
                continue
            if change and "previous" in fields:
                self.revisions.give(str(fields.get("user_id")), fields)
            event = self._event((number, line, repeat), fields)
            if change and fields.get("revision"):
                event = event._replace(time_ms=self._known_ms(event, fields, change))
            if self.stamp:
                _stampable(event)
            if said := remark_on(self.source.topic, fields):
                self.remark(BadLine(self.source.name, line, said))
            events.append(event)
        return events

    def _event(self, order: tuple[int, int, int], value: Fields) -> Event:
        topic, shape = self.source.topic, self.rows.shape
        names = TIME_FIELDS.get(topic, ())
        written = next(filter(None, map(value.get, names)), None)
        if written is None:
            raise ValueError(f"has no {' or '.join(names) or 'time'}: map the column that says when it happened")
        identity = own_identity(value)
        if identity is None and "event_id" in shape.convert:
            _, line, repeat = order
            value["event_id"] = default_id(self.identify(line), line, repeat, bool(self.source.mapping.repeat))
        if not shape.required <= value.keys():
            missing = sorted(shape.required - value.keys())
            raise ValueError(f"has no {', '.join(missing)}: map a column to it (--map {missing[0]}=COLUMN)")
        happened_ms = _time_ms_in_file(written, self.zone)
        if topic == "fx-rates":
            key = f"{value['currency']}/{value['effective_at']}"
            known_ms = max(happened_ms - RATE_AHEAD_MS, FIRST_TIMESTAMP_MS)
            return Event(known_ms, order, topic, key.encode(), self.encode(value))
        owner = kafka_key_of(value)
        if owner is None:
            raise ValueError("has no user_id: map the column that says whose it is")
        return Event(happened_ms, order, topic, owner.encode(), self.encode(value), identity)

    def _known_ms(self, event: Event, fields: Fields, change: Change) -> int:
        """When a correction became known: with the clock of records it must come after what it corrects."""
        previous, names = fields["previous"], TIME_FIELDS[self.source.topic]
        written = next((previous[name] for name in names if previous.get(name)), None)
        before_ms = event.time_ms if written is None else _time_ms_in_file(written, self.zone)
        return max(event.time_ms, before_ms, change.known_ms or event.time_ms)


def in_order(streams: Iterable[Iterable[Event]]) -> Iterator[Event]:
    """Events of several files merged by time, those of one millisecond in the order of the files and lines.

    Each stream has to be in order itself. Memory: one event of each.
    """
    return heapq.merge(*streams, key=when)


def when(event: Event) -> tuple[int, tuple[int, int, int]]:
    """What events are sorted by."""
    return event.time_ms, event.order


def _no_input() -> IO[bytes]:
    return io.BytesIO()


def _stampable(event: Event) -> None:
    """Raise ValueError if an event's time cannot be the timestamp of its record."""
    if event.time_ms < FIRST_TIMESTAMP_MS:
        raise ValueError(NO_TIMESTAMP)


def time_ms(written: str, zone: Zone = UTC) -> int:
    """The moment of a text as the worker reads it: local in `zone`, the policy's, if it names none. Raises ValueError.

    Reads what workers read, and nothing else.

    >>> time_ms("1993-01-01"), time_ms("2024-06-30T12:00:00+02:00")
    (725846400000, 1719741600000)
    """
    # The two commonest forms, three times as fast.
    if len(written) == 20 and _PLAIN_UTC.fullmatch(written):
        with contextlib.suppress(ValueError):
            return int(datetime.fromisoformat(written).timestamp()) * 1_000
    elif zone is UTC and len(written) == 10 and written[4] == written[7] == "-":
        with contextlib.suppress(ValueError):
            return (date.fromisoformat(written).toordinal() - EPOCH_DAY) * DAY_MS
    moment_ms = times.time_ms(written, zone)
    if moment_ms is None:
        raise ValueError(f"{written[:60]!r} is {times.time_fault(written)}")
    return moment_ms


def _time_ms_in_file(written: str, zone: Zone) -> int:
    """The same, of a value in a file, where filters read what workers do not. Raises ValueError."""
    try:
        return time_ms(written, zone)
    except ValueError as error:
        if times.FORMS not in str(error):
            raise
        how = "`date FORMAT`" + (" or `epoch UNIT`" if written.isdigit() else "")
        raise ValueError(f"{error}; {how} reads other forms") from None
