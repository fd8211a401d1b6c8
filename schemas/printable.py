"""Text that is safe to show: what a terminal would obey, hide or reorder is escaped. Pure.

Ids, names, reasons and headers are a stranger's. An escape sequence among them could rewrite the screen of a person who
looks at a dead letter; a bidirectional override or a zero-width character could make one id look like another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that count as letters or marks and show nothing: fillers, joiners, variation selectors."""

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""The same text with everything escaped that is no letter, mark, number, sign or plain blank, as Python writes it.

    Control characters (C0, DEL, C1) with line breaks among them, bidirectional and other format characters, zero
    widths, separators, lone surrogates (bytes that are no UTF-8), characters of no meaning. Cost: 0.1 us where all is
    plain.

    >>> print(printable("ann\x1b[2J\u202ebob"), printable("two\nlines"), printable("Zoë 日本"))
    ann\x1b[2J\u202ebob two\nlines Zoë 日本
    """
    return _escaped(text, _as_python)


def json_text(value: Any) -> str:
    r"""A value as JSON on one line: exactly its characters, those that are not printable as \u escapes.

    Raises ValueError for NaN and infinity.

    >>> print(json_text({"id": "ann\u202e\x9b", "sum": 1.5}))
    {"id": "ann\u202e\u009b", "sum": 1.5}
    """
    # Outside of its texts JSON has printable characters alone, so that all that is escaped is inside of one.
    return _escaped(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str), _as_json)


def toml_text(value: Any) -> str:
    """A text, or a list of texts, as TOML, likewise."""
    return _escaped(json.dumps(value, ensure_ascii=False), _as_toml)


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(letter if letter.isprintable() and not _UNSEEN.match(letter) else escape(letter) for letter in text)


def _as_python(letter: str) -> str:
    code = ord(letter)
    return _SHORT.get(letter) or (f"\\x{code:02x}" if code < 0x100 else _as_toml(letter))


def _as_json(letter: str) -> str:
    code = ord(letter)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _as_toml(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun, in the singular or the plural.

    >>> counted(1, "record"), counted(12_000, "record"), counted(0, "copy", "copies")
    ('1 record', '12,000 records', '0 copies')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
