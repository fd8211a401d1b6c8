"""Names of the versions in force, by the index that changes and cards refer to them with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.writing import ProfileWords, VersionNames
from state.profiles import ProfileBook
from state.versions import Versions


def names_of(versions: Versions) -> VersionNames:
    """The names: of the weights and behind them of the risk models and the profiles, and of the policies with bands."""
    return VersionNames(
        (
            *(weights.version for weights in versions.weights),
            *(risk.version for risk in versions.risk),
            *(book.version for book in versions.books),
        ),
        tuple(policy.version for policy in versions.policies),
        tuple(policy.value_band_floors for policy in versions.policies),
        tuple(policy.risk_band_floors for policy in versions.policies),
        versions.profile_ids,
        tuple(words for book in versions.books for words in _words_of(book, versions.profile_ids)),
    )


def _words_of(book: ProfileBook, ids: Sequence[str]) -> Iterator[ProfileWords]:
    known = {profile.profile_id: profile for profile in book.profiles}
    for name in ids:
        profile = known.get(name)
        if profile is None:
            yield ProfileWords("", "", "", sensitive=False)
        else:
            yield ProfileWords(profile.title, profile.text, profile.purpose, profile.sensitive)
