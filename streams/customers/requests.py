"""Why a request was declined, and what would have been enough: reasons, the nearest change, what it was decided with.

A request is answered by the version of its model that was in force when it was made. What is asked here is that
version again, with the same attributes: nothing is kept of a request but what is on its topic. A model whose inputs are
a customer's (`risk`) looks at a request that names none by what is declared in it: there is no account and no loan.
Pure. Definition: docs/scores.md, adverse action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from schemas.batch import DECLARED
from state.row import Row
from state.versions import Versions
from streams.customers.adverse import (
    ACTIONABLE,
    ACTIONABLE_REQUEST,
    TOGETHER,
    Counterfactual,
    Declaration,
    Shortfall,
    counterfactuals,
    model_shortfalls,
)
from streams.scoring.models.additive import Floats, logistic, sums_of, tempered, terms_of
from streams.scoring.models.model import Model
from streams.scoring.models.plain_values import is_number
from streams.scoring.models.specs import CUSTOMER, ModelSpec
from streams.scoring.reference.evaluate import risk_row_of

EVEN = 0.5
WORDS = {
    "debt": "monthly payments on debts",
    "renta": "a monthly cost of housing",
    "loan_amount": "a loan",
    "credit.loan": "a loan",
    "credit.time": "years to repay",
    "debt_month": "monthly payments on other debts",
    "debt_total": "other debts in all",
    "income": "a monthly income",
    "mortgage_amount": "a sum insured",
}


class Verdict(NamedTuple):
    """What a model says of a request."""

    model: str
    version: str
    chance: float  # of the label
    favourable: bool  # whether the label is what the person wants
    shortfalls: Sequence[Shortfall]  # on the log-odds, the largest first
    enough: Sequence[Counterfactual]  # the nearest first; empty where nothing is needed, or nothing near would do
    used: Mapping[str, float | str]  # the model's inputs
    edge: float = EVEN  # the chance of what is bad from which on it is declined

    @property
    def declined(self) -> bool:
        """Whether the answer is the one that the person does not want."""
        return self.chance < 1.0 - self.edge if self.favourable else self.chance >= self.edge


class Asked(NamedTuple):
    """What a request said: its fields, when it became known, and every version there was."""

    fields: Mapping[str, Any]
    asked_ms: int
    versions: Versions

    def row(self, spec: ModelSpec, changed: Declaration) -> dict[str, float | str]:
        """The model's inputs, with some of what was said otherwise."""
        attributes = self.fields["attributes"] or {}
        if spec.inputs != CUSTOMER:
            return spec.row({**attributes, **changed}, {})
        said: Mapping[str, Any] = {**{name: self.fields.get(name) for name in DECLARED}, **changed}
        declared = [math.nan if said[name] is None else float(said[name]) for name in DECLARED]
        return spec.row(attributes, dict(risk_row_of(Row(declared=declared), self.asked_ms, self.versions)))


def verdict(spec: ModelSpec, model: Model, asked: Asked) -> Verdict:
    """What this version says of a request. Cost: some 10 ms, for the ways that are tried, 0.1 s for declared data."""

    def chances_of_bad(many: Sequence[Declaration]) -> Floats:
        rows = [asked.row(spec, one) for one in many]
        chances = logistic(tempered(*sums_of(model.weights, model.inputs(rows))))
        return 1.0 - chances if spec.favourable else chances

    bad = float(chances_of_bad([{}])[0])
    used = asked.row(spec, {})
    of_customer = spec.inputs == CUSTOMER
    # What a risk is declined for is the policy's: its worst band.
    edge = asked.versions.policy_at(asked.asked_ms).risk_band_floors[-1] if of_customer else EVEN
    _, terms = terms_of(model.weights, model.inputs([used]))
    made = Verdict(
        spec.name,
        model.version,
        1.0 - bad if spec.favourable else bad,
        spec.favourable,
        model_shortfalls(model.weights, model.manifest.features, terms[0], higher_is_worse=not spec.favourable),
        (),
        used,
        edge,
    )
    if not made.declined:
        return made
    said, reach = asked.fields["attributes"] or {}, ACTIONABLE_REQUEST
    if of_customer:
        said, reach = {name: asked.fields.get(name) for name in DECLARED}, ACTIONABLE
    numbers = {name: float(value) for name, value in said.items() if is_number(value)}
    return made._replace(enough=counterfactuals(numbers, chances_of_bad, edge, reach))


def way_words(way: Counterfactual) -> str:
    """A way in words.

    >>> way_words(Counterfactual("credit.loan", 80_000.0, 62_500.0))
    'a loan of 62,500.00 instead of 80,000.00'
    """
    if way.name == TOGETHER:
        return f"all debts and the loan smaller by {1.0 - way.needed:.1%}"
    words = WORDS.get(way.name) or WORDS.get(way.name.rpartition(".")[2], way.name)
    who = {"client1": ", first person,", "client2": ", second person,"}.get(way.name.partition(".")[0], "")
    return f"{words}{who} of {way.needed:,.2f} instead of {way.now:,.2f}"


def lines(said: Verdict, request: str, decided: str) -> list[str]:
    """What a decision has to say of a request, which is named in words."""
    answer = "declined" if said.declined else "not declined"
    told = [f"{request}: {answer} by {said.model} {said.version}, chance {said.chance:.3f}, asked {decided}"]
    if said.declined:
        told += [f"    {n}. {s.words} ({s.shortfall:.3f} on the log-odds)" for n, s in enumerate(said.shortfalls, 1)]
        told += [f"    would have been enough: {way_words(way)}" for way in said.enough]
    used = ", ".join(f"{name} {x if isinstance(x, str) else f'{x:,.6g}'}" for name, x in said.used.items())
    return [*told, f"    data used: {used or 'none'}"]
