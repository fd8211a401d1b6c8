"""Schemas of strangers: from the text that a registry holds to a schema to read values with, or why there is none.

A registry takes any text its own checks pass, and some check little. What comes out here is well formed: every name in
full, every type defined where it is first used, no field twice, and no more than `TYPES_MAX` types or `NESTED_MAX`
levels. What reading does not need (docs, aliases, defaults, annotations that are not valid) is left out: a reader's
aliases and defaults count, not the writer's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from schemas.avro_bytes import NESTED_MAX
from schemas.logical_types import logical_of

TEXT_CHARS_MAX = 1_000_000
"""Longest text of a schema."""

TYPES_MAX = 10_000
"""Most types of one schema, each use of each counted."""

FIXED_BYTES_MAX = 10_000_000

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "error", "enum", "fixed"})

AvroType = dict[str, Any] | list[Any] | str
"""A type as JSON says it: an object, a union, or a name."""


class UnusableSchema(NamedTuple):
    """An answer of a registry that values cannot be read with, for good: `reason` is a clause."""

    reason: str


class _Malformed(Exception):
    """Why a text is no Avro schema."""


def foreign_schema(text: str, references: Iterable[str] = ()) -> AvroType | UnusableSchema:
    """The schema of a text, with what it uses of the texts it refers to, in the order in which they refer on.

    >>> foreign_schema('{"type": "string", "avro.java.string": "String"}')
    'string'
    >>> foreign_schema('{"type": "record", "name": "A", "fields": [{"name": "a", "type": "B"}]}')
    UnusableSchema(reason='it uses the type B, which is not defined')
    """
    try:
        types = _Types()
        for one in references:
            types.top(_json(one))
        return cast("AvroType", types.whole(types.top(_json(text)), set(), 0))
    except _Malformed as malformed:
        return UnusableSchema(str(malformed))
    except RecursionError:
        return UnusableSchema("it is nested too deeply")


def _json(text: str) -> Any:
    if len(text) > TEXT_CHARS_MAX:
        raise _Malformed(f"it has {len(text):,} characters, more than {TEXT_CHARS_MAX:,}")
    try:
        return json.loads(text)
    except ValueError:
        raise _Malformed("its text is not JSON") from None


class _Types:
    """The named types seen so far, each with the types it uses by name."""

    def __init__(self) -> None:
        self.named: dict[str, dict[str, Any]] = {}
        self._count = 0

    def top(self, raw: Any) -> AvroType:
        """A type, its named types noted by their full names."""
        return self._type(raw, "", 0)

    def _type(self, raw: Any, namespace: str, depth: int) -> AvroType:
        self._note(depth)
        if isinstance(raw, list):
            return self._union(raw, namespace, depth)
        if isinstance(raw, str):
            return raw if raw in PRIMITIVES else self._reference(raw, namespace)
        if not isinstance(raw, dict):
            raise _Malformed(f"{_shown(raw)} stands where a type belongs")
        kind = raw.get("type")
        if isinstance(kind, dict | list):
            return self._type(kind, namespace, depth + 1)
        if not isinstance(kind, str):
            raise _Malformed(f"a type in it has the type {_shown(kind)}")
        if kind in NAMED:
            return self._named(raw, kind, namespace, depth)
        if kind in ("array", "map"):
            inner = "items" if kind == "array" else "values"
            return {"type": kind, inner: self._type(raw.get(inner), namespace, depth + 1)}
        return _annotated(raw, {"type": kind}) if kind in PRIMITIVES else self._reference(kind, namespace)

    def _note(self, depth: int) -> None:
        self._count += 1
        if self._count > TYPES_MAX:
            raise _Malformed(f"it has more than {TYPES_MAX:,} types")
        if depth >= NESTED_MAX:
            raise _Malformed(f"it is nested deeper than {NESTED_MAX} levels")

    def _reference(self, name: str, namespace: str) -> str:
        full = f"{namespace}.{name}" if namespace and "." not in name else name
        for known in (full, name):  # without a namespace last, as the Java reader looks for it
            if known in self.named:
                return known
        raise _Malformed(f"it uses the type {_shown(full, quoted=False)}, which is not defined")

    def _union(self, raw: list[Any], namespace: str, depth: int) -> list[Any]:
        branches = [self._type(branch, namespace, depth + 1) for branch in raw]
        seen: set[str] = set()
        for branch in branches:
            key = branch if isinstance(branch, str) else "" if isinstance(branch, list) else branch["type"]
            if not key or key in seen:
                raise _Malformed("a union in it has two branches of one type" if key else "a union in it holds a union")
            seen.add(key)
        if not branches:
            raise _Malformed("a union in it is empty")
        return branches

    def _named(self, raw: dict[str, Any], kind: str, namespace: str, depth: int) -> str:
        """Note a record, an enum or a fixed; what stands for it is its full name."""
        full = _full_name(raw, namespace)
        if full in self.named:
            raise _Malformed(f"it defines the type {_shown(full, quoted=False)} twice")
        made = self.named[full] = {"type": kind, "name": full}
        if kind == "enum":
            made["symbols"] = _distinct(raw.get("symbols"), f"the symbols of {full}")
        elif kind == "fixed":
            size = raw.get("size")
            if type(size) is not int or not 0 <= size <= FIXED_BYTES_MAX:
                raise _Malformed(f"the size of {full} is {_shown(size)}")
            made["size"] = size
            self.named[full] = _with_annotation(raw, made)
        else:
            made["type"] = "record"
            made["fields"] = self._fields(raw.get("fields"), full, depth)
        return full

    def _fields(self, raw: Any, full: str, depth: int) -> list[dict[str, Any]]:
        whole = isinstance(raw, list) and all(isinstance(field, dict) for field in raw)
        if not whole:
            raise _Malformed(f"the record {_shown(full, quoted=False)} has no list of fields")
        names = _distinct([field.get("name") for field in raw], f"the fields of {full}")
        inner = full.rpartition(".")[0]
        types = [self._type(field.get("type"), inner, depth + 1) for field in raw]
        return [{"name": name, "type": avro_type} for name, avro_type in zip(names, types, strict=True)]

    def whole(self, avro_type: Any, defined: set[str], depth: int) -> Any:
        """The type with every named type defined where it is first used."""
        if depth >= NESTED_MAX:
            raise _Malformed(f"it is nested deeper than {NESTED_MAX} levels")
        if isinstance(avro_type, list):
            return [self.whole(branch, defined, depth + 1) for branch in avro_type]
        if isinstance(avro_type, str):
            if avro_type not in self.named or avro_type in defined:
                return avro_type
            defined.add(avro_type)
            avro_type = self.named[avro_type]
        if "fields" in avro_type:
            fields = [
                {"name": field["name"], "type": self.whole(field["type"], defined, depth + 1)}
                for field in avro_type["fields"]
            ]
            return {**avro_type, "fields": fields}
        for inner in ("items", "values"):
            if inner in avro_type:
                return {**avro_type, inner: self.whole(avro_type[inner], defined, depth + 1)}
        return avro_type


def _full_name(raw: dict[str, Any], namespace: str) -> str:
    name, own = raw.get("name"), raw.get("namespace")
    if not isinstance(name, str) or not (isinstance(own, str) or own is None):
        raise _Malformed(f"a type in it has the name {_shown(name)}")
    if "." not in name:
        inherited = namespace if own is None else own
        name = f"{inherited}.{name}" if inherited else name
    if not name or name in PRIMITIVES:
        raise _Malformed(f"a type in it has the name {_shown(name)}")
    return name


def _distinct(names: Any, what: str) -> list[str]:
    """Names that are all different; of two fields with one name, two readers could take different ones.

    Which letters they are made of is the writer's affair: some writers take more than Avro allows.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _Malformed(f"{_shown(what, quoted=False)} are not all named")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _Malformed(f"{_shown(what, quoted=False)} name {_shown(name, quoted=False)} twice")
        seen.add(name)
    return list(names)


def _annotated(raw: dict[str, Any], plain: dict[str, Any]) -> AvroType:
    """A primitive type by its name alone, unless an annotation of it is valid."""
    made = _with_annotation(raw, plain)
    return made if len(made) > 1 else str(made["type"])


def _with_annotation(raw: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    annotation: dict[str, Any] = {key: raw[key] for key in ("logicalType", "precision", "scale") if key in raw}
    return {**plain, **annotation} if logical_of({**plain, **annotation}) else plain


def _shown(value: Any, quoted: bool = True) -> str:
    """A part of a stranger's schema in a message, never longer than a line."""
    text = json.dumps(value) if quoted or not isinstance(value, str) else value
    return text if len(text) <= 80 else f"{text[:77]}..."
