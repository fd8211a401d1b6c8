"""The schemas that ship with the program: the current ones and every released version of them.

A schema's fingerprint (CRC-64-AVRO of its parsing canonical form) names it in single-object encoding, so that what was
written with any released version can be read with no registry at hand.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

Schema = dict[str, Any]
"""An Avro schema as parsed from JSON."""

SCHEMA_OF_TOPIC: dict[str, str] = {
    "commands": "Command",
    "applicants": "Applicant",
    "loans": "LoanEvent",
    "transactions": "Transaction",
    "outcomes": "Outcome",
    "fx-rates": "FxRate",
    "rescore-weights": "Weights",
    "rescore-config": "Config",
    "score-changes": "ScoreChange",
    "scorecards": "Scorecard",
    "point-scores": "PointScore",
    "actions": "Action",
    "rescore-state": "Progress",
    "rescore-journal": "Inversion",
    "rescore-examples": "Example",
}
"""What the values of a topic are. (In rescore-state only the progress records are Avro: the rest are rows.)"""

SCHEMA_NAMES: tuple[str, ...] = tuple(sorted(SCHEMA_OF_TOPIC.values()))


@cache
def schema(name: str) -> Schema:
    """The current schema of this name, as its file says it.

    >>> [field["name"] for field in schema("FxRate")["fields"]]
    ['currency', 'base_currency', 'effective_at', 'rate']
    """
    return _read(_folder().joinpath(f"{name}.avsc"))


@cache
def parsed(name: str) -> Schema:
    """The current schema of this name in the form that fastavro writes with."""
    return parse(schema(name))


def parse(written: Schema) -> Schema:
    """A schema of ours in fastavro's own form, which names every type in full. Raises SchemaParseException.

    Schemas of others are read by `schemas.foreign`, which trusts nothing.
    """
    return cast("Schema", fastavro.parse_schema(written))


@cache
def released(name: str) -> dict[int, Schema]:
    """Every released version of a schema by its number; empty for one not released yet."""
    versions = {
        int(folder.name): folder.joinpath(f"{name}.avsc") for folder in _folder().joinpath("released").iterdir()
    }
    return {version: _read(file) for version, file in sorted(versions.items()) if file.is_file()}


def fingerprint_of(written: Any) -> bytes:
    """Eight bytes that name a schema, in the order in which single-object encoding writes them.

    >>> fingerprint_of({"type": "string"}).hex()  # known answer of the Avro specification's algorithm
    'c70345637248018f'
    """
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(written), "CRC-64-AVRO"))


def _folder() -> Traversable:
    return files("schemas").joinpath("avro")


def _read(file: Traversable) -> Schema:
    written: Schema = json.loads(file.read_text("utf-8"))
    return written
