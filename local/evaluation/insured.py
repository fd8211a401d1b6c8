"""People who ask for home or life insurance, made up, with a known truth: is what the models say of them right?

There is no public set of such offers. So nothing here says what the models are worth in a market; what it says is
whether their chances are calibrated, whether they rank as the truth does, and whether their confidence holds, in a
world whose every chance is known. That world is none the packaged models have seen: other curves than those of
`local.priors.credit`, eight sellers with terms of their own, and for each kind of cover two things that mean more
together than their sum, which an additive model cannot say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from local.evaluation.dataset import Labelled
from streams.scoring.models.insurance import HOME_MANIFEST, LIFE_MANIFEST, home_row, life_row
from streams.scoring.models.manifest import Manifest

ROWS = 6_000
SEED = 20_262
SELLERS = tuple("ABCDEFGH")
SELLER_TERMS = (0.8, 0.5, 0.2, 0.0, 0.0, -0.3, -0.6, -1.0)

Asked = tuple[dict[str, Any], float]
"""What is asked for, and the log-odds that it is offered at the standard premium."""


def home(random: np.random.Generator) -> Asked:
    """A house: the usual one is wanted, a dear one less, and the first two sellers like dear ones."""
    seller, size = int(random.integers(len(SELLERS))), float(random.normal(12.3, 0.65))
    above, below = max(size - 12.3, 0.0), max(11.8 - size, 0.0)
    logit = 1.5 - 1.8 * above - 1.2 * below + SELLER_TERMS[seller] + (1.2 * above if seller < 2 else 0.0)
    return {"bank": SELLERS[seller], "appraisal_amount": math.exp(size)}, logit


def life(random: np.random.Generator) -> Asked:
    """A loan to cover: the older and the dearer the less, and both together less than either says."""
    seller, people = int(random.integers(len(SELLERS))), int(random.choice([1, 2], p=[0.4, 0.6]))
    age, sum_insured = float(random.integers(20, 76)), float(random.lognormal(11.8, 0.55))
    old, dear = max(age - 35.0, 0.0) / 10.0, max(math.log(sum_insured / people) - 11.6, 0.0)
    logit = 2.4 - 0.25 * old**1.5 - 0.8 * dear - 0.35 * old * dear + SELLER_TERMS[seller]
    asked = {"mortgage_amount": sum_insured, "age": age, "applicants_count": people, "bank": SELLERS[seller]}
    return asked, logit


def load(model: str) -> Labelled:
    """`home-insurance` or `life-insurance`; the same rows each time."""
    made, row_of, manifest = _KINDS[model]
    random = np.random.default_rng(SEED)
    asked = [made(random) for _ in range(ROWS)]
    logits = np.array([logit for _, logit in asked])
    return Labelled(
        title=f"Made up: {model.replace('-', ' ')}",
        source="generated here (local/evaluation/insured.py), nothing real",
        population=f"{ROWS:,} people of a world whose every chance is known",
        label="offered at the standard premium",
        favourable=True,
        manifest=manifest,
        packaged=manifest.model,
        rows=[row_of(request) for request, _ in asked],
        labels=(random.random(ROWS) < 1.0 / (1.0 + np.exp(-logits))).astype(np.float64),
        protected={},
        excluded={},
        formulas={"truth itself": logits},
        truth=logits,
    )


_KINDS: dict[str, tuple[Callable[[np.random.Generator], Asked], Callable[[dict[str, Any]], Any], Manifest]] = {
    "home-insurance": (home, home_row, HOME_MANIFEST),
    "life-insurance": (life, life_row, LIFE_MANIFEST),
}
MODELS = tuple(_KINDS)
