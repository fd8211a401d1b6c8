"""A loan's life: days past due, states, and how payments fill the order amount. The definitions, in plain Python."""

from __future__ import annotations

from collections.abc import Sequence

NON_DEFAULT, BDR_30, BDR_30_PLUS, NPL, WO = range(5)
LATE_DAYS: tuple[int, ...] = (1, 31, 91, 181)
"""First day past due of bdr_30, bdr_30_plus, npl and wo: the days on which time alone changes a loan's state."""


def state_of_days_past_due(days: int) -> int:
    """State of a payment, or of an unpaid loan that is past due, by its days past due.

    >>> [state_of_days_past_due(days) for days in (-3, 0, 1, 30, 31, 90, 91, 180, 181)]
    [0, 0, 1, 1, 2, 2, 3, 3, 4]
    """
    return sum(days >= first for first in LATE_DAYS)


def fill_states(order_amount: int, paid: Sequence[int]) -> tuple[list[int], int]:
    """How much of the order amount the payments of each state fill, and in which state it was settled (-1: not yet).

    Payments fill the order from the best state to the worst, whatever the order of arrival; the excess counts nothing.
    A sum below zero, which only rows of older versions have, fills nothing.

    >>> fill_states(100, [60, 0, 50, 0, 0])
    ([60, 0, 40, 0, 0], 2)
    """
    filled, rest, settled = [], order_amount, -1
    for state, amount in enumerate(paid):
        part = min(max(amount, 0), rest)
        filled.append(part)
        rest -= part
        if rest == 0 and settled < 0:
            settled = state
    return filled, settled


def cost_minor(gross_margin: int, order_amount: int, filled: Sequence[int], rates: Sequence[float]) -> int:
    """What the late payments of a loan cost, in minor units: sum of rate x margin x share, rounded half to even.

    >>> cost_minor(1_000_000, 10_000_000, [0, 0, 0, 8_085_000, 1_915_000], (0, .05, .10, .15, .20))
    159575
    """
    weighted = 0.0
    for state in range(5):
        weighted += rates[state] * float(filled[state])
    return round(float(max(gross_margin, 0)) * (weighted / float(order_amount)))


def share_minor(gross_margin: int, order_amount: int, unpaid: int, rate: float) -> int:
    """rate x margin x unpaid share, in minor units, rounded half to even."""
    return round(rate * (float(max(gross_margin, 0)) * (float(unpaid) / float(order_amount))))
