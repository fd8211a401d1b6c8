"""Random writer's schemas with data, and what each field of ours has to be: an oracle that shares no code with ours.

`Said` is a type with a way to draw a datum, together with the value that our field has to take from it, or LETTER.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

from schemas.definitions import schema

LETTER = object()
NOW = datetime(2024, 6, 30, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ENDS_OF_TIME = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC))

Draw = Callable[[Random], tuple[Any, Any]]


class Said(NamedTuple):
    """A writer's type, and what draws a datum of it with the value that it has for our field."""

    type: Any
    draw: Draw


class Writer(NamedTuple):
    """A schema as JSON, and what draws a datum, the fields it has to give, and the paths that may be refused."""

    schema: Any
    draw: Callable[[Random], tuple[Any, dict[str, Any], list[str]]]


def always(avro_type: Any, draw: Callable[[Random], Any], value: Callable[[Any], Any] = lambda datum: datum) -> Said:
    def both(random: Random) -> tuple[Any, Any]:
        datum = draw(random)
        return datum, value(datum)

    return Said(avro_type, both)


def never(avro_type: Any, draw: Callable[[Random], Any]) -> Said:
    return always(avro_type, draw, lambda _: LETTER)


def a_text(random: Random) -> str:
    return random.choice(["", "x", "EUR", "SUCCEEDED", "issued", "2024-06-01", "Žižkov", "😀 L/1", "a" * 300])


USUAL = {
    "transaction_state": ["SUCCEEDED", "failed"],
    "transaction_currency": ["EUR", "USD"],
    "currency": ["EUR", "USD"],
    "user_category": ["WEB", "api"],
    "event": ["issued", "repaid", "cancelled"],
    "command": ["erase", "lift", "override"],
    "score": ["value", "status"],
    "user_id": ["ann", "bob"],
}


def text_for(field: str) -> Callable[[Random], str]:
    """Mostly texts that have a meaning in this field, so that many records are events."""
    usual = ["2024-06-01", "2024-06-30T11:59:00Z"] if is_moment(field) else USUAL.get(field, ["x", "L/1", "5411"])
    return lambda random: random.choice(usual) if random.random() < 0.9 else a_text(random)


def is_moment(field: str) -> bool:
    return field.endswith(("_date", "_at", "_created"))


def a_long(random: Random) -> int:
    return random.choice([0, 1, -1, 63, 64, -64, -65, 2**31 - 1, -(2**31), 2**53 + 1, 2**62, 2**63 - 1, -(2**63), 77])


def an_int(random: Random) -> int:
    return max(-(2**31), min(2**31 - 1, a_long(random)))


def a_double(random: Random) -> float:
    odd = [0.0, -0.0, -1e11, 1e300, 5e-324, float("inf")]
    return random.choice(odd) if random.random() < 0.2 else random.uniform(1.0, 1e6)


def a_float(random: Random) -> float:
    return random.choice([0.0, 0.5, -1024.25, 2.0**20])


