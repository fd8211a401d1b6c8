"""Records of our own topics that cannot be read: counted, the first of each topic told with its place and the reason.

A topic of ours may hold what another client wrote there. Readers that show records skip such ones and say how many;
readers that prove something (replay, RESOLVE) name them as what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from schemas.batch import Record
from schemas.errors import RescoreError

Fields = Mapping[str, Any]


class UnreadableRecord(RescoreError):
    """A record that a command cannot do without cannot be read. The message names its place and says what to do."""


@dataclass(slots=True)
class Unreadable:
    """Keeps count. `tell` hears of the first record of each topic at once, and of all of them at `close`.

    >>> lines = []
    >>> with Unreadable(lines.append) as unreadable:
    ...     for offset in (17, 18):
    ...         unreadable.note(Record("score-changes", 2, offset, 0, b"", None), "it has no value")
    >>> lines
    ['1 record of score-changes cannot be read, first at 2/17: it has no value', \
'2 records of score-changes cannot be read, first at 2/17: it has no value']
    """

    tell: Callable[[str], None] = lambda _words: None
    counts: dict[str, int] = field(default_factory=dict)
    firsts: dict[str, str] = field(default_factory=dict)

    def note(self, record: Record, reason: str) -> None:
        """One more record that cannot be read."""
        count = self.counts[record.topic] = self.counts.get(record.topic, 0) + 1
        if count == 1:
            self.firsts[record.topic] = f"{record.partition}/{record.offset}: {reason}"
            self.tell(unreadable_words(record.topic, count, self.firsts[record.topic]))

    def lines(self) -> Iterator[str]:
        """A sentence for each topic."""
        for topic, count in self.counts.items():
            yield unreadable_words(topic, count, self.firsts[topic])

    def close(self) -> None:
        """Tell the numbers of topics that hold more than the record that was told."""
        for topic, count in self.counts.items():
            if count > 1:
                self.tell(unreadable_words(topic, count, self.firsts[topic]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unreadable_words(topic: str, count: int, first: str) -> str:
    """How many records of a topic cannot be read, and where the first lies."""
    return f"{count:,} record{'' if count == 1 else 's'} of {topic} cannot be read, first at {first}"


def readable(
    records: Iterable[Record], decode: Callable[[bytes], Fields], unreadable: Unreadable
) -> Iterator[tuple[Record, Fields]]:
    """Records with their fields; those without value, of another encoding, or with a number that is none are noted.

    `decode` raises ValueError for a value it cannot read.
    """
    for record in records:
        try:
            if record.value is None:
                raise ValueError("it has no value")  # noqa: TRY301 - the same way for all reasons
            fields = decode(record.value)
            refuse_infinite(fields)
        except ValueError as error:
            unreadable.note(record, str(error))
        else:
            yield record, fields


def finite(value: Any) -> Any:
    """The same fields with texts for numbers that JSON does not have.

    >>> finite({"amount": math.nan, "more": [1.0, math.inf]})
    {'amount': 'nan', 'more': [1.0, 'inf']}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def refuse_infinite(value: object, at: str = "") -> None:
    """Raise ValueError for a number that is not finite, anywhere in decoded fields: nothing of ours writes such.

    >>> refuse_infinite({"cause": {"offset": 3}, "reasons": [{"level": math.nan}]})
    Traceback (most recent call last):
        ...
    ValueError: reasons.level is nan
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{at} is {value}")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            refuse_infinite(inner, f"{at}.{name}" if at else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            refuse_infinite(inner, at)
