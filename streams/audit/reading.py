"""Reading for `rescore verify`: where each partition is compared up to, and what the topics hold up to there.

Workers may be running, so the order of the questions decides what can be known:

1. The stable offsets of the outputs. What lies before them is of transactions that ended, so their progress records
   are already in the changelog.
2. The last progress record of each partition, read to the end of the changelog. What lies before a stable offset of
   step 1 is of this progress record's transaction or of an earlier one: it is *settled*.
3. The ends of all topics. All that the progress record stands for lies before them.

A record between its stable offset and its end may be of a later transaction. It is never called wrong.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from schemas.row_keys import PROGRESS_KEY, record_key
from streams.audit.compare import Committed
from streams.kafka.client import read_between, require_topics, spans, stable_ends
from streams.log.dead_letters import SUFFIX
from streams.log.progress import Progress
from streams.log.unreadable import Unreadable, UnreadableRecord
from streams.settings import KafkaSettings

Where = tuple[str, int]
"""Topic, partition."""

PROGRESS_WITHIN = 2_048
"""So many offsets before the end of the changelog the last progress record is looked for first."""


@dataclass(frozen=True, slots=True)
class Names:
    """The topics of a deployment under their full names."""

    inputs: tuple[str, ...]
    letters: tuple[str, ...]
    journal: str
    changes: str
    cards: str
    state: str

    @classmethod
    def of(cls, full: Callable[[str], str]) -> Names:
        """`full` makes the full name of a topic."""
        inputs = tuple(map(full, INPUT_TOPICS))
        letters = tuple(topic + SUFFIX for topic in inputs)
        return cls(
            inputs, letters, full("rescore-journal"), full("score-changes"), full("scorecards"), full("rescore-state")
        )

    @property
    def every(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.inputs, *self.letters, self.journal, self.changes, self.cards, self.state)


@dataclass(frozen=True, slots=True)
class Fixed:
    """One partition as it is compared: up to `progress`, with everything that stands for it before `ends`.

    `settled`: records of the outputs before these offsets are of no later transaction. All of them, if it is empty.
    """

    partition: int
    progress: Progress
    starts: Mapping[Where, int]
    ends: Mapping[Where, int]
    settled: Mapping[Where, int] = field(default_factory=dict)

    def records(self, names: Names) -> int:
        """Offsets of the inputs up to there."""
        return sum(self.ends[topic, self.partition] - self.starts[topic, self.partition] for topic in names.inputs)


def fixed_partitions(
    kafka: KafkaSettings, names: Names, wanted: Iterable[int] | None, decode: Callable[[bytes], Progress]
) -> list[Fixed]:
    """Every partition that has a progress record (of the wanted ones), fixed now. Raises TopicMissing."""
    counts = require_topics(kafka, names.every)
    partitions = sorted(set(range(counts[names.state])) & set(range(counts[names.state]) if wanted is None else wanted))
    settled = stable_ends(kafka, [(topic, p) for topic in (names.changes, names.cards) for p in partitions])
    progress = {p: found for p in partitions if (found := last_progress(kafka, (names.state, p), decode))}
    starts, ends = spans(kafka, [(topic, p) for topic in names.every for p in range(counts[topic])])
    return [_fixed(p, *progress[p], names, starts, ends, settled) for p in progress]


def _fixed(
    partition: int,
    progress: Progress,
    offset: int,
    names: Names,
    starts: Mapping[Where, int],
    ends: Mapping[Where, int],
    settled: Mapping[Where, int],
) -> Fixed:
    """What belongs to a partition: its own inputs and changelog, and of the outputs what can hold its customers."""
    inputs = {(topic, partition): progress.next_offsets.get(topic, 0) for topic in names.inputs}
    inputs = {where: max(end, starts[where]) for where, end in inputs.items()}
    state = {(names.state, partition): offset + 1}
    keyed = (names.journal, names.changes, names.cards)
    outputs = {w: e for w, e in ends.items() if (w[0] in keyed and w[1] == partition) or w[0] in names.letters}
    own = inputs | state | outputs
    own_settled = {where: offset for where, offset in settled.items() if where[1] == partition} | state
    return Fixed(partition, progress, {where: starts[where] for where in own}, own, own_settled)


def last_progress_of_all(
    kafka: KafkaSettings, state: str, partitions: int, decode: Callable[[bytes], Progress]
) -> dict[int, Progress]:
    """The last progress record of each partition of the changelog that has one; most of them in one reading."""
    starts, ends = spans(kafka, [(state, p) for p in range(partitions)])
    near = {where: max(starts[where], end - PROGRESS_WITHIN) for where, end in ends.items()}
    found: dict[int, bytes] = {}
    for record in read_between(kafka, near, ends):
        if record.key == PROGRESS_KEY:
            found[record.partition] = record.value or b""
    progress = {partition: decode(value) for partition, value in found.items()}
    for where in [where for where, start in near.items() if where[1] not in found and start > starts[where]]:
        if (further := last_progress(kafka, where, decode)) is not None:
            progress[where[1]] = further[0]
    return progress


def last_progress(
    kafka: KafkaSettings, where: Where, decode: Callable[[bytes], Progress], open_seconds: float | None = None
) -> tuple[Progress, int] | None:
    """The last progress record of a partition of the changelog, and its offset. Raises BehindOpenTransaction."""
    starts, ends = spans(kafka, [where])
    first, end, width = starts[where], ends[where], PROGRESS_WITHIN
    while end > first:
        start = max(first, end - width)
        found: Record | None = None
        for record in read_between(kafka, {where: start}, {where: end}, open_seconds):
            if record.key == PROGRESS_KEY:
                found = record
        if found is not None:
            return progress_in(found, decode), found.offset
        end, width = start, width * 8
    return None


def progress_in(record: Record, decode: Callable[[bytes], Progress]) -> Progress:
    """The progress in a record. Raises UnreadableRecord that names it."""
    try:
        return decode(record.value or b"")
    except ValueError as error:
        raise UnreadableRecord(
            f"{record.topic}/{record.partition}: the progress record at offset {record.offset} cannot be read "
            f"({error}). A newer release wrote it, or another program: see docs/operations.md, "
            '"Foreign records in our topics"'
        ) from error


@dataclass(slots=True)
class Material:
    """What the topics hold of some customers and requests of a partition, by the keys of their rows.

    `whole_from_ms`: before this, retention has removed records that the recount would need; None where nothing is
    removed.
    """

    inputs: list[Record] = field(default_factory=list)
    journal: list[Record] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    committed: dict[bytes, Committed] = field(default_factory=dict)
    whole_from_ms: int | None = None
    changes_are_whole: bool = True
    letters_are_whole: bool = True
    strays: Unreadable = field(default_factory=Unreadable)
    """Records without a key in topics of ours, which belong to nobody."""


def piece_of(key: bytes, pieces: int) -> int:
    """Which piece of a partition the records of a key are in: large ones are compared in pieces that fit the memory."""
    return zlib.crc32(key) % pieces


def material(kafka: KafkaSettings, names: Names, fixed: Fixed, wanted: Callable[[bytes], bool]) -> Material:
    """Read everything of the wanted keys of records. Cost: some 5 us a record of the partition, wanted or not.

    If retention removes records meanwhile, what was read may have a gap: then everything is read again.
    """
    while True:
        found = _material(kafka, names, fixed, wanted)
        firsts, _ = spans(kafka, fixed.starts)
        if all(firsts[where] <= start for where, start in fixed.starts.items()):
            return found
        starts = {where: max(start, firsts[where]) for where, start in fixed.starts.items()}
        fixed = replace(fixed, starts=starts)


def _material(kafka: KafkaSettings, names: Names, fixed: Fixed, wanted: Callable[[bytes], bool]) -> Material:
    found = Material()
    oldest: dict[str, int] = {}
    # Compacted topics first: the sooner they are read, the less of what the progress record stands for is replaced.
    compacted = {where: end for where, end in fixed.ends.items() if where[0] in (names.state, names.cards)}
    others = {where: end for where, end in fixed.ends.items() if where not in compacted}
    for record in chain(read_between(kafka, fixed.starts, compacted), read_between(kafka, fixed.starts, others)):
        oldest.setdefault(record.topic, record.timestamp_ms)
        if record.topic in names.letters:
            found.letters.append(record)  # few, and a bad key is one of the reasons to be there
        elif record.key is None:
            if record.topic not in names.inputs:
                found.strays.note(record, "it has no key")
        elif wanted(record_key(record.key)):
            _keep(record, names, fixed, found)
    shortened = {topic for (topic, _), start in fixed.starts.items() if start > 0}
    needed = [topic for topic in (*names.inputs, names.journal) if topic in shortened]
    if needed:
        found.whole_from_ms = max(oldest.get(topic, fixed.progress.clock_ms) for topic in needed)
    found.changes_are_whole = names.changes not in shortened
    found.letters_are_whole = not shortened & set(names.letters)
    return found


def _keep(record: Record, names: Names, fixed: Fixed, found: Material) -> None:
    key = record.key or b""
    if record.topic in names.inputs:
        found.inputs.append(record)
    elif record.topic == names.journal:
        found.journal.append(record)
    elif key != PROGRESS_KEY:
        one = found.committed.setdefault(key, Committed())
        where = (record.topic, record.partition)
        is_settled = record.offset < fixed.settled.get(where, fixed.ends[where])
        if record.topic == names.changes:
            one.changes.append(record)
            one.changes_unsettled += not is_settled
        elif record.topic == names.state:
            one.image = record
        elif is_settled:
            one.card = record
        else:
            one.later_cards.append(record)


def written_since(kafka: KafkaSettings, names: Names, fixed: Fixed) -> set[bytes]:
    """Keys under which a compacted topic holds a record that may be of a transaction later than the progress record.

    Compaction may have removed what such a key had before, so a difference in its row or scorecard proves nothing.
    """
    compacted = [(names.state, fixed.partition), (names.cards, fixed.partition)]
    starts = {where: fixed.settled[where] for where in compacted}
    _, ends = spans(kafka, compacted)
    return {record.key for record in read_between(kafka, starts, ends) if record.key}
