"""Rows made events: every value brought to the type its field has, each event given its time, key and identity.

The types are the schemas' own, so that a field added there can be published without a word being changed here.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from schemas import times
from schemas.row_keys import kafka_key_of
from schemas.times import FIRST_TIMESTAMP_MS
from schemas.zones import UTC, Zone
from streams.publish_filters import Row, read_number
from streams.publish_identity import Identify, Identity, default_id, no_ids, own_identity
from streams.publish_mapping import FileMapping, Mapper
from streams.publish_reading import BadLine, Line, Progress, read_lines
from streams.publish_remarks import remark_on

Schema = Mapping[str, Any]
"""An Avro record schema as parsed from its .avsc file."""

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

TRUE, FALSE = frozenset({"true", "yes", "1", "t", "y"}), frozenset({"false", "no", "0", "f", "n"})


NO_TIMESTAMP = (
    "happened on or before 1970-01-01T00:00:00Z, which cannot be the timestamp of a record (RESCORE_CLOCK=records): "
    "a default date is not a time; write the time at which it happened, or leave the line out"
)

Encode = Callable[[dict[str, Any]], bytes]
"""The bytes of an event's fields; raises ValueError where they do not fit the schema."""


class Event(NamedTuple):
    """One event on its way to a topic. `order` keeps events of one millisecond as they were in the files."""

    time_ms: int
    order: tuple[int, int, int]  # file, line, event of that line
    topic: str
    key: bytes
    value: bytes
    identity: Identity | None = None  # where it has an event_id of its own


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
) -> Iterator[Event | BadLine]:
    """Events of one file in its own order, and a `BadLine` for each line that does not become one.

    With `stamp` the time of an event becomes the timestamp of its record, so that a time that cannot be one makes a bad
    line: 1970-01-01T00:00:00Z above all, which librdkafka takes for the present. `remark` hears of lines that become
    events, and not those that their writer meant. Times without a zone are read in `zone`, the policy's.

    An event without `event_id` gets one from `identify` and its line. Raises NoIdentity where that makes none.
    """
    shape = Shape.of(schema)
    mapper = Mapper.of(source.mapping, shape.convert, _lookup_rows(source))
    for line in read_lines(source.path, standard_input or _no_input(), progress):
        if isinstance(line, BadLine):
            yield line
            continue
        try:
            for repeat, row in enumerate(mapper.rows(line.row)):
                value = _value(row, shape.convert)
                event = _event(source, (number, line.number, repeat), value, shape, encode, identify, zone)
                if said := remark_on(source.topic, value):
                    remark(BadLine(source.name, line.number, said))
                yield _stampable(event) if stamp else event
        except ValueError as error:
            yield BadLine(source.name, line.number, str(error))


def in_order(streams: Iterable[Iterable[Event]]) -> Iterator[Event]:
    """Events of several files merged by time, those of one millisecond in the order of the files and lines.

    Each stream has to be in order itself. Memory: one event of each.
    """
    return heapq.merge(*streams, key=when)


def when(event: Event) -> tuple[int, tuple[int, int, int]]:
    """What events are sorted by."""
    return event.time_ms, event.order


@dataclass(frozen=True, slots=True)
class Shape:
    """What a schema asks of the fields: how each is converted, and which have to be there."""

    convert: dict[str, Callable[[Any], Any]]
    required: frozenset[str]

    @classmethod
    def of(cls, schema: Schema) -> Shape:
        """The shape of an Avro record schema."""
        fields = schema["fields"]
        return cls(
            {field["name"]: converter(field["type"]) for field in fields},
            frozenset(field["name"] for field in fields if "default" not in field),
        )


def _no_input() -> IO[bytes]:
    return io.BytesIO()


def _event(
    source: Source,
    order: tuple[int, int, int],
    value: dict[str, Any],
    shape: Shape,
    encode: Encode,
    identify: Identify,
    zone: Zone,
) -> Event:
    names = TIME_FIELDS.get(source.topic, ())
    written = next((value[name] for name in names if value.get(name)), None)
    if written is None:
        raise ValueError(f"has no {' or '.join(names) or 'time'}: map the column that says when it happened")
    identity = own_identity(value)
    if identity is None and "event_id" in shape.convert:
        _, line, repeat = order
        value["event_id"] = default_id(identify(line), line, repeat, bool(source.mapping.repeat))
    if missing := sorted(shape.required - value.keys()):
        raise ValueError(f"has no {', '.join(missing)}: map a column to it (--map {missing[0]}=COLUMN)")
    if source.topic == "fx-rates":
        key = f"{value['currency']}/{value['effective_at']}"
        known_ms = max(time_ms(written, zone) - RATE_AHEAD_MS, FIRST_TIMESTAMP_MS)
        return Event(known_ms, order, source.topic, key.encode(), encode(value))
    owner = kafka_key_of(value)
    if owner is None:
        raise ValueError("has no user_id: map the column that says whose it is")
    return Event(time_ms(written, zone), order, source.topic, owner.encode(), encode(value), identity)


