"""Requests, grants and outcomes of a batch as training examples: features as they stood then, and what became of it.

A request (`applicants` with a request_id) and a grant (a loan issued to who has declared something) are cases; an
outcome (`outcomes`), or day 91 past due, says how a case ended. The learner joins them (`streams.learning.cases`). What
is said of a customer depends on the customer's own records alone, never on where a batch was cut: where a row is needed
as it stood in the middle of a batch, the same step is taken again up to there, for that customer alone. These records
are rare beside transactions, so this is plain Python: some 0.7 ms each, and nothing for a batch without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from schemas.batch import EventBatch
from schemas.kinds import Cause, Kind
from schemas.readable import read_fields
from schemas.writing import Encoder, encode_value
from state.calendar import day_of, start_of_day
from state.layout import decode_row, has_declared
from state.loans import LATE_DAYS, NPL
from state.row import Row
from state.table import Table
from state.versions import Versions
from streams.output import Message
from streams.scoring.evaluate import risk_row_of
from streams.scoring.specs import CUSTOMER, DIGITS, ModelSpec, kept_aside, spec_at
from streams.scoring.step import Clocks, Step, step

DEFAULT_DAYS = LATE_DAYS[NPL - 1]
"""A loan unpaid for so many days after its due day is in default (the usual definition: more than 90)."""

GRANTS_TEACH = "risk"
HASH_BYTES = 16
LONG_AGO_MS = -(2**62)
OF_INTEREST = (Kind.APPLICANT, Kind.OUTCOME, Kind.LOAN_ISSUED, Kind.LOAN_CANCELLED)

Fields = dict[str, Any]


class _Moment(NamedTuple):
    """A customer (by index) just after the first of their events, and once time has passed up to `until_ms`."""

    user: int
    events: tuple[int, ...]
    until_ms: int = LONG_AGO_MS


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

        `before` are the rows of the users of `done.table` as they were loaded.
        """
        work = _Work(batch, before, done, versions, swept_ms)
        found = [*self._defaults(work), *self._cases(work)]
        return [(said["timestamp_ms"], self._message(work.users[user], said)) for user, said in found]

    def _message(self, user: bytes, said: Fields) -> Message:
        hashed = user_hash(user, self.key)
        case = None if said["case"] is None else user_hash(said["case"], self.key)
        return Message(hashed, encode_value("Example", {**said, "user_hash": hashed, "case": case}, self.encoder))

    def _cases(self, work: _Work) -> Iterator[tuple[int, Fields]]:
        events = work.batch.events
        for i in np.flatnonzero(np.isin(events["kind"], OF_INTEREST)).tolist():
            if int(events[i]["record"]) in work.rejected:
                continue
            kind = Kind(int(events[i]["kind"]))
            if kind == Kind.APPLICANT:
                said = self._request(work, i)
            elif kind == Kind.OUTCOME:
                said = self._outcome(work, i)
            else:
                said = self._grant(work, i, kind)
            if said is not None:
                yield int(events[i]["user"]), said

    def _request(self, work: _Work, i: int) -> Fields | None:
        """A declaration with a request_id asks for a decision; the model is named by the attribute `model`."""
        fields = read_fields(work.value(i), "Applicant", self.encoder.registry)
        if fields["request_id"] is None:
            return None
        attributes, at_ms = fields["attributes"] or {}, work.stamp_ms(i)
        model = str(attributes.get("model") or GRANTS_TEACH)
        spec = spec_at(self.specs(), model, at_ms)
        said: Fields = {"kind": "request", "model": model, "timestamp_ms": at_ms, "inputs": {}}
        if spec is not None:
            row = work.row_after(i) if spec.inputs == CUSTOMER else None
            customer = {} if row is None else _rounded(risk_row_of(row, row.clock_ms, work.versions))
            said |= {"inputs": spec.row(attributes, dict(customer)), "aside": kept_aside(attributes) or None}
        return said | {"case": case_of_request(fields["request_id"])}

    def _outcome(self, work: _Work, i: int) -> Fields:
        fields = read_fields(work.value(i), "Outcome", self.encoder.registry)
        case = None
        if fields["request_id"] is not None:
            case = case_of_request(fields["request_id"])
        elif fields["loan_id"] is not None:
            case = case_of_loan(work.user_of(i), fields["loan_id"].encode())
        label = float(work.batch.events[i]["value"])
        at_ms = work.stamp_ms(i)
        return {"kind": "outcome", "model": fields["model"], "timestamp_ms": at_ms, "label": label, "case": case}

    def _grant(self, work: _Work, i: int, kind: Kind) -> Fields | None:
        """A loan to someone who has declared something: the customer as just before it; a correction moves its end."""
        event, user = work.batch.events[i], int(work.batch.events[i]["user"])
        if not work.may_have_declared(user):
            return None
        loan_id = work.batch.slice_of_text(int(event["loan_id_at"]), int(event["loan_id_length"]))
        said: Fields = {"model": GRANTS_TEACH, "timestamp_ms": work.stamp_ms(i),
                        "case": case_of_loan(work.users[user], loan_id)}  # fmt: skip
        if kind == Kind.LOAN_CANCELLED:
            return said | {"kind": "withdrawn"}
        said |= {"kind": "request", "until_ms": _default_ms(work.versions, int(event["due_ms"])), "inputs": None}
        if event["revision"]:
            return said
        row = work.row_with(i)
        if row is None or row.declared is None:
            return None
        row.loans = [loan for loan in row.loans if loan.loan_id != loan_id]
        moment_ms = max(row.clock_ms, work.stamp_ms(i))
        return said | {"inputs": _rounded(risk_row_of(row, moment_ms, work.versions))}

    def _defaults(self, work: _Work) -> Iterator[tuple[int, Fields]]:
        """Loans that time has brought to day 91 past due: their change names the first of them that turned that day."""
        rows = work.done.changes.rows
        turned = rows[(rows["cause"] == Cause.TIME) & (rows["loan_length"] > 0)]
        moments = sorted({(int(row["decided_ms"]), int(row["user"])) for row in turned})
        for at_ms, user in moments:
            if not work.may_have_declared(user):
                continue
            row = work.row_at(user, at_ms)
            if row is None or row.declared is None:
                continue
            day = day_of(work.versions.days, at_ms)
            for loan in row.loans:
                if loan.settled_day is None and day - loan.due_day == DEFAULT_DAYS:
                    case = case_of_loan(work.users[user], loan.loan_id)
                    yield user, {"kind": "outcome", "model": GRANTS_TEACH, "timestamp_ms": at_ms, "label": 1.0,
                                 "case": case}  # fmt: skip


