"""The recount: what must have been said of every customer, told from the input log alone. Pure: no Kafka, no store.

Customer by customer, one record at a time, in plain Python: no batches, no merge of partitions, no memory between
records but the row itself. It shares the formulas with the worker (`state.fold`, `streams.scoring`), and nothing of how
the worker does its work: so what both say is what the log means. `compiled=True` takes the worker's own fast step
instead and is some hundred times as fast.

The order of a customer's records needs no merge: what was not journaled was taken in the order of (timestamp, rank of
the topic, offset), or it would have been journaled; what was journaled names its place and the customer's clock there.
Dead letters are decided once: their records are left out, and nobody judges them again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from schemas.batch import EVENT, EventBatch, Record, Reject
from schemas.codec import Decoder, Encoder, VersionNames
from schemas.decode import read_one, row_key_of
from schemas.kinds import INPUT_TOPICS, Kind, Score
from schemas.meaning import TEXTS
from schemas.meaning import Event as Meant
from schemas.readable import Refused, read_fields
from schemas.rejects import refuse
from schemas.row_keys import record_key, request_key
from state.calendar import day_of
from state.fold import Event, events_of
from state.layout import CorruptRow, decode_row, due_ms_of, encode_row, upgraded
from state.row import Row
from state.versions import Versions
from streams.audit.recount_values import change_values
from streams.log.dead_letters import DIGITS_MAX, ERROR_PREFIX, NOTE
from streams.scoring.reference import step as oracle
from streams.scoring.reference.evaluate import held_by_marks
from streams.scoring.version_names import names_of

NOBODY = "0--1"
"""The incarnation of a customer who was erased and has not come back."""

Place = tuple[str, int, int]
"""Topic, partition, offset."""


class Inverted(NamedTuple):
    """An entry of the journal: this record was taken as the ordinal-th of its user's incarnation, at this clock.

    `user` is the key of the row (`schemas.row_keys`), as everywhere in a recount. `after_ms` is set where the user had
    no row: everything of theirs that is stamped up to then had been taken before.
    `forgotten`: there was no marker of an erasure either.
    """

    topic: str
    partition: int
    offset: int
    user: bytes
    incarnation: str
    ordinal: int
    clock_ms: int
    after_ms: int | None = None
    forgotten: bool = False

    @property
    def place(self) -> Place:
        """Where the record lies."""
        return self.topic, self.partition, self.offset


class Doubt(NamedTuple):
    """A record that the recount refuses, though no dead letter says so."""

    record: Record
    reject: Reject


class Stray(NamedTuple):
    """A record of the journal that no worker can have written, and why."""

    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a recount stands on: how records are read and changes written, and every version there ever was."""

    decoder: Decoder
    encoder: Encoder
    versions: Versions

    @property
    def names(self) -> VersionNames:
        """The names by which changes call the versions."""
        return names_of(self.versions)


@dataclass(slots=True)
class Said:
    """What must have been said of one user. `changes` are the values of `score-changes`, `row` is the after-image.

    The first `by_records` changes were said, and the row was `row_by_records`, when the last record was taken; the
    rest is time's, up to the clock of the partition. A worker with many timers due may still have some of that to do.
    The due time in a row is not part of the comparison by bytes: see `same_row`.
    """

    changes: list[bytes] = field(default_factory=list)
    by_records: int = 0
    row: bytes | None = None
    row_by_records: bytes | None = None
    inversions: list[Inverted] = field(default_factory=list)
    since_change: list[bytes | None] = field(default_factory=list)
    """The row when the last change was said, and after each record from then on (where time alone said the last one:
    the row before it). A scorecard is of one of these, or of what timers made of it without a word."""


@dataclass(slots=True)
class Recount:
    """What must have been said in one partition (or of some of its users)."""

    users: dict[bytes, Said] = field(default_factory=dict)
    doubts: list[Doubt] = field(default_factory=list)
    lost: list[Inverted] = field(default_factory=list)
    """Entries of the journal whose records are not among the inputs."""
    strays: list[Stray] = field(default_factory=list)
    records: int = 0

    @property
    def changes(self) -> dict[bytes, list[bytes]]:
        """Values of `score-changes` by user, in their order."""
        return {user: said.changes for user, said in self.users.items() if said.changes}

    @property
    def rows(self) -> dict[bytes, bytes]:
        """Rows by user; none for a user who is not known (any more)."""
        return {user: said.row for user, said in self.users.items() if said.row is not None}


