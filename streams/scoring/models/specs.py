"""What a model that learns from requests and outcomes is: its manifest, where its inputs come from, who challenges it.

Four are packaged; any other is declared by a broadcast record (`rescore models declare`), as plain JSON that is checked
when it is read: what lending law protects is refused there, for everyone and for good. Definition: docs/learning.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.batch import BEGINNING_MS
from schemas.kinds import MODEL_NAME
from streams.scoring.models.acceptance import ACCEPTANCE_MANIFEST, OPTIONAL_FEATURES, household_row
from streams.scoring.models.insurance import HOME_MANIFEST, LIFE_MANIFEST, home_row, life_row
from streams.scoring.models.manifest import Feature, Manifest, RefusedManifest, checked, protected_attribute
from streams.scoring.models.plain_values import number_of, word_of
from streams.scoring.models.risk import CATEGORY_FLOORS, RISK_MANIFEST

Row = dict[str, float | str]

CUSTOMER = "customer"
"""Inputs from what the customer has declared and from the account and the loans, as the risk score has them."""

MADE_OF: dict[str, Callable[[Mapping[str, Any]], Row]] = {
    "household": household_row,
    "home": home_row,
    "life": life_row,
    "attributes": lambda _request: {},
}
"""Where else inputs may come from: the attributes of a request, read as that function reads a request."""

DIGITS = 6
"""Decimals of a number in an example: enough for any model, and shorter."""

WORD_MAX = 64
GROUPS_ASIDE_MAX = 8
NAMES_KEPT = 4_096


ADDITIVE = "additive"
WINDOWS = {"tree": 10_000, "forest": 4_000}
"""Kinds of challengers that are grown, and how many of the last examples each is a function of, at most."""

WINDOW_MIN, WINDOW_MAX = 100, 100_000


class Challenger(NamedTuple):
    """One way to learn the same, from these features (none: all of the manifest).

    An additive one forgets by half and is as sure as its prior variance says; only that can come into force. A tree or
    forest is grown from the last `window_examples`, of one case in `one_in`, and stays in the shadow.
    """

    half_life_examples: float = math.inf
    features: tuple[str, ...] = ()
    prior_variance: float | None = None  # None: the packaged model's, or the estimator's
    kind: str = ADDITIVE
    window_examples: int = 0
    one_in: int = 1

    @property
    def is_grown(self) -> bool:
        """Whether it is a tree or a forest."""
        return self.kind != ADDITIVE


CHALLENGERS: Mapping[str, Challenger] = {
    "steady": Challenger(),
    "nimble": Challenger(half_life_examples=5_000.0),
    "tree": Challenger(kind="tree", window_examples=WINDOWS["tree"]),
}
"""Who learns where nothing else is declared: one forgets nothing, one follows a population that changes, and a tree
tells in the shadow how much additive models leave on the table. A forest does so too, for ten times the cost."""


class ModelSpec(NamedTuple):
    """A model that learns from requests. `favourable`: what it foretells is what the person wants."""

    manifest: Manifest
    inputs: str
    favourable: bool
    begins_with: str = ""  # the packaged model whose knowledge it starts from
    challengers: Mapping[str, Challenger] = CHALLENGERS
    effective_ms: int = BEGINNING_MS

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def floors(self) -> tuple[float, ...]:
        """Chances at which another band begins."""
        return CATEGORY_FLOORS if self.inputs == CUSTOMER else (0.5,)

    def row(self, attributes: Mapping[str, Any], customer: Row) -> Row:
        """What the model may look at: nothing but the features of its manifest, numbers and words.

        Attributes that bear the name of a feature are taken as they are where the request does not say it otherwise.
        """
        made = customer if self.inputs == CUSTOMER else MADE_OF[self.inputs](nested(attributes))
        row: Row = {}
        for feature in self.manifest.features:
            value = made.get(feature.name, attributes.get(feature.name))
            if feature.kind == "category":
                if (word := word_of(value)) is not None:
                    row[feature.name] = word[:WORD_MAX]
            elif math.isfinite(number := number_of(value)):
                row[feature.name] = round(number, DIGITS)
        return row


def nested(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A request written flat, as attributes are, in the shape of the source: a dot says what a name belongs to.

    >>> nested({"credit.loan": 80_000.0, "client1.income": 7_000.0, "bank": "A"})
    {'credit': {'loan': 80000.0}, 'client1': {'income': 7000.0}, 'bank': 'A'}
    """
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        part, dot, rest = name.partition(".")
        if not dot:
            found[name] = value
        elif isinstance(found.setdefault(part, {}), dict):
            found[part][rest] = value
    return found


