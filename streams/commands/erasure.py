"""`rescore erase USER --prove`: wait until the erasure is through, and look into every copy."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import typer

from streams.commands.common import Exit, console, error_console, fail, print_json
from streams.erasure import card_ends, erased_at, is_erasure, kind_of, row_ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.batch import Record
    from streams.erasure import Copy
    from streams.settings import Settings

LOOK_SECONDS = 0.25


def prove(chosen: Settings, user: str, wait_seconds: float, as_json: bool) -> None:
    """Show every copy; exit code 1 while something remains that no known day removes."""
    from streams.erasure import is_through

    erased = _wait(chosen, user, wait_seconds, as_json)
    copies = look(chosen, user, erased.timestamp_ms)
    through = is_through(copies)
    if as_json:
        print_json({"user_id": user, "erased": through, "copies": [copy.as_plain() for copy in copies]})
    else:
        _show(user, copies, through)
    if not through:
        raise typer.Exit(Exit.FAILURE)


def _wait(chosen: Settings, user: str, seconds: float, as_json: bool) -> Record:
    """The customer's last erasure, once a worker has taken it."""
    from streams.commands.wire import partition_of, values
    from streams.kafka_client import require_topics
    from streams.replay_reading import last_progress
    from streams.wires import wire_of

    topic, state = chosen.topic("commands"), chosen.topic("rescore-state")
    counts = require_topics(chosen.kafka, [topic, state])
    partition = partition_of(chosen, user, counts[topic])
    known = values(chosen)
    asked = [record for record in _of_user(chosen, topic, [partition], user) if is_erasure(record, known)]
    if not asked:
        fail(f"{user!r} was never erased, or retention has removed the command", f"rescore erase {user} --prove")
    erasure, deadline = asked[-1], time.monotonic() + seconds
    if not as_json:
        error_console().print("waiting until the erasure is through", style="dim")
    while True:
        progress = last_progress(chosen.kafka, (state, partition), wire_of(known).progress.decode)
        if progress is not None and progress[0].next_offsets.get(topic, 0) > erasure.offset:
            return erasure
        if time.monotonic() > deadline:
            fail(
                f"the erasure of {user!r} is published, and no worker has taken it within {seconds:g} s", "rescore lag"
            )
        time.sleep(LOOK_SECONDS)


def look(chosen: Settings, user: str, erased_ms: int) -> list[Copy]:
    """Every copy of a customer, as it is now."""
    from schemas.kinds import INPUT_TOPICS
    from streams.commands.wire import partition_of, values
    from streams.dead_letters import SUFFIX
    from streams.erasure import NO_ROW, in_examples, in_log, in_memory, in_table, in_workers
    from streams.kafka_client import admin_of, require_topics
    from streams.kafka_client import read as read_topics
    from streams.topics import MEMORY_TOPIC, describe

    logs = ["score-changes", "actions", "rescore-journal", *INPUT_TOPICS, *(name + SUFFIX for name in INPUT_TOPICS)]
    tables = ["rescore-state", "scorecards"]
    full = [chosen.topic(name) for name in (*logs, *tables, "rescore-examples", MEMORY_TOPIC)]
    counts = require_topics(chosen.kafka, full)
    found = describe(admin_of(chosen.kafka), full)

    def read(name: str) -> list[Record]:
        count = counts[chosen.topic(name)]
        # A dead letter may lie anywhere: a wrong partition is one of the reasons to be one.
        own = range(count) if name.endswith(SUFFIX) else [partition_of(chosen, user, count)]
        return list(_of_user(chosen, chosen.topic(name), own, user))

    def settings_of(name: str) -> dict[str, str]:
        return found[chosen.topic(name)].config

    copies = _in_store(chosen, user, counts[chosen.topic("rescore-state")], erased_ms)
    new_life = copies[0].standing == "gone" and copies[0].what != NO_ROW
    for name in tables:
        records = read(name)
        ends = row_ends if name == "rescore-state" else partial(card_ends, values=values(chosen))
        erased = erased_at(records, ends)
        copies.append(in_table(name, records, erased, settings_of(name), new_life))
    copies.append(in_examples(_examples(chosen, user, counts), settings_of("rescore-examples")))
    memory = chosen.topic(MEMORY_TOPIC)
    remembered = list(read_topics(chosen.kafka, {memory: counts[memory]}))
    copies.append(in_memory(remembered, _hashed(chosen, user).hex(), settings_of(MEMORY_TOPIC), new_life))
    copies += [in_log(name, read(name), settings_of(name)) for name in logs]
    return [*copies, in_workers()]


