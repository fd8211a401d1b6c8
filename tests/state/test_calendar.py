"""Days in every zone: a day begins at its first existing instant, and every moment belongs to one day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.calendar import day_of, day_starts, start_of_day

ZONES = ("UTC", "Europe/Prague", "America/Sao_Paulo", "Asia/Kolkata", "Africa/Cairo", "Pacific/Apia")


@pytest.mark.parametrize("zone", ZONES)
@given(moment=st.integers(-2_000_000_000, 7_000_000_000))
def test_a_moment_belongs_to_its_local_date(zone: str, moment: int) -> None:
    local = datetime.fromtimestamp(moment, UTC).astimezone(ZoneInfo(zone)).date()
    assert day_of(day_starts(zone), moment * 1000) == (local - date(1970, 1, 1)).days


@pytest.mark.parametrize("zone", ZONES)
@given(day=st.integers(-20_000, 80_000))
def test_a_day_begins_where_the_day_before_ends(zone: str, day: int) -> None:
    starts = day_starts(zone)
    begin = start_of_day(starts, day)
    assert day_of(starts, begin - 1) < day
    assert day_of(starts, begin) >= day  # a day that the zone skipped is empty


def test_a_day_whose_midnight_does_not_exist_begins_when_the_clock_jumps() -> None:
    # Brazil put its clocks forward at midnight: 2018-11-04 began at 01:00.
    starts = day_starts("America/Sao_Paulo")
    day = (date(2018, 11, 4) - date(1970, 1, 1)).days
    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(start_of_day(starts, day)))
    assert begin.astimezone(ZoneInfo("America/Sao_Paulo")).isoformat() == "2018-11-04T01:00:00-02:00"


def test_moments_out_of_range_count_as_the_first_and_the_last_day() -> None:
    starts = day_starts("UTC")
    assert day_of(starts, -(2**62)) == -25_567
    assert day_of(starts, 2**62) == 84_006
