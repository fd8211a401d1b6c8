"""What the compiled step notes of cases: who asked, was granted a loan or defaulted, and the inputs as they stood then.

The loop has the row in hand at that moment, spread out and looked at, so that a note costs next to nothing; to make the
row again behind the step took longer than the event itself. What is said of a note is
`streams.processing.case_examples`'; what all of it must come to, `tests.processing.cases_oracle`'s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from schemas.kinds import Kind
from state.compiled.fold import Fields
from state.compiled.row import (
    F_DECLARED,
    H_HAS_DECLARED,
    H_LOANS,
    H_TODAY,
    L_DUE,
    L_ID_AT,
    L_ID_LENGTH,
    L_SETTLED_DAY,
    L_SIZE,
    NO_DAY,
    Scratch,
    same_text,
)
from state.loans import LATE_DAYS, NPL
from streams.scoring.compiled.buffers import U_CASES, Eyes, Room
from streams.scoring.compiled.changes import copy_text
from streams.scoring.compiled.evaluate import (
    DECLARED_COUNT,
    Seen,
    behaviour_of,
    copy_inputs,
    evaluate_loans,
)
from streams.scoring.customer_risk import risk_inputs

APPLICANT, OUTCOME, ISSUED, CANCELLED = (
    int(Kind.APPLICANT),
    int(Kind.OUTCOME),
    int(Kind.LOAN_ISSUED),
    int(Kind.LOAN_CANCELLED),
)
DEFAULT_DAYS = LATE_DAYS[NPL - 1]
"""A loan unpaid for so many days after its due day is in default (the usual definition: more than 90)."""


@compiled
def begin_case(user: int, i: int, event: Fields, made: bool, repeated: bool, room: Room) -> int:
    """Note an event that was taken and may be one of a case; where it was noted, -1 for any other.

    `made`: it is a loan that was not known before. `repeated`: it changed nothing. A loan is learned from once, so what
    is repeated of it is not noted.
    """
    kind = event["kind"]
    if kind not in (APPLICANT, OUTCOME, ISSUED, CANCELLED) or (repeated and kind in (ISSUED, CANCELLED)):
        return -1
    at = int(room.used[U_CASES])
    room.used[U_CASES] += 1
    case = room.cases[at]
    case["user"], case["event"], case["kind"], case["moment_ms"] = user, i, kind, event["timestamp_ms"]
    case["declared"], case["made"], case["loan_at"], case["loan_length"] = False, made, 0, 0
    case["inputs"][:] = np.nan
    return at


@compiled
def end_case(case: Fields, row: Scratch, event: Fields, text: NDArray[np.uint8], policy: Fields, eyes: Eyes) -> None:
    """The inputs of a request just after it, of a grant without the loan itself: `eyes.now` is the row as it is."""
    case["declared"] = row.h[H_HAS_DECLARED] != 0
    if case["kind"] == APPLICANT:
        _fill(case, row, eyes.now)
    elif case["kind"] == ISSUED and case["declared"]:
        at, last = row.h[H_LOANS] - 1, row.h[H_LOANS] - 1
        while at >= 0 and not same_text(
            row, row.loans[at, L_ID_AT], row.loans[at, L_ID_LENGTH], text, event["loan_id_at"], event["loan_id_length"]
        ):
            at -= 1
        if at < 0:
            _fill(case, row, eyes.now)
            return
        # Out of sight for a moment. Nothing that is made of loans looks at their order.
        _swap_loans(row, at, last)
        row.h[H_LOANS] = last
        copy_inputs(eyes.ahead, eyes.now)
        evaluate_loans(eyes.ahead, row, row.h[H_TODAY], policy)
        _fill(case, row, eyes.ahead)
        row.h[H_LOANS] = last + 1
        _swap_loans(row, at, last)


@compiled
def _swap_loans(row: Scratch, this: int, that: int) -> None:
    for j in range(L_SIZE):
        row.loans[this, j], row.loans[that, j] = row.loans[that, j], row.loans[this, j]


@compiled
def _fill(case: Fields, row: Scratch, seen: Seen) -> None:
    """The inputs of the risk model, whichever version of it is in force, or none."""
    if row.h[H_HAS_DECLARED]:
        risk_inputs(row.f[F_DECLARED : F_DECLARED + DECLARED_COUNT], behaviour_of(seen), case["inputs"])


@compiled
def note_defaults(row: Scratch, user: int, today: int, moment_ms: int, room: Room) -> None:
    """The loans of who has declared something that come to day 91 past due unpaid."""
    if row.h[H_HAS_DECLARED] == 0:
        return
    for i in range(row.h[H_LOANS]):
        loan = row.loans[i]
        if loan[L_SETTLED_DAY] == NO_DAY and today - loan[L_DUE] == DEFAULT_DAYS:
            case = room.cases[room.used[U_CASES]]
            room.used[U_CASES] += 1
            case["user"], case["event"], case["kind"], case["moment_ms"] = user, -1, 0, moment_ms
            case["declared"], case["made"], case["loan_length"] = True, False, loan[L_ID_LENGTH]
            case["loan_at"] = copy_text(room, row.arena, loan[L_ID_AT], loan[L_ID_LENGTH])
