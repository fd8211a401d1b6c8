"""Lifestyle profiles: how strongly each holds for a customer, who enters and leaves, and when time would tell.

Pure maths over the places of `state.spending`; scalar compiled functions that the oracle and the kernel call alike.
`places` is (n, 4): category, day, amount, purchases; `marks` is (m, 3): key, since day, held (see `Q_...`, `K_...` of
`state.compiled.row`).

A condition is met to the degree measure / full measure, at most 1; a trigger to that of its least condition; a profile
is as strong as its best trigger. Purchases and money weigh half `half_life_days` after the last purchase of their
category. Shares are of the day of the last purchase, so that silence does not move them: without purchases strength
only falls, and the day on which it falls below a limit can be computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import Columns
from schemas.compiled import compiled
from state.compiled.row import K_HELD, K_KEY, K_SINCE, Q_AMOUNT, Q_CATEGORY, Q_DAY, Q_PURCHASES
from state.profiles import TRIGGERS_MAX
from state.spending import EVERYTHING, ONE_PURCHASE, SPENDING_HALF_LIFE_DAYS

PROFILE = np.dtype(
    [
        ("key", np.int64),
        ("enabled", np.bool_),
        ("half_life_days", np.float64),
        ("triggers", np.int64),
        ("categories", np.int64, (TRIGGERS_MAX,)),  # a bit for each
        ("purchases", np.float64, (TRIGGERS_MAX,)),
        ("spent_minor", np.float64, (TRIGGERS_MAX,)),
        ("share_of_purchases", np.float64, (TRIGGERS_MAX,)),
        ("share_of_spending", np.float64, (TRIGGERS_MAX,)),
    ]
)
"""A profile as compiled functions read it; the names are those of `state.profiles`."""

NO_PROFILE_DAY = 2**60
"""Time alone will make nobody enter or leave."""

SURELY_LESS = 1.0 - 1e-9
"""A sum below so much of a limit is below it however it is rounded."""

Places = NDArray[np.int64]
Marks = NDArray[np.int64]


@compiled
def categories_in(places: Places, n: int) -> int:
    """The categories that have a place, a bit for each."""
    found = 0
    for k in range(n):
        found |= 1 << places[k, Q_CATEGORY]
    return found


@compiled
def measures_of(places: Places, n: int, categories: int, half_life_days: float, day: int) -> tuple[float, float]:
    """Money (minor units) and purchases in a set of categories as they weigh on a day."""
    amount = purchases = 0.0
    for k in range(n):
        if categories >> places[k, Q_CATEGORY] & 1:
            age = day - places[k, Q_DAY]
            weight = 1.0 if age == 0 else np.exp2(-age / half_life_days)
            amount += weight * places[k, Q_AMOUNT]
            purchases += weight * places[k, Q_PURCHASES]
    return amount, purchases / ONE_PURCHASE


@compiled
def shares_of(places: Places, n: int, categories: int, half_life_days: float) -> tuple[float, float]:
    """Shares of all money spent and of all purchases, as of the day of the last purchase; 0 where there is none."""
    last = -NO_PROFILE_DAY
    for k in range(n):
        last = max(last, places[k, Q_DAY])
    amount, purchases = measures_of(places, n, categories, half_life_days, last)
    all_amount, all_purchases = measures_of(places, n, 1 << EVERYTHING, half_life_days, last)
    of_amount = min(amount / all_amount, 1.0) if all_amount > 0.0 else 0.0
    of_purchases = min(purchases / all_purchases, 1.0) if all_purchases > 0.0 else 0.0
    return of_amount, of_purchases


@compiled
def strength_of(places: Places, n: int, found: int, profile: Any, day: int, least: float = 0.0) -> tuple[float, int]:
    """How strongly a profile holds on a day, 0 to 1, and by which of its triggers. `found`: `categories_in` places.

    Below `least` it may be any number below it: most profiles of most customers are then told by a sum.
    """
    best, by = 0.0, 0
    for t in range(profile["triggers"]):
        categories = profile["categories"][t]
        if categories & found == 0:
            continue
        # As they weigh on the day of the last of them, which is more than they will ever weigh.
        weight = 0
        for k in range(n):
            if categories >> places[k, Q_CATEGORY] & 1:
                weight += places[k, Q_PURCHASES]
        if weight < least * profile["purchases"][t] * ONE_PURCHASE * SURELY_LESS:
            continue
        absolute, shares = _parts_of(places, n, profile, t, day)
        strength = min(1.0, absolute, shares)
        if strength > best:
            best, by = strength, t
    return best, by


@compiled
def _parts_of(places: Places, n: int, profile: Any, t: int, day: int) -> tuple[float, float]:
    """The least of a trigger's conditions that fade, and of those that stand still in silence; neither cut at 1."""
    categories, half_life_days = profile["categories"][t], profile["half_life_days"]
    amount, purchases = measures_of(places, n, categories, half_life_days, day)
    absolute, shares = purchases / profile["purchases"][t], 1.0
    if profile["spent_minor"][t] > 0.0:
        absolute = min(absolute, amount / profile["spent_minor"][t])
    if profile["share_of_spending"][t] > 0.0 or profile["share_of_purchases"][t] > 0.0:
        of_amount, of_purchases = shares_of(places, n, categories, half_life_days)
        if profile["share_of_spending"][t] > 0.0:
            shares = min(shares, of_amount / profile["share_of_spending"][t])
        if profile["share_of_purchases"][t] > 0.0:
            shares = min(shares, of_purchases / profile["share_of_purchases"][t])
    return absolute, shares


