"""Values of strangers' schemas: the case, logical types, resolution, bounds, and a thousand random schemas."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from pathlib import Path
from pprint import pformat
from random import Random
from typing import Any

import fastavro
import pytest

from schemas.batch import EventBatch, Record
from schemas.decode import Decoder, decode
from schemas.definitions import SCHEMA_OF_TOPIC, fingerprint_of, schema
from schemas.foreign import foreign_schema
from schemas.kinds import INPUT_TOPICS, RejectCode
from schemas.known_schemas import StaticRegistry, Written
from schemas.logical_types import EPOCH_MS_FIELDS, MOMENT_FIELDS
from schemas.readable import Refused, read_fields
from schemas.times import time_ms
from tests.schemas.random_writers import Types
from tests.schemas.samples import NOW_MS, transaction
from tests.schemas.test_decode import NoPlans, assert_same

CASE = Path(__file__).parents[1] / "cases" / "avro-writers-schema-of-other-types"
SEED = 20261130


class Ids(StaticRegistry):
    """Schemas by number, and each by its fingerprint as well."""

    def __init__(self, *schemas: Any) -> None:
        self.by_id = {number: foreign_schema(json.dumps(one)) for number, one in enumerate(schemas, 1)}
        self._by_fingerprint = {fingerprint_of(one): self.by_id[i] for i, one in enumerate(schemas, 1)}

    def schema_of_id(self, schema_id: int) -> Written:
        return self.by_id.get(schema_id)


def lines(name: str) -> list[Any]:
    return [json.loads(line) for line in (CASE / name).read_text("utf-8").splitlines()]


def case_registry() -> Ids:
    registry = Ids()
    registry.by_id = {line["id"]: foreign_schema(json.dumps(line["schema"])) for line in lines("schemas.jsonl")}
    return registry


def framed(schema_id: int, written: Any, datum: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(written), datum)
    return b"\0" + schema_id.to_bytes(4, "big") + stream.getvalue()


def both(records: list[Record], registry: StaticRegistry) -> EventBatch:
    """What the compiled reader makes of records, which has to be what the readable one makes of them."""
    batch = decode(records, 0, Decoder(registry, 1))
    assert_same(batch, decode(records, 0, Decoder(registry, 1, plans=NoPlans())))
    assert len(batch.events) + len(batch.rejects) == len(records)
    return batch


GOOD = Record("transactions", 0, 9, NOW_MS, b"ann", json.dumps(transaction()).encode())
CASE_MS = time_ms("2026-06-01T00:00:00Z") or 0


@pytest.mark.parametrize("line", lines("records.jsonl"), ids=lambda line: line["case"])
def test_each_line_of_the_case_is_taken_or_a_letter_and_the_good_one_next_to_it_is_taken(line: Any) -> None:
    record = Record(line["topic"], 0, 0, CASE_MS, line["key"].encode(), bytes.fromhex(line["value_hex"]))
    batch = both([record, GOOD._replace(timestamp_ms=CASE_MS)], case_registry())
    messages = [(RejectCode(reject.code).name, reject.message) for reject in batch.rejects]
    taken = {batch.users[user]: batch.events[i] for i, user in enumerate(batch.events["user"]) if user >= 0}
    assert b"ann" in taken
    advances = [event for event in batch.events if event["user"] < 0]
    if line["case"] == "to timestamp-millis":
        assert [int(event["until_ms"]) for event in advances] == [1_777_680_000_000]
    elif "taken" in line["right"] and "dead letter" not in line["right"]:
        assert messages == []
        assert taken[record.key or b""]["timestamp_ms"] == CASE_MS
    elif messages:
        ((code, message),) = messages
        words = {
            "currency uuid": ("UNKNOWN_CURRENCY", "transaction_currency"),
            "transaction_date uuid": ("WRONG_TYPE", "transaction_date"),
            "revision date": ("WRONG_TYPE", "The field revision is written as int (date), which cannot be read as int"),
            "request_id timestamp-micros": ("WRONG_TYPE", "request_id is written as long (timestamp-micros)"),
            "schema string": ("UNDECODABLE", "written as string, which is no record"),
            "schema array": ("UNDECODABLE", "written as array of string, which is no record"),
            "schema map": ("UNDECODABLE", "written as map of string, which is no record"),
            "schema union, null taken": ("UNDECODABLE", "null, which is no record"),
        }[line["case"]]
        assert (code, words[1] in message) == (words[0], True), message
    else:
        assert line["case"] == "uuid that is none"
        assert batch.slice_of_text(*_text(batch, "event_id", record.key)) == b"no-uuid"


def _text(batch: EventBatch, name: str, user: bytes | None) -> tuple[int, int]:
    event = batch.events[batch.users.index(user or b"")]
    return int(event[f"{name}_at"]), int(event[f"{name}_length"])


def test_the_text_of_a_uuid_is_the_id_and_amounts_are_those_written() -> None:
    registry = case_registry()
    rows = {line["case"]: line for line in lines("records.jsonl")}
    line = rows["event_id uuid"]
    record = Record("transactions", 0, 0, CASE_MS, b"e-uuid", bytes.fromhex(line["value_hex"]))
    batch = both([record], registry)
    assert batch.slice_of_text(*_text(batch, "event_id", b"e-uuid")) == b"6f1c1e0a-0d3b-4b8e-9d55-0f3c2b1a7e11"
    assert batch.events[0]["amount"] == 12.34
    assert all(len(plan) for plan in decoder_of(record, registry).plans.values())  # by the compiled reader


def decoder_of(record: Record, registry: StaticRegistry) -> Decoder:
    decoder = Decoder(registry, 1)
    decode([record], 0, decoder)
    return decoder


@pytest.mark.parametrize("part", range(4))
def test_random_schemas_are_read_rightly_or_refused_with_the_name_of_a_field(part: int) -> None:
    """A thousand schemas in four parts: fields as the oracle says, or a letter that names one of those it refuses."""
    random = Random(SEED + part)
    counts: Counter[str] = Counter()
    for number in range(250):
        name = random.choice([*(SCHEMA_OF_TOPIC[topic] for topic in INPUT_TOPICS), "Transaction", "LoanEvent"])
        writer = Types(random).writer(name)
        registry, records = Ids(writer.schema), []
        for offset in range(4):
            datum, wanted, letters = writer.draw(random)
            value = framed(1, writer.schema, datum)
            said = f"seed {SEED + part}, schema {number}: {json.dumps(writer.schema)}, {datum}"
            counts[_check(value, name, registry, wanted, letters, said)] += 1
            single = b"\xc3\x01" + fingerprint_of(writer.schema) + value[5:]
            _check(single, name, registry, wanted, letters, said)
            user = wanted.get("user_id")
            key = user.encode() if isinstance(user, str) else b"77"
            topic = INPUT_TOPICS[[SCHEMA_OF_TOPIC[topic] for topic in INPUT_TOPICS].index(name)]
            records += [Record(topic, 0, 2 * offset + i, NOW_MS, key, v) for i, v in enumerate((value, single))]
        decoder = Decoder(registry, 1)
        counts["events"] += len(both(records, registry).events)
        decode(records, 0, decoder)
        counts["in bulk"] += any(len(plan) for plan in decoder.plans.values())
    assert counts["taken"] > 400, counts
    assert counts["letter"] > 250, counts
    assert counts["events"] > 150, counts
    assert counts["in bulk"] > 20, counts


def _check(
    value: bytes, name: str, registry: StaticRegistry, wanted: dict[str, Any], letters: list[str], said: str
) -> str:
    try:
        fields = read_fields(value, name, registry)
    except Refused as refused:
        detail = refused.detail
    else:
        detail = ""
    if detail:
        assert any(words in detail for words in letters), f"{said}: {detail}, not of {letters}"
        assert len(detail) < 500
        return "letter"
    assert not letters, f"{said}: {letters}"
    assert pformat(fields) == pformat(wanted), said  # 1, 1.0 and True are not the same here
    return "taken"


@pytest.mark.parametrize("part", range(2))
def test_spoiled_bytes_of_random_schemas_are_letters_and_both_readers_agree(part: int) -> None:
    random = Random(SEED + 10 + part)
    for _ in range(100):
        topic = random.choice(["transactions", "loans", "applicants"])
        writer = Types(random).writer(SCHEMA_OF_TOPIC[topic])
        registry, records = Ids(writer.schema), []
        for offset in range(6):
            datum, wanted, _ = writer.draw(random)
            value = bytearray(framed(1, writer.schema, datum))
            for place in random.choices(range(5, len(value)), k=random.randrange(1, 4)) if len(value) > 5 else ():
                value[place] = random.randrange(256)
            key = str(wanted.get("user_id") or "").encode() or None
            records.append(Record(topic, 0, offset, NOW_MS, key, bytes(value[: random.randrange(5, len(value) + 1)])))
        both(records, registry)


def test_every_field_whose_doc_says_iso_8601_takes_timestamps_and_no_other_does() -> None:
    said = set()
    for name in SCHEMA_OF_TOPIC.values():
        for record in (schema(name), *_nested(schema(name))):
            said |= {field["name"] for field in record["fields"] if "ISO 8601" in field.get("doc", "")}
    assert said == MOMENT_FIELDS
    longs = {field["name"]: field["doc"] for field in schema("Command")["fields"] if "long" in str(field["type"])}
    assert set(longs) == EPOCH_MS_FIELDS | {"request_id"}
    assert all("milliseconds since 1970" in longs[name] for name in EPOCH_MS_FIELDS)


def _nested(record: Any) -> list[Any]:
    branches = [branch for field in record["fields"] if isinstance(field["type"], list) for branch in field["type"]]
    return [branch for branch in branches if isinstance(branch, dict) and branch["type"] == "record"]


# The compiled reader of annotated types.


def annotated(**types: Any) -> dict[str, Any]:
    """Our transaction schema with some fields of other types."""
    made: Any = json.loads(json.dumps(schema("Transaction")))
    for field in made["fields"]:
        field["type"] = types.get(field["name"], field["type"])
        if field["name"] in types:
            field.pop("default", None)
    return dict(made)


TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}


def test_timestamps_and_uuids_are_read_in_bulk() -> None:
    written = annotated(transaction_date=TIMESTAMP, user_created=["null", TIMESTAMP], event_id={
        "type": "string", "logicalType": "uuid"})  # fmt: skip
    registry = Ids(written)
    times = [NOW_MS * 1_000, NOW_MS * 1_000 - 1, -1, 2**62, -(2**62), 0, (NOW_MS + 300_001) * 1_000]
    created = [None, -(10**15), 10**15, 6, 7, -(2**60), None]
    records = [
        Record("transactions", 0, i, NOW_MS, b"ann", framed(1, written, transaction(
            transaction_date=at, user_created=random_created, event_id=str(i))))
        for i, (at, random_created) in enumerate(zip(times, created, strict=True))
    ]  # fmt: skip
    batch = both(records, registry)
    assert decoder_of(records[0], registry).plans[3, 1, 1].shape[0] > 0
    assert batch.events["event_time_ms"].tolist() == [NOW_MS, NOW_MS - 1, -1]
    assert batch.events["created_ms"].tolist()[1:] == [-(10**12), 10**12]
    assert [RejectCode(reject.code).name for reject in batch.rejects] == [
        "WRONG_TYPE", "WRONG_TYPE", "WRONG_TYPE", "EVENT_TIME_IN_FUTURE"]  # fmt: skip


def test_an_amount_in_decimal_is_the_same_event_as_in_double() -> None:
    written = annotated(
        transaction_amount={"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        transaction_date={"type": "int", "logicalType": "date"},
    )
    fields = transaction(transaction_amount=(-1234567).to_bytes(3, "big", signed=True), transaction_date=19_903)
    theirs = Record("transactions", 0, 0, NOW_MS, b"ann", framed(1, written, fields))
    plain = GOOD._replace(value=json.dumps(transaction(transaction_amount=-12345.67, transaction_date="2024-06-29"))
                          .encode())  # fmt: skip
    batch = both([theirs, plain], Ids(written))
    assert batch.events["amount"].tolist() == [-12345.67, -12345.67]
    assert len(set(batch.events["content_hash"].tolist())) == 1


# What is made to be huge.


def zigzag(number: int) -> bytes:
    coded = ((number << 1) ^ (number >> 63)) & (2**64 - 1)
    out = bytearray()
    while coded > 127:
        out.append(coded & 127 | 128)
        coded >>= 7
    return bytes([*out, coded])


def with_extra(avro_type: Any) -> dict[str, Any]:
    return {"type": "record", "name": "Transaction", "fields": [{"name": "x", "type": avro_type}]}


NESTED_LIST = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
NOTHING = {"type": "record", "name": "Z", "fields": []}
DOUBLING: Any = NOTHING
for _level in range(40):
    DOUBLING = {
        "type": "record",
        "name": f"D{_level}",
        "fields": [{"name": "a", "type": DOUBLING}, {"name": "b", "type": f"D{_level - 1}" if _level else "Z"}],
    }

HUGE: dict[str, tuple[Any, bytes, str]] = {
    "a billion nulls": ({"type": "array", "items": "null"}, zigzag(10**9) + b"\0", "more than 100,000 values"),
    "a billion empty records": ({"type": "array", "items": NOTHING}, zigzag(10**9) + b"\0", "more than 100,000"),
    "blocks of nulls without end": ({"type": "array", "items": "null"}, zigzag(99_000) * 200, "more than 100,000"),
    "a block of -1,000,000,000": ({"type": "array", "items": "null"}, zigzag(-(10**9)) * 2, "more than 100,000"),
    "a block of -2^63": ({"type": "array", "items": "long"}, zigzag(-(2**63)) * 2, "more than 100,000 values"),
    "2^62 entries": ({"type": "map", "values": "null"}, zigzag(2**62) + b"\0" * 10, "more than 100,000 values"),
    "a text of 2^62 bytes": ("string", zigzag(2**62), "it ends too early"),
    "bytes of 2^63 - 1": ("bytes", zigzag(2**63 - 1) + b"x" * 9, "it ends too early"),
    "a text of -5 bytes": ("string", zigzag(-5) + b"hello", "a length is below zero"),
    "a whole number of 100 bytes": ("long", b"\xff" * 100, "more than 64 bits"),
    "a whole number of 65 bits": ("long", b"\xff" * 9 + b"\x02", "more than 64 bits"),
    "branch -1": (["null", "string"], zigzag(-1), "branch -1 of 2"),
    "branch 2^40": (["null", "string"], zigzag(2**40), "branch 1099511627776 of 2"),
    "nested 10,000 deep": (NESTED_LIST, b"\x02" * 10_000 + b"\0", "nested deeper than 50 levels"),
    "records within themselves": (
        {"type": "record", "name": "A", "fields": [{"name": "a", "type": "A"}]}, b"", "nested deeper than 50 levels"),
    "2^40 records in no bytes": (DOUBLING, b"", "more than 100,000 values"),
    "a fixed of 10,000,000 bytes": ({"type": "fixed", "name": "F", "size": 10_000_000}, b"abc", "it ends too early"),
}  # fmt: skip


@pytest.mark.parametrize("case", HUGE)
def test_what_is_made_to_be_huge_is_a_letter_within_milliseconds(case: str) -> None:
    avro_type, body, words = HUGE[case]
    registry = Ids(with_extra(avro_type))
    value = b"\0\0\0\0\1" + body
    begun = time.process_time()
    with pytest.raises(Refused) as refused:
        read_fields(value, "Transaction", registry)
    # Every field that it lacks is refused before; so the words come from a schema that has all of ours.
    whole = annotated()
    whole["fields"].insert(0, {"name": "x", "type": avro_type})
    registry = Ids(whole)
    with pytest.raises(Refused) as refused:
        read_fields(value, "Transaction", registry)
    assert time.process_time() - begun < 1.0  # milliseconds, on a machine with nothing else to do
    assert (refused.value.code, words in refused.value.detail) == (RejectCode.UNDECODABLE, True), refused.value.detail
    assert "field x" in refused.value.detail
    assert len(both([Record("transactions", 0, 0, NOW_MS, b"ann", value), GOOD], registry).events) == 1


def test_decimals_that_are_made_to_be_huge_are_letters() -> None:
    for scale, unscaled in ((2, b"\x7f" * 100_000), (10**6, b"\x01"), (0, b"\x01" + b"\0" * 43)):
        decimal = {"type": "bytes", "logicalType": "decimal", "precision": 10**6, "scale": scale}
        written = annotated(transaction_amount=decimal)
        value = framed(1, written, transaction(transaction_amount=unscaled))
        with pytest.raises(Refused, match="the field transaction_amount is a decimal of more than 100 digits"):
            read_fields(value, "Transaction", Ids(written))
