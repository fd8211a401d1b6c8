"""Where rows rest between batches: the protocol every store keeps, and its in-memory twin.

A store never decides anything. It holds, for each partition, the rows of its users, an index of due times, and one
`Position` that says which committed state this is. All of a `save` happens or none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from state.errors import StoreAhead


class Position(NamedTuple):
    """Which committed state a partition's rows are.

    `seq` counts the partition's transactions from 1, `nonce` names the worker session that wrote last, `state_offset`
    is the offset of the progress record of transaction `seq` in the changelog topic.
    """

    seq: int
    nonce: str
    state_offset: int
    ready: bool = True  # False while a rebuild is under way: readers answer 503


class RowWrite(NamedTuple):
    """After-image of one row: `row` None deletes it. `due_ms` None takes it out of the index of due times."""

    user: bytes
    row: bytes | None
    due_ms: int | None


class SaveOutcome(Enum):
    """What the store answered to a fenced write."""

    OK = "ok"
    ALREADY = "already"  # this seq is there: the write had arrived before
    BEHIND = "behind"  # the store holds an older state than expected: re-apply from the changelog
    FENCED = "fenced"  # another session has written since: this worker is a zombie
    MISSING = "missing"  # the partition is not there at all: rebuild


class Save(NamedTuple):
    """What is written of one partition: see `Store.save`."""

    partition: int
    expected_seq: int
    position: Position
    writes: Sequence[RowWrite]


RowsAt = tuple["list[bytes | None]", Position | None]
"""Rows, and the position they belong to."""


class Store(Protocol):
    """Rows, due times and position of partitions."""

    def check(self) -> None:
        """Refuse settings that would lose data; raises `RefusedSettings` naming the remedy."""

    def position(self, partition: int) -> Position | None:
        """Position of the partition, or None if the store does not know it."""

    def claim(self, partition: int, nonce: str) -> Position | None:
        """Make `nonce` the session that may write; returns the position with the new nonce, or None if missing."""

    def load(self, partition: int, users: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the users, in one round trip; None for a user without one."""

    def load_at(self, partition: int, users: Sequence[bytes]) -> RowsAt:
        """Rows of the users and the position they belong to, of one moment and in one round trip.

        A position that is asked for after the rows proves nothing: the store may have been emptied when the rows were
        read, and be back (a failover to a replica that is up to date) when the position is.
        """

    def load_all(self, wanted: Mapping[int, Sequence[bytes]]) -> dict[int, RowsAt]:
        """`load_at` of several partitions, in one round trip."""

    def users(self, partition: int, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """Some users with a row, about `limit`, and the cursor to go on with: empty at first, and when all were named.

        Everyone who has a row from the first call to the last is named, perhaps more than once.
        """

    def due(self, partition: int, until_ms: int, limit: int) -> list[bytes]:
        """Users due by `until_ms`, earliest first (ties by user id), at most `limit`."""

    def earliest_due_ms(self, partition: int) -> int | None:
        """The earliest due time of the partition, None if nothing is due."""

    def earliest_due_at(self, partition: int) -> tuple[int | None, Position | None]:
        """Likewise, and the position it belongs to, of one moment."""

    def save(self, partition: int, expected_seq: int, position: Position, writes: Sequence[RowWrite]) -> SaveOutcome:
        """Write rows and index and move to `position`, if the store is at (`expected_seq`, `position.nonce`)."""

    def save_all(self, saves: Sequence[Save]) -> list[SaveOutcome | StoreAhead]:
        """`save` of several partitions, in one round trip; each is written or refused by itself."""

    def restore(self, partition: int, position: Position, chunks: Iterable[Sequence[RowWrite]]) -> None:
        """Rebuild a partition from nothing: not ready from the first call to the last, then at `position`."""

    def follow(
        self, partition: int, expected_seq: int, position: Position, chunks: Iterable[Sequence[RowWrite]]
    ) -> None:
        """A `save` in pieces, of more rows than one call may hold: not ready from the first to the last."""

    def index(self, partition: int, dues: Sequence[tuple[bytes, int | None]]) -> None:
        """Move due times alone: a check that emitted nothing changes no row, no clock and no log."""


class OneByOne:
    """Several partitions one after the other: for stores to which a round trip is nothing."""

    def load_all(self: Store, wanted: Mapping[int, Sequence[bytes]]) -> dict[int, RowsAt]:
        """See `Store`."""
        return {partition: self.load_at(partition, users) for partition, users in wanted.items()}

    def save_all(self: Store, saves: Sequence[Save]) -> list[SaveOutcome | StoreAhead]:
        """See `Store`."""
        outcomes: list[SaveOutcome | StoreAhead] = []
        for save in saves:
            try:
                outcomes.append(self.save(*save))
            except StoreAhead as ahead:
                outcomes.append(ahead)
        return outcomes
