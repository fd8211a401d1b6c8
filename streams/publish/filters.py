"""The filters of a mapping: what may be done to a value between a file's column and our field.

A filter is made once from the words after its name and then called for each row: `make(context, *words)(value, row)`.
It raises ValueError, in words for the person whose file it is, if a value cannot be read. An empty value stays empty
through arithmetic and dates, so that `or`, `first_of` and the check for missing fields see it. Arithmetic is decimal.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact
from typing import Any

from schemas.times import iso_of
from streams.publish.columns import Columns, Row
from streams.publish.numbers import MARKS, NumberColumn, rounded, text_of

Filter = Callable[[Any, Row], Any]

EXACT = Context(prec=200, traps=[Inexact])
EMPTY = (None, "")

UNITS = {"days": 86_400_000_000_000, "seconds": 10**9, "milliseconds": 10**6, "microseconds": 1_000, "nanoseconds": 1}
"""Nanoseconds in each unit that an epoch time may have."""
FIRST_EPOCH_MS, LAST_EPOCH_MS = -2_208_988_800_000, 7_258_118_400_000  # 1900-01-01, 2200-01-01
ZERO_EPOCH_MS = 4_200_000_000
"""A time of this century in a unit a thousand times as long as the one named falls within these 48 days of 1970."""


@dataclass(frozen=True, slots=True)
class Of:
    """What a filter is made for: the expression's first column, and access to the columns of the file."""

    root: str
    columns: Columns

    @property
    def number(self) -> NumberColumn:
        """Reads numbers in the piped value; their decimal mark is that of the first column."""
        return self.columns.numbers.of(self.root)

    def number_in(self, name: str) -> Callable[[Row], Decimal | None]:
        """The number in another column, None where it is empty."""
        read, numbers = self.columns.reader(name), self.columns.numbers.of(name)
        return lambda row: None if (value := read(row)) in EMPTY else numbers.read(value)

    def number_or_column(self, argument: str) -> Callable[[Row], Decimal | None]:
        """An argument that is a number, or the column that holds one."""
        if re.fullmatch(r"[+-]?\d+(\.\d+)?", argument):
            number = Decimal(argument)
            return lambda _row: number
        return self.number_in(argument)

    def whole_or_column(self, argument: str) -> Callable[[Row], int]:
        """An argument that is a whole number, or the column that holds one."""
        read = self.number_or_column(argument)

        def whole(row: Row) -> int:
            number = read(row)
            if number is None or number != number.to_integral_value() or abs(number) > 10**6:
                raise ValueError(f"{argument} is {text_of(number) or 'empty'}, not a whole number")
            return int(number)

        return whole


def _of_number(change: Callable[[Decimal], Decimal]) -> Callable[[Of], Filter]:
    def make(of: Of) -> Filter:
        number = of.number
        return lambda value, _row: None if value in EMPTY else change(number.read(value))

    return make


def _day(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, datetime.min.time())
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(
            f"{value!r} is not a date (YYYY-MM-DD); read it with `date FORMAT`, for example date %d.%m.%Y"
        ) from None


def _iso(moment: datetime) -> str:
    is_day = moment.tzinfo is None and moment.time() == datetime.min.time()
    return moment.date().isoformat() if is_day else moment.isoformat()


def _parse_date(_of: Of, first: str, *more: str) -> Filter:
    pattern = " ".join((first, *more))

    def parse(value: Any, _row: Row) -> str | None:
        if value in EMPTY:
            return None
        try:
            moment = datetime.strptime(str(value), pattern)  # noqa: DTZ007 - the file's own zone, or none
            name = time.strptime(str(value), pattern).tm_zone if "%Z" in pattern and moment.tzinfo is None else None
        except ValueError:
            raise ValueError(f"{value!r} is not a date written {pattern}") from None
        if name is not None and name.upper() not in ("UTC", "GMT"):
            raise ValueError(
                f"{value!r} names the zone {name}; %Z reads UTC and GMT alone, %z reads offsets such as +01:00"
            )
        return _iso(moment if name is None else moment.replace(tzinfo=UTC))

    return parse


