"""Where a customer stands among the others: levels, class, RFM, and the activity segment.

A level or digit says how many cuts of the population a value has reached. Cuts move as the population does, so a digit
changes only once the value is past the cut by a margin (`digit`). Definition: docs/scores.md, the population.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.compiled import compiled

CLASSES = np.array([[6, 4, 3], [6, 4, 3], [5, 2, 1]], np.uint8)
"""Class by level of status (row) and of revenue (column); levels are 0 low, 1 average, 2 high."""

NO_SEGMENT, NEW, ONE_TIME, REGULAR, HIGH, VERY_HIGH = range(6)
"""Indices into `schemas.kinds.SEGMENT_NAMES`."""


@compiled
def cuts_reached(x: float, cuts: NDArray[np.float64], shift: float) -> int:
    """How many of the sorted cuts, each moved up by `shift`, are <= x."""
    reached = 0
    for k in range(len(cuts)):
        if cuts[k] + shift <= x:
            reached += 1
    return reached


@compiled
def digit(x: float, cuts: NDArray[np.float64], old: int, margin: float) -> int:
    """Number of cuts that x has reached, leaving `old` only once past a cut by `margin`; `old` < 0: there is none yet.

    >>> cuts = np.array([1.0, 2.0])
    >>> [digit(x, cuts, 1, 0.1) for x in (0.85, 0.95, 2.05, 2.15)], digit(2.05, cuts, -1, 0.1)
    ([0, 1, 1, 2], 2)
    """
    if old < 0:
        return cuts_reached(x, cuts, 0.0)
    up, down = cuts_reached(x, cuts, margin), cuts_reached(x, cuts, -margin)
    return max(up, min(old, down))


@compiled
def class_of(status_level: int, revenue_level: int) -> int:
    """Class 1 (best) to 6 of two levels 0, 1, 2; 0 where either is missing (< 0).

    >>> [class_of(2, revenue) for revenue in (0, 1, 2)], class_of(0, 2), class_of(-1, 2)
    ([5, 2, 1], 3, 0)
    """
    if status_level < 0 or revenue_level < 0:
        return 0
    return int(CLASSES[status_level, revenue_level])


@compiled
def rfm_of(recency_digit: int, frequency_digit: int, monetary_digit: int) -> int:
    """The three digits (0 to 4 cuts reached) as one number 111 to 555; 0 where any is missing (< 0).

    >>> rfm_of(4, 3, 4), rfm_of(4, -1, 4)
    (545, 0)
    """
    if recency_digit < 0 or frequency_digit < 0 or monetary_digit < 0:
        return 0
    return 100 * (recency_digit + 1) + 10 * (frequency_digit + 1) + (monetary_digit + 1)


@compiled
def activity_segment(
    loans: int, days_since_first_order: int, new_days: int, high_loans: int, very_high_loans: int
) -> int:
    """How active a customer is, as an index into SEGMENT_NAMES.

    `loans` counts every loan not cancelled, due or not. Our reading where the source's groups overlap: many loans say
    more than a late start, so very_high and high come first; then new, for less than `new_days` since the first order;
    then one_time for a single loan, regular for the rest.

    >>> [activity_segment(loans, 400, 90, 20, 50) for loans in (0, 1, 2, 20, 50)], activity_segment(2, 89, 90, 20, 50)
    ([0, 2, 3, 4, 5], 1)
    """
    if loans <= 0:
        return NO_SEGMENT
    if loans >= very_high_loans:
        return VERY_HIGH
    if loans >= high_loans:
        return HIGH
    if days_since_first_order < new_days:
        return NEW
    return ONE_TIME if loans == 1 else REGULAR


def segment(status: ArrayLike, revenue: ArrayLike, cuts: ArrayLike) -> NDArray[np.uint8]:
    """Classes 1 to 6 (n,) of status and revenue scores (n,); 0 where either score is NaN. Without memory: no margin.

    `cuts` (2, 2): the two terciles of status, then those of revenue, each ascending; infinite ones are never reached.
    Raises `ValueError` for other shapes or cuts that are NaN or descend.

    >>> segment([4.0, 4.0, 2.0, np.nan], [1.5, 0.2, 1.0, 1.0], [[2.5, 3.5], [0.5, 1.1]])
    array([1, 5, 4, 0], dtype=uint8)
    """
    status, revenue = np.asarray(status, np.float64), np.asarray(revenue, np.float64)
    cuts = np.asarray(cuts, np.float64)
    if status.ndim != 1 or status.shape != revenue.shape:
        raise ValueError(f"status and revenue have the shapes {status.shape} and {revenue.shape}, give (n,) each")
    if cuts.shape != (2, 2) or not (cuts[:, 0] <= cuts[:, 1]).all():
        raise ValueError("give cuts (2, 2): two ascending cuts of status, then two of revenue")
    status_level = np.searchsorted(cuts[0], status, side="right")
    revenue_level = np.searchsorted(cuts[1], revenue, side="right")
    missing = np.isnan(status) | np.isnan(revenue)
    # NaN sorts behind everything, so its level is in range and only has to be blanked out.
    return np.where(missing, np.uint8(0), CLASSES[status_level, revenue_level])
