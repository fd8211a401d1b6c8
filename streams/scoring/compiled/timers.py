"""Looking ahead, compiled: when time next has something to do with a row, and whether a moment says anything."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FOREVER_MS, Columns
from schemas.compiled import compiled
from schemas.kinds import FIRST_CODE, LAST_CODE, SCORES, Score
from state.calendar import day_of, start_of_day
from state.compiled.row import (
    A_LAST_DAY,
    D_DAY,
    D_TRANSACTIONS,
    F_EMITTED,
    G_FIRST_ORDER,
    G_LATEST_DUE,
    H_ACCOUNTS,
    H_CLOCK,
    H_CREATED_DAY,
    H_DAYS,
    H_EMITTED_COUNTS,
    H_ERASED,
    H_HAS_FOLDED,
    H_HAS_PENDING,
    H_INCARNATION_OFFSET,
    H_LAST_TRANSACTION_DAY,
    H_LOANS,
    H_OVERRIDES,
    H_PENDING_DAY,
    H_TODAY,
    L_DUE,
    L_ORDER_DAY,
    L_SETTLED_DAY,
    NO_DAY,
    NO_TIME_MS,
    O_SCORE,
    O_UNTIL,
    Scratch,
)
from streams.scoring.compiled.buffers import CANDIDATES_MAX, Eyes
from streams.scoring.compiled.evaluate import (
    W_LOANS_UNTIL,
    Seen,
    copy_loans,
    copy_value,
    evaluate,
    evaluate_digits,
    evaluate_loans,
    evaluate_recency,
    keep_profiles,
    profile_day,
    score_profiles,
    score_risk,
    score_value,
    slide_inputs,
)
from streams.scoring.profiles import NO_PROFILE_DAY
from streams.scoring.tables import Tables, version_at
from streams.scoring.value import AGE_EDGES, RECENCY_EDGES

RISK, PROFILES = int(Score.RISK), int(Score.PROFILES)
UNKNOWN_MS = np.int64(-(2**62) + 1)
"""A due time that has not been looked for yet, as nothing can be due before the end of the day."""


@compiled
def versions_at(tables: Tables, moment_ms: int) -> tuple[int, int, int]:
    weights, policy = version_at(tables.weights, moment_ms), version_at(tables.policies, moment_ms)
    return weights, policy, version_at(tables.risk, moment_ms)


@compiled
def next_moment(row: Scratch, due: int, looked: int, tables: Tables) -> int:
    """When time has to look at the row: a timer, or new weights that everyone is scored with."""
    moment = FOREVER_MS if due == NO_TIME_MS else due
    if row.h[H_INCARNATION_OFFSET] >= 0:
        moment = min(moment, _rescore_after(tables.weights, max(looked, row.h[H_CLOCK])))
    return moment


@compiled
def _rescore_after(weights: Columns, moment_ms: int) -> int:
    """When everyone is scored again next."""
    found = FOREVER_MS
    for w in range(len(weights) - 1, 0, -1):
        if weights[w]["effective_ms"] <= moment_ms:
            break
        if weights[w]["rescore"]:
            found = weights[w]["effective_ms"]
    return found


@compiled
def rescore_until(weights: Columns, moment_ms: int) -> int:
    """When everyone was scored again last."""
    for w in range(len(weights) - 1, 0, -1):
        if weights[w]["rescore"] and weights[w]["effective_ms"] <= moment_ms:
            return weights[w]["effective_ms"]
    return -FOREVER_MS


@compiled
def earliest_wake(row: Scratch, tables: Tables) -> int:
    """A moment before which time has nothing to do with the row: the end of its day, of an override, new weights."""
    wake = min(start_of_day(tables.days, row.h[H_TODAY] + 1), _rescore_after(tables.weights, row.h[H_CLOCK]))
    for i in range(row.h[H_OVERRIDES]):
        wake = min(wake, row.overrides[i, O_UNTIL])
    return wake


@compiled
def is_active(row: Scratch, day: int, p: int, policies: Columns) -> bool:
    last = row.h[H_LAST_TRANSACTION_DAY]
    return last != NO_DAY and last >= day - policies[p]["example_activity_days"]


@compiled
def is_example_moment(row: Scratch, phase: int, moment_ms: int, p: int, tables: Tables) -> bool:
    day = day_of(tables.days, moment_ms)
    h = row.h
    if moment_ms != start_of_day(tables.days, day) or (h[H_HAS_PENDING] and h[H_PENDING_DAY] >= day):
        return False
    if (day - phase) % tables.policies[p]["label_days"]:
        return False
    return h[H_HAS_PENDING] != 0 or is_active(row, day, p, tables.policies)


@compiled
def held_at(row: Scratch, score: int) -> int:
    """Which override holds a score, -1 where none does."""
    for i in range(row.h[H_OVERRIDES]):
        if row.overrides[i, O_SCORE] == score:
            return i
    return -1


@compiled
def says_something(
    row: Scratch, phase: int, moment_ms: int, w: int, p: int, r: int, b: int, tables: Tables, eyes: Eyes
) -> bool:
    """Does time change anything that is said of the row by this moment? `eyes.ahead` is then the row as of it."""
    if _is_appointed(row, phase, moment_ms, tables):
        return True
    day = day_of(tables.days, moment_ms)
    evaluate(eyes.ahead, row, day, tables, w, p, r)
    if b == version_at(tables.books, row.h[H_CLOCK]) and p == version_at(tables.policies, row.h[H_CLOCK]):
        if day >= profile_day(row, row.h[H_TODAY], tables, b, p):
            return True
        keep_profiles(eyes.ahead, row, day, tables)
    else:
        score_profiles(eyes.ahead, row, day, tables, b, p)
    return _has_moved(row, eyes.ahead, p, tables)


@compiled
def _is_appointed(row: Scratch, phase: int, moment_ms: int, tables: Tables) -> bool:
    """Will something be said in this moment whatever the scores are: an override ends, an example is due?"""
    for i in range(row.h[H_OVERRIDES]):
        if row.overrides[i, O_UNTIL] <= moment_ms:
            return True
    return is_example_moment(row, phase, moment_ms, version_at(tables.policies, moment_ms), tables)


@compiled
def _has_moved(row: Scratch, seen: Seen, p: int, tables: Tables) -> bool:
    for score in range(SCORES):  # noqa: SIM110 - numba has no generators here
        if score_moves(row, seen, score, p, tables.policies) and held_at(row, score) < 0:
            return True
    return False


@compiled
def score_moves(row: Scratch, seen: Seen, score: int, p: int, policies: Columns) -> bool:
    """Is a score as it is seen so far from what was last said that it is said again? The steps are the policy's."""
    new, old = seen.scores[score], row.f[F_EMITTED + score]
    if FIRST_CODE <= score <= LAST_CODE or score == PROFILES:
        return new != old
    if math.isnan(new) or math.isnan(old):
        return math.isnan(new) != math.isnan(old)
    if score == 0:
        return np.rint(abs(new - old) * 100.0) >= np.rint(policies[p]["value_step"] * 100.0)
    if score == 1:
        for state in range(5):
            if seen.counts[state] != row.h[H_EMITTED_COUNTS + state]:
                return True
        return abs(new - old) >= policies[p]["status_step"]
    if score == RISK:
        return abs(new - old) >= policies[p]["risk_step"]
    return abs(new - old) >= policies[p]["revenue_step"]


