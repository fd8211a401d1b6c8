"""The last people who asked, as the model saw them: what challengers are compared on, and who has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

SIZE = 1_000


class RecentRow(NamedTuple):
    """One person's inputs; the hash is there so that an erasure finds it."""

    at_ms: int
    user_hash: str
    inputs: Mapping[str, float | str]


class RecentRows:
    """A ring of the last `SIZE` rows. `changed` are the places written since whoever keeps the rows last looked."""

    def __init__(self) -> None:
        self._places: dict[int, RecentRow] = {}
        self._next = 0
        self.changed: dict[int, RecentRow | None] = {}

    def take(self, user_hash: bytes, at_ms: int, inputs: Mapping[str, float | str]) -> None:
        """One more, in the place of the oldest."""
        place = self._next % SIZE
        self._places[place] = self.changed[place] = RecentRow(at_ms, user_hash.hex(), dict(inputs))
        self._next += 1

    def rows(self) -> list[Mapping[str, Any]]:
        """The inputs, by their places."""
        return [self._places[place].inputs for place in sorted(self._places)]

    def forget(self, erased_ms: Mapping[bytes, int]) -> None:
        """Drop the rows of erased customers."""
        gone = {user.hex(): at_ms for user, at_ms in erased_ms.items()}
        for place, row in list(self._places.items()):
            if row.user_hash in gone and row.at_ms <= gone[row.user_hash]:
                del self._places[place]
                self.changed[place] = None

    @property
    def next_place(self) -> int:
        """How many were taken so far."""
        return self._next

    def restore(self, places: Iterable[tuple[int, list[Any]]], next_place: int) -> None:
        """Begin with these rows."""
        self._places = {place: RecentRow(*row) for place, row in places}
        self._next = next_place
        self.changed.clear()
