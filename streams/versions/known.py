"""Broadcast records to the versions in force: `fx-rates`, `rescore-weights`, `rescore-config`, and the packaged first.

The first record of the weights and of the policy counts from the beginning of time, so that history has a model to be
scored with; every later one from its `effective_ms`, or 30 s after its own timestamp if that is later: no version is
ever late. A record that cannot be used counts as never published, in every process alike: `Known.refused` says which
and why. Schemas: `streams.versions.schema`; docs/versions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from schemas.batch import BEGINNING_MS, Record
from schemas.codec import RegistryUnavailable
from schemas.times import time_ms
from schemas.zones import Zone, zone_of
from state.category_text import packaged_text_weights
from state.profiles import Profile
from state.versions import Policy, Rate, Versions, Weights
from streams.learning.epochs import Epochs, LearningPolicy
from streams.scoring.models.manifest import Manifest, RefusedManifest, checked
from streams.scoring.models.model import Model
from streams.scoring.models.specs import ModelSpec, spec_at
from streams.versions.bodies import (
    Decision,
    body_of_model,
    body_of_policy,
    body_of_weights,
    first_policy,
    packaged_risk,
    packaged_weights,
    policy_of,
    risk_of,
    weights_of,
)
from streams.versions.packaged_models import packaged_model
from streams.versions.packaged_profiles import packaged_book
from streams.versions.profiles import Declared, books_of, refuse_profile
from streams.versions.reading import (
    DECISION,
    LEARNING,
    MODEL,
    POLICY,
    PROFILE,
    RATE,
    SPEC,
    TEXT,
    VALUE,
    Read,
    Version,
    reader,
)
from streams.versions.records import first_records, learning_record
from streams.versions.schema.base import UnknownFormula, printable

__all__ = [
    "ADOPTION_DELAY_MS", "Decision", "Known", "ModelInForce", "Read", "Refusal", "UnknownFormula", "body_of_model",
    "body_of_policy", "body_of_weights", "build", "first_policy", "first_records", "has_version", "learning_record",
    "packaged_risk", "packaged_weights", "policy_of", "read_once", "reader", "weights_of",
]  # fmt: skip

ADOPTION_DELAY_MS = 30_000
"""A version is in force 30 s after its own timestamp at the earliest: time enough for every worker to have read it."""

Place = tuple[str, int]
"""Topic and offset: a broadcast topic has one partition."""

Entry = tuple[Record, Version]
"""A record, and what it publishes."""

Make = Callable[[Version, int, list[Any]], Any]
"""What is in force from a version, its effective time, and those of its kind before it. Raises ValueError."""


class Refusal(NamedTuple):
    """A broadcast record that counts as never published, and why."""

    record: Record
    reason: str

    @property
    def place(self) -> Place:
        """Where the record lies."""
        return self.record.topic, self.record.offset


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
    records: tuple[Record, ...]  # without their values, which `read_before` holds
    versions: Versions
    refused: tuple[Refusal, ...] = ()
    learning: tuple[LearningPolicy, ...] = ()
    decisions: tuple[Decision, ...] = ()
    learned_until_ms: int | None = None  # everything learned up to this boundary is known
    specs: tuple[ModelSpec, ...] = ()  # declared models, by effective time
    models: Mapping[str, tuple[ModelInForce, ...]] = field(default_factory=dict)
    read_before: dict[Place, Version | str] = field(default_factory=dict, repr=False, compare=False)

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
        """These records too. All versions are made again: there are few, and they arrive rarely.

        Each record is read once. Raises UnknownFormula for a newer release's policy, RegistryUnavailable.
        """
        before, taken = self.read_before, []
        for record in records:
            place = record.topic, record.offset
            if place not in before:
                before[place] = read_once(record, read)
            taken.append(record._replace(value=None, headers=None))
        return build((*self.records, *taken), before, self.policy)

    def model_at(self, name: str, moment_ms: int) -> Model:
        """The version of a credit or insurance model in force, the packaged one before any: what functions score with.

        Raises KeyError if there is no such model yet.
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


