"""Lines of a file as the fields of events: columns checked, envelopes opened, numbers read once their mark is known."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from streams.publish.columns import Row, listed, nearest
from streams.publish.conversion import Schema, Shape
from streams.publish.envelopes import NEW, Change, as_correction, looks_wrapped, unwrap
from streams.publish.files import BadLine, Line, UnreadableFile, read_lines
from streams.publish.mapping import FileMapping, Mapper, MappingMistake
from streams.publish.numbers import text_of

Fields = dict[str, Any]


class Read(NamedTuple):
    """A line and the fields of its events, or why it has none."""

    line: Line
    events: list[Fields] | str
    change: Change | None


class Rows:
    """What makes fields of the lines of one file, by its mapping and the schema of its topic.

    Raises MappingMistake and UnreadableFile.
    """

    def __init__(self, name: str, folder: Path, topic: str, mapping: FileMapping, schema: Schema) -> None:
        if mapping.envelope == "debezium" and mapping.repeat:
            raise MappingMistake("a change stream (envelope) cannot be repeated: leave out one of the two")
        self.name = name
        self.topic = topic
        self.mapping = mapping
        self.shape = Shape.of(schema)
        self.mapper = Mapper.of(mapping, self.shape.names, _lookup_rows(mapping, folder))
        self.steps = self.shape.plan(self.mapper.fields, self.mapper.columns.numbers, self.mapper.root_of)

    def expect(self, columns: list[str], times_of: tuple[str, ...]) -> None:
        """Refuse a table that lacks columns the mapping reads, or fields that every event needs."""
        known = self.mapper.columns
        known.see(dict.fromkeys(columns))
        known.refuse_unseen(self.name)
        mapping = self.mapping
        mapped = {*mapping.columns, *mapping.texts}
        self.steps = [step for step in self.steps if step.name in mapped or step.name in columns]
        given = mapped | (set(columns) if mapping.same_names else set())
        missing = sorted(self.shape.required - given)
        if times_of and not given.intersection(times_of) and not set(times_of) & set(missing):
            missing.append(" or ".join(times_of))
        if missing:
            example = next(
                (f"{name}={near}" for name in missing if (near := nearest(name, columns))), f"{missing[0]}=COLUMN"
            )
            raise UnreadableFile(
                f"nothing is mapped to {', '.join(missing)}: {self.name} has the columns {listed(columns)}. "
                f"Map a column to each (--map {example}) or words (--map {missing[0]}:=WORDS); "
                "if that line is not the header, skip the lines above it with --skip-lines"
            )

    def read(self, line: Line) -> Read:
        """The fields of the events of a line. What could not be read yet is in `numbers.unknown`."""
        columns = self.mapper.columns
        columns.numbers.unknown.clear()
        change = None
        try:
            if self.mapping.envelope == "debezium":
                change = unwrap(line.row)
                columns.see(change.row)
                return Read(line, [self._changed(change)], change)
            if not self.mapping.envelope and ("after" in line.row or "payload" in line.row) and looks_wrapped(line.row):
                raise UnreadableFile(
                    f"{self.name} is a change stream of Debezium (before, after, op). Add --envelope debezium to "
                    "publish updates as corrections and deletes as reversals, or --envelope none to read it as it is"
                )
            if columns.unseen:
                columns.see(line.row)
            if self.mapper.is_plain:
                return Read(line, [self.shape.value(self.steps, line.row, columns.numbers)], None)
            return Read(line, [self._fields(row) for row in self.mapper.source_rows(line.row)], None)
        except ValueError as error:
            return Read(line, str(error), change)

    def _fields(self, row: Row) -> Fields:
        return self.shape.value(self.steps, row, self.mapper.columns.numbers)

    def _changed(self, change: Change) -> Fields:
        """The fields of the event that a change of a row means."""
        rows = [self._fields(row) for row in self.mapper.source_rows(change.row)]
        if change.op in NEW or change.before is None:
            return rows[0] if rows else {}
        before = [
            self._fields(row) for row in self.mapper.source_rows({"debezium": change.row["debezium"]} | change.before)
        ]
        if not before and not rows:
            return {}
        if not before or not rows:
            raise ValueError(
                "`where` or a lookup takes the row only before this change or only after it: correct it by hand"
            )
        replaced = tuple(name.partition(".")[2] for name in self.shape.convert if name.startswith("previous."))
        return as_correction(self.topic, rows[0], before[0], change.op == "d", replaced)

    def refuse_unknown(self, line: Line | BadLine, streaming: bool) -> None:
        """Raise UnreadableFile for a number that may be two."""
        numbers = self.mapper.columns.numbers
        numbers.unknown.clear()
        if isinstance(line, Line):
            self.read(line)
        name, text = next(iter(numbers.unknown.items()))
        why = "events are sent as they are read" if streaming else "no other value of the column tells which"
        raise UnreadableFile(
            f"{self.name}, line {line.number}: column {name}: {text!r} may have thousands or decimals, and {why}. "
            f"{numbers.of(name).remedy()}"
        )


def decided(rows: Rows, lines: Iterator[Line | BadLine], streaming: bool) -> Iterator[Read | BadLine]:
    """Lines read, each once the decimal marks of its numbers are known; until then it waits, and all behind it.

    Raises UnreadableFile if a mark stays unknown; with `streaming` as soon as one is.
    """
    numbers = rows.mapper.columns.numbers
    waiting: deque[Line | BadLine] = deque()
    known = 0
    for line in lines:
        read = line if isinstance(line, BadLine) else rows.read(line)
        if not waiting and not numbers.unknown:
            yield read
            continue
        waiting.append(line)
        if streaming:
            break
        if numbers.decided() == known and len(waiting) > 1:
            continue
        known = numbers.decided()
        while waiting:
            first = waiting[0]
            read = first if isinstance(first, BadLine) else rows.read(first)
            if numbers.unknown:
                break
            waiting.popleft()
            yield read
    if waiting:
        rows.refuse_unknown(waiting[0], streaming)


def _lookup_rows(mapping: FileMapping, folder: Path) -> dict[str, dict[str, Row]]:
    """The joined rows of each lookup by the value they are matched on. Raises UnreadableFile."""
    joined: dict[str, dict[str, Row]] = {}
    for name, lookup in mapping.lookups.items():
        rows = joined[name] = dict[str, Row]()
        for line in read_lines(folder / lookup.file, io.BytesIO()):
            if isinstance(line, BadLine):
                raise UnreadableFile(f"{lookup.file}, line {line.number}: {line.message}")
            if lookup.match not in line.row:
                raise UnreadableFile(
                    f"{lookup.file} has no column {lookup.match!r}; its columns are {listed(line.row)}"
                )
            match = text_of(line.row[lookup.match])
            if rows.setdefault(match, line.row) != line.row:
                raise UnreadableFile(
                    f"{lookup.file}, line {line.number}: {lookup.match} {match!r} has another row above: "
                    "a lookup needs one row for each value"
                )
    return joined
