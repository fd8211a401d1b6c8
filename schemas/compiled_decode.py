"""The compiled reader: transactions and loan events from the bytes of many records straight into columns.

It takes what is plainly good and nothing else. Whatever is broken, refused or merely unusual it leaves alone, and
`schemas.readable` and `schemas.meaning`, which define all of this, decide. So there are no reasons here, and no second
opinion: an event taken here is the very row that those would have made (a test holds the two together).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import DAY_MS, EVENT, MISSING_TIME_MS
from schemas.categories import category_of_mcc, hash_words
from schemas.compiled import compiled
from schemas.hashing import word_64, xxh64
from schemas.kinds import Kind, Rank, TransactionState
from schemas.meaning import (
    AMOUNT_MAX,
    CONTENT_SLICES,
    FIRST_EVENT_MS,
    FUTURE_TOLERANCE_MS,
    ID_BYTES_MAX,
    LAST_DATE_MS,
    SEED_OF_KIND,
    STATES,
    ZERO_MS,
)
from schemas.plan import SLOTS, Op, Slot
from schemas.times import FIRST_MS, LAST_MS, plain_time_ms
from schemas.utf8 import is_blank_at, is_utf8
from schemas.zones import Zone

# Enumerations are frozen into the code as plain integers.
WHOLE, DOUBLE, TEXT, BOOLEAN = int(Op.WHOLE), int(Op.DOUBLE), int(Op.TEXT), int(Op.BOOLEAN)
NULLABLE, PRESENT, MOMENT = int(Op.NULLABLE), int(Op.PRESENT), int(Op.MOMENT)
EVENT_ID, USER_ID, STATE, CURRENCY = (int(Slot.EVENT_ID), int(Slot.USER_ID), int(Slot.STATE), int(Slot.CURRENCY))
BALANCE, AMOUNT, CREATED, CATEGORY = (int(Slot.BALANCE), int(Slot.AMOUNT), int(Slot.CREATED), int(Slot.CATEGORY))
EVENT_TIME, REVISION, PREVIOUS = (int(Slot.EVENT_TIME), int(Slot.REVISION), int(Slot.PREVIOUS))
PREVIOUS_AMOUNT, PREVIOUS_CURRENCY = (int(Slot.PREVIOUS_AMOUNT), int(Slot.PREVIOUS_CURRENCY))
PREVIOUS_TIME, PREVIOUS_STATE = int(Slot.PREVIOUS_TIME), int(Slot.PREVIOUS_STATE)
LOAN_EVENT, LOAN_ID, ORDER_AMOUNT = (int(Slot.EVENT), int(Slot.LOAN_ID), int(Slot.ORDER_AMOUNT))
GROSS_MARGIN, PROMO, ORDER_DATE, DUE_DATE = (
    int(Slot.GROSS_MARGIN),
    int(Slot.PROMO),
    int(Slot.ORDER_DATE),
    int(Slot.DUE_DATE),
)
POINT, PROVINCE, CANCELLED_AT = (int(Slot.POINT), int(Slot.PROVINCE), int(Slot.CANCELLED_AT))
DESCRIPTION, MCC, PREVIOUS_MCC = (int(Slot.DESCRIPTION), int(Slot.MCC), int(Slot.PREVIOUS_MCC))
ISSUED, REPAID, CANCELLED = (int(Kind.LOAN_ISSUED), int(Kind.LOAN_REPAID), int(Kind.LOAN_CANCELLED))
TRANSACTION, TRANSACTIONS = int(Kind.TRANSACTION), int(Rank.TRANSACTIONS)
ABSENT = int(TransactionState.ABSENT)
ROW_BYTES = EVENT.itemsize
(HEAD_START, HEAD_END), (TIME_START, TIME_END), (TAIL_START, TAIL_END) = CONTENT_SLICES
SEEDS = np.array(SEED_OF_KIND, np.int64)
IS_MOMENT = 1 << 40
"""Length of a field that is no text but a moment, which then stands in place of the text's position."""


