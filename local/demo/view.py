"""The demo's live view: a pure function from what is known to what is drawn, and the same as plain lines.

The terminal is `rich`'s, which leaves colours out where there is no terminal or NO_COLOR is set.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from local.demo.words import Row
from schemas.printable import printable
from streams.terminal_rich import SafeTable

BLOCKS = "▁▂▃▄▅▆▇█"
BINS = 8
SCORE_FROM, SCORE_TO = 1.0, 5.0
CLASSES = range(1, 7)
COLUMNS: tuple[tuple[str, int], ...] = (
    ("time", 12),
    ("customer", 10),
    ("score", 8),
    ("old", 7),
    ("new", 7),
    ("band", 14),
)
NARROW_BELOW = 110
"""On a terminal with fewer columns the reasons get the room of the bands, and two lines a row."""
NARROW_COLUMNS: tuple[tuple[str, int], ...] = (("time", 12), ("customer", 8), ("score", 8), ("old", 5), ("new", 5))
STORY_LINES = 2
FRAME_LINES = 7
"""Lines of the view that are not rows of the table."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that the view shows at one moment. `lag_seconds` None: not known; rows and story: the latest last."""

    events: int
    changes: int
    lag_seconds: float | None
    kafka: str
    valkey: str
    today: str = ""
    rows: Sequence[Row] = ()
    values: Sequence[int] = ()
    statuses: Sequence[int] = ()
    classes: Mapping[int, int] = field(default_factory=dict)
    story: Sequence[str] = ()
    hints: Sequence[str] = ()


