"""The layout of a row, compiled: the same bytes as `state.layout`, read into and written from a scratch.

Reading runs over the end of a corrupt row at most by returning zeros; `read_row` then answers False and nothing of it
is used. Writing needs `row_bytes_max` bytes of room.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FEATURE_SLOTS
from schemas.categories import CATEGORIES
from schemas.compiled import compiled
from schemas.kinds import FIRST_CODE, Score
from schemas.texts import copy_bytes
from state.compiled.closed import PAYMENT_BYTES
from state.compiled.row import (
    A_BALANCE,
    A_BALANCE_REVISION,
    A_BALANCE_TIME,
    A_CURRENCY,
    A_LAST_DAY,
    ARENA_BYTES,
    C_CANCELLED,
    C_DAY,
    C_HASH,
    D_DAY,
    D_DEPOSITS,
    D_FAILED,
    D_TRANSACTIONS,
    D_WITHDRAWALS,
    DAYS_CAPACITY,
    F_CONSISTENCY,
    F_DECLARED,
    F_EMITTED,
    F_PENDING_FORECAST,
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
    H_ARENA,
    H_CLOCK,
    H_CLOSED,
    H_CLOSED_UNTIL,
    H_CREATED_DAY,
    H_DAYS,
    H_DAYS_BYTES,
    H_DAYS_DROPPED,
    H_DAYS_KEPT,
    H_DECLARED_TIME,
    H_DEPOSITS,
    H_DUE,
    H_DUPLICATES,
    H_EMITTED_COUNTS,
    H_ERASED,
    H_EVENTS,
    H_FAILED,
    H_FIRST_EVENT,
    H_FOLDED,
    H_HAS_DECLARED,
    H_HAS_FOLDED,
    H_HAS_PENDING,
    H_INCARNATION_OFFSET,
    H_INCARNATION_RANK,
    H_INVERSIONS,
    H_LABELS,
    H_LAST_EVENT,
    H_LAST_RANK,
    H_LAST_TIMESTAMP,
    H_LAST_TRANSACTION_DAY,
    H_LOANS,
    H_MARKS,
    H_MONETARY_DIGIT,
    H_OVERRIDES,
    H_PENDING_DAY,
    H_POINTS,
    H_SEEN,
    H_SEQUENCE,
    H_SPENDING,
    H_STATUS_LEVEL,
    H_TAKEN,
    H_TODAY,
    H_WEB,
    K_HELD,
    K_KEY,
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
    L_PAYMENTS,
    L_PAYMENTS_AT,
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
    Q_AMOUNT,
    Q_CATEGORY,
    Q_DAY,
    Q_PURCHASES,
    S_CLOCK,
    S_CONTENT,
    SEEN_CAPACITY,
    Scratch,
    clear,
    keep_text,
)
from state.layout import (
    CLOSED_BYTES,
    DAY_DEPOSITS,
    DAY_FAILED,
    DAY_GAP_WIDE,
    DAY_TRANSACTIONS,
    DAY_WITHDRAWALS,
    EXISTS,
    HAS_CLOSED,
    HAS_CREATED,
    HAS_DECLARED,
    HAS_FOLDED,
    HAS_PENDING,
    HAS_PROFILES,
    HAS_RISK,
    HAS_SPENDING,
    HAS_TRANSACTION,
    IS_ERASED,
    IS_WEB,
    KEPT_ALWAYS,
    LAYOUT_VERSION,
)
from state.row import (
    LOAN_PAYMENTS_MAX,
    ROW_CLOSED_MAX,
    ROW_CURRENCIES_MAX,
    ROW_DUE_MOVES_MAX,
    ROW_LOANS_MAX,
    ROW_OVERRIDES_MAX,
    ROW_POINTS_MAX,
    ROW_PROFILES_MAX,
)
from state.spending import SPENDING_MAX

Bytes = NDArray[np.uint8]
RISK, PROFILES = int(Score.RISK), int(Score.PROFILES)


@compiled
def read_unsigned(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """A variable-length number and where it ends; past the end: 0."""
    value = 0
    shift = 0
    while at < end and shift < 63:
        byte = np.int64(data[np.uint64(at)])  # unsigned: the compiler need not look whether it counts from the end
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 0, end + 1


@compiled
def read_signed(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """A zigzag number and where it ends."""
    raw, at = read_unsigned(data, at, end)
    return (raw >> 1) ^ -(raw & 1), at


@compiled
def read_fixed(data: Bytes, at: int, end: int, width: int) -> tuple[np.uint64, int]:
    """A little-endian number of `width` bytes and where it ends."""
    value = np.uint64(0)
    if at + width > end:
        return value, end + 1
    for i in range(width):
        value |= np.uint64(data[np.uint64(at + i)]) << np.uint64(8 * i)
    return value, at + width


@compiled
def write_unsigned(out: Bytes, at: int, value: int) -> int:
    """7 bits a byte, lowest first; answers where it ends."""
    while value > 0x7F:
        out[np.uint64(at)] = (value & 0x7F) | 0x80
        value >>= 7
        at += 1
    out[np.uint64(at)] = value
    return at + 1


@compiled
def write_signed(out: Bytes, at: int, value: int) -> int:
    """Zigzag."""
    return write_unsigned(out, at, (value << 1) ^ (value >> 63))


@compiled
def write_fixed(out: Bytes, at: int, value: np.uint64, width: int) -> int:
    """Little-endian, `width` bytes."""
    for i in range(width):
        out[np.uint64(at + i)] = np.uint8((value >> np.uint64(8 * i)) & np.uint64(0xFF))
    return at + width


@compiled
def write_currency(out: Bytes, at: int, currency: int) -> int:
    """Three letters."""
    out[at] = (currency >> 16) & 0xFF
    out[at + 1] = (currency >> 8) & 0xFF
    out[at + 2] = currency & 0xFF
    return at + 3


@compiled
def read_currency(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Three letters."""
    if at + 3 > end:
        return 0, end + 1
    return np.int64(data[at]) << 16 | np.int64(data[at + 1]) << 8 | np.int64(data[at + 2]), at + 3


