"""All scores of one row at one moment, in plain Python: the readable twin of `streams.scoring.compiled.evaluate`.

Pure: it looks at a row as it would stand at `moment_ms` if nothing happened until then, so that the same function
scores an event, a turn of the day, and the days ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from schemas.batch import DECLARED, FEATURE_SLOTS, Columns
from schemas.kinds import NO_SCORES, SCORES, Score
from state.calendar import day_of
from state.loans import cost_minor, fill_states, share_minor, state_of_days_past_due
from state.row import Row
from state.versions import Policy, Versions, Weights
from streams.scoring.customer_risk import (
    RISK_FEATURES,
    RISK_LEVELS,
    RISK_PLACES,
    Behaviour,
    RiskModel,
    band_confidence,
    credit_score,
    late_floor,
    risk_inputs,
    risk_reasons,
    risk_sums,
    tempered_logit,
)
from streams.scoring.models.risk import RISK_MANIFEST
from streams.scoring.profiles import confidence_of_spending, held_profiles, profiles_on
from streams.scoring.revenue import REVENUE_LEVELS, revenue_of_sums
from streams.scoring.segments import activity_segment, class_of, digit, rfm_of
from streams.scoring.status import STATUS_LEVELS, status_of_counts, status_reasons
from streams.scoring.tables import model_of, profile_table, risk_model_of
from streams.scoring.value import (
    AGE_EDGES,
    AGE_UNKNOWN,
    RECENCY_EDGES,
    TERMS,
    VALUE_LEVELS,
    ValueModel,
    bent_balance,
    bin_of,
    forecast_of,
    log_of_amount,
    log_of_count,
    value_of,
)


@dataclass(slots=True)
class Evaluation:
    """What every score of a row is at one moment, and the parts that explain it. NaN or 0: the customer has none."""

    day: int
    weights_version: int
    policy_version: int
    risk_version: int
    book_version: int = -1
    scores: list[float] = field(default_factory=lambda: list(NO_SCORES))
    bases: list[float] = field(default_factory=lambda: [math.nan] * SCORES)
    value_levels: list[float] = field(default_factory=lambda: [0.0] * VALUE_LEVELS)
    status_levels: list[float] = field(default_factory=lambda: [0.0] * STATUS_LEVELS)
    revenue_levels: list[float] = field(default_factory=lambda: [0.0] * REVENUE_LEVELS)
    risk_levels: list[float] = field(default_factory=lambda: [0.0] * RISK_LEVELS)
    digits: tuple[int, int, int, int, int] = (-1, -1, -1, -1, -1)
    counts: list[int] = field(default_factory=lambda: [0] * 5)
    confidence: list[float] = field(default_factory=lambda: [math.nan] * SCORES)
    days_past_due: int = -1  # as `customer_risk.late_floor` gives it; -1 without a loan
    forecast: float = math.nan
    efficiency: float = math.nan
    discipline: float = math.nan
    point: bytes = b""
    open_loans: int = 0
    first_payment_default: int = -1

    @property
    def segment(self) -> int:
        """The activity segment as a code."""
        return int(self.scores[Score.SEGMENT])


def evaluate(row: Row, moment_ms: int, versions: Versions, in_force_ms: int) -> Evaluation:
    """Score the row as it stands at `moment_ms`, with the versions in force at `in_force_ms`."""
    weights_version = versions.weights_index_at(in_force_ms)
    policy_version = versions.policy_index_at(in_force_ms)
    risk_version = versions.risk_index_at(in_force_ms)
    weights, policy = versions.weights[weights_version], versions.policies[policy_version]
    book_version = versions.book_index_at(in_force_ms)
    seen = Evaluation(day_of(versions.days, moment_ms), weights_version, policy_version, risk_version, book_version)
    if row.last_transaction_day is not None:
        _evaluate_value(seen, row, model_of(versions, weights_version, policy_version))
    latest_due_day = _evaluate_loans(seen, row, policy)
    _evaluate_digits(seen, row, latest_due_day, weights, policy)
    if row.declared is not None and risk_version >= 0:
        _evaluate_risk(seen, row, risk_model_of(versions, risk_version), policy)
    if book_version >= 0 and (row.spending or row.profiles):
        _evaluate_profiles(seen, row, profile_table(versions)[1][book_version], policy)
    return seen


def _evaluate_profiles(seen: Evaluation, row: Row, profiles: Columns, policy: Policy) -> None:
    """Who spends where that tells something has profiles, or has left them."""
    places, marks = places_of(row), marks_of(row)
    rule = (policy.profile_enter, policy.profile_leave, policy.profile_dwell_days)
    held = profiles_on(places, len(places), marks, len(marks), profiles, seen.day, *rule)
    seen.scores[Score.PROFILES] = float(held)
    seen.confidence[Score.PROFILES] = float(confidence_of_spending(places, len(places), seen.day))


def places_of(row: Row) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """What a customer spends on, as `streams.scoring.profiles` reads it."""
    rows = [(place.category, place.day, place.amount_minor, place.purchases) for place in row.spending]
    return np.array(rows, np.int64).reshape(len(rows), 4)


def marks_of(row: Row) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The marks of a customer's profiles, likewise."""
    rows = [(mark.key, mark.since_day, mark.held) for mark in row.profiles]
    return np.array(rows, np.int64).reshape(len(rows), 3)


