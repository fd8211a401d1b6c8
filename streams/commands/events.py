"""`rescore publish`: files into Kafka."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.common import Exit, fail, guarded, settings
from streams.terminal import echo, error_console, print_json

if TYPE_CHECKING:
    from schemas.zones import Zone
    from streams.avro_values import Values
    from streams.publications import Part
    from streams.publish_events import Event, Source
    from streams.publish_reading import BadLine
    from streams.settings import Settings

BAD_LINES_SHOWN = 20
DRY_RUN_EVENTS = 10
TELL_SECONDS = 2.0

Tell = Callable[[int], None]


@guarded
def publish(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="CSV, JSON lines or Parquet, .gz or not; - reads a pipe."),
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
        str, typer.Option(metavar="TIME", help="At last bring the clock of every partition to this time.")
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
) -> None:
    """Publish events from files, sorted by time, each under its user_id.

    Columns with our field names need no mapping. A line that cannot be read is told with its number and left out; then
    the exit code is 1. With RESCORE_CLOCK=records each event keeps its own time as the record's timestamp. Dates and
    times without a zone are local in the policy's time zone.

    A file is published exactly once. After an interruption, give the same command again: it goes on where it was. A
    file that was published is refused; `rescore publications` lists all of them.

    Examples:

      rescore publish transactions.csv --map user_id=account --map transaction_currency:=EUR --dry-run

      rescore publish trans.csv.gz --map-file berka-transactions.toml --advance-to 1999-01-01

      rescore publish --advance-to 1999-01-01
    """
    from schemas.times import FIRST_TIMESTAMP_MS
    from streams.commands.wire import values
    from streams.publish_events import Source

    chosen, files = settings(), files or []
    if not files and not advance_to:
        fail("there is nothing to publish", "name a FILE, or a time with --advance-to", Exit.USAGE)
    if missing := [name for name in files if name != "-" and not Path(name).exists()]:
        fail(f"there is no file {', '.join(missing)}", "correct the path; - reads a pipe", Exit.USAGE)
    sources = [
        Source(None if name == "-" else Path(name), mapping.topic or topic, mapping)
        for name, mapping in zip(files, _mappings(files, map_files or [], mapped or []), strict=True)
    ]
    _known_topics(sources)
    zone, bounds = _bounds(chosen, (from_time, until_time, advance_to), ask=not dry_run)
    if chosen.clock == "records" and bounds[2] is not None and bounds[2] < FIRST_TIMESTAMP_MS:
        fail(f"clocks cannot be brought to {advance_to}", "name a time after 1970-01-01T00:00:00Z", Exit.USAGE)
    job = Job(chosen, sources, bounds[0], bounds[1], as_is, again, json_values, values(chosen), zone)
    try:
        if dry_run:
            _show(job)
        else:
            from streams.commands.publish_files import send_all

            send_all(job, bounds[2])
    finally:
        for kept in job.kept.values():
            kept.close()
    if job.bad_lines:
        fail(
            f"{job.bad_lines:,} line{'s were' if job.bad_lines > 1 else ' was'} left out, all others are "
            + ("readable" if dry_run else "published"),
            "write the corrected lines to a file of their own, with the same header, and publish that",
        )


def _mappings(files: Sequence[str], map_files: Sequence[Path], options: Sequence[str]) -> list[Any]:
    """The mapping of each file."""
    from streams.publish_mapping import FileMapping, read_mapping

    if len(map_files) not in (0, 1, len(files)):
        fail(f"{len(files)} files and {len(map_files)} mapping files", "give one for all or one for each", Exit.USAGE)
    mappings = [read_mapping(path) for path in map_files] or [FileMapping()]
    if len(mappings) == 1:
        mappings *= len(files)
    return [mapping.with_options(options) for mapping in mappings]


def _bounds(chosen: Settings, texts: tuple[str, ...], ask: bool) -> tuple[Zone, tuple[int | None, ...]]:
    """The zone of times that name none, and the times of options. With `ask` Kafka is asked for the policy in force."""
    from schemas.zones import zone_of
    from streams.commands.versions import policy_zone
    from streams.publish_events import time_ms

    try:
        for text in filter(None, texts):
            time_ms(text)
    except ValueError as error:
        fail(str(error), "for example 1993-01-01 or 2024-06-30T12:00:00Z", Exit.USAGE)
    zone = policy_zone(chosen) if ask else zone_of(chosen.policy.time_zone)
    return zone, tuple(time_ms(text, zone) if text else None for text in texts)


@dataclass(slots=True)
class Job:
    """One call of `publish`: what to read, and what has been found on the way."""

    settings: Settings
    sources: Sequence[Source]
    from_ms: int | None
    until_ms: int | None
    as_is: bool
    again: bool
    json_values: bool
    values: Values
    zone: Zone
    bad_lines: int = 0
    remarks: int = 0
    bytes_read: dict[int, int] = field(default_factory=dict)
    kept: dict[int, IO[bytes]] = field(default_factory=dict)  # what came through pipes
    parts: dict[int, list[Part]] = field(default_factory=dict)  # what of each source is to be published
    bad_lines_of: dict[int, int] = field(default_factory=dict)

    def encoder(self, topic: str) -> Callable[[dict[str, Any]], bytes]:
        """What makes bytes of the fields of an event."""
        from streams.avro_values import encode_json

        encode = encode_json if self.json_values else self.values.encoder(topic)
        if topic != "fx-rates":
            return encode
        from streams.version_reading import version_of

        def checked(fields: dict[str, Any]) -> bytes:
            """A rate by the schema that every reader asks: a bad line is told here, and not in every worker's log."""
            version_of("FxRate", fields)
            return encode(fields)

        return checked

    def events(self, number: int, encode: Callable[[dict[str, Any]], bytes], tell: Tell) -> Iterator[Event]:
        """Events of a source that are asked for and not yet published, its bad lines told and counted."""
        from schemas.times import FIRST_TIMESTAMP_MS
        from streams.commands.publish_files import identify_of
        from streams.publish_events import read_events
        from streams.publish_reading import BadLine

        source, identify = self.sources[number], identify_of(self, number)
        schema, pipe = self.values.schema(source.topic), self.kept.get(number, sys.stdin.buffer)

        def progress(done: int) -> None:
            self.bytes_read[number] = done
            tell(sum(self.bytes_read.values()))

        history = self.settings.clock == "records"
        stamp = history and (self.from_ms is None or self.from_ms < FIRST_TIMESTAMP_MS)
        read = replace(source, path=None) if number in self.kept else source
        for one in read_events(
            read, schema, encode, number, pipe, progress, stamp, self.tell_remark, identify, self.zone
        ):
            if isinstance(one, BadLine):
                self.tell_bad(one)
                self.bad_lines_of[number] = self.bad_lines_of.get(number, 0) + 1
            elif history and one.time_ms < FIRST_TIMESTAMP_MS:
                continue  # not asked for, and else a bad line
            elif self._wanted(number, one):
                yield one

    def _wanted(self, number: int, event: Event) -> bool:
        """Whether an event is asked for and not yet published; it is counted for the record of its file."""
        from streams.publications import part_of_line
        from streams.publish_exactly_once import place_of

        parts = self.parts.get(number)
        if parts is None:
            return self.within(event.time_ms)
        part = (
            parts[0] if len(parts) == 1 and not parts[0].publication.after_line else part_of_line(event.order[1], parts)
        )
        if part is None or not part.wants(place_of(event)) or not self.within(event.time_ms):
            return False
        part.pending += 1
        return True

    def within(self, time_ms: int) -> bool:
        """Whether an event of this time was asked for."""
        return (self.from_ms is None or time_ms >= self.from_ms) and (self.until_ms is None or time_ms < self.until_ms)

    def tell_bad(self, line: BadLine) -> None:
        """Show the first bad lines, count all."""
        self.bad_lines += 1
        if self.bad_lines <= BAD_LINES_SHOWN:
            echo(f"{line.file}, line {line.number}: {line.message}", err=True)
        elif self.bad_lines == BAD_LINES_SHOWN + 1:
            echo("more bad lines are counted, not shown", err=True)

    def tell_remark(self, line: BadLine) -> None:
        """Show the first lines that are worth a word, count all."""
        self.remarks += 1
        if self.remarks <= BAD_LINES_SHOWN:
            echo(f"{line.file}, line {line.number}: {line.message}", err=True)
        elif self.remarks == BAD_LINES_SHOWN + 1:
            echo("more such lines are counted, not shown", err=True)


def _known_topics(sources: Sequence[Source]) -> None:
    from streams.publish_events import TIME_FIELDS

    for source in sources:
        if source.topic not in TIME_FIELDS:
            fail(f"events cannot be published to {source.topic!r}", f"use one of {', '.join(TIME_FIELDS)}", Exit.USAGE)


def _show(job: Job) -> None:
    """The first events of each file as they would be sent; the others are read as well, for what is wrong with them."""
    from streams.avro_values import encode_json
    from streams.publish import text_of_ms

    for number, source in enumerate(job.sources):
        check = job.encoder(source.topic)

        def encode(value: dict[str, Any], check: Callable[[dict[str, Any]], bytes] = check) -> bytes:
            check(value)
            return encode_json(value)

        for shown, event in enumerate(job.events(number, encode, lambda _done: None)):
            if shown >= DRY_RUN_EVENTS:
                continue
            timestamp = text_of_ms(event.time_ms) if job.settings.clock == "records" else "set by the broker"
            value = json.loads(event.value)
            print_json({"topic": event.topic, "key": event.key.decode(), "timestamp": timestamp, "value": value})


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