def read_once(record: Record, read: Read) -> Version | str:
    """The version in a record, or why there is none. The last guard: whatever a record does to us, it ends nobody."""
    try:
        return read(record)
    except (UnknownFormula, RegistryUnavailable):
        raise
    except ValueError as error:
        return printable(str(error))
    except Exception as error:  # noqa: BLE001 - a mistake of ours; the topic is kept, and would end every start
        return printable(f"this program fails on it ({type(error).__name__}: {error}): {REPORT}")


REPORT = "report it, with the record"


def has_version(records: Iterable[Record], read: Read, kind: str) -> bool:
    """Whether one of these records is a version of a kind that can be used; reads no further than to the first."""
    versions = (read_once(record, read) for record in records)
    return any(not isinstance(version, str) and version.kind == kind for version in versions)


def build(records: Iterable[Record], read: dict[Place, Version | str], policy: Policy) -> Known:
    """What these broadcast records publish, as each was read; those that cannot be used count as never published."""
    ordered = tuple(sorted(records, key=lambda record: (record.topic, record.partition, record.offset)))
    found, refused = _by_kind(ordered, read)

    def accepted(kind: str, make: Make) -> list[Any]:
        return _accepted(found.get(kind, []), refused, make)

    policies, weights = accepted(POLICY, _policy), accepted(VALUE, _weights)
    specs = accepted(SPEC, _with_its_time)
    models = accepted(MODEL, lambda version, at_ms, _: _model(specs, version, at_ms))
    first = (policies or [policy])[0]
    found[RATE] = _in_zone(found.get(RATE, []), zone_of(first.time_zone))
    rates = accepted(RATE, lambda version, at_ms, _: _rate(first.base_currency, version, at_ms))
    profiles = accepted(PROFILE, _profile)
    texts = accepted(TEXT, _with_its_time)
    learning, decisions = accepted(LEARNING, _with_its_time), accepted(DECISION, _with_its_time)
    risk = [packaged_risk(), *(risk_of(one.model, one.effective_ms) for one in models if one.name == "risk")]
    moments = {one.effective_ms for one in models if one.name == "risk" and one.rescore}
    moments |= {one.effective_ms for one in profiles if not one.profile.enabled}  # whoever has it leaves it then
    marks = [version.epoch_ms for entries in found.values() for _, version in entries if version.epoch_ms is not None]
    return Known(
        policy=policy,
        records=ordered,
        versions=Versions(
            policies or [policy],
            _rescored_at(weights or [packaged_weights()], moments),
            rates,
            risk,
            list(books_of(profiles)),
            [packaged_text_weights(), *texts],
        ),
        refused=tuple(sorted(refused, key=lambda one: one.place)),
        learning=tuple(learning),
        decisions=tuple(decisions),
        learned_until_ms=max(marks, default=None),
        specs=tuple(specs),
        models={name: tuple(one for one in models if one.name == name) for name in sorted({m.name for m in models})},
        read_before=read,
    )


def _by_kind(
    records: Iterable[Record], read: Mapping[Place, Version | str]
) -> tuple[dict[str, list[Entry]], list[Refusal]]:
    """The versions of these records by kind, and the records that hold none."""
    found: dict[str, list[Entry]] = {}
    refused: list[Refusal] = []
    for record in records:
        version = read[record.topic, record.offset]
        if isinstance(version, str):
            refused.append(Refusal(record, version))
        else:
            found.setdefault(version.kind, []).append((record, version))
    # Of two text models in force from the same moment the one that a person published counts.
    found.get(TEXT, []).sort(key=lambda entry: entry[0].topic, reverse=True)
    return found, refused