def held_by_marks(row: Row, versions: Versions) -> float:
    """The code of `profiles` that was last emitted: rows keep it as marks."""
    if not versions.books:
        return 0.0
    return float(held_profiles(marks_of(row), len(row.profiles), profile_table(versions)[1][0]))


def _evaluate_risk(seen: Evaluation, row: Row, model: RiskModel, policy: Policy) -> None:
    """Who has declared something has a risk score."""
    inputs, levels = risk_inputs_of(row, seen), np.zeros(RISK_LEVELS)
    at, share = np.zeros(RISK_PLACES, np.int64), np.zeros(RISK_PLACES)
    total, variance = risk_sums(inputs, model, at, share)
    seen.scores[Score.RISK] = float(credit_score(tempered_logit(total, variance)))
    seen.bases[Score.RISK] = float(risk_reasons(inputs, model, at, share, levels))
    seen.confidence[Score.RISK] = float(band_confidence(total, variance, np.array(policy.risk_band_floors)))
    seen.risk_levels = [float(level) for level in levels]


def risk_inputs_of(row: Row, seen: Evaluation) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The features of the risk model (RISK_FEATURES,) for a row that was looked at."""
    deposits, withdrawals, _, _ = window_sums(row, seen.day, 90)
    behaviour = Behaviour(
        row.last_transaction_day is not None,
        deposits,
        withdrawals,
        sum(account.balance_minor for account in row.accounts),
        window_sums(row, seen.day, 30)[3],
        sum(entry.transactions > 0 for entry in row.days if seen.day - 30 < entry.day <= seen.day),
        seen.scores[Score.STATUS],
        seen.days_past_due,
    )
    inputs = np.zeros(RISK_FEATURES)
    risk_inputs(np.array(row.declared or [math.nan] * len(DECLARED)), behaviour, inputs)
    return inputs


def risk_row_of(row: Row, moment_ms: int, versions: Versions) -> dict[str, float]:
    """The features of the risk model that a row has at a moment, by name; what is absent is left out. About 0.2 ms."""
    policy_version = versions.policy_index_at(moment_ms)
    seen = Evaluation(day_of(versions.days, moment_ms), 0, policy_version, -1)
    _evaluate_loans(seen, row, versions.policies[policy_version])
    inputs = risk_inputs_of(row, seen).tolist()
    return {name: x for name, x in zip(RISK_MANIFEST.names, inputs, strict=True) if math.isfinite(x)}


def featured_forecast(row: Row, day: int, model: ValueModel) -> tuple[list[float], float]:
    """Inputs and forecast of the value model on a day."""
    features = features_of(row, day)
    return [float(x) for x in features], float(forecast_of(features, model, np.zeros(TERMS)))


def features_of(row: Row, day: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The inputs of the value model on a day (FEATURE_SLOTS,)."""
    features = np.zeros(FEATURE_SLOTS)
    for i, window in enumerate((7, 30, 90, 365)):
        deposits, withdrawals, transactions, _ = window_sums(row, day, window)
        features[i] = log_of_amount(deposits)
        features[4 + i] = log_of_amount(withdrawals)
        features[8 + i] = log_of_count(transactions)
    features[12] = log_of_count(window_sums(row, day, 30)[3])
    features[13] = sum(entry.transactions > 0 for entry in row.days if day - 30 < entry.day <= day)
    features[14] = bent_balance(sum(account.balance_minor for account in row.accounts))
    active = [entry.day for entry in row.days if entry.transactions > 0 and entry.day > day - 365]
    features[15] = bin_of(RECENCY_EDGES, day - active[-1] if active else 365)
    features[16] = AGE_UNKNOWN if row.created_day is None else bin_of(AGE_EDGES, day - row.created_day)
    features[17] = row.web
    recent = [account for account in row.accounts if account.last_day is not None and account.last_day > day - 90]
    features[18] = len(recent) > 1
    return features


def window_sums(row: Row, day: int, window_days: int) -> tuple[int, int, int, int]:
    """Deposits, withdrawals, transactions and failed attempts of today and the days before it, `window_days` in all."""
    held = [entry for entry in row.days if day - window_days < entry.day <= day]
    return (
        sum(entry.deposits_minor for entry in held),
        sum(entry.withdrawals_minor for entry in held),
        sum(entry.transactions for entry in held),
        sum(entry.failed for entry in held),
    )


def _evaluate_value(seen: Evaluation, row: Row, model: ValueModel) -> None:
    levels = np.zeros(VALUE_LEVELS)
    features = features_of(row, seen.day)
    score, base, forecast = value_of(features, row.consistency, model, np.zeros(TERMS), levels)
    seen.scores[Score.VALUE], seen.bases[Score.VALUE], seen.forecast = float(score), float(base), float(forecast)
    seen.value_levels = [float(level) for level in levels]
    seen.confidence[Score.VALUE] = row.labels / (row.labels + 5.0)


