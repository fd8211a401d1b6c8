"""The filters of a mapping: what may be done to a value between somebody's column and our field.

A filter is made once from the words after its name and then called for each row: `make(*words)(value, row)`. It raises
ValueError, in words for the person whose file it is, where a value cannot be read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

Row = dict[str, Any]
Filter = Callable[[Any, Row], Any]


def read_number(value: Any, decimal: str = "") -> float:
    """A number as people write it; `decimal` says which mark is the decimal one where that cannot be told.

    >>> read_number("1 234.50"), read_number("1.234,50"), read_number("12,5"), read_number("12,500", ",")
    (1234.5, 1234.5, 12.5, 12.5)
    """
    if isinstance(value, int | float):
        return float(value)
    text = re.sub(r"[\s\u00a0\u202f']", "", str(value if value is not None else ""))
    if not decimal and re.fullmatch(r"[+-]?\d{1,3},\d{3}", text):
        raise ValueError(
            f"{value!r} may be thousands or decimals: map it with `number ,` (decimal comma) or `number .`"
        )
    decimal = decimal or max(",.", key=text.rfind)
    thousands = "." if decimal == "," else ","
    try:
        return float(text.replace(thousands, "").replace(decimal, "."))
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None


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


def _whole(argument: str) -> Callable[[Row], int]:
    """An argument that is a whole number, or the column that holds one."""
    if re.fullmatch(r"[+-]?\d+", argument):
        number = int(argument)
        return lambda _row: number
    return lambda row: int(read_number(row.get(argument)))


def _parse_date(pattern: str) -> Filter:
    def parse(value: Any, _row: Row) -> str:
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


def _add_months(moment: datetime, months: int) -> datetime:
    """The same day of another month, its last day where it is shorter."""
    years, month = divmod(moment.month - 1 + months, 12)
    first = moment.replace(year=moment.year + years, month=month + 1, day=1)
    last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(moment.day, last.day))


def _plus_months(argument: str) -> Filter:
    months = _whole(argument)
    return lambda value, row: _iso(_add_months(_day(value), months(row)))


def _plus_days(argument: str) -> Filter:
    days = _whole(argument)
    return lambda value, row: _iso(_day(value) + timedelta(days=days(row)))


def _next_day_of_month(argument: str) -> Filter:
    wanted = int(argument)
    if not 1 <= wanted <= 28:
        raise ValueError

    def following(value: Any, _row: Row) -> str:
        moment = _day(value)
        this_month = moment.replace(day=wanted)
        return _iso(this_month if moment < this_month else _add_months(this_month, 1))

    return following


def _months_after(other: str) -> Filter:
    def months(value: Any, row: Row) -> int:
        later, earlier = _day(value), _day(row.get(other))
        return (later.year - earlier.year) * 12 + later.month - earlier.month - (later.day < earlier.day)

    return months


def _number(decimal: str = "") -> Filter:
    if decimal not in ("", ",", "."):
        raise ValueError
    return lambda value, _row: read_number(value, decimal)


def _negative_when(other: str, first: str, *more: str) -> Filter:
    values = {first, *more}
    return lambda value, row: -abs(read_number(value)) if str(row.get(other)) in values else abs(read_number(value))


def _times(argument: str) -> Filter:
    factor = float(argument)
    return lambda value, _row: read_number(value) * factor


def _plus(argument: str) -> Filter:
    number = _whole(argument)

    def add(value: Any, row: Row) -> float | int:
        total = read_number(value) + number(row)
        return int(total) if total.is_integer() else total

    return add


def _round(argument: str) -> Filter:
    digits = int(argument)
    return lambda value, _row: round(read_number(value), digits)


def _translate(first: str, *more: str) -> Filter:
    words = {}
    for pair in (first, *more):
        theirs, equals, ours = pair.partition("=")
        if not equals:
            raise ValueError
        words[theirs] = ours
    return lambda value, _row: words.get(str(value), value)


def _or(default: str) -> Filter:
    return lambda value, _row: default if value in (None, "") else value


def _text(change: Callable[[str], str]) -> Callable[[], Filter]:
    return lambda: lambda value, _row: None if value is None else change(str(value))


FILTERS: dict[str, Callable[..., Filter]] = {
    "number": _number,
    "negate": lambda: lambda value, _row: -read_number(value),
    "abs": lambda: lambda value, _row: abs(read_number(value)),
    "negative_when": _negative_when,
    "times": _times,
    "plus": _plus,
    "round": _round,
    "date": _parse_date,
    "plus_days": _plus_days,
    "plus_months": _plus_months,
    "next_day_of_month": _next_day_of_month,
    "months_after": _months_after,
    "translate": _translate,
    "or": _or,
    "upper": _text(str.upper),
    "lower": _text(str.lower),
    "strip": _text(str.strip),
}

USAGE: dict[str, str] = {
    "number": "number, number , (decimal comma) or number .",
    "negate": "negate",
    "abs": "abs",
    "negative_when": "negative_when COLUMN VALUE...",
    "times": "times FACTOR",
    "plus": "plus NUMBER|COLUMN",
    "round": "round DIGITS",
    "date": "date FORMAT (as strftime writes it, for example %y%m%d)",
    "plus_days": "plus_days NUMBER|COLUMN",
    "plus_months": "plus_months NUMBER|COLUMN",
    "next_day_of_month": "next_day_of_month DAY (1 to 28)",
    "months_after": "months_after COLUMN",
    "translate": "translate THEIRS=OURS...",
    "or": "or DEFAULT",
    "upper": "upper",
    "lower": "lower",
    "strip": "strip",
}
"""How each filter is written; shown where one is written otherwise."""
