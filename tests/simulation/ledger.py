"""A meaning that is quick to work out: an account that takes lines, sets timers, is corrected, erased and opened again.

It stands for the real scores where thousands of seeds are to run. It has all that makes exactly once hard: numbered
changes, timers, checks that say nothing, duplicates, corrections, dead letters, inversions, erasure with an incarnation
after it, versions that come into force at a moment, rows in two layouts. `recount` tells the same story from the log
alone, user by user; it shares the account with the processor and nothing else.

A value is text: `id revision made_ms word argument`. Words: `line`, `due MS` (a timer), `check MS` (a due time that
says nothing), `erase`. Everything else is a dead letter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from state.store import RowWrite
from streams.log.failures import Failure
from streams.log.message import Message
from streams.log.protocol import HaltPartition
from streams.worker.output import Output, Thought
from tests.simulation.workload import FAILS

HORIZON_MS = 30 * 60_000
"""So long are event ids remembered, and is an erased account."""

ORIGIN = "origin"
"""Header of a dead letter: where it lay."""

Rates = tuple[int, ...]
"""Effective times of the versions 1, 2, ... (version 0 was always there), ascending."""


class Line(NamedTuple):
    """An event."""

    name: str  # id and revision
    made_ms: int
    word: str
    argument: int


def parse(record: Record) -> Line | None:
    """The event in a record, None for one that cannot be read."""
    parts = (record.value or b"").decode("utf-8", "replace").split(" ")
    if len(parts) != 5 or parts[3] not in ("line", "due", "check", "erase") or not record.key:
        return None
    return Line(f"{parts[0]}:{parts[1]}", int(parts[2]), parts[3], int(parts[4]))


@dataclass
class Account:
    """What is remembered of a user."""

    birth: tuple[int, int] | None = None  # rank and offset of the first record: names the incarnation
    taken: int = 0
    said: int = 0
    last: tuple[int, int] = (0, 0)  # (timestamp, rank) of the record taken last
    clock_ms: int = 0
    is_open: bool = False  # not before the first record, not after an erasure
    erased_ms: int | None = None
    timers: list[int] = field(default_factory=list)
    checks: list[int] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)  # clock by name of event
    by: str = ""  # the program that wrote the row last

    def next_due_ms(self, after_ms: int = 0) -> int | None:
        """The next moment at which there is something to look at."""
        moments = [ms for ms in (*self.timers, *self.checks) if ms > after_ms]
        if self.erased_ms is not None and not self.is_open:
            moments.append(self.erased_ms + HORIZON_MS + 1)
        return min(moments, default=None)

    def say(self, what: str, rates: Rates) -> str:
        """The next line, under the version in force at the account's clock."""
        assert self.birth is not None
        self.said += 1
        version = sum(effective_ms <= self.clock_ms for effective_ms in rates)
        return f"{self.birth[0]}.{self.birth[1]}/{self.said} {what} v{version}"

    def fire(self, until_ms: int, rates: Rates) -> list[str]:
        """Every timer due by then, at its own moment."""
        lines = []
        while (due_ms := min(self.timers, default=until_ms + 1)) <= until_ms:
            self.timers.remove(due_ms)
            self._move(due_ms)
            lines.append(self.say(f"timer {due_ms}", rates))
        if self.erased_ms is not None and not self.is_open and until_ms > self.erased_ms + HORIZON_MS:
            self.__init__()  # type: ignore[misc]
        return lines

    def is_behind(self, record: Record, rank: int) -> bool:
        """Would a recount have taken this record before something that was taken already?"""
        at = (record.timestamp_ms, rank)
        return self.birth is not None and (at < self.last or at[0] < self.clock_ms)

    def refuses(self, line: Line) -> bool:
        """True for what was made before the user was erased."""
        return self.erased_ms is not None and line.made_ms < self.erased_ms

    def take(self, record: Record, line: Line, rank: int, rates: Rates) -> list[str]:
        """One record that is not refused."""
        if self.birth is None or (not self.is_open and line.word != "erase"):
            self.birth, self.taken, self.said, self.is_open = (rank, record.offset), 0, 0, line.word != "erase"
        self.taken += 1
        self.last = max(self.last, (record.timestamp_ms, rank))
        self._move(max(self.clock_ms, record.timestamp_ms))
        if line.name in self.seen:
            return []
        self.seen[line.name] = self.clock_ms
        lines = [self.say(f"{record.topic} {record.offset} {line.name}", rates)]
        if line.word == "due" and line.argument > self.clock_ms:
            self.timers.append(line.argument)
        if line.word == "check" and line.argument > self.clock_ms:
            self.checks.append(line.argument)
        if line.word == "erase":
            self.timers, self.checks, self.is_open, self.erased_ms = [], [], False, self.clock_ms
            self.seen = {line.name: self.clock_ms}  # published again, it is the same one
        return lines

    def _move(self, clock_ms: int) -> None:
        self.clock_ms = clock_ms
        self.checks = [ms for ms in self.checks if ms > clock_ms]
        self.seen = {name: ms for name, ms in self.seen.items() if clock_ms - ms <= HORIZON_MS}
        if self.is_open and self.erased_ms is not None and clock_ms > self.erased_ms + HORIZON_MS:
            self.erased_ms = None


