"""Which schema a value was written with: the protocol of a registry, and the one that needs no server.

A registry gives a definite answer or none. "There is no such schema", or one that is no usable Avro schema, is definite
and makes a dead letter; a server that does not answer raises `RegistryUnavailable`, and the partition waits: what can
be read later must not be rejected now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol

from schemas.definitions import SCHEMA_NAMES, fingerprint_of, released, schema
from schemas.errors import Exit, RescoreError
from schemas.foreign import AvroType, UnusableSchema, foreign_schema

SINGLE_OBJECT = b"\xc3\x01"
"""First bytes of Avro's single-object encoding; the fingerprint of the writer's schema follows."""

CONFLUENT = b"\x00"
"""First byte of Confluent's framing; the id of the writer's schema follows, four bytes, big-endian."""

Written = AvroType | UnusableSchema | None
"""What a registry knows of a schema: itself, that values cannot be read with it, or nothing."""


class RegistryUnavailable(RescoreError):
    """The registry does not answer: wait and decode the same records again. Nothing has been decided about them."""

    remedy = "check RESCORE_REGISTRY__URL, __USERNAME and __PASSWORD; without a registry, leave them out"
    code = Exit.UNREACHABLE


class SchemaNotRegistered(RescoreError):
    """The registry does not hold a schema this program writes with: run `rescore topics apply`, then start again."""

    remedy = "`rescore topics apply` registers the schemas, if the registry lets it"


class RegistrationRefused(RescoreError):
    """The registry refuses to register a schema: it forbids it to this login, or finds the schema incompatible."""

    remedy = "let this login register schemas, or have them registered from schemas/avro of this release"


class Registry(Protocol):
    """Schemas (as `foreign_schema` gives them) by a value's first bytes, and the first bytes of what we write."""

    def schema_of_id(self, schema_id: int) -> Written:
        """Schema of a Confluent id; None if there is definitely none. Raises RegistryUnavailable."""

    def schema_of_fingerprint(self, fingerprint: bytes) -> Written:
        """Schema of a fingerprint (`fingerprint_of`); None if it is not known. Raises RegistryUnavailable."""

    def prefix_of(self, name: str) -> bytes:
        """What a value of our current schema `name` begins with. Raises RegistryUnavailable, SchemaNotRegistered."""


class StaticRegistry:
    """No server: the schemas that ship with the program, all released versions of them, and any given here.

    Raises ValueError for one given here that cannot be read with.

    >>> registry = StaticRegistry()
    >>> registry.schema_of_id(7) is None
    True
    >>> prefix = registry.prefix_of("Transaction")
    >>> prefix[:2].hex(), registry.schema_of_fingerprint(prefix[2:])["name"]
    ('c301', 'rescore.Transaction')
    """

    def __init__(self, more: Iterable[AvroType] = ()) -> None:
        ours = (version for name in SCHEMA_NAMES for version in (schema(name), *released(name).values()))
        self._by_fingerprint = {fingerprint_of(written): _usable(written) for written in (*ours, *more)}

    def schema_of_id(self, schema_id: int) -> Written:  # noqa: ARG002 - the protocol's
        """None: without a server no id means anything."""
        return None

    def schema_of_fingerprint(self, fingerprint: bytes) -> Written:
        """Schema of a fingerprint; None if it neither ships with the program nor was given."""
        return self._by_fingerprint.get(fingerprint)

    def prefix_of(self, name: str) -> bytes:
        """Ten bytes of single-object encoding."""
        return SINGLE_OBJECT + fingerprint_of(schema(name))


def _usable(written: AvroType) -> AvroType:
    made = foreign_schema(json.dumps(written))
    if isinstance(made, UnusableSchema):
        raise ValueError(f"values cannot be read with this schema: {made.reason}")  # noqa: TRY004 - not its type
    return made