def _epoch(of: Of, unit: str) -> Filter:
    nanoseconds = UNITS.get(unit)
    if nanoseconds is None:
        raise ValueError

    def parse(value: Any, _row: Row) -> str | None:
        if value in EMPTY:
            return None
        number = of.number.read(value)
        if unit == "days" and number != number.to_integral_value():
            raise ValueError(f"{value!r} is not a whole number of days")
        moment_ms = int(EXACT.multiply(number, Decimal(nanoseconds)) // 1_000_000)
        if not FIRST_EPOCH_MS <= moment_ms < LAST_EPOCH_MS:
            raise ValueError(f"{value!r} {unit} since 1970 is not between 1900 and 2200: the unit is another one")
        if unit not in ("days", "seconds") and 0 <= moment_ms < ZERO_EPOCH_MS:
            raise ValueError(f"{value!r} {unit} since 1970 is in the first weeks of 1970: the unit is another one")
        text = iso_of(moment_ms)
        return text[:10] if unit == "days" else text  # a day is that day in the policy's zone, all others are moments

    return parse


def _add_months(moment: datetime, months: int) -> datetime:
    """The same day of another month, its last day where it is shorter."""
    years, month = divmod(moment.month - 1 + months, 12)
    first = moment.replace(year=moment.year + years, month=month + 1, day=1)
    last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(moment.day, last.day))


def _of_date(change: Callable[[datetime, Row], datetime]) -> Filter:
    def move(value: Any, row: Row) -> str | None:
        if value in EMPTY:
            return None
        try:
            return _iso(change(_day(value), row))
        except OverflowError:
            raise ValueError(f"{value!r} moves beyond the calendar") from None

    return move


def _plus_months(of: Of, argument: str) -> Filter:
    months = of.whole_or_column(argument)
    return _of_date(lambda moment, row: _add_months(moment, months(row)))


def _plus_days(of: Of, argument: str) -> Filter:
    days = of.whole_or_column(argument)
    return _of_date(lambda moment, row: moment + timedelta(days=days(row)))


def _next_day_of_month(_of: Of, argument: str) -> Filter:
    wanted = int(argument)
    if not 1 <= wanted <= 28:
        raise ValueError

    def following(moment: datetime, _row: Row) -> datetime:
        this_month = moment.replace(day=wanted)
        return this_month if moment < this_month else _add_months(this_month, 1)

    return _of_date(following)


def _months_after(of: Of, other: str) -> Filter:
    read = of.columns.reader(other)

    def months(value: Any, row: Row) -> int:
        later, earlier = _day(value), _day(read(row))
        return (later.year - earlier.year) * 12 + later.month - earlier.month - (later.day < earlier.day)

    return months


def _number(of: Of, decimal: str = "") -> Filter:
    if decimal:
        if decimal not in MARKS:
            raise ValueError
        of.number.name_mark(decimal)
    return lambda value, _row: None if value in EMPTY else of.number.read(value)


def signs(of: Of, other: str, negative: frozenset[str], positive: frozenset[str]) -> Filter:
    """Minus where column `other` has one of the negative values, plus for the positive ones, refused for any other."""
    if both := sorted(negative & positive):
        raise ValueError(f"{both[0]} is in both")
    read, number = of.columns.reader(other), of.number
    is_negative = dict.fromkeys(positive, False) | dict.fromkeys(negative, True)

    def sign(value: Any, row: Row) -> Decimal | None:
        if value is None or value == "":
            return None
        amount, word = number.read(value), text_of(read(row))
        minus = is_negative.get(word)
        if minus is None:
            raise ValueError(
                f"{other} is {word!r}, which neither negative_when nor positive_when names "
                f"(named are {', '.join(sorted(negative | positive))}): add it to the one it belongs to"
            )
        if amount.is_signed() and amount:
            raise ValueError(
                f"{value!r} has a minus of its own beside {other} {word!r}: drop it with `abs`, if it means the same"
            )
        return amount.copy_negate() if minus and amount else amount

    return sign


