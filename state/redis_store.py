"""The store in Redis or Valkey: one call a partition and batch, compared and written by a function on the server.

Keys of partition p of an app: `{app.p}:m` is a hash {seq, nonce, state_offset, status, partitions, layout, users},
`{app.p}:u:<user>` the row of a user, `{app.p}:due` a sorted set of all users by due time, +inf where time does not come
back to one. `users` is the number of its members, so that an index that lost some is noticed; `{app.p}:halted` is a
note that decides nothing (`state.redis_store_halts`). The braces put them into one slot, so that what a failover loses
is a suffix of whole batches. Writes are functions of `rescore.lua`; reads are plain commands, so that a reader needs no
more than the right to read.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import PythonRespSerializer
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from state.errors import RefusedSettings, StoreAhead, StoreUnavailable
from state.redis_store_errors import Translated, is_unknown_function
from state.redis_store_halts import HaltNotes
from state.redis_store_packing import packed, packed_dues
from state.redis_store_settings import eviction, refuse
from state.store import Position, RowsAt, RowWrite, Save, SaveOutcome, UsersAt

LAYOUT = b"2"
"""Version of these keys. A partition in another layout counts as missing: it is rebuilt from the changelog.

1 had users with a due time in the index alone, and no count of them.
"""

READY = b"ready"
META = ("seq", "nonce", "state_offset", "status", "partitions", "layout", "users")
EVER = "(+inf"
"""Every due time there is: below that of those who are never due."""

SCAN_COUNT = 5_000

SOURCE = Path(__file__).with_name("rescore.lua").read_text(encoding="utf-8")
DIGEST = hashlib.sha256(SOURCE.encode()).hexdigest()[:12]


class RedisStore:
    """Keeps `state.store.Store` in Redis 7 or later, or Valkey. One thread uses it, and one worker session.

    `partitions` is the number of partitions of the input topics, on which every user's partition depends.
    Any call raises `StoreUnavailable` when the server does not answer within `timeout_seconds` or cannot write just
    now: whether a write arrived is then unknown, and `position` tells. Nothing is repeated behind the caller's back.
    Cost a row of 600 bytes: a save 0.8 us of the client and 4 us of the server, a load 0.6 us and 0.7 us. Rows that
    are missing are asked for in the index, which takes one more round trip.
    """

    def __init__(
        self,
        url: str,
        app: str,
        partitions: int,
        *,
        timeout_seconds: float = 5.0,
        connect_timeout_seconds: float = 2.0,
        require_append_only: bool = True,
    ) -> None:
        self._app, self._partitions, self._require_append_only = app, partitions, require_append_only
        self._claimed: dict[int, str] = {}
        connect: Any = partial(
            redis.Redis.from_url,
            url,
            protocol=3,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=connect_timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        self._client = connect()
        self.halts = HaltNotes(self._command, app)
        # hiredis packs many short arguments fastest, but copies long ones; this one sends them as they are.
        self._long_client = connect(command_packer=PythonRespSerializer(6_000, self._client.get_encoder().encode))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._long_client.close()

    def check(self) -> None:
        """Refuse a server that would lose data, in words; then make sure that it has our functions."""
        refuse(self._command("INFO"), require_append_only=self._require_append_only)
        self._load_functions()

    def position(self, partition: int) -> Position | None:
        """See `Store`. Raises `RefusedSettings` if the state was made for another number of partitions."""
        return self._position_of(partition, *self._at_once(*self._where(partition)))

    def claim(self, partition: int, nonce: str) -> Position | None:
        """See `Store`. This object remembers the nonce: `index` is refused once another session has claimed."""
        self._claimed[partition] = nonce
        if self.position(partition) is None or not self._call("claim", partition, nonce):
            return None
        return self.position(partition)

    def load(self, partition: int, users: Sequence[bytes]) -> list[bytes | None]:
        """See `Store`."""
        if not users:
            return []
        prefix = self._prefix(partition)
        rows: list[bytes | None] = self._command("MGET", *[prefix + user for user in users])
        return rows

    def load_at(self, partition: int, users: Sequence[bytes]) -> RowsAt:
        """See `Store`."""
        return self.load_all({partition: users})[partition]

    def load_all(self, wanted: Mapping[int, Sequence[bytes]]) -> dict[int, RowsAt]:
        """See `Store`."""
        commands: list[tuple[object, ...]] = []
        for partition, users in wanted.items():
            prefix = self._prefix(partition)
            if users:
                commands.append(("MGET", *[prefix + user for user in users]))
            commands += self._where(partition)
        answers = iter(self._at_once(*commands) if commands else ())
        found: dict[int, RowsAt] = {}
        for partition, users in wanted.items():
            rows = next(answers) if users else []
            found[partition] = rows, self._position_of(partition, next(answers), next(answers))
        return self._told_from_new_users(wanted, found)

    def _told_from_new_users(
        self, wanted: Mapping[int, Sequence[bytes]], found: dict[int, RowsAt]
    ) -> dict[int, RowsAt]:
        """Count the members of the index among the users without a row.

        They are asked for a moment after the rows. That is as good as in the same moment where the store is at the same
        position with the same number of members: only the one who asks would write, and who is in the index at a
        position is the same in every copy of the store.
        """
        missing = {
            partition: [user for user, row in zip(wanted[partition], rows, strict=True) if row is None]
            for partition, (rows, held) in found.items()
            if held is not None and held.ready and not held.lost and None in rows
        }
        if not missing:
            return found
        queries = [(("ZMSCORE", self._due_key(p), *users), *self._where(p)) for p, users in missing.items()]
        answers = iter(self._at_once(*[query for three in queries for query in three]))
        for partition in missing:
            rows, held = found[partition]
            known = sum(score is not None for score in next(answers))
            then = self._position_of(partition, next(answers), next(answers), known)
            found[partition] = rows, _unless_moved(held, then)
        return found

    def read(self, user: bytes, partition: int) -> tuple[bytes | None, Position | None]:
        """Row and position of one moment, for readers: no row counts while the position is None or not ready.

        A user who has no row while the position has `lost` something may be known: the partition is to be rebuilt.
        """
        row, score, meta, members = self._at_once(
            ("GET", self._prefix(partition) + user),
            ("ZSCORE", self._due_key(partition), user),
            *self._where(partition),
        )
        return row, self._position_of(partition, meta, members, int(row is None and score is not None))

    def due_ms_of(self, user: bytes, partition: int) -> int | None:
        """When time next looks at this user by the index, None where it does not."""
        score = self._command("ZSCORE", self._due_key(partition), user)
        return None if score is None or score == math.inf else int(score)

    def users_at(self, partition: int, cursor: bytes, limit: int) -> UsersAt:
        """See `Store`. A cursor belongs to one life of one server: another one begins again."""
        life, _, at = cursor.rpartition(b":")
        while True:
            scan = ("ZSCAN", self._due_key(partition), int(at or 0), "COUNT", limit)
            (after, members), server, *where = self._at_once(scan, ("INFO", "server"), *self._where(partition))
            now = str(server["run_id"]).encode()
            if at and now != life:
                at = b""
                continue
            life, at = now, str(int(after)).encode() if int(after) else b""
            if members or not at:
                users = [user for user, _ in members]
                return users, life + b":" + at if at else b"", self._position_of(partition, *where)

    def verify(self, partition: int, cursor: bytes, limit: int) -> tuple[bytes, Position | None]:
        """See `Store`: two round trips; for each user some 2 us of the client and 3 us of the server."""
        named, after, held = self.users_at(partition, cursor, limit)
        if held is None or not held.ready or held.lost or not named:
            return after, held
        prefix, users = self._prefix(partition), dict.fromkeys(named)
        exist = ("EXISTS", *[prefix + user for user in users])
        rows, meta, members = self._at_once(exist, *self._where(partition))
        return after, _unless_moved(held, self._position_of(partition, meta, members, len(users) - rows))

    def evicts(self) -> str:
        """See `Store`."""
        return eviction(self._command("INFO", "memory", "stats"))

    def due(self, partition: int, until_ms: int, limit: int) -> list[bytes]:
        """See `Store`."""
        return [user for user, _ in self._due(partition, until_ms, limit)]

    def earliest_due_ms(self, partition: int) -> int | None:
        """See `Store`."""
        return next((due_ms for _, due_ms in self._due(partition, EVER, 1)), None)

    def earliest_due_at(self, partition: int) -> tuple[int | None, Position | None]:
        """See `Store`."""
        query = ("ZRANGE", self._due_key(partition), "-inf", EVER, "BYSCORE", "LIMIT", 0, 1, "WITHSCORES")
        found, *where = self._at_once(query, *self._where(partition))
        position = self._position_of(partition, *where)
        ready = position is not None and position.ready
        return next((int(due_ms) for _, due_ms in found if ready), None), position

    def save(self, partition: int, expected_seq: int, position: Position, writes: Sequence[RowWrite]) -> SaveOutcome:
        """See `Store`: one call of one function. Raises `StoreAhead`."""
        [outcome] = self.save_all([Save(partition, expected_seq, position, writes)])
        if isinstance(outcome, StoreAhead):
            raise outcome
        return outcome

    def save_all(self, saves: Sequence[Save]) -> list[SaveOutcome | StoreAhead]:
        """See `Store`: a call of one function for each."""
        calls = [
            (
                "save", save.partition, save.position.nonce, save.expected_seq, save.position.seq,
                save.position.state_offset, *packed(self._prefix(save.partition), save.writes),
            )
            for save in saves
        ]  # fmt: skip
        return [_outcome(save, answer) for save, answer in zip(saves, self._call_all(calls), strict=True)]

    def restore(self, partition: int, position: Position, chunks: Iterable[Sequence[RowWrite]]) -> None:
        """See `Store`. Rows that are still there from before are deleted first, whoever left them.

        Raises `StoreUnavailable` where another session has taken the partition meanwhile, or the server has lost parts
        of the rebuild. Cost: a look at every key of the server (about 1 us each), then that of a save.
        """
        self._claimed[partition] = position.nonce
        prefix, nonce, parts = self._prefix(partition), position.nonce, itertools.count()
        self._call("restore", partition, position.seq, nonce, position.state_offset, self._partitions, LAYOUT)
        for leftover in self._row_keys(partition):
            self._go_on("clear", partition, nonce, next(parts), *leftover)
        for chunk in chunks:
            self._go_on("fill", partition, nonce, next(parts), *packed(prefix, chunk))
        self._go_on("restored", partition, nonce, next(parts))

    def follow(
        self, partition: int, expected_seq: int, position: Position, chunks: Iterable[Sequence[RowWrite]]
    ) -> None:
        """See `Store`. Raises `StoreUnavailable` as `restore` does, and where the store is not at `expected_seq`."""
        prefix, nonce, parts = self._prefix(partition), position.nonce, itertools.count()
        self._go_on("follow", partition, nonce, expected_seq, position.seq, position.state_offset)
        for chunk in chunks:
            self._go_on("fill", partition, nonce, next(parts), *packed(prefix, chunk))
        self._go_on("restored", partition, nonce, next(parts))

    def index(self, partition: int, dues: Sequence[tuple[bytes, int | None]]) -> None:
        """See `Store`. Does nothing where the partition is not ready, or was claimed by another session since."""
        nonce = self._claimed.get(partition)
        if nonce is not None and dues:
            self._call("index", partition, nonce, *packed_dues(dues))

    def data_bytes(self) -> int:
        """Memory the server takes for its data: rows and index, its tables of keys and all it keeps about each.

        Not counted: what it takes with nothing in it, buffers of clients, of replicas and of the append-only file.
        """
        memory = self._command("INFO", "memory")
        apart = ("used_memory_startup", "mem_clients_normal", "mem_clients_slaves", "mem_aof_buffer")
        return int(memory["used_memory"]) - sum(int(memory.get(name, 0)) for name in apart)

    def _meta(self, partition: int) -> bytes:
        return b"{%s.%d}:m" % (self._app.encode(), partition)

    def _prefix(self, partition: int) -> bytes:
        return b"{%s.%d}:u:" % (self._app.encode(), partition)

    def _due_key(self, partition: int) -> bytes:
        return b"{%s.%d}:due" % (self._app.encode(), partition)

    def _where(self, partition: int) -> tuple[tuple[object, ...], tuple[object, ...]]:
        """Questions whose answers `_position_of` takes."""
        return ("HMGET", self._meta(partition), *META), ("ZCARD", self._due_key(partition))

    def _position_of(self, partition: int, meta: list[bytes | None], members: int, missing: int = 0) -> Position | None:
        """Where the partition is. It has lost something where the index has other than the members it was given, or
        rows of members are `missing`.
        """
        seq, nonce, state_offset, status, partitions, layout, users = meta
        if seq is None or nonce is None or state_offset is None or layout != LAYOUT:
            return None
        if partitions is None or int(partitions) != self._partitions:
            raise RefusedSettings(
                f"partition {partition} of app {self._app!r} was written when the topics had {int(partitions or 0)} "
                f"partitions, they have {self._partitions} now, so that users are in other partitions",
                "give the topics their former number of partitions, or start a new RESCORE_APP and replay",
            )
        if status != READY:
            return Position(int(seq), nonce.decode(), int(state_offset), ready=False)
        lost = max(1, members) if users is None else abs(int(users) - members)
        return Position(int(seq), nonce.decode(), int(state_offset), lost=lost or missing)

    def _due(self, partition: int, until_ms: int | str, limit: int) -> list[tuple[bytes, int]]:
        if limit <= 0:
            return []
        query = ("ZRANGE", self._due_key(partition), "-inf", until_ms, "BYSCORE", "LIMIT", 0, limit, "WITHSCORES")
        status, found = self._at_once(("HGET", self._meta(partition), "status"), query)
        return [(user, int(due_ms)) for user, due_ms in found] if status == READY else []

    def _row_keys(self, partition: int) -> Iterator[list[bytes]]:
        pattern = _pattern(self._prefix(partition))
        cursor = 0
        while True:
            cursor, keys = self._command("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
            if keys:
                yield keys
            if not cursor:
                return

    def _go_on(self, function: str, partition: int, *arguments: object) -> None:
        if not self._call(function, partition, *arguments):
            raise StoreUnavailable(
                f"partition {partition} was taken by another session, or the server lost a part, while it was rebuilt"
            )

    def _call(self, function: str, partition: int, *arguments: object) -> Any:
        """One of our functions on a partition."""
        [answer] = self._call_all([(function, partition, *arguments)])
        return answer

    def _call_all(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Our functions on partitions, one after the other in one round trip, whatever comes of each.

        A server that has lost our functions (it was replaced) gets them again, and is asked once more for what it did
        not know. Raises the first error there was.
        """
        answers = self._call_as_is(calls)
        unknown = [i for i, answer in enumerate(answers) if is_unknown_function(answer)]
        if unknown:
            self._load_functions()
            for i, answer in zip(unknown, self._call_as_is([calls[i] for i in unknown]), strict=True):
                answers[i] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                with Translated(self._app):
                    raise answer
        return answers

    def _call_as_is(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        with Translated(self._app), self._long_client.pipeline(transaction=False) as pipeline:
            for function, partition, *arguments in calls:
                keys = self._meta(partition), self._due_key(partition)
                pipeline.execute_command("FCALL", f"rescore_{function}_{DIGEST}", len(keys), *keys, *arguments)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
            return answers

    def _load_functions(self) -> None:
        """Functions of other releases stay: their names differ, and their workers may still be running."""
        self._command("FUNCTION", "LOAD", "REPLACE", SOURCE.replace("DIGEST", DIGEST))

    def _command(self, *command: object) -> Any:
        with Translated(self._app):
            return self._client.execute_command(*command)

    def _at_once(self, *commands: tuple[object, ...]) -> list[Any]:
        """Answers that belong to one moment."""
        with Translated(self._app), self._client.pipeline(transaction=True) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = pipeline.execute()
            return answers


def _unless_moved(held: Position | None, then: Position | None) -> Position | None:
    """The later one of two looks at a store that had lost nothing at the first; None where it moved in between."""
    return then if then is not None and then._replace(lost=0) == held else None


def _outcome(save: Save, answer: tuple[bytes, int]) -> SaveOutcome | StoreAhead:
    word, held_seq = answer
    if word == b"ahead":
        return StoreAhead(
            f"partition {save.partition}: the store is at transaction {held_seq}, "
            f"transaction {save.position.seq} was to follow {save.expected_seq}"
        )
    return SaveOutcome(word.decode())


def _pattern(prefix: bytes) -> bytes:
    """What every key that begins like this fits, and no other."""
    return re.sub(rb"([*?\[\]\\^])", rb"\\\1", prefix) + b"*"
