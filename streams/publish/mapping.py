"""From the columns of somebody's file to the fields of our events: a small language of functions of a row.

An expression is a column and filters after it, as in a shell pipeline:

    amount | negative_when type VYDAJ VYBER | positive_when type PRIJEM
    date | date %y%m%d | plus_months 1

A text is words with expressions in braces: `t-{trans_id}`. On the command line `--map our=EXPRESSION` and
`--map our:=TEXT`; in a mapping file (TOML) the tables `[columns]` and `[texts]`. A mapping file may also derive columns
first (`[derive]`), keep only some rows (`where`), bring in the row of another file (`[lookup.<name>]`), and make
several events of a row (`repeat`).
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from schemas.errors import Exit, RescoreError
from streams.publish.columns import Columns, Evaluate, Row, nearest
from streams.publish.filters import EMPTY, FILTERS, USAGE, Filter, Of, signs
from streams.publish.formats import READING, Reading
from streams.publish.numbers import MARKS, Numbers, text_of

SIGN_FILTERS = ("negative_when", "positive_when")
ENVELOPES = ("debezium", "none")


class MappingMistake(RescoreError):
    """The mapping itself is wrong, whatever the rows are: refuse before the first one."""

    code = Exit.USAGE


@dataclass(frozen=True, slots=True)
class Lookup:
    """Another file whose row is joined to each of ours; its columns are then `<name>.<column>`."""

    file: str  # relative to the folder of the file that is being published
    column: str  # ours
    match: str  # theirs


@dataclass(frozen=True, slots=True)
class FileMapping:
    """Everything said about how one file becomes events. The empty one takes columns with our own names as they are.

    `same_names`: columns that have the name of a field and are not mapped go to that field. A mapping file means what
    it lists and no more, unless it says `same_names = true`. `reading` says how the bytes become rows, `decimal` which
    mark all number columns have, and `envelope` what the rows are wrapped in.
    """

    topic: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    derive: dict[str, str] = field(default_factory=dict)
    where: tuple[str, ...] = ()
    lookups: dict[str, Lookup] = field(default_factory=dict)
    repeat: str | None = None
    same_names: bool = True
    reading: Reading = READING
    decimal: str = ""
    envelope: str = ""

    def with_options(self, options: Iterable[str]) -> FileMapping:
        """This mapping with `our=EXPRESSION` and `our:=TEXT` of a command line put over it.

        >>> FileMapping().with_options(["user_id=account", "transaction_currency:=CZK"]).columns
        {'user_id': 'account'}
        """
        columns, texts = dict(self.columns), dict(self.texts)
        for option in options:
            ours, equals, theirs = option.partition("=")
            if not equals or not ours.strip(": "):
                raise MappingMistake(f"--map {option!r} is not our=COLUMN or our:=TEXT, for example user_id=account")
            name = ours.rstrip(":").strip()
            columns.pop(name, None)
            texts.pop(name, None)
            (texts if ours.endswith(":") else columns)[name] = theirs.strip()
        return replace(self, columns=columns, texts=texts)

    def with_reading(self, encoding: str, skip_lines: int | None, decimal: str, envelope: str) -> FileMapping:
        """This mapping with the options of a command line that say how to read the file. Raises MappingMistake."""
        reading = Reading(
            encoding or self.reading.encoding, self.reading.skip_lines if skip_lines is None else skip_lines
        )
        return replace(
            self, reading=reading, decimal=decimal or self.decimal, envelope=envelope or self.envelope
        ).checked()

    def checked(self) -> FileMapping:
        """This mapping, if what it says about reading can be. Raises MappingMistake."""
        if self.decimal and self.decimal not in MARKS:
            raise MappingMistake(f"the decimal mark is {self.decimal!r}; it can be , or .")
        if self.envelope and self.envelope not in ENVELOPES:
            raise MappingMistake(f"the envelope is {self.envelope!r}; it can be {' or '.join(ENVELOPES)}")
        if mistake := self.reading.mistake():
            raise MappingMistake(mistake)
        return self


def read_mapping(path: Path) -> FileMapping:
    """The mapping in a TOML file. Raises MappingMistake where it cannot be read or has an unknown entry."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MappingMistake(f"mapping file {path}: {error}") from None
    if unknown := sorted(set(tables) - KNOWN_ENTRIES.keys()):
        near = nearest(unknown[0], KNOWN_ENTRIES)
        raise MappingMistake(
            f"mapping file {path}: unknown entry {unknown[0]!r}"
            + (f": did you mean {near!r}?" if near else ";")
            + f" Known are {', '.join(sorted(KNOWN_ENTRIES))}"
        )
    for name, value in tables.items():
        if not isinstance(value, KNOWN_ENTRIES[name]) or (KNOWN_ENTRIES[name] is int and isinstance(value, bool)):
            raise MappingMistake(f"mapping file {path}: {name} is {value!r}, which is not of its type")
    try:
        lookups = {name: Lookup(**entry) for name, entry in tables.get("lookup", {}).items()}
    except TypeError:
        raise MappingMistake(f"mapping file {path}: a lookup has exactly file, column and match") from None
    texts = {table: _texts(tables.get(table, {}), table, path) for table in ("columns", "texts", "derive")}
    return FileMapping(
        topic=tables.get("topic"),
        where=tuple(tables.get("where", ())),
        lookups=lookups,
        repeat=tables.get("repeat"),
        same_names=tables.get("same_names", False),
        reading=Reading(tables.get("encoding", ""), tables.get("skip_lines", 0)),
        decimal=tables.get("decimal", ""),
        envelope=tables.get("envelope", ""),
        **texts,
    ).checked()


