"""Is a customer forgotten? Every copy that there is, what is in it, and by when it is gone. Pure.

A copy is *gone*, or *expires* by a known moment (the settings of its topic see to that), or *remains*: then nothing
removes it, and what could is said. It is *unknown* where it could not be looked into, and why is said. Data in a log
cannot be cut out of it; what can be proven is that the last word is a tombstone, and when the words before it go.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from schemas.batch import DAY_MS, Record
from schemas.topic_values import Values
from state.layout import CorruptRow, decode_row
from state.row import Row

UNLIMITED_MS = -1
SEGMENT_MS = 7 * DAY_MS
"""How long a segment takes at most by a broker's default until it is closed; only closed ones expire."""
CLEANER_MS = DAY_MS
"""Room for the broker's cleaner to come round to a topic whose limit is reached."""
NEVER_MS = 2**60
"""Where a broker's limit begins to mean none."""

NO_ROW = "no row"
KEPT_FOR_EVER = "kept for ever: retention.ms is -1"

Standing = Literal["gone", "expires", "remains", "unknown"]


UNREADABLE = "unreadable"
"""Kind of a training example that cannot be read; it counts as one, because it may be one."""


def is_erasure(record: Record, values: Values) -> bool:
    """Whether a record of `commands` orders an erasure; one that cannot be read is a dead letter and orders none."""
    try:
        return values.decode("commands", record.value or b"").get("command") == "erase"
    except ValueError:
        return False


def kind_of(record: Record, values: Values) -> str:
    """The kind of a training example."""
    try:
        return str(values.decode("rescore-examples", record.value or b"")["kind"])
    except ValueError:
        return UNREADABLE


def erased_at(records: Sequence[Record], ends: Callable[[bytes], bool]) -> int | None:
    """Which record of a customer in a compacted topic ended them last: a tombstone, or a value that `ends` them.

    None if none did, or if one behind it cannot be read (`ends` raises ValueError): it may hold anything.
    """
    for at in range(len(records) - 1, -1, -1):
        value = records[at].value
        try:
            if value is None or ends(value):
                return at
        except ValueError:
            return None
    return None


def row_ends(value: bytes) -> bool:
    """Whether a row holds nothing but the moment of an erasure. Raises ValueError if it cannot be read."""
    try:
        return not decode_row(value).exists
    except CorruptRow as error:
        raise ValueError(str(error)) from error


def card_ends(value: bytes, values: Values) -> bool:
    """A scorecard ends nobody. Raises ValueError if it cannot be read."""
    values.decode("scorecards", value)
    return False


