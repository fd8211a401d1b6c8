"""The columns that a mapping reads: nested ones by path, and a refusal of those that the file does not have."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.publish.formats import UnreadableFile
from streams.publish.numbers import Numbers

Row = dict[str, Any]
Evaluate = Callable[[Row], Any]

COLUMNS_SHOWN = 40


@dataclass(slots=True)
class Columns:
    """The columns of one file that its mapping reads, by name, each with the field that needs it.

    `made` are columns that the mapping itself makes. `unseen` are those no row has had so far.
    """

    numbers: Numbers = field(default_factory=Numbers)
    made: set[str] = field(default_factory=set)
    unseen: dict[str, str] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    existing: dict[str, None] = field(default_factory=dict)  # in the file's order, as long as something is unseen

    def reader(self, name: str, needed_by: str = "", optional: bool = False) -> Evaluate:
        """The value of a column; unless `optional`, the file must have it."""
        self.read.update((name, name.partition(".")[0]))
        if not optional and name not in self.made:
            self.unseen.setdefault(name, needed_by)
        return column(name)

    def see(self, row: Mapping[str, Any]) -> None:
        """Note which columns a row has. Costs nothing once all were seen."""
        if self.unseen:
            self.existing.update(dict.fromkeys(row))
            self.unseen = {name: by for name, by in self.unseen.items() if not has(row, name)}

    def refuse_unseen(self, file: str) -> None:
        """Raise UnreadableFile if the mapping reads columns that the file does not have."""
        if not self.unseen or not self.existing:  # no row could be read: that is told line by line
            return
        name, needed_by = next(iter(self.unseen.items()))
        near = nearest(name, self.existing)
        words = [f"{file} has no column {name!r}" + (f": did you mean {near!r}?" if near else ".")]
        if more := list(self.unseen)[1:]:
            words.append(f"It has no {', '.join(map(repr, more))} either.")
        words.append(f"Its columns are {listed(self.existing)}.")
        if needed_by:
            words.append(f"For the word itself write {needed_by}:={name}.")
        raise UnreadableFile(" ".join(words))


@dataclass(frozen=True, slots=True)
class PlainColumn:
    """A column as it is: its name is known, so that a reader of many rows can spare the call."""

    name: str

    def __call__(self, row: Row) -> Any:
        return row.get(self.name)


def column(name: str) -> Evaluate:
    """The value of a column, or of a field within a column by its path; None where the row has none.

    >>> column("place.country")({"place": {"country": "US"}}), column("a.b")({"a.b": 1}), column("a.b")({"a": None})
    ('US', 1, None)
    """
    if "." not in name:
        return PlainColumn(name)
    parts = name.split(".")

    def walk(row: Row) -> Any:
        if name in row:
            return row[name]
        value: Any = row
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    return walk


def has(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has a column, or a field by this path.

    >>> has({"a": {"b": None}}, "a.b"), has({"a": None}, "a.b")
    (True, False)
    """
    if name in row:
        return True
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def nearest(name: str, existing: Iterable[str]) -> str | None:
    """The existing name that a mistyped one probably means.

    >>> nearest("Ammount", ["amount", "date"])
    'amount'
    """
    by_folded = {one.strip().casefold(): one for one in existing}
    close = difflib.get_close_matches(name.strip().casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def listed(names: Iterable[str]) -> str:
    """Names as a list for people, cut where it gets long."""
    every = [name for name in names if name]
    return ", ".join(every[:COLUMNS_SHOWN]) + (
        f" and {len(every) - COLUMNS_SHOWN} more" if len(every) > COLUMNS_SHOWN else ""
    )
