"""How far a long command is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.terminal import echo, error_console

TELL_SECONDS = 2.0

Tell = Callable[[int], None]


@contextmanager
def progress_bar(what: str, total: int | None, as_bytes: bool = False) -> Iterator[Tell]:
    """A bar with rate and time left on a terminal; a line every two seconds elsewhere."""
    if not error_console().is_terminal:
        yield _plain_progress(what, total)
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    count = DownloadColumn() if as_bytes else MofNCompleteColumn()
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        count,
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    ]
    began = time.monotonic()
    with Progress(*columns, console=error_console(), transient=True) as bar:
        task = bar.add_task(what, total=total, rate="")

        def tell(done: int) -> None:
            rate = done / max(time.monotonic() - began, 1e-3)
            bar.update(task, completed=done, rate=f"{rate / 1e6:,.1f} MB/s" if as_bytes else f"{rate:,.0f}/s")

        yield tell


def _plain_progress(what: str, total: int | None) -> Tell:
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TELL_SECONDS:
            last = now
            echo(f"{what}: {done:,}" + (f" of {total:,}" if total else ""), err=True)

    return tell
