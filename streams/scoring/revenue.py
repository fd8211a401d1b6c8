"""Revenue score: what a customer's loans earn, and how much of it is eaten up by the way they are paid. From 0 to 2.

`efficiency` is the margin earned per amount lent; `discipline` is 1 less the penalties for late payment, promotions,
unpaid shares and their ongoing cost, each as a share of the margin. All of it over counted loans, in sums.
Definition: docs/scores.md, revenue score. What one loan adds to the sums is `state.loans`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.compiled import compiled

REVENUE_LEVELS = 5
"""Reasons of a revenue score: efficiency, late costs, promotions, unpaid, ongoing costs."""

REVENUE_BASE = 1.0
"""What a customer who earns nothing and costs nothing scores: full discipline, no efficiency."""

PROMOTION_SHARE = 0.5
"""Share of a promotion that counts against the margin."""


@compiled
def revenue_of_sums(
    gross_margin: float,
    base: float,
    order_amount: float,
    cost: float,
    unpaid_margin: float,
    ongoing_cost: float,
    promo: float,
    levels: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """Revenue, efficiency, discipline and the base of the reasons, of sums over counted loans. The definition.

    Sums are in one unit of money, whichever. `base` is the sum of the margins that are not negative; while it is 0
    there is no score (all NaN, no levels). Fills `levels` (REVENUE_LEVELS,): 1 + sum of levels = revenue. Penalties
    that exceed the discipline there is to lose are shrunk in proportion, so that this holds at 0 too.
    """
    levels[:] = 0.0
    if not base > 0.0:
        return math.nan, math.nan, math.nan, math.nan
    efficiency = min(max(gross_margin / order_amount, 0.0), 1.0)
    late, promoted = cost / base, PROMOTION_SHARE * promo / base
    unpaid, ongoing = unpaid_margin / base, ongoing_cost / base
    penalty = late + promoted + unpaid + ongoing
    discipline = max(0.0, 1.0 - penalty)
    shrink = 1.0 if penalty <= 1.0 else 1.0 / penalty
    levels[0] = efficiency
    # 0.0 - x, as -x would make a level of -0.0 of a penalty there is not.
    levels[1], levels[2] = 0.0 - late * shrink, 0.0 - promoted * shrink
    levels[3], levels[4] = 0.0 - unpaid * shrink, 0.0 - ongoing * shrink
    return efficiency + discipline, efficiency, discipline, REVENUE_BASE


@compiled
def _revenue_of_rows(sums: NDArray[np.float64], levels: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    for i in range(sums.shape[1]):
        revenue, efficiency, discipline, _ = revenue_of_sums(
            sums[0, i], sums[1, i], sums[2, i], sums[3, i], sums[4, i], sums[5, i], sums[6, i], levels
        )
        found[0, i], found[1, i], found[2, i] = revenue, efficiency, discipline


def revenue_score(
    gross_margin: ArrayLike,
    base: ArrayLike,
    order_amount: ArrayLike,
    cost: ArrayLike,
    unpaid_margin: ArrayLike,
    ongoing_cost: ArrayLike,
    promo: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Revenue, efficiency and discipline (n,) of sums over each customer's counted loans, each (n,) or one number.

    All are NaN while `base` is 0: nothing was earned that could be lost. Raises `ValueError` where the shapes do not
    fit together, a sum is NaN or infinite, or a sum other than the gross margin is negative. About 10 ns a row.

    >>> revenue, efficiency, discipline = revenue_score(20_000, 20_000, 200_000, 0, 10_000, 500, 0)
    >>> revenue.round(4), discipline.round(4)
    (array([0.575]), array([0.475]))
    """
    named = {
        "gross_margin": gross_margin,
        "base": base,
        "order_amount": order_amount,
        "cost": cost,
        "unpaid_margin": unpaid_margin,
        "ongoing_cost": ongoing_cost,
        "promo": promo,
    }
    columns = {name: np.atleast_1d(np.asarray(column, np.float64)) for name, column in named.items()}
    for name, column in columns.items():
        if column.ndim != 1 or not np.isfinite(column).all():
            raise ValueError(f"{name} has the shape {column.shape}, give (n,) finite sums of money")
        if name != "gross_margin" and column.size and column.min() < 0.0:
            raise ValueError(f"{name} is negative, give a sum of money from 0 on")
    sums = np.stack(np.broadcast_arrays(*columns.values()))
    found = np.empty((3, sums.shape[1]))
    _revenue_of_rows(sums, np.empty(5), found)
    return found[0], found[1], found[2]
