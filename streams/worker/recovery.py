"""RESOLVE: the one way back to a known state, after an assignment, a restart, an unknown outcome or a store that is
behind, empty or rolled back. What happened is read from the log, never guessed.

1. Hold a producer that owns our transactional id: this ends what an earlier life of ours left open.
2. Take a new nonce: from here on no other session can write to the store.
3. Barrier: the committed offset of every input, stable, that is, with no transaction open that could still move it.
4. Only now ask for the end of the changelog (behind open transactions too) and read it read_committed up to there. Its
   last progress record says where the partition stands. (Commit markers of the changelog may arrive after those of the
   offsets; that is why the end is the high watermark and why reading waits for it.)
   Compare the ids of the topics with those in it: another id is another topic, and halts (`streams.log.topic_ids`).
5. Bring the store there: by one write if it is a little behind, by the rows written since if it is further behind, by
   a rebuild if it is empty, too old or has lost rows.
6. Compare: committed offsets must equal the progress record's (missing is no error: they expire after a week of
   rest), the inputs must still hold the records from there on. Anything else halts the partition and says why, unless
   the changelog has grown since 4: then we slept while others wrote (and while it was compacted beyond the end we
   know, which takes the last progress record before it), and begin again. If we slept for too long, polling tells us
   so first.

`resolve` is a generator: it yields wherever it has to wait, so that the worker goes on polling and serving others.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from schemas.batch import Record
from schemas.row_keys import PROGRESS_KEY
from state.layout import CorruptRow
from state.store import Position, RowWrite, SaveOutcome, Store
from streams.log.progress import DUE_MS_MAX, NO_OFFSET, Progress, ProgressCodec, Standing
from streams.log.protocol import Failpoint, HaltPartition, Log, TopicPartition, no_failpoint
from streams.log.topic_ids import NO_TOPICS, SameTopics, TopicIds
from streams.worker.lost_rows import StoreLostRows

Answer = TypeVar("Answer")


FOREIGN = (
    "If another program wrote it, take its right to write to this topic, and see docs/operations.md, "
    '"Foreign records in our topics".'
)
ROWS_PER_WRITE = 1_000


@dataclass(frozen=True, slots=True)
class Resolution:
    """What RESOLVE works with. `due_ms` reads the due time out of a row; `breathe` is called during a long rebuild and
    says whether all that was ours still is; `store_age_max_ms` is half of the changelog's `delete.retention.ms`.
    """

    log: Log
    store: Store
    inputs: tuple[str, ...]
    state_topic: str
    codec: ProgressCodec
    due_ms: Callable[[bytes], int | None]
    new_nonce: Callable[[], str]
    wall_ms: Callable[[], int]
    breathe: Callable[[], bool]
    store_age_max_ms: int = 12 * 3_600_000
    first_clock_ms: int = 0
    rows_per_write: int = ROWS_PER_WRITE
    topic_ids: TopicIds = NO_TOPICS
    failpoint: Failpoint = no_failpoint


class _Mark(NamedTuple):
    progress: Progress
    offset: int


class _Abandoned(Exception):
    """The partition was given up while it was being rebuilt."""


class _Again(Exception):
    """Store or changelog were changed under our hands: start from the beginning."""


Steps = Generator[None, None, Standing | None]
"""Yields while waiting; returns where the partition stands, None if it is no longer ours."""


def resolve(partition: int, given: Resolution, *, rebuilds: bool = False) -> Steps:
    """Bring log, store and worker to one state; see the module. `rebuilds`: the store has lost rows.

    Raises `HaltPartition` where a person must look, `StoreLostRows` where a store turns out to have lost rows.
    """
    while True:
        try:
            return (yield from _attempt(partition, given, rebuilds))
        except _Abandoned:
            return None
        except _Again:
            yield


def _attempt(partition: int, given: Resolution, rebuilds: bool) -> Steps:
    log, where = given.log, TopicPartition(given.state_topic, partition)
    while not log.open():
        yield
    nonce = given.new_nonce()
    held = given.store.claim(partition, nonce)
    while (committed := log.committed(partition)) is None:
        yield
    first = (yield from _ask(lambda: log.first_offsets([where])))[where]
    end = (yield from _ask(lambda: log.end_offsets([where])))[where]
    given.failpoint("K14.resolving")
    if held is not None and held.lost and not rebuilds:
        raise StoreLostRows(held.lost)
    if held is not None and not held.ready:
        held = None
    try:
        return (yield from _agree(partition, given, nonce, held, committed, first, end, rebuilds))
    except HaltPartition:
        if (yield from _ask(lambda: log.end_offsets([where])))[where] == end:
            raise
        raise _Again from None


def _agree(
    partition: int,
    given: Resolution,
    nonce: str,
    held: Position | None,
    committed: Mapping[str, int | None],
    first: int,
    end: int,
    rebuilds: bool,
) -> Steps:
    """Make store, group and changelog say the same, given the changelog up to `end`."""
    where = TopicPartition(given.state_topic, partition)
    mark = yield from _last_progress(given, where, max(first, held.state_offset) if held else first, end)
    topics = yield from _same_topics(partition, given, mark)
    _refuse_a_store_that_is_ahead(where, held, mark)
    yield from _bring_the_store_there(where, given, nonce, None if rebuilds else held, mark, first)
    next_offsets = yield from _next_offsets(partition, given, committed, mark, topics.begun)
    if mark is None:
        return Standing(0, next_offsets, given.first_clock_ms, nonce, topic_ids=topics.ids)
    known = mark.progress
    moments = known.marked_ms, known.swept_ms, known.erased_ms
    return Standing(known.seq, next_offsets, known.clock_ms, nonce, *moments, topics.ids)


def _same_topics(partition: int, given: Resolution, mark: _Mark | None) -> Generator[None, None, SameTopics]:
    """Whether the topics are the ones that the state was made from: before anything is done by their offsets."""
    found = yield from _ask(lambda: given.log.topic_ids(given.topic_ids.topics))
    known = None if mark is None else mark.progress.topic_ids
    return given.topic_ids.same(known, found, f"partition {partition}")


def _last_progress(
    given: Resolution, where: TopicPartition, start: int, end: int
) -> Generator[None, None, _Mark | None]:
    """The last committed progress record in `[start, end)`, looked for from the end in growing pieces."""
    width = 2_048
    while end > start:
        piece_start = max(start, end - width)
        found: Record | None = None
        for records in given.log.read(where, piece_start, end):
            if not records:
                yield
            for record in records:
                if record.key == PROGRESS_KEY:
                    found = record
        if found is not None:
            return _Mark(_progress_in(found, given), found.offset)
        end, width = piece_start, width * 8
    return None


def _progress_in(record: Record, given: Resolution) -> Progress:
    try:
        return given.codec.decode(record.value or b"")
    except ValueError as error:
        raise HaltPartition(
            f"{record.topic}/{record.partition}: the progress record at offset {record.offset} cannot be read "
            f"({error}). If a newer release wrote it, upgrade this worker to that release or a later one. {FOREIGN} "
            f"Nothing was taken, and nothing is lost."
        ) from error


def _refuse_a_store_that_is_ahead(where: TopicPartition, held: Position | None, mark: _Mark | None) -> None:
    if held is None or held.seq == 0:
        return
    known = (0, NO_OFFSET) if mark is None else (mark.progress.seq, mark.offset)
    if (held.seq, held.state_offset) == known or held.seq < known[0]:
        return
    raise HaltPartition(
        f"partition {where.partition}: the store holds transaction {held.seq} (offset {held.state_offset} of "
        f"{where.topic}), the log ends with transaction {known[0]} (offset {known[1]}). The store belongs to another "
        f"log, or the log has lost data. Point RESCORE_KAFKA__BOOTSTRAP_SERVERS at the right cluster; if the log is "
        f"the truth, delete this partition's keys from the store and restart: it is rebuilt from {where.topic}."
    )


def _bring_the_store_there(
    where: TopicPartition, given: Resolution, nonce: str, held: Position | None, mark: _Mark | None, first: int
) -> Generator[None, None, None]:
    seq, offset = (0, NO_OFFSET) if mark is None else (mark.progress.seq, mark.offset)
    if held is not None and held.seq == seq:
        return
    target = Position(seq, nonce, offset)
    if held is None or (yield from _is_too_old(where, given, held)):
        given.store.restore(where.partition, target, _all_rows(where, given, first, offset))
        return
    writes = yield from _missing_rows(where, given, held, offset)
    if writes is None:
        given.store.follow(where.partition, held.seq, target, _all_rows(where, given, held.state_offset + 1, offset))
    elif given.store.save(where.partition, held.seq, target, writes) not in (SaveOutcome.OK, SaveOutcome.ALREADY):
        raise _Again


def _is_too_old(where: TopicPartition, given: Resolution, held: Position) -> Generator[None, None, bool]:
    """Whether tombstones of rows the store still has may have been compacted away: only a rebuild deletes those."""
    oldest_ms = given.wall_ms() - given.store_age_max_ms
    return held.state_offset < (yield from _ask(lambda: given.log.offset_at(where, oldest_ms)))


def _missing_rows(
    where: TopicPartition, given: Resolution, held: Position, until: int
) -> Generator[None, None, list[RowWrite] | None]:
    """Rows that changed since the store's position, as one write that readers never see half of; None: too many."""
    writes: dict[bytes, RowWrite] = {}
    for records in given.log.read(where, held.state_offset + 1, until):
        if not records:
            yield
        for record in records:
            if record.key is not None and record.key != PROGRESS_KEY:
                writes[record.key] = _row_write(record.key, record, given)
        if len(writes) > given.rows_per_write:
            return None
    return list(writes.values())


