"""Rows of somebody's file: tables, JSON, Parquet or bank statements, compressed or not, each row with its line number.

A line that cannot be read is a value among the rows (`BadLine`), so that one bad line never costs the others.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from streams.publish.formats import COMMENT, READING, BadLine, Format, Header, Line, Reading, UnreadableFile, format_of
from streams.publish.statements import CAMT_COLUMNS, MT940_COLUMNS, camt_rows, mt940_rows

__all__ = ["BadLine", "Header", "Line", "Progress", "Reading", "UnreadableFile", "read_lines", "sniff_delimiter"]

FIELD_BYTES_MAX = 10_000_000
DELIMITERS = ",;\t|"

Progress = Callable[[int], None]
"""Told how many bytes of the file have been read."""

HearHeader = Callable[[Header], None]
"""Told once what stands above the rows, before the first of them."""


def read_lines(
    path: Path | None,
    standard_input: IO[bytes],
    progress: Progress = lambda _done: None,
    reading: Reading = READING,
    header: HearHeader = lambda _header: None,
) -> Iterator[Line | BadLine]:
    """Rows of a file (None: of standard input) in its own order.

    Raises UnreadableFile if it is not there or is none of the formats. Memory: a chunk at a time, but a JSON document
    and a bank statement in MT940 whole.
    """
    name = str(path) if path else "standard input"
    try:
        raw: IO[bytes] = path.open("rb") if path else standard_input
    except OSError as error:
        raise UnreadableFile(f"{name}: {error.strerror or error}") from None
    with raw:
        try:
            watched = _Watched(raw, progress)
            buffered: io.BufferedReader[Any] = io.BufferedReader(watched, 1 << 16)
            packed = buffered.peek(4)[:2] == b"\x1f\x8b"
            if packed:
                buffered = io.BufferedReader(gzip.GzipFile(fileobj=buffered), 1 << 16)
            first = buffered.peek(4_096)
            kind = format_of(first, name, reading)
            if kind is Format.PARQUET:
                yield from _parquet(path if path and not packed else io.BytesIO(buffered.read()), name, header)
            elif kind is Format.CAMT:
                header(Header(CAMT_COLUMNS, "", "utf-8"))
                yield from camt_rows(buffered, name)
            else:
                yield from _text(buffered, kind, name, reading.encoding_of(first), reading.skip_lines, header)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:  # a compressed file that is cut or damaged
            raise UnreadableFile(f"{name} is damaged: {error}") from None
        except UnicodeDecodeError as error:
            raise UnreadableFile(f"{name} is not {error.encoding} text; name its encoding with --encoding") from None
        except OSError as error:
            raise UnreadableFile(f"{name}: {error.strerror or error}") from None


class _Watched(io.RawIOBase):
    """Bytes of another file, counted as they pass."""

    def __init__(self, raw: IO[bytes], progress: Progress) -> None:
        self._raw = raw
        self._progress = progress
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._raw.read(len(buffer))
        buffer[: len(part)] = part
        self._done += len(part)
        self._progress(self._done)
        return len(part)


def _text(
    file: IO[bytes], kind: Format, name: str, encoding: str, skip_lines: int, header: HearHeader
) -> Iterator[Line | BadLine]:
    # Bytes that are not text stay visible as surrogates, so that only their line is bad.
    errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
    skipped = "".join(text.readline() for _ in range(skip_lines))
    if kind is Format.TABLE:
        yield from _table(text, name, skipped, encoding, header)
        return
    header(Header(MT940_COLUMNS if kind is Format.MT940 else None, skipped, encoding))
    if kind is Format.JSON_LINES:
        yield from _json_lines(text, name, skip_lines)
    elif kind is Format.JSON:
        yield from _json_document(text.read(), name)
    else:
        yield from mt940_rows(text.read(), name, skip_lines)


def is_text(text: str) -> bool:
    """Whether all bytes of a text were of its encoding."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the name {twice!r} twice in one object")
    return row


def _json_lines(lines: io.TextIOWrapper, name: str, skipped: int) -> Iterator[Line | BadLine]:
    for number, line in enumerate(lines, start=skipped + 1):
        if not line.strip() or line.startswith(COMMENT):
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            yield BadLine(name, number, f"is not JSON: {error}", line)
            continue
        except (ValueError, RecursionError) as error:
            yield BadLine(name, number, str(error), line)
            continue
        if not is_text(line):
            yield BadLine(name, number, NOT_TEXT.format(encoding=encoding_name(lines)), line)
        elif isinstance(row, dict):
            yield Line(number, row, line)
        else:
            yield BadLine(name, number, "is JSON, but not an object with fields", line)


NOT_TEXT = "is not {encoding} text: name the encoding of the file with --encoding, for example cp1252"


def encoding_name(text: io.TextIOWrapper) -> str:
    """The name of an encoding as people write it."""
    return text.encoding.upper().removesuffix("-SIG")


