"""The fold, compiled: what `state.fold` says, over a scratch. Function for function the same names and order.

`fold_event` answers a RejectCode; a dead letter leaves the scratch as it was.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import MISSING_TIME_MS
from schemas.compiled import compiled, copy_into
from schemas.kinds import FIRST_CODE, LAST_CODE, Kind, RejectCode
from state.calendar import day_of
from state.compiled.closed import closed_at, id_hash, is_known_payment, remember_closed, remember_payment
from state.compiled.row import (
    A_BALANCE,
    A_BALANCE_REVISION,
    A_BALANCE_TIME,
    A_CURRENCY,
    A_LAST_DAY,
    C_CANCELLED,
    D_DAY,
    F_DECLARED,
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
    H_CLOCK,
    H_CLOSED_UNTIL,
    H_CREATED_DAY,
    H_DAYS,
    H_DAYS_DROPPED,
    H_DAYS_KEPT,
    H_DECLARED_TIME,
    H_DUPLICATES,
    H_ERASED,
    H_EVENTS,
    H_FIRST_EVENT,
    H_FOLDED,
    H_HAS_DECLARED,
    H_HAS_FOLDED,
    H_INCARNATION_OFFSET,
    H_INCARNATION_RANK,
    H_INVERSIONS,
    H_LAST_EVENT,
    H_LAST_RANK,
    H_LAST_TIMESTAMP,
    H_LAST_TRANSACTION_DAY,
    H_LOANS,
    H_MARKS,
    H_OVERRIDES,
    H_OVERRUNS,
    H_POINTS,
    H_SEEN,
    H_TAKEN,
    H_TODAY,
    H_WEB,
    H_WHY,
    H_WHY_DAY,
    K_HELD,
    K_SINCE,
    L_BASE_MARGIN,
    L_BASE_ORDER,
    L_BASE_PROMO,
    L_CURRENCY,
    L_DUE,
    L_ID_AT,
    L_ID_LENGTH,
    L_MARGIN,
    L_MOVE,
    L_MOVES,
    L_ORDER,
    L_ORDER_DAY,
    L_ORDER_MS,
    L_PAID,
    L_POINT,
    L_PROMO,
    L_REVISION,
    L_SETTLED_DAY,
    NO_DAY,
    NO_TIME_MS,
    O_AUTHOR_AT,
    O_AUTHOR_LENGTH,
    O_SCORE,
    O_UNTIL,
    P_POINT_AT,
    P_POINT_LENGTH,
    P_PROVINCE_AT,
    P_PROVINCE_LENGTH,
    S_CLOCK,
    S_CONTENT,
    Scratch,
    clear,
    keep_text,
    same_text,
    text_before,
)
from state.compiled.spending import correct_spending, spend
from state.compiled.sums import PENDING, SUCCEEDED, add_money, counted_state, finds_transaction
from state.currencies import LETTERS, in_unit, own_units, with_unit
from state.refusals import DATE_FIELDS, Why
from state.row import ROW_CURRENCIES_MAX, ROW_DUE_MOVES_MAX, ROW_LOANS_MAX, ROW_POINTS_MAX, WINDOW_DAYS_MAX
from state.spending import spent_on

ERASE, OVERRIDE, LIFT = int(Kind.ERASE), int(Kind.OVERRIDE), int(Kind.LIFT)
APPLICANT, TRANSACTION = int(Kind.APPLICANT), int(Kind.TRANSACTION)
ISSUED, REPAID, CANCELLED = int(Kind.LOAN_ISSUED), int(Kind.LOAN_REPAID), int(Kind.LOAN_CANCELLED)
NONE = int(RejectCode.NONE)
ERASED = int(RejectCode.ERASED)
UNKNOWN_LOAN, LOAN_CLOSED = int(RejectCode.UNKNOWN_LOAN), int(RejectCode.LOAN_CLOSED)
LOAN_EXISTS, TOO_MANY_LOANS = int(RejectCode.LOAN_EXISTS), int(RejectCode.TOO_MANY_LOANS)
CANCEL_AFTER_DUE, PAYMENT_CURRENCY = int(RejectCode.CANCEL_AFTER_DUE), int(RejectCode.PAYMENT_CURRENCY)
TOO_MANY_CURRENCIES = int(RejectCode.TOO_MANY_CURRENCIES)
TOO_MANY_DUE_DATES = int(RejectCode.TOO_MANY_DUE_DATES)
OVERRIDE_OUT_OF_RANGE = int(RejectCode.OVERRIDE_OUT_OF_RANGE)
EVENT_ID_REUSED, CORRECTION_OF_NOTHING = int(RejectCode.EVENT_ID_REUSED), int(RejectCode.CORRECTION_OF_NOTHING)
OVERRIDE_EXPIRED = int(RejectCode.OVERRIDE_EXPIRED)
IMPLAUSIBLE_DATE = int(RejectCode.IMPLAUSIBLE_DATE)
FIRST_DATED = min(int(kind) for kind in DATE_FIELDS)
"""Kinds from this one on have a date of their own; those before it are commands."""
NO_WHY, SETTLED, CLOSED_AS_CANCELLED, FORGOTTEN = (
    int(Why.NONE),
    int(Why.SETTLED),
    int(Why.CANCELLED),
    int(Why.FORGOTTEN),
)
DATE_TOO_EARLY, PREVIOUS_DATE_TOO_EARLY = int(Why.DATE_TOO_EARLY), int(Why.PREVIOUS_DATE_TOO_EARLY)
DUE_BEFORE_ORDER, PAID_BEFORE_ORDER = int(Why.DUE_BEFORE_ORDER), int(Why.PAID_BEFORE_ORDER)
PREVIOUS_PAID_BEFORE_ORDER = int(Why.PREVIOUS_PAID_BEFORE_ORDER)


Fields = Any
"""A record of a structured array: an event, its money, a policy. Compiled functions pass it as a bare pointer."""


@compiled
def is_inversion(row: Scratch, timestamp_ms: int, rank: int) -> bool:
    """See `state.fold.is_inversion`."""
    h = row.h
    if h[H_INCARNATION_OFFSET] < 0 and h[H_ERASED] == NO_TIME_MS:
        return False
    behind = timestamp_ms < h[H_LAST_TIMESTAMP] or (timestamp_ms == h[H_LAST_TIMESTAMP] and rank < h[H_LAST_RANK])
    return behind or timestamp_ms < h[H_CLOCK]


@compiled
def clock_after(row: Scratch, timestamp_ms: int) -> int:
    """The user's clock once a record of this timestamp is taken."""
    if row.h[H_INCARNATION_OFFSET] < 0 and row.h[H_ERASED] == NO_TIME_MS:
        return timestamp_ms
    return max(row.h[H_CLOCK], timestamp_ms)


