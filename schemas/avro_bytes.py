"""Avro's binary encoding, one value at a time: reading and stepping over, strict and bounded.

The bytes are a stranger's. Whatever they say of lengths and counts, no more is allocated than they hold, nothing is
nested deeper than `NESTED_MAX`, and no value has more than `VALUES_MAX` parts: a billion nulls take four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

NESTED_MAX = 50
"""Deepest nesting of a value or of a schema."""

VALUES_MAX = 100_000
"""Most fields, items and entries of one value, those that are stepped over included; reading them takes some 30 ms."""

NAME_CHARS_SHOWN = 60

DOUBLE, FLOAT = struct.Struct("<d"), struct.Struct("<f")


class Broken(Exception):
    """These bytes are no value of the schema they were written with. `clause` is about the field `where`."""

    def __init__(self, clause: str) -> None:
        super().__init__(clause)
        self.clause = clause
        self.inside: list[str] = []

    @property
    def where(self) -> str:
        """The field, of nested records by the outer names first; empty for the value itself."""
        names = [name[:NAME_CHARS_SHOWN] for name in reversed(self.inside)]
        return ".".join(names[:3]) + ("..." if len(names) > 3 else "")


class Cursor:
    """A place in the bytes of one value, and how much has been read."""

    __slots__ = ("at", "data", "depth", "values")

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.depth, self.values = data, 0, 0, 0

    def count(self, values: int) -> None:
        """Note that so many values follow. Raises Broken where they are too many."""
        self.values += values
        if self.values > VALUES_MAX:
            raise Broken(f"it has more than {VALUES_MAX:,} values")

    def enter(self) -> None:
        """Note one more level. Raises Broken where they are too many. Whoever enters leaves with `depth -= 1`."""
        self.depth += 1
        if self.depth > NESTED_MAX:
            raise Broken(f"it is nested deeper than {NESTED_MAX} levels")

    def take(self, size: int) -> bytes:
        """The next bytes. Raises Broken where there are fewer."""
        at = self.at
        end = at + size
        if size < 0 or end > len(self.data):
            raise Broken("a length is below zero" if size < 0 else "it ends too early")
        self.at = end
        return self.data[at:end]


Read = Callable[[Cursor], Any]
"""Reads one value and moves the cursor behind it, or only moves the cursor. Raises Broken."""


def read_long(cursor: Cursor) -> int:
    """A whole number; `int` is written alike."""
    data, at = cursor.data, cursor.at
    try:
        byte = data[at]
        if byte < 128:
            cursor.at = at + 1
            return (byte >> 1) ^ -(byte & 1)
        coded, shift = byte & 127, 7
        while byte >= 128:
            if shift > 63:
                raise Broken("a whole number has more than 64 bits")
            at += 1
            byte = data[at]
            coded |= (byte & 127) << shift
            shift += 7
    except IndexError:
        raise Broken("it ends too early") from None
    if coded >> 64:
        raise Broken("a whole number has more than 64 bits")
    cursor.at = at + 1
    return (coded >> 1) ^ -(coded & 1)


def read_bytes(cursor: Cursor) -> bytes:
    """Bytes with their length before them."""
    return cursor.take(read_long(cursor))


def read_string(cursor: Cursor) -> str:
    """A text in UTF-8 with its length before it."""
    try:
        return cursor.take(read_long(cursor)).decode()
    except UnicodeDecodeError:
        raise Broken("a text in it is not UTF-8") from None


def read_double(cursor: Cursor) -> float:
    """Eight bytes."""
    number: float = DOUBLE.unpack(cursor.take(8))[0]
    return number


def read_float(cursor: Cursor) -> float:
    """Four bytes; every float is exactly a double."""
    number: float = FLOAT.unpack(cursor.take(4))[0]
    return number


def read_boolean(cursor: Cursor) -> bool:
    """One byte, 0 or 1."""
    byte = cursor.take(1)[0]
    if byte > 1:
        raise Broken(f"a boolean is {byte}, neither 0 nor 1")
    return byte == 1


def read_null(cursor: Cursor) -> None:
    """No bytes at all."""


def fixed_of(size: int) -> Read:
    """A fixed: so many bytes."""
    return lambda cursor: cursor.take(size)


def enum_of(symbols: list[str]) -> Read:
    """An enum: the number of one of its symbols."""

    def read(cursor: Cursor) -> str:
        index = read_long(cursor)
        if not 0 <= index < len(symbols):
            raise Broken(f"an enum is symbol {index} of {len(symbols)}")
        return symbols[index]

    return read


def union_of(branches: list[Read]) -> Read:
    """A union: the number of a branch, then its value."""

    def read(cursor: Cursor) -> Any:
        index = read_long(cursor)
        if not 0 <= index < len(branches):
            raise Broken(f"a union is branch {index} of {len(branches)}")
        return branches[index](cursor)

    return read


def items_of(take_item: Callable[[Cursor], None]) -> Read:
    """Blocks of items of an array or a map, each given to `take_item`. A block's size in bytes is not needed."""

    def read(cursor: Cursor) -> None:
        cursor.enter()
        count = read_long(cursor)
        while count:
            if count < 0:
                read_long(cursor)
                count = -count
            cursor.count(count)
            for _ in range(count):
                take_item(cursor)
            count = read_long(cursor)
        cursor.depth -= 1

    return read


def array_of(read_item: Read) -> Read:
    """An array as a list."""

    def read(cursor: Cursor) -> list[Any]:
        items: list[Any] = []
        items_of(lambda inner: items.append(read_item(inner)))(cursor)
        return items

    return read


def map_of(read_item: Read) -> Read:
    """A map as a dict; of two entries with one key the later counts."""

    def read(cursor: Cursor) -> dict[str, Any]:
        entries: dict[str, Any] = {}

        def take_entry(inner: Cursor) -> None:
            key = read_string(inner)
            entries[key] = read_item(inner)

        items_of(take_entry)(cursor)
        return entries

    return read


def skip_bytes(cursor: Cursor) -> None:
    """Step over bytes or a text, whatever they hold."""
    size = read_long(cursor)
    if size < 0 or cursor.at + size > len(cursor.data):
        raise Broken("a length is below zero" if size < 0 else "it ends too early")
    cursor.at += size


def skip_of(size: int) -> Read:
    """Step over a fixed number of bytes."""

    def skip(cursor: Cursor) -> None:
        cursor.at += size
        if cursor.at > len(cursor.data):
            raise Broken("it ends too early")

    return skip
