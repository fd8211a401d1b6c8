"""The worker: the loop that keeps scores true.

One turn: poll -> merge by time -> process (pure thought) -> one transaction -> save -> tell. Ownership changes arrive
as values between two batches, every way back is RESOLVE (`streams.worker.recovery`), time in silence is a record
like others.

Exactly once, a sentence per danger. A crash before the commit leaves nothing: the transaction is aborted when its id
comes back. A crash after it loses only the write to the store: RESOLVE makes up for it from the changelog. An unknown
commit is read from the log. A worker that has lost its partitions is refused by its generation, as every transaction
carries the positions of every partition it touches. A late write of a former session to the store is refused by nonce.
A store that was emptied or rolled back while we run is noticed before anything is decided on its rows: rows and
position are read in one moment, and nobody but us brings a store to our position. One that has lost single keys is
noticed as well: who is in its index has a row, and the index has as many members as were put into it.

What a partition of ours can be is in `streams.worker.partition`, what a batch becomes in `streams.worker.batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from schemas.batch import FOREVER_MS, Record
from schemas.codec import RegistryUnavailable, SchemaNotRegistered
from schemas.row_keys import name_of, request_of
from state.errors import StoreAhead, StoreUnavailable
from state.row_columns import RowColumns
from state.store import Position, Save, SaveOutcome, Store
from streams.clock import FOREVER_SECONDS, Clock, way_back_seconds
from streams.log.failures import failure_of
from streams.log.progress import Standing
from streams.log.protocol import (
    AbortAndRewind,
    Assigned,
    AssignmentChange,
    Failpoint,
    HaltPartition,
    Log,
    Lost,
    PauseAndRetry,
    Polled,
    RecreateProducer,
    StopWorker,
    TooLarge,
    TopicPartition,
    Transaction,
    Unmatched,
    no_failpoint,
)
from streams.log.topic_ids import TopicIds
from streams.worker.batch import Batch, Watch, report_of, still_due, transaction_of
from streams.worker.held_inputs import HeldInputs
from streams.worker.lost_rows import Losses, StoreLostRows, StoreMoved
from streams.worker.merge import Merge, Taken
from streams.worker.observer import Observer, Unobserved
from streams.worker.options import Gate, Marks, NoMarks, OpenGate, Wire, WorkerOptions
from streams.worker.output import Output, Processor, Thought, answered
from streams.worker.partition import Halted, Resolving, Running, Sweep, failed_words, unmatched_words
from streams.worker.recovery import Resolution, resolve

HOLD_TOLD_SECONDS = 1.0
FAILURES_MAX = 8
"""So often a partition goes back for exceptions that nobody expected, some 5 s in all, before it halts."""

MUCH_WAITING_SHARE = 4
"""Of the records that may wait in one input: from this part on, much waits."""
VERIFIED_USERS = 1_000
"""Of each partition so many customers are looked at every few seconds: whether they still have rows."""


class Worker:
    """Owns partitions and takes them forward. One thread; everything that touches the world is handed in."""

    def __init__(
        self,
        log: Log,
        store: Store,
        processor: Processor,
        wire: Wire,
        clock: Clock,
        new_nonce: Callable[[], str],
        options: WorkerOptions | None = None,
        gate: Gate | None = None,
        observer: Observer | None = None,
        failpoint: Failpoint = no_failpoint,
        marks: Marks | None = None,
    ) -> None:
        self._log, self._store, self._processor, self._wire, self._clock = log, store, processor, wire, clock
        self._options = options or WorkerOptions()
        self._gate, self._marks = gate or OpenGate(), marks or NoMarks()
        self._observer = observer or Unobserved()
        self._failpoint = failpoint
        self._owned: dict[int, Resolving | Running | Halted] = {}
        self._unfollowed: list[AssignmentChange] = []
        self._busy = False
        self._last_in_turn = -1
        self._ways_back: dict[int, int] = {}  # by partition: how many in a row
        self._losses = Losses()
        self._failures: dict[int, int] = {}  # by partition: exceptions that nobody expected since its last commit
        self._held: tuple[int, float] | None = None  # the time that clocks may not pass, and since when (seconds)
        self._looked_round_seconds = self._asked_topics_seconds = clock.monotonic_seconds()
        self._held_inputs = HeldInputs()
        of = self._options
        self._topics = TopicIds.of_worker(of.inputs, of.broadcast, of.state, of.from_beginning, of.same_offsets)
        self._resolution = Resolution(
            log=log,
            store=store,
            inputs=self._options.inputs,
            state_topic=self._options.state,
            codec=wire.progress,
            due_ms=wire.due_ms,
            new_nonce=new_nonce,
            wall_ms=clock.wall_ms,
            breathe=self._breathe,
            rows_per_write=self._options.users_max,
            topic_ids=self._topics,
            failpoint=failpoint,
        )

    def run(self, stopped: Callable[[], bool]) -> None:
        """Take turns until told to stop, then leave in good order. `StopWorker` means that another took our place."""
        try:
            while not stopped():
                self.turn()
        finally:
            self._log.close()

    def turn(self) -> None:
        """One turn of the loop: at most one batch, one transaction over all partitions with something to do."""
        polled = self._log.poll(self._options.records_max, 0.0 if self._busy else self._options.idle_seconds)
        self._failpoint("K1.polled")
        self._follow(polled.changes)
        with self._last_guard():
            self._buffer(polled)
            self._resolve()
            self._go_forward()
        with self._last_guard():
            self._break_silence()
            self._look_round()
            self._watch_topics()
        self._observer.turned(self._clock.monotonic_seconds())

    @contextmanager
    def _last_guard(self) -> Iterator[None]:
        """A store or registry that is away, or an exception that nobody expected: back to what is committed.

        (An exception that a record causes ends in `streams.processing.guard`.)
        """
        try:
            yield
        except (StoreUnavailable, RegistryUnavailable, SchemaNotRegistered) as error:
            self._rewind(self._not_halted(), str(error))
            self._busy = False
        except (HaltPartition, StoreAhead) as halt:
            for number in self._not_halted():
                self._halt(number, str(halt))
        except (StopWorker, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is: that is what a last guard is for
            self._fall_back(self._not_halted(), error)
            self._busy = False

    def _fall_back(self, partitions: Sequence[int], error: Exception) -> None:
        """Back to what is committed after an exception that nobody expected; partitions that stay there halt."""
        failure = failure_of(error, "turn")
        self._observer.failed(failure)
        for number in partitions:
            times = self._failures[number] = self._failures.get(number, 0) + 1
            if times > FAILURES_MAX:
                self._halt(number, failed_words(number, failure, times))
        again = [number for number in partitions if self._failures[number] <= FAILURES_MAX]
        self._rewind(again, f"internal error: {failure.clause}")

    def _not_halted(self) -> list[int]:
        return [number for number, partition in self._owned.items() if not isinstance(partition, Halted)]

    def _go_forward(self) -> None:
        """The journey of a batch."""
        watch = Watch(self._clock)
        batches = self._process(self._take(watch), watch)
        self._busy = bool(batches)
        if batches and self._commit(batches, watch):
            self._save(batches, watch)
            self._observer.batch(report_of(batches, watch))

    # Ownership, and the way back.

    def _follow(self, changes: Sequence[AssignmentChange]) -> None:
        """Take over what is ours now, drop what is not. What was committed stays; what was buffered is forgotten."""
        changes, self._unfollowed = [*self._unfollowed, *changes], []
        for change in changes:
            if isinstance(change, Assigned):
                self._observer.assigned(change.partitions)
                self._rewind(change.partitions)
                continue
            if isinstance(change, Unmatched):
                for number in change.partitions:
                    self._halt(number, unmatched_words(number, change.missing_in))
                continue
            for number in change.partitions:
                self._owned.pop(number, None)
                self._losses.forget(number)
            self._failpoint("K13.given_up")
            self._observer.given_up(change.partitions, lost=isinstance(change, Lost))

    def _rewind(self, partitions: Sequence[int], reason: str = "", rebuild_in_seconds: float | None = None) -> None:
        """Forget what is not committed and find out what is; with `rebuild_in_seconds` from the changelog alone."""
        now_seconds = self._clock.monotonic_seconds()
        for number in partitions:
            self._log.pause(self._inputs_of(number))
            times = self._ways_back[number] = self._ways_back.get(number, 0) + 1 if reason else 0
            not_before_seconds = now_seconds + max(way_back_seconds(times), rebuild_in_seconds or 0.0)
            rebuilds, before = rebuild_in_seconds is not None, self._owned.get(number)
            if isinstance(before, Resolving) and before.rebuilds:
                rebuilds, not_before_seconds = True, max(not_before_seconds, before.not_before_seconds)
            steps = resolve(number, self._resolution, rebuilds=rebuilds)
            self._owned[number] = Resolving(number, steps, not_before_seconds, rebuilds)
            self._observer.resolving(number)
        if reason:
            self._observer.rewound(tuple(partitions), reason)

    def _go_back(self, number: int, reason: Exception) -> None:
        """Send one partition back; one whose store has lost rows to a rebuild, later each time in a row."""
        if not isinstance(reason, StoreLostRows):
            self._rewind([number], str(reason))
            return
        before, now_seconds = self._owned.get(number), self._clock.monotonic_seconds()
        ran_seconds = now_seconds - before.since_seconds if isinstance(before, Running) else 0.0
        wait_seconds = self._losses.wait_seconds(number, ran_seconds)
        self._rewind([number], str(reason), wait_seconds)
        self._observer.lost_rows(number, reason.customers, wait_seconds)

    def _resolve(self) -> None:
        """Take every RESOLVE under way one step further."""
        now_seconds = self._clock.monotonic_seconds()
        for partition in [p for p in self._owned.values() if isinstance(p, Resolving)]:
            if now_seconds < partition.not_before_seconds:
                continue
            try:
                self._resolve_one(partition)
            except StoreMoved as moved:
                self._go_back(partition.number, moved)
            except (HaltPartition, StoreAhead) as halt:
                self._halt(partition.number, str(halt))
            except (StoreUnavailable, RegistryUnavailable, SchemaNotRegistered, StopWorker, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001 - a record of the changelog, perhaps: of this partition alone
                self._fall_back([partition.number], error)
            if self._unfollowed:
                self._follow(())
                return

    def _resolve_one(self, partition: Resolving) -> None:
        try:
            next(partition.steps)
        except StopIteration as done:
            if done.value is not None:
                self._start(partition.number, done.value)

    def _breathe(self) -> bool:
        """Stay a member of the group during a long rebuild; says whether all that was ours still is."""
        polled = self._log.poll(self._options.records_max, 0.0)
        self._buffer(polled)
        self._unfollowed += polled.changes
        return not polled.changes

    def _start(self, number: int, standing: Standing) -> None:
        merge = Merge(
            self._options.inputs,
            standing.next_offsets,
            standing.clock_ms,
            self._wire.advance_to,
            self._options.commands,
        )
        earliest_due_ms, since_seconds = self._earliest_due_ms(number, standing), self._clock.monotonic_seconds()
        self._owned[number] = Running(number, merge, standing, earliest_due_ms, since_seconds=since_seconds)
        self._log.seek({TopicPartition(topic, number): offset for topic, offset in standing.next_offsets.items()})
        self._log.resume(self._inputs_of(number))
        self._observer.running(number, standing)

    def _halt(self, number: int, reason: str) -> None:
        self._log.pause(self._inputs_of(number))
        self._owned[number] = Halted(number, reason)
        self._observer.halted(number, reason)

    # Forward: poll, take, process, commit, save.

    def _buffer(self, polled: Polled) -> None:
        """Sort what was fetched into the merges; an input too far ahead of its fellows is fetched no further."""
        by_partition: dict[int, list[Record]] = {}
        for record in polled.records:
            by_partition.setdefault(record.partition, []).append(record)
        running = {partition.number: partition for partition in self._running()}
        for number, records in by_partition.items():
            if number in running:
                with self._sent_back(number):
                    running[number].merge.add(records)
        for end in polled.ends:
            if end.partition in running:
                running[end.partition].merge.reached_end(end.topic, end.offset)
        for partition in self._running():
            self._hold_back(partition)

    def _hold_back(self, partition: Running) -> None:
        before = partition.held_back
        now = tuple(
            where
            for where in self._inputs_of(partition.number)
            if self._is_much(*partition.merge.buffered(where.topic), share=2 if where in before else 1)
        )
        if now != before:
            self._log.pause([where for where in now if where not in before])
            self._log.resume([where for where in before if where not in now])
            partition.held_back = now

    def _is_much(self, records: int, size_bytes: int, share: int) -> bool:
        options = self._options
        return records > options.buffered_max // share or size_bytes > options.buffered_bytes_max // share

    def _take(self, watch: Watch) -> list[Batch]:
        """Records that may be taken and users whose timers are due, of each running partition."""
        running = self._running()
        if not running or not self._log.open():
            return []
        newest_ms = max(partition.merge.newest_ms for partition in running)
        until_ms = self._gate.until_ms(newest_ms)
        self._tell_hold(until_ms if until_ms < newest_ms else None)
        batches: list[Batch] = []
        partitions_max = self._partitions_max(running)
        for partition in self._in_turn(running):
            if len(batches) == partitions_max:
                break
            if partition.merge.clock_ms > until_ms:
                continue  # who has just come has not read what is in force by now: even a timer would be said wrongly
            if partition.merge.wants_ends:
                self._ask_ends(partition)
            options, mark_ms = self._options, self._mark_ms(partition)
            taken = partition.merge.take(options.records_max, options.users_max, until_ms, options.bytes_max)
            try:
                swept_ms = self._end_sweep(partition)
                due_users, no_more_due = self._due_users(partition, taken)
                due_users += self._sweep(partition, taken, due_users, swept_ms)
            except StoreMoved as moved:
                self._go_back(partition.number, moved)
                continue
            swept = swept_ms != partition.standing.swept_ms
            if taken.count or due_users or partition.settles or mark_ms is not None or swept:
                standing = partition.standing._replace(
                    seq=partition.standing.seq + 1,
                    next_offsets=partition.merge.next_offsets,
                    clock_ms=taken.clock_ms,
                    marked_ms=partition.standing.marked_ms if mark_ms is None else mark_ms,
                    swept_ms=swept_ms,
                )
                settles, partition.settles = partition.settles, False
                batches.append(
                    Batch(partition, taken, due_users, no_more_due, Output(), standing, settles, mark_ms, swept)
                )
                self._last_in_turn = partition.number
        watch.lap("merge")
        return batches

    def _partitions_max(self, running: Sequence[Running]) -> int:
        """How many partitions share a transaction: half of ours, by turns, so that a change waits for fewer others, as
        a broker takes a millisecond for each. Where much waits, time is better spent on fewer transactions.
        """
        waiting = sum(p.merge.buffered(topic)[0] for p in running for topic in self._options.inputs)
        if waiting >= self._options.buffered_max // MUCH_WAITING_SHARE:
            return len(running)
        return self._options.partitions_max or (len(running) + 1) // 2

    def _in_turn(self, running: Sequence[Running]) -> list[Running]:
        """Partitions in the order of their numbers, beginning behind the last one that had a turn."""
        return sorted(running, key=lambda partition: (partition.number <= self._last_in_turn, partition.number))

    def _mark_ms(self, partition: Running) -> int | None:
        """The boundary that this partition has passed and not marked: nothing will ever happen in it up to there."""
        merge = partition.merge
        quiet_until_ms = max(merge.clock_ms, (merge.next_ms or 0) - 1)
        passed_ms = self._marks.passed_ms(min(quiet_until_ms, partition.earliest_due_ms - 1))
        marked_ms = partition.standing.marked_ms
        return passed_ms if passed_ms is not None and (marked_ms is None or passed_ms > marked_ms) else None

    def _tell_hold(self, held_at_ms: int | None) -> None:
        """Waiting for an answer is part of life; no answer for a second is worth a word, once."""
        now_seconds = self._clock.monotonic_seconds()
        if held_at_ms is None:
            self._held = None
        elif self._held is None or self._held[0] != held_at_ms:
            self._held = held_at_ms, now_seconds
        elif now_seconds - self._held[1] > HOLD_TOLD_SECONDS:
            self._held = held_at_ms, FOREVER_SECONDS
            self._observer.held(self._marks.held_by(held_at_ms))

    def _ask_ends(self, partition: Running) -> None:
        """An advance has arrived: ask how far the other inputs go *now*. No answer: time stands still here."""
        ends = self._log.end_offsets(self._inputs_of(partition.number))
        if ends is None:
            self._observer.held(f"the ends of the inputs of partition {partition.number} are not known")
        else:
            partition.merge.asked_ends({where.topic: end for where, end in ends.items()})

    def _due_users(self, partition: Running, taken: Taken) -> tuple[list[bytes], bool]:
        """The next slice of users whose timers are due, a small one beside records: events must not wait for it."""
        if partition.earliest_due_ms > taken.clock_ms:
            return [], False
        room = self._options.users_max - len({record.key for record in taken.records})
        limit = min(room, self._options.timers_max) if taken.records else room
        if limit <= 0:
            return [], False
        users = self._store.due(partition.number, taken.clock_ms, limit)
        if not users:
            partition.earliest_due_ms = self._earliest_due_ms(partition.number, partition.standing)
        return users, len(users) < limit

    def _sweep(self, partition: Running, taken: Taken, due_users: Sequence[bytes], swept_ms: int | None) -> list[bytes]:
        """The next slice of everyone, where new weights ask for it and the partition's clock has passed their time."""
        rescored_ms, sweep = self._marks.rescored_ms(partition.merge.clock_ms), partition.sweep
        if sweep is None and rescored_ms is not None and (swept_ms is None or rescored_ms > swept_ms):
            sweep = partition.sweep = Sweep(rescored_ms)
        if sweep is None:
            return []
        present = {record.key for record in taken.records}.union(due_users)
        room = self._options.users_max - len(present)
        limit = min(room, self._options.timers_max) if taken.records else room
        if limit > 0 and not sweep.waiting and not sweep.done:
            named = self._store.users_at(partition.number, sweep.cursor, self._options.users_max)
            sweep.waiting, sweep.cursor, held = named
            self._check_position(held, partition.standing)  # an index that was emptied would have named everyone
            sweep.begun = True
        slice_, sweep.waiting = sweep.waiting[: max(limit, 0)], sweep.waiting[max(limit, 0) :]
        # A request without a customer has no scores that new weights could move.
        return [user for user in dict.fromkeys(slice_) if user not in present and request_of(user) is None]

    def _end_sweep(self, partition: Running) -> int | None:
        """Up to when everyone has been looked at: all slices so far are committed, as no turn leaves one behind."""
        sweep, swept_ms = partition.sweep, partition.standing.swept_ms
        if sweep is None or not sweep.done:
            return swept_ms
        self._check_position(self._store.position(partition.number), partition.standing)  # it has named everyone
        partition.sweep = None
        return sweep.until_ms

    def _process(self, batches: list[Batch], watch: Watch) -> list[Batch]:
        """Let the processor think about each partition's batch; all ask for their rows, the store is asked once."""
        thoughts: list[tuple[Batch, Thought]] = []
        wanted: dict[int, Sequence[bytes]] = {}
        for batch in batches:
            with self._sent_back(batch.partition.number):
                thought = self._thought(batch)
                wanted[batch.partition.number] = next(thought)
                thoughts.append((batch, thought))
        found = self._store.load_all(wanted)
        processed = []
        for batch, thought in thoughts:
            with self._sent_back(batch.partition.number):
                rows, held = found[batch.partition.number]
                self._check_position(held, batch.partition.standing)
                batch.output = answered(thought, rows)
                if batch.output.erases:
                    batch.standing = batch.standing._replace(erased_ms=batch.taken.clock_ms)
                processed.append(batch)
        if processed:
            self._failpoint("K2.processed")
        watch.lap("process")
        return processed

    def _thought(self, batch: Batch) -> Thought:
        standing = batch.partition.standing
        moments = {"swept_ms": standing.swept_ms, "erased_ms": standing.erased_ms}
        if standing.erased_ms is not None:
            moments["before_ms"] = standing.clock_ms
        return self._processor.process(
            batch.partition.number,
            batch.taken.records,
            batch.due_users,
            batch.taken.clock_ms,
            **{name: moment_ms for name, moment_ms in moments.items() if moment_ms is not None},
        )

    @contextmanager
    def _sent_back(self, number: int) -> Iterator[None]:
        """A batch that cannot be decided now goes back, one that a person must look at halts its partition."""
        try:
            yield
        except PauseAndRetry as wait:
            self._go_back(number, wait)
        except HaltPartition as halt:
            self._halt(number, str(halt))
        except (StoreUnavailable, StopWorker, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - of this partition alone
            self._fall_back([number], error)

    def _check_position(self, held: Position | None, standing: Standing) -> None:
        """Refuse what was read from the store together with this position, unless this session left it so."""
        if held is None or not held.ready or (held.seq, held.nonce) != (standing.seq, standing.nonce):
            raise StoreMoved(f"the store is at {held}, this worker left it at {standing.seq}, {standing.nonce}")
        if held.lost:
            raise StoreLostRows(held.lost)

    def _commit(self, batches: list[Batch], watch: Watch) -> bool:
        """One transaction for all of it. False: it came to nothing, or nobody knows, and RESOLVE is under way."""
        written = [batch for batch in batches if batch.written]
        if written:
            try:
                offsets = self._log.transact(transaction_of(written, self._options, self._wire, self._marks))
            except (AbortAndRewind, RecreateProducer) as error:
                self._rewind([batch.partition.number for batch in batches], str(error))
                return False
            except TooLarge as error:
                self._find_the_one_to_blame(batches, watch, str(error))
                return False
            for batch in written:
                batch.partition.standing = batch.standing
                batch.state_offset = offsets[self._state_of(batch)]
        self._failpoint("K10.remembered")
        watch.lap("transact")
        return True

    def _find_the_one_to_blame(self, batches: Sequence[Batch], watch: Watch, reason: str) -> None:
        """Halt the partition whose batch will never be taken; those that only shared its transaction go on."""
        if len(batches) == 1:
            self._halt(batches[0].partition.number, reason)
            return
        for batch in batches:
            self._log.open()  # where it cannot: the transaction says so, and RESOLVE finds the way
            if self._commit([batch], watch):
                self._save([batch], watch)

    def _save(self, batches: Sequence[Batch], watch: Watch) -> None:
        """Bring the store to the state that was just committed; whatever it answers but yes is a case for RESOLVE."""
        self._failpoint("K11.saving")
        written = [batch for batch in batches if batch.written]
        outcomes = self._store.save_all([_save_of(batch) for batch in written])
        answers = {batch.partition.number: outcome for batch, outcome in zip(written, outcomes, strict=True)}
        for batch in batches:
            number, checked = batch.partition.number, batch.output.checked
            answer = answers.get(number, SaveOutcome.OK)
            if isinstance(answer, StoreAhead):
                self._halt(number, str(answer))
                continue
            if answer not in (SaveOutcome.OK, SaveOutcome.ALREADY):
                self._rewind([number], f"the store answered {answer.value} to transaction {batch.standing.seq}")
                continue
            self._ways_back.pop(number, None)
            self._failures.pop(number, None)
            if checked:
                self._store.index(number, checked)
            try:
                self._look_ahead(batch)
            except StoreMoved as moved:
                self._go_back(number, moved)
        self._failpoint("K12.saved")
        watch.lap("save")

    def _look_ahead(self, batch: Batch) -> None:
        """Keep the earliest due time: exact where every due timer has fired, else never too late."""
        partition, output, clock_ms = batch.partition, batch.output, batch.taken.clock_ms
        dues_ms = [due_ms for _, due_ms in output.checked if due_ms is not None]
        earliest_ms = min(RowColumns.of(output.images).earliest_due_ms, *dues_ms, FOREVER_MS)
        if (earliest_ms <= clock_ms or batch.due_users) and (late := still_due(batch)):
            self._halt(
                partition.number,
                f"partition {partition.number}: timers of {name_of(late[0])!r} are still due after they were looked at "
                f"at {clock_ms}. This is a fault of the program: report it.",
            )
        elif batch.no_more_due:
            partition.earliest_due_ms = self._earliest_due_ms(partition.number, partition.standing)
        else:
            partition.earliest_due_ms = min(partition.earliest_due_ms, earliest_ms)

    # Time and measure.

    def _break_silence(self) -> None:
        """Where timers are due and no record says so, write down what time it is. Repeats do no harm."""
        silence_ms, wall_ms = self._options.silence_ms, self._clock.wall_ms()
        if silence_ms is None or not self._options.is_live():
            return
        now_seconds = self._clock.monotonic_seconds()
        silent = [
            partition
            for partition in self._running()
            if partition.merge.clock_ms < self._wake_ms(partition) <= wall_ms - silence_ms
            and now_seconds - partition.advance_written_seconds >= silence_ms / 1000
        ]
        if not silent or not self._log.open():
            return
        transaction = Transaction({})
        for partition in silent:
            # The positions are the committed ones: they change nothing and let the group refuse a stale owner.
            for topic, offset in partition.standing.next_offsets.items():
                transaction.positions[TopicPartition(topic, partition.number)] = offset
            where = TopicPartition(self._options.commands, partition.number)
            transaction.placed[where] = [self._wire.advance(wall_ms - silence_ms)]
            partition.advance_written_seconds = now_seconds
        try:
            self._log.transact(transaction)
        except (AbortAndRewind, RecreateProducer) as error:
            self._rewind([partition.number for partition in silent], str(error))

    def _wake_ms(self, partition: Running) -> int:
        """When something is to be done even if no record comes: a timer, or the boundary of an epoch."""
        return min(partition.earliest_due_ms, self._marks.next_ms(partition.merge.clock_ms))

    def _look_round(self) -> None:
        """Every few seconds: how far behind are we, and is the store where we left it, though nothing happens?

        Rows are held against the index a slice at a time, so that a missing one is found before anybody needs it.
        A store that fell back to a copy of the same position may have forgotten what checks said of due times: a check
        that says nothing is in no log. Earlier ones do no harm, but are looked at again.
        """
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds - self._looked_round_seconds < self._options.look_round_seconds:
            return
        self._looked_round_seconds = now_seconds
        for partition in self._running():
            try:
                due_ms, held = self._store.earliest_due_at(partition.number)
                self._check_position(held, partition.standing)
                self._verify(partition)
            except (StoreMoved, StoreUnavailable) as moved:
                self._go_back(partition.number, moved)
            else:
                self._ways_back.pop(partition.number, None)
                partition.earliest_due_ms = min(partition.earliest_due_ms, FOREVER_MS if due_ms is None else due_ms)
                # Behind the last record there may be markers. A retention that takes them too would leave a position
                # before the beginning of the topic, which looks as if records had been deleted before they were taken.
                at_rest = not any(partition.merge.buffered(topic)[0] for topic in self._options.inputs)
                partition.settles = at_rest and partition.merge.next_offsets != partition.standing.next_offsets
        self._ask_whether_rows_are_evicted()
        self._measure_lag(self._running())
        self._measure_buffers(self._running())

    def _verify(self, partition: Running) -> None:
        partition.verified, held = self._store.verify(partition.number, partition.verified, VERIFIED_USERS)
        self._check_position(held, partition.standing)

    def _ask_whether_rows_are_evicted(self) -> None:
        try:
            self._observer.evicts(self._store.evicts())
        except StoreUnavailable:
            return  # whoever needs it says so

    def _watch_topics(self) -> None:
        """Every few seconds: is every topic still the one that our state was made from? Another one halts."""
        now_seconds, running = self._clock.monotonic_seconds(), self._running()
        if not running or now_seconds - self._asked_topics_seconds < self._options.look_round_seconds:
            return
        self._asked_topics_seconds = now_seconds
        found = self._log.topic_ids(self._topics.topics)
        for partition in running if found else ():
            if others := self._topics.others(partition.standing.topic_ids, found or {}):
                self._halt(partition.number, self._topics.words(f"partition {partition.number}", others))

    def _measure_lag(self, running: Sequence[Running]) -> None:
        if running:
            ends = self._log.end_offsets([where for p in running for where in self._inputs_of(p.number)])
        else:
            ends = {} if self._log.partitions(self._options.commands) is not None else None
        self._observer.brokers(answer=ends is not None)
        if ends is None:
            self._observer.held("the ends of the inputs are not known: the brokers do not answer")
            return
        next_offsets = {p.number: p.merge.next_offsets for p in running}
        records = {where: max(0, end - next_offsets[where.partition][where.topic]) for where, end in ends.items()}
        wall_ms = self._clock.wall_ms()
        oldest = {p.number: p.merge.oldest_ms for p in running}
        seconds = {n: 0.0 if ms is None else max(0.0, (wall_ms - ms) / 1000) for n, ms in oldest.items()}
        resting = {where: p.merge.rests_at(where.topic) for p in running for where in self._inputs_of(p.number)}
        held = self._held_inputs.seconds(resting, ends, self._clock.monotonic_seconds())
        for where, held_seconds in held.items():
            seconds[where.partition] = max(seconds[where.partition], held_seconds)
        self._observer.open_transactions(held)
        self._observer.lag({(where.topic, where.partition): n for where, n in records.items()}, seconds)

    def _measure_buffers(self, running: Sequence[Running]) -> None:
        waiting = [p.merge.buffered(topic) for p in running for topic in self._options.inputs]
        held_back = sum(len(p.held_back) for p in running)
        self._observer.buffered(sum(n for n, _ in waiting), sum(size for _, size in waiting), held_back)

    def _running(self) -> list[Running]:
        return [partition for partition in self._owned.values() if isinstance(partition, Running)]

    def _inputs_of(self, number: int) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in self._options.inputs]

    def _state_of(self, batch: Batch) -> TopicPartition:
        return TopicPartition(self._options.state, batch.partition.number)

    def _earliest_due_ms(self, number: int, standing: Standing) -> int:
        due_ms, held = self._store.earliest_due_at(number)
        self._check_position(held, standing)
        return FOREVER_MS if due_ms is None else due_ms


def _save_of(batch: Batch) -> Save:
    standing = batch.standing
    position = Position(standing.seq, standing.nonce, batch.state_offset)
    return Save(batch.partition.number, standing.seq - 1, position, batch.output.images)
