"""Logical types of a writer's schema, and what our fields make of them.

An annotation says what a number or a text means. It is read where our field means the same: the text of a uuid, a
moment, a day, an amount. Everywhere else the field is refused: the number of microseconds in a request_id would be a
guess. An annotation that Avro does not know, or that does not fit its type, counts as absent, says the specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import Any

from schemas.batch import DAY_MS
from schemas.times import FIRST_MS, LAST_MS, iso_of

MOMENT_FIELDS = frozenset(
    {
        "transaction_date", "user_created", "order_date", "due_date", "paid_at", "cancelled_at", "declared_at",
        "known_at", "expires_at", "effective_at",
    }
)  # fmt: skip
"""Our text fields that hold a moment or a day (ISO 8601)."""

EPOCH_MS_FIELDS = frozenset({"to"})
"""Our whole numbers that are milliseconds since 1970; so are those whose names end in `_ms`."""

DIGITS_MAX = 100
"""Longest decimal that is read, in digits; no amount needs a quarter of it."""

DECIMAL_BYTES_MAX = 42
"""Bytes of the longest decimal."""

UNITS_IN_MS = {"millis": 1, "micros": 1_000, "nanos": 1_000_000}

ANNOTATED: dict[str, str] = {
    "date": "int",
    "time-millis": "int",
    "time-micros": "long",
    "timestamp-millis": "long",
    "timestamp-micros": "long",
    "timestamp-nanos": "long",
    "local-timestamp-millis": "long",
    "local-timestamp-micros": "long",
    "local-timestamp-nanos": "long",
    "big-decimal": "bytes",
}
"""The type that each of these logical types annotates; uuid, decimal and duration have rules of their own."""


class NoMeaning(Exception):
    """A value that its annotation does not allow; the message is a clause about the value."""


def logical_of(avro_type: Any) -> str:
    """The logical type of a type, empty where it has none that is valid.

    >>> logical_of({"type": "string", "logicalType": "uuid"}), logical_of({"type": "int", "logicalType": "uuid"})
    ('uuid', '')
    """
    if not isinstance(avro_type, dict):
        return ""
    name, kind = avro_type.get("logicalType"), avro_type.get("type")
    if not isinstance(name, str) or not isinstance(kind, str):
        return ""
    size = avro_type.get("size") if kind == "fixed" else None
    if name == "decimal":
        return name if _is_decimal(avro_type, kind, size) else ""
    if name == "uuid":
        return name if kind == "string" or size == 16 else ""
    if name == "duration":
        return name if size == 12 else ""
    return name if ANNOTATED.get(name) == kind else ""


def _is_decimal(avro_type: dict[str, Any], kind: str, size: int | None) -> bool:
    precision, scale = avro_type.get("precision"), avro_type.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or precision < 1 or not 0 <= scale <= precision:
        return False
    if kind != "fixed":
        return kind == "bytes"
    return type(size) is int and precision <= math.floor(math.log10(2) * (8 * size - 1))


def meaning_of(written: Any, our_kind: str, field: str) -> Callable[[Any], Any] | None:
    """How a value of an annotated type becomes a value of our field; None where the two do not mean the same.

    `our_kind` is the primitive type of our field and `field` its name. What is answered takes the value of the
    underlying type and raises NoMeaning where it has none.
    """
    logical = logical_of(written)
    if logical == "uuid" and our_kind == "string":
        return _text_of_uuid if written["type"] == "fixed" else _as_it_is
    if logical == "decimal" and our_kind == "double":
        scale = int(written.get("scale", 0))
        return lambda unscaled: _number_of_decimal(unscaled, scale)
    if our_kind == "string" and field in MOMENT_FIELDS:
        if logical == "date":
            return _text_of_day
        if "timestamp-" in logical:
            units, is_local = UNITS_IN_MS[logical.rpartition("-")[2]], logical.startswith("local-")
            return lambda moment: _text_of_moment(moment // units, is_local)
    if our_kind == "long" and (field in EPOCH_MS_FIELDS or field.endswith("_ms")) and logical.startswith("timestamp-"):
        units = UNITS_IN_MS[logical.rpartition("-")[2]]
        return lambda moment: moment // units
    return None


def _as_it_is(value: Any) -> Any:
    return value


def _text_of_uuid(sixteen: bytes) -> str:
    digits = sixteen.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _number_of_decimal(unscaled: bytes, scale: int) -> float:
    """The nearest double, half to even: division of whole numbers rounds as `float(Decimal)` does."""
    digits = unscaled.lstrip(b"\xff" if unscaled[:1] >= b"\x80" else b"\0")
    if len(digits) > DECIMAL_BYTES_MAX or scale > DIGITS_MAX:
        raise NoMeaning(f"is a decimal of more than {DIGITS_MAX} digits")
    power: int = 10**scale
    return int.from_bytes(unscaled, "big", signed=True) / power


def _text_of_day(days: int) -> str:
    if not FIRST_MS <= days * DAY_MS <= LAST_MS:
        raise NoMeaning(f"is day {days} since 1970-01-01, which is outside the years 1 to 9999")
    return date.fromordinal(days + date(1970, 1, 1).toordinal()).isoformat()


def _text_of_moment(moment_ms: int, is_local: bool) -> str:
    if not FIRST_MS <= moment_ms <= LAST_MS:
        raise NoMeaning(f"is {moment_ms} ms since 1970-01-01, which is outside the years 1 to 9999")
    return iso_of(moment_ms)[:-1] if is_local else iso_of(moment_ms)