@compiled
def fold_event(
    row: Scratch, event: Fields, money: Fields, category: int, text: NDArray[np.uint8], days: NDArray[np.int64],
    policy: Fields,
) -> int:  # fmt: skip
    """Take an event into the scratch; answers why it is a dead letter, or 0. `category`: of what was bought.

    What more there is to say of a dead letter (`state.refusals`) is in `h[H_WHY]` and `h[H_WHY_DAY]`.
    """
    clock = clock_after(row, event["timestamp_ms"])
    today = day_of(days, clock)
    event_day = day_of(days, event["event_time_ms"])
    seen = _find_seen(row, event["event_hash"], clock, policy)
    if seen < 0:
        row.h[H_WHY], row.h[H_WHY_DAY] = NO_WHY, 0
        code = _refuse(row, event, money, text, clock, today, event_day, days, policy)
        if code != NONE:
            return code
    elif row.seen[seen, S_CONTENT] != np.int64(event["content_hash"]):
        row.h[H_WHY], row.h[H_WHY_DAY] = NO_WHY, 0
        return EVENT_ID_REUSED
    repeated = seen >= 0 or _repeats_of_loan(row, event, text)
    _take(row, event["timestamp_ms"], event["rank"], event["offset"], event["kind"], clock, today, policy)
    h = row.h
    if repeated:
        h[H_DUPLICATES] += 1
        return NONE
    _remember(row, event["event_time_ms"], event["event_hash"], np.int64(event["content_hash"]), policy)
    event_ms = event["event_time_ms"]
    kind = event["kind"]
    if kind == ERASE:
        _erase(row)
    elif kind == TRANSACTION:
        _fold_transaction(row, event, money, category, today, event_day, days)
    elif kind == ISSUED:
        _fold_issued(row, event, money, text, today, days)
    elif kind == REPAID:
        _fold_repaid(row, event, text, today, event_day, days)
    elif kind == CANCELLED:
        at = find_loan(row, text, event["loan_id_at"], event["loan_id_length"])
        remember_closed(row, at, 1)
        _remove_loan(row, at)
    elif kind == OVERRIDE:
        _drop_override(row, np.int64(event["score"]))
        _add_override(row, event, text)
    elif kind == LIFT:
        _drop_override(row, np.int64(event["score"]))
    elif kind == APPLICANT and (h[H_HAS_DECLARED] == 0 or event_ms >= h[H_DECLARED_TIME]):
        h[H_HAS_DECLARED] = 1
        h[H_DECLARED_TIME] = event_ms
        for j in range(8):
            row.f[F_DECLARED + j] = event["declared"][j]
    return NONE


