"""What other programs may write into topics of ours: no values, other encodings, halves, other types, numbers that are
none. Seeded; the first ones are always there."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import fastavro

from schemas.codec import Encoder, StaticRegistry, encode_value
from schemas.definitions import SCHEMA_OF_TOPIC, parsed

ENCODER = Encoder(StaticRegistry())
STRINGS = (
    "",
    "x",
    "ann",
    "\x1b[2J",
    "[/red]",
    "ü" * 50,
    "value",
    "epoch",
    "example",
    "report",
    "request",
    "text",
    "-1",
)
DOUBLES = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e308, 5e-324, 0.5)
WHOLES = (0, -1, 1, 2**31 - 1, -(2**31))
LONGS = (0, -1, 2**62, -(2**63), 2**63 - 1, 10**12)
BY_TYPE: dict[str, tuple[Any, ...]] = {
    "string": STRINGS, "double": DOUBLES, "float": DOUBLES, "int": WHOLES, "long": LONGS,
}  # fmt: skip


def avro_of(rng: random.Random, kind: Any, depth: int = 0) -> Any:
    """A value of an Avro type, typed as it must be and of any size."""
    if isinstance(kind, list):
        return avro_of(rng, rng.choice(kind), depth)
    if isinstance(kind, dict):
        name = kind["type"]
        if name == "record":
            return {field["name"]: avro_of(rng, field["type"], depth + 1) for field in kind["fields"]}
        if name == "array":
            return [avro_of(rng, kind["items"], depth + 1) for _ in range(rng.choice([0, 0, 1, 3, 19]))]
        if name == "map":
            return {rng.choice(STRINGS): avro_of(rng, kind["values"], depth + 1) for _ in range(rng.choice([0, 1, 2]))}
        return avro_of(rng, name, depth)
    if kind == "null":
        return None
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "bytes":
        return rng.randbytes(rng.choice([0, 1, 16, 16, 40]))
    chosen: Any = rng.choice(
        {"string": STRINGS, "double": DOUBLES, "float": DOUBLES, "int": WHOLES, "long": LONGS}[kind]
    )
    return chosen


def forged(rng: random.Random, topic: str) -> bytes:
    """A value that the topic's own schema reads, with anything in it."""
    name = SCHEMA_OF_TOPIC[topic]
    stream = io.BytesIO()
    stream.write(ENCODER.prefix_of(name))
    fastavro.schemaless_writer(stream, parsed(name), avro_of(rng, parsed(name)))
    return stream.getvalue()


def fixed_values(topic: str) -> list[bytes | None]:
    """The bag that each topic gets whole."""
    rng = random.Random(topic)
    own = forged(rng, topic) if topic in SCHEMA_OF_TOPIC else b"\x00\x01"
    rate = encode_value(
        "FxRate", {"currency": "USD", "base_currency": "EUR", "effective_at": "2026-01-01", "rate": 2.0}, ENCODER
    )
    return [
        None, b"", b" ", b"null", b"[]", b"5", b'"x"', b"{}", b"{", b'{"a": 1e400}', b"[" * 5_000, b"\xff\xfe\x00x",
        "ümlaut".encode("latin-1"), own[: len(own) // 2], own + b"x", rate, b"\xc3\x01" + b"12345678" + own[10:],
        b"\x00\x00\x00\x00\x2a" + own[10:], b"\x00", b"\xc3\x01", bytes(range(256)), b"x" * 200_000,
        b"\x01" + b"\xff" * 40, b"\x03" * 60, b'{"seq": 1, "nonce": 1, "clock_ms": 1, "next_offsets": 1}',
    ]  # fmt: skip


def value_of(rng: random.Random, topic: str) -> bytes | None:
    """Some rubbish for a topic."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(fixed_values(topic))
    if kind == 1:
        return rng.randbytes(rng.choice([1, 4, 9, 30, 200]))
    if kind == 2 and topic in SCHEMA_OF_TOPIC:
        return ENCODER.prefix_of(SCHEMA_OF_TOPIC[topic]) + rng.randbytes(rng.choice([0, 3, 30, 300]))
    if kind == 3 and topic in SCHEMA_OF_TOPIC:
        data = bytearray(forged(rng, topic))
        for _ in range(rng.choice([1, 2, 8])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    if kind == 4 and topic in SCHEMA_OF_TOPIC:
        return json.dumps(avro_json(rng, parsed(SCHEMA_OF_TOPIC[topic]))).encode("utf-8", "replace")
    return forged(rng, topic) if topic in SCHEMA_OF_TOPIC else rng.randbytes(20)


def avro_json(rng: random.Random, kind: Any) -> Any:
    """The same as JSON; bytes as a text."""
    value = avro_of(rng, kind)
    return json.loads(json.dumps(value, default=lambda one: one.hex()))


def key_of(rng: random.Random) -> bytes | None:
    """A key for it."""
    return rng.choice([None, b"", b"ann", b"user-0", b"\x00progress", b"\xff\xfe", b"\x1b[2J", b"k" * 2_000, b"epoch",
                       b"checkpoint", b"model/value", b"credit/risk", b"sample/zz", b"credit/\xff"])  # fmt: skip


def headers_of(rng: random.Random) -> list[tuple[str, bytes]]:
    """Headers that look a little like ours."""
    errors = [f"__streams.errors.{name}" for name in ("topic", "partition", "offset", "message", "cut")]
    names = ("ce_id", "__rescore.note", "__rescore.note.of", "x", *errors)
    values = (
        b"",
        b"\xff\xfe",
        b"9" * 5_000,
        b"1",
        b"-1",
        b"loans",
        b"nowhere",
        b"[/x]",
        b"ann/value/1-0/1",
        b"a/b/c/d",
    )
    return [(rng.choice(names), rng.choice(values)) for _ in range(rng.choice([0, 0, 1, 4]))]
