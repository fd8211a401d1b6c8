"""Broadcast records to the versions in force: `fx-rates`, `rescore-weights`, `rescore-config`, and the packaged first.

The first record of the weights and of the policy counts from the beginning of time, so that history has a model to be
scored with; every later one from its `effective_ms`, or 30 s after its own timestamp if that is later: no version is
ever late. What can not be read is refused with the words of what to publish instead, and counts as never published.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from schemas.batch import Record
from schemas.codec import Encoder, Refused, Registry, encode_value
from schemas.readable import read_fields
from schemas.times import time_ms
from state.calendar import FIRST_DAY, LAST_DAY
from state.category_text import TextWeights, packaged_text_weights
from state.versions import BEGINNING_MS, Policy, Rate, RiskWeights, Versions, Weights, pack_currency
from streams.learning.epochs import Epochs, LearningPolicy, learning_policy_of
from streams.packaged_models import packaged_model
from streams.packaged_profiles import packaged_book
from streams.profile_versions import PROFILE_PREFIX, TEXT_NAME, books_of, declared_of, text_of
from streams.scoring.manifest import RefusedManifest
from streams.scoring.model import Model, ModelWeights, read_model
from streams.scoring.risk import RISK_MANIFEST
from streams.scoring.specs import ModelSpec, spec_at, spec_of
from streams.scoring.value import BASIS, CONTINUOUS, KNOTS, whole_basis

ADOPTION_DELAY_MS = 30_000
"""A version is in force 30 s after its own timestamp at the earliest: time enough for every worker to have read it."""

FORMULAS = ("formula-1",)
"""The formula versions this program knows; a policy that names another one is refused."""

COUNT_UNPAID_FROM = (1, 31)
"""Days past due from which on an unpaid loan may count: the first of bdr_30, or of bdr_30_plus."""

DECISION_PREFIX = "models."
DECISIONS = ("promote", "rollback", "freeze", "thaw", "envelope", "no_envelope")
SPEC_PREFIX = "manifest."

Read = Callable[[Record], tuple[str, dict[str, Any]]]
"""Kind and fields of a broadcast record; raises ValueError, with what to do, where it can not be read."""

Make = Callable[[dict[str, Any], int, list[Any]], Any]
"""A version from its fields, its effective time and the versions of that name before it; raises ValueError."""

_CUTS = ("status_terciles", "revenue_terciles", "recency_quintiles", "status_quintiles", "revenue_quintiles")
TABLES = ("beta", "knots", "phi_mean", "forecasts", "consistencies", *_CUTS)
"""The arrays of the weights."""


class Refusal(NamedTuple):
    """A broadcast record that counts as never published, and why."""

    record: Record
    reason: str


class UnknownFormula(Exception):
    """A policy names a formula this program does not know: upgrade this program before that policy is due."""


@cache
def packaged_weights() -> Weights:
    """The weights that serve until models learn: fitted on generated customers by `python -m local.prior`."""
    text = (Path(__file__).parent.parent / "state" / "packaged" / "weights-1.json").read_text("utf-8")
    return weights_of(json.loads(text), BEGINNING_MS)


@cache
def packaged_risk() -> RiskWeights:
    """The credit risk model that serves until another is adopted: `streams.scoring.packaged`."""
    text = (Path(__file__).parent / "scoring" / "packaged" / "risk-1.json").read_text("utf-8")
    model = read_model(json.loads(text), "risk", "credit", "risk-1").weights
    return RiskWeights("risk-1", BEGINNING_MS, model.layout.knots, model.mean, model.covariance, model.phi_mean)


def weights_of(body: dict[str, Any], effective_ms: int) -> Weights:
    """Weights from their fields (the `Weights` schema). Raises ValueError naming what is wrong."""
    arrays = {name: np.array(body[name], np.float64) for name in TABLES}
    arrays |= {name: whole_basis(arrays[name]) for name in ("beta", "phi_mean")}
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
    return Weights(
        str(body["version"]),
        effective_ms,
        consistency_median=float(body["consistency_median"]),
        rescore=bool(body.get("rescore")),
        **arrays,
    )


def body_of_model(made: ModelWeights) -> dict[str, Any]:
    """Fields of the `Weights` schema for a version of a model that learns from requests."""
    nothing: dict[str, Any] = {name: [] for name in TABLES}
    rescore = {"rescore": True} if made.rescore else {}
    said = {"version": made.version, "effective_ms": made.effective_ms, "consistency_median": 0.0, "model": made.name}
    return {**nothing, **said, "body": json.dumps(made.body, separators=(",", ":")), **rescore}


def body_of_weights(weights: Weights) -> dict[str, Any]:
    """Fields of the `Weights` schema."""
    body: dict[str, Any] = {name: getattr(weights, name).tolist() for name in TABLES}
    effective = {"version": weights.version, "effective_ms": weights.effective_ms}
    rescore = {"rescore": True} if weights.rescore else {}
    return {**effective, "consistency_median": weights.consistency_median, **body, **rescore}


def policy_of(body: dict[str, Any], version: str, effective_ms: int) -> Policy:
    """A policy from its JSON object: every field optional, an unknown one refused. Raises ValueError."""
    known = {field.name for field in fields(Policy)}
    unknown = sorted(set(body) - known)
    if unknown:
        raise ValueError(f"the policy has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items()}
    policy = replace(Policy(**given), version=version, effective_ms=effective_ms)
    if policy.formula not in FORMULAS:
        raise UnknownFormula(
            f"policy {version} asks for {policy.formula}; this program knows {', '.join(FORMULAS)}: upgrade it first"
        )
    if not 1 <= policy.duplicates_max <= 4096:
        raise ValueError("duplicates_max has to be between 1 and 4,096")
    if not 1 <= policy.look_ahead_candidates <= 64:
        raise ValueError("look_ahead_candidates has to be between 1 and 64")
    _check_loan_rules(policy)
    return policy


def _check_loan_rules(policy: Policy) -> None:
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", str(policy.dates_from)):
        raise ValueError(f"dates_from is {policy.dates_from!r}; it has to be a date such as 1981-01-01")
    try:
        first_day = policy.dates_from_day
    except ValueError as error:
        raise ValueError(f"dates_from is {policy.dates_from!r}, a day that does not exist") from error
    if not FIRST_DAY <= first_day <= LAST_DAY:
        raise ValueError(f"dates_from is {policy.dates_from}; it has to be between 1900-01-01 and 2200-01-01")
    for name, allowed in (("payment_days_before_order", range(36_501)), ("count_unpaid_from_day", COUNT_UNPAID_FROM)):
        value = getattr(policy, name)
        if type(value) is not int or value not in allowed:
            words = "1 or 31" if allowed is COUNT_UNPAID_FROM else "a whole number from 0 to 36,500"
            raise ValueError(f"{name} is {value!r}; it has to be {words}")


def body_of_policy(policy: Policy) -> str:
    """The policy as the JSON object that `Config` carries."""
    return json.dumps({k: v for k, v in asdict(policy).items() if k not in ("version", "effective_ms")}, sort_keys=True)


class Decision(NamedTuple):
    """What a person decided about a model: `rescore models promote`, `rollback`, `freeze`, `thaw`, `envelope`."""

    model: str
    what: str
    version: str  # of the weights it is about; empty where it is about none
    author: str
    reason: str
    effective_ms: int
    card: str = ""  # the model card that was looked at: its name and sha256


class ModelInForce(NamedTuple):
    """A version of a model that learns from requests, and from when on it counts."""

    name: str
    effective_ms: int
    model: Model
    rescore: bool


@dataclass(frozen=True)
class Known:
    """What the broadcast topics have said so far. The order in which topics were read makes no difference."""

    policy: Policy  # of this deployment, until the topic has one
    records: tuple[Record, ...]
    versions: Versions
    refused: tuple[Refusal, ...] = ()
    learning: tuple[LearningPolicy, ...] = ()
    decisions: tuple[Decision, ...] = ()
    learned_until_ms: int | None = None  # everything learned up to this boundary is known
    specs: tuple[ModelSpec, ...] = ()  # declared models, by effective time
    models: Mapping[str, tuple[ModelInForce, ...]] = field(default_factory=dict)
    read_before: dict[tuple[str, int], Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def first(cls, policy: Policy) -> Known:
        """Before anything was read: the packaged weights and this policy."""
        return cls(
            policy,
            (),
            Versions(
                [policy], [packaged_weights()], (), [packaged_risk()], [packaged_book()], [packaged_text_weights()]
            ),
        )

    def adopt(self, records: Iterable[Record], read: Read) -> Known:
        """These records too. All versions are made anew: there are few, and they arrive rarely."""
        every, before = (*self.records, *records), self.read_before

        def read_once(record: Record) -> tuple[str, dict[str, Any]]:
            key = record.topic, record.offset  # a broadcast topic has one partition
            if key not in before:
                before[key] = read(record)
            found: tuple[str, dict[str, Any]] = before[key]
            return found

        return build(every, read_once, self.policy, before)

    def model_at(self, name: str, moment_ms: int) -> Model:
        """The version of a credit or insurance model in force, the packaged one before any: what functions score with.

        Raises KeyError where there is no such model yet.
        """
        found = [one.model for one in self.models.get(name, ()) if one.effective_ms <= moment_ms]
        return found[-1] if found else packaged_model(name)

    @cached_property
    def epochs(self) -> Epochs:
        """The boundaries at which is learned."""
        return Epochs(self.learning, self.versions.days)

    @property
    def next_boundary_ms(self) -> int:
        """The first boundary that is not learned up to."""
        return self.epochs.following(self.learned_until_ms)

    @cached_property
    def limit_ms(self) -> int:
        """How far clocks may go where they wait for the learner."""
        return self.epochs.limit_ms(self.learned_until_ms)


def build(records: Iterable[Record], read: Read, policy: Policy, before: dict[tuple[str, int], Any]) -> Known:
    """What these broadcast records say; those that can not be used count as never published."""
    bodies: dict[str, list[tuple[Record, dict[str, Any]]]] = {"policy": [], "weights": [], "rate": [], "learning": []}
    refused: list[Refusal] = []
    ordered = tuple(sorted(records, key=lambda record: (record.topic, record.partition, record.offset)))
    for record in ordered:
        try:
            kind, body = read(record)
        except ValueError as error:
            refused.append(Refusal(record, str(error)))
        else:
            bodies.setdefault(kind, []).append((record, body))
    policies = _accepted(bodies["policy"], refused, _policy)
    learned = [body["epoch_ms"] for _, body in bodies["weights"] if body.get("epoch_ms") is not None]
    made = [(record, body) for record, body in bodies["weights"] if body["version"]]
    of_value = [one for one in made if one[1].get("model") in (None, "value")]
    weights = _accepted(of_value, refused, partial(_weights, before))
    specs = _accepted(_with_prefix(bodies, SPEC_PREFIX), refused, _spec)
    others = [one for one in made if one[1].get("model") not in (None, "value", TEXT_NAME)]
    models = _accepted(others, refused, partial(_model, specs, before))
    base_currency = (policies or [policy])[0].base_currency
    rates = _accepted(bodies["rate"], refused, partial(_rate, base_currency))
    learning = _accepted(bodies["learning"], refused, _learning)
    decisions = _accepted(_with_prefix(bodies, DECISION_PREFIX), refused, _decision)
    declared = sorted(_with_prefix(bodies, PROFILE_PREFIX), key=lambda one: one[0].offset)
    profiles = _accepted(declared, refused, declared_of)
    learned_texts = [one for one in made if one[1].get("model") == TEXT_NAME]
    texts = _accepted([*learned_texts, *bodies.get(TEXT_NAME, [])], refused, partial(_text, before))
    texts = [packaged_text_weights(), *texts]
    risk = [packaged_risk(), *(_risk_of(one) for one in models if one.name == "risk")]
    moments = {one.effective_ms for one in models if one.name == "risk" and one.rescore}
    moments |= {one.effective_ms for one in profiles if not one.profile.enabled}  # whoever has it leaves it then
    weights = _rescored_at(weights or [packaged_weights()], moments)
    return Known(
        policy=policy,
        records=ordered,
        versions=Versions(policies or [policy], weights, rates, risk, list(books_of(profiles)), texts),
        refused=tuple(refused),
        learning=tuple(learning),
        decisions=tuple(decisions),
        learned_until_ms=max(learned, default=None),
        specs=tuple(specs),
        models={name: tuple(one for one in models if one.name == name) for name in sorted({m.name for m in models})},
        read_before=before,
    )


def _with_prefix(bodies: dict[str, list[tuple[Record, dict[str, Any]]]], prefix: str) -> list[Any]:
    return [one for kind, found in bodies.items() if kind.startswith(prefix) for one in found]


def _rescored_at(weights: list[Weights], moments: Iterable[int]) -> list[Weights]:
    """A moment at which everyone is scored anew is one of the weights: those in force again, where no others begin."""
    for moment_ms in sorted(moments):
        if all(one.effective_ms != moment_ms for one in weights[1:]):
            before = [one for one in weights if one.effective_ms <= moment_ms]
            again = replace(before[-1], effective_ms=moment_ms, rescore=True)
            weights = [*before, again, *weights[len(before) :]]
    return weights


def _accepted(bodies: list[tuple[Record, dict[str, Any]]], refused: list[Refusal], make: Make) -> list[Any]:
    """The versions that these bodies make, by effective time; of two at one time the one published later counts."""
    made: list[Any] = []
    for record, body in bodies:
        try:
            made.append(make(body, _effective_ms(record, body), made))
        except (ValueError, KeyError, TypeError) as error:
            refused.append(Refusal(record, f"{type(error).__name__}: {error}"))
    return sorted(made, key=lambda version: version.effective_ms)


def _effective_ms(record: Record, body: dict[str, Any]) -> int:
    wanted_ms = _moment(body["effective_at"]) if "effective_at" in body else int(body["effective_ms"])
    return max(wanted_ms, record.timestamp_ms + ADOPTION_DELAY_MS)


def _policy(body: dict[str, Any], effective_ms: int, earlier: list[Any]) -> Policy:
    """The first policy counts from the beginning of time."""
    at = effective_ms if earlier else BEGINNING_MS
    return _following(policy_of(json.loads(body["body"]), str(body["version"]), at), earlier)


def _weights(
    before: dict[tuple[str, int], Any], body: dict[str, Any], effective_ms: int, earlier: list[Any]
) -> Weights:
    """The first weights count from the beginning of time. Large ones, so that each is made once."""
    at = effective_ms if earlier else BEGINNING_MS
    key = f"weights {id(body)}", at  # the bodies stay in `before`, each at its place
    if key not in before:
        before[key] = weights_of(body, at)
    made: Weights = before[key]
    return made


def _text(
    before: dict[tuple[str, int], Any], body: dict[str, Any], effective_ms: int, earlier: list[Any]
) -> TextWeights:
    """A version of the model that reads descriptions, learned or published by a person. Each is made once."""
    key = f"text {id(body)}", effective_ms
    if key not in before:
        before[key] = text_of(body, effective_ms, earlier)
    made: TextWeights = before[key]
    return made


def _spec(body: dict[str, Any], effective_ms: int, earlier: list[ModelSpec]) -> ModelSpec:
    """A declared model. What it looks at is fixed: versions of one name have to be comparable."""
    spec = spec_of(str(body["name"]).removeprefix(SPEC_PREFIX), json.loads(body["body"]), effective_ms)
    for before in earlier:
        if before.name == spec.name and (before.manifest, before.inputs) != (spec.manifest, spec.inputs):
            raise ValueError(f"features of {spec.name} were declared before and are fixed; take another name")
    return spec


def _model(
    specs: list[ModelSpec],
    before: dict[tuple[str, int], Any],
    body: dict[str, Any],
    effective_ms: int,
    _earlier: list[Any],
) -> ModelInForce:
    """A version of a model that learns from requests. It may look at nothing that its manifest does not name."""
    key = f"model {id(body)}", effective_ms
    if key not in before:
        name = str(body["model"])
        spec = spec_at(specs, name, effective_ms)
        if spec is None:
            raise ValueError(f"there is no model {name!r}: declare it with `rescore models declare`")
        model = read_model(json.loads(body["body"] or "{}"), name, spec.manifest.purpose, str(body["version"]))
        if strange := sorted(set(model.manifest.names) - set(spec.manifest.names)):
            raise RefusedManifest(f"version {body['version']} looks at {', '.join(strange)}, which {name} may not")
        before[key] = ModelInForce(name, effective_ms, model, bool(body.get("rescore")))
        if name == "risk":
            _risk_of(before[key])  # raises where the stream could not score with it
    made: ModelInForce = before[key]
    return made


def _risk_of(version: ModelInForce) -> RiskWeights:
    """The version as the stream's risk score reads it."""
    model, packaged = version.model, packaged_risk()
    weights = model.weights
    if model.manifest.names != RISK_MANIFEST.names or weights.layout.knots.shape != packaged.knots.shape:
        raise ValueError(f"version {model.version} of risk has not the features of the stream's risk score")
    if weights.mean.shape != packaged.mean.shape:
        raise ValueError(f"version {model.version} of risk has other knots than the stream's risk score")
    return RiskWeights(
        model.version, version.effective_ms, weights.layout.knots, weights.mean, weights.covariance, weights.phi_mean
    )


