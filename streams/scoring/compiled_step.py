"""The hot path: one batch of one partition in one compiled loop. What `streams.scoring.oracle.step` says, in arrays.

User by user: unpack the row, then per record fire timers, fold, score, compare, append; at last fire what the
partition's clock has passed and pack the row again. Nothing is allocated per record. Where an output runs out of room
the loop answers how far it came and the caller, since nothing here has an effect, doubles the room and begins again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FEATURE_SLOTS, WINDOW_DAYS, Columns
from schemas.compiled import compiled, copy_into
from schemas.kinds import FIRST_CODE, LAST_CODE, NO_SCORES, SCORES, Cause, Kind, Reason, Score
from state.calendar import day_of, start_of_day
from state.compiled_fold import (
    Fields,
    advance_row,
    clock_after,
    drop_ended_overrides,
    fold_event,
    is_inversion,
)
from state.compiled_layout import read_row, row_bytes_max, write_row
from state.compiled_row import (
    A_BALANCE,
    A_LAST_DAY,
    ARENA_BYTES,
    D_DAY,
    D_DEPOSITS,
    D_TRANSACTIONS,
    D_WITHDRAWALS,
    F_CONSISTENCY,
    F_EMITTED,
    F_PENDING_FORECAST,
    G_FIRST_ORDER,
    G_LATEST_DUE,
    H_ACCOUNTS,
    H_ARENA,
    H_CLOCK,
    H_CREATED_DAY,
    H_DAYS,
    H_DUE,
    H_EMITTED_COUNTS,
    H_ERASED,
    H_EVENTS,
    H_FIRST_EVENT,
    H_HAS_FOLDED,
    H_HAS_PENDING,
    H_INCARNATION_OFFSET,
    H_INCARNATION_RANK,
    H_LABELS,
    H_LAST_EVENT,
    H_LAST_TRANSACTION_DAY,
    H_LOANS,
    H_MARKS,
    H_OVERRIDES,
    H_PENDING_DAY,
    H_PROFILE_RULE,
    H_SEQUENCE,
    H_SPENDING,
    H_STATUS_LEVEL,
    H_TAKEN,
    H_TODAY,
    K_HELD,
    K_KEY,
    K_SINCE,
    L_DUE,
    L_ID_AT,
    L_ID_LENGTH,
    L_ORDER_DAY,
    L_SETTLED_DAY,
    NO_DAY,
    NO_TIME_MS,
    O_SCORE,
    O_UNTIL,
    P_POINT_AT,
    P_POINT_LENGTH,
    Scratch,
    clear,
)
from state.profiles import PROFILES_MAX
from state.table import NEVER_MS
from streams.scoring.compiled_evaluate import (
    LEVELS,
    N_DISCIPLINE,
    N_EFFICIENCY,
    N_FORECAST,
    REVENUE_AT,
    RISK_AT,
    SEEN,
    STATUS_AT,
    W_DAY,
    W_FIRST_DEFAULT,
    W_LOANS_UNTIL,
    W_OPEN_LOANS,
    W_POINT,
    Seen,
    copy_inputs,
    copy_loans,
    copy_value,
    evaluate,
    evaluate_digits,
    evaluate_loans,
    evaluate_recency,
    explain_risk,
    explain_status,
    explain_value,
    forecast_of_inputs,
    gather_inputs,
    keep_profiles,
    profile_day,
    rate_risk,
    score_profiles,
    score_risk,
    score_value,
    slide_inputs,
)
from streams.scoring.customer_risk import RISK_REASONS, risk_band
from streams.scoring.profiles import (
    NO_PROFILE_DAY,
    categories_in,
    held_profiles,
    leading_category,
    mark_of,
    measures_of,
    shares_of,
    strength_of,
)
from streams.scoring.tables import Tables, version_at
from streams.scoring.value import (
    AGE_EDGES,
    RECENCY_EDGES,
    VALUE_REASONS,
    band_of,
    consistency_after,
    label_of,
    pack_feature,
)

ERASE, OVERRIDE, LIFT, ADVANCE = int(Kind.ERASE), int(Kind.OVERRIDE), int(Kind.LIFT), int(Kind.ADVANCE)
TRANSACTION, RISK, PROFILES = int(Kind.TRANSACTION), int(Score.RISK), int(Score.PROFILES)
BY_EVENT, BY_TIME, BY_CORRECTION = int(Cause.EVENT), int(Cause.TIME), int(Cause.CORRECTION)
BY_OVERRIDE, BY_ERASURE = int(Cause.OVERRIDE), int(Cause.ERASURE)
EARLIER, NEW_WEIGHTS, HELD = int(Reason.EARLIER_SMALL_MOVES), int(Reason.NEW_WEIGHTS), int(Reason.OVERRIDE)
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
CHANGES_OF_ONE_LOOK = SCORES
REASONS_OF_ONE_LOOK = LEVELS + 8
CANDIDATES_MAX = 64
UNKNOWN_MS = np.int64(-(2**62) + 1)
"""A due time that has not been looked for yet, as nothing can be due before the end of the day."""

(U_ROWS, U_CHANGES, U_REASONS, U_TEXT, U_CARDS, U_EXAMPLES, U_INVERSIONS, U_REJECTS, U_CORRUPT, U_HITS) = range(10)
USED = 10


class Room(NamedTuple):
    """Where a call writes, and how much of each is used (`used`, by U_...)."""

    rows: NDArray[np.uint8]
    starts: NDArray[np.int64]
    due_ms: NDArray[np.int64]
    changed: NDArray[np.bool_]
    changes: Columns
    reasons: Columns
    text: NDArray[np.uint8]
    cards: Columns
    examples: Columns
    inversions: Columns
    rejects: NDArray[np.int64]  # (event, code)
    hits: Columns
    used: NDArray[np.int64]


EYES = np.dtype(
    [
        ("now", SEEN),
        ("before", SEEN),  # just before the event
        ("adopted", SEEN),  # likewise, under the earlier versions
        ("ahead", SEEN),
        ("moments", np.int64, (CANDIDATES_MAX,)),
        ("emitted", np.float64, (SCORES,)),
        ("sequences", np.int64, (SCORES,)),
    ]
)
"""Room for the evaluations of one user, as one record."""

Eyes = Any
"""A record of EYES."""


@compiled
def has_room(room: Room) -> bool:
    """Is there room for one more look at any row?"""
    used = room.used
    return (
        used[U_CHANGES] + CHANGES_OF_ONE_LOOK <= len(room.changes)
        and used[U_REASONS] + REASONS_OF_ONE_LOOK <= len(room.reasons)
        and used[U_TEXT] + 4096 <= len(room.text)
        and used[U_EXAMPLES] + 1 <= len(room.examples)
        and used[U_HITS] + PROFILES_MAX <= len(room.hits)
    )


@compiled
def run(
    packed: NDArray[np.uint8],
    starts: NDArray[np.int64],
    user_hash: NDArray[np.uint64],
    events: Columns,
    order: NDArray[np.int64],
    order_starts: NDArray[np.int64],
    money: Columns,
    categories: NDArray[np.uint8],
    text: NDArray[np.uint8],
    clock_ms: int,
    swept_ms: int,
    tables: Tables,
    row: Scratch,
    eyes: Eyes,
    room: Room,
) -> bool:
    """Take the batch; False where an output ran out of room (or a row is corrupt: `used[U_CORRUPT]` names it).

    `order[order_starts[u]:order_starts[u + 1]]` are the events of user u, in merge order. Whoever is in the table has
    been looked at for all new weights up to `swept_ms` that ask for everyone.
    """
    used = room.used
    eyes.now.of_weights = eyes.before.of_weights = eyes.adopted.of_weights = eyes.ahead.of_weights = -1
    eyes.now.of_risk = eyes.before.of_risk = eyes.adopted.of_risk = eyes.ahead.of_risk = -1
    for user in range(len(starts) - 1):
        used[U_CORRUPT] = user
        start, end = starts[user], starts[user + 1]
        if end == start:
            clear(row)
        elif not read_row(packed, start, end, row):
            return False
        used[U_CORRUPT] = -1
        if row.h[H_MARKS] and len(tables.books) > 0:
            held = held_profiles(row.marks, row.h[H_MARKS], tables.profiles[0])
            row.f[F_EMITTED + PROFILES] = float(held)
        changed = False
        first_change = used[U_CHANGES]
        phase = np.int64(user_hash[user] % np.uint64(tables.policies[0]["label_days"]))
        due, looked = row.h[H_DUE], np.int64(-NEVER_MS)
        if row.h[H_INCARNATION_OFFSET] >= 0:
            looked = np.int64(swept_ms)
            swept = _rescore_until(tables.weights, swept_ms)
            if swept > row.h[H_CLOCK]:
                due = _next_due(row, phase, swept, False, tables, eyes)
        wake = np.int64(-NEVER_MS)  # no timer is due before this; only from then on `due` has to be known
        known = False  # `eyes.now` is the row as it stands
        for k in range(order_starts[user], order_starts[user + 1]):
            i = order[k]
            if events[i]["kind"] == ADVANCE:
                continue
            until = events[i]["timestamp_ms"]
            if due == UNKNOWN_MS and until >= wake:
                due = _next_due(row, phase, row.h[H_CLOCK], True, tables, eyes)
            while due != UNKNOWN_MS:
                moment = _next_moment(row, due, looked, tables)
                if moment > until:
                    break
                if not has_room(room):
                    return False
                fired = _fire(row, user, phase, moment, tables, eyes, room)
                due, looked = _next_due(row, phase, moment, fired, tables, eyes), moment
                changed, known = changed or fired, False
                _backfill(room, first_change, due)
            if not has_room(room) or used[U_REJECTS] >= len(room.rejects) or used[U_INVERSIONS] >= len(room.inversions):
                return False
            if row.h[H_ARENA] > ARENA_BYTES // 2 and not _tidy(row, room):
                return False
            said = used[U_CHANGES]
            known = _take(row, user, i, known, events[i], money[i], np.int64(categories[i]), text, tables, eyes, room)
            if known:
                changed = True
                if used[U_CHANGES] > said or row.h[H_INCARNATION_OFFSET] < 0:
                    due = _next_due(row, phase, row.h[H_CLOCK], True, tables, eyes)
                    _backfill(room, first_change, due)
                else:
                    due, wake = UNKNOWN_MS, _wake(row, tables)
        if due == UNKNOWN_MS:
            due = _next_due(row, phase, row.h[H_CLOCK], True, tables, eyes)
        moment = _next_moment(row, due, looked, tables)
        while moment <= clock_ms:
            if not has_room(room):
                return False
            fired = _fire(row, user, phase, moment, tables, eyes, room)
            due, looked = _next_due(row, phase, moment, fired, tables, eyes), moment
            moment = _next_moment(row, due, looked, tables)
            changed = changed or fired
            _backfill(room, first_change, due)
        at = used[U_ROWS]
        room.starts[user] = at
        room.due_ms[user] = NEVER_MS if due == NO_TIME_MS else due
        room.changed[user] = changed
        gone = row.h[H_INCARNATION_OFFSET] < 0 and row.h[H_ERASED] == NO_TIME_MS
        if not changed:
            if at + end - start > len(room.rows):
                return False
            copy_into(room.rows[at : at + end - start], packed[start:end])
            used[U_ROWS] = at + end - start
        elif not gone:
            if at + row_bytes_max(row) > len(room.rows):
                return False
            row.h[H_DUE] = due
            used[U_ROWS] = write_row(row, room.rows, at)
        if used[U_CHANGES] > first_change and row.h[H_INCARNATION_OFFSET] >= 0:
            if used[U_CARDS] >= len(room.cards) or used[U_TEXT] + 512 > len(room.text):
                return False
            _card(row, user, due, tables, eyes, room)
    room.starts[len(starts) - 1] = used[U_ROWS]
    return True


@compiled
def _tidy(row: Scratch, room: Room) -> bool:
    """Drop the text of what the row no longer holds, by packing and unpacking it; False where there is no room to."""
    at = room.used[U_ROWS]
    if at + row_bytes_max(row) > len(room.rows):
        return False
    end = write_row(row, room.rows, at)
    due, profiles = row.h[H_DUE], row.f[F_EMITTED + PROFILES]
    read_row(room.rows, at, end, row)
    row.h[H_DUE], row.f[F_EMITTED + PROFILES] = due, profiles
    return True


@compiled
def _backfill(room: Room, first_change: int, due: int) -> None:
    """Write into the changes just made until when they hold."""
    i = room.used[U_CHANGES] - 1
    while i >= first_change and room.changes[i]["valid_until_ms"] == 0:
        room.changes[i]["valid_until_ms"] = NEVER_MS if due == NO_TIME_MS else due
        i -= 1


@compiled
def _versions_at(tables: Tables, moment_ms: int) -> tuple[int, int, int]:
    weights, policy = version_at(tables.weights, moment_ms), version_at(tables.policies, moment_ms)
    return weights, policy, version_at(tables.risk, moment_ms)


@compiled
def _model_index(score: int, w: int, r: int, b: int, tables: Tables) -> int:
    """Which version a change names: behind those of the weights come those of the risk model, then the profiles'."""
    if score == RISK and len(tables.risk) > 0:
        return len(tables.weights) + r
    if score == PROFILES and len(tables.books) > 0:
        return len(tables.weights) + len(tables.risk) + b
    return w


