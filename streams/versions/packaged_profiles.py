"""The profiles that are packaged: in force from the beginning, until a version of the same name is published."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from schemas.batch import BEGINNING_MS
from state.profiles import Profile, ProfileBook
from streams.versions.profile_files import read_profile

PACKAGED_BOOK = "profiles-1"


@cache
def packaged_profiles() -> tuple[Profile, ...]:
    """All of them by name; a test holds that every file can be read."""
    folder = files("streams.scoring").joinpath("packaged", "profiles")
    texts = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".toml")}
    return tuple(read_profile(texts[name]) for name in sorted(texts))


@cache
def packaged_book() -> ProfileBook:
    """The profiles in force where none were published."""
    return ProfileBook(PACKAGED_BOOK, BEGINNING_MS, packaged_profiles())
