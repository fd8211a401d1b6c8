"""Versions of lifestyle profiles, and of the model that reads descriptions: their records, and what they make.

Both travel on `rescore-config` like policies, and are taken in by `streams.versions`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.codec import Encoder, encode_value
from state.category_text import Counts, TextWeights, body_of_counts, counts_of, text_weights
from state.profiles import PROFILES_MAX, Profile, ProfileBook
from streams.packaged_profiles import packaged_book, packaged_profiles
from streams.scoring.profile_files import body_of_profile, profile_of

PROFILE_PREFIX = "profile."
TEXT_NAME = "categories"
"""Names of their records."""


class Declared(NamedTuple):
    """One published version of a profile."""

    profile: Profile
    version: str
    effective_ms: int


def declared_of(body: Mapping[str, Any], effective_ms: int, earlier: Sequence[Declared]) -> Declared:
    """A version from the fields of its record and those published before it. Raises ValueError."""
    profile = profile_of(json.loads(body["body"]))
    if body["name"] != PROFILE_PREFIX + profile.profile_id:
        raise ValueError(f"{body['name']} has a profile with the id {profile.profile_id!r}")
    others = {one.profile_id: one.key for one in (*packaged_profiles(), *(one.profile for one in earlier))}
    if profile.profile_id not in others:
        if len(others) >= PROFILES_MAX:
            raise ValueError(f"there are {PROFILES_MAX} profiles already: publish one of them anew instead")
        if profile.key in others.values():
            raise ValueError(f"rows can not tell the id {profile.profile_id!r} from another one: choose another id")
    return Declared(profile, str(body["version"]), effective_ms)


def books_of(declared: Sequence[Declared]) -> Iterator[ProfileBook]:
    """The profiles in force from the beginning, and from each published version on, by effective time."""
    book = packaged_book()
    yield book
    for one in declared:
        held = {profile.profile_id: profile for profile in book.profiles} | {one.profile.profile_id: one.profile}
        book = ProfileBook(one.version, one.effective_ms, tuple(held[name] for name in sorted(held)))
        yield book


def text_of(body: Mapping[str, Any], effective_ms: int, _earlier: Sequence[TextWeights]) -> TextWeights:
    """A version of the model that reads descriptions. Raises ValueError."""
    return text_weights(str(body["version"]), effective_ms, counts_of(json.loads(body["body"])))


def profile_record(
    profile: Profile, version: str, effective_ms: int, author: str, reason: str, encoder: Encoder
) -> tuple[str, bytes, bytes]:
    """Topic, key and value of a version of a profile."""
    name = PROFILE_PREFIX + profile.profile_id
    config = {"name": name, "version": version, "effective_ms": effective_ms, "author": author, "reason": reason,
              "body": json.dumps(body_of_profile(profile), sort_keys=True, ensure_ascii=False)}  # fmt: skip
    return "rescore-config", name.encode(), encode_value("Config", config, encoder)


def text_record(
    counts: Counts, version: str, effective_ms: int, author: str, reason: str, encoder: Encoder
) -> tuple[str, bytes, bytes]:
    """Topic, key and value of a version of the model that reads descriptions."""
    config = {"name": TEXT_NAME, "version": version, "effective_ms": effective_ms, "author": author, "reason": reason,
              "body": json.dumps(body_of_counts(counts), separators=(",", ":"))}  # fmt: skip
    return "rescore-config", TEXT_NAME.encode(), encode_value("Config", config, encoder)
