"""Revenue score: the numbers of docs/scores.md from loans to score, and its reasons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from state.loans import cost_minor, fill_states, share_minor, state_of_days_past_due
from streams.scoring.revenue import REVENUE_BASE, REVENUE_LEVELS, revenue_of_sums, revenue_score

RATES = (0.0, 0.05, 0.10, 0.15, 0.20)
ORDER_MINOR, MARGIN_MINOR = 10_000_000, 1_000_000

money = st.floats(0, 1e9, allow_subnormal=False)
sums_of_loans = st.tuples(st.floats(-1e9, 1e9, allow_subnormal=False), *[money] * 6)


def loan(payments: dict[int, int], days_past_due: int = 0) -> list[float]:
    """What one counted loan of 100,000 (margin 10,000) adds to the sums; payments are {days past due: amount}."""
    paid = [0] * 5
    for days, amount in payments.items():
        paid[state_of_days_past_due(days)] += amount
    filled, settled = fill_states(ORDER_MINOR, paid)
    rate_today = 0.0 if settled >= 0 else RATES[state_of_days_past_due(days_past_due)]
    unpaid = ORDER_MINOR - sum(filled)
    return [
        MARGIN_MINOR,
        MARGIN_MINOR,
        ORDER_MINOR,
        cost_minor(MARGIN_MINOR, ORDER_MINOR, filled, RATES),
        share_minor(MARGIN_MINOR, ORDER_MINOR, unpaid, 1.0),
        share_minor(MARGIN_MINOR, ORDER_MINOR, unpaid, rate_today),
        0,
    ]


def score_of(*loans: list[float]) -> tuple[float, float, float]:
    revenue, efficiency, discipline = revenue_score(*np.sum(loans, axis=0))
    return float(revenue[0]), float(efficiency[0]), float(discipline[0])


def paid_after(days: int) -> list[float]:
    return loan({days: ORDER_MINOR})


def explained(sums: tuple[float, ...]) -> tuple[float, float, list[float]]:
    """Revenue, base and levels."""
    found: Any = revenue_of_sums
    levels = np.full(REVENUE_LEVELS, np.nan)
    revenue, _, _, base = found(*sums, levels)
    return revenue, base, levels.tolist()


def test_case_one_costs_four_thousand() -> None:
    loans = [paid_after(days) for days in (18, 18, 41, 235)]
    assert sum(each[3] for each in loans) == 400_000
    revenue, efficiency, discipline = score_of(*loans)
    assert (round(revenue, 4), round(efficiency, 4), round(discipline, 4)) == (1.0, 0.1, 0.9)


def test_case_two_costs_3095_75() -> None:
    part = loan({100: 8_085_000, 223: 1_915_000})
    loans = [paid_after(days) for days in (0, 0, 6, 19, 11)] + [part]
    assert sum(each[3] for each in loans) == 309_575
    revenue, _, discipline = score_of(*loans)
    assert (round(revenue, 5), round(discipline, 5)) == (1.04840, 0.94840)


def test_one_loan_paid_on_time_and_one_unpaid_on_day_one() -> None:
    assert round(score_of(paid_after(0), loan({}, days_past_due=1))[0], 3) == 0.575


def test_there_is_no_score_while_nothing_was_earned() -> None:
    found = revenue_score([-100.0, 0.0], 0.0, 1_000.0, 0.0, 0.0, 0.0, 0.0)
    assert np.isnan(found).all()
    revenue, base, levels = explained((0.0,) * 7)
    assert np.isnan([revenue, base]).all()
    assert levels == [0.0] * REVENUE_LEVELS


def test_losses_do_not_make_efficiency_negative_and_windfalls_no_more_than_one() -> None:
    _, efficiency, _ = revenue_score([-50.0, 500.0], [10.0, 500.0], 100.0, 0.0, 0.0, 0.0, 0.0)
    assert efficiency.tolist() == [0.0, 1.0]


def test_a_promotion_counts_half() -> None:
    _, _, discipline = revenue_score(100.0, 100.0, 1_000.0, 0.0, 0.0, 0.0, 40.0)
    assert discipline.tolist() == [0.8]


def test_reasons_are_efficiency_and_each_penalty() -> None:
    revenue, base, levels = explained((100.0, 100.0, 1_000.0, 5.0, 25.0, 1.25, 20.0))
    assert base == REVENUE_BASE
    assert levels == pytest.approx([0.1, -0.05, -0.1, -0.25, -0.0125])
    assert revenue == pytest.approx(0.6875)


def test_penalties_beyond_the_discipline_there_is_are_shrunk_in_proportion() -> None:
    revenue, base, levels = explained((100.0, 100.0, 1_000.0, 50.0, 100.0, 50.0, 0.0))
    assert revenue == pytest.approx(0.1)
    assert levels == pytest.approx([0.1, -0.25, 0.0, -0.5, -0.25])
    assert str(levels[2]) == "0.0", "a penalty that is not there has no sign"
    assert base + sum(levels) == pytest.approx(revenue, abs=1e-12)


@given(sums_of_loans)
def test_reasons_add_up_to_the_score(sums: tuple[float, ...]) -> None:
    assume(sums[1] > 1e-3 and sums[2] > 1e-3)
    revenue, base, levels = explained(sums)
    assert base + sum(levels) == pytest.approx(revenue, abs=1e-12)
    assert levels[0] >= 0.0
    assert max(levels[1:]) <= 0.0


@given(sums_of_loans)
def test_score_stays_in_its_range_and_is_the_sum_of_its_parts(sums: tuple[float, ...]) -> None:
    assume(sums[1] > 1e-3 and sums[2] > 1e-3)
    revenue, efficiency, discipline = (float(part[0]) for part in revenue_score(*sums))
    assert 0.0 <= efficiency <= 1.0
    assert 0.0 <= discipline <= 1.0
    assert revenue == efficiency + discipline


@given(sums_of_loans)
def test_compiled_and_plain_python_agree_to_the_bit(sums: tuple[float, ...]) -> None:
    assume(sums[2] > 0.0)
    function: Any = revenue_of_sums
    plain, compiled = np.full(REVENUE_LEVELS, np.nan), np.full(REVENUE_LEVELS, np.nan)
    expected, found = function.py_func(*sums, plain), function(*sums, compiled)
    assert np.array(expected).tobytes() == np.array(found).tobytes()
    assert plain.tobytes() == compiled.tobytes()


@given(st.lists(sums_of_loans, min_size=1, max_size=8))
def test_many_rows_score_as_each_alone(rows: list[tuple[float, ...]]) -> None:
    together = np.array(revenue_score(*np.array(rows).T))
    alone = np.hstack([revenue_score(*row) for row in rows])
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("name", ["base", "order_amount", "cost", "unpaid_margin", "ongoing_cost", "promo"])
def test_a_negative_sum_is_refused_by_name(name: str) -> None:
    sums = dict.fromkeys(("base", "order_amount", "cost", "unpaid_margin", "ongoing_cost", "promo"), 1.0)
    with pytest.raises(ValueError, match=name):
        revenue_score(gross_margin=1.0, **{**sums, name: -1.0})


@pytest.mark.parametrize("margin", [np.nan, np.inf, np.zeros((2, 2))])
def test_a_margin_that_is_no_sum_is_refused(margin: object) -> None:
    with pytest.raises(ValueError, match="gross_margin"):
        revenue_score(margin, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)  # type: ignore[arg-type]