def encode(account: Account, layout: int) -> bytes | None:
    """The row in a layout; None for a user who is forgotten."""
    if account.birth is None:
        return None
    fields = vars(account)
    return json.dumps(fields if layout == 2 else list(fields.values())).encode()


def decode(row: bytes | None) -> Account:
    """The account in a row of either layout."""
    if row is None:
        return Account()
    fields = json.loads(row)
    account = Account(**fields) if isinstance(fields, dict) else Account(*fields)
    account.last = (account.last[0], account.last[1])
    account.birth = account.birth and (account.birth[0], account.birth[1])
    return account


def due_ms_of(row: bytes) -> int | None:
    """The due time in a row."""
    return decode(row).next_due_ms()


@dataclass
class LedgerProcessor:
    """The `Processor` of a program of one layout; it cannot read the layout after its own."""

    rates: Callable[[], Rates]
    layout: int = 1

    def process(self, partition: int, records: Sequence[Record], due_users: Sequence[bytes], clock_ms: int) -> Thought:
        """See `streams.worker.output.Processor`."""
        fail_on(records, asked=False)
        rates, output, changed = self.rates(), Output(), set()
        changes, images = list[Message](), list[RowWrite]()
        parsed = [(record, parse(record)) for record in records]
        users = list(dict.fromkeys([*(r.key or b"" for r, line in parsed if line), *due_users]))
        accounts = dict(zip(users, map(self._decoded, (yield users)), strict=True))
        fail_on(records, asked=True)
        known = {user for user, account in accounts.items() if account.birth is not None}
        for record, line in parsed:
            user, rank = record.key or b"", INPUT_TOPICS.index(record.topic)
            lines = accounts[user].fire(record.timestamp_ms, rates) if line else []
            if lines:
                changed.add(user)
            if line is None or accounts[user].refuses(line):
                self._letter(output, record)
            else:
                account, behind = accounts[user], accounts[user].is_behind(record, rank)
                incarnation, ordinal = account.birth, account.taken
                lines += account.take(record, line, rank, rates)
                changed.add(user)
                if behind:
                    entry = [record.topic, record.offset, incarnation, ordinal, account.clock_ms]
                    output.journal.append(Message(user, json.dumps(entry).encode()))
            changes += [Message(user, line.encode()) for line in lines]
        for user, account in accounts.items():
            lines = account.fire(clock_ms, rates)
            changes += [Message(user, line.encode()) for line in lines]
            due_ms = account.next_due_ms(clock_ms)
            if user in changed or lines or (user in known and account.birth is None):
                account.by = f"layout {self.layout}"
                images.append(RowWrite(user, encode(account, self.layout), due_ms))
            else:
                output.checked.append((user, due_ms))
        output.changes, output.images = changes, images
        return output

    def _decoded(self, row: bytes | None) -> Account:
        if row is not None and self.layout == 1 and row.startswith(b"{"):
            raise HaltPartition("a row of a newer layout: upgrade this program")
        return decode(row)

    def _letter(self, output: Output, record: Record) -> None:
        topic, letter = letter_of(record)
        output.dead_letters.setdefault(topic, []).append(letter)


