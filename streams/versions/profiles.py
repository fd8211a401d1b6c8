"""Versions of lifestyle profiles, and the profiles in force that they make. Taken in by `streams.versions.known`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from state.profiles import PROFILES_MAX, Profile, ProfileBook
from streams.versions.packaged_profiles import packaged_book, packaged_profiles


class Declared(NamedTuple):
    """One published version of a profile."""

    profile: Profile
    version: str
    effective_ms: int


def refuse_profile(profile: Profile, earlier: Sequence[Profile]) -> None:
    """Raise ValueError for a profile that rows cannot hold beside the packaged ones and those published before it."""
    others = {one.profile_id: one.key for one in (*packaged_profiles(), *earlier)}
    if profile.profile_id in others:
        return
    if len(others) >= PROFILES_MAX:
        raise ValueError(f"there are {PROFILES_MAX} profiles already: publish a new version of one of them instead")
    if profile.key in others.values():
        raise ValueError(f"rows cannot tell the id {profile.profile_id!r} from another one: choose another id")


def books_of(declared: Sequence[Declared]) -> Iterator[ProfileBook]:
    """The profiles in force from the beginning, and from each published version on, by effective time."""
    book = packaged_book()
    yield book
    for one in declared:
        held = {profile.profile_id: profile for profile in book.profiles} | {one.profile.profile_id: one.profile}
        book = ProfileBook(one.version, one.effective_ms, tuple(held[name] for name in sorted(held)))
        yield book
