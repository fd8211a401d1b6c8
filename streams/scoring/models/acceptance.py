"""Credit acceptance: would this operation, for these one or two people, be accepted?

The model is additive on the log-odds of acceptance. The people of a request are one household: incomes and debts are
summed, ages are averaged, of times in employment the shortest counts; so it does not matter who is named first. A
client's `renta` is a yearly income and never shares a feature with the risk score's `renta`, the cost of housing.
Definition: docs/scores.md, credit acceptance; source: the risk scoring text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from streams.scoring.models.additive import Floats, logistic, sums_of, tempered, terms_of
from streams.scoring.models.manifest import Feature, Manifest
from streams.scoring.models.model import Model
from streams.scoring.models.plain_values import number_of, word_of

REQUEST_ID_BITS = 53
"""A request's number is a whole number that every JSON reader keeps exactly."""


def _number(name: str, purpose: str, knots: tuple[float, ...], expected_rise: float = 0.0) -> Feature:
    return Feature(name, purpose=purpose, source="request", knots=knots, expected_rise=expected_rise)


ACCEPTANCE_MANIFEST = Manifest(
    "acceptance",
    "credit",
    (
        _number("ltv", "loan as a share of the property's value", (0.3, 0.6, 0.8, 0.9, 1.0, 1.2), -1.5),
        _number("dti", "share of income for this and other debts", (0.1, 0.25, 0.33, 0.4, 0.5, 0.8), -1.5),
        _number("instalment_to_income", "share of income for this credit", (0.1, 0.2, 0.28, 0.35, 0.5), -0.5),
        _number("loan_to_yearly_income", "the loan in years of income", (1.0, 2.5, 4.0, 6.0, 9.0), -0.5),
        _number("debt_to_income", "other debts in years of income", (0.0, 0.2, 0.6, 1.5, 4.0), -0.5),
        _number("income", "what can be paid from, a month (logarithm)", (7.0, 7.8, 8.3, 8.8, 9.5), 0.5),
        _number("employment", "time in the present employment (logarithm)", (0.0, 0.7, 1.8, 3.0), 0.5),
        _number("term", "years to repay", (5.0, 15.0, 25.0, 30.0, 40.0)),
        _number("rate", "interest rate in percent", (1.0, 2.0, 3.0, 5.0, 8.0)),
        _number("applicants", "one or two people", (1.0, 2.0), 0.25),
        Feature("type", "category", "what the credit is for", "request"),
        Feature("contract", "category", "kinds of employment", "request", slots=24),
        Feature("lender", "category", "who would lend", "request", slots=40),
    ),
)
"""What the acceptance model sees. Age and document, which requests carry, are left out: a bank adds them itself."""

OPTIONAL_FEATURES = (
    _number("age", "mean age of the people", (20.0, 30.0, 45.0, 60.0, 75.0)),
    Feature("document", "category", "kinds of identity document", "request", slots=8),
)
"""Off by default; rows carry them, so that a manifest may name them."""


class Acceptance(NamedTuple):
    """Answers to n requests."""

    prediction: NDArray[np.int64]  # (n,) 1 accepted, 0 denied
    probability: Floats  # (n,) of acceptance
    confidence: Floats  # (n,) probability that the prediction is the likelier answer, given how sure the weights are
    base_logit: float
    contributions: Floats  # (n, F + 1) to the log-odds of acceptance; the last is the uncertainty's


