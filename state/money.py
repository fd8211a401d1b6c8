"""Money: amounts of events become int64 hundredths of the base currency, once, at the rate of their event time.

A loan's terms are kept in its own currency as well, in the unit of that (`state.currencies`); payments become such
units where the loan is at hand, in the fold.

After this step all sums are exact and the order of additions cannot matter. The rate is that of the event time, so a
correction takes back exactly what the original had added, at its own day's rate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from schemas.batch import Columns
from schemas.compiled import compiled
from schemas.kinds import Kind, RejectCode
from state.currencies import own_units, scale_of, with_unit
from state.versions import RateTable

MONEY = np.dtype(
    [
        ("code", np.uint8),  # RejectCode; NONE = good
        ("amount", np.int64),  # hundredths of the base currency, and so are the next five
        ("previous_amount", np.int64),
        ("balance", np.int64),
        ("base_order_amount", np.int64),
        ("base_gross_margin", np.int64),
        ("base_promo", np.int64),
        ("own_order_amount", np.int64),  # units of a loan's own amounts, of the event's currency
        ("own_gross_margin", np.int64),
        ("own_promo", np.int64),
    ]
)

BEFORE_ALL_MS = -(2**63)

_LOAN_ISSUED = int(Kind.LOAN_ISSUED)
_LOAN_REPAID = int(Kind.LOAN_REPAID)
_TRANSACTION = int(Kind.TRANSACTION)
_UNKNOWN_CURRENCY = int(RejectCode.UNKNOWN_CURRENCY)
_AMOUNT_OUT_OF_RANGE = int(RejectCode.AMOUNT_OUT_OF_RANGE)
_NON_POSITIVE_ORDER = int(RejectCode.NON_POSITIVE_ORDER)


@compiled
def rate_at(rates: RateTable, currency: int, moment_ms: int, known_ms: int) -> float:
    """Units of base currency for one unit of `currency` at a moment; NaN where the currency is not known.

    Of the rates in force by `known_ms` (the record's own timestamp) the latest effective by the moment; a moment before
    the first of them takes the first, so that an event older than its currency's first rate is not lost. Two binary
    searches.
    """
    if currency == rates.base_currency:
        return 1.0
    first = _first_behind(rates, 0, len(rates.currency), currency, BEFORE_ALL_MS)
    last = _first_behind(rates, first, len(rates.currency), currency, min(moment_ms, known_ms)) - 1
    if first == len(rates.currency) or rates.currency[first] != currency or rates.effective_ms[first] > known_ms:
        return math.nan
    return rates.rate[max(first, last)]


@compiled
def _first_behind(rates: RateTable, low: int, high: int, currency: int, moment_ms: int) -> int:
    """Index of the first rate behind (currency, moment) in the order of (currency, effective time)."""
    while low < high:
        middle = (low + high) // 2
        at = rates.currency[middle]
        if at < currency or (at == currency and rates.effective_ms[middle] <= moment_ms):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def minor_units(amount: float, rate: float) -> float:
    """Major units at a rate -> hundredths, half to even; a float so that the caller can check the range first."""
    return np.rint(amount * rate * 100.0)


@compiled
def convert(events: Columns, rates: RateTable, out: NDArray[np.void]) -> None:
    """Fill MONEY for each event; an unknown currency or an amount out of range becomes a code, never an exception."""
    for i in range(len(events)):
        event = events[i]
        money = out[i]
        kind = event["kind"]
        if kind == _TRANSACTION:
            rate = rate_at(rates, event["currency"], event["event_time_ms"], event["timestamp_ms"])
            amount = minor_units(event["amount"], rate)
            balance = 0.0 if math.isnan(event["balance"]) else minor_units(event["balance"], rate)
            previous = 0.0
            if event["has_previous"]:
                previous_ms = event["previous_time_ms"]
                previous_rate = rate_at(rates, event["previous_currency"], previous_ms, event["timestamp_ms"])
                previous = minor_units(event["previous_amount"], previous_rate)
            if math.isnan(amount) or math.isnan(previous):
                money["code"] = _UNKNOWN_CURRENCY
            elif max(abs(amount), abs(balance), abs(previous)) > 1e13:
                money["code"] = _AMOUNT_OUT_OF_RANGE
            else:
                money["amount"] = np.int64(amount)
                money["balance"] = np.int64(balance)
                money["previous_amount"] = np.int64(previous)
        elif kind == _LOAN_ISSUED:
            rate = rate_at(rates, event["currency"], event["event_time_ms"], event["timestamp_ms"])
            currency = with_unit(np.int64(event["currency"]))
            order = own_units(event["order_amount"], currency)
            margin = own_units(event["gross_margin"], currency)
            promo = own_units(event["promo"], currency)
            own_max = 1e11 * float(scale_of(currency))
            base_order = minor_units(event["order_amount"], rate)
            base_margin = minor_units(event["gross_margin"], rate)
            base_promo = minor_units(event["promo"], rate)
            base_max = max(abs(base_order), abs(base_margin), abs(base_promo))
            if math.isnan(rate):
                money["code"] = _UNKNOWN_CURRENCY
            elif max(abs(order), abs(margin), abs(promo)) > own_max or base_max > 1e13:
                money["code"] = _AMOUNT_OUT_OF_RANGE
            elif order <= 0.0:
                money["code"] = _NON_POSITIVE_ORDER
            else:
                money["own_order_amount"] = np.int64(order)
                money["own_gross_margin"] = np.int64(margin)
                money["own_promo"] = np.int64(promo)
                money["base_order_amount"] = np.int64(base_order)
                money["base_gross_margin"] = np.int64(base_margin)
                money["base_promo"] = np.int64(base_promo)
        elif kind == _LOAN_REPAID:
            amount = minor_units(event["amount"], 1.0)
            previous = minor_units(event["previous_amount"], 1.0) if event["has_previous"] else 0.0
            if max(abs(amount), abs(previous)) > 1e13:
                money["code"] = _AMOUNT_OUT_OF_RANGE


def converted(events: Columns, rates: RateTable) -> Columns:
    """MONEY of each event.

    >>> from schemas.batch import EVENT
    >>> from state.versions import RateTable, pack_currency
    >>> events = np.zeros(1, EVENT)
    >>> events["kind"], events["amount"], events["currency"] = 8, 12.345, pack_currency("EUR")
    >>> int(converted(events, RateTable.of("EUR", []))["amount"][0])
    1234
    """
    out = np.zeros(len(events), MONEY)
    convert(events, rates, out)
    return out
