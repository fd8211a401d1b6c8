"""Ids as an attacker, a broken export or another alphabet writes them, and what may never reach a terminal of them."""

from __future__ import annotations

HOSTILE = "\x1b[31mann\x1b]0;owned\x07\x9b2J\u202egnp\u200b\u2028[red]x[/][/]\nFAKE LINE\n\r\tZoë"
"""Colour, title, erased screen, bidirectional override, zero width, markup, line breaks; and letters that are good."""

SHOWN = "\\x1b[31mann\\x1b]0;owned\\x07\\x9b2J\\u202egnp\\u200b\\u2028[red]x[/][/]\\nFAKE LINE\\n\\r\\tZoë"


def check_clean(output: str) -> None:
    """Only line breaks of our own, and everything else printable."""
    for line in output.split("\n"):
        assert line.isprintable(), ascii(line)
        assert line.strip() != "FAKE LINE", "a line break was obeyed"