@compiled
def next_due(row: Scratch, phase: int, after_ms: int, fresh: bool, tables: Tables, eyes: Eyes) -> int:
    """When time next has to look at the row: the first candidate that would emit, or the last one looked at.

    `fresh`: `eyes.now` is the row as it stands. From it the look ahead goes on: windows are slid, not summed again, and
    loans are looked at only on days on which one of them turns.
    """
    h = row.h
    now_ms = max(after_ms, h[H_CLOCK])
    w, p, r = versions_at(tables, now_ms)
    weights, policies = tables.weights[w], tables.policies
    if h[H_INCARNATION_OFFSET] < 0:
        return NO_TIME_MS if h[H_ERASED] == NO_TIME_MS else h[H_ERASED] + policies[p]["duplicate_horizon_ms"] + 1
    if eyes.is_request:
        return NO_TIME_MS
    wanted = min(policies[p]["look_ahead_candidates"], CANDIDATES_MAX)
    turn_day = profile_day(row, day_of(tables.days, now_ms), tables, version_at(tables.books, now_ms), p)
    count = _candidates(row, phase, now_ms, w, p, turn_day, tables, eyes.moments, wanted)
    ahead = eyes.ahead
    if fresh:
        copy_value(ahead, eyes.now)
        copy_loans(ahead, eyes.now)
        evaluate_digits(ahead, row, weights, policies[p])
    else:
        evaluate(ahead, row, day_of(tables.days, now_ms), tables, w, p, r)
    ahead.scores[PROFILES] = row.f[F_EMITTED + PROFILES]  # until that day they are what was said
    last = NO_TIME_MS
    for k in range(count):
        last = eyes.moments[k]
        if _is_appointed(row, phase, last, tables):
            break
        day = day_of(tables.days, last)
        if day >= turn_day:
            break
        slide_inputs(ahead, row, day)
        score_value(ahead, tables, w, p)
        if day >= ahead.whole[W_LOANS_UNTIL]:
            evaluate_loans(ahead, row, day, policies[p])
            evaluate_digits(ahead, row, weights, policies[p])
        else:
            evaluate_recency(ahead, row, weights, policies[p])
        score_risk(ahead, row, tables, r)
        if _has_moved(row, ahead, p, tables):
            break
    return last


