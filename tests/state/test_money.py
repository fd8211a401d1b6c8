"""Money is exact once converted: one event at a time, half to even, at the rate of its own time."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import EVENT
from schemas.kinds import Kind, RejectCode
from state.money import converted, rate_at
from state.versions import Rate, RateTable, pack_currency

EUR, USD, ABC = pack_currency("EUR"), pack_currency("USD"), pack_currency("ABC")
RATES = RateTable.of("EUR", [Rate(USD, 1_000, 0.9), Rate(USD, 2_000, 0.8)])


def transaction(
    amount: float, currency: int = EUR, event_time_ms: int = 5_000, timestamp_ms: int = 9_000
) -> np.ndarray:
    event = np.zeros(1, EVENT)
    event["kind"], event["amount"], event["currency"] = Kind.TRANSACTION, amount, currency
    event["event_time_ms"], event["timestamp_ms"], event["balance"] = event_time_ms, timestamp_ms, np.nan
    return event


@given(st.floats(-1e8, 1e8, allow_nan=False))
def test_amounts_round_half_to_even_as_exact_arithmetic_on_the_scaled_double_does(amount: float) -> None:
    scaled = Decimal(amount * 100.0)
    assert int(converted(transaction(amount), RATES)["amount"][0]) == int(scaled.to_integral_value(ROUND_HALF_EVEN))


def test_the_rate_is_that_of_the_event_time() -> None:
    minor = [int(converted(transaction(100, USD, at), RATES)["amount"][0]) for at in (1_500, 1_999, 2_000, 3_000)]
    assert minor == [9_000, 9_000, 8_000, 8_000]


def test_a_time_before_the_first_rate_takes_the_first_one() -> None:
    assert int(converted(transaction(100, USD, 10), RATES)["amount"][0]) == 9_000


def test_a_rate_is_not_known_before_its_record_could_be() -> None:
    assert int(converted(transaction(100, USD, 500, timestamp_ms=900), RATES)["code"][0]) == RejectCode.UNKNOWN_CURRENCY
    assert int(converted(transaction(100, USD, 2_500, timestamp_ms=1_900), RATES)["amount"][0]) == 9_000


def test_an_unknown_currency_and_an_amount_beyond_the_range_are_codes() -> None:
    assert int(converted(transaction(1, ABC), RATES)["code"][0]) == RejectCode.UNKNOWN_CURRENCY
    assert int(converted(transaction(1.1e11), RATES)["code"][0]) == RejectCode.AMOUNT_OUT_OF_RANGE
    assert int(converted(transaction(1e11), RATES)["amount"][0]) == 10**13


@given(
    st.lists(st.tuples(st.sampled_from([USD, ABC]), st.integers(0, 20), st.floats(0.1, 9.0)), max_size=12),
    st.integers(-2, 25),
    st.integers(-2, 25),
)
def test_the_rate_is_found_as_a_search_through_all_of_them_finds_it(given_rates, moment_ms: int, known_ms: int) -> None:
    table = RateTable.of("EUR", [Rate(*rate) for rate in given_rates])
    known = sorted((r for r in given_rates if r[0] == USD and r[1] <= known_ms), key=lambda rate: rate[1])
    in_force = [rate for rate in known if rate[1] <= moment_ms] or known[:1]
    found = rate_at(table, USD, moment_ms, known_ms)
    assert found == in_force[-1][2] if in_force else np.isnan(found)
