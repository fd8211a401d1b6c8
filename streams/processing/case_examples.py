"""Requests, grants and outcomes of a batch as training examples: features as they stood then, and what became of it.

A request (`applicants` with a request_id) and a grant (a loan issued to who has declared something) are cases; an
outcome (`outcomes`), or day 91 past due, says how a case ended. The learner joins them (`streams.learning.cases`). What
is said of a customer depends on the customer's own records alone, never on where a batch was cut: the step notes the
inputs at the very moment (`streams.scoring.compiled.cases`), and here they are put into words.

`tests.processing.cases_oracle` says the same of one case after the other in plain Python; a test holds the two
together to the byte. What it costs: docs/learning.md.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.batch import Columns, EventBatch
from schemas.codec import Encoder, encode_example
from schemas.kinds import GRANTS_TEACH
from schemas.readable import read_fields
from schemas.row_keys import record_key, request_of
from state.calendar import day_of, start_of_day
from state.versions import Versions
from streams.log.message import Message
from streams.scoring.compiled.cases import APPLICANT, CANCELLED, DEFAULT_DAYS, OUTCOME
from streams.scoring.models.risk import RISK_MANIFEST
from streams.scoring.models.specs import CUSTOMER, DIGITS, ModelSpec, kept_aside, spec_at
from streams.scoring.step import Step

HASH_BYTES = 16

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CreditExamples:
    """Makes examples of batches. `specs` are the declared models; `key` keys the hashes that stand for people."""

    encoder: Encoder
    specs: Callable[[], Sequence[ModelSpec]]
    key: bytes

    def messages(self, batch: EventBatch, done: Step, versions: Versions) -> list[tuple[int, Message]]:
        """The examples of a batch that was taken, each with its time, what time itself decides before what is told."""
        cases, users, specs = done.cases, done.table.users, self.specs()
        found = [_default(cases[i], users, done) for i in _defaults_by_time(cases)]
        for i in _told_in_order(cases):
            case = cases[i]
            if case["kind"] == APPLICANT:
                said = _request(case, self._fields(batch, case, "Applicant"), specs)
            elif case["kind"] == OUTCOME:
                said = _outcome(case, self._fields(batch, case, "Outcome"), batch, users)
            else:
                said = _grant(case, batch, users, versions)
            if said is not None:
                found.append((users[int(case["user"])], said))
        return [(said["timestamp_ms"], message_of(user, said, self.key, self.encoder)) for user, said in found]

    def _fields(self, batch: EventBatch, case: Columns, name: str) -> Fields:
        """What the event said: as it was read, or, where nobody kept that, read again."""
        record = int(batch.events["record"][case["event"]])
        if record in batch.fields:
            return batch.fields[record]
        return read_fields(batch.records[record].value or b"", name, self.encoder.registry)


def _defaults_by_time(cases: Columns) -> list[int]:
    """What time has decided. Lists, here and below: a batch has few cases, and arrays take longer to begin with."""
    found = [i for i, event in enumerate(cases["event"].tolist()) if event < 0]
    return sorted(found, key=lambda i: (int(cases["moment_ms"][i]), int(cases["user"][i])))


def _told_in_order(cases: Columns) -> list[int]:
    """Requests, outcomes, and loans of those who have declared something, as they were told."""
    columns = (cases[name].tolist() for name in ("event", "kind", "declared"))
    told = [
        (event, i)
        for i, (event, kind, declared) in enumerate(zip(*columns, strict=True))
        if event >= 0 and (declared or kind in (APPLICANT, OUTCOME))
    ]
    return [i for _, i in sorted(told)]


def _request(case: Columns, fields: Fields, specs: Sequence[ModelSpec]) -> Fields | None:
    """A declaration with a request_id asks for a decision; the model is named by the attribute `model`."""
    if fields["request_id"] is None:
        return None
    attributes, at_ms = fields["attributes"] or {}, int(case["moment_ms"])
    model = str(attributes.get("model") or GRANTS_TEACH)
    said: Fields = {"kind": "request", "model": model, "timestamp_ms": at_ms, "inputs": {}}
    said["case"] = case_of_request(fields["request_id"])
    if (spec := spec_at(specs, model, at_ms)) is not None:
        customer = _named(case) if spec.inputs == CUSTOMER else {}
        said |= {"inputs": spec.row(attributes, dict(customer)), "aside": kept_aside(attributes) or None}
    return said


def _outcome(case: Columns, fields: Fields, batch: EventBatch, users: Sequence[bytes]) -> Fields:
    """How a request or a loan has ended."""
    of: bytes | None = None
    if fields["request_id"] is not None:
        of = case_of_request(fields["request_id"])
    elif fields["loan_id"] is not None:
        of = case_of_loan(users[int(case["user"])], fields["loan_id"].encode())
    said = {"kind": "outcome", "model": fields["model"], "timestamp_ms": int(case["moment_ms"]), "case": of}
    return said | {"label": float(batch.events["value"][case["event"]])}


def _grant(case: Columns, batch: EventBatch, users: Sequence[bytes], versions: Versions) -> Fields:
    """A loan to someone who has declared something: the customer as just before it; a correction moves its end.

    The loan's first event tells the inputs, so that it teaches once however often the loan is published.
    """
    event = batch.events[case["event"]]
    loan_id = batch.slice_of_text(int(event["loan_id_at"]), int(event["loan_id_length"]))
    of = case_of_loan(users[int(case["user"])], loan_id)
    said: Fields = {"model": GRANTS_TEACH, "timestamp_ms": int(case["moment_ms"]), "case": of}
    if case["kind"] == CANCELLED:
        return said | {"kind": "withdrawn"}
    said |= {"kind": "request", "until_ms": default_ms(versions, int(event["due_ms"]))}
    return said | {"inputs": _named(case)} if case["made"] else said


def _default(case: Columns, users: Sequence[bytes], done: Step) -> tuple[bytes, Fields]:
    """A loan that time has brought to day 91 past due."""
    user = users[int(case["user"])]
    of = case_of_loan(user, done.changes.slice_of_text(int(case["loan_at"]), int(case["loan_length"])))
    at_ms = int(case["moment_ms"])
    return user, {"kind": "outcome", "model": GRANTS_TEACH, "timestamp_ms": at_ms, "label": 1.0, "case": of}


def _named(case: Columns) -> dict[str, float]:
    """The inputs that were noted, by name; what is absent is left out."""
    named = zip(RISK_MANIFEST.names, case["inputs"].tolist(), strict=True)
    return {name: round(value, DIGITS) for name, value in named if math.isfinite(value)}


def message_of(user: bytes, said: Mapping[str, Any], key: bytes, encoder: Encoder) -> Message:
    """What is said of a case, with hashes instead of names. `user` is the key of the row whose case it is."""
    hashed = user_hash(user, key)
    case = None if said["case"] is None else user_hash(said["case"], key)
    named = {"user_hash": hashed, "case": case, "earlier_hash": earlier_hash(user, key)}
    return Message(hashed, encode_example({**said, **named}, encoder))


def earlier_hash(user: bytes, key: bytes) -> bytes | None:
    """Of a request that names no customer: the hash of its bare number, as of a customer called so.

    Releases before requests had rows of their own kept its case under that; one that waits since then is known by it.
    """
    return user_hash(record_key(user), key) if request_of(user) is not None else None


def user_hash(user: bytes, key: bytes) -> bytes:
    """What stands for a user in training examples: nobody without the key can tell whose they are."""
    return hashlib.blake2b(user, key=key, digest_size=HASH_BYTES).digest()


def case_of_request(request_id: int) -> bytes:
    """What names a request among the cases, before it is hashed."""
    return b"request/%d" % request_id


def case_of_loan(user: bytes, loan_id: bytes) -> bytes:
    """What names a loan among the cases, before it is hashed; loan ids are a customer's own."""
    return b"loan/%d/%b/%b" % (len(user), user, loan_id)


def default_ms(versions: Versions, due_ms: int) -> int:
    """When a loan that is due then, and stays unpaid, is in default."""
    return int(start_of_day(versions.days, day_of(versions.days, due_ms) + DEFAULT_DAYS))
