"""Schemas of the value model's weights, and of the model that reads descriptions.

Bounds on the coefficients make every forecast finite: 15 hat functions, two bins, two flags and a pace of at most 30
give |forecast| <= (15 + 2 + 2 + 30) x 100 = 4,900 for whatever inputs.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas.categories import CATEGORY_NAMES
from state.category_text import CELLS_MAX, Counts
from streams.scoring.value import BASIS, CONTINUOUS, KNOTS
from streams.versions.schema.base import WHOLE, Body, Moment, Name, NotNearlyZero, Share, ascending, shown

COEFFICIENT_MAX = 100.0
FORECAST_MAX = 100_000.0
TABLE_POINTS_MAX = 1_000_000
CUT_MAX = 1e9

Coefficient = Annotated[float, Field(ge=-COEFFICIENT_MAX, le=COEFFICIENT_MAX), NotNearlyZero]
Knot = Annotated[float, Field(ge=-1e6, le=1e6)]
Forecast = Annotated[float, Field(ge=-FORECAST_MAX, le=FORECAST_MAX)]
Cut = Annotated[float, Field(ge=-CUT_MAX, allow_inf_nan=True)]
Terciles = Annotated[list[Cut], Field(min_length=2, max_length=2)]
Quintiles = Annotated[list[Cut], Field(min_length=4, max_length=4)]

CUTS = ("status_terciles", "revenue_terciles", "recency_quintiles", "status_quintiles", "revenue_quintiles")


class WeightsBody(Body):
    """One version of the value model with the tables of its population. Numbers of the arrays are log units (ln)."""

    version: Name = Field(description="changes name the version that made them")
    effective_ms: Moment = Field(description="in force from then on")
    # Before the pace was an input there was one coefficient less: it counts as 0.
    beta: Annotated[list[Coefficient], Field(min_length=BASIS - 1, max_length=BASIS)] = Field(
        description="coefficients of the basis functions"
    )
    knots: Annotated[
        list[Annotated[list[Knot], Field(min_length=KNOTS, max_length=KNOTS)]],
        Field(min_length=CONTINUOUS, max_length=CONTINUOUS),
    ] = Field(description="of the hat functions, each list ascending")
    phi_mean: Annotated[list[Coefficient], Field(min_length=BASIS - 1, max_length=BASIS)] = Field(
        description="mean of the basis functions over the sample"
    )
    consistency_median: Share = Field(description="of the sample")
    forecasts: Annotated[list[Forecast], Field(min_length=1, max_length=TABLE_POINTS_MAX)] = Field(
        description="of the sample, ascending"
    )
    consistencies: Annotated[list[Share], Field(min_length=1, max_length=TABLE_POINTS_MAX)] = Field(
        description="of the sample, ascending"
    )
    status_terciles: Terciles = Field(description="ascending, at most 1e9 or infinite, which is never reached")
    revenue_terciles: Terciles = Field(description="likewise")
    recency_quintiles: Quintiles = Field(description="likewise, of negated days")
    status_quintiles: Quintiles = Field(description="likewise")
    revenue_quintiles: Quintiles = Field(description="likewise")
    rescore: bool | None = Field(None, description="everyone is scored again then")

    @field_validator("knots")
    @classmethod
    def _ascending_each(cls, knots: list[list[float]]) -> list[list[float]]:
        for number, one in enumerate(knots):
            if not ascending(one):
                raise ValueError(f"must be ascending; list {number} is not")
        return knots

    @field_validator("forecasts", "consistencies")
    @classmethod
    def _ascending(cls, numbers: list[float]) -> list[float]:
        if not ascending(numbers):
            raise ValueError("must be ascending")
        return numbers

    @field_validator(*CUTS)
    @classmethod
    def _cuts(cls, cuts: list[float]) -> list[float]:
        if any(cut != cut for cut in cuts):  # noqa: PLR0124 - NaN is not itself
            raise ValueError("has a value that is not a number")
        if any(CUT_MAX < cut < float("inf") for cut in cuts):
            raise ValueError(f"has a value above {CUT_MAX:g} that is not infinite")
        if not ascending(cuts):
            raise ValueError("must be ascending")
        return cuts


def _known_category(name: str) -> str:
    if name not in CATEGORY_NAMES:
        raise ValueError(f"is {shown(name)}; it must be one of {', '.join(CATEGORY_NAMES)}")
    return name


CategoryName = Annotated[str, AfterValidator(_known_category)]
Cell = Annotated[
    tuple[Annotated[int, Field(gt=0, lt=2**32), WHOLE], CategoryName, Annotated[float, Field(gt=0.0, lt=1e15)]],
    Field(strict=False),  # a list of JSON stands for the tuple
]


class TextBody(Body):
    """A version of the model that reads descriptions: how often a hashed word was seen with a category."""

    words: Annotated[list[Cell], Field(max_length=CELLS_MAX)] = Field(
        description="lists of a word's 32-bit hash, a category and a count"
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({(word, category) for word, category, _ in self.words}) < len(self.words):
            raise ValueError("words: a word appears twice with one category")
        return self

    def counts(self) -> Counts:
        """The counts by word and category."""
        return {(word, CATEGORY_NAMES.index(category)): float(count) for word, category, count in self.words}