class Fields(NamedTuple):
    """Room for the fields of one value: where texts are, how long, and numbers; by slot."""

    at: NDArray[np.int64]
    length: NDArray[np.int64]
    number: NDArray[np.float64]

    @classmethod
    def room(cls) -> Fields:
        """Room for all slots."""
        return cls(np.empty(SLOTS, np.int64), np.empty(SLOTS, np.int64), np.empty(SLOTS, np.float64))


def _words(texts: list[str]) -> Any:
    """Texts as rows of one array, each padded with zeros."""
    return np.array([list(text.encode().ljust(16, b"\0")) for text in texts], np.uint8)


STATE_WORDS, STATE_CODES = (_words(list(STATES)), np.array([int(state) for state in STATES.values()], np.int64))
CATEGORY_WORDS = _words(["WEB", "API"])
LOAN_EVENT_WORDS = _words(["issued", "repaid", "cancelled"])


@compiled
def read_events(
    data: Any, starts: Any, keys: Any, key_starts: Any, groups: Any, ranks: Any, skips: Any, plan_starts: Any,
    program: Any, is_here: Any, offsets: Any, timestamps: Any, events: Any, raw: Any, fields: Fields, done: Any,
    zone: Zone,
) -> None:  # fmt: skip
    """Fill `events[i]` from value i for each record of a planned group; `done` is told which of them were plainly good.

    Value i is `data[starts[i]:starts[i + 1]]`, its key likewise. `groups[i]` is its group, -1 for none, and by group:
    `ranks` of the topic, `skips` bytes of prefix, `plan_starts` into `program`. `is_here`: the partition is its key's.
    Positions of texts are positions in `data`. `raw[i]` are the bytes of `events[i]`. Times without a zone are those
    of `zone`. About 0.3 us an event.
    """
    at, length, number = fields
    for i in range(len(groups)):
        group = groups[i]
        if group < 0 or not is_here[i]:
            continue
        length[:] = -1
        first, last = plan_starts[group], plan_starts[group + 1]
        body, end = starts[i] + skips[group], starts[i + 1]
        if not _read_fields(program, first, last, data, body, end, at, length, number):
            continue
        if not _is_key(data, at[USER_ID], length[USER_ID], keys, key_starts[i], key_starts[i + 1]):
            continue
        row = events[i]
        row.rank, row.offset, row.timestamp_ms = ranks[group], offsets[i], timestamps[i]
        good = _common(row, length, number)
        if ranks[group] == TRANSACTIONS:
            good = good and _transaction(row, data, at, length, number, zone)
        else:
            good = good and _loan(row, data, at, length, number, zone)
        good = good and _identify(row, raw[i], data, at, length)
        done[i] = good and _clamp(row)


@compiled
def _read_fields(
    program: Any, first: int, last: int, data: Any, at: int, end: int, field_at: Any, field_length: Any, number: Any
) -> bool:  # fmt: skip
    """Walk one value by its plan, noting where texts are and what numbers are; False where it is not plainly that."""
    step = first
    while step < last:
        op, slot = program[step, 0], program[step, 1]
        step += 1
        if op == PRESENT:
            field_length[slot] = 0
            continue
        if op in (DOUBLE, BOOLEAN):
            size = 8 if op == DOUBLE else 1
            if at + size > end:
                return False
            if slot >= 0:
                field_length[slot] = 0
                number.view(np.uint64)[slot] = word_64(data, at)
            at += size
            continue
        whole, at = _varint(data, at, end)
        if at < 0:
            return False
        if op == NULLABLE:
            if whole not in (0, 1):
                return False
            if whole == program[step - 1, 2]:
                step = first + program[step - 1, 3]
        elif op == TEXT:
            if whole < 0 or whole > end - at or not is_utf8(data, at, at + whole):
                return False
            if slot >= 0:
                field_at[slot], field_length[slot] = at, whole
            at += whole
        elif op == WHOLE:
            if slot >= 0:
                field_length[slot] = 0
                number[slot] = float(whole)
        elif op == MOMENT:
            moment_ms = whole // program[step - 1, 2]
            if moment_ms < FIRST_MS or moment_ms > LAST_MS:
                return False
            if slot >= 0:
                field_at[slot], field_length[slot] = moment_ms, IS_MOMENT
        elif whole != 0:
            return False  # a map or an array that holds something
    return bool(at == end)


