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
    Reason.EARLIER_SMALL_MOVES: ReasonWords("earlier changes below the threshold", "any"),
    Reason.NEW_WEIGHTS: ReasonWords("new model weights", "any"),
    Reason.ROUNDING: ReasonWords("rounding", "any"),
    Reason.OVERRIDE: ReasonWords("manual override", "any"),
    Reason.OVERRIDE_ENDED: ReasonWords("the manual override ended", "any"),
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
    Reason.PACE: ReasonWords("activity rate (frequency and recency)", "marketing"),
    Reason.CONSISTENCY: ReasonWords("how predictable the customer is", "marketing"),
    Reason.HISTORY: ReasonWords(
        "length of the repayment history (an unpaid loan counts once it is past due)", "credit"
    ),
    Reason.LATE_BDR_30: ReasonWords("loans 1 to 30 days past due", "credit"),
    Reason.LATE_BDR_30_PLUS: ReasonWords("loans 31 to 90 days past due", "credit"),
    Reason.LATE_NPL: ReasonWords("loans 91 to 180 days past due", "credit"),
    Reason.LATE_WO: ReasonWords("loans more than 180 days past due", "credit"),
    Reason.EFFICIENCY: ReasonWords("margin earned on the amounts lent", "credit"),
    Reason.LATE_COSTS: ReasonWords("costs of late payments", "credit"),
    Reason.PROMOTIONS: ReasonWords("promotions used", "credit"),
    Reason.UNPAID: ReasonWords("unpaid margin", "credit"),
    Reason.ONGOING_COSTS: ReasonWords("running costs of overdue loans", "credit"),
    Reason.RISK_INCOME: ReasonWords("income", "credit"),
    Reason.RISK_DTI: ReasonWords("share of income that debts take", "credit"),
    Reason.RISK_HOUSING: ReasonWords("share of income that housing takes", "credit"),
    Reason.RISK_DEBT: ReasonWords("debts in relation to income", "credit"),
    Reason.RISK_EMPLOYMENT: ReasonWords("length of the employment", "credit"),
    Reason.RISK_LISTED: ReasonWords("listed as a bad debtor", "credit"),
    Reason.RISK_LOAN: ReasonWords("size of the loan in relation to income", "credit"),
    Reason.RISK_INCOME_SEEN: ReasonWords("income seen on the account", "credit"),
    Reason.RISK_INCOME_SHARE: ReasonWords("share of the declared income that is seen", "credit"),
    Reason.RISK_EXPENSES: ReasonWords("share of income that is spent", "credit"),
    Reason.RISK_BALANCE: ReasonWords("months of income on the account", "credit"),
    Reason.RISK_FAILED: ReasonWords("payments that failed", "credit"),
    Reason.RISK_ACTIVE_DAYS: ReasonWords("use of the account", "credit"),
    Reason.RISK_STATUS: ReasonWords("how earlier loans were paid", "credit"),
    Reason.RISK_DAYS_PAST_DUE: ReasonWords("age of the oldest unpaid amount", "credit"),
    Reason.RISK_UNCERTAINTY: ReasonWords("how little is known yet", "credit"),
}

REASON_TEXTS: dict[int, str] = {int(reason): words.text for reason, words in REASONS.items()}