def fail_on(records: Sequence[Record], *, asked: bool) -> None:
    """Raise where a fault was planted in these records: half of them before rows are asked for, the others behind."""
    for record in records:
        if record.value == FAILS and record.offset % 2 == asked:
            raise ZeroDivisionError(f"planted in {origin_of(record)}")


def letter_of(record: Record, failure: Failure | None = None) -> tuple[str, Message]:
    """Topic and dead letter of a record that is refused, or isolated for a failure."""
    del failure
    return record.topic + ".dlq", Message(record.key, record.value, [(ORIGIN, origin_of(record).encode())])


class Recount(NamedTuple):
    """What must have been said, be remembered, and have been refused."""

    changes: dict[bytes, list[bytes]]
    rows: dict[bytes, Account]
    letters: list[str]  # origins


def origin_of(record: Record) -> str:
    """Where a record lies."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def recount(
    records: Iterable[Record], journal: Iterable[Record], letters: Collection[str], rates: Rates, clock_ms: int
) -> Recount:
    """One partition told from the log: its inputs without advances, what was taken behind its time, its last clock.

    What a row refused is decided once: `letters` are the origins of the dead letters. What cannot be read must be
    among them, and whatever is among them must be unreadable or older than an erasure.
    """
    inversions: dict[bytes, dict[tuple[str, int], tuple[object, int, int]]] = {}
    for entry in journal:
        topic, offset, incarnation, ordinal, at_ms = json.loads(entry.value or b"")
        inversions.setdefault(entry.key or b"", {})[topic, offset] = (tuple(incarnation), ordinal, at_ms)
    users: dict[bytes, list[Record]] = {}
    told = Recount({}, {}, [])
    for record in sorted(records, key=lambda r: (r.timestamp_ms, INPUT_TOPICS.index(r.topic), r.offset)):
        if parse(record) is None:
            told.letters.append(origin_of(record))
        else:
            users.setdefault(record.key or b"", []).append(record)
    for user, own in users.items():
        behind = inversions.get(user, {})
        taken_ms = {(r.topic, r.offset): behind.get((r.topic, r.offset), (0, 0, r.timestamp_ms))[2] for r in own}
        erased_ms = max((taken_ms[r.topic, r.offset] for r in own if _line(r).word == "erase"), default=0)
        refused = [r for r in own if origin_of(r) in letters and _line(r).made_ms < erased_ms]
        told.letters.extend(map(origin_of, refused))
        account, lines = Account(), []
        for record, at_ms in _put_back(account, [r for r in own if r not in refused], behind):
            lines += account.fire(at_ms, rates)
            assert not account.refuses(_line(record)), f"{origin_of(record)} is older than the erasure, and was taken"
            lines += account.take(record, _line(record), INPUT_TOPICS.index(record.topic), rates)
        lines += account.fire(clock_ms, rates)
        if lines:
            told.changes[user] = [line.encode() for line in lines]
        if account.birth is not None:
            told.rows[user] = account
    return told


def _line(record: Record) -> Line:
    line = parse(record)
    assert line is not None
    return line


def _put_back(
    account: Account, own: list[Record], inversions: dict[tuple[str, int], tuple[object, int, int]]
) -> Iterator[tuple[Record, int]]:
    """A user's records and the moment until which timers fire before each; journaled ones at their ordinal."""
    behind = {inversions[r.topic, r.offset][:2]: r for r in own if (r.topic, r.offset) in inversions}
    for record in own:
        if (record.topic, record.offset) not in inversions:
            while (place := (account.birth, account.taken)) in behind:
                yield (late := behind.pop(place)), inversions[late.topic, late.offset][2]
            yield record, record.timestamp_ms
    while (place := (account.birth, account.taken)) in behind:
        yield (late := behind.pop(place)), inversions[late.topic, late.offset][2]
