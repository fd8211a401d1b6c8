"""Row <-> bytes: the versioned, compact layout in which rows rest in the store and in the changelog.

Integers are variable-length (7 bits a byte, signed ones zigzag), times are written relative to the row's clock, days
relative to its day, so that a typical customer (100 transactions on 87 days, two loans) takes a few hundred bytes.
The first byte is the layout's version. `decode_row` reads every version ever written (`READERS`); the compiled
kernel (`state.compiled`) reads and writes the newest one only, byte for byte what `encode_row` writes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from schemas.batch import FEATURE_SLOTS
from schemas.errors import Exit, RescoreError
from schemas.kinds import FIRST_CODE, Score
from state.closed_loans import ID_HASH_BITS, PAYMENT_HASH_BITS, remember_of_sums
from state.row import Account, ClosedLoan, Day, Folded, Loan, Override, Pending, Row, Seen
from state.spending import ProfileMark, Spending

LAYOUT_VERSION = 4
SAME_HEADER = (1, 2, 3, 4)
"""Versions whose first part is that of the newest."""

HAS_CREATED = 1
IS_WEB = 2
HAS_TRANSACTION = 4
IS_ERASED = 8
HAS_FOLDED = 16
HAS_PENDING = 32
HAS_DECLARED = 64
EXISTS = 128
HAS_RISK = 256  # since version 2
HAS_SPENDING = 512  # since version 3
HAS_PROFILES = 1024  # since version 3
HAS_CLOSED = 2048  # since version 4
PAYMENTS_FROM_VERSION = 4

KEPT_ALWAYS = 6
"""Scores of which every row speaks: those of version 1. Later ones stand at the end of the rows that have them."""

DAY_DEPOSITS = 1
DAY_WITHDRAWALS = 2
DAY_FAILED = 4
DAY_TRANSACTIONS = 8  # written only where it is not (deposits != 0) + (withdrawals != 0)
DAY_GAP_WIDE = 15

PAYMENT_BYTES = PAYMENT_HASH_BITS // 8
CLOSED_BYTES = (ID_HASH_BITS + 1) // 8  # the lowest bit says that it was cancelled


class CorruptRow(RescoreError):
    """These bytes are not a row: rebuild the partition from the changelog (FLUSHALL and a restart do it)."""

    remedy = 'see docs/operations.md, "A worker halted"'
    code = Exit.HALTED


class Writer:
    """Appends the layout's primitive values to a byte string."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    def unsigned(self, value: int) -> None:
        """7 bits a byte, lowest first; the high bit says that more follow."""
        while value > 0x7F:
            self.bytes.append((value & 0x7F) | 0x80)
            value >>= 7
        self.bytes.append(value)

    def signed(self, value: int) -> None:
        """Zigzag: small numbers of either sign are short."""
        self.unsigned(value << 1 if value >= 0 else ((-value) << 1) - 1)

    def double(self, value: float) -> None:
        """Eight bytes, little-endian."""
        self.bytes += struct.pack("<d", value)

    def text(self, value: bytes) -> None:
        """Length, then the bytes."""
        self.unsigned(len(value))
        self.bytes += value


