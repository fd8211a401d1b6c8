"""Numbers as people write them, read exactly: the decimal mark is decided once for a whole column.

`1,234` is 1234 in one country and 1.234 in another, and nothing in the value says which. Other values of the column
may: `1,234.50` and `0.5` have a decimal point, `12,50` has a decimal comma. A value that cannot be read yet gets a
placeholder and is noted in `Numbers.unknown`, so that its row can wait for the evidence.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NoReturn

from streams.publish.formats import UnreadableFile

MARKS = {".": "point", ",": "comma"}
SPACES = "\u0020\u00a0\u2007\u2009\u202f"
MINUS_SIGNS = "-\u2212"
DIGITS_MAX = 60
EXPONENT_MAX = 400
"""Beyond any double; a text such as 1e999999999 would otherwise cost minutes."""

_SIMPLE = re.compile(r"[+-]?[0-9]{1,17}")
POINT = re.compile(r"[+-]?[0-9]{1,17}\.[0-9]{1,17}")


def _body(decimal: str) -> re.Pattern[str]:
    """Unsigned numbers with this decimal mark: plain, in groups of three digits, or with an exponent."""
    thousands = f"[{'.' if decimal == ',' else ','}'\u2019{SPACES}]"
    exponent = r"(?P<exponent>[eE][+-]?[0-9]{1,4})?" if decimal == "." else ""
    return re.compile(
        rf"(?:[0-9]+|[1-9][0-9]{{0,2}}(?P<group>{thousands})[0-9]{{3}}(?:(?P=group)[0-9]{{3}})*)"
        rf"(?:[{decimal}][0-9]*)?{exponent}|[{decimal}][0-9]+"
    )


BODIES = {mark: _body(mark) for mark in MARKS}


@dataclass(slots=True)
class NumberColumn:
    """The numbers of one column. `mark` is empty until it is named or a value tells it.

    >>> column = Numbers().of("amount")
    >>> str(column.read("1,234.50")), str(column.read("1,234")), str(column.read("(45.00)")), str(column.read("45.00-"))
    ('1234.50', '1234', '-45.00', '-45.00')
    """

    name: str
    numbers: Numbers
    mark: str = ""
    named: bool = False
    example: str = ""  # the value that told the mark

    def name_mark(self, mark: str) -> None:
        """Take the mark that the mapping names for this column. Raises UnreadableFile if it names two."""
        if self.named and self.mark != mark:
            raise UnreadableFile(f"the mapping names two decimal marks for {self.name}: name one")
        self.mark, self.named = mark, True

    def read(self, value: Any) -> Decimal:
        """The exact number. Raises ValueError if it is none, UnreadableFile if the column has two decimal marks."""
        if isinstance(value, str):
            simple = POINT if self.mark == "." else _SIMPLE
            return Decimal(value) if simple.fullmatch(value) else self._read_text(value)
        if isinstance(value, Decimal):
            number = value
        elif isinstance(value, int):
            number = Decimal(value)
        elif isinstance(value, float):
            number = Decimal(repr(value))
        else:
            raise ValueError(f"{value!r} is not a number")  # noqa: TRY004 - a bad line, reported as all others are
        if not number.is_finite():
            raise ValueError(f"{value} is not a number; leave the field empty where there is none")
        return number

    def _read_text(self, text: str) -> Decimal:
        negative, body = _unsigned(text)
        fitting = [mark for mark, pattern in BODIES.items() if pattern.fullmatch(body)]
        if not fitting or len(body) > DIGITS_MAX:
            _refuse(text, body)
        if self.mark and self.mark not in fitting:
            if self.named:
                raise ValueError(f"{text!r} is not a number with a decimal {MARKS[self.mark]}, which the mapping names")
            raise UnreadableFile(
                f"column {self.name} has two decimal marks: {self.example!r} has a decimal {MARKS[self.mark]} and "
                f"{text!r} a decimal {MARKS[fitting[0]]}. {self.remedy()}; the lines that do not fit are then bad lines"
            )
        if not self.mark and "." not in body and "," not in body:
            fitting = ["."]  # without a mark it is the same number in both
        elif not self.mark and len(fitting) == 1:
            self.mark, self.example = fitting[0], text
        elif not self.mark:
            self.numbers.unknown[self.name] = text
            return Decimal(1)
        number = _number(body, self.mark or fitting[0])
        return -number if negative else number

    def remedy(self) -> str:
        """How to name the decimal mark of this column."""
        return (
            "Name the mark with --decimal , or --decimal . for all columns, "
            f"or for this one in the mapping: '{self.name} | number ,' or '{self.name} | number .'"
        )


@dataclass(slots=True)
class Numbers:
    """The number columns of one file; `decimal` is the mark named for all of them, empty if none is."""

    decimal: str = ""
    columns: dict[str, NumberColumn] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)  # columns a value of the current row could not be read in

    def of(self, name: str) -> NumberColumn:
        """The column of this name."""
        if name not in self.columns:
            self.columns[name] = NumberColumn(name, self, self.decimal, bool(self.decimal))
        return self.columns[name]

    def decided(self) -> int:
        """In how many columns the mark is known."""
        return sum(bool(column.mark) for column in self.columns.values())


def _unsigned(text: str) -> tuple[bool, str]:
    """Whether a number is negative, and its digits and marks: one sign, or parentheses, and one currency sign."""
    body, negative, signed, symbol = text.strip(SPACES + "\t\r\n"), False, False, False
    if body.startswith("(") and body.endswith(")"):
        negative, signed, body = True, True, body[1:-1].strip(SPACES)
    for _ in range(2):  # the sign may stand on either side of the currency sign
        if body and body[0] in MINUS_SIGNS + "+" and not signed:
            negative, signed, body = body[0] != "+", True, body[1:].lstrip(SPACES)
        elif body and body[-1] in MINUS_SIGNS + "+" and not signed:
            negative, signed, body = body[-1] != "+", True, body[:-1].rstrip(SPACES)
        if body and not symbol and unicodedata.category(body[0]) == "Sc":
            symbol, body = True, body[1:].lstrip(SPACES)
        elif body and not symbol and unicodedata.category(body[-1]) == "Sc":
            symbol, body = True, body[:-1].rstrip(SPACES)
    return negative, body


def _refuse(text: str, body: str) -> NoReturn:
    if body.lower() in ("nan", "inf", "infinity"):
        raise ValueError(f"{text!r} is not a number; leave the field empty where there is none")
    if re.fullmatch(rf"[0-9.,'\u2019{SPACES}]+", body):
        raise ValueError(f"{text!r} is not a number: the groups between its marks are not of three digits")
    raise ValueError(f"{text!r} is not a number")


def _number(body: str, mark: str) -> Decimal:
    plain = body
    for separator in f"'\u2019{SPACES}{'.' if mark == ',' else ','}":
        plain = plain.replace(separator, "")
    number = Decimal(plain.replace(mark, "."))
    if abs(number.adjusted()) > EXPONENT_MAX:
        raise ValueError(f"{body!r} is out of range")
    return number


def to_double(number: Decimal) -> float:
    """The nearest double. Raises ValueError for a number beyond all doubles.

    >>> to_double(Decimal("0.1"))
    0.1
    """
    nearest = float(number)
    if math.isinf(nearest):
        raise ValueError(f"{number} is out of range")
    return nearest


def rounded(number: Decimal, digits: int) -> Decimal:
    """To so many decimals, half to even.

    >>> str(rounded(Decimal("2.345"), 2)), str(rounded(Decimal("2938.70"), 0))
    ('2.34', '2939')
    """
    return number if number.adjusted() > DIGITS_MAX else number.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)


def text_of(value: Any) -> str:
    """A value as words: whole numbers without a decimal mark, truths as JSON writes them, nothing for none.

    >>> text_of(576.0), text_of(True), text_of(Decimal("2.50")), text_of(None)
    ('576', 'true', '2.50', '')
    """
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Decimal):
        return str(int(value)) if value == value.to_integral_value() else format(value, "f")
    return str(value)
