"""What is in force when: exchange rates, model weights with their percentile tables, policy. Immutable values.

Rates, weights and policy reach every worker as broadcast records keyed by (name, effective_at). A version applies to a
user from the moment the user's clock reaches its `effective_ms`; of one name the latest effective version counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import BEGINNING_MS
from schemas.zones import Zone, zone_of
from state.calendar import day_starts
from state.category_text import TextTable, TextWeights
from state.profiles import ProfileBook

_EPOCH_DAY = date(1970, 1, 1).toordinal()


def pack_currency(code: str) -> int:
    """Three upper-case letters in 24 bits, as the columns hold a currency.

    >>> hex(pack_currency("EUR")), unpack_currency(pack_currency("EUR"))
    ('0x455552', 'EUR')
    """
    if len(code) != 3 or not code.isascii() or not code.isalpha() or not code.isupper():
        raise ValueError(f"currency {code!r} is not three upper-case letters (ISO 4217)")
    return int.from_bytes(code.encode("ascii"), "big")


def unpack_currency(packed: int) -> str:
    """The letters of a packed currency."""
    return int(packed).to_bytes(3, "big").decode("ascii")


class Rate(NamedTuple):
    """One unit of `currency` is `rate` units of the base currency from `effective_ms` on."""

    currency: int  # packed
    effective_ms: int
    rate: float


class RateTable(NamedTuple):
    """All rates as columns, sorted by (currency, effective_ms), as the kernel reads them."""

    base_currency: int
    currency: NDArray[np.int64]
    effective_ms: NDArray[np.int64]
    rate: NDArray[np.float64]

    @classmethod
    def of(cls, base_currency: str, rates: Sequence[Rate]) -> RateTable:
        """The table of these rates against a base currency."""
        ordered = sorted(rates, key=lambda rate: rate[:2])  # of two at one time the one published later counts
        return cls(
            pack_currency(base_currency),
            np.array([rate.currency for rate in ordered], np.int64),
            np.array([rate.effective_ms for rate in ordered], np.int64),
            np.array([rate.rate for rate in ordered], np.float64),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Every threshold, horizon and step that is a decision and not a formula. All defaults are scores.md's."""

    version: str = "policy-1"
    effective_ms: int = BEGINNING_MS
    formula: str = "formula-1"
    base_currency: str = "EUR"
    time_zone: str = "UTC"
    observation_from_ms: int = BEGINNING_MS
    cancel_after_due: bool = False
    look_ahead_candidates: int = 8
    duplicate_horizon_ms: int = 24 * 3_600_000
    duplicates_max: int = 256
    future_tolerance_ms: int = 300_000
    value_weight: float = 0.7
    value_step: float = 0.05
    status_step: float = 0.001
    revenue_step: float = 0.005
    risk_step: float = 0.01
    status_margin: float = 0.02
    revenue_margin: float = 0.01
    recency_margin_days: float = 1.0
    value_band_floors: tuple[float, float, float] = (2.0, 3.0, 4.0)
    risk_band_floors: tuple[float, float] = (0.10, 0.30)  # probability of default
    cost_rates: tuple[float, float, float, float, float] = (0.0, 0.05, 0.10, 0.15, 0.20)
    promo_rate: float = 0.5
    new_segment_days: int = 90
    high_segment_loans: int = 20
    very_high_segment_loans: int = 50
    fold_loan_after_days: int = 90
    label_days: int = 30
    example_activity_days: int = 395
    profile_enter: float = 0.60  # strength from which on a profile holds
    profile_leave: float = 0.45  # strength below which it holds no longer
    profile_dwell_days: int = 7  # no sooner than that after it was entered or left
    dates_from: str = "1981-01-01"  # an earlier date of an event is a value that nobody filled in
    payment_days_before_order: int = 366  # a payment dated further before its loan's order is no payment of it
    count_unpaid_from_day: int = 1  # day past due from which on an unpaid loan counts in status and revenue: 1 or 31

    @property
    def dates_from_day(self) -> int:
        """`dates_from` as a day.

        >>> Policy(dates_from="1970-01-02").dates_from_day
        1
        """
        return date.fromisoformat(self.dates_from).toordinal() - _EPOCH_DAY


