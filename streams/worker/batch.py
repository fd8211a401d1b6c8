"""A batch of one partition, from what is taken to what is committed: the transaction it becomes, the report of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.row_keys import PROGRESS_KEY
from streams.clock import Clock
from streams.log.message import Message
from streams.log.progress import NO_OFFSET, Progress, Standing
from streams.log.protocol import TopicPartition, Transaction
from streams.worker.merge import Taken
from streams.worker.observer import BatchReport
from streams.worker.options import Marks, Wire, WorkerOptions
from streams.worker.output import Output
from streams.worker.partition import Running


@dataclass(slots=True)
class Batch:
    """What one partition does in one turn."""

    partition: Running
    taken: Taken
    due_users: list[bytes]
    no_more_due: bool
    output: Output
    standing: Standing  # once it is committed
    settles: bool  # says how far the inputs were read, though there was nothing to take
    mark_ms: int | None = None  # the boundary of an epoch to mark
    swept: bool = False  # a sweep has come to its end
    state_offset: int = NO_OFFSET  # of its progress record

    @property
    def written(self) -> bool:
        """Checks of timers that found nothing to say are the only batches that are not."""
        marked = self.mark_ms is not None or self.swept
        return self.taken.count > 0 or self.settles or marked or not self.output.silent


def transaction_of(batches: Sequence[Batch], options: WorkerOptions, wire: Wire, marks: Marks) -> Transaction:
    """Everything the batches say, the new rows, and for each partition how far it is: all of it or nothing."""
    transaction = Transaction({})
    for batch in batches:
        number, output, standing = batch.partition.number, batch.output, batch.standing
        for topic, messages in (
            (options.changes, output.changes),
            (options.scorecards, output.scorecards),
            (options.journal, output.journal),
            *output.dead_letters.items(),
        ):
            if messages:
                transaction.messages.setdefault(topic, []).append(messages)
        # A marker speaks of everything before this batch; examples keep their partition's number, as markers do.
        markers = [] if batch.mark_ms is None else [marks.marker(batch.mark_ms)]
        if markers or output.examples:
            transaction.placed[TopicPartition(options.examples, number)] = [*markers, *output.examples]
        where = TopicPartition(options.state, number)
        transaction.rows[where] = output.images
        progress = Progress(
            standing.seq,
            standing.next_offsets,
            standing.clock_ms,
            standing.nonce,
            options.code_version,
            standing.marked_ms,
            standing.swept_ms,
            standing.erased_ms,
            standing.topic_ids or None,
        )
        transaction.progress[where] = Message(PROGRESS_KEY, wire.progress.encode(progress))
        for topic, offset in standing.next_offsets.items():
            transaction.positions[TopicPartition(topic, number)] = offset
    return transaction


def still_due(batch: Batch) -> list[bytes]:
    """Users whose timers were looked at, or were to be, and are still due: they would be looked at for ever."""
    output, clock_ms = batch.output, batch.taken.clock_ms
    dues = {user: due_ms for user, _, due_ms in output.images} | dict(output.checked)
    looked_at = ((user, dues.get(user, clock_ms)) for user in (*dues, *batch.due_users))
    return [user for user, due_ms in looked_at if due_ms is not None and due_ms <= clock_ms]


class Watch:
    """Durations of the steps of one batch."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_seconds = clock.monotonic_seconds()
        self.seconds: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """This step has taken the time since the last one."""
        now_seconds = self._clock.monotonic_seconds()
        self.seconds[step] = now_seconds - self._last_seconds
        self._last_seconds = now_seconds


def report_of(batches: Sequence[Batch], watch: Watch) -> BatchReport:
    """What observers are told of a turn."""
    outputs = [batch.output for batch in batches]
    reasons = Counter[str]()
    for output in outputs:
        reasons.update(output.reasons)
    return BatchReport(
        partitions=[batch.partition.number for batch in batches],
        records=sum(batch.taken.count for batch in batches),
        due_users=sum(len(batch.due_users) for batch in batches),
        changes=sum(len(output.changes) for output in outputs),
        images=sum(len(output.images) for output in outputs),
        dead_letters=sum(len(letters) for output in outputs for letters in output.dead_letters.values()),
        reasons=reasons,
        inversions=sum(len(output.journal) for output in outputs),
        overruns=sum(output.overruns for output in outputs),
        committed=any(batch.written for batch in batches),
        clock_ms={batch.partition.number: batch.taken.clock_ms for batch in batches},
        seq={batch.partition.number: batch.partition.standing.seq for batch in batches},
        seconds=watch.seconds,
    )
