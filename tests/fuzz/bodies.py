"""Broadcast records of any shape: good bodies of every kind with something odd in them.

A body that a worker takes is in force 30 s later, and the recount reads it as the worker does; one that it refuses
counts as never published. Either way scores stay finite and no process ends. The one thing that must end a worker is a
policy whose formula it does not know, so that name is left alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from random import Random
from typing import Any

from schemas.codec import Encoder, StaticRegistry, encode_value
from schemas.definitions import SCHEMA_OF_TOPIC
from streams.learning.epochs import LearningPolicy
from streams.versions.known import first_policy, packaged_weights
from streams.versions.records import body_of_policy, body_of_weights
from tests.fuzz.inputs import ODD_VALUES, Raw, Sent, as_json

ENCODER = Encoder(StaticRegistry())
ODD_BODIES = (
    "[]",
    "null",
    "5",
    '"text"',
    "true",
    "",
    "{",
    "{}",
    "[" * 500 + "]" * 500,
    '{"a":' * 500 + "1" + "}" * 500,
    '{"x": NaN}',
)
LEFT_ALONE = ("formula", "base_currency", "time_zone", "label_days")


def broadcasts(random: Random) -> Iterator[Sent]:
    """Broadcast records for ever."""
    while True:
        kind = random.choice(("policy", "learning", "weights", "rate", "decision", "model", "noise"))
        topic, key, fields = GOOD[kind](random)
        if kind == "noise":
            yield Sent(topic, key, random.choice((None, b"", b"{}", b"[]", b"null", random.randbytes(30))), 0)
            continue
        if random.random() < 0.8:
            fields = _odd(random, fields)
        yield Sent(topic, key, _encoded(random, topic, fields), 0)


def _config(name: str, body: str) -> dict[str, Any]:
    effective_ms = time.time_ns() // 1_000_000 + 30_000
    return {
        "name": name,
        "version": f"{name}-f",
        "effective_ms": effective_ms,
        "body": body,
        "author": "fuzz",
        "reason": "fuzz",
    }


def _policy(random: Random) -> tuple[str, bytes, dict[str, Any]]:
    body = json.loads(body_of_policy(first_policy("EUR", "UTC")))
    return "rescore-config", b"policy", _config("policy", _body(random, body))


def _learning(random: Random) -> tuple[str, bytes, dict[str, Any]]:
    body = {k: v for k, v in asdict(LearningPolicy()).items() if k not in ("version", "effective_ms")}
    return "rescore-config", b"learning", _config("learning", _body(random, body))


def _decision(random: Random) -> tuple[str, bytes, dict[str, Any]]:
    model = random.choice(("value", "risk", "acceptance", "nobody", ""))
    what = random.choice(("promote", "rollback", "freeze", "thaw", "envelope", "no_envelope", "other"))
    name = f"models.{model}"
    return (
        "rescore-config",
        name.encode(),
        _config(name, _body(random, {"decision": what, "version": "risk-9", "card": "x"})),
    )


def _model(random: Random) -> tuple[str, bytes, dict[str, Any]]:
    name = random.choice(("manifest.mine", "manifest.risk", "profile.coffee", "flow.x"))
    return (
        "rescore-config",
        name.encode(),
        _config(name, _body(random, {"purpose": "credit", "features": [], "enabled": False})),
    )


def _weights(random: Random) -> tuple[str, bytes, dict[str, Any]]:
    fields = body_of_weights(packaged_weights()) | {"version": f"w{random.randrange(9)}", "effective_ms": 0}
    return "rescore-weights", b"w", fields


def _rate(random: Random) -> tuple[str, bytes, dict[str, Any]]:
    fields = {
        "currency": random.choice(("USD", "KWD")),
        "base_currency": "EUR",
        "effective_at": "2026-01-01",
        "rate": random.choice((0.9, 3.0)),
    }
    return "fx-rates", b"USD", fields


def _noise(random: Random) -> tuple[str, bytes, dict[str, Any]]:
    return random.choice(("rescore-config", "rescore-weights", "fx-rates")), b"noise", {}


GOOD = {
    "policy": _policy, "learning": _learning, "weights": _weights, "rate": _rate, "decision": _decision,
    "model": _model, "noise": _noise,
}  # fmt: skip


def _body(random: Random, body: dict[str, Any]) -> str:
    """The inner JSON, often with something odd in it."""
    if random.random() < 0.15:
        return random.choice(ODD_BODIES)
    body = dict(body)
    if random.random() < 0.85:
        name = random.choice([name for name in body if name not in LEFT_ALONE])
        body[name] = _odd_inside(random, body[name])
        if random.random() < 0.1:
            body[name + "x"] = body.pop(name)
    return as_json(body)


def _odd_inside(random: Random, value: Any) -> Any:
    """Something else in the place of a value, or of one element of a list."""
    if isinstance(value, list) and value and random.random() < 0.6:
        value = list(value)
        how = random.random()
        if how < 0.4:
            value[random.randrange(len(value))] = random.choice([v for v in ODD_VALUES if not isinstance(v, Raw)])
        elif how < 0.7:
            value = value[:-1]
        else:
            value = value * 2
        return value
    return random.choice(ODD_VALUES)


def _odd(random: Random, fields: dict[str, Any]) -> dict[str, Any]:
    fields = dict(fields)
    name = random.choice([name for name in fields if name != "body"])
    fields[name] = _odd_inside(random, fields[name])
    if random.random() < 0.1:
        fields.pop(name)
    return fields


def _encoded(random: Random, topic: str, fields: dict[str, Any]) -> bytes:
    """Avro where the fields fit our schema, else JSON."""
    if random.random() < 0.5:
        try:
            return encode_value(SCHEMA_OF_TOPIC[topic], fields, ENCODER)
        except Exception:  # noqa: BLE001 - whatever the writer refuses goes as JSON
            pass
    return as_json(fields).encode("utf-8", "replace")
