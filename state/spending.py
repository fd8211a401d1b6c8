"""What a customer spends on: a few categories with sums that fade, and the sum of all.

Each place holds a category, the day it was last added to, the amount spent and the number of purchases, both as they
weigh on that day: what lies `SPENDING_HALF_LIFE_DAYS` back weighs half. Whole numbers (minor units of the base
currency, hundredths of a purchase), so that rows are the same to the byte wherever they are computed. A row has
`SPENDING_MAX` places beside that of all spending; when a purchase of a further category comes, the place with the
fewest purchases, as they weigh that day, is given up; but not for a purchase that is older than the half-life.

All spending is the sum of the places to the minor unit; while a category that was given up still weighs, it holds that
as well. So it is never less than a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.categories import MOVED_MONEY
from schemas.compiled import compiled

SPENDING_HALF_LIFE_DAYS = 60
SPENDING_MAX = 10
"""Categories a row keeps, beside the sum of all spending."""

EVERYTHING = 0
"""The place of all spending; no purchase of unknown category is in it."""

ONE_PURCHASE = 100

NO_DAY = -(2**31)
"""Before every day: the last day of what was never spent."""

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


@compiled
def spent_on(category: Any, code: Any, amount_minor: Any) -> Any:
    """The category that a transaction counts in: for money that comes in, that of a merchant's code and no guess.

    A salary from a supermarket is described with the words of a purchase there; only a merchant gives money back.

    >>> [int(spent_on(1, code, amount)) for code, amount in ((0, -500), (0, 500), (1, 500))]
    [1, 0, 1]
    """
    return category if amount_minor < 0 else code


def spend(places: list[Spending], category: int, day: int, amount_minor: int, sign: int, today: int) -> None:
    """Add a transaction to its category and to all spending, or (sign -1) take it back. `day` is not later than today.

    A refund is spent less and no purchase: at most what its category holds is taken off. A category without purchases
    leaves. Of a correction, what adds must be spent first, so that no bound is met on the way.
    """
    if category == 0:
        return
    amount, purchases = -sign * amount_minor, sign * ONE_PURCHASE if amount_minor < 0 else 0
    place = _place_of(places, category, day, purchases, today)
    rest = _rest(places)
    if place is not None:
        _change(place, day, amount, purchases)
        if place.purchases <= 0:
            places.remove(place)
    elif purchases and category not in MOVED_MONEY:
        _change(rest, day, amount, purchases)
    _sum_up(places, rest)


def _place_of(places: list[Spending], category: int, day: int, purchases: int, today: int) -> Spending | None:
    """The place of a category, made for a purchase of a new one; None where it has no place and gets none."""
    kept = [place for place in places if place.category != EVERYTHING]
    for place in kept:
        if place.category == category:
            return place
    if purchases <= 0:
        return None
    if len(kept) >= SPENDING_MAX:
        if today - day > SPENDING_HALF_LIFE_DAYS:
            return None
        places.remove(min(kept, key=lambda place: int(faded(place.purchases, today - place.day))))
    place = Spending(category, day, 0, 0)
    places.append(place)
    places.sort(key=lambda place: place.category)
    return place


def _change(place: Spending, day: int, amount: int, purchases: int) -> None:
    if day >= place.day:
        place.amount_minor = max(int(faded(place.amount_minor, day - place.day)) + amount, 0)
        place.purchases = int(faded(place.purchases, day - place.day)) + purchases
        place.day = day
    else:
        place.amount_minor = max(place.amount_minor + int(faded(amount, place.day - day)), 0)
        place.purchases += int(faded(purchases, place.day - day))


def _rest(places: list[Spending]) -> Spending:
    """What of all spending is in no place: categories that were given up, as they weigh on its last day."""
    rest = Spending(EVERYTHING, NO_DAY, 0, 0)
    if not places or places[0].category != EVERYTHING:
        return rest
    total = places[0]
    amount, purchases = total.amount_minor, total.purchases
    for place in _bought(places):
        amount -= int(faded(place.amount_minor, total.day - place.day))
        purchases -= int(faded(place.purchases, total.day - place.day))
    return Spending(EVERYTHING, total.day, max(amount, 0), purchases) if purchases > 0 else rest


def _sum_up(places: list[Spending], rest: Spending) -> None:
    """Write all spending: the sum of the categories and of the rest, as they weigh on the last day of them."""
    bought = _bought(places)
    parts = bought if rest.purchases <= 0 else [rest, *bought]
    if places and places[0].category == EVERYTHING:
        del places[0]
    if parts:
        total = Spending(EVERYTHING, max(part.day for part in parts), 0, 0)
        for part in parts:
            total.amount_minor += int(faded(part.amount_minor, total.day - part.day))
            total.purchases += int(faded(part.purchases, total.day - part.day))
        places.insert(0, total)


def _bought(places: list[Spending]) -> list[Spending]:
    return [place for place in places if place.category not in (EVERYTHING, *MOVED_MONEY)]
