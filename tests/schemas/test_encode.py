"""The writers in bulk against the readable ones, and what comes out against what went in."""

from __future__ import annotations

from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator, default_rng

from schemas.batch import CARD, CHANGE, EXAMPLE, FOREVER_MS, HIT, INVERSION, REASON, Changes, EventBatch
from schemas.categories import CATEGORIES
from schemas.codec import (
    CloudEvents,
    Decoder,
    Encoder,
    Refused,
    VersionNames,
    card_to_dict,
    change_to_dict,
    decode,
    decode_value,
    encode_changes,
    encode_example,
    encode_examples,
    encode_inversions,
    encode_scorecards,
    encode_value,
)
from schemas.definitions import Schema, parse, schema
from schemas.kinds import SCORES, Cause, Reason, Score, is_code
from schemas.known_schemas import CONFLUENT, StaticRegistry
from schemas.texts import Texts
from schemas.times import iso_of
from schemas.writing import ProfileWords
from tests.schemas.samples import NOW_MS, REGISTRY, record, transaction

NAMES = VersionNames(
    ("weights-1", "weights-" + "é" * 40),
    ("policy-1",),
    ((2.0, 3.0, 4.0),),
    profile_ids=("foodie", "gamer", "reader" * 6),
    profiles=tuple(ProfileWords(f"Títle {i}" * i, "why" * i, "marketing", bool(i % 2)) for i in range(6)),
)
USERS = [b"ann", "žofie".encode(), b"u" * 256, b"7"]


class Framing(StaticRegistry):
    """Every schema has an id, as with a registry server."""

    def prefix_of(self, name: str) -> bytes:
        return CONFLUENT + b"\0\0\0\x2a"

    def schema_of_id(self, schema_id: int) -> Schema | None:
        return parse(schema("ScoreChange")) if schema_id == 42 else None


def batch_of(*event_ids: str | None) -> EventBatch:
    records = [record(transaction(event_id=event_id), offset=10**i) for i, event_id in enumerate(event_ids)]
    return decode(records, 0, Decoder(REGISTRY, 1))


def whole(random: Generator, count: int) -> Any:
    """Whole numbers of every size."""
    return random.integers(0, 2**62, count) >> random.integers(0, 62, count)


def maybe(random: Generator, numbers: Any) -> Any:
    return np.where(random.random(np.shape(numbers)) < 0.3, np.nan, numbers)


def random_changes(random: Generator, count: int, events: int) -> Changes:
    text = np.frombuffer("P-7/Jaén/L-88".encode(), np.uint8)
    rows, cards = np.zeros(count, CHANGE), np.zeros(count, CARD)
    reasons = np.zeros(4 * count, REASON)
    reasons["code"] = random.choice([int(code) for code in Reason], len(reasons))
    reasons["level"], reasons["moved"] = random.normal(size=(2, len(reasons)))
    rows["score"] = random.integers(0, SCORES, count)
    coded = np.array([is_code(int(score)) for score in rows["score"]])
    for name in ("old", "new"):
        codes = np.where(rows["score"] == Score.RFM, random.integers(0, 556, count), random.integers(0, 6, count))
        rows[name] = maybe(random, np.where(coded, codes, random.normal(size=count)))
        is_profiles = rows["score"] == Score.PROFILES
        rows[name][is_profiles] = random.integers(0, 2 ** len(NAMES.profile_ids), is_profiles.sum())
    rows["event"] = random.integers(-1, events, count)
    rows["cause"] = random.integers(0, len(Cause), count)
    rows["old_band"], rows["new_band"] = random.integers(-1, 4, (2, count))
    rows["base"], rows["confidence"] = maybe(random, random.normal(size=(2, count)))
    rows["event_time_ms"] = -whole(random, count)
    rows["reasons_at"], rows["reasons_count"] = np.arange(count) * 4, random.integers(0, 5, count)
    rows["loan_at"], rows["loan_length"] = 10, random.choice([0, 4], count)
    cards["score"] = maybe(random, random.uniform(0, 6, (count, SCORES)))
    cards["score"][:, Score.CLASS] = np.floor(cards["score"][:, Score.CLASS])
    cards["score"][:, Score.RFM] = np.floor(cards["score"][:, Score.RFM] * 100)
    cards["confidence"] = maybe(random, random.random((count, SCORES)))
    cards["first_payment_default"] = random.integers(-1, 2, count)
    cards["has_override"] = random.random(count) < 0.5
    for name in ("forecast", "consistency", "efficiency", "discipline"):
        cards[name] = maybe(random, random.normal(size=count))
    for name in ("sequence", "counts", "deposits_minor", "withdrawals_minor", "transactions"):
        cards[name] = whole(random, cards[name].size).reshape(cards[name].shape)
    cards["balance_minor"] = -whole(random, count)
    cards["clock_ms"], cards["open_loans"] = whole(random, count), whole(random, count)
    for columns in (rows, cards):
        columns["user"] = random.integers(0, len(USERS), count)
        columns["segment"] = random.integers(0, 6, count)
        columns["incarnation_rank"], columns["incarnation_offset"] = random.integers(0, 5, count), whole(random, count)
        columns["first_event_ms"], columns["last_event_ms"] = -whole(random, count), whole(random, count)
        columns["events"], columns["weights_version"] = whole(random, count), random.integers(0, 2, count)
        columns["valid_until_ms"] = np.where(random.random(count) < 0.3, FOREVER_MS, whole(random, count))
        columns["point_at"], columns["point_length"] = 4, random.choice([0, 5], count)
    rows["sequence"], rows["decided_ms"] = whole(random, count), whole(random, count)
    cards["score"][:, Score.PROFILES] = random.integers(0, 2 ** len(NAMES.profile_ids), count)
    hits = np.zeros(3 * count, HIT)
    hits["profile"], hits["held"] = random.integers(0, len(NAMES.profiles), 3 * count), random.random(3 * count) < 0.5
    hits["category"], hits["since_ms"] = random.integers(0, CATEGORIES, 3 * count), whole(random, 3 * count)
    hits["strength"], hits["share"], hits["purchases"] = random.random((3, 3 * count))
    hits["amount_minor"] = whole(random, 3 * count)
    rows["hits_at"], rows["hits_count"] = np.arange(count) * 3, np.where(is_profiles, random.integers(0, 4, count), 0)
    return Changes(rows, reasons, text.copy(), cards, hits)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.booleans())
