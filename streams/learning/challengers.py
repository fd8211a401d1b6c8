"""Challengers from river: other ways to learn the same thing, that score in shadow beside the champion.

They see the same examples in the same order. Numbers that are absent are left out, as river's models expect; categories
are given as words to trees, and as one input for each word to the others. They explain nothing and are not adopted for
credit; what they are for is to say how much an additive model leaves on the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from river import forest, linear_model, optim, preprocessing, tree

from streams.scoring.models.manifest import Feature
from streams.scoring.models.plain_values import number_of, word_of

SEED = 1
ADPREDICTOR_BINS = 6
"""AdPredictor knows only what is there and what is not, so a number becomes the bin between two knots."""


def challengers() -> dict[str, Callable[[], Any]]:
    """Makers of challengers by name. Cost a row of 35 features: 0.05 ms linear, 0.2 ms a tree, 2 ms the forest."""
    return {
        "gradient": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.AdaGrad(0.05)),
        "adpredictor": lambda: linear_model.AdPredictor(beta=1.0, prior_probability=0.2, epsilon=0.0),
        "tree": lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=100, seed=SEED),
        "forest": lambda: forest.ARFClassifier(n_models=10, seed=SEED),
    }


def inputs_for(name: str, features: tuple[Feature, ...], row: Mapping[str, Any]) -> dict[Any, Any]:
    """One row as a challenger of this name takes it.

    >>> inputs_for("adpredictor", (Feature("dti", knots=(0.0, 0.5, 1.0)),), {"dti": 0.7})
    {'dti in bin 2': 1}
    """
    inputs: dict[Any, Any] = {}
    for feature in features:
        value = row.get(feature.name)
        if feature.kind == "category":
            word = word_of(value)
            if word is not None:
                inputs |= {feature.name: word} if name in ("tree", "forest") else {f"{feature.name} is {word}": 1}
            continue
        number = number_of(value)
        if name == "adpredictor":
            inputs[f"{feature.name} in bin {_bin(feature, number)}"] = 1
        elif math.isfinite(number):
            inputs[feature.name] = number
    return inputs


def _bin(feature: Feature, number: float) -> str:
    return "absent" if math.isnan(number) else str(sum(number >= knot for knot in feature.knots))
