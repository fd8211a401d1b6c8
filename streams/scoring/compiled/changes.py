"""What the compiled step says: changes with their reasons, hits of profiles, ends of scores, and scorecards."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FOREVER_MS, WINDOW_DAYS
from schemas.compiled import compiled
from schemas.kinds import FIRST_CODE, LAST_CODE, NO_SCORES, SCORES, Cause, Reason, Score
from state.calendar import start_of_day
from state.compiled.fold import Fields
from state.compiled.row import (
    A_BALANCE,
    D_DAY,
    D_DEPOSITS,
    D_TRANSACTIONS,
    D_WITHDRAWALS,
    F_CONSISTENCY,
    F_EMITTED,
    H_ACCOUNTS,
    H_CLOCK,
    H_DAYS,
    H_EMITTED_COUNTS,
    H_EVENTS,
    H_FIRST_EVENT,
    H_INCARNATION_OFFSET,
    H_INCARNATION_RANK,
    H_LAST_EVENT,
    H_MARKS,
    H_OVERRIDES,
    H_PROFILE_RULE,
    H_SEQUENCE,
    H_SPENDING,
    H_STATUS_LEVEL,
    H_TODAY,
    K_HELD,
    K_KEY,
    K_SINCE,
    NO_TIME_MS,
    P_POINT_AT,
    P_POINT_LENGTH,
    Scratch,
)
from streams.scoring.compiled.buffers import U_CARDS, U_CHANGES, U_HITS, U_REASONS, U_TEXT, U_TOLD, Eyes, Room
from streams.scoring.compiled.evaluate import (
    LEVELS,
    N_DISCIPLINE,
    N_EFFICIENCY,
    N_FORECAST,
    REVENUE_AT,
    RISK_AT,
    STATUS_AT,
    W_FIRST_DEFAULT,
    W_OPEN_LOANS,
    W_POINT,
    copy_loans,
    evaluate_digits,
    evaluate_loans,
    explain_risk,
    explain_status,
    explain_value,
    gather_inputs,
    keep_profiles,
    rate_risk,
    score_profiles,
    score_risk,
    score_value,
)
from streams.scoring.compiled.timers import PROFILES, RISK, held_at, score_moves, versions_at
from streams.scoring.customer_risk import RISK_REASONS, risk_band
from streams.scoring.profiles import categories_in, leading_category, mark_of, measures_of, shares_of, strength_of
from streams.scoring.tables import Tables
from streams.scoring.value import VALUE_REASONS, band_of

STATUS, REVENUE = int(Score.STATUS), int(Score.REVENUE)
BY_OVERRIDE, BY_ERASURE = int(Cause.OVERRIDE), int(Cause.ERASURE)
EARLIER, NEW_WEIGHTS = int(Reason.EARLIER_SMALL_MOVES), int(Reason.NEW_WEIGHTS)
HELD, FREED = int(Reason.OVERRIDE), int(Reason.OVERRIDE_ENDED)
LEVEL_CODES = np.concatenate(
    [
        VALUE_REASONS,
        np.arange(Reason.HISTORY, Reason.LATE_WO + 1, dtype=np.uint16),
        np.arange(Reason.EFFICIENCY, Reason.ONGOING_COSTS + 1, dtype=np.uint16),
        RISK_REASONS,
    ]
)
LEVELS_FROM = np.array([0, STATUS_AT, REVENUE_AT, 0, 0, 0, RISK_AT, 0])
LEVELS_TO = np.array([STATUS_AT, REVENUE_AT, RISK_AT, 0, 0, 0, LEVELS, 0])
"""Which levels explain a score; none those that are codes."""
NO_SCORE = np.array(NO_SCORES)
WINDOWS = np.array(WINDOW_DAYS)


@compiled
def fill_in_until(room: Room, first_change: int, due: int) -> None:
    """Write into the changes just made until when they hold."""
    i = room.used[U_CHANGES] - 1
    while i >= first_change and room.changes[i]["valid_until_ms"] == 0:
        room.changes[i]["valid_until_ms"] = FOREVER_MS if due == NO_TIME_MS else due
        i -= 1


@compiled
def _model_index(score: int, w: int, r: int, b: int, tables: Tables) -> int:
    """Which version a change names: behind those of the weights come those of the risk model, then the profiles'."""
    if score == RISK and len(tables.risk) > 0:
        return len(tables.weights) + r
    if score == PROFILES and len(tables.books) > 0:
        return len(tables.weights) + len(tables.risk) + b
    return w


