"""The verdict sees what it looks for: a matrix that could not fail would prove nothing."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from schemas.batch import Record
from schemas.codec import Decoder, Encoder, StaticRegistry, decode_value, encode_value
from state.versions import Policy, Versions
from streams.audit.recount_reference import Recount, Terms, recount_partition
from streams.scoring.reasons import REASON_TEXTS
from streams.versions.known import packaged_weights
from tests.faults.verdict import Verdict, changes_of, letters_of, rows_of
from tests.scoring.customers import at_ms, iso

REGISTRY = StaticRegistry()
TERMS = Terms(Decoder(REGISTRY, 1), Encoder(REGISTRY, REASON_TEXTS), Versions([Policy()], [packaged_weights()]))
CLOCK_MS = at_ms(9)


def transaction(day: int, user: str = "ann") -> Record:
    fields = {
        "event_id": f"t-{user}-{day}", "user_id": user, "transaction_currency": "EUR", "transaction_amount": 900.0,
        "transaction_state": "SUCCEEDED", "transaction_date": iso(day),
    }  # fmt: skip
    return Record("transactions", 0, day, at_ms(day), user.encode(), json.dumps(fields).encode())


def held(day: int, value: float) -> Record:
    fields = {
        "user_id": "ann", "command": "override", "score": "value", "value": value, "author": "officer",
        "expires_at": iso(20),
    }  # fmt: skip
    return Record("commands", 0, day, at_ms(day), b"ann", json.dumps(fields).encode())


@pytest.fixture(scope="module")
def recount() -> Recount:
    inputs = [transaction(0), *(held(day, float(day)) for day in range(1, 5))]
    return recount_partition(inputs, [], [], TERMS, CLOCK_MS)


def said(recount: Recount) -> list[Record]:
    values = [(user, value) for user, values in recount.changes.items() for value in values]
    return [Record("score-changes", 0, i, 0, user, value) for i, (user, value) in enumerate(values)]


def flipped(value: bytes | None) -> bytes:
    return (value or b"")[:-1] + bytes([(value or b"\0")[-1] ^ 1])


def another(value: bytes | None) -> bytes:
    """The same change of another score."""
    fields = decode_value("ScoreChange", value or b"", REGISTRY)
    return encode_value("ScoreChange", fields | {"new": fields["new"] + 0.5}, TERMS.encoder)


CHANGED: dict[str, Callable[[list[Record]], list[Record]]] = {
    "lost": lambda records: records[:-1],
    "doubled": lambda records: [*records, records[0]],
    "wrong": lambda records: [*records[:-1], records[-1]._replace(value=another(records[-1].value))],
    "out_of_order": lambda records: [records[1], records[0], *records[2:]],
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_change_that_is_missing_came_twice_has_other_bytes_or_another_place_is_seen(
    recount: Recount, kind: str
) -> None:
    records = said(recount)
    assert len(records) > 2
    good, bad = Verdict(), Verdict()
    changes_of(records, recount, good)
    changes_of(CHANGED[kind](records), recount, bad)
    assert good.clean
    counts = {name: getattr(bad, name) for name in CHANGED}
    assert counts == dict.fromkeys(CHANGED, 0) | {kind: 1}
    assert bad.words[0].startswith(kind)


def test_a_row_that_differs_is_missing_or_nobodys_is_seen(recount: Recount) -> None:
    rows = recount.rows
    for held in ({}, {b"ann": flipped(rows[b"ann"])}, rows | {b"nobody": rows[b"ann"]}):
        verdict = Verdict()
        rows_of("the store", held, recount, TERMS, CLOCK_MS, verdict)
        assert verdict.wrong == 1
    verdict = Verdict()
    rows_of("the store", rows, recount, TERMS, CLOCK_MS, verdict)
    assert verdict.clean


def test_a_dead_letter_that_came_twice_or_has_other_bytes_is_seen() -> None:
    record = transaction(1)
    places = [("topic", b"transactions"), ("partition", b"0"), ("offset", b"1")]
    letter = record._replace(headers=[(f"__streams.errors.{name}", value) for name, value in places])
    for letters, kind in (([letter], None), ([letter, letter], "doubled"), ([letter._replace(value=b"x")], "wrong")):
        verdict = Verdict()
        letters_of(letters, {0: [record]}, verdict)
        assert {name: getattr(verdict, name) for name in CHANGED} == dict.fromkeys(CHANGED, 0) | (
            {kind: 1} if kind else {}
        )