def _all_rows(where: TopicPartition, given: Resolution, first: int, until: int) -> Iterator[Sequence[RowWrite]]:
    """Every row of a stretch of the changelog in pieces; of one user the last counts."""
    writes: dict[bytes, RowWrite] = {}
    for records in given.log.read(where, first, until):
        if not given.breathe():
            raise _Abandoned
        for record in records:
            if record.key is not None and record.key != PROGRESS_KEY:
                writes[record.key] = _row_write(record.key, record, given)
                if len(writes) == given.rows_per_write:
                    yield list(writes.values())
                    given.failpoint("K15.restoring")
                    writes.clear()
    if writes:
        yield list(writes.values())


def _row_write(user: bytes, record: Record, given: Resolution) -> RowWrite:
    """The row in a record of the changelog. Raises `HaltPartition` for one that the store must not hold."""
    if record.value is None:
        return RowWrite(user, None, None)
    try:
        due_ms = given.due_ms(record.value)
    except (CorruptRow, ValueError) as error:
        raise HaltPartition(_unreadable_row(record, str(error))) from error
    if due_ms is not None and not -DUE_MS_MAX <= due_ms <= DUE_MS_MAX:
        raise HaltPartition(_unreadable_row(record, "its due time is outside of the calendar"))
    return RowWrite(user, record.value, due_ms)