@compiled
def mark_of(marks: Marks, m: int, key: int) -> int:
    """Where a profile's mark is, -1 where it has none."""
    for k in range(m):
        if marks[k, K_KEY] == key:
            return k
    return -1


@compiled
def held_profiles(marks: Marks, m: int, profiles: Columns) -> int:
    """The profiles that hold by their marks, a bit for each of `profiles`."""
    held = 0
    for i in range(len(profiles)):
        k = mark_of(marks, m, profiles[i]["key"]) if m else -1
        if k >= 0 and marks[k, K_HELD]:
            held |= 1 << i
    return held


@compiled
def profiles_on(
    places: Places, n: int, marks: Marks, m: int, profiles: Columns, day: int,
    enter: float, leave: float, dwell_days: int,
) -> int:  # fmt: skip
    """The profiles that hold on a day, a bit for each: entered at `enter`, left below `leave`, not sooner than
    `dwell_days` after the last time. One that is switched off is left at once."""
    now = 0
    if n == 0 and m == 0:
        return now
    found = categories_in(places, n)
    for i in range(len(profiles)):
        profile = profiles[i]
        k = mark_of(marks, m, profile["key"]) if m else -1
        held = k >= 0 and marks[k, K_HELD] != 0
        if not profile["enabled"]:
            continue
        if k >= 0 and day < marks[k, K_SINCE] + dwell_days:
            holds = held
        else:
            least = leave if held else enter
            holds = strength_of(places, n, found, profile, day, least)[0] >= least
        if holds:
            now |= 1 << i
    return now


@compiled
def next_profile_day(
    places: Places, n: int, marks: Marks, m: int, profiles: Columns, today: int,
    enter: float, leave: float, dwell_days: int,
) -> int:  # fmt: skip
    """The first day after today on which, without any further purchase, a profile would be entered or left."""
    first = NO_PROFILE_DAY
    if n == 0 and m == 0:
        return first
    found = categories_in(places, n)
    for i in range(len(profiles)):
        profile = profiles[i]
        k = mark_of(marks, m, profile["key"]) if m else -1
        held = k >= 0 and marks[k, K_HELD] != 0
        if not profile["enabled"]:
            if held:
                first = min(first, today + 1)
            continue
        earliest = max(today + 1, marks[k, K_SINCE] + dwell_days) if k >= 0 else today + 1
        if held:
            first = min(first, _first_day_below(places, n, found, profile, earliest, leave))
        elif strength_of(places, n, found, profile, earliest, enter)[0] >= enter:
            first = min(first, earliest)
    return first


@compiled
def _first_day_below(places: Places, n: int, found: int, profile: Any, earliest: int, leave: float) -> int:
    """The first day from `earliest` on with a strength below `leave`: strength never rises by itself.

    What fades halves in a half-life, so the day of each trigger can be written down; rounding may move it by one.
    """
    if leave <= 0.0:
        return NO_PROFILE_DAY
    day = earliest
    for t in range(profile["triggers"]):
        absolute, shares = _parts_of(places, n, profile, t, earliest)
        if shares >= leave and absolute >= leave:
            days = np.ceil(profile["half_life_days"] * np.log2(absolute / leave))
            day = max(day, earliest + np.int64(days))
    while strength_of(places, n, found, profile, day, leave)[0] >= leave:
        day += 1
    while day > earliest and strength_of(places, n, found, profile, day - 1, leave)[0] < leave:
        day -= 1
    return day


@compiled
def leading_category(places: Places, n: int, categories: int, half_life_days: float, day: int) -> int:
    """The category of a set on which most was spent, as it weighs on a day; 0 where none has a place."""
    best, most = 0, -1.0
    for k in range(n):
        if categories >> places[k, Q_CATEGORY] & 1:
            amount = places[k, Q_AMOUNT] * np.exp2(-(day - places[k, Q_DAY]) / half_life_days)
            if amount > most:
                best, most = places[k, Q_CATEGORY], amount
    return best


@compiled
def confidence_of_spending(places: Places, n: int, day: int) -> float:
    """How much profiles rest on: n / (n + 5) of the purchases as they weigh on a day; NaN without any."""
    if n == 0 or places[0, Q_CATEGORY] != EVERYTHING:
        return np.nan
    # Weighed as the row weighs them: one half-life for all profiles.
    purchases = places[0, Q_PURCHASES] * np.exp2(-(day - places[0, Q_DAY]) / SPENDING_HALF_LIFE_DAYS) / ONE_PURCHASE
    return purchases / (purchases + 5.0)
