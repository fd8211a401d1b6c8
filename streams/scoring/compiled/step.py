"""The hot path: one batch of one partition in one compiled loop. What `streams.scoring.reference.step.step` says, in
arrays.

User by user: unpack the row, then per record fire timers, fold, score, compare, append; at last fire what the
partition's clock has passed and pack the row again. Nothing is allocated per record. Where an output runs out of room
the loop answers how far it came and the caller, since nothing here has an effect, doubles the room and begins again.

Beside it: where it writes (`compiled_room`), how a row is scored (`compiled_evaluate`), when time comes back to it
(`compiled_ahead`), what is said of it (`compiled_saying`), and what is noted of cases (`compiled_cases`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FEATURE_SLOTS, FOREVER_MS, MISSING_TIME_MS, Columns
from schemas.compiled import compiled, copy_into
from schemas.kinds import SCORES, Cause, Kind
from state.calendar import day_of, start_of_day
from state.compiled.fold import (
    ISSUED,
    Fields,
    advance_row,
    clock_after,
    drop_ended_overrides,
    find_loan,
    fold_event,
    is_inversion,
)
from state.compiled.layout import read_row, row_bytes_max, write_row
from state.compiled.row import (
    ARENA_BYTES,
    D_DAY,
    D_DEPOSITS,
    D_WITHDRAWALS,
    F_CONSISTENCY,
    F_EMITTED,
    F_PENDING_FORECAST,
    H_ARENA,
    H_CLOCK,
    H_DAYS,
    H_DUE,
    H_DUPLICATES,
    H_ERASED,
    H_HAS_PENDING,
    H_INCARNATION_OFFSET,
    H_INCARNATION_RANK,
    H_LABELS,
    H_LOANS,
    H_MARKS,
    H_OVERRUNS,
    H_PENDING_DAY,
    H_SEQUENCE,
    H_TAKEN,
    H_TODAY,
    H_WHY,
    H_WHY_DAY,
    L_DUE,
    L_ID_AT,
    L_ID_LENGTH,
    L_SETTLED_DAY,
    NO_DAY,
    NO_TIME_MS,
    Scratch,
    clear,
)
from streams.scoring.compiled.buffers import (
    U_CARDS,
    U_CHANGES,
    U_CORRUPT,
    U_EXAMPLES,
    U_INVERSIONS,
    U_OVERRUNS,
    U_REJECTS,
    U_ROWS,
    U_TEXT,
    Eyes,
    Room,
    has_room,
)
from streams.scoring.compiled.cases import begin_case, end_case, note_defaults
from streams.scoring.compiled.changes import copy_text, emit_changes, emit_erasure, fill_in_until, write_card
from streams.scoring.compiled.evaluate import (
    W_DAY,
    copy_inputs,
    copy_loans,
    evaluate,
    evaluate_loans,
    forecast_of_inputs,
    gather_inputs,
    profile_day,
    score_risk,
)
from streams.scoring.compiled.timers import (
    PROFILES,
    UNKNOWN_MS,
    earliest_wake,
    is_active,
    is_example_moment,
    next_due,
    next_moment,
    rescore_until,
    says_something,
    versions_at,
)
from streams.scoring.profiles import held_profiles
from streams.scoring.tables import Tables, version_at
from streams.scoring.value import consistency_after, label_of, pack_feature

ERASE, OVERRIDE, LIFT, ADVANCE = int(Kind.ERASE), int(Kind.OVERRIDE), int(Kind.LIFT), int(Kind.ADVANCE)
TRANSACTION = int(Kind.TRANSACTION)
NO_ROOM, NOTHING_DUE, CHECKED, FIRED = range(-1, 3)
BY_EVENT, BY_TIME, BY_CORRECTION = int(Cause.EVENT), int(Cause.TIME), int(Cause.CORRECTION)


@compiled
def run(
    packed: NDArray[np.uint8],
    starts: NDArray[np.int64],
    names: NDArray[np.uint8],
    name_starts: NDArray[np.int64],
    user_hash: NDArray[np.uint64],
    events: Columns,
    order: NDArray[np.int64],
    order_starts: NDArray[np.int64],
    money: Columns,
    categories: NDArray[np.uint8],
    text: NDArray[np.uint8],
    clock_ms: int,
    swept_ms: int,
    erased_ms: int,
    before_ms: int,
    tables: Tables,
    row: Scratch,
    eyes: Eyes,
    room: Room,
) -> bool:
    """Take the batch; False where an output ran out of room (or a row is corrupt: `used[U_CORRUPT]` names it).

    `order[order_starts[u]:order_starts[u + 1]]` are the events of user u, in merge order; the key of their row is
    `names[name_starts[u]:name_starts[u + 1]]`. Whoever is in the table has been looked at for all new weights up to
    `swept_ms` that ask for everyone. `erased_ms`, `before_ms`: see `oracle.told_after_ms`.
    """
    used = room.used
    horizon = np.int64(0)
    for p in range(len(tables.policies)):
        horizon = max(horizon, tables.policies[p]["duplicate_horizon_ms"])
    eyes.now.of_weights = eyes.before.of_weights = eyes.adopted.of_weights = eyes.ahead.of_weights = -1
    eyes.now.of_risk = eyes.before.of_risk = eyes.adopted.of_risk = eyes.ahead.of_risk = -1
    for user in range(len(starts) - 1):
        used[U_CORRUPT] = user
        start, end = starts[user], starts[user + 1]
        if not _unpack(packed, start, end, row, tables):
            return False
        used[U_CORRUPT] = -1
        changed = False
        first_change = used[U_CHANGES]
        phase = np.int64(user_hash[user] % np.uint64(tables.policies[0]["label_days"]))
        due, looked = row.h[H_DUE], np.int64(-FOREVER_MS)
        eyes.is_request = is_request(names, name_starts[user], name_starts[user + 1])
        if eyes.is_request:
            looked = np.int64(FOREVER_MS)  # no new weights are for a row without scores
        elif row.h[H_INCARNATION_OFFSET] >= 0:
            looked = np.int64(swept_ms)
            swept = rescore_until(tables.weights, swept_ms)
            if swept > row.h[H_CLOCK]:
                due = next_due(row, phase, swept, False, tables, eyes)
        wake = np.int64(-FOREVER_MS)  # no timer is due before this; only from then on `due` has to be known
        known = False  # `eyes.now` is the row as it stands
        erased, passed = np.int64(erased_ms), np.int64(before_ms)
        for k in range(order_starts[user], order_starts[user + 1]):
            i = order[k]
            if events[i]["kind"] == ADVANCE:
                continue
            until = events[i]["timestamp_ms"]
            if due == UNKNOWN_MS and until >= wake:
                due = next_due(row, phase, row.h[H_CLOCK], True, tables, eyes)
            if due != UNKNOWN_MS:
                due, looked, came = _pass_to(row, user, phase, due, looked, until, first_change, tables, eyes, room)
                if came == NO_ROOM:
                    return False
                changed, known = changed or came == FIRED, known and came == NOTHING_DUE
            if used[U_REJECTS] >= len(room.rejects) or used[U_INVERSIONS] >= len(room.inversions):
                return False
            if not has_room(room, row):
                return False
            if row.h[H_ARENA] > ARENA_BYTES // 2 and not tidy(row, room):
                return False
            said = used[U_CHANGES]
            after = min(erased + horizon, passed - 1)
            known = _take(
                row, user, i, known, after, events[i], money[i], np.int64(categories[i]), text, tables, eyes, room
            )
            passed = max(passed, until)
            if known:
                changed = True
                if events[i]["kind"] == ERASE:
                    erased = max(erased, row.h[H_CLOCK])
                if used[U_CHANGES] > said or row.h[H_INCARNATION_OFFSET] < 0:
                    due = next_due(row, phase, row.h[H_CLOCK], True, tables, eyes)
                    fill_in_until(room, first_change, due)
                else:
                    due, wake = UNKNOWN_MS, earliest_wake(row, tables)
        if due == UNKNOWN_MS:
            due = next_due(row, phase, row.h[H_CLOCK], True, tables, eyes)
        due, looked, came = _pass_to(row, user, phase, due, looked, clock_ms, first_change, tables, eyes, room)
        if came == NO_ROOM:
            return False
        changed = changed or came == FIRED
        if not _leave(packed[start:end], user, due, changed, row, room):
            return False
        if used[U_CHANGES] > first_change and row.h[H_INCARNATION_OFFSET] >= 0:
            if used[U_CARDS] >= len(room.cards) or used[U_TEXT] + 512 > len(room.text):
                return False
            write_card(row, user, due, tables, eyes, room)
    room.starts[len(starts) - 1] = used[U_ROWS]
    return True


@compiled
def is_request(keys: NDArray[np.uint8], start: int, end: int) -> bool:
    """Is this the key of the row of a request? Of all rows theirs alone begin with a zero byte (`schemas.row_keys`)."""
    return bool(end > start and keys[start] == 0)


@compiled
def _unpack(packed: NDArray[np.uint8], start: int, end: int, row: Scratch, tables: Tables) -> bool:
    """The row of one user, empty where there is none yet; False where it cannot be read."""
    if end == start:
        clear(row)
    elif not read_row(packed, start, end, row):
        return False
    if row.h[H_MARKS] and len(tables.books) > 0:
        held = held_profiles(row.marks, row.h[H_MARKS], tables.profiles[0])
        row.f[F_EMITTED + PROFILES] = float(held)
    return True


@compiled
def _pass_to(
    row: Scratch, user: int, phase: int, due: int, looked: int, until_ms: int, first_change: int,
    tables: Tables, eyes: Eyes, room: Room,
) -> tuple[int, int, int]:  # fmt: skip
    """Fire what is due by a time, each at its own; answers the next due time, the last looked at, what came of it."""
    came = NOTHING_DUE
    moment = next_moment(row, due, looked, tables)
    while moment <= until_ms:
        if not has_room(room, row):
            return due, looked, NO_ROOM
        fired = _fire(row, user, phase, moment, tables, eyes, room)
        due, looked = next_due(row, phase, moment, fired, tables, eyes), max(looked, moment)
        came = FIRED if fired else max(came, CHECKED)
        fill_in_until(room, first_change, due)
        moment = next_moment(row, due, looked, tables)
    return due, looked, came


@compiled
def _leave(before: NDArray[np.uint8], user: int, due: int, changed: bool, row: Scratch, room: Room) -> bool:
    """Pack the row of one user, or copy what it was where nothing has changed; False where there is no room to.

    Nothing is left of a life that has ended and of whose erasure nothing is remembered.
    """
    used = room.used
    at = used[U_ROWS]
    room.starts[user] = at
    room.due_ms[user] = FOREVER_MS if due == NO_TIME_MS else due
    room.changed[user] = changed
    if not changed:
        if at + len(before) > len(room.rows):
            return False
        copy_into(room.rows[at : at + len(before)], before)
        used[U_ROWS] = at + len(before)
        return True
    if row.h[H_INCARNATION_OFFSET] < 0 and row.h[H_ERASED] == NO_TIME_MS:
        return True
    if at + row_bytes_max(row) > len(room.rows):
        return False
    row.h[H_DUE] = due
    used[U_ROWS] = write_row(row, room.rows, at)
    return True


@compiled
def tidy(row: Scratch, room: Room) -> bool:
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
def _take(
    row: Scratch, user: int, i: int, known: bool, after: int, event: Fields, money: Fields, category: int,
    text: NDArray[np.uint8], tables: Tables, eyes: Eyes, room: Room,
) -> bool:  # fmt: skip
    """Fold one event and say what it changed; answers whether it was taken. `known`: `eyes.now` is the row as it is."""
    h = row.h
    used = room.used
    clock = clock_after(row, event["timestamp_ms"])
    w, p, r = versions_at(tables, clock)
    b = version_at(tables.books, clock)
    same_profiles = False
    existed = h[H_INCARNATION_OFFSET] >= 0
    marked = not existed and h[H_ERASED] != NO_TIME_MS
    inverted = is_inversion(row, event["timestamp_ms"], event["rank"])
    after_ms = max(h[H_CLOCK], np.int64(after)) if marked else np.int64(after)
    known_before = existed or marked
    tied = event["kind"] == ERASE and known_before and event["timestamp_ms"] <= h[H_CLOCK]
    inverted = inverted or tied or event["timestamp_ms"] <= np.int64(after)
    rank_before, offset_before, taken_before = h[H_INCARNATION_RANK], h[H_INCARNATION_OFFSET], h[H_TAKEN]
    adopting = False
    if existed:
        # What the scores are just before this event: the row as it is, read at the moment of the event.
        today = day_of(tables.days, clock)
        w_before, p_before, r_before = versions_at(tables, h[H_CLOCK])
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
    loans_before, overruns_before, duplicates_before = h[H_LOANS], h[H_OVERRUNS], h[H_DUPLICATES]
    made = event["kind"] == ISSUED and find_loan(row, text, event["loan_id_at"], event["loan_id_length"]) < 0
    code = fold_event(row, event, money, category, text, tables.days, tables.policies[p])
    if code != 0:
        refused = room.rejects[used[U_REJECTS]]
        refused[0], refused[1], refused[2], refused[3] = i, code, h[H_WHY], h[H_WHY_DAY]
        used[U_REJECTS] += 1
        return False
    used[U_OVERRUNS] += max(h[H_OVERRUNS] - overruns_before, 0)  # an erasure sets the row's own count to 0
    noted = begin_case(user, i, event, made, h[H_DUPLICATES] != duplicates_before, room)
    exists = h[H_INCARNATION_OFFSET] >= 0
    if inverted:
        said = room.inversions[used[U_INVERSIONS]]
        said["event"], said["user"], said["clock_ms"] = i, user, h[H_CLOCK]
        said["incarnation_rank"] = h[H_INCARNATION_RANK] if exists else rank_before
        said["incarnation_offset"] = h[H_INCARNATION_OFFSET] if exists else offset_before
        said["ordinal"] = h[H_TAKEN] - 1 if exists else taken_before
        said["after_ms"] = MISSING_TIME_MS if existed else after_ms
        said["forgotten"] = not existed and not marked
        used[U_INVERSIONS] += 1
    if not exists:
        if existed:
            room.ended_ms[user] = h[H_CLOCK]
            emit_erasure(
                row, user, i, event["event_time_ms"], eyes, rank_before, offset_before, w, p, r, b, tables, room
            )
        return True
    if eyes.is_request:
        evaluate(eyes.now, row, h[H_TODAY], tables, w, p, r)  # what its case is made of; nothing is said
        if noted >= 0:
            end_case(room.cases[noted], row, event, text, tables.policies[p], eyes)
        return True
    touched = 0
    if event["kind"] == OVERRIDE or event["kind"] == LIFT:
        touched = 1 << np.int64(event["score"])
    cause = BY_CORRECTION if event["revision"] > 0 else BY_EVENT
    loan_at = copy_text(room, text, event["loan_id_at"], event["loan_id_length"])
    same_loans = existed and event["kind"] == TRANSACTION and h[H_LOANS] == loans_before
    emit_changes(
        row, user, existed, adopting, same_loans, same_profiles, cause, i, event["event_time_ms"], loan_at,
        event["loan_id_length"], touched, w, p, r, b, tables, eyes, room,
    )  # fmt: skip
    if noted >= 0:
        end_case(room.cases[noted], row, event, text, tables.policies[p], eyes)
    return True


@compiled
def _fire(row: Scratch, user: int, phase: int, moment_ms: int, tables: Tables, eyes: Eyes, room: Room) -> bool:
    """One due time is a check: one that says nothing changes nothing, and answers False."""
    h = row.h
    w, p, r = versions_at(tables, moment_ms)
    b = version_at(tables.books, moment_ms)
    policies = tables.policies
    if h[H_INCARNATION_OFFSET] < 0:
        if h[H_ERASED] != NO_TIME_MS and moment_ms > h[H_ERASED] + policies[p]["duplicate_horizon_ms"]:
            clear(row)
            return True
        return False
    if not says_something(row, phase, moment_ms, w, p, r, b, tables, eyes):
        return False
    today = day_of(tables.days, moment_ms)
    day_before = day_of(tables.days, moment_ms - 1)
    gather_inputs(eyes.before, row, day_before)
    evaluate_loans(eyes.before, row, day_before, policies[p])
    score_risk(eyes.before, row, tables, r)
    w_before, p_before, r_before = versions_at(tables, h[H_CLOCK])
    adopting = w_before != w or p_before != p or r_before != r
    if adopting:
        evaluate(eyes.adopted, row, day_before, tables, w_before, p_before, r_before)
    loan_at, loan_length = room.used[U_TEXT], 0
    if moment_ms == start_of_day(tables.days, today):
        at = _crossing_loan(row, today)
        if at >= 0:
            loan_length = row.loans[at, L_ID_LENGTH]
            loan_at = copy_text(room, row.arena, row.loans[at, L_ID_AT], loan_length)
    advance_row(row, moment_ms, today, policies[p])
    ended = drop_ended_overrides(row, moment_ms)
    if is_example_moment(row, phase, moment_ms, p, tables):
        _take_example(row, user, today, moment_ms, w, p, tables, eyes, room)
    said = room.used[U_CHANGES]
    emit_changes(
        row, user, True, adopting, False, False, BY_TIME, -1, moment_ms, loan_at, loan_length, ended, w, p, r, b,
        tables, eyes, room,
    )  # fmt: skip
    if loan_length > 0 and room.used[U_CHANGES] > said:
        note_defaults(row, user, today, moment_ms, room)
    return True


@compiled
def _crossing_loan(row: Scratch, today: int) -> int:
    for i in range(row.h[H_LOANS]):
        late = today - row.loans[i, L_DUE]
        if row.loans[i, L_SETTLED_DAY] == NO_DAY and late in (1, 31, 91, 181):
            return i
    return -1


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
    if is_active(row, today, p, tables.policies):
        gather_inputs(eyes.ahead, row, today)
        f[F_PENDING_FORECAST] = forecast_of_inputs(eyes.ahead, tables.weights[w], w)
        for j in range(FEATURE_SLOTS):
            row.features[j] = pack_feature(eyes.ahead.features[j])
        h[H_HAS_PENDING] = 1
        h[H_PENDING_DAY] = today
