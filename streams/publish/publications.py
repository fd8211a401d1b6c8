"""Publications: what the topic `rescore-publications` says of the files that were published, and what is left of them.

A file is known by what is in it, the topic its events went to and the mapping that made them. Its record is written in
the same transactions as its events, so that the record says exactly which of them are in the topic. It holds digests,
counts and times, and nothing of a customer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, get_type_hints

from schemas.batch import Record
from schemas.errors import RescoreError
from schemas.time_text import text_of_ms
from streams.publish.mapping import FileMapping

KEY_LETTERS = 64
ID_LETTERS = 16

Place = tuple[int, int, int]
"""Where an event stands in its file: its time in milliseconds, its line, and its number among those of the line."""


class UnreadablePublication(RescoreError):
    """A record of the topic under the key of a file cannot be read, so that nobody can say what was published."""


class AlreadyPublished(RescoreError):
    """The file was published, or its content under another mapping: when, by whom, and what to do."""


class ChangedReading(RescoreError):
    """A file whose publication was interrupted no longer gives the events it gave then."""


class Stretch(NamedTuple):
    """The events that one call published of a file: all between two of them, in the order in which it sent them.

    `rows` and `line_sum` (of their line numbers) tell whether the file is still read as it was then.
    """

    by_time: bool  # sorted; else in the order of the file
    from_ms: int | None
    until_ms: int | None
    first: Place
    last: Place
    rows: int = 0
    line_sum: int = 0

    def holds(self, place: Place) -> bool:
        """Whether this call was to send the event, if no other had.

        >>> part = Stretch(False, None, None, (9, 2, 0), (5, 4, 0))
        >>> part.holds((1, 3, 0)), part.holds((1, 5, 0))
        (True, False)
        """
        if self.by_time:
            return self.first <= place <= self.last
        time_ms = place[0]
        within = (self.from_ms is None or time_ms >= self.from_ms) and (
            self.until_ms is None or time_ms < self.until_ms
        )
        return within and self.first[1:] <= place[1:] <= self.last[1:]


@dataclass(frozen=True, slots=True)
class Publication:
    """What is known of one file in one topic under one mapping; its lines are those beyond a shorter, earlier one.

    `rows` are its events, of which `done` are in the topic; None as long as they were not counted (`--as-is`).
    """

    key: str
    name: str
    content: str  # SHA-256, unpacked
    size: int  # in bytes, unpacked
    topic: str
    topic_id: str
    mapping: str
    after_line: int = 0
    last_line: int | None = None
    rows: int | None = None
    bad_lines: int = 0
    done: tuple[Stretch, ...] = ()
    complete: bool = False
    round: int = 1  # 2 after the first --again
    sender: str = ""  # the transactional id that writes its events
    by: str = ""
    began_ms: int = 0
    at_ms: int = 0

    @property
    def rows_done(self) -> int:
        """How many of its events are in the topic."""
        return sum(stretch.rows for stretch in self.done)

    @property
    def id_prefix(self) -> str:
        """What the ids of its events begin with, where they have none of their own."""
        return self.key[:ID_LETTERS] + (f"-{self.round}" if self.round > 1 else "")

    def has(self, place: Place) -> bool:
        """Whether an event is in the topic."""
        return any(stretch.holds(place) for stretch in self.done)

    def holds_line(self, line: int) -> bool:
        """Whether a line is this publication's, and not that of a shorter or longer version of the file."""
        return self.after_line < line and (self.last_line is None or line <= self.last_line)

    def words(self) -> str:
        """What was published, when and by whom."""
        of = f" of {self.rows:,}" if self.rows is not None and not self.complete else ""
        events = f"{self.rows_done:,}{of} event{'' if self.rows_done == 1 and not of else 's'}"
        return f"{events} of {self.name} to {self.topic}, on {text_of_ms(self.at_ms)} by {self.by}"

    def encode(self) -> bytes:
        """The value of its record."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def decode(record: Record) -> Publication:
    """The publication in a record of the topic. Raises UnreadablePublication."""
    try:
        return _decode(record)
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadablePublication(
            f"{record.topic}, offset {record.offset}, cannot be read ({error}), so that nobody can say what was "
            "published: find out who wrote it, and let nobody but publishers write to this topic; --again publishes "
            "without it"
        ) from None


def _decode(record: Record) -> Publication:
    value = json.loads(record.value or b"")
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - told as all others are
    done = tuple(_stretch(*one) for one in value.pop("done"))
    given = {name: value[name] for name in TYPES if name in value}
    wrong = [name for name, one in given.items() if not isinstance(one, TYPES[name])]
    if wrong or given.get("key", "").encode() != record.key:
        raise ValueError(f"{wrong[0] if wrong else 'key'} is not what it should be")
    return Publication(**given, done=done)


def _stretch(by_time: bool, from_ms: int | None, until_ms: int | None, first: Any, last: Any, *counts: int) -> Stretch:
    return Stretch(by_time, from_ms, until_ms, tuple(first), tuple(last), *counts)


TYPES = {name: kind for name, kind in get_type_hints(Publication).items() if name != "done"}


@dataclass(slots=True)
class Known:
    """All publications by key, as the topic has them. Records under keys that are none of ours are passed over."""

    publications: dict[str, Publication] = field(default_factory=dict)
    unreadable: dict[str, UnreadablePublication] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Known:
        """The last record of each key."""
        known = cls()
        known.take(records)
        return known

    def take(self, records: Iterable[Record]) -> None:
        """Take further records, each in the place of an earlier one."""
        for record in records:
            key = (record.key or b"").decode(errors="replace")
            if len(key) == KEY_LETTERS and not key.strip("0123456789abcdef"):
                self._take(key, record)

    def _take(self, key: str, record: Record) -> None:
        self.publications.pop(key, None)
        self.unreadable.pop(key, None)
        if record.value is None:
            return
        try:
            self.publications[key] = decode(record)
        except UnreadablePublication as error:
            self.unreadable[key] = error

    def get(self, key: str) -> Publication | None:
        """The publication of this key, if there is one. Raises UnreadablePublication."""
        if key in self.unreadable:
            raise self.unreadable[key]
        return self.publications.get(key)

    def beginnings(self, topic: str, topic_id: str, mapping: str, size: int) -> dict[int, list[Publication]]:
        """Publications by their size whose files may be the beginning of one of this size: what is to be compared."""
        found: dict[int, list[Publication]] = {}
        for one in self.publications.values():
            if (one.topic, one.mapping) == (topic, mapping) and same_topic(one, topic_id) and 0 < one.size < size:
                found.setdefault(one.size, []).append(one)
        return found


def same_topic(publication: Publication, topic_id: str) -> bool:
    """Whether the topic is still the one that was published to; where no id is known, its name has to do."""
    return not publication.topic_id or not topic_id or publication.topic_id == topic_id


def key_of(content: str, topic: str, mapping: str) -> str:
    """The key of a file's record, and what the ids of its events are made from."""
    return hashlib.sha256(f"{content}\n{topic}\n{mapping}".encode()).hexdigest()