@dataclass(frozen=True, slots=True)
class Copy:
    """One place where something of a customer could be. `until_ms`: gone by then, None where that is not known."""

    place: str
    standing: Standing
    what: str
    until_ms: int | None = None

    def as_plain(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def is_through(copies: Sequence[Copy]) -> bool:
    """True where every copy is gone, or goes by a known day."""
    return all(copy.standing in ("gone", "expires") for copy in copies)


def to_do(copies: Sequence[Copy], expiring: Container[str], how_to_forget: str) -> list[str]:
    """What makes copies that nothing removes go, and when to look again. Nothing, if all are gone or expire.

    `expiring` are the copies in topics whose retention is a setting, and `how_to_forget` says how to set it.
    """
    steps = []
    kept = [copy.place for copy in copies if copy.standing == "remains" and KEPT_FOR_EVER in copy.what]
    if any(place in expiring for place in kept):
        steps.append(how_to_forget)
    if others := [place for place in kept if place not in expiring]:
        steps.append(f"set a finite retention.ms of {', '.join(others)} (kafka-configs.sh)")
    if not is_through(copies):
        steps.append("look again with --prove-only")
    return steps


def in_store(row: Row | None, due_ms: int | None, erased_ms: int, horizon_ms: int) -> list[Copy]:
    """The row in the store, and the customer's place in the index of due times.

    For the horizon of duplicates a marker stays that holds the moment of the erasure and nothing else, so that events
    from before it are refused when they arrive late; then the row goes as well.
    """
    until_ms = erased_ms + horizon_ms + 1
    if row is None:
        return [Copy("row in the store", "gone", NO_ROW), _index(due_ms, None)]
    if row.exists and _is_new_life(row, erased_ms):
        return [
            Copy("row in the store", "gone", "a new life, begun after the erasure"),
            Copy("due index", "gone", "its"),
        ]
    if row.exists:
        return [Copy("row in the store", "remains", f"a row of {row.events:,} events"), _index(due_ms, None)]
    what = "a marker with the moment of the erasure alone"
    return [Copy("row in the store", "expires", what, until_ms), _index(due_ms, until_ms)]


def _is_new_life(row: Row, erased_ms: int) -> bool:
    """A row that remembers the erasure has begun again, and so has one none of whose records is as old."""
    return row.erased_ms is not None or row.first_event_ms > erased_ms


def _index(due_ms: int | None, until_ms: int | None) -> Copy:
    if due_ms is None:
        return Copy("due index", "gone", "not in it")
    if until_ms is None:
        return Copy("due index", "remains", "in it, without a row: restart a worker, which takes it out")
    return Copy("due index", "expires", "the end of the marker", until_ms)


def in_table(
    place: str, records: Sequence[Record], erased_at: int | None, settings: Mapping[str, str], new_life: bool = False
) -> Copy:
    """A compacted topic: the customer's records in it in their order. `records[erased_at]` is the word that ended them,
    a tombstone or a marker without data; None where there is none. What is behind it is of a new life.

    Earlier words are on the disk until the topic is compacted, for which `max.compaction.lag.ms` is the limit.
    """
    if not records:
        return Copy(place, "gone", "nothing")
    if erased_at is None:
        if new_life:
            return Copy(place, "gone", "a new life, begun after the erasure")
        return Copy(place, "remains", f"{len(records):,} records, and none that ends them")
    before = [record for record in records[:erased_at] if record.value is not None]
    last = "a tombstone" if records[erased_at].value is None else "a marker without data"
    if not before:
        return Copy(place, "gone", f"{last}, nothing before it")
    what = f"{last} is the last word; {len(before):,} earlier wait for compaction"
    lag_ms = int(settings.get("max.compaction.lag.ms", NEVER_MS))
    if lag_ms >= NEVER_MS:
        return Copy(place, "remains", f"{what}, for which no limit is set: rescore topics apply")
    return Copy(place, "expires", what, records[erased_at].timestamp_ms + lag_ms + CLEANER_MS)


def in_log(place: str, records: Sequence[Record], settings: Mapping[str, str]) -> Copy:
    """A topic that forgets by age: gone when the newest of the customer's records is older than its retention."""
    if not records:
        return Copy(place, "gone", "nothing")
    what = f"{len(records):,} record{'' if len(records) == 1 else 's'}"
    retention_ms = int(settings.get("retention.ms", UNLIMITED_MS))
    if retention_ms == UNLIMITED_MS:
        return Copy(place, "remains", f"{what}, {KEPT_FOR_EVER}")
    newest_ms = max(record.timestamp_ms for record in records)
    # A segment expires as a whole, once its newest record does: up to a segment's time later.
    return Copy(place, "expires", what, newest_ms + retention_ms + int(settings.get("segment.ms", SEGMENT_MS)))


EXAMPLES = "rescore-examples (by keyed hash)"


def in_examples(records: Sequence[tuple[Record, str]], settings: Mapping[str, str]) -> Copy:
    """Training examples under the customer's keyed hash, each with its kind; an erasure among them makes learners
    forget those before it."""
    place = EXAMPLES
    examples = [record for record, kind in records if kind != "erasure"]
    told = [i for i, (_, kind) in enumerate(records) if kind == "erasure"]
    if not examples:
        return Copy(place, "gone", "none")
    before = [record for i, (record, kind) in enumerate(records) if kind != "erasure" and told and i < told[-1]]
    if len(before) < len(examples):
        if told:
            return Copy(place, "gone", "those of a new life, begun after the erasure")
        return Copy(place, "remains", f"{len(examples):,} examples, and no word to the learners to forget them")
    held = in_log(place, before, settings)
    return Copy(place, held.standing, f"{held.what}; learners are told to forget them", held.until_ms)


def in_memory(records: Sequence[Record], hashed: str, settings: Mapping[str, str], new_life: bool = False) -> Copy:
    """What the learner remembers (`rescore-learner`): records with the customer's keyed hash, in hexadecimal, in their
    key or value. It drops them at the end of the epoch in which the erasure was."""
    place, mark = "rescore-learner (by keyed hash)", hashed.encode()
    holding = [one for one in records if one.value is not None and (mark in (one.key or b"") or mark in one.value)]
    if not holding:
        return Copy(place, "gone", "nothing")
    last = {one.key: one for one in records}
    now = [one for one in holding if last[one.key] is one]
    if now and new_life:
        return Copy(place, "gone", "those of a new life, begun after the erasure")
    if now:
        words = "the learner drops them at the end of its epoch: look again with --prove-only"
        return Copy(place, "remains", f"{len(now):,} record{'' if len(now) == 1 else 's'}; {words}")
    what = f"dropped; {len(holding):,} earlier wait for compaction"
    lag_ms = int(settings.get("max.compaction.lag.ms", NEVER_MS))
    if lag_ms >= NEVER_MS:
        return Copy(place, "remains", f"{what}, for which no limit is set: rescore topics apply")
    return Copy(place, "expires", what, max(last[one.key].timestamp_ms for one in holding) + lag_ms + CLEANER_MS)


def in_workers() -> Copy:
    """A worker holds the rows of a batch while it thinks, and none after it."""
    return Copy("workers", "gone", "no cache: rows are held for one batch")
