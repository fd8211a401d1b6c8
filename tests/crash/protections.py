"""Every protection of the protocol, how it is switched off, and the test that notices.

A protection is switched off in the text of the program: the edit says exactly what is missing, and an edit that no
longer fits fails. `python -m tests.crash` (`make faults-table`) writes docs/faults-protections.md: for each protection
the test that fails without it, and in how many seeds of the simulation something goes wrong.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas import decode, meaning
from schemas.avro_bytes import Cursor
from schemas.resolution import _Resolution
from state import fold
from state.closed_loans import remember_closed
from state.memory_store import MemoryStore, _Held
from state.row import Loan, Row
from streams.learner import guard as learner_guard
from streams.log.memory import CommitFault, MemoryBroker, MemoryLog
from streams.processing.guard import GuardedProcessor, _Isolation
from streams.versions import bodies as version_bodies
from streams.versions import known as versions
from streams.versions.broadcast import Broadcast
from streams.worker import loop as worker
from streams.worker import recovery as resolve
from streams.worker.loop import Worker
from streams.worker.merge import Merge
from tests.crash import test_crash_in_memory as crash
from tests.crash import test_forgotten_keys as forgotten
from tests.crash import test_moments
from tests.learner import test_left_out
from tests.schemas import test_writers_schemas
from tests.scoring import cases_of_loans, test_corrections, test_identity, test_loans_come_again
from tests.simulation.ledger import LedgerProcessor
from tests.simulation.seeds import SCORES_EVERY, play
from tests.state import test_store_contract
from tests.streams import (
    broadcast_cases,
    test_broadcast_cases,
    test_guard,
    test_merge,
    test_requests,
    test_resolve,
    test_topic_ids,
    test_worker,
    test_worker_surroundings,
)
from tests.streams import test_rubbish_in_topics as rubbish

Patch = Callable[[pytest.MonkeyPatch], None]


def edited(owner: Any, name: str, *edits: tuple[str, str]) -> Patch:
    """Switch something off by editing the source of a function or method."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        function = getattr(owner, name)
        source = textwrap.dedent(inspect.getsource(function))
        for old, new in edits:
            assert source.count(old) == 1, f"{name} no longer has {old!r} once: say again how it is switched off"
            source = source.replace(old, new)
        module = inspect.getmodule(function)
        assert module is not None
        made: dict[str, Any] = {}
        code = compile(source, f"<{name}, edited>", "exec", __future__.annotations.compiler_flag)
        exec(code, vars(module), made)
        monkeypatch.setattr(owner, name, made[name])

    return patch