class Reader:
    """Reads what `Writer` wrote; running past the end is a corrupt row."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        end = self.at + length
        if end > len(self.data):
            raise CorruptRow(f"row of {len(self.data)} bytes ends inside a field at byte {self.at}")
        part = self.data[self.at : end]
        self.at = end
        return part

    def unsigned(self) -> int:
        """A variable-length number of at most 64 bits. A row has hundreds, most of one byte."""
        data, at = self.data, self.at
        value = shift = 0
        for byte in data[at : at + 10]:
            at += 1
            if byte < 0x80:
                self.at = at
                return value | byte << shift
            value |= (byte & 0x7F) << shift
            shift += 7
        if at >= len(data):
            raise CorruptRow(f"row of {len(data)} bytes ends inside a field at byte {self.at}")
        raise CorruptRow(f"number longer than 64 bits at byte {self.at}")

    def signed(self) -> int:
        """A zigzag number."""
        raw = self.unsigned()
        return (raw >> 1) ^ -(raw & 1)

    def double(self) -> float:
        """Eight bytes, little-endian."""
        value: float = struct.unpack("<d", self.take(8))[0]
        return value

    def text(self) -> bytes:
        """Length, then the bytes."""
        return self.take(self.unsigned())


def encode_row(row: Row, day_of_clock: int) -> bytes:
    """The row in the newest layout. `day_of_clock` is the day of `row.clock_ms` in the policy's time zone."""
    out = Writer()
    _write_header(out, row, day_of_clock)
    _write_days(out, row, day_of_clock)
    _write_accounts(out, row, day_of_clock)
    _write_loans(out, row, day_of_clock)
    if row.folded is not None:
        _write_folded(out, row.folded, row.clock_ms, day_of_clock)
    _write_seen(out, row)
    _write_emitted(out, row)
    if row.pending is not None:
        out.signed(day_of_clock - row.pending.day)
        for feature in row.pending.features:
            out.bytes += struct.pack("<H", feature)
        out.double(row.pending.forecast)
    _write_overrides(out, row)
    if row.declared is not None:
        out.signed(row.clock_ms - row.declared_time_ms)
        for value in row.declared:
            out.double(value)
    if row.sequences[Score.RISK]:
        out.unsigned(row.sequences[Score.RISK])
        out.double(row.emitted[Score.RISK])
    if row.spending:
        _write_spending(out, row, day_of_clock)
    if _has_profiles(row):
        _write_profiles(out, row, day_of_clock)
    if _has_closed(row):
        _write_closed(out, row, day_of_clock)
    return bytes(out.bytes)


def decode_row(data: bytes) -> Row:
    """The row that these bytes hold, of whatever layout version.

    Raises `CorruptRow` when they are not a row: the store then has to be rebuilt from the changelog.
    """
    return _decode(data)[0]


def upgraded(data: bytes) -> bytes:
    """The same row in the newest layout; the bytes themselves where they already are."""
    return data if data[:1] == bytes([LAYOUT_VERSION]) else encode_row(*_decode(data))


def due_ms_of(data: bytes) -> int | None:
    """When time next has to look at a packed row, without reading the rest of it. About 1.5 us: a rebuild of the store
    asks it of every row there is.
    """
    if data[:1] and data[0] not in SAME_HEADER:
        return decode_row(data).due_ms
    found = _UP_TO_DUE.match(data)
    if found is None:
        raise CorruptRow(f"row of {len(data)} bytes ends inside its header")
    due = _unsigned(found[2])
    clock = _unsigned(found[1])
    return None if due == 0 else ((clock >> 1) ^ -(clock & 1)) + due - 1


_NUMBER = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_UP_TO_DUE = re.compile(rb".(?:%b){3}(%b)(?:%b){4}(%b)" % (_NUMBER, _NUMBER, _NUMBER, _NUMBER), re.DOTALL)
"""Version, flags, incarnation (2); the clock; day, timestamp, rank, taken; the due time: see `_write_header`."""


def _unsigned(number: bytes) -> int:
    value = 0
    for byte in reversed(number):
        value = value << 7 | byte & 0x7F
    return value


def _decode(data: bytes) -> tuple[Row, int]:
    if not data:
        raise CorruptRow("an empty byte string is no row")
    read = READERS.get(data[0])
    if read is None:
        known = ", ".join(str(version) for version in sorted(READERS))
        raise CorruptRow(f"layout version {data[0]} is not known here (known: {known}); upgrade this program")
    return read(data)