@compiled
def copy_text(room: Room, source: NDArray[np.uint8], at: int, length: int) -> int:
    start = room.used[U_TEXT]
    for k in range(length):
        room.text[start + k] = source[at + k]
    room.used[U_TEXT] = start + length
    return start


@compiled
def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@compiled
def emit_changes(
    row: Scratch, user: int, existed: bool, adopting: bool, same_loans: bool, same_profiles: bool, cause: int,
    index: int, event_time_ms: int, loan_at: int, loan_length: int, touched: int, w: int, p: int, r: int, b: int,
    tables: Tables, eyes: Eyes, room: Room,
) -> None:  # fmt: skip
    """Score the row as it is now and append a change for each score that has moved.

    `eyes.before` has gathered what the row was just before; it is scored only where a change has to be explained.
    """
    h, f = row.h, row.f
    now = eyes.now
    gather_inputs(now, row, h[H_TODAY])
    score_value(now, tables, w, p)
    if same_loans:
        copy_loans(now, eyes.before)
    else:
        evaluate_loans(now, row, h[H_TODAY], tables.policies[p])
    evaluate_digits(now, row, tables.weights[w], tables.policies[p])
    score_risk(now, row, tables, r)
    if same_profiles:
        keep_profiles(now, row, h[H_TODAY], tables)
    else:
        score_profiles(now, row, h[H_TODAY], tables, b, p)
    for digit in range(5):
        h[H_STATUS_LEVEL + digit] = now.digits[digit]
    point_at, point_length = -1, 0
    for score in range(SCORES):
        old = f[F_EMITTED + score]
        held = held_at(row, score)
        new = row.override_values[held] if held >= 0 else now.scores[score]
        overridden = (touched >> score & 1) == 1 and not _same(new, old)
        if not overridden and (held >= 0 or not score_moves(row, now, score, p, tables.policies)):
            continue
        if point_at < 0:
            point_at = room.used[U_TEXT]
            if now.whole[W_POINT] >= 0:
                point = row.points[now.whole[W_POINT]]
                point_length = point[P_POINT_LENGTH]
                point_at = copy_text(room, row.arena, point[P_POINT_AT], point_length)
        h[H_SEQUENCE + score] += 1
        f[F_EMITTED + score] = new
        if score == 1:
            for state in range(5):
                h[H_EMITTED_COUNTS + state] = now.counts[state]
        change = room.changes[room.used[U_CHANGES]]
        if score in (STATUS, REVENUE):
            room.told[room.used[U_TOLD]] = room.used[U_CHANGES]
            room.used[U_TOLD] += 1
        room.used[U_CHANGES] += 1
        change["user"], change["event"], change["score"] = user, index, score
        change["cause"] = BY_OVERRIDE if overridden else cause
        _write_bands(change, score, old, new, tables.policies[p])
        change["segment"] = int(now.scores[5])
        change["incarnation_rank"], change["incarnation_offset"] = h[H_INCARNATION_RANK], h[H_INCARNATION_OFFSET]
        change["sequence"] = h[H_SEQUENCE + score]
        change["old"], change["new"] = old, new
        change["event_time_ms"], change["decided_ms"] = event_time_ms, h[H_CLOCK]
        change["valid_until_ms"] = 0
        change["first_event_ms"], change["last_event_ms"] = h[H_FIRST_EVENT], h[H_LAST_EVENT]
        change["events"] = h[H_EVENTS]
        change["weights_version"], change["policy_version"] = _model_index(score, w, r, b, tables), p
        change["point_at"], change["point_length"] = point_at, point_length
        change["loan_at"], change["loan_length"] = loan_at, loan_length
        change["reasons_at"] = room.used[U_REASONS]
        _explain(score, existed, eyes, w, p, r, tables)
        change["confidence"] = now.confidence[score]
        change["base"] = _reasons(score, existed, adopting, old, new, held >= 0, overridden, eyes, room)
        change["reasons_count"] = room.used[U_REASONS] - change["reasons_at"]
        change["hits_at"] = room.used[U_HITS]
        if score == PROFILES:
            _turn_profiles(row, int(old), int(new), b, tables, room)
        change["hits_count"] = room.used[U_HITS] - change["hits_at"]