@compiled
def _next_moment(row: Scratch, due: int, looked: int, tables: Tables) -> int:
    """When time has to look at the row: a timer, or new weights that everyone is scored with."""
    moment = NEVER_MS if due == NO_TIME_MS else due
    if row.h[H_INCARNATION_OFFSET] >= 0:
        moment = min(moment, _rescore_after(tables.weights, max(looked, row.h[H_CLOCK])))
    return moment


@compiled
def _rescore_after(weights: Columns, moment_ms: int) -> int:
    """When everyone is scored anew next."""
    found = NEVER_MS
    for w in range(len(weights) - 1, 0, -1):
        if weights[w]["effective_ms"] <= moment_ms:
            break
        if weights[w]["rescore"]:
            found = weights[w]["effective_ms"]
    return found


@compiled
def _rescore_until(weights: Columns, moment_ms: int) -> int:
    """When everyone was scored anew last."""
    for w in range(len(weights) - 1, 0, -1):
        if weights[w]["rescore"] and weights[w]["effective_ms"] <= moment_ms:
            return weights[w]["effective_ms"]
    return -NEVER_MS


@compiled
def _wake(row: Scratch, tables: Tables) -> int:
    """A moment before which time has nothing to do with the row: the end of its day, of an override, new weights."""
    wake = min(start_of_day(tables.days, row.h[H_TODAY] + 1), _rescore_after(tables.weights, row.h[H_CLOCK]))
    for i in range(row.h[H_OVERRIDES]):
        wake = min(wake, row.overrides[i, O_UNTIL])
    return wake


