"""The schemas of broadcast bodies: bounded throughout, the same as what they become, and told on a page."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas.definitions import schema
from state.versions import Policy
from streams.learning.epochs import LearningPolicy
from streams.scoring.models.manifest import Feature
from streams.scoring.models.specs import CUSTOMER, MADE_OF, PACKAGED_SPECS, WINDOWS, Challenger, body_of_spec
from streams.versions.bodies import body_of_learning, body_of_policy, learning_policy_of, model_of, policy_of
from streams.versions.packaged_models import MANIFESTS, packaged_body
from streams.versions.packaged_profiles import packaged_profiles
from streams.versions.profile_files import body_of_profile, profile_of
from streams.versions.reading import declared_model
from streams.versions.schema.base import DEPTH_MAX, Body, RefusedBody, read_object
from streams.versions.schema.models import ChallengerBody, FeatureBody, SpecBody
from streams.versions.schema.page import PAGES, table, written
from streams.versions.schema.policies import LearningBody, PolicyBody
from streams.versions.schema.records import ConfigFields, LearnedFields, RateFields
from streams.versions.schema.weights import WeightsBody

PAGE = Path("docs/versions.md")
NOT_IN_BODY = ("version", "effective_ms")


def test_the_page_is_what_make_docs_writes() -> None:
    text = PAGE.read_text("utf-8")
    assert written(text) == text
    assert all(f"<!-- schema: {name} -->" in text for name in PAGES)
    assert len(table(PolicyBody).splitlines()) == 2 + len(PolicyBody.model_fields)


@pytest.mark.parametrize("kind, body", [(Policy, PolicyBody), (LearningPolicy, LearningBody)])
def test_a_policy_has_the_fields_and_defaults_that_its_schema_has(kind: Any, body: type[Body]) -> None:
    held = {one.name: one.default for one in fields(kind) if one.name not in NOT_IN_BODY}
    described = {name: field.default for name, field in body.model_fields.items()}
    assert {name: list(x) if isinstance(x, tuple) else x for name, x in held.items()} == described


def test_whatever_is_packaged_comes_back_from_its_schema() -> None:
    policy, learning = Policy(base_currency="CZK", time_zone="Europe/Prague"), LearningPolicy(epoch_ms=60_000)
    assert policy_of(json.loads(body_of_policy(policy)), policy.version, policy.effective_ms) == policy
    assert (
        learning_policy_of(json.loads(body_of_learning(learning)), learning.version, learning.effective_ms) == learning
    )
    for name in MANIFESTS:
        assert model_of(packaged_body(name), name, "v").manifest.names == MANIFESTS[name].names
    for name, spec in PACKAGED_SPECS.items():
        assert declared_model(name, json.dumps(body_of_spec(spec)), spec.effective_ms) == spec
    for profile in packaged_profiles():
        assert profile_of(body_of_profile(profile)) == profile


def test_the_words_of_a_declaration_are_those_that_mean_something() -> None:
    described = SpecBody.model_json_schema()["properties"]
    assert set(described["inputs"]["enum"]) == {CUSTOMER, *MADE_OF}
    assert set(described["begins_with"]["enum"]) == {"", *PACKAGED_SPECS}
    assert set(ChallengerBody.model_fields) == set(Challenger._fields)
    assert set(get_args(ChallengerBody.model_fields["kind"].annotation)) == {"additive", *WINDOWS}
    assert set(FeatureBody.model_fields) == set(Feature._fields)


@pytest.mark.parametrize("name, body", [("Config", ConfigFields), ("Weights", LearnedFields), ("FxRate", RateFields)])
def test_every_field_of_the_avro_records_is_checked(name: str, body: type[Body]) -> None:
    avro = {field["name"] for field in schema(name)["fields"]}
    assert avro == set(body.model_fields) | (set(WeightsBody.model_fields) if name == "Weights" else set())


def numbers(described: Any, at: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every description of a number, with its path."""
    found = []
    if isinstance(described, dict):
        if described.get("type") in ("number", "integer"):
            found.append((at, described))
        for name, inner in described.items():
            found += numbers(inner, f"{at}.{name}")
    if isinstance(described, list):
        for inner in described:
            found += numbers(inner, at)
    return found


INFINITE = ("terciles", "quintiles")
"""Cuts may be infinite; a validator of their own bounds the others."""


@pytest.mark.parametrize("name", PAGES)
def test_every_number_is_bounded_and_every_list_and_text_has_a_size(name: str) -> None:
    described = PAGES[name].model_json_schema()
    for at, number in numbers(described):
        if "const" in number or "enum" in number or any(word in at for word in INFINITE):
            continue
        assert {"minimum", "exclusiveMinimum"} & set(number), at
        assert {"maximum", "exclusiveMaximum"} & set(number), at
    for field in described["properties"].values():
        assert field.get("description")
        if field.get("type") == "array":
            assert "maxItems" in field, field


@pytest.mark.parametrize(
    "text, words",
    [
        ("[" * 100_000, "nested more than 16 levels"),
        ('{"a": ' * (DEPTH_MAX + 1) + "1" + "}" * (DEPTH_MAX + 1), "nested more than 16 levels"),
        ('{"a": "[[[[[[[[[[[[[[[[[[[[[["}', None),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "c appears twice in one object"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1e400}', "1e400 is not a number that 64 bits hold"),
        ('{"a": ' + "9" * 5_000 + "}", "is a number of 5,000 digits; 64 bits hold at most 19"),
        ('{"a": 1', "the body is not JSON"),
        ("", "the body is not JSON"),
        ("x" * (4 * 2**20 + 1), "has 4,194,305 characters"),
        ("5", "the body is 5, not an object"),
        (None, "the body is missing"),
        ('{"a": "\\ud800"}', None),
    ],
)
def test_json_is_read_strictly(text: Any, words: str | None) -> None:
    if words is None:
        assert read_object(text, "policy")
        return
    with pytest.raises(RefusedBody) as refused:
        read_object(text, "policy")
    assert words in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_reason_shows_no_terminal_escapes_and_no_more_than_is_needed() -> None:
    body = {"value_step": "\x1b[2J", "cost_rates": list(range(10_000)), "\x1b]0;": 1, "promo_rate": -1, "label_days": 0}
    with pytest.raises(RefusedBody) as refused:
        policy_of(body, "p", 0)
    reason = str(refused.value)
    assert reason.isprintable()
    assert 'value_step is "\\u001b[2J"; it must be a number' in reason
    assert reason.endswith("; 2 more")