def _write_header(out: Writer, row: Row, day: int) -> None:
    flags = (
        HAS_CREATED * (row.created_day is not None)
        | IS_WEB * row.web
        | HAS_TRANSACTION * (row.last_transaction_day is not None)
        | IS_ERASED * (row.erased_ms is not None)
        | HAS_FOLDED * (row.folded is not None)
        | HAS_PENDING * (row.pending is not None)
        | HAS_DECLARED * (row.declared is not None)
        | EXISTS * row.exists
        | HAS_RISK * (row.sequences[Score.RISK] > 0)
        | HAS_SPENDING * (len(row.spending) > 0)
        | HAS_PROFILES * _has_profiles(row)
        | HAS_CLOSED * _has_closed(row)
    )
    out.bytes.append(LAYOUT_VERSION)
    out.unsigned(flags)
    out.unsigned(row.incarnation_rank)
    out.unsigned(row.incarnation_offset + 1)
    out.signed(row.clock_ms)
    out.signed(day)
    out.signed(row.clock_ms - row.last_timestamp_ms)
    out.unsigned(row.last_rank)
    out.unsigned(row.taken)
    out.unsigned(0 if row.due_ms is None else row.due_ms - row.clock_ms + 1)
    out.signed(row.clock_ms - row.first_event_ms)
    out.signed(row.clock_ms - row.last_event_ms)
    out.unsigned(row.events)
    if row.last_transaction_day is not None:
        out.signed(day - row.last_transaction_day)
    if row.created_day is not None:
        out.signed(day - row.created_day)
    if row.erased_ms is not None:
        out.signed(row.clock_ms - row.erased_ms)
    out.signed(row.deposits_minor)
    out.signed(row.withdrawals_minor)
    out.signed(row.transactions)
    out.signed(row.failed)
    out.unsigned(row.duplicates)
    out.unsigned(row.conflicts)
    out.unsigned(row.overruns)
    out.unsigned(row.inversions)
    out.unsigned(row.labels)
    if row.labels:
        out.double(row.consistency)


def _read_header(data: Reader) -> tuple[Row, int, int]:
    row = Row()
    data.take(1)
    flags = data.unsigned()
    row.incarnation_rank = data.unsigned()
    row.incarnation_offset = data.unsigned() - 1
    row.clock_ms = data.signed()
    day = data.signed()
    row.last_timestamp_ms = row.clock_ms - data.signed()
    row.last_rank = data.unsigned()
    row.taken = data.unsigned()
    due = data.unsigned()
    row.due_ms = None if due == 0 else row.clock_ms + due - 1
    row.first_event_ms = row.clock_ms - data.signed()
    row.last_event_ms = row.clock_ms - data.signed()
    row.events = data.unsigned()
    if flags & HAS_TRANSACTION:
        row.last_transaction_day = day - data.signed()
    if flags & HAS_CREATED:
        row.created_day = day - data.signed()
    if flags & IS_ERASED:
        row.erased_ms = row.clock_ms - data.signed()
    row.web = bool(flags & IS_WEB)
    row.deposits_minor = data.signed()
    row.withdrawals_minor = data.signed()
    row.transactions = data.signed()
    row.failed = data.signed()
    row.duplicates = data.unsigned()
    row.conflicts = data.unsigned()
    row.overruns = data.unsigned()
    row.inversions = data.unsigned()
    row.labels = data.unsigned()
    if row.labels:
        row.consistency = data.double()
    return row, flags, day


def _write_days(out: Writer, row: Row, day_of_clock: int) -> None:
    out.unsigned(len(row.days))
    before = day_of_clock + 1
    for day in reversed(row.days):  # newest first: gaps are small
        gap = before - day.day - 1
        before = day.day
        implied = (day.deposits_minor != 0) + (day.withdrawals_minor != 0)
        flags = (
            DAY_DEPOSITS * (day.deposits_minor != 0)
            | DAY_WITHDRAWALS * (day.withdrawals_minor != 0)
            | DAY_FAILED * (day.failed != 0)
            | DAY_TRANSACTIONS * (day.transactions != implied)
        )
        out.bytes.append(min(gap, DAY_GAP_WIDE) << 4 | flags)
        if gap >= DAY_GAP_WIDE:
            out.unsigned(gap - DAY_GAP_WIDE)
        if day.deposits_minor:
            out.signed(day.deposits_minor)
        if day.withdrawals_minor:
            out.signed(day.withdrawals_minor)
        if day.failed:
            out.signed(day.failed)
        if day.transactions != implied:
            out.signed(day.transactions)


