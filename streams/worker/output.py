"""What a batch of one partition has to say: the border between the motion (log, worker) and everything that thinks.

The worker knows nothing of scores. It hands the records of one partition to a `Processor` and gets an `Output` back:
bytes in, bytes out. So the same loop carries the real maths, a counting toy in the tests and a simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.batch import BEGINNING_MS, Record
from state.store import RowWrite
from streams.log.message import Message

Thought = Generator[Sequence[bytes], "list[bytes | None]", "Output"]
"""A batch being thought about: asks once for the rows of users (None where there is none), then says what it leads to.

So the worker can ask the store for the rows of all its partitions at once.
"""


@dataclass(slots=True)
class Output:
    """Everything one batch of one partition leads to; the worker puts all of it into one transaction.

    `changes`, `scorecards`, `examples` and `journal` go to the topics of these names, `dead_letters` maps a dead-letter
    topic to its records. `images` are the after-images of the rows that changed, with their next due times.
    `checked` are the next due times of rows that were looked at and did not change: they alter the store's index of
    due times and nothing else, so a batch that has only these needs no transaction. `erases`: somebody was forgotten.
    `reasons` counts the dead letters by reason, `overruns` event ids that were forgotten within the horizon.
    """

    changes: Sequence[Message] = ()
    scorecards: Sequence[Message] = ()
    examples: list[Message] = field(default_factory=list)
    journal: list[Message] = field(default_factory=list)
    dead_letters: dict[str, list[Message]] = field(default_factory=dict)
    images: Sequence[RowWrite] = ()
    checked: list[tuple[bytes, int | None]] = field(default_factory=list)
    erases: bool = False
    reasons: Mapping[str, int] = field(default_factory=dict)
    overruns: int = 0

    @property
    def silent(self) -> bool:
        """True if nothing of this has to be written to the log."""
        return not (
            self.changes or self.scorecards or self.examples or self.journal or self.dead_letters or self.images
        )


def thought_through(thought: Thought, load: Callable[[Sequence[bytes]], list[bytes | None]]) -> Output:
    """What a batch leads to, with the rows that `load` finds."""
    return answered(thought, load(next(thought)))


def answered(thought: Thought, rows: list[bytes | None]) -> Output:
    """What a batch leads to, given the rows it has asked for."""
    try:
        thought.send(rows)
    except StopIteration as done:
        output: Output = done.value
        return output
    raise ValueError("a processor asks for rows once")


class Processor(Protocol):
    """Bytes in, `Output` out: decode, load, step, encode."""

    def process(
        self,
        partition: int,
        records: Sequence[Record],
        due_users: Sequence[bytes],
        clock_ms: int,
        swept_ms: int = BEGINNING_MS,
        erased_ms: int = BEGINNING_MS,
        before_ms: int = BEGINNING_MS,
    ) -> Thought:
        """Take records of one partition (in merge order, possibly none) and the users whose timers are due.

        `clock_ms` is the partition's clock once the batch is taken: every timer of the users touched that is due by
        then fires. Users who have a row were looked at for all new weights up to `swept_ms`. `erased_ms` is the
        partition's clock when an erasure was last taken, `before_ms` its clock, both before these records. Each of
        `due_users` must come back in `images` or `checked` with a due time beyond `clock_ms`.

        The same arguments and rows must give the same bytes. Bad records are dead letters in the output; only what
        makes it impossible to decide at all is raised: `PauseAndRetry` where waiting helps (a registry that does not
        answer), `HaltPartition` where a person must look (a row that cannot be read).
        """
        ...
