"""Values that a shell completes: scores, bands, topics, profiles. Called by the shell alone."""

from __future__ import annotations

from collections.abc import Iterable


def complete_score(incomplete: str) -> list[str]:
    """Scores."""
    from schemas.kinds import SCORE_NAMES

    return _beginning(incomplete, SCORE_NAMES)


def complete_overridable(incomplete: str) -> list[str]:
    """Scores that a person may fix."""
    from streams.customers.overrides import OVERRIDABLE

    return _beginning(incomplete, OVERRIDABLE)


def complete_band(incomplete: str) -> list[str]:
    """Bands."""
    from schemas.kinds import VALUE_BANDS

    return _beginning(incomplete, VALUE_BANDS)


def complete_input_topic(incomplete: str) -> list[str]:
    """Input topics of customers."""
    from schemas.kinds import INPUT_TOPICS

    return _beginning(incomplete, INPUT_TOPICS)


def complete_profile(incomplete: str) -> list[str]:
    """Packaged profiles; published ones would need Kafka, which a shell does not wait for."""
    from streams.versions.packaged_profiles import packaged_profiles

    return _beginning(incomplete, sorted(profile.profile_id for profile in packaged_profiles()))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    """Those of some names that begin with what is typed."""
    return [name for name in names if name.startswith(incomplete)]