@compiled
def advance_row(row: Scratch, clock: int, today: int, policy: Fields) -> None:
    """See `state.fold.advance_row`."""
    h = row.h
    h[H_CLOCK], h[H_TODAY] = clock, today
    old = 0
    while old < h[H_DAYS] and row.days[old, D_DAY] <= today - WINDOW_DAYS_MAX:
        old += 1
    if old:
        for i in range(old, h[H_DAYS]):
            for j in range(5):
                row.days[i - old, j] = row.days[i, j]
        h[H_DAYS] -= old
        h[H_DAYS_DROPPED] += old
        h[H_DAYS_KEPT] = max(0, h[H_DAYS_KEPT] - old)
    kept = 0
    for i in range(h[H_SEEN]):
        if clock - row.seen[i, S_CLOCK] <= policy["duplicate_horizon_ms"]:
            if kept != i:
                row.seen_hash[kept] = row.seen_hash[i]
                row.seen[kept, 0] = row.seen[i, 0]
                row.seen[kept, 1] = row.seen[i, 1]
            kept += 1
    h[H_SEEN] = kept
    if h[H_ERASED] != NO_TIME_MS and clock > h[H_ERASED] + policy["duplicate_horizon_ms"]:
        h[H_ERASED] = NO_TIME_MS
    if h[H_MARKS]:
        _drop_marks(row, today - policy["profile_dwell_days"])
    i = 0
    while i < h[H_LOANS]:
        if is_closed(row, i, today, policy):
            _fold_loan(row, i, policy)
            remember_closed(row, i, 0)
            _remove_loan(row, i)
        else:
            i += 1


@compiled
def _drop_marks(row: Scratch, until_day: int) -> None:
    """Profiles that were left by then may be entered again, as if they had never held."""
    kept = 0
    for i in range(row.h[H_MARKS]):
        if row.marks[i, K_HELD] or row.marks[i, K_SINCE] > until_day:
            for j in range(3):
                row.marks[kept, j] = row.marks[i, j]
            kept += 1
    row.h[H_MARKS] = kept


@compiled
def is_closed(row: Scratch, i: int, today: int, policy: Fields) -> bool:
    """See `state.fold.is_closed`."""
    settled = row.loans[i, L_SETTLED_DAY]
    return settled != NO_DAY and today >= settled + policy["fold_loan_after_days"]


@compiled
def _find_seen(row: Scratch, event_hash: int, clock: int, policy: Fields) -> int:
    if event_hash == 0:
        return -1
    for i in range(row.h[H_SEEN]):
        if row.seen_hash[i] == event_hash and clock - row.seen[i, S_CLOCK] <= policy["duplicate_horizon_ms"]:
            return i
    return -1


@compiled
def _repeats_of_loan(row: Scratch, event: Fields, text: NDArray[np.uint8]) -> bool:
    if event["kind"] != ISSUED and event["kind"] != REPAID:
        return False
    at = find_loan(row, text, event["loan_id_at"], event["loan_id_length"])
    if at < 0:
        return False
    if event["kind"] == ISSUED:
        return np.int64(event["revision"]) < row.loans[at, L_REVISION]
    return is_known_payment(row, at, event["event_hash"], event["content_hash"])


@compiled
def _refused(row: Scratch, code: int, why: int, day: int) -> int:
    row.h[H_WHY], row.h[H_WHY_DAY] = why, day
    return code


@compiled
def _refuse(
    row: Scratch, event: Fields, money: Fields, text: NDArray[np.uint8], clock: int, today: int, event_day: int,
    days: NDArray[np.int64], policy: Fields,
) -> int:  # fmt: skip
    h = row.h
    kind = event["kind"]
    if money["code"] != 0:
        return np.int64(money["code"])
    erased = h[H_ERASED] != NO_TIME_MS and clock <= h[H_ERASED] + policy["duplicate_horizon_ms"]
    if erased and event["event_time_ms"] < h[H_ERASED]:
        return ERASED
    if kind >= FIRST_DATED:
        code = _refuse_dates(row, event, event_day, days, policy)
        if code != NONE:
            return code
    if kind == TRANSACTION:
        return _refuse_transaction(row, event, money, today, days)
    if kind == ISSUED:
        return _refuse_issued(row, event, text, today, event_day, days, policy)
    if kind in (REPAID, CANCELLED):
        return _refuse_step(row, event, text, today, event_day, days, policy)
    if kind == OVERRIDE:
        if not _is_possible(np.int64(event["score"]), event["value"]):
            return OVERRIDE_OUT_OF_RANGE
        if event["until_ms"] <= clock:
            return OVERRIDE_EXPIRED
    return NONE