def household_row(request: Mapping[str, Any]) -> dict[str, float | str]:
    """What the model may look at, by name, of one request as the source writes it: `credit`, `client1`, `client2`.

    What is missing, or no number where one is needed, is absent. Swapping the clients changes nothing.

    >>> client = {"income": 7000, "renta": 120000, "contract": "Funcionario", "debt_total": 5000, "debt_month": 50}
    >>> row = household_row({"credit": {"value": 180000, "loan": 80000, "time": 30, "tin": 3.0}, "client1": client})
    >>> {name: round(row[name], 3) for name in ("ltv", "dti", "loan_to_yearly_income")}
    {'ltv': 0.444, 'dti': 0.055, 'loan_to_yearly_income': 0.667}
    """
    credit = _mapping(request.get("credit"))
    clients = [_mapping(request[name]) for name in ("client1", "client2") if request.get(name) is not None]
    income, loan = _positive(_total(clients, "income")), _positive(number_of(credit.get("loan")))
    debt_month, years = _total(clients, "debt_month"), _positive(number_of(credit.get("time")))
    rate = number_of(credit.get("tin"))
    instalment = monthly_instalment(loan, rate, years)
    numbers = {
        "ltv": loan / _positive(number_of(credit.get("value"))),
        "dti": (instalment + (0.0 if math.isnan(debt_month) else max(debt_month, 0.0))) / income,
        "instalment_to_income": instalment / income,
        "loan_to_yearly_income": loan / _positive(_total(clients, "renta")),
        "debt_to_income": max(_total(clients, "debt_total"), 0.0) / (12.0 * income),
        "income": math.log1p(income),
        "employment": math.log1p(max(_least(clients, "time"), 0.0)),
        "term": years,
        "rate": rate,
        "applicants": float(len(clients)) if clients else math.nan,
        "age": _mean(clients, "age"),
    }
    words = {
        "type": word_of(credit.get("type")),
        "lender": word_of(credit.get("lender")),
        "contract": _words(clients, "contract"),
        "document": _words(clients, "document"),
    }
    told = {name: value for name, value in numbers.items() if not math.isnan(value)}
    return told | {name: word for name, word in words.items() if word is not None}


def accepted(model: Model, rows: Sequence[Mapping[str, Any]]) -> Acceptance:
    """Answer rows of `household_row` (n); about 30 us a row. Contributions sum to logit(probability) - base."""
    inputs = model.inputs(rows)
    sums, variances = sums_of(model.weights, inputs)
    logits = tempered(sums, variances)
    base, terms = terms_of(model.weights, inputs)
    deviations = np.sqrt(np.maximum(variances, 1e-12))
    sure = np.array([0.5 * math.erfc(-abs(x) / math.sqrt(2.0)) for x in sums / deviations])
    return Acceptance(
        (logits >= 0.0).astype(np.int64),
        logistic(logits),
        sure,
        base,
        np.column_stack([terms, logits - base - terms.sum(axis=1)]),
    )


def monthly_instalment(loan: float, rate_percent: float, years: float) -> float:
    """What a loan costs a month at a nominal yearly rate (an annuity); without a rate, the loan spread evenly.

    >>> round(monthly_instalment(80000, 3.0, 30), 2), round(monthly_instalment(12000, 0.0, 1), 2)
    (337.28, 1000.0)
    """
    months = 12.0 * years
    monthly = 0.0 if math.isnan(rate_percent) else rate_percent / 1200.0
    if monthly <= 0.0 or math.isnan(months):
        return loan / months
    return loan * monthly / -math.expm1(-months * math.log1p(monthly))


def request_id_of(request: bytes) -> int:
    """A number below 2^53 for a request, from whatever names it uniquely (never from what it says alone).

    >>> 0 <= request_id_of(b"gateway-1/2026-03-15/17") < 2**53
    True
    """
    return int(xxhash.xxh3_64_intdigest(request) >> (64 - REQUEST_ID_BITS))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(clients: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """What clients say, in ascending order: sums of doubles must not depend on who is named first."""
    return sorted(x for x in (number_of(client.get(name)) for client in clients) if math.isfinite(x))


def _total(clients: Sequence[Mapping[str, Any]], name: str) -> float:
    told = _numbers(clients, name)
    return sum(told) if told else math.nan


def _mean(clients: Sequence[Mapping[str, Any]], name: str) -> float:
    told = _numbers(clients, name)
    return sum(told) / len(told) if told else math.nan


def _least(clients: Sequence[Mapping[str, Any]], name: str) -> float:
    return min(_numbers(clients, name), default=math.nan)


def _words(clients: Sequence[Mapping[str, Any]], name: str) -> str | None:
    told = sorted(word for client in clients if (word := word_of(client.get(name))) is not None)
    return " + ".join(told) or None


def _positive(x: float) -> float:
    """x where it is finite and above 0, else NaN: a ratio to it says nothing."""
    return x if 0.0 < x < math.inf else math.nan