def _stampable(event: Event) -> Event:
    """An event whose time can be the timestamp of its record. Raises ValueError."""
    if event.time_ms < FIRST_TIMESTAMP_MS:
        raise ValueError(NO_TIMESTAMP)
    return event


def _value(row: Row, convert: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The fields of a row as their types want them; `a.b` is field b of the record a."""
    value: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, raw in row.items():
        outer, dot, deep = name.partition(".")
        if dot:
            inner.setdefault(outer, {})[deep] = raw
        else:
            value[name] = _convert(name, raw, convert[name])
    for name, fields in inner.items():
        value[name] = _convert(name, fields, convert[name])
    return value


def _convert(name: str, raw: Any, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(raw)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def converter(avro_type: Any) -> Callable[[Any], Any]:
    """What brings a value from a file to a field's Avro type; raises ValueError in words where it can not.

    >>> converter(["null", "double"])("12.5"), converter("string")(7), converter(["null", "long"])("")
    (12.5, '7', None)
    """
    if isinstance(avro_type, list):
        others = [one for one in avro_type if one != "null"]
        convert = converter(others[0]) if len(others) == 1 else _any_of
        return (lambda raw: None if raw in (None, "") else convert(raw)) if "null" in avro_type else convert
    if isinstance(avro_type, dict) and avro_type["type"] == "map":
        values = converter(avro_type["values"])
        return lambda raw: {str(name): values(one) for name, one in _group(raw).items()}
    if isinstance(avro_type, dict) and avro_type["type"] == "record":
        fields = {field["name"]: converter(field["type"]) for field in avro_type["fields"]}
        return lambda raw: _record(raw, fields)
    if isinstance(avro_type, dict) and avro_type["type"] == "enum":
        symbols = avro_type["symbols"]
        return lambda raw: _symbol(raw, symbols)
    plain = avro_type["type"] if isinstance(avro_type, dict) else avro_type
    return CONVERTERS.get(plain, lambda raw: raw)


def _group(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError(f"{raw!r} is not a group of fields")  # noqa: TRY004 - a bad line, told as all others are
    return raw


def _any_of(raw: Any) -> Any:
    """A value of a field of several types: as it is, and from a file of text a truth, a number or a text."""
    if not isinstance(raw, str):
        return raw
    if raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    try:
        return read_number(raw)
    except ValueError:
        return raw


def _record(raw: Any, fields: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    if unknown := sorted(set(_group(raw)) - set(fields)):
        raise ValueError(f"there is no field {unknown[0]!r} in it; it has {', '.join(fields)}")
    return {name: _convert(name, raw.get(name), convert) for name, convert in fields.items()}


def _symbol(raw: Any, symbols: list[str]) -> str:
    if raw not in symbols:
        raise ValueError(f"{raw!r} is none of {', '.join(symbols)}")
    return str(raw)


def _whole(raw: Any) -> int:
    number = read_number(raw)
    if not number.is_integer():
        raise ValueError(f"{raw!r} is not a whole number")
    # Not through float where it is written out: identifiers may have more than 15 digits.
    return int(raw) if isinstance(raw, int) or str(raw).strip().lstrip("+-").isdigit() else int(number)


def _truth(raw: Any) -> bool:
    text = str(raw).strip().lower()
    if text not in TRUE | FALSE:
        raise ValueError(f"{raw!r} is neither true nor false")
    return text in TRUE


def _string(raw: Any) -> str:
    if isinstance(raw, datetime | date):
        return raw.isoformat()
    # 576.0 is how a column of whole numbers with gaps comes out of many tools; as an identifier it is 576.
    return str(int(raw)) if isinstance(raw, float) and raw.is_integer() else str(raw)


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _string,
    "double": read_number,
    "float": read_number,
    "int": _whole,
    "long": _whole,
    "boolean": _truth,
}


def time_ms(written: str, zone: Zone = UTC) -> int:
    """The moment of a text as the worker reads it: local in `zone`, the policy's, if it names none. Raises ValueError.

    >>> time_ms("1993-01-01"), time_ms("2024-06-30T12:00:00+02:00")
    (725846400000, 1719741600000)
    """
    moment_ms = times.time_ms(written, zone)
    if moment_ms is None:
        raise ValueError(f"{written[:60]!r} is {times.time_fault(written)}")
    return moment_ms


def _lookup_rows(source: Source) -> dict[str, dict[str, Row]]:
    """The joined rows of each lookup by the value they are matched on."""
    folder = source.path.parent if source.path else Path()
    found: dict[str, dict[str, Row]] = {}
    for name, lookup in source.mapping.lookups.items():
        lines = read_lines(folder / lookup.file, _no_input())
        found[name] = {str(line.row.get(lookup.match)): line.row for line in lines if isinstance(line, Line)}
    return found