@compiled
def _refuse_dates(row: Scratch, event: Fields, event_day: int, days: NDArray[np.int64], policy: Fields) -> int:
    first_day = policy["dates_from_day"]
    if event_day < first_day:
        return _refused(row, IMPLAUSIBLE_DATE, DATE_TOO_EARLY, first_day)
    if event["has_previous"] and day_of(days, event["previous_time_ms"]) < first_day:
        return _refused(row, IMPLAUSIBLE_DATE, PREVIOUS_DATE_TOO_EARLY, first_day)
    if event["kind"] == ISSUED and day_of(days, event["due_ms"]) < event_day:
        return _refused(row, IMPLAUSIBLE_DATE, DUE_BEFORE_ORDER, 0)
    return NONE


@compiled
def _refuse_closed(row: Scratch, closed: int) -> int:
    return _refused(row, LOAN_CLOSED, CLOSED_AS_CANCELLED if row.closed[closed, C_CANCELLED] else SETTLED, 0)


@compiled
def _refuse_step(
    row: Scratch, event: Fields, text: NDArray[np.uint8], today: int, event_day: int, days: NDArray[np.int64],
    policy: Fields,
) -> int:  # fmt: skip
    at = find_loan(row, text, event["loan_id_at"], event["loan_id_length"])
    if at < 0:
        closed = closed_at(row, id_hash(text, event["loan_id_at"], event["loan_id_length"]))
        return UNKNOWN_LOAN if closed < 0 else _refuse_closed(row, closed)
    if is_closed(row, at, today, policy):
        return _refused(row, LOAN_CLOSED, SETTLED, 0)
    loan = row.loans[at]
    if event["kind"] == REPAID:
        first_day = loan[L_ORDER_DAY] - policy["payment_days_before_order"]
        if event_day < first_day:
            return _refused(row, IMPLAUSIBLE_DATE, PAID_BEFORE_ORDER, loan[L_ORDER_DAY])
        if event["has_previous"] and day_of(days, event["previous_time_ms"]) < first_day:
            return _refused(row, IMPLAUSIBLE_DATE, PREVIOUS_PAID_BEFORE_ORDER, loan[L_ORDER_DAY])
        currency = np.int64(event["currency"])
        if currency != 0 and currency != loan[L_CURRENCY] & LETTERS:
            return PAYMENT_CURRENCY
        if event["has_previous"] and not _finds_payment(row, at, event, days):
            return CORRECTION_OF_NOTHING
        return NONE
    touched = today > loan[L_DUE]
    for state in range(5):
        touched = touched or loan[L_PAID + state] != 0
    return CANCEL_AFTER_DUE if touched and not policy["cancel_after_due"] else NONE


@compiled
def _finds_payment(row: Scratch, at: int, event: Fields, days: NDArray[np.int64]) -> bool:
    if is_known_payment(row, at, event["event_hash"], event["content_hash"]):
        return True
    loan, previous_day = row.loans[at], day_of(days, event["previous_time_ms"])
    state = state_of_days_past_due(previous_day - due_day_on(row, at, previous_day))
    return loan[L_PAID + state] >= np.int64(own_units(event["previous_amount"], loan[L_CURRENCY]))


@compiled
def _is_possible(score: int, value: float) -> bool:
    largest = 5.0
    if score == 2:
        largest = 2.0
    elif score == 3:
        largest = 6.0
    elif score == 4:
        largest = 555.0
    elif score == 6:
        largest = 1.0
    elif score == 7:
        largest = -1.0
    is_code = FIRST_CODE <= score <= LAST_CODE
    return 0.0 <= value <= largest and (not is_code or value == math.floor(value))