def _read_days(data: Reader, row: Row, day_of_clock: int) -> None:
    before = day_of_clock + 1
    for _ in range(data.unsigned()):
        head = data.take(1)[0]
        gap = head >> 4
        if gap == DAY_GAP_WIDE:
            gap += data.unsigned()
        before = before - gap - 1
        day = Day(before)
        if head & DAY_DEPOSITS:
            day.deposits_minor = data.signed()
        if head & DAY_WITHDRAWALS:
            day.withdrawals_minor = data.signed()
        if head & DAY_FAILED:
            day.failed = data.signed()
        implied = (day.deposits_minor != 0) + (day.withdrawals_minor != 0)
        day.transactions = data.signed() if head & DAY_TRANSACTIONS else implied
        row.days.append(day)
    row.days.reverse()


def _write_accounts(out: Writer, row: Row, day: int) -> None:
    out.unsigned(len(row.accounts))
    for account in row.accounts:
        has_balance = account.balance_time_ms is not None
        out.bytes += account.currency.to_bytes(3, "big")
        out.unsigned(has_balance | 2 * (account.last_day is not None))
        if account.last_day is not None:
            out.signed(day - account.last_day)
        if account.balance_time_ms is not None:
            out.signed(account.balance_minor)
            out.signed(row.clock_ms - account.balance_time_ms)
            out.unsigned(account.balance_revision)


def _read_accounts(data: Reader, row: Row, day: int) -> None:
    for _ in range(data.unsigned()):
        account = Account(int.from_bytes(data.take(3), "big"))
        has = data.unsigned()
        if has & 2:
            account.last_day = day - data.signed()
        if has & 1:
            account.balance_minor = data.signed()
            account.balance_time_ms = row.clock_ms - data.signed()
            account.balance_revision = data.unsigned()
        row.accounts.append(account)


def _write_loans(out: Writer, row: Row, day: int) -> None:
    out.unsigned(len(row.points))
    for point, province in row.points:
        out.text(point)
        out.text(province)
    out.unsigned(len(row.loans))
    for loan in row.loans:
        converted = (
            loan.base_order_amount != loan.order_amount
            or loan.base_gross_margin != loan.gross_margin
            or loan.base_promo != loan.promo
        )
        paid_mask = sum(1 << state for state in range(5) if loan.paid[state])
        out.unsigned(converted | 2 * (loan.settled_day is not None) | 4 * bool(loan.due_moves) | paid_mask << 3)
        out.text(loan.loan_id)
        out.bytes += loan.currency.to_bytes(3, "big")
        out.signed(loan.order_amount)
        out.signed(loan.gross_margin)
        out.signed(loan.promo)
        if converted:
            out.signed(loan.base_order_amount)
            out.signed(loan.base_gross_margin)
            out.signed(loan.base_promo)
        out.signed(row.clock_ms - loan.order_ms)
        out.signed(day - loan.order_day)
        out.signed(day - loan.due_day)
        out.unsigned(loan.point)
        out.unsigned(loan.revision)
        for state in range(5):
            if loan.paid[state]:
                out.signed(loan.paid[state])
        if loan.settled_day is not None:
            out.signed(day - loan.settled_day)
        if loan.due_moves:
            out.unsigned(len(loan.due_moves))
            for moved_day, earlier_due_day in loan.due_moves:
                out.signed(day - moved_day)
                out.signed(day - earlier_due_day)
        out.unsigned(len(loan.payments))
        for payment in loan.payments:
            out.bytes += payment.to_bytes(PAYMENT_BYTES, "little")


def _read_loans(data: Reader, row: Row, day: int, version: int) -> None:
    for _ in range(data.unsigned()):
        point = data.text()
        row.points.append((point, data.text()))
    for _ in range(data.unsigned()):
        flags = data.unsigned()
        loan_id = data.text()
        currency = int.from_bytes(data.take(3), "big")
        order_amount, gross_margin, promo = data.signed(), data.signed(), data.signed()
        base = (order_amount, gross_margin, promo)
        if flags & 1:
            base = (data.signed(), data.signed(), data.signed())
        order_ms = row.clock_ms - data.signed()
        order_day, due_day = day - data.signed(), day - data.signed()
        point_index, revision = data.unsigned(), data.unsigned()
        paid = [data.signed() if flags >> 3 & 1 << state else 0 for state in range(5)]
        settled_day = day - data.signed() if flags & 2 else None
        moves = [(day - data.signed(), day - data.signed()) for _ in range(data.unsigned())] if flags & 4 else []
        count = data.unsigned() if version >= PAYMENTS_FROM_VERSION else 0
        payments = [int.from_bytes(data.take(PAYMENT_BYTES), "little") for _ in range(count)]
        row.loans.append(
            Loan(
                loan_id, currency, order_amount, gross_margin, promo, *base, order_ms, order_day, due_day,
                point_index, revision, paid, settled_day, moves, payments,
            )
        )  # fmt: skip


