"""The last guard: an exception that nobody expected isolates the one record that causes it, and the rest goes on.

A `Processor` around another one. While nothing is raised it costs a call a batch. Where a batch raises, it is taken
again in halves, each with the rows that the halves before it left, down to the record that raises alone: that record
becomes a dead letter (INTERNAL_ERROR), the records before and behind it are taken, of the same customer too. Where a
batch is cut never alters what is said, so the result is that of the batch without the isolated records.

- What decides is the record and its customer's row, so the same record is isolated after a crash.
- A record is blamed where it raises twice in a row; what does not come again was no record's fault. (Once is enough
  from the 65th on.)
- Where a customer's timers or row raise without any record, no record is to blame and nothing may be skipped: the
  partition halts, and its words name the customer. So it does where even an empty batch raises.
- Exceptions with a meaning of their own (`streams.log.failures.NAMED`) keep it.

Cost: one bad record of n costs 2 log n attempts, which together take three times the batch's time; where all are bad,
each costs two or three attempts by itself, some 2 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.batch import BEGINNING_MS, Record
from schemas.row_keys import rows_under
from state.store import RowWrite
from streams.log.failures import NAMED, Failure, failure_of, forget_frames, is_of_environment
from streams.log.message import Message
from streams.log.protocol import HaltPartition, PauseAndRetry
from streams.worker.output import Output, Processor, Thought, answered

ASKED_TWICE_MAX = 64
"""So many records are asked twice before they are blamed."""

LetterOf = Callable[[Record, Failure], tuple[str, Message]]
"""The dead-letter topic and the dead letter of an isolated record."""


class Moments(NamedTuple):
    """See `streams.worker.output.Processor`; what is not known is left out."""

    swept_ms: int = BEGINNING_MS
    erased_ms: int = BEGINNING_MS
    before_ms: int = BEGINNING_MS

    def known(self) -> dict[str, int]:
        """Those that are known."""
        if self == NOTHING_KNOWN:  # as nearly always: nobody was erased, nothing was swept
            return {}
        return {name: moment_ms for name, moment_ms in self._asdict().items() if moment_ms != BEGINNING_MS}


NOTHING_KNOWN = Moments()


def tell_nobody(failure: Failure) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class GuardedProcessor:
    """`processor`, guarded. `letter_of` makes dead letters; `tell` hears of each exception, before the batch is
    committed.
    """

    processor: Processor
    letter_of: LetterOf
    tell: Callable[[Failure], None] = tell_nobody

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
        """See `streams.worker.output.Processor`."""
        moments = Moments(swept_ms, erased_ms, before_ms)
        thought: Thought | None = None
        try:
            thought = self.processor.process(partition, records, due_users, clock_ms, **moments.known())
            users = next(thought)
        except NAMED:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is: that is what a last guard is for
            thought, failure = None, failed(error)
            keys = dict.fromkeys(row for record in records if record.key is not None for row in rows_under(record.key))
            users = [*keys, *(user for user in due_users if user not in keys)]
        rows = yield users
        if thought is not None:
            try:
                return answered(thought, rows)
            except NAMED:
                raise
            except Exception as error:  # noqa: BLE001 - likewise
                failure = failed(error)
        held = dict(zip(users, rows, strict=True))
        isolation = _Isolation(self, partition, clock_ms, moments, held)
        return isolation.output(records, due_users, failure)


def failed(error: Exception) -> Failure:
    """The failure that an exception is. Raises `PauseAndRetry` where the machine is at fault and not the program."""
    if is_of_environment(error):
        raise PauseAndRetry(f"the batch cannot be decided now: {failure_of(error).clause}") from error
    return failure_of(error)


@dataclass(slots=True)
class _Isolation:
    """One batch that raised, on its way through smaller pieces. `rows` are those that the pieces so far have left."""

    guard: GuardedProcessor
    partition: int
    clock_ms: int
    moments: Moments
    rows: dict[bytes, bytes | None]
    outputs: list[Output] = field(default_factory=list)
    users: dict[bytes, None] = field(default_factory=dict)  # whom these records are about
    blamed: list[Failure] = field(default_factory=list)
    newest_ms: int = BEGINNING_MS

    def output(self, records: Sequence[Record], due_users: Sequence[bytes], failure: Failure) -> Output:
        """What the batch comes to without the records that raise. Raises `HaltPartition` where none is to blame."""
        if (of_nothing := self._attempt((), ())) is not None:
            raise self._halt(of_nothing, "an empty batch")
        if records:
            self._take(records)
        self._pass_time([*self.users, *(user for user in due_users if user not in self.users)])
        # What came once and then not again is told too: nobody is to blame for it, and nothing is left out.
        for each in self.blamed or [failure]:
            self.guard.tell(each)
        return combined(self.outputs)

    def _take(self, records: Sequence[Record]) -> None:
        failure = self._attempt(records, ())
        if failure is None:
            return
        if len(records) > 1:
            middle = len(records) // 2
            self._take(records[:middle])
            self._take(records[middle:])
        else:
            self._isolate(records[0], failure)

    def _isolate(self, record: Record, failure: Failure) -> None:
        """A record that has raised alone is to blame if it does so again.

        Its customer's timers may have raised before it: they are among those that `_pass_time` fires without it.
        """
        if len(self.blamed) < ASKED_TWICE_MAX:
            again = self._attempt([record], ())
            if again is None:
                return
            failure = again
        failure = failure._replace(record=f"{record.topic}/{record.partition}/{record.offset}")
        topic, letter = self.guard.letter_of(record, failure)
        self.outputs.append(Output(dead_letters={topic: [letter]}))
        if record.key in self.rows:
            self.users[record.key] = None
        if any(other.place == failure.place for other in self.blamed[:ASKED_TWICE_MAX]):
            forget_frames(failure.error)  # told with the first of them; thousands would hold all that they worked on
        self.blamed.append(failure)
        self.newest_ms = max(self.newest_ms, record.timestamp_ms)

    def _pass_time(self, users: Sequence[bytes]) -> None:
        """Fire what the partition's clock has passed, of everyone who was touched and of those who are due."""
        failure = self._attempt((), users, self.clock_ms)
        if failure is None:
            return
        if len(users) > 1:
            middle = len(users) // 2
            self._pass_time(users[:middle])
            self._pass_time(users[middle:])
        elif (failure := self._attempt((), users, self.clock_ms)) is not None:
            raise self._halt(failure, _of_customer(users[0], self.clock_ms) if users else "an empty batch")

    def _attempt(
        self, records: Sequence[Record], due_users: Sequence[bytes], clock_ms: int = BEGINNING_MS
    ) -> Failure | None:
        """Take a piece; what it raised, None where all went well and it counts."""
        try:
            moments = self.moments.known()
            thought = self.guard.processor.process(self.partition, records, due_users, clock_ms, **moments)
            users = next(thought)
            output = answered(thought, [self._row(user) for user in users])
        except NAMED:
            raise
        except Exception as error:  # noqa: BLE001 - likewise
            return failed(error)
        self._keep(output, users, records)
        return None

    def _row(self, user: bytes) -> bytes | None:
        if user not in self.rows:  # a default for a customer who may be known would be wrong without a word
            raise PauseAndRetry(f"the row of {user!r} was not asked for with the batch: it is taken again")
        return self.rows[user]

    def _keep(self, output: Output, users: Sequence[bytes], records: Sequence[Record]) -> None:
        self.outputs.append(output)
        self.users.update(dict.fromkeys(users))
        self.rows.update((image.user, image.row) for image in output.images)
        self.newest_ms = max(self.newest_ms, max((record.timestamp_ms for record in records), default=BEGINNING_MS))
        # As a worker says of the next batch: when somebody was erased, and how far time had come before it.
        erased_ms = self.clock_ms if output.erases else self.moments.erased_ms
        if erased_ms != BEGINNING_MS:
            passed_ms = max(self.moments.before_ms, self.newest_ms)
            self.moments = self.moments._replace(erased_ms=erased_ms, before_ms=passed_ms)

    def _halt(self, failure: Failure, what: str) -> HaltPartition:
        self.guard.tell(failure)
        return HaltPartition(
            f"partition {self.partition}: the program failed on {what}, without any record that could be put aside: "
            f"{failure.clause}. Nothing of the batch was taken, and nothing is lost. Report it with the traceback in "
            f"this worker's log, install the release that fixes it, and start the worker again."
        )