@compiled
def _varint(data: Any, at: int, end: int) -> tuple[Any, int]:
    """A zigzag-coded long and the position after it; that is -1 where it does not end in time."""
    coded, shift = np.uint64(0), np.uint64(0)
    while at < end and shift < np.uint64(63):
        byte = np.uint64(data[np.uint64(at)])
        coded |= (byte & np.uint64(127)) << shift
        at += 1
        if byte < np.uint64(128):
            return np.int64(coded >> np.uint64(1)) ^ -np.int64(coded & np.uint64(1)), at
        shift += np.uint64(7)
    return 0, -1


@compiled
def _is_key(data: Any, at: int, length: int, keys: Any, start: int, end: int) -> bool:
    if length <= 0 or length != end - start or length > ID_BYTES_MAX or data[at] == 0:
        return False
    text, key = np.uint64(at), np.uint64(start)
    for i in range(np.uint64(length)):
        if data[text + i] != keys[key + i]:
            return False
    return not is_blank_at(data, at, length)


@compiled
def _word_at(words: Any, data: Any, at: int, length: int, fold: int) -> int:
    """Which of `words` the text is, -1 for none; `fold` 32 takes small letters for capital ones."""
    for word in range(len(words)):
        if length > 16 or (length < 16 and words[word, length] != 0):
            continue
        same = True
        for i in range(length):
            letter = data[at + i]
            if 97 <= letter <= 122:
                letter -= fold
            if letter != words[word, i]:
                same = False
                break
        if same and length > 0:
            return word
    return -1


@compiled
def _currency(data: Any, at: int, length: int) -> int:
    """The packed currency, 0 where it is none."""
    if length != 3:
        return 0
    packed = 0
    for i in range(3):
        letter = int(data[at + i])
        if letter < 65 or letter > 90:
            return 0
        packed = packed << 8 | letter
    return packed


@compiled
def _is_amount(number: Any, length: Any, slot: int) -> bool:
    return bool(length[slot] == 0 and abs(number[slot]) <= AMOUNT_MAX)  # false for NaN too


@compiled
def _moment(data: Any, at: Any, length: Any, slot: int, zone: Zone) -> int:
    if length[slot] == IS_MOMENT:
        return at[slot]  # type: ignore[no-any-return]
    return MISSING_TIME_MS if length[slot] < 0 else plain_time_ms(data, at[slot], length[slot], zone)


@compiled
def _is_opening(moment_ms: int) -> bool:
    """True for a time at which an account can have been opened: no default value, and not missing."""
    return bool(FIRST_EVENT_MS + DAY_MS <= moment_ms < LAST_DATE_MS and abs(moment_ms) > ZERO_MS)


@compiled
def _state(data: Any, at: Any, length: Any, slot: int) -> int:
    """The state's code, -1 where it is not known."""
    if length[slot] < 0:
        return ABSENT
    word = _word_at(STATE_WORDS, data, at[slot], length[slot], 32)
    return -1 if word < 0 else STATE_CODES[word]


@compiled
def _common(row: Any, length: Any, number: Any) -> bool:
    """What every event has."""
    revision = number[REVISION] if length[REVISION] == 0 else 0.0
    if revision < 0.0 or revision > 2147483647.0 or (revision > 0.0 and length[EVENT_ID] < 0):
        return False
    row.revision = int(revision)
    for slot in (EVENT_ID, LOAN_ID, POINT, PROVINCE):  # noqa: SIM110 - numba has no all()
        if length[slot] > ID_BYTES_MAX:
            return False
    return True