class Types:
    """Random types of one schema; named ones get names of their own. A plain schema has only what is read in bulk."""

    def __init__(self, random: Random) -> None:
        self.random, self.numbers, self.plain = random, itertools.count(1), random.random() < 0.4

    def name(self, kind: str) -> str:
        return self.random.choice(["bank.", "com.bank.core."]) + f"{kind}{next(self.numbers)}"

    # What our fields may be written as.

    def text(self, field: str) -> Said:
        return self.random.choice(self._texts(field) + (self._moments() * 2 if is_moment(field) else []))

    def _texts(self, field: str) -> list[Said]:
        symbols = {"event": ["repaid", "issued"], "command": ["erase", "advance"]}.get(field, ["EUR", "WEB", "A_1"])
        symbol = {"type": "enum", "name": self.name("E"), "symbols": symbols}
        uuids = {"type": "string", "logicalType": "uuid"}
        sixteen = {"type": "fixed", "name": self.name("U"), "size": 16, "logicalType": "uuid"}
        return [
            *[always("string", text_for(field))] * 3,
            always({"type": "string", "avro.java.string": "String"}, text_for(field)),
            always({"type": "string", "logicalType": "varchar", "maxLength": 9}, text_for(field)),
            always(symbol, lambda random: random.choice(symbols)),
            always(uuids, lambda random: str(uuid.UUID(int=random.getrandbits(128)))),
            always(uuids, lambda _: "no uuid at all"),
            always(sixteen, lambda random: random.randbytes(16), lambda data: str(uuid.UUID(bytes=data))),
            always("bytes", lambda random: a_text(random).encode(), lambda data: data.decode()),
            never("bytes", lambda _: b"\xff\xfe"),
            *self.strangers(("double", "int", "map", "array", "fixed", "time-micros", "decimal", "record")),
        ]

    def _moments(self) -> list[Said]:
        found = []
        for unit, parts in (("millis", 1_000), ("micros", 1_000_000), ("nanos", 1_000_000_000)):
            for local in ("", "local-"):
                annotated = {"type": "long", "logicalType": f"{local}timestamp-{unit}"}
                found.append(always(annotated, lambda r, p=parts: a_moment(r, p), moment_text(parts, local)))
        date = {"type": "int", "logicalType": "date"}
        return [*found, *[always(date, lambda random: random.randrange(-2_000_000, 5_000_000), day_text)] * 3]

    def number(self) -> Said:
        scale = self.random.choice([0, 2, 3, 9, 30])
        decimal = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": scale}
        fixed = {"type": "fixed", "name": self.name("D"), "size": 17, "logicalType": "decimal", "precision": 38}
        value = decimal_value(scale)
        return self.random.choice(
            [
                *[always("double", a_double)] * 3,
                always("float", a_float),
                always("int", an_int, float),
                always("long", a_long, float),
                *[always(decimal, unscaled, value)] * 2,
                always(fixed | {"scale": scale}, lambda random: unscaled(random, 17), value),
                *self.strangers(("string", "boolean", "date", "timestamp-millis", "bytes", "enum")),
            ]
        )

    def whole(self, kind: str, field: str) -> Said:
        is_clock = field == "to"
        found = [*[always("int", an_int)] * 3]
        if kind == "long":
            found += [always("long", a_long)] * 2
        if is_clock:
            for unit, parts in (("millis", 1), ("micros", 1_000), ("nanos", 1_000_000)):
                annotated = {"type": "long", "logicalType": f"timestamp-{unit}"}
                found.append(always(annotated, a_long, lambda moment, p=parts: moment // p))
        names = ["double", "string", "date", "local-timestamp-micros", "boolean"]
        names += [] if is_clock else ["timestamp-micros"]
        names += ["long"] if kind == "int" else []
        return self.random.choice([*found, *self.strangers(tuple(names))])

    def label(self) -> Said:
        number = self.number()
        is_boolean = number.type == "boolean" or self.random.random() < 0.3
        return always("boolean", lambda random: random.random() < 0.5) if is_boolean else number

    def attributes(self) -> Said:
        values = ["null", "boolean", "double", "string"]

        def draw(random: Random) -> tuple[Any, Any]:
            entries = {f"k{i}": random.choice([None, True, 2.5, "text"]) for i in range(random.randrange(3))}
            return {key: tagged(value) for key, value in entries.items()}, entries

        plain = always({"type": "map", "values": "int"}, lambda r: {"a": an_int(r)}, lambda d: {"a": float(d["a"])})
        whole = Said({"type": "map", "values": values}, draw)
        return self.random.choice([whole, whole, plain, *self.strangers(("string", "array", "long"))])

    def strangers(self, kinds: tuple[str, ...]) -> list[Said]:
        """One of the types that our field cannot be read from."""
        return [never(*self.other(self.random.choice(kinds)))]

    def other(self, kind: str) -> tuple[Any, Callable[[Random], Any]]:
        annotated = {"date": "int", "time-micros": "long", "timestamp-millis": "long", "timestamp-micros": "long"}
        annotated["local-timestamp-micros"] = "long"
        if kind in annotated:
            return {"type": annotated[kind], "logicalType": kind}, an_int
        return {
            "double": lambda: ("double", a_double),
            "int": lambda: ("int", an_int),
            "long": lambda: ("long", a_long),
            "boolean": lambda: ("boolean", lambda random: random.random() < 0.5),
            "string": lambda: ("string", a_text),
            "bytes": lambda: ("bytes", lambda random: random.randbytes(3)),
            "null": lambda: ("null", lambda _: None),
            "map": lambda: ({"type": "map", "values": "int"}, lambda _: {"a": 1}),
            "array": lambda: ({"type": "array", "items": "string"}, lambda _: ["a", "b"]),
            "enum": lambda: ({"type": "enum", "name": self.name("N"), "symbols": ["A"]}, lambda _: "A"),
            "fixed": lambda: ({"type": "fixed", "name": self.name("F"), "size": 3}, lambda random: random.randbytes(3)),
            "decimal": lambda: (
                {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
                lambda random: random.randbytes(3),
            ),
            "record": lambda: (
                {"type": "record", "name": self.name("R"), "fields": [{"name": "user_id", "type": "int"}]},
                lambda random: {"user_id": an_int(random)},
            ),
        }[kind]()

    def extra(self, depth: int = 0) -> tuple[Any, Callable[[Random], Any]]:
        """Any type at all, for a field that is none of ours."""
        if self.plain:
            return self.other(self.random.choice(["string", "int", "long", "double", "boolean", "date"]))
        kinds = ["double", "int", "long", "boolean", "string", "bytes", "null", "enum", "fixed", "decimal", "date"]
        kind = self.random.choice([*kinds, "map", "array", "record", "union", "list"] if depth < 3 else kinds)
        if kind == "list":  # a type within itself
            name = self.name("List")
            fields = [{"name": "value", "type": "long"}, {"name": "next", "type": ["null", name]}]
            return {"type": "record", "name": name, "fields": fields}, lambda r: a_list(r, name, r.randrange(4))
        if kind not in ("map", "array", "record", "union"):
            return self.other(kind)
        inner, draw = self.extra(depth + 1)
        if kind == "map":
            made = {"type": "map", "values": inner}
            return made, lambda random: {f"{i}": draw(random) for i in range(random.randrange(3))}
        if kind == "array":
            return {"type": "array", "items": inner}, lambda random: [draw(random) for _ in range(random.randrange(3))]
        if kind == "union" and not isinstance(inner, list):
            if inner == "null":
                return ["string", inner], lambda _: None
            return ["null", inner], lambda random: random.choice([None, (name_of(inner), draw(random))])
        fields = [{"name": "inner", "type": inner}, {"name": "user_id", "type": "string"}]
        name = self.name("R")
        return {"type": "record", "name": name, "fields": fields}, lambda r: {"inner": draw(r), "user_id": a_text(r)}

    # From a field of ours to a field of the writer's.

    def field(self, ours: Any, name: str) -> Said:
        nullable = isinstance(ours, list) and "null" in ours
        unlike = 0.0 if self.plain else 0.15  # null where our field takes none
        kinds = [branch for branch in ours if branch != "null"] if isinstance(ours, list) else [ours]
        said = self.value(kinds, name)
        return self.in_union(said, nullable) if self.random.random() < (0.6 if nullable else unlike) else said

    def value(self, kinds: list[Any], name: str) -> Said:
        if "boolean" in kinds:
            return self.label()
        kind = kinds[0]
        if isinstance(kind, dict):
            return self.attributes() if kind["type"] == "map" else self.previous(kind)
        # Plain ones are commonest, or nearly every record would be refused.
        plain = self.plain or self.random.random() < 0.6
        if kind == "string" and self.plain and is_moment(name) and self.random.random() < 0.5:
            return self.random.choice(self._moments()[:5:2])
        if kind == "string":
            return always("string", text_for(name)) if plain else self.text(name)
        if kind == "double":
            return always("double", a_double) if plain else self.number()
        return always(kind, lambda random: random.choice([0, 0, an_int(random)])) if plain else self.whole(kind, name)

    def in_union(self, said: Said, nullable: bool) -> Said:
        if isinstance(said.type, list) or said.type == "null":
            return said
        tag = name_of(said.type)
        branches = self.random.choice([["null", said.type], [said.type, "null"]])
        if not self.plain and kind_of(said.type) not in ("boolean", "map") and self.random.random() < 0.3:
            branches = [*branches, "boolean"]  # a branch that none of these fields takes

        def draw(random: Random) -> tuple[Any, Any]:
            chance = random.random()
            if chance < 0.2:
                return None, None if nullable else LETTER
            datum, value = said.draw(random)
            return (tag, datum), value

        return Said(branches, draw)

    def previous(self, ours: Any) -> Said:
        """A nested record: now and then of another name."""
        writer = self.fields(ours, 0.03, "n")
        name = ours["name"] if self.plain or self.random.random() < 0.9 else "Other"
        made = {
            "type": "record",
            "name": name,
            "namespace": self.random.choice(["rescore", "bank"]),
            "fields": writer[0],
        }

        def draw(random: Random) -> tuple[Any, Any]:
            datum, fields, letters = writer[1](random)
            return datum, (LETTER if name == "Other" or letters else fields)

        return Said(made, draw)

    def fields(self, ours: Any, missing: float, extra: str) -> tuple[list[Any], Any]:
        said, extras, absent = {}, {}, {}
        for field in ours["fields"]:
            has_default = "default" in field
            if self.random.random() < (0.35 if has_default else missing):
                absent[field["name"]] = field.get("default", LETTER)
            else:
                said[field["name"]] = self.field(field["type"], field["name"])
        for i in range(self.random.choice([0, 0, 1, 2])):
            extras[f"{extra}{i}"] = self.extra()
        written = [{"name": name, "type": one.type} for name, one in said.items()]
        written += [{"name": name, "type": one[0]} for name, one in extras.items()]
        self.random.shuffle(written)
        for field in written:
            if self.random.random() < 0.1:
                field["aliases"] = ["old_" + field["name"], "user_id"]  # means nothing to a reader

        def draw(random: Random) -> tuple[Any, dict[str, Any], list[str]]:
            datum: dict[str, Any] = {name: one[1](random) for name, one in extras.items()}
            fields, letters = dict(absent), [name for name, value in absent.items() if value is LETTER]
            for name, one in said.items():
                datum[name], fields[name] = one.draw(random)
                letters += [name] if fields[name] is LETTER else []
            return datum, fields, letters

        return written, draw

    def writer(self, name: str) -> Writer:
        """A schema for our schema of this name, and now and then one whose top is something else."""
        ours = schema(name)
        if self.random.random() < 0.08:
            made, draw = self.extra()
            return Writer(made, lambda random: (draw(random), {}, ["no record", f"no {name}"]))
        fields, draw_fields = self.fields(ours, 0.02, "x")
        own = name if self.random.random() < 0.95 else "Payment"
        made = {"type": "record", "name": own, "namespace": self.random.choice(["rescore", "com.bank", ""])}
        made["fields"] = fields
        full = f"{made['namespace']}.{own}".lstrip(".")
        in_union = self.random.random() < 0.1

        def draw_whole(random: Random) -> tuple[Any, dict[str, Any], list[str]]:
            datum, wanted, letters = draw_fields(random)
            if in_union and random.random() < 0.3:
                return None, {}, ["null, which is no record"]
            if own != name:
                letters = [f"no {name}"]
            return ((full, datum) if in_union else datum), wanted, letters

        return Writer(["null", made] if in_union else made, draw_whole)


def tagged(value: Any) -> Any:
    """A datum of the union of attributes, with the branch it takes."""
    return None if value is None else ({bool: "boolean", float: "double", str: "string"}[type(value)], value)


def kind_of(avro_type: Any) -> str:
    return str(avro_type["type"] if isinstance(avro_type, dict) else avro_type)


def name_of(avro_type: Any) -> str:
    """What fastavro calls a branch of a union."""
    if not isinstance(avro_type, dict) or "name" not in avro_type:
        return kind_of(avro_type)
    space = avro_type.get("namespace", "")
    return f"{space}.{avro_type['name']}" if space and "." not in avro_type["name"] else str(avro_type["name"])


def a_list(random: Random, name: str, length: int) -> Any:
    rest = None if length == 0 else (name, a_list(random, name, length - 1))
    return {"value": a_long(random), "next": rest}


def a_moment(random: Random, parts: int) -> int:
    """Mostly of our days, in parts of a second; now and then beyond the calendar, or at its ends."""
    if random.random() < 0.1:
        ends = [2**62, -(2**62), -(2**63), 2**63 - 1, 253_402_300_800 * parts, -62_135_596_801 * parts]
        return max(min(random.choice(ends), 2**63 - 1), -(2**63))
    seconds = int((NOW - timedelta(seconds=random.randrange(0, 5_000_000_000)) - EPOCH).total_seconds())
    return seconds * parts + random.randrange(parts)


def moment_text(parts: int, local: str) -> Callable[[int], Any]:
    def text(moment: int) -> Any:
        seconds, fraction = divmod(moment, parts)
        try:
            when = EPOCH + timedelta(seconds=seconds, milliseconds=fraction * 1_000 // parts)
        except OverflowError:
            return LETTER
        return when.replace(tzinfo=None).isoformat(timespec="milliseconds") + ("" if local else "Z")

    return text


def day_text(days: int) -> Any:
    try:
        return (EPOCH + days * DAY).date().isoformat()
    except OverflowError:
        return LETTER


def unscaled(random: Random, size: int = 0) -> bytes:
    digits = random.choice([1, 3, 7, 12, 15, 20, 37])
    number = random.randrange(-(10**digits), 10**digits)
    return number.to_bytes(size or random.choice([16, 17, number.bit_length() // 8 + 1]), "big", signed=True)


def decimal_value(scale: int) -> Callable[[bytes], float]:
    def value(data: bytes) -> float:
        number = int.from_bytes(data, "big", signed=True)
        digits = tuple(int(digit) for digit in str(abs(number)))
        return float(Decimal((int(number < 0), digits, -scale)))

    return value
