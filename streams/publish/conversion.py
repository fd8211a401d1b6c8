"""Values from files brought to the Avro types of our fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from streams.publish.columns import Evaluate, PlainColumn, Row
from streams.publish.numbers import POINT, NumberColumn, Numbers, text_of, to_double

Schema = Mapping[str, Any]
"""An Avro record schema as parsed from its .avsc file."""

Convert = Callable[[Any, NumberColumn], Any]
"""What brings a value to a type. The column says how a number in it is read. Raises ValueError in words."""

TRUE, FALSE = frozenset({"true", "yes", "1", "t", "y"}), frozenset({"false", "no", "0", "f", "n"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a schema asks of the fields: how each is converted, and which have to be there.

    `convert` holds the fields and, as `outer.inner`, those of records within; `any_inner` the fields that are maps.
    """

    convert: dict[str, Convert]
    any_inner: dict[str, Convert]
    required: frozenset[str]

    @classmethod
    def of(cls, schema: Schema) -> Shape:
        """The shape of an Avro record schema."""
        fields = schema["fields"]
        convert = {field["name"]: converter(_without_null(field["type"])) for field in fields}
        any_inner: dict[str, Convert] = {}
        for field in fields:
            inner = _inner_of(field["type"])
            if inner["type"] == "record":
                convert |= {f"{field['name']}.{one['name']}": converter(one["type"]) for one in inner["fields"]}
            elif inner["type"] == "map":
                any_inner[field["name"]] = converter(inner["values"])
        return cls(convert, any_inner, frozenset(field["name"] for field in fields if "default" not in field))

    @property
    def names(self) -> list[str]:
        """The fields themselves."""
        return [name for name in self.convert if "." not in name]

    def plan(self, fields: Mapping[str, Evaluate], numbers: Numbers, root_of: Mapping[str, str]) -> list[Step]:
        """How each field of an event is made; fields of records within (`a.b`) come before the records themselves."""
        steps = []
        for name in sorted(fields, key=lambda name: "." not in name):
            convert = self.convert.get(name) or self.any_inner.get(name.partition(".")[0]) or _as_it_is
            evaluate = fields[name]
            plain = evaluate.name if isinstance(evaluate, PlainColumn) else None
            steps.append(Step(name, plain, evaluate, convert, numbers.of(root_of.get(name, name))))
        return steps

    def value(self, steps: Sequence[Step], row: Row, numbers: Numbers) -> dict[str, Any]:
        """The fields of a row as their types want them; `a.b` is field b of the record a. Raises ValueError."""
        value: dict[str, Any] = {}
        inner: dict[str, dict[str, Any]] = {}
        for name, plain, evaluate, convert, number in steps:
            raw = row.get(plain) if plain else evaluate(row)
            if raw is None or (type(raw) is str and not raw):
                continue
            if convert is _string and type(raw) is str and "." not in name:
                value[name] = raw
                continue
            try:
                made = convert(raw, number)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if "." in name:
                outer, _, deep = name.partition(".")
                inner.setdefault(outer, {})[deep] = made
            else:
                value[name] = made
        for name, fields in inner.items():
            value[name] = _named(name, fields, self.convert[name], numbers.of(name))
        return value


class Step(NamedTuple):
    """How one field is made: where its value comes from, what it is brought to, and how numbers in it are read."""

    name: str
    column: str | None  # where it is a column as it is
    evaluate: Evaluate
    convert: Convert
    number: NumberColumn


def _as_it_is(raw: Any, _number: NumberColumn) -> Any:
    return raw


def _without_null(avro_type: Any) -> Any:
    """The type of a field that is there: what is empty in the file is left out before."""
    others = [one for one in avro_type if one != "null"] if isinstance(avro_type, list) else [avro_type]
    return others[0] if len(others) == 1 else others


def _inner_of(avro_type: Any) -> dict[str, Any]:
    """The record or map that a type is or may be; an empty type for any other."""
    options = avro_type if isinstance(avro_type, list) else [avro_type]
    return next((one for one in options if isinstance(one, dict) and one["type"] in ("record", "map")), {"type": ""})


