"""One value at a time, in plain Python: from the bytes of a record to the fields its schema names.

This is the definition of what can be read; `schemas.kernel` is a fast way to the same for what is plainly good, and
leaves all else to this. What can not be read raises `Refused`, which never leaves the codec: there it becomes a reject.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import fastavro
import msgspec

from schemas.definitions import Schema, parsed
from schemas.kinds import RejectCode
from schemas.known_schemas import CONFLUENT, SINGLE_OBJECT, Registry

Fields = dict[str, Any]
"""The fields of an event by name, typed as its schema says."""

INT_MAX, LONG_MAX = 2**31 - 1, 2**63 - 1


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


def writer_of(value: bytes, registry: Registry) -> tuple[Schema, bytes]:
    """The schema an Avro value was written with, and what follows its prefix. Raises Refused, RegistryUnavailable."""
    if value[:1] == CONFLUENT and len(value) >= 5:
        schema_id = int.from_bytes(value[1:5], "big")
        written = registry.schema_of_id(schema_id)
        if written is None:
            raise Refused(RejectCode.UNKNOWN_SCHEMA, f"no Avro schema is known by the id {schema_id}")
        return written, value[5:]
    if value[:2] == SINGLE_OBJECT and len(value) >= 10:
        written = registry.schema_of_fingerprint(value[2:10])
        if written is None:
            raise Refused(RejectCode.UNKNOWN_SCHEMA, f"no schema is known by the fingerprint {value[2:10].hex()}")
        return written, value[10:]
    beginning = value[:10].hex(" ") or "nothing"
    raise Refused(RejectCode.UNDECODABLE, f"the value begins with {beginning}, which is none of the encodings")


def _from_avro(body: bytes, written: Schema, name: str) -> Fields:
    stream = io.BytesIO(body)
    try:
        fields = fastavro.schemaless_reader(stream, written, parsed(name))
    except Exception as error:  # of any kind: the bytes are a stranger's, and so are the ways in which they are wrong
        detail = f"the value, written as {written['name']}, can not be decoded as {name} ({_reason(error)})"
        raise Refused(RejectCode.UNDECODABLE, detail) from error
    if stream.tell() != len(body):
        detail = f"the value has {len(body) - stream.tell()} bytes after its end: it was written with another schema"
        raise Refused(RejectCode.UNDECODABLE, detail)
    if not isinstance(fields, dict):
        raise Refused(RejectCode.UNDECODABLE, "the value is no record")
    return fields


def _reason(error: Exception) -> str:
    """In words that are the same each time: a dead letter is decided once, and its message is part of it."""
    if isinstance(error, EOFError):
        return "it ends too early"
    if isinstance(error, UnicodeDecodeError):
        return "a text in it is not UTF-8"
    if isinstance(error, fastavro.read.SchemaResolutionError):
        return "that schema can not be resolved to ours"
    return f"its bytes make no sense: {type(error).__name__}"


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
        raise Refused(RejectCode.WRONG_TYPE, f"{at} is {_shown(raw)}, not {words}")
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
