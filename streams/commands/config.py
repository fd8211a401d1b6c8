"""`rescore config show`: every setting, its value, and where it comes from."""

from __future__ import annotations

import typer

from streams.commands.common import AsJson, guarded, loaded
from streams.terminal import console, print_json, table

app = typer.Typer(help="Settings: from the environment, from rescore.toml, or the default.", no_args_is_help=True)


@app.command()
@guarded
def show(as_json: AsJson = False) -> None:
    """Show every setting with its origin, secrets masked.

    Example: RESCORE_CLOCK=records rescore config show
    """
    listed = loaded().listed()
    if as_json:
        print_json({one.name: {"value": one.value, "origin": one.origin} for one in listed})
        return
    shown = table("setting", "value", "from", "what it is")
    for one in listed:
        style = "dim" if one.origin == "default" else ""
        shown.add_row(one.name, one.value, one.origin, one.description, style=style)
    console().print(shown)