class _Work:
    """One batch that was taken, and rows of its users as they stood within it."""

    def __init__(
        self, batch: EventBatch, before: Sequence[bytes | None], done: Step, versions: Versions, swept_ms: int
    ) -> None:
        self.batch, self.before, self.done, self.versions = batch, before, done, versions
        self.swept_ms = swept_ms
        self.users = done.table.users
        self.rejected = {reject.record for reject in done.journal.rejects}
        applied = batch.events["user"][batch.events["kind"] == Kind.APPLICANT]
        self._applied = set(applied.tolist())

    def value(self, i: int) -> bytes:
        """The value of event i as it was received."""
        return self.batch.records[int(self.batch.events[i]["record"])].value or b""

    def stamp_ms(self, i: int) -> int:
        """When event i became known."""
        return int(self.batch.events[i]["timestamp_ms"])

    def user_of(self, i: int) -> bytes:
        """Whose event i is."""
        return self.users[int(self.batch.events[i]["user"])]

    def may_have_declared(self, user: int) -> bool:
        """False where the customer has certainly declared nothing, before this batch or in it."""
        row = self.before[user]
        return user in self._applied or (row is not None and has_declared(row))

    def row_after(self, i: int) -> Row | None:
        """The row of event i's customer just after it."""
        user = int(self.batch.events[i]["user"])
        mine = np.flatnonzero(self.batch.events["user"][: i + 1] == user)
        return self._row(_Moment(user, tuple(mine.tolist())))

    def row_with(self, i: int) -> Row | None:
        """The row of event i's customer just after it, or, where it is their first in the batch, just before: cheaper,
        and the same to who leaves out what the event brought.
        """
        user = int(self.batch.events[i]["user"])
        if (self.batch.events["user"][:i] == user).any():
            return self.row_after(i)
        return self._row(_Moment(user, ()))

    def row_at(self, user: int, moment_ms: int) -> Row | None:
        """A customer's row once the timers due at a moment have fired: before the first event that came no earlier."""
        mine = np.flatnonzero(self.batch.events["user"] == user)
        later = np.flatnonzero(self.batch.events["timestamp_ms"][mine] >= moment_ms)
        return self._row(_Moment(user, tuple(mine[: later[0] if len(later) else len(mine)].tolist()), moment_ms))

    def _row(self, moment: _Moment) -> Row | None:
        name, row = self.users[moment.user], self.before[moment.user]
        if moment.events:
            events = self.batch.events[list(moment.events)]
            events["user"] = 0
            part = EventBatch(self.batch.partition, self.batch.records, events, self.batch.text, [name])
            taken = step(Table.of([name], [row]), part, self.versions, Clocks(moment.until_ms, self.swept_ms))
            row = taken.table.row(0)
        return None if row is None else decode_row(row)


def user_hash(user: bytes, key: bytes) -> bytes:
    """What stands for a user in training examples: nobody without the key can tell whose they are."""
    return hashlib.blake2b(user, key=key, digest_size=HASH_BYTES).digest()


def case_of_request(request_id: int) -> bytes:
    """What names a request among the cases, before it is hashed."""
    return b"request/%d" % request_id


def case_of_loan(user: bytes, loan_id: bytes) -> bytes:
    """What names a loan among the cases, before it is hashed; loan ids are a customer's own."""
    return b"loan/%d/%b/%b" % (len(user), user, loan_id)


def _default_ms(versions: Versions, due_ms: int) -> int:
    return int(start_of_day(versions.days, day_of(versions.days, due_ms) + DEFAULT_DAYS))


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in row.items()}
