"""What a model may look at: its features by name, source and purpose, and what no credit model may see.

A manifest stands beside every model. Credit and insurance models refuse at load what lending law protects; loaders of
data sets keep such columns aside for the fairness table alone. Definition: docs/scores.md, governance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Purpose = Literal["credit", "insurance", "marketing"]


class Feature(NamedTuple):
    """One input of a model."""

    name: str
    kind: Literal["number", "category"] = "number"
    purpose: str = ""  # why the model looks at it, in words
    source: str = "declared"  # declared, transactions, loans or request
    protected: bool = False
    knots: tuple[float, ...] = ()  # of a number; none: quantiles of the first examples
    slots: int = 12  # of a category: how many values have a place of their own
    expected_rise: float = 0.0  # of the sum, from the lowest knot to the highest, before any example; 0: not known


class Manifest(NamedTuple):
    """The features of a model, in the order of its columns."""

    model: str
    purpose: Purpose
    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(feature.name for feature in self.features)


class RefusedManifest(ValueError):
    """A model may not be loaded with this manifest; the message says which feature and what to do."""


PROTECTED: dict[str, str] = {
    "sex": r"sex|gender|female|male|is_(fe)?male",
    "marital status": r"marital(_status)?|married|marriage|single|divorced|widow(ed)?|spouse",
    "race": r"race|afam|african_american|black|white|ethnic(ity|_group)?|hispanic|latin[oax]",
    "colour": r"colou?r|skin(_colou?r)?",
    "religion": r"religion|religious|church|faith",
    "national origin": r"national_origin|nationality|birth_country|country_of_birth|citizenship",
    "public assistance": r"public_assistance|welfare|social_benefits?|receives_benefits?",
}
"""What lending law protects (United States: Equal Credit Opportunity Act, 15 U.S.C. 1691) and names it goes by."""


def protected_attribute(name: str) -> str | None:
    """Which protected attribute a column's name stands for; None for none.

    >>> protected_attribute("Marital_Status"), protected_attribute("income")
    ('marital status', None)
    """
    plain = re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
    return next((attribute for attribute, words in PROTECTED.items() if re.fullmatch(words, plain)), None)


def checked(manifest: Manifest) -> Manifest:
    """The manifest, if a model may be loaded with it.

    Raises RefusedManifest for a protected attribute in a credit or insurance model (by its flag or by its name), for a
    name that stands twice, and for knots that do not ascend.
    """
    seen: set[str] = set()
    for feature in manifest.features:
        if feature.name in seen:
            raise RefusedManifest(f"model {manifest.model}: feature {feature.name!r} stands twice; leave one out")
        seen.add(feature.name)
        attribute = protected_attribute(feature.name) or (feature.name if feature.protected else None)
        if attribute and manifest.purpose != "marketing":
            raise RefusedManifest(
                f"model {manifest.model}: feature {feature.name!r} is protected ({attribute}) and a {manifest.purpose} "
                "model may not see it; leave it out and name it under `protected`, for the fairness table alone"
            )
        if any(right <= left for left, right in zip(feature.knots, feature.knots[1:], strict=False)):
            raise RefusedManifest(f"model {manifest.model}: knots of {feature.name!r} do not ascend; sort them")
    return manifest


def described(features: Iterable[Feature]) -> list[dict[str, object]]:
    """The manifest as rows for a model card or for JSON."""
    return [
        {"name": f.name, "kind": f.kind, "source": f.source, "purpose": f.purpose, "protected": f.protected}
        for f in features
    ]
