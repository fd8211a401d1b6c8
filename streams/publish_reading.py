"""Rows of somebody's file: CSV, JSON lines or Parquet, compressed or not, each row with its line number.

What a file is, is told from its first bytes and not from its name. A line that cannot be read is a value among the
rows (`BadLine`), so that one bad line never costs the others.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

FIELD_BYTES_MAX = 10_000_000
DELIMITERS = ",;\t|"

Progress = Callable[[int], None]
"""Told how many bytes of the file have been read."""


class Line(NamedTuple):
    """A row of a file: its number (from 1, the header counted) and its columns."""

    number: int
    row: dict[str, Any]


class BadLine(NamedTuple):
    """A line that does not become an event, and why, in words for the person whose file it is."""

    file: str
    number: int
    message: str


class UnreadableFile(Exception):
    """The file as a whole cannot be read; the message says why and what to do."""


def read_lines(
    path: Path | None, standard_input: IO[bytes], progress: Progress = lambda _done: None
) -> Iterator[Line | BadLine]:
    """Rows of a file (None: of standard input) in its own order.

    Raises UnreadableFile where it is not there or is none of the formats. Memory: a chunk at a time.
    """
    name = str(path) if path else "standard input"
    try:
        raw: IO[bytes] = path.open("rb") if path else standard_input
    except OSError as error:
        raise UnreadableFile(f"{name}: {error.strerror or error}") from None
    with raw:
        watched = _Watched(raw, progress)
        buffered: io.BufferedReader[Any] = io.BufferedReader(watched, 1 << 16)
        first = buffered.peek(4)[:4]
        packed = first[:2] == b"\x1f\x8b"
        if packed:
            buffered = io.BufferedReader(gzip.GzipFile(fileobj=buffered), 1 << 16)
            first = _peek(buffered, name)
        if first == b"PAR1":
            yield from _parquet(path if path and not packed else io.BytesIO(buffered.read()), name)
            return
        text = buffered.peek(64).lstrip(b"\xef\xbb\xbf \r\n\t")
        if text.startswith(b"["):
            raise UnreadableFile(
                f"{name} is one JSON array; put one object on each line (for example with jq -c '.[]')"
            )
        rows = _json_lines(buffered, name) if text.startswith(b"{") else _csv(buffered, name)
        try:
            yield from rows
        except (OSError, EOFError) as error:  # a compressed file that is cut or damaged
            raise UnreadableFile(f"{name} is damaged: {error}") from None


def _peek(buffered: io.BufferedReader[Any], name: str) -> bytes:
    try:
        return buffered.peek(4)[:4]
    except (OSError, EOFError) as error:
        raise UnreadableFile(f"{name} is damaged: {error}") from None


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


def _json_lines(file: IO[bytes], name: str) -> Iterator[Line | BadLine]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            yield BadLine(name, number, f"is not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield Line(number, row)
        else:
            yield BadLine(name, number, "is JSON, but not an object with fields")


def _csv(file: IO[bytes], name: str) -> Iterator[Line | BadLine]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    header_line = text.readline()
    if not header_line.strip():
        raise UnreadableFile(f"{name} is empty: a header line with the names of the columns is missing")
    csv.field_size_limit(FIELD_BYTES_MAX)
    delimiter = sniff_delimiter(header_line)
    header = [column.strip() for column in next(csv.reader([header_line], delimiter=delimiter))]
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadLine(name, reader.line_num + 1, str(error))
            continue
        number = reader.line_num + 1
        if not fields:
            continue
        if len(fields) != len(header):
            yield BadLine(name, number, f"has {len(fields)} columns, the header has {len(header)}")
        elif any(not field.isascii() and any("\ud800" <= letter <= "\udfff" for letter in field) for field in fields):
            yield BadLine(name, number, "is not UTF-8 text")
        else:
            yield Line(number, dict(zip(header, fields, strict=True)))


def sniff_delimiter(header: str) -> str:
    """The delimiter that occurs most often outside quotes in a header line; a comma where none does.

    >>> sniff_delimiter('"a, b";c;d')
    ';'
    """
    outside = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _parquet(source: Path | IO[bytes], name: str) -> Iterator[Line | BadLine]:
    """A Parquet file is read from its end, so that one that is packed or from a pipe has to be taken whole first."""
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(source) as table:
            number = 0
            for batch in table.iter_batches(batch_size=8_192):
                for row in batch.to_pylist():
                    number += 1
                    yield Line(number, row)
    except (ArrowException, OSError) as error:
        raise UnreadableFile(f"{name} is not a readable Parquet file: {error}") from None
