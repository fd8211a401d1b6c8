"""`rescore erase USER --prove`: wait until the erasure is through, and look into every copy.

Whom it is about is the key of a row (`schemas.row_keys`): a customer, or a request that names none. What is under the
same key in Kafka and of the other of the two is not theirs.
"""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import typer

from schemas.errors import Exit, fail
from streams.audit.erasure import card_ends, erased_at, is_erasure, kind_of, row_ends
from streams.terminal import console, echo, print_json, say, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from schemas.batch import Record
    from streams.audit.erasure import Copy
    from streams.settings import Settings

LOOK_SECONDS = 0.25
OPEN_SECONDS_MIN = 0.5


def prove(chosen: Settings, row: bytes, wait_seconds: float, as_json: bool) -> None:
    """Show every copy; exit code 1 while something remains that no known day removes, or cannot be looked into.

    It ends about `wait_seconds` later: that long it waits for a worker and for open transactions together.
    """
    from schemas.row_keys import name_of, request_of
    from streams.audit.erasure import EXAMPLES, is_through, to_do
    from streams.kafka.topics import events_of_customers, how_to_forget

    patience = Patience(wait_seconds)
    erased = _wait(chosen, row, patience, as_json)
    copies = look(chosen, row, erased.timestamp_ms, patience)
    through, request_id = is_through(copies), request_of(row)
    steps = to_do(copies, {*events_of_customers(), EXAMPLES}, how_to_forget(chosen.clock))
    if as_json:
        whom = {"user_id": name_of(row)} if request_id is None else {"request_id": request_id}
        print_json({**whom, "erased": through, "copies": [copy.as_plain() for copy in copies], "to_do": steps})
    else:
        _show(name_of(row), copies, through)
        for step in steps:
            say("  ", ("to do:", "bold"), f" {step}", err=True)
    if not through:
        raise typer.Exit(Exit.FAILURE)


