"""Any CSV, with a mapping file that says what its columns mean.

model = "risk"                     # whose packaged knowledge to begin with, or a name of your own
purpose = "credit"                 # credit, insurance or marketing
label = "defaulted"                # the column to be foretold
positive = ["yes", "1"]            # its values that count as True
favourable = false                 # is True what the person wants?
population = "applicants of 2024"
order_by = "applied_at"            # optional: text that sorts by time
protected = ["gender"]             # kept aside, for the fairness table alone

[features.income]                  # one table a feature; the name is the column's, or `column` says which
purpose = "what can be paid from"
knots = [1000, 2000, 4000]         # optional
expected_rise = -1.0               # optional: of the log-odds, lowest to highest
[features.housing]
kind = "category"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from local.evaluation.dataset import Labelled, UnusableDataset, find, rows_of
from streams.scoring.models.manifest import Feature, Manifest, RefusedManifest, checked
from streams.versions.packaged_models import MANIFESTS

KEYS = {
    "model",
    "purpose",
    "label",
    "positive",
    "favourable",
    "population",
    "order_by",
    "protected",
    "features",
    "title",
}
FEATURE_KEYS = {"column", "kind", "purpose", "source", "knots", "slots", "expected_rise"}


def load(path: Path, mapping: Path) -> Labelled:
    """The rows of a file as its mapping reads them. Raises UnusableDataset for a mapping that cannot be meant."""
    told = read_mapping(mapping)
    columns = {name: str(spec.get("column", name)) for name, spec in told["features"].items()}
    aside = [str(name) for name in told.get("protected", [])]
    order_by = [told["order_by"]] if "order_by" in told else []
    rows, bad = rows_of(find(path, ".csv", ".parquet", ".json"), (told["label"], *columns.values(), *aside, *order_by))
    if order_by:
        rows.sort(key=lambda row: str(row[order_by[0]]))
    model = str(told.get("model", "mapped"))
    positive = {str(value) for value in told.get("positive", ["1", "1.0", "true", "yes"])}
    labelled = [row for row in rows if row[told["label"]] not in (None, "")]
    excluded = {"unreadable line": bad, "without a label": len(rows) - len(labelled)}
    return Labelled(
        title=str(told.get("title", path.name)),
        source=f"{path.name}, as {mapping.name} reads it",
        population=str(told.get("population", "not stated")),
        label=f"{told['label']} is {' or '.join(sorted(positive))}",
        favourable=bool(told.get("favourable", False)),
        manifest=manifest_of(model, told, mapping),
        packaged=model if model in MANIFESTS else None,
        rows=[{name: row[column] for name, column in columns.items()} for row in labelled],
        labels=np.array([float(str(row[told["label"]]) in positive) for row in labelled]),
        protected={name: [str(row[name]) for row in labelled] for name in aside},
        excluded={reason: number for reason, number in excluded.items() if number},
    )


def read_mapping(mapping: Path) -> dict[str, Any]:
    """The mapping file, its keys checked."""
    try:
        told = tomllib.loads(mapping.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UnusableDataset(f"{mapping} cannot be read: {error}") from None
    unknown = sorted(set(told) - KEYS)
    if unknown:
        raise UnusableDataset(f"{mapping}: unknown key {unknown[0]!r}; there are {', '.join(sorted(KEYS))}")
    for key in ("label", "features"):
        if not told.get(key):
            raise UnusableDataset(f"{mapping}: {key!r} is missing")
    return told


def manifest_of(model: str, told: dict[str, Any], mapping: Path) -> Manifest:
    """The features of a mapping; what lending law protects is refused."""
    known = {f.name: f for f in MANIFESTS[model].features} if model in MANIFESTS else {}
    features = []
    for name, spec in told["features"].items():
        unknown = sorted(set(spec) - FEATURE_KEYS)
        if unknown:
            raise UnusableDataset(f"{mapping}: feature {name!r} has an unknown key {unknown[0]!r}")
        fields = {key: value for key, value in spec.items() if key != "column"}
        fields["knots"] = tuple(float(knot) for knot in fields["knots"]) if "knots" in fields else ()
        features.append(known[name] if name in known and set(spec) <= {"column"} else Feature(name, **fields))
    columns = [str(spec.get("column", name)) for name, spec in told["features"].items()]
    manifest = Manifest(model, told.get("purpose", "credit"), tuple(features))
    try:
        checked(manifest._replace(features=tuple(f._replace(name=c) for f, c in zip(features, columns, strict=True))))
        return checked(manifest)
    except RefusedManifest as error:
        raise UnusableDataset(f"{mapping}: {error}") from None