@dataclass(frozen=True)
class Weights:
    """One version of the value model and of the population tables it is read against.

    `beta` (D,) maps the basis phi to yhat = ln(1 + Y / 100 base units); `knots` (15, 6) are the hat functions' knots.
    `forecasts` and `consistencies` are the population sample re-scored with these weights, sorted. The cuts are
    status and revenue terciles, and the quintiles of recency (negated days), status and revenue.
    """

    version: str
    effective_ms: int
    beta: NDArray[np.float64]
    knots: NDArray[np.float64]
    phi_mean: NDArray[np.float64]
    consistency_median: float
    forecasts: NDArray[np.float64]
    consistencies: NDArray[np.float64]
    status_terciles: NDArray[np.float64]
    revenue_terciles: NDArray[np.float64]
    recency_quintiles: NDArray[np.float64]
    status_quintiles: NDArray[np.float64]
    revenue_quintiles: NDArray[np.float64]
    rescore: bool = False  # everyone is scored again at `effective_ms`, not only whoever has an event


@dataclass(frozen=True)
class RiskWeights:
    """One version of the credit risk model: an additive model of the log-odds of default
    (`streams.scoring.models.risk`).

    `knots` (F, most knots) are padded with the last one; `mean` (D,) and `covariance` (D, D) are the weights' Gaussian;
    `phi_mean` (D,) is the basis of the population's mean customer, against whom reasons are told.
    """

    version: str
    effective_ms: int
    knots: NDArray[np.float64]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    phi_mean: NDArray[np.float64]


@dataclass(frozen=True)
class Versions:
    """Everything in force at any moment a step may ask for. Build a new one when a broadcast record arrives."""

    policies: Sequence[Policy]
    weights: Sequence[Weights]
    rates: Sequence[Rate] = field(default_factory=tuple)
    risk: Sequence[RiskWeights] = field(default_factory=tuple)  # none: nobody has a risk score
    books: Sequence[ProfileBook] = field(default_factory=tuple)  # none: nobody has a profile
    texts: Sequence[TextWeights] = field(default_factory=tuple)  # none: categories come from merchants' codes alone
    memo: dict[object, Any] = field(default_factory=dict, repr=False, compare=False)
    """What others derive from these versions once and keep with them."""

    @cached_property
    def days(self) -> NDArray[np.int64]:
        """The calendar of the policy's time zone, which is fixed for the life of the state."""
        return day_starts(self.policies[0].time_zone)

    @cached_property
    def zone(self) -> Zone:
        """The policy's time zone, in which events' times without one are read; fixed for the life of the state."""
        return zone_of(self.policies[0].time_zone)

    @cached_property
    def rescores(self) -> tuple[int, ...]:
        """The moments at which everyone is scored again, ascending."""
        return tuple(weights.effective_ms for weights in self.weights[1:] if weights.rescore)

    @cached_property
    def rate_table(self) -> RateTable:
        """The rates as columns."""
        return RateTable.of(self.policies[0].base_currency, self.rates)

    @cached_property
    def text_table(self) -> TextTable:
        """The text models as columns."""
        return TextTable.of(self.texts)

    @cached_property
    def profile_ids(self) -> tuple[str, ...]:
        """The names of all profiles there are or were; the bits of the score `profiles` are in this order."""
        return tuple(sorted({profile.profile_id for book in self.books for profile in book.profiles}))

    def book_index_at(self, moment_ms: int) -> int:
        """Index of the profiles in force, -1 where there are none."""
        return max((i for i, book in enumerate(self.books) if book.effective_ms <= moment_ms), default=-1)

    def policy_index_at(self, moment_ms: int) -> int:
        """Index of the policy in force."""
        return max(i for i, policy in enumerate(self.policies) if policy.effective_ms <= moment_ms)

    def weights_index_at(self, moment_ms: int) -> int:
        """Index of the weights in force."""
        return max(i for i, weights in enumerate(self.weights) if weights.effective_ms <= moment_ms)

    def risk_index_at(self, moment_ms: int) -> int:
        """Index of the risk model in force, -1 where there is none."""
        return max((i for i, risk in enumerate(self.risk) if risk.effective_ms <= moment_ms), default=-1)

    def policy_at(self, moment_ms: int) -> Policy:
        """The policy in force."""
        return self.policies[self.policy_index_at(moment_ms)]
