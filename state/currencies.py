"""Minor units by currency, and the unit of a loan's own amounts.

A loan is settled when its payments reach its order amount. Both therefore have to be exact in the loan's own currency,
whose smallest unit is a hundredth for most, a thousandth for seven, and a whole unit for seventeen. A row keeps own
amounts in hundredths, or in thousandths or ten-thousandths where the currency has these; marks in the currency's three
bytes say so. A loan without a mark is in hundredths: those are most, and all that were written before marks existed.

Sums in the base currency are hundredths, whatever the base currency is: the formulas of the scores are made for these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas.compiled import compiled

CODES_BY_DIGITS: dict[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
"""Currencies by the decimals of their minor unit. ISO 4217, List One, published 2026-01-01. All others have two."""

DIGITS: dict[str, int] = {code: digits for digits, codes in CODES_BY_DIGITS.items() for code in codes.split()}
DIGITS_OTHERWISE = 2
"""Of currencies that the list gives another number for, and what holds for those it does not know."""

THOUSANDTHS, TEN_THOUSANDTHS = 0x80_00_00, 0x00_80_00
"""Marks of the unit of a loan's own amounts; without one it is hundredths. Capital letters leave these bits free."""

LETTERS = 0x7F_7F_7F

_CODES = np.array([int.from_bytes(code.encode(), "big") for code in DIGITS], np.int64)
_DIGITS = np.array(list(DIGITS.values()), np.int64)


@compiled
def minor_digits(currency: Any) -> int:
    """Decimals of a currency's minor unit; 2 for a currency that is not known. Some 10 ns."""
    for i in range(len(_CODES)):
        if _CODES[i] == currency:
            return _DIGITS[i]  # type: ignore[no-any-return]
    return DIGITS_OTHERWISE


@compiled
def with_unit(currency: Any) -> int:
    """The currency of a loan that is issued now: the currency of its event with the mark of its unit.

    >>> from state.versions import pack_currency
    >>> [hex(with_unit(pack_currency(code))) for code in ("EUR", "JPY", "KWD", "CLF")]
    ['0x455552', '0x4a5059', '0xcb5744', '0x43cc46']
    """
    digits = minor_digits(currency)
    if digits == 3:
        return currency | THOUSANDTHS  # type: ignore[no-any-return]
    return currency | TEN_THOUSANDTHS if digits == 4 else currency  # type: ignore[no-any-return]


@compiled
def scale_of(loan_currency: Any) -> int:
    """How many units of a loan's own amounts are one of its currency: 100, 1,000 or 10,000."""
    if loan_currency & THOUSANDTHS:
        return 1_000
    return 10_000 if loan_currency & TEN_THOUSANDTHS else 100


@compiled
def own_units(amount: Any, loan_currency: Any) -> float:
    """Major units -> units of a loan's own amounts, in whole minor units of its currency, half to even.

    A float, so that the caller can check the range first. What a currency cannot pay is rounded away once: an order of
    1,000.4 yen is settled by 1,000.

    >>> from state.versions import pack_currency
    >>> [float(own_units(1000.4, with_unit(pack_currency(code)))) for code in ("EUR", "JPY", "KWD")]
    [100040.0, 100000.0, 1000400.0]
    """
    scale = scale_of(loan_currency)
    if scale == 100 and minor_digits(loan_currency) == 0:
        return np.rint(amount) * 100.0  # type: ignore[no-any-return]
    return np.rint(amount * float(scale))  # type: ignore[no-any-return]


@compiled
def in_unit(own_amount: Any, loan_currency: Any, other_currency: Any) -> int:
    """An own amount in the unit of another currency's loans, half to even: a loan can be issued again in another."""
    scale, other = scale_of(loan_currency), scale_of(other_currency)
    if other >= scale:
        return own_amount * (other // scale)  # type: ignore[no-any-return]
    divisor = scale // other
    whole = own_amount // divisor
    twice_rest = 2 * (own_amount - whole * divisor)
    if twice_rest > divisor or (twice_rest == divisor and whole % 2 == 1):
        whole += 1
    return whole  # type: ignore[no-any-return]


def money_text(own_amount: int, loan_currency: int = 0) -> str:
    """Units of own amounts as people write them; without a currency, hundredths of the base currency.

    A currency without decimals is shown with none, unless an amount has them.

    >>> from state.versions import pack_currency
    >>> yen, dinar = pack_currency("JPY"), with_unit(pack_currency("KWD"))
    >>> money_text(-123456), money_text(100000, yen), money_text(12345, dinar)
    ('-1,234.56', '1,000', '12.345')
    """
    scale = scale_of(loan_currency)
    whole, rest = divmod(abs(own_amount), scale)
    sign = "-" if own_amount < 0 else ""
    if rest == 0 and minor_digits(loan_currency) == 0:
        return f"{sign}{whole:,}"
    return f"{sign}{whole:,}.{rest:0{len(str(scale)) - 1}d}"
