"""Columns of events and of what is said about them: the one shape in which records cross from wire to maths and back.

All arrays are numpy structured arrays, so that the compiled kernel, the readable oracle and the codecs see one layout.
Text lives in a byte buffer beside the columns (`*_at`, `*_length` are a slice of it), because a column of Python
strings would cost more than everything else done with the event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.categories import WORDS_MAX
from schemas.kinds import SCORES

Columns = NDArray[Any]

MISSING_TIME_MS = -(2**63)
"""Marks an absent time in an int64 column."""

DAY_MS = 86_400_000

BEGINNING_MS, FOREVER_MS = -(2**62), 2**62
"""Before and after every moment: in force from the beginning, or never due."""

EVENT = np.dtype(
    [
        ("record", np.int32),  # index into EventBatch.records
        ("user", np.int32),  # index into EventBatch.users
        ("kind", np.uint8),  # Kind
        ("rank", np.uint8),  # Rank of its topic
        ("state", np.uint8),  # TransactionState
        ("previous_state", np.uint8),  # TransactionState of what a correction replaces
        ("has_previous", np.bool_),
        ("web", np.bool_),  # user_category == WEB
        ("score", np.uint8),  # Score, of OVERRIDE and LIFT
        ("offset", np.int64),
        ("timestamp_ms", np.int64),  # Kafka's own: when it became known
        ("event_time_ms", np.int64),  # which day it belongs to (transaction_date, paid_at, order_date, ...)
        ("event_hash", np.uint64),  # of kind, event_id and revision; 0 = no identity, never a duplicate
        ("content_hash", np.uint32),  # of every field that has a meaning
        ("revision", np.int32),
        ("currency", np.uint32),  # three ISO letters, packed big-endian into 24 bits
        ("previous_currency", np.uint32),
        ("amount", np.float64),  # transaction amount, repaid amount; major units of `currency`
        ("previous_amount", np.float64),
        ("previous_time_ms", np.int64),
        ("balance", np.float64),  # NaN = unknown
        ("created_ms", np.int64),  # user_created; MISSING_TIME_MS = unknown
        ("order_amount", np.float64),
        ("gross_margin", np.float64),
        ("promo", np.float64),
        ("due_ms", np.int64),  # due_date of an issued loan
        ("value", np.float64),  # of OVERRIDE: the value to hold; of OUTCOME: the label
        ("until_ms", np.int64),  # of OVERRIDE: expiry; of ADVANCE: the clock to reach
        ("declared", np.float64, (8,)),  # of APPLICANT, see DECLARED; NaN = absent
        ("event_id_at", np.int32),
        ("event_id_length", np.int32),
        ("loan_id_at", np.int32),
        ("loan_id_length", np.int32),
        ("point_at", np.int32),
        ("point_length", np.int32),
        ("province_at", np.int32),
        ("province_length", np.int32),
        ("author_at", np.int32),  # who ordered an override or erasure
        ("author_length", np.int32),
        # What a transaction was for. Derived, and so no part of what makes an event the same one.
        ("category", np.uint8),  # Category of its merchant category code; 0 = no code
        ("previous_category", np.uint8),  # likewise of what a correction replaces; 0 = the same
        ("words", np.uint32, (WORDS_MAX,)),  # of its description, hashed, where there is no code; 0 = no more
    ]
)

DECLARED: tuple[str, ...] = (
    "income",
    "debt",
    "renta",
    "debt_total",
    "working_time",
    "moroso",
    "loan_amount",
    "credit_limit",
)

CHANGE = np.dtype(
    [
        ("user", np.int32),  # index into the table's users
        ("event", np.int32),  # index into the batch's events; -1 where time was the cause
        ("score", np.uint8),
        ("cause", np.uint8),
        ("old_band", np.int8),  # index into VALUE_BANDS (RISK_BANDS are its first); -1 = this score has none
        ("new_band", np.int8),
        ("segment", np.uint8),  # activity segment after the change
        ("incarnation_rank", np.uint8),
        ("incarnation_offset", np.int64),
        ("sequence", np.int64),
        ("old", np.float64),  # NaN = had none
        ("new", np.float64),
        ("base", np.float64),  # base + sum of level = new; NaN where a score has no reasons
        ("confidence", np.float64),
        ("event_time_ms", np.int64),
        ("decided_ms", np.int64),
        ("valid_until_ms", np.int64),  # no change by time alone before this
        ("first_event_ms", np.int64),
        ("last_event_ms", np.int64),
        ("events", np.int64),
        ("weights_version", np.int32),  # index into Versions.weights
        ("policy_version", np.int32),  # index into Versions.policies
        ("reasons_at", np.int32),  # slice of Changes.reasons
        ("reasons_count", np.int32),
        ("point_at", np.int32),  # slices of Changes.text
        ("point_length", np.int32),
        ("loan_at", np.int32),  # the loan this change is about, if one is
        ("loan_length", np.int32),
        ("hits_at", np.int32),  # slice of Changes.hits, of the score `profiles`
        ("hits_count", np.int32),
    ]
)

HIT = np.dtype(
    [
        ("profile", np.int32),  # index into VersionNames.profiles: of its version
        ("held", np.bool_),  # False: it has just been left
        ("category", np.uint8),  # Category on which most of it rests
        ("since_ms", np.int64),  # when it was entered; where it is left, when that was
        ("strength", np.float64),
        ("share", np.float64),  # of all money spent
        ("amount_minor", np.int64),
        ("purchases", np.float64),
    ]
)
"""Why a profile holds, or holds no longer."""

REASON = np.dtype([("code", np.uint16), ("level", np.float64), ("moved", np.float64)])

WINDOW_DAYS: tuple[int, ...] = (1, 7, 30, 90, 365)

CARD = np.dtype(
    [
        ("user", np.int32),
        ("segment", np.uint8),
        ("first_payment_default", np.int8),  # -1 none until the first due day has passed, else 0 or 1
        ("has_override", np.bool_),
        ("incarnation_rank", np.uint8),
        ("incarnation_offset", np.int64),
        ("clock_ms", np.int64),
        ("valid_until_ms", np.int64),
        ("first_event_ms", np.int64),
        ("last_event_ms", np.int64),
        ("events", np.int64),
        ("score", np.float64, (SCORES,)),  # by Score; NaN = none
        ("sequence", np.int64, (SCORES,)),
        ("counts", np.int64, (5,)),  # counted loans by state
        ("open_loans", np.int64),
        ("forecast", np.float64),  # yhat of the value model
        ("consistency", np.float64),
        ("efficiency", np.float64),
        ("discipline", np.float64),
        ("confidence", np.float64, (SCORES,)),
        ("balance_minor", np.int64),
        ("deposits_minor", np.int64, (5,)),  # by WINDOW_DAYS
        ("withdrawals_minor", np.int64, (5,)),
        ("transactions", np.int64, (5,)),
        ("weights_version", np.int32),
        ("policy_version", np.int32),
        ("point_at", np.int32),
        ("point_length", np.int32),
    ]
)

FEATURE_SLOTS = 19
"""Inputs of the value model, kept for its label: 15 continuous ones, recency, age, channel, currencies."""

EXAMPLE = np.dtype(
    [
        ("user", np.int32),
        ("day", np.int64),  # the day the inputs were taken; the label is over day .. day + 29
        ("timestamp_ms", np.int64),
        ("features", np.uint16, (FEATURE_SLOTS,)),
        ("forecast", np.float64),
        ("label", np.float64),
    ]
)

INVERSION = np.dtype(
    [
        ("event", np.int32),  # index into the batch's events
        ("user", np.int32),
        ("incarnation_rank", np.uint8),
        ("incarnation_offset", np.int64),
        ("ordinal", np.int64),  # it is the ordinal-th record (from 0) of this incarnation of its user
        ("clock_ms", np.int64),  # the user's clock when it was taken: timers due by then had fired
        ("after_ms", np.int64),  # without a row: it follows all that the user had up to then; else MISSING_TIME_MS
        ("forgotten", np.bool_),  # not even the marker of an erasure was left
    ]
)


class Record(NamedTuple):
    """One record as received from an input topic.

    `headers` is None or a list of (name, bytes). Nothing here is interpreted yet.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] | None = None


