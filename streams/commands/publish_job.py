"""One call of `rescore publish`: what it reads, how, and what has been found to be wrong with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from schemas.errors import fail
from streams.commands.progress import Tell
from streams.terminal import echo

if TYPE_CHECKING:
    from schemas.topic_values import Values
    from schemas.zones import Zone
    from streams.publish.checks import WorkerCheck
    from streams.publish.events import Event, Source, Take
    from streams.publish.files import BadLine, Header
    from streams.publish.publications import Part
    from streams.settings import Settings

BAD_LINES_SHOWN = 20


def bad_lines_text(count: int) -> str:
    """So many bad lines, in words."""
    return f"{count:,} bad line{'' if count == 1 else 's'}"


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
    skip_bad_lines: bool = False
    rejects: Path | None = None
    only_looks: bool = False  # nothing is sent
    header: Header | None = None
    rejected: list[BadLine] = field(default_factory=list)
    bad_lines: int = 0
    remarks: int = 0
    bytes_read: dict[int, int] = field(default_factory=dict)
    kept: dict[int, IO[bytes]] = field(default_factory=dict)  # what came through pipes
    parts: dict[int, list[Part]] = field(default_factory=dict)  # what of each source is to be published
    bad_lines_of: dict[int, int] = field(default_factory=dict)

    def encoder(self, topic: str) -> Callable[[dict[str, Any]], bytes]:
        """What makes bytes of the fields of an event."""
        from schemas.topic_values import encode_json

        encode = encode_json if self.json_values else self.values.encoder(topic)
        if topic != "fx-rates":
            return encode
        from streams.versions.reading import version_of

        def checked(fields: dict[str, Any]) -> bytes:
            """A rate by the schema that every reader asks: a bad line is told here, and not in every worker's log."""
            version_of("FxRate", fields)
            return encode(fields)

        return checked

    def events(
        self,
        number: int,
        tell: Tell = lambda _done: None,
        take: Take | None = None,
        leave_out: Callable[[int], None] = lambda _number: None,
    ) -> Iterator[Event]:
        """Events of a source that are asked for and not yet published, its bad lines told and counted."""
        from schemas.times import FIRST_TIMESTAMP_MS
        from streams.commands.publish_files import identify_of
        from streams.publish.events import read_events
        from streams.publish.files import BadLine

        source, identify = self.sources[number], identify_of(self, number)
        schema, encode = self.values.schema(source.topic), self.encoder(source.topic)

        def progress(done: int) -> None:
            self.bytes_read[number] = done
            tell(sum(self.bytes_read.values()))

        def hear(header: Header) -> None:
            self.header = header

        history = self.settings.clock == "records"
        stamp = history and (self.from_ms is None or self.from_ms < FIRST_TIMESTAMP_MS)
        pipe = self.kept.get(number, sys.stdin.buffer)
        read = replace(source, path=None) if number in self.kept else source
        for one in read_events(
            read, schema, encode, number, pipe, progress, stamp, self.tell_remark, identify, self.zone,
            self._check(number), hear, take, leave_out, streaming=self.as_is,
        ):  # fmt: skip
            if isinstance(one, BadLine):
                self._bad(number, one)
            elif history and one.time_ms < FIRST_TIMESTAMP_MS:
                continue  # not asked for, and else a bad line
            elif self._wanted(number, one):
                yield one

    def _check(self, number: int) -> WorkerCheck:
        """What finds the events of a source that workers would refuse.

        A publication that goes on is checked as of its beginning, so that it gives the same events.
        """
        from schemas.decode import Decoder
        from streams.publish.checks import WorkerCheck

        decoder = Decoder(self.values.registry, partitions=1, value_bytes_max=self.settings.record_bytes_max)
        if self.settings.clock == "records":
            return WorkerCheck(decoder, None, self.zone)
        began_ms = [part.publication.began_ms for part in self.parts.get(number, ()) if part.publication.began_ms]
        return WorkerCheck(decoder, min(began_ms, default=time.time_ns() // 1_000_000), self.zone)

    def _bad(self, number: int, line: BadLine) -> None:
        """Tell and count a bad line, unless a shorter version of the file was published without it."""
        from streams.publish.publications import part_of_line

        if parts := self.parts.get(number):
            part = part_of_line(line.number, parts)
            if part is None:
                return
            part.passed(line.number)
        self.bad_lines_of[number] = self.bad_lines_of.get(number, 0) + 1
        self.tell_bad(number, line)

    def _wanted(self, number: int, event: Event) -> bool:
        """Whether an event is asked for and not yet published; it is counted for the record of its file."""
        from streams.publish.exactly_once import place_of
        from streams.publish.publications import part_of_line

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

    def tell_bad(self, number: int, line: BadLine) -> None:
        """Show the first bad lines, count all. Ends the command where events are sent as they are read."""
        self.bad_lines += 1
        if self.rejects:
            self.rejected.append(line)
        if self.bad_lines <= BAD_LINES_SHOWN:
            echo(f"{line.file}, line {line.number}: {line.message}", err=True)
        elif self.bad_lines == BAD_LINES_SHOWN + 1:
            echo("more bad lines are counted, not shown", err=True)
        if self.as_is and not self.skip_bad_lines and not self.only_looks:
            self.write_rejects()
            fail(f"stopped at line {line.number} of {line.file}: {line.message}", self._remedy_of_stopped(number))

    def write_rejects(self) -> None:
        """Write the bad lines to the file that was asked for, if there are any."""
        if self.rejects and self.rejected and self.header:
            from streams.publish.rejects import write_rejects

            write_rejects(self.rejects, self.header, self.rejected)
            echo(f"{bad_lines_text(self.bad_lines)} written to {self.rejects}", err=True)

    def refuse_bad_lines(self) -> None:
        """End the command before anything is sent if there are bad lines, unless they may be skipped."""
        self.write_rejects()
        if self.bad_lines and not self.skip_bad_lines:
            begun = any(part.publication.done for parts in self.parts.values() for part in parts)
            more = " more" if begun else ""
            fail(f"{bad_lines_text(self.bad_lines)}: nothing{more} was published", self.remedy())

    def remedy(self) -> str:
        """What to do about bad lines before anything is published."""
        corrected = f"correct them in {self.rejects}" if self.rejects else "correct them (--rejects FILE copies them)"
        if self.settings.clock == "records":
            return f"{corrected}, then publish the file and the corrected lines in one call with --skip-bad-lines"
        return f"{corrected}, or publish the other lines with --skip-bad-lines"

    def _remedy_of_stopped(self, number: int) -> str:
        """What to do about a bad line that stopped events that are sent as they are read."""
        from streams.commands.publish_files import is_stream

        if is_stream(self, number):
            return "correct it, or send the stream again with --skip-bad-lines: workers ignore ids that they remember"
        go_on = "give the same command with --skip-bad-lines: it goes on where it was"
        return f"{go_on}. A corrected file would be another file, and all of it would be published"

    def remedy_of_skipped(self) -> str:
        """What can still be done for lines that were left out of a publication."""
        if self.settings.clock == "records":
            return (
                "events older than the newest in the topics are refused (RESCORE_CLOCK=records): to have these lines "
                "in the history, correct them and publish everything in one call to fresh topics"
            )
        where = f"in {self.rejects}" if self.rejects else "in a file of their own, with the same header,"
        return f"correct them {where} and publish that file with the same options"

    def tell_remark(self, line: BadLine) -> None:
        """Show the first lines that are worth a word, count all."""
        self.remarks += 1
        if self.remarks <= BAD_LINES_SHOWN:
            echo(f"{line.file}, line {line.number}: {line.message}", err=True)
        elif self.remarks == BAD_LINES_SHOWN + 1:
            echo("more such lines are counted, not shown", err=True)