def test_writing_in_bulk_is_writing_one_by_one_to_the_byte(seed: int, framed: bool) -> None:
    random, batch = default_rng(seed), batch_of("t-1", None, "é" * 128)
    changes = random_changes(random, 30, len(batch.events))
    encoder = Encoder(
        Framing() if framed else REGISTRY, {int(Reason.DEPOSITS): "Einzahlungen über 30 Tage " * 9}, "dev."
    )
    values = encode_changes(changes, batch, Texts.of(USERS), NAMES, encoder).cut()
    said = [change_to_dict(i, changes, batch, USERS, NAMES, encoder) for i in range(30)]
    assert values == [encode_value("ScoreChange", fields, encoder) for fields in said]
    cards = encode_scorecards(changes, Texts.of(USERS), NAMES, encoder).cut()
    shown = [card_to_dict(i, changes, USERS, NAMES) for i in range(30)]
    assert cards == [encode_value("Scorecard", fields, encoder) for fields in shown]


def test_a_change_comes_back_as_it_was_said() -> None:
    batch, encoder = batch_of("t-1"), Encoder(REGISTRY)
    changes = random_changes(default_rng(1), 1, 1)
    row = changes.rows[:1]
    row["score"], row["cause"], row["event"], row["sequence"] = Score.RFM, Cause.EVENT, 0, 7
    row["user"], row["incarnation_rank"], row["incarnation_offset"] = 0, 3, 120
    row["old"], row["new"], row["reasons_count"], row["valid_until_ms"] = np.nan, 545.0, 0, FOREVER_MS
    (value,) = encode_changes(changes, batch, Texts.of(USERS), NAMES, encoder).cuts()
    said = decode_value("ScoreChange", value, REGISTRY)
    assert said["change_id"] == "ann/rfm/3-120/7"
    assert (said["old"], said["new"], said["old_text"], said["new_text"]) == (None, None, None, "545")
    cause = said["cause"]
    assert (cause["kind"], cause["topic"], cause["partition"], cause["offset"]) == ("event", "transactions", 0, 1)
    assert cause["event_id"] == "t-1"
    assert (said["reasons"], said["valid_until_ms"]) == ([], None)
    assert said == change_to_dict(0, changes, batch, USERS, NAMES, encoder)


def test_a_stranger_reads_a_change_with_fastavro_and_the_schema_file_alone() -> None:
    batch, changes = batch_of("t-1"), random_changes(default_rng(2), 1, 1)
    (value,) = encode_changes(changes, batch, Texts.of(USERS), NAMES, Encoder(REGISTRY)).cuts()
    import io

    fields: Any = fastavro.schemaless_reader(io.BytesIO(value[10:]), parse(schema("ScoreChange")), None)
    assert fields == change_to_dict(0, changes, batch, USERS, NAMES, Encoder(REGISTRY))


