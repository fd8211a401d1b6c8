"""Schema of a lifestyle profile: what a file of `rescore profiles publish` and a record of `rescore-config` hold."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.categories import CATEGORY_NAMES
from state.profiles import TRIGGERS_MAX
from streams.versions.schema.base import Body, Text, shown

HALF_LIFE_DAYS_MAX = 365.0
TEXT_BYTES_MAX = 200
PURPOSES = ("marketing", "care")
"""What a profile may be for. A credit decision is none of them: what people buy is no ground for it."""


def _id(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", text):
        raise ValueError(
            f"is {shown(text)}; it must be small letters, digits and _, begin with a letter, and have at most 40"
        )
    return text


def _purpose(value: object) -> object:
    if value not in PURPOSES:
        raise ValueError(
            f"is {shown(value)}; it must be one of {', '.join(PURPOSES)}: a profile is no ground for a credit decision"
        )
    return value


def _category(name: str) -> str:
    if name not in CATEGORY_NAMES[1:]:
        raise ValueError(f"is {shown(name)}; it must be one of {', '.join(CATEGORY_NAMES[1:])}")
    return name


def _short_enough(text: str) -> str:
    size = len(text.encode())
    if size > TEXT_BYTES_MAX:
        raise ValueError(f"has {size:,} bytes; it must have 1 to {TEXT_BYTES_MAX}")
    return text


Words = Annotated[Text, Field(min_length=1), AfterValidator(_short_enough)]
Category = Annotated[str, AfterValidator(_category)]


class TriggerBody(Body):
    """Conditions that are met together; each names the measure at which it is met in full."""

    categories: Annotated[list[Category], Field(min_length=1, max_length=len(CATEGORY_NAMES))] = Field(
        description="categories of purchases"
    )
    purchases: Annotated[float, Field(ge=1.0, le=1_000.0)] = Field(description="number of purchases")
    spent: Annotated[float, Field(ge=0.01, le=1e9)] | None = Field(None, description="money, in the base currency")
    share_of_spending: Annotated[float, Field(ge=0.001, le=1.0)] | None = Field(None, description="of all spending")
    share_of_purchases: Annotated[float, Field(ge=0.001, le=1.0)] | None = Field(None, description="of all purchases")


class ProfileBody(Body):
    """One version of a profile."""

    id: Annotated[str, AfterValidator(_id)] = Field(description="the profile's name")
    title: Words = Field(description="for people; at most 200 bytes")
    text: Words = Field(description="for people: why somebody has it; at most 200 bytes")
    purpose: Annotated[Literal["marketing", "care"], BeforeValidator(_purpose)] = Field(
        "marketing", description="what it may be used for"
    )
    sensitive: bool = Field(False, description="it needs the customer's consent")
    enabled: bool = Field(True, description="false withdraws it")
    half_life_days: Annotated[float, Field(ge=1.0, le=HALF_LIFE_DAYS_MAX)] = Field(
        description="days in which purchases fade by half"
    )
    triggers: Annotated[list[TriggerBody], Field(min_length=1, max_length=TRIGGERS_MAX)] = Field(
        description="the one that is met best counts"
    )