def _named(name: str, raw: Any, convert: Convert, number: NumberColumn) -> Any:
    try:
        return convert(raw, number)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def converter(avro_type: Any) -> Convert:
    """What brings a value from a file to a field's Avro type; raises ValueError in words where it cannot.

    >>> column = Numbers().of("x")
    >>> converter(["null", "double"])("12.5", column), converter("string")(7, column)
    (12.5, '7')
    """
    if isinstance(avro_type, list):
        others = [one for one in avro_type if one != "null"]
        convert = converter(others[0]) if len(others) == 1 else _any_of
        if "null" not in avro_type:
            return convert
        return lambda raw, number: None if raw in (None, "") else convert(raw, number)
    if isinstance(avro_type, dict) and avro_type["type"] == "map":
        values = converter(avro_type["values"])
        return lambda raw, number: {
            str(name): values(one, number.numbers.of(f"{number.name}.{name}")) for name, one in _group(raw).items()
        }
    if isinstance(avro_type, dict) and avro_type["type"] == "record":
        fields = {field["name"]: converter(field["type"]) for field in avro_type["fields"]}
        return lambda raw, number: _record(raw, fields, number)
    if isinstance(avro_type, dict) and avro_type["type"] == "enum":
        symbols = avro_type["symbols"]
        return lambda raw, _number: _symbol(raw, symbols)
    plain = avro_type["type"] if isinstance(avro_type, dict) else avro_type
    return CONVERTERS.get(plain, lambda raw, _number: raw)


def _group(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError(f"{raw!r} is not a group of fields")  # noqa: TRY004 - a bad line, told as all others are
    return raw


def _any_of(raw: Any, number: NumberColumn) -> Any:
    """A value of a field of several types: as it is, and from a file of text a truth, a number or a text."""
    if isinstance(raw, Decimal):
        return to_double(raw)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ValueError(f"{raw} is not a number; leave the field empty where there is none")
    if isinstance(raw, datetime | date):
        return _string(raw, number)
    if not isinstance(raw, str):
        return raw
    if raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    try:
        return to_double(number.read(raw))
    except ValueError:
        return raw


def _record(raw: Any, fields: Mapping[str, Convert], number: NumberColumn) -> dict[str, Any]:
    if unknown := sorted(set(_group(raw)) - set(fields)):
        raise ValueError(f"there is no field {unknown[0]!r} in it; it has {', '.join(fields)}")
    return {
        name: _named(name, raw.get(name), convert, number.numbers.of(f"{number.name}.{name}"))
        for name, convert in fields.items()
    }


def _symbol(raw: Any, symbols: list[str]) -> str:
    if raw not in symbols:
        raise ValueError(f"{raw!r} is none of {', '.join(symbols)}")
    return str(raw)


def _double(raw: Any, number: NumberColumn) -> float:
    if number.mark == "." and type(raw) is str and POINT.fullmatch(raw):
        return float(raw)  # the nearest double, as through Decimal, in a third of the time
    if type(raw) is Decimal and raw.is_finite():
        return to_double(raw)
    return to_double(number.read(raw))


def _whole(raw: Any, number: NumberColumn) -> int:
    whole = number.read(raw)
    if whole != whole.to_integral_value():
        raise ValueError(f"{raw!r} is not a whole number")
    return int(whole)


def _truth(raw: Any, _number: NumberColumn) -> bool:
    text = text_of(raw).strip().lower()
    if text not in TRUE | FALSE:
        raise ValueError(f"{raw!r} is neither true nor false")
    return text in TRUE


def _string(raw: Any, _number: NumberColumn) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, datetime | date):
        return raw.isoformat()
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ValueError(f"{raw} is not a text; leave the field empty where there is none")
    if isinstance(raw, dict | list):
        raise ValueError(  # noqa: TRY004 - a bad line, told as all others are
            f"{str(raw)[:60]} is a group of values, not one: name the one meant by its path (column.field)"
        )
    # 576.0 is how a column of whole numbers with gaps comes out of many tools; as an identifier it is 576.
    return text_of(raw)


CONVERTERS: dict[str, Convert] = {
    "string": _string,
    "double": _double,
    "float": _double,
    "int": _whole,
    "long": _whole,
    "boolean": _truth,
}
