"""Fields <-> bytes of single records, for people's commands: the packaged schema of each topic and nothing clever.

The worker's own way through columns is `schemas.codec`; this one is for tens of thousands of records, not for millions.
"""

from __future__ import annotations

import functools
import io
import json
from importlib.resources import files
from typing import Any

import fastavro

SCHEMA_OF_TOPIC: dict[str, str] = {
    "transactions": "Transaction",
    "loans": "LoanEvent",
    "applicants": "Applicant",
    "outcomes": "Outcome",
    "commands": "Command",
    "fx-rates": "FxRate",
}

SINGLE_OBJECT = b"\xc3\x01"


@functools.cache
def schema(topic: str) -> dict[str, Any]:
    """The packaged Avro schema of a topic's records, as parsed JSON. Raises KeyError for a topic without one."""
    text = files("schemas").joinpath("avro", f"{SCHEMA_OF_TOPIC[topic]}.avsc").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


@functools.cache
def _prepared(topic: str) -> tuple[Any, bytes]:
    """The schema as fastavro wants it, and the first ten bytes of each record: marker and fingerprint."""
    parsed = fastavro.parse_schema(schema(topic))
    canonical = fastavro.schema.to_parsing_canonical_form(schema(topic))
    return parsed, SINGLE_OBJECT + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


def encode(topic: str, value: dict[str, Any]) -> bytes:
    """Avro single-object encoding: readable without a registry. Raises ValueError where a field does not fit."""
    parsed, prefix = _prepared(topic)
    buffer = io.BytesIO()
    buffer.write(prefix)
    try:
        fastavro.schemaless_writer(buffer, parsed, value)
    except (TypeError, KeyError, OverflowError, AttributeError) as error:
        raise ValueError(f"does not fit the schema of {topic}: {error}") from None
    return buffer.getvalue()


def encode_json(value: dict[str, Any]) -> bytes:
    """The same fields as plain JSON, as a person with a console producer would write them."""
    return json.dumps({name: one for name, one in value.items() if one is not None}, ensure_ascii=False).encode()
