"""From the columns of somebody's file to the fields of our events: a small language of functions of a row.

An expression is a column and filters after it, as in a shell pipeline:

    amount | number | negative_when type VYDAJ VYBER
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

from streams.publish_filters import FILTERS, USAGE, Filter, Row, read_number

Evaluate = Callable[[Row], Any]


class MappingMistake(Exception):
    """The mapping itself is wrong, whatever the rows are: refuse before the first one."""


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
    it lists and no more, unless it says `same_names = true`.
    """

    topic: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    derive: dict[str, str] = field(default_factory=dict)
    where: tuple[str, ...] = ()
    lookups: dict[str, Lookup] = field(default_factory=dict)
    repeat: str | None = None
    same_names: bool = True

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


def read_mapping(path: Path) -> FileMapping:
    """The mapping in a TOML file. Raises MappingMistake where it cannot be read or has an unknown entry."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MappingMistake(f"mapping file {path}: {error}") from None
    known = {"topic", "columns", "texts", "derive", "where", "lookup", "repeat", "same_names"}
    if unknown := sorted(set(tables) - known):
        raise MappingMistake(f"mapping file {path}: unknown entry {unknown[0]!r}; known are {', '.join(sorted(known))}")
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
        same_names=bool(tables.get("same_names", False)),
        **texts,
    )


def _texts(table: Any, name: str, path: Path) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise MappingMistake(f'mapping file {path}: [{name}] holds name = "expression" lines alone')
    return table


@dataclass(frozen=True, slots=True)
class Mapper:
    """A mapping made ready: `rows` of one input row are the field values of its events.

    Cost: one Python call per filter and row, a few microseconds a row in all.
    """

    fields: dict[str, Evaluate]
    derive: dict[str, Evaluate]
    where: tuple[Callable[[Row], bool], ...]
    lookups: dict[str, tuple[str, Mapping[str, Row]]]
    repeat: Evaluate | None

    @classmethod
    def of(
        cls, mapping: FileMapping, our_fields: Iterable[str], lookup_rows: Mapping[str, Mapping[str, Row]]
    ) -> Mapper:
        """`our_fields` are the topic's field names; `lookup_rows[name][key]` the joined rows. Raises MappingMistake."""
        known = set(our_fields)
        for name in (*mapping.columns, *mapping.texts):
            if name.partition(".")[0] not in known:
                raise MappingMistake(f"there is no field {name!r}; this topic has {', '.join(sorted(known))}")
        mapped: dict[str, Evaluate] = {name: expression(text) for name, text in mapping.columns.items()}
        mapped |= {name: template(text) for name, text in mapping.texts.items()}
        same_name = {name: column(name) for name in known - set(mapped)} if mapping.same_names else {}
        return cls(
            fields=same_name | mapped,
            derive={name: expression(text) for name, text in mapping.derive.items()},
            where=tuple(condition(text) for text in mapping.where),
            lookups={name: (lookup.column, lookup_rows[name]) for name, lookup in mapping.lookups.items()},
            repeat=expression(mapping.repeat) if mapping.repeat else None,
        )

    def rows(self, row: Row) -> Iterator[Row]:
        """Field values of each event the row stands for; none where `where` or a lookup leaves it out.

        Raises ValueError, in words for the person whose file it is, where a value cannot be read.
        """
        for name, (ours, others) in self.lookups.items():
            other = others.get(str(row.get(ours)))
            if other is None:
                return
            row = row | {f"{name}.{theirs}": value for theirs, value in other.items()}
        times = 1 if self.repeat is None else int(read_number(self.repeat(row)))
        for n in range(1, times + 1):
            one = row | {"n": n} if self.repeat else dict(row)
            for name, evaluate in self.derive.items():
                one[name] = evaluate(one)
            if all(keeps(one) for keeps in self.where):
                yield {
                    name: value for name, evaluate in self.fields.items() if (value := evaluate(one)) not in (None, "")
                }


def column(name: str) -> Evaluate:
    """The value of a column; None where the row has none."""
    return lambda row: row.get(name)


def expression(text: str) -> Evaluate:
    """A column and its filters.

    >>> expression("amount | number | negative_when type OUT")({"amount": "12,50", "type": "OUT"})
    -12.5
    """
    first, *rest = (part.strip() for part in text.split("|"))
    if not first:
        raise MappingMistake(f"expression {text!r} does not begin with a column")
    filters = [_filter(part, text) for part in rest]
    read = column(first)
    if not filters:
        return read

    def evaluate(row: Row) -> Any:
        value = read(row)
        for apply in filters:
            value = apply(value, row)
        return value

    return evaluate


def template(text: str) -> Evaluate:
    """Words with expressions in braces.

    >>> template("L-{loan}/{n | plus 1}")({"loan": "7", "n": 1})
    'L-7/2'
    """
    parts = re.split(r"\{([^{}]*)\}", text)
    if len(parts) == 1:
        return lambda _row: text
    words, expressions = parts[::2], [expression(part) for part in parts[1::2]]

    def evaluate(row: Row) -> str:
        values = ["" if (value := inner(row)) is None else str(value) for inner in expressions]
        return words[0] + "".join(value + word for value, word in zip(values, words[1:], strict=True))

    return evaluate


def condition(text: str) -> Callable[[Row], bool]:
    """`COLUMN is A B`, `COLUMN is_not A`, `COLUMN present`, `COLUMN absent`.

    >>> condition("k_symbol is UVER")({"k_symbol": "UVER"})
    True
    """
    words = _words(text)
    if len(words) == 2 and words[1] in ("present", "absent"):
        return lambda row: (row.get(words[0]) not in (None, "")) == (words[1] == "present")
    if len(words) >= 3 and words[1] in ("is", "is_not"):
        values = set(words[2:])
        return lambda row: (str(row.get(words[0])) in values) == (words[1] == "is")
    raise MappingMistake(f"condition {text!r} is not COLUMN is VALUE..., is_not VALUE..., present or absent")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise MappingMistake(f"{text!r}: {error}") from None


def _filter(text: str, whole: str) -> Filter:
    name, *arguments = _words(text) or [""]
    make = FILTERS.get(name)
    if make is None:
        raise MappingMistake(f"expression {whole!r}: unknown filter {name!r}; known are {', '.join(sorted(FILTERS))}")
    try:
        return make(*arguments)
    except (TypeError, ValueError):
        raise MappingMistake(f"expression {whole!r}: {text!r} is not {USAGE[name]}") from None
