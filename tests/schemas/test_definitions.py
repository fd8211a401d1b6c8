"""The schema files: documented, compatible with what was released, and known by names that never change."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.compatibility import compare, incompatibilities
from schemas.definitions import SCHEMA_NAMES, SCHEMA_OF_TOPIC, fingerprint_of, parsed, released, schema
from schemas.kinds import INPUT_TOPICS
from schemas.plan import SLOT_OF_FIELD, plan_of


def records_in(avro_type: Any) -> Iterator[dict[str, Any]]:
    """Every record that a schema defines, itself included."""
    if isinstance(avro_type, list):
        for branch in avro_type:
            yield from records_in(branch)
    elif isinstance(avro_type, dict):
        if avro_type["type"] == "record":
            yield avro_type
            for field in avro_type["fields"]:
                yield from records_in(field["type"])
        for inner in ("items", "values"):
            yield from records_in(avro_type.get(inner))


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_every_record_and_field_says_what_it_is(name: str) -> None:
    assert schema(name)["namespace"] == "rescore"
    for record in records_in(schema(name)):
        assert len(record["doc"]) > 10
        for field in record["fields"]:
            assert field["doc"].endswith("."), f"{record['name']}.{field['name']}"


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_what_may_be_missing_is_null_by_default(name: str) -> None:
    for record in records_in(schema(name)):
        for field in record["fields"]:
            if isinstance(field["type"], list) and "null" in field["type"]:
                assert field["type"][0] == "null"
                assert field["default"] is None


def test_every_current_schema_is_fully_compatible_with_every_released_version() -> None:
    assert incompatibilities() == []


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_every_schema_has_been_released(name: str) -> None:
    assert 1 in released(name)


def test_a_field_without_default_would_break_the_promise() -> None:
    newer = copy.deepcopy(schema("FxRate"))
    newer["fields"].append({"name": "source", "type": "string", "doc": "Who says so."})
    broken = compare("FxRate", 1, newer, schema("FxRate"))
    assert [one.reader for one in broken] == ["the current schema"]


def test_a_field_that_is_taken_away_would_break_the_promise() -> None:
    newer = copy.deepcopy(schema("FxRate"))
    newer["fields"] = newer["fields"][:-1]
    assert [one.reader for one in compare("FxRate", 1, newer, schema("FxRate"))] == ["version 1"]


def test_every_input_topic_has_a_schema() -> None:
    assert set(INPUT_TOPICS) <= set(SCHEMA_OF_TOPIC)


@pytest.mark.parametrize("name", sorted(SLOT_OF_FIELD))
def test_every_slot_is_a_field_of_the_current_schema_and_has_a_plan(name: str) -> None:
    own = {field["name"] for field in schema(name)["fields"]}
    assert {path.partition(".")[0] for path in SLOT_OF_FIELD[name]} <= own
    assert plan_of(parsed(name), parsed(name)) is not None


GOLDEN = {
    "Transaction": "943b93317cdc621f",
    "LoanEvent": "1f7cd8bd6360d0bc",
    "ScoreChange": "db81c3e44bba4dfd",
    "Scorecard": "6130e71970e16f54",
}
"""Fingerprints of released version 1: values that carry them are in topics, so that these bytes never change."""


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_released_schemas_keep_their_fingerprints(name: str) -> None:
    assert fingerprint_of(released(name)[1]).hex() == GOLDEN[name]