def test_nothing_said_is_nothing_written() -> None:
    batch = batch_of()
    none = Changes(np.zeros(0, CHANGE), np.zeros(0, REASON), np.zeros(0, np.uint8), np.zeros(0, CARD))
    encoder = Encoder(REGISTRY)
    assert encode_changes(none, batch, Texts.of([]), NAMES, encoder).cut() == []
    assert encode_scorecards(none, Texts.of([]), NAMES, encoder).cut() == []


def test_bands_are_those_of_the_policy_in_force() -> None:
    changes = random_changes(default_rng(3), 1, 0)
    changes.cards["score"][0, Score.VALUE] = 2.5
    names = VersionNames(("w", "w2"), ("p",), ((2.6, 3.0, 4.0),))
    assert card_to_dict(0, changes, USERS, names)["value_band"] == "low"
    assert card_to_dict(0, changes, USERS, VersionNames(("w", "w2"), ("p",)))["value_band"] == "medium"


def test_headers_name_the_change_and_hand_the_trace_on() -> None:
    traced = record(transaction(), headers=[("other", b"x"), ("traceparent", b"00-1-2-01")])
    batch = decode([traced], 0, Decoder(REGISTRY, 1))
    changes = random_changes(default_rng(4), 2, 1)
    changes.rows["event"] = [0, -1]
    changes.rows["decided_ms"] = NOW_MS
    with_trace, without = CloudEvents("/rescore/test").change_headers(changes, batch, Texts.of(USERS)).rows()
    said = dict(with_trace)
    fields = change_to_dict(0, changes, batch, USERS, NAMES, Encoder(REGISTRY))
    assert said["ce_id"].decode() == fields["change_id"]
    assert said["ce_type"].decode() == f"rescore.score.changed.{fields['score']}"
    assert said["ce_subject"].decode() == fields["user_id"]
    assert said["ce_time"] == b"2024-06-30T12:00:00.000Z"
    assert (said["ce_specversion"], said["ce_source"], said["content-type"]) == (
        b"1.0", b"/rescore/test", b"application/avro",
    )  # fmt: skip
    assert said["traceparent"] == b"00-1-2-01"
    assert "traceparent" not in dict(without)


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_headers_of_many_are_those_of_each(seed: int) -> None:
    """`ce_id` and the rest as the change itself says them, and the `traceparent` its own record came with."""
    random = default_rng(seed)
    parents = [None, b"", b"00-1-2-01", b"00-3-4-01"]
    chosen = [parents[i] for i in random.integers(0, 4, 3)]
    records = [
        record(transaction(event_id=f"t-{i}"), offset=i, headers=None if said is None else [("traceparent", said)])
        for i, said in enumerate(chosen)
    ]
    batch, encoder = decode(records, 0, Decoder(REGISTRY, 1)), Encoder(REGISTRY)
    changes = random_changes(random, 30, len(batch.events))
    changes.rows["decided_ms"] = random.integers(-(2**46), 2**48, 30)
    found = list(CloudEvents("/rescore/test").change_headers(changes, batch, Texts.of(USERS)).rows())
    assert len(found) == 30
    for i, headers in enumerate(found):
        fields = change_to_dict(i, changes, batch, USERS, NAMES, encoder)
        event = int(changes.rows["event"][i])
        parent = None if event < 0 else chosen[int(batch.events["record"][event])]
        assert headers == [
            ("ce_specversion", b"1.0"),
            ("ce_id", fields["change_id"].encode()),
            ("ce_type", f"rescore.score.changed.{fields['score']}".encode()),
            ("ce_source", b"/rescore/test"),
            ("ce_time", iso_of(int(changes.rows["decided_ms"][i])).encode()),
            ("ce_subject", fields["user_id"].encode()),
            ("content-type", b"application/avro"),
            *([("traceparent", parent)] if parent else []),
        ]