def _write_folded(out: Writer, folded: Folded, clock_ms: int, day: int) -> None:
    for count in folded.counts:
        out.unsigned(count)
    for amount in (folded.gross_margin, folded.base, folded.order_amount, folded.cost, folded.promo):
        out.signed(amount)
    for at in (folded.latest_due_day, folded.first_order_day, folded.first_due_day):
        out.signed(day - at)
    out.text(folded.first_loan_id)
    out.unsigned(folded.first_defaulted)
    out.signed(clock_ms - folded.point_order_ms)
    out.text(folded.point_loan_id)
    out.unsigned(folded.point)


def _read_folded(data: Reader, clock_ms: int, day: int) -> Folded:
    folded = Folded([data.unsigned() for _ in range(5)])
    folded.gross_margin, folded.base, folded.order_amount = data.signed(), data.signed(), data.signed()
    folded.cost, folded.promo = data.signed(), data.signed()
    folded.latest_due_day, folded.first_order_day = day - data.signed(), day - data.signed()
    folded.first_due_day = day - data.signed()
    folded.first_loan_id, folded.first_defaulted = data.text(), bool(data.unsigned())
    folded.point_order_ms = clock_ms - data.signed()
    folded.point_loan_id, folded.point = data.text(), data.unsigned()
    return folded


def _write_seen(out: Writer, row: Row) -> None:
    out.unsigned(len(row.seen))
    for seen in row.seen:
        out.bytes += struct.pack("<QI", seen.event_hash, seen.content_hash)
        out.signed(row.clock_ms - seen.clock_ms)


def _read_seen(data: Reader, row: Row) -> None:
    for _ in range(data.unsigned()):
        event_hash, content_hash = struct.unpack("<QI", data.take(12))
        row.seen.append(Seen(event_hash, content_hash, row.clock_ms - data.signed()))


def _write_emitted(out: Writer, row: Row) -> None:
    for score in range(KEPT_ALWAYS):
        out.unsigned(row.sequences[score])
        if row.sequences[score]:
            out.double(row.emitted[score]) if score < FIRST_CODE else out.unsigned(int(row.emitted[score]))
    for count in row.emitted_counts:
        out.unsigned(count)
    digits = (row.status_level, row.revenue_level, row.recency_digit, row.frequency_digit, row.monetary_digit)
    packed = 0
    for digit in digits:
        packed = packed * 6 + digit + 1
    out.unsigned(packed)


def _read_emitted(data: Reader, row: Row) -> None:
    for score in range(KEPT_ALWAYS):
        row.sequences[score] = data.unsigned()
        if row.sequences[score]:
            row.emitted[score] = data.double() if score < FIRST_CODE else float(data.unsigned())
    row.emitted_counts = [data.unsigned() for _ in range(5)]
    packed = data.unsigned()
    digits = []
    for _ in range(5):
        digits.append(packed % 6 - 1)
        packed //= 6
    row.monetary_digit, row.frequency_digit, row.recency_digit, row.revenue_level, row.status_level = digits


def _write_overrides(out: Writer, row: Row) -> None:
    out.unsigned(len(row.overrides))
    for override in row.overrides:
        out.unsigned(override.score)
        out.double(override.value)
        out.signed(override.until_ms - row.clock_ms)
        out.text(override.author)


def _read_overrides(data: Reader, row: Row) -> None:
    for _ in range(data.unsigned()):
        score, value = data.unsigned(), data.double()
        row.overrides.append(Override(score, value, row.clock_ms + data.signed(), data.text()))


def _write_spending(out: Writer, row: Row, day: int) -> None:
    out.unsigned(len(row.spending))
    for place in row.spending:
        out.unsigned(place.category)
        out.unsigned(day - place.day)
        out.unsigned(place.amount_minor)
        out.unsigned(place.purchases)


