"""Blank texts: the compiled look says what Python's `str.isspace` says, of every character there is."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from schemas.utf8 import WHITE_SPACE, is_blank, is_blank_at
from tests.schemas.samples import TEXTS


def looked_at(text: str) -> bool:
    """The compiled look at a text that lies among others."""
    data = np.frombuffer(b"x" + text.encode() + b"x", np.uint8)
    return bool(is_blank_at(data, 1, len(data) - 2))


def test_white_space_is_what_python_says_it_is() -> None:
    assert {code for code in range(sys.maxunicode + 1) if chr(code).isspace()} == set(WHITE_SPACE)


def test_the_compiled_look_says_the_same_of_every_character() -> None:
    near = {code + step for code in WHITE_SPACE for step in (-64, -1, 0, 1, 64)} - {-1}
    for code in sorted({*range(0x3100), *range(0xE000, sys.maxunicode, 0x1FF), *near} - set(range(-64, 0))):
        for text in (chr(code), f" {chr(code)}", f"\u3000{chr(code)}\u00a0"):
            assert looked_at(text) == is_blank(text), hex(code)


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_texts_are_blank_or_not(text: str) -> None:
    assert looked_at(text) == is_blank(text) == (not text.strip())