@compiled
def write_text(row: Scratch, out: Bytes, at: int, text_at: int, length: int) -> int:
    """Length, then the bytes of a slice of the arena."""
    at = write_unsigned(out, at, length)
    for i in range(length):
        out[at + i] = row.arena[text_at + i]
    return at + length


@compiled
def read_text(row: Scratch, data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """Copy a text into the arena: where it is, how long, and where reading goes on."""
    length, at = read_unsigned(data, at, end)
    if at + length > end or row.h[H_ARENA] + length > ARENA_BYTES:
        return 0, 0, end + 1
    return keep_text(row, data, at, length), length, at + length


@compiled
def read_row(data: Bytes, at: int, end: int, row: Scratch) -> bool:
    """Spread a packed row over the scratch; False where the bytes are not a row of the newest layout."""
    clear(row)
    if at >= end or data[at] != LAYOUT_VERSION:
        return False
    flags, at = read_unsigned(data, at + 1, end)
    at = _read_header(data, at, end, row, flags)
    at = _read_days(data, at, end, row)
    at = _read_accounts(data, at, end, row)
    at = _read_loans(data, at, end, row)
    if flags & HAS_FOLDED:
        at = _read_folded(data, at, end, row)
    at = _read_seen(data, at, end, row)
    at = _read_emitted(data, at, end, row)
    if flags & HAS_PENDING:
        row.h[H_HAS_PENDING] = 1
        back, at = read_signed(data, at, end)
        row.h[H_PENDING_DAY] = row.h[H_TODAY] - back
        for j in range(FEATURE_SLOTS):
            feature, at = read_fixed(data, at, end, 2)
            row.features[j] = np.uint16(feature)
        row.f[F_PENDING_FORECAST], at = _read_double(data, at, end)
    at = _read_overrides(data, at, end, row)
    if flags & HAS_DECLARED:
        row.h[H_HAS_DECLARED] = 1
        back, at = read_signed(data, at, end)
        row.h[H_DECLARED_TIME] = row.h[H_CLOCK] - back
        for i in range(8):
            row.f[F_DECLARED + i], at = _read_double(data, at, end)
    if flags & HAS_RISK:
        row.h[H_SEQUENCE + RISK], at = read_unsigned(data, at, end)
        row.f[F_EMITTED + RISK], at = _read_double(data, at, end)
    if flags & HAS_SPENDING:
        at = _read_spending(data, at, end, row)
    if flags & HAS_PROFILES:
        at = _read_profiles(data, at, end, row)
    if flags & HAS_CLOSED:
        at = _read_closed(data, at, end, row)
    return at == end


@compiled
def _read_spending(data: Bytes, at: int, end: int, row: Scratch) -> int:
    count, at = read_unsigned(data, at, end)
    if count > SPENDING_MAX + 1:
        return end + 1
    row.h[H_SPENDING] = count
    for i in range(count):
        place = row.spending[i]
        place[Q_CATEGORY], at = read_unsigned(data, at, end)
        back, at = read_unsigned(data, at, end)
        place[Q_DAY] = row.h[H_TODAY] - back
        place[Q_AMOUNT], at = read_unsigned(data, at, end)
        place[Q_PURCHASES], at = read_unsigned(data, at, end)
        if place[Q_CATEGORY] >= CATEGORIES:
            return end + 1
    return at


@compiled
def _read_profiles(data: Bytes, at: int, end: int, row: Scratch) -> int:
    row.h[H_SEQUENCE + PROFILES], at = read_unsigned(data, at, end)
    count, at = read_unsigned(data, at, end)
    if count > ROW_PROFILES_MAX:
        return end + 1
    row.h[H_MARKS] = count
    for i in range(count):
        key, at = read_fixed(data, at, end, 4)
        since, at = read_unsigned(data, at, end)
        row.marks[i, K_KEY] = np.int64(key)
        row.marks[i, K_SINCE] = row.h[H_TODAY] - (since >> 1)
        row.marks[i, K_HELD] = since & 1
    return at


@compiled
def _read_closed(data: Bytes, at: int, end: int, row: Scratch) -> int:
    h, day = row.h, row.h[H_TODAY]
    count, at = read_unsigned(data, at, end)
    if count & 1:
        back, at = read_signed(data, at, end)
        h[H_CLOSED_UNTIL] = day - back
    count >>= 1
    if count > ROW_CLOSED_MAX:
        return end + 1
    h[H_CLOSED] = count
    for i in range(count - 1, -1, -1):
        word, at = read_fixed(data, at, end, CLOSED_BYTES)
        if i == count - 1:
            back, at = read_signed(data, at, end)
        else:
            back, at = read_unsigned(data, at, end)
        day -= back
        closed = row.closed[i]
        closed[C_HASH], closed[C_DAY] = np.int64(word >> np.uint64(1)), day
        closed[C_CANCELLED] = np.int64(word & np.uint64(1))
    return at


@compiled
def _read_double(data: Bytes, at: int, end: int) -> tuple[float, int]:
    bits, at = read_fixed(data, at, end, 8)
    return np.uint64(bits).view(np.float64), at


@compiled
def _write_double(out: Bytes, at: int, value: float) -> int:
    return write_fixed(out, at, np.float64(value).view(np.uint64), 8)


@compiled
def _read_header(data: Bytes, at: int, end: int, row: Scratch, flags: int) -> int:
    h = row.h
    h[H_INCARNATION_RANK], at = read_unsigned(data, at, end)
    offset, at = read_unsigned(data, at, end)
    h[H_INCARNATION_OFFSET] = offset - 1
    clock, at = read_signed(data, at, end)
    today, at = read_signed(data, at, end)
    h[H_CLOCK], h[H_TODAY] = clock, today
    back, at = read_signed(data, at, end)
    h[H_LAST_TIMESTAMP] = clock - back
    h[H_LAST_RANK], at = read_unsigned(data, at, end)
    h[H_TAKEN], at = read_unsigned(data, at, end)
    due, at = read_unsigned(data, at, end)
    h[H_DUE] = NO_TIME_MS if due == 0 else clock + due - 1
    back, at = read_signed(data, at, end)
    h[H_FIRST_EVENT] = clock - back
    back, at = read_signed(data, at, end)
    h[H_LAST_EVENT] = clock - back
    h[H_EVENTS], at = read_unsigned(data, at, end)
    if flags & HAS_TRANSACTION:
        back, at = read_signed(data, at, end)
        h[H_LAST_TRANSACTION_DAY] = today - back
    if flags & HAS_CREATED:
        back, at = read_signed(data, at, end)
        h[H_CREATED_DAY] = today - back
    if flags & IS_ERASED:
        back, at = read_signed(data, at, end)
        h[H_ERASED] = clock - back
    h[H_WEB] = 1 if flags & IS_WEB else 0
    for i in range(H_DEPOSITS, H_FAILED + 1):
        h[i], at = read_signed(data, at, end)
    for i in range(H_DUPLICATES, H_INVERSIONS + 1):
        h[i], at = read_unsigned(data, at, end)
    h[H_LABELS], at = read_unsigned(data, at, end)
    if h[H_LABELS]:
        row.f[F_CONSISTENCY], at = _read_double(data, at, end)
    return at


@compiled
def _read_days(data: Bytes, at: int, end: int, row: Scratch) -> int:
    count, at = read_unsigned(data, at, end)
    if count > DAYS_CAPACITY:
        return end + 1
    row.h[H_DAYS] = row.h[H_DAYS_KEPT] = count
    first = at
    before = row.h[H_TODAY] + 1
    for i in range(count - 1, -1, -1):
        if at >= end:
            return end + 1
        row.day_at[i] = at - first
        head = np.int64(data[np.uint64(at)])
        at += 1
        gap = head >> 4
        if gap == DAY_GAP_WIDE:
            more, at = read_unsigned(data, at, end)
            gap += more
        before = before - gap - 1
        day = row.days[i]
        day[D_DAY] = before
        day[D_DEPOSITS] = 0
        day[D_WITHDRAWALS] = 0
        day[D_FAILED] = 0
        if head & DAY_DEPOSITS:
            day[D_DEPOSITS], at = read_signed(data, at, end)
        if head & DAY_WITHDRAWALS:
            day[D_WITHDRAWALS], at = read_signed(data, at, end)
        if head & DAY_FAILED:
            day[D_FAILED], at = read_signed(data, at, end)
        if head & DAY_TRANSACTIONS:
            day[D_TRANSACTIONS], at = read_signed(data, at, end)
        else:
            day[D_TRANSACTIONS] = (1 if day[D_DEPOSITS] != 0 else 0) + (1 if day[D_WITHDRAWALS] != 0 else 0)
    if at <= end:
        row.h[H_DAYS_BYTES] = copy_bytes(data, first, at - first, row.day_bytes, 0)
    return at


@compiled
def _read_accounts(data: Bytes, at: int, end: int, row: Scratch) -> int:
    count, at = read_unsigned(data, at, end)
    if count > ROW_CURRENCIES_MAX:
        return end + 1
    row.h[H_ACCOUNTS] = count
    for i in range(count):
        account = row.accounts[i]
        account[:] = 0
        account[A_CURRENCY], at = read_currency(data, at, end)
        has, at = read_unsigned(data, at, end)
        account[A_LAST_DAY] = NO_DAY
        account[A_BALANCE_TIME] = NO_TIME_MS
        if has & 2:
            back, at = read_signed(data, at, end)
            account[A_LAST_DAY] = row.h[H_TODAY] - back
        if has & 1:
            account[A_BALANCE], at = read_signed(data, at, end)
            back, at = read_signed(data, at, end)
            account[A_BALANCE_TIME] = row.h[H_CLOCK] - back
            account[A_BALANCE_REVISION], at = read_unsigned(data, at, end)
    return at


@compiled
def _read_loans(data: Bytes, at: int, end: int, row: Scratch) -> int:
    clock, today = row.h[H_CLOCK], row.h[H_TODAY]
    points, at = read_unsigned(data, at, end)
    if points > ROW_POINTS_MAX:
        return end + 1
    row.h[H_POINTS] = points
    for i in range(points):
        point = row.points[i]
        point[P_POINT_AT], point[P_POINT_LENGTH], at = read_text(row, data, at, end)
        point[P_PROVINCE_AT], point[P_PROVINCE_LENGTH], at = read_text(row, data, at, end)
    count, at = read_unsigned(data, at, end)
    if count > ROW_LOANS_MAX:
        return end + 1
    row.h[H_LOANS] = count
    for i in range(count):
        loan = row.loans[i]
        flags, at = read_unsigned(data, at, end)
        loan[L_ID_AT], loan[L_ID_LENGTH], at = read_text(row, data, at, end)
        loan[L_CURRENCY], at = read_currency(data, at, end)
        for j in range(3):
            loan[L_ORDER + j], at = read_signed(data, at, end)
            loan[L_BASE_ORDER + j] = loan[L_ORDER + j]
        if flags & 1:
            for j in range(3):
                loan[L_BASE_ORDER + j], at = read_signed(data, at, end)
        back, at = read_signed(data, at, end)
        loan[L_ORDER_MS] = clock - back
        back, at = read_signed(data, at, end)
        loan[L_ORDER_DAY] = today - back
        back, at = read_signed(data, at, end)
        loan[L_DUE] = today - back
        loan[L_POINT], at = read_unsigned(data, at, end)
        loan[L_REVISION], at = read_unsigned(data, at, end)
        for state in range(5):
            loan[L_PAID + state] = 0
            if flags >> 3 & 1 << state:
                loan[L_PAID + state], at = read_signed(data, at, end)
        loan[L_SETTLED_DAY] = NO_DAY
        if flags & 2:
            back, at = read_signed(data, at, end)
            loan[L_SETTLED_DAY] = today - back
        loan[L_MOVES] = 0
        if flags & 4:
            moves, at = read_unsigned(data, at, end)
            if moves > ROW_DUE_MOVES_MAX:
                return end + 1
            loan[L_MOVES] = moves
            for j in range(2 * moves):
                back, at = read_signed(data, at, end)
                loan[L_MOVE + j] = today - back
        count, at = read_unsigned(data, at, end)
        size = PAYMENT_BYTES * count
        if count > LOAN_PAYMENTS_MAX or at + size > end or row.h[H_ARENA] + size > ARENA_BYTES:
            return end + 1
        loan[L_PAYMENTS], loan[L_PAYMENTS_AT] = count, keep_text(row, data, at, size)
        at += size
    return at


@compiled
def _read_folded(data: Bytes, at: int, end: int, row: Scratch) -> int:
    h = row.h
    h[H_HAS_FOLDED] = 1
    for state in range(5):
        h[H_FOLDED + state], at = read_unsigned(data, at, end)
    for i in (G_MARGIN, G_BASE, G_ORDER, G_COST, G_PROMO):
        h[i], at = read_signed(data, at, end)
    for i in (G_LATEST_DUE, G_FIRST_ORDER, G_FIRST_DUE):
        back, at = read_signed(data, at, end)
        h[i] = h[H_TODAY] - back
    h[G_FIRST_ID_AT], h[G_FIRST_ID_LENGTH], at = read_text(row, data, at, end)
    h[G_FIRST_DEFAULTED], at = read_unsigned(data, at, end)
    back, at = read_signed(data, at, end)
    h[G_POINT_ORDER_MS] = h[H_CLOCK] - back
    h[G_POINT_ID_AT], h[G_POINT_ID_LENGTH], at = read_text(row, data, at, end)
    h[G_POINT], at = read_unsigned(data, at, end)
    return at


@compiled
def _read_seen(data: Bytes, at: int, end: int, row: Scratch) -> int:
    count, at = read_unsigned(data, at, end)
    if count > SEEN_CAPACITY:
        return end + 1
    row.h[H_SEEN] = count
    for i in range(count):
        row.seen_hash[i], at = read_fixed(data, at, end, 8)
        content, at = read_fixed(data, at, end, 4)
        row.seen[i, S_CONTENT] = np.int64(content)
        back, at = read_signed(data, at, end)
        row.seen[i, S_CLOCK] = row.h[H_CLOCK] - back
    return at


@compiled
def _read_emitted(data: Bytes, at: int, end: int, row: Scratch) -> int:
    h = row.h
    for score in range(KEPT_ALWAYS):
        h[H_SEQUENCE + score], at = read_unsigned(data, at, end)
        if h[H_SEQUENCE + score]:
            if score < FIRST_CODE:
                row.f[F_EMITTED + score], at = _read_double(data, at, end)
            else:
                whole, at = read_unsigned(data, at, end)
                row.f[F_EMITTED + score] = float(whole)
    for state in range(5):
        h[H_EMITTED_COUNTS + state], at = read_unsigned(data, at, end)
    packed, at = read_unsigned(data, at, end)
    for digit in range(H_MONETARY_DIGIT, H_STATUS_LEVEL - 1, -1):
        h[digit] = packed % 6 - 1
        packed //= 6
    return at


@compiled
def _read_overrides(data: Bytes, at: int, end: int, row: Scratch) -> int:
    count, at = read_unsigned(data, at, end)
    if count > ROW_OVERRIDES_MAX:
        return end + 1
    row.h[H_OVERRIDES] = count
    for i in range(count):
        held = row.overrides[i]
        held[O_SCORE], at = read_unsigned(data, at, end)
        row.override_values[i], at = _read_double(data, at, end)
        ahead, at = read_signed(data, at, end)
        held[O_UNTIL] = row.h[H_CLOCK] + ahead
        held[O_AUTHOR_AT], held[O_AUTHOR_LENGTH], at = read_text(row, data, at, end)
    return at


@compiled
def row_bytes_max(row: Scratch) -> int:
    """How much room `write_row` may need at the most."""
    h = row.h
    lists = 48 * h[H_DAYS] + 48 * h[H_ACCOUNTS] + 20 * h[H_POINTS] + 244 * h[H_LOANS] + 24 * h[H_SEEN]
    lists += 16 * h[H_CLOSED] + 40 * h[H_OVERRIDES] + 40 * h[H_SPENDING] + 14 * h[H_MARKS]
    return 1220 + lists + h[H_ARENA]


@compiled
def write_row(row: Scratch, out: Bytes, at: int) -> int:
    """Pack the row; answers where it ends."""
    h = row.h
    flags = (
        (HAS_CREATED if h[H_CREATED_DAY] != NO_DAY else 0)
        | (IS_WEB if h[H_WEB] else 0)
        | (HAS_TRANSACTION if h[H_LAST_TRANSACTION_DAY] != NO_DAY else 0)
        | (IS_ERASED if h[H_ERASED] != NO_TIME_MS else 0)
        | (HAS_FOLDED if h[H_HAS_FOLDED] else 0)
        | (HAS_PENDING if h[H_HAS_PENDING] else 0)
        | (HAS_DECLARED if h[H_HAS_DECLARED] else 0)
        | (EXISTS if h[H_INCARNATION_OFFSET] >= 0 else 0)
        | (HAS_RISK if h[H_SEQUENCE + RISK] else 0)
        | (HAS_SPENDING if h[H_SPENDING] else 0)
        | (HAS_PROFILES if h[H_SEQUENCE + PROFILES] or h[H_MARKS] else 0)
        | (HAS_CLOSED if h[H_CLOSED] or h[H_CLOSED_UNTIL] != NO_DAY else 0)
    )
    out[at] = LAYOUT_VERSION
    at = write_unsigned(out, at + 1, flags)
    at = _write_header(row, out, at)
    at = _write_days(row, out, at)
    at = _write_accounts(row, out, at)
    at = _write_loans(row, out, at)
    if h[H_HAS_FOLDED]:
        at = _write_folded(row, out, at)
    at = _write_seen(row, out, at)
    at = _write_emitted(row, out, at)
    if h[H_HAS_PENDING]:
        at = write_signed(out, at, h[H_TODAY] - h[H_PENDING_DAY])
        for j in range(FEATURE_SLOTS):
            at = write_fixed(out, at, np.uint64(row.features[j]), 2)
        at = _write_double(out, at, row.f[F_PENDING_FORECAST])
    at = write_unsigned(out, at, h[H_OVERRIDES])
    for i in range(h[H_OVERRIDES]):
        held = row.overrides[i]
        at = write_unsigned(out, at, held[O_SCORE])
        at = _write_double(out, at, row.override_values[i])
        at = write_signed(out, at, held[O_UNTIL] - h[H_CLOCK])
        at = write_text(row, out, at, held[O_AUTHOR_AT], held[O_AUTHOR_LENGTH])
    if h[H_HAS_DECLARED]:
        at = write_signed(out, at, h[H_CLOCK] - h[H_DECLARED_TIME])
        for i in range(8):
            at = _write_double(out, at, row.f[F_DECLARED + i])
    if h[H_SEQUENCE + RISK]:
        at = write_unsigned(out, at, h[H_SEQUENCE + RISK])
        at = _write_double(out, at, row.f[F_EMITTED + RISK])
    if h[H_SPENDING]:
        at = _write_spending(row, out, at)
    if h[H_SEQUENCE + PROFILES] or h[H_MARKS]:
        at = _write_profiles(row, out, at)
    if h[H_CLOSED] or h[H_CLOSED_UNTIL] != NO_DAY:
        at = _write_closed(row, out, at)
    return at


@compiled
def _write_closed(row: Scratch, out: Bytes, at: int) -> int:
    h = row.h
    forgot = h[H_CLOSED_UNTIL] != NO_DAY
    at = write_unsigned(out, at, 2 * h[H_CLOSED] + (1 if forgot else 0))
    if forgot:
        at = write_signed(out, at, h[H_TODAY] - h[H_CLOSED_UNTIL])
    for i in range(h[H_CLOSED] - 1, -1, -1):
        closed = row.closed[i]
        at = write_fixed(out, at, np.uint64(2 * closed[C_HASH] + closed[C_CANCELLED]), CLOSED_BYTES)
        if i == h[H_CLOSED] - 1:
            at = write_signed(out, at, h[H_TODAY] - closed[C_DAY])
        else:
            at = write_unsigned(out, at, row.closed[i + 1, C_DAY] - closed[C_DAY])
    return at


@compiled
def _write_spending(row: Scratch, out: Bytes, at: int) -> int:
    at = write_unsigned(out, at, row.h[H_SPENDING])
    for i in range(row.h[H_SPENDING]):
        place = row.spending[i]
        at = write_unsigned(out, at, place[Q_CATEGORY])
        at = write_unsigned(out, at, row.h[H_TODAY] - place[Q_DAY])
        at = write_unsigned(out, at, place[Q_AMOUNT])
        at = write_unsigned(out, at, place[Q_PURCHASES])
    return at


@compiled
def _write_profiles(row: Scratch, out: Bytes, at: int) -> int:
    at = write_unsigned(out, at, row.h[H_SEQUENCE + PROFILES])
    at = write_unsigned(out, at, row.h[H_MARKS])
    for i in range(row.h[H_MARKS]):
        mark = row.marks[i]
        at = write_fixed(out, at, np.uint64(mark[K_KEY]), 4)
        at = write_unsigned(out, at, 2 * (row.h[H_TODAY] - mark[K_SINCE]) + mark[K_HELD])
    return at


@compiled
def _write_header(row: Scratch, out: Bytes, at: int) -> int:
    h = row.h
    clock, today = h[H_CLOCK], h[H_TODAY]
    at = write_unsigned(out, at, h[H_INCARNATION_RANK])
    at = write_unsigned(out, at, h[H_INCARNATION_OFFSET] + 1)
    at = write_signed(out, at, clock)
    at = write_signed(out, at, today)
    at = write_signed(out, at, clock - h[H_LAST_TIMESTAMP])
    at = write_unsigned(out, at, h[H_LAST_RANK])
    at = write_unsigned(out, at, h[H_TAKEN])
    at = write_unsigned(out, at, 0 if h[H_DUE] == NO_TIME_MS else h[H_DUE] - clock + 1)
    at = write_signed(out, at, clock - h[H_FIRST_EVENT])
    at = write_signed(out, at, clock - h[H_LAST_EVENT])
    at = write_unsigned(out, at, h[H_EVENTS])
    if h[H_LAST_TRANSACTION_DAY] != NO_DAY:
        at = write_signed(out, at, today - h[H_LAST_TRANSACTION_DAY])
    if h[H_CREATED_DAY] != NO_DAY:
        at = write_signed(out, at, today - h[H_CREATED_DAY])
    if h[H_ERASED] != NO_TIME_MS:
        at = write_signed(out, at, clock - h[H_ERASED])
    for i in range(H_DEPOSITS, H_FAILED + 1):
        at = write_signed(out, at, h[i])
    for i in range(H_DUPLICATES, H_INVERSIONS + 1):
        at = write_unsigned(out, at, h[i])
    at = write_unsigned(out, at, h[H_LABELS])
    if h[H_LABELS]:
        at = _write_double(out, at, row.f[F_CONSISTENCY])
    return at


@compiled
def _write_days(row: Scratch, out: Bytes, at: int) -> int:
    h = row.h
    count, kept = h[H_DAYS], h[H_DAYS_KEPT]
    at = write_unsigned(out, at, count)
    before = h[H_TODAY] + 1
    # A day is written by its distance from the next one: all but the newest of those kept have the bytes they had.
    for i in range(count - 1, max(kept - 2, -1), -1):
        day = row.days[i]
        gap = before - day[D_DAY] - 1
        before = day[D_DAY]
        implied = (1 if day[D_DEPOSITS] != 0 else 0) + (1 if day[D_WITHDRAWALS] != 0 else 0)
        flags = (
            (DAY_DEPOSITS if day[D_DEPOSITS] != 0 else 0)
            | (DAY_WITHDRAWALS if day[D_WITHDRAWALS] != 0 else 0)
            | (DAY_FAILED if day[D_FAILED] != 0 else 0)
            | (DAY_TRANSACTIONS if day[D_TRANSACTIONS] != implied else 0)
        )
        out[at] = min(gap, DAY_GAP_WIDE) << 4 | flags
        at += 1
        if gap >= DAY_GAP_WIDE:
            at = write_unsigned(out, at, gap - DAY_GAP_WIDE)
        if flags & DAY_DEPOSITS:
            at = write_signed(out, at, day[D_DEPOSITS])
        if flags & DAY_WITHDRAWALS:
            at = write_signed(out, at, day[D_WITHDRAWALS])
        if flags & DAY_FAILED:
            at = write_signed(out, at, day[D_FAILED])
        if flags & DAY_TRANSACTIONS:
            at = write_signed(out, at, day[D_TRANSACTIONS])
    if kept < 2:
        return at
    dropped = h[H_DAYS_DROPPED]
    first = row.day_at[kept - 2 + dropped]
    end = row.day_at[dropped - 1] if dropped else h[H_DAYS_BYTES]
    return copy_bytes(row.day_bytes, first, end - first, out, at)


@compiled
def _write_accounts(row: Scratch, out: Bytes, at: int) -> int:
    h = row.h
    at = write_unsigned(out, at, h[H_ACCOUNTS])
    for i in range(h[H_ACCOUNTS]):
        account = row.accounts[i]
        has_balance = account[A_BALANCE_TIME] != NO_TIME_MS
        has_day = account[A_LAST_DAY] != NO_DAY
        at = write_currency(out, at, account[A_CURRENCY])
        at = write_unsigned(out, at, (1 if has_balance else 0) | (2 if has_day else 0))
        if has_day:
            at = write_signed(out, at, h[H_TODAY] - account[A_LAST_DAY])
        if has_balance:
            at = write_signed(out, at, account[A_BALANCE])
            at = write_signed(out, at, h[H_CLOCK] - account[A_BALANCE_TIME])
            at = write_unsigned(out, at, account[A_BALANCE_REVISION])
    return at


@compiled
def _write_loans(row: Scratch, out: Bytes, at: int) -> int:
    h = row.h
    clock, today = h[H_CLOCK], h[H_TODAY]
    at = write_unsigned(out, at, h[H_POINTS])
    for i in range(h[H_POINTS]):
        point = row.points[i]
        at = write_text(row, out, at, point[P_POINT_AT], point[P_POINT_LENGTH])
        at = write_text(row, out, at, point[P_PROVINCE_AT], point[P_PROVINCE_LENGTH])
    at = write_unsigned(out, at, h[H_LOANS])
    for i in range(h[H_LOANS]):
        loan = row.loans[i]
        converted = 0
        for j in range(3):
            if loan[L_BASE_ORDER + j] != loan[L_ORDER + j]:
                converted = 1
        paid_mask = 0
        for state in range(5):
            if loan[L_PAID + state] != 0:
                paid_mask |= 1 << state
        settled = 2 if loan[L_SETTLED_DAY] != NO_DAY else 0
        at = write_unsigned(out, at, converted | settled | (4 if loan[L_MOVES] else 0) | paid_mask << 3)
        at = write_text(row, out, at, loan[L_ID_AT], loan[L_ID_LENGTH])
        at = write_currency(out, at, loan[L_CURRENCY])
        for j in range(3):
            at = write_signed(out, at, loan[L_ORDER + j])
        if converted:
            for j in range(3):
                at = write_signed(out, at, loan[L_BASE_ORDER + j])
        at = write_signed(out, at, clock - loan[L_ORDER_MS])
        at = write_signed(out, at, today - loan[L_ORDER_DAY])
        at = write_signed(out, at, today - loan[L_DUE])
        at = write_unsigned(out, at, loan[L_POINT])
        at = write_unsigned(out, at, loan[L_REVISION])
        for state in range(5):
            if loan[L_PAID + state] != 0:
                at = write_signed(out, at, loan[L_PAID + state])
        if settled:
            at = write_signed(out, at, today - loan[L_SETTLED_DAY])
        if loan[L_MOVES]:
            at = write_unsigned(out, at, loan[L_MOVES])
            for j in range(2 * loan[L_MOVES]):
                at = write_signed(out, at, today - loan[L_MOVE + j])
        at = write_unsigned(out, at, loan[L_PAYMENTS])
        for j in range(PAYMENT_BYTES * loan[L_PAYMENTS]):
            out[np.uint64(at + j)] = row.arena[np.uint64(loan[L_PAYMENTS_AT] + j)]
        at += PAYMENT_BYTES * loan[L_PAYMENTS]
    return at


@compiled
def _write_folded(row: Scratch, out: Bytes, at: int) -> int:
    h = row.h
    for state in range(5):
        at = write_unsigned(out, at, h[H_FOLDED + state])
    for i in (G_MARGIN, G_BASE, G_ORDER, G_COST, G_PROMO):
        at = write_signed(out, at, h[i])
    for i in (G_LATEST_DUE, G_FIRST_ORDER, G_FIRST_DUE):
        at = write_signed(out, at, h[H_TODAY] - h[i])
    at = write_text(row, out, at, h[G_FIRST_ID_AT], h[G_FIRST_ID_LENGTH])
    at = write_unsigned(out, at, h[G_FIRST_DEFAULTED])
    at = write_signed(out, at, h[H_CLOCK] - h[G_POINT_ORDER_MS])
    at = write_text(row, out, at, h[G_POINT_ID_AT], h[G_POINT_ID_LENGTH])
    return write_unsigned(out, at, h[G_POINT])


@compiled
def _write_seen(row: Scratch, out: Bytes, at: int) -> int:
    at = write_unsigned(out, at, row.h[H_SEEN])
    for i in range(row.h[H_SEEN]):
        at = write_fixed(out, at, row.seen_hash[i], 8)
        at = write_fixed(out, at, np.uint64(row.seen[i, S_CONTENT]), 4)
        at = write_signed(out, at, row.h[H_CLOCK] - row.seen[i, S_CLOCK])
    return at


@compiled
def _write_emitted(row: Scratch, out: Bytes, at: int) -> int:
    h = row.h
    for score in range(KEPT_ALWAYS):
        at = write_unsigned(out, at, h[H_SEQUENCE + score])
        if h[H_SEQUENCE + score]:
            if score < FIRST_CODE:
                at = _write_double(out, at, row.f[F_EMITTED + score])
            else:
                at = write_unsigned(out, at, int(row.f[F_EMITTED + score]))
    for state in range(5):
        at = write_unsigned(out, at, h[H_EMITTED_COUNTS + state])
    packed = 0
    for digit in range(H_STATUS_LEVEL, H_MONETARY_DIGIT + 1):
        packed = packed * 6 + h[digit] + 1
    return write_unsigned(out, at, packed)


__all__ = ["L_BASE_MARGIN", "L_BASE_PROMO", "L_MARGIN", "L_PROMO", "read_row", "row_bytes_max", "write_row"]