@compiled
def _refuse_transaction(row: Scratch, event: Fields, money: Fields, today: int, days: NDArray[np.int64]) -> int:
    if event["has_previous"]:
        amount, earlier_currency = money["previous_amount"], np.int64(event["previous_currency"])
        state = counted_state(np.int64(event["previous_state"]), event["previous_amount"])
        day = min(day_of(days, event["previous_time_ms"]), today)
        if not finds_transaction(row, state, earlier_currency, amount, day, today):
            return CORRECTION_OF_NOTHING
    currency, previous = np.int64(event["currency"]), np.int64(event["previous_currency"])
    wanted = row.h[H_ACCOUNTS]
    knows, knows_previous = False, False
    for k in range(row.h[H_ACCOUNTS]):
        knows = knows or row.accounts[k, A_CURRENCY] == currency
        knows_previous = knows_previous or row.accounts[k, A_CURRENCY] == previous
    if not knows:
        wanted += 1
    if event["has_previous"] and not knows_previous and previous != currency:
        wanted += 1
    return TOO_MANY_CURRENCIES if wanted > ROW_CURRENCIES_MAX else NONE


@compiled
def _refuse_issued(
    row: Scratch, event: Fields, text: NDArray[np.uint8], today: int, event_day: int, days: NDArray[np.int64],
    policy: Fields,
) -> int:  # fmt: skip
    at = find_loan(row, text, event["loan_id_at"], event["loan_id_length"])
    if at < 0:
        closed = closed_at(row, id_hash(text, event["loan_id_at"], event["loan_id_length"]))
        if closed >= 0:
            return _refuse_closed(row, closed)
        if event_day <= row.h[H_CLOSED_UNTIL]:
            return _refused(row, LOAN_CLOSED, FORGOTTEN, row.h[H_CLOSED_UNTIL])
        new_point = _find_point(row, text, event["point_at"], event["point_length"]) < 0
        points = row.h[H_POINTS] + (1 if new_point else 0)
        return TOO_MANY_LOANS if row.h[H_LOANS] >= ROW_LOANS_MAX or points > ROW_POINTS_MAX else NONE
    loan = row.loans[at]
    if is_closed(row, at, today, policy):
        return _refused(row, LOAN_CLOSED, SETTLED, 0)
    revision = np.int64(event["revision"])
    if revision == loan[L_REVISION]:
        return LOAN_EXISTS
    moved = revision > loan[L_REVISION] and day_of(days, event["due_ms"]) != loan[L_DUE]
    return TOO_MANY_DUE_DATES if moved and loan[L_MOVES] >= ROW_DUE_MOVES_MAX else NONE


@compiled
def _take(
    row: Scratch, timestamp_ms: int, rank: int, offset: int, kind: int, clock: int, today: int, policy: Fields
) -> None:
    h = row.h
    if is_inversion(row, timestamp_ms, rank):
        h[H_INVERSIONS] += 1
    known = h[H_INCARNATION_OFFSET] >= 0 or h[H_ERASED] != NO_TIME_MS
    behind = timestamp_ms < h[H_LAST_TIMESTAMP] or (timestamp_ms == h[H_LAST_TIMESTAMP] and rank < h[H_LAST_RANK])
    if not known or not behind:
        h[H_LAST_TIMESTAMP], h[H_LAST_RANK] = timestamp_ms, rank
    if h[H_INCARNATION_OFFSET] < 0 and kind != ERASE:
        h[H_INCARNATION_RANK], h[H_INCARNATION_OFFSET] = rank, offset
        h[H_TAKEN] = 0
    h[H_TAKEN] += 1
    advance_row(row, clock, today, policy)


@compiled
def _remember(row: Scratch, event_ms: int, event_hash: int, content_hash: int, policy: Fields) -> None:
    h = row.h
    if h[H_EVENTS] == 0:
        h[H_FIRST_EVENT], h[H_LAST_EVENT] = event_ms, event_ms
    else:
        h[H_FIRST_EVENT] = min(h[H_FIRST_EVENT], event_ms)
        h[H_LAST_EVENT] = max(h[H_LAST_EVENT], event_ms)
    h[H_EVENTS] += 1
    if event_hash == 0:
        return
    n = h[H_SEEN]
    row.seen_hash[n] = event_hash
    row.seen[n, S_CONTENT] = content_hash
    row.seen[n, S_CLOCK] = h[H_CLOCK]
    n += 1
    if n > policy["duplicates_max"]:
        for k in range(1, n):
            row.seen_hash[k - 1] = row.seen_hash[k]
            row.seen[k - 1, 0] = row.seen[k, 0]
            row.seen[k - 1, 1] = row.seen[k, 1]
        n -= 1
        h[H_OVERRUNS] += 1
    h[H_SEEN] = n


@compiled
def _erase(row: Scratch) -> None:
    h = row.h
    clock, today = h[H_CLOCK], h[H_TODAY]
    timestamp, rank = h[H_LAST_TIMESTAMP], h[H_LAST_RANK]
    clear(row)
    h[H_CLOCK], h[H_TODAY] = clock, today
    h[H_LAST_TIMESTAMP], h[H_LAST_RANK] = timestamp, rank
    h[H_ERASED] = clock


