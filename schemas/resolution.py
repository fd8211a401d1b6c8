"""From a writer's schema to our fields: Avro's schema resolution, with words for what it does not allow.

Each pair of schemas is made into a reader once; what can be decided from the schemas alone is decided then. Resolution
is the specification's (promotions, unions, defaults, fields that one side lacks), and reads besides an enum as the text
of its symbol and annotated values as `schemas.logical_types` says. A field of another type is refused only by the
values that hold it: a union may still take the branch that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NoReturn

from schemas import avro_bytes as wire
from schemas.avro_bytes import Broken, Cursor, Read
from schemas.kinds import RejectCode
from schemas.logical_types import NoMeaning, logical_of, meaning_of

READ: dict[str, Read] = {
    "null": wire.read_null,
    "boolean": wire.read_boolean,
    "int": wire.read_long,
    "long": wire.read_long,
    "float": wire.read_float,
    "double": wire.read_double,
    "bytes": wire.read_bytes,
    "string": wire.read_string,
}

SKIP: dict[str, Read] = {
    "null": wire.read_null,
    "boolean": wire.skip_of(1),
    "int": wire.read_long,
    "long": wire.read_long,
    "float": wire.skip_of(4),
    "double": wire.skip_of(8),
    "bytes": wire.skip_bytes,
    "string": wire.skip_bytes,
}

WORDS_MAX = 80
"""Longest name of a writer's type in words for people."""


class Unfitting(Broken):
    """The bytes are well, and our field does not take what they hold; `code` says why."""

    def __init__(self, code: RejectCode, clause: str) -> None:
        super().__init__(clause)
        self.code = code


def type_words(avro_type: Any) -> str:
    """A type as people name it, never longer than a line.

    >>> type_words(["null", {"type": "long", "logicalType": "timestamp-millis"}])
    'null or long (timestamp-millis)'
    """
    words = _type_words(avro_type, 0)
    return words if len(words) <= WORDS_MAX else f"{words[: WORDS_MAX - 3]}..."


def _type_words(avro_type: Any, depth: int) -> str:
    if isinstance(avro_type, str):
        return avro_type
    if isinstance(avro_type, list):
        return " or ".join(_type_words(branch, depth) for branch in avro_type[:4]) + (" or ..." * (len(avro_type) > 4))
    kind, name = avro_type["type"], avro_type.get("name", "")
    if kind in ("array", "map") and depth < 3:
        return f"{kind} of {_type_words(avro_type['items' if kind == 'array' else 'values'], depth + 1)}"
    logical = logical_of(avro_type)
    return f"{kind} {name}".rstrip() + (f" ({logical})" if logical else "")


def reader_of(written: Any, ours: dict[str, Any]) -> Read:
    """What reads values of the schema `written` as fields of our record `ours`.

    `written` is well formed (`schemas.foreign`). The reader raises Broken and Unfitting. About 50 us once, then 5 to
    15 us a value.
    """
    return _Resolution(written).top(written, ours)


class _Resolution:
    """The named types of a writer's schema, and what steps over values of them."""

    def __init__(self, written: Any) -> None:
        self.named: dict[str, Any] = {}
        self._collect(written)
        self._skips: dict[str, Read] = {}
        self._records: dict[tuple[str, str], Read] = {}

    def _collect(self, avro_type: Any) -> None:
        if isinstance(avro_type, list):
            for branch in avro_type:
                self._collect(branch)
        elif isinstance(avro_type, dict):
            if "name" in avro_type:
                self.named[avro_type["name"]] = avro_type
            for field in avro_type.get("fields", ()):
                self._collect(field["type"])
            self._collect(avro_type.get("items", avro_type.get("values")))

    def definition(self, avro_type: Any) -> Any:
        """The type itself where it is only named."""
        return self.named.get(avro_type, avro_type) if isinstance(avro_type, str) else avro_type

    def top(self, written: Any, ours: dict[str, Any]) -> Read:
        """The reader of a whole value, which has to be a record of our name."""
        written = self.definition(written)
        if isinstance(written, list):
            return wire.union_of([self.top(branch, ours) for branch in written])
        if not is_record(written):
            is_null = kind_of(written) == "null"
            what = "null" if is_null else f"written as {type_words(written)}"
            return _refusal(RejectCode.UNDECODABLE, f"the value is {what}, which is no record")
        if plain_name(written) != plain_name(ours):
            clause = f"the value is written as {type_words(written)}, which is no {plain_name(ours)}"
            return _refusal(RejectCode.UNDECODABLE, clause)
        return self._record(written, ours)

    def reader(self, written: Any, ours: Any, field: str) -> Read:
        """The reader of a value of our type `ours`, in our field of this name."""
        written = self.definition(written)
        if isinstance(written, list):
            return wire.union_of([self.reader(branch, ours, field) for branch in written])
        branches = ours if isinstance(ours, list) else [ours]
        for branch in branches:
            read = self._plain_reader(written, branch, field)
            if read is not None:
                return read
        kinds = [branch for branch in branches if branch != "null"]
        clause = f"is written as {type_words(written)}, which cannot be read as {type_words(kinds)}"
        return _refusal(RejectCode.WRONG_TYPE, clause)

    def _plain_reader(self, written: Any, ours: Any, field: str) -> Read | None:
        """Of two types that are no unions; None where the one cannot be read as the other."""
        theirs, kind = kind_of(written), kind_of(ours)
        if logical_of(written):
            meaning = meaning_of(written, kind, field)
            return None if meaning is None else _meant(self._underlying(written), meaning)
        if theirs == "enum":
            return wire.enum_of(written["symbols"]) if kind == "string" else None
        if kind == "record":
            return self._record(written, ours) if is_record(written) and _same_name(written, ours) else None
        if kind in ("array", "map"):
            if theirs != kind:
                return None
            inner = "items" if kind == "array" else "values"
            read = self.reader(written[inner], ours[inner], field)
            return wire.array_of(read) if kind == "array" else wire.map_of(read)
        return PROMOTIONS.get((theirs, kind))

    def _underlying(self, written: Any) -> Read:
        return wire.fixed_of(written["size"]) if written["type"] == "fixed" else READ[written["type"]]

    def _record(self, written: Any, ours: Any) -> Read:
        """The reader of a record as one of ours, made once however often the writer's schema refers to it."""
        pair = (written["name"], ours["name"])
        if pair not in self._records:
            self._records[pair] = self._new_record(written, ours)
        return self._records[pair]

    def _new_record(self, written: Any, ours: Any) -> Read:
        wanted = {field["name"]: field for field in ours["fields"]}
        steps: list[tuple[str, Read, bool]] = []
        for field in written["fields"]:
            mine = wanted.pop(field["name"], None)
            name = field["name"]
            read = self.skipper(field["type"]) if mine is None else self.reader(field["type"], mine["type"], name)
            steps.append((name, read, mine is not None))
        missing = next((name for name, field in wanted.items() if "default" not in field), None)
        if missing is not None:
            return _refusal(RejectCode.MISSING_FIELD, "is missing", [missing])
        return _record_reader(steps, {name: field["default"] for name, field in wanted.items()})

    def skipper(self, written: Any) -> Read:
        """What steps over a value of any type."""
        if isinstance(written, list):
            return wire.union_of([self.skipper(branch) for branch in written])
        kind = kind_of(written)
        if kind in SKIP:
            return SKIP[kind]
        if kind == "array":
            return wire.items_of(self.skipper(written["items"]))
        if kind == "map":
            return wire.items_of(_in_turn([wire.skip_bytes, self.skipper(written["values"])]))
        name = written if isinstance(written, str) else written["name"]
        if name not in self._skips:
            # A type within itself finds this while it is being made; it looks for the whole one when it is called.
            self._skips[name] = lambda cursor: self._skips[name](cursor)  # noqa: PLW0108
            self._skips[name] = self._named_skipper(self.named[name])
        return self._skips[name]

    def _named_skipper(self, written: Any) -> Read:
        if written["type"] == "fixed":
            return wire.skip_of(written["size"])
        if written["type"] == "enum":
            return wire.read_long
        return _record_reader([(field["name"], self.skipper(field["type"]), False) for field in written["fields"]], {})