@compiled
def _turn_profiles(row: Scratch, old: int, new: int, b: int, tables: Tables, room: Room) -> None:
    """Mark the profiles that are entered or left today; say why each holds, or holds no longer."""
    h, today = row.h, row.h[H_TODAY]
    profiles, places, n = tables.profiles[b], row.spending, row.h[H_SPENDING]
    found = categories_in(places, n)
    for i in range(len(profiles)):
        if (old | new) >> i & 1 == 0:
            continue
        profile, held = profiles[i], new >> i & 1
        if held != old >> i & 1:
            _mark(row, profile["key"], today, held)
        hit = room.hits[room.used[U_HITS]]
        room.used[U_HITS] += 1
        since = row.marks[mark_of(row.marks, h[H_MARKS], profile["key"]), K_SINCE]
        hit["profile"], hit["held"], hit["since_ms"] = b * len(profiles) + i, held, start_of_day(tables.days, since)
        hit["category"], hit["strength"], hit["share"], hit["amount_minor"], hit["purchases"] = 0, 0.0, 0.0, 0, 0.0
        if profile["triggers"] == 0:
            continue
        hit["strength"], trigger = strength_of(places, n, found, profile, today)
        categories, half_life_days = profile["categories"][trigger], profile["half_life_days"]
        amount, hit["purchases"] = measures_of(places, n, categories, half_life_days, today)
        hit["amount_minor"] = np.int64(np.rint(amount))
        hit["share"], _ = shares_of(places, n, categories, half_life_days)
        hit["category"] = leading_category(places, n, categories, half_life_days, today)


@compiled
def _mark(row: Scratch, key: int, day: int, held: int) -> None:
    """A profile is entered or left on a day; marks stand in order of their keys."""
    h, marks = row.h, row.marks
    h[H_PROFILE_RULE] = 0
    at = 0
    while at < h[H_MARKS] and marks[at, K_KEY] < key:
        at += 1
    if at == h[H_MARKS] or marks[at, K_KEY] != key:
        for i in range(h[H_MARKS], at, -1):
            for j in range(3):
                marks[i, j] = marks[i - 1, j]
        h[H_MARKS] += 1
    marks[at, K_KEY], marks[at, K_SINCE], marks[at, K_HELD] = key, day, held


@compiled
def _write_bands(change: np.void, score: int, old: float, new: float, policy: Fields) -> None:
    change["old_band"], change["new_band"] = -1, -1
    if score == 0:
        change["old_band"] = band_of(old, policy["value_band_floors"])
        change["new_band"] = band_of(new, policy["value_band_floors"])
    elif score == RISK:
        change["old_band"] = risk_band(old, policy["risk_band_floors"])
        change["new_band"] = risk_band(new, policy["risk_band_floors"])


@compiled
def _add_reason(room: Room, code: int, level: float, moved: float) -> None:
    reason = room.reasons[room.used[U_REASONS]]
    reason["code"], reason["level"], reason["moved"] = code, level, moved
    room.used[U_REASONS] += 1


@compiled
def _explain(score: int, existed: bool, eyes: Eyes, w: int, p: int, r: int, tables: Tables) -> None:
    """Find out what a score is made of, now and just before."""
    if score == 0:
        explain_value(eyes.now, tables, w, p)
        if existed:
            score_value(eyes.before, tables, w, p)
            explain_value(eyes.before, tables, w, p)
    elif score == 1:
        explain_status(eyes.now)
        if existed:
            explain_status(eyes.before)
    elif score == RISK:
        explain_risk(eyes.now, tables, r, p)
        if existed:
            explain_risk(eyes.before, tables, r, p)


@compiled
def _reasons(
    score: int, existed: bool, adopting: bool, old: float, new: float, held: bool, overridden: bool, eyes: Eyes,
    room: Room,
) -> float:  # fmt: skip
    """Append base and signed reasons of one change; answers the base."""
    if FIRST_CODE <= score <= LAST_CODE or score == PROFILES or math.isnan(new):
        return math.nan
    if held:
        _add_reason(room, HELD, new, new if math.isnan(old) else new - old)
        return 0.0
    before = eyes.before
    had = existed and not math.isnan(before.scores[score]) and not math.isnan(old)
    if had:
        under_old = eyes.adopted.scores[score] if adopting else before.scores[score]
        if under_old - old != 0.0:
            _add_reason(room, FREED if overridden else EARLIER, 0.0, under_old - old)
        if before.scores[score] - under_old != 0.0:
            _add_reason(room, NEW_WEIGHTS, 0.0, before.scores[score] - under_old)
    for k in range(LEVELS_FROM[score], LEVELS_TO[score]):
        level = eyes.now.levels[k]
        earlier = before.levels[k] if had else 0.0
        if level != 0.0 or earlier != 0.0:
            _add_reason(room, np.int64(LEVEL_CODES[k]), level, level - earlier)
    return eyes.now.bases[score]


