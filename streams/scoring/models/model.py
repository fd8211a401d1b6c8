"""A model as scoring reads it: features, the slots of categories, and weights, from its JSON body.

What the estimators of `streams.learning` write (`body`), this reads. A body without `covariance` is a packaged prior:
it knows its means and is as unsure as before the first example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from streams.scoring.models.additive import Additive, Floats, Layout, layout_of
from streams.scoring.models.manifest import Feature, Manifest, Purpose, checked
from streams.scoring.models.plain_values import number_of, word_of
from streams.scoring.models.prior import prior_covariance

FORMAT = 1
"""Of the JSON body; a reader refuses others."""

Slots = Mapping[str, Mapping[str, int]]
"""Which place each known value of a category has, by feature."""


class UnreadableModel(ValueError):
    """A body of weights is none of this format; the message says what is wrong with it."""


class Model(NamedTuple):
    """One version of a model that scores."""

    manifest: Manifest
    version: str
    slots: Slots
    weights: Additive
    examples: int

    def inputs(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """Rows by name as the model's columns (n, F); what it does not know it does not look at, absent is NaN."""
        return inputs_of(self.manifest.features, self.slots, rows)


class ModelWeights(NamedTuple):
    """One version of a model that learns from requests, as it is published: `body` is what `read_model` reads."""

    name: str  # of the model
    version: str
    effective_ms: int
    body: Mapping[str, Any]
    rescore: bool = False


def inputs_of(features: Sequence[Feature], slots: Slots, rows: Sequence[Mapping[str, Any]]) -> Floats:
    """Rows as columns (n, F): numbers as they are, a category as the number of its slot, -1 where it has none.

    >>> lender = Feature("lender", "category")
    >>> inputs_of([Feature("income"), lender], {"lender": {"A": 0}}, [{"income": 3, "lender": "A"}, {"lender": "B"}])
    array([[ 3.,  0.],
           [nan, -1.]])
    """
    columns = np.full((len(rows), len(features)), math.nan)
    for j, feature in enumerate(features):
        name, known = feature.name, slots.get(feature.name, {})
        for i, row in enumerate(rows):
            value = row.get(name)
            if feature.kind == "number":
                columns[i, j] = number_of(value)
            elif (word := word_of(value)) is not None:
                columns[i, j] = known.get(word, -1)
    return columns


def read_model(body: Mapping[str, Any], name: str, purpose: Purpose, version: str) -> Model:
    """The model a body was made of. Raises UnreadableModel, and RefusedManifest for what it may not look at."""
    features = features_of(body)
    if features is None:
        raise UnreadableModel(f"model {name}: the weights have no features yet")
    manifest = checked(Manifest(name, purpose, features))
    layout = layout_of(features)
    try:
        slots = {key: dict(value) for key, value in body["slots"].items()}
        parameters = body["parameters"]
        unsure = prior_covariance(layout, float(parameters["prior_variance"]), float(parameters["intercept_variance"]))
        weights = weights_of(body, layout, unsure)
        return Model(manifest, version, slots, weights, int(body["examples"]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UnreadableModel(f"model {name} cannot be read: {error}") from error


def weights_of(body: Mapping[str, Any], layout: Layout, covariance: Floats) -> Additive:
    """The weights of a body; with the covariance given, if it has none. Raises ValueError where they do not fit."""
    size = layout.width
    mean, phi_mean = np.array(body["mean"], np.float64), np.array(body["phi_mean"], np.float64)
    if mean.shape != (size,) or phi_mean.shape != (size,):
        raise ValueError(f"mean and phi_mean have {mean.size} and {phi_mean.size} numbers, the features need {size}")
    if "covariance" in body:
        half = np.tril_indices(size)
        covariance = np.zeros((size, size))
        covariance[half] = body["covariance"]
        covariance.T[half] = body["covariance"]
    if not all(np.isfinite(part).all() for part in (mean, phi_mean, covariance)):
        raise ValueError("a weight is not finite")
    return Additive(layout, mean, covariance, phi_mean)


def features_of(body: Mapping[str, Any]) -> tuple[Feature, ...] | None:
    """The features a body names; None where it has none yet. Raises UnreadableModel for another format."""
    if body.get("format") != FORMAT:
        raise UnreadableModel(f"weights of format {body.get('format')!r}; this reads format {FORMAT}")
    try:
        return tuple(Feature(**{**f, "knots": tuple(f.get("knots", ()))}) for f in body["features"]) or None
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableModel(f"the features of the weights cannot be read: {error}") from error
