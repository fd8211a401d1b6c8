"""The last changes of one customer, found without reading the topic: a search by time, then backwards.

A partition of score-changes is nearly in the order of `decided_ms`, as a partition's clock never goes back. The row of
a customer says up to when the customer was looked at and how many changes of each score there were. So the search
begins where the topic passes that time and goes back until it has what was asked for. Sequences have no gaps: what the
order of time has hidden is known to be missing, and told. Pure; `streams.kafka.history` reads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Change = Mapping[str, Any]

CHUNK_RECORDS = 5_000
"""So many records are read first, then twice as many each time; the search by time stops at as many."""

RECORDS_MAX = 200_000
"""So many records are read for one question, about a second of work; more only where the whole topic is asked for."""


class ChangesReader(Protocol):
    """One partition of score-changes, from its first offset to its end at the time of the question."""

    first: int
    end: int

    def decided_ms(self, offset: int) -> int | None:
        """The latest `decided_ms` of the first few changes at or behind an offset; None where there is none.

        Of a few, as one alone may be behind its time.
        """
        ...

    def of_user(self, user: str, start: int, end: int) -> list[Change]:
        """The changes of a customer in [start, end), in order."""
        ...


class KnownRow(NamedTuple):
    """What a customer's row says of the changes there must be."""

    clock_ms: int
    incarnation: str
    sequences: Mapping[str, int]  # of the last change of each score that has one


@dataclass(slots=True)
class Found:
    """Changes in order, how many records were read for them, and whether these were all there are."""

    changes: list[Change] = field(default_factory=list)
    records: int = 0
    whole: bool = False


def find(
    reader: ChangesReader,
    user: str,
    row: KnownRow | None,
    *,
    scores: Collection[str] = (),
    steps: int = 10,
    records_max: int = RECORDS_MAX,
) -> Found:
    """The last `steps` changes of each of the scores (all, where none is named), and what else was met on the way.

    Reads at most `records_max` records beside some of the search. Without a row the search begins at the end.
    """
    start = reader.end
    if row is not None and reader.end - reader.first > records_max:
        start = min(behind(reader, row.clock_ms) + CHUNK_RECORDS, reader.end)
    chunks: list[list[Change]] = []
    low, size, last = start, CHUNK_RECORDS, max(reader.first, start - records_max)
    while low > last and (row is None or _wanted(row, scores, steps) - _keys(_joined(chunks), row)):
        begin = max(last, low - size)
        chunks.append(reader.of_user(user, begin, low))
        low, size = begin, 2 * size
    return Found(_joined(chunks), start - low, low <= reader.first and start == reader.end)


def missing_scores(found: Found, row: KnownRow | None, scores: Collection[str] = ()) -> list[str]:
    """Scores whose last change is not among those found, as far as a row says what there must be."""
    return [] if row is None else sorted(score for score, _ in _wanted(row, scores, 1) - _keys(found.changes, row))


def behind(reader: ChangesReader, time_ms: int) -> int:
    """An offset behind the changes decided up to a time, as far as the topic is in order; to CHUNK_RECORDS records."""
    low, high = reader.first, reader.end
    while high - low > CHUNK_RECORDS:
        middle = (low + high) // 2
        decided_ms = reader.decided_ms(middle)
        if decided_ms is None or decided_ms > time_ms:
            high = middle
        else:
            low = middle + 1
    return high


def _wanted(row: KnownRow, scores: Collection[str], steps: int) -> set[tuple[str, int]]:
    return {
        (score, sequence)
        for score, last in row.sequences.items()
        if not scores or score in scores
        for sequence in range(max(1, last - steps + 1), last + 1)
    }


def _keys(changes: Sequence[Change], row: KnownRow) -> set[tuple[str, int]]:
    own = (change for change in changes if change["incarnation"] == row.incarnation)
    return {(str(change["score"]), int(change["sequence"])) for change in own}


def _joined(chunks: Sequence[Sequence[Change]]) -> list[Change]:
    """Chunks that were read backwards, in order."""
    return [change for chunk in reversed(chunks) for change in chunk]
