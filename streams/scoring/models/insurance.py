"""Home and life insurance: would this cover be offered at the standard premium?

The source answers the strings "true" and "false" without saying of what; our reading, stated here and in the docs:
"true" is "offered at the standard premium", at a probability of 0.5 or more. Two additive models on the log-odds, which
learn from outcomes by the request's number. Definition: docs/scores.md, insurance; source: the risk scoring text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.scoring.models.additive import Floats, logistic, sums_of, tempered
from streams.scoring.models.manifest import Feature, Manifest
from streams.scoring.models.model import Model
from streams.scoring.models.plain_values import number_of, word_of


def _number(name: str, purpose: str, knots: tuple[float, ...], expected_rise: float = 0.0) -> Feature:
    return Feature(name, purpose=purpose, source="request", knots=knots, expected_rise=expected_rise)


BANK = Feature("bank", "category", "through whom it is sold", "request", slots=40)

HOME_MANIFEST = Manifest(
    "home_insurance",
    "insurance",
    (_number("appraisal", "what would have to be rebuilt (logarithm)", (10.5, 11.5, 12.2, 13.0, 14.0)), BANK),
)

LIFE_MANIFEST = Manifest(
    "life_insurance",
    "insurance",
    (
        _number("mortgage", "the sum insured (logarithm)", (9.5, 10.8, 11.6, 12.2, 13.2)),
        _number("age", "what mortality depends on", (20.0, 35.0, 45.0, 55.0, 65.0, 75.0), -1.5),
        _number("mortgage_each", "the sum for each person (logarithm)", (9.5, 11.0, 12.0, 13.2)),
        _number("applicants", "people insured", (1.0, 2.0, 3.0)),
        BANK,
    ),
)
"""Age is asked for by the source and is what a life premium is made of; a bank that may not use it takes it out."""


def home_row(request: Mapping[str, Any]) -> dict[str, float | str]:
    """What the model may look at, of `bank` and `appraisal_amount`; an amount of 0 is one that is not known.

    >>> home_row({"bank": "Sabadell", "appraisal_amount": 0})
    {'bank': 'Sabadell'}
    """
    return _told(appraisal=_log(request.get("appraisal_amount")), bank=word_of(request.get("bank")))


def life_row(request: Mapping[str, Any]) -> dict[str, float | str]:
    """What the model may look at, of `bank`, `mortgage_amount`, `age` and `applicants_count`; 0 is not known."""
    mortgage, people = number_of(request.get("mortgage_amount")), number_of(request.get("applicants_count"))
    age = number_of(request.get("age"))
    return _told(
        mortgage=_log(mortgage),
        age=age if age > 0 else math.nan,
        mortgage_each=_log(mortgage / people if people > 0 else math.nan),
        applicants=people if people > 0 else math.nan,
        bank=word_of(request.get("bank")),
    )


def offered(model: Model, rows: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.bool_], Floats]:
    """Whether each of the rows (n) is offered at the standard premium, and its probability."""
    probability = logistic(tempered(*sums_of(model.weights, model.inputs(rows))))
    return probability >= 0.5, probability


def answer(is_offered: bool) -> str:
    """The source's string.

    >>> answer(True)
    'true'
    """
    return "true" if is_offered else "false"


def _told(**values: float | str | None) -> dict[str, float | str]:
    return {name: x for name, x in values.items() if x is not None and not (isinstance(x, float) and math.isnan(x))}


def _log(amount: Any) -> float:
    x = number_of(amount)
    return math.log1p(x) if 0.0 < x < math.inf else math.nan
