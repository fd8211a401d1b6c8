"""Why the fold refuses an event, where its code alone says too little, and the words for it.

The compiled fold says the same in numbers: a code, a `Why` and a day.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import DAY_MS
from schemas.kinds import Kind, RejectCode
from schemas.rejects import sentence_of, words_of
from schemas.times import iso_of
from state.calendar import day_of
from state.row import ROW_CLOSED_MAX


class Why(IntEnum):
    """What more there is to say than the code. The numbers live no longer than a batch."""

    NONE = 0
    SETTLED = 1  # LOAN_CLOSED: the loan was settled long ago
    CANCELLED = 2
    FORGOTTEN = 3  # it may be one of the closed loans that are forgotten, which were ordered up to the day
    DATE_TOO_EARLY = 4  # IMPLAUSIBLE_DATE: before the day, which is the policy's dates_from
    PREVIOUS_DATE_TOO_EARLY = 5
    DUE_BEFORE_ORDER = 6
    PAID_BEFORE_ORDER = 7  # far before the day, on which the loan was ordered
    PREVIOUS_PAID_BEFORE_ORDER = 8


class Refusal(NamedTuple):
    """Why an event is a dead letter; `TAKEN` where it is none."""

    code: RejectCode
    why: Why = Why.NONE
    day: int = 0


TAKEN = Refusal(RejectCode.NONE)

DATE_FIELDS: dict[Kind, str] = {
    Kind.APPLICANT: "declared_at",
    Kind.LOAN_ISSUED: "order_date",
    Kind.LOAN_REPAID: "paid_at",
    Kind.LOAN_CANCELLED: "cancelled_at",
    Kind.TRANSACTION: "transaction_date",
    Kind.OUTCOME: "known_at",
}
"""The field of each kind's event time. Commands have none: what they say holds from when they are written."""


def refusal_words(refusal: Refusal, event: np.void, days: NDArray[np.int64]) -> str:
    """The message of the dead letter. `event` is a row of EVENT, `days` the calendar of the policy's time zone."""
    if refusal.why == Why.NONE:
        return words_of(refusal.code)
    if refusal.why == Why.SETTLED:
        return sentence_of(refusal.code, "the loan was settled long ago and is closed: it counts already")
    if refusal.why == Why.CANCELLED:
        return sentence_of(refusal.code, "the loan was cancelled and is closed")
    name = DATE_FIELDS[Kind(int(event["kind"]))]
    date = _date(day_of(days, int(event["event_time_ms"])))
    day = _date(refusal.day)
    if refusal.why == Why.FORGOTTEN:
        return _forgotten(refusal.code, date, day)
    if refusal.why in (Why.PREVIOUS_DATE_TOO_EARLY, Why.PREVIOUS_PAID_BEFORE_ORDER):
        name, date = f"previous.{name}", _date(day_of(days, int(event["previous_time_ms"])))
    if refusal.why == Why.DUE_BEFORE_ORDER:
        what = f"due_date is {_date(day_of(days, int(event['due_ms'])))}, before the {name} {date}"
    elif refusal.why in (Why.DATE_TOO_EARLY, Why.PREVIOUS_DATE_TOO_EARLY):
        what = f"{name} is {date}, before {day} (dates_from of the policy)"
    else:
        what = (
            f"{name} is {date}, too long before the loan's order_date {day} (payment_days_before_order of the policy)"
        )
    return sentence_of(refusal.code, what)


def _forgotten(code: RejectCode, date: str, until: str) -> str:
    what = (
        f"the loan cannot be told from a closed one: it was ordered on {date}, and of the closed loans ordered up to"
        f" {until} only the newest {ROW_CLOSED_MAX} are known one by one"
    )
    remedy = (
        "if it was settled or cancelled before, drop the dead letter; if it was never published, publish it with an"
        f" order_date after {until}"
    )
    return sentence_of(code, what, remedy)


def _date(day: int) -> str:
    return iso_of(day * DAY_MS)[:10]
