"""What a customer spends on, compiled: `state.spending.spend` over a scratch."""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas.categories import MOVED_MONEY
from schemas.compiled import compiled
from state.compiled.row import H_PROFILE_RULE, H_SPENDING, Q_AMOUNT, Q_CATEGORY, Q_DAY, Q_PURCHASES, Scratch
from state.compiled.sums import SUCCEEDED
from state.spending import (
    EVERYTHING,
    NO_DAY,
    ONE_PURCHASE,
    SPENDING_HALF_LIFE_DAYS,
    SPENDING_MAX,
    faded,
    spent_on,
)

Fields = Any

TRANSFERS, CASH = (int(category) for category in MOVED_MONEY)


@compiled
def correct_spending(
    row: Scratch, event: Fields, category: int, state: int, amount: int, day: int,
    previous_state: int, previous: int, previous_day: int, today: int,
) -> None:  # fmt: skip
    """What a correction spends, and what it takes back: a refund that is taken back first, as it adds."""
    code, earlier = np.int64(event["category"]), np.int64(event["previous_category"])
    back = spent_on(earlier, earlier, previous) if earlier != 0 else spent_on(category, code, previous)
    if previous_state == SUCCEEDED and previous > 0:
        spend(row, back, previous_day, previous, -1, today)
    if state == SUCCEEDED:
        spend(row, spent_on(category, code, amount), day, amount, 1, today)
    if previous_state == SUCCEEDED and previous <= 0:
        spend(row, back, previous_day, previous, -1, today)


@compiled
def spend(row: Scratch, category: int, day: int, amount_minor: int, sign: int, today: int) -> None:
    """See `state.spending.spend`."""
    if category == 0:
        return
    row.h[H_PROFILE_RULE] = 0
    amount, purchases = -sign * amount_minor, sign * ONE_PURCHASE if amount_minor < 0 else 0
    at = _place_of(row, category, day, purchases, today)
    rest_day, rest_amount, rest_purchases = _rest(row)
    if at >= 0:
        place = row.spending[at]
        place[Q_DAY], place[Q_AMOUNT], place[Q_PURCHASES] = _changed(
            place[Q_DAY], place[Q_AMOUNT], place[Q_PURCHASES], day, amount, purchases
        )
        if place[Q_PURCHASES] <= 0:
            _remove(row, at)
    elif purchases != 0 and category not in (TRANSFERS, CASH):
        rest_day, rest_amount, rest_purchases = _changed(rest_day, rest_amount, rest_purchases, day, amount, purchases)
    _sum_up(row, rest_day, rest_amount, rest_purchases)


@compiled
def _place_of(row: Scratch, category: int, day: int, purchases: int, today: int) -> int:
    """The place of a category, made for a purchase of a new one; -1 where it has no place and gets none."""
    places, n = row.spending, row.h[H_SPENDING]
    at = 0
    while at < n and places[at, Q_CATEGORY] < category:
        at += 1
    if at < n and places[at, Q_CATEGORY] == category:
        return at
    if purchases <= 0:
        return -1
    first = 1 if n and places[0, Q_CATEGORY] == EVERYTHING else 0
    if n - first >= SPENDING_MAX:
        if today - day > SPENDING_HALF_LIFE_DAYS:
            return -1
        least = _least(row, first, today)
        _remove(row, least)
        if least < at:
            at -= 1
    _insert(row, at, category, day)
    return at


@compiled
def _changed(
    place_day: int, place_amount: int, place_purchases: int, day: int, amount: int, purchases: int
) -> tuple[int, int, int]:
    """Day, amount and purchases of a place after an addition."""
    if day >= place_day:
        passed = day - place_day
        return day, max(faded(place_amount, passed) + amount, 0), faded(place_purchases, passed) + purchases
    passed = place_day - day
    return place_day, max(place_amount + faded(amount, passed), 0), place_purchases + faded(purchases, passed)


@compiled
def _rest(row: Scratch) -> tuple[int, int, int]:
    """Day, amount and purchases of what all spending holds that is in no place."""
    places = row.spending
    if row.h[H_SPENDING] == 0 or places[0, Q_CATEGORY] != EVERYTHING:
        return NO_DAY, 0, 0
    day, amount, purchases = places[0, Q_DAY], places[0, Q_AMOUNT], places[0, Q_PURCHASES]
    for i in range(1, row.h[H_SPENDING]):
        if places[i, Q_CATEGORY] not in (TRANSFERS, CASH):
            amount -= faded(places[i, Q_AMOUNT], day - places[i, Q_DAY])
            purchases -= faded(places[i, Q_PURCHASES], day - places[i, Q_DAY])
    return (day, max(amount, 0), purchases) if purchases > 0 else (NO_DAY, 0, 0)


@compiled
def _sum_up(row: Scratch, rest_day: int, rest_amount: int, rest_purchases: int) -> None:
    """Write all spending: the sum of the categories and of the rest, as they weigh on the last day of them."""
    places = row.spending
    first = 1 if row.h[H_SPENDING] and places[0, Q_CATEGORY] == EVERYTHING else 0
    day = rest_day if rest_purchases > 0 else NO_DAY
    for i in range(first, row.h[H_SPENDING]):
        if places[i, Q_CATEGORY] not in (TRANSFERS, CASH):
            day = max(day, places[i, Q_DAY])
    if day == NO_DAY:
        if first:
            _remove(row, 0)
        return
    if not first:
        _insert(row, 0, EVERYTHING, day)
    amount = purchases = 0
    if rest_purchases > 0:
        amount, purchases = faded(rest_amount, day - rest_day), faded(rest_purchases, day - rest_day)
    for i in range(1, row.h[H_SPENDING]):
        if places[i, Q_CATEGORY] not in (TRANSFERS, CASH):
            amount += faded(places[i, Q_AMOUNT], day - places[i, Q_DAY])
            purchases += faded(places[i, Q_PURCHASES], day - places[i, Q_DAY])
    places[0, Q_DAY], places[0, Q_AMOUNT], places[0, Q_PURCHASES] = day, amount, purchases


@compiled
def _least(row: Scratch, first: int, today: int) -> int:
    """The place with the fewest purchases, as they weigh today; the first of several."""
    best, fewest = first, 2**62
    for i in range(first, row.h[H_SPENDING]):
        weight = faded(row.spending[i, Q_PURCHASES], today - row.spending[i, Q_DAY])
        if weight < fewest:
            best, fewest = i, weight
    return best


@compiled
def _insert(row: Scratch, at: int, category: int, day: int) -> None:
    places = row.spending
    for i in range(row.h[H_SPENDING], at, -1):
        for j in range(4):
            places[i, j] = places[i - 1, j]
    row.h[H_SPENDING] += 1
    places[at, Q_CATEGORY], places[at, Q_DAY] = category, day
    places[at, Q_AMOUNT], places[at, Q_PURCHASES] = 0, 0


@compiled
def _remove(row: Scratch, at: int) -> None:
    for i in range(at + 1, row.h[H_SPENDING]):
        for j in range(4):
            row.spending[i - 1, j] = row.spending[i, j]
    row.h[H_SPENDING] -= 1
