"""`rescore subscribe`: score changes as they are committed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import Exit, fail
from streams.commands.common import AsJson, guarded, settings
from streams.commands.completion import complete_band, complete_score
from streams.commands.partial import as_far_as_committed, tell_missing
from streams.terminal import echo, print_json, remark, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from streams.settings import Settings

CHANGES = "score-changes"


@guarded
def subscribe(
    users: Annotated[
        list[str] | None, typer.Option("--user", metavar="USER", help="Only this customer (repeatable).")
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option("--score", metavar="SCORE", help="Only this score (repeatable).", autocompletion=complete_score),
    ] = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(
            "--band",
            metavar="BAND",
            help="Only changes into or out of this band (repeatable).",
            autocompletion=complete_band,
        ),
    ] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the first change kept.")] = False,
    exit_at_end: Annotated[bool, typer.Option("--exit-at-end", help="End where the topic ends now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show score changes as they are committed; Ctrl-C ends it.

    Examples:

      rescore subscribe --score status

      rescore subscribe --from-beginning --exit-at-end --json | jq .new
    """
    from streams.customers.changes import Wanted, line

    try:
        wanted = Wanted.of(users or (), scores or (), bands or ())
    except ValueError as error:
        fail(str(error), code=Exit.USAGE)
    if not as_json and not exit_at_end:
        say(("waiting for score changes; Ctrl-C ends it", "dim"), err=True)
    missing: list[str] = []
    found = changes(settings(), from_beginning=from_beginning, exit_at_end=exit_at_end, users=users or ())
    for change in as_far_as_committed(found, missing):
        if not wanted.has(change):
            continue
        if as_json:
            print_json(dict(change))
        else:
            echo(line(change, local_time(change["decided_ms"])))
    tell_missing(missing)


def changes(
    chosen: Settings, *, from_beginning: bool, exit_at_end: bool, users: Any = ()
) -> Iterator[Mapping[str, Any]]:
    """Decoded score changes; of the partitions that can hold these users alone, where some are named.

    Records that cannot be read are skipped, and told on standard error.
    """
    from functools import partial

    from streams.composition.registry import partition_of, values
    from streams.kafka.client import read, require_topics
    from streams.log.unreadable import Unreadable, readable

    topic = chosen.topic(CHANGES)
    counts = require_topics(chosen.kafka, [topic])
    partitions = {partition_of(chosen, user, counts[topic]) for user in users} or None
    records = read(chosen.kafka, counts, partitions, from_beginning=from_beginning, exit_at_end=exit_at_end)
    with Unreadable(remark) as unreadable:
        for _, change in readable(records, partial(values(chosen).decode, CHANGES), unreadable):
            yield change


def local_time(time_ms: int) -> str:
    """A time in the zone of the terminal, to the second.

    Raises nothing: a time beyond the calendar is shown in milliseconds.
    """
    try:
        return datetime.fromtimestamp(time_ms / 1_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"