@compiled
def _fold_transaction(
    row: Scratch, event: Fields, money: Fields, category: int, today: int, event_day: int, days: NDArray[np.int64]
) -> None:
    h = row.h
    amount = money["amount"]
    state = counted_state(np.int64(event["state"]), event["amount"])
    add_money(row, today, event_day, state, amount, 1)
    if event["has_previous"]:
        previous = money["previous_amount"]
        previous_state = counted_state(np.int64(event["previous_state"]), event["previous_amount"])
        previous_day = day_of(days, event["previous_time_ms"])
        add_money(row, today, previous_day, previous_state, previous, -1)
        correct_spending(row, event, category, state, amount, min(event_day, today), previous_state, previous,
                         min(previous_day, today), today)  # fmt: skip
    elif state == SUCCEEDED:
        spend(row, spent_on(category, np.int64(event["category"]), amount), min(event_day, today), amount, 1, today)
    if state == PENDING:
        return
    account = row.accounts[_account(row, np.int64(event["currency"]))]
    if state == SUCCEEDED:
        account[A_LAST_DAY] = max(account[A_LAST_DAY], event_day)
    event_ms, revision = event["event_time_ms"], np.int64(event["revision"])
    if not math.isnan(event["balance"]):
        known = account[A_BALANCE_TIME]
        newer = event_ms > known or (event_ms == known and revision >= account[A_BALANCE_REVISION])
        if known == NO_TIME_MS or newer:
            account[A_BALANCE] = money["balance"]
            account[A_BALANCE_TIME] = event_ms
            account[A_BALANCE_REVISION] = revision
    if h[H_LAST_TRANSACTION_DAY] == NO_DAY or event_day >= h[H_LAST_TRANSACTION_DAY]:
        h[H_LAST_TRANSACTION_DAY] = event_day
        h[H_WEB] = 1 if event["web"] else 0
    if event["created_ms"] != MISSING_TIME_MS:
        created = day_of(days, event["created_ms"])
        h[H_CREATED_DAY] = created if h[H_CREATED_DAY] == NO_DAY else min(h[H_CREATED_DAY], created)


@compiled
def _account(row: Scratch, currency: int) -> int:
    n = row.h[H_ACCOUNTS]
    for i in range(n):
        if row.accounts[i, A_CURRENCY] == currency:
            return i
    account = row.accounts[n]
    account[:] = 0
    account[A_CURRENCY] = currency
    account[A_LAST_DAY] = NO_DAY
    account[A_BALANCE_TIME] = NO_TIME_MS
    row.h[H_ACCOUNTS] = n + 1
    return n


@compiled
def find_loan(row: Scratch, text: NDArray[np.uint8], at: int, length: int) -> int:
    """Which loan of the row has this loan_id, -1 where none has."""
    for i in range(row.h[H_LOANS]):
        if same_text(row, row.loans[i, L_ID_AT], row.loans[i, L_ID_LENGTH], text, at, length):
            return i
    return -1


@compiled
def _remove_loan(row: Scratch, at: int) -> None:
    for k in range(at, row.h[H_LOANS] - 1):
        copy_into(row.loans[k], row.loans[k + 1])
    row.h[H_LOANS] -= 1


@compiled
def _find_point(row: Scratch, text: NDArray[np.uint8], at: int, length: int) -> int:
    for i in range(row.h[H_POINTS]):
        if same_text(row, row.points[i, P_POINT_AT], row.points[i, P_POINT_LENGTH], text, at, length):
            return i
    return -1


