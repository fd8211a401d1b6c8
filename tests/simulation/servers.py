"""The store as a server with a network before it: writes that are lost, that arrive late, copies that come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from random import Random
from typing import TypeVar

from state.errors import StoreUnavailable
from state.memory_store import MemoryStore
from state.store import OneByOne, Position, RowsAt, RowWrite, SaveOutcome, UsersAt

Reach = Callable[[str], None]
"""Called with the name of each call before it goes out: the scheduler may let others go first, or end the caller."""

Answer = TypeVar("Answer")

WRITE_FAULTS = ("lost", "answer lost", "late")

_SHARES = (0.0, 0.01, 0.01, 0.3, 0.8, 1.0)
"""Of the rows of a partition that a server forgets; of one row at least, where it is not none."""


class StoreServer:
    """One server that all workers share. What is `late` arrives when `deliver` says so."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.copies: list[MemoryStore] = []
        self.late: list[tuple[str, Callable[[], object]]] = []
        self.is_down = False

    def keep_copy(self) -> None:
        """What a replica has, or a snapshot on disk."""
        self.copies = [*self.copies[-2:], self._copied(self.store)]

    def put_back(self, index: int) -> None:
        """An older copy takes over."""
        vars(self.store).update(vars(self._copied(self.copies[index])))

    def flush(self) -> None:
        """Everything is gone."""
        vars(self.store).update(vars(MemoryStore()))

    def forget(self, random: Random) -> str:
        """Keys are evicted or deleted: any of them, a few or many; says which."""
        partitions = [number for number, held in self.store._partitions.items() if held.rows or held.due_ms]
        if not partitions:
            return ""
        partition = random.choice(partitions)
        rows = sorted(self.store._partitions[partition].rows)
        share, index, meta = random.choice(_SHARES), random.random() < 0.3, random.random() < 0.15
        users = random.sample(rows, math.ceil(len(rows) * share))
        if not users and not index and not meta:
            index = True
        self.store.forget(partition, users, index=index, meta=meta)
        what = [*(f"{len(users)} of {len(rows)} rows" for _ in users[:1]), *["index"] * index, *["position"] * meta]
        return f"partition {partition}: {', '.join(what)}"

    def lost(self, partition: int) -> str:
        """What a partition that is ready lacks, in words; empty where it is whole."""
        held = self.store._partitions.get(partition)
        if held is None or held.position is None or not held.position.ready:
            return ""
        lacking = sorted(held.due_ms.keys() ^ held.rows.keys())
        if lacking or held.users != len(held.due_ms):
            return f"the store lacks {lacking}; {len(held.due_ms)} in the index, {held.users} counted"
        return ""

    def deliver(self, index: int) -> str:
        """A write that was on its way arrives; says what the server made of it."""
        name, write = self.late.pop(index)
        try:
            answer = write()
        except Exception as error:  # noqa: BLE001 - nobody waits for the answer
            answer = type(error).__name__
        return f"{name}: {answer.value if isinstance(answer, SaveOutcome) else answer}"

    def _copied(self, store: MemoryStore) -> MemoryStore:
        made = MemoryStore()
        for partition, held in store._partitions.items():
            made._partitions[partition] = twin = copy(held)
            twin.rows, twin.due_ms = dict(held.rows), dict(held.due_ms)
        return made


class StoreClient(OneByOne):
    """The store as one worker sees it. `write_fault` is the fate of its next write."""

    def __init__(self, server: StoreServer, reach: Reach) -> None:
        self._server = server
        self._reach = reach
        self._nonces: dict[int, str] = {}
        self.write_fault: str | None = None

    def check(self) -> None:
        """Nothing can be wrong with it."""

    def position(self, partition: int) -> Position | None:
        """See `Store`."""
        return self._read("S.position").position(partition)

    def load_at(self, partition: int, users: Sequence[bytes]) -> RowsAt:
        """See `Store`."""
        return self._read("S.load").load_at(partition, users)

    def due(self, partition: int, until_ms: int, limit: int) -> list[bytes]:
        """See `Store`."""
        return self._read("S.due").due(partition, until_ms, limit)

    def users_at(self, partition: int, cursor: bytes, limit: int) -> UsersAt:
        """See `Store`."""
        return self._read("S.users").users_at(partition, cursor, limit)

    def verify(self, partition: int, cursor: bytes, limit: int) -> tuple[bytes, Position | None]:
        """See `Store`."""
        return self._read("S.verify").verify(partition, cursor, limit)

    def evicts(self) -> str:
        """It does not say so."""
        return ""

    def earliest_due_at(self, partition: int) -> tuple[int | None, Position | None]:
        """See `Store`."""
        return self._read("S.earliest").earliest_due_at(partition)

    def claim(self, partition: int, nonce: str) -> Position | None:
        """See `Store`. The client remembers the nonce, as that of Redis does."""
        self._nonces[partition] = nonce
        return self._write("S.claim", partial(self._server.store.claim, partition, nonce))

    def save(self, partition: int, expected_seq: int, position: Position, writes: Sequence[RowWrite]) -> SaveOutcome:
        """See `Store`."""
        return self._write("S.save", partial(self._server.store.save, partition, expected_seq, position, list(writes)))

    def index(self, partition: int, dues: Sequence[tuple[bytes, int | None]]) -> None:
        """See `Store`; not heard once another session has claimed."""
        nonce, store = self._nonces.get(partition), self._server.store

        def move() -> str:
            held = store.position(partition)
            if held is None or held.nonce != nonce:
                return "not heard"
            store.index(partition, dues)
            return "moved"

        self._write("S.index", move)

    def restore(self, partition: int, position: Position, chunks: Iterable[Sequence[RowWrite]]) -> None:
        """See `Store`: several calls, between which anything may happen. A late one has only begun."""
        self._nonces[partition] = position.nonce

        def begin() -> None:
            self._server.store.restore(partition, position, _nothing_more())

        if self.write_fault is not None:
            self._write("S.restore", begin)
        self._read("S.restore").restore(partition, position, self._pieces(chunks))

    def follow(
        self, partition: int, expected_seq: int, position: Position, chunks: Iterable[Sequence[RowWrite]]
    ) -> None:
        """See `Store`: likewise."""

        def begin() -> None:
            self._server.store.follow(partition, expected_seq, position, _nothing_more())

        if self.write_fault is not None:
            self._write("S.follow", begin)
        self._read("S.follow").follow(partition, expected_seq, position, self._pieces(chunks))

    def _pieces(self, chunks: Iterable[Sequence[RowWrite]]) -> Iterator[Sequence[RowWrite]]:
        for chunk in chunks:
            self._read("S.fill")
            yield chunk
        self._read("S.restored")

    def _read(self, name: str) -> MemoryStore:
        self._reach(name)
        if self._server.is_down:
            raise StoreUnavailable("the server is down")
        return self._server.store

    def _write(self, name: str, write: Callable[[], Answer]) -> Answer:
        self._read(name)
        fault, self.write_fault = self.write_fault, None
        if fault == "late":
            self._server.late.append((name, write))
        if fault in ("lost", "late"):
            raise StoreUnavailable(f"the write was {fault}")
        answer = write()
        if fault == "answer lost":
            raise StoreUnavailable("the answer was lost")
        return answer


def _nothing_more() -> Iterator[Sequence[RowWrite]]:
    raise StoreUnavailable("the rest of the rebuild never came")
    yield ()
