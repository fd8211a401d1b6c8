"""Whether a schema may change: every current one against every released version of it, both ways.

FULL_TRANSITIVE: a subscriber of any released version reads what we write now, and we read what was written with any.
The judge is the reference implementation of Avro, not the library that the codec is built on.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from schemas.definitions import SCHEMA_NAMES, Schema, released, schema


class Incompatible(NamedTuple):
    """One way in which a schema breaks the promise: who cannot read whom, and why."""

    name: str
    version: int
    reader: str
    reason: str


def incompatibilities() -> list[Incompatible]:
    """Every break of FULL_TRANSITIVE between the current schemas and their released versions; empty if all is well."""
    return [
        broken
        for name in SCHEMA_NAMES
        for version, older in released(name).items()
        for broken in compare(name, version, schema(name), older)
    ]


def compare(name: str, version: int, current: Schema, older: Schema) -> list[Incompatible]:
    """What stands between the current schema and a released version of it."""
    readers = {"the current schema": (current, older), f"version {version}": (older, current)}
    found = []
    for reader, (reading, written) in readers.items():
        checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
        result = checker.get_compatibility(_reference(reading), _reference(written))
        if result.compatibility is not SchemaCompatibilityType.compatible:
            found.append(Incompatible(name, version, reader, "; ".join(sorted(result.messages))))
    return found


def _reference(written: Schema) -> avro.schema.Schema:
    return avro.schema.parse(json.dumps(written))
