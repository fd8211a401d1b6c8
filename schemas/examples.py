"""One training example at a time from its fields: the bytes of `encode_value("Example", ...)`, ten times as fast.

A case has some fifteen inputs by name, each a number or a word; fastavro looks at every one of them for which of the
two it is. Avro has neither padding nor names, so the writer is the schema's fields in their order and nothing else; a
test compares both on random fields. Many examples of the value model at once: `schemas.encode.encode_examples`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache

from schemas.readable import Fields
from schemas.writing import Encoder

NULL, PRESENT, IS_NUMBER, IS_WORD = b"\0", b"\2", b"\0", b"\2"
WORDS_KEPT = 4_096

_double = struct.Struct("<d").pack


def encode_example(fields: Fields, encoder: Encoder) -> bytes:
    """A value of `rescore-examples`; fields that are absent are null. About 4 us.

    Raises RegistryUnavailable, SchemaNotRegistered when the schema is first used.
    """
    said = fields.get
    return b"".join(
        (
            encoder.prefix_of("Example"),
            _word(fields["kind"]),
            _word(fields["model"]),
            _bytes(said("user_hash")),
            _whole(said("epoch")),
            _whole(said("day")),
            _whole(said("timestamp_ms")),
            _list(said("features")),
            _number(said("forecast")),
            _number(said("label")),
            _member(said("member")),
            _bytes(said("case")),
            _inputs(said("inputs")),
            _aside(said("aside")),
            _whole(said("until_ms")),
            _list(said("words")),
            _text(said("category")),
            _bytes(said("earlier_hash")),
        )
    )


@lru_cache(maxsize=WORDS_KEPT)
def _word(text: str) -> bytes:
    data = text.encode()
    return long_of(len(data)) + data


def long_of(number: int) -> bytes:
    r"""A long as Avro writes it: zigzag, then seven bits a byte, lowest first.

    >>> long_of(0), long_of(-1), long_of(64)
    (b'\x00', b'\x01', b'\x80\x01')
    """
    left, coded = (number << 1) ^ (number >> 63), bytearray()
    while left > 127:
        coded.append(left & 127 | 128)
        left >>= 7
    coded.append(left)
    return bytes(coded)


def _text(text: str | None) -> bytes:
    return NULL if text is None else PRESENT + _word(text)


def _bytes(data: bytes | None) -> bytes:
    return NULL if data is None else PRESENT + long_of(len(data)) + data


def _whole(number: int | None) -> bytes:
    return NULL if number is None else PRESENT + long_of(number)


def _number(number: float | None) -> bytes:
    return NULL if number is None else PRESENT + _double(number)


def _list(numbers: list[int] | None) -> bytes:
    return NULL if numbers is None else PRESENT + _block(map(long_of, numbers), len(numbers))


def _member(member: Fields | None) -> bytes:
    if member is None:
        return NULL
    numbers = (_number(member.get(name)) for name in ("status", "revenue", "recency"))
    return b"".join((PRESENT, _list(member.get("features")), _double(member["consistency"]), *numbers))


def _inputs(inputs: Mapping[str, float | str] | None) -> bytes:
    if inputs is None:
        return NULL
    said = (
        _word(name) + (IS_WORD + _word(value) if isinstance(value, str) else IS_NUMBER + _double(value))
        for name, value in inputs.items()
    )
    return PRESENT + _block(said, len(inputs))


def _aside(words: Mapping[str, str] | None) -> bytes:
    if words is None:
        return NULL
    return PRESENT + _block((_word(name) + _word(value) for name, value in words.items()), len(words))


def _block(items: Iterable[bytes], count: int) -> bytes:
    """The items of a list or map, behind their number."""
    return (long_of(count) + b"".join(items) if count else b"") + NULL
