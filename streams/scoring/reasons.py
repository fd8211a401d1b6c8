"""The reason codes: stable code, words for a person, and what each may be used for. A versioned table.

A code is never renamed and never means something else; a new meaning is a new code. `use` says whether a reason may be
given for a credit decision (an adverse-action notice) or describes marketing value alone.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from schemas.kinds import Reason

REASONS_VERSION = "reasons-1"


class ReasonWords(NamedTuple):
    """Words of one reason and its allowed use."""

    text: str
    use: Literal["credit", "marketing", "any"]


REASONS: dict[Reason, ReasonWords] = {
    Reason.EARLIER_SMALL_MOVES: ReasonWords("earlier moves too small to be told", "any"),
    Reason.NEW_WEIGHTS: ReasonWords("new model weights", "any"),
    Reason.ROUNDING: ReasonWords("rounding", "any"),
    Reason.OVERRIDE: ReasonWords("held by a person", "any"),
    Reason.DEPOSITS: ReasonWords("deposits", "marketing"),
    Reason.WITHDRAWALS: ReasonWords("withdrawals", "marketing"),
    Reason.TRANSACTION_COUNT: ReasonWords("number of transactions", "marketing"),
    Reason.FAILED_ATTEMPTS: ReasonWords("failed attempts", "marketing"),
    Reason.ACTIVE_DAYS: ReasonWords("active days", "marketing"),
    Reason.BALANCE: ReasonWords("balance", "marketing"),
    Reason.RECENCY: ReasonWords("days since the last transaction", "marketing"),
    Reason.ACCOUNT_AGE: ReasonWords("age of the account", "marketing"),
    Reason.CHANNEL: ReasonWords("channel", "marketing"),
    Reason.CURRENCIES: ReasonWords("several currencies", "marketing"),
    Reason.CONSISTENCY: ReasonWords("how predictable the customer is", "marketing"),
    Reason.HISTORY: ReasonWords("length of the repayment history", "credit"),
    Reason.LATE_BDR_30: ReasonWords("loans 1 to 30 days past due", "credit"),
    Reason.LATE_BDR_30_PLUS: ReasonWords("loans 31 to 90 days past due", "credit"),
    Reason.LATE_NPL: ReasonWords("loans 91 to 180 days past due", "credit"),
    Reason.LATE_WO: ReasonWords("loans more than 180 days past due", "credit"),
    Reason.EFFICIENCY: ReasonWords("margin earned on the amounts lent", "credit"),
    Reason.LATE_COSTS: ReasonWords("costs of late payments", "credit"),
    Reason.PROMOTIONS: ReasonWords("promotions used", "credit"),
    Reason.UNPAID: ReasonWords("margin not yet paid", "credit"),
    Reason.ONGOING_COSTS: ReasonWords("running costs of overdue loans", "credit"),
}

REASON_TEXTS: dict[int, str] = {int(reason): words.text for reason, words in REASONS.items()}
