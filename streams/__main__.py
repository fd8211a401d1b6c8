"""`rescore`: the composition root. Adapters are chosen here and in `streams.commands`, nowhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from schemas.printable import printable
from streams.commands import (
    bench,
    config,
    customers,
    dead_letters,
    demo,
    evaluate,
    events,
    lag,
    learner,
    models,
    override,
    profiles,
    publications,
    subscribe,
    topics,
    worker,
)
from streams.commands import verify as replay
from streams.commands.common import EXIT_CODES, program_version
from streams.commands.notation import name_values
from streams.terminal import echo


class Commands(TyperGroup):
    """All commands. What they say of wrong arguments is escaped, as arguments may be somebody's ids."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        name_values(self.commands.values())

    def make_context(self, *args: Any, **options: Any) -> Any:
        """See `typer`."""
        with _escaped_mistakes():
            return super().make_context(*args, **options)

    def invoke(self, *args: Any, **options: Any) -> Any:
        """See `typer`."""
        with _escaped_mistakes():
            return super().invoke(*args, **options)


@contextmanager
def _escaped_mistakes() -> Iterator[None]:
    try:
        yield
    except TyperException as mistake:
        if message := getattr(mistake, "message", ""):
            mistake.message = printable(message)
        raise


app = typer.Typer(
    name="rescore",
    cls=Commands,
    help="Scores of customers, recalculated on every event, exactly once.",
    epilog=f"Start with: rescore demo. {EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        echo(f"rescore {program_version()}")
        raise typer.Exit


app.command()(demo.demo)
app.command()(worker.worker)
app.command()(learner.learner)
app.command()(events.publish)
app.command()(publications.publications)
app.command()(subscribe.subscribe)
app.command()(customers.inspect)
app.command()(customers.explain)
app.command()(lag.lag)
app.command()(replay.verify)
app.command(
    "replay",
    hidden=True,
    help="The former name of `rescore verify`, which the next release no longer knows.\n\nExample: rescore verify",
)(replay.replay)
app.command()(evaluate.evaluate)
app.command()(override.override)
app.command()(customers.erase)
app.add_typer(bench.app, name="bench")
app.add_typer(topics.app, name="topics")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(models.app, name="models")
app.add_typer(profiles.app, name="profiles")
app.add_typer(config.app, name="config")


@app.callback()
def root(
    config_path: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings file instead of rescore.toml.")
    ] = None,
    _told_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Scores of customers, recalculated on every event, exactly once."""
    if config_path is not None:
        os.environ["RESCORE_CONFIG"] = str(config_path.absolute())  # for this process and for those it starts


def main() -> None:
    """Entry point of the `rescore` script. A terminal that lacks a letter shows its number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="rescore")


if __name__ == "__main__":
    main()
