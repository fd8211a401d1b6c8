"""Profiles as files: what a person writes, checked field by field, and the JSON object that workers read.

id = "pet_owner"
title = "Pet owner"
text = "buys for an animal again and again"
purpose = "marketing"            # or "care": for the customer's own protection
sensitive = false
enabled = true
half_life_days = 90

[[triggers]]                     # one to four; the best one counts
categories = ["pets"]
purchases = 3                    # met in full with so many; needed in each trigger
share_of_purchases = 0.02        # likewise, as a share of all purchases; optional, as are
                                 # share_of_spending and spent (in the base currency)
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from schemas.categories import CATEGORY_NAMES
from schemas.printable import toml_text
from state.profiles import Profile, Trigger
from streams.versions.schema.base import checked
from streams.versions.schema.profiles import ProfileBody, TriggerBody

FIELDS = ("title", "text", "purpose", "sensitive", "enabled", "half_life_days")
"""Fields of a file that are the profile's own, beside its id and triggers."""


def read_profile(text: str) -> Profile:
    r"""The profile of a file. Raises ValueError that says which field is wrong and what it may be.

    >>> file = 'id = "pet_owner"\ntitle = "Pet owner"\ntext = "has a pet"\nhalf_life_days = 90\n'
    >>> read_profile(file + '[[triggers]]\ncategories = ["pets"]\npurchases = 3\n').triggers[0].purchases
    3.0
    """
    try:
        return profile_of(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from error


def profile_of(body: Mapping[str, Any]) -> Profile:
    """The profile of a file's fields. Raises RefusedBody, a ValueError, that names the field."""
    made = checked(ProfileBody, body, "profile")
    return Profile(
        made.id,
        made.title,
        made.text,
        tuple(_trigger(trigger) for trigger in made.triggers),
        float(made.half_life_days),
        made.purpose,
        made.sensitive,
        made.enabled,
    )


def _trigger(body: TriggerBody) -> Trigger:
    return Trigger(
        tuple(sorted({CATEGORY_NAMES.index(one) for one in body.categories})),
        float(body.purchases),
        round((body.spent or 0.0) * 100),
        float(body.share_of_spending or 0.0),
        float(body.share_of_purchases or 0.0),
    )


def body_of_profile(profile: Profile) -> dict[str, Any]:
    """The fields of a profile's file: what `profile_of` reads."""
    triggers = [
        {
            "categories": [CATEGORY_NAMES[category] for category in trigger.categories],
            "purchases": trigger.purchases,
            "spent": trigger.spent_minor / 100,
            "share_of_spending": trigger.share_of_spending,
            "share_of_purchases": trigger.share_of_purchases,
        }
        for trigger in profile.triggers
    ]
    said = {"id": profile.profile_id} | {name: getattr(profile, name) for name in FIELDS}
    return said | {"triggers": [{name: value for name, value in one.items() if value} for one in triggers]}


def text_of_profile(profile: Profile) -> str:
    """The profile as a file: what `read_profile` reads."""
    body = body_of_profile(profile)
    lines = [f"{name} = {_toml(value)}" for name, value in body.items() if name != "triggers"]
    for trigger in body["triggers"]:
        lines += ["", "[[triggers]]", *(f"{name} = {_toml(value)}" for name, value in trigger.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | list):
        return toml_text(value)
    return f"{value:g}"


def sentences_of_profile(profile: Profile, enter: float = 0.60) -> list[str]:
    """When a customer would have the profile, in words."""
    lines = [f"{profile.title} ({profile.profile_id}): {profile.text}"]
    for trigger in profile.triggers:
        names = ", ".join(CATEGORY_NAMES[category] for category in trigger.categories)
        parts = [f"{trigger.purchases * enter:.2g} purchases"]
        if trigger.spent_minor:
            parts.append(f"{trigger.spent_minor * enter / 100:,.2f} spent")
        for share, what in ((trigger.share_of_spending, "all spending"), (trigger.share_of_purchases, "all purchases")):
            if share:
                parts.append(f"{share * enter:.1%} of {what}")
        lines.append(f"  entered with {', '.join(parts)} in {names}, as they weigh on the day")
    lines.append(f"  fades by half in {profile.half_life_days:g} days without such purchases")
    use = "marketing" if profile.purpose == "marketing" else "the customer's own protection"
    lines.append(f"  for {use}; refused in credit decisions" + ("; SENSITIVE: with consent alone" * profile.sensitive))
    if not profile.enabled:
        lines.append("  switched off: nobody has it")
    return lines