def _json_document(text: str, name: str) -> Iterator[Line | BadLine]:
    """The objects of an array, of the one array within an object, or one after the other; numbered from 1."""
    decoder, at, values = json.JSONDecoder(object_pairs_hook=_object), 0, []
    space = re.compile(r"[\s\ufeff]*")
    try:
        while (at := space.match(text, at).end()) < len(text):  # type: ignore[union-attr] # it always matches
            value, at = decoder.raw_decode(text, at)
            values.append(value)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{name} is not a JSON document: {error}") from None
    if len(values) == 1 and isinstance(values[0], dict):
        arrays = {key: inner for key, inner in values[0].items() if isinstance(inner, list)}
        if len(arrays) > 1:
            raise UnreadableFile(
                f"{name} is one JSON object with several arrays ({', '.join(arrays)}); choose one, "
                f"for example with jq -c '.{next(iter(arrays))}[]'"
            )
        values = next(iter(arrays.values()), values)
    elif len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    for number, row in enumerate(values, start=1):
        if isinstance(row, dict):
            yield Line(number, row)
        else:
            yield BadLine(name, number, "is JSON, but not an object with fields", json.dumps(row) + "\n")


class _Recorded:
    """Lines of a text on their way to the csv reader; `taken` are those of the current record."""

    def __init__(self, text: io.TextIOWrapper, by_spaces: bool, number: int) -> None:
        self._text = text
        self._by_spaces = by_spaces
        self.taken: list[str] = []
        self.number = number

    def __iter__(self) -> _Recorded:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.number += 1
        while not self.taken and line.startswith(COMMENT):
            line = next(self._text)
            self.number += 1
        self.taken.append(line)
        return single_spaced(line) if self._by_spaces else line


def _table(
    text: io.TextIOWrapper, name: str, skipped: str, encoding: str, header: HearHeader
) -> Iterator[Line | BadLine]:
    line, number = text.readline(), skipped.count("\n") + 1
    separator = re.fullmatch(r'"?sep=(.)"?\s*', line)  # what Excel writes and reads
    if separator:
        skipped, line, number = skipped + line, text.readline(), number + 1
    if not line.strip():
        raise UnreadableFile(f"{name} is empty: a header line with the names of the columns is missing")
    if not is_text(line):
        raise UnreadableFile(f"{name}: the header {NOT_TEXT.format(encoding=encoding_name(text))}")
    csv.field_size_limit(FIELD_BYTES_MAX)
    delimiter = separator[1] if separator else sniff_delimiter(line)
    by_spaces = delimiter == " "
    columns = _header(single_spaced(line) if by_spaces else line, delimiter, name)
    header(Header([column for column in columns if column], skipped + line, encoding))
    lines = _Recorded(text, by_spaces, number)
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=by_spaces)
    while True:
        lines.taken.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadLine(name, lines.number, str(error), "".join(lines.taken))
            continue
        if not fields:
            continue
        raw = "".join(lines.taken)
        if len(fields) != len(columns):
            plural = "" if len(fields) == 1 else "s"
            yield BadLine(name, lines.number, f"has {len(fields)} column{plural}, the header has {len(columns)}", raw)
        elif not is_text(raw):
            yield BadLine(name, lines.number, NOT_TEXT.format(encoding=encoding_name(text)), raw)
        else:
            yield Line(lines.number, dict(zip(columns, fields, strict=True)), raw)


def _header(line: str, delimiter: str, name: str) -> list[str]:
    """The names of the columns. Raises UnreadableFile if one stands there twice."""
    try:
        columns = [one.strip() for one in next(csv.reader([line], delimiter=delimiter, strict=True))]
    except csv.Error as error:
        raise UnreadableFile(f"{name}: the header cannot be read: {error}") from None
    named = [one for one in columns if one]
    if twice := sorted({one for one in named if named.count(one) > 1}):
        raise UnreadableFile(f"{name}: the header has the column {twice[0]!r} twice: rename one of them")
    return columns


def single_spaced(line: str) -> str:
    """A line of a table that is separated by any number of spaces, with one each; quoted parts stay.

    >>> single_spaced("a   b  c ")
    'a b c'
    """
    return line.strip() if '"' in line else " ".join(line.split())


def sniff_delimiter(header: str) -> str:
    """The delimiter that occurs most often outside quotes in a header line; a space where only spaces separate words.

    >>> sniff_delimiter('"a, b";c;d'), sniff_delimiter("user_id   amount"), sniff_delimiter("amount")
    (';', ' ', ',')
    """
    outside = "".join(header.split('"')[::2])
    if not any(delimiter in outside.strip() for delimiter in DELIMITERS) and len(outside.split()) > 1:
        return " "
    return max(DELIMITERS, key=outside.count)


def _parquet(source: Path | IO[bytes], name: str, header: HearHeader) -> Iterator[Line | BadLine]:
    """A Parquet file is read from its end, so that one that is packed or from a pipe has to be taken whole first."""
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(source) as table:
            columns = list(table.schema_arrow.names)
            if twice := sorted({one for one in columns if columns.count(one) > 1}):
                raise UnreadableFile(f"{name} has the column {twice[0]!r} twice: rename one of them")
            header(Header(columns, "", "utf-8"))
            number = 0
            for batch in table.iter_batches(batch_size=8_192):
                for row in batch.to_pylist():
                    number += 1
                    yield Line(number, row)
    except (ArrowException, OSError) as error:
        raise UnreadableFile(f"{name} is not a readable Parquet file: {error}") from None