@compiled
def _take(
    row: Scratch, user: int, i: int, known: bool, event: Fields, money: Fields, category: int, text: NDArray[np.uint8],
    tables: Tables, eyes: Eyes, room: Room,
) -> bool:  # fmt: skip
    """Fold one event and say what it changed; answers whether it was taken. `known`: `eyes.now` is the row as it is."""
    h = row.h
    used = room.used
    clock = clock_after(row, event["timestamp_ms"])
    w, p, r = _versions_at(tables, clock)
    b = version_at(tables.books, clock)
    same_profiles = False
    inverted = is_inversion(row, event["timestamp_ms"], event["rank"])
    existed = h[H_INCARNATION_OFFSET] >= 0
    rank_before, offset_before, taken_before = h[H_INCARNATION_RANK], h[H_INCARNATION_OFFSET], h[H_TAKEN]
    adopting = False
    if existed:
        # What the scores are just before this event: the row as it is, read at the moment of the event.
        today = day_of(tables.days, clock)
        w_before, p_before, r_before = _versions_at(tables, h[H_CLOCK])
        # Nothing but a purchase, a day that is known ahead, another rule moves profiles.
        if category == 0 and p == p_before and b == version_at(tables.books, h[H_CLOCK]):
            same_profiles = day_of(tables.days, clock) < profile_day(row, h[H_TODAY], tables, b, p)
        if known and p_before == p and eyes.now.whole[W_DAY] == today:
            copy_inputs(eyes.before, eyes.now)
            copy_loans(eyes.before, eyes.now)
        else:
            gather_inputs(eyes.before, row, today)
            evaluate_loans(eyes.before, row, today, tables.policies[p])
        score_risk(eyes.before, row, tables, r)
        if w_before != w or p_before != p or r_before != r:
            adopting = True
            evaluate(eyes.adopted, row, today, tables, w_before, p_before, r_before)
    if event["kind"] == ERASE:
        for score in range(SCORES):
            eyes.emitted[score] = row.f[F_EMITTED + score]
            eyes.sequences[score] = h[H_SEQUENCE + score]
    loans_before = h[H_LOANS]
    code = fold_event(row, event, money, category, text, tables.days, tables.policies[p])
    if code != 0:
        room.rejects[used[U_REJECTS], 0] = i
        room.rejects[used[U_REJECTS], 1] = code
        used[U_REJECTS] += 1
        return False
    exists = h[H_INCARNATION_OFFSET] >= 0
    if inverted:
        said = room.inversions[used[U_INVERSIONS]]
        said["event"], said["user"], said["clock_ms"] = i, user, h[H_CLOCK]
        said["incarnation_rank"] = h[H_INCARNATION_RANK] if exists else rank_before
        said["incarnation_offset"] = h[H_INCARNATION_OFFSET] if exists else offset_before
        said["ordinal"] = h[H_TAKEN] - 1 if exists else taken_before
        used[U_INVERSIONS] += 1
    if not exists:
        if existed:
            _emit_erasure(
                row, user, i, event["event_time_ms"], eyes, rank_before, offset_before, w, p, r, b, tables, room
            )
        return True
    touched = 0
    if event["kind"] == OVERRIDE or event["kind"] == LIFT:
        touched = 1 << np.int64(event["score"])
    cause = BY_CORRECTION if event["revision"] > 0 else BY_EVENT
    loan_at = _copy_text(room, text, event["loan_id_at"], event["loan_id_length"])
    same_loans = existed and event["kind"] == TRANSACTION and h[H_LOANS] == loans_before
    _emit(
        row, user, existed, adopting, same_loans, same_profiles, cause, i, event["event_time_ms"], loan_at,
        event["loan_id_length"], touched, w, p, r, b, tables, eyes, room,
    )  # fmt: skip
    return True


