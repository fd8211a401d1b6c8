"""The decoder in bulk against the readable one, and both against what a record says."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batch import DECLARED, MISSING_TIME_MS, EventBatch, Record
from schemas.categories import Category
from schemas.decode import NO_PLAN, Decoder, Group, decode
from schemas.definitions import SCHEMA_OF_TOPIC, Schema, parse, schema
from schemas.kinds import INPUT_TOPICS, Kind, RejectCode, Score, TransactionState
from schemas.known_schemas import RegistryUnavailable, StaticRegistry
from schemas.partitioner import Partitioner, partition_of
from schemas.plan import Plan
from schemas.readable import Fields
from schemas.times import time_ms
from tests.schemas.samples import NOW_MS, REGISTRY, avro, loan, random_record, record, transaction


class NoPlans(dict[Group, Plan]):
    """Makes a decoder read every record by itself."""

    def __contains__(self, group: object) -> bool:
        return True

    def __getitem__(self, group: Group) -> Plan:
        return NO_PLAN


def read(*records: Record, partitions: int = 1, **changed: Any) -> EventBatch:
    return decode(list(records), 0, Decoder(REGISTRY, partitions, **changed))


def only(*records: Record) -> Any:
    batch = read(*records)
    assert batch.rejects == []
    assert len(batch.events) == 1
    return batch.events[0]


def code_of(one: Record, **changed: Any) -> RejectCode:
    batch = read(one, **changed)
    assert len(batch.events) == 0
    (reject,) = batch.rejects
    assert (reject.record, reject.stage) == (0, "decode")
    assert reject.message.endswith(".")
    return RejectCode(reject.code)


def assert_same(one: EventBatch, other: EventBatch) -> None:
    assert one.events.tobytes() == other.events.tobytes()
    assert one.text.tobytes() == other.text.tobytes()
    assert one.users == other.users
    assert one.rejects == other.rejects


@settings(max_examples=60)
@given(st.integers(0, 2**64), st.sampled_from([1, 3]))
def test_reading_in_bulk_is_reading_one_by_one_to_the_byte(seed: int, partitions: int) -> None:
    random = Random(seed)
    records = [random_record(random, offset) for offset in range(80)]
    bulk = decode(records, 0, Decoder(REGISTRY, partitions))
    assert_same(bulk, decode(records, 0, Decoder(REGISTRY, partitions, plans=NoPlans())))
    rejected = {reject.record for reject in bulk.rejects}
    assert sorted([*rejected, *bulk.events["record"].tolist()]) == list(range(80))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["2024-06-30", "EUR"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
FIELD_NAMES = sorted({field["name"] for topic in INPUT_TOPICS for field in schema(SCHEMA_OF_TOPIC[topic])["fields"]})
VERBS = ["erase", "override", "lift", "advance", "issued", "repaid", "cancelled", "value", "status"]
OBJECTS = st.dictionaries(st.sampled_from(FIELD_NAMES), ANYTHING | st.sampled_from([*VERBS, "ann"]), max_size=12)


@given(
    st.sampled_from(INPUT_TOPICS),
    st.binary(max_size=60) | OBJECTS.map(lambda fields: json.dumps(fields).encode()),
    st.booleans(),
    st.none() | st.just(b"ann") | st.binary(max_size=4),
)
def test_whatever_the_bytes_are_a_record_ends_as_an_event_or_as_a_reject(
    topic: str, value: bytes, as_avro: bool, key: bytes | None
) -> None:
    prefix = REGISTRY.prefix_of(SCHEMA_OF_TOPIC[topic]) if as_avro else b""
    batch = read(Record(topic, 0, 0, NOW_MS, key, prefix + value))
    assert len(batch.events) + len(batch.rejects) == 1


def test_most_random_records_are_read_in_bulk_and_some_are_not() -> None:
    random = Random(1)
    records = [random_record(random, offset) for offset in range(2_000)]
    batch = decode(records, 0, Decoder(REGISTRY, 1))
    assert 300 < len(batch.events) < 1_700


def test_a_transaction_becomes_its_columns() -> None:
    batch = read(record(transaction(), offset=41))
    event = batch.events[0]
    assert event["kind"] == Kind.TRANSACTION
    assert event["state"] == TransactionState.SUCCEEDED
    assert (event["amount"], event["balance"], event["offset"]) == (-12.25, 1000.5, 41)
    assert event["currency"] == int.from_bytes(b"EUR", "big")
    assert event["web"]
    assert event["event_time_ms"] == time_ms("2024-06-30T11:59:00")
    assert event["created_ms"] == time_ms("2020-01-01")
    assert (event["timestamp_ms"], event["due_ms"]) == (NOW_MS, MISSING_TIME_MS)
    assert batch.users == [b"ann"]
    assert batch.slice_of_text(event["event_id_at"], event["event_id_length"]) == b"t-1"


def test_loan_events_become_their_columns() -> None:
    batch = read(record(loan("issued"), "loans"), record(loan("repaid"), "loans"), record(loan("cancelled"), "loans"))
    issued, repaid, cancelled = batch.events
    assert [event["kind"] for event in batch.events] == [Kind.LOAN_ISSUED, Kind.LOAN_REPAID, Kind.LOAN_CANCELLED]
    assert (issued["order_amount"], issued["gross_margin"], issued["promo"]) == (1000.0, 100.0, 5.0)
    assert issued["due_ms"] == time_ms("2024-09-01")
    assert batch.slice_of_text(issued["province_at"], issued["province_length"]) == "Jaén".encode()
    assert (repaid["amount"], repaid["currency"]) == (250.0, 0)
    assert cancelled["event_time_ms"] == time_ms("2024-06-29")
    assert all(batch.slice_of_text(event["loan_id_at"], event["loan_id_length"]) == b"L/1" for event in batch.events)


def test_commands_become_their_columns() -> None:
    override = {"user_id": "ann", "command": "override", "score": "status", "value": 3.5, "expires_at": "2025-01-01"}
    said = only(record(override | {"author": "kim"}, "commands"))
    assert (said["kind"], said["score"], said["value"]) == (Kind.OVERRIDE, Score.STATUS, 3.5)
    assert said["until_ms"] == time_ms("2025-01-01")
    assert (said["event_time_ms"], said["author_length"]) == (NOW_MS, 3)
    assert only(record({"user_id": "ann", "command": "erase"}, "commands"))["kind"] == Kind.ERASE
    assert only(record({"user_id": "ann", "command": "lift", "score": "value"}, "commands"))["kind"] == Kind.LIFT


def test_an_advance_is_nobodys_and_needs_no_key() -> None:
    advance = record({"command": "advance", "to": NOW_MS + 5}, "commands", key=None)
    batch = read(record(transaction()), advance, partitions=1)
    assert batch.events["user"].tolist() == [0, -1]
    assert batch.events[1]["until_ms"] == NOW_MS + 5
    assert batch.users == [b"ann"]


def test_applicants_and_outcomes_may_be_known_by_their_request_alone() -> None:
    said = only(record({"request_id": 77, "income": 2500.0, "moroso": 0.0}, "applicants"))
    assert said["declared"][DECLARED.index("income")] == 2500.0
    assert np.isnan(said["declared"][DECLARED.index("debt")])
    assert only(record({"request_id": 77, "model": "risk", "label": True}, "outcomes"))["value"] == 1.0
    of_loan = {"user_id": "a", "loan_id": "L-1", "model": "risk", "label": 0.25}
    assert only(record(of_loan, "outcomes"))["value"] == 0.25


def test_users_are_numbered_by_first_appearance_and_rejected_ones_are_left_out() -> None:
    records = [record(transaction(user_id=user), offset=i) for i, user in enumerate(["b", "a", "b", "c"])]
    records[1] = record(transaction(user_id="a", transaction_amount=float("nan")), offset=1)
    batch = read(*records)
    assert batch.users == [b"b", b"c"]
    assert batch.events["user"].tolist() == [0, 0, 1]
    assert batch.events["record"].tolist() == [0, 2, 3]
    assert [reject.record for reject in batch.rejects] == [1]


def test_an_empty_batch_is_an_empty_batch() -> None:
    batch = read()
    assert (len(batch.events), len(batch.text), batch.users, batch.rejects) == (0, 0, [], [])


def test_the_three_encodings_say_the_same() -> None:
    class WithIds(StaticRegistry):
        def schema_of_id(self, schema_id: int) -> Schema | None:
            return parse(schema("Transaction")) if schema_id == 7 else None

    framed = record(transaction())._replace(value=avro(transaction(), "Transaction", prefix=b"\0\0\0\0\7"))
    records = [record(transaction()), framed, record(transaction(), as_json=True)]
    batch = decode(records, 0, Decoder(WithIds(), 1))
    assert batch.rejects == []
    events = batch.events.copy()
    for name in ("record", "event_id_at"):
        events[name] = 0
    assert events[0].tobytes() == events[1].tobytes() == events[2].tobytes()


def test_values_of_other_versions_of_a_schema_are_read_as_ours() -> None:
    older: Any = json.loads(json.dumps(schema("Transaction")))
    older["fields"] = [field for field in older["fields"] if field["name"] not in ("previous", "mcc", "revision")]
    newer: Any = json.loads(json.dumps(schema("Transaction")))
    newer["fields"].insert(0, {"name": "terminal", "type": ["null", "string", "long"], "default": None})
    newer["fields"].insert(2, {"name": "fees", "type": {"type": "array", "items": "double"}, "default": []})
    widened: Any = json.loads(json.dumps(schema("Transaction")))
    next(field for field in widened["fields"] if field["name"] == "transaction_amount")["type"] = "long"
    written: dict[int, Schema] = {1: parse(older), 2: parse(newer), 3: parse(widened)}

    class Versions(StaticRegistry):
        def schema_of_id(self, schema_id: int) -> Schema | None:
            return written.get(schema_id)

    fields = transaction(terminal=None, fees=[1.0], transaction_amount=5)
    records = [
        record(transaction())._replace(
            value=avro(fields, "Transaction", written=written[number], prefix=bytes([0, 0, 0, 0, number]))
        )
        for number in written
    ]
    batch = decode(records, 0, Decoder(Versions(), 1))
    assert batch.rejects == []
    assert batch.events["amount"].tolist() == [5.0, 5.0, 5.0]
    assert_same(batch, decode(records, 0, Decoder(Versions(), 1, plans=NoPlans())))


def test_a_schema_in_another_namespace_is_read_in_bulk_as_well() -> None:
    theirs: Any = json.loads(json.dumps(schema("Transaction")))
    theirs["namespace"] = "com.bank"
    written = parse(theirs)

    class Theirs(StaticRegistry):
        def schema_of_id(self, schema_id: int) -> Schema | None:
            return written

    previous = {"transaction_amount": 3.0, "transaction_currency": "USD", "transaction_date": "2024-06-29"}
    fields = transaction(revision=1, previous=previous | {"transaction_state": None})
    value = avro(fields, "Transaction", written=written, prefix=b"\0\0\0\0\1")
    decoder = Decoder(Theirs(), 1)
    batch = decode([record(fields)._replace(value=value)], 0, decoder)
    assert batch.events["previous_amount"].tolist() == [3.0]
    assert all(len(plan) for plan in decoder.plans.values())
    assert_same(batch, decode(batch.records, 0, Decoder(Theirs(), 1, plans=NoPlans())))


def test_an_event_time_a_little_ahead_counts_as_the_timestamp() -> None:
    ahead = only(record(transaction(transaction_date="2024-06-30T12:05:00")))
    assert ahead["event_time_ms"] == NOW_MS
    assert code_of(record(transaction(transaction_date="2024-06-30T12:05:00.001"))) == RejectCode.EVENT_TIME_IN_FUTURE


def test_what_is_published_again_has_the_same_hashes_and_other_content_another() -> None:
    again = record(transaction(transaction_date="2024-06-30T12:03:00"))
    batch = read(
        again, again._replace(timestamp_ms=NOW_MS + 1_000, offset=9), record(transaction(transaction_amount=1.0))
    )
    first, second, other = batch.events
    assert first["event_time_ms"] != second["event_time_ms"]
    assert (first["event_hash"], first["content_hash"]) == (second["event_hash"], second["content_hash"])
    assert first["event_hash"] == other["event_hash"]
    assert first["content_hash"] != other["content_hash"]


def test_a_correction_is_another_event_and_says_what_it_replaces() -> None:
    previous = {"transaction_amount": 3.0, "transaction_currency": "USD", "transaction_date": "2024-06-29"}
    batch = read(record(transaction()), record(transaction(revision=1, previous=previous)))
    first, corrected = batch.events
    assert first["event_hash"] != corrected["event_hash"]
    assert (corrected["has_previous"], corrected["previous_amount"]) == (True, 3.0)
    assert corrected["previous_state"] == TransactionState.ABSENT
    assert corrected["previous_time_ms"] == time_ms("2024-06-29")


def test_a_bounced_payment_is_a_correction_to_zero() -> None:
    previous = {"amount": 250.0, "paid_at": "2024-06-30T11:00:00Z"}
    bounced = only(record(loan("repaid", amount=0.0, revision=1, previous=previous), "loans"))
    assert (bounced["amount"], bounced["previous_amount"]) == (0.0, 250.0)


SPOILED: list[tuple[str, RejectCode, Callable[[], Record]]] = [
    ("truncated Avro", RejectCode.UNDECODABLE, lambda: spoil(lambda value: value[:-3])),
    ("bytes behind the end", RejectCode.UNDECODABLE, lambda: spoil(lambda value: value + b"\0")),
    ("no known encoding", RejectCode.UNDECODABLE, lambda: spoil(lambda value: b"hello")),
    ("no value", RejectCode.UNDECODABLE, lambda: record(transaction(), value=None)),
    ("broken JSON", RejectCode.UNDECODABLE, lambda: spoil(lambda value: b'{"user_id": "ann"')),
    ("JSON nested without end", RejectCode.UNDECODABLE, lambda: spoil(lambda value: b'{"a":' * 100_000)),
    ("half a surrogate", RejectCode.UNDECODABLE, lambda: spoil(lambda value: b'{"user_id": "\\ud800"}')),
    ("an unknown fingerprint", RejectCode.UNKNOWN_SCHEMA, lambda: spoil(lambda value: b"\xc3\x01" + b"12345678")),
    ("an unknown id", RejectCode.UNKNOWN_SCHEMA, lambda: spoil(lambda value: b"\0\0\0\0\x09" + value[10:])),
    ("a text for a number", RejectCode.WRONG_TYPE, lambda: as_json(transaction_amount="12")),
    ("true for a number", RejectCode.WRONG_TYPE, lambda: as_json(transaction_amount=True)),
    ("a huge whole number", RejectCode.WRONG_TYPE, lambda: as_json(revision=10**30)),
    ("a date that does not exist", RejectCode.WRONG_TYPE, lambda: record(transaction(transaction_date="2023-02-29"))),
    ("a negative revision", RejectCode.WRONG_TYPE, lambda: record(transaction(revision=-1))),
    ("NaN", RejectCode.NOT_A_NUMBER, lambda: record(transaction(transaction_amount=float("nan")))),
    ("infinity", RejectCode.NOT_A_NUMBER, lambda: record(transaction(user_balance=float("inf")))),
    ("no key", RejectCode.NULL_KEY, lambda: record(transaction(), key=None)),
    ("another key", RejectCode.KEY_IS_NOT_USER, lambda: record(transaction(), key=b"bob")),
    ("a long user_id", RejectCode.TOO_LARGE, lambda: record(transaction(user_id="a" * 257))),
    ("the year 2999", RejectCode.EVENT_TIME_IN_FUTURE, lambda: record(transaction(transaction_date="2999-01-01"))),
    ("the year 1", RejectCode.BEFORE_FIRST_DAY, lambda: record(transaction(transaction_date="0001-01-01"))),
    ("a small currency", RejectCode.UNKNOWN_CURRENCY, lambda: record(transaction(transaction_currency="eur"))),
    ("a huge amount", RejectCode.AMOUNT_OUT_OF_RANGE, lambda: record(transaction(transaction_amount=1.1e11))),
    ("a huge amount in JSON", RejectCode.AMOUNT_OUT_OF_RANGE, lambda: as_json(transaction_amount=10**30)),
    ("an unknown state", RejectCode.UNKNOWN_STATE, lambda: record(transaction(transaction_state="DONE"))),
    ("an unknown category", RejectCode.UNKNOWN_CATEGORY, lambda: record(transaction(user_category="BRANCH"))),
    ("two digits for a code", RejectCode.UNKNOWN_MCC, lambda: record(transaction(mcc="54"))),
    ("five digits for a code", RejectCode.UNKNOWN_MCC, lambda: record(transaction(mcc="54111"))),
    ("letters for a code", RejectCode.UNKNOWN_MCC, lambda: as_json(mcc="groceries")),
    ("a broken number for a code", RejectCode.UNKNOWN_MCC, lambda: record(transaction(mcc="5411.5"))),
    ("letters for the code before", RejectCode.UNKNOWN_MCC, lambda: record(transaction(
        revision=1, previous={"transaction_amount": 1.0, "transaction_currency": "EUR",
                              "transaction_date": "2024-06-29", "mcc": "x"}))),
    ("a missing field", RejectCode.MISSING_FIELD, lambda: spoil(lambda value: b'{"user_id": "ann"}')),
    ("a loan without due date", RejectCode.MISSING_FIELD, lambda: record(loan(due_date=None), "loans")),
    ("a correction of nothing", RejectCode.MISSING_FIELD, lambda: record(loan(revision=1, event_id=None), "loans")),
    ("a blind correction", RejectCode.CORRECTION_WITHOUT_PREVIOUS, lambda: record(transaction(revision=1))),
    ("a blind bounce", RejectCode.CORRECTION_WITHOUT_PREVIOUS, lambda: record(loan("repaid", revision=2), "loans")),
    ("a payment of nothing", RejectCode.NON_POSITIVE_PAYMENT, lambda: record(loan("repaid", amount=0.0), "loans")),
    ("a loan of nothing", RejectCode.NON_POSITIVE_ORDER, lambda: record(loan(order_amount=0.0), "loans")),
    ("an unknown score", RejectCode.UNKNOWN_SCORE, lambda: record(
        {"user_id": "ann", "command": "lift", "score": "karma"}, "commands")),
    ("an unknown command", RejectCode.WRONG_TYPE, lambda: record({"user_id": "ann", "command": "dance"}, "commands")),
]  # fmt: skip


def spoil(change: Callable[[bytes], bytes]) -> Record:
    one = record(transaction())
    assert one.value is not None
    return one._replace(value=change(one.value))


def as_json(**changed: Any) -> Record:
    return record(transaction(**changed), as_json=True)


@pytest.mark.parametrize("code,make", [case[1:] for case in SPOILED], ids=[case[0] for case in SPOILED])
def test_a_bad_record_is_rejected_with_its_reason_and_spoils_no_other(
    code: RejectCode, make: Callable[[], Record]
) -> None:
    assert code_of(make()) == code
    batch = read(record(transaction(user_id="before")), make(), record(transaction(user_id="after")))
    assert batch.users == [b"before", b"after"]
    assert [(reject.record, reject.code) for reject in batch.rejects] == [(1, code)]


@pytest.mark.parametrize("mcc", ["742", "742.0", " 0742", "0742"])
def test_a_code_that_a_spreadsheet_has_spoiled_is_the_code_it_was(mcc: str) -> None:
    batch = read(record(transaction(mcc="0742")), record(transaction(mcc=mcc)))
    assert not batch.rejects
    assert [Category(int(category)) for category in batch.events["category"]] == [Category.PETS] * 2
    assert len(set(batch.events["content_hash"].tolist())) == 1


@pytest.mark.parametrize("topic, fields", [("transactions", transaction()), ("loans", loan("repaid"))])
def test_a_record_without_a_timestamp_says_so(topic: str, fields: Fields) -> None:
    (reject,) = read(record(fields, topic, timestamp_ms=-1)).rejects
    assert reject.code == RejectCode.EVENT_TIME_IN_FUTURE
    assert reject.message.startswith("The record has no timestamp (-1)")


def test_a_value_beyond_the_limit_is_rejected_unread() -> None:
    assert code_of(record(transaction(description="x" * 500)), value_bytes_max=400) == RejectCode.TOO_LARGE


@pytest.mark.parametrize("partitioner", list(Partitioner))
def test_a_record_in_another_partition_than_its_keys_is_rejected(partitioner: Partitioner) -> None:
    users = [f"user-{i}" for i in range(40)]
    batch = read(*(record(transaction(user_id=user)) for user in users), partitions=5, partitioner=partitioner)
    assert batch.users == [user.encode() for user in users if partition_of(user.encode(), 5, partitioner) == 0]
    assert {reject.code for reject in batch.rejects} == {RejectCode.WRONG_PARTITION}
    assert len(batch.users) + len(batch.rejects) == 40


def test_a_registry_that_does_not_answer_decides_nothing() -> None:
    class Silent(StaticRegistry):
        def schema_of_id(self, schema_id: int) -> Schema | None:
            raise RegistryUnavailable("no answer")

    with pytest.raises(RegistryUnavailable):
        decode([record(transaction()), spoil(lambda value: b"\0\0\0\0\1" + value[10:])], 0, Decoder(Silent(), 1))


def test_an_unknown_schema_is_asked_for_once_a_batch_and_again_with_the_next() -> None:
    class Counting(StaticRegistry):
        asked = 0

        def schema_of_id(self, schema_id: int) -> Schema | None:
            self.asked += 1
            return None

    registry = Counting()
    decoder = Decoder(registry, 1)
    records = [spoil(lambda value: b"\0\0\0\0\1" + value[10:])] * 30
    for batch in (1, 2):
        assert len(decode(records, 0, decoder).rejects) == 30
        assert registry.asked == batch


def test_topics_may_have_a_prefix() -> None:
    batch = read(record(transaction(), topic="transactions")._replace(topic="dev.transactions"), topic_prefix="dev.")
    assert len(batch.events) == 1
