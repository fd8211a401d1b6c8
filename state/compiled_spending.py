"""What a customer spends on, compiled: `state.spending.spend` over a scratch."""

from __future__ import annotations

from schemas.categories import MOVED_MONEY
from schemas.compiled import compiled
from state.compiled_row import H_PROFILE_RULE, H_SPENDING, Q_AMOUNT, Q_CATEGORY, Q_DAY, Q_PURCHASES, Scratch
from state.spending import EVERYTHING, ONE_PURCHASE, SPENDING_HALF_LIFE_DAYS, SPENDING_MAX, faded

TRANSFERS, CASH = (int(category) for category in MOVED_MONEY)


@compiled
def spend(row: Scratch, category: int, day: int, amount_minor: int, sign: int, today: int) -> None:
    """See `state.spending.spend`."""
    if category == 0:
        return
    amount, purchases = -sign * amount_minor, sign * ONE_PURCHASE if amount_minor < 0 else 0
    _add(row, category, day, amount, purchases, today)
    if category not in (TRANSFERS, CASH):
        _add(row, EVERYTHING, day, amount, purchases, today)


@compiled
def _add(row: Scratch, category: int, day: int, amount: int, purchases: int, today: int) -> None:
    places, n = row.spending, row.h[H_SPENDING]
    row.h[H_PROFILE_RULE] = 0
    at = 0
    while at < n and places[at, Q_CATEGORY] < category:
        at += 1
    if at == n or places[at, Q_CATEGORY] != category:
        if purchases <= 0:
            return
        first = 1 if n and places[0, Q_CATEGORY] == EVERYTHING else 0
        if category != EVERYTHING and n - first >= SPENDING_MAX:
            if today - day > SPENDING_HALF_LIFE_DAYS:
                return
            least = _least(row, first, today)
            _remove(row, least)
            if least < at:
                at -= 1
        n = row.h[H_SPENDING]
        for i in range(n, at, -1):
            for j in range(4):
                places[i, j] = places[i - 1, j]
        row.h[H_SPENDING] = n + 1
        places[at, Q_CATEGORY], places[at, Q_DAY] = category, day
        places[at, Q_AMOUNT], places[at, Q_PURCHASES] = 0, 0
    place = places[at]
    if day >= place[Q_DAY]:
        passed = day - place[Q_DAY]
        place[Q_AMOUNT] = max(faded(place[Q_AMOUNT], passed) + amount, 0)
        place[Q_PURCHASES] = faded(place[Q_PURCHASES], passed) + purchases
        place[Q_DAY] = day
    else:
        passed = place[Q_DAY] - day
        place[Q_AMOUNT] = max(place[Q_AMOUNT] + faded(amount, passed), 0)
        place[Q_PURCHASES] += faded(purchases, passed)
    if place[Q_PURCHASES] <= 0:
        _remove(row, at)


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
def _remove(row: Scratch, at: int) -> None:
    for i in range(at + 1, row.h[H_SPENDING]):
        for j in range(4):
            row.spending[i - 1, j] = row.spending[i, j]
    row.h[H_SPENDING] -= 1