@compiled
def _copy_text(room: Room, source: NDArray[np.uint8], at: int, length: int) -> int:
    start = room.used[U_TEXT]
    for k in range(length):
        room.text[start + k] = source[at + k]
    room.used[U_TEXT] = start + length
    return start


@compiled
def _fire(row: Scratch, user: int, phase: int, moment_ms: int, tables: Tables, eyes: Eyes, room: Room) -> bool:
    """One due time is a check: one that says nothing changes nothing, and answers False."""
    h = row.h
    w, p, r = _versions_at(tables, moment_ms)
    b = version_at(tables.books, moment_ms)
    policies = tables.policies
    if h[H_INCARNATION_OFFSET] < 0:
        if h[H_ERASED] != NO_TIME_MS and moment_ms > h[H_ERASED] + policies[p]["duplicate_horizon_ms"]:
            clear(row)
            return True
        return False
    if not _says_something(row, phase, moment_ms, w, p, r, b, tables, eyes):
        return False
    today = day_of(tables.days, moment_ms)
    day_before = day_of(tables.days, moment_ms - 1)
    gather_inputs(eyes.before, row, day_before)
    evaluate_loans(eyes.before, row, day_before, policies[p])
    score_risk(eyes.before, row, tables, r)
    w_before, p_before, r_before = _versions_at(tables, h[H_CLOCK])
    adopting = w_before != w or p_before != p or r_before != r
    if adopting:
        evaluate(eyes.adopted, row, day_before, tables, w_before, p_before, r_before)
    loan_at, loan_length = room.used[U_TEXT], 0
    if moment_ms == start_of_day(tables.days, today):
        at = _crossing_loan(row, today)
        if at >= 0:
            loan_length = row.loans[at, L_ID_LENGTH]
            loan_at = _copy_text(room, row.arena, row.loans[at, L_ID_AT], loan_length)
    advance_row(row, moment_ms, today, policies[p])
    ended = drop_ended_overrides(row, moment_ms)
    if _is_example_moment(row, phase, moment_ms, p, tables):
        _take_example(row, user, today, moment_ms, w, p, tables, eyes, room)
    _emit(
        row, user, True, adopting, False, False, BY_TIME, -1, moment_ms, loan_at, loan_length, ended, w, p, r, b,
        tables, eyes, room,
    )  # fmt: skip
    return True