def _unreadable_row(record: Record, why: str) -> str:
    return (
        f"{record.topic}/{record.partition}: the row at offset {record.offset} cannot be read ({why}). If a newer "
        f"release wrote it, upgrade this worker to that release or a later one. {FOREIGN} The partition is not "
        f"restored, and nothing is taken."
    )


def _next_offsets(
    partition: int,
    given: Resolution,
    committed: Mapping[str, int | None],
    mark: _Mark | None,
    begun: Container[str] = (),
) -> Generator[None, None, dict[str, int]]:
    """Where each input goes on, once the log agrees with itself about it; those of `begun` begin."""
    inputs = [TopicPartition(topic, partition) for topic in given.inputs]
    firsts = yield from _ask(lambda: given.log.first_offsets(inputs))
    ends = yield from _ask(lambda: given.log.end_offsets(inputs))
    next_offsets: dict[str, int] = {}
    for where in inputs:
        wanted = None if mark is None else mark.progress.next_offsets.get(where.topic)
        group = committed[where.topic]
        if group is not None and group != wanted:
            raise HaltPartition(
                f"{where.topic}/{partition}: the group's committed offset is {group}, the last progress record in "
                f"{given.state_topic} says {'nothing: there is none' if wanted is None else wanted}. "
                f"Somebody has reset the group's offsets or deleted "
                f"{given.state_topic}. Delete the group's offsets (kafka-consumer-groups --delete-offsets) to go on "
                f"from the progress record, or start a new RESCORE_APP to begin again."
            )
        if where.topic in begun:
            wanted = None  # a position in the topic that was
        if wanted is not None and not firsts[where] <= wanted <= ends[where]:
            raise HaltPartition(
                f"{where.topic}/{partition}: the next record to take is {wanted}, the topic holds "
                f"[{firsts[where]}, {ends[where]}). Records were deleted before they were taken. Restore the topic, or "
                f"publish the inputs again under another RESCORE_TOPIC_PREFIX; and raise retention.ms."
            )
        next_offsets[where.topic] = firsts[where] if wanted is None else wanted
    return next_offsets


def _ask(question: Callable[[], Answer | None]) -> Generator[None, None, Answer]:
    while (answer := question()) is None:
        yield
    return answer