KNOWN_ENTRIES: dict[str, type] = {
    "topic": str,
    "columns": dict,
    "texts": dict,
    "derive": dict,
    "where": list,
    "lookup": dict,
    "repeat": str,
    "same_names": bool,
    "encoding": str,
    "skip_lines": int,
    "decimal": str,
    "envelope": str,
}
"""What a mapping file may say, and of which type each entry is."""


def _texts(table: Any, name: str, path: Path) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise MappingMistake(f'mapping file {path}: [{name}] holds name = "expression" lines alone')
    return table


@dataclass(frozen=True, slots=True)
class Mapper:
    """A mapping made ready: `rows` of one input row are the field values of its events.

    `number_of` names the number column of each field, which decides how its decimal mark is read. Cost: one Python call
    per filter and row, a few microseconds a row in all.
    """

    columns: Columns
    fields: dict[str, Evaluate]
    root_of: dict[str, str]  # the first column of each field's expression
    derive: dict[str, Evaluate]
    where: tuple[Callable[[Row], bool], ...]
    lookups: dict[str, tuple[Evaluate, Mapping[str, Row]]]
    repeat: Evaluate | None

    @classmethod
    def of(
        cls, mapping: FileMapping, our_fields: Iterable[str], lookup_rows: Mapping[str, Mapping[str, Row]]
    ) -> Mapper:
        """`our_fields` are the topic's field names; `lookup_rows[name][key]` the joined rows. Raises MappingMistake."""
        known = set(our_fields)
        for name in (*mapping.columns, *mapping.texts):
            if name.partition(".")[0] not in known:
                near = nearest(name, known)
                hint = f": did you mean {near!r}? This" if near else "; this"
                raise MappingMistake(f"there is no field {name!r}{hint} topic has {', '.join(sorted(known))}")
        columns = Columns(Numbers(mapping.decimal), set(mapping.derive) | ({"n"} if mapping.repeat else set()))
        for name, joined in lookup_rows.items():
            columns.made.update({f"{name}.{theirs}" for row in joined.values() for theirs in row})
        lookups = {name: (columns.reader(lookup.column), lookup_rows[name]) for name, lookup in mapping.lookups.items()}
        mapped = {name: expression(text, columns, name) for name, text in mapping.columns.items()}
        mapped |= {name: template(text, columns) for name, text in mapping.texts.items()}
        unmapped = known - set(mapped) if mapping.same_names else set()
        same_name = {name: columns.reader(name, optional=True) for name in unmapped}
        return cls(
            columns=columns,
            fields=same_name | mapped,
            root_of={name: first_column(mapping.columns.get(name, name)) for name in same_name | mapped},
            derive={name: expression(text, columns) for name, text in mapping.derive.items()},
            where=tuple(condition(text, columns) for text in mapping.where),
            lookups=lookups,
            repeat=expression(mapping.repeat, columns) if mapping.repeat else None,
        )

    @property
    def is_plain(self) -> bool:
        """Whether each row is one event, with no columns but the file's own."""
        return not (self.lookups or self.repeat or self.derive or self.where)

    def rows(self, row: Row) -> Iterator[Row]:
        """Field values of each event the row stands for, as they are in the file. Raises ValueError."""
        for one in self.source_rows(row):
            yield {name: value for name, evaluate in self.fields.items() if (value := evaluate(one)) not in EMPTY}

    def source_rows(self, row: Row) -> Iterator[Row]:
        """The columns of each event the row stands for; none where `where` or a lookup leaves it out.

        Raises ValueError, in words for the person whose file it is, if a value cannot be read.
        """
        for name, (ours, others) in self.lookups.items():
            other = others.get(text_of(ours(row)))
            if other is None:
                return
            row = row | {f"{name}.{theirs}": value for theirs, value in other.items()}
        for n in range(1, self._times(row) + 1):
            one = row | {"n": n} if self.repeat else row
            if self.derive:
                one = dict(one)
                for name, evaluate in self.derive.items():
                    one[name] = evaluate(one)
            if all(keeps(one) for keeps in self.where):
                yield one

    def _times(self, row: Row) -> int:
        """How many events a row stands for."""
        if self.repeat is None:
            return 1
        times = self.columns.numbers.of("repeat").read(self.repeat(row))
        if times != times.to_integral_value() or not 0 <= times <= REPEAT_MAX:
            raise ValueError(f"repeat is {text_of(times)}, not a whole number from 0 to {REPEAT_MAX:,}")
        return int(times)


