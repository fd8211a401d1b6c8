"""What is in a file, as digests: of all of it, and of its beginnings that were published before it grew.

The digest is the SHA-256 of the unpacked content, so that `zcat FILE | sha256sum` says the same. Cost: 1 to 2 GB a
second.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

from streams.publish.files import UnreadableFile

PIECE_BYTES = 1 << 20
IN_MEMORY_BYTES_MAX = 64 << 20
LINE_ENDS = b"\r\n"


class Content(NamedTuple):
    """Digest and size of what is in a file, and the digests of those of its beginnings that end with a line."""

    digest: str
    size: int
    beginnings: dict[int, str]


def content_of(path: Path, lengths: Iterable[int] = ()) -> Content:
    """The content of a file; `lengths` are the lengths of the beginnings that are asked for.

    Raises UnreadableFile where it is not there or is damaged.
    """
    try:
        with path.open("rb") as file:
            return content_of_open(file, str(path), lengths)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from None


def content_of_open(file: IO[bytes], name: str, lengths: Iterable[int] = ()) -> Content:
    r"""The content of an open file from its beginning, to which it is put back.

    >>> import io
    >>> content_of_open(io.BytesIO(b"a,b\n1,2\n"), "x.csv", [4, 5]).beginnings.keys()
    dict_keys([4])
    """
    file.seek(0)
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    plain: IO[bytes] = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
    try:
        found = _digest(plain, sorted({length for length in lengths if length > 0}))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFile(f"{name} is damaged: {error}") from None
    file.seek(0)
    return found


def _digest(file: IO[bytes], lengths: list[int]) -> Content:
    hashed, size, last = hashlib.sha256(), 0, b""
    beginnings: dict[int, str] = {}
    candidate: tuple[int, str, bool] | None = None  # a beginning, and whether a line ended with it
    while True:
        until = lengths[0] - size if lengths else PIECE_BYTES
        piece = file.read(min(PIECE_BYTES, until))
        if candidate is not None and piece and (candidate[2] or piece[0] in LINE_ENDS):
            beginnings[candidate[0]] = candidate[1]
        candidate = None
        if not piece:
            return Content(hashed.hexdigest(), size, beginnings)
        hashed.update(piece)
        size, last = size + len(piece), piece[-1:]
        if lengths and size == lengths[0]:
            candidate = (lengths.pop(0), hashed.hexdigest(), last in (b"\n", b"\r"))


def is_kept(path: Path) -> bool:
    """Whether a path can be read twice: no pipe and no terminal. One that is not there is told when it is read."""
    return path.is_file() or not path.exists()


def kept(pipe: IO[bytes]) -> IO[bytes]:
    """What comes through a pipe, to its end, as a file: in memory, or beyond 64 MiB in a temporary file."""
    whole: Any = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES_MAX)  # noqa: SIM115 - closed by who reads it
    shutil.copyfileobj(pipe, whole, PIECE_BYTES)
    whole.seek(0)
    return whole  # type: ignore[no-any-return]


def mark_of(path: Path) -> tuple[int, int, int]:
    """What changes when somebody writes to a file: its number, size and time. Raises UnreadableFile."""
    try:
        found = path.stat()
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from None
    return found.st_ino, found.st_size, found.st_mtime_ns
