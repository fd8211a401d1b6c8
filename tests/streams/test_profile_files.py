"""Profiles as files: the shipped ones, the way there and back, and mistakes that are named."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.categories import Category
from streams.__main__ import app
from streams.versions.packaged_profiles import packaged_profiles
from streams.versions.profile_files import (
    body_of_profile,
    profile_of,
    read_profile,
    sentences_of_profile,
    text_of_profile,
)

GOOD = """
id = "camper"
title = "Camper"
text = "camps"
half_life_days = 30
[[triggers]]
categories = ["lodging", "sport"]
purchases = 3
spent = 120.5
"""


def test_at_least_twenty_profiles_ship_each_in_a_file_of_its_name() -> None:
    folder = files("streams.scoring").joinpath("packaged", "profiles")
    names = sorted(file.name.removesuffix(".toml") for file in folder.iterdir())
    assert names == [profile.profile_id for profile in packaged_profiles()]
    assert sum(profile.enabled for profile in packaged_profiles()) >= 20
    assert len({profile.key for profile in packaged_profiles()}) == len(names)


@pytest.mark.parametrize("profile", packaged_profiles(), ids=lambda profile: profile.profile_id)
def test_a_profile_comes_back_from_its_file_and_from_its_record(profile) -> None:
    assert read_profile(text_of_profile(profile)) == profile
    assert profile_of(json.loads(json.dumps(body_of_profile(profile)))) == profile
    assert profile.title in sentences_of_profile(profile)[0]


def test_a_file_says_what_it_says() -> None:
    profile = read_profile(GOOD)
    (trigger,) = profile.triggers
    assert (profile.enabled, profile.sensitive, profile.purpose) == (True, False, "marketing")
    assert trigger.categories == (Category.LODGING, Category.SPORT)
    assert (trigger.purchases, trigger.spent_minor, trigger.share_of_spending) == (3.0, 12_050, 0.0)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('id = "camper"', 'id = "Camper 1"', "small letters"),
        ('title = "Camper"', "", "title is missing"),
        ("half_life_days = 30", "half_life_days = 0.5", "half_life_days is 0.5; it must be at least 1"),
        ("half_life_days = 30", "half_life_days = true", "half_life_days is true; it must be a number"),
        ("half_life_days = 30", "half_life_days = 30\nhue = 3", "there is no field hue; the fields are id, title"),
        ("half_life_days = 30", 'half_life_days = 30\npurpose = "credit"', "no ground for a credit decision"),
        ("half_life_days = 30", 'half_life_days = 30\nsensitive = "yes"', 'sensitive is "yes"; it must be'),
        ('"sport"', '"sports"', r'triggers\[0\].categories\[1\] is "sports"; it must be one of groceries'),
        ('"sport"', '"unknown"', 'is "unknown"; it must be one of groceries'),
        ('["lodging", "sport"]', "[]", r"triggers\[0\].categories has 0 items; it must have at least 1"),
        ("purchases = 3", "", r"triggers\[0\].purchases is missing"),
        ("spent = 120.5", "share_of_spending = 2", "share_of_spending is 2"),
        ("spent = 120.5", "weight = 2", r"there is no field triggers\[0\].weight"),
        ("[[triggers]]", "[triggers]", "triggers is .* it must be a list"),
        ("purchases = 3", "purchases = ", "not TOML"),
    ],
)
def test_a_mistake_in_a_file_is_named(old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=words):
        read_profile(GOOD.replace(old, new))


def test_the_commands_that_need_no_kafka_work_without_one(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = json.loads(run(app, ["profiles", "list", "--packaged", "--json"]).stdout)
    assert [one["id"] for one in listed["profiles"]] == [profile.profile_id for profile in packaged_profiles()]
    file = tmp_path / "gambler.toml"
    file.write_text(run(app, ["profiles", "show", "gambler", "--packaged"]).stdout)
    checked = run(app, ["profiles", "check", str(file)])
    assert checked.exit_code == 0
    assert "SENSITIVE" in checked.stdout
    assert "switched off" in checked.stdout
    file.write_text("id = 3")
    refused = run(app, ["profiles", "check", str(file)])
    assert refused.exit_code == 2
    assert run(app, ["profiles", "show", "nobody", "--packaged"]).exit_code == 2
