"""What is taken, what is a duplicate, what is a dead letter: both steps against a naive account of ids and contents.

Ids come from a tiny pool that all topics and kinds share, some blank, some absent; contents from a tiny pool as well.
The account is a list of (kind, id, revision, content) for each customer, and knows nothing of hashes.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from schemas.batch import Record
from schemas.codec import Encoder, decode_value, encode_value
from schemas.decode import Decoder, decode
from schemas.definitions import SCHEMA_OF_TOPIC
from schemas.kinds import RejectCode
from schemas.known_schemas import StaticRegistry
from schemas.times import iso_of
from state.layout import decode_row
from state.row import Row
from tests.scoring import random_streams as streams
from tests.scoring.test_step_equals_oracle import run_both

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HORIZON_MS = DAY_MS
REGISTRY = StaticRegistry()
ENCODER = Encoder(REGISTRY)
IDS = ("7", "L1", "7", "é", None, "", " ", "\u3000\t")
BASE = {"event": "issued", "loan_id": "base", "order_amount": 1e9, "currency": "EUR", "due_date": "2030-01-01"}
TAKEN, DUPLICATE = "taken", "duplicate"


@dataclass
class Known:
    """One customer: what was taken lately, and the little of a row that decides what else is refused."""

    taken: list[tuple[tuple[Any, ...], str, int]] = field(default_factory=list)
    loans: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    erased_ms: int | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def outcome(self, topic: str, fields: dict[str, Any], happened_ms: int, now_ms: int, most: int) -> str:
        """What must become of an event; notes it."""
        kind = fields.get("event") or fields.get("command") or topic
        event_id, revision = fields.get("event_id") or "", fields.get("revision") or 0
        identity, content = (kind, event_id, revision), json.dumps(fields, sort_keys=True)
        named = bool(event_id.strip()) and kind != "erase"
        if revision and not named:
            return RejectCode.MISSING_FIELD.name
        self.taken = [one for one in self.taken if now_ms - one[2] <= HORIZON_MS]
        if named and (known := [one for one in self.taken if one[0] == identity]):
            if known[0][1] != content:
                return RejectCode.EVENT_ID_REUSED.name
            self.counts[DUPLICATE] += 1
            return DUPLICATE
        refused = self._refused(kind, fields, happened_ms, now_ms)
        if refused is not None:
            return refused.name
        self.counts[TAKEN] += 1
        if kind == "erase":
            self.taken, self.loans, self.cancelled, self.erased_ms = [], set(), set(), now_ms
            self.counts.clear()
        elif named:
            self.taken.append((identity, content, now_ms))
            if len(self.taken) > most:
                self.taken.pop(0)
                self.counts["overrun"] += 1
        return TAKEN

    def _refused(self, kind: str, fields: dict[str, Any], happened_ms: int, now_ms: int) -> RejectCode | None:
        if self.erased_ms is not None and now_ms <= self.erased_ms + HORIZON_MS and happened_ms < self.erased_ms:
            return RejectCode.ERASED
        loan = fields.get("loan_id")
        if kind in ("issued", "repaid", "cancelled") and loan in self.cancelled:
            return RejectCode.LOAN_CLOSED
        if kind == "issued":
            if loan in self.loans:
                return RejectCode.LOAN_EXISTS
            self.loans.add(loan)
        elif kind in ("repaid", "cancelled"):
            if loan not in self.loans:
                return RejectCode.UNKNOWN_LOAN
            if kind == "cancelled":
                self.loans.remove(loan)
                self.cancelled.add(loan)
        return None


def an_event(random: Random, now_ms: int) -> tuple[str, dict[str, Any], int]:
    """Topic, fields and event time of an event whose like has perhaps been published in the last hours."""
    happened_ms = now_ms - now_ms % (random.choice([4, 8]) * HOUR_MS)
    at, variant = iso_of(happened_ms), random.randrange(2)
    revision = random.choice([None, 0, 0, 1, 2])
    kind = random.choice(
        ["transaction"] * 4 + ["issued", "repaid", "repaid", "cancelled", "applicant", "outcome", "override", "lift"]
    )
    if kind == "transaction":
        said = {"transaction_amount": 10.0 + variant, "transaction_currency": "EUR", "transaction_date": at}
        if revision:
            pending = {"transaction_state": "PENDING", "mcc": None}
            said |= {"revision": revision, "previous": said | pending}  # leaves no trace: always found
        return "transactions", said, happened_ms
    if kind == "repaid":
        said = {"event": "repaid", "loan_id": "base", "amount": 1.0 + variant, "paid_at": at}
        if revision:
            said |= {"revision": revision, "previous": {"amount": 0.0, "paid_at": at}}
        return "loans", said, happened_ms
    if kind in ("issued", "cancelled"):
        loan = {"event": kind, "loan_id": f"L{random.randrange(40)}"}
        terms = BASE | loan | {"order_amount": 50.0 + variant, "order_date": at}
        return "loans", terms if kind == "issued" else loan | {"cancelled_at": at}, happened_ms
    if kind == "applicant":
        return "applicants", {"declared_at": at, "income": 900.0, "attributes": {"n": float(variant)}}, happened_ms
    if kind == "outcome":
        said = {"known_at": at, "model": "risk", "loan_id": "base", "label": float(bool(variant))}
        return "outcomes", said, happened_ms
    said = {"command": kind, "score": "value", "author": "ann"}
    if kind == "override":
        said |= {"value": 3.0 + variant, "expires_at": "2030-01-01"}
    return "commands", said, now_ms


def story(seed: int, events: int, users: int, most: int) -> tuple[list[Record], list[str], dict[bytes, Known]]:
    """Records in their order, what must become of each, and what is known of each customer at the end."""
    random = Random(seed)
    known = {f"user-{n}".encode(): Known() for n in range(users)}
    records, outcomes = list[Record](), list[str]()
    published: list[tuple[bytes, str, dict[str, Any], int]] = []
    now_ms = streams.START_MS
    for offset in range(events):
        now_ms += int(random.expovariate(1 / HOUR_MS)) if random.random() < 0.6 else 0
        user = random.choice(list(known))
        if offset < users:
            user = list(known)[offset]
            topic, fields, happened_ms = "loans", BASE | {"order_date": iso_of(now_ms)}, now_ms
        elif published and random.random() < 0.2:
            user, topic, fields, happened_ms = random.choice(published[-30:])
            happened_ms = now_ms if topic == "commands" else happened_ms
        elif random.random() < 0.02:
            topic, fields, happened_ms = "commands", {"command": "erase", "author": "ann"}, now_ms
        else:
            topic, fields, happened_ms = an_event(random, now_ms)
        if (user, topic, fields, happened_ms) not in published:
            fields = {"event_id": random.choice(IDS), "user_id": user.decode()} | fields
        published.append((user, topic, fields, happened_ms))
        if random.random() < 0.5:
            value = json.dumps(fields).encode()
        else:
            value = encode_value(SCHEMA_OF_TOPIC[topic], fields, ENCODER)
        records.append(Record(topic, 0, offset, now_ms, user, value))
        outcomes.append(known[user].outcome(topic, fields, happened_ms, now_ms, most))
    return records, outcomes, known


@pytest.mark.parametrize("seed,most", [(seed, most) for most in (256, 5) for seed in range(4)])
def test_taken_duplicate_or_letter_as_a_naive_account_of_ids_and_contents_says(seed: int, most: int) -> None:
    records, outcomes, known = story(seed, 300, 3, most)
    batch = decode(records, 0, Decoder(REGISTRY, 1))
    random = Random(seed)
    cuts = sorted({random.randrange(1, len(batch.events)) for _ in range(6)})
    steps = run_both(batch, cuts, streams.versions(adoptions=False, duplicates_max=most))
    refused = [*batch.rejects, *(reject for one in steps for reject in one.journal.rejects)]
    letters = {reject.record: reject for reject in refused}
    found = [RejectCode(letters[i].code).name if i in letters else TAKEN for i in range(len(records))]
    wanted = [TAKEN if outcome == DUPLICATE else outcome for outcome in outcomes]
    assert found == wanted
    rows = {user: one.table.row(i) for one in steps for i, user in enumerate(one.table.users)}
    for user, said in known.items():
        packed = rows[user]
        row = Row() if packed is None else decode_row(packed)
        assert (row.events, row.duplicates) == (said.counts[TAKEN], said.counts[DUPLICATE]), user
        assert row.overruns == said.counts["overrun"], user
        assert row.conflicts == 0
    for i, letter in letters.items():
        if letter.code == RejectCode.EVENT_ID_REUSED:
            fields = decode_value(SCHEMA_OF_TOPIC[records[i].topic], records[i].value or b"", REGISTRY)
            assert letter.message.startswith(f"event_id {fields['event_id']!r} ")


def test_the_stories_reach_what_they_are_to_reach() -> None:
    told = Counter(outcome for seed in range(4) for most in (256, 5) for outcome in story(seed, 300, 3, most)[1])
    assert told[TAKEN] > 500
    assert told[DUPLICATE] > 50
    assert told["EVENT_ID_REUSED"] > 80
    assert {"ERASED", "LOAN_EXISTS", "UNKNOWN_LOAN", "MISSING_FIELD"} <= set(told)
