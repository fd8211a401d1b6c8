"""The packaged priors of risk, acceptance and insurance: what is generally held, before any bank's outcomes.

    python -m local.priors.credit streams/scoring/packaged

People and requests are drawn at random, and their outcomes from plain rules of thumb (`_default_logit` and its like:
debts up to a third of income are borne, a long employment and a paid past speak for a person, ...), then learned by the
product's own estimator. The files keep the means alone: scoring and learning start from them with a stated uncertainty,
so that a bank's own outcomes soon outweigh them. The same seed gives the same files.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from streams.learning.bayesian import BayesianLogisticRegression
from streams.scoring.models.acceptance import ACCEPTANCE_MANIFEST, household_row
from streams.scoring.models.insurance import HOME_MANIFEST, LIFE_MANIFEST, home_row, life_row
from streams.scoring.models.manifest import Manifest
from streams.scoring.models.risk import RISK_MANIFEST, behaviour_of, declared_of, risk_features
from streams.versions.packaged_models import file_name

SEED = 20_261
EXAMPLES = 12_000
ABSENT_SHARE = 0.15
"""How often a thing is not declared; what is absent then says neither good nor ill."""

CREDIT_VARIANCES = (0.03, 0.1)
"""Of a feature's level and of the intercept: how unsure the packaged weights are. What is known of credit in general is
worth some hundred outcomes, no more."""

INSURANCE_VARIANCES = (0.3, 1.0)
"""Next to nothing is known of covers in general: some ten outcomes. With a tenth of this the intervals that should hold
95 % of the true chances of `rescore evaluate home-insurance` held 54 %, with this 80 %."""

Row = dict[str, Any]


def person(random: Generator) -> Row:
    """One person's features and outcome for the risk model."""
    income = float(random.lognormal(7.6, 0.45))
    dti, housing = float(random.beta(1.5, 5.0)), float(random.beta(3.0, 7.0))
    listed, careful = random.random() < 0.04, float(random.normal())
    declared = {
        "income": income,
        "debt": dti * income,
        "renta": housing * income,
        "debt_total": float(random.lognormal(-0.5, 1.0)) * 12 * dti * income * 3,
        "working_time": float(random.lognormal(6.6, 1.3)),
        "moroso": float(listed),
        "loan_amount": float(random.lognormal(-0.9, 0.8)) * 12 * income,
    }
    seen = float(random.lognormal(-0.05, 0.25)) * income
    spent = float(np.clip(1.0 - 0.08 * careful + random.normal(0, 0.15), 0.3, 2.0))
    behaviour = {
        "deposits_90": seen * 300,
        "withdrawals_90": seen * 300 * spent,
        "balance": (0.7 + 1.2 * max(careful, -0.6)) * seen * 100,
        "failed_30": float(random.poisson(math.exp(-1.6 - 0.9 * careful))),
        "active_days_30": float(random.binomial(30, 0.35)),
        "status": float(np.clip(2.6 + 0.9 * careful + random.normal(0, 0.5), 1.0, 4.9)),
        "days_past_due": float(random.geometric(0.03)) if careful < -1.3 and random.random() < 0.5 else 0.0,
    }
    features = risk_features(declared_of([_some(random, declared)]), behaviour_of([_some(random, behaviour)]))
    logit = _default_logit(declared, behaviour, dti, housing, careful)
    row = dict(zip(RISK_MANIFEST.names, features[0].tolist(), strict=True))
    return row | {"label": random.random() < 1.0 / (1.0 + math.exp(-logit))}


def _default_logit(declared: Row, behaviour: Row, dti: float, housing: float, careful: float) -> float:
    """Log-odds of default: about 6 in 100, and what is generally held to raise or lower them."""
    return float(
        -3.1
        + 5.0 * max(dti - 0.3, 0.0)
        + 2.5 * max(housing - 0.35, 0.0)
        + 0.15 * declared["loan_amount"] / (12 * declared["income"])
        - 0.25 * (math.log1p(declared["working_time"]) - 6.0)
        + 1.8 * declared["moroso"]
        - 0.4 * (math.log(declared["income"]) - 7.6)
        + 0.5 * math.log1p(behaviour["failed_30"])
        + 0.45 * math.log1p(behaviour["days_past_due"])
        - 0.6 * careful
    )


