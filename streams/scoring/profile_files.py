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

import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from schemas.categories import CATEGORY_NAMES
from schemas.printable import toml_text
from state.profiles import TRIGGERS_MAX, Profile, Trigger

PURPOSES = ("marketing", "care")
"""What a profile may be for. A credit decision is none of them: what people buy is no ground for it."""

FIELDS = ("id", "title", "text", "purpose", "sensitive", "enabled", "half_life_days", "triggers")
TRIGGER_FIELDS = ("categories", "purchases", "spent", "share_of_spending", "share_of_purchases")
HALF_LIFE_DAYS_MAX = 365
TEXT_BYTES_MAX = 200

_ID = re.compile(r"[a-z][a-z0-9_]{0,39}")


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
    """The profile of a file's fields. Raises ValueError."""
    _only(body, FIELDS, "the profile")
    name = _text(body, "id")
    if not _ID.fullmatch(name):
        raise ValueError(f"id is {name!r}; it is small letters, digits and _, begins with a letter, at most 40 of them")
    purpose = str(body.get("purpose", PURPOSES[0]))
    if purpose not in PURPOSES:
        raise ValueError(
            f"purpose is {purpose!r}; it is one of {', '.join(PURPOSES)}: a profile is no ground for a credit decision"
        )
    triggers = body.get("triggers")
    if not isinstance(triggers, list) or not 1 <= len(triggers) <= TRIGGERS_MAX:
        raise ValueError(f"triggers: there are 1 to {TRIGGERS_MAX} of them, each a table [[triggers]]")
    half_life_days = _number(body, "half_life_days", 1.0, HALF_LIFE_DAYS_MAX)
    return Profile(
        name,
        _text(body, "title"),
        _text(body, "text"),
        tuple(_trigger(trigger, f"trigger {number}") for number, trigger in enumerate(triggers, start=1)),
        half_life_days,
        purpose,
        _flag(body, "sensitive", default=False),
        _flag(body, "enabled", default=True),
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
    said = {"id": profile.profile_id} | {name: getattr(profile, name) for name in FIELDS[1:-1]}
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


def _trigger(body: Any, where: str) -> Trigger:
    if not isinstance(body, dict):
        raise ValueError(f"{where} is no table")  # noqa: TRY004 - a mistake in a file, not of ours
    _only(body, TRIGGER_FIELDS, where)
    categories = body.get("categories")
    known = CATEGORY_NAMES[1:]
    if not isinstance(categories, list) or not categories:
        raise ValueError(f"{where}: categories is a list of one or more of {', '.join(known)}")
    if unknown := [one for one in categories if one not in known]:
        raise ValueError(f"{where}: there is no category {unknown[0]!r}; there are {', '.join(known)}")
    try:
        return Trigger(
            tuple(sorted({CATEGORY_NAMES.index(one) for one in categories})),
            _number(body, "purchases", 1.0, 1_000.0),
            round(_number(body, "spent", 0.01, 1e9, 0.0) * 100),
            _number(body, "share_of_spending", 0.001, 1.0, 0.0),
            _number(body, "share_of_purchases", 0.001, 1.0, 0.0),
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _only(body: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    if unknown := sorted(set(body) - set(known)):
        raise ValueError(f"{what} has no field {unknown[0]!r}; it has {', '.join(known)}")


def _text(body: Mapping[str, Any], name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not 0 < len(text.encode()) <= TEXT_BYTES_MAX:
        raise ValueError(f"{name} is a text of 1 to {TEXT_BYTES_MAX} bytes")
    return text


def _flag(body: Mapping[str, Any], name: str, default: bool) -> bool:
    flag = body.get(name, default)
    if not isinstance(flag, bool):
        raise ValueError(f"{name} is true or false, not {flag!r}")  # noqa: TRY004 - a mistake in a file, not of ours
    return flag


def _number(body: Mapping[str, Any], name: str, least: float, most: float, absent: float | None = None) -> float:
    if name not in body and absent is not None:
        return absent
    number = body.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(f"{name} is missing, or not a number from {least:g} to {most:g}")
    if not least <= number <= most:
        raise ValueError(f"{name} is {number:g}; it is a number from {least:g} to {most:g}")
    return float(number)
