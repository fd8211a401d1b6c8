"""All scores of one row at one moment, compiled: what `streams.scoring.reference.evaluate` says, over a scratch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import DECLARED, FEATURE_SLOTS
from schemas.compiled import compiled, copy_into
from schemas.kinds import SCORES, Score
from state.compiled.fold import Fields, state_of_days_past_due
from state.compiled.row import (
    A_BALANCE,
    A_LAST_DAY,
    D_DAY,
    D_DEPOSITS,
    D_FAILED,
    D_TRANSACTIONS,
    D_WITHDRAWALS,
    F_CONSISTENCY,
    F_DECLARED,
    F_EMITTED,
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
    H_HAS_DECLARED,
    H_HAS_FOLDED,
    H_LABELS,
    H_LAST_TRANSACTION_DAY,
    H_LOANS,
    H_MARKS,
    H_MONETARY_DIGIT,
    H_PROFILE_DAY,
    H_PROFILE_FROM,
    H_PROFILE_RULE,
    H_RECENCY_DIGIT,
    H_REVENUE_LEVEL,
    H_SPENDING,
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
    L_PAID,
    L_POINT,
    NO_DAY,
    Scratch,
    text_before,
)
from streams.scoring.customer_risk import (
    RISK_FEATURES,
    RISK_LEVELS,
    RISK_PLACES,
    Behaviour,
    band_confidence,
    credit_score,
    late_floor,
    risk_inputs,
    risk_reasons,
    risk_sums,
    tempered_logit,
)
from streams.scoring.population import percentile_of
from streams.scoring.profiles import NO_PROFILE_DAY, confidence_of_spending, next_profile_day, profiles_on
from streams.scoring.revenue import REVENUE_LEVELS, revenue_of_sums
from streams.scoring.segments import activity_segment, class_of, digit, rfm_of
from streams.scoring.status import STATUS_LEVELS, status_of_counts, status_reasons
from streams.scoring.tables import Tables, risk_model, value_model
from streams.scoring.value import (
    AGE_EDGES,
    AGE_SLOT,
    AGE_UNKNOWN,
    CONTINUOUS,
    PACE_AT,
    PACE_TERM,
    RECENCY_EDGES,
    RECENCY_SLOT,
    TERMS,
    VALUE_LEVELS,
    YEAR_COUNT_SLOT,
    bent_balance,
    bin_of,
    log_of_amount,
    log_of_count,
    pace_of,
    score_of_ranks,
    term_of,
    value_of,
)

STATUS_AT = VALUE_LEVELS
REVENUE_AT = STATUS_AT + STATUS_LEVELS
RISK_AT = REVENUE_AT + REVENUE_LEVELS
LEVELS = RISK_AT + RISK_LEVELS
RISK, PROFILES = int(Score.RISK), int(Score.PROFILES)
WINDOWS = np.array([7, 30, 90, 365])

(W_POINT, W_OPEN_LOANS, W_FIRST_DEFAULT, W_COUNTED, W_LATEST_DUE, W_LOANS_UNTIL) = range(6)  # of loans
W_LATE = 6  # days past due of the oldest unpaid loan, as `late_floor` gives it; -1 without a loan
(W_DAY, W_ACTIVE_DAY, W_HAS_TRANSACTIONS, W_LABELS) = range(7, 11)  # of transactions
N_FORECAST, N_EFFICIENCY, N_DISCIPLINE, N_CONSISTENCY = range(4)
R_FORECAST, R_SHARE, R_CONSISTENCY, R_STEADY = range(4)
NEVER_DAY = 2**60
MANY_POLICIES = 2**32
DECLARED_COUNT = len(DECLARED)


SEEN = np.dtype(
    [
        ("scores", np.float64, (SCORES,)),
        ("bases", np.float64, (SCORES,)),
        ("levels", np.float64, (LEVELS,)),  # value, status, revenue, risk, one behind the other
        ("confidence", np.float64, (SCORES,)),
        ("digits", np.int64, (5,)),
        ("counts", np.int64, (5,)),
        ("whole", np.int64, (11,)),  # W_...
        ("numbers", np.float64, (4,)),  # N_...
        ("inputs", np.int64, (FEATURE_SLOTS,)),  # what each feature is made of: exact sums, counts, bins
        ("window_starts", np.int64, (4,)),  # where the windows of 7, 30, 90, 365 days begin among the row's days
        # What was last computed, and of what: a logarithm is taken again only where its sum is another one.
        ("featured", np.int64, (FEATURE_SLOTS,)),
        ("features", np.float64, (FEATURE_SLOTS,)),
        ("terms", np.float64, (TERMS,)),
        ("ranks", np.float64, (4,)),  # R_...
        ("of_weights", np.int64),  # the version the above belongs to, -1: none yet
        ("risk_inputs", np.float64, (RISK_FEATURES,)),
        ("risk_placed", np.float64, (RISK_FEATURES,)),  # the inputs that total and variance were last computed of
        ("risk_sums", np.float64, (2,)),  # total and variance
        ("of_risk", np.int64),  # the version of the risk model these belong to, -1: none yet
        ("risk_at", np.int64, (RISK_PLACES,)),  # scratch
        ("risk_share", np.float64, (RISK_PLACES,)),
    ]
)
"""An evaluation as one record: `streams.scoring.reference.evaluate.Evaluation`, reused from moment to moment.