@compiled
def emit_erasure(
    row: Scratch, user: int, index: int, event_time_ms: int, eyes: Eyes,
    rank: int, offset: int, w: int, p: int, r: int, b: int, tables: Tables, room: Room,
) -> None:  # fmt: skip
    """Every score that had been emitted ends."""
    emitted, sequences = eyes.emitted, eyes.sequences
    for score in range(SCORES):
        none = NO_SCORE[score]
        if sequences[score] == 0 or _same(emitted[score], none):
            continue
        change = room.changes[room.used[U_CHANGES]]
        room.used[U_CHANGES] += 1
        change["user"], change["event"], change["score"], change["cause"] = user, index, score, BY_ERASURE
        change["old_band"], change["new_band"], change["segment"] = -1, -1, 0
        change["incarnation_rank"], change["incarnation_offset"] = rank, offset
        change["sequence"] = sequences[score] + 1
        change["old"], change["new"] = emitted[score], none
        change["base"], change["confidence"] = math.nan, math.nan
        change["event_time_ms"], change["decided_ms"] = event_time_ms, row.h[H_CLOCK]
        change["valid_until_ms"] = FOREVER_MS
        change["first_event_ms"], change["last_event_ms"], change["events"] = 0, 0, 0
        change["weights_version"], change["policy_version"] = _model_index(score, w, r, b, tables), p
        change["reasons_at"], change["reasons_count"] = room.used[U_REASONS], 0
        change["hits_at"], change["hits_count"] = room.used[U_HITS], 0
        change["point_at"], change["point_length"] = 0, 0
        change["loan_at"], change["loan_length"] = 0, 0


@compiled
def write_card(row: Scratch, user: int, due: int, tables: Tables, eyes: Eyes, room: Room) -> None:
    """Everything known of a customer now, for the scorecard."""
    h, f = row.h, row.f
    w, p, _ = versions_at(tables, h[H_CLOCK])
    seen = eyes.now  # what the last change was said from: nothing has moved the row since
    card = room.cards[room.used[U_CARDS]]
    room.used[U_CARDS] += 1
    rate_risk(seen, tables, p)
    card["user"], card["segment"] = user, int(seen.scores[5])
    card["first_payment_default"] = seen.whole[W_FIRST_DEFAULT]
    card["has_override"] = h[H_OVERRIDES] > 0
    card["incarnation_rank"], card["incarnation_offset"] = h[H_INCARNATION_RANK], h[H_INCARNATION_OFFSET]
    card["clock_ms"] = h[H_CLOCK]
    card["valid_until_ms"] = FOREVER_MS if due == NO_TIME_MS else due
    card["first_event_ms"], card["last_event_ms"], card["events"] = h[H_FIRST_EVENT], h[H_LAST_EVENT], h[H_EVENTS]
    card["open_loans"] = seen.whole[W_OPEN_LOANS]
    card["forecast"], card["consistency"] = seen.numbers[N_FORECAST], f[F_CONSISTENCY]
    card["efficiency"], card["discipline"] = seen.numbers[N_EFFICIENCY], seen.numbers[N_DISCIPLINE]
    card["weights_version"], card["policy_version"] = w, p
    for score in range(SCORES):
        card["score"][score] = f[F_EMITTED + score]
        card["sequence"][score] = h[H_SEQUENCE + score]
        card["confidence"][score] = seen.confidence[score]
    for state in range(5):
        card["counts"][state] = seen.counts[state]
    balance = 0
    for i in range(h[H_ACCOUNTS]):
        balance += row.accounts[i, A_BALANCE]
    card["balance_minor"] = balance
    for k in range(5):
        card["deposits_minor"][k] = 0
        card["withdrawals_minor"][k] = 0
        card["transactions"][k] = 0
    for i in range(h[H_DAYS]):
        age = h[H_TODAY] - row.days[i, D_DAY]
        for k in range(len(WINDOWS)):
            if age < WINDOWS[k]:
                card["deposits_minor"][k] += row.days[i, D_DEPOSITS]
                card["withdrawals_minor"][k] += row.days[i, D_WITHDRAWALS]
                card["transactions"][k] += row.days[i, D_TRANSACTIONS]
    card["point_at"], card["point_length"] = room.used[U_TEXT], 0
    if seen.whole[W_POINT] >= 0:
        point = row.points[seen.whole[W_POINT]]
        card["point_length"] = point[P_POINT_LENGTH]
        card["point_at"] = copy_text(room, row.arena, point[P_POINT_AT], point[P_POINT_LENGTH])
