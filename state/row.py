"""What is known of one customer, in plain Python: the readable form of a packed row.

The compiled kernel works on the same fields in arrays (`state.compiled`); this form is for the oracle, for people
(`rescore inspect`) and for upgrades of the layout. Amounts are int64 hundredths of the base currency; a loan's own ones
(those without `base_`, and `paid`) are in the unit that its currency says (`state.currencies`). Days count from
1970-01-01 in the policy's time zone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.kinds import NO_SCORES, SCORES
from state.profiles import PROFILES_MAX
from state.spending import ProfileMark, Spending

WINDOW_DAYS_MAX = 365
"""Days of which a row keeps what happened on each: today and those before it. Older ones are in its lifetime sums."""
ROW_LOANS_MAX = 2048
"""Loans a row may hold that are not yet folded into its sums; a further one is a dead letter."""
ROW_CURRENCIES_MAX = 64
ROW_DUE_MOVES_MAX = 3
ROW_CLOSED_MAX = 256
"""Closed loans a row remembers one by one; of older ones only the newest order day. See `state.closed_loans`."""
LOAN_PAYMENTS_MAX = 128
"""Payments of a loan by which the row knows them again; the oldest are forgotten first."""
ROW_POINTS_MAX = 2048
ROW_OVERRIDES_MAX = SCORES
ROW_PROFILES_MAX = PROFILES_MAX


@dataclass(slots=True)
class Day:
    """What happened on one day of the last 365: successful money in and out, their number, failed attempts."""

    day: int
    deposits_minor: int = 0
    withdrawals_minor: int = 0
    transactions: int = 0
    failed: int = 0

    def is_empty(self) -> bool:
        """True when corrections have taken everything back."""
        return not (self.deposits_minor or self.withdrawals_minor or self.transactions or self.failed)


@dataclass(slots=True)
class Account:
    """What is known per currency: the last day of a successful transaction and the latest balance by event time."""

    currency: int
    last_day: int | None = None
    balance_minor: int = 0  # base currency, at the rate of its event time
    balance_time_ms: int | None = None
    balance_revision: int = 0


@dataclass(slots=True)
class Loan:
    """One loan, from its issue until 90 days after it is settled.

    `paid` are the sums of payments by the state of each payment's own days past due. `due_moves` says which due day was
    in force before which day, so that a payment always belongs to the due day it was made against.
    """

    loan_id: bytes
    currency: int  # with the mark of its unit, see `state.currencies`
    order_amount: int
    gross_margin: int
    promo: int
    base_order_amount: int
    base_gross_margin: int
    base_promo: int
    order_ms: int
    order_day: int
    due_day: int
    point: int  # index into Row.points
    revision: int = 0
    paid: list[int] = field(default_factory=lambda: [0] * 5)
    settled_day: int | None = None
    due_moves: list[tuple[int, int]] = field(default_factory=list)  # (moved on day, due day until then)
    payments: list[int] = field(default_factory=list)  # `closed_loans.payment_hash` of each that has an event_id

    def due_day_on(self, day: int) -> int:
        """The due day that was in force on `day`."""
        for moved_day, earlier_due_day in self.due_moves:
            if day <= moved_day:
                return earlier_due_day
        return self.due_day


@dataclass(slots=True)
class Folded:
    """Loans settled more than 90 days ago, as counts and sums in base minor units; exact, so folding moves no score."""

    counts: list[int] = field(default_factory=lambda: [0] * 5)
    gross_margin: int = 0
    base: int = 0
    order_amount: int = 0
    cost: int = 0
    promo: int = 0
    latest_due_day: int = 0
    first_order_day: int = 0
    first_due_day: int = 0
    first_loan_id: bytes = b""
    first_defaulted: bool = False
    point_order_ms: int = 0
    point_loan_id: bytes = b""
    point: int = 0

    @property
    def loans(self) -> int:
        """How many loans have been folded."""
        return sum(self.counts)


@dataclass(slots=True)
class ClosedLoan:
    """A loan that has left the row: settled long ago and folded into the sums, or cancelled."""

    id_hash: int
    order_day: int
    cancelled: bool = False


@dataclass(slots=True)
class Seen:
    """One event lately taken, so that the same event published again changes nothing."""

    event_hash: int
    content_hash: int
    clock_ms: int


@dataclass(slots=True)
class Pending:
    """Inputs and forecast of an example day, kept until its label is known 30 days later."""

    day: int
    features: list[int]
    forecast: float


@dataclass(slots=True)
class Override:
    """A score held at a value by a person until it expires or is lifted."""

    score: int
    value: float
    until_ms: int
    author: bytes


@dataclass(slots=True)
class Row:
    """Everything known of one customer. A row without `incarnation` is only the marker of an erasure."""

    incarnation_rank: int = 0
    incarnation_offset: int = -1
    clock_ms: int = 0
    last_timestamp_ms: int = 0
    last_rank: int = 0
    taken: int = 0
    due_ms: int | None = None
    first_event_ms: int = 0
    last_event_ms: int = 0
    events: int = 0
    last_transaction_day: int | None = None
    created_day: int | None = None
    web: bool = False
    deposits_minor: int = 0
    withdrawals_minor: int = 0
    transactions: int = 0
    failed: int = 0
    duplicates: int = 0
    conflicts: int = 0  # of rows written before EVENT_ID_REUSED: it counts no further
    overruns: int = 0
    inversions: int = 0
    erased_ms: int | None = None
    consistency: float = 0.5
    labels: int = 0
    days: list[Day] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    points: list[tuple[bytes, bytes]] = field(default_factory=list)  # (point, province)
    loans: list[Loan] = field(default_factory=list)
    folded: Folded | None = None
    seen: list[Seen] = field(default_factory=list)
    sequences: list[int] = field(default_factory=lambda: [0] * SCORES)
    emitted: list[float] = field(default_factory=lambda: list(NO_SCORES))
    emitted_counts: list[int] = field(default_factory=lambda: [0] * 5)
    status_level: int = -1  # 0 low, 1 average, 2 high, -1 none
    revenue_level: int = -1
    recency_digit: int = -1  # 0..4: the published digit less one
    frequency_digit: int = -1
    monetary_digit: int = -1
    pending: Pending | None = None
    overrides: list[Override] = field(default_factory=list)
    declared: list[float] | None = None
    declared_time_ms: int = 0
    spending: list[Spending] = field(default_factory=list)  # by category, all spending first
    profiles: list[ProfileMark] = field(default_factory=list)  # by key
    closed: list[ClosedLoan] = field(default_factory=list)  # by order day, then hash
    closed_until_day: int | None = None  # closed loans ordered up to this day may have been forgotten

    @property
    def exists(self) -> bool:
        """False for a row that is only the marker of an erasure."""
        return self.incarnation_offset >= 0
