"""What a file is, detected from its first bytes and not from its name; what to do with formats that are not read."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from schemas.errors import RescoreError

COMMENT = "# rescore: "
"""Begins a line that `publish` skips: a remark of ours in a file of rejected lines."""


class Line(NamedTuple):
    """A row of a file: its number (from 1, the header counted), its columns, and its text if the file is text."""

    number: int
    row: dict[str, Any]
    raw: str | None = None


class BadLine(NamedTuple):
    """A line that does not become an event, and why, in words for the person whose file it is.

    What it was is in `raw` as text, or in `row` where the format has no lines.
    """

    file: str
    number: int
    message: str
    raw: str | None = None
    row: dict[str, Any] | None = None


class Header(NamedTuple):
    """What stands above the rows: the columns (None: each row names its own), its text, the encoding of the file."""

    columns: list[str] | None
    text: str
    encoding: str
    unread: tuple[str, ...] = ()  # the columns that the mapping does not read


class UnreadableFile(RescoreError):
    """The file as a whole cannot be read; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the bytes of a text file become lines: the encoding (empty: UTF-8, or UTF-16 with a byte order mark), and how
    many lines above the header are skipped."""

    encoding: str = ""
    skip_lines: int = 0

    def mistake(self) -> str | None:
        """Why a file cannot be read like this; None if it can.

        >>> Reading("cp1252").mistake(), Reading("latin9000").mistake()
        (None, "there is no encoding 'latin9000'; common ones are utf-8, cp1252, iso-8859-15 and utf-16")
        """
        if not 0 <= self.skip_lines <= 10_000:
            return f"{self.skip_lines} lines cannot be skipped: give a number from 0 to 10,000"
        try:
            if self.encoding and not codecs.lookup(self.encoding)._is_text_encoding:  # noqa: SLF001 - the only way to ask
                raise LookupError  # noqa: TRY301 - told as an unknown one is
        except LookupError:
            return f"there is no encoding {self.encoding!r}; common ones are utf-8, cp1252, iso-8859-15 and utf-16"
        return None

    def normal(self) -> Reading:
        """The same under one name of the encoding.

        >>> Reading("windows-1252").normal(), Reading("UTF8", 2).normal()
        (Reading(encoding='cp1252', skip_lines=0), Reading(encoding='', skip_lines=2))
        """
        name = codecs.lookup(self.encoding).name if self.encoding else ""
        return Reading("" if name == "utf-8" else name, self.skip_lines)

    def encoding_of(self, first: bytes) -> str:
        """The encoding of a file that begins with these bytes."""
        name = codecs.lookup(self.encoding).name if self.encoding else ""
        if not name and first[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        return "utf-8-sig" if name in ("", "utf-8") else name


READING = Reading()
"""UTF-8, the header in the first line."""


class Format(Enum):
    """The formats that are read."""

    TABLE = "a table with a header"
    JSON_LINES = "JSON lines"
    JSON = "one JSON document"
    PARQUET = "Parquet"
    CAMT = "camt.05x"
    MT940 = "MT940"


OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook (xlsx): unpack the archive, or save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (xls): save the sheet as CSV UTF-8"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: zstd -dc FILE | rescore publish -"),
    (b"\xfd7zXZ\x00", "compressed with xz: xz -dc FILE | rescore publish -"),
    (b"BZh", "compressed with bzip2: bzip2 -dc FILE | rescore publish -"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it"),
    (b"%PDF", "a PDF: ask the bank for CSV, CAMT.053 or MT940"),
    (b"Obj\x01", "an Avro file: write its records as Parquet or JSON lines"),
    (b"ORC", "an ORC file: write it as Parquet"),
    (b"SQLite format 3", "a SQLite database: export the table as CSV"),
)
"""First bytes of files that are not read, and what to do with each."""

OTHER_TEXTS: tuple[tuple[str, str], ...] = (
    (r"(<\?xml[^>]*>\s*)?<\?OFX|OFXHEADER|<OFX>", "OFX: ask the bank for CAMT.053, MT940 or CSV, or convert it to CSV"),
    (r"!(Type|Account|Option|Clear)\b", "QIF: ask the bank for CAMT.053, MT940 or CSV, or convert it to CSV"),
    (r"<!doctype html|<html", "a web page, perhaps a login or an error: download the export again"),
    (r"\{\\rtf", "a text document (RTF): save the table as CSV UTF-8"),
)


def format_of(first: bytes, name: str, reading: Reading) -> Format:
    """The format of a file that begins with these bytes. Raises UnreadableFile, with what to do, if it is not read.

    >>> format_of(b'{"a": 1}', "a file", Reading()).name, format_of(b":20:X", "a file", Reading()).name
    ('JSON_LINES', 'MT940')
    """
    if first.startswith(b"PAR1"):
        return Format.PARQUET
    for magic, remedy in OTHERS:
        if first.startswith(magic):
            raise UnreadableFile(f"{name} is {remedy}")
    text = first.decode(reading.encoding_of(first), "replace").lstrip("\ufeff \r\n\t")
    text = re.sub(rf"\A(?:{COMMENT}.*\n)+", "", text)
    for pattern, remedy in OTHER_TEXTS:
        if re.match(pattern, text, re.IGNORECASE):
            raise UnreadableFile(f"{name} is {remedy}")
    if text.startswith("<"):
        if re.search(r"camt\.05[234]\.", text) or "BkToCstmr" in text:
            return Format.CAMT
        raise UnreadableFile(f"{name} is XML, but not CAMT.052, .053 or .054: convert it to CSV or JSON lines")
    if re.match(r":20:|:940:|\{1:F01", text):
        return Format.MT940
    if text.startswith("["):
        return Format.JSON
    if text.startswith("{"):
        return Format.JSON if re.match(r"\{\s*\n", text) else Format.JSON_LINES
    if b"\x00" in first and reading.encoding_of(first) == "utf-8-sig":
        raise UnreadableFile(f"{name} is not text; if it is UTF-16 without a byte order mark, add --encoding utf-16-le")
    return Format.TABLE