Scores come first and cheaply; what explains them (`explain_value`, `explain_status`) is asked for where a change is
said. `featured`, `features`, `terms` and `ranks` are pure functions of `inputs`, the consistency and the weights, and
so hold for whichever customer has the same ones.
"""

Seen = Any
"""A record of SEEN."""


@compiled
def evaluate(seen: Seen, row: Scratch, day: int, tables: Tables, w: int, p: int, r: int) -> None:
    """Score the row as it stands on `day`, with versions `w` of weights, `p` of policy and `r` of the risk model."""
    gather_inputs(seen, row, day)
    score_value(seen, tables, w, p)
    evaluate_loans(seen, row, day, tables.policies[p])
    evaluate_digits(seen, row, tables.weights[w], tables.policies[p])
    score_risk(seen, row, tables, r)


@compiled
def score_profiles(seen: Seen, row: Scratch, day: int, tables: Tables, b: int, p: int) -> None:
    """The profiles that hold on `day`, as a set of bits: for who spends where that tells something."""
    h = row.h
    seen.scores[PROFILES], seen.confidence[PROFILES] = 0.0, math.nan
    if len(tables.books) == 0 or (h[H_SPENDING] == 0 and h[H_MARKS] == 0):
        return
    policy = tables.policies[p]
    seen.scores[PROFILES] = float(
        profiles_on(
            row.spending, h[H_SPENDING], row.marks, h[H_MARKS], tables.profiles[b], day,
            policy["profile_enter"], policy["profile_leave"], policy["profile_dwell_days"],
        )
    )  # fmt: skip
    seen.confidence[PROFILES] = confidence_of_spending(row.spending, h[H_SPENDING], day)


@compiled
def profile_day(row: Scratch, today: int, tables: Tables, b: int, p: int) -> int:
    """The first day after today on which a profile is entered or left if nothing more is bought. Kept with the row."""
    h = row.h
    if len(tables.books) == 0 or (h[H_SPENDING] == 0 and h[H_MARKS] == 0):
        return NO_PROFILE_DAY
    rule = 1 + b * MANY_POLICIES + p
    if h[H_PROFILE_RULE] != rule or not h[H_PROFILE_FROM] <= today < h[H_PROFILE_DAY]:
        policy = tables.policies[p]
        h[H_PROFILE_RULE], h[H_PROFILE_FROM] = rule, today
        h[H_PROFILE_DAY] = next_profile_day(
            row.spending, h[H_SPENDING], row.marks, h[H_MARKS], tables.profiles[b], today,
            policy["profile_enter"], policy["profile_leave"], policy["profile_dwell_days"],
        )  # fmt: skip
    return h[H_PROFILE_DAY]


@compiled
def keep_profiles(seen: Seen, row: Scratch, day: int, tables: Tables) -> None:
    """The profiles of a row that are known to be those that were last said."""
    seen.scores[PROFILES], seen.confidence[PROFILES] = row.f[F_EMITTED + PROFILES], math.nan
    if len(tables.books) > 0 and row.h[H_SPENDING] > 0:
        seen.confidence[PROFILES] = confidence_of_spending(row.spending, row.h[H_SPENDING], day)


@compiled
def score_risk(seen: Seen, row: Scratch, tables: Tables, r: int) -> None:
    """Credit risk of gathered inputs and evaluated loans: for who has declared something, where there is a model."""
    seen.scores[RISK], seen.confidence[RISK], seen.bases[RISK] = math.nan, math.nan, math.nan
    if row.h[H_HAS_DECLARED] == 0 or len(tables.risk) == 0:
        return
    sums = seen.risk_sums
    risk_inputs(row.f[F_DECLARED : F_DECLARED + DECLARED_COUNT], behaviour_of(seen), seen.risk_inputs)
    if seen.of_risk != r or not _same_inputs(seen.risk_inputs, seen.risk_placed):
        seen.of_risk = r
        copy_into(seen.risk_placed, seen.risk_inputs)
        model = risk_model(tables.risk[r])
        sums[0], sums[1] = risk_sums(seen.risk_inputs, model, seen.risk_at, seen.risk_share)
    seen.scores[RISK] = credit_score(tempered_logit(sums[0], sums[1]))


@compiled
def behaviour_of(seen: Seen) -> Behaviour:
    """What account and loans show: of gathered inputs and evaluated loans."""
    inputs = seen.inputs
    return Behaviour(
        seen.whole[W_HAS_TRANSACTIONS] != 0, inputs[2], inputs[6], inputs[14], inputs[12], inputs[13],
        seen.scores[1], seen.whole[W_LATE],
    )  # fmt: skip


@compiled
def _same_inputs(these: NDArray[np.float64], those: NDArray[np.float64]) -> bool:
    for j in range(len(these)):
        if these[j] != those[j] and not (math.isnan(these[j]) and math.isnan(those[j])):
            return False
    return True


@compiled
def explain_risk(seen: Seen, tables: Tables, r: int, p: int) -> None:
    """Base, reasons and confidence of a risk that `score_risk` has found."""
    if not math.isnan(seen.scores[RISK]):
        model, levels = risk_model(tables.risk[r]), seen.levels[RISK_AT:LEVELS]
        seen.bases[RISK] = risk_reasons(seen.risk_inputs, model, seen.risk_at, seen.risk_share, levels)
        rate_risk(seen, tables, p)


@compiled
def rate_risk(seen: Seen, tables: Tables, p: int) -> None:
    """How sure the band of a risk is."""
    if not math.isnan(seen.scores[RISK]):
        floors = tables.policies[p]["risk_band_floors"]
        seen.confidence[RISK] = band_confidence(seen.risk_sums[0], seen.risk_sums[1], floors)


@compiled
def gather_inputs(seen: Seen, row: Scratch, day: int) -> None:
    """What the features of `streams.scoring.reference.evaluate.features_of` are made of. One walk over the days,
    newest first."""
    h, inputs = row.h, seen.inputs
    deposits = withdrawals = transactions = failed = active = 0
    latest = NO_DAY
    i = h[H_DAYS] - 1
    for w in range(4):
        first = day - WINDOWS[w]
        while i >= 0 and row.days[i, D_DAY] > first:
            deposits += row.days[i, D_DEPOSITS]
            withdrawals += row.days[i, D_WITHDRAWALS]
            transactions += row.days[i, D_TRANSACTIONS]
            failed += row.days[i, D_FAILED]
            if row.days[i, D_TRANSACTIONS] > 0:
                active += 1
                latest = max(latest, row.days[i, D_DAY])
            i -= 1
        seen.window_starts[w] = i + 1
        inputs[w], inputs[4 + w], inputs[8 + w] = deposits, withdrawals, transactions
        if w == 1:
            inputs[12], inputs[13] = failed, active
    inputs[14] = 0
    for i in range(h[H_ACCOUNTS]):
        inputs[14] += row.accounts[i, A_BALANCE]
    inputs[17] = h[H_WEB]
    seen.whole[W_ACTIVE_DAY] = latest
    seen.whole[W_HAS_TRANSACTIONS] = 1 if h[H_LAST_TRANSACTION_DAY] != NO_DAY else 0
    seen.whole[W_LABELS] = h[H_LABELS]
    seen.numbers[N_CONSISTENCY] = row.f[F_CONSISTENCY]
    _gather_bins(seen, row, day)


@compiled
def _gather_bins(seen: Seen, row: Scratch, day: int) -> None:
    """The inputs that every day may move: recency, age, how many currencies are in use."""
    h, inputs = row.h, seen.inputs
    latest = seen.whole[W_ACTIVE_DAY]
    seen.whole[W_DAY] = day
    inputs[15] = bin_of(RECENCY_EDGES, min(365, day - latest))
    inputs[16] = AGE_UNKNOWN if h[H_CREATED_DAY] == NO_DAY else bin_of(AGE_EDGES, day - h[H_CREATED_DAY])
    recent = 0
    for i in range(h[H_ACCOUNTS]):
        if row.accounts[i, A_LAST_DAY] > day - 90:
            recent += 1
    inputs[18] = 1 if recent > 1 else 0


@compiled
def slide_inputs(seen: Seen, row: Scratch, day: int) -> None:
    """Take gathered inputs on to a later day: what has left each window is subtracted, exactly."""
    h, inputs = row.h, seen.inputs
    for w in range(4):
        i, first = seen.window_starts[w], day - WINDOWS[w]
        while i < h[H_DAYS] and row.days[i, D_DAY] <= first:
            inputs[w] -= row.days[i, D_DEPOSITS]
            inputs[4 + w] -= row.days[i, D_WITHDRAWALS]
            inputs[8 + w] -= row.days[i, D_TRANSACTIONS]
            if w == 1:
                inputs[12] -= row.days[i, D_FAILED]
                if row.days[i, D_TRANSACTIONS] > 0:
                    inputs[13] -= 1
            i += 1
        seen.window_starts[w] = i
    _gather_bins(seen, row, day)


@compiled
def score_value(seen: Seen, tables: Tables, w: int, p: int) -> None:
    """The customer value score of gathered inputs: `streams.scoring.value.value_of` without its reasons."""
    seen.scores[0], seen.confidence[0], seen.numbers[N_FORECAST] = math.nan, math.nan, math.nan
    if seen.whole[W_HAS_TRANSACTIONS] == 0:
        return
    weights = tables.weights[w]
    forecast = forecast_of_inputs(seen, weights, w)
    ranks, consistency = seen.ranks, seen.numbers[N_CONSISTENCY]
    if forecast != ranks[R_FORECAST]:
        ranks[R_FORECAST] = forecast
        ranks[R_SHARE] = percentile_of(tables.samples[weights["forecasts_at"] : weights["forecasts_end"]], forecast)
    if consistency != ranks[R_CONSISTENCY]:
        ranks[R_CONSISTENCY] = consistency
        ranks[R_STEADY] = percentile_of(
            tables.samples[weights["consistencies_at"] : weights["consistencies_end"]], consistency
        )
    seen.scores[0] = score_of_ranks(ranks[R_SHARE], ranks[R_STEADY], tables.policies[p]["value_weight"])
    seen.numbers[N_FORECAST] = forecast
    seen.confidence[0] = seen.whole[W_LABELS] / (seen.whole[W_LABELS] + 5.0)


@compiled
def forecast_of_inputs(seen: Seen, weights: Fields, w: int) -> float:
    """yhat of gathered inputs; features and terms of inputs that are what they were are not computed again."""
    inputs, features, terms = seen.inputs, seen.features, seen.terms
    stale = seen.of_weights != w
    if stale:
        seen.of_weights = w
        seen.ranks[:] = math.nan
    beta, knots = weights["beta"], weights["knots"]
    other_pace = stale or (
        inputs[YEAR_COUNT_SLOT] != seen.featured[YEAR_COUNT_SLOT]
        or inputs[RECENCY_SLOT] != seen.featured[RECENCY_SLOT]
        or inputs[AGE_SLOT] != seen.featured[AGE_SLOT]
    )
    total = 0.0
    for j in range(FEATURE_SLOTS):
        if stale or inputs[j] != seen.featured[j]:
            seen.featured[j] = inputs[j]
            features[j] = feature_of(j, inputs[j])
            terms[j] = term_of(j, features[j], beta, knots[j] if j < CONTINUOUS else knots[0])
        total += terms[j]
    if other_pace:
        terms[PACE_TERM] = beta[PACE_AT] * pace_of(inputs[YEAR_COUNT_SLOT], inputs[RECENCY_SLOT], inputs[AGE_SLOT])
    return total + terms[PACE_TERM]


@compiled
def feature_of(slot: int, x: int) -> float:
    """One input of the value model from the whole number it is made of."""
    if slot < 8:
        return log_of_amount(x)
    if slot < 13:
        return log_of_count(x)
    if slot == 14:
        return bent_balance(x)
    return float(x)


@compiled
def explain_value(seen: Seen, tables: Tables, w: int, p: int) -> None:
    """Base and reasons of a value score that `score_value` has found."""
    if not math.isnan(seen.scores[0]):
        model = value_model(tables.weights[w], tables.samples, tables.policies[p]["value_weight"])
        levels = seen.levels[:VALUE_LEVELS]
        _, seen.bases[0], _ = value_of(seen.features, seen.numbers[N_CONSISTENCY], model, seen.terms, levels)


@compiled
def explain_status(seen: Seen) -> None:
    """Base and reasons of the status, which cost as much as all else."""
    if not math.isnan(seen.scores[1]):
        counts = seen.counts
        levels = seen.levels[STATUS_AT:REVENUE_AT]
        seen.bases[1] = status_reasons(counts[0], counts[1], counts[2], counts[3], counts[4], levels)


@compiled
def copy_inputs(seen: Seen, other: Seen) -> None:
    """Make the gathered inputs those of another evaluation of the same row."""
    copy_into(seen.inputs, other.inputs)
    copy_into(seen.window_starts, other.window_starts)
    for k in range(W_DAY, W_LABELS + 1):
        seen.whole[k] = other.whole[k]
    seen.numbers[N_CONSISTENCY] = other.numbers[N_CONSISTENCY]


@compiled
def copy_value(seen: Seen, other: Seen) -> None:
    """Make the inputs, and all that was computed of them, those of another evaluation of the same row."""
    copy_inputs(seen, other)
    copy_into(seen.featured, other.featured)
    copy_into(seen.features, other.features)
    copy_into(seen.terms, other.terms)
    copy_into(seen.ranks, other.ranks)
    seen.of_weights = other.of_weights


@compiled
def copy_loans(seen: Seen, other: Seen) -> None:
    """Make what is known of loans that of another evaluation of the same loans on the same day."""
    copy_into(seen.counts, other.counts)
    for score in (1, 2, 5):
        seen.scores[score] = other.scores[score]
    for score in range(1, 6):
        seen.confidence[score] = other.confidence[score]
    for k in range(REVENUE_AT, RISK_AT):
        seen.levels[k] = other.levels[k]
    seen.bases[2] = other.bases[2]
    for k in range(W_POINT, W_LATE + 1):
        seen.whole[k] = other.whole[k]
    seen.numbers[N_EFFICIENCY], seen.numbers[N_DISCIPLINE] = other.numbers[N_EFFICIENCY], other.numbers[N_DISCIPLINE]


@compiled
def share_minor(gross_margin: int, order_amount: int, unpaid: int, rate: float) -> int:
    """See `state.loans.share_minor`."""
    return np.int64(np.rint(rate * (float(max(gross_margin, 0)) * (float(unpaid) / float(order_amount)))))


@compiled
def evaluate_loans(seen: Seen, row: Scratch, day: int, policy: Fields) -> None:
    """Status, revenue, segment and point of the row's loans on `day`, and until when that is so."""
    h = row.h
    rates = policy["cost_rates"]
    counts = seen.counts
    counts[:] = 0
    margin_sum = base_sum = order_sum = cost_sum = unpaid_sum = ongoing_sum = promo_sum = 0
    latest_due, first_order = NO_DAY, NO_DAY
    number, open_loans, late, until = 0, 0, 0, NEVER_DAY
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
        settled, unpaid, weighted = _filled(loan, rates)
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
            first_default = 1 if loan[L_PAID] < loan[L_ORDER] else 0
        if (
            point < 0
            or loan[L_ORDER_MS] > point_ms
            or (loan[L_ORDER_MS] == point_ms and text_before(row, point_at, point_length, id_at, id_length))
        ):
            point, point_ms, point_at, point_length = loan[L_POINT], loan[L_ORDER_MS], id_at, id_length
        if settled < 0:
            open_loans += 1
            until = min(until, _next_crossing(due, day))
            late = max(late, day - due)
            if day - due < policy["count_unpaid_from_day"]:
                continue
        state = settled if settled >= 0 else state_of_days_past_due(day - due)
        counts[state] += 1
        margin = loan[L_BASE_MARGIN]
        margin_sum += margin
        base_sum += max(margin, 0)
        order_sum += loan[L_BASE_ORDER]
        cost_sum += np.int64(np.rint(float(max(margin, 0)) * (weighted / float(loan[L_ORDER]))))
        unpaid_sum += share_minor(margin, loan[L_ORDER], unpaid, 1.0)
        ongoing_sum += share_minor(margin, loan[L_ORDER], unpaid, rates[state])
        promo_sum += max(loan[L_BASE_PROMO], 0)
    total = 0
    for state in range(5):
        total += counts[state]
    seen.scores[1], seen.scores[2], seen.bases[1], seen.bases[2] = math.nan, math.nan, math.nan, math.nan
    seen.numbers[N_EFFICIENCY], seen.numbers[N_DISCIPLINE] = math.nan, math.nan
    if total > 0:
        seen.scores[1] = status_of_counts(counts[0], counts[1], counts[2], counts[3], counts[4])
    if base_sum > 0:
        promo = float(promo_sum) * (policy["promo_rate"] / 0.5)
        revenue, efficiency, discipline, base = revenue_of_sums(
            float(margin_sum), float(base_sum), float(order_sum), float(cost_sum), float(unpaid_sum),
            float(ongoing_sum), promo, seen.levels[REVENUE_AT:RISK_AT],
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
    if first_order != NO_DAY and first_order + policy["new_segment_days"] > day:
        until = min(until, first_order + policy["new_segment_days"])
    seen.whole[W_POINT], seen.whole[W_OPEN_LOANS], seen.whole[W_COUNTED] = point, open_loans, total
    seen.whole[W_FIRST_DEFAULT] = first_default if first_due != NO_DAY and first_due < day else -1
    seen.whole[W_LATEST_DUE], seen.whole[W_LOANS_UNTIL] = latest_due, until
    seen.whole[W_LATE] = late_floor(late) if number > 0 else -1


@compiled
def _filled(loan: NDArray[np.int64], rates: NDArray[np.float64]) -> tuple[int, int, float]:
    """How payments fill a loan: the state that settled it (-1: none), what is unpaid, the parts weighed by their rates.

    In one go what `state.loans` says in three functions.
    """
    settled, rest, weighted = -1, loan[L_ORDER], 0.0
    for state in range(5):
        part = min(max(loan[L_PAID + state], 0), rest)
        rest -= part
        weighted += rates[state] * float(part)
        if rest == 0 and settled < 0:
            settled = state
    return settled, rest, weighted


@compiled
def _next_crossing(due: int, day: int) -> int:
    """The next day on which a loan that stays unpaid is in another state."""
    for late in (1, 31, 91, 181):
        if due + late > day:
            return due + late
    return NEVER_DAY


@compiled
def evaluate_digits(seen: Seen, row: Scratch, weights: Fields, policy: Fields) -> None:
    """Levels, digits, class and RFM of the scores found, each held by its margin at what the row says."""
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
    seen.scores[3] = class_of(digits[0], digits[1])
    evaluate_recency(seen, row, weights, policy)


@compiled
def evaluate_recency(seen: Seen, row: Scratch, weights: Fields, policy: Fields) -> None:
    """The one digit that every day may move, and RFM with it."""
    digits, latest_due = seen.digits, seen.whole[W_LATEST_DUE]
    if latest_due != NO_DAY:
        age = float(-(seen.whole[W_DAY] - latest_due))
        digits[2] = digit(age, weights["recency_quintiles"], row.h[H_RECENCY_DIGIT], policy["recency_margin_days"])
    seen.scores[4] = rfm_of(digits[2], digits[3], digits[4])