def request(random: Generator) -> Row:
    """One request's features and outcome for the acceptance model."""
    people = 1 + int(random.random() < 0.45)
    clients = [
        _some(
            random,
            {
                "income": float(random.lognormal(7.7, 0.4)),
                "renta": float(random.lognormal(10.3, 0.4)),
                "time": float(random.exponential(6.0)),
                "debt_total": float(random.random() < 0.5) * float(random.lognormal(9.0, 1.0)),
                "debt_month": float(random.random() < 0.5) * float(random.lognormal(5.3, 0.7)),
            },
        )
        for _ in range(people)
    ]
    value = float(random.lognormal(12.1, 0.4))
    credit = {
        "value": value,
        "loan": value * float(np.clip(random.normal(0.75, 0.18), 0.1, 1.25)),
        "time": float(random.choice([10, 15, 20, 25, 30, 35])),
        "tin": float(np.clip(random.normal(3.2, 0.9), 0.5, 9.0)),
    }
    row = household_row({"credit": credit, "client1": clients[0], "client2": clients[1] if people == 2 else None})
    logit = (
        2.2
        - 9.0 * max(_number(row, "dti", 0.3) - 0.33, 0.0)
        - 6.0 * max(_number(row, "ltv", 0.75) - 0.8, 0.0)
        - 0.25 * max(_number(row, "loan_to_yearly_income", 4.0) - 5.0, 0.0)
        - 0.3 * _number(row, "debt_to_income", 0.3)
        + 0.3 * (_number(row, "employment", 1.5) - 1.5)
    )
    return {**row, "label": random.random() < 1.0 / (1.0 + math.exp(-logit))}


def home(random: Generator) -> Row:
    """One home to insure: the standard premium is for the usual house."""
    amount = float(random.lognormal(12.2, 0.6))
    logit = 1.6 - 0.8 * (math.log(amount) - 12.2) ** 2
    return {**home_row({"appraisal_amount": amount}), "label": random.random() < 1.0 / (1.0 + math.exp(-logit))}


def life(random: Generator) -> Row:
    """One life to insure: the standard premium is for the younger, and for sums that are usual."""
    asked = {
        "mortgage_amount": float(random.lognormal(11.7, 0.5)),
        "age": float(random.integers(20, 76)),
        "applicants_count": int(random.choice([1, 2], p=[0.5, 0.5])),
    }
    each = math.log(asked["mortgage_amount"] / asked["applicants_count"])
    logit = 2.4 - 0.09 * max(asked["age"] - 40.0, 0.0) - 0.6 * max(each - 12.0, 0.0)
    return {**life_row(asked), "label": random.random() < 1.0 / (1.0 + math.exp(-logit))}


def _number(row: Row, name: str, otherwise: float) -> float:
    return float(row.get(name, otherwise))


def _some(random: Generator, told: Row) -> Row:
    """What is told of it: each thing with its chance of not being declared."""
    return {name: value for name, value in told.items() if random.random() >= ABSENT_SHARE}


SOURCES: tuple[tuple[Manifest, Callable[[Generator], Row], tuple[float, float]], ...] = (
    (RISK_MANIFEST, person, CREDIT_VARIANCES),
    (ACCEPTANCE_MANIFEST, request, CREDIT_VARIANCES),
    (HOME_MANIFEST, home, INSURANCE_VARIANCES),
    (LIFE_MANIFEST, life, INSURANCE_VARIANCES),
)


def packaged_body(
    manifest: Manifest,
    source: Callable[[Generator], Row],
    variances: tuple[float, float],
    examples: int = EXAMPLES,
) -> dict[str, Any]:
    """The body of one packaged model: means alone, rounded, and nothing counted as learned."""
    random = np.random.default_rng(SEED)
    rows = [source(random) for _ in range(examples)]
    model = BayesianLogisticRegression(manifest.features)
    model.learn_before(rows, [row["label"] for row in rows])
    body = model.body()
    del body["covariance"]
    body["parameters"] |= {"prior_variance": variances[0], "intercept_variance": variances[1]}
    for part in ("mean", "phi_mean"):
        body[part] = [round(x, 4) for x in body[part]]
    return {**body, "examples": 0, "refused": 0, "slots": {name: {} for name in body["slots"]}}


def main(folder: str) -> None:
    """Learn and write all packaged models."""
    for manifest, source, variances in SOURCES:
        path = Path(folder) / file_name(manifest.model)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(packaged_body(manifest, source, variances), separators=(",", ":")) + "\n", "utf-8")
        print(f"{path}: {path.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
