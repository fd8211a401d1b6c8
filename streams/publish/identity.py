"""Identities of events that are published from files: ids for those that have none, and ids that are not unique.

An event without an `event_id` gets `<digest>:<line>`. The digest is of the file's content, its topic and its mapping,
so that the same file always gives the same ids, whatever it is called, and another file never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schemas.errors import RescoreError
from schemas.utf8 import is_blank

if TYPE_CHECKING:
    from streams.publish.events import Event

Identify = Callable[[int], str]
"""What the ids of the events of a line begin with."""

Identity = tuple[Any, str, int]
"""Kind, event_id and revision: by these a worker knows an event of a customer and topic."""

EXAMPLES_MAX = 5


class NoIdentity(RescoreError):
    """Events have no id, and none can be made for them: a stream is not known before its end."""


def no_ids(_line: int) -> str:
    """An `Identify` for streams. Raises NoIdentity."""
    raise NoIdentity(
        "a pipe that is published with --as-is needs an event_id for each event, as its content is not known before "
        "its end: map one (--map event_id=COLUMN, or --map 'event_id:={a}-{b}'), or leave out --as-is"
    )


def default_id(prefix: str, line: int, repeat: int, repeats: bool) -> str:
    """The id of an event that has none; with `repeats`, a line can have several events.

    >>> default_id("6ca1b0", 7, 0, False), default_id("6ca1b0", 7, 1, True)
    ('6ca1b0:7', '6ca1b0:7/2')
    """
    return f"{prefix}:{line}" + (f"/{repeat + 1}" if repeats else "")


def own_identity(value: Mapping[str, Any]) -> Identity | None:
    """The identity that the fields of an event give it; None where they have no `event_id`.

    >>> own_identity({"event_id": "7", "event": "repaid"}), own_identity({"event_id": " "})
    (('repaid', '7', 0), None)
    """
    event_id = value.get("event_id")
    if event_id is None or is_blank(event_id):
        return None
    return value.get("event"), event_id, value.get("revision") or 0


@dataclass(slots=True)
class RepeatedIds:
    """Events that have the identity of another one of the same customer: other events, or copies of it."""

    others: int = 0  # with other content: workers would refuse them
    copies: int = 0  # with the same content: workers take one
    examples: list[tuple[str, Event, Event]] = field(default_factory=list)  # event_id, the first one, another one
    first: dict[tuple[str, bytes, Identity], Event] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """How many events have the identity of one before them."""
        return self.others + self.copies

    def take(self, event: Event) -> None:
        """Compare an event with those before it."""
        if event.identity is None:
            return
        before = self.first.setdefault((event.topic, event.key, event.identity), event)
        if before is event:
            return
        if before.value == event.value:
            self.copies += 1
            return
        self.others += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append((event.identity[1], before, event))

    def words(self, name_of: Callable[[int], str]) -> str:
        """What is wrong, with the first places; `name_of` names a file by its number."""
        places = "; ".join(
            f"{event_id!r} in {_place(first, name_of)} and {_place(other, name_of)}"
            for event_id, first, other in self.examples
        )
        count = f"{self.others:,} event{' has' if self.others == 1 else 's have'}"
        return f"{count} the event_id of another event of the customer, with other content: {places}"


def _place(event: Event, name_of: Callable[[int], str]) -> str:
    file, line, _ = event.order
    return f"{name_of(file)}, line {line}"


def repeated_ids(events: Iterable[Event]) -> RepeatedIds:
    """The ids that are not unique among events. Memory: an entry for each event with an id of its own."""
    found = RepeatedIds()
    for event in events:
        found.take(event)
    return found
