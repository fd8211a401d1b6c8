"""The models that are packaged: what risk, acceptance and insurance know before a bank's own outcomes teach them.

Made by `python -m local.priors.credit`; the cards in docs/cards say what from, and what they are not for.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from streams.scoring.models.acceptance import ACCEPTANCE_MANIFEST
from streams.scoring.models.insurance import HOME_MANIFEST, LIFE_MANIFEST
from streams.scoring.models.manifest import Manifest
from streams.scoring.models.model import Model, read_model
from streams.scoring.models.risk import RISK_MANIFEST

if TYPE_CHECKING:
    from streams.learning.bayesian import BayesianLogisticRegression

MANIFESTS: dict[str, Manifest] = {
    manifest.model: manifest for manifest in (RISK_MANIFEST, ACCEPTANCE_MANIFEST, HOME_MANIFEST, LIFE_MANIFEST)
}
PACKAGED_VERSION = 1


def file_name(name: str) -> str:
    """The packaged file of a model.

    >>> file_name("risk")
    'risk-1.json'
    """
    return f"{name}-{PACKAGED_VERSION}.json"


@functools.cache
def packaged_model(name: str) -> Model:
    """The packaged version of a model, for scoring. Raises KeyError for a model that is not packaged."""
    return read_model(packaged_body(name), name, MANIFESTS[name].purpose, f"{name}-{PACKAGED_VERSION}")


def packaged_estimator(name: str) -> BayesianLogisticRegression:
    """A model that goes on learning from where the packaged version stands."""
    from streams.learning.bayesian import BayesianLogisticRegression  # river takes a second to import

    return BayesianLogisticRegression.from_body(packaged_body(name))


@functools.cache
def packaged_body(name: str) -> dict[str, Any]:
    """The packaged version of a model as the JSON object it is. Raises KeyError for a model that is not packaged."""
    if name not in MANIFESTS:
        raise KeyError(f"no packaged model {name!r}; there are {', '.join(MANIFESTS)}")
    text = files("streams.scoring").joinpath("packaged", file_name(name)).read_text("utf-8")
    body: dict[str, Any] = json.loads(text)
    return body
