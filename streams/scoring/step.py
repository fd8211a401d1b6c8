"""One batch of one partition, without I/O: rows and events in; rows, changes, examples and journal out.

`step` is the fast path (one compiled loop, `streams.scoring.compiled.step`); `streams.scoring.reference.step.step`
says in plain Python what it must do, and the tests hold the two together to the byte.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import (
    BEGINNING_MS,
    CARD,
    CHANGE,
    EXAMPLE,
    HIT,
    INVERSION,
    MISSING_TIME_MS,
    REASON,
    Changes,
    Columns,
    EventBatch,
    Journal,
    Reject,
)
from schemas.compiled import compile_for
from schemas.kinds import SCORES, RejectCode
from schemas.row_keys import name_of, request_of
from state.category_text import categories_of
from state.compiled.fold import advance_row, fold_event
from state.compiled.row import Scratch, scratch
from state.layout import LAYOUT_VERSION, CorruptRow, upgraded
from state.money import converted
from state.profiles import PROFILES_MAX
from state.refusals import Refusal, Why
from state.table import Table
from state.versions import Versions
from streams.scoring.compiled.buffers import (
    CASE,
    EYES,
    U_CARDS,
    U_CASES,
    U_CHANGES,
    U_CORRUPT,
    U_EXAMPLES,
    U_HITS,
    U_INVERSIONS,
    U_OVERRUNS,
    U_REASONS,
    U_REJECTS,
    U_ROWS,
    U_TEXT,
    U_TOLD,
    USED,
    Eyes,
    Room,
)
from streams.scoring.compiled.evaluate import evaluate
from streams.scoring.compiled.step import run, tidy
from streams.scoring.refusals import refusal
from streams.scoring.tables import tables_of

ROOM_BYTES_MAX = 2**32
"""A batch that wants more room than this for what it says will not fit into twice as much either."""


class Clocks(NamedTuple):
    """`partition_ms`: the partition's clock once this batch is taken; timers due by then fire.

    `swept_ms`: everyone in the table has been looked at for all new weights up to then that ask for everyone. What a
    step says is the same without it, and takes longer for who has been silent for long.

    `erased_ms`: the partition's clock when an erasure was last taken, `before_ms`: its clock, both before this batch;
    see `oracle.told_after_ms`.
    """

    partition_ms: int
    swept_ms: int = BEGINNING_MS
    erased_ms: int = BEGINNING_MS
    before_ms: int = BEGINNING_MS


class Step(NamedTuple):
    """What a batch did."""

    table: Table
    changes: Changes
    examples: Columns  # EXAMPLE
    journal: Journal
    cases: Columns  # CASE: what requests, grants, outcomes and defaults left to be said to learners
    told: NDArray[np.int64]  # the changes, by index, of status and revenue
    ended: dict[int, int]  # by user: their clock when they were erased last, scored or not
    overruns: int  # event ids forgotten before their time: their customers had more than `duplicates_max` of them


def step(table: Table, batch: EventBatch, versions: Versions, clocks: Clocks) -> Step:
    """Take a batch: per user and record fire timers, fold, score, compare; at last fire what the clock has passed.

    `batch.users[i]` is `table.users[i]`; the table may have more users behind them (those whose timers are due). Pure:
    the table given is not changed. Raises `CorruptRow` where a row cannot be read. Cost: about 3 us an event and 2 us
    a row (docs/benchmarks.md).
    """
    if table.users[: len(batch.users)] != batch.users:
        raise ValueError("the table's users have to begin with the batch's users, in the same order")
    table = _upgraded(table)
    order, order_starts = _by_user(batch.events["user"], len(table.users))
    money = converted(batch.events, versions.rate_table)
    categories = categories_of(batch.events, versions.text_table)
    tables = tables_of(versions)
    wanted = 1
    while True:
        room = _room(table, batch, wanted)
        done = run(
            table.packed, table.starts, *table.names, table.names.hashes(), batch.events, order, order_starts, money,
            categories, batch.text, *clocks, tables, _scratch(), _eyes(), room,
        )  # fmt: skip
        if done:
            break
        if room.used[U_CORRUPT] >= 0:
            raise _corrupt(table.users[room.used[U_CORRUPT]])
        wanted *= 2
        if wanted * (len(batch.events) + len(table.users) + 16) * SCORES * CHANGE.itemsize > ROOM_BYTES_MAX:
            raise RuntimeError(f"the changes of {len(batch.events)} events found no room in {ROOM_BYTES_MAX:,} bytes")
    return _result(table, batch, versions, room)


def compile_parts(table: Table, batch: EventBatch, versions: Versions) -> None:
    """Compile parts of `run` in a second process, in the order in which the first one needs them: it finds them then.

    It does no harm where `run` no longer needs one of these: compiling everything takes longer then.
    """
    tables, row, eyes, room = tables_of(versions), _scratch(), _eyes(), _room(table, batch, 1)
    events = np.zeros(1, batch.events.dtype)
    event, money = events[0], converted(events, versions.rate_table)[0]
    policy = tables.policies[0]
    compile_for(evaluate, eyes["ahead"], row, 0, tables, 0, 0, 0)
    compile_for(advance_row, row, 0, 0, policy)
    compile_for(tidy, row, room)
    compile_for(fold_event, row, event, money, 0, batch.text, tables.days, policy)


def _by_user(users: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Events grouped by user, each group in merge order; an advance belongs to nobody (-1)."""
    order = np.flatnonzero(users >= 0)
    order = order[np.argsort(users[order], kind="stable")]
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(users[order], minlength=count), out=starts[1:])
    return order, starts


