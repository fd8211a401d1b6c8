"""Schemas of models that learn from requests: the declaration of one, and a version of its weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from streams.versions.schema.base import (
    MAGNITUDE_MIN,
    TAG,
    WHOLE,
    Body,
    Name,
    RefusedBody,
    Text,
    ascending,
)

FEATURES_MAX, KNOTS_MAX, SLOTS_MAX = 256, 64, 1_000
CHALLENGERS_MAX = 16
QUANTILES = 6
"""Knots of a number for which none are declared."""
WEIGHTS_MAX = 2_048
"""Of an additive model: with a covariance of more the record does not fit its topic."""
HALF_MAX = WEIGHTS_MAX * (WEIGHTS_MAX + 1) // 2

LOG_ODDS_MAX = 10_000.0
"""Of one weight: with 256 features a sum of log-odds stays within 2.6 million, and its variance finite."""
KNOT_MAX = 1e15
INDEFINITE = 1e-6
"""Share of the largest variance by which an eigenvalue of a covariance may lie below 0, by rounding."""

PriorVariance = Annotated[float, Field(ge=1e-9, le=100.0)]
HalfLife = Annotated[float, Field(ge=1.0, le=1e12)]
Knots = Annotated[list[Annotated[float, Field(ge=-KNOT_MAX, le=KNOT_MAX)]], Field(max_length=KNOTS_MAX)]
LogOdds = Annotated[float, Field(ge=-LOG_ODDS_MAX, le=LOG_ODDS_MAX)]
Slots = Annotated[int, Field(ge=1, le=SLOTS_MAX), WHOLE]


class FeatureBody(Body):
    """One input of a model: a number with its knots, or a category with its slots."""

    name: Name = Field(description="of the input")
    kind: Literal["number", "category"] = Field("number", description="of the input")
    purpose: Annotated[Text, Field(max_length=1_000)] = Field("", description="why the model looks at it")
    source: Annotated[Text, Field(max_length=100)] = Field("request", description="where it comes from")
    protected: bool = Field(False, description="a protected attribute; refused in credit and insurance models")
    knots: Knots = Field([], description="of a number: ascending; none: quantiles of the first examples")
    slots: Slots = Field(12, description="of a category: values with a place of their own")
    expected_rise: Annotated[float, Field(ge=-100.0, le=100.0)] = Field(
        0.0, description="of the log-odds from the lowest to the highest knot, before any example"
    )

    @field_validator("knots")
    @classmethod
    def _ascending(cls, knots: list[float]) -> list[float]:
        if not ascending(knots, strictly=True):
            raise ValueError("do not ascend; sort them")
        if len(knots) == 1:
            raise ValueError("has one knot; a number needs two at least, or none")
        return knots


FeatureOrName = Annotated[
    Annotated[FeatureBody, Tag(TAG + "feature")] | Annotated[Name, Tag(TAG + "name")],
    Discriminator(lambda value: TAG + ("name" if isinstance(value, str) else "feature")),
]
"""A feature, or the name of one that a packaged model has."""

PACKAGED_WEIGHTS_MAX = 42
"""Of a feature that a packaged model has."""


class ChallengerBody(Body):
    """One way to learn the same. `streams.scoring.models.specs` says which fields go together."""

    kind: Literal["additive", "tree", "forest"] = Field("additive", description="trees and forests are never in force")
    features: Annotated[list[Name], Field(max_length=FEATURES_MAX)] = Field([], description="of the model; none: all")
    half_life_examples: HalfLife | None = Field(None, description="additive: forgets by half in so many; null: never")
    prior_variance: PriorVariance | None = Field(None, description="additive: of a level before any example")
    window_examples: Annotated[int, Field(ge=100, le=100_000), WHOLE] = Field(
        10_000, description="tree, forest: grown from so many of the last"
    )
    one_in: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = Field(1, description="tree, forest: one case in so many")


ChallengerName = Annotated[str, Field(pattern=r"^[^/\x00-\x1f\x7f]{1,64}$")]


class SpecBody(Body):
    """A declared model, as `rescore models declare` publishes it."""

    purpose: Literal["credit", "insurance", "marketing"] | None = Field(None, description="of a new model: required")
    inputs: Literal["customer", "household", "home", "life", "attributes"] = Field(
        "attributes", description="where its inputs come from"
    )
    favourable: bool = Field(False, description="what it predicts is what the person wants")
    begins_with: Literal["", "risk", "acceptance", "home_insurance", "life_insurance"] = Field(
        "", description="packaged model whose knowledge it starts from"
    )
    features: Annotated[list[FeatureOrName], Field(max_length=FEATURES_MAX)] = Field(
        [], description="inputs; a name alone is a packaged model's feature"
    )
    challengers: Annotated[dict[ChallengerName, ChallengerBody], Field(max_length=CHALLENGERS_MAX)] = Field(
        {}, description="who learns; none: steady, nimble and tree"
    )

    @model_validator(mode="after")
    def _small_enough(self) -> Self:
        widths = [PACKAGED_WEIGHTS_MAX if isinstance(one, str) else _width(one) for one in self.features]
        if 1 + sum(widths) > WEIGHTS_MAX:
            raise ValueError(f"features: they need {1 + sum(widths):,} weights; a model has at most {WEIGHTS_MAX:,}")
        return self


class ParametersBody(Body):
    """How an additive model was set up."""

    knots: Annotated[int, Field(ge=2, le=KNOTS_MAX), WHOLE] = Field(6, description="of a number without declared ones")
    warm_up_examples: Annotated[int, Field(ge=0, le=1_000_000), WHOLE] = Field(
        100, description="before knots are known"
    )
    prior_variance: PriorVariance = Field(description="of a level before any example")
    intercept_variance: PriorVariance = Field(description="likewise of the intercept")
    half_life_examples: HalfLife | None = Field(None, description="examples after which one counts half; null: never")


SlotsOfCategory = Annotated[dict[Text, Annotated[int, Field(ge=0, lt=SLOTS_MAX), WHOLE]], Field(max_length=SLOTS_MAX)]


class AdditiveBody(Body):
    """A version of a credit or insurance model: its features and the Gaussian over its weights."""

    kind: Literal["additive-logistic"] = Field("additive-logistic", description="of the estimator")
    format: Literal[1] = Field(description="of this object")
    parameters: ParametersBody = Field(description="how it was set up")
    features: Annotated[list[FeatureBody], Field(min_length=1, max_length=FEATURES_MAX)] = Field(
        description="in the order of the weights"
    )
    slots: Annotated[dict[Name, SlotsOfCategory], Field(max_length=FEATURES_MAX)] = Field(
        description="place of each known value, by category"
    )
    examples: Annotated[int, Field(ge=0, le=2**53), WHOLE] = Field(description="learned so far")
    refused: Annotated[int, Field(ge=0, le=2**53), WHOLE] = Field(0, description="labels that were none")
    waiting: Annotated[list[Any], Field(max_length=0)] = Field([], description="empty in a published version")
    mean: Annotated[list[LogOdds], Field(min_length=1, max_length=WEIGHTS_MAX)] = Field(
        description="of the weights, log-odds"
    )
    phi_mean: Annotated[list[Annotated[float, Field(ge=-0.001, le=1.001)]], Field(max_length=WEIGHTS_MAX)] = Field(
        description="mean of the basis functions over the population"
    )
    covariance: Annotated[list[LogOdds], Field(max_length=HALF_MAX)] | None = Field(
        None, description="lower triangle, by rows; positive semi-definite; absent: the prior's"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) < len(names):
            raise ValueError("features: a name appears twice")
        if lacking := [one.name for one in self.features if one.kind == "number" and not one.knots]:
            raise ValueError(f"features: {lacking[0]} is a number without knots")
        width = 1 + sum(_width(feature) for feature in self.features)
        for name, numbers in (("mean", self.mean), ("phi_mean", self.phi_mean)):
            if len(numbers) != width:
                raise ValueError(f"{name} has {len(numbers):,} numbers; the features need {width:,}")
        if self.covariance is not None and len(self.covariance) != width * (width + 1) // 2:
            need = width * (width + 1) // 2
            raise ValueError(f"covariance has {len(self.covariance):,} numbers; the features need {need:,}")
        return self


def _width(feature: FeatureBody) -> int:
    """Weights of a feature: `streams.scoring.models.additive.Layout`."""
    if feature.kind == "category":
        return feature.slots + 2
    return 1 + (len(feature.knots) or QUANTILES)


def refuse_indefinite(covariance: NDArray[np.float64], what: str) -> None:
    """Raise RefusedBody unless a covariance is positive semi-definite, to rounding. 1 ms for 87 weights, O(D^3)."""
    largest = float(np.diagonal(covariance).max(initial=0.0))
    shifted = covariance + INDEFINITE * max(largest, MAGNITUDE_MIN) * np.eye(len(covariance))
    try:
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        raise RefusedBody(f"{what}: covariance is not positive semi-definite") from None
