"""`rescore config show`: every setting, its value, and where it comes from."""

from __future__ import annotations

import typer

from streams.commands.common import AsJson, console, guarded, loaded, print_json

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
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("setting", "value", "from", "what it is"):
        table.add_column(heading, overflow="fold")
    for one in listed:
        style = "dim" if one.origin == "default" else ""
        table.add_row(one.name, one.value, one.origin, one.description, style=style)
    console().print(table)
