"""A world to test the motion in: a broker in memory, a store in memory, and a processor that counts.

The counting processor stands for the real maths. It keeps for each user how many records it took and which timers are
set; it says one change per record and one per timer, numbered per user. A record may set a timer (`due=MS`) or ask for
a check that will say nothing (`check=MS`). So everything that could be lost, repeated or reordered is visible.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from schemas.batch import Record
from schemas.row_keys import PROGRESS_KEY
from state.memory_store import MemoryStore
from state.store import Position, RowWrite
from streams.log.memory import MemoryBroker, MemoryLog
from streams.log.message import Message
from streams.log.progress import Progress
from streams.log.protocol import Failpoint, TopicPartition, no_failpoint
from streams.worker.loop import Worker
from streams.worker.observer import Observer
from streams.worker.options import Gate, Wire, WorkerOptions
from streams.worker.output import Output, Processor, Thought

INPUTS = ("commands", "loans", "transactions")
TOPICS = {**dict.fromkeys(INPUTS, 2), "score-changes": 2, "rescore-state": 2, "loans.dlq": 2, "fx-rates": 1}


class JsonProgress:
    """Progress records as JSON."""

    def encode(self, progress: Progress) -> bytes:
        return json.dumps(progress._asdict()).encode()

    def decode(self, value: bytes) -> Progress:
        return Progress(**json.loads(value))


def due_of(row: bytes) -> int | None:
    state = json.loads(row)
    return min(state["timers"] + state["checks"], default=None)


def advance_to(record: Record) -> int | None:
    value = record.value or b""
    return int(value[8:]) if value.startswith(b"advance=") else None


WIRE = Wire(
    progress=JsonProgress(),
    advance_to=advance_to,
    advance=lambda to_ms: Message(b"", b"advance=%d" % to_ms),
    due_ms=due_of,
)


def take(state: dict[str, list[int] | int], what: str) -> str:
    state["said"] += 1  # type: ignore[operator]
    return f"{state['said']} {what}"


def fire(state: dict[str, list[int] | int], until_ms: int) -> list[str]:
    """Timers due by `until_ms`, in order; checks among them go without a word."""
    due = sorted(ms for ms in state["timers"] if ms <= until_ms)  # type: ignore[union-attr]
    state["timers"] = [ms for ms in state["timers"] if ms > until_ms]  # type: ignore[union-attr]
    state["checks"] = [ms for ms in state["checks"] if ms > until_ms]  # type: ignore[union-attr]
    return [take(state, f"timer {ms}") for ms in due]


def fold(state: dict[str, list[int] | int], record: Record) -> list[str]:
    said = fire(state, record.timestamp_ms)
    word, _, ms = (record.value or b"").decode().partition("=")
    if word == "due":
        state["timers"].append(int(ms))  # type: ignore[union-attr]
    if word == "check":
        state["checks"].append(int(ms))  # type: ignore[union-attr]
    return [*said, take(state, f"{record.topic} {record.offset}")]


def new_state() -> dict[str, list[int] | int]:
    return {"said": 0, "timers": [], "checks": []}


class CountingProcessor:
    """One change per record and per timer, numbered per user."""

    def process(self, partition: int, records: Sequence[Record], due_users: Sequence[bytes], clock_ms: int) -> Thought:
        output, changes, images = Output(), list[Message](), list[RowWrite]()
        users = list(dict.fromkeys([r.key or b"" for r in records] + list(due_users)))
        before = dict(zip(users, (yield users), strict=True))
        states = {user: json.loads(row) if row else new_state() for user, row in before.items()}
        for record in records:
            if record.value == b"poison":
                output.dead_letters.setdefault("loans.dlq", []).append(Message(record.key, record.value))
                continue
            user = record.key or b""
            changes += [Message(user, line.encode(), [("h", b"1")]) for line in fold(states[user], record)]
        for user in users:
            said = states[user]["said"]
            changes += [Message(user, line.encode()) for line in fire(states[user], clock_ms)]
            row = json.dumps(states[user]).encode()
            if user in due_users and said == states[user]["said"] and all(r.key != user for r in records):
                output.checked.append((user, due_of(row)))
            elif states[user] != new_state():
                images.append(RowWrite(user, row, due_of(row)))
        output.changes, output.images = changes, images
        return output


@dataclass
class HandClock:
    """A clock that a test moves by hand, and its wall beside it."""

    ms: int = 0
    wall_ahead_ms: int = 0

    def wall_ms(self) -> int:
        return self.ms + self.wall_ahead_ms

    def monotonic_seconds(self) -> float:
        return self.ms / 1000


@dataclass
class World:
    """Everything a worker lives in, and the questions a test asks afterwards."""

    broker: MemoryBroker = field(default_factory=lambda: MemoryBroker(TOPICS))
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: HandClock = field(default_factory=HandClock)
    nonces: int = 0

    def visible(self, topic: str, partition: int | None = None) -> list[Record]:
        """What a read_committed subscriber sees."""
        return self.broker.visible(topic, partition)

    def partition_of(self, user: bytes) -> int:
        """The partition of a user's records."""
        return self.broker.partitioner(user, 2)

    def nonce(self) -> str:
        self.nonces += 1
        return f"nonce-{self.nonces}"

    def worker(
        self,
        slot: str = "a",
        failpoint: Failpoint = no_failpoint,
        observer: Observer | None = None,
        gate: Gate | None = None,
        silence_ms: int | None = None,
        records_max: int = 3,
        users_max: int = 1_000,
        buffered_max: int = 20_000,
        bytes_max: int = 2**24,
        buffered_bytes_max: int = 2**24,
        partitions_max: int | None = 4,
        look_round_seconds: float = 5.0,
        processor: Processor | None = None,
        broadcast: tuple[str, ...] = (),
        from_beginning: Iterable[str] = (),
        same_offsets: Iterable[str] = (),
        is_live: Callable[[], bool] = lambda: True,
    ) -> Worker:
        options = WorkerOptions(
            inputs=INPUTS,
            silence_ms=silence_ms,
            is_live=is_live,
            records_max=records_max,
            users_max=users_max,
            timers_max=2,
            buffered_max=buffered_max,
            bytes_max=bytes_max,
            buffered_bytes_max=buffered_bytes_max,
            partitions_max=partitions_max,
            look_round_seconds=look_round_seconds,
            broadcast=broadcast,
            from_beginning=frozenset(from_beginning),
            same_offsets=frozenset(same_offsets),
        )
        log = MemoryLog(self.broker, slot, INPUTS, failpoint)
        processor = processor or CountingProcessor()
        return Worker(log, self.store, processor, WIRE, self.clock, self.nonce, options, gate, observer, failpoint)

    def write(self, topic: str, user: str, timestamp_ms: int, value: str = "x") -> None:
        self.broker.write(topic, user.encode(), value.encode(), timestamp_ms)

    def story(self, users: int = 5, days: int = 8) -> None:
        """A history on all inputs, in time order, with timers in it and poison."""
        for day in range(days):
            for i in range(users):
                user = f"user-{i}"
                self.write("transactions", user, day * 100 + i, "x")
                if (day + i) % 3 == 0:
                    self.write("loans", user, day * 100 + i + 1, f"due={day * 100 + 150 + i}")
                if (day + i) % 4 == 0:
                    self.write("loans", user, day * 100 + i + 2, f"check={day * 100 + 120 + i}")
            self.write("loans", "user-0", day * 100 + 50, "poison")
        self.advance(days * 100 + 1_000)

    def advance(self, to_ms: int) -> None:
        """Say on every partition that it is this late."""
        for partition in range(2):
            self.broker.write("commands", b"", b"advance=%d" % to_ms, to_ms, partition)

    def run(self, *workers: Worker, turns_max: int = 3_000, until: Callable[[], bool] | None = None) -> None:
        """Take turns until nothing is left to do; each takes 10 ms of the wall."""
        done = until or self.at_rest
        for _ in range(turns_max):
            self.clock.ms += 10
            for worker in workers:
                worker.turn()
            if done():
                return
        raise AssertionError(f"not at rest after {turns_max} turns: {self.broker.committed}, {self.progress()}")

    def at_rest(self) -> bool:
        """Everything was taken and committed, every due timer has fired, the store is where the log is."""
        for p in range(2):
            latest = self.progress().get(p)
            for topic in INPUTS:
                where = TopicPartition(topic, p)
                if (self.broker.committed.get(where) or 0) < len(self.broker.entries[where]):
                    return False
            if latest is None:
                continue
            position = self.store.position(p)
            if position is None or not position.ready or position.seq != latest.seq:
                return False
            earliest = self.store.earliest_due_ms(p)
            if earliest is not None and earliest <= latest.clock_ms:
                return False
        return True

    def forget(self) -> None:
        """FLUSHALL."""
        self.put_store_back(MemoryStore())

    def copy_of_store(self) -> MemoryStore:
        """A snapshot of the store."""
        return deepcopy(self.store)

    def put_store_back(self, copy: MemoryStore) -> None:
        """The store comes back with an older state."""
        vars(self.store).update(vars(copy))

    def count_restores(self) -> list[int]:
        """Partitions that are rebuilt from now on."""
        restored: list[int] = []
        restore = self.store.restore

        def counted(partition: int, position: Position, chunks: Iterable[Sequence[RowWrite]]) -> None:
            restored.append(partition)
            restore(partition, position, chunks)

        self.store.restore = counted  # type: ignore[method-assign]
        return restored

    def rows(self) -> dict[bytes, bytes | None]:
        """Every row of the store."""
        users = sorted({r.key or b"" for topic in INPUTS for r in self.visible(topic)})
        return {user: self.store.load(self.partition_of(user), [user])[0] for user in users}

    def progress(self) -> dict[int, Progress]:
        """The last progress record of each partition."""
        return {
            p: WIRE.progress.decode(record.value or b"")
            for p in range(2)
            for record in self.visible("rescore-state", p)
            if record.key == PROGRESS_KEY
        }

    def changes(self) -> dict[bytes, list[str]]:
        """What subscribers saw, by user."""
        said: dict[bytes, list[str]] = {}
        for record in self.visible("score-changes"):
            said.setdefault(record.key or b"", []).append((record.value or b"").decode())
        return said

    def expected(self) -> tuple[dict[bytes, list[str]], dict[bytes, bytes]]:
        """What must have been said and what must be remembered, told user by user from the inputs alone."""
        by_user: dict[bytes, list[Record]] = {}
        clocks = {p: progress.clock_ms for p, progress in self.progress().items()}
        for topic in INPUTS:
            for record in self.visible(topic):
                if advance_to(record) is None:
                    by_user.setdefault(record.key or b"", []).append(record)
        said, rows = {}, {}
        for user, records in by_user.items():
            records.sort(key=lambda r: (r.timestamp_ms, INPUTS.index(r.topic), r.offset))
            state = new_state()
            lines = [line for r in records if r.value != b"poison" for line in fold(state, r)]
            lines += fire(state, clocks[records[0].partition])
            if lines:
                said[user], rows[user] = lines, json.dumps(state).encode()
        return said, rows

    def check(self) -> None:
        """Every change once and in order; log, store and the recount agree; transactions are numbered without a gap."""
        said, rows = self.expected()
        assert self.changes() == said
        poison = [r for topic in INPUTS for r in self.visible(topic) if r.value == b"poison"]
        assert len(self.visible("loans.dlq")) == len(poison)
        folded: dict[bytes, bytes | None] = {}
        for p in range(2):
            seqs = []
            for record in self.visible("rescore-state", p):
                if record.key == PROGRESS_KEY:
                    seqs.append(WIRE.progress.decode(record.value or b"").seq)
                else:
                    folded[record.key or b""] = record.value
            assert seqs == list(range(1, len(seqs) + 1))
            users = [user for user in rows if self.partition_of(user) == p]
            held = dict(zip(users, self.store.load(p, users), strict=True))
            assert {user: without_checks(held[user]) for user in users} == {
                user: without_checks(rows[user]) for user in users
            }
        assert {user: without_checks(row) for user, row in folded.items()} == {
            user: without_checks(row) for user, row in rows.items()
        }


def without_checks(row: bytes | None) -> object:
    """A check that said nothing changes no row: whether it is still in there is of no interest."""
    state = json.loads(row or b"null")
    return state and {key: value for key, value in state.items() if key != "checks"}