def _of_customer(user: bytes, until_ms: int) -> str:
    return f"the row or the timers (due by {until_ms}) of the customer {user!r}"


def combined(outputs: Sequence[Output]) -> Output:
    """Several batches in a row as one: each row once, as the last of them left it.

    >>> one = Output(images=[RowWrite(b"ann", b"1", 5)], checked=[(b"bob", 7)])
    >>> two = Output(images=[RowWrite(b"bob", b"2", 8)], checked=[(b"ann", 9)])
    >>> combined([one, two]).images, combined([one, two]).checked
    ([RowWrite(user=b'ann', row=b'1', due_ms=9), RowWrite(user=b'bob', row=b'2', due_ms=8)], [])
    """
    images: dict[bytes, RowWrite] = {}
    checked: dict[bytes, int | None] = {}
    letters: dict[str, list[Message]] = {}
    for output in outputs:
        for image in output.images:
            images[image.user] = image
            checked.pop(image.user, None)
        for user, due_ms in output.checked:
            if user in images:
                images[user] = images[user]._replace(due_ms=due_ms)
            else:
                checked[user] = due_ms
        for topic, messages in output.dead_letters.items():
            letters.setdefault(topic, []).extend(messages)
    return Output(
        changes=[message for output in outputs for message in output.changes],
        scorecards=[message for output in outputs for message in output.scorecards],
        examples=[message for output in outputs for message in output.examples],
        journal=[message for output in outputs for message in output.journal],
        dead_letters=letters,
        images=list(images.values()),
        checked=list(checked.items()),
        erases=any(output.erases for output in outputs),
    )