def _same(value: Any) -> Any:
    return value


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Broken("its bytes are not UTF-8") from None


def _meant(read: Read, meaning: Callable[[Any], Any]) -> Read:
    """What a value means."""

    def read_meaning(cursor: Cursor) -> Any:
        value = read(cursor)
        try:
            return meaning(value)
        except NoMeaning as error:
            raise Unfitting(RejectCode.WRONG_TYPE, str(error)) from None
        except OverflowError:
            raise Unfitting(RejectCode.NOT_A_NUMBER, "is beyond what a double can hold") from None

    return read_meaning


PROMOTIONS: dict[tuple[str, str], Read] = {
    **{(kind, kind): read for kind, read in READ.items()},
    ("int", "long"): wire.read_long,
    ("int", "double"): lambda cursor: float(wire.read_long(cursor)),
    ("long", "double"): lambda cursor: float(wire.read_long(cursor)),
    ("float", "double"): wire.read_float,
    ("bytes", "string"): lambda cursor: _decoded(wire.read_bytes(cursor)),
    ("string", "bytes"): wire.read_bytes,
}
"""How a writer's primitive type is read as ours; what is not here is not allowed."""


def _record_reader(steps: list[tuple[str, Read, bool]], defaults: dict[str, Any]) -> Read:
    """Reads the fields in the writer's order; those that are not ours are stepped over."""
    copied = {name: default for name, default in defaults.items() if isinstance(default, list | dict)}

    def read(cursor: Cursor) -> dict[str, Any]:
        cursor.enter()
        cursor.count(len(steps))
        fields: dict[str, Any] = {}
        name = ""
        try:
            for name, read_field, is_ours in steps:
                value = read_field(cursor)
                if is_ours:
                    fields[name] = value
        except Broken as broken:
            broken.inside.append(name)
            raise
        cursor.depth -= 1
        fields.update(defaults)
        if copied:
            fields.update(deepcopy(copied))
        return fields

    return read


def _in_turn(skips: list[Read]) -> Read:
    def skip(cursor: Cursor) -> None:
        for one in skips:
            one(cursor)

    return skip


def _refusal(code: RejectCode, clause: str, inside: Sequence[str] = ()) -> Read:
    """Reads nothing: values of this type are refused."""

    def refuse(_: Cursor) -> NoReturn:
        unfitting = Unfitting(code, clause)
        unfitting.inside.extend(inside)
        raise unfitting

    return refuse


def kind_of(avro_type: Any) -> str:
    """The kind of a type that is no union: a primitive, record, enum, fixed, array or map."""
    return str(avro_type["type"] if isinstance(avro_type, dict) else avro_type)


def is_record(avro_type: Any) -> bool:
    """True for a record; an error, of Avro's protocols, is one too."""
    return kind_of(avro_type) in ("record", "error") if isinstance(avro_type, dict) else False


def plain_name(record: dict[str, Any]) -> str:
    """The name without its namespace: all that schema resolution looks at, so that a bank may use its own."""
    return str(record["name"]).rpartition(".")[2]


def _same_name(one: Any, other: Any) -> bool:
    return plain_name(one) == plain_name(other)
