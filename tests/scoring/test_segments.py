"""Levels, class, RFM and activity: the tables of docs/scores.md, and when a digit moves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.kinds import SEGMENT_NAMES
from streams.scoring.segments import activity_segment, class_of, cuts_reached, digit, rfm_of, segment

LOW, AVERAGE, HIGH = range(3)

values = st.floats(-10, 10)
cut_tables = st.lists(st.one_of(values, st.just(math.inf)), min_size=2, max_size=4).map(sorted).map(np.array)
margins = st.floats(0, 3)


@pytest.mark.parametrize(
    "status, revenue, expected",
    [
        (HIGH, HIGH, 1),
        (HIGH, AVERAGE, 2),
        (LOW, HIGH, 3),
        (AVERAGE, HIGH, 3),
        (LOW, AVERAGE, 4),
        (AVERAGE, AVERAGE, 4),
        (HIGH, LOW, 5),
        (LOW, LOW, 6),
        (AVERAGE, LOW, 6),
        (-1, HIGH, 0),
        (HIGH, -1, 0),
    ],
)
def test_class_grid_of_the_source(status: int, revenue: int, expected: int) -> None:
    assert class_of(status, revenue) == expected


@given(st.lists(st.tuples(values | st.just(math.nan), values | st.just(math.nan)), max_size=20), st.data())
def test_segment_is_the_class_of_both_levels_and_0_where_one_is_missing(
    scores: list[tuple[float, float]], data: st.DataObject
) -> None:
    cuts = np.array([sorted(data.draw(st.tuples(values, values))) for _ in range(2)])
    pairs = np.array(scores).reshape(-1, 2)
    found = segment(pairs[:, 0], pairs[:, 1], cuts)
    assert found.dtype == np.uint8
    for (status, revenue), each in zip(scores, found, strict=True):
        missing = math.isnan(status) or math.isnan(revenue)
        levels = [int(sum(cut <= x for cut in row)) for x, row in ((status, cuts[0]), (revenue, cuts[1]))]
        assert each == (0 if missing else class_of(*levels))
        assert missing or 1 <= each <= 6


def test_an_infinite_cut_is_never_reached() -> None:
    assert segment([5.0], [2.0], [[1.0, math.inf], [1.0, math.inf]]).tolist() == [4]


@pytest.mark.parametrize(
    "status, revenue, cuts",
    [
        ([1.0], [1.0, 2.0], [[1, 2], [1, 2]]),
        ([[1.0]], [[1.0]], [[1, 2], [1, 2]]),
        ([1.0], [1.0], [1, 2]),
        ([1.0], [1.0], [[2, 1], [1, 2]]),
        ([1.0], [1.0], [[1, math.nan], [1, 2]]),
    ],
)
def test_shapes_and_cuts_that_make_no_sense_are_refused(status: Any, revenue: Any, cuts: Any) -> None:
    with pytest.raises(ValueError, match="give"):
        segment(status, revenue, cuts)


@given(values, cut_tables, margins)
def test_a_first_digit_is_the_number_of_cuts_reached(x: float, cuts: Any, margin: float) -> None:
    assert digit(x, cuts, -1, margin) == sum(cut <= x for cut in cuts.tolist())


@given(values, cut_tables, st.integers(0, 4))
def test_without_a_margin_memory_changes_nothing(x: float, cuts: Any, old: int) -> None:
    assert digit(x, cuts, min(old, len(cuts)), 0.0) == digit(x, cuts, -1, 0.0)


@given(values, cut_tables, st.integers(0, 4), margins)
def test_a_digit_stays_or_goes_only_as_far_as_the_margin_allows(x: float, cuts: Any, old: int, margin: float) -> None:
    old = min(old, len(cuts))
    new = digit(x, cuts, old, margin)
    if new > old:
        assert all(cut + margin <= x for cut in cuts[old:new])
    elif new < old:
        assert not any(cut - margin <= x for cut in cuts[new:old])
    else:
        assert old == len(cuts) or not cuts[old] + margin <= x
        assert old == 0 or cuts[old - 1] - margin <= x


@given(values, cut_tables, st.integers(0, 4), margins)
def test_a_digit_that_has_moved_stays_where_it_is(x: float, cuts: Any, old: int, margin: float) -> None:
    moved = digit(x, cuts, min(old, len(cuts)), margin)
    assert digit(x, cuts, moved, margin) == moved


def test_a_score_swaying_around_a_cut_by_less_than_the_margin_moves_nothing() -> None:
    cuts, now = np.array([2.0, 3.0]), 0
    seen = []
    for x in (1.99, 2.01, 1.99, 2.015, 2.02, 1.99, 1.98, 1.97):
        now = digit(x, cuts, now, 0.02)
        seen.append(now)
    assert seen == [0, 0, 0, 0, 1, 1, 1, 0]


@given(values, cut_tables, st.floats(-3, 3))
def test_cuts_reached_counts(x: float, cuts: Any, shift: float) -> None:
    assert cuts_reached(x, cuts, shift) == sum(cut + shift <= x for cut in cuts.tolist())


def test_rfm_reads_as_three_digits() -> None:
    assert [rfm_of(0, 0, 0), rfm_of(4, 3, 4), rfm_of(4, 4, 4)] == [111, 545, 555]


@pytest.mark.parametrize("digits", [(-1, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_there_is_no_rfm_where_a_digit_is_missing(digits: tuple[int, int, int]) -> None:
    assert rfm_of(*digits) == 0


@pytest.mark.parametrize(
    "loans, days, name",
    [
        (0, 0, "none"),
        (0, 500, "none"),
        (1, 0, "new"),
        (19, 89, "new"),
        (1, 90, "one_time"),
        (2, 90, "regular"),
        (19, 5_000, "regular"),
        (20, 0, "high"),
        (49, 90, "high"),
        (50, 0, "very_high"),
        (10_000, 90, "very_high"),
    ],
)
def test_activity_segments_and_which_comes_first(loans: int, days: int, name: str) -> None:
    assert SEGMENT_NAMES[activity_segment(loans, days, 90, 20, 50)] == name


@given(values, cut_tables, st.integers(-1, 4), margins)
def test_compiled_and_plain_python_agree(x: float, cuts: Any, old: int, margin: float) -> None:
    function: Any = digit
    assert function(x, cuts, old, margin) == function.py_func(x, cuts, old, margin)
