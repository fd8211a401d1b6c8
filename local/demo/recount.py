"""Was it exactly once? A recount of everything that was published, from the topics alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Recount:
    """What a reader of the topics found. All is well where `twice`, `gaps` and `differing` are 0."""

    changes: int
    customers: int
    scores: int
    twice: int  # change ids that came more than once
    gaps: int  # places where a sequence does not follow the one before
    scorecards: int
    differing: int  # scorecards that do not agree with the last changes of their customer

    @property
    def exact(self) -> bool:
        """Every change once, every sequence whole, every scorecard at its customer's last changes."""
        return not (self.twice or self.gaps or self.differing)


def recount(change_ids: Iterable[str], scorecards: Mapping[str, Mapping[str, Any] | None]) -> Recount:
    """Count changes in the order of their topic's partitions, and compare where they end with the scorecards.

    `scorecards` are the last ones by user_id, None where the customer was erased. Memory: one entry a change.

    >>> card = {"incarnation": "3-0", "sequences": {"value": 2}}
    >>> recount(["ann/value/3-0/1", "ann/value/3-0/2"], {"ann": card}).exact
    True
    >>> recount(["ann/value/3-0/1", "ann/value/3-0/3", "ann/value/3-0/3"], {"ann": card})
    Recount(changes=3, customers=1, scores=1, twice=1, gaps=1, scorecards=1, differing=1)
    """
    seen: set[str] = set()
    last: dict[tuple[str, str, str], int] = {}
    changes = twice = gaps = 0
    for change_id in change_ids:
        changes += 1
        user, score, incarnation, number = change_id.rsplit("/", 3)
        if change_id in seen:
            twice += 1
            continue
        seen.add(change_id)
        key = user, incarnation, score
        gaps += int(number) != last.get(key, 0) + 1
        last[key] = int(number)
    customers = {user for user, _, _ in last}
    ends: dict[tuple[str, str], dict[str, int]] = {}
    for (user, incarnation, score), sequence in last.items():
        ends.setdefault((user, incarnation), {})[score] = sequence
    differing = sum(
        card is not None and _sequences(card) != ends.get((user, card["incarnation"]), {})
        for user, card in scorecards.items()
    )
    missing = len(customers - scorecards.keys())
    return Recount(changes, len(customers), len(last), twice, gaps, len(scorecards), differing + missing)


def _sequences(card: Mapping[str, Any]) -> dict[str, int]:
    return {score: number for score, number in card["sequences"].items() if number}
