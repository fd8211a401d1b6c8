"""What was committed against what must have been said: customer by customer, to the byte, and the difference in words.

Pure. The reader (`streams.audit.reading`) brings what the topics hold, the recount
(`streams.audit.recount_reference`) what the inputs mean; here the two are laid side by side. A difference is told so
that a person can go and look: which customer, which score, which change, which field, where in which topic. What
cannot be known is not guessed: records that retention has removed make customers unprovable, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from schemas import row_keys
from schemas.batch import Record
from schemas.codec import Refused, decode_value
from schemas.known_schemas import Registry
from state.layout import CorruptRow, decode_row
from state.versions import Versions
from streams.audit.recount_reference import Said, same_row

Fields = Mapping[str, Any]

NOT_ASKED = b"\x00"
"""Stands for a row of the store that was not looked at; no row begins with a zero byte."""


class Difference(NamedTuple):
    """One thing that is not as it must be. `where` is topic/partition/offset of what was committed, where there is.

    `request_id` is set where it is about a request that names no customer; `user` names it in words then.
    """

    user: str
    what: str  # "change", "row", "scorecard", "store", "journal", "dead letter"
    sentence: str
    where: str = ""
    score: str = ""
    sequence: int = 0
    field: str = ""
    committed: str = ""
    recounted: str = ""
    at_ms: int = 0
    request_id: int | None = None


def difference(row_key: bytes, what: str, sentence: str, where: str = "", **more: Any) -> Difference:
    """A difference of the customer or request whose row this is."""
    number = row_keys.request_of(row_key)
    return Difference(row_keys.name_of(row_key), what, sentence, where, request_id=number, **more)


@dataclass(slots=True)
class Committed:
    """What the topics hold of one customer or request: changes in their order, last image and card, the store's row.

    The last `changes_unsettled` changes and the `later_cards` may be of transactions after the progress record.
    """

    changes: list[Record] = field(default_factory=list)
    image: Record | None = None
    card: Record | None = None
    stored: bytes | None = NOT_ASKED
    changes_unsettled: int = 0
    later_cards: list[Record] = field(default_factory=list)


class Until(NamedTuple):
    """How far a partition is compared: its last progress record."""

    clock_ms: int
    next_offsets: Mapping[str, int]


class Compared(NamedTuple):
    """What a comparison of one customer or request finds.

    `doubtful` differences count only if nothing was written of the customer since the progress record: compaction may
    have removed what belonged to it. `pending`: changes due by time that a worker has still to publish.
    """

    differences: list[Difference]
    doubtful: Sequence[Difference] = ()
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares customers of one partition. `recounted_at` recounts one of them up to an earlier clock."""

    until: Until
    registry: Registry
    versions: Versions
    recounted_at: Callable[[bytes, int], Said]
    changes_are_whole: bool = True  # False: retention has removed the beginning of score-changes

    def of(self, user: bytes, committed: Committed, said: Said) -> Compared:
        """What is not as it must be with this customer, and how many changes their due timers still have to cause.

        Changes that may be of later transactions are evidence for nothing: the after-image tells how many belong to
        the progress record. If no state that the log leads to fits the image, the image is the difference.
        """
        values = [change.value for change in committed.changes]
        settled = len(values) - committed.changes_unsettled
        skipped = self._removed(committed, said)
        expected = said.changes[skipped:]
        certain = max(said.by_records - skipped, settled)  # so many changes belong to the progress record, at least
        if values[:certain] != expected[:certain]:
            kept = max(settled, min(said.by_records - skipped, len(values)))
            return Compared([self._first_difference(user, committed.changes[:kept], expected)])
        for state in self._states(user, committed, said):
            if not same_row(user, _value(committed.image), state.row, self.versions, self.until.clock_ms):
                continue
            count = len(state.changes) - skipped
            if values[:count] != expected[:count]:
                kept = max(settled, min(count, len(values)))
                return Compared([self._first_difference(user, committed.changes[:kept], expected[:count])])
            if count >= settled:
                return Compared(self._of_store(user, committed), [], len(said.changes) - len(state.changes))
        return Compared([], [self._of_row(user, committed.image, said.row), *self._of_store(user, committed)])

    def _removed(self, committed: Committed, said: Said) -> int:
        """How many of a customer's first changes retention has removed."""
        if self.changes_are_whole:
            return 0
        if not committed.changes:
            return len(said.changes)
        first = self.decoded(committed.changes[0].value)["change_id"]
        ids = (i for i, value in enumerate(said.changes) if self.decoded(value)["change_id"] == first)
        nothing_left = committed.changes_unsettled == len(committed.changes)  # all are later than what was removed
        return next(ids, len(said.changes) if nothing_left else 0)

    def _states(self, user: bytes, committed: Committed, said: Said) -> Iterator[Said]:
        """What may have been published up to the progress record: all that is due by its clock, or a part of it.

        A worker with many timers due fires them in slices. The image tells how far a customer's are.
        """
        yield said
        yield Said(said.changes[: said.by_records], said.by_records, said.row_by_records, said.row_by_records)
        image = _value(committed.image)
        if image is None:
            return
        with suppress(CorruptRow):
            clock_ms = decode_row(image).clock_ms
            if clock_ms < self.until.clock_ms:
                yield self.recounted_at(user, clock_ms)

    def _of_store(self, user: bytes, committed: Committed) -> list[Difference]:
        """The store's row, where it was asked for at the very transaction of the progress record."""
        image = _value(committed.image)
        if committed.stored in (NOT_ASKED, image):
            return []
        name, a, b = _row_fields(committed.stored, image)
        sentence = f"the store's row is not the committed after-image: {name} is {a} in the store, {b} in the log"
        fields = {"field": name, "committed": a, "recounted": b}
        return [difference(user, "store", sentence, place_of(committed.image), **fields)]

    def _first_difference(self, user: bytes, changes: Sequence[Record], expected: Sequence[bytes]) -> Difference:
        """The first change that is not the one it must be, in words."""
        values = [change.value for change in changes]
        at = next((i for i, (a, b) in enumerate(zip(values, expected, strict=False)) if a != b), None)
        at = min(len(values), len(expected)) if at is None else at
        said = self.decoded(values[at]) if at < len(values) else None
        meant = self.decoded(expected[at]) if at < len(expected) else None
        if said is None:
            return _missing(user, self.decoded(expected[at]), "")
        where = place_of(changes[at])
        earlier = [self.decoded(value)["change_id"] for value in values[:at]]
        if said["change_id"] in earlier:
            first = place_of(changes[earlier.index(said["change_id"])])
            sentence = f"{name_of(said)} was committed twice: at {first} and again at {where}"
            return _of_change(user, said, sentence, where)
        later = {self.decoded(value)["change_id"] for value in expected[at + 1 :]}
        if meant is not None and said["change_id"] in later:
            return _missing(user, meant, f", before {where}")
        if meant is None or said["change_id"] != meant["change_id"]:
            there = "nothing more" if meant is None else name_of(meant)
            sentence = f"{name_of(said)} at {where} does not follow from the log, which leads to {there} here"
            return _of_change(user, said, sentence, where)
        name, committed, recounted = first_field(said, meant)
        sentence = f"{name_of(said)} at {where}: {name} is {committed}, the log leads to {recounted}"
        return _of_change(user, said, sentence, where, name, committed, recounted)

    def _of_row(self, user: bytes, image: Record | None, row: bytes | None) -> Difference:
        where = place_of(image)
        if image is None or image.value is None:
            tombstone = f"{where} is a tombstone" if where else "there is no after-image"
            return difference(user, "row", f"{tombstone}, the log leads to a row", where)
        if row is None:
            whom = "a customer of whom" if row_keys.request_of(user) is None else "a request of which"
            sentence = f"the after-image at {where} is of {whom} the log knows nothing (any more)"
            return difference(user, "row", sentence, where)
        name, committed, recounted = _row_fields(image.value, row)
        sentence = f"the after-image at {where}: {name} is {committed}, the log leads to {recounted}"
        return difference(user, "row", sentence, where, field=name, committed=committed, recounted=recounted)

    def decoded(self, value: bytes | None) -> Fields:
        """The fields of a score change; of one that cannot be read a change of no name."""
        try:
            return decode_value("ScoreChange", value or b"", self.registry)
        except Refused as refused:
            nothing = {"kind": "unreadable", "topic": None, "partition": None, "offset": None}
            return {"change_id": f"unreadable ({refused.detail})", "user_id": "", "score": "", "sequence": 0,
                    "decided_ms": 0, "cause": nothing, "incarnation": "unreadable"}  # fmt: skip