@compiled
def _offer(moments: NDArray[np.int64], count: int, wanted: int, moment: int) -> int:
    """Insert a moment into the sorted, distinct list of the `wanted` earliest; answers how many there are."""
    at = count
    while at > 0 and moments[at - 1] >= moment:
        if moments[at - 1] == moment:
            return count
        at -= 1
    if at >= wanted:
        return count
    for k in range(min(count, wanted - 1), at, -1):
        moments[k] = moments[k - 1]
    moments[at] = moment
    return min(count + 1, wanted)


@compiled
def _candidates(
    row: Scratch, phase: int, now_ms: int, w: int, p: int, turn_day: int, tables: Tables,
    moments: NDArray[np.int64], wanted: int,
) -> int:  # fmt: skip
    """The earliest `wanted` moments after now at which time could move a score. See `oracle.candidate_days`."""
    h = row.h
    days = tables.days
    policies = tables.policies
    today = day_of(days, now_ms)
    n = 0
    latest_active = NO_DAY
    for i in range(h[H_DAYS] - 1, -1, -1):
        if row.days[i, D_TRANSACTIONS] > 0:
            latest_active = row.days[i, D_DAY]
            break
    first = 0
    for window in (365, 90, 30, 7):
        while first < h[H_DAYS] and row.days[first, D_DAY] <= today - window:
            first += 1
        for i in range(first, h[H_DAYS]):
            leaves = row.days[i, D_DAY] + window
            if n == wanted and leaves >= moments[n - 1]:
                break  # later days leave this window later still
            n = _offer(moments, n, wanted, leaves)
    if latest_active != NO_DAY:
        for k in range(1, len(RECENCY_EDGES)):
            if latest_active + RECENCY_EDGES[k] > today:
                n = _offer(moments, n, wanted, latest_active + RECENCY_EDGES[k])
    if h[H_CREATED_DAY] != NO_DAY and h[H_LAST_TRANSACTION_DAY] != NO_DAY:
        for k in range(1, len(AGE_EDGES)):
            if h[H_CREATED_DAY] + AGE_EDGES[k] > today:
                n = _offer(moments, n, wanted, h[H_CREATED_DAY] + AGE_EDGES[k])
    for i in range(h[H_ACCOUNTS]):
        if row.accounts[i, A_LAST_DAY] != NO_DAY and row.accounts[i, A_LAST_DAY] + 90 > today:
            n = _offer(moments, n, wanted, row.accounts[i, A_LAST_DAY] + 90)
    latest_due = h[G_LATEST_DUE] if h[H_HAS_FOLDED] else NO_DAY
    first_order = h[G_FIRST_ORDER] if h[H_HAS_FOLDED] else -NO_DAY
    for i in range(h[H_LOANS]):
        due = row.loans[i, L_DUE]
        latest_due = max(latest_due, due)
        first_order = min(first_order, row.loans[i, L_ORDER_DAY])
        if row.loans[i, L_SETTLED_DAY] == NO_DAY:
            for late in (1, 31, 91, 181):
                if due + late > today:
                    n = _offer(moments, n, wanted, due + late)
    if latest_due != NO_DAY:
        quintiles = tables.weights[w]["recency_quintiles"]
        for k in range(len(quintiles)):
            if math.isfinite(quintiles[k]):
                day = latest_due + np.int64(math.floor(policies[p]["recency_margin_days"] - quintiles[k])) + 1
                if day > today:
                    n = _offer(moments, n, wanted, day)
    if first_order != -NO_DAY and first_order + policies[p]["new_segment_days"] > today:
        n = _offer(moments, n, wanted, first_order + policies[p]["new_segment_days"])
    if turn_day != NO_PROFILE_DAY:
        n = _offer(moments, n, wanted, turn_day)
    example = today + 1 + (phase - today - 1) % policies[p]["label_days"]
    if h[H_HAS_PENDING] != 0 or is_active(row, example, p, policies):
        n = _offer(moments, n, wanted, example)
    for k in range(n):
        moments[k] = start_of_day(days, moments[k])
    for i in range(h[H_OVERRIDES]):
        if row.overrides[i, O_UNTIL] > now_ms:
            n = _offer(moments, n, wanted, row.overrides[i, O_UNTIL])
    return n