def _rescored_at(weights: list[Weights], moments: Iterable[int]) -> list[Weights]:
    """Weights at which everyone is scored again: where no new ones begin, those in force are repeated."""
    for moment_ms in sorted(moments):
        if all(one.effective_ms != moment_ms for one in weights[1:]):
            before = [one for one in weights if one.effective_ms <= moment_ms]
            again = replace(before[-1], effective_ms=moment_ms, rescore=True)
            weights = [*before, again, *weights[len(before) :]]
    return weights


def _in_zone(entries: list[Entry], zone: Zone) -> list[Entry]:
    """Rates whose effective times name no zone, read in the policy's: which policy is the first is known only here."""
    return [(record, version._replace(effective_ms=_moment_ms(version, zone))) for record, version in entries]


def _moment_ms(version: Version, zone: Zone) -> int:
    moment_ms = time_ms(version.local, zone) if version.local else None
    return version.effective_ms if moment_ms is None else moment_ms


def _accepted(entries: list[Entry], refused: list[Refusal], make: Make) -> list[Any]:
    """What is in force from these versions, by effective time; of two at one time the one published later counts."""
    made: list[Any] = []
    for record, version in entries:
        effective_ms = max(version.effective_ms, record.timestamp_ms + ADOPTION_DELAY_MS)
        try:
            made.append(make(version, effective_ms, made))
        except ValueError as error:
            refused.append(Refusal(record, printable(str(error))))
    return sorted(made, key=lambda one: one.effective_ms)


def _with_its_time(version: Version, effective_ms: int, earlier: list[Any]) -> Any:
    """A version that depends on no other, but for the features of a declared model, which are fixed."""
    body = version.body
    for before in earlier if isinstance(body, ModelSpec) else ():
        if before.name == body.name and (before.manifest, before.inputs) != (body.manifest, body.inputs):
            raise ValueError(f"features of {body.name} were declared before and are fixed; take another name")
    if isinstance(body, tuple):
        return body._replace(effective_ms=effective_ms)  # type: ignore[attr-defined]
    return replace(body, effective_ms=effective_ms)


def _policy(version: Version, effective_ms: int, earlier: list[Policy]) -> Policy:
    """The first policy counts from the beginning of time; what a later one must not change is compared with it."""
    policy: Policy = version.body
    for name in ("base_currency", "time_zone", "label_days"):
        if earlier and getattr(policy, name) != getattr(earlier[0], name):
            raise ValueError(f"policy: {name} is fixed for the life of the state: {getattr(earlier[0], name)!r}")
    return replace(policy, effective_ms=effective_ms if earlier else BEGINNING_MS)


def _weights(version: Version, effective_ms: int, earlier: list[Weights]) -> Weights:
    """The first weights count from the beginning of time."""
    weights: Weights = version.body
    return replace(weights, effective_ms=effective_ms if earlier else BEGINNING_MS)


def _model(specs: list[ModelSpec], version: Version, effective_ms: int) -> ModelInForce:
    """A version of a model that learns from requests. It may look at nothing that its manifest does not name."""
    model: Model = version.body
    name = model.manifest.model
    spec = spec_at(specs, name, effective_ms)
    if spec is None:
        raise ValueError(f"there is no model {name!r}: declare it with `rescore models declare`")
    manifest = checked(Manifest(name, spec.manifest.purpose, model.manifest.features))
    if strange := sorted(set(manifest.names) - set(spec.manifest.names)):
        raise RefusedManifest(f"version {version.name} looks at {', '.join(strange)}, which {name} may not")
    return ModelInForce(name, effective_ms, model._replace(manifest=manifest), version.rescore)


def _rate(base_currency: str, version: Version, effective_ms: int) -> Rate:
    if version.base_currency != base_currency:
        raise ValueError(
            f"rate: base_currency is {version.base_currency}; the policy's base currency is {base_currency}"
        )
    rate: Rate = version.body
    return rate._replace(effective_ms=effective_ms)


def _profile(version: Version, effective_ms: int, earlier: list[Declared]) -> Declared:
    profile: Profile = version.body
    refuse_profile(profile, [one.profile for one in earlier])
    return Declared(profile, version.name, effective_ms)
