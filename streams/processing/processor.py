"""The journey of a batch between bytes and bytes: decode -> load -> step -> encode. No clock, no broker, no store.

This is what a worker (`streams.worker.loop`) does with the records of one partition. Bad records become dead letters
with their bytes as received; only a registry that does not answer holds the batch back. An exception that nobody
expected says at which stage it was raised (`streams.log.failures`), and `streams.processing.guard` isolates its record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np

from schemas.batch import BEGINNING_MS, FOREVER_MS, EventBatch, Record, Reject
from schemas.codec import (
    CloudEvents,
    Decoder,
    Encoder,
    RegistryUnavailable,
    SchemaNotRegistered,
    VersionNames,
    decode,
    encode_changes,
    encode_example,
    encode_examples,
    encode_inversions,
    encode_scorecards,
)
from schemas.kinds import Kind, RejectCode
from schemas.rejects import refuse
from schemas.row_keys import record_key, request_of
from schemas.texts import Texts
from state.layout import CorruptRow
from state.row_columns import RowColumns
from state.table import Table
from state.versions import Versions
from streams.log.dead_letters import ERROR_PREFIX, SUFFIX
from streams.log.failures import Failure, stage
from streams.log.message import Message
from streams.log.messages import MessageColumns
from streams.log.protocol import HaltPartition, PauseAndRetry
from streams.processing.borrower_examples import reports
from streams.processing.case_examples import CreditExamples, user_hash
from streams.processing.text_examples import OneIn, drawn_texts, text_examples, told_nothing
from streams.scoring.models.specs import ModelSpec
from streams.scoring.step import Clocks, Step, step
from streams.scoring.version_names import names_of
from streams.worker.output import Output, Thought

LETTER_BYTES_MAX = 2**62
KEY_BYTES_KEPT = 1_024  # of a letter that had to be cut


@dataclass(slots=True)
class ScoreProcessor:
    """Takes batches of one deployment. `versions` says what is known to be in force by now.

    `examples_key` keys the hash that stands for a user in training examples. A dead letter of more than
    `letter_bytes_max` goes without its value. `specs` are the models that were declared beside the packaged ones;
    `texts_one_in` says how many descriptions teach.
    """

    decoder: Decoder
    encoder: Encoder
    events: CloudEvents
    versions: Callable[[], Versions]
    examples_key: bytes = b""
    letter_bytes_max: int = LETTER_BYTES_MAX
    specs: Callable[[], Sequence[ModelSpec]] = tuple
    texts_one_in: Callable[[], OneIn] = lambda: told_nothing
    _names: VersionNames = field(init=False, default=VersionNames((), ()))
    _named: Versions | None = field(init=False, default=None)

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
        try:
            with stage("decode"):
                versions = self.versions()
                batch = decode(list(records), partition, self.decoder, versions.zone)
            with stage("examples"):
                # Looked for while the events are at hand: behind the step a look through a column is one into memory.
                erases = bool((batch.events["kind"] == Kind.ERASE).any())
                drawn = drawn_texts(batch, self.texts_one_in())
            present = set(batch.users)
            users = [*batch.users, *(user for user in due_users if user not in present)]
            before = yield users
            with stage("fold"):
                done = step(Table.of(users, before), batch, versions, Clocks(clock_ms, swept_ms, erased_ms, before_ms))
            with stage("examples"):
                more = self._more(batch, drawn, done, versions)
            with stage("encode"):
                return self._output(batch, done, versions, more, erases=erases)
        except (RegistryUnavailable, SchemaNotRegistered) as error:
            raise PauseAndRetry(str(error)) from error
        except CorruptRow as error:
            raise HaltPartition(str(error)) from error

    def _output(
        self,
        batch: EventBatch,
        done: Step,
        versions: Versions,
        more: list[tuple[int, Message]],
        erases: bool,
    ) -> Output:
        users, names = done.table.names, self._names_of(versions)
        told = done.changes
        values = encode_changes(told, batch, users, names, self.encoder)
        headers = self.events.change_headers(told, batch, users)
        cards = encode_scorecards(told, users, names, self.encoder)
        shown = MessageColumns(users.of_those(told.cards["user"]), cards)
        gone = _without_a_card(done) if done.ended else []
        with stage("examples"):
            examples = [made for _, made in sorted([*self._examples(done), *more], key=itemgetter(0))]
        with stage("journal"):
            journal = self._journal(batch, done)
        images, checked = rows_written(done.table)
        rejects = [*batch.rejects, *done.journal.rejects]
        return Output(
            changes=MessageColumns(users.of_those(told.rows["user"]), values, headers),
            scorecards=[*(Message(done.table.users[user], None) for user in gone), *shown] if gone else shown,
            examples=examples,
            journal=journal,
            dead_letters=dead_letters(batch, rejects, self.letter_bytes_max),
            images=images,
            checked=checked,
            erases=erases,
            reasons=Counter(RejectCode(reject.code).name for reject in rejects),
            overruns=done.overruns,
        )

    def _names_of(self, versions: Versions) -> VersionNames:
        if versions is not self._named:
            self._names = names_of(versions)
            self._named = versions  # behind it: where the names cannot be made, the next batch asks for them again
        return self._names

    def _examples(self, done: Step) -> list[tuple[int, Message]]:
        """Training examples, and for each customer who was erased the word that theirs are to be forgotten; by time."""
        users = done.table.users
        hashes = [user_hash(users[user], self.examples_key) for user in done.examples["user"].tolist()]
        values = encode_examples(done.examples, hashes, self.encoder).cuts()
        moments = done.examples["timestamp_ms"].tolist()
        made = [(at_ms, Message(key, value)) for at_ms, key, value in zip(moments, hashes, values, strict=True)]
        for user, erased_ms in done.ended.items():
            hashed = user_hash(users[user], self.examples_key)
            fields = {"kind": "erasure", "model": "value", "user_hash": hashed, "timestamp_ms": erased_ms}
            made.append((erased_ms, Message(hashed, encode_example(fields, self.encoder))))
        return made

    def _more(
        self, batch: EventBatch, drawn: Sequence[int], done: Step, versions: Versions
    ) -> list[tuple[int, Message]]:
        """Cases of credit and insurance models, reports of borrowers, descriptions with a code; with their times."""
        cases = CreditExamples(self.encoder, self.specs, self.examples_key)
        return [
            *cases.messages(batch, done, versions),
            *reports(batch, done, versions, self.encoder, self.examples_key),
            *text_examples(batch, drawn, done, self.encoder, self.examples_key),
        ]

    def _journal(self, batch: EventBatch, done: Step) -> list[Message]:
        inversions = done.journal.inversions
        values = encode_inversions(inversions, batch, done.table.users, self.encoder)
        owners = [record_key(done.table.users[user]) for user in inversions["user"].tolist()]
        return [Message(user, value) for user, value in zip(owners, values, strict=True)]


def _without_a_card(done: Step) -> list[int]:
    """Customers who were erased and are not back: their card ends. A request never had one."""
    shown, users = set(done.changes.cards["user"].tolist()), done.table.users
    return [user for user in sorted(set(done.ended) - shown) if request_of(users[user]) is None]


def rows_written(table: Table) -> tuple[RowColumns, list[tuple[bytes, int | None]]]:
    """After-images of the rows that changed, and the due times of those that did not."""
    rows, dues_ms = Texts(table.packed, table.starts), table.due_ms
    if table.changed.all():
        return RowColumns(table.users, rows, rows.lengths == 0, dues_ms), []
    changed, same = np.flatnonzero(table.changed), np.flatnonzero(~table.changed)
    users, images = [table.users[i] for i in changed.tolist()], rows.of_those(changed)
    looked_at = zip([table.users[i] for i in same.tolist()], dues_ms[same].tolist(), strict=True)
    checked = [(user, None if due_ms == FOREVER_MS else due_ms) for user, due_ms in looked_at]
    return RowColumns(users, images, images.lengths == 0, dues_ms[changed]), checked


def dead_letters(
    batch: EventBatch, rejects: Iterable[Reject], bytes_max: int = LETTER_BYTES_MAX
) -> dict[str, list[Message]]:
    """Dead letters by topic, in the order of their records: bytes as received, and why in the headers.

    A record that came compressed can be larger than its dead-letter topic takes: its letter says so, and where it lies.
    """
    letters: dict[str, list[Message]] = {}
    for reject in sorted(rejects, key=lambda reject: reject.record):
        record = batch.records[reject.record]
        letters.setdefault(record.topic + SUFFIX, []).append(dead_letter(record, reject, bytes_max))
    return letters


def dead_letter(record: Record, reject: Reject, bytes_max: int = LETTER_BYTES_MAX) -> Message:
    """The dead letter of one record; see `dead_letters`."""
    why = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "exception": RejectCode(reject.code).name,
        "message": reject.message,
        "stage": reject.stage,
    }
    letter = _letter(record, why)
    if (size := _size_of(letter)) > bytes_max:
        why["cut"] = str(size)
        why["message"] += f" The letter holds no value: with its {size:,} bytes it fits no dead-letter topic."
        letter = _letter(Record(*record[:4], (record.key or b"")[:KEY_BYTES_KEPT] or None, None), why)
    return letter


def letter_of_failure(record: Record, failure: Failure, bytes_max: int = LETTER_BYTES_MAX) -> tuple[str, Message]:
    """The dead-letter topic and the dead letter of a record on which this program failed."""
    detail = f"the program failed with {failure.clause}"
    reject = refuse(0, failure.stage, RejectCode.INTERNAL_ERROR, detail)
    return record.topic + SUFFIX, dead_letter(record, reject, bytes_max)


def _letter(record: Record, why: Mapping[str, str]) -> Message:
    headers = [*(record.headers or []), *((ERROR_PREFIX + name, text.encode()) for name, text in why.items())]
    return Message(record.key, record.value, headers)


def _size_of(letter: Message) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in letter.headers or ())
    return len(letter.key or b"") + len(letter.value or b"") + headers