@compiled
def _transaction(row: Any, data: Any, at: Any, length: Any, number: Any, zone: Zone) -> bool:
    row.kind = TRANSACTION
    state = _state(data, at, length, STATE)
    row.currency = _currency(data, at[CURRENCY], length[CURRENCY])
    row.event_time_ms = _moment(data, at, length, EVENT_TIME, zone)
    if state < 0 or row.currency == 0 or row.event_time_ms == MISSING_TIME_MS or not _is_amount(number, length, AMOUNT):
        return False
    row.state, row.amount = state, number[AMOUNT]
    if length[BALANCE] == 0:
        if not _is_amount(number, length, BALANCE):
            return False
        row.balance = number[BALANCE]
    row.created_ms = _moment(data, at, length, CREATED, zone)
    if length[CREATED] >= 0 and not _is_opening(row.created_ms):
        return False
    if length[CATEGORY] >= 0:
        category = _word_at(CATEGORY_WORDS, data, at[CATEGORY], length[CATEGORY], 32)
        if category < 0:
            return False
        row.web = category == 0
    bought = category_of_mcc(data, at[MCC], length[MCC])
    if length[MCC] > 0 and bought < 0:
        return False
    row.category = max(bought, 0)
    if row.category == 0 and length[DESCRIPTION] > 0:
        hash_words(data, at[DESCRIPTION], length[DESCRIPTION], row.words)
    if (length[PREVIOUS] == 0) != (row.revision > 0):
        return False
    return length[PREVIOUS] < 0 or _previous_transaction(row, data, at, length, number, zone)


@compiled
def _previous_transaction(row: Any, data: Any, at: Any, length: Any, number: Any, zone: Zone) -> bool:
    state = _state(data, at, length, PREVIOUS_STATE)
    if state < 0 or not _is_amount(number, length, PREVIOUS_AMOUNT):
        return False
    row.has_previous, row.previous_state, row.previous_amount = (True, state, number[PREVIOUS_AMOUNT])
    row.previous_currency = _currency(data, at[PREVIOUS_CURRENCY], length[PREVIOUS_CURRENCY])
    row.previous_time_ms = _moment(data, at, length, PREVIOUS_TIME, zone)
    bought = category_of_mcc(data, at[PREVIOUS_MCC], length[PREVIOUS_MCC])
    if length[PREVIOUS_MCC] > 0 and bought < 0:
        return False
    row.previous_category = max(bought, 0)
    return bool(row.previous_currency != 0 and row.previous_time_ms != MISSING_TIME_MS)


@compiled
def _loan(row: Any, data: Any, at: Any, length: Any, number: Any, zone: Zone) -> bool:
    event = _word_at(LOAN_EVENT_WORDS, data, at[LOAN_EVENT], length[LOAN_EVENT], 0)
    if length[LOAN_ID] <= 0 or event < 0 or is_blank_at(data, at[LOAN_ID], length[LOAN_ID]):
        return False
    if event == 0:
        return _issued(row, data, at, length, number, zone)
    if event == 1:
        return _repaid(row, data, at, length, number, zone)
    row.kind = CANCELLED
    row.event_time_ms = _moment(data, at, length, CANCELLED_AT, zone)
    return bool(length[CANCELLED_AT] < 0 or row.event_time_ms != MISSING_TIME_MS)


@compiled
def _issued(row: Any, data: Any, at: Any, length: Any, number: Any, zone: Zone) -> bool:
    row.kind = ISSUED
    if not _is_amount(number, length, ORDER_AMOUNT) or number[ORDER_AMOUNT] <= 0.0:
        return False
    row.order_amount = number[ORDER_AMOUNT]
    if length[GROSS_MARGIN] == 0:
        if not _is_amount(number, length, GROSS_MARGIN):
            return False
        row.gross_margin = number[GROSS_MARGIN]
    if length[PROMO] == 0:
        if not _is_amount(number, length, PROMO):
            return False
        row.promo = number[PROMO]
    row.currency = _currency(data, at[CURRENCY], length[CURRENCY])
    row.event_time_ms = _moment(data, at, length, ORDER_DATE, zone)
    row.due_ms = _moment(data, at, length, DUE_DATE, zone)
    return bool(
        row.currency != 0 and row.event_time_ms > MISSING_TIME_MS and FIRST_EVENT_MS <= row.due_ms < LAST_DATE_MS
    )


