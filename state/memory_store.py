"""The store in memory: the twin of `state.redis_store` for tests, simulations and one-off runs.

It says the same as Redis does, by one contract test and a state machine that drives both. Nothing survives the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from state.errors import StoreAhead, StoreUnavailable
from state.store import OneByOne, Position, RowsAt, RowWrite, SaveOutcome, UsersAt

_LEFT = "partition {} was taken by another session, or the server lost a part, while it was rebuilt"


@dataclass
class _Held:
    """One partition: three things that a server may lose apart from each other."""

    position: Position | None
    rows: dict[bytes, bytes] = field(default_factory=dict)
    due_ms: dict[bytes, int | None] = field(default_factory=dict)  # the index of everybody; None: never due
    users: int = 0  # added to the index, less those removed: kept next to the position
    parts: int = 0  # written so far of a rebuild

    def write(self, writes: Iterable[RowWrite]) -> None:
        for user, row, due_ms in writes:
            before = len(self.due_ms)
            if row is None:
                self.rows.pop(user, None)
                self.due_ms.pop(user, None)
            else:
                self.rows[user] = row
                self.due_ms[user] = due_ms
            self.users += len(self.due_ms) - before

    def seen(self, asked: Iterable[bytes] = ()) -> Position | None:
        """The position, with what was lost as far as the count of users and the rows of those asked for tell."""
        if self.position is None or not self.position.ready:
            return self.position
        missing = sum(user in self.due_ms and user not in self.rows for user in asked)
        return self.position._replace(lost=abs(self.users - len(self.due_ms)) or missing)


class MemoryStore(OneByOne):
    """Keeps `state.store.Store` in dictionaries. One instance may serve several workers: all see the same state.

    >>> store = MemoryStore()
    >>> store.restore(0, Position(0, "session", -1), [])
    >>> store.save(0, 0, Position(1, "session", 7), [RowWrite(b"ann", b"row", 1_000)])
    <SaveOutcome.OK: 'ok'>
    >>> store.load(0, [b"ann", b"bob"]), store.due(0, 1_000, 10)
    ([b'row', None], [b'ann'])
    """

    def __init__(self) -> None:
        self._partitions: dict[int, _Held] = {}

    def check(self) -> None:
        """Nothing can be wrong with it."""

    def forget(self, partition: int, users: Iterable[bytes] = (), *, index: bool = False, meta: bool = False) -> None:
        """Lose keys as a server does that evicts them: rows of users, the index, what says where the partition is."""
        held = self._partitions.get(partition)
        if held is None:
            return
        for user in users:
            held.rows.pop(user, None)
        if index:
            held.due_ms.clear()
        if meta:
            held.position, held.users, held.parts = None, 0, 0

    def position(self, partition: int) -> Position | None:
        """See `Store`."""
        held = self._partitions.get(partition)
        return held.seen() if held else None

    def claim(self, partition: int, nonce: str) -> Position | None:
        """See `Store`."""
        held = self._partitions.get(partition)
        if held is None or held.position is None:
            return None
        held.position = held.position._replace(nonce=nonce)
        return held.seen()

    def load(self, partition: int, users: Sequence[bytes]) -> list[bytes | None]:
        """See `Store`."""
        held = self._partitions.get(partition)
        return [held.rows.get(user) if held else None for user in users]

    def load_at(self, partition: int, users: Sequence[bytes]) -> RowsAt:
        """See `Store`."""
        held = self._partitions.get(partition)
        return self.load(partition, users), held.seen(dict.fromkeys(users)) if held else None

    def read(self, user: bytes, partition: int) -> tuple[bytes | None, Position | None]:
        """Row and position of one moment, for readers: no row counts while the position is None or not ready.

        A user who has no row while the position has `lost` something may be known: the partition is to be rebuilt.
        """
        [row], position = self.load_at(partition, [user])
        return row, position

    def users_at(self, partition: int, cursor: bytes, limit: int) -> UsersAt:
        """See `Store`: by name. A cursor is the last name behind a sign, as a name may be empty."""
        held = self._partitions.get(partition)
        rest = (user for user in held.due_ms if not cursor or user > cursor[1:]) if held else ()
        found = nsmallest(limit, rest)
        return found, b">" + found[-1] if found and len(found) == limit else b"", self.position(partition)

    def verify(self, partition: int, cursor: bytes, limit: int) -> tuple[bytes, Position | None]:
        """See `Store`."""
        users, after, _ = self.users_at(partition, cursor, limit)
        return after, self.load_at(partition, users)[1]

    def evicts(self) -> str:
        """It does not."""
        return ""

    def due(self, partition: int, until_ms: int, limit: int) -> list[bytes]:
        """See `Store`."""
        held = self._ready(partition)
        if held is None:
            return []
        due = ((due_ms, user) for user, due_ms in held.due_ms.items() if due_ms is not None and due_ms <= until_ms)
        return [user for _, user in nsmallest(limit, due)]

    def earliest_due_ms(self, partition: int) -> int | None:
        """See `Store`."""
        held = self._ready(partition)
        return min((due_ms for due_ms in held.due_ms.values() if due_ms is not None), default=None) if held else None

    def earliest_due_at(self, partition: int) -> tuple[int | None, Position | None]:
        """See `Store`."""
        return self.earliest_due_ms(partition), self.position(partition)

    def save(self, partition: int, expected_seq: int, position: Position, writes: Sequence[RowWrite]) -> SaveOutcome:
        """See `Store`. Raises `StoreAhead`."""
        held = self._partitions.get(partition)
        if held is None or held.position is None:
            return SaveOutcome.MISSING
        if held.position.nonce != position.nonce:
            return SaveOutcome.FENCED
        if not held.position.ready:
            return SaveOutcome.MISSING
        if held.position.seq == position.seq:
            return SaveOutcome.ALREADY
        if held.position.seq < expected_seq:
            return SaveOutcome.BEHIND
        if held.position.seq > expected_seq:
            raise StoreAhead(
                f"partition {partition}: the store is at transaction {held.position.seq}, "
                f"transaction {position.seq} was to follow {expected_seq}"
            )
        held.write(writes)
        held.position = position._replace(ready=True)
        return SaveOutcome.OK

    def restore(self, partition: int, position: Position, chunks: Iterable[Sequence[RowWrite]]) -> None:
        """See `Store`. Raises `StoreUnavailable` where another session has taken the partition meanwhile, or an older
        copy has come back.
        """
        self._partitions[partition] = _Held(position._replace(ready=False))
        self._fill(partition, position, chunks)

    def follow(
        self, partition: int, expected_seq: int, position: Position, chunks: Iterable[Sequence[RowWrite]]
    ) -> None:
        """See `Store`. Raises `StoreUnavailable` as `restore` does, and where the store is not at `expected_seq`."""
        held = self._ready(partition)
        at = held.position if held else None
        if held is None or at is None or (at.seq, at.nonce) != (expected_seq, position.nonce):
            raise StoreUnavailable(_LEFT.format(partition))
        held.position, held.parts = position._replace(ready=False), 0
        self._fill(partition, position, chunks)

    def _fill(self, partition: int, position: Position, chunks: Iterable[Sequence[RowWrite]]) -> None:
        parts = 0
        for parts, chunk in enumerate(chunks, 1):
            self._under_rebuild(partition, position.nonce, parts - 1).write(chunk)
            self._partitions[partition].parts = parts
        held = self._under_rebuild(partition, position.nonce, parts)
        if held.users != len(held.due_ms):
            raise StoreUnavailable(_LEFT.format(partition))
        held.position = position._replace(ready=True)

    def index(self, partition: int, dues: Sequence[tuple[bytes, int | None]]) -> None:
        """See `Store`. Does nothing where the partition is not ready."""
        held = self._ready(partition)
        if held is not None:
            held.due_ms |= {user: due_ms for user, due_ms in dues if user in held.due_ms}

    def _ready(self, partition: int) -> _Held | None:
        held = self._partitions.get(partition)
        return held if held is not None and held.position is not None and held.position.ready else None

    def _under_rebuild(self, partition: int, nonce: str, parts: int) -> _Held:
        held = self._partitions.get(partition)
        at = held.position if held else None
        if held is None or at is None or at.ready or at.nonce != nonce or held.parts != parts:
            raise StoreUnavailable(_LEFT.format(partition))
        return held
