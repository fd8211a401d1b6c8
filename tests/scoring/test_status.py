"""Status score: the numbers of docs/scores.md, its claims about time, and its reasons against a naive Shapley value."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.scoring.status import STATUS_LEVELS, status_of_counts, status_reasons, status_score

KNOWN = {
    (0, 0, 0, 0, 0): 1.868,
    (1, 0, 0, 0, 0): 2.229,
    (2, 0, 0, 0, 0): 2.533,
    (3, 0, 0, 0, 0): 2.784,
    (0, 0, 0, 0, 1): 1.562,
    (0, 1, 0, 0, 0): 2.171,
    (100, 0, 0, 0, 0): 4.805,
    (0, 2, 1, 0, 1): 2.174,
    (2, 3, 0, 0, 1): 2.641,
}

ONE_ON_TIME, ONE_LATE = np.array([1, 0, 0, 0, 0]), np.array([0, 1, 0, 0, 0])

histories = st.tuples(*[st.integers(0, 60)] * 5)


def textbook(counts: tuple[int, ...]) -> float:
    """The formula as docs/scores.md writes it."""
    n, k = sum(counts), 5
    shares = [(count + 1) / (n + k) for count in counts]
    mean = sum(points * share for points, share in zip((5, 4, 3, 2, 1), shares, strict=True))
    variance = sum(points**2 * share for points, share in zip((5, 4, 3, 2, 1), shares, strict=True)) - mean**2
    return mean - 1.96 * math.sqrt(variance / (n + k + 1))


def all_histories(loans: int) -> NDArray[np.int64]:
    """Every vector of counts with exactly so many loans (n, 5)."""
    bars = np.array(list(itertools.combinations(range(loans + 4), 4))).reshape(-1, 4)
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), loans + 4)])
    return np.diff(edges, axis=1) - 1


def reasons_of(counts: tuple[int, ...]) -> tuple[float, list[float]]:
    n0, n1, n2, n3, n4 = counts
    levels = np.full(STATUS_LEVELS, np.nan)
    base = status_reasons(n0, n1, n2, n3, n4, levels)
    return base, levels.tolist()


@pytest.mark.parametrize("counts, score", KNOWN.items())
def test_known_answers(counts: tuple[int, ...], score: float) -> None:
    assert status_score([counts]).round(3).tolist() == [score]


def test_one_loan_paid_on_time_scores_the_sources_number() -> None:
    assert round(status_of_counts(1, 0, 0, 0, 0), 2) == 2.23


@given(histories)
def test_score_equals_the_textbook_formula(counts: tuple[int, ...]) -> None:
    assert status_of_counts(*counts) == pytest.approx(textbook(counts), abs=1e-11)


@given(histories)
def test_score_stays_in_its_range(counts: tuple[int, ...]) -> None:
    assert 0.994 < status_of_counts(*counts) < 5.0


def test_the_lowest_score_is_that_of_58_written_off_loans() -> None:
    scores = status_score([(0, 0, 0, 0, n) for n in range(10_000)])
    assert int(scores.argmin()) == 58
    assert float(scores.min().round(4)) == 0.9942


@given(histories)
def test_compiled_and_plain_python_agree_to_the_bit(counts: tuple[int, ...]) -> None:
    score: Any = status_of_counts
    reasons: Any = status_reasons
    assert score(*counts) == score.py_func(*counts)
    plain, compiled = np.full(STATUS_LEVELS, np.nan), np.full(STATUS_LEVELS, np.nan)
    assert reasons(*counts, compiled) == reasons.py_func(*counts, plain)
    assert plain.tobytes() == compiled.tobytes()


@pytest.mark.parametrize("state, day", [(1, 31), (2, 91), (3, 181)])
def test_score_falls_when_a_loan_turns_to_a_worse_state(state: int, day: int) -> None:
    worse = np.zeros(5, np.int64)
    worse[state], worse[state + 1] = -1, 1
    for loans in range(1, 34):
        before = all_histories(loans)
        before = before[before[:, state] > 0]
        assert (status_score(before + worse) < status_score(before)).all(), f"day {day}, {loans} loans"


def test_a_loan_past_due_for_a_day_counts_but_never_as_much_as_one_paid_on_time() -> None:
    for loans in range(34):
        before = all_histories(loans)
        turned, paid = status_score(before + ONE_LATE), status_score(before + ONE_ON_TIME)
        assert (turned < paid).all(), f"{loans} loans"
        assert (turned != status_score(before)).all(), f"{loans} loans"


def test_a_loan_past_due_for_a_day_raises_every_history_of_up_to_13_loans_and_not_every_one_of_14() -> None:
    for loans in range(14):
        before = all_histories(loans)
        assert (status_score(before + ONE_LATE) > status_score(before)).all(), f"{loans} loans"
    spotless = status_score([(14, 0, 0, 0, 0), (14, 1, 0, 0, 0)])
    assert spotless[1] < spotless[0]


def test_case_one_is_explained_as_the_definition_says() -> None:
    base, levels = reasons_of((0, 2, 1, 0, 1))
    assert round(base, 3) == 1.868
    assert [round(level, 4) for level in levels] == [1.1226, -0.1207, -0.1685, 0.0, -0.5281]


@given(histories)
def test_reasons_add_up_to_the_score(counts: tuple[int, ...]) -> None:
    base, levels = reasons_of(counts)
    assert base + sum(levels) == pytest.approx(status_of_counts(*counts), abs=1e-12)


@given(histories)
def test_history_is_no_blame_and_lateness_no_praise(counts: tuple[int, ...]) -> None:
    _, (history, *late) = reasons_of(counts)
    assert history >= 0.0
    for level, loans in zip(late, counts[1:], strict=True):
        assert level < 0.0 if loans else level == 0.0


@given(histories)
def test_reasons_equal_the_mean_over_all_orders_of_turning_late(counts: tuple[int, ...]) -> None:
    _, levels = reasons_of(counts)
    naive = [0.0] * 4
    orders = list(itertools.permutations(range(1, 5)))
    for order in orders:
        now = [sum(counts), 0, 0, 0, 0]
        for state in order:
            before = textbook(tuple(now))
            now[0] -= counts[state]
            now[state] += counts[state]
            naive[state - 1] += (textbook(tuple(now)) - before) / len(orders)
    assert levels[1:] == pytest.approx(naive, abs=1e-11)


@given(st.lists(histories, max_size=20))
def test_many_rows_score_as_each_alone(rows: list[tuple[int, ...]]) -> None:
    counts = np.array(rows, np.uint32).reshape(-1, 5)
    assert status_score(counts).tolist() == [status_of_counts(*row) for row in rows]


@pytest.mark.parametrize(
    "counts", [[1, 0, 0, 0, 0], [[1, 0, 0, 0]], [[-1, 0, 0, 0, 0]], [[0.5, 0, 0, 0, 0]], np.zeros((2, 5, 1), np.uint8)]
)
def test_counts_that_are_none_are_refused(counts: object) -> None:
    with pytest.raises(ValueError, match="counts"):
        status_score(counts)  # type: ignore[arg-type]
