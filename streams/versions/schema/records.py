"""Schemas of the Avro records of the broadcast topics: the fields around a body, and what body a name asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from schemas.times import time_ms
from streams.versions.schema.base import (
    MOMENT_MS_MAX,
    MOMENT_MS_MIN,
    Body,
    Moment,
    Name,
    RefusedBody,
    Text,
    checked,
    shown,
)
from streams.versions.schema.policies import Currency

CHARS_MAX = 4_096

DECISION_PREFIX, SPEC_PREFIX, PROFILE_PREFIX, FLOW_PREFIX = "models.", "manifest.", "profile.", "flow."
TEXT_NAME = "categories"
NAMES = (
    "policy",
    "learning",
    TEXT_NAME,
    *(f"{prefix}NAME" for prefix in (DECISION_PREFIX, SPEC_PREFIX, PROFILE_PREFIX, FLOW_PREFIX)),
)
"""What records of `rescore-config` are called."""

MODEL_NAME = r"[a-z][a-z0-9_]{0,63}"
_NAME = re.compile(rf"policy|learning|{TEXT_NAME}|(models|manifest|profile|flow)\.{MODEL_NAME}")


def _known_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"is {shown(name)}; it must be one of {', '.join(NAMES)}")
    return name


def _known_model(name: str) -> str:
    if not re.fullmatch(MODEL_NAME, name):
        raise ValueError(f"is {shown(name)}; it must be small letters, digits and _, and begin with a letter")
    return name


def _moment(text: str) -> str:
    found = time_ms(text)
    if found is None:
        raise ValueError(f"is {shown(text)}, not a time such as 2026-01-31T00:00:00Z")
    if not MOMENT_MS_MIN <= found < MOMENT_MS_MAX:
        raise ValueError(f"is {shown(text)}; it must be before 2200")
    return text


Words = Annotated[Text, Field(max_length=CHARS_MAX)]


class ConfigFields(Body):
    """The fields of a record of `rescore-config`; `body` is read by the schema of its name."""

    name: Annotated[str, AfterValidator(_known_name)] = Field(description="what it configures")
    version: Annotated[Text, Field(max_length=200)] = Field(description="changes name the version that made them")
    effective_ms: Moment = Field(description="in force from then on, or 30 s after the record's timestamp if later")
    body: str = Field(description="a JSON object")
    author: Words | None = Field(None, description="who published it")
    reason: Words | None = Field(None, description="why")


class LearnedFields(Body):
    """The fields of a record of `rescore-weights` that do not depend on the model."""

    version: Annotated[Text, Field(max_length=200)] = Field(description="empty: the record holds no weights")
    effective_ms: Moment = Field(description="in force from then on, or 30 s after the record's timestamp if later")
    epoch_ms: Moment | None = Field(None, description="everything learned up to there is published")
    rescore: bool | None = Field(None, description="everyone is scored again then")
    cause: Words | None = Field(None, description="why this version")
    model: Annotated[str, AfterValidator(_known_model)] | None = Field(None, description="absent: value")
    body: str | None = Field(None, description="of any model but value: a JSON object")


class RateFields(Body):
    """The fields of a record of `fx-rates`."""

    currency: Currency = Field(description="ISO 4217")
    base_currency: Currency = Field(description="that of the policy")
    effective_at: Annotated[str, AfterValidator(_moment)] = Field(description="in force from then on (ISO 8601)")
    rate: Annotated[float, Field(gt=0.0, lt=1e12)] = Field(description="units of base_currency for one of currency")


def config_fields(fields: Mapping[str, Any]) -> ConfigFields:
    """A record of `rescore-config`, without its body. Raises RefusedBody."""
    made = checked(ConfigFields, fields, "rescore-config")
    if not made.version and not made.name.startswith((DECISION_PREFIX, SPEC_PREFIX, FLOW_PREFIX)):
        raise RefusedBody(f"{made.name}: version is empty; changes name it")
    return made


def learned_fields(fields: Mapping[str, Any]) -> LearnedFields:
    """A record of `rescore-weights`, without its weights. Raises RefusedBody."""
    return checked(LearnedFields, {k: v for k, v in fields.items() if k in LearnedFields.model_fields}, "weights")


def rate_fields(fields: Mapping[str, Any]) -> RateFields:
    """A record of `fx-rates`. Raises RefusedBody."""
    made = checked(RateFields, fields, "rate")
    if made.currency == made.base_currency and made.rate != 1.0:
        raise RefusedBody(f"rate: rate of {made.currency} in itself is {made.rate:g}; it is 1")
    return made


__all__ = ["ConfigFields", "LearnedFields", "Name", "RateFields", "config_fields", "learned_fields", "rate_fields"]
