"""`rescore publish`: files into Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, fail
from streams.commands.common import guarded, settings
from streams.commands.publish_job import Job, bad_lines_text

if TYPE_CHECKING:
    from schemas.zones import Zone
    from streams.publish.events import Source
    from streams.settings import Settings


@guarded
def publish(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="CSV, JSON, Parquet, CAMT.053 or MT940, .gz or not; - reads a pipe."),
    ] = None,
    topic: Annotated[str, typer.Option(help="Where the events go; a mapping file may name it too.")] = "transactions",
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OUR=THEIRS", help="A field from a column; our:=text for words."),
    ] = None,
    map_files: Annotated[
        list[Path] | None,
        typer.Option("--map-file", metavar="TOML", help="A mapping file; one for all FILEs or one for each."),
    ] = None,
    from_time: Annotated[str, typer.Option("--from", metavar="TIME", help="Leave out what happened before.")] = "",
    until_time: Annotated[
        str, typer.Option("--until", metavar="TIME", help="Leave out what happened at or after.")
    ] = "",
    advance_to: Annotated[
        str, typer.Option(metavar="TIME", help="Afterwards, advance the clock of every partition to this time.")
    ] = "",
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Send in the files' own order, without reading them whole.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Publish again what was published: events without ids of their own count again."),
    ] = False,
    json_values: Annotated[bool, typer.Option("--json-values", help="Values as plain JSON instead of Avro.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read all, show the first events as they would be sent; send none.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read all, report rows, customers, dates, sums and bad lines; send none.")
    ] = False,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Publish the good lines of a file that has bad ones.")
    ] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the bad lines and why to this new file, to correct and publish it."),
    ] = None,
    encoding: Annotated[
        str, typer.Option(metavar="NAME", help="Encoding of a text file, for example cp1252; UTF-8 if not given.")
    ] = "",
    skip_lines: Annotated[
        int | None, typer.Option(metavar="N", help="Skip N lines above the header.", show_default=False)
    ] = None,
    decimal: Annotated[
        str, typer.Option(metavar="MARK", help="Decimal mark of all number columns: , or . (else told by the column).")
    ] = "",
    envelope: Annotated[
        str, typer.Option(metavar="NAME", help="What wraps each row: debezium; none reads such rows as they are.")
    ] = "",
) -> None:
    """Publish events from files, sorted by time, each under its user_id.

    Columns with our field names need no mapping. A line that workers would refuse is reported with its number, and
    nothing is published; with --skip-bad-lines the others are, and the exit code is 1. With RESCORE_CLOCK=records each
    event keeps its own time as the record's timestamp. Dates and times without a zone are local in the policy's time
    zone.

    A file is published exactly once. After an interruption, give the same command again: it goes on where it was. A
    file that was published is refused; `rescore publications` lists all of them.

    Examples:

      rescore publish transactions.csv --map user_id=account --map transaction_currency:=EUR --dry-run

      rescore publish export.csv --map-file bank.toml --check --rejects export-rejects.csv

      rescore publish trans.csv.gz --map-file berka-transactions.toml --advance-to 1999-01-01

      rescore publish --advance-to 1999-01-01
    """
    from schemas.times import FIRST_TIMESTAMP_MS
    from streams.composition.registry import values
    from streams.publish.events import Source

    chosen, files = settings(), files or []
    if not files and not advance_to:
        fail("there is nothing to publish", "name a FILE, or a time with --advance-to", Exit.USAGE)
    if missing := [name for name in files if name != "-" and not Path(name).exists()]:
        fail(f"there is no file {', '.join(missing)}", "correct the path; - reads a pipe", Exit.USAGE)
    if rejects and len(files) != 1:
        fail("the bad lines of one FILE go to --rejects", "publish the files one at a time", Exit.USAGE)
    if rejects and rejects.exists():
        fail(f"{rejects} exists already", "name another file with --rejects, or remove it", Exit.USAGE)
    sources = [
        Source(
            None if name == "-" else Path(name),
            mapping.topic or topic,
            mapping.with_reading(encoding, skip_lines, decimal, envelope),
        )
        for name, mapping in zip(files, _mappings(files, map_files or [], mapped or []), strict=True)
    ]
    _known_topics(sources)
    zone, bounds = _bounds(chosen, (from_time, until_time, advance_to), ask=not (dry_run or check))
    if chosen.clock == "records" and bounds[2] is not None and bounds[2] < FIRST_TIMESTAMP_MS:
        fail(f"clocks cannot be brought to {advance_to}", "name a time after 1970-01-01T00:00:00Z", Exit.USAGE)
    job = Job(
        chosen, sources, bounds[0], bounds[1], as_is, again, json_values, values(chosen), zone, skip_bad_lines, rejects,
        only_looks=check or dry_run,
    )  # fmt: skip
    try:
        if check or dry_run:
            _look(job, check)
        else:
            _send(job, bounds[2])
    finally:
        for kept in job.kept.values():
            kept.close()


def _mappings(files: Sequence[str], map_files: Sequence[Path], options: Sequence[str]) -> list[Any]:
    """The mapping of each file."""
    from streams.publish.mapping import FileMapping, read_mapping

    if len(map_files) not in (0, 1, len(files)):
        fail(f"{len(files)} files and {len(map_files)} mapping files", "give one for all or one for each", Exit.USAGE)
    mappings = [read_mapping(path) for path in map_files] or [FileMapping()]
    if len(mappings) == 1:
        mappings *= len(files)
    return [mapping.with_options(options) for mapping in mappings]


def _bounds(chosen: Settings, texts: tuple[str, ...], ask: bool) -> tuple[Zone, tuple[int | None, ...]]:
    """The zone of times that name none, and the times of options. With `ask` Kafka is asked for the policy in force."""
    from schemas.zones import zone_of
    from streams.composition.versions import policy_zone
    from streams.publish.events import time_ms

    try:
        for text in filter(None, texts):
            time_ms(text)
    except ValueError as error:
        fail(str(error), "for example 1993-01-01 or 2024-06-30T12:00:00Z", Exit.USAGE)
    zone = policy_zone(chosen) if ask else zone_of(chosen.policy.time_zone)
    return zone, tuple(time_ms(text, zone) if text else None for text in texts)


def _known_topics(sources: Sequence[Source]) -> None:
    from streams.publish.events import TIME_FIELDS

    for source in sources:
        if source.topic not in TIME_FIELDS:
            fail(f"events cannot be published to {source.topic!r}", f"use one of {', '.join(TIME_FIELDS)}", Exit.USAGE)


def _look(job: Job, check: bool) -> None:
    """Show what is in the files, and end the command if it cannot be published."""
    from streams.commands.publish_files import refuse_repeated_ids
    from streams.commands.publish_views import show_events, show_summaries

    repeated = (show_summaries if check else show_events)(job)
    job.write_rejects()
    if job.bad_lines and not repeated.others:
        fail(f"{bad_lines_text(job.bad_lines)} cannot be published", job.remedy())
    refuse_repeated_ids(job, repeated)


def _send(job: Job, advance_to_ms: int | None) -> None:
    """Publish the files, and say what was left out."""
    from streams.commands.publish_files import send_all

    send_all(job, advance_to_ms)
    if job.as_is:
        job.write_rejects()
    if job.bad_lines:
        fail(f"{bad_lines_text(job.bad_lines)} left out, all others are published", job.remedy_of_skipped())
