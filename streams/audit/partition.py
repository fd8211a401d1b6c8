"""One piece of `rescore verify`, in a process of its own: read, recount, compare. It writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from schemas.codec import Decoder, Encoder
from schemas.decode import row_key_of
from schemas.kinds import INPUT_TOPICS
from schemas.partitioner import Partitioner
from schemas.row_keys import record_key, request_of
from state.errors import StoreUnavailable
from state.layout import CorruptRow, decode_row
from state.redis_store import RedisStore
from streams.audit.compare import Committed, Comparison, Difference, Until, difference, place_of
from streams.audit.compare_cards import differing_card
from streams.audit.reading import Fixed, Material, Names, material, piece_of, written_since
from streams.audit.recount_reference import (
    Inverted,
    Place,
    Recount,
    Said,
    Story,
    Stray,
    Terms,
    differing_inversions,
    entries_of,
    letter_places,
    recount_stories,
    recount_user,
    told_by_user,
)
from streams.composition.registry import registry_for
from streams.scoring.reasons import REASON_TEXTS

if TYPE_CHECKING:
    from state.versions import Versions
    from streams.settings import Settings

USERS_PER_QUESTION = 1_000
DIFFERENCES_MAX = 1_000
"""Of one piece; more are counted, and not told one by one."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is to do: one of `pieces` of a partition, or some customers and requests of it.

    `users` are the keys of their rows (`schemas.row_keys`).
    """

    settings: Settings
    versions: Versions
    partitions: int
    fixed: Fixed
    piece: int = 0
    pieces: int = 1
    users: frozenset[bytes] | None = None
    readable: bool = False
    with_store: bool = True

    def wanted(self) -> Callable[[bytes], bool]:
        """Whether the records of a key are in the piece."""
        if self.users is not None:
            return frozenset(map(record_key, self.users)).__contains__
        return lambda key: self.pieces == 1 or piece_of(key, self.pieces) == self.piece


@dataclass(slots=True)
class Result:
    """What came of it.

    `moving`: customers and requests that seem to differ, and were written again while they were read. Compaction may
    have removed what belonged to them, so they are to be compared again. They are not among the differences.
    """

    partition: int
    events: int = 0
    letters: int = 0
    changes: int = 0
    customers: int = 0
    requests: int = 0  # that name no customer
    cards: int = 0
    stored: int = 0
    pending: int = 0  # changes that due timers have still to say
    unprovable: int = 0  # customers some of whose records retention has removed
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    moving: set[bytes] = field(default_factory=set)


_told: list[Callable[[int], None]] = []
"""Whom this process tells how many records it has taken."""


def tell_through(counter: Any) -> None:
    """At the start of a process: progress goes into this shared number."""

    def add(records: int) -> None:
        with counter.get_lock():
            counter.value += records

    _told[:] = [add]


def compare_part(job: Job) -> Result:
    """Read, recount and compare one piece. Memory: all records of its customers."""
    names = Names.of(job.settings.topic)
    found = material(job.settings.kafka, names, job.fixed, job.wanted())
    terms = terms_of(job)
    entries, strays = entries_of(found.journal, terms.decoder, job.fixed.progress.clock_ms)
    letters = letter_places(found.letters)
    stories, lost = told_by_user(found.inputs, entries, letters, terms.decoder)
    if job.users is not None:  # records of a key may be of a customer and of a request of the same number
        stories = {user: story for user, story in stories.items() if user in job.users}
        found.committed = {user: one for user, one in found.committed.items() if user in job.users}
    result = Result(job.fixed.partition, letters=sum(record[:3] in letters for record in found.inputs))
    for user in _unprovable(stories, found, job, terms):
        result.unprovable += 1
        stories.pop(user, None)
        found.committed.pop(user, None)
    recount = Recount()
    progress = _told[0] if _told else _nobody
    until_ms = job.fixed.progress.clock_ms
    recount_stories(stories, terms, until_ms, recount, compiled=not job.readable, progress=progress)
    result.events = sum(len(story.records) for story in stories.values()) + result.letters
    if job.with_store:
        _ask_the_store(job, found.committed, result)
    differences = _compare(job, terms, stories, found, recount, result)
    differences += [_of_stray(stray) for stray in strays]
    result.notes |= set(found.strays.lines())
    if found.whole_from_ms is None:
        journal = {entry.place: entry for entry in entries}
        taken = [entry for entry in lost if entry.offset < job.fixed.progress.next_offsets.get(entry.topic, 0)]
        differences += _of_journal(recount, journal, taken)
    if found.letters_are_whole:
        differences += _of_letters(recount, terms)
    elif recount.doubts:
        result.notes.add(
            "events that were refused have lost their dead letters to retention: refused again, not proven"
        )
    result.differing, result.differences = len(differences), differences[:DIFFERENCES_MAX]
    return result


def _nobody(_records: int) -> None:
    """Nobody is told."""


def terms_of(job: Job) -> Terms:
    """How this deployment reads and writes."""
    chosen, registry = job.settings, registry_for(job.settings)
    partitioner = Partitioner[chosen.kafka.partitioner.upper()]
    decoder = Decoder(registry, job.partitions, partitioner, chosen.topic_prefix, chosen.record_bytes_max)
    return Terms(decoder, Encoder(registry, REASON_TEXTS, chosen.topic_prefix), job.versions)


def _unprovable(stories: dict[bytes, Story], found: Material, job: Job, terms: Terms) -> set[bytes]:
    """Customers whose beginning retention has removed, wholly or in part: nothing can be said of them.

    A customer can be recounted whose every incarnation begins with a record that is still there and later than all
    that was removed.
    """
    if found.whole_from_ms is None:
        return set()
    comparison = _comparison(job, terms, stories, found)
    begins = {
        f"{INPUT_TOPICS.index(record.topic.removeprefix(job.settings.topic_prefix))}-{record.offset}": record
        for record in found.inputs
    }
    lost = set()
    for user in stories.keys() | found.committed.keys():
        committed = found.committed.get(user, Committed())
        lives = {comparison.decoded(change.value)["incarnation"] for change in committed.changes}
        lives |= _life_of(committed.image)
        first = [begins.get(life) for life in lives]
        if not lives or any(one is None or one.timestamp_ms <= found.whole_from_ms for one in first):
            lost.add(user)
    return lost


def _life_of(image: Any) -> set[str]:
    try:
        row = decode_row(image.value) if image is not None and image.value is not None else None
    except CorruptRow:
        return {"unreadable"}
    return set() if row is None else {f"{row.incarnation_rank}-{row.incarnation_offset}"}


def _ask_the_store(job: Job, committed: dict[bytes, Committed], result: Result) -> None:
    """Rows of the store, where it stands at the very transaction that is compared with."""
    chosen, number, progress = job.settings, job.fixed.partition, job.fixed.progress
    store = RedisStore(
        chosen.redis.url.get_secret_value(),
        chosen.app,
        job.partitions,
        timeout_seconds=chosen.redis.timeout_seconds,
        connect_timeout_seconds=chosen.redis.connect_timeout_seconds,
    )
    users = list(committed)
    rows: list[bytes | None] = []
    try:
        with closing(store):
            for start in range(0, len(users), USERS_PER_QUESTION):
                some, held = store.load_at(number, users[start : start + USERS_PER_QUESTION])
                if held is None or not held.ready or held.seq != progress.seq:
                    at = "nowhere" if held is None else f"at transaction {held.seq}"
                    result.notes.add(
                        f"partition {number}: the rows in the store were not compared: it is {at}, the log is compared "
                        f"up to transaction {progress.seq} (a worker is running, or has still to catch up)"
                    )
                    return
                rows += some
    except StoreUnavailable as away:
        result.notes.add(f"the rows in the store were not compared: {away}")
        return
    for user, row in zip(users, rows, strict=True):
        committed[user].stored = row
    result.stored = len(users)


def _comparison(job: Job, terms: Terms, stories: dict[bytes, Story], found: Material) -> Comparison:
    progress = job.fixed.progress

    def recounted_at(user: bytes, clock_ms: int) -> Said:
        again = Recount()
        recount_user(user, stories.get(user, Story()), terms, clock_ms, again)
        return again.users.get(user, Said())

    until = Until(progress.clock_ms, progress.next_offsets)
    return Comparison(until, terms.decoder.registry, job.versions, recounted_at, found.changes_are_whole)


def _compare(
    job: Job, terms: Terms, stories: dict[bytes, Story], found: Material, recount: Recount, result: Result
) -> list[Difference]:
    """Every customer and request that the log or the topics know."""
    comparison = _comparison(job, terms, stories, found)
    differences: list[Difference] = []
    doubtful: dict[bytes, list[Difference]] = {}
    for user in sorted(recount.users.keys() | found.committed.keys()):
        said, committed = recount.users.get(user, Said()), found.committed.get(user, Committed())
        compared = comparison.of(user, committed, said)
        known = bool(said.changes or said.row or committed.changes)
        result.customers += known and request_of(user) is None
        result.requests += known and request_of(user) is not None
        result.changes += len(said.changes) - compared.pending
        result.pending += compared.pending
        differences += compared.differences
        doubts = list(compared.doubtful)
        if not (compared.differences or doubts or compared.pending):
            card = _of_card(user, committed, said, job, terms)
            result.cards += committed.card is not None
            doubts += [card] if card else []
        if doubts:
            doubtful[user] = doubts
    if doubtful and job.fixed.settled:
        names = Names.of(job.settings.topic)
        result.moving = doubtful.keys() & written_since(job.settings.kafka, names, job.fixed)
    return differences + [one for user, some in doubtful.items() if user not in result.moving for one in some]


def _of_card(user: bytes, committed: Committed, said: Said, job: Job, terms: Terms) -> Difference | None:
    """What is not as it must be with a scorecard. It is the last settled one, or one that came while it was read."""
    until_ms = job.fixed.progress.clock_ms
    candidates = [committed, *(replace(committed, card=card) for card in committed.later_cards)]
    found = [differing_card(user, one, said, job.versions, terms.names, terms.encoder, until_ms) for one in candidates]
    return None if None in found else found[0]


def _of_journal(recount: Recount, journal: dict[Place, Inverted], lost: Iterable[Inverted]) -> Iterator[Difference]:
    """Records taken behind their time of which the journal says otherwise, and entries without a record."""
    for entry, known in differing_inversions(recount, journal):
        said = f"as the {known.ordinal}th record at {known.clock_ms} ms" if known else "not"
        sentence = (
            f"{entry.topic}/{entry.partition}/{entry.offset} was taken behind its time, as the {entry.ordinal}th "
            f"record at {entry.clock_ms} ms; the journal has it {said}"
        )
        yield difference(entry.user, "journal", sentence, "/".join(map(str, entry.place)))
    for entry in lost:
        where = "/".join(map(str, entry.place))
        yield difference(entry.user, "journal", f"the journal names {where}, where there is no record", where)


def _of_stray(stray: Stray) -> Difference:
    """A record of the journal that no worker has written."""
    where = place_of(stray.record)
    sentence = f"the journal's record at {where} cannot be read: {stray.reason}"
    return difference(stray.record.key or b"", "journal", sentence, where)


def _of_letters(recount: Recount, terms: Terms) -> Iterator[Difference]:
    for doubt in recount.doubts:
        where = place_of(doubt.record)
        sentence = f"{where} was taken, and has no dead letter; it cannot be: {doubt.reject.message}"
        rank, key = terms.decoder.rank_of(doubt.record.topic), doubt.record.key or b""
        row = row_key_of(doubt.record, rank, terms.decoder.registry) or key
        yield difference(row, "dead letter", sentence, where)