def _learning(body: dict[str, Any], effective_ms: int, _earlier: list[Any]) -> LearningPolicy:
    return learning_policy_of(json.loads(body["body"]), str(body["version"]), effective_ms)


def _decision(body: dict[str, Any], effective_ms: int, _earlier: list[Any]) -> Decision:
    said = json.loads(body["body"])
    model, what = str(body["name"]).removeprefix(DECISION_PREFIX), str(said["decision"])
    if what not in DECISIONS:
        raise ValueError(f"decision {what!r} is none of {', '.join(DECISIONS)}")
    author, reason = str(body.get("author") or ""), str(body.get("reason") or "")
    return Decision(model, what, str(said.get("version", "")), author, reason, effective_ms, str(said.get("card", "")))


def _following(policy: Policy, earlier: list[Policy]) -> Policy:
    for name in ("base_currency", "time_zone", "label_days"):
        if earlier and getattr(policy, name) != getattr(earlier[0], name):
            raise ValueError(f"{name} is fixed for the life of the state: {getattr(earlier[0], name)!r}")
    return policy


def _moment(text: str) -> int:
    moment_ms = time_ms(text)
    if moment_ms is None:
        raise ValueError(f"effective_at {text!r} is not a time such as 2026-01-31T00:00:00Z")
    return moment_ms


