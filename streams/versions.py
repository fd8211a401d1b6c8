"""Broadcast records to the versions in force: `fx-rates`, `rescore-weights`, `rescore-config`, and the packaged first.

The first record of the weights and of the policy counts from the beginning of time, so that history has a model to be
scored with; every later one from its `effective_ms`, or 30 s after its own timestamp if that is later: no version is
ever late. What can not be read is refused with the words of what to publish instead, and counts as never published.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from schemas.batch import Record
from schemas.times import time_ms
from state.versions import BEGINNING_MS, Policy, Rate, Versions, Weights, pack_currency
from streams.scoring.value import BASIS, CONTINUOUS, KNOTS

ADOPTION_DELAY_MS = 30_000
"""A version is in force 30 s after its own timestamp at the earliest: time enough for every worker to have read it."""

FORMULAS = ("formula-1",)
"""The formula versions this program knows; a policy that names another one is refused."""

Read = Callable[[Record], dict[str, Any]]
"""Fields of a broadcast record; raises ValueError, with what to do, where it can not be read."""

_CUTS = ("status_terciles", "revenue_terciles", "recency_quintiles", "status_quintiles", "revenue_quintiles")
_ARRAYS = ("beta", "knots", "phi_mean", "forecasts", "consistencies", *_CUTS)


class Refusal(NamedTuple):
    """A broadcast record that counts as never published, and why."""

    record: Record
    reason: str


class UnknownFormula(Exception):
    """A policy in force names a formula this program does not know: upgrade this program before that policy is due."""


@cache
def packaged_weights() -> Weights:
    """The weights that serve until models learn: fitted on generated customers by `python -m local.prior`."""
    text = (Path(__file__).parent.parent / "state" / "packaged" / "weights-1.json").read_text("utf-8")
    return weights_of(json.loads(text), BEGINNING_MS)


def weights_of(body: dict[str, Any], effective_ms: int) -> Weights:
    """Weights from their fields (the `Weights` schema). Raises ValueError naming what is wrong."""
    arrays = {name: np.array(body[name], np.float64) for name in _ARRAYS}
    shapes = {"beta": (BASIS,), "phi_mean": (BASIS,), "knots": (CONTINUOUS, KNOTS)}
    shapes |= {name: (2,) if name.endswith("terciles") else (4,) for name in _CUTS}
    for name, array in arrays.items():
        if name in shapes and array.shape != shapes[name]:
            raise ValueError(f"{name} has shape {array.shape}; it has to be {shapes[name]}")
        if np.isnan(array).any() or (name not in _CUTS and np.isinf(array).any()):
            raise ValueError(f"{name} has a value that is not a finite number")
        if name not in ("beta", "phi_mean") and (np.diff(array) < 0).any():
            raise ValueError(f"{name} has to be ascending")
    if not len(arrays["forecasts"]) or not len(arrays["consistencies"]):
        raise ValueError("forecasts and consistencies need at least one customer of the sample each")
    return Weights(str(body["version"]), effective_ms, consistency_median=float(body["consistency_median"]), **arrays)


def body_of_weights(weights: Weights) -> dict[str, Any]:
    """Fields of the `Weights` schema."""
    body: dict[str, Any] = {name: getattr(weights, name).tolist() for name in _ARRAYS}
    effective = {"version": weights.version, "effective_ms": weights.effective_ms}
    return {**effective, "consistency_median": weights.consistency_median, **body}


def policy_of(body: dict[str, Any], version: str, effective_ms: int) -> Policy:
    """A policy from its JSON object: every field optional, an unknown one refused. Raises ValueError."""
    known = {field.name for field in fields(Policy)}
    unknown = sorted(set(body) - known)
    if unknown:
        raise ValueError(f"the policy has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
    policy = replace(Policy(**given), version=version, effective_ms=effective_ms)
    if policy.formula not in FORMULAS:
        raise UnknownFormula(
            f"policy {version} asks for {policy.formula}; this program knows {', '.join(FORMULAS)}: upgrade it first"
        )
    if not 1 <= policy.duplicates_max <= 4096:
        raise ValueError("duplicates_max has to be between 1 and 4,096")
    if not 1 <= policy.look_ahead_candidates <= 64:
        raise ValueError("look_ahead_candidates has to be between 1 and 64")
    return policy


def body_of_policy(policy: Policy) -> str:
    """The policy as the JSON object that `Config` carries."""
    return json.dumps({k: v for k, v in asdict(policy).items() if k not in ("version", "effective_ms")}, sort_keys=True)


def build_versions(
    records: Iterable[Record], read: Read, kind_of: Callable[[str], str], first_policy: Policy | None = None
) -> tuple[Versions, Sequence[Refusal]]:
    """The versions that these broadcast records (in offset order per topic) make, and the records that were refused.

    `kind_of` maps a topic to its plain name; `first_policy` is the packaged policy as this deployment sets it up, used
    until the topic has one.
    """
    weights: list[Weights] = []
    policies: list[Policy] = []
    rates: list[Rate] = []
    refused: list[Refusal] = []
    for record in records:
        try:
            body = read(record)
            kind = kind_of(record.topic)
            wanted_ms = _moment(body["effective_at"]) if kind == "fx-rates" else int(body["effective_ms"])
            effective_ms = max(wanted_ms, record.timestamp_ms + ADOPTION_DELAY_MS)
            if kind == "rescore-weights":
                weights.append(weights_of(body, effective_ms if weights else BEGINNING_MS))
            elif kind == "fx-rates":
                rates.append(_rate_of(body, effective_ms, (policies or [first_policy or Policy()])[0].base_currency))
            elif body["name"] == "policy":
                at = effective_ms if policies else BEGINNING_MS
                policies.append(_following(policy_of(json.loads(body["body"]), str(body["version"]), at), policies))
        except (ValueError, KeyError, TypeError) as error:
            refused.append(Refusal(record, f"{type(error).__name__}: {error}"))
    weights = _in_time(weights) or [packaged_weights()]
    return Versions(_in_time(policies) or [first_policy or Policy()], weights, rates), refused


def _following(policy: Policy, earlier: Sequence[Policy]) -> Policy:
    for name in ("base_currency", "time_zone", "label_days"):
        if earlier and getattr(policy, name) != getattr(earlier[0], name):
            raise ValueError(f"{name} is fixed for the life of the state: {getattr(earlier[0], name)!r}")
    return policy


def _in_time(versions: list[Any]) -> list[Any]:
    """By effective time; of two at the same time the one published later counts."""
    return sorted(versions, key=lambda version: version.effective_ms)


def _moment(text: str) -> int:
    moment_ms = time_ms(text)
    if moment_ms is None:
        raise ValueError(f"effective_at {text!r} is not a time such as 2026-01-31T00:00:00Z")
    return moment_ms


def _rate_of(body: dict[str, Any], effective_ms: int, base_currency: str) -> Rate:
    if body["base_currency"] != base_currency:
        raise ValueError(f"the rate is in {body['base_currency']}; the policy's base currency is {base_currency}")
    rate = float(body["rate"])
    if not 0.0 < rate < 1e12:
        raise ValueError(f"rate {rate} has to be above 0: units of the base currency for one unit of {body['currency']}")
    return Rate(pack_currency(str(body["currency"])), effective_ms, rate)
