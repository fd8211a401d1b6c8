"""What commands show: every line, table and JSON object of theirs goes through here, so that no terminal gets it raw.

A terminal obeys our own line breaks and colours alone. What is in an id, a name, a header or a message is shown escaped
(`schemas.printable`), and square brackets are no markup. Programs get the same characters by `--json`.
"""

from __future__ import annotations

import functools
import shlex
import sys
from typing import TYPE_CHECKING, Any

from schemas.printable import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 160


def echo(*lines: str, err: bool = False) -> None:
    """Print lines to standard output or standard error. A line break inside of one is shown, not obeyed."""
    stream = sys.stderr if err else sys.stdout
    stream.write("".join(f"{printable(line)}\n" for line in lines))
    stream.flush()


def print_json(value: Any) -> None:
    """One JSON object on a line of standard output."""
    sys.stdout.write(json_text(value) + "\n")


@functools.cache
def console() -> Console:
    """Standard output for tables: coloured only on a terminal, and not where NO_COLOR is set."""
    from streams.terminal_rich import SafeConsole

    # Not a terminal has no width; a table in a file should keep its lines whole.
    return SafeConsole(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


@functools.cache
def error_console() -> Console:
    """Standard error for progress bars."""
    from streams.terminal_rich import SafeConsole

    return SafeConsole(stderr=True, soft_wrap=True)


def say(*parts: str | tuple[str, str], err: bool = False) -> None:
    """Print one line whose parts may have a style: `say(("OK", "bold"), "  scores are current")`."""
    from rich.text import Text

    where = error_console() if err else console()
    shown = [printable(part) if isinstance(part, str) else (printable(part[0]), part[1]) for part in parts]
    where.print(Text.assemble(*shown), soft_wrap=True)


def remark(words: str) -> None:
    """A sentence on standard error, next to what a command answers."""
    say(("rescore:", "bold"), f" {words}", err=True)


def quoted(text: str) -> str:
    """An id as an argument of a command that is shown to be copied: a shell takes nothing in it for its own.

    >>> print(quoted("c-000417"), quoted("$(reboot)"))
    c-000417 '$(reboot)'
    """
    return shlex.quote(text)


def table(*headings: str, title: str = "", lined: bool = False) -> Table:
    """A table with bold headings and cells that wrap; plain, or with lines between its columns."""
    from streams.terminal_rich import SafeTable

    made = SafeTable(title=printable(title) or None, title_justify="left", title_style="bold", header_style="bold")
    if not lined:
        made.box, made.pad_edge = None, False
    for heading in headings:
        made.add_column(printable(heading), overflow="fold")
    return made