@compiled
def _fold_issued(
    row: Scratch, event: Fields, money: Fields, text: NDArray[np.uint8], today: int, days: NDArray[np.int64]
) -> None:
    h = row.h
    at = find_loan(row, text, event["loan_id_at"], event["loan_id_length"])
    revision = np.int64(event["revision"])
    point = _find_point(row, text, event["point_at"], event["point_length"])
    if point < 0:
        point = h[H_POINTS]
        h[H_POINTS] = point + 1
        row.points[point, P_POINT_AT] = keep_text(row, text, event["point_at"], event["point_length"])
        row.points[point, P_POINT_LENGTH] = event["point_length"]
        row.points[point, P_PROVINCE_AT] = keep_text(row, text, event["province_at"], event["province_length"])
        row.points[point, P_PROVINCE_LENGTH] = event["province_length"]
    due_day = day_of(days, event["due_ms"])
    is_new = at < 0
    if is_new:
        at = h[H_LOANS]
        h[H_LOANS] = at + 1
    loan = row.loans[at]
    if is_new:
        loan[:] = 0
        loan[L_ID_AT] = keep_text(row, text, event["loan_id_at"], event["loan_id_length"])
        loan[L_ID_LENGTH] = event["loan_id_length"]
        loan[L_SETTLED_DAY] = NO_DAY
    elif due_day != loan[L_DUE]:
        move = L_MOVE + 2 * loan[L_MOVES]
        loan[move], loan[move + 1] = today, loan[L_DUE]
        loan[L_MOVES] += 1
    currency = with_unit(np.int64(event["currency"]))
    if not is_new:
        for state in range(5):
            loan[L_PAID + state] = in_unit(loan[L_PAID + state], loan[L_CURRENCY], currency)
    loan[L_CURRENCY] = currency
    loan[L_ORDER] = money["own_order_amount"]
    loan[L_MARGIN] = money["own_gross_margin"]
    loan[L_PROMO] = money["own_promo"]
    loan[L_BASE_ORDER] = money["base_order_amount"]
    loan[L_BASE_MARGIN] = money["base_gross_margin"]
    loan[L_BASE_PROMO] = money["base_promo"]
    loan[L_ORDER_MS] = event["event_time_ms"]
    loan[L_ORDER_DAY] = day_of(days, event["event_time_ms"])
    loan[L_DUE] = due_day
    loan[L_POINT] = point
    loan[L_REVISION] = revision
    if not is_new:
        _settle(row, at, today)


@compiled
def due_day_on(row: Scratch, at: int, day: int) -> int:
    """See `state.row.Loan.due_day_on`."""
    loan = row.loans[at]
    for k in range(loan[L_MOVES]):
        if day <= loan[L_MOVE + 2 * k]:
            return loan[L_MOVE + 2 * k + 1]
    return loan[L_DUE]


@compiled
def state_of_days_past_due(days: int) -> int:
    """See `state.loans`."""
    if days >= 181:
        return 4
    if days >= 91:
        return 3
    if days >= 31:
        return 2
    return 1 if days >= 1 else 0


@compiled
def _fold_repaid(
    row: Scratch, event: Fields, text: NDArray[np.uint8], today: int, event_day: int, days: NDArray[np.int64]
) -> None:
    at = find_loan(row, text, event["loan_id_at"], event["loan_id_length"])
    if remember_payment(row, at, event["event_hash"], event["content_hash"]):
        row.h[H_OVERRUNS] += 1
    state = state_of_days_past_due(event_day - due_day_on(row, at, event_day))
    currency = row.loans[at, L_CURRENCY]
    row.loans[at, L_PAID + state] += np.int64(own_units(event["amount"], currency))
    if event["has_previous"]:
        previous_day = day_of(days, event["previous_time_ms"])
        state = state_of_days_past_due(previous_day - due_day_on(row, at, previous_day))
        row.loans[at, L_PAID + state] -= np.int64(own_units(event["previous_amount"], currency))
    _settle(row, at, today)


@compiled
def settled_state(row: Scratch, at: int) -> int:
    """The state in which the loan was settled, -1 while it is not; see `state.loans.fill_states`."""
    loan = row.loans[at]
    rest = loan[L_ORDER]
    for state in range(5):
        rest -= min(max(loan[L_PAID + state], 0), rest)
        if rest == 0:
            return state
    return -1


@compiled
def filled_part(row: Scratch, at: int, wanted: int) -> int:
    """How much of the order amount the payments of one state fill."""
    loan = row.loans[at]
    rest = loan[L_ORDER]
    part = np.int64(0)
    for state in range(wanted + 1):
        part = min(max(loan[L_PAID + state], 0), rest)
        rest -= part
    return part


@compiled
def _settle(row: Scratch, at: int, today: int) -> None:
    loan = row.loans[at]
    if settled_state(row, at) < 0:
        loan[L_SETTLED_DAY] = NO_DAY
    elif loan[L_SETTLED_DAY] == NO_DAY:
        loan[L_SETTLED_DAY] = today


@compiled
def cost_minor(row: Scratch, at: int, rates: NDArray[np.float64]) -> int:
    """See `state.loans.cost_minor`."""
    loan = row.loans[at]
    weighted = 0.0
    rest = loan[L_ORDER]
    for state in range(5):
        part = min(max(loan[L_PAID + state], 0), rest)
        rest -= part
        weighted += rates[state] * float(part)
    return np.int64(np.rint(float(max(loan[L_BASE_MARGIN], 0)) * (weighted / float(loan[L_ORDER]))))