def _evaluate_loans(seen: Evaluation, row: Row, policy: Policy) -> int | None:
    """Status, revenue and segment; answers the latest due day, None without a loan."""
    loans = [loan for loan in row.loans if loan.order_ms >= policy.observation_from_ms]
    counts, sums = [0] * 5, [0] * 7  # margin, base, order, cost, unpaid, ongoing, promo
    dues, orders, points, firsts = [], [], [], []
    number, late = len(loans), [0]
    if row.folded is not None:
        folded = row.folded
        counts = list(folded.counts)
        sums = [folded.gross_margin, folded.base, folded.order_amount, folded.cost, 0, 0, folded.promo]
        number += folded.loans
        dues.append(folded.latest_due_day)
        orders.append(folded.first_order_day)
        points.append((folded.point_order_ms, folded.point_loan_id, folded.point))
        firsts.append((folded.first_due_day, folded.first_loan_id, folded.first_defaulted))
    for loan in loans:
        filled, settled = fill_states(loan.order_amount, loan.paid)
        late_days = seen.day - loan.due_day
        dues.append(loan.due_day)
        orders.append(loan.order_day)
        points.append((loan.order_ms, loan.loan_id, loan.point))
        firsts.append((loan.due_day, loan.loan_id, filled[0] < loan.order_amount))
        seen.open_loans += settled < 0
        late.append(late_days if settled < 0 else 0)
        if settled < 0 and late_days < policy.count_unpaid_from_day:
            continue  # it says nothing yet
        state = settled if settled >= 0 else state_of_days_past_due(late_days)
        counts[state] += 1
        rest = loan.order_amount - sum(filled)
        gross = loan.base_gross_margin
        parts = (
            gross,
            max(gross, 0),
            loan.base_order_amount,
            cost_minor(gross, loan.order_amount, filled, policy.cost_rates),
            share_minor(gross, loan.order_amount, rest, 1.0),
            share_minor(gross, loan.order_amount, rest, policy.cost_rates[state]),
            max(loan.base_promo, 0),
        )
        sums = [total + part for total, part in zip(sums, parts, strict=True)]
    seen.counts = counts
    total = sum(counts)
    if total > 0:
        levels = np.zeros(STATUS_LEVELS)
        n0, n1, n2, n3, n4 = counts
        seen.scores[Score.STATUS] = float(status_of_counts(n0, n1, n2, n3, n4))
        seen.bases[Score.STATUS] = float(status_reasons(n0, n1, n2, n3, n4, levels))
        seen.status_levels = [float(level) for level in levels]
    if sums[1] > 0:
        levels = np.zeros(REVENUE_LEVELS)
        margin, earned, order, cost, unpaid, ongoing, promo = (float(total) for total in sums)
        revenue, efficiency, discipline, base = revenue_of_sums(
            margin, earned, order, cost, unpaid, ongoing, promo * (policy.promo_rate / 0.5), levels
        )
        seen.scores[Score.REVENUE], seen.bases[Score.REVENUE] = float(revenue), float(base)
        seen.efficiency, seen.discipline = float(efficiency), float(discipline)
        seen.revenue_levels = [float(level) for level in levels]
    for score in (Score.STATUS, Score.REVENUE, Score.CLASS, Score.RFM):
        seen.confidence[score] = total / (total + 5.0)
    seen.confidence[Score.SEGMENT] = 1.0
    since_first = seen.day - min(orders) if orders else 0
    seen.scores[Score.SEGMENT] = float(
        activity_segment(
            number, since_first, policy.new_segment_days, policy.high_segment_loans, policy.very_high_segment_loans
        )
    )
    seen.days_past_due = int(late_floor(max(late))) if number else -1
    if points:
        seen.point = row.points[max(points)[2]][0]
    if firsts and min(firsts)[0] < seen.day:
        seen.first_payment_default = int(min(firsts)[2])
    return max(dues, default=None)


def _evaluate_digits(seen: Evaluation, row: Row, latest_due_day: int | None, weights: Weights, policy: Policy) -> None:
    """Class and RFM: relative to the population, moving only once past a cut by its margin."""
    status, revenue = seen.scores[Score.STATUS], seen.scores[Score.REVENUE]
    status_level = revenue_level = recency = frequency = monetary = -1
    if not math.isnan(status):
        status_level = digit(status, weights.status_terciles, row.status_level, policy.status_margin)
        frequency = digit(status, weights.status_quintiles, row.frequency_digit, policy.status_margin)
    if not math.isnan(revenue):
        revenue_level = digit(revenue, weights.revenue_terciles, row.revenue_level, policy.revenue_margin)
        monetary = digit(revenue, weights.revenue_quintiles, row.monetary_digit, policy.revenue_margin)
    if latest_due_day is not None:
        age = float(-(seen.day - latest_due_day))
        recency = digit(age, weights.recency_quintiles, row.recency_digit, policy.recency_margin_days)
    seen.digits = (int(status_level), int(revenue_level), int(recency), int(frequency), int(monetary))
    seen.scores[Score.CLASS] = float(class_of(status_level, revenue_level))
    seen.scores[Score.RFM] = float(rfm_of(recency, frequency, monetary))
