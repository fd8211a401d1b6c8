"""Adverse action: why not better, and what would have made it so. Never praise, never only "score too low".

A reason is a shortfall from the best attainable: how much of a score, or of the log-odds, one thing costs. Up to four
of the largest are told (United States: Regulation B, 12 CFR 1002.9, comment 9(b)(2)-1: more are of no help). A
counterfactual is the smallest change of one thing a person can change that would have led to the better answer.
Definition: docs/scores.md, adverse action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streams.scoring.models.additive import Additive, Floats, best_terms
from streams.scoring.models.manifest import Feature
from streams.scoring.status import STATUS_LEVELS, status_of_counts, status_reasons

REASONS_MAX = 4
SHORTFALL_MIN = 1e-9


class Shortfall(NamedTuple):
    """One reason against: its code, what it is about in words, and what it costs (above 0)."""

    code: str
    words: str
    shortfall: float


class Counterfactual(NamedTuple):
    """One thing that could have been otherwise."""

    name: str
    now: float
    needed: float


STATUS_WORDS = (
    ("history", "the repayment history is short"),
    ("late_bdr_30", "loans were 1 to 30 days past due"),
    ("late_bdr_30_plus", "loans were 31 to 90 days past due"),
    ("late_npl", "loans were 91 to 180 days past due"),
    ("late_wo", "loans were more than 180 days past due"),
)

REVENUE_WORDS = (
    ("late_costs", "late payments cost money"),
    ("promotions", "loans were sold at a promotion"),
    ("unpaid", "part of the margin is not paid yet"),
    ("ongoing_costs", "overdue loans cost money every day"),
    ("efficiency", "the margin is low for the amounts lent"),
)


def model_shortfalls(
    model: Additive, features: Sequence[Feature], terms: Floats, *, higher_is_worse: bool
) -> list[Shortfall]:
    """Of one row's terms (F,): what each costs on the log-odds against the best that feature can be.

    `higher_is_worse`: the model's sum is a risk; else it is the odds of a good answer.
    """
    sign = 1.0 if higher_is_worse else -1.0
    cost = sign * (terms - best_terms(model, lowest=higher_is_worse))
    return largest(Shortfall(f.name, f.purpose, float(x)) for f, x in zip(features, cost, strict=True))


def status_shortfalls(counts: Sequence[int]) -> list[Shortfall]:
    """Why a status score is below 5: a short history, and each kind of lateness.

    >>> [(reason.code, round(reason.shortfall, 3)) for reason in status_shortfalls((0, 2, 1, 0, 1))]
    [('history', 2.009), ('late_wo', 0.528), ('late_bdr_30_plus', 0.169), ('late_bdr_30', 0.121)]
    """
    levels = np.zeros(STATUS_LEVELS)
    n0, n1, n2, n3, n4 = counts
    base = status_reasons(n0, n1, n2, n3, n4, levels)
    costs = [5.0 - base - levels[0], *-levels[1:]]
    return largest(Shortfall(*words, float(cost)) for words, cost in zip(STATUS_WORDS, costs, strict=True))


def revenue_shortfalls(penalties: Sequence[float], efficiency: float) -> list[Shortfall]:
    """Why a revenue score is below 2: its four penalties (as shares, in the formula's order) and the efficiency.

    >>> [reason.code for reason in revenue_shortfalls((0.04, 0.0, 0.01, 0.0), 0.1)]
    ['efficiency', 'late_costs', 'unpaid']
    """
    costs = [*penalties, 1.0 - efficiency]
    return largest(Shortfall(*words, float(cost)) for words, cost in zip(REVENUE_WORDS, costs, strict=True))


def largest(shortfalls: Iterable[Shortfall], most: int = REASONS_MAX) -> list[Shortfall]:
    """The largest ones, each above 0; equal ones by code."""
    told = [one for one in shortfalls if one.shortfall > SHORTFALL_MIN]
    return sorted(told, key=lambda one: (-one.shortfall, one.code))[:most]


def loans_on_time_needed(counts: Sequence[int], target: float, loans_max: int = 10_000) -> int | None:
    """How many more loans paid on time would lift a status score to the target; None where so many would not.

    >>> loans_on_time_needed((0, 2, 1, 0, 1), 2.5)
    2
    """
    n0, n1, n2, n3, n4 = counts
    for more in range(loans_max + 1):
        if status_of_counts(n0 + more, n1, n2, n3, n4) >= target:
            return more
    return None


def revenue_if_all_paid(penalties: Sequence[float], efficiency: float) -> float:
    """The revenue score if what is unpaid were paid now: late payments stay, what is open and runs falls away.

    >>> revenue_if_all_paid((0.04, 0.0, 0.5, 0.1), 0.1)
    1.06
    """
    return efficiency + max(0.0, 1.0 - penalties[0] - penalties[1])


Reach = Mapping[str, tuple[float, float]]
"""What a person can change, and how far: shares of what it is now, one of them 1, the other the furthest to look at."""

ACTIONABLE: Reach = {
    "debt": (0.0, 1.0),
    "debt_total": (0.0, 1.0),
    "renta": (0.0, 1.0),
    "loan_amount": (0.0, 1.0),
    "income": (1.0, 4.0),
}
"""Of a declaration."""

ACTIONABLE_REQUEST: Reach = {
    "credit.loan": (0.0, 1.0),
    "credit.time": (1.0, 2.0),
    **{f"client{number}.{name}": (0.0, 1.0) for number in (1, 2) for name in ("debt_month", "debt_total")},
    **{f"client{number}.income": (1.0, 4.0) for number in (1, 2)},
    "mortgage_amount": (0.0, 1.0),
}
"""Of a request for a credit or a cover, flat: a dot says what a name belongs to."""

TOGETHER = "together"
"""The name of a counterfactual in which all debts and amounts are smaller by the same share, nothing else."""

STEPS = 40

Declaration = Mapping[str, float | None]
ChancesOf = Callable[[Sequence[Declaration]], Floats]


def counterfactuals(
    declared: Declaration, chance_of: ChancesOf, below: float, reach: Reach = ACTIONABLE
) -> list[Counterfactual]:
    """For each thing a person can change, alone: the value nearest to the present one that brings the chance below.

    `chance_of` answers the chance of what is bad (a default, a denial) of declarations. Where nothing alone would do,
    all debts and amounts smaller by one share, if that would: `TOGETHER`, the share left. Answers are to a 1,600th of
    the way looked at, in whole cents or tenths of a percent, and tried as they are told; the smallest relative change
    comes first. Cost: a few calls, some 300 rows in all.
    """
    now = {name: value for name in reach if (value := declared.get(name)) is not None and 0 < value < math.inf}

    def alone(name: str) -> Callable[[float], Declaration]:
        low, high = reach[name]
        end = low if low < 1.0 else high
        return lambda part: {**declared, name: now[name] * (1.0 + (end - 1.0) * part)}

    ways = {name: alone(name) for name in now}
    found = _nearest(ways, chance_of, below)
    less = [name for name in now if reach[name][0] < 1.0]
    if found or not less:
        needed = {
            name: _outward(ways[name](part)[name] or 0.0, 100, reach[name][0] < 1.0) for name, part in found.items()
        }
        tried: dict[Counterfactual, Declaration] = {
            Counterfactual(name, now[name], value): {**declared, name: value} for name, value in needed.items()
        }
    else:
        shares = _nearest({TOGETHER: lambda part: _smaller(declared, now, less, 1.0 - part)}, chance_of, below)
        left = [_outward(1.0 - part, 1_000, down=True) for part in shares.values()]
        tried = {Counterfactual(TOGETHER, 1.0, share): _smaller(declared, now, less, share) for share in left}
    if not tried:
        return []
    chances = chance_of(list(tried.values()))
    told = [one for one, chance in zip(tried, chances, strict=True) if chance < below]
    return sorted(told, key=lambda one: abs(math.log((one.needed + 1e-9) / one.now)))


def _smaller(declared: Declaration, now: Mapping[str, float], names: Iterable[str], share: float) -> Declaration:
    return {**declared, **{name: now[name] * share for name in names}}


def _outward(value: float, units: int, down: bool) -> float:
    """The value in whole units of a cent, or of a tenth of a percent, rounded so that it is still enough as it is told.

    >>> _outward(301.237, 100, down=True), _outward(2_750.001, 100, down=False), _outward(0.8769, 1_000, down=True)
    (301.23, 2750.01, 0.876)
    """
    return (math.floor(value * units) if down else math.ceil(value * units)) / units


def _nearest(
    ways: Mapping[str, Callable[[float], Declaration]], chance_of: ChancesOf, below: float
) -> dict[str, float]:
    """By way: the smallest part of it that brings the chance below, looked for in steps, then in steps of a step."""
    found: dict[str, float] = {}
    starts = dict.fromkeys(ways, 0.0)
    for size in (1.0 / STEPS, 1.0 / STEPS**2):
        tried = [(name, starts[name] + size * step) for name in starts for step in range(1, STEPS + 1)]
        if not tried:
            break
        found = {}
        for (name, part), chance in zip(tried, chance_of([ways[n](p) for n, p in tried]), strict=True):
            if chance < below and name not in found:
                found[name] = part
        starts = {name: part - size for name, part in found.items()}
    return found