class Reject(NamedTuple):
    """A bad event as a value: which record, at which stage it was refused, why, and what to do about it."""

    record: int  # index into EventBatch.records
    stage: str  # "decode", "money", "fold"
    code: int  # RejectCode
    message: str


@dataclass(slots=True)
class EventBatch:
    """Decoded events of one partition in merge order (timestamp, topic rank, offset).

    `records` holds everything received, good or bad; `events[i]["record"]` leads back to it. `users` are the keys of
    their rows (`schemas.row_keys`): user_ids, and those of requests without one.
    """

    partition: int
    records: list[Record]
    events: Columns  # EVENT
    text: NDArray[np.uint8]
    users: list[bytes]
    rejects: list[Reject] = field(default_factory=list)
    fields: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)
    """What applicants and outcomes said, by record: who learns from them asks for more than the columns hold."""

    def slice_of_text(self, at: int, length: int) -> bytes:
        """The text stored at a (`*_at`, `*_length`) pair."""
        return self.text[at : at + length].tobytes()


@dataclass(slots=True)
class Changes:
    """Score changes of one step, in the order in which they are to be published."""

    rows: Columns  # CHANGE
    reasons: Columns  # REASON
    text: NDArray[np.uint8]
    cards: Columns  # CARD, one for each user with a change
    hits: Columns = field(default_factory=lambda: np.zeros(0, HIT))

    def slice_of_text(self, at: int, length: int) -> bytes:
        """The text stored at a (`*_at`, `*_length`) pair."""
        return self.text[at : at + length].tobytes()


@dataclass(slots=True)
class Journal:
    """What replay cannot find out by itself: records taken out of merge order, dead letters decided while folding."""

    inversions: Columns  # INVERSION
    rejects: list[Reject]