def _upgraded(table: Table) -> Table:
    """Rows of an older layout, rewritten in the newest one (rare: once per row after an upgrade)."""
    filled = table.starts[1:] > table.starts[:-1]
    if (table.packed[table.starts[:-1][filled]] == LAYOUT_VERSION).all():
        return table
    rows: list[bytes | None] = []
    for i, user in enumerate(table.users):
        row = table.row(i)
        try:
            rows.append(row if row is None else upgraded(row))
        except CorruptRow as error:
            raise _corrupt(user) from error
    return Table.of(table.users, rows)


def _corrupt(user: bytes) -> CorruptRow:
    whose = f"user {user!r}" if request_of(user) is None else name_of(user)
    return CorruptRow(f"the stored row of {whose} cannot be read; the partition has to be rebuilt")


@lru_cache(maxsize=1)
def _scratch() -> Scratch:
    """The one scratch of this process: a step begins by clearing what it uses."""
    return scratch()


@lru_cache(maxsize=1)
def _eyes() -> Eyes:
    return np.zeros(1, EYES)[0]


def _room(table: Table, batch: EventBatch, times: int) -> Room:
    """Where the loop writes: generous for most batches, doubled for the rest."""
    users, events = len(table.users), len(batch.events)
    looks = times * (events + users + 16)
    return Room(
        np.empty(times * (len(table.packed) + 900 * users + 300 * events + 2 * len(batch.text) + 4096), np.uint8),
        np.zeros(users + 1, np.int64),
        np.zeros(users, np.int64),
        np.zeros(users, np.bool_),
        np.full(users, MISSING_TIME_MS, np.int64),
        np.empty(SCORES * looks, CHANGE),
        np.empty(24 * looks + 64, REASON),
        np.empty(times * (len(batch.text) + 64 * looks + 8192), np.uint8),
        np.empty(users + 1, CARD),
        np.empty(looks, EXAMPLE),
        np.empty(events + 1, INVERSION),
        np.empty((events + 1, 4), np.int64),
        np.empty(8 * looks + PROFILES_MAX, HIT),
        np.empty(looks, CASE),
        np.empty(SCORES * looks, np.int64),
        np.zeros(USED, np.int64),
    )


def _result(table: Table, batch: EventBatch, versions: Versions, room: Room) -> Step:
    used = room.used
    after = Table(table.users, table.names, room.rows[: used[U_ROWS]], room.starts, room.due_ms, room.changed)
    changes = Changes(
        room.changes[: used[U_CHANGES]],
        room.reasons[: used[U_REASONS]],
        room.text[: used[U_TEXT]],
        room.cards[: used[U_CARDS]],
        room.hits[: used[U_HITS]],
    )
    rejects = [_reject(batch, versions, *refused) for refused in room.rejects[: used[U_REJECTS]].tolist()]
    return Step(
        after,
        changes,
        room.examples[: used[U_EXAMPLES]],
        Journal(room.inversions[: used[U_INVERSIONS]], rejects),
        room.cases[: used[U_CASES]],
        room.told[: used[U_TOLD]],
        {user: int(room.ended_ms[user]) for user in np.flatnonzero(room.ended_ms != MISSING_TIME_MS).tolist()},
        int(used[U_OVERRUNS]),
    )


def _reject(batch: EventBatch, versions: Versions, event: int, code: int, why: int, day: int) -> Reject:
    return refusal(batch, batch.events[event], Refusal(RejectCode(code), Why(why), day), versions.days)