def kept_aside(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The protected attributes of a request, for the fairness table alone.

    >>> kept_aside({"gender": "female", "income": 2_000.0})
    {'gender': 'female'}
    """
    protected = {name: value for name, value in attributes.items() if _is_protected(name)}
    found = {name: word_of(value) for name, value in protected.items()}
    words = {name: word[:WORD_MAX] for name, word in sorted(found.items()) if word is not None}
    return dict(list(words.items())[:GROUPS_ASIDE_MAX])


@lru_cache(maxsize=NAMES_KEPT)
def _is_protected(name: str) -> bool:
    """Requests have the same attributes again and again, and a look takes 10 us."""
    return protected_attribute(name.rpartition(".")[2]) is not None


def _packaged(manifest: Manifest, inputs: str, favourable: bool) -> ModelSpec:
    return ModelSpec(manifest, inputs, favourable, manifest.model)


PACKAGED_SPECS: Mapping[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        _packaged(RISK_MANIFEST, CUSTOMER, favourable=False),
        _packaged(ACCEPTANCE_MANIFEST, "household", favourable=True),
        _packaged(HOME_MANIFEST, "home", favourable=True),
        _packaged(LIFE_MANIFEST, "life", favourable=True),
    )
}

_FIELDS = ("purpose", "inputs", "favourable", "begins_with", "features", "challengers")
_KNOWN_FEATURES = {f.name: f for spec in PACKAGED_SPECS.values() for f in (*spec.manifest.features, *OPTIONAL_FEATURES)}


def spec_of(name: str, body: Mapping[str, Any], effective_ms: int) -> ModelSpec:
    """A model as it was declared: `body` is what `rescore models declare --help` describes.

    Raises ValueError, and RefusedManifest for a protected attribute.

    >>> spec = spec_of("leases", {"purpose": "credit", "features": [{"name": "dti", "knots": [0, 0.3, 0.6]}]}, 0)
    >>> spec.row({"dti": 0.4, "gender": "male"}, {})
    {'dti': 0.4}
    """
    packaged = PACKAGED_SPECS.get(name)
    if unknown := sorted(set(body) - set(_FIELDS)):
        raise ValueError(f"a model has no {', '.join(unknown)}; it has {', '.join(_FIELDS)}")
    if not MODEL_NAME.fullmatch(name):
        raise ValueError(f"a model cannot be called {name!r}: small letters, digits and _, and not value")
    purpose = packaged.manifest.purpose if packaged else body.get("purpose")
    if purpose not in ("credit", "insurance", "marketing") or body.get("purpose", purpose) != purpose:
        raise ValueError(f"purpose of {name} is {body.get('purpose')!r}; credit, insurance or marketing")
    inputs = str(body.get("inputs", packaged.inputs if packaged else "attributes"))
    if inputs not in (CUSTOMER, *MADE_OF):
        raise ValueError(f"inputs are {inputs!r}, not {', '.join((CUSTOMER, *MADE_OF))}")
    begins_with = str(body.get("begins_with", name if packaged else ""))
    if begins_with and begins_with not in PACKAGED_SPECS:
        raise ValueError(f"begins_with is {begins_with!r}; packaged are {', '.join(PACKAGED_SPECS)}")
    features = _features(body.get("features"), begins_with)
    if packaged and name == "risk" and features and features != packaged.manifest.features:
        raise ValueError("the risk score of the stream has its own features; give a model with others another name")
    manifest = checked(Manifest(name, purpose, features or (packaged.manifest.features if packaged else ())))
    if not manifest.features:
        raise ValueError(f"model {name} has no features")
    challengers = {key: _challenger(key, one, manifest) for key, one in body.get("challengers", {}).items()}
    if challengers and all(one.is_grown for one in challengers.values()):
        raise ValueError(f"model {name} needs a challenger that is {ADDITIVE}: trees and forests are never in force")
    favourable = bool(body.get("favourable", packaged.favourable if packaged else False))
    return ModelSpec(manifest, inputs, favourable, begins_with, challengers or CHALLENGERS, effective_ms)


def body_of_spec(spec: ModelSpec) -> dict[str, Any]:
    """The declaration that `spec_of` reads."""
    return {
        "purpose": spec.manifest.purpose,
        "inputs": spec.inputs,
        "favourable": spec.favourable,
        "begins_with": spec.begins_with,
        "features": [{**feature._asdict(), "knots": list(feature.knots)} for feature in spec.manifest.features],
        "challengers": {name: _body_of_challenger(one) for name, one in spec.challengers.items()},
    }


def _body_of_challenger(one: Challenger) -> dict[str, Any]:
    if one.is_grown:
        said = {"kind": one.kind, "window_examples": one.window_examples, "one_in": one.one_in}
    else:
        half_life = None if math.isinf(one.half_life_examples) else one.half_life_examples
        said = {"half_life_examples": half_life, "prior_variance": one.prior_variance}
    return said | {"features": list(one.features)}


def _features(said: Sequence[Any] | None, begins_with: str) -> tuple[Feature, ...]:
    """Features as declared; a bare name is a feature of a packaged model, with its knots."""
    theirs = {f.name: f for f in PACKAGED_SPECS[begins_with].manifest.features} if begins_with else {}
    found = []
    for one in said or ():
        if isinstance(one, str):
            feature = theirs.get(one) or _KNOWN_FEATURES.get(one)
            if feature is None:
                raise ValueError(f"no packaged model has a feature {one!r}; say what it is")
        else:
            try:
                feature = Feature(**{"source": "request", **one, "knots": tuple(map(float, one.get("knots", ())))})
            except (TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"feature {one!r} cannot be read: {error}") from error
            if feature.kind not in ("number", "category") or not isinstance(feature.name, str):
                raise ValueError(f"feature {one!r} is neither a number nor a category")
        found.append(feature)
    return tuple(found)


def _challenger(name: str, said: Mapping[str, Any], manifest: Manifest) -> Challenger:
    if set(said) - set(Challenger._fields) or not name or "/" in name:
        raise ValueError(f"challenger {name!r} has {', '.join(Challenger._fields)}, not {', '.join(said)}")
    if strange := set(said.get("features", ())) - set(manifest.names):
        raise RefusedManifest(f"challenger {name}: {', '.join(sorted(strange))} is not in the manifest of its model")
    if said.get("kind", ADDITIVE) != ADDITIVE:
        return _grown(name, said)
    if strange := {"window_examples", "one_in"} & set(said):
        raise ValueError(f"challenger {name}: {', '.join(sorted(strange))} is for {' and '.join(WINDOWS)} alone")
    half_life = said.get("half_life_examples")
    made = Challenger(
        math.inf if half_life is None else float(half_life),
        tuple(said.get("features", ())),
        None if said.get("prior_variance") is None else float(said["prior_variance"]),
    )
    if made.half_life_examples <= 0 or (made.prior_variance is not None and not 0 < made.prior_variance < math.inf):
        raise ValueError(f"challenger {name}: half_life_examples and prior_variance have to be above 0")
    return made


def _grown(name: str, said: Mapping[str, Any]) -> Challenger:
    """A tree or a forest, as declared."""
    kind = said["kind"]
    if kind not in WINDOWS:
        raise ValueError(f"challenger {name} is of kind {kind!r}; there are {', '.join((ADDITIVE, *WINDOWS))}")
    if strange := {"half_life_examples", "prior_variance"} & set(said):
        raise ValueError(f"challenger {name}: a {kind} has no {', '.join(sorted(strange))}; it has window_examples")
    window, one_in = said.get("window_examples", WINDOWS[kind]), said.get("one_in", 1)
    if type(window) is not int or type(one_in) is not int or not WINDOW_MIN <= window <= WINDOW_MAX or one_in < 1:
        raise ValueError(
            f"challenger {name}: window_examples has to be between {WINDOW_MIN:,} and {WINDOW_MAX:,}, one_in at least 1"
        )
    return Challenger(features=tuple(said.get("features", ())), kind=kind, window_examples=window, one_in=one_in)


def never_in_force(name: str, kind: str) -> str:
    """Why a tree or a forest is not promoted."""
    return (
        f"{name} is a {kind} and can never be in force: it is no plain weights that every worker scores with to the "
        "byte, and its chances are no sum that explains itself; it shows how much better a model could be"
    )


def spec_at(specs: Sequence[ModelSpec], name: str, moment_ms: int) -> ModelSpec | None:
    """The declaration of a model in force at a moment, the packaged one before any; None: there is no such model."""
    found = PACKAGED_SPECS.get(name)
    for spec in specs:
        if spec.name == name and spec.effective_ms <= moment_ms:
            found = spec
    return found
