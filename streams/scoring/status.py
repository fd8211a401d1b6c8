"""Status score: how well a customer's loans were paid, and how sure we can be of it. From 0.994 to 5.

The lower end of a 95 % normal approximation to the posterior mean of a Dirichlet over the five states of a loan, with a
uniform prior and the K-scale 5 (non_default) ... 1 (wo). A short history therefore scores low until it has earned more.
Definition: docs/scores.md, status score; E. Miller, "Ranking Items With Star Ratings" (2014).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.compiled import compiled

STATUS_LEVELS = 5
"""Reasons of a status score: history, then one per late state (bdr_30, bdr_30_plus, npl, wo)."""

Z = 1.96
"""Standard deviations below the mean; 1.96 gives the source's 2.23 for one loan paid on time."""

JOINING_WEIGHTS = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0],
        [1.0 / 2.0, 1.0 / 2.0, 0.0, 0.0],
        [1.0 / 3.0, 1.0 / 6.0, 1.0 / 3.0, 0.0],
        [1.0 / 4.0, 1.0 / 12.0, 1.0 / 12.0, 1.0 / 4.0],
    ]
)
"""Shapley weight, among m players, of joining a group of some size: [m, size] = size! (m - 1 - size)! / m!."""


@compiled
def status_of_counts(n0: int, n1: int, n2: int, n3: int, n4: int) -> float:
    """Status score of the numbers of counted loans in each state, best state first. The definition.

    >>> round(status_of_counts(1, 0, 0, 0, 0), 2)
    2.23
    """
    p0, p1, p2, p3, p4 = n0 + 1.0, n1 + 1.0, n2 + 1.0, n3 + 1.0, n4 + 1.0
    total = p0 + p1 + p2 + p3 + p4  # N + K
    first = 5.0 * p0 + 4.0 * p1 + 3.0 * p2 + 2.0 * p3 + p4
    second = 25.0 * p0 + 16.0 * p1 + 9.0 * p2 + 4.0 * p3 + p4
    variance = (second * total - first * first) / (total * total)  # whole numbers up to here: nothing cancels
    return first / total - Z * math.sqrt(variance / (total + 1.0))


@compiled
def status_reasons(n0: int, n1: int, n2: int, n3: int, n4: int, levels: NDArray[np.float64]) -> float:
    """Explain a status score: fills `levels` (STATUS_LEVELS,) and answers the base; base + sum of levels = score.

    `history` is what as many loans, all paid on time, are above no loans: never negative. The level of a late state is
    the exact Shapley value of "these loans are late" against "they were paid on time": never praise, and exactly 0
    where there are none. At most 16 evaluations, as states without loans do not take part.
    """
    loans = n0 + n1 + n2 + n3 + n4
    base = status_of_counts(0, 0, 0, 0, 0)
    levels[0] = status_of_counts(loans, 0, 0, 0, 0) - base
    levels[1:] = 0.0
    players = (n1 > 0) + (n2 > 0) + (n3 > 0) + (n4 > 0)
    here = (n1 > 0) | (n2 > 0) << 1 | (n3 > 0) << 2 | (n4 > 0) << 3
    for late in range(1, 16):
        if late & ~here:
            continue
        is1, is2, is3, is4 = late & 1, late >> 1 & 1, late >> 2 & 1, late >> 3 & 1
        m1, m2, m3, m4 = is1 * n1, is2 * n2, is3 * n3, is4 * n4
        # Counted from all on time, which then is 0 and needs no turn in the loop.
        score = status_of_counts(loans - m1 - m2 - m3 - m4, m1, m2, m3, m4) - (base + levels[0])
        size = is1 + is2 + is3 + is4
        for state in range(4):
            if late >> state & 1:
                levels[1 + state] += JOINING_WEIGHTS[players, size - 1] * score
            elif here >> state & 1:
                levels[1 + state] -= JOINING_WEIGHTS[players, size] * score
    return base


@compiled
def _status_of_rows(counts: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
    for i in range(len(counts)):
        scores[i] = status_of_counts(counts[i, 0], counts[i, 1], counts[i, 2], counts[i, 3], counts[i, 4])


def status_score(counts: ArrayLike) -> NDArray[np.float64]:
    """Status scores (n,) of counts of loans (n, 5): non_default, bdr_30, bdr_30_plus, npl, wo.

    No loans at all score 1.868, but a customer without counted loans *has* no status score: that is for the caller to
    know. Raises `ValueError` where the counts are not whole numbers from 0 on or not (n, 5). About 10 ns a row.

    >>> status_score([[0, 2, 1, 0, 1], [2, 3, 0, 0, 1]]).round(3)
    array([2.174, 2.641])
    """
    given = np.asarray(counts)
    if given.ndim != 2 or given.shape[1] != 5:
        raise ValueError(f"counts have the shape {given.shape}, give (n, 5): one column per state of a loan")
    whole = given.astype(np.int64)
    if (whole != given).any() or (whole < 0).any():
        raise ValueError("give counts that are whole numbers of loans, from 0 on")
    scores = np.empty(len(given))
    _status_of_rows(whole, scores)
    return scores
