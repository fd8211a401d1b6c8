"""`rich` as commands may use it: without markup, and with a last look at every piece of text on its way out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from schemas.printable import printable


class SafeConsole(Console):
    """A console that shows square brackets as they are and escapes what a terminal would obey."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console`; escaped before it is measured, so that columns stay straight."""
        return super().render_str(_lines(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `Console`; whatever made the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_lines(segment.text), segment.style)


class SafeTable(Table):
    """A table whose cells have no line breaks but those of its wrapping."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """See `Table`."""
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