@compiled
def _fold_loan(row: Scratch, at: int, policy: Fields) -> None:
    h = row.h
    loan = row.loans[at]
    defaulted = 1 if filled_part(row, at, 0) < loan[L_ORDER] else 0
    if h[H_HAS_FOLDED] == 0:
        h[H_HAS_FOLDED] = 1
        h[G_LATEST_DUE], h[G_FIRST_ORDER], h[G_FIRST_DUE] = loan[L_DUE], loan[L_ORDER_DAY], loan[L_DUE]
        h[G_FIRST_ID_AT], h[G_FIRST_ID_LENGTH] = loan[L_ID_AT], loan[L_ID_LENGTH]
        h[G_FIRST_DEFAULTED] = defaulted
        h[G_POINT_ORDER_MS], h[G_POINT] = loan[L_ORDER_MS], loan[L_POINT]
        h[G_POINT_ID_AT], h[G_POINT_ID_LENGTH] = loan[L_ID_AT], loan[L_ID_LENGTH]
    earlier = text_before(row, loan[L_ID_AT], loan[L_ID_LENGTH], h[G_FIRST_ID_AT], h[G_FIRST_ID_LENGTH])
    if loan[L_DUE] < h[G_FIRST_DUE] or (loan[L_DUE] == h[G_FIRST_DUE] and earlier):
        h[G_FIRST_DUE], h[G_FIRST_DEFAULTED] = loan[L_DUE], defaulted
        h[G_FIRST_ID_AT], h[G_FIRST_ID_LENGTH] = loan[L_ID_AT], loan[L_ID_LENGTH]
    later = text_before(row, h[G_POINT_ID_AT], h[G_POINT_ID_LENGTH], loan[L_ID_AT], loan[L_ID_LENGTH])
    if loan[L_ORDER_MS] > h[G_POINT_ORDER_MS] or (loan[L_ORDER_MS] == h[G_POINT_ORDER_MS] and later):
        h[G_POINT_ORDER_MS], h[G_POINT] = loan[L_ORDER_MS], loan[L_POINT]
        h[G_POINT_ID_AT], h[G_POINT_ID_LENGTH] = loan[L_ID_AT], loan[L_ID_LENGTH]
    h[G_LATEST_DUE] = max(h[G_LATEST_DUE], loan[L_DUE])
    h[G_FIRST_ORDER] = min(h[G_FIRST_ORDER], loan[L_ORDER_DAY])
    h[H_FOLDED + settled_state(row, at)] += 1
    h[G_MARGIN] += loan[L_BASE_MARGIN]
    h[G_BASE] += max(loan[L_BASE_MARGIN], 0)
    h[G_ORDER] += loan[L_BASE_ORDER]
    h[G_PROMO] += max(loan[L_BASE_PROMO], 0)
    h[G_COST] += cost_minor(row, at, policy["cost_rates"])


@compiled
def _drop_override(row: Scratch, score: int) -> None:
    kept = 0
    for i in range(row.h[H_OVERRIDES]):
        if row.overrides[i, O_SCORE] != score:
            copy_into(row.overrides[kept], row.overrides[i])
            row.override_values[kept] = row.override_values[i]
            kept += 1
    row.h[H_OVERRIDES] = kept


@compiled
def drop_ended_overrides(row: Scratch, moment_ms: int) -> int:
    """Drop the overrides that have run out; answers their scores as bits."""
    kept, ended = 0, 0
    for i in range(row.h[H_OVERRIDES]):
        if row.overrides[i, O_UNTIL] > moment_ms:
            copy_into(row.overrides[kept], row.overrides[i])
            row.override_values[kept] = row.override_values[i]
            kept += 1
        else:
            ended |= 1 << row.overrides[i, O_SCORE]
    row.h[H_OVERRIDES] = kept
    return ended


@compiled
def _add_override(row: Scratch, event: Fields, text: NDArray[np.uint8]) -> None:
    at = row.h[H_OVERRIDES]
    while at > 0 and row.overrides[at - 1, O_SCORE] > np.int64(event["score"]):
        copy_into(row.overrides[at], row.overrides[at - 1])
        row.override_values[at] = row.override_values[at - 1]
        at -= 1
    held = row.overrides[at]
    held[O_SCORE] = np.int64(event["score"])
    held[O_UNTIL] = event["until_ms"]
    held[O_AUTHOR_AT] = keep_text(row, text, event["author_at"], event["author_length"])
    held[O_AUTHOR_LENGTH] = event["author_length"]
    row.override_values[at] = event["value"]
    row.h[H_OVERRIDES] += 1
