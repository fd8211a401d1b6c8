"""What `streams.processing.case_examples` says of a batch, in plain Python: one case after the other, each with its
own row.

The definition: a row is what the step leaves of the customer's own events up to there, and features are what
`streams.scoring.reference.evaluate` says of it. About 0.7 ms a case; nothing but tests calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.batch import BEGINNING_MS, EventBatch
from schemas.kinds import GRANTS_TEACH, Cause, Kind
from schemas.readable import read_fields
from schemas.writing import Encoder, encode_value
from state.calendar import day_of
from state.layout import decode_row
from state.row import Row
from state.table import Table
from state.versions import Versions
from streams.log.message import Message
from streams.processing.case_examples import case_of_loan, case_of_request, default_ms, earlier_hash, user_hash
from streams.scoring.compiled.cases import DEFAULT_DAYS
from streams.scoring.models.specs import CUSTOMER, DIGITS, ModelSpec, kept_aside, spec_at
from streams.scoring.reference.evaluate import risk_row_of
from streams.scoring.step import Clocks, Step, step

Fields = dict[str, Any]


@dataclass(slots=True)
class OracleCases:
    """One batch that was taken: `before` are the rows of the users of `done.table` as they were loaded."""

    encoder: Encoder
    specs: Sequence[ModelSpec]
    key: bytes
    batch: EventBatch
    before: Sequence[bytes | None]
    done: Step
    versions: Versions
    swept_ms: int

    def messages(self) -> list[tuple[int, Message]]:
        """The examples, each with its time: what time itself decides, then what is told."""
        users = self.done.table.users
        found = [*self._defaults(), *self._cases()]
        return [(said["timestamp_ms"], self._message(users[user], said)) for user, said in found]

    def _message(self, user: bytes, said: Fields) -> Message:
        hashed = user_hash(user, self.key)
        case = None if said["case"] is None else user_hash(said["case"], self.key)
        named = {"user_hash": hashed, "case": case, "earlier_hash": earlier_hash(user, self.key)}
        return Message(hashed, encode_value("Example", {**said, **named}, self.encoder))

    def _cases(self) -> Iterator[tuple[int, Fields]]:
        rejected = {reject.record for reject in self.done.journal.rejects}
        for i, event in enumerate(self.batch.events):
            if int(event["record"]) in rejected:
                continue
            said: Fields | None = None
            if event["kind"] == Kind.APPLICANT:
                said = self._request(i)
            elif event["kind"] == Kind.OUTCOME:
                said = self._outcome(i)
            elif event["kind"] in (Kind.LOAN_ISSUED, Kind.LOAN_CANCELLED):
                said = self._grant(i)
            if said is not None:
                yield int(event["user"]), said

    def _request(self, i: int) -> Fields | None:
        fields = self._read(i, "Applicant")
        if fields["request_id"] is None:
            return None
        attributes, at_ms = fields["attributes"] or {}, self._stamp_ms(i)
        model = str(attributes.get("model") or GRANTS_TEACH)
        spec = spec_at(self.specs, model, at_ms)
        said: Fields = {"kind": "request", "model": model, "timestamp_ms": at_ms, "inputs": {}}
        if spec is not None:
            row = self._row_after(i) if spec.inputs == CUSTOMER else None
            customer = {} if row is None else self._features(row, row.clock_ms)
            said |= {"inputs": spec.row(attributes, dict(customer)), "aside": kept_aside(attributes) or None}
        return said | {"case": case_of_request(fields["request_id"])}

    def _outcome(self, i: int) -> Fields:
        fields, event = self._read(i, "Outcome"), self.batch.events[i]
        case = None
        if fields["request_id"] is not None:
            case = case_of_request(fields["request_id"])
        elif fields["loan_id"] is not None:
            case = case_of_loan(self.batch.users[event["user"]], fields["loan_id"].encode())
        said = {"kind": "outcome", "model": fields["model"], "timestamp_ms": self._stamp_ms(i)}
        return said | {"label": float(event["value"]), "case": case}

    def _grant(self, i: int) -> Fields | None:
        event, user = self.batch.events[i], int(self.batch.events[i]["user"])
        stood = self._row_after(i)
        if stood is None or stood.declared is None:
            return None
        before = self._row_before(i) or Row()
        if stood.duplicates > before.duplicates:
            return None
        loan_id = self.batch.slice_of_text(event["loan_id_at"], event["loan_id_length"])
        case = case_of_loan(self.batch.users[user], loan_id)
        said: Fields = {"model": GRANTS_TEACH, "timestamp_ms": self._stamp_ms(i), "case": case}
        if event["kind"] == Kind.LOAN_CANCELLED:
            return said | {"kind": "withdrawn"}
        said |= {"kind": "request", "until_ms": default_ms(self.versions, int(event["due_ms"])), "inputs": None}
        if any(loan.loan_id == loan_id for loan in before.loans):
            return said
        stood.loans = [loan for loan in stood.loans if loan.loan_id != loan_id]
        return said | {"inputs": self._features(stood, max(stood.clock_ms, self._stamp_ms(i)))}

    def _defaults(self) -> Iterator[tuple[int, Fields]]:
        rows = self.done.changes.rows
        turned = rows[(rows["cause"] == Cause.TIME) & (rows["loan_length"] > 0)]
        for at_ms, user in sorted({(int(row["decided_ms"]), int(row["user"])) for row in turned}):
            row = self._row_at(user, at_ms)
            if row is None or row.declared is None:
                continue
            day = day_of(self.versions.days, at_ms)
            for loan in row.loans:
                if loan.settled_day is None and day - loan.due_day == DEFAULT_DAYS:
                    case = case_of_loan(self.done.table.users[user], loan.loan_id)
                    yield user, {"kind": "outcome", "model": GRANTS_TEACH, "timestamp_ms": at_ms, "label": 1.0,
                                 "case": case}  # fmt: skip

    def _features(self, row: Row, moment_ms: int) -> dict[str, float]:
        return {name: round(x, DIGITS) for name, x in risk_row_of(row, moment_ms, self.versions).items()}

    def _read(self, i: int, name: str) -> Fields:
        value = self.batch.records[int(self.batch.events[i]["record"])].value
        return read_fields(value or b"", name, self.encoder.registry)

    def _stamp_ms(self, i: int) -> int:
        return int(self.batch.events[i]["timestamp_ms"])

    def _row_after(self, i: int) -> Row | None:
        user = int(self.batch.events[i]["user"])
        return self._row_of(user, np.flatnonzero(self.batch.events["user"][: i + 1] == user).tolist())

    def _row_before(self, i: int) -> Row | None:
        user = int(self.batch.events[i]["user"])
        return self._row_of(user, np.flatnonzero(self.batch.events["user"][:i] == user).tolist())

    def _row_at(self, user: int, moment_ms: int) -> Row | None:
        """A customer's row once the timers due at a moment have fired: before the first event that came no earlier."""
        mine = np.flatnonzero(self.batch.events["user"] == user)
        later = np.flatnonzero(self.batch.events["timestamp_ms"][mine] >= moment_ms)
        return self._row_of(user, mine[: later[0] if len(later) else len(mine)].tolist(), moment_ms)

    def _row_of(self, user: int, events: list[int], until_ms: int = BEGINNING_MS) -> Row | None:
        name, row = self.done.table.users[user], self.before[user]
        if events:
            mine = self.batch.events[events]
            mine["user"] = 0
            part = EventBatch(self.batch.partition, self.batch.records, mine, self.batch.text, [name])
            row = step(Table.of([name], [row]), part, self.versions, Clocks(until_ms, self.swept_ms)).table.row(0)
        return None if row is None else decode_row(row)
