"""Fields <-> bytes of single records, for people's commands: tens of thousands of records, not millions.

The worker's own way, through columns, is `schemas.codec`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import fastavro

from schemas.definitions import SCHEMA_OF_TOPIC, Schema, parse, parsed, schema
from schemas.known_schemas import CONFLUENT, SINGLE_OBJECT, Registry, StaticRegistry

Encode = Callable[[dict[str, Any]], bytes]


class Values:
    """Reads and writes values of any topic, in the encoding the registry at hand asks for.

    >>> values = Values()
    >>> data = values.encoder("commands")({"command": "advance", "to": 5})
    >>> values.decode("commands", data)["to"]
    5
    """

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry or StaticRegistry()
        self._parsed: dict[bytes, Schema] = {}

    def schema(self, topic: str) -> Schema:
        """The current schema of a topic's values."""
        return schema(SCHEMA_OF_TOPIC[topic])

    def encoder(self, topic: str) -> Encode:
        """What makes bytes of a topic's fields; it raises ValueError where a field does not fit the schema."""
        name = SCHEMA_OF_TOPIC[topic]
        prefix, written = self._registry.prefix_of(name), parsed(name)

        def encode(value: dict[str, Any]) -> bytes:
            buffer = io.BytesIO()
            buffer.write(prefix)
            try:
                fastavro.schemaless_writer(buffer, written, value)
            except (TypeError, KeyError, OverflowError, AttributeError) as error:
                raise ValueError(f"does not fit the schema of {topic}: {error}") from None
            return buffer.getvalue()

        return encode

    def decode(self, topic: str, data: bytes) -> dict[str, Any]:
        """The fields of a value in any of the three encodings, as the current schema of the topic has them.

        Raises ValueError where it is none of them, damaged, or of a schema nobody knows.
        """
        if data[:1] == b"{":
            return _json_object(data)
        if data[:2] == SINGLE_OBJECT and len(data) >= 10:
            head, written = data[:10], self._registry.schema_of_fingerprint(data[2:10])
        elif data[:1] == CONFLUENT and len(data) >= 5:
            head, written = data[:5], self._registry.schema_of_id(int.from_bytes(data[1:5], "big"))
        else:
            raise ValueError("neither Avro nor JSON")
        if written is None:
            raise ValueError(f"written with a schema nobody knows ({head.hex()})")
        try:
            fields: Any = fastavro.schemaless_reader(
                io.BytesIO(data[len(head) :]), self._writer(head, written), parsed(SCHEMA_OF_TOPIC[topic])
            )
        except Exception as error:  # noqa: BLE001 - a damaged value makes the reader fail in any way there is
            raise ValueError(f"not a value of {topic}: {error!r}") from None
        return dict(fields)

    def _writer(self, head: bytes, written: Schema) -> Schema:
        if head not in self._parsed:
            self._parsed[head] = parse(written)
        return self._parsed[head]


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    return fields


def encode_json(value: Mapping[str, Any]) -> bytes:
    """The same fields as plain JSON, as a person with a console producer would write them."""
    return json.dumps({name: one for name, one in value.items() if one is not None}, ensure_ascii=False).encode()