def _words_of_signs(_of: Of, _other: str, _first: str, *_more: str) -> Filter:
    raise NotImplementedError  # made in pairs by `publish_mapping`, which knows both lists


def _plus(sign: int) -> Callable[[Of, str], Filter]:
    def make(of: Of, argument: str) -> Filter:
        read = of.number_or_column(argument)

        def add(value: Any, row: Row) -> Decimal | None:
            other = read(row)
            if value in EMPTY and other is None:
                return None
            number = Decimal(0) if value in EMPTY else of.number.read(value)
            return EXACT.add(number, sign * (other or Decimal(0)))

        return add

    return make


def _times(of: Of, argument: str) -> Filter:
    read = of.number_or_column(argument)

    def multiply(value: Any, row: Row) -> Decimal | None:
        factor = read(row)
        return None if value in EMPTY or factor is None else EXACT.multiply(of.number.read(value), factor)

    return multiply


def _round(of: Of, argument: str) -> Filter:
    digits = int(argument)
    return lambda value, _row: None if value in EMPTY else rounded(of.number.read(value), digits)


def _translate(_of: Of, first: str, *more: str) -> Filter:
    words = {}
    for pair in (first, *more):
        theirs, equals, ours = pair.partition("=")
        if not equals:
            raise ValueError
        words[theirs] = ours
    return lambda value, _row: words.get(text_of(value), value)


def _or(_of: Of, default: str) -> Filter:
    return lambda value, _row: default if value in EMPTY else value


def _first_of(of: Of, first: str, *more: str) -> Filter:
    readers = [of.columns.reader(name) for name in (first, *more)]

    def choose(value: Any, row: Row) -> Any:
        others = (read(row) for read in readers) if value in EMPTY else ()
        return next((other for other in others if other not in EMPTY), value)

    return choose


def _text(change: Callable[[str], str]) -> Callable[[Of], Filter]:
    return lambda _of: lambda value, _row: None if value is None else change(text_of(value))


FILTERS: dict[str, Callable[..., Filter]] = {
    "number": _number,
    "negate": _of_number(lambda number: number.copy_negate() if number else number),
    "abs": _of_number(Decimal.copy_abs),
    "negative_when": _words_of_signs,
    "positive_when": _words_of_signs,
    "times": _times,
    "plus": _plus(1),
    "minus": _plus(-1),
    "round": _round,
    "date": _parse_date,
    "epoch": _epoch,
    "plus_days": _plus_days,
    "plus_months": _plus_months,
    "next_day_of_month": _next_day_of_month,
    "months_after": _months_after,
    "translate": _translate,
    "or": _or,
    "first_of": _first_of,
    "upper": _text(str.upper),
    "lower": _text(str.lower),
    "strip": _text(str.strip),
}

USAGE: dict[str, str] = {
    "number": "number, number , (decimal comma) or number .",
    "negate": "negate",
    "abs": "abs",
    "negative_when": "negative_when COLUMN VALUE..., with positive_when for the other values of the same column",
    "positive_when": "positive_when COLUMN VALUE..., with negative_when for the other values of the same column",
    "times": "times NUMBER|COLUMN",
    "plus": "plus NUMBER|COLUMN",
    "minus": "minus NUMBER|COLUMN",
    "round": "round DIGITS",
    "date": "date FORMAT (as strftime writes it, for example %y%m%d)",
    "epoch": "epoch days|seconds|milliseconds|microseconds|nanoseconds",
    "plus_days": "plus_days NUMBER|COLUMN",
    "plus_months": "plus_months NUMBER|COLUMN",
    "next_day_of_month": "next_day_of_month DAY (1 to 28)",
    "months_after": "months_after COLUMN",
    "translate": "translate THEIRS=OURS...",
    "or": "or DEFAULT",
    "first_of": "first_of COLUMN...",
    "upper": "upper",
    "lower": "lower",
    "strip": "strip",
}
"""How each filter is written; shown where one is written otherwise."""