def _of_user(chosen: Settings, topic: str, partitions: Iterable[int], user: str) -> Iterable[Record]:
    from streams.kafka_client import read, require_topics

    key = user.encode()
    for record in read(chosen.kafka, require_topics(chosen.kafka, [topic]), partitions):
        if record.key == key:
            yield record


def _in_store(chosen: Settings, user: str, partitions: int, erased_ms: int) -> list[Copy]:
    from state.errors import StoreUnavailable
    from state.layout import CorruptRow, decode_row
    from state.redis_store import RedisStore
    from streams.commands.replay import versions_of
    from streams.commands.wire import partition_of
    from streams.erasure import Copy, in_store

    store = RedisStore(
        chosen.redis.url.get_secret_value(),
        chosen.app,
        partitions,
        timeout_seconds=chosen.redis.timeout_seconds,
        connect_timeout_seconds=chosen.redis.connect_timeout_seconds,
    )
    number, key = partition_of(chosen, user, partitions), user.encode()
    try:
        with closing(store):
            packed, _ = store.read(key, number)
            due_ms = store.due_ms_of(key, number)
    except StoreUnavailable as away:
        return [Copy("row in the store", "remains", f"not known: {away}")]
    try:
        row = None if packed is None else decode_row(packed)
    except CorruptRow as corrupt:
        return [Copy("row in the store", "remains", f"a row that cannot be read: {corrupt}")]
    moment_ms = row.erased_ms if row is not None and row.erased_ms is not None else erased_ms
    horizon_ms = versions_of(chosen).policy_at(moment_ms).duplicate_horizon_ms
    return in_store(row, due_ms, moment_ms, horizon_ms)


def _hashed(chosen: Settings, user: str) -> bytes:
    """What stands for the customer in training examples."""
    from streams.credit_examples import user_hash

    key = chosen.examples_key.get_secret_value().encode() if chosen.examples_key else b""
    return user_hash(user.encode(), key)


def _examples(chosen: Settings, user: str, counts: dict[str, int]) -> list[tuple[Record, str]]:
    from streams.commands.wire import values
    from streams.kafka_client import read

    topic = chosen.topic("rescore-examples")
    hashed, known = _hashed(chosen, user), values(chosen)
    found = [record for record in read(chosen.kafka, {topic: counts[topic]}) if record.key == hashed]
    return [(record, kind_of(record, known)) for record in found]


def _show(user: str, copies: Sequence[Copy], through: bool) -> None:
    from rich.table import Table

    last_ms = max((copy.until_ms for copy in copies if copy.until_ms is not None), default=None)
    if through:
        rest = "nothing is left" if last_ms is None else f"the last of it is gone by {_day(last_ms)}"
        typer.echo(f"forgotten: {user}; {rest}")
    else:
        places = ", ".join(copy.place for copy in copies if copy.standing == "remains")
        typer.echo(f"NOT forgotten: something of {user} remains in {places}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("copy", "", "what is there", "gone by"):
        table.add_column(heading, overflow="fold")
    for copy in copies:
        table.add_row(copy.place, copy.standing, copy.what, "-" if copy.until_ms is None else _day(copy.until_ms))
    console().print(table)


def _day(time_ms: int) -> str:
    from streams.commands.subscribe import local_time

    return local_time(time_ms)
