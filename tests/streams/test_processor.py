"""Between bytes and bytes: what one batch of records says, and what happens where it cannot be decided."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.batch import Record
from schemas.codec import CloudEvents, Decoder, Encoder, RegistryUnavailable, StaticRegistry, decode_value
from schemas.known_schemas import Registry
from state.layout import LAYOUT_VERSION, decode_row
from state.versions import Policy, Versions
from streams.log.message import Message
from streams.log.protocol import HaltPartition, PauseAndRetry
from streams.processing.processor import ScoreProcessor
from streams.scoring.reasons import REASON_TEXTS
from streams.versions.known import packaged_weights
from streams.worker.output import Output, thought_through
from tests.scoring.customers import at_ms, iso

REGISTRY = StaticRegistry()


def processor(registry: Registry = REGISTRY) -> ScoreProcessor:
    versions = Versions([Policy()], [packaged_weights()])
    encoder = Encoder(StaticRegistry(), REASON_TEXTS)
    return ScoreProcessor(Decoder(registry, 1), encoder, CloudEvents("/rescore/test"), lambda: versions, b"key")


def transaction(day: float, offset: int = 0, **more: Any) -> Record:
    fields = {
        "event_id": f"t-{offset}", "user_id": "ann", "transaction_currency": "EUR", "transaction_amount": 100.0,
        "transaction_date": iso(day),
    }  # fmt: skip
    headers = [("traceparent", b"00-abc-def-01"), ("mine", b"x")]
    return Record("transactions", 0, offset, at_ms(day), b"ann", json.dumps(fields | more).encode(), headers)


def erase(day: float) -> Record:
    fields = {"event_id": "m", "user_id": "ann", "command": "erase", "author": "officer", "reason": "asked for"}
    return Record("commands", 0, 9, at_ms(day), b"ann", json.dumps(fields).encode())


def taken(rows: dict[bytes, bytes], *records: Record, due: tuple[bytes, ...] = (), day: float | None = None) -> Output:
    clock_ms = at_ms(day) if day is not None else records[-1].timestamp_ms
    output = thought_through(
        processor().process(0, records, due, clock_ms), lambda users: [rows.get(user) for user in users]
    )
    for image in output.images:
        if image.row is None:
            rows.pop(image.user)
        else:
            rows[image.user] = image.row
    return output


def test_a_transaction_becomes_a_change_a_scorecard_and_an_after_image() -> None:
    rows: dict[bytes, bytes] = {}
    output = taken(rows, transaction(0))
    (change,) = output.changes
    (card,) = output.scorecards
    (image,) = output.images
    said = decode_value("ScoreChange", change.value or b"", REGISTRY)
    assert (change.key, said["user_id"], said["score"], said["sequence"]) == (b"ann", "ann", "value", 1)
    assert said["cause"] == {
        "kind": "event", "topic": "transactions", "partition": 0, "offset": 0, "event_id": "t-0", "loan_id": None,
    }  # fmt: skip
    headers = dict(change.headers or [])
    assert headers["ce_id"].decode() == said["change_id"]
    assert headers["ce_type"] == b"rescore.score.changed.value"
    assert headers["traceparent"] == b"00-abc-def-01"
    assert decode_value("Scorecard", card.value or b"", REGISTRY)["value"] == said["new"]
    assert image.due_ms == said["valid_until_ms"]
    assert decode_row(image.row or b"").due_ms == image.due_ms


def test_the_same_batch_gives_the_same_bytes() -> None:
    assert taken({}, transaction(0), transaction(1, 1)) == taken({}, transaction(0), transaction(1, 1))


def test_a_dead_letter_keeps_bytes_and_headers_and_says_why() -> None:
    bad = transaction(0, transaction_amount="much")
    output = taken({}, bad)
    (letter,) = output.dead_letters["transactions.dlq"]
    assert (letter.key, letter.value) == (bad.key, bad.value)
    headers = dict(letter.headers or [])
    assert headers["mine"] == b"x"
    assert headers["__streams.errors.exception"] == b"WRONG_TYPE"
    assert headers["__streams.errors.stage"] == b"decode"
    assert b"transaction_amount" in headers["__streams.errors.message"]
    assert (output.changes, output.images) == ([], [])


def test_a_batch_counts_its_dead_letters_by_reason_and_the_event_ids_it_has_to_forget() -> None:
    few = replace(processor(), versions=lambda: Versions([Policy(duplicates_max=2)], [packaged_weights()]))
    ids = ("a", "b", "a", "c", "d")  # the third is another event under a known id
    records = [transaction(0, i, event_id=name, transaction_amount=1.0 + i) for i, name in enumerate(ids)]
    records += [transaction(0, 5, transaction_amount="much"), erase(0)]
    output = thought_through(few.process(0, records, (), at_ms(0)), lambda users: [None for _ in users])
    assert output.reasons == {"EVENT_ID_REUSED": 1, "WRONG_TYPE": 1}
    assert output.overruns == 2  # c and d each took the place of one before; the erasure does not undo that
    assert sum(map(len, output.dead_letters.values())) == 2


def test_a_record_that_fits_no_dead_letter_topic_leaves_a_letter_that_says_where_it_lies() -> None:
    small = replace(processor(), letter_bytes_max=2_000)
    bad = transaction(0, offset=7, transaction_amount="much", description="x" * 3_000)
    output = thought_through(small.process(0, [bad], (), bad.timestamp_ms), lambda users: [None for _ in users])
    (letter,) = output.dead_letters["transactions.dlq"]
    headers = dict(letter.headers or [])
    assert (letter.key, letter.value) == (b"ann", None)
    assert 3_000 < int(headers["__streams.errors.cut"]) < 4_000
    assert headers["__streams.errors.offset"] == b"7"
    assert b"fits no dead-letter topic" in headers["__streams.errors.message"]
    assert "mine" not in headers


def test_a_user_who_was_erased_leaves_tombstones() -> None:
    rows: dict[bytes, bytes] = {}
    taken(rows, transaction(0))
    output = taken(rows, erase(1))
    assert [(card.key, card.value) for card in output.scorecards] == [(b"ann", None)]
    gone = taken(rows, due=(b"ann",), day=2.5)
    assert [(image.user, image.row, image.due_ms) for image in gone.images] == [(b"ann", None, None)]
    assert rows == {}


def test_whoever_is_erased_without_a_score_leaves_tombstones_too() -> None:
    """A request says nothing of a score; what it left with learners is forgotten all the same."""
    rows: dict[bytes, bytes] = {}
    said = {"event_id": "a", "user_id": "ann", "declared_at": iso(0), "income": 1_000.0}
    first = taken(rows, Record("applicants", 0, 0, at_ms(0), b"ann", json.dumps(said).encode()))
    assert not first.changes
    output = taken(rows, erase(1))
    assert (output.changes, output.scorecards) == ([], [Message(b"ann", None)])
    (forgotten,) = [decode_value("Example", message.value or b"", REGISTRY) for message in output.examples]
    assert (forgotten["kind"], forgotten["timestamp_ms"]) == ("erasure", at_ms(1))
    assert output.erases
    assert taken(rows, erase(1.1)).scorecards == []  # nobody was left to be erased


def test_a_due_user_of_whom_nothing_is_known_leaves_the_index() -> None:
    output = taken({}, due=(b"ghost",), day=3)
    assert output.silent
    assert output.checked == [(b"ghost", None)]


def test_examples_carry_a_keyed_hash_and_no_user_id() -> None:
    rows: dict[bytes, bytes] = {}
    taken(rows, transaction(0))
    examples = [example for day in range(1, 95) for example in taken(rows, due=(b"ann",), day=day).examples]
    assert len(examples) >= 2
    for example in examples:
        assert b"ann" not in (example.value or b"") + (example.key or b"")
        assert decode_value("Example", example.value or b"", REGISTRY)["user_hash"] == example.key


def test_an_erasure_tells_the_learners_to_forget_the_examples_of_that_hash() -> None:
    rows: dict[bytes, bytes] = {}
    taken(rows, transaction(0))
    examples = [example for day in range(1, 40) for example in taken(rows, due=(b"ann",), day=day).examples]
    output = taken(rows, erase(41))
    (erasure,) = output.examples
    said = decode_value("Example", erasure.value or b"", REGISTRY)
    assert (said["kind"], said["user_hash"], said["timestamp_ms"]) == ("erasure", erasure.key, at_ms(41))
    assert {example.key for example in examples} == {erasure.key}


def test_a_registry_that_does_not_answer_holds_the_partition() -> None:
    class Away(StaticRegistry):
        def schema_of_id(self, schema_id: int) -> None:
            raise RegistryUnavailable("the registry does not answer")

    record = transaction(0)._replace(value=b"\x00\x00\x00\x00\x07" + b"x" * 20)
    with pytest.raises(PauseAndRetry, match="does not answer"):
        next(processor(Away()).process(0, [record], (), at_ms(0)))


@pytest.mark.parametrize("version", [1, LAYOUT_VERSION])
def test_a_row_that_can_not_be_read_halts_the_partition_and_says_whose_it_is(version: int) -> None:
    with pytest.raises(HaltPartition, match="ann"):
        taken({b"ann": bytes([version]) + b"\xff\xff"}, transaction(0))