@compiled
def _repaid(row: Any, data: Any, at: Any, length: Any, number: Any, zone: Zone) -> bool:
    row.kind = REPAID
    if not _is_amount(number, length, AMOUNT) or number[AMOUNT] < 0.0 or (number[AMOUNT] == 0.0 and row.revision == 0):
        return False
    row.amount = number[AMOUNT]
    if length[CURRENCY] >= 0:
        row.currency = _currency(data, at[CURRENCY], length[CURRENCY])
        if row.currency == 0:
            return False
    row.event_time_ms = _moment(data, at, length, EVENT_TIME, zone)
    if row.event_time_ms == MISSING_TIME_MS or (length[PREVIOUS] == 0) != (row.revision > 0):
        return False
    if length[PREVIOUS] == 0:
        if not _is_amount(number, length, PREVIOUS_AMOUNT) or number[PREVIOUS_AMOUNT] < 0.0:
            return False
        row.has_previous, row.previous_amount = True, number[PREVIOUS_AMOUNT]
        row.previous_time_ms = _moment(data, at, length, PREVIOUS_TIME, zone)
        return bool(row.previous_time_ms != MISSING_TIME_MS)
    return True


@compiled
def _identify(row: Any, raw: Any, data: Any, at: Any, length: Any) -> bool:
    """The hashes by which duplicates are known, and where the texts are."""
    if length[EVENT_ID] > 0 and not is_blank_at(data, at[EVENT_ID], length[EVENT_ID]):
        row.event_hash = xxh64(data, at[EVENT_ID], length[EVENT_ID], SEEDS[row.kind] | np.int64(row.revision))
        if row.event_hash == 0:
            return False
        row.event_id_at, row.event_id_length = at[EVENT_ID], length[EVENT_ID]
    elif row.revision > 0:
        return False
    digest = xxh64(raw, HEAD_START, HEAD_END - HEAD_START, 0)
    digest = xxh64(raw, TIME_START, TIME_END - TIME_START, digest)
    digest = xxh64(raw, TAIL_START, TAIL_END - TAIL_START, digest)
    for slot in (LOAN_ID, POINT, PROVINCE):
        digest = xxh64(data, at[slot], max(length[slot], 0), digest)
    digest = xxh64(data, 0, 0, digest)  # no author
    row.content_hash = digest & np.uint64(0xFFFFFFFF)
    if length[LOAN_ID] > 0:
        row.loan_id_at, row.loan_id_length = at[LOAN_ID], length[LOAN_ID]
    if length[POINT] > 0:
        row.point_at, row.point_length = at[POINT], length[POINT]
    if length[PROVINCE] > 0:
        row.province_at, row.province_length = at[PROVINCE], length[PROVINCE]
    return True


@compiled
def _clamp(row: Any) -> bool:
    """Event times a little ahead count as the record's timestamp; False where one is far ahead, or before all time."""
    if row.event_time_ms == MISSING_TIME_MS:
        row.event_time_ms = row.timestamp_ms
    latest_ms = max(row.event_time_ms, row.previous_time_ms) if row.has_previous else row.event_time_ms
    earliest_ms = min(row.event_time_ms, row.previous_time_ms) if row.has_previous else row.event_time_ms
    if latest_ms - row.timestamp_ms > FUTURE_TOLERANCE_MS or earliest_ms < FIRST_EVENT_MS:
        return False
    row.event_time_ms = min(row.event_time_ms, row.timestamp_ms)
    if row.has_previous:
        row.previous_time_ms = min(row.previous_time_ms, row.timestamp_ms)
    return True
