"""Why a Kafka client cannot be made, or gets no answer, in the names of our settings.

librdkafka names its own keys, and tells why a connection fails only to a callback: the call that waits for an answer
times out and knows nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException

from state.errors import RefusedSettings

Client = TypeVar("Client")

KEY = re.compile(r'(?<=property ")[^"]+|(?<=property: ")[^"]+|\b[a-z]+(?:\.[a-z]+)+\b')
KEPT = 100

REFUSED_LOGINS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""Answers of a broker that knows who asks, and forbids what is asked for."""


def variable_of(key: str) -> str:
    """The environment variable that sets a key of librdkafka.

    >>> variable_of("sasl.password")
    'RESCORE_KAFKA__LIBRDKAFKA__SASL_PASSWORD'
    """
    return "RESCORE_KAFKA__LIBRDKAFKA__" + key.upper().replace(".", "_")


def make(kind: Callable[[dict[str, Any]], Client], settings: Mapping[str, Any]) -> Client:
    """A client of Kafka. Raises `RefusedSettings` that names the settings it cannot be made with."""
    try:
        return kind(dict(settings))
    except KafkaException as error:
        raise refused(error.args[0].str()) from None


def refused(reason: str) -> RefusedSettings:
    """What to raise for settings that librdkafka refuses.

    >>> error = refused('No such configuration property: "sasl.pasword"')
    >>> error.what, error.remedy
    ('the Kafka client refuses its settings: No such configuration property: "sasl.pasword"', 'correct \
RESCORE_KAFKA__LIBRDKAFKA__SASL_PASWORD (in a settings file kafka.librdkafka.sasl.pasword)')
    """
    reason = re.sub(r"^Failed to create [\w ]+: ", "", reason)
    keys = list(dict.fromkeys(KEY.findall(reason)))
    names = ", ".join(map(variable_of, keys)) or "the settings RESCORE_KAFKA__LIBRDKAFKA__..."
    files = f" (in a settings file {', '.join(f'kafka.librdkafka.{key}' for key in keys)})" if keys else ""
    verb = "set" if "must be set" in reason else "correct"
    return RefusedSettings(f"the Kafka client refuses its settings: {reason}", f"{verb} {names}{files}")


class Reasons:
    """Takes what a client tells its `error_cb`. Kept: the last errors, so that a call without an answer can say why."""

    def __init__(self) -> None:
        self._errors: list[KafkaError] = []

    def note(self, error: KafkaError) -> None:
        """See `error_cb` of librdkafka."""
        self._errors = [*self._errors[-KEPT:], error]

    def best(self) -> Reason | None:
        """The one that says most; the last one of its sort."""
        found = [reason_of(error.name(), error.str()) for error in self._errors]
        return max((one for one in found if one), key=lambda one: one.weight, default=None)


class Reason(NamedTuple):
    """Why no broker answers, and what to do. The reason with the largest weight says most."""

    weight: int
    what: str
    remedy: str


def reason_of(code: str, text: str) -> Reason | None:
    """What an error of the client means; None if it says no more than that nobody answers.

    >>> reason_of("_TRANSPORT", "ssl://k:9092/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT "
    ...     "broker listener? (after 1ms in state SSL_HANDSHAKE)").remedy
    'set RESCORE_KAFKA__LIBRDKAFKA__SECURITY_PROTOCOL to the protocol of this listener, or name another port'
    """
    if code == "_ALL_BROKERS_DOWN":
        return None
    protocol, ca = variable_of("security.protocol"), variable_of("ssl.ca.location")
    if "PLAINTEXT broker listener" in text or "SSL listener" in text or "wrong version number" in text:
        return Reason(4, text, f"set {protocol} to the protocol of this listener, or name another port")
    if "SASL state" in text or "SASL mechanism" in text:
        mechanism = variable_of("sasl.mechanism")
        return Reason(4, text, f"set {protocol} and {mechanism} to what this listener asks for")
    if code == "_AUTHENTICATION" or "SASL" in code:
        names = ", ".join(map(variable_of, ("sasl.mechanism", "sasl.username", "sasl.password")))
        return Reason(5, text, f"correct {names}")
    if code == "_SSL" or "SSL handshake" in text or "certificate" in text:
        return Reason(3, text, f"set {ca} to the certificate of the authority that signed the broker's, or {protocol}")
    return Reason(1, text, "")