@compiled
def _crossing_loan(row: Scratch, today: int) -> int:
    for i in range(row.h[H_LOANS]):
        late = today - row.loans[i, L_DUE]
        if row.loans[i, L_SETTLED_DAY] == NO_DAY and late in (1, 31, 91, 181):
            return i
    return -1


@compiled
def _is_active(row: Scratch, day: int, p: int, policies: Columns) -> bool:
    last = row.h[H_LAST_TRANSACTION_DAY]
    return last != NO_DAY and last >= day - policies[p]["example_activity_days"]


@compiled
def _is_example_moment(row: Scratch, phase: int, moment_ms: int, p: int, tables: Tables) -> bool:
    day = day_of(tables.days, moment_ms)
    h = row.h
    if moment_ms != start_of_day(tables.days, day) or (h[H_HAS_PENDING] and h[H_PENDING_DAY] >= day):
        return False
    if (day - phase) % tables.policies[p]["label_days"]:
        return False
    return h[H_HAS_PENDING] != 0 or _is_active(row, day, p, tables.policies)


@compiled
def _take_example(
    row: Scratch, user: int, today: int, moment_ms: int, w: int, p: int, tables: Tables, eyes: Eyes, room: Room
) -> None:
    h, f = row.h, row.f
    if h[H_HAS_PENDING]:
        first = h[H_PENDING_DAY]
        last = first + tables.policies[p]["label_days"] - 1
        moved = 0
        for i in range(h[H_DAYS]):
            if first <= row.days[i, D_DAY] <= last:
                moved += row.days[i, D_DEPOSITS] + row.days[i, D_WITHDRAWALS]
        example = room.examples[room.used[U_EXAMPLES]]
        example["user"], example["day"], example["timestamp_ms"] = user, first, moment_ms
        for j in range(FEATURE_SLOTS):
            example["features"][j] = row.features[j]
        example["forecast"] = f[F_PENDING_FORECAST]
        example["label"] = label_of(moved)
        room.used[U_EXAMPLES] += 1
        f[F_CONSISTENCY] = consistency_after(f[F_CONSISTENCY], f[F_PENDING_FORECAST], moved)
        h[H_LABELS] += 1
        h[H_HAS_PENDING] = 0
    if _is_active(row, today, p, tables.policies):
        gather_inputs(eyes.ahead, row, today)
        f[F_PENDING_FORECAST] = forecast_of_inputs(eyes.ahead, tables.weights[w], w)
        for j in range(FEATURE_SLOTS):
            row.features[j] = pack_feature(eyes.ahead.features[j])
        h[H_HAS_PENDING] = 1
        h[H_PENDING_DAY] = today