def _read_spending(data: Reader, row: Row, day: int) -> None:
    for _ in range(data.unsigned()):
        row.spending.append(Spending(data.unsigned(), day - data.unsigned(), data.unsigned(), data.unsigned()))


def _has_profiles(row: Row) -> bool:
    return row.sequences[Score.PROFILES] > 0 or len(row.profiles) > 0


def _write_profiles(out: Writer, row: Row, day: int) -> None:
    """The marks: which profiles hold follows from them, and is not written again."""
    out.unsigned(row.sequences[Score.PROFILES])
    out.unsigned(len(row.profiles))
    for mark in row.profiles:
        out.bytes += struct.pack("<I", mark.key)
        out.unsigned(2 * (day - mark.since_day) + mark.held)


def _read_profiles(data: Reader, row: Row, day: int) -> None:
    row.sequences[Score.PROFILES] = data.unsigned()
    for _ in range(data.unsigned()):
        (key,) = struct.unpack("<I", data.take(4))
        since = data.unsigned()
        row.profiles.append(ProfileMark(key, day - (since >> 1), bool(since & 1)))


def _has_closed(row: Row) -> bool:
    return len(row.closed) > 0 or row.closed_until_day is not None


def _write_closed(out: Writer, row: Row, day: int) -> None:
    """Newest first, each order day as the distance from the one before: short, as loans follow one another."""
    out.unsigned(2 * len(row.closed) + (row.closed_until_day is not None))
    if row.closed_until_day is not None:
        out.signed(day - row.closed_until_day)
    for i in range(len(row.closed) - 1, -1, -1):
        closed = row.closed[i]
        out.bytes += (2 * closed.id_hash + closed.cancelled).to_bytes(CLOSED_BYTES, "little")
        if i == len(row.closed) - 1:
            out.signed(day - closed.order_day)
        else:
            out.unsigned(row.closed[i + 1].order_day - closed.order_day)


def _read_closed(data: Reader, row: Row, day: int) -> None:
    count = data.unsigned()
    if count & 1:
        row.closed_until_day = day - data.signed()
    for i in range(count >> 1):
        word = int.from_bytes(data.take(CLOSED_BYTES), "little")
        day -= data.unsigned() if i else data.signed()
        row.closed.append(ClosedLoan(word >> 1, day, bool(word & 1)))
    row.closed.reverse()


def _decode_row(data: bytes) -> tuple[Row, int]:
    """Version 4; 3, which knew neither closed loans nor payments; 2, which knew no profiles; 1, which knew no risk."""
    reader = Reader(data)
    row, flags, day = _read_header(reader)
    _read_days(reader, row, day)
    _read_accounts(reader, row, day)
    _read_loans(reader, row, day, data[0])
    if flags & HAS_FOLDED:
        row.folded = _read_folded(reader, row.clock_ms, day)
    _read_seen(reader, row)
    _read_emitted(reader, row)
    if flags & HAS_PENDING:
        pending_day = day - reader.signed()
        features = list(struct.unpack(f"<{FEATURE_SLOTS}H", reader.take(2 * FEATURE_SLOTS)))
        row.pending = Pending(pending_day, features, reader.double())
    _read_overrides(reader, row)
    if flags & HAS_DECLARED:
        row.declared_time_ms = row.clock_ms - reader.signed()
        row.declared = [reader.double() for _ in range(8)]
    if flags & HAS_RISK:
        row.sequences[Score.RISK], row.emitted[Score.RISK] = reader.unsigned(), reader.double()
    if flags & HAS_SPENDING:
        _read_spending(reader, row, day)
    if flags & HAS_PROFILES:
        _read_profiles(reader, row, day)
    if flags & HAS_CLOSED:
        _read_closed(reader, row, day)
    if data[0] < PAYMENTS_FROM_VERSION:
        remember_of_sums(row)
    if reader.at != len(data):
        raise CorruptRow(f"{len(data) - reader.at} bytes follow the end of the row")
    return row, day


READERS: dict[int, Callable[[bytes], tuple[Row, int]]] = dict.fromkeys(range(1, 5), _decode_row)
"""Reader of each layout version ever written; a new version adds its own and keeps the old ones."""
