"""All scores of one row at one moment, compiled: what `streams.scoring.evaluate` says, over a scratch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FEATURE_SLOTS
from schemas.compiled import compiled
from state.compiled_fold import Fields, cost_minor, filled_part, settled_state, state_of_days_past_due
from state.compiled_row import (
    A_BALANCE,
    A_LAST_DAY,
    D_DAY,
    D_DEPOSITS,
    D_FAILED,
    D_TRANSACTIONS,
    D_WITHDRAWALS,
    F_CONSISTENCY,
    G_BASE,
    G_COST,
    G_FIRST_DEFAULTED,
    G_FIRST_DUE,
    G_FIRST_ID_AT,
    G_FIRST_ID_LENGTH,
    G_FIRST_ORDER,
    G_LATEST_DUE,
    G_MARGIN,
    G_ORDER,
    G_POINT,
    G_POINT_ID_AT,
    G_POINT_ID_LENGTH,
    G_POINT_ORDER_MS,
    G_PROMO,
    H_ACCOUNTS,
    H_CREATED_DAY,
    H_DAYS,
    H_FOLDED,
    H_FREQUENCY_DIGIT,
    H_HAS_FOLDED,
    H_LABELS,
    H_LAST_TRANSACTION_DAY,
    H_LOANS,
    H_MONETARY_DIGIT,
    H_RECENCY_DIGIT,
    H_REVENUE_LEVEL,
    H_STATUS_LEVEL,
    H_WEB,
    L_BASE_MARGIN,
    L_BASE_ORDER,
    L_BASE_PROMO,
    L_DUE,
    L_ID_AT,
    L_ID_LENGTH,
    L_ORDER,
    L_ORDER_DAY,
    L_ORDER_MS,
    L_POINT,
    NO_DAY,
    Scratch,
    text_before,
)
from streams.scoring.revenue import REVENUE_LEVELS, revenue_of_sums
from streams.scoring.segments import activity_segment, class_of, digit, rfm_of
from streams.scoring.status import STATUS_LEVELS, status_of_counts, status_reasons
from streams.scoring.tables import Tables, value_model
from streams.scoring.value import (
    AGE_EDGES,
    AGE_UNKNOWN,
    RECENCY_EDGES,
    VALUE_LEVELS,
    bent_balance,
    bin_of,
    log_of_amount,
    log_of_count,
    value_of,
)

STATUS_AT = VALUE_LEVELS
REVENUE_AT = STATUS_AT + STATUS_LEVELS
LEVELS = REVENUE_AT + REVENUE_LEVELS

(W_DAY, W_WEIGHTS, W_POLICY, W_POINT, W_OPEN_LOANS, W_FIRST_DEFAULT, W_COUNTED) = range(7)
N_FORECAST, N_EFFICIENCY, N_DISCIPLINE = range(3)


SEEN = np.dtype(
    [
        ("scores", np.float64, (6,)),
        ("bases", np.float64, (3,)),
        ("levels", np.float64, (LEVELS,)),  # value, status, revenue, one behind the other
        ("confidence", np.float64, (6,)),
        ("digits", np.int64, (5,)),
        ("counts", np.int64, (5,)),
        ("whole", np.int64, (7,)),  # W_...
        ("numbers", np.float64, (3,)),  # N_...
        ("features", np.float64, (FEATURE_SLOTS,)),
        ("terms", np.float64, (FEATURE_SLOTS,)),
    ]
)
"""An evaluation as one record: `streams.scoring.evaluate.Evaluation`, reused from moment to moment."""

Seen = Any
"""A record of SEEN."""


@compiled
def share_minor(gross_margin: int, order_amount: int, unpaid: int, rate: float) -> int:
    """See `state.loans.share_minor`."""
    return np.int64(np.rint(rate * (float(max(gross_margin, 0)) * (float(unpaid) / float(order_amount)))))


@compiled
def evaluate(seen: Seen, row: Scratch, day: int, tables: Tables, w: int, p: int) -> None:
    """Score the row as it stands on `day`, with version `w` of the weights and `p` of the policy, and say why."""
    evaluate_scores(seen, row, day, tables, w, p)
    if not math.isnan(seen.scores[1]):
        counts = seen.counts
        levels = seen.levels[STATUS_AT:REVENUE_AT]
        seen.bases[1] = status_reasons(counts[0], counts[1], counts[2], counts[3], counts[4], levels)


@compiled
def evaluate_scores(seen: Seen, row: Scratch, day: int, tables: Tables, w: int, p: int) -> None:
    """The same without the reasons of the status, which cost as much as all else: to look ahead, scores are enough."""
    weights, policy = tables.weights[w], tables.policies[p]
    seen.scores[:3] = math.nan
    seen.scores[3:] = 0.0
    seen.bases[:] = math.nan
    seen.confidence[:] = math.nan
    seen.numbers[:] = math.nan
    seen.levels[:] = 0.0
    seen.whole[W_DAY], seen.whole[W_WEIGHTS], seen.whole[W_POLICY] = day, w, p
    seen.whole[W_POINT] = -1
    if row.h[H_LAST_TRANSACTION_DAY] != NO_DAY:
        features_of(row, day, seen.features)
        model = value_model(weights, tables.samples, policy["value_weight"])
        score, base, forecast = value_of(
            seen.features, row.f[F_CONSISTENCY], model, seen.terms, seen.levels[:VALUE_LEVELS]
        )
        seen.scores[0], seen.bases[0], seen.numbers[N_FORECAST] = score, base, forecast
        seen.confidence[0] = row.h[H_LABELS] / (row.h[H_LABELS] + 5.0)
    latest_due = _evaluate_loans(seen, row, day, policy)
    _evaluate_digits(seen, row, latest_due, weights, policy)


@compiled
def features_of(row: Scratch, day: int, features: NDArray[np.float64]) -> None:
    """See `streams.scoring.evaluate.features_of`. One walk over the days, newest first."""
    h = row.h
    deposits = withdrawals = transactions = failed = active = 0
    recency = 365
    i = h[H_DAYS] - 1
    for w in range(4):
        window = 7 if w == 0 else 30 if w == 1 else 90 if w == 2 else 365
        while i >= 0 and row.days[i, D_DAY] > day - window:
            entry = row.days[i]
            deposits += entry[D_DEPOSITS]
            withdrawals += entry[D_WITHDRAWALS]
            transactions += entry[D_TRANSACTIONS]
            failed += entry[D_FAILED]
            if entry[D_TRANSACTIONS] > 0:
                active += 1
                recency = min(recency, day - entry[D_DAY])
            i -= 1
        features[w] = log_of_amount(deposits)
        features[4 + w] = log_of_amount(withdrawals)
        features[8 + w] = log_of_count(transactions)
        if w == 1:
            features[12] = log_of_count(failed)
            features[13] = active
    balance = 0
    recent = 0
    for i in range(h[H_ACCOUNTS]):
        balance += row.accounts[i, A_BALANCE]
        if row.accounts[i, A_LAST_DAY] > day - 90:
            recent += 1
    features[14] = bent_balance(balance)
    features[15] = bin_of(RECENCY_EDGES, recency)
    features[16] = AGE_UNKNOWN if h[H_CREATED_DAY] == NO_DAY else bin_of(AGE_EDGES, day - h[H_CREATED_DAY])
    features[17] = 1.0 if h[H_WEB] else 0.0
    features[18] = 1.0 if recent > 1 else 0.0


@compiled
def _evaluate_loans(seen: Seen, row: Scratch, day: int, policy: Fields) -> int:
    h = row.h
    rates = policy["cost_rates"]
    counts = seen.counts
    counts[:] = 0
    margin_sum = base_sum = order_sum = cost_sum = unpaid_sum = ongoing_sum = promo_sum = 0
    latest_due, first_order = NO_DAY, NO_DAY
    number, open_loans = 0, 0
    first_due, first_at, first_length, first_default = NO_DAY, 0, 0, 0
    point, point_ms, point_at, point_length = -1, 0, 0, 0
    if h[H_HAS_FOLDED]:
        for state in range(5):
            counts[state] = h[H_FOLDED + state]
            number += counts[state]
        margin_sum, base_sum, order_sum = h[G_MARGIN], h[G_BASE], h[G_ORDER]
        cost_sum, promo_sum = h[G_COST], h[G_PROMO]
        latest_due, first_order, first_due = h[G_LATEST_DUE], h[G_FIRST_ORDER], h[G_FIRST_DUE]
        first_at, first_length, first_default = h[G_FIRST_ID_AT], h[G_FIRST_ID_LENGTH], h[G_FIRST_DEFAULTED]
        point, point_ms = h[G_POINT], h[G_POINT_ORDER_MS]
        point_at, point_length = h[G_POINT_ID_AT], h[G_POINT_ID_LENGTH]
    for i in range(h[H_LOANS]):
        loan = row.loans[i]
        if loan[L_ORDER_MS] < policy["observation_from_ms"]:
            continue
        number += 1
        settled = settled_state(row, i)
        due = loan[L_DUE]
        latest_due = due if latest_due == NO_DAY else max(latest_due, due)
        first_order = loan[L_ORDER_DAY] if first_order == NO_DAY else min(first_order, loan[L_ORDER_DAY])
        id_at, id_length = loan[L_ID_AT], loan[L_ID_LENGTH]
        if (
            first_due == NO_DAY
            or due < first_due
            or (due == first_due and text_before(row, id_at, id_length, first_at, first_length))
        ):
            first_due, first_at, first_length = due, id_at, id_length
            first_default = 1 if filled_part(row, i, 0) < loan[L_ORDER] else 0
        if (
            point < 0
            or loan[L_ORDER_MS] > point_ms
            or (loan[L_ORDER_MS] == point_ms and text_before(row, point_at, point_length, id_at, id_length))
        ):
            point, point_ms, point_at, point_length = loan[L_POINT], loan[L_ORDER_MS], id_at, id_length
        if settled < 0:
            open_loans += 1
            if day - due <= 0:
                continue
        state = settled if settled >= 0 else state_of_days_past_due(day - due)
        counts[state] += 1
        unpaid = np.int64(0)
        if settled < 0:
            unpaid = loan[L_ORDER]
            for s in range(5):
                unpaid -= filled_part(row, i, s)
        margin = loan[L_BASE_MARGIN]
        margin_sum += margin
        base_sum += max(margin, 0)
        order_sum += loan[L_BASE_ORDER]
        cost_sum += cost_minor(row, i, rates)
        unpaid_sum += share_minor(margin, loan[L_ORDER], unpaid, 1.0)
        ongoing_sum += share_minor(margin, loan[L_ORDER], unpaid, rates[state])
        promo_sum += max(loan[L_BASE_PROMO], 0)
    total = 0
    for state in range(5):
        total += counts[state]
    if total > 0:
        seen.scores[1] = status_of_counts(counts[0], counts[1], counts[2], counts[3], counts[4])
    if base_sum > 0:
        promo = float(promo_sum) * (policy["promo_rate"] / 0.5)
        revenue, efficiency, discipline, base = revenue_of_sums(
            float(margin_sum), float(base_sum), float(order_sum), float(cost_sum), float(unpaid_sum),
            float(ongoing_sum), promo, seen.levels[REVENUE_AT:LEVELS],
        )  # fmt: skip
        seen.scores[2], seen.bases[2] = revenue, base
        seen.numbers[N_EFFICIENCY], seen.numbers[N_DISCIPLINE] = efficiency, discipline
    confidence = total / (total + 5.0)
    for score in range(1, 5):
        seen.confidence[score] = confidence
    seen.confidence[5] = 1.0
    since_first = 0 if first_order == NO_DAY else day - first_order
    seen.scores[5] = activity_segment(
        number, since_first, policy["new_segment_days"], policy["high_segment_loans"],
        policy["very_high_segment_loans"],
    )  # fmt: skip
    seen.whole[W_POINT], seen.whole[W_OPEN_LOANS], seen.whole[W_COUNTED] = point, open_loans, total
    seen.whole[W_FIRST_DEFAULT] = first_default if first_due != NO_DAY and first_due < day else -1
    return latest_due


@compiled
def _evaluate_digits(seen: Seen, row: Scratch, latest_due: int, weights: Fields, policy: Fields) -> None:
    h = row.h
    status, revenue = seen.scores[1], seen.scores[2]
    digits = seen.digits
    digits[:] = -1
    if not math.isnan(status):
        margin = policy["status_margin"]
        digits[0] = digit(status, weights["status_terciles"], h[H_STATUS_LEVEL], margin)
        digits[3] = digit(status, weights["status_quintiles"], h[H_FREQUENCY_DIGIT], margin)
    if not math.isnan(revenue):
        margin = policy["revenue_margin"]
        digits[1] = digit(revenue, weights["revenue_terciles"], h[H_REVENUE_LEVEL], margin)
        digits[4] = digit(revenue, weights["revenue_quintiles"], h[H_MONETARY_DIGIT], margin)
    if latest_due != NO_DAY:
        age = float(-(seen.whole[W_DAY] - latest_due))
        digits[2] = digit(age, weights["recency_quintiles"], h[H_RECENCY_DIGIT], policy["recency_margin_days"])
    seen.scores[3] = class_of(digits[0], digits[1])
    seen.scores[4] = rfm_of(digits[2], digits[3], digits[4])