@compiled
def _held_at(row: Scratch, score: int) -> int:
    for i in range(row.h[H_OVERRIDES]):
        if row.overrides[i, O_SCORE] == score:
            return i
    return -1


@compiled
def _says_something(
    row: Scratch, phase: int, moment_ms: int, w: int, p: int, r: int, b: int, tables: Tables, eyes: Eyes
) -> bool:
    if _is_appointed(row, phase, moment_ms, tables):
        return True
    evaluate(eyes.ahead, row, day_of(tables.days, moment_ms), tables, w, p, r)
    day = day_of(tables.days, moment_ms)
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
    return _is_example_moment(row, phase, moment_ms, version_at(tables.policies, moment_ms), tables)


@compiled
def _has_moved(row: Scratch, seen: Seen, p: int, tables: Tables) -> bool:
    for score in range(SCORES):  # noqa: SIM110 - numba has no generators here
        if _moves(row, seen, score, p, tables.policies) and _held_at(row, score) < 0:
            return True
    return False


@compiled
def _moves(row: Scratch, seen: Seen, score: int, p: int, policies: Columns) -> bool:
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
def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@compiled
def _emit(
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
        held = _held_at(row, score)
        new = row.override_values[held] if held >= 0 else now.scores[score]
        overridden = (touched >> score & 1) == 1 and not _same(new, old)
        if not overridden and (held >= 0 or not _moves(row, now, score, p, tables.policies)):
            continue
        if point_at < 0:
            point_at = room.used[U_TEXT]
            if now.whole[W_POINT] >= 0:
                point = row.points[now.whole[W_POINT]]
                point_length = point[P_POINT_LENGTH]
                point_at = _copy_text(room, row.arena, point[P_POINT_AT], point_length)
        h[H_SEQUENCE + score] += 1
        f[F_EMITTED + score] = new
        if score == 1:
            for state in range(5):
                h[H_EMITTED_COUNTS + state] = now.counts[state]
        change = room.changes[room.used[U_CHANGES]]
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
        change["base"] = _reasons(score, existed, adopting, old, new, held >= 0, eyes, room)
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
    score: int, existed: bool, adopting: bool, old: float, new: float, held: bool, eyes: Eyes, room: Room
) -> float:
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
            _add_reason(room, EARLIER, 0.0, under_old - old)
        if before.scores[score] - under_old != 0.0:
            _add_reason(room, NEW_WEIGHTS, 0.0, before.scores[score] - under_old)
    for k in range(LEVELS_FROM[score], LEVELS_TO[score]):
        level = eyes.now.levels[k]
        earlier = before.levels[k] if had else 0.0
        if level != 0.0 or earlier != 0.0:
            _add_reason(room, np.int64(LEVEL_CODES[k]), level, level - earlier)
    return eyes.now.bases[score]


