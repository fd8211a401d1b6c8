"""`rescore publish`: files into Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.common import Exit, fail, guarded, settings
from streams.commands.publish_job import Job, Tell, bad_lines_text
from streams.terminal import echo, error_console

if TYPE_CHECKING:
    from streams.publish import Published
    from streams.publish_events import Event

TELL_SECONDS = 2.0


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
    event keeps its own time as the record's timestamp.

    Examples:

      rescore publish transactions.csv --map user_id=account --map transaction_currency:=EUR --dry-run

      rescore publish export.csv --map-file bank.toml --check --rejects export-rejects.csv

      rescore publish trans.csv.gz --map-file berka-transactions.toml --advance-to 1999-01-01

      rescore publish --advance-to 1999-01-01
    """
    from schemas.times import FIRST_TIMESTAMP_MS
    from streams.commands.wire import values
    from streams.publish_events import Source, time_ms

    chosen, files = settings(), files or []
    if not files and not advance_to:
        fail("there is nothing to publish", "name a FILE, or a time with --advance-to", Exit.USAGE)
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
    bounds = tuple(_time(text, time_ms) for text in (from_time, until_time, advance_to))
    if chosen.clock == "records" and bounds[2] is not None and bounds[2] < FIRST_TIMESTAMP_MS:
        fail(f"clocks cannot be brought to {advance_to}", "name a time after 1970-01-01T00:00:00Z", Exit.USAGE)
    job = Job(chosen, sources, bounds[0], bounds[1], as_is, json_values, values(chosen), skip_bad_lines, rejects)
    _known_topics(job)
    if check or dry_run:
        from streams.commands.publish_views import show_events, show_summaries

        (show_summaries if check else show_events)(job)
        job.write_rejects()
        if job.bad_lines:
            fail(f"{bad_lines_text(job.bad_lines)} cannot be published", job.remedy())
    else:
        _send_all(job, bounds[2])
        if job.as_is:
            job.write_rejects()
        if job.bad_lines:
            fail(f"{bad_lines_text(job.bad_lines)} left out, all others are published", job.remedy_of_skipped())


def _mappings(files: Sequence[str], map_files: Sequence[Path], options: Sequence[str]) -> list[Any]:
    """The mapping of each file."""
    from streams.publish_mapping import FileMapping, read_mapping

    if len(map_files) not in (0, 1, len(files)):
        fail(f"{len(files)} files and {len(map_files)} mapping files", "give one for all or one for each", Exit.USAGE)
    mappings = [read_mapping(path) for path in map_files] or [FileMapping()]
    if len(mappings) == 1:
        mappings *= len(files)
    return [mapping.with_options(options) for mapping in mappings]


def _time(text: str, time_ms: Callable[[str], int]) -> int | None:
    try:
        return time_ms(text) if text else None
    except ValueError as error:
        fail(str(error), "for example 1993-01-01 or 2024-06-30T12:00:00Z", Exit.USAGE)


def _known_topics(job: Job) -> None:
    from streams.publish_events import TIME_FIELDS

    for source in job.sources:
        if source.topic not in TIME_FIELDS:
            fail(f"events cannot be published to {source.topic!r}", f"use one of {', '.join(TIME_FIELDS)}", Exit.USAGE)


def _send_all(job: Job, advance_to_ms: int | None) -> None:
    from streams.kafka_client import latest_timestamps_ms, producer, require_topics
    from streams.publish import Published, publish, refuse_to_go_back

    chosen, stamp = job.settings, job.settings.clock == "records"
    names = {source.topic for source in job.sources} | ({"commands"} if advance_to_ms is not None else set())
    counts = require_topics(chosen.kafka, [chosen.topic(name) for name in sorted(names)])
    events, total = _ordered(job)
    if not job.as_is:
        job.refuse_bad_lines()
    if stamp and events and isinstance(events, list):
        refuse_to_go_back(events[0].time_ms, latest_timestamps_ms(chosen.kafka, counts))
    done, sender, began = Published(), producer(chosen.kafka), time.monotonic()
    try:
        with _progress("publishing", total) as tell:
            publish(events, sender, chosen.topic, stamp, done, lambda so_far: tell(so_far.sent))
            if advance_to_ms is not None:
                _advance(job, counts[chosen.topic("commands")], advance_to_ms, sender, stamp, done)
    except KeyboardInterrupt:
        _say_how_to_go_on(done, sender)
        raise
    seconds = max(time.monotonic() - began, 1e-3)
    echo(f"published {done.acknowledged:,} records in {seconds:.1f} s ({done.acknowledged / seconds:,.0f}/s)", err=True)


def _ordered(job: Job) -> tuple[Sequence[Event] | Iterator[Event], int | None]:
    """All events in order of time and their number; as they come, and no number, where that was asked for."""
    from streams.publish_events import in_order, when

    numbers = range(len(job.sources))
    if job.as_is:
        return in_order([job.events(number) for number in numbers]), None
    size = sum(source.path.stat().st_size for source in job.sources if source.path and source.path.is_file())
    with _progress("reading", size, as_bytes=True) as tell:
        events = [event for number in numbers for event in job.events(number, tell)]
    events.sort(key=when)
    return events, len(events)


def _advance(job: Job, partitions: int, to_ms: int, sender: Any, stamp: bool, done: Published) -> None:
    from streams.publish import advances, publish_advances, refuse_to_go_back

    if stamp and done.last_time_ms is not None:
        refuse_to_go_back(to_ms, {"just published": done.last_time_ms})
    values = advances(to_ms, range(partitions), job.values.encoder("commands"))
    publish_advances(job.settings.topic("commands"), values, to_ms, sender, stamp, done)


def _say_how_to_go_on(done: Published, sender: Any) -> None:
    from streams.publish import text_of_ms

    sender.flush(10)
    echo("", f"interrupted: {done.acknowledged:,} records are published", err=True)
    if done.last_time_ms is not None:
        echo(f"  to go on: the same command with --from {text_of_ms(done.last_time_ms)}", err=True)


@contextmanager
def _progress(what: str, total: int | None, as_bytes: bool = False) -> Iterator[Tell]:
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