def _rate(base_currency: str, body: dict[str, Any], effective_ms: int, _earlier: list[Any]) -> Rate:
    if body["base_currency"] != base_currency:
        raise ValueError(f"the rate is in {body['base_currency']}; the policy's base currency is {base_currency}")
    rate, currency = float(body["rate"]), str(body["currency"])
    if not 0.0 < rate < 1e12:
        raise ValueError(f"rate {rate} has to be above 0: units of the base currency for one unit of {currency}")
    return Rate(pack_currency(currency), effective_ms, rate)


def first_policy(base_currency: str, time_zone: str) -> Policy:
    """The packaged policy as a deployment sets it up."""
    return Policy(base_currency=base_currency, time_zone=time_zone)


def learning_record(policy: LearningPolicy, author: str, reason: str, encoder: Encoder) -> tuple[str, bytes, bytes]:
    """Topic, key and value of a learning policy."""
    said = {k: v for k, v in asdict(policy).items() if k not in ("version", "effective_ms")}
    config = {"name": "learning", "version": policy.version, "effective_ms": policy.effective_ms,
              "body": json.dumps(said, sort_keys=True), "author": author, "reason": reason}  # fmt: skip
    return "rescore-config", b"learning", encode_value("Config", config, encoder)


def first_records(policy: Policy, encoder: Encoder) -> list[tuple[str, bytes, bytes]]:
    """Topic, key and value of the versions that the first worker publishes."""
    config = {"name": "policy", "version": policy.version, "effective_ms": 0, "body": body_of_policy(policy)}
    weights = body_of_weights(packaged_weights()) | {"effective_ms": 0}
    return [
        ("rescore-config", b"policy", encode_value("Config", config, encoder)),
        ("rescore-weights", weights["version"].encode(), encode_value("Weights", weights, encoder)),
    ]


def reader(registry: Registry, topic_prefix: str) -> Read:
    """Reads broadcast records: what kind they are ("policy", "weights", "rate", "flow...") and their fields.

    Raises RegistryUnavailable where the registry does not answer: nothing is decided then.
    """

    def read(record: Record) -> tuple[str, dict[str, Any]]:
        name = SCHEMAS[record.topic.removeprefix(topic_prefix)]
        try:
            fields: dict[str, Any] = dict(read_fields(record.value or b"", name, registry))
        except Refused as refused:
            raise ValueError(refused.detail) from refused
        return KINDS.get(name) or str(fields["name"]), fields

    return read


SCHEMAS = {"fx-rates": "FxRate", "rescore-weights": "Weights", "rescore-config": "Config"}
KINDS = {"FxRate": "rate", "Weights": "weights"}