def test_examples_and_inversions_come_back_as_they_were_said() -> None:
    encoder, examples, inversions = Encoder(REGISTRY, topic_prefix="dev."), np.zeros(1, EXAMPLE), np.zeros(1, INVERSION)
    examples["day"], examples["features"], examples["label"] = 19_900, 65_535, 2.5
    (value,) = encode_examples(examples, [b"\x01" * 16], encoder).cuts()
    said = decode_value("Example", value, REGISTRY)
    assert (said["kind"], said["model"], said["user_hash"], said["day"]) == ("example", "value", b"\x01" * 16, 19_900)
    assert (said["features"], said["label"]) == ([65_535] * 19, 2.5)
    inversions["incarnation_rank"], inversions["incarnation_offset"], inversions["ordinal"] = 3, 5, 12
    batch = batch_of("t-1")
    (value,) = encode_inversions(inversions, batch, batch.users, encoder)
    said = decode_value("Inversion", value, REGISTRY)
    assert (said["topic"], said["offset"], said["user_id"]) == ("dev.transactions", 1, "ann")
    assert (said["incarnation"], said["ordinal"]) == ("3-5", 12)
    assert said["request_id"] is None
    (value,) = encode_inversions(inversions, batch, [b"\0request/77"], encoder)
    said = decode_value("Inversion", value, REGISTRY)
    assert (said["user_id"], said["request_id"]) == ("77", 77)


@pytest.mark.parametrize("registry", [REGISTRY, Framing()])
@pytest.mark.parametrize("seed", range(4))
def test_examples_in_bulk_are_the_bytes_of_each_by_itself(registry: StaticRegistry, seed: int) -> None:
    random, encoder = default_rng(seed), Encoder(registry)
    examples = np.zeros(50, EXAMPLE)
    examples["features"] = random.integers(0, 65_536, (50, 19)) >> random.integers(0, 17, (50, 19))
    examples["day"], examples["timestamp_ms"] = whole(random, 50), -whole(random, 50)
    examples["forecast"], examples["label"] = random.normal(size=(2, 50))
    hashes = [random.bytes(16) for _ in examples]
    assert encode_examples(examples, hashes, encoder).cut() == [
        encode_value(
            "Example",
            {"kind": "example", "model": "value", "user_hash": user, "day": int(one["day"]),
             "timestamp_ms": int(one["timestamp_ms"]), "features": one["features"].tolist(),
             "forecast": float(one["forecast"]), "label": float(one["label"])},
            encoder,
        )
        for one, user in zip(examples, hashes, strict=True)
    ]  # fmt: skip
    assert encode_examples(examples[:0], [], encoder).cut() == []


longs = st.integers(-(2**62), 2**62)
doubles = st.floats(allow_nan=False)
lists = st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20)
members = st.fixed_dictionaries(
    {"consistency": doubles},
    optional={"features": lists, "status": st.none() | doubles, "revenue": doubles, "recency": doubles},
)
example_fields = st.fixed_dictionaries(
    {"kind": st.text(), "model": st.text()},
    optional={
        "user_hash": st.none() | st.binary(),
        "epoch": st.none() | longs,
        "day": longs,
        "timestamp_ms": longs,
        "features": lists,
        "forecast": doubles,
        "label": st.none() | doubles,
        "member": st.none() | members,
        "case": st.binary(max_size=200),
        "earlier_hash": st.none() | st.binary(max_size=16),
        "inputs": st.none() | st.dictionaries(st.text(), doubles | st.text(), max_size=70),
        "aside": st.none() | st.dictionaries(st.text(), st.text(), max_size=9),
        "until_ms": longs,
        "words": st.none() | st.lists(st.integers(0, 2**32), max_size=6),
        "category": st.none() | st.text(),
    },
)


@given(example_fields)
def test_an_example_by_itself_is_the_bytes_its_schema_says(fields: dict[str, Any]) -> None:
    for registry in (REGISTRY, Framing()):
        encoder = Encoder(registry)
        assert encode_example(fields, encoder) == encode_value("Example", fields, encoder)


def test_progress_comes_back_as_it_was_said() -> None:
    progress = {
        "seq": 8, "nonce": "n", "clock_ms": NOW_MS, "next_offsets": {"loans": 3}, "code_version": "1",
        "marked_ms": None, "swept_ms": NOW_MS, "erased_ms": None, "topic_ids": {"loans": "6uJ0n-hTSbqU1m5mRz0eSA"},
    }  # fmt: skip
    assert decode_value("Progress", encode_value("Progress", progress, Encoder(REGISTRY)), REGISTRY) == progress


def test_fields_that_do_not_fit_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="do not fit the schema Progress"):
        encode_value("Progress", {"seq": "eight"}, Encoder(REGISTRY))
    with pytest.raises(Refused, match="none of the encodings"):
        decode_value("Progress", b"?", REGISTRY)
