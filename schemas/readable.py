"""One value at a time, in plain Python: from the bytes of a record to the fields its schema names.

This is the definition of what can be read; `schemas.compiled_decode` is a fast way to the same for what is plainly
good, and leaves all else to this. What cannot be read raises `Refused`, which never leaves the codec: there it
becomes a reject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from schemas.avro_bytes import Broken, Cursor, Read
from schemas.definitions import Schema, parsed
from schemas.foreign import AvroType, UnusableSchema
from schemas.kinds import RejectCode
from schemas.known_schemas import CONFLUENT, SINGLE_OBJECT, Registry, Written
from schemas.resolution import Unfitting, reader_of, type_words

Fields = dict[str, Any]
"""The fields of an event by name, typed as its schema says."""

INT_MAX, LONG_MAX = 2**31 - 1, 2**63 - 1

BEYOND: Mapping[str, RejectCode] = {"request_id": RejectCode.REQUEST_ID_OUT_OF_RANGE}
"""Why a whole number beyond its type is refused, where the field has a range of its own."""


class Refused(Exception):
    """This event is a dead letter: `code` says why, `detail` what is wrong with it, as a clause."""

    def __init__(self, code: RejectCode, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def read_fields(value: bytes, name: str, registry: Registry) -> Fields:
    """The fields of a value of our schema `name`, its encoding told by its first bytes.

    Raises Refused, RegistryUnavailable. Cost: 5 to 20 us.
    """
    if value[:1] == b"{":
        return _from_json(value, name)
    written, body = writer_of(value, registry)
    return _from_avro(body, written, name)


def writer_of(value: bytes, registry: Registry) -> tuple[AvroType, bytes]:
    """The schema an Avro value was written with, and what follows its prefix. Raises Refused, RegistryUnavailable."""
    if value[:1] == CONFLUENT and len(value) >= 5:
        schema_id = int.from_bytes(value[1:5], "big")
        return _known(registry.schema_of_id(schema_id), f"id {schema_id}"), value[5:]
    if value[:2] == SINGLE_OBJECT and len(value) >= 10:
        written = registry.schema_of_fingerprint(value[2:10])
        return _known(written, f"fingerprint {value[2:10].hex()}"), value[10:]
    beginning = value[:10].hex(" ") or "nothing"
    raise Refused(RejectCode.UNDECODABLE, f"the value begins with {beginning}, which is none of the encodings")


def _known(written: Written, by: str) -> AvroType:
    if written is None:
        raise Refused(RejectCode.UNKNOWN_SCHEMA, f"no schema with the {by} is known")
    if isinstance(written, UnusableSchema):
        detail = f"the schema with the {by} cannot be used ({written.reason})"
        raise Refused(RejectCode.UNDECODABLE, detail)
    return written


def _from_avro(body: bytes, written: AvroType, name: str) -> Fields:
    cursor = Cursor(body)
    try:
        fields: Fields = _reader(written, name)(cursor)
    except Unfitting as unfitting:
        what = f"the field {unfitting.where} " if unfitting.where else ""
        raise Refused(unfitting.code, what + unfitting.clause) from None
    except Broken as broken:
        where = f"field {broken.where}: " if broken.where else ""
        detail = f"the value, written as {type_words(written)}, cannot be decoded as {name} ({where}{broken.clause})"
        raise Refused(RejectCode.UNDECODABLE, detail) from None
    if cursor.at != len(body):
        detail = f"the value has {len(body) - cursor.at} bytes after its end: it was written with another schema"
        raise Refused(RejectCode.UNDECODABLE, detail)
    return fields


def _reader(written: AvroType, name: str) -> Read:
    """The reader of a pair of schemas, made when it is first needed.

    Schemas are known by their identity: comparing them would take as long as reading a value. Each is kept with its
    reader, so that the identity stays its own.
    """
    key = (id(written), name)
    kept = _READERS.get(key)
    if kept is None:
        if len(_READERS) >= READERS_MAX:
            _READERS.clear()
        kept = _READERS[key] = (written, reader_of(written, parsed(name)))
    return kept[1]


READERS_MAX = 1_000
_READERS: dict[tuple[int, str], tuple[AvroType, Read]] = {}


def _from_json(value: bytes, name: str) -> Fields:
    try:
        raw = msgspec.json.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(RejectCode.UNDECODABLE, f"the value is not JSON ({reason})") from error
    fields: Fields = _fitted(raw, parsed(name), name)
    return fields


def _fitted(raw: Any, avro_type: Any, at: str) -> Any:
    """A JSON value as its Avro type wants it; fields that the schema does not know are left out."""
    if isinstance(avro_type, list):
        return _fitted_union(raw, avro_type, at)
    kind = avro_type["type"] if isinstance(avro_type, dict) else avro_type
    if kind == "record":
        return _fitted_record(_must(raw, isinstance(raw, dict), at, "an object"), avro_type, at)
    if kind == "map":
        items = _must(raw, isinstance(raw, dict), at, "an object").items()
        return {key: _fitted(item, avro_type["values"], f"{at}.{key}") for key, item in items}
    if kind == "array":
        return [_fitted(item, avro_type["items"], at) for item in _must(raw, isinstance(raw, list), at, "a list")]
    holds, words = PRIMITIVES[kind]
    _must(raw, holds(raw), at, words)
    return _float(raw, at) if kind in ("double", "float") else raw


def _fitted_record(raw: Mapping[str, Any], record: Schema, at: str) -> Fields:
    fields: Fields = {}
    for field in record["fields"]:
        name = field["name"]
        if name not in raw and "default" not in field:
            raise Refused(RejectCode.MISSING_FIELD, f"{_below(at, name)} is missing")
        fields[name] = _fitted(raw[name], field["type"], _below(at, name)) if name in raw else field["default"]
    return fields


def _fitted_union(raw: Any, branches: list[Any], at: str) -> Any:
    if raw is None and "null" in branches:
        return None
    others = [branch for branch in branches if branch != "null"]
    for branch in others[:-1]:
        if isinstance(branch, str) and PRIMITIVES[branch][0](raw):
            return _fitted(raw, branch, at)
    return _fitted(raw, others[-1], at)


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at[:1].islower() else name


def _must(raw: Any, holds: bool, at: str, words: str) -> Any:
    if not holds:
        code = BEYOND.get(at, RejectCode.WRONG_TYPE) if type(raw) is int else RejectCode.WRONG_TYPE
        raise Refused(code, f"{at} is {_shown(raw)}, not {words}")
    return raw


def _shown(raw: Any) -> str:
    text = msgspec.json.encode(raw).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _float(raw: Any, at: str) -> float:
    try:
        return float(raw)
    except OverflowError:
        raise Refused(RejectCode.NOT_A_NUMBER, f"{at} is beyond what a double can hold") from None


def _is_whole(raw: Any, largest: int) -> bool:
    return isinstance(raw, int) and not isinstance(raw, bool) and -largest <= raw <= largest


PRIMITIVES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "null": (lambda raw: raw is None, "null"),
    "boolean": (lambda raw: isinstance(raw, bool), "true or false"),
    "int": (lambda raw: _is_whole(raw, INT_MAX), "a whole number of 32 bits"),
    "long": (lambda raw: _is_whole(raw, LONG_MAX), "a whole number of 64 bits"),
    "float": (lambda raw: isinstance(raw, int | float) and not isinstance(raw, bool), "a number"),
    "double": (lambda raw: isinstance(raw, int | float) and not isinstance(raw, bool), "a number"),
    "string": (lambda raw: isinstance(raw, str), "a text"),
    "bytes": (lambda _raw: False, "bytes, which JSON does not have: write this as Avro"),
}
"""Whether a JSON value can stand for a primitive type, and the words for that type."""