def render(scene: Scene, width: int, height: int) -> RenderableType:
    """The view at a moment, at most `height` lines of a terminal, the whole width of it."""
    narrow = width < NARROW_BELOW
    room = max((height - FRAME_LINES) // (2 if narrow else 1), 1)
    table = _narrow_table(scene.rows[-room:], width) if narrow else _table(scene.rows[-room:])
    lines: list[RenderableType] = [_header(scene, narrow), table]
    lines += [Text(told, style="yellow", no_wrap=True, overflow="ellipsis") for told in scene.story[-STORY_LINES:]]
    lines.append(Text(distributions(scene), no_wrap=True, overflow="ellipsis"))
    if scene.hints:
        lines.append(Text("try: " + " · ".join(_fitting(scene.hints, width)), style="dim", no_wrap=True))
    return Group(*lines)


def _fitting(hints: Sequence[str], width: int) -> Iterator[str]:
    """As many commands as fit, each whole: half of one does not work."""
    left = width - len("try: ")
    for hint in hints:
        left -= len(hint)
        if left < 0:
            return
        yield hint
        left -= len(" · ")


def counters(scene: Scene, narrow: bool = False) -> str:
    """The header: how much has happened, how far behind, and where it all is, if there is room for that.

    >>> counters(Scene(12_480, 3_911, 0.1, "127.0.0.1:41873", "127.0.0.1:40211"))
    'events 12,480   changes 3,911   lag 0.1 s   Kafka 127.0.0.1:41873   Valkey 127.0.0.1:40211'
    """
    seconds = scene.lag_seconds
    lag = "-" if seconds is None else f"{seconds:,.1f} s" if seconds >= 0.1 else "< 0.1 s"
    parts = [f"events {scene.events:,}", f"changes {scene.changes:,}", f"lag {lag}"]
    parts += [] if narrow else [f"Kafka {scene.kafka}", f"Valkey {scene.valkey}"]
    return "   ".join([*parts, *([scene.today] if scene.today else [])])


def distributions(scene: Scene) -> str:
    """How many customers have which value and status, from 1 to 5, and how many are in each class."""
    classes = " ".join(f"{number}:{scene.classes.get(number, 0)}" for number in CLASSES)
    return f"value {sparkline(scene.values)}   status {sparkline(scene.statuses)}   classes {classes}"


def sparkline(counts: Sequence[int]) -> str:
    """Counts as a row of blocks, the highest one full; an empty bin is a space where others are not.

    >>> sparkline([0, 1, 4, 8])
    ' ▁▄█'
    """
    most = max(counts, default=0)
    return "".join(BLOCKS[-(-count * len(BLOCKS) // most) - 1] if count else " " for count in counts)


def histogram(scores: Iterable[float]) -> list[int]:
    """How many scores fall into each of eight bins of [1, 5], the last one closed.

    >>> histogram([1.0, 1.4, 5.0])
    [2, 0, 0, 0, 0, 0, 0, 1]
    """
    counts = [0] * BINS
    width = (SCORE_TO - SCORE_FROM) / BINS
    for score in scores:
        counts[min(max(int((score - SCORE_FROM) / width), 0), BINS - 1)] += 1
    return counts


def plain_heading() -> str:
    """The names of the columns, for lines without a terminal."""
    return _in_columns([name for name, _ in COLUMNS], "why")


def plain_row(row: Row) -> str:
    """One change as a line."""
    return _in_columns(row[: len(COLUMNS)], row.why)


def plain_lines(before: Scene | None, scene: Scene) -> Iterator[str]:
    """What is new in `scene`, as lines: the rows since `before`, the story, then counters and distributions."""
    if before is None:
        yield f"Rescore demo   {counters(scene)}"
        yield plain_heading()
    yield from (line for line in scene.story if before is None or line not in before.story)
    yield from (plain_row(row) for row in scene.rows)
    if before is not None and scene.changes != before.changes:
        yield f"{counters(scene)}"
        yield distributions(scene)


def print_plain(console: Console, lines: Iterable[str]) -> None:
    """Print lines whole, whatever the width: what is not a terminal does not wrap."""
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _header(scene: Scene, narrow: bool) -> Text:
    return Text.assemble(("Rescore demo   ", "bold"), counters(scene, narrow), no_wrap=True, overflow="ellipsis")


def _table(rows: Sequence[Row]) -> Table:
    table = SafeTable(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name, width in COLUMNS:
        table.add_column(name, width=width, no_wrap=True, justify="right" if name in ("old", "new") else "left")
    table.add_column("why", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in rows:
        style = {True: "green", False: "red", None: ""}[row.up]
        cells = [Text(printable(cell)) for cell in (*row[:4], row.new, row.band, row.why)]
        cells[4].stylize(style)
        table.add_row(*cells)
    return table


def _narrow_table(rows: Sequence[Row], width: int) -> Table:
    """The same without a column of bands; a crossing from one to another is told before the reason."""
    table = SafeTable(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name, room in NARROW_COLUMNS:
        table.add_column(name, width=room, no_wrap=True, justify="right" if name in ("old", "new") else "left")
    table.add_column("why", ratio=1, overflow="ellipsis")
    room = width - sum(column + 1 for _, column in NARROW_COLUMNS)
    for row in rows:
        crossing = f"{row.band}: " if "->" in row.band else ""
        cells = [Text(printable(cell)) for cell in row[:5]]
        cells[4].stylize({True: "green", False: "red", None: ""}[row.up])
        table.add_row(*cells, Text(two_lines(printable(crossing + row.why), room)))
    return table


def two_lines(text: str, width: int) -> str:
    r"""At most two lines of whole words; what does not fit ends in an ellipsis.

    >>> two_lines("salary +2,450 (+0.09), more active days", 22)
    'salary +2,450 (+0.09),\nmore active days'
    """
    return "\n".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …"))


def _in_columns(cells: Sequence[str | bool | None], why: str) -> str:
    aligned = [
        str(cell).rjust(width) if name in ("old", "new") else str(cell).ljust(width)
        for cell, (name, width) in zip(cells, COLUMNS, strict=True)
    ]
    return f"{' '.join(aligned)} {why}".rstrip()
