"""Percentiles and cuts against their definitions, and the sample that does not depend on who takes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.scoring.population import (
    QUINTILES,
    TERCILES,
    bottom_sample,
    cut,
    cuts,
    merged,
    percentile_of,
    percentiles,
    topped_up,
)

few_values = st.integers(-4, 4).map(float)  # few, so that ties are common
values = few_values | st.floats(-5, 5)
samples = st.lists(values, min_size=1, max_size=40).map(sorted)
customers = st.lists(st.tuples(st.integers(0, 2**64 - 1) | st.integers(0, 30), values), max_size=40)


def naive_percentile(sample: list[float], x: float) -> float:
    return (sum(y < x for y in sample) + sum(y == x for y in sample) / 2) / len(sample)


@given(samples, values)
def test_percentile_is_the_share_below_and_half_the_share_equal(sample: list[float], x: float) -> None:
    assert percentile_of(np.array(sample), x) == naive_percentile(sample, x)


@given(samples, st.lists(values | st.just(math.nan), max_size=10))
def test_many_percentiles_are_each_alone_and_nan_stays_nan(sample: list[float], xs: list[float]) -> None:
    expected = [math.nan if math.isnan(x) else naive_percentile(sample, x) for x in xs]
    np.testing.assert_array_equal(percentiles(sample, xs), expected)


@given(samples, st.floats(0, 1) | st.sampled_from((*TERCILES, *QUINTILES)))
def test_a_cut_is_the_smallest_value_of_the_sample_at_that_percentile(sample: list[float], p: float) -> None:
    reached = [x for x in sample if naive_percentile(sample, x) >= p]
    assert cut(sample, p) == min(reached, default=math.inf)


@given(samples)
def test_cuts_ascend(sample: list[float]) -> None:
    found = cuts(sample, QUINTILES)
    assert found.shape == (4,)
    assert (found[:-1] <= found[1:]).all()


def test_terciles_of_a_plain_sample() -> None:
    assert cuts(np.arange(9.0), TERCILES).tolist() == [3.0, 6.0]


def test_a_sample_without_values_has_infinite_cuts_and_no_percentiles() -> None:
    assert cuts([], TERCILES).tolist() == [math.inf, math.inf]
    assert np.isnan(percentiles([], [1.0])).all()


@pytest.mark.parametrize("sample", [[2.0, 1.0], [1.0, math.nan], [[1.0]]])
def test_a_sample_that_is_none_is_refused(sample: Any) -> None:
    for use in (lambda: cut(sample, 0.5), lambda: percentiles(sample, [1.0])):
        with pytest.raises(ValueError, match="ascending"):
            use()


@given(customers, st.integers(1, 10))
def test_the_sample_holds_the_smallest_hashes_each_once_with_its_latest_value(
    known: list[tuple[int, float]], size_max: int
) -> None:
    latest = dict(known)
    expected = sorted(latest)[:size_max]
    sample = bottom_sample([each[0] for each in known], [each[1] for each in known], size_max)
    assert sample.hashes.tolist() == expected
    assert sample.values.tolist() == [latest[each] for each in expected]


@given(customers, st.integers(0, 40), st.integers(1, 10))
def test_samples_of_two_parts_merge_to_the_sample_of_the_whole(
    known: list[tuple[int, float]], half: int, size_max: int
) -> None:
    hashes, values_ = [each[0] for each in known], [each[1] for each in known]
    older = bottom_sample(hashes[:half], values_[:half], size_max)
    newer = bottom_sample(hashes[half:], values_[half:], size_max)
    both, whole = merged(older, newer, size_max), bottom_sample(hashes, values_, size_max)
    assert both.hashes.tolist() == whole.hashes.tolist()
    assert both.values.tolist() == whole.values.tolist()


def test_a_sample_may_know_several_values_of_each_customer() -> None:
    sample = bottom_sample([2, 1], [[0.2, 2.0], [0.1, 1.0]])
    assert sample.values.tolist() == [[0.1, 1.0], [0.2, 2.0]]


def test_values_without_customers_are_refused() -> None:
    with pytest.raises(ValueError, match="one value a hash"):
        bottom_sample([1, 2], [0.5])


def test_a_small_sample_is_topped_up_and_a_large_one_is_not() -> None:
    assert topped_up([3.0, math.nan, 1.0], [9.0, 0.0, 5.0], size_min=4).tolist() == [0.0, 1.0, 3.0, 9.0]
    assert topped_up([3.0, 1.0], [9.0, 0.0], size_min=2).tolist() == [1.0, 3.0]


@given(samples, values)
def test_compiled_and_plain_python_agree_to_the_bit(sample: list[float], x: float) -> None:
    function: Any = percentile_of
    assert function(np.array(sample), x) == function.py_func(np.array(sample), x)