def mapping_digest(mapping: FileMapping, lookups: Mapping[str, str]) -> str:
    """What makes events of rows, as a digest; `lookups` are the digests of the files that are joined.

    Only what differs from the empty mapping counts, so that an option that a later release adds changes nothing.

    >>> mapping_digest(FileMapping(), {}) == mapping_digest(FileMapping(topic="loans"), {})
    True
    """
    empty, given = asdict(FileMapping()), asdict(replace(mapping, reading=mapping.reading.normal()))
    said = {name: value for name, value in given.items() if name != "topic" and value != empty[name]}
    text = json.dumps([said, dict(lookups)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LETTERS]


def begin(
    fresh: Publication, known: Known, shorter: Sequence[Publication], again: bool, together: frozenset[str]
) -> list[Publication]:
    """The publications that this call has to see to the end for one file, those of its beginnings first.

    `fresh` is the file as nobody has published it; `shorter` are publications whose files are its beginning;
    `together` are the keys of all files of the call. The list is empty where all was published.
    Raises AlreadyPublished where the content was published under another mapping, or an interrupted beginning of it
    cannot be gone on with; UnreadablePublication.
    """
    if again:
        before = known.publications.get(fresh.key)
        if before is None or not same_topic(before, fresh.topic_id):
            return [fresh]
        return [replace(fresh, round=before.round + 1)]
    before = known.get(fresh.key)
    if before is not None and same_topic(before, fresh.topic_id):
        fresh = before
    else:
        _refuse_another_mapping(fresh, known, together)
        fresh = replace(fresh, after_line=max((one.last_line or 0 for one in shorter), default=0))
    unfinished = [one for one in shorter if not one.complete and (one.last_line or 0) <= fresh.after_line]
    for one in unfinished:
        if one.last_line is None:
            raise AlreadyPublished(
                f"{fresh.name} begins with a file whose publication with --as-is was interrupted: {one.words()}; "
                "publish that file to its end first, or all of this one with --again"
            )
    return unfinished + ([] if fresh.complete else [fresh])


def _refuse_another_mapping(fresh: Publication, known: Known, together: frozenset[str]) -> None:
    for one in known.publications.values():
        same = (one.content, one.topic) == (fresh.content, fresh.topic) and same_topic(one, fresh.topic_id)
        if same and one.mapping != fresh.mapping and one.key not in together and one.rows_done:
            raise AlreadyPublished(
                f"the content of {fresh.name} was published under another mapping: {one.words()}; "
                "if both are right, publish it with --again"
            )


@dataclass(slots=True)
class Part:
    """A publication while a call goes on with it: what was known, what was read, and what is sent."""

    publication: Publication
    base: Publication | None  # as the topic had it when the call looked
    by_time: bool = True
    from_ms: int | None = None
    until_ms: int | None = None
    first: Place | None = None  # of the events that this call has sent
    last: Place = (0, 0, 0)
    rows: int = 0
    line_sum: int = 0
    changed: bool = False  # since its record was last written
    pending: int = 0  # events that this call has to send, as far as it has read
    seen: int = 0  # events read, whether they are sent or not
    seen_until_line: int = 0
    had_rows: int = 0  # events read that are in the topic
    had_line_sum: int = 0

    def wants(self, place: Place) -> bool:
        """Count an event that was read; whether it still has to be sent."""
        self.seen += 1
        self.seen_until_line = max(self.seen_until_line, place[1])
        if not self.publication.done or not self.publication.has(place):
            return True
        self.had_rows += 1
        self.had_line_sum += place[1]
        return False

    def passed(self, line: int) -> None:
        """A bad line was read: a longer version of the file does not begin before it."""
        self.seen_until_line = max(self.seen_until_line, line)

    @property
    def has_news(self) -> bool:
        """Whether its record is to be written, as events are left to send, or a stream turns out to have ended."""
        return self.pending > 0 or (self.changed and bool(self.publication.done))

    def took(self, place: Place) -> None:
        """An event was sent, in the transaction that is open."""
        if self.first is None:
            self.first = place
        self.last, self.rows, self.line_sum, self.changed = place, self.rows + 1, self.line_sum + place[1], True

    def all_read(self, bad_lines: int = 0) -> None:
        """After the last line of the file: how many events it has. Raises ChangedReading."""
        known, done = self.publication, self.publication.done
        had = (self.had_rows, self.had_line_sum)
        other_rows = known.rows is not None and known.rows != self.seen
        if other_rows or had != (known.rows_done, sum(one.line_sum for one in done)):
            raise ChangedReading(
                f"{known.name} gives other events than when its publication was interrupted ({known.words()}): a file "
                "it is joined with, the release or a setting has changed. Put that back and publish it again, or "
                "publish all of it with --again"
            )
        if known.rows is None:
            self.publication = replace(known, rows=self.seen, last_line=self.seen_until_line, bad_lines=bad_lines)
            self.changed = True

    def now(self, at_ms: int) -> Publication:
        """The publication with what this call has sent: what is to be written."""
        done = self.publication.done
        if self.first is not None:
            bounds = (self.by_time, self.from_ms, self.until_ms)
            done = (*done, Stretch(*bounds, self.first, self.last, self.rows, self.line_sum))
        after = replace(self.publication, done=done, at_ms=at_ms)
        return replace(after, complete=after.rows == after.rows_done)


def part_of_line(line: int, parts: Sequence[Part]) -> Part | None:
    """The part of a file that a line belongs to; None where it was published with a shorter version of the file."""
    return next((part for part in parts if part.publication.holds_line(line)), None)
