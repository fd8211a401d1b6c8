"""A Confluent-compatible schema registry, as the processes use it. The composition root alone chooses it.

At run time it is only asked. The one function that writes, `register`, belongs to `rescore topics apply`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka.schema_registry import Schema as RegisteredText
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.definitions import SCHEMA_OF_TOPIC, Schema, parse, schema
from schemas.known_schemas import (
    CONFLUENT,
    RegistrationRefused,
    Registry,
    RegistryUnavailable,
    SchemaNotRegistered,
    StaticRegistry,
    ours_if_same,
)

__all__ = [
    "ConfluentRegistry",
    "RegistrationRefused",
    "Registry",
    "RegistryUnavailable",
    "SchemaNotRegistered",
    "StaticRegistry",
]

Answer = TypeVar("Answer")

REFUSALS = (401, 403, 409, 422)
"""What a registry answers that does not take a schema: no right to, or incompatible with the versions it holds."""

WORDS_MAX = 300
TIMEOUT_SECONDS = 2.0
"""Short: while a registry is asked, the partition stands still anyhow, and asks again."""


class ConfluentRegistry:
    """Schemas of a registry server, each asked for once; fingerprints are resolved as without a server.

    `url` may hold user and password. `topic_prefix` is what stands before every topic's name: subjects follow topics
    (`transactions-value`). Further settings are those of confluent_kafka's SchemaRegistryClient.
    """

    def __init__(self, url: str, settings: Mapping[str, Any] | None = None, topic_prefix: str = "") -> None:
        # No retries inside: the caller's pause is the retry, and it is seen in a metric.
        defaults: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "max.retries": 0}
        self._client = SchemaRegistryClient({**defaults, **(settings or {}), "url": url})
        self._url = url.rpartition("@")[2]
        self._static = StaticRegistry()
        self._by_id: dict[int, Schema] = {}
        self._prefixes: dict[str, bytes] = {}
        self._subjects = {name: f"{topic_prefix}{topic}-value" for topic, name in SCHEMA_OF_TOPIC.items()}

    def schema_of_id(self, schema_id: int) -> Schema | None:
        """The Avro schema of an id; None if the registry says that there is none. Raises RegistryUnavailable."""
        if schema_id not in self._by_id:
            found = self._ask(lambda: self._client.get_schema(schema_id))
            written = None if found is None else self._read(found, {})
            if written is None:
                return None  # not kept: it may be registered yet
            self._by_id[schema_id] = written
        return self._by_id[schema_id]

    def schema_of_fingerprint(self, fingerprint: bytes) -> Schema | None:
        """Schema of a fingerprint among those that ship with the program."""
        return self._static.schema_of_fingerprint(fingerprint)

    def prefix_of(self, name: str) -> bytes:
        """Five bytes of Confluent's framing. Raises RegistryUnavailable, SchemaNotRegistered."""
        if name not in self._prefixes:
            subject = self._subjects[name]
            found = self._ask(lambda: self._client.lookup_schema(subject, _text(name)))
            if found is None:
                raise SchemaNotRegistered(
                    f"{self._url} does not hold the current schema {name} for {subject}: run `rescore topics apply`"
                )
            self._prefixes[name] = CONFLUENT + self._number(found.schema_id).to_bytes(4, "big")
        return self._prefixes[name]

    def register(self) -> dict[str, int]:
        """Register every current schema under its subject, as `rescore topics apply` does; ids by subject.

        Registering again what is there changes nothing. Raises RegistryUnavailable; RegistrationRefused if the registry
        forbids it, or finds a schema incompatible.
        """
        return {subject: self._registered(name, subject) for name, subject in self._subjects.items()}

    def _registered(self, name: str, subject: str) -> int:
        try:
            return self._number(self._client.register_schema(subject, _text(name)))
        except SchemaRegistryError as error:
            if error.http_status_code in REFUSALS:
                raise RegistrationRefused(
                    f"the schema registry at {self._url} refuses to register {name} for {subject}: {error}"
                ) from error
            raise self._unavailable(error) from error
        except RegistryUnavailable:
            raise
        except Exception as error:
            raise self._unavailable(error) from error

    def _number(self, given: object) -> int:
        """The id of a schema. Raises RegistryUnavailable for what is none: a proxy's answer, not a registry's."""
        if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**32:
            raise self._no_registry(f"{given!r:.100} is not the id of a schema")
        return given

    def _ask(self, question: Callable[[], Answer]) -> Answer | None:
        """The answer; None where it is a definite "no such thing"."""
        try:
            return question()
        except SchemaRegistryError as error:
            # A proxy's 404 has no code of the registry's own and decides nothing.
            if error.http_status_code == 404 and error.error_code in (40401, 40402, 40403):
                return None
            raise self._unavailable(error) from error
        except Exception as error:
            # Which errors the client's HTTP library raises is its own affair; none of them is an answer.
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        words = str(error)[:WORDS_MAX]  # it may hold a whole page of a proxy
        return RegistryUnavailable(f"the schema registry at {self._url} does not answer as one: {words}")

    def _no_registry(self, why: str) -> RegistryUnavailable:
        """For an answer that says 200 and is none. The client keeps what it was answered: it is made to ask again."""
        self._client.clear_caches()  # type: ignore[no-untyped-call]
        return self._unavailable(ValueError(why))

    def _read(self, found: RegisteredText, known: dict[str, Any]) -> Schema | None:
        """The registered text as a schema with what it refers to; None where it is no Avro schema."""
        if found.schema_type not in (None, "AVRO"):
            return None
        if not isinstance(found.schema_str, str):
            raise self._no_registry("the answer holds no schema")
        for reference in found.references or []:
            subject, version = reference.subject, reference.version
            inner = self._ask(lambda s=subject, v=version: self._client.get_version(s, v))  # type: ignore[misc]
            if inner is None or self._read(inner.schema, known) is None:
                return None
        try:
            return ours_if_same(parse(json.loads(found.schema_str), known))
        except Exception:  # noqa: BLE001 - the text is a stranger's, and so are the ways in which it is wrong
            return None


def _text(name: str) -> RegisteredText:
    return RegisteredText(json.dumps(schema(name)), "AVRO")
