"""What a worker knows of a partition of its own: three states as data, each with those that may come next.

    resolving -> running, halted        running -> resolving        halted -> resolving

The log gives partitions (resolving, or halted where they cannot be ours as they are) and takes them away from any
state. See `streams.worker.loop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.clock import FOREVER_SECONDS
from streams.log.failures import Failure
from streams.log.progress import Standing
from streams.log.protocol import TopicPartition
from streams.worker.merge import Merge
from streams.worker.recovery import Steps


@dataclass(slots=True)
class Resolving:
    """A partition of ours on its way back to a known state. Next: running, halted."""

    number: int
    steps: Steps
    not_before_seconds: float
    rebuilds: bool = False  # from the changelog, as the store has lost rows


@dataclass(slots=True)
class Sweep:
    """Everyone of a partition is looked at for new weights, a slice at a time. A new start begins it again: no harm."""

    until_ms: int
    cursor: bytes = b""
    begun: bool = False
    waiting: list[bytes] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Everyone has been named and looked at."""
        return self.begun and not self.cursor and not self.waiting


@dataclass(slots=True)
class Running:
    """A partition of ours that takes records. Next: resolving."""

    number: int
    merge: Merge
    standing: Standing
    earliest_due_ms: int  # no timer of the partition is due before this
    held_back: tuple[TopicPartition, ...] = ()
    advance_written_seconds: float = -FOREVER_SECONDS  # by the monotonic clock: the wall may step back
    settles: bool = False  # its positions have moved without a record: they are to be written down
    sweep: Sweep | None = None
    since_seconds: float = -FOREVER_SECONDS
    verified: bytes = b""  # how far the index was held against the rows: a cursor of the store


@dataclass(slots=True)
class Halted:
    """A partition of ours that a person must look at. Next: whatever a restart or a new assignment brings."""

    number: int
    reason: str


def unmatched_words(number: int, missing_in: Sequence[str]) -> str:
    """Why a partition that not every input has is halted, and what to do."""
    return (
        f"partition {number} is not in {', '.join(missing_in)}: somebody has added partitions to some of the inputs, "
        f"and customers were moved away from their state. Nothing of it is taken. Stop the publishers, make new topics "
        f"with equal numbers of partitions under another RESCORE_TOPIC_PREFIX, and publish again."
    )


def failed_words(number: int, failure: Failure, times: int) -> str:
    """Why a partition is halted that an exception sent back to its last commit again and again, and what to do."""
    return (
        f"partition {number}: the program failed {times} times in a row, and no record could be found that causes it: "
        f"{failure.clause}. Nothing is lost. Report it with the traceback in this worker's log; a restart of the "
        f"worker tries again."
    )
