"""On how many of the next days a customer will come, and whether they are still one: a figure beside the value score.

The value forecast tells money. How often somebody comes is told by BG/NBD: who comes at a rate of their own, and after
each time may have gone for good (P. Fader, B. Hardie, K. Lee, Marketing Science 24, 2005, equation 10, its leading
term). Its four numbers are not fitted here but those of a customer of whom nothing is known yet, so that one row alone
is enough: nothing is learned, stored or decided by it, and it is as good on the first day as later. They were chosen on
CDNOW among eight and judged on two other sets (docs/evaluation.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from state.row import Row

HORIZON_DAYS = 30
WINDOW_DAYS = 365
SHAPE, SCALE_DAYS = 0.25, 30.0
"""r and alpha: before anything is seen a customer comes once in 120 days, and that is believed for about a month."""
GOES, STAYS = 0.5, 2.0
"""a and b: before anything is seen one customer in five goes after a visit."""


class Expectation(NamedTuple):
    """What is to be expected of a customer."""

    days: float  # of the next 30, with a transaction
    still_customer: float  # the probability that they have not gone for good


def expectation(row: Row, today: int) -> Expectation | None:
    """What a row lets expect from a day on; None of who has never had a transaction. Days of a year, back from today.

    The account's first day starts the clock; where the first transaction does, it is not counted as a visit.
    """
    if row.last_transaction_day is None:
        return None
    active = [day.day for day in row.days if day.transactions > 0 and today - WINDOW_DAYS < day.day <= today]
    seen = [*active[:1], *([] if row.created_day is None else [row.created_day])]
    since = max(min(seen, default=today - WINDOW_DAYS), today - WINDOW_DAYS)
    visits = len(active) - (since in active)
    return expected(visits, active[-1] - since if active else 0, today - since)


def expected(visits: int, until_last_days: int, days: int) -> Expectation:
    """Of who came on `visits` days after the first of `days` days, the last of them `until_last_days` after it.

    >>> regular = expected(12, 350, 360)
    >>> round(regular.days, 2), round(regular.still_customer, 2)
    (0.89, 0.95)
    >>> silent = expected(4, 150, 360)
    >>> round(silent.days, 2), round(silent.still_customer, 2)
    (0.09, 0.27)
    """
    rate = (SHAPE + visits) / (SCALE_DAYS + days)
    still = 1.0
    if visits:  # who has not come again cannot have gone after it, in this model
        power = (SHAPE + visits) * math.log((SCALE_DAYS + days) / (SCALE_DAYS + until_last_days))
        still = 1.0 / (1.0 + GOES / (STAYS + visits - 1.0) * math.exp(min(power, 700.0)))
    return Expectation(HORIZON_DAYS * rate * still, still)
