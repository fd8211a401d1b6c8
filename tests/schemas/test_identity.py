"""By what an event is known, and what of it is content: through every encoding and both readers."""

from __future__ import annotations

from typing import Any

import pytest
import xxhash

from schemas.batch import EventBatch, Record
from schemas.decode import Decoder, decode
from schemas.kinds import Kind, RejectCode
from tests.schemas.samples import BLANKS, REGISTRY, loan, record, transaction
from tests.schemas.test_decode import NoPlans, assert_same

COMMAND = {"user_id": "ann", "author": "kim", "reason": "asked for"}
OVERRIDE = {"command": "override", "score": "value", "value": 4.0, "expires_at": "2025-01-01"}
PREVIOUS = {"transaction_amount": 3.0, "transaction_currency": "EUR", "transaction_date": "2024-06-29"}


def read(*records: Record) -> EventBatch:
    """In bulk and one by one, to the same bytes."""
    batch = decode(list(records), 0, Decoder(REGISTRY, 1))
    assert_same(batch, decode(list(records), 0, Decoder(REGISTRY, 1, plans=NoPlans())))
    return batch


def of_every_kind(event_id: str | None, as_json: bool) -> list[Record]:
    """One event of each kind that has a customer."""
    said: list[tuple[str, dict[str, Any]]] = [
        ("commands", COMMAND | {"command": "erase"}),
        ("commands", COMMAND | OVERRIDE),
        ("commands", COMMAND | {"command": "lift", "score": "value"}),
        ("applicants", {"user_id": "ann", "income": 2_000.0}),
        ("loans", loan("issued")),
        ("loans", loan("repaid")),
        ("loans", loan("cancelled")),
        ("transactions", transaction()),
        ("outcomes", {"user_id": "ann", "model": "risk", "label": 1.0, "loan_id": "L1"}),
    ]
    return [record(fields | {"event_id": event_id}, topic, as_json) for topic, fields in said]


@pytest.mark.parametrize("as_json", [True, False])
def test_an_id_counts_within_its_kind_and_an_erasure_has_no_identity(as_json: bool) -> None:
    batch = read(*of_every_kind("7", as_json))
    hashes = dict(zip(batch.events["kind"].tolist(), batch.events["event_hash"].tolist(), strict=True))
    assert len(hashes) == len(Kind) - 1
    assert hashes.pop(Kind.ERASE) == 0
    assert len(set(hashes.values())) == len(hashes)
    assert 0 not in hashes.values()
    assert {batch.slice_of_text(e["event_id_at"], e["event_id_length"]) for e in batch.events} == {b"7"}


@pytest.mark.parametrize("revision", [0, 1, 2**31 - 1])
def test_a_transaction_is_known_by_the_hash_that_rows_of_earlier_versions_hold(revision: int) -> None:
    fields = transaction(event_id="t-1", revision=revision, previous=PREVIOUS if revision else None)
    batch = read(record(fields), record(fields, as_json=True))
    assert batch.events["event_hash"].tolist() == [xxhash.xxh64_intdigest(b"t-1", revision)] * 2


def test_a_revision_is_no_kind() -> None:
    payment = {"amount": 3.0, "paid_at": "2024-06-29"}
    fields = [
        *(transaction(event_id="7", revision=n, previous=PREVIOUS if n else None) for n in range(12)),
        *(loan("repaid", event_id="7", revision=n, previous=payment if n else None) for n in range(12)),
    ]
    batch = read(*(record(one, "loans" if "loan_id" in one else "transactions") for one in fields))
    assert len(set(batch.events["event_hash"].tolist())) == 24


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("blank", [None, *BLANKS], ids=repr)
def test_a_blank_event_id_is_none(blank: str | None, as_json: bool) -> None:
    batch = read(*of_every_kind(blank, as_json))
    assert batch.rejects == []
    assert set(batch.events["event_hash"].tolist()) == {0}
    assert set(batch.events["event_id_length"].tolist()) == {0}


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("blank", [None, *BLANKS], ids=repr)
def test_a_correction_without_an_event_id_is_refused(blank: str | None, as_json: bool) -> None:
    batch = read(
        record(transaction(event_id=blank, revision=1, previous=PREVIOUS), as_json=as_json),
        record(loan("issued", event_id=blank, revision=1), "loans", as_json),
    )
    assert [reject.code for reject in batch.rejects] == [RejectCode.MISSING_FIELD] * 2
    assert {reject.message.partition(",")[0] for reject in batch.rejects} == {
        f"event_id is {'missing' if blank is None else 'blank'}"
    }


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("blank", BLANKS[1:-1], ids=repr)
def test_nobody_and_no_loan_is_called_by_white_space(blank: str, as_json: bool) -> None:
    batch = read(record(transaction(user_id=blank), as_json=as_json), record(loan(loan_id=blank), "loans", as_json))
    assert [(reject.code, reject.message.partition(":")[0]) for reject in batch.rejects] == [
        (RejectCode.MISSING_FIELD, "user_id is blank"),
        (RejectCode.MISSING_FIELD, "loan_id is blank"),
    ]


@pytest.mark.parametrize(
    "topic,fields,changed",
    [
        ("applicants", {"income": 1.0, "attributes": {"a": 1.0, "b": "x"}}, {"attributes": {"a": 1.0, "b": "y"}}),
        ("applicants", {"income": 1.0}, {"request_id": 5}),
        ("outcomes", {"model": "risk", "label": 1.0, "request_id": 4}, {"model": "insurance"}),
        ("outcomes", {"model": "risk", "label": 1.0, "loan_id": "L1"}, {"request_id": 5}),
        ("commands", COMMAND | OVERRIDE, {"reason": "another"}),
        ("commands", COMMAND | OVERRIDE, {"value": 3.0}),
    ],
)
def test_what_was_said_beyond_the_columns_is_content_where_nothing_is_read_in_bulk(
    topic: str, fields: dict[str, Any], changed: dict[str, Any]
) -> None:
    fields = {"event_id": "7", "user_id": "ann", **fields}
    turned = dict(reversed(fields.items()))
    if "attributes" in turned:
        turned["attributes"] = dict(reversed(turned["attributes"].items()))
    batch = read(
        record(fields, topic), record(turned, topic, as_json=True), record(fields | changed, topic, as_json=True)
    )
    first, same, other = batch.events["content_hash"].tolist()
    assert first == same != other
    assert len(set(batch.events["event_hash"].tolist())) == 1
