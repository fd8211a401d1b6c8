"""One record of a broadcast topic as the version it publishes, typed and checked. Pure, and the same for all processes.

What depends on other records (the first policy, the declaration of a model, the base currency, how many profiles there
are) is decided in `streams.versions.known`; everything else is decided here, once for each record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from schemas.batch import Record
from schemas.codec import Refused, Registry
from schemas.readable import read_fields
from schemas.times import has_zone, time_ms
from state.category_text import text_weights
from state.versions import Rate, pack_currency
from streams.scoring.models.model import Model
from streams.scoring.models.specs import ModelSpec, spec_of
from streams.versions.bodies import Decision, learning_policy_of, model_of, policy_of, risk_of, weights_of
from streams.versions.profile_files import profile_of
from streams.versions.schema.base import MOMENT_MS_MAX, RefusedBody, checked, read_body, read_object
from streams.versions.schema.models import SpecBody
from streams.versions.schema.policies import DecisionBody
from streams.versions.schema.records import (
    DECISION_PREFIX,
    FLOW_PREFIX,
    PROFILE_PREFIX,
    SPEC_PREFIX,
    TEXT_NAME,
    ConfigFields,
    LearnedFields,
    config_fields,
    learned_fields,
    rate_fields,
)
from streams.versions.schema.weights import TextBody

POLICY, LEARNING, DECISION, SPEC, PROFILE, TEXT, FLOW, VALUE, MODEL, MARK, RATE = (
    "policy", "learning", "decision", "spec", "profile", "text", "flow", "value", "model", "mark", "rate",
)  # fmt: skip
"""Kinds of versions; a mark says how far was learned, and nothing else."""

SCHEMAS = {"fx-rates": "FxRate", "rescore-weights": "Weights", "rescore-config": "Config"}


class Version(NamedTuple):
    """What a record publishes. `body` is of the type its kind has; its effective time is still the one it asks for."""

    kind: str
    name: str  # of the version; of a rate its currency
    effective_ms: int
    body: Any = None
    rescore: bool = False
    epoch_ms: int | None = None  # everything learned up to there is published
    base_currency: str = ""
    local: str = ""  # of a rate: its effective time as written, where that names no zone; `effective_ms` is then UTC's


Read = Callable[[Record], Version]
"""The version in a broadcast record. Raises ValueError, which says what is wrong, if there is none."""


def reader(registry: Registry, topic_prefix: str) -> Read:
    """Reads broadcast records. The function raises RegistryUnavailable if the registry does not answer."""

    def read(record: Record) -> Version:
        if not -MOMENT_MS_MAX <= record.timestamp_ms < MOMENT_MS_MAX:
            raise RefusedBody(f"the record's timestamp is {record.timestamp_ms:,} ms; it must be before 2200")
        schema = SCHEMAS[record.topic.removeprefix(topic_prefix)]
        try:
            fields = read_fields(record.value or b"", schema, registry)
        except Refused as refused:
            raise RefusedBody(refused.detail) from refused
        version = version_of(schema, fields)
        if version.epoch_ms is not None and version.epoch_ms > record.timestamp_ms:
            raise RefusedBody(f"weights: epoch_ms is {version.epoch_ms:,}, later than the record that says so")
        return version

    return read


def version_of(schema: str, fields: Mapping[str, Any]) -> Version:
    """The version in the fields of a record of an Avro schema. Raises RefusedBody that names the field, UnknownFormula.

    >>> rate = {"currency": "USD", "base_currency": "EUR", "effective_at": "2026-01-01", "rate": 0.85}
    >>> version_of("FxRate", rate).body.rate
    0.85
    """
    try:
        if schema == "FxRate":
            return _rate(fields)
        if schema == "Weights":
            return _learned(learned_fields(fields), fields)
        return _configured(config_fields(fields))
    except RefusedBody:
        raise
    except ValueError as error:  # of the rules behind the schema: protected attributes, features that do not fit
        raise RefusedBody(str(error)) from error


def _rate(fields: Mapping[str, Any]) -> Version:
    made = rate_fields(fields)
    effective_ms = time_ms(made.effective_at)
    assert effective_ms is not None, "the schema has read it"
    rate = Rate(pack_currency(made.currency), effective_ms, float(made.rate))
    local = "" if has_zone(made.effective_at) else made.effective_at
    return Version(RATE, made.currency, effective_ms, rate, base_currency=made.base_currency, local=local)


def _learned(said: LearnedFields, fields: Mapping[str, Any]) -> Version:
    if not said.version:
        return Version(MARK, "", said.effective_ms, epoch_ms=said.epoch_ms)
    model = said.model or "value"
    version = Version(VALUE, said.version, said.effective_ms, None, bool(said.rescore), said.epoch_ms)
    if model == "value":
        return version._replace(body=weights_of(fields, said.effective_ms))
    if model == TEXT_NAME:
        return version._replace(kind=TEXT, body=_text(said.body, said.version))
    body: Model = model_of(read_object(said.body, "weights"), model, said.version)
    if model == "risk":
        risk_of(body, said.effective_ms)  # raises if the stream could not score with it
    return version._replace(kind=MODEL, body=body)


def _text(body: str | None, version: str) -> Any:
    counts = read_body(TextBody, body, TEXT_NAME).counts()
    return text_weights(version, 0, counts)


def _configured(said: ConfigFields) -> Version:
    prefix, _, name = said.name.rpartition(".")
    kind, body = _BODIES[f"{prefix}." if prefix else said.name](said, name)
    return Version(kind, said.version, said.effective_ms, body)


def _policy(said: ConfigFields, _name: str) -> tuple[str, Any]:
    return POLICY, policy_of(read_object(said.body, "policy"), said.version, said.effective_ms)


def _learning(said: ConfigFields, _name: str) -> tuple[str, Any]:
    return LEARNING, learning_policy_of(read_object(said.body, "learning"), said.version, said.effective_ms)


def _decision(said: ConfigFields, name: str) -> tuple[str, Any]:
    body = read_body(DecisionBody, said.body, said.name)
    author, reason = said.author or "", said.reason or ""
    return DECISION, Decision(name, body.decision, body.version, author, reason, said.effective_ms, body.card)


def _spec(said: ConfigFields, name: str) -> tuple[str, Any]:
    return SPEC, declared_model(name, said.body, said.effective_ms)


def declared_model(name: str, text: str, effective_ms: int) -> ModelSpec:
    """A declared model from its JSON text. Raises ValueError that names the field."""
    body = checked(SpecBody, read_object(text, f"{SPEC_PREFIX}{name}"), f"{SPEC_PREFIX}{name}")
    return spec_of(name, body.model_dump(exclude_unset=True), effective_ms)


def _profile(said: ConfigFields, name: str) -> tuple[str, Any]:
    profile = profile_of(read_object(said.body, "profile"))
    if name != profile.profile_id:
        raise RefusedBody(f"{said.name} has a profile with the id {profile.profile_id!r}")
    return PROFILE, profile


def _categories(said: ConfigFields, _name: str) -> tuple[str, Any]:
    return TEXT, _text(said.body, said.version)


def _flow(said: ConfigFields, _name: str) -> tuple[str, Any]:
    return FLOW, read_object(said.body, said.name)


_BODIES: dict[str, Callable[[ConfigFields, str], tuple[str, Any]]] = {
    "policy": _policy,
    "learning": _learning,
    TEXT_NAME: _categories,
    DECISION_PREFIX: _decision,
    SPEC_PREFIX: _spec,
    PROFILE_PREFIX: _profile,
    FLOW_PREFIX: _flow,
}
"""What reads a body, by the name of its record or the prefix of that name."""
