"""The closed vocabularies that cross a wire or a module border: kinds of events, scores, causes, reason codes.

Every enumeration here is part of the stored and published formats: members are only ever appended, never renumbered.
"""

from __future__ import annotations

import math
import re
from enum import IntEnum


class Rank(IntEnum):
    """Rank of an input topic: breaks ties between records of one millisecond (docs: time and order)."""

    COMMANDS = 0
    APPLICANTS = 1
    LOANS = 2
    TRANSACTIONS = 3
    OUTCOMES = 4


INPUT_TOPICS: tuple[str, ...] = ("commands", "applicants", "loans", "transactions", "outcomes")
"""Input topics in order of their rank."""


class Kind(IntEnum):
    """What an input event is. One topic carries one or more kinds."""

    ERASE = 0
    OVERRIDE = 1
    LIFT = 2
    ADVANCE = 3
    APPLICANT = 4
    LOAN_ISSUED = 5
    LOAN_REPAID = 6
    LOAN_CANCELLED = 7
    TRANSACTION = 8
    OUTCOME = 9


class TransactionState(IntEnum):
    """Outcome of a transaction after reading its free-text state (customer value score, section 5)."""

    ABSENT = 0
    SUCCEEDED = 1
    FAILED = 2
    PENDING = 3


class Score(IntEnum):
    """The scores a customer has. The value of each is a float64 inside; class, rfm, segment and profiles are codes.

    The code of `profiles` is a set of bits, one for each profile that holds, in the order of `Versions.profile_ids`. It
    lives no longer than a batch: rows and records name the profiles.

    A score that is a number is NaN where the customer has none, a code 0.
    """

    VALUE = 0
    STATUS = 1
    REVENUE = 2
    CLASS = 3
    RFM = 4
    SEGMENT = 5
    RISK = 6
    PROFILES = 7


SCORE_NAMES: tuple[str, ...] = ("value", "status", "revenue", "class", "rfm", "segment", "risk", "profiles")
SCORES = len(SCORE_NAMES)
FIRST_CODE, LAST_CODE = int(Score.CLASS), int(Score.SEGMENT)
"""Scores from the one to the other are codes, and so is `profiles`: a rule that compiled code can follow as well."""


def is_code(score: int) -> bool:
    """True for class, rfm, segment and profiles, whose values are codes and not numbers."""
    return FIRST_CODE <= score <= LAST_CODE or score == Score.PROFILES


NO_SCORES: tuple[float, ...] = tuple(0.0 if is_code(score) else math.nan for score in range(SCORES))
"""The scores of a customer who has none."""

SEGMENT_NAMES: tuple[str, ...] = ("none", "new", "one_time", "regular", "high", "very_high")
VALUE_BANDS: tuple[str, ...] = ("low", "medium", "high", "top")
RISK_BANDS: tuple[str, ...] = VALUE_BANDS[:3]
"""How likely a default is: low is best. The same words as the bands of value, so that they are written alike."""
LOAN_STATES: tuple[str, ...] = ("non_default", "bdr_30", "bdr_30_plus", "npl", "wo")


class Cause(IntEnum):
    """Why a score changed."""

    EVENT = 0
    TIME = 1
    NEW_WEIGHTS = 2
    CORRECTION = 3
    OVERRIDE = 4
    ERASURE = 5


CAUSE_NAMES: tuple[str, ...] = ("event", "time", "new_weights", "correction", "override", "erasure")


class Reason(IntEnum):
    """Stable reason codes; texts and allowed use are in `streams.scoring.reasons`."""

    EARLIER_SMALL_MOVES = 0
    NEW_WEIGHTS = 1
    ROUNDING = 2
    DEPOSITS = 10
    WITHDRAWALS = 11
    TRANSACTION_COUNT = 12
    FAILED_ATTEMPTS = 13
    ACTIVE_DAYS = 14
    BALANCE = 15
    RECENCY = 16
    ACCOUNT_AGE = 17
    CHANNEL = 18
    CURRENCIES = 19
    CONSISTENCY = 20
    PACE = 21
    HISTORY = 30
    LATE_BDR_30 = 31
    LATE_BDR_30_PLUS = 32
    LATE_NPL = 33
    LATE_WO = 34
    EFFICIENCY = 40
    LATE_COSTS = 41
    PROMOTIONS = 42
    UNPAID = 43
    ONGOING_COSTS = 44
    OVERRIDE = 50
    OVERRIDE_ENDED = 51
    RISK_INCOME = 60  # from here on the features of the risk model, in the order of its manifest
    RISK_DTI = 61
    RISK_HOUSING = 62
    RISK_DEBT = 63
    RISK_EMPLOYMENT = 64
    RISK_LISTED = 65
    RISK_LOAN = 66
    RISK_INCOME_SEEN = 67
    RISK_INCOME_SHARE = 68
    RISK_EXPENSES = 69
    RISK_BALANCE = 70
    RISK_FAILED = 71
    RISK_ACTIVE_DAYS = 72
    RISK_STATUS = 73
    RISK_DAYS_PAST_DUE = 74
    RISK_UNCERTAINTY = 75


MODEL_NAME = re.compile(r"(?!value\Z)[a-z][a-z0-9_]{0,63}")
"""What a model that learns from outcomes may be called, in full: the value model learns from transactions alone."""

GRANTS_TEACH = "risk"
"""The model whose cases loans are."""


class RejectCode(IntEnum):
    """Why an event is a dead letter. The words (what happened, what to do) are in `schemas.rejects`."""

    NONE = 0
    UNDECODABLE = 1
    UNKNOWN_SCHEMA = 2
    WRONG_TYPE = 3
    NOT_A_NUMBER = 4
    NULL_KEY = 5
    KEY_IS_NOT_USER = 6
    WRONG_PARTITION = 7
    TOO_LARGE = 8
    EVENT_TIME_IN_FUTURE = 9
    UNKNOWN_CURRENCY = 10
    AMOUNT_OUT_OF_RANGE = 11
    UNKNOWN_STATE = 12
    MISSING_FIELD = 13
    CORRECTION_WITHOUT_PREVIOUS = 14
    UNKNOWN_LOAN = 15
    LOAN_CLOSED = 16
    NON_POSITIVE_PAYMENT = 17
    NON_POSITIVE_ORDER = 18
    CANCEL_AFTER_DUE = 19
    LOAN_EXISTS = 20
    TOO_MANY_LOANS = 21
    ERASED = 22
    UNKNOWN_SCORE = 23
    UNKNOWN_CATEGORY = 24
    TOO_MANY_CURRENCIES = 25
    BEFORE_FIRST_DAY = 26
    TOO_MANY_DUE_DATES = 27
    PAYMENT_CURRENCY = 28
    OVERRIDE_OUT_OF_RANGE = 29
    EVENT_ID_REUSED = 30
    CORRECTION_OF_NOTHING = 31
    IMPLAUSIBLE_DATE = 32
    INTERNAL_ERROR = 33
    REQUEST_ID_OUT_OF_RANGE = 34
    OUTCOME_OF_NOTHING = 36
    OVERRIDE_EXPIRED = 37
    UNKNOWN_MCC = 38
