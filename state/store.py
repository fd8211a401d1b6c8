"""Where rows rest between batches: the protocol every store keeps, and its in-memory twin.

A store never decides anything. It holds, for each partition, the rows of its users, an index of all of them by due
time, and one `Position` that says which committed state this is. All of a `save` happens or none of it.

A store can lose single keys: a server evicts them, or somebody deletes them. Three things tell: the number of users is
kept next to the position, the index has that many members, and every member has a row. So a missing row of a member is
never taken for a new user. A row or an index that was replaced by an older copy of itself is not noticed here.
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
    lost: int = (
        0  # users that the store has lost something of, as far as this question could tell; 0 in what is written
    )


class RowWrite(NamedTuple):
    """After-image of one row. `row` None deletes it and takes the user out of the index. `due_ms` None: never due."""

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

UsersAt = tuple["list[bytes]", bytes, Position | None]
"""Users, the cursor to go on with (empty: all were named), and the position they belong to."""


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
        read, and be back (a failover to a replica that is up to date) when the position is. `lost` of the position
        counts the members that the index lacks, else the users asked for who are members and have no row. Missing rows
        take a second round trip. None as well where the store moved between the two.
        """

    def load_all(self, wanted: Mapping[int, Sequence[bytes]]) -> dict[int, RowsAt]:
        """`load_at` of several partitions, in as many round trips as one takes."""

    def users_at(self, partition: int, cursor: bytes, limit: int) -> UsersAt:
        """Some users of the index, about `limit`; `cursor` is empty at first.

        Everyone who is in the index from the first call to the last is named, perhaps more than once.
        """

    def verify(self, partition: int, cursor: bytes, limit: int) -> tuple[bytes, Position | None]:
        """Look whether about `limit` users of the index still have rows: the next cursor, and a position whose `lost`
        counts those who have none. None as well where the store moved meanwhile.
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
        """Move due times alone: a check that emitted nothing changes no row, no clock and no log.

        Who is not in the index stays out of it.
        """

    def evicts(self) -> str:
        """Why the server may delete rows by itself, and what to do; empty where it does not."""


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