@compiled
def _emit_erasure(
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
        change["valid_until_ms"] = NEVER_MS
        change["first_event_ms"], change["last_event_ms"], change["events"] = 0, 0, 0
        change["weights_version"], change["policy_version"] = _model_index(score, w, r, b, tables), p
        change["reasons_at"], change["reasons_count"] = room.used[U_REASONS], 0
        change["hits_at"], change["hits_count"] = room.used[U_HITS], 0
        change["point_at"], change["point_length"] = 0, 0
        change["loan_at"], change["loan_length"] = 0, 0


@compiled
def _next_due(row: Scratch, phase: int, after_ms: int, fresh: bool, tables: Tables, eyes: Eyes) -> int:
    """When time next has to look at the row: the first candidate that would emit, or the last one looked at.

    `fresh`: `eyes.now` is the row as it stands. From it the look ahead goes on: windows are slid, not summed again, and
    loans are looked at only on days on which one of them turns.
    """
    h = row.h
    now_ms = max(after_ms, h[H_CLOCK])
    w, p, r = _versions_at(tables, now_ms)
    weights, policies = tables.weights[w], tables.policies
    if h[H_INCARNATION_OFFSET] < 0:
        return NO_TIME_MS if h[H_ERASED] == NO_TIME_MS else h[H_ERASED] + policies[p]["duplicate_horizon_ms"] + 1
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
    if h[H_HAS_PENDING] != 0 or _is_active(row, example, p, policies):
        n = _offer(moments, n, wanted, example)
    for k in range(n):
        moments[k] = start_of_day(days, moments[k])
    for i in range(h[H_OVERRIDES]):
        if row.overrides[i, O_UNTIL] > now_ms:
            n = _offer(moments, n, wanted, row.overrides[i, O_UNTIL])
    return n


@compiled
def _card(row: Scratch, user: int, due: int, tables: Tables, eyes: Eyes, room: Room) -> None:
    """Everything known of a customer now, for the scorecard."""
    h, f = row.h, row.f
    w, p, _ = _versions_at(tables, h[H_CLOCK])
    seen = eyes.now  # what the last change was said from: nothing has moved the row since
    card = room.cards[room.used[U_CARDS]]
    room.used[U_CARDS] += 1
    rate_risk(seen, tables, p)
    card["user"], card["segment"] = user, int(seen.scores[5])
    card["first_payment_default"] = seen.whole[W_FIRST_DEFAULT]
    card["has_override"] = h[H_OVERRIDES] > 0
    card["incarnation_rank"], card["incarnation_offset"] = h[H_INCARNATION_RANK], h[H_INCARNATION_OFFSET]
    card["clock_ms"] = h[H_CLOCK]
    card["valid_until_ms"] = NEVER_MS if due == NO_TIME_MS else due
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
        card["point_at"] = _copy_text(room, row.arena, point[P_POINT_AT], point[P_POINT_LENGTH])
