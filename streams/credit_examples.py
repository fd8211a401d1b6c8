"""Requests, grants and outcomes of a batch as training examples: features as they stood then, and what became of it.

A request (`applicants` with a request_id) and a grant (a loan issued to who has declared something) are cases; an
outcome (`outcomes`), or day 91 past due, says how a case ended. The learner joins them (`streams.learning.cases`). What
is said of a customer depends on the customer's own records alone, never on where a batch was cut: where a row is needed
as it stood in the middle of a batch, the same step is taken again up to there, for that customer alone.

All rows that a batch's cases ask for are made in one step and read by one compiled call. `streams.cases_oracle` says
the same of one case after the other in plain Python; a test holds both together to the byte.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import Columns, EventBatch
from schemas.codec import Encoder, encode_example
from schemas.kinds import Cause, Kind
from schemas.readable import read_fields
from state.calendar import day_of, start_of_day
from state.layout import has_declared
from state.loans import LATE_DAYS, NPL
from state.versions import Versions
from streams.output import Message
from streams.rows_within import NO_EVENTS, Question, Rows, Within
from streams.scoring.risk import RISK_MANIFEST
from streams.scoring.specs import CUSTOMER, DIGITS, ModelSpec, kept_aside, spec_at
from streams.scoring.step import Step

DEFAULT_DAYS = LATE_DAYS[NPL - 1]
"""A loan unpaid for so many days after its due day is in default (the usual definition: more than 90)."""

GRANTS_TEACH = "risk"
HASH_BYTES = 16
APPLICANT, OUTCOME, ISSUED, CANCELLED = (  # plain numbers: a member of an enumeration takes half a microsecond to find
    int(kind) for kind in (Kind.APPLICANT, Kind.OUTCOME, Kind.LOAN_ISSUED, Kind.LOAN_CANCELLED)
)
OF_INTEREST: NDArray[np.bool_] = np.isin(np.arange(256), (APPLICANT, OUTCOME, ISSUED, CANCELLED))
"""By kind of an event: whether it can be one of a case."""
BY_TIME = int(Cause.TIME)

Fields = dict[str, Any]
Inputs = dict[str, float]


class _Draft(NamedTuple):
    """What is to be said of a customer (by index) once the row is read that was asked for (-1: none is needed)."""

    user: int
    asked: int
    finish: Callable[[Inputs, bool], Fields | None]  # inputs of the row, and whether anything had been declared


@dataclass(frozen=True, slots=True)
class CreditExamples:
    """Makes examples of batches. `specs` are the declared models; `key` keys the hashes that stand for people."""

    encoder: Encoder
    specs: Callable[[], Sequence[ModelSpec]]
    key: bytes

    def messages(
        self, batch: EventBatch, before: Sequence[bytes | None], done: Step, versions: Versions, swept_ms: int
    ) -> list[tuple[int, Message]]:
        """The examples of a batch that was taken, each with its time, what time itself decides before what is told.

        `before` are the rows of the users of `done.table` as they were loaded. Raises CorruptRow.
        """
        told, turned = _told(batch, done), _turned(done)
        if not told and not turned:
            return []
        work = _Work(Within.of(batch, before, done, versions, swept_ms), self.encoder, self.specs())
        users, key, encoder = done.table.users, self.key, self.encoder
        found = work.said(told, turned)
        return [(said["timestamp_ms"], message_of(users[user], said, key, encoder)) for user, said in found]


def _told(batch: EventBatch, done: Step) -> list[tuple[int, int]]:
    """The events that may be said of a case and their kinds, without those that were refused."""
    kinds = batch.events["kind"]
    told = np.flatnonzero(OF_INTEREST[kinds])
    if len(told) and done.journal.rejects:
        refused = {reject.record for reject in done.journal.rejects}
        told = told[[record not in refused for record in batch.events["record"][told].tolist()]]
    return list(zip(told.tolist(), kinds[told].tolist(), strict=True))


def _turned(done: Step) -> list[tuple[int, int]]:
    """When time has brought a loan of which customers to another state: then a change names one that turned."""
    rows = done.changes.rows
    at = np.flatnonzero(rows["cause"] == BY_TIME)
    turned = rows[at[rows["loan_length"][at] > 0]]
    return sorted(set(zip(turned["decided_ms"].tolist(), turned["user"].tolist(), strict=True)))


class _Work:
    """One batch: what is to be said of it, and the rows that takes."""

    def __init__(self, within: Within, encoder: Encoder, specs: Sequence[ModelSpec]) -> None:
        self._within, self._batch, self._registry, self._specs = within, within.batch, encoder.registry, specs
        self._rows = Rows(within)
        self._applied: set[int] = set()  # who has declared something in this batch

    def said(self, told: Sequence[tuple[int, int]], turned: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Fields]]:
        """What is said, of whom (by index): defaults, then cases."""
        events = self._batch.events
        self._applied.update(int(events["user"][i]) for i, kind in told if kind == APPLICANT)
        for at_ms, user in turned:
            if self._may_have_declared(user):
                self._rows.ask(Question(user, self._within.events_before(user, at_ms), at_ms))
        turns = len(self._rows.questions)
        drafts = [draft for i, kind in told if (draft := self._draft(i, kind)) is not None]
        inputs: list[Inputs] = []
        declared: list[bool] = []
        if self._rows.questions:
            found = self._rows.found()
            if turns:
                yield from (self._default(*one) for one in found.loans_ended(turns, DEFAULT_DAYS))
            rows, declared = found.inputs(turns)
            inputs = [_named(row) for row in rows]
        for user, asked, finish in drafts:
            said = finish(inputs[asked - turns], declared[asked - turns]) if asked >= 0 else finish({}, False)
            if said is not None:
                yield user, said

    def _default(self, number: int, loan_id: bytes) -> tuple[int, Fields]:
        """A loan that time has brought to day 91 past due."""
        user, _, at_ms, *_ = self._rows.questions[number]
        case = case_of_loan(self._within.users[user], loan_id)
        return user, {"kind": "outcome", "model": GRANTS_TEACH, "timestamp_ms": at_ms, "label": 1.0, "case": case}

    def _may_have_declared(self, user: int) -> bool:
        """False where the customer has certainly declared nothing, before this batch or in it."""
        row = self._within.before[user]
        return user in self._applied or (row is not None and has_declared(row))

    def _draft(self, i: int, kind: int) -> _Draft | None:
        event = self._batch.events[i]
        user, at_ms = int(event["user"]), int(event["timestamp_ms"])
        if kind == APPLICANT:
            return self._request(i, user, at_ms)
        if kind == OUTCOME:
            said = self._outcome(i, user, at_ms) | {"label": float(event["value"])}
            return _Draft(user, -1, lambda _inputs, _declared: said)
        return self._grant(i, kind, event, user) if self._may_have_declared(user) else None

    def _fields(self, i: int, name: str) -> Fields:
        return read_fields(self._batch.records[int(self._batch.events["record"][i])].value or b"", name, self._registry)

    def _request(self, i: int, user: int, at_ms: int) -> _Draft | None:
        """A declaration with a request_id asks for a decision; the model is named by the attribute `model`."""
        fields = self._fields(i, "Applicant")
        if fields["request_id"] is None:
            return None
        attributes = fields["attributes"] or {}
        model, case = str(attributes.get("model") or GRANTS_TEACH), case_of_request(fields["request_id"])
        said: Fields = {"kind": "request", "model": model, "timestamp_ms": at_ms, "case": case, "inputs": {}}
        spec = spec_at(self._specs, model, at_ms)
        if spec is None:
            return _Draft(user, -1, lambda _inputs, _declared: said)
        asked = self._rows.ask(Question(user, self._within.events_until(i))) if spec.inputs == CUSTOMER else -1
        return _Draft(user, asked, partial(_requested, said, attributes, spec))

    def _outcome(self, i: int, user: int, at_ms: int) -> Fields:
        """How a request or a loan has ended."""
        fields, case = self._fields(i, "Outcome"), None
        if fields["request_id"] is not None:
            case = case_of_request(fields["request_id"])
        elif fields["loan_id"] is not None:
            case = case_of_loan(self._within.users[user], fields["loan_id"].encode())
        return {"kind": "outcome", "model": fields["model"], "timestamp_ms": at_ms, "case": case}

    def _grant(self, i: int, kind: int, event: Columns, user: int) -> _Draft:
        """A loan to someone who has declared something: the customer as just before it; a correction moves its end."""
        at, length, at_ms = int(event["loan_id_at"]), int(event["loan_id_length"]), int(event["timestamp_ms"])
        case = case_of_loan(self._within.users[user], self._batch.slice_of_text(at, length))
        said: Fields = {"kind": "withdrawn", "model": GRANTS_TEACH, "timestamp_ms": at_ms, "case": case}
        mine = self._within.events_until(i)
        if kind == ISSUED:
            said |= {"kind": "request", "until_ms": default_ms(self._within.versions, int(event["due_ms"]))}
        if kind == CANCELLED or event["revision"]:
            asked = self._rows.ask(Question(user, mine))
            return _Draft(user, asked, lambda _inputs, declared: said if declared else None)
        # Of the customer's first event in the batch the row just before will do: it is the same without this loan.
        asked = self._rows.ask(Question(user, mine if len(mine) > 1 else NO_EVENTS, at_ms, at, length))
        return _Draft(user, asked, lambda inputs, declared: said | {"inputs": inputs} if declared else None)


def _requested(said: Fields, attributes: Fields, spec: ModelSpec, inputs: Inputs, _declared: bool) -> Fields:
    return said | {"inputs": spec.row(attributes, dict(inputs)), "aside": kept_aside(attributes) or None}


def _named(row: Sequence[float]) -> Inputs:
    named = zip(RISK_MANIFEST.names, row, strict=True)
    return {name: round(value, DIGITS) for name, value in named if math.isfinite(value)}


def message_of(user: bytes, said: Mapping[str, Any], key: bytes, encoder: Encoder) -> Message:
    """What is said of a customer's case, with hashes instead of names."""
    hashed = user_hash(user, key)
    case = None if said["case"] is None else user_hash(said["case"], key)
    return Message(hashed, encode_example({**said, "user_hash": hashed, "case": case}, encoder))


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
