"""Whose a record is: a customer's, or that of a request without one, whatever the number; and what names nothing."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batch import EventBatch, Record
from schemas.decode import Decoder, decode, row_key_of
from schemas.kinds import INPUT_TOPICS, Kind, Rank, RejectCode
from schemas.row_keys import (
    PROGRESS_KEY,
    REQUEST_ID_MAX,
    kafka_key_of,
    name_of,
    number_in,
    record_key,
    request_key,
    request_of,
)
from tests.schemas.samples import REGISTRY, record, transaction
from tests.schemas.test_decode import NoPlans

Fields = dict[str, Any]


def read(*records: Record, **changed: Any) -> EventBatch:
    return decode(list(records), 0, Decoder(REGISTRY, 1, **changed))


def code_of(fields: Fields, topic: str, as_json: bool = False, **changed: Any) -> tuple[RejectCode, str]:
    (reject,) = read(record(fields, topic, as_json=as_json, **changed)).rejects
    return RejectCode(reject.code), reject.message


REQUEST: Fields = {"request_id": 77, "income": 600.0}
ANSWER: Fields = {"request_id": 77, "model": "risk", "label": True}


def test_two_kinds_of_things_never_share_a_row() -> None:
    batch = read(
        record({"user_id": "77", "income": 4_000.0}, "applicants"),
        record(transaction(user_id="77")),
        record(REQUEST, "applicants"),
        record(ANSWER, "outcomes"),
        record({"user_id": "77", "request_id": 78, "income": 1.0}, "applicants"),
        record({"request_id": 77, "command": "erase"}, "commands"),
        record({"user_id": "77", "command": "erase"}, "commands"),
    )
    assert batch.rejects == []
    assert batch.users == [b"77", b"\0request/77"]
    assert batch.events["user"].tolist() == [0, 0, 1, 1, 0, 1, 0]
    assert {one.key for one in batch.records} == {b"77"}  # in Kafka they lie under one key


@given(st.integers(0, REQUEST_ID_MAX), st.text(min_size=1, max_size=20))
def test_the_key_of_a_request_is_no_customers_and_comes_back(number: int, user: str) -> None:
    key = request_key(number)
    assert (request_of(key), record_key(key), name_of(key)) == (number, b"%d" % number, f"request {number}")
    assert number_in(str(number)) == number
    assert key != PROGRESS_KEY
    customer = user.encode()
    if customer[:1] != b"\0":
        assert request_of(customer) is None
        assert record_key(customer) == customer
    assert len(read(record(transaction(user_id="\0" + user))).events) == 0  # nobody can have such an id


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("user", ["ann", None])
@pytest.mark.parametrize("number", [-1, 2**53, -(2**63) + 1, 2**63 - 1])
def test_a_number_that_no_request_can_have_is_refused_in_words(number: int, user: str | None, as_json: bool) -> None:
    for topic, fields in (("applicants", REQUEST), ("outcomes", ANSWER), ("commands", {"command": "erase"})):
        wanted = RejectCode.REQUEST_ID_OUT_OF_RANGE
        if topic == "commands" and user is not None:
            wanted = RejectCode.WRONG_TYPE  # who is to be forgotten: the customer, or the request?
        code, message = code_of({**fields, "user_id": user, "request_id": number}, topic, as_json)
        assert code == wanted
        assert "2^53 - 1" in message or user is not None
    with pytest.raises(ValueError, match="request_id"):
        kafka_key_of({"user_id": user, "request_id": number})


def test_a_number_beyond_64_bits_is_refused_for_the_same_reason() -> None:
    code, message = code_of({**REQUEST, "request_id": 10**30}, "applicants", as_json=True)
    assert code == RejectCode.REQUEST_ID_OUT_OF_RANGE
    assert message.startswith("request_id is 1000000000000000000000000000000, not a whole number of 64 bits")
    assert code_of({**REQUEST, "request_id": 77.0}, "applicants", as_json=True)[0] == RejectCode.WRONG_TYPE
    for number in (0, REQUEST_ID_MAX):
        assert read(record({**REQUEST, "request_id": number}, "applicants")).users == [request_key(number)]


@pytest.mark.parametrize(
    "fields,words",
    [
        ({"user_id": "ann", "model": "risk"}, "neither a request_id nor a loan_id"),
        ({"user_id": "ann", "model": "risk", "loan_id": ""}, "neither a request_id nor a loan_id"),
        ({"model": "risk"}, "neither a request_id nor a loan_id"),
        ({"request_id": 1, "model": ""}, "can be called ''"),
        ({"request_id": 1, "model": "Risk"}, "can be called 'Risk'"),
        ({"request_id": 1, "model": "value"}, "can be called 'value'"),
        ({"request_id": 1, "model": "x" * 65}, "can be called 'xxx"),
        ({"user_id": "ann", "loan_id": "L", "model": "acceptance"}, "case of the model risk alone"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_an_outcome_that_names_nothing_that_can_be_is_refused_in_words(
    fields: Fields, words: str, as_json: bool
) -> None:
    code, message = code_of({"label": True, **fields}, "outcomes", as_json, key=b"ann")
    assert code == RejectCode.OUTCOME_OF_NOTHING
    assert words in message


def test_an_outcome_that_names_a_case_that_may_be_is_taken() -> None:
    for fields in (
        ANSWER,
        {"user_id": "ann", "request_id": 1, "model": "leases_2", "label": 0.0},
        {"user_id": "ann", "loan_id": "L", "model": "risk", "label": False},
        {"user_id": "ann", "loan_id": "L", "request_id": 1, "model": "values", "label": 1.0},
    ):
        assert read(record(fields, "outcomes")).rejects == []
    code, _ = code_of({"loan_id": "L", "model": "risk", "label": True}, "outcomes", key=b"ann")
    assert code == RejectCode.MISSING_FIELD  # a loan is a customer's


def test_the_key_of_a_request_is_its_number_and_only_that() -> None:
    assert code_of(REQUEST, "applicants", key=b"78")[0] == RejectCode.KEY_IS_NOT_USER
    code, message = code_of(REQUEST, "applicants", key=b"\0request/77")
    assert code == RejectCode.KEY_IS_NOT_USER
    assert "\0" not in message
    assert "the request_id '77'" in message
    assert code_of({"command": "lift", "score": "value", "request_id": 77}, "commands")[0] == RejectCode.MISSING_FIELD


def random_of_a_number(random: Random, offset: int) -> Record:
    """A record that has a number for its key: of a customer, of a request, of both, or spoiled."""
    number = random.choice([0, 7, 77, 2**53])
    topic = random.choice(INPUT_TOPICS[:2] + INPUT_TOPICS[3:])
    fields: Fields = {"event_id": f"e-{random.randrange(30)}"}
    if topic == "transactions" or random.random() < 0.4:
        fields["user_id"] = str(number)
    if topic != "transactions" and random.random() < 0.7:
        fields["request_id"] = number
    if topic == "transactions":
        fields = transaction() | fields
    elif topic == "applicants":
        fields["income"] = 100.0
    elif topic == "outcomes":
        fields |= {"model": random.choice(["risk", "value"]), "label": random.choice([True, 0.0])}
        fields |= {"loan_id": "L"} if random.random() < 0.5 else {}
    else:
        fields |= {"command": random.choice(["erase", "erase", "advance"]), "to": 5}
    one = record(fields, topic, as_json=random.random() < 0.5, offset=offset, key=str(number).encode())
    return (
        one if random.random() < 0.9 else one._replace(value=random.choice([None, b"", b"{", (one.value or b"")[:-2]]))
    )


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_whose_a_record_is_is_said_the_same_in_bulk_one_by_one_and_by_itself(seed: int) -> None:
    random = Random(seed)
    records = [random_of_a_number(random, offset) for offset in range(60)]
    bulk, alone = read(*records), read(*records, plans=NoPlans())
    assert bulk.events.tobytes() == alone.events.tobytes()
    assert (bulk.users, bulk.rejects) == (alone.users, alone.rejects)
    for event in bulk.events:
        one = records[int(event["record"])]
        key = row_key_of(one, Rank(int(event["rank"])), REGISTRY)
        if event["kind"] == Kind.ADVANCE:
            assert event["user"] == -1
        else:
            assert bulk.users[int(event["user"])] == key
            assert record_key(key or b"") == one.key