REPEAT_MAX = 100_000


def first_column(text: str) -> str:
    """The column that an expression begins with.

    >>> first_column("amount | negate")
    'amount'
    """
    return text.partition("|")[0].strip()


def expression(text: str, columns: Columns | None = None, needed_by: str = "") -> Evaluate:
    """A column and its filters. `columns` hears what it reads, for the field `needed_by`.

    >>> evaluate = expression("amount | number | negative_when type OUT | positive_when type IN")
    >>> str(evaluate({"amount": "12,50", "type": "OUT"}))
    '-12.50'
    """
    columns = columns or Columns()
    first, *rest = (part.strip() for part in text.split("|"))
    if not first:
        raise MappingMistake(f"expression {text!r} does not begin with a column")
    filters = _filters(rest, text, Of(first, columns))
    read = columns.reader(first, "" if filters else needed_by)
    if not filters:
        return read

    def evaluate(row: Row) -> Any:
        value = read(row)
        for apply in filters:
            value = apply(value, row)
        return value

    return evaluate


def template(text: str, columns: Columns | None = None) -> Evaluate:
    """Words with expressions in braces.

    >>> template("L-{loan}/{n | plus 1}")({"loan": "7", "n": 1})
    'L-7/2'
    """
    parts = re.split(r"\{([^{}]*)\}", text)
    if len(parts) == 1:
        return lambda _row: text
    words, expressions = parts[::2], [expression(part, columns) for part in parts[1::2]]

    def evaluate(row: Row) -> str:
        values = [text_of(inner(row)) for inner in expressions]
        return words[0] + "".join(value + word for value, word in zip(values, words[1:], strict=True))

    return evaluate


def condition(text: str, columns: Columns | None = None) -> Callable[[Row], bool]:
    """`COLUMN is A B`, `COLUMN is_not A`, `COLUMN present`, `COLUMN absent`.

    >>> condition("k_symbol is UVER")({"k_symbol": "UVER"})
    True
    """
    words = _words(text)
    read = (columns or Columns()).reader(words[0]) if words else None
    if read and len(words) == 2 and words[1] in ("present", "absent"):
        return lambda row: (read(row) not in EMPTY) == (words[1] == "present")
    if read and len(words) >= 3 and words[1] in ("is", "is_not"):
        values = set(words[2:])
        return lambda row: (text_of(read(row)) in values) == (words[1] == "is")
    raise MappingMistake(f"condition {text!r} is not COLUMN is VALUE..., is_not VALUE..., present or absent")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise MappingMistake(f"{text!r}: {error}") from None


def _filters(parts: list[str], whole: str, of: Of) -> list[Filter]:
    """The filters of an expression. All sign filters on a column are one, which knows every value that was named."""
    filters: list[Filter] = []
    named: dict[str, dict[str, set[str]]] = {}
    for part in parts:
        name, *arguments = _words(part) or [""]
        if name in SIGN_FILTERS and len(arguments) > 1:
            named.setdefault(arguments[0], {}).setdefault(name, set()).update(arguments[1:])
    for part in parts:
        name, *arguments = _words(part) or [""]
        if name not in FILTERS:
            near = nearest(name, FILTERS)
            raise MappingMistake(
                f"expression {whole!r}: unknown filter {name!r}"
                + (f": did you mean {near!r}?" if near else ";")
                + f" Known are {', '.join(sorted(FILTERS))}"
            )
        try:
            if name not in SIGN_FILTERS:
                filters.append(FILTERS[name](of, *arguments))
            elif len(arguments) < 2:
                raise ValueError  # noqa: TRY301 - told as all others are
            elif lists := named.pop(arguments[0], None):
                negative, positive = (frozenset(lists.get(one, ())) for one in SIGN_FILTERS)
                filters.append(signs(of, arguments[0], negative, positive))
        except (TypeError, ValueError):
            raise MappingMistake(f"expression {whole!r}: {part!r} is not {USAGE[name]}") from None
    return filters
