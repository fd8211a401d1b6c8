"""What the bytes of a text are: well-formed UTF-8 or not, blank or not.

A text is blank if it is empty or white space alone. A blank id names nobody and nothing: publishers whose language has
no null write "" or " " where they have none. So a blank `event_id` counts as absent, and a blank `loan_id` or `user_id`
is refused: else strangers would share what is kept under it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas.compiled import compiled
from schemas.hashing import word_64

HIGH_BITS = np.uint64(0x8080808080808080)

WHITE_SPACE: tuple[int, ...] = (
    *range(0x09, 0x0E),
    *range(0x1C, 0x21),
    *(0x85, 0xA0, 0x1680),
    *range(0x2000, 0x200B),
    *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
)
"""Code points that `str.isspace` calls white space: Unicode's, and the four separators of ASCII."""

_WHITE = np.array(WHITE_SPACE, np.int64)


def is_blank(text: str) -> bool:
    """True for a text that is empty or white space alone.

    >>> is_blank(""), is_blank("  "), is_blank(" 7 ")
    (True, True, False)
    """
    return not text or text.isspace()


@compiled
def is_utf8(data: Any, at: int, end: int) -> bool:
    """True for well-formed UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF."""
    while at + 8 <= end and word_64(data, at) & HIGH_BITS == np.uint64(0):
        at += 8
    while at < end:
        byte = data[at]
        at += 1
        if byte < 0x80:
            continue
        more = 1 if 0xC2 <= byte <= 0xDF else 2 if 0xE0 <= byte <= 0xEF else 3 if 0xF0 <= byte <= 0xF4 else 0
        if more == 0 or at + more > end:
            return False
        low = 0xA0 if byte == 0xE0 else 0x90 if byte == 0xF0 else 0x80
        high = 0x9F if byte == 0xED else 0x8F if byte == 0xF4 else 0xBF
        if data[at] < low or data[at] > high:
            return False
        for i in range(1, more):
            if data[at + i] & 0xC0 != 0x80:
                return False
        at += more
    return True


@compiled
def is_blank_at(data: Any, at: int, length: int) -> bool:
    """`is_blank` of well-formed UTF-8 in a buffer. Looks no further than the first character that is none: 1 ns."""
    end = at + length
    while at < end:
        byte = np.int64(data[at])
        if byte < 0x80:
            code, size = byte, 1
        elif byte < 0xE0:
            code, size = (byte & 0x1F) << 6 | np.int64(data[at + 1]) & 0x3F, 2
        elif byte < 0xF0:
            code = (byte & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | np.int64(data[at + 2]) & 0x3F
            size = 3
        else:
            return False  # beyond the basic plane nothing is white
        if not _is_white(code):
            return False
        at += size
    return True


@compiled
def _is_white(code: Any) -> bool:
    if 0x20 < code < 0x85:
        return False
    for white in _WHITE:  # noqa: SIM110 - numba has no any()
        if code == white:
            return True
    return False
