"""The lines of a file that do not become events, in a file of their own that can be corrected and published.

It has the header and the lines above it as they were, and before each bad line a remark with its number and the reason.
`publish` skips these remarks, so that the same command publishes the corrected file. Rows of files without lines
(Parquet, one JSON document, bank statements) become JSON lines with the same columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from streams.publish.formats import COMMENT, BadLine, Header, UnreadableFile
from streams.publish.numbers import text_of


def write_rejects(path: Path, header: Header, lines: Sequence[BadLine]) -> None:
    """Write the file. Raises UnreadableFile if it is there already, or cannot be written: nothing is overwritten."""
    as_text = all(line.row is None for line in lines)
    parts = [header.text] if as_text else []
    for line in lines:
        parts.append(f"{COMMENT}line {line.number}: {' '.join(line.message.split())}\n")
        text = _json_of(line.row) if line.row is not None else line.raw or ""
        parts.append(text if not text or text.endswith("\n") else text + "\n")
    encoding = header.encoding if as_text else "utf-8"
    errors = "surrogateescape" if not encoding.startswith(("utf-16", "utf-32")) else "strict"
    try:
        with path.open("x", encoding=encoding, errors=errors, newline="") as file:
            file.writelines(parts)
    except FileExistsError:
        raise UnreadableFile(f"{path} exists already: name another file with --rejects, or remove it") from None
    except (OSError, UnicodeEncodeError) as error:
        raise UnreadableFile(f"{path} cannot be written: {error}") from None


def _json_of(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return text_of(value) if isinstance(value, Decimal) else str(value)
