"""Cases of a batch in columns are those that the readable loop finds one by one, to the byte, wherever batches end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from schemas.batch import EventBatch
from schemas.codec import Encoder, StaticRegistry, decode_value
from schemas.kinds import Kind
from schemas.row_keys import request_of
from schemas.writing import encode_value
from state.table import Table
from state.versions import Versions
from streams.log.message import Message
from streams.processing.case_examples import CreditExamples
from streams.scoring.models.specs import ModelSpec, spec_of
from streams.scoring.step import Clocks, step
from tests.processing.cases_oracle import OracleCases
from tests.scoring import random_streams as streams

ENCODER = Encoder(StaticRegistry())
KEY = b"key"
NEVER_SWEPT_MS = -(2**62)


def declared_models(effective_ms: int) -> list[ModelSpec]:
    """One that looks at the customer beside its own feature, under a name of its own."""
    features = ["dti", "status", "trx_income", {"name": "shoe", "knots": [30, 50]}]
    return [spec_of("leases", {"inputs": "customer", "begins_with": "risk", "purpose": "credit", "features": features},
                    effective_ms)]  # fmt: skip


def lending(seed: int, events: int = 600, users: int = 9, inversions: float = 0.05) -> EventBatch:
    """A random stream with more requests, outcomes and unpaid loans than usual, and the values they were read from."""
    chance = np.random.default_rng(seed)
    batch = streams.stream(seed, events, users, inversions=inversions, requests=seed % 3)
    for i, event in enumerate(batch.events):
        record, strangers = batch.records[i], request_of(batch.users[int(event["user"])])
        if event["kind"] == Kind.APPLICANT:
            record = record._replace(value=encode_value("Applicant", asked(chance, strangers), ENCODER))
        elif event["kind"] == Kind.OUTCOME:
            record = record._replace(value=encode_value("Outcome", answered(chance, strangers), ENCODER))
        batch.records[i] = record
    return replace(batch, text=batch.text.copy())


def asked(chance: np.random.Generator, strangers: int | None) -> dict[str, Any]:
    """A request of a customer, or the one that a stranger's row is of."""
    model = chance.choice(["risk", "acceptance", "leases", "gossip", ""])
    attributes = {"model": str(model), "credit.loan": 1e5, "credit.value": 2e5, "shoe": 44.0, "gender": "female"}
    return {
        "request_id": strangers
        if strangers is not None
        else int(chance.integers(40))
        if chance.random() < 0.7
        else None,
        "attributes": attributes if chance.random() < 0.9 else None,
    }


def answered(chance: np.random.Generator, strangers: int | None) -> dict[str, Any]:
    of_request = strangers is not None or chance.random() < 0.5
    number = int(chance.integers(40)) if strangers is None else strangers
    return {
        "model": str(chance.choice(["risk", "acceptance"])) if of_request else "risk",
        "label": bool(chance.random() < 0.5),
        "request_id": number if of_request else None,
        "loan_id": f"L-{chance.integers(3)}-{chance.integers(2)}" if not of_request or chance.random() < 0.2 else None,
    }


def cut(batch: EventBatch, size: int) -> list[EventBatch]:
    parts = []
    for start, end in pairwise([*range(0, len(batch.events), size), len(batch.events)]):
        events = batch.events[start:end].copy()
        seen: dict[int, int] = {}
        for fields in events:
            fields["user"] = seen.setdefault(int(fields["user"]), len(seen))
        parts.append(EventBatch(0, batch.records, events, batch.text, [batch.users[user] for user in seen]))
    return parts


def said(batch: EventBatch, size: int, versions: Versions, oracle: bool = False) -> list[tuple[int, Message]]:
    """The examples of a stream, batch by batch; of both ways, which have to be the same, or of one."""
    rows: dict[bytes, bytes | None] = {}
    models, found, clock_ms, swept_ms = declared_models(streams.START_MS), [], 0, NEVER_SWEPT_MS
    for part in cut(batch, size):
        clock_ms = max(clock_ms, int(part.events["timestamp_ms"].max()))
        others = sorted(set(rows) - set(part.users))
        before = [rows.get(user) for user in [*part.users, *others]]
        done = step(Table.of([*part.users, *others], before), part, versions, Clocks(clock_ms, swept_ms))
        fast = CreditExamples(ENCODER, lambda: models, KEY).messages(part, done, versions)
        if oracle:
            slow = OracleCases(ENCODER, models, KEY, part, before, done, versions, swept_ms).messages()
            assert fast == slow
        found += fast
        swept_ms = clock_ms
        rows.update((user, done.table.row(i)) for i, user in enumerate(done.table.users))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_cases_in_columns_are_those_of_the_readable_loop(seed: int) -> None:
    found = said(lending(seed), [1, 7, 60, 250, 600, 33][seed], streams.versions(adoptions=seed % 2 == 0), oracle=True)
    kinds = Counter(decode_value("Example", one.value or b"", ENCODER.registry)["kind"] for _, one in found)
    assert kinds["request"] > 20
    assert kinds["outcome"] > 10
    assert [at_ms for at_ms, _ in found if at_ms % streams.DAY_MS == 0], "nobody was in default"


@pytest.mark.parametrize("seed", [2, 3])
def test_where_batches_end_makes_no_difference(seed: int) -> None:
    # What is behind its time is taken at the clock that it finds, and that depends on what came with it.
    batch, versions = lending(seed, events=400, inversions=0.0), streams.versions()
    whole, *others = (sorted(said(batch, size, versions)) for size in (400, 1, 23))
    assert len(whole) > 30
    for other in others:
        assert other == whole


def test_a_batch_without_a_case_says_nothing() -> None:
    batch = lending(1)
    quiet = replace(batch, events=batch.events[batch.events["kind"] == Kind.TRANSACTION])
    done = step(Table.of(batch.users, [None] * len(batch.users)), quiet, streams.versions(), Clocks(0))
    examples = CreditExamples(ENCODER, tuple, KEY)
    assert examples.messages(quiet, done, streams.versions()) == []
