"""What would have been enough: for each score made for credit, the nearest thing a customer can change. Pure.

Everything is asked of the product's own evaluation of the customer's row, otherwise as it stands, at the moment of the
customer's clock and with the versions in force then: what is told here is what would have been published. Definition:
docs/scores.md, adverse action.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from schemas.batch import DECLARED
from schemas.kinds import RISK_BANDS, Score
from state.loans import fill_states, state_of_days_past_due
from state.row import Loan, Row
from state.versions import Versions
from streams.customers.adverse import ACTIONABLE, TOGETHER, Declaration, counterfactuals, loans_on_time_needed
from streams.scoring.customer_risk import risk_band
from streams.scoring.reference.evaluate import Evaluation, evaluate
from streams.scoring.status import status_of_counts

LEVELS = ("low", "average", "high")
WORDS = {
    "income": "a monthly income",
    "debt": "monthly payments on debts",
    "renta": "a monthly cost of housing",
    "debt_total": "debts in all",
    "loan_amount": "a loan",
    "working_time": "days in employment",
    "moroso": "listed as a bad debtor",
    "credit_limit": "a limit",
}


class Way(NamedTuple):
    """One thing that could have been otherwise, and what the score would be then."""

    score: str
    name: str
    words: str
    now: float | None
    needed: float | None
    then: float
    then_band: str

    @property
    def text(self) -> str:
        """The way in a line, with what would follow."""
        band = f", {self.then_band}" if self.then_band else ""
        return f"{self.words}: {self.score} would be {self.then:.3f}{band}"


def ways(row: Row, versions: Versions) -> list[Way]:
    """The ways to a better band or level of each score made for credit; empty where none is near or none is needed.

    A score that a person holds is moved by nothing until that ends. Cost: some 300 evaluations, about 0.2 s.
    """
    if not row.exists:
        return []
    held = {override.score for override in row.overrides if override.until_ms > row.clock_ms}
    seen = _evaluated(row, versions)
    found: list[Way] = []
    if Score.STATUS not in held:
        found += _status_ways(seen, versions)
    if Score.REVENUE not in held:
        found += _paid_ways(row, seen, versions, Score.REVENUE)
    if Score.RISK not in held:
        found += _risk_ways(row, seen, versions)
    return found


def data_used(row: Row, score: str) -> list[tuple[str, Any]]:
    """What a score was made of, in words and numbers, as it is known: what a person may ask to have corrected."""
    used: list[tuple[str, Any]] = []
    if score == "risk" and row.declared is not None:
        told = zip(DECLARED, row.declared, strict=True)
        used += [(WORDS[name], value) for name, value in told if not math.isnan(value) and name != "credit_limit"]
    if score == "risk" and row.last_transaction_day is not None:
        used.append(("transactions", row.transactions))
        used.append(("balance", sum(account.balance_minor for account in row.accounts) / 100.0))
    open_loans = sum(loan.settled_day is None for loan in row.loans)
    used.append(("loans", len(row.loans) + (row.folded.loans if row.folded else 0)))
    used.append(("of them open", open_loans))
    return used


def _evaluated(row: Row, versions: Versions) -> Evaluation:
    return evaluate(row, row.clock_ms, versions, row.clock_ms)


def _status_ways(seen: Evaluation, versions: Versions) -> Iterable[Way]:
    """How many loans repaid on time reach the next level of the population."""
    status, level = seen.scores[Score.STATUS], seen.digits[0]
    if math.isnan(status) or not 0 <= level < len(LEVELS) - 1:
        return
    cuts = versions.weights[seen.weights_version].status_terciles
    margin = versions.policies[seen.policy_version].status_margin
    target = float(cuts[level]) + margin
    more = loans_on_time_needed(seen.counts, target)
    if more:
        words = f"{more:,} more loans repaid on time" if more > 1 else "one more loan repaid on time"
        on_time, *late = (int(count) for count in seen.counts)
        then = float(status_of_counts(on_time + more, *late))
        reached = sum(then >= float(cut) + margin for cut in cuts)
        yield Way("status", "loans_on_time", words, 0.0, float(more), then, LEVELS[reached])


def _paid_ways(row: Row, seen: Evaluation, versions: Versions, score: Score) -> Iterable[Way]:
    """What is past due, paid on the customer's day: late payments stay, what runs stops."""
    late = [loan for loan in row.loans if _is_past_due(loan, seen.day)]
    if not late or math.isnan(seen.scores[score]):
        return
    paid = replace(row, loans=[_paid(loan, seen.day) if loan in late else loan for loan in row.loans])
    then = _evaluated(paid, versions)
    words = "what is past due, paid now" if len(late) == 1 else f"the {len(late):,} loans past due, paid now"
    better = then.scores[score] > seen.scores[score] + 1e-9
    if score == Score.REVENUE and better:
        level = then.digits[1]
        yield Way("revenue", "past_due", words, None, 0.0, then.scores[score], LEVELS[level] if level >= 0 else "")
    elif score == Score.RISK and _band(then, versions) < _band(seen, versions):
        yield Way("risk", "past_due", words, None, 0.0, then.scores[score], RISK_BANDS[_band(then, versions)])


def _risk_ways(row: Row, seen: Evaluation, versions: Versions) -> Iterable[Way]:
    band = _band(seen, versions)
    if band <= 0 or row.declared is None:
        return
    yield from _paid_ways(row, seen, versions, Score.RISK)
    below = versions.policies[seen.policy_version].risk_band_floors[band - 1]
    declared = dict(zip(DECLARED, row.declared, strict=True))

    def with_declared(said: Declaration) -> Evaluation:
        return _evaluated(replace(row, declared=[_number(said[name]) for name in DECLARED]), versions)

    def chances_of(many: Sequence[Declaration]) -> Any:
        return np.array([1.0 - with_declared(said).scores[Score.RISK] for said in many])

    for one in counterfactuals(declared, chances_of, below):
        said = {**declared, one.name: one.needed}
        words = f"{WORDS.get(one.name, '')} of {one.needed:,.2f} instead of {one.now:,.2f}"
        if one.name == TOGETHER:
            less = [name for name, (low, _) in ACTIONABLE.items() if low < 1.0]
            said = {**declared, **{name: _number(declared[name]) * one.needed for name in less}}
            words = f"all debts, housing and the loan smaller by {1.0 - one.needed:.1%}"
        then = with_declared(said)
        yield Way("risk", one.name, words, one.now, one.needed, then.scores[Score.RISK],
                  RISK_BANDS[_band(then, versions)])  # fmt: skip


def _band(seen: Evaluation, versions: Versions) -> int:
    floors = versions.policies[seen.policy_version].risk_band_floors
    return int(risk_band(seen.scores[Score.RISK], np.array(floors)))


def _is_past_due(loan: Loan, day: int) -> bool:
    return loan.settled_day is None and day > loan.due_day


def _paid(loan: Loan, day: int) -> Loan:
    """The loan with all that is left paid on a day."""
    filled, _ = fill_states(loan.order_amount, loan.paid)
    paid = list(loan.paid)
    paid[state_of_days_past_due(day - loan.due_day)] += loan.order_amount - sum(filled)
    return replace(loan, paid=paid, settled_day=day)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
