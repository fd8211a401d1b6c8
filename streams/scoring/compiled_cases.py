"""What rows say of cases, compiled: the inputs of the risk model as they stood, and the loans that came to their end.

Over the packed rows of a table, for all cases of a batch in one call (`streams.rows_within`): what
`streams.scoring.evaluate.risk_row_of` says of one row. About 5 us a case, nearly all of it reading the row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.batch import DECLARED, Columns
from schemas.compiled import compiled, copy_into
from state.calendar import day_of
from state.compiled_layout import read_row
from state.compiled_row import (
    F_DECLARED,
    H_CLOCK,
    H_HAS_DECLARED,
    H_LOANS,
    L_DUE,
    L_ID_AT,
    L_ID_LENGTH,
    L_SETTLED_DAY,
    NO_DAY,
    Scratch,
    same_text,
)
from streams.scoring.compiled_evaluate import (
    W_HAS_TRANSACTIONS,
    W_LATE,
    Seen,
    evaluate_loans,
    gather_inputs,
)
from streams.scoring.customer_risk import Behaviour, risk_inputs
from streams.scoring.tables import Tables, version_at

DECLARED_COUNT = len(DECLARED)
LOAN_BYTES_MIN = 8
"""A loan of a row takes more than that."""

ASKED = np.dtype(
    [
        ("row", np.int64),  # of the table
        ("moment_ms", np.int64),  # features: the row as it stands then, or at its own clock where that is later
        ("loan_at", np.int64),  # the loan, by its id, that is to be left out; a length of 0: none
        ("loan_length", np.int64),
    ]
)

ENDED = np.dtype([("asked", np.int64), ("loan_at", np.int64), ("loan_length", np.int64)])
"""Which question a loan is an answer to, and where its id stands among the ids."""


@compiled
def read_inputs(
    packed: NDArray[np.uint8], starts: NDArray[np.int64], asked: Columns, text: NDArray[np.uint8], tables: Tables,
    row: Scratch, seen: Seen, inputs: NDArray[np.float64], declared: NDArray[np.bool_],
) -> int:  # fmt: skip
    """Fill `inputs` and `declared`; answers which row can not be read, -1 where all can."""
    for k in range(len(asked)):
        one = asked[k]
        start, end = starts[one["row"]], starts[one["row"] + 1]
        if end == start:
            inputs[k, :] = np.nan
            continue
        if not read_row(packed, start, end, row):
            return k
        _leave_out(row, text, one["loan_at"], one["loan_length"])
        declared[k] = row.h[H_HAS_DECLARED] != 0
        if not declared[k]:
            row.f[F_DECLARED : F_DECLARED + DECLARED_COUNT] = np.nan
        moment = max(row.h[H_CLOCK], one["moment_ms"])
        day = day_of(tables.days, moment)
        gather_inputs(seen, row, day)
        evaluate_loans(seen, row, day, tables.policies[version_at(tables.policies, moment)])
        amounts = seen.inputs
        behaviour = Behaviour(
            seen.whole[W_HAS_TRANSACTIONS] != 0, amounts[2], amounts[6], amounts[14], amounts[12], amounts[13],
            seen.scores[1], seen.whole[W_LATE],
        )  # fmt: skip
        risk_inputs(row.f[F_DECLARED : F_DECLARED + DECLARED_COUNT], behaviour, inputs[k])
    return -1


@compiled
def _leave_out(row: Scratch, text: NDArray[np.uint8], at: int, length: int) -> None:
    """The row without a loan. Nothing that is made of loans looks at their order."""
    for i in range(row.h[H_LOANS] - 1, -1, -1):
        if length > 0 and same_text(row, row.loans[i, L_ID_AT], row.loans[i, L_ID_LENGTH], text, at, length):
            row.h[H_LOANS] -= 1
            copy_into(row.loans[i], row.loans[row.h[H_LOANS]])


@compiled
def read_ended(
    packed: NDArray[np.uint8], starts: NDArray[np.int64], asked: Columns, late_days: int, days: NDArray[np.int64],
    row: Scratch, ended: Columns, ids: NDArray[np.uint8], used: NDArray[np.int64],
) -> int:  # fmt: skip
    """Fill `ended` and `ids`, how much of them in `used`; of who has declared something. Answers like `read_inputs`."""
    for k in range(len(asked)):
        start, end = starts[asked[k]["row"]], starts[asked[k]["row"] + 1]
        if end == start:
            continue
        if not read_row(packed, start, end, row):
            return k
        day = day_of(days, asked[k]["moment_ms"])
        for i in range(row.h[H_LOANS] * row.h[H_HAS_DECLARED]):
            loan = row.loans[i]
            if loan[L_SETTLED_DAY] == NO_DAY and day - loan[L_DUE] == late_days:
                found, length = ended[used[0]], loan[L_ID_LENGTH]
                found["asked"], found["loan_at"], found["loan_length"] = k, used[1], length
                copy_into(ids[used[1] : used[1] + length], row.arena[loan[L_ID_AT] : loan[L_ID_AT] + length])
                used[0] += 1
                used[1] += length
    return -1
