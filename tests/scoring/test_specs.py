"""Declared models: what they may look at, what is refused, how a request becomes a row."""

from __future__ import annotations

import json
import math

import pytest

from streams.commands.challenge import changed
from streams.scoring.models.acceptance import household_row
from streams.scoring.models.manifest import RefusedManifest
from streams.scoring.models.specs import PACKAGED_SPECS, Challenger, body_of_spec, kept_aside, nested, spec_at, spec_of

DTI = {"name": "dti", "knots": [0, 0.3, 0.6]}


@pytest.mark.parametrize("purpose", ["credit", "insurance"])
@pytest.mark.parametrize("feature", [{"name": "gender"}, {"name": "Marital_Status"}, {"name": "x", "protected": True}])
def test_a_protected_attribute_is_refused_in_credit_and_insurance(purpose, feature):
    with pytest.raises(RefusedManifest, match="is protected"):
        spec_of("mine", {"purpose": purpose, "features": [DTI, feature]}, 0)


def test_a_packaged_model_keeps_its_purpose_whatever_is_declared():
    with pytest.raises(ValueError, match="purpose of acceptance is 'marketing'"):
        spec_of("acceptance", {"purpose": "marketing", "features": [{"name": "gender"}]}, 0)
    with pytest.raises(RefusedManifest):
        spec_of("acceptance", {"features": [{"name": "gender"}]}, 0)


@pytest.mark.parametrize(
    "name, body, words",
    [
        ("value", {"purpose": "credit", "features": [DTI]}, "cannot be called"),
        ("a/b", {"purpose": "credit", "features": [DTI]}, "cannot be called"),
        ("mine", {"features": [DTI]}, "purpose of mine"),
        ("mine", {"purpose": "credit"}, "has no features"),
        ("mine", {"purpose": "credit", "features": [DTI, DTI]}, "stands twice"),
        ("mine", {"purpose": "credit", "features": ["never heard of"]}, "no packaged model has a feature"),
        ("mine", {"purpose": "credit", "features": [{"name": "x", "knots": [1, 0]}]}, "do not ascend"),
        ("mine", {"purpose": "credit", "features": [{"name": "x", "kind": "picture"}]}, "neither a number"),
        ("mine", {"purpose": "credit", "features": [{"nome": "x"}]}, "cannot be read"),
        ("mine", {"purpose": "credit", "features": [DTI], "inputs": "gossip"}, "inputs are 'gossip'"),
        ("mine", {"purpose": "credit", "features": [DTI], "begins_with": "x"}, "begins_with is 'x'"),
        ("mine", {"purpose": "credit", "features": [DTI], "colour": "red"}, "a model has no colour"),
        ("mine", {"purpose": "credit", "features": [DTI], "challengers": {"a": {"speed": 1}}}, "challenger 'a'"),
        ("mine", {"purpose": "credit", "features": [DTI], "challengers": {"a": {"features": ["sex"]}}}, "manifest"),
        ("mine", {"purpose": "credit", "features": [DTI], "challengers": {"a": {"half_life_examples": 0}}}, "above 0"),
        ("risk", {"challengers": {"a": {"kind": "net"}}}, "of kind 'net'"),
        ("risk", {"challengers": {"a": {"kind": "tree", "half_life_examples": 5}}}, "a tree has no half_life_examples"),
        ("risk", {"challengers": {"a": {"kind": "tree", "window_examples": 5}}}, "between 100 and 100,000"),
        ("risk", {"challengers": {"a": {"kind": "forest", "one_in": 0}}}, "one_in at least 1"),
        ("risk", {"challengers": {"a": {"one_in": 2}}}, "is for tree and forest alone"),
        ("risk", {"challengers": {"a": {"kind": "tree"}}}, "needs a challenger that is additive"),
        ("risk", {"features": [DTI]}, "give a model with others another name"),
    ],
)
def test_what_can_not_be_declared_is_refused_in_words(name, body, words):
    with pytest.raises(ValueError, match=words):
        spec_of(name, body, 0)


def test_features_of_a_packaged_model_are_named_by_their_names_alone():
    spec = spec_of("mine", {"purpose": "credit", "begins_with": "acceptance", "features": ["ltv", "dti"]}, 0)
    theirs = {feature.name: feature for feature in PACKAGED_SPECS["acceptance"].manifest.features}
    assert spec.manifest.features == (theirs["ltv"], theirs["dti"])


