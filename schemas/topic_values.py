"""Fields <-> bytes of single records by topic, for people's commands: tens of thousands of records, not millions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from schemas.definitions import SCHEMA_OF_TOPIC, Schema, schema
from schemas.known_schemas import Registry, StaticRegistry
from schemas.readable import Refused
from schemas.writing import Encoder, decode_value, encode_value

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
        self._encoder = Encoder(self._registry)

    @property
    def registry(self) -> Registry:
        """The registry at hand."""
        return self._registry

    @property
    def encoding(self) -> Encoder:
        """How values are written."""
        return self._encoder

    def schema(self, topic: str) -> Schema:
        """The current schema of a topic's values."""
        return schema(SCHEMA_OF_TOPIC[topic])

    def encoder(self, topic: str) -> Encode:
        """What makes bytes of a topic's fields; it raises ValueError where a field does not fit the schema."""
        name, encoder = SCHEMA_OF_TOPIC[topic], self._encoder
        return lambda value: encode_value(name, value, encoder)

    def decode(self, topic: str, data: bytes) -> dict[str, Any]:
        """The fields of a value in any of the three encodings, as the current schema of the topic has them.

        Raises ValueError where it is none of them, damaged, or of a schema nobody knows; KeyError for an unknown topic.
        """
        try:
            return dict(decode_value(SCHEMA_OF_TOPIC[topic], data, self._registry))
        except Refused as refused:
            raise ValueError(str(refused)) from None


def encode_json(value: Mapping[str, Any]) -> bytes:
    """The same fields as plain JSON, as a person with a console producer would write them."""
    return json.dumps({name: one for name, one in value.items() if one is not None}, ensure_ascii=False).encode()