@dataclass(slots=True)
class Story:
    """The records of one user: those in order of time, and those that were taken behind it, as they were taken."""

    plain: list[Record] = field(default_factory=list)
    late: list[tuple[Record, Inverted]] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        """All of them."""
        return [*self.plain, *(record for record, _ in self.late)]


def recount_partition(
    inputs: Iterable[Record],
    journal: Iterable[Record],
    letters: Iterable[Record],
    terms: Terms,
    until_ms: int,
    *,
    compiled: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Recount:
    """Say everything again that these records lead to, up to `until_ms`, the partition's clock.

    `inputs` are the committed records of one partition of all input topics that count, in any order; `journal` and
    `letters` those of the journal and of the dead-letter topics (of other partitions too: they are left out).
    `progress` is told how many records were taken since it was last told. Cost: 1 ms a record, 10 us where `compiled`.
    """
    given = list(inputs)
    places = letter_places(letters)
    entries, strays = entries_of(journal, terms.decoder, until_ms)
    stories, lost = told_by_user(given, entries, places, terms.decoder)
    recount = Recount(lost=lost, records=len(given), strays=strays)
    recount_stories(stories, terms, until_ms, recount, compiled=compiled, progress=progress)
    recount.users = {user: said for user, said in recount.users.items() if said.changes or said.row is not None}
    return recount


def recount_stories(
    stories: Mapping[bytes, Story],
    terms: Terms,
    until_ms: int,
    into: Recount,
    *,
    compiled: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Recount these users. See `recount_partition`."""
    if compiled:
        from streams.audit.recount_compiled import recount_in_bulk

        recount_in_bulk(stories, terms, until_ms, into, progress)
        return
    for user, story in stories.items():
        recount_user(user, story, terms, until_ms, into)
        progress(len(story.plain) + len(story.late))


def letter_places(letters: Iterable[Record]) -> set[Place]:
    """Where the records lie that were refused; notes of operators in a dead-letter topic say nothing of that."""
    places: set[Place] = set()
    for letter in letters:
        headers = dict(letter.headers or [])
        if NOTE in headers:
            continue
        topic, partition, offset = (headers.get(ERROR_PREFIX + name) for name in ("topic", "partition", "offset"))
        if topic and partition and offset and _is_number(partition) and _is_number(offset):
            places.add((topic.decode("utf-8", "replace"), int(partition), int(offset)))
    return places


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= DIGITS_MAX


def inverted_of(record: Record, decoder: Decoder) -> Inverted:
    """The entry that a record of the journal is. Raises Refused for one that is none."""
    fields = read_fields(record.value or b"", "Inversion", decoder.registry)
    user, request_id = str(fields.pop("user_id")).encode(), fields.pop("request_id")
    return Inverted(user=user if request_id is None else request_key(request_id), **fields)


def entries_of(journal: Iterable[Record], decoder: Decoder, until_ms: int) -> tuple[list[Inverted], list[Stray]]:
    """The entries of the journal, and its records that are none; `until_ms` is the clock up to which is recounted.

    An entry of a later clock waits for records that are not recounted, or is none: see `told_by_user`.
    """
    entries: list[Inverted] = []
    strays: list[Stray] = []
    for record in journal:
        try:
            entry = inverted_of(record, decoder)
        except Refused as refused:
            strays.append(Stray(record, refused.detail))
            continue
        if record_key(entry.user) != record.key:
            strays.append(Stray(record, "its user_id is not its key"))
        elif entry.clock_ms <= until_ms:
            entries.append(entry)
    return entries, strays


def told_by_user(
    inputs: Iterable[Record], journal: Iterable[Inverted], letters: set[Place], decoder: Decoder
) -> tuple[dict[bytes, Story], list[Inverted]]:
    """The records of each user in their order, and the journal's entries whose records are not among the inputs."""
    entries = {entry.place: entry for entry in journal}
    late_records: dict[Place, tuple[bytes, Record]] = {}
    stories: dict[bytes, Story] = {}
    for record in inputs:
        place = record[:3]
        if place in letters or record.key is None:
            continue
        key = row_key_of(record, decoder.rank_of(record.topic), decoder.registry) or record.key
        stories.setdefault(key, Story()).plain.append(record)
        if place in entries:
            late_records[place] = key, record
    for place in [place for place, (key, _) in late_records.items() if key != entries[place].user]:
        del late_records[place]  # an entry about somebody else's record says nothing of it
    for place, entry in entries.items():  # in the order of the journal, which is the one they were taken in
        if place in late_records:
            key, record = late_records[place]
            stories[key].late.append((record, entry))
    ranks = {decoder.topic_prefix + topic: rank for rank, topic in enumerate(INPUT_TOPICS)}
    for story in stories.values():
        plain = [record for record in story.plain if record[:3] not in late_records]
        story.plain = sorted(plain, key=lambda record: (record.timestamp_ms, ranks[record.topic], record.offset))
    partitions = {record.partition for story in stories.values() for record in story.records}
    return stories, [e for p, e in entries.items() if p not in late_records and e.partition in partitions]


def recount_user(user: bytes, story: Story, terms: Terms, until_ms: int, into: Recount) -> None:
    """Walk through the records of one user, and through the time behind them."""
    late = dict(enumerate(story.late, len(story.plain)))
    batch, taken = _batch_of(user, story.records, terms, into)
    if batch is None:
        return
    number = {i: n for n, i in enumerate(taken)}
    events = dict(zip(taken, events_of(batch, terms.versions), strict=True))
    plain = deque(i for i in range(len(story.plain)) if i in events)
    behind = deque(i for i in late if i in events)
    out = oracle.OracleStep([], [], [])
    walk = oracle.walk_of(user, 0, Row(), terms.versions, out, None)
    said = Said()

    def note(changes_before: int) -> None:
        if len(out.changes) > changes_before:
            said.since_change.clear()
        if out.changes:
            said.since_change.append(_packed(walk))

    def fire(until_ms: int) -> None:
        while (moment_ms := oracle.next_moment(walk)) <= until_ms:
            before = len(out.changes)
            oracle.fire_timers(walk, moment_ms)
            if len(out.changes) > before:
                note(before)

    while plain or behind:
        if behind and (not plain or _is_next(walk.row, *late[behind[0]], events[plain[0]], terms)):
            i = behind.popleft()
            fire(late[i][1].clock_ms)
            while late[i][1].forgotten and walk.row.erased_ms is not None:
                fire(oracle.next_moment(walk))
        else:
            i = plain.popleft()
            fire(events[i].number("timestamp_ms"))
        before = len(out.changes)
        oracle.take(walk, batch, number[i], events[i])
        note(before)
    said.by_records, said.row_by_records = len(out.changes), _packed(walk)
    walk.changed = False
    oracle.fire_timers(walk, until_ms)
    said.row = _packed(walk) if walk.changed else said.row_by_records
    if len(out.changes) > said.by_records:
        said.since_change = [said.row_by_records]
    said.changes = change_values(out.changes, batch, [user], terms.names, terms.encoder)
    said.inversions = [_entry(inversion, batch, user, terms) for inversion in out.inversions]
    into.users[user] = said
    into.doubts += [Doubt(batch.records[reject.record], reject) for reject in out.rejects]


def _is_next(row: Row, record: Record, entry: Inverted, plain: Event, terms: Terms) -> bool:
    """Was the journaled record taken before the next one in order of time?"""
    if row.exists:
        return entry.incarnation == f"{row.incarnation_rank}-{row.incarnation_offset}" and entry.ordinal == row.taken
    # After an erasure it begins an incarnation of its own, or is one more erasure, which belongs to none. It was behind
    # all that is stamped up to the moment it names; what was behind it in turn is stamped later, or journaled. (Of the
    # moment itself see `oracle.is_journaled`.)
    begins = f"{int(terms.decoder.rank_of(record.topic))}-{record.offset}"
    after_ms = entry.clock_ms if entry.after_ms is None else entry.after_ms
    plain_ms, tied = plain.number("timestamp_ms"), not entry.forgotten and plain.kind != Kind.ERASE
    return entry.incarnation in (begins, NOBODY) and (plain_ms > after_ms or (plain_ms == after_ms and tied))


def _packed(walk: oracle.Walk) -> bytes | None:
    row = walk.row
    if not row.exists and row.erased_ms is None:
        return None
    row.due_ms = walk.due_ms
    return encode_row(row, oracle.today_of(walk))


def fired(user: bytes, row: bytes | None, moment_ms: int, versions: Versions) -> bytes | None:
    """The row once its timers due by a moment have fired."""
    if row is None:
        return None
    out = oracle.OracleStep([], [], [])
    walk = oracle.walk_of(user, 0, oracle.known_row(row, versions), versions, out, due_ms_of(row))
    oracle.fire_timers(walk, moment_ms)
    return _packed(walk)


def _entry(inversion: oracle.Inversion, batch: EventBatch, user: bytes, terms: Terms) -> Inverted:
    event = batch.events[inversion.event]
    rank, offset = inversion.incarnation
    topic = terms.encoder.topic(int(event["rank"]))
    return Inverted(
        topic, batch.partition, int(event["offset"]), user, f"{rank}-{offset}", inversion.ordinal, inversion.clock_ms
    )


def _batch_of(user: bytes, records: list[Record], terms: Terms, into: Recount) -> tuple[EventBatch | None, list[int]]:
    """The events of a user's records, each read by itself, and of which record (by index) each is."""
    good: list[Meant] = []
    taken: list[int] = []
    for i, record in enumerate(records):
        rank = terms.decoder.rank_of(record.topic)
        meant = read_one(record, record.partition, rank, terms.decoder, terms.versions.zone)
        if isinstance(meant, Refused):
            into.doubts.append(Doubt(record, refuse(i, "decode", meant.code, meant.detail)))
        elif int(meant.row["kind"]) != Kind.ADVANCE:
            good.append(meant)
            taken.append(i)
    if not good:
        return None, []
    events, text = np.zeros(len(good), EVENT), bytearray()
    for n, meant in enumerate(good):
        events[n] = meant.row
        events[n]["record"], events[n]["user"] = taken[n], 0
        for name in TEXTS:
            said = meant.texts.get(name, b"")
            events[n][f"{name}_at"], events[n][f"{name}_length"] = len(text), len(said)
            text += said
    return EventBatch(records[0].partition, records, events, np.frombuffer(bytes(text), np.uint8), [user]), taken


def same_row(user: bytes, committed: bytes | None, recounted: bytes | None, versions: Versions, until_ms: int) -> bool:
    """Whether two after-images are the same row, to the byte but for the due time, which need not be the last one.

    A due time is a check. A check that says nothing changes no row, so an image keeps the due time that was next when
    it was written: any of the checks from then on up to the present is right, and nothing else is.
    """
    if committed is None or recounted is None or committed == recounted:
        return committed == recounted
    try:
        committed = upgraded(committed)  # a row that nothing has happened to since the layout changed
        due_ms = due_ms_of(committed)
    except CorruptRow:
        return False
    row = decode_row(recounted)
    if (due_ms is not None and due_ms < row.clock_ms) or with_due(row, due_ms, versions) != committed:
        return False
    return any(check_ms == due_ms for check_ms in checks(user, row, versions, until_ms))


def with_due(row: Row, due_ms: int | None, versions: Versions) -> bytes:
    """The row as it is written with another due time."""
    row.due_ms = due_ms
    return encode_row(row, day_of(versions.days, row.clock_ms))


def checks(user: bytes, row: Row, versions: Versions, until_ms: int) -> Iterator[int | None]:
    """The due times that a row has one after the other, if nothing happens to it, up to the first behind `until_ms`.

    With the looks for new weights in between, which move the next due time, and without.
    """
    out = oracle.OracleStep([], [], [])
    row.emitted[Score.PROFILES] = held_by_marks(row, versions)
    walk = oracle.walk_of(user, 0, row, versions, out, None)
    due_ms = walk.due_ms = oracle.next_due(walk)
    yield due_ms
    while due_ms is not None and due_ms <= until_ms:
        due_ms = oracle.next_due(walk, due_ms)
        yield due_ms
    while (moment_ms := oracle.next_moment(walk)) <= until_ms:
        walk.looked_ms = moment_ms
        walk.due_ms = oracle.next_due(walk, moment_ms)
        yield walk.due_ms


def differing_inversions(recount: Recount, journal: Mapping[Place, Inverted]) -> list[tuple[Inverted, Inverted | None]]:
    """Records that the recount takes behind their time and the journal does not know, or knows otherwise.

    What erasures of others made the journal say is not compared: a recount looks at one user.
    """
    found = [entry for said in recount.users.values() for entry in said.inversions]
    known = {place: entry._replace(after_ms=None, forgotten=False) for place, entry in journal.items()}
    return [(entry, journal.get(entry.place)) for entry in found if known.get(entry.place) != entry]
