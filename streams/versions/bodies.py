"""Versions and the bodies that publish them: from one to the other and back. Pure; schemas are in `versions_schema`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from schemas.batch import BEGINNING_MS
from state.versions import Policy, RiskWeights, Weights
from streams.learning.epochs import LearningPolicy
from streams.scoring.models.model import Model, ModelWeights, read_model
from streams.scoring.models.risk import RISK_MANIFEST
from streams.scoring.value import whole_basis
from streams.versions.schema.base import RefusedBody, checked
from streams.versions.schema.models import AdditiveBody, refuse_indefinite
from streams.versions.schema.policies import LearningBody, PolicyBody, refuse_unknown_formula
from streams.versions.schema.weights import CUTS, WeightsBody

TABLES = ("beta", "knots", "phi_mean", "forecasts", "consistencies", *CUTS)
"""The arrays of the weights."""

NOT_IN_BODY = ("version", "effective_ms")


class Decision(NamedTuple):
    """What a person decided about a model: `rescore models promote`, `rollback`, `freeze`, `thaw`, `envelope`."""

    model: str
    what: str
    version: str  # of the weights it is about; empty where it is about none
    author: str
    reason: str
    effective_ms: int
    card: str = ""  # the model card that was looked at: its name and sha256


@cache
def packaged_weights() -> Weights:
    """The weights that serve until models learn: fitted on generated customers by `python -m local.priors.value`."""
    text = (Path(__file__).parents[2] / "state" / "packaged" / "weights-1.json").read_text("utf-8")
    return weights_of(json.loads(text), BEGINNING_MS)


@cache
def packaged_risk() -> RiskWeights:
    """The credit risk model that serves until another is adopted: `streams.scoring.packaged`."""
    text = (Path(__file__).parents[1] / "scoring" / "packaged" / "risk-1.json").read_text("utf-8")
    model = read_model(json.loads(text), "risk", "credit", "risk-1").weights
    return RiskWeights("risk-1", BEGINNING_MS, model.layout.knots, model.mean, model.covariance, model.phi_mean)


def weights_of(body: Mapping[str, Any], effective_ms: int) -> Weights:
    """Weights from their fields (the `Weights` schema). Raises RefusedBody, a ValueError, that names the field."""
    wanted = {name: value for name, value in body.items() if name in WeightsBody.model_fields}
    made = checked(WeightsBody, wanted, "weights")
    arrays = {name: np.array(getattr(made, name), np.float64) for name in TABLES}
    arrays |= {name: whole_basis(arrays[name]) for name in ("beta", "phi_mean")}
    return Weights(
        made.version,
        effective_ms,
        consistency_median=float(made.consistency_median),
        rescore=bool(made.rescore),
        **arrays,
    )


def body_of_weights(weights: Weights) -> dict[str, Any]:
    """Fields of the `Weights` schema."""
    body: dict[str, Any] = {name: getattr(weights, name).tolist() for name in TABLES}
    effective = {"version": weights.version, "effective_ms": weights.effective_ms}
    rescore = {"rescore": True} if weights.rescore else {}
    return {**effective, "consistency_median": weights.consistency_median, **body, **rescore}


def model_of(fields: Mapping[str, Any], name: str, version: str) -> Model:
    """A version of a model that learns from requests, from its JSON object. Raises ValueError that names the field.

    Whether the model may look at its features depends on the declaration in force: the caller checks that.
    """
    body = checked(AdditiveBody, fields, "weights").model_dump(exclude_unset=True)
    model = read_model(body, name, "marketing", version)
    if "covariance" in body:
        refuse_indefinite(model.weights.covariance, "weights")
    return model


def body_of_model(made: ModelWeights) -> dict[str, Any]:
    """Fields of the `Weights` schema for a version of a model that learns from requests."""
    nothing: dict[str, Any] = {name: [] for name in TABLES}
    rescore = {"rescore": True} if made.rescore else {}
    said = {"version": made.version, "effective_ms": made.effective_ms, "consistency_median": 0.0, "model": made.name}
    return {**nothing, **said, "body": json.dumps(made.body, separators=(",", ":")), **rescore}


def risk_of(model: Model, effective_ms: int) -> RiskWeights:
    """A version of `risk` as the stream's risk score reads it. Raises RefusedBody where it has another layout."""
    packaged, weights = _packaged_risk_model(), model.weights
    if model.manifest.names != RISK_MANIFEST.names:
        raise RefusedBody(f"version {model.version} of risk does not have the features of the stream's risk score")
    same = all(np.array_equal(getattr(weights.layout, one), getattr(packaged.weights.layout, one)) for one in LAYOUT)
    if not same:
        raise RefusedBody(f"version {model.version} of risk has other kinds or numbers of knots than the stream's risk")
    return RiskWeights(
        model.version, effective_ms, weights.layout.knots, weights.mean, weights.covariance, weights.phi_mean
    )


LAYOUT = ("starts", "sizes", "categorical")
"""What must be the same in every version of risk: the kernel reads all by one layout."""


@cache
def _packaged_risk_model() -> Model:
    text = (Path(__file__).parents[1] / "scoring" / "packaged" / "risk-1.json").read_text("utf-8")
    return read_model(json.loads(text), "risk", "credit", "risk-1")


def first_policy(base_currency: str, time_zone: str) -> Policy:
    """The packaged policy as a deployment sets it up."""
    return Policy(base_currency=base_currency, time_zone=time_zone)


def policy_of(body: Mapping[str, Any], version: str, effective_ms: int) -> Policy:
    """A policy from its JSON object: every field optional, an unknown one refused.

    Raises RefusedBody, a ValueError, that names the field; UnknownFormula for a newer release's policy.
    """
    refuse_unknown_formula(body, version)
    made = checked(PolicyBody, body, "policy").model_dump()
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in made.items()}
    return Policy(version=version, effective_ms=effective_ms, **given)


def body_of_policy(policy: Policy) -> str:
    """The policy as the JSON object that `Config` carries."""
    return json.dumps({k: v for k, v in asdict(policy).items() if k not in NOT_IN_BODY}, sort_keys=True)


def learning_policy_of(body: Mapping[str, Any], version: str, effective_ms: int) -> LearningPolicy:
    """A learning policy from its JSON object: every field optional, an unknown one refused. Raises RefusedBody."""
    return LearningPolicy(version, effective_ms, **checked(LearningBody, body, "learning").model_dump())


def body_of_learning(policy: LearningPolicy) -> str:
    """The learning policy as the JSON object that `Config` carries."""
    return json.dumps({k: v for k, v in asdict(policy).items() if k not in NOT_IN_BODY}, sort_keys=True)