def _value(record: Record | None) -> bytes | None:
    return None if record is None else record.value


def place_of(record: Record | None) -> str:
    """topic/partition/offset; nothing for nothing."""
    return "" if record is None else f"{record.topic}/{record.partition}/{record.offset}"


def name_of(change: Fields) -> str:
    """A change as people call it.

    >>> name_of({"score": "status", "sequence": 3, "change_id": "ann/status/3-0/3"})
    'change 3 of status (ann/status/3-0/3)'
    """
    return f"change {change['sequence']} of {change['score']} ({change['change_id']})"


def first_field(one: Fields, two: Fields, path: str = "") -> tuple[str, str, str]:
    """The first field in which two values differ, by its path, and both of its values.

    >>> first_field({"new": 1.0, "cause": {"kind": "time"}}, {"new": 1.0, "cause": {"kind": "event"}})
    ('cause.kind', 'time', 'event')
    """
    for name, value in one.items():
        if value != two.get(name):
            return _inside(f"{path}{name}", value, two.get(name))
    return path.rstrip(".") or "encoding", "written otherwise", "the same fields in other bytes"


def _inside(path: str, one: Any, two: Any) -> tuple[str, str, str]:
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return first_field(one, two, f"{path}.")
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            if a != b:
                return _inside(f"{path}[{i}]", a, b)
    return path, str(one), str(two)


def _row_fields(one: bytes | None, two: bytes | None) -> tuple[str, str, str]:
    """The first field in which two rows differ."""
    if one is None or two is None:
        return "the row", "not there" if one is None else "there", "not there" if two is None else "there"
    try:
        a, b = decode_row(one), decode_row(two)
    except CorruptRow as corrupt:
        return "the row", f"unreadable ({corrupt})", f"{len(two)} bytes"
    names = [attribute.name for attribute in fields(a)]
    names.sort(key=lambda name: name == "due_ms")  # any other difference says more
    for name in names:
        mine, others = getattr(a, name), getattr(b, name)
        if repr(mine) != repr(others):
            return _inside(name, mine, others)
    return "the row", "written otherwise", "the same fields in other bytes"


def _missing(user: bytes, meant: Fields, where: str) -> Difference:
    cause = meant["cause"]
    why = "time" if cause["offset"] is None else f"{cause['topic']}/{cause['partition']}/{cause['offset']}"
    sentence = f"{name_of(meant)} is missing{where}: {why} caused it"
    return _of_change(user, meant, sentence, "")


def _of_change(
    user: bytes, change: Fields, sentence: str, where: str, name: str = "", committed: str = "", recounted: str = ""
) -> Difference:
    score, sequence, at_ms = str(change["score"]), int(change["sequence"]), int(change["decided_ms"])
    fields = {"field": name, "committed": committed, "recounted": recounted}
    return difference(user, "change", sentence, where, score=score, sequence=sequence, at_ms=at_ms, **fields)
