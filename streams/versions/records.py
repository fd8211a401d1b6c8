"""Broadcast records as our own commands and processes write them: checked by the schemas that every reader asks.

So nothing of ours publishes what would count as never published. Each function raises RefusedBody, a ValueError, that
names the field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from schemas.codec import Encoder, encode_value
from state.category_text import Counts, body_of_counts
from state.profiles import Profile
from state.versions import Policy, Weights
from streams.learning.epochs import LearningPolicy
from streams.scoring.models.model import ModelWeights
from streams.versions.bodies import (
    TABLES,
    body_of_learning,
    body_of_model,
    body_of_policy,
    body_of_weights,
    packaged_weights,
)
from streams.versions.profile_files import body_of_profile
from streams.versions.reading import version_of
from streams.versions.schema.records import PROFILE_PREFIX, TEXT_NAME

Message = tuple[str, bytes, bytes]
"""Topic, key and value of a record."""


def config_value(fields: Mapping[str, Any], encoder: Encoder) -> bytes:
    """The value of a record of `rescore-config`."""
    version_of("Config", fields)
    return encode_value("Config", dict(fields), encoder)


def config_record(fields: Mapping[str, Any], encoder: Encoder) -> Message:
    """A record of `rescore-config` under its own name."""
    return "rescore-config", str(fields["name"]).encode(), config_value(fields, encoder)


def rate_value(fields: Mapping[str, Any], encoder: Encoder) -> bytes:
    """The value of a record of `fx-rates`."""
    version_of("FxRate", fields)
    return encode_value("FxRate", dict(fields), encoder)


def weights_value(made: Weights | ModelWeights, cause: str, encoder: Encoder) -> bytes:
    """The value of a record of `rescore-weights`."""
    body = body_of_model(made) if isinstance(made, ModelWeights) else body_of_weights(made)
    version_of("Weights", body)
    return encode_value("Weights", body | {"cause": cause}, encoder)


def mark_value(boundary_ms: int, encoder: Encoder) -> bytes:
    """The value of a record of `rescore-weights` that says how far was learned, and holds no weights."""
    nothing: dict[str, list[float]] = {name: [] for name in TABLES}
    fields = {"version": "", "effective_ms": 0, "consistency_median": 0.0, **nothing, "epoch_ms": boundary_ms}
    version_of("Weights", fields)
    return encode_value("Weights", fields, encoder)


def learning_record(policy: LearningPolicy, author: str, reason: str, encoder: Encoder) -> Message:
    """A learning policy."""
    fields = {"name": "learning", "version": policy.version, "effective_ms": policy.effective_ms,
              "body": body_of_learning(policy), "author": author, "reason": reason}  # fmt: skip
    return config_record(fields, encoder)


def profile_record(
    profile: Profile, version: str, effective_ms: int, author: str, reason: str, encoder: Encoder
) -> Message:
    """A version of a profile."""
    body = json.dumps(body_of_profile(profile), sort_keys=True, ensure_ascii=False)
    fields = {"name": PROFILE_PREFIX + profile.profile_id, "version": version, "effective_ms": effective_ms,
              "author": author, "reason": reason, "body": body}  # fmt: skip
    return config_record(fields, encoder)


def text_record(counts: Counts, version: str, effective_ms: int, author: str, reason: str, encoder: Encoder) -> Message:
    """A version of the model that reads descriptions."""
    body = json.dumps(body_of_counts(counts), separators=(",", ":"))
    fields = {"name": TEXT_NAME, "version": version, "effective_ms": effective_ms, "author": author, "reason": reason,
              "body": body}  # fmt: skip
    return config_record(fields, encoder)


def policy_record(policy: Policy, encoder: Encoder) -> Message:
    """The first policy of a deployment."""
    fields = {"name": "policy", "version": policy.version, "effective_ms": 0, "body": body_of_policy(policy)}
    return config_record(fields, encoder)


def first_records(policy: Policy, encoder: Encoder) -> list[Message]:
    """The versions that the first worker publishes."""
    weights = body_of_weights(packaged_weights()) | {"effective_ms": 0}
    version_of("Weights", weights)
    return [
        policy_record(policy, encoder),
        ("rescore-weights", weights["version"].encode(), encode_value("Weights", weights, encoder)),
    ]
