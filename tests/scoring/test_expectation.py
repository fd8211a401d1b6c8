"""On how many of the next days a customer will come, told from one row."""

from __future__ import annotations

import pytest

from state.row import Day, Row
from streams.customers.row_view import expected_text
from streams.scoring.expectation import expectation, expected

TODAY = 20_000


def row_of(*active: int, created: int | None = None) -> Row:
    """A customer with a transaction on these days."""
    days = [Day(day, deposits_minor=100, transactions=1) for day in active]
    last = active[-1] if active else None
    return Row(
        incarnation_offset=0, created_day=created, last_transaction_day=last, days=days, clock_ms=TODAY * 86_400_000
    )


def test_who_comes_every_month_is_expected_about_once_in_the_next():
    found = expectation(row_of(*range(TODAY - 360, TODAY, 30)), TODAY)
    assert found is not None
    assert found.days == pytest.approx(0.8, abs=0.15)
    assert found.still_customer > 0.9


def test_of_two_who_are_silent_for_as_long_the_frequent_one_has_gone_the_likelier():
    seldom, often = expected(2, 200, 300), expected(40, 200, 300)
    assert often.still_customer < 0.01
    assert seldom.still_customer > 0.5
    assert often.days < seldom.days


def test_the_first_transaction_starts_the_clock_and_is_no_visit_unless_the_account_is_older():
    assert expectation(row_of(TODAY - 100), TODAY) == expected(0, 0, 100)
    assert expectation(row_of(TODAY - 100, created=TODAY - 100), TODAY) == expected(0, 0, 100)
    assert expectation(row_of(TODAY - 100, created=TODAY - 300), TODAY) == expected(1, 200, 300)


def test_what_happened_more_than_a_year_ago_counts_for_nothing_but_that_there_was_an_account():
    old = row_of(TODAY - 365, TODAY - 20, created=TODAY - 2_000)
    assert expectation(old, TODAY) == expected(1, 345, 365)
    assert expectation(row_of(TODAY - 500, created=TODAY - 2_000), TODAY) == expected(0, 0, 365)
    assert expectation(row_of(TODAY - 500), TODAY) == expected(0, 0, 365)


def test_of_who_never_had_a_transaction_nothing_is_expected():
    assert expectation(row_of(created=TODAY - 10), TODAY) is None
    assert expected_text(row_of(created=TODAY - 10)) == "-"


def test_days_with_failed_attempts_alone_are_no_visits():
    row = row_of(TODAY - 50, TODAY - 10, created=TODAY - 60)
    row.days.append(Day(TODAY - 5, failed=2))
    assert expectation(row, TODAY) == expected(2, 50, 60)


@pytest.mark.parametrize("visits", [0, 1, 100, 365])
@pytest.mark.parametrize("silent", [0, 1, 364])
def test_no_history_however_extreme_leads_out_of_bounds(visits, silent):
    found = expected(visits, 365 - silent if visits else 0, 365)
    assert 0.0 <= found.days <= 30.0
    assert 0.0 <= found.still_customer <= 1.0


def test_inspect_says_it_in_words():
    words = expected_text(row_of(*range(TODAY - 360, TODAY, 30)))
    assert words.endswith("%")
    assert " days with a transaction; still a customer: " in words
