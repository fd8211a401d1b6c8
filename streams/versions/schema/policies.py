"""Schemas of the policy, of the learning policy, and of decisions about models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas.batch import BEGINNING_MS, DAY_MS
from streams.versions.schema.base import (
    WHOLE,
    Body,
    Days,
    Moment,
    Share,
    Text,
    UnknownFormula,
    ascending,
    shown,
)

FORMULAS = ("formula-1",)
"""The formula versions this program knows."""

FORMULA = r"formula-[0-9]{1,4}"
EPOCH_MS_MIN = 1_000

Step = Annotated[float, Field(ge=1e-6, le=1.0)]
"""The least move of a score that is published."""
Loans = Annotated[int, Field(ge=1, le=1_000_000), WHOLE]


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _known_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError(f"is {shown(name)}; it must be a name of the IANA time zone database, such as Europe/Prague")
    return name


def _currency(code: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", code):
        raise ValueError(f"is {shown(code)}; it must be three upper-case letters (ISO 4217)")
    return code


Currency = Annotated[str, AfterValidator(_currency)]


def _first_date(text: str) -> str:
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(f"is {shown(text)}; it must be a date such as 1981-01-01")
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"is {shown(text)}, a day that does not exist") from error
    if not FIRST_DATE <= day <= LAST_DATE:
        raise ValueError(f"is {shown(text)}; it must be between {FIRST_DATE} and {LAST_DATE}")
    return text


def _first_late_day(day: int) -> int:
    if day not in COUNT_UNPAID_FROM:
        raise ValueError(f"is {day}; it must be 1 or 31")
    return day


COUNT_UNPAID_FROM = (1, 31)
"""Days past due from which on an unpaid loan may count: the first of bdr_30, or of bdr_30_plus."""
FIRST_DATE, LAST_DATE = date(1900, 1, 1), date(2200, 1, 1)


class PolicyBody(Body):
    """Every field is optional; one that is absent has the default of `state.versions.Policy`."""

    formula: Annotated[str, Field(pattern=f"^{FORMULA}$")] = Field(
        "formula-1", description="version of the formulas; a worker that does not know it stops"
    )
    base_currency: Currency = Field("EUR", description="fixed for the life of the state")
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        "UTC", description="days begin in it, and times without a zone are read in it; fixed for the life of the state"
    )
    observation_from_ms: Moment = Field(BEGINNING_MS, description="loans ordered earlier do not count")
    cancel_after_due: bool = Field(False, description="whether a loan may be cancelled after its due date")
    look_ahead_candidates: Annotated[int, Field(ge=1, le=64), WHOLE] = Field(
        8, description="moments a customer's next check is looked for"
    )
    duplicate_horizon_ms: Annotated[int, Field(ge=0, le=366 * DAY_MS), WHOLE] = Field(
        DAY_MS, description="how long an event_id is remembered"
    )
    duplicates_max: Annotated[int, Field(ge=1, le=4_096), WHOLE] = Field(
        256, description="event_ids remembered of one customer"
    )
    future_tolerance_ms: Annotated[int, Field(ge=0, le=DAY_MS), WHOLE] = Field(
        300_000, description="how far an event may lie ahead of its record"
    )
    value_weight: Share = Field(0.7, description="of the forecast's percentile in value; the rest is consistency's")
    value_step: Step = Field(0.05, description="least move of value that is published")
    status_step: Step = Field(0.001, description="least move of status that is published")
    revenue_step: Step = Field(0.005, description="least move of revenue that is published")
    risk_step: Step = Field(0.01, description="least move of risk that is published")
    status_margin: Annotated[float, Field(ge=0.0, le=4.0)] = Field(
        0.02, description="how far past a cut status must be to change a digit"
    )
    revenue_margin: Annotated[float, Field(ge=0.0, le=2.0)] = Field(0.01, description="likewise of revenue")
    recency_margin_days: Annotated[float, Field(ge=0.0, le=3_650.0)] = Field(1.0, description="likewise of recency")
    value_band_floors: Annotated[list[Annotated[float, Field(ge=1.0, le=5.0)]], Field(min_length=3, max_length=3)] = (
        Field([2.0, 3.0, 4.0], description="value from which on it is medium, high, top; ascending")
    )
    risk_band_floors: Annotated[
        list[Annotated[float, Field(ge=1e-6, le=1.0 - 1e-6)]], Field(min_length=2, max_length=2)
    ] = Field([0.10, 0.30], description="probability of default from which on risk is medium, high; ascending")
    cost_rates: Annotated[list[Share], Field(min_length=5, max_length=5)] = Field(
        [0.0, 0.05, 0.10, 0.15, 0.20], description="cost of a late loan by its state, as shares of the margin"
    )
    promo_rate: Share = Field(0.5, description="share of a promotion that counts against the margin")
    new_segment_days: Days = Field(90, description="days from the first order on which a customer is new")
    high_segment_loans: Loans = Field(20, description="loans from which on a customer is in segment high")
    very_high_segment_loans: Loans = Field(50, description="likewise very_high; not below high_segment_loans")
    fold_loan_after_days: Annotated[int, Field(ge=0, le=3_650), WHOLE] = Field(
        90, description="days after which a settled loan is folded into sums"
    )
    dates_from: Annotated[str, Field(max_length=10), AfterValidator(_first_date)] = Field(
        "1981-01-01", description="an event with an earlier date is a dead letter: nobody filled that date in"
    )
    payment_days_before_order: Annotated[int, Field(ge=0, le=36_500), WHOLE] = Field(
        366, description="most days a payment may be dated before its loan's order"
    )
    count_unpaid_from_day: Annotated[int, Field(ge=1, le=31), WHOLE, AfterValidator(_first_late_day)] = Field(
        1, description="1 or 31: day past due from which on an unpaid loan counts in status and revenue"
    )
    label_days: Annotated[int, Field(ge=1, le=365), WHOLE] = Field(
        30, description="days of a training label; fixed for the life of the state"
    )
    example_activity_days: Annotated[int, Field(ge=1, le=3_650), WHOLE] = Field(
        395, description="a customer silent for longer teaches nothing"
    )
    profile_enter: Share = Field(0.60, description="strength from which on a profile holds")
    profile_leave: Share = Field(0.45, description="strength below which it ends; not above profile_enter")
    profile_dwell_days: Annotated[int, Field(ge=0, le=3_650), WHOLE] = Field(
        7, description="least days between entering and leaving a profile"
    )

    @field_validator("value_band_floors", "risk_band_floors")
    @classmethod
    def _ascending(cls, floors: list[float]) -> list[float]:
        if not ascending(floors, strictly=True):
            raise ValueError("must be ascending")
        return floors

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.profile_leave > self.profile_enter:
            raise ValueError("profile_leave must not be above profile_enter")
        if self.high_segment_loans > self.very_high_segment_loans:
            raise ValueError("high_segment_loans must not be above very_high_segment_loans")
        return self


def refuse_unknown_formula(fields: Mapping[str, Any], version: str) -> None:
    """Raise UnknownFormula for a newer release's policy, whatever else it says.

    To be asked before the schema: that release may have other fields too, which are no mistakes.
    """
    formula = fields.get("formula")
    if isinstance(formula, str) and re.fullmatch(FORMULA, formula) and formula not in FORMULAS:
        raise UnknownFormula(
            f"policy {version} asks for {formula}; this program knows {', '.join(FORMULAS)}: upgrade it first"
        )


Count = Annotated[int, Field(ge=1, le=1_000_000_000), WHOLE]
LearningDays = Annotated[int, Field(ge=0, le=3_650), WHOLE]


class LearningBody(Body):
    """Every field is optional; one that is absent has the default of `streams.learning.epochs.LearningPolicy`."""

    epoch_ms: Annotated[int, Field(ge=0, le=366 * DAY_MS), WHOLE] = Field(
        0, description="an epoch ends at each multiple; 0: nothing is learned, else at least 1,000"
    )
    adopt: Literal["daily", "each_epoch"] = Field("daily", description="when new weights come into force")
    rescore_everyone: bool = Field(True, description="everyone is scored again then, or each at the next event")
    examples_min: Annotated[int, Field(ge=0, le=1_000_000_000), WHOLE] = Field(
        200, description="examples before weights replace the packaged ones"
    )
    sample_max: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] = Field(
        100_000, description="customers whose scores make the percentile tables"
    )
    sample_days: Days = Field(31, description="a customer silent for so long leaves the sample")
    borrower_days: Days = Field(365, description="likewise a borrower")
    table_points_max: Annotated[int, Field(ge=2, le=100_000), WHOLE] = Field(
        2_000, description="points of a published percentile table"
    )
    noise: Annotated[float, Field(ge=1e-3, le=25.0)] = Field(
        1.0, description="standard deviation of a label around its forecast, ln units"
    )
    residual_max: Annotated[float, Field(ge=1e-3, le=25.0)] = Field(
        5.0, description="no label moves a model by more than this error"
    )
    half_life_examples: Count = Field(5_000, description="of the model that forgets")
    error_half_life_examples: Count = Field(500, description="of the running errors")
    worse_ratio: Annotated[float, Field(ge=1.0, le=100.0)] = Field(
        1.1, description="an error larger by this ratio means: roll back"
    )
    drift_threshold: Annotated[float, Field(ge=1e-3, le=1e9)] = Field(
        40.0, description="Page-Hinkley sum that counts as drift"
    )
    quarantine_days: LearningDays = Field(7, description="days without adoption after a drift")
    request_days: Annotated[int, Field(ge=1, le=3_650), WHOLE] = Field(
        180, description="how long a request and an outcome wait for each other"
    )
    loan_days: Annotated[int, Field(ge=1, le=36_500), WHOLE] = Field(
        1_095, description="a loan due later than this is not waited for"
    )
    requests_max: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] = Field(
        250_000, description="cases of one model that are remembered"
    )
    envelope_days: LearningDays = Field(30, description="least days between two versions an envelope lets in")
    envelope_stability: Annotated[float, Field(ge=0.0, le=10.0)] = Field(0.10, description="most PSI of such a version")
    envelope_moves: Share = Field(0.05, description="most people in another band")
    texts_one_in: Annotated[int, Field(ge=0, le=1_000_000_000), WHOLE] = Field(
        128, description="one transaction in so many teaches the model that reads descriptions; 0: none"
    )
    text_days: LearningDays = Field(30, description="least days between two versions of that model")

    @field_validator("epoch_ms")
    @classmethod
    def _long_enough(cls, epoch_ms: int) -> int:
        if 0 < epoch_ms < EPOCH_MS_MIN:
            raise ValueError(f"is {epoch_ms}; it must be 0 or at least {EPOCH_MS_MIN:,}")
        return epoch_ms


class DecisionBody(Body):
    """What a person decided about a model. `version` is empty where the decision is about none."""

    decision: Literal["promote", "rollback", "freeze", "thaw", "envelope", "no_envelope"] = Field(
        description="what is to be done"
    )
    version: Annotated[Text, Field(max_length=200)] = Field("", description="the version it is about")
    card: Annotated[Text, Field(max_length=1_000)] = Field("", description="the model card that was approved")
