"""What a dead letter of the fold says: for most codes the words kept for it, for some what was looked for as well.

The compiled step and the readable one know a code and an event. Both ask here, so that their words are the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from schemas.batch import EventBatch, Reject
from schemas.kinds import Kind, RejectCode, TransactionState
from schemas.rejects import refuse
from schemas.times import iso_of
from state.refusals import Refusal, refusal_words
from state.versions import unpack_currency

NAMES: dict[Kind, str] = {
    Kind.ERASE: "erase command",
    Kind.OVERRIDE: "override command",
    Kind.LIFT: "lift command",
    Kind.ADVANCE: "advance command",
    Kind.APPLICANT: "declaration",
    Kind.LOAN_ISSUED: "issued loan",
    Kind.LOAN_REPAID: "repayment of a loan",
    Kind.LOAN_CANCELLED: "cancelled loan",
    Kind.TRANSACTION: "transaction",
    Kind.OUTCOME: "outcome",
}
"""What people call an event of each kind."""


def refusal(batch: EventBatch, event: np.void, refused: Refusal, days: NDArray[np.int64]) -> Reject:
    """Why an event of the batch was refused by its customer's row. `days`: the calendar of the policy's time zone."""
    record = int(event["record"])
    detail = DETAILS.get(refused.code)
    if detail is None:
        return Reject(record, "fold", int(refused.code), refusal_words(refused, event, days))
    return refuse(record, "fold", refused.code, detail(batch, event))


def _reused(batch: EventBatch, event: np.void) -> str:
    name, revision = NAMES[Kind(int(event["kind"]))], int(event["revision"])
    of = f" (revision {revision})" if revision else ""
    return f"event_id {_text(batch, event, 'event_id')}{of} is that of another {name}, with other content"


def _of_nothing(batch: EventBatch, event: np.void) -> str:
    at, revision = iso_of(int(event["previous_time_ms"])), int(event["revision"])
    correction = f"revision {revision} of event_id {_text(batch, event, 'event_id')} replaces"
    if event["kind"] == Kind.LOAN_REPAID:
        loan = _text(batch, event, "loan_id")
        return f"{correction} a payment of {float(event['previous_amount'])} at {at}, which loan {loan} does not have"
    amount = f"{float(event['previous_amount'])} {unpack_currency(int(event['previous_currency']))}"
    state = TransactionState(int(event["previous_state"]))
    kind = "transaction" if state == TransactionState.ABSENT else f"{state.name.lower()} transaction"
    return f"{correction} a {kind} of {amount} at {at}, which the customer does not have on that day"


def _without_rate(_: EventBatch, event: np.void) -> str:
    named = [int(event["currency"]), *([int(event["previous_currency"])] if event["has_previous"] else [])]
    currencies = " or ".join(dict.fromkeys(unpack_currency(one) for one in named if one))
    return f"no rate of {currencies} is known at the event's time"


DETAILS: dict[RejectCode, Callable[[EventBatch, np.void], str]] = {
    RejectCode.EVENT_ID_REUSED: _reused,
    RejectCode.CORRECTION_OF_NOTHING: _of_nothing,
    RejectCode.UNKNOWN_CURRENCY: _without_rate,
}


def _text(batch: EventBatch, event: np.void, name: str) -> str:
    """A text of an event, in quotes and with whatever a terminal would obey escaped."""
    text = batch.slice_of_text(int(event[f"{name}_at"]), int(event[f"{name}_length"]))
    return repr(text.decode("utf-8", "backslashreplace"))