def both(*patches: Patch) -> Patch:
    """Two edits that are one protection."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for one in patches:
            one(monkeypatch)

    return patch


@dataclass(frozen=True)
class Protection:
    """`where` it lives, what goes wrong `without` it, and the test that `notices` (a sentence: its name)."""

    name: str
    where: str
    without: str
    switch_off: Patch
    notices: Callable[..., None] | None = None
    arguments: tuple[Any, ...] = field(default=())

    @property
    def test(self) -> str:
        """The test that notices, as people run it."""
        if self.notices is None:
            return "tests/simulation"
        return f"{self.notices.__module__.replace('.', '/')}.py::{self.notices.__name__}"


def all_of(test: Callable[..., None], *arguments: tuple[Any, ...]) -> Callable[..., None]:
    """One test with several arguments."""

    def several() -> None:
        for one in arguments:
            test(*one)

    several.__module__, several.__name__ = test.__module__, test.__name__
    return several


zombie = all_of(
    crash.test_a_frozen_worker_that_wakes_up_after_its_session_does_no_harm, *((step, 2) for step in crash.IN_A_BATCH)
)
emptied = all_of(crash.test_a_store_emptied_at_any_step_is_rebuilt_to_the_same_rows, *((s,) for s in crash.IN_A_BATCH))
flickering = all_of(
    test_moments.test_a_store_that_is_empty_for_one_answer_misleads_nobody, *((n,) for n in range(1, 60))
)
unknown = all_of(
    test_resolve.test_a_commit_of_unknown_outcome_is_read_from_the_log, *((fault, 1) for fault in CommitFault)
)

identities = all_of(
    test_identity.test_taken_duplicate_or_letter_as_a_naive_account_of_ids_and_contents_says, (0, 256), (1, 5)
)

bodies = all_of(
    test_broadcast_cases.test_each_case_counts_as_never_published_and_its_field_is_named,
    *((case,) for case in broadcast_cases.every_case()),
)


def _only_cancelled(row: Row, loan: Loan, cancelled: bool) -> None:
    if cancelled:
        remember_closed(row, loan, cancelled)


PROTECTIONS = (
    Protection(
        "the group refuses positions of an earlier generation",
        "Kafka; every transaction sends positions",
        "a worker that has lost its partitions commits once more: changes twice",
        edited(MemoryBroker, "send_positions", ("if positions and generation != self.generation:", "if False:")),
        zombie,
    ),
    Protection(
        "a transaction of timers alone carries positions too",
        "streams.worker.batch `transaction_of`",
        "an empty list is not checked by the group: a zombie's timers fire a second time",
        edited(
            worker,
            "transaction_of",
            (
                "for topic, offset in standing.next_offsets.items():",
                "for topic, offset in standing.next_offsets.items() if batch.taken.count else ():",
            ),
        ),
        all_of(test_moments.test_a_zombie_that_would_fire_timers_alone_is_refused, (1,), (2,)),
    ),
    Protection(
        "positions of every input of a partition touched",
        "streams.worker.batch `transaction_of`",
        "the group does not know how far the other inputs are",
        edited(
            worker,
            "transaction_of",
            (
                "for topic, offset in standing.next_offsets.items():",
                "for topic, offset in list(standing.next_offsets.items())[1:]:",
            ),
        ),
        test_worker.test_positions_are_committed_for_every_input_of_a_partition_touched,
    ),
    Protection(
        "stable committed offsets are the barrier of RESOLVE",
        "streams.worker.recovery `_attempt`, `Log.committed`",
        "the end of the log is read while a transaction may still move it",
        edited(
            MemoryBroker,
            "stable_position",
            ("any(w in positions for positions in moving for w in where)", "moving is None"),
        ),
        test_resolve.test_a_new_owner_waits_for_the_markers_of_the_old_one,
    ),
    Protection(
        "the end of the changelog is its high watermark, not its last stable offset",
        "streams.worker.recovery `_attempt`, `Log.end_offsets`",
        "markers of the changelog may come after those of the offsets: a committed transaction is not seen",
        edited(MemoryLog, "end_offsets", ("len(self._broker.entries[w])", "self._broker.stable_end(w)")),
        test_moments.test_a_new_owner_waits_for_markers_of_the_changelog_that_come_after_those_of_the_offsets,
    ),
    Protection(
        "the changelog is read read_committed",
        "`Log.read`",
        "rows and progress of aborted transactions count",
        edited(
            MemoryLog,
            "read",
            ("end = min(self._broker.stable_end(where), until_offset)", "end = until_offset"),
            (
                "self._broker.committed_between(where, position, end)",
                "[e.record for e in self._broker.entries[where][position:end] if e.record is not None]",
            ),
        ),
        unknown,
    ),
    Protection(
        "the inputs are read read_committed",
        "`Log.poll`",
        "events of aborted transactions are taken",
        edited(
            MemoryLog,
            "poll",
            ("stable_end = self._broker.stable_end(where)", "stable_end = len(self._broker.entries[where])"),
            (
                "self._broker.committed_between(where, self._positions[where], stable_end)",
                "[e.record for e in self._broker.entries[where][self._positions[where] :] if e.record is not None]",
            ),
        ),
    ),
    Protection(
        "the transactional id belongs to one producer",
        "Kafka; `Log.open`",
        "a worker whose slot was taken over goes on writing",
        both(
            edited(MemoryBroker, "begin", ("if self._epochs.get(slot) != epoch:", "if False:")),
            edited(
                MemoryBroker,
                "_check_holder",
                (
                    "not transaction.pending or self._epochs.get(transaction.slot) != transaction.epoch",
                    "not transaction.pending",
                ),
            ),
        ),
        test_resolve.test_a_producer_whose_id_was_taken_over_can_not_commit,
    ),
    Protection(
        "a new producer after an unknown outcome",
        "streams.log.memory, streams.kafka.worker_log `transact`",
        "the transaction that was left open stays open, and the barrier waits for it",
        edited(MemoryLog, "transact", ("self._opened = False", "pass")),
        unknown,
    ),
    Protection(
        "a batch that came to nothing is taken again",
        "streams.worker.loop `_commit`",
        "its records are lost",
        edited(
            Worker,
            "_commit",
            ("self._rewind([batch.partition.number for batch in batches], str(error))", "pass"),
        ),
        unknown,
    ),
    Protection(
        "seq is compared by the store",
        "state/rescore.lua `save`",
        "a store that fell back takes the next transaction and lacks those between",
        edited(
            MemoryStore,
            "save",
            ("held.position.seq < expected_seq", "False"),
            ("held.position.seq > expected_seq", "False"),
        ),
        test_store_contract.test_a_store_that_was_rolled_back_is_behind,
        (MemoryStore(),),
    ),
    Protection(
        "the nonce of the session is compared by the store",
        "state/rescore.lua `save`",
        "a late write of a former session comes between a look at the store and the write that follows",
        edited(MemoryStore, "save", ("held.position.nonce != position.nonce", "False")),
        test_store_contract.test_a_former_session_is_fenced_and_writes_nothing,
        (MemoryStore(),),
    ),
    Protection(
        "a new nonce is taken before the barrier",
        "streams.worker.recovery `_attempt`",
        "a former session can still write after the store was looked at",
        both(
            edited(
                resolve,
                "_attempt",
                ("    held = given.store.claim(partition, nonce)\n", "    held = given.store.position(partition)\n"),
            ),
            edited(
                resolve,
                "_agree",
                (
                    "    _refuse_a_store_that_is_ahead(where, held, mark)\n",
                    "    _refuse_a_store_that_is_ahead(where, held, mark)\n    given.store.claim(partition, nonce)\n",
                ),
            ),
        ),
        test_moments.test_a_late_write_of_a_former_session_that_comes_during_a_way_back_is_refused,
    ),
    Protection(
        "the position of the store is compared with every load",
        "streams.worker.loop `_check_position`",
        "rows of a store that was emptied or fell back are believed: a default for a known customer",
        edited(Worker, "_check_position", ("if held is None", "if False and held is None")),
        emptied,
    ),
    Protection(
        "rows and position are read in one moment",
        "streams.worker.loop `_process`, `Store.load_all`",
        "a store that was empty for the rows and is back for the position: a default for a known customer",
        edited(
            Worker,
            "_process",
            (
                "found = self._store.load_all(wanted)",
                "found = {n: (self._store.load(n, users), self._store.position(n)) for n, users in wanted.items()}",
            ),
        ),
        flickering,
    ),
    Protection(
        "the earliest due time is believed at our position alone",
        "streams.worker.loop `_earliest_due_ms`",
        "timers of a store that was empty for a moment are forgotten until a restart",
        edited(Worker, "_earliest_due_ms", ("self._check_position(held, standing)", "pass")),
        flickering,
    ),
    Protection(
        "a missing row of a member is not a new customer",
        "`Store.load_all`: `Position.lost`",
        "one row evicted or deleted, and a known customer begins again: sequence 1, the first change published twice",
        edited(_Held, "seen", (" or missing", "")),
        forgotten.test_keys_forgotten_at_any_step_mislead_nobody,
        ("K2.processed",),
    ),
    Protection(
        "the number of members is compared",
        "state/rescore.lua `users`, `Position.lost`",
        "an index that was lost is believed: no timer is due, and a customer whose row went with it is new",
        edited(_Held, "seen", ("abs(self.users - len(self.due_ms)) or missing", "missing")),
        forgotten.test_keys_forgotten_at_rest_are_missed_though_nobody_asks_for_them,
        (("the index",),),
    ),
    Protection(
        "a partition whose store has lost rows is rebuilt",
        "streams.worker.loop `_go_back`, streams.worker.recovery",
        "it goes back to the store it came from, for ever",
        edited(Worker, "_go_back", ("if not isinstance(reason, StoreLostRows):", "if True:")),
        forgotten.test_keys_forgotten_at_rest_are_missed_though_nobody_asks_for_them,
        (("a row",),),
    ),
    Protection(
        "rows are held against the index, a slice at a time",
        "streams.worker.loop `_verify`, `Store.verify`",
        "a row that nobody asks for for months stays lost: `rescore inspect` cannot show the customer",
        edited(Worker, "_verify", ("self._check_position(held, partition.standing)", "pass")),
        forgotten.test_keys_forgotten_at_rest_are_missed_though_nobody_asks_for_them,
        (("a row",),),
    ),
    Protection(
        "everyone is named by a store at our position",
        "streams.worker.loop `_sweep`, `Store.users_at`",
        "an index that was empty for one answer has named everyone: customers are not scored with the new weights",
        edited(Worker, "_sweep", ("self._check_position(held, partition.standing)", "pass")),
        forgotten.test_an_index_that_is_empty_for_one_answer_ends_no_sweep,
        (2, None),
    ),
    Protection(
        "a check adds nobody to the index",
        "state/rescore.lua `index`",
        "who is only mentioned by a rejected record counts as a customer whose row is lost: a rebuild for ever",
        edited(MemoryStore, "index", (" if user in held.due_ms", "")),
        test_store_contract.test_a_check_moves_due_times_alone,
        (MemoryStore(),),
    ),
    Protection(
        "an index that lost members during a rebuild is not called ready",
        "state/rescore.lua `restored`",
        "readers are told that customers are unknown until a worker looks",
        edited(MemoryStore, "_fill", ("if held.users != len(held.due_ms):", "if False:")),
        test_store_contract.test_an_index_lost_during_a_rebuild_ends_it,
        (MemoryStore(),),
    ),
    Protection(
        "a rebuild goes on only where it stopped",
        "state/rescore.lua `is_restoring`",
        "a store that fell back in the middle of a rebuild is called ready without the rows it lost",
        edited(MemoryStore, "_under_rebuild", (" or held.parts != parts", "")),
        test_store_contract.test_a_rebuild_stops_when_the_server_falls_back_to_an_older_copy,
        (MemoryStore(), 1),
    ),
    Protection(
        "a store too old for tombstones is rebuilt whole",
        "streams.worker.recovery `_is_too_old`",
        "rows whose tombstones were compacted away stay for ever",
        edited(resolve, "_is_too_old", ("return held.state_offset <", "return False and held.state_offset <")),
        test_resolve.test_a_store_that_is_too_old_for_tombstones_is_rebuilt_whole,
    ),
    Protection(
        "a store that is ahead of the log halts its partition",
        "streams.worker.recovery `_refuse_a_store_that_is_ahead`",
        "the state of another log, or of a log that has lost data, is overwritten in silence",
        edited(resolve, "_refuse_a_store_that_is_ahead", ("if held is None or held.seq == 0:", "if True:")),
        test_resolve.test_a_store_that_is_ahead_of_the_log_halts_the_partition,
    ),
    Protection(
        "offsets that differ from the progress record halt the partition",
        "streams.worker.recovery `_next_offsets`",
        "a reset of the group's offsets by an operator repeats or skips events",
        edited(resolve, "_next_offsets", ("if group is not None and group != wanted:", "if False:")),
        test_resolve.test_offsets_that_somebody_reset_halt_the_partition,
    ),
    Protection(
        "records that retention took before they were read halt the partition",
        "streams.worker.recovery `_next_offsets`",
        "they are skipped in silence",
        edited(
            resolve,
            "_next_offsets",
            ("if wanted is not None and not firsts[where] <= wanted <= ends[where]:", "if False:"),
        ),
        test_resolve.test_records_that_retention_took_before_they_were_read_halt_the_partition,
    ),
    Protection(
        "a way back that finds the changelog longer than it knew begins again",
        "streams.worker.recovery `_attempt`",
        "a worker that slept while others wrote and the changelog was compacted halts its partition for nothing",
        edited(resolve, "_attempt", ("[where] == end:", "[where] >= end:")),
        test_resolve.test_a_way_back_that_slept_while_the_changelog_was_compacted_begins_anew,
    ),
    Protection(
        "the clock comes from the progress record",
        "streams.worker.recovery `_agree`",
        "a partition's clock goes back at a restart: timers wait for records that are newer",
        edited(resolve, "_agree", ("next_offsets, known.clock_ms, nonce", "next_offsets, 0, nonce")),
    ),
    Protection(
        "inputs are merged by time",
        "streams.worker.merge `_limit`",
        "records are taken as they come, and all but the first are inversions",
        edited(
            Merge,
            "_limit",
            ("if not all(source.records for source in open_ended):\n        return None\n", "open_ended = []\n"),
        ),
        test_merge.test_nothing_is_taken_while_an_input_may_still_bring_an_earlier_record,
    ),
    Protection(
        "ends of the inputs are asked for after an advance has come",
        "streams.worker.merge `_is_safe`",
        "a timer fires before a payment that the brokers have already",
        lambda patch: patch.setattr(Merge, "_is_safe", lambda self, advance: True),
        test_merge.test_an_advance_waits_until_the_ends_asked_for_after_it_came_are_read,
    ),
    Protection(
        "an advance claims no more than its own timestamp",
        "streams.worker.merge `_time_of_command`",
        "a worker whose clock is ahead fires timers early",
        edited(Merge, "_time_of_command", ("return min(to_ms, record.timestamp_ms)", "return to_ms")),
        test_merge.test_an_advance_can_not_claim_more_than_its_own_timestamp,
    ),
    Protection(
        "advances are paced by the monotonic clock",
        "streams.worker.loop `_break_silence`",
        "after the wall was set back no advance is written until it has caught up",
        edited(
            Worker,
            "_break_silence",
            ("now_seconds = self._clock.monotonic_seconds()", "now_seconds = wall_ms / 1000"),
        ),
        test_worker.test_a_clock_that_was_ahead_and_is_set_right_holds_no_timer_up,
    ),
    Protection(
        "no timer fires before what is in force is read",
        "streams.worker.loop `_take`",
        "who takes over says timers that were left over under packaged versions",
        edited(Worker, "_take", ("if partition.merge.clock_ms > until_ms:", "if False:")),
        test_worker.test_who_takes_over_fires_no_timer_before_it_knows_what_is_in_force,
    ),
    Protection(
        "no clock passes what is known of the versions",
        "streams.versions.broadcast `until_ms`",
        "a version is adopted late, by some workers later than by others",
        edited(
            Broadcast,
            "until_ms",
            (
                "        self._known_until_ms = self._asked_at_ms + NOTICE_MS\n",
                "        self._known_until_ms = self._asked_at_ms + NOTICE_MS\n    return 2**62\n",
            ),
        ),
        test_worker_surroundings.test_clocks_hold_while_the_brokers_do_not_answer,
    ),
    Protection(
        "what is taken behind its time is journaled",
        "streams.processing.processor, the journal",
        "a replay takes it in another place, and says something else",
        edited(LedgerProcessor, "process", ("if behind:", "if False:")),
    ),
    Protection(
        "a request without a customer has a row of its own",
        "schemas.meaning `_row_key`",
        "a stranger's request declares for the customer whose user_id is its number, or makes one",
        edited(meaning, "_row_key", ("return request_key(request_id)", "return record.key")),
        test_requests.test_a_stranger_declares_nothing_for_the_customer_of_the_number,
    ),
    Protection(
        "a record that was fetched twice is taken once",
        "streams.worker.merge `add`",
        "what is fetched again after a seek counts again",
        edited(Merge, "add", ("if fetched[0].offset < source.fetched:", "if False:")),
        test_merge.test_a_record_fetched_twice_is_taken_once,
    ),
    Protection(
        "an event id counts within its topic and kind",
        "schemas.meaning `event_hash`",
        "a loan, a payment or a declaration with the number of a transaction is taken for that one",
        edited(meaning, "event_hash", ("SEED_OF_KIND[kind] | revision", "revision")),
        identities,
    ),
    Protection(
        "a blank event id is no identity",
        "schemas.meaning `event_of`",
        "events of publishers that write an empty text for no id are dropped as duplicates of each other",
        edited(meaning, "_is_said", (' and not (name == "event_id" and is_blank(fields[name]))', "")),
        identities,
    ),
    Protection(
        "an erasure is never deduplicated",
        "schemas.meaning `event_of`, state.fold `_erase`",
        "an erasure with the id of an earlier one does not erase who has come back since",
        both(
            edited(decode, "event_of", (' and row["kind"] != Kind.ERASE', "")),
            edited(fold, "_erase", ("last_rank=row.last_rank)", "last_rank=row.last_rank, seen=row.seen[-1:])")),
        ),
        identities,
    ),
    Protection(
        "the same event id with other content is a dead letter",
        "state.fold `fold_one`",
        "an event is dropped, and nobody is told",
        edited(fold, "refusal_of", ("return TAKEN if same else Refusal(RejectCode.EVENT_ID_REUSED)", "return TAKEN")),
        identities,
    ),
    Protection(
        "a correction finds what it corrects",
        "state.sums `finds_transaction`, `finds_payment`",
        "sums fall below zero: a correction comes first, or names what was never published",
        both(
            edited(fold, "finds_transaction", ("if state == TransactionState.PENDING:", "if True:")),
            edited(fold, "finds_payment", (">= amount_minor", ">= -(2**62)")),
        ),
        test_corrections.test_whatever_is_called_a_correction_no_sum_is_below_zero,
        (0,),
    ),
    Protection(
        "a logical type is read only where it means the field",
        "schemas.resolution `_plain_reader`",
        "the microseconds of a writer's request_id are believed to be the number of a request",
        edited(_Resolution, "_plain_reader", ("if logical_of(written):", "if False:")),
        test_writers_schemas.test_each_line_of_the_case_is_taken_or_a_letter_and_the_good_one_next_to_it_is_taken,
        (next(line for line in test_writers_schemas.lines("records.jsonl") if line["topic"] == "applicants"),),
    ),
    Protection(
        "a value is not nested deeper than it may be",
        "schemas.avro_bytes `enter`",
        "one record ends the worker, and each worker after it: Python recurses no deeper",
        edited(Cursor, "enter", ("if self.depth > NESTED_MAX:", "if False:")),
        test_writers_schemas.test_what_is_made_to_be_huge_is_a_letter_within_milliseconds,
        ("nested 10,000 deep",),
    ),
    Protection(
        "a broadcast record that is no version counts as never published",
        "streams.versions.known `read_once`",
        "one record ends every worker, and ends it again at each start",
        edited(
            versions,
            "read_once",
            ("    except ValueError as error:\n        return", "    except KeyError as error:\n        return"),
            ("    except Exception as error:", "    except KeyError as error:"),
        ),
        bodies,
    ),
    Protection(
        "every field of a broadcast body has its type and bounds",
        "streams.versions.schema `checked`",
        "a list that is too short is read beyond its end, a rate of null publishes an absurd revenue",
        edited(
            version_bodies,
            "checked",
            ("return schema.model_validate(dict(fields))", "return schema.model_construct(**dict(fields))"),
        ),
        bodies,
    ),
    Protection(
        "a reading of versions that failed is begun again",
        "streams.versions.broadcast `read_on`",
        "versions that a registry could not name are skipped, and clocks go on without them",
        edited(
            Broadcast,
            "read_on",
            ("reading, self._reading = self._reading, None", "reading = self._reading"),
            ("if not done:\n        self._reading = reading", "self._reading = None if done else reading"),
        ),
        test_broadcast_cases.test_clocks_and_the_broadcast_are_not_misled_by_a_reading_that_failed,
    ),
    Protection(
        "a row that cannot be read is not restored",
        "streams.worker.recovery `_row_write`",
        "the store is called ready with a foreign record in the place of a customer's state",
        edited(
            resolve,
            "_row_write",
            (
                "raise HaltPartition(_unreadable_row(record, str(error))) from error",
                "return RowWrite(user, record.value, None)",
            ),
        ),
        all_of(rubbish.test_rubbish_in_the_changelog_halts_its_partition_alone_and_loses_nothing, ("row", b"rubbish")),
    ),
    Protection(
        "a progress record that cannot be read halts its partition",
        "streams.worker.recovery `_progress_in`",
        "the worker ends with all of its partitions, and again at each start",
        edited(resolve, "_progress_in", ("except ValueError as error:", "except KeyError as error:")),
        all_of(
            rubbish.test_rubbish_in_the_changelog_halts_its_partition_alone_and_loses_nothing, ("progress", b"rubbish")
        ),
    ),
    Protection(
        "a record on which the program raises is isolated",
        "streams.processing.guard `GuardedProcessor.process`",
        "it ends every worker, and each of them again at its next start",
        edited(
            GuardedProcessor,
            "process",
            ("            failure = failed(error)\n", "            raise\n"),
        ),
        test_guard.test_records_that_raise_are_left_out_and_the_rest_is_taken_in_order,
        (3, True),
    ),
    Protection(
        "the halves of a batch that raised are taken one on top of the other",
        "streams.processing.guard `_Isolation._keep`",
        "records behind an isolated one are taken on rows of before the batch: what was said is said again",
        edited(_Isolation, "_keep", ("self.rows.update((image.user, image.row) for image in output.images)", "pass")),
        test_guard.test_records_that_raise_are_left_out_and_the_rest_is_taken_in_order,
        (3, True),
    ),
    Protection(
        "a record is blamed only if its customer does not raise without it",
        "streams.processing.guard `_Isolation._isolate`",
        "every record of a customer whose timers raise becomes a dead letter",
        edited(_Isolation, "_isolate", ("self.users[record.key] = None", "pass")),
        test_guard.test_a_record_before_which_its_customers_timers_raise_is_not_to_blame,
    ),
    Protection(
        "the loop goes back to what is committed after an exception that nobody expected",
        "streams.worker.loop `_last_guard`",
        "the worker ends",
        edited(Worker, "_last_guard", ("self._fall_back(self._not_halted(), error)", "raise")),
        all_of(test_guard.test_an_exception_that_no_record_causes_goes_back_and_comes_again, (pytest.MonkeyPatch(),)),
    ),
    Protection(
        "an example on which learning raises is left out",
        "streams.learner.guard `learned_without`",
        "it ends the learner, and again at its next start",
        edited(
            learner_guard,
            "_try",
            ('return failure_of(error, "learn")', "raise"),
        ),
        test_left_out.test_only_what_raises_is_left_out_while_there_is_little_of_it,
        (1,),
    ),
    Protection(
        "topic ids are compared with those of the last progress record",
        "streams.worker.recovery `_same_topics`",
        "the first records of a topic that was created again are skipped in silence",
        edited(
            resolve,
            "_same_topics",
            ("None if mark is None else mark.progress.topic_ids", "None"),
        ),
        test_topic_ids.test_an_input_that_was_created_again_halts_its_partitions_and_names_both_ids,
        ("longer", False),
    ),
    Protection(
        "topic ids are asked for every few seconds",
        "streams.worker.loop `_watch_topics`",
        "a topic that is created again while a worker runs is taken from the old position on, in silence",
        edited(
            Worker, "_watch_topics", ("if others := self._topics.others(", "if others := [] and self._topics.others(")
        ),
        test_topic_ids.test_an_input_that_was_created_again_halts_its_partitions_and_names_both_ids,
        ("longer", True),
    ),
    Protection(
        "a folded loan is remembered",
        "state.closed_loans `remember_closed`",
        "a loan that was settled long ago is published again, is a second loan and is written off",
        lambda patch: patch.setattr(fold, "remember_closed", _only_cancelled),
        test_loans_come_again.test_the_case_comes_to_what_its_page_says,
        (cases_of_loans.COMES_AGAIN, cases_of_loans.check_comes_again, test_loans_come_again.ReadableCustomers),
    ),
    Protection(
        "a due date before the order date is refused",
        "state.fold `_refuse_dates`",
        "a due date that nobody filled in (1970-01-01) writes a customer off at once",
        edited(fold, "_refuse_dates", ("if event.kind == Kind.LOAN_ISSUED and", "if False and")),
        test_loans_come_again.test_the_case_comes_to_what_its_page_says,
        (cases_of_loans.DEFAULT_DATES, cases_of_loans.check_default_dates, test_loans_come_again.ReadableCustomers),
    ),
)
"""In the order of a batch and of the way back."""


def caught(test: Callable[..., None], *arguments: Any) -> bool:
    """Whether a test fails."""
    try:
        test(*arguments)
    except (Exception, crash.Crash, pytest.fail.Exception):  # noqa: BLE001 - any of them is a cry
        return True
    return False


def wrong_seeds(seeds: range) -> Iterator[int]:
    """Seeds of the ledger in which something goes wrong (the real scores say no more here, and take longer)."""
    return (seed for seed in seeds if seed % SCORES_EVERY and play(seed).wrong)