class Patience:
    """How long a command still waits: all its waiting comes out of the same seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._until_seconds = seconds, time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """True once the seconds are used up."""
        return time.monotonic() > self._until_seconds

    @property
    def open_seconds(self) -> float:
        """How long the next reader may wait for an open transaction to end."""
        return max(self._until_seconds - time.monotonic(), OPEN_SECONDS_MIN)


def _wait(chosen: Settings, row: bytes, patience: Patience, as_json: bool) -> Record:
    """The last erasure, once a worker has taken it."""
    from schemas.row_keys import name_of, request_of
    from streams.audit.reading import last_progress
    from streams.composition.registry import values
    from streams.kafka.client import require_topics
    from streams.log.open_transactions import BehindOpenTransaction
    from streams.processing.wire import wire_of

    topic, state = chosen.topic("commands"), chosen.topic("rescore-state")
    counts = require_topics(chosen.kafka, [topic, state])
    partition = _partition(chosen, row, counts[topic])
    known, decode = values(chosen), wire_of(values(chosen)).progress.decode
    name, request_id = name_of(row), request_of(row)
    again = f"rescore erase {name if request_id is None else f'--request {request_id}'}"
    try:
        commands = _theirs(chosen, "commands", [partition], row, patience.open_seconds)
        asked = [record for record in commands if is_erasure(record, known)]
        if not asked:
            fail(f"{name!r} was never erased, or retention has removed the command", f"{again} --prove")
        erasure = asked[-1]
        if not as_json:
            say(("waiting until the erasure is through", "dim"), err=True)
        while True:
            progress = last_progress(chosen.kafka, (state, partition), decode, patience.open_seconds)
            if progress is not None and progress[0].next_offsets.get(topic, 0) > erasure.offset:
                return erasure
            if patience.over:
                fail(
                    f"the erasure of {name!r} is published, and no worker has taken it within {patience.seconds:g} s",
                    "rescore lag",
                )
            time.sleep(LOOK_SECONDS)
    except BehindOpenTransaction as behind:
        fail(
            f"the erasure of {name!r} could not be proven within {patience.seconds:g} s: {behind}",
            f"rescore lag; then {again} --prove-only",
        )


def look(chosen: Settings, row: bytes, erased_ms: int, patience: Patience | None = None) -> list[Copy]:
    """Every copy of a customer or request, as it is now; one that an open transaction hides is unknown."""
    from schemas.kinds import INPUT_TOPICS
    from streams.audit.erasure import NO_ROW, in_examples, in_log, in_memory, in_table, in_workers
    from streams.composition.registry import values
    from streams.kafka.client import OPEN_SECONDS, admin_of, require_topics
    from streams.kafka.client import read as read_topics
    from streams.kafka.topics import MEMORY_TOPIC, describe
    from streams.log.dead_letters import SUFFIX

    logs = ["score-changes", "actions", "rescore-journal", *INPUT_TOPICS, *(name + SUFFIX for name in INPUT_TOPICS)]
    tables = ["rescore-state", "scorecards"]
    full = [chosen.topic(name) for name in (*logs, *tables, "rescore-examples", MEMORY_TOPIC)]
    counts = require_topics(chosen.kafka, full)
    patience = patience or Patience(OPEN_SECONDS)
    found = describe(admin_of(chosen.kafka), full)

    def read(name: str) -> list[Record]:
        count = counts[chosen.topic(name)]
        # A dead letter may lie anywhere: a wrong partition is one of the reasons to be one.
        own = range(count) if name.endswith(SUFFIX) else [_partition(chosen, row, count)]
        return list(_theirs(chosen, name, own, row, patience.open_seconds))

    def settings_of(name: str) -> dict[str, str]:
        return found[chosen.topic(name)].config

    copies = _in_store(chosen, row, counts[chosen.topic("rescore-state")], erased_ms, patience.open_seconds)
    new_life = copies[0].standing == "gone" and copies[0].what != NO_ROW

    def table(name: str) -> Copy:
        records = read(name)
        ends = row_ends if name == "rescore-state" else partial(card_ends, values=values(chosen))
        return in_table(name, records, erased_at(records, ends), settings_of(name), new_life)

    def log(name: str) -> Copy:
        return in_log(name, read(name), settings_of(name))

    def examples() -> Copy:
        found = _examples(chosen, row, counts, patience.open_seconds)
        return in_examples(found, settings_of("rescore-examples"))

    def memory() -> Copy:
        topic = chosen.topic(MEMORY_TOPIC)
        remembered = list(read_topics(chosen.kafka, {topic: counts[topic]}, open_seconds=patience.open_seconds))
        return in_memory(remembered, _hashed(chosen, row).hex(), settings_of(MEMORY_TOPIC), new_life)

    copies += [_looked_into(name, partial(table, name)) for name in tables]
    copies += [_looked_into("rescore-examples", examples), _looked_into(MEMORY_TOPIC, memory)]
    copies += [_looked_into(name, partial(log, name)) for name in logs]
    return [*copies, in_workers()]


def _looked_into(place: str, look_into: Callable[[], Copy]) -> Copy:
    """A copy; unknown, and why, where it cannot be read to its end."""
    from streams.audit.erasure import Copy
    from streams.log.open_transactions import BehindOpenTransaction

    try:
        return look_into()
    except BehindOpenTransaction as behind:
        return Copy(place, "unknown", str(behind))


def _partition(chosen: Settings, row: bytes, partitions: int) -> int:
    from schemas.row_keys import record_key
    from streams.composition.registry import partition_of

    return partition_of(chosen, record_key(row).decode(), partitions)


def _theirs(
    chosen: Settings, name: str, partitions: Iterable[int], row: bytes, open_seconds: float
) -> Iterable[Record]:
    """The records of a topic that are of this customer or request, or may be, among those under the same key."""
    from schemas.codec import Decoder
    from schemas.decode import row_key_of
    from schemas.kinds import INPUT_TOPICS, Rank
    from schemas.row_keys import record_key
    from streams.audit.recount_reference import inverted_of
    from streams.composition.registry import registry_for
    from streams.kafka.client import read, require_topics
    from streams.log.dead_letters import SUFFIX

    key, origin, registry = record_key(row), name.removesuffix(SUFFIX), registry_for(chosen)
    topic = chosen.topic(name)
    counts = require_topics(chosen.kafka, [topic])
    for record in read(chosen.kafka, counts, partitions, open_seconds=open_seconds):
        if origin in INPUT_TOPICS:
            # What cannot be read is perhaps theirs.
            rank = Rank(INPUT_TOPICS.index(origin))
            is_theirs = record.key == key and row_key_of(record, rank, registry) in (row, None)
        elif name == "rescore-journal":
            is_theirs = record.key == key and inverted_of(record, Decoder(registry, 1)).user == row
        else:
            is_theirs = record.key == row
        if is_theirs:
            yield record


def _in_store(chosen: Settings, key: bytes, partitions: int, erased_ms: int, open_seconds: float) -> list[Copy]:
    from state.errors import StoreUnavailable
    from state.layout import CorruptRow, decode_row
    from state.redis_store import RedisStore
    from streams.audit.erasure import Copy, in_store
    from streams.commands.verify import versions_of
    from streams.log.open_transactions import BehindOpenTransaction

    store = RedisStore(
        chosen.redis.url.get_secret_value(),
        chosen.app,
        partitions,
        timeout_seconds=chosen.redis.timeout_seconds,
        connect_timeout_seconds=chosen.redis.connect_timeout_seconds,
    )
    number = _partition(chosen, key, partitions)
    try:
        with closing(store):
            packed, held = store.read(key, number)
            due_ms = store.due_ms_of(key, number)
    except StoreUnavailable as away:
        return [Copy("row in the store", "unknown", str(away))]
    if packed is None and held is not None and held.lost:
        words = f"partition {number} has lost rows and is to be rebuilt by a worker"
        return [Copy("row in the store", "unknown", words)]
    try:
        row = None if packed is None else decode_row(packed)
    except CorruptRow as corrupt:
        return [Copy("row in the store", "unknown", f"it cannot be read: {corrupt}")]
    moment_ms = row.erased_ms if row is not None and row.erased_ms is not None else erased_ms
    try:
        horizon_ms = versions_of(chosen, open_seconds).policy_at(moment_ms).duplicate_horizon_ms
    except BehindOpenTransaction as behind:
        return [Copy("row in the store", "unknown", str(behind))]
    return in_store(row, due_ms, moment_ms, horizon_ms)


def _hashed(chosen: Settings, row: bytes) -> bytes:
    """What stands for the customer or request in training examples."""
    from streams.processing.case_examples import user_hash

    key = chosen.examples_key.get_secret_value().encode() if chosen.examples_key else b""
    return user_hash(row, key)


def _examples(chosen: Settings, row: bytes, counts: dict[str, int], open_seconds: float) -> list[tuple[Record, str]]:
    from streams.composition.registry import values
    from streams.kafka.client import read

    topic = chosen.topic("rescore-examples")
    hashed, known = _hashed(chosen, row), values(chosen)
    records = read(chosen.kafka, {topic: counts[topic]}, open_seconds=open_seconds)
    found = [record for record in records if record.key == hashed]
    return [(record, kind_of(record, known)) for record in found]


def _show(user: str, copies: Sequence[Copy], through: bool) -> None:
    last_ms = max((copy.until_ms for copy in copies if copy.until_ms is not None), default=None)
    if through:
        rest = "nothing is left" if last_ms is None else f"the last of it is gone by {_day(last_ms)}"
        echo(f"forgotten: {user}; {rest}")
    if remains := [copy.place for copy in copies if copy.standing == "remains"]:
        echo(f"NOT forgotten: something of {user} remains in {', '.join(remains)}")
    for copy in copies:
        if copy.standing == "unknown":
            echo(f"NOT proven for {user}: {copy.place}: {copy.what}")
    shown = table("copy", "", "what is there", "gone by")
    for copy in copies:
        shown.add_row(copy.place, copy.standing, copy.what, "-" if copy.until_ms is None else _day(copy.until_ms))
    console().print(shown)


def _day(time_ms: int) -> str:
    from streams.commands.subscribe import local_time

    return local_time(time_ms)
