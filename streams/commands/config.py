"""`rescore config`: every setting with its origin, and the versions that the broadcast topics hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from schemas.errors import Exit
from streams.commands.common import AsJson, guarded, loaded, settings
from streams.terminal import console, echo, print_json, table

if TYPE_CHECKING:
    from streams.versions.known import Known

app = typer.Typer(
    help="Settings: from the environment, from rescore.toml, or the default; and the published versions.",
    no_args_is_help=True,
)


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


@app.command()
@guarded
def check(as_json: AsJson = False) -> None:
    """List the records of fx-rates, rescore-weights and rescore-config that count as never published, and why.

    Every process reads them by the same schemas (docs/versions.md) and refuses the same ones. Exit code 1 if there is
    one. A published record cannot be changed: publish a correct one instead.

    Example: rescore config check --json | jq .refused
    """
    from streams.composition.versions import known_versions

    known = known_versions(settings(), tell=False)
    if as_json:
        print_json(as_plain(known))
    else:
        show_refused(known)
    if known.refused:
        raise typer.Exit(Exit.FAILURE)


def as_plain(known: Known) -> dict[str, Any]:
    """What the topics hold, for programs."""
    return {
        "records": len(known.records),
        "refused": [
            {
                "topic": one.record.topic,
                "partition": one.record.partition,
                "offset": one.record.offset,
                "timestamp_ms": one.record.timestamp_ms,
                "reason": one.reason,
            }
            for one in known.refused
        ],
    }


def show_refused(known: Known) -> None:
    """The same for a person."""
    if not known.refused:
        echo(f"all {len(known.records):,} broadcast records can be used")
        return
    shown = table("record", "why it counts as never published")
    for one in known.refused:
        shown.add_row(f"{one.record.topic}/{one.record.partition}/{one.record.offset}", one.reason)
    console().print(shown)
    echo(f"{len(known.refused):,} of {len(known.records):,} broadcast records count as never published", err=True)
