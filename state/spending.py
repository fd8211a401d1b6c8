"""What a customer spends on: a few categories with sums that fade, and the sum of all.

Each place holds a category, the day it was last added to, the amount spent and the number of purchases, both as they
weigh on that day: what lies `SPENDING_HALF_LIFE_DAYS` back weighs half. Whole numbers (minor units of the base
currency, hundredths of a purchase), so that rows are the same to the byte wherever they are computed. A row has
`SPENDING_MAX` places beside that of all spending; when a purchase of a further category comes, the place with the
fewest purchases, as they weigh that day, is given up; but not for a purchase that is older than the half-life.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.categories import MOVED_MONEY
from schemas.compiled import compiled

SPENDING_HALF_LIFE_DAYS = 60
SPENDING_MAX = 10
"""Categories a row keeps, beside the sum of all spending."""

EVERYTHING = 0
"""The place of all spending; no purchase of unknown category is in it."""

ONE_PURCHASE = 100

FADE = 0.5 ** (np.arange(20 * SPENDING_HALF_LIFE_DAYS) / SPENDING_HALF_LIFE_DAYS)


@dataclass(slots=True)
class Spending:
    """One place: what was spent in a category, as it weighs on `day`."""

    category: int
    day: int
    amount_minor: int
    purchases: int  # hundredths


@dataclass(slots=True)
class ProfileMark:
    """A profile that holds since a day, or has not held since a day (kept only while its dwell time lasts)."""

    key: int  # 32 bits of the hash of its id
    since_day: int
    held: bool


@compiled
def faded(weight: int, days: int) -> int:
    """What a sum weighs so many days later, rounded half to even; nothing after twenty half-lives.

    >>> int(faded(1_000, 0)), int(faded(1_000, 60)), int(faded(-1_000, 120)), int(faded(1_000, 1_200))
    (1000, 500, -250, 0)
    """
    if days <= 0:
        return np.int64(weight)
    if days >= len(FADE):
        return np.int64(0)
    return np.int64(np.rint(weight * FADE[days]))


def spend(places: list[Spending], category: int, day: int, amount_minor: int, sign: int, today: int) -> None:
    """Add a transaction to its category and to all spending, or (sign -1) take it back. `day` is not later than today.

    Money that comes back from a merchant is spent less; it is no purchase. A category of which nothing is left leaves.
    """
    if category == 0:
        return
    amount, purchases = -sign * amount_minor, sign * ONE_PURCHASE if amount_minor < 0 else 0
    _add(places, category, day, amount, purchases, today)
    if category not in MOVED_MONEY:
        _add(places, EVERYTHING, day, amount, purchases, today)


def _add(places: list[Spending], category: int, day: int, amount: int, purchases: int, today: int) -> None:
    for place in places:
        if place.category == category:
            break
    else:
        if purchases <= 0:
            return
        kept = [place for place in places if place.category != EVERYTHING]
        if category != EVERYTHING and len(kept) >= SPENDING_MAX:
            if today - day > SPENDING_HALF_LIFE_DAYS:
                return
            places.remove(min(kept, key=lambda place: int(faded(place.purchases, today - place.day))))
        place = Spending(category, day, 0, 0)
        places.append(place)
        places.sort(key=lambda place: place.category)
    if day >= place.day:
        place.amount_minor = max(int(faded(place.amount_minor, day - place.day)) + amount, 0)
        place.purchases = int(faded(place.purchases, day - place.day)) + purchases
        place.day = day
    else:
        place.amount_minor = max(place.amount_minor + int(faded(amount, place.day - day)), 0)
        place.purchases += int(faded(purchases, place.day - day))
    if place.purchases <= 0:
        places.remove(place)