def test_more_challengers_of_a_packaged_model_can_be_declared():
    spec = spec_of("risk", {"challengers": {"slow": {}, "plain": {"features": ["dti"], "prior_variance": 0.3}}}, 0)
    assert spec.manifest == PACKAGED_SPECS["risk"].manifest
    assert set(spec.challengers) == {"slow", "plain"}


def test_trees_and_forests_are_declared_with_their_windows():
    grown = {"tree": {"kind": "tree", "features": ["dti"]}, "grove": {"kind": "forest", "one_in": 8}}
    spec = spec_of("risk", {"challengers": {"steady": {}, **grown}}, 0)
    assert spec.challengers["tree"].window_examples == 10_000
    assert spec.challengers["tree"].features == ("dti",)
    assert (spec.challengers["grove"].window_examples, spec.challengers["grove"].one_in) == (4_000, 8)
    assert [name for name, one in spec.challengers.items() if one.is_grown] == ["tree", "grove"]


@pytest.mark.parametrize("name", [*PACKAGED_SPECS, "mine"])
def test_a_declaration_that_is_written_down_reads_the_same(name):
    mine = {"purpose": "insurance", "features": ["ltv", DTI], "favourable": True, "begins_with": "acceptance"}
    said = mine if name == "mine" else {}
    spec = spec_of(name, said | {"challengers": {"slow": {"half_life_examples": 90, "prior_variance": 0.2}}}, 5)
    for one in (spec, spec_of(name, said, 5), PACKAGED_SPECS.get(name, spec)._replace(effective_ms=5)):
        assert spec_of(name, json.loads(json.dumps(body_of_spec(one))), 5) == one


def test_a_challenger_comes_and_goes_and_the_others_stay():
    spec = PACKAGED_SPECS["risk"]
    more = changed(spec, "grove", {"kind": "forest", "one_in": 8, "window_examples": None})
    assert more["grove"] == {"kind": "forest", "one_in": 8}
    after = spec_of("risk", body_of_spec(spec) | {"challengers": more}, 0)
    assert {name: after.challengers[name] for name in spec.challengers} == spec.challengers
    assert changed(after, "grove", None) == body_of_spec(spec)["challengers"]
    with pytest.raises(ValueError, match="has no challenger 'grove'; it has steady, nimble, tree"):
        changed(spec, "grove", None)
    with pytest.raises(ValueError, match="is the only challenger"):
        changed(spec._replace(challengers={"steady": Challenger()}), "steady", None)


def test_a_request_written_flat_is_read_as_the_source_writes_it():
    request = {"credit": {"loan": 80_000, "value": 180_000, "time": 30, "tin": 3.0}, "client1": {"income": 7_000}}
    flat = {"credit.loan": 80_000.0, "credit.value": 180_000.0, "credit.time": 30.0, "credit.tin": 3.0,
            "client1.income": 7_000.0, "model": "acceptance"}  # fmt: skip
    assert household_row(nested(flat)) == household_row(request)
    row = PACKAGED_SPECS["acceptance"].row(flat, {})
    assert row["ltv"] == pytest.approx(80 / 180, abs=1e-6)
    assert set(row) <= set(PACKAGED_SPECS["acceptance"].manifest.names)


def test_what_is_no_number_and_no_short_word_does_not_get_in():
    spec = spec_of("mine", {"purpose": "credit", "features": [DTI, {"name": "type", "kind": "category"}]}, 0)
    for bad in (math.nan, math.inf, -math.inf, "much", None):
        assert spec.row({"dti": bad, "gender": "f"}, {}) == {}
    assert len(spec.row({"type": "x" * 10_000}, {})["type"]) == 64


def test_protected_attributes_are_kept_aside_and_bounded():
    assert kept_aside({"client1.gender": "female", "race": True, "income": 3.0, "sex": None}) == {
        "client1.gender": "female", "race": "1",
    }  # fmt: skip
    assert len(kept_aside({f"client{i}.sex": "f" for i in range(100)})) == 8


def test_the_declaration_in_force_is_the_last_whose_time_has_come():
    first, second = (spec_of("mine", {"purpose": "credit", "features": [DTI]}, at_ms) for at_ms in (10, 20))
    assert spec_at([first, second], "mine", 9) is None
    assert spec_at([first, second], "mine", 15) is first
    assert spec_at([first, second], "mine", 20) is second
    assert spec_at([], "risk", 0) is PACKAGED_SPECS["risk"]
