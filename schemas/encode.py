"""Columns of score changes and scorecards to the values of their topics, in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import MISSING_TIME_MS, Changes, Columns, EventBatch
from schemas.categories import CATEGORY_NAMES
from schemas.compiled_encode import write_cards, write_changes, write_examples
from schemas.kinds import CAUSE_NAMES, INPUT_TOPICS, SCORE_NAMES, SEGMENT_NAMES, VALUE_BANDS, Reason, Score
from schemas.row_keys import record_key, request_of
from schemas.texts import Texts
from schemas.writing import Encoder, VersionNames, encode_value

CHANGE_BYTES_MAX = 400
"""Of a change without its texts, names and reasons: 24 fields of at most 11 bytes, and the digits of its ids."""

CARD_BYTES_MAX = 980
"""Of a card without its texts and names: 79 fields of at most 11 bytes."""

EXAMPLE_BYTES_MAX = 128
"""Of an example without its hash and its words: 19 features of at most 3 bytes, and fields of at most 11, most of 1."""

HIT_NUMBERS_BYTES = 50
LISTS_BYTES = 16
"""Of the lists of profiles of a change, without the names in them."""

REASON_NUMBERS_BYTES = 16
NAMES_MAX = 8
"""Names in a value: of score, cause, bands, segments, topic and versions."""


NO_TEXTS = Texts.of([])


class Words(NamedTuple):
    """The words a writer needs, coded as Avro strings, one behind the other; see the sections of `write_kernel`."""

    packed: NDArray[np.uint8]
    starts: NDArray[np.int64]
    longest_name: int
    longest_reason: int
    longest_hit: int
    all_profiles: int  # bytes of the names of all of them
    named: NDArray[np.int64]  # see `write_kernel.write_changes`


def encode_changes(changes: Changes, batch: EventBatch, users: Texts, names: VersionNames, encoder: Encoder) -> Texts:
    """Values of `score-changes`, one for each row in its order; `users` are the names of the table.

    Cost: about 0.6 us each. Raises RegistryUnavailable, SchemaNotRegistered when the schema is first used.
    """
    rows = changes.rows
    if not len(rows):
        return NO_TEXTS
    words, prefix = _words_of(encoder, names), np.frombuffer(encoder.prefix_of("ScoreChange"), np.uint8)
    packed_users, user_starts = users
    size = len(rows) * (CHANGE_BYTES_MAX + len(prefix) + NAMES_MAX * words.longest_name)
    size += 2 * int(np.diff(user_starts)[rows["user"]].sum())
    size += int(rows["reasons_count"].sum()) * (words.longest_reason + REASON_NUMBERS_BYTES)
    size += int(rows["point_length"].sum()) + int(rows["loan_length"].sum())
    size += 2 * words.all_profiles * int((rows["score"] == Score.PROFILES).sum()) + len(rows) * LISTS_BYTES
    size += int(rows["hits_count"].sum()) * (words.longest_hit + HIT_NUMBERS_BYTES)
    if len(batch.events):
        size += int(batch.events["event_id_length"][rows["event"][rows["event"] >= 0]].sum())
    out, ends = np.empty(size, np.uint8), np.zeros(len(rows) + 1, np.int64)
    write_changes(
        rows, changes.reasons, changes.hits, changes.text, packed_users, user_starts, batch.events, batch.text,
        batch.partition, prefix, words.packed, words.starts, len(names.weights), words.named, out, ends[1:],
    )  # fmt: skip
    return Texts(out[: ends[-1]], ends)


def encode_scorecards(changes: Changes, users: Texts, names: VersionNames, encoder: Encoder) -> Texts:
    """Values of `scorecards`, one for each card in its order; `users` are the names of the table. About 0.8 us each."""
    cards = changes.cards
    if not len(cards):
        return NO_TEXTS
    words, prefix = _words_of(encoder, names), np.frombuffer(encoder.prefix_of("Scorecard"), np.uint8)
    packed_users, user_starts = users
    size = len(cards) * (CARD_BYTES_MAX + len(prefix) + NAMES_MAX * words.longest_name + words.all_profiles)
    size += int(np.diff(user_starts)[cards["user"]].sum()) + int(cards["point_length"].sum())
    out, ends = np.empty(size, np.uint8), np.zeros(len(cards) + 1, np.int64)
    floors = np.array([names.floors(policy) for policy in range(len(names.policies))], np.float64)
    risk_floors = np.array([names.risk_floors(policy) for policy in range(len(names.policies))], np.float64)
    write_cards(
        cards, changes.text, packed_users, user_starts, floors, risk_floors, prefix, words.packed, words.starts,
        len(names.weights), words.named, out, ends[1:],
    )  # fmt: skip
    return Texts(out[: ends[-1]], ends)


def encode_examples(examples: Columns, user_hashes: Sequence[bytes], encoder: Encoder, model: str = "value") -> Texts:
    """Values of `rescore-examples`, one for each row in its order. About 0.3 us each.

    `user_hashes[i]` is the keyed hash of the user of example i; all are of one length.
    """
    if not len(examples):
        return NO_TEXTS
    begin = np.frombuffer(encoder.prefix_of("Example") + _string("example") + _string(model), np.uint8)
    hash_bytes = len(user_hashes[0])
    out = np.empty(len(examples) * (EXAMPLE_BYTES_MAX + len(begin) + hash_bytes), np.uint8)
    ends = np.zeros(len(examples) + 1, np.int64)
    hashes = np.frombuffer(b"".join(user_hashes), np.uint8)
    write_examples(examples, hashes, hash_bytes, begin, out, ends[1:])
    return Texts(out[: ends[-1]], ends)


def encode_inversions(inversions: Columns, batch: EventBatch, users: Sequence[bytes], encoder: Encoder) -> list[bytes]:
    """Values of `rescore-journal`, one for each record that was taken out of its order. About 15 us each."""
    return [
        encode_value(
            "Inversion",
            {
                "topic": encoder.topic(batch.events[row["event"]]["rank"]),
                "partition": batch.partition,
                "offset": int(batch.events[row["event"]]["offset"]),
                "user_id": record_key(users[row["user"]]).decode(),
                "request_id": request_of(users[row["user"]]),
                "incarnation": f"{row['incarnation_rank']}-{row['incarnation_offset']}",
                "ordinal": int(row["ordinal"]),
                "clock_ms": int(row["clock_ms"]),
                "after_ms": None if row["after_ms"] == MISSING_TIME_MS else int(row["after_ms"]),
                "forgotten": bool(row["forgotten"]),
            },
            encoder,
        )
        for row in inversions
    ]


def _words_of(encoder: Encoder, names: VersionNames) -> Words:
    """The words of an encoder and of the versions in force: made once for each set of them."""
    if names not in encoder.kept:
        encoder.kept[names] = _words(encoder, names)
    words: Words = encoder.kept[names]
    return words


def _words(encoder: Encoder, names: VersionNames) -> Words:
    known = {int(reason) for reason in Reason}
    reasons = [encoder.reason(code) if code in known else ("", "") for code in range(max(known) + 1)]
    topics = [encoder.topic(rank) for rank in range(len(INPUT_TOPICS))]
    before = [
        _string(word) for word in (*SCORE_NAMES, *CAUSE_NAMES, *VALUE_BANDS, *SEGMENT_NAMES, *topics, *CATEGORY_NAMES)
    ]
    said = [_string(code) + _string(text) for code, text in reasons]
    versions = [_string(name) for name in (*names.weights, *names.policies)]
    ids, titles = [_string(name) for name in names.profile_ids], [_string(words.title) for words in names.profiles]
    ends = [_string(w.text) + _string(w.purpose) + bytes([w.sensitive]) for w in names.profiles]
    packed, starts = Texts.of([*before, *said, *versions, *ids, *titles, *ends])
    longest_name = max(map(len, (*before, *versions)))
    longest_hit = sum(max(map(len, part), default=0) for part in (ids, titles, ends)) + longest_name
    named = np.array([len(before) + len(said) + len(versions), len(ids), len(titles)], np.int64)
    return Words(packed, starts, longest_name, max(map(len, said)), longest_hit, sum(map(len, ids)), named)


def _string(text: str) -> bytes:
    """An Avro string: its length as a varint, and its UTF-8."""
    data = text.encode()
    left, coded = 2 * len(data), bytearray()
    while left > 127:
        coded.append(left & 127 | 128)
        left >>= 7
    return bytes(coded) + bytes([left]) + data
