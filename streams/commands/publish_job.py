"""One call of `rescore publish`: what it reads, how, and what has been found to be wrong with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.commands.common import fail
from streams.terminal import echo

if TYPE_CHECKING:
    from streams.avro_values import Values
    from streams.publish_events import Event, Source, Take
    from streams.publish_reading import BadLine, Header
    from streams.settings import Settings

BAD_LINES_SHOWN = 20

Tell = Callable[[int], None]


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
    json_values: bool
    values: Values
    skip_bad_lines: bool = False
    rejects: Path | None = None
    header: Header | None = None
    rejected: list[BadLine] = field(default_factory=list)
    bad_lines: int = 0
    remarks: int = 0
    repeated_ids: int = 0
    bytes_read: dict[int, int] = field(default_factory=dict)

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

    def events(
        self,
        number: int,
        tell: Tell = lambda _done: None,
        take: Take | None = None,
        leave_out: Callable[[int], None] = lambda _number: None,
    ) -> Iterator[Event]:
        """Events of a file within the bounds, its bad lines told and counted."""
        from schemas.times import FIRST_TIMESTAMP_MS
        from streams.publish_checks import WorkerCheck
        from streams.publish_events import read_events
        from streams.publish_reading import BadLine

        source = self.sources[number]

        def progress(done: int) -> None:
            self.bytes_read[number] = done
            tell(sum(self.bytes_read.values()))

        def hear(header: Header) -> None:
            self.header = header

        of_records = self.settings.clock == "records"
        stamp = of_records and (self.from_ms is None or self.from_ms < FIRST_TIMESTAMP_MS)
        now_ms = None if of_records else time.time_ns() // 1_000_000
        check = WorkerCheck(self.values.registry, now_ms, ids=not self.as_is)
        schema, encode, pipe = self.values.schema(source.topic), self.encoder(source.topic), sys.stdin.buffer
        for one in read_events(
            source, schema, encode, number, pipe, progress, stamp, self.tell_remark, check, hear, take, leave_out,
            streaming=self.as_is,
        ):  # fmt: skip
            if isinstance(one, BadLine):
                self.tell_bad(one)
            elif self.within(one.time_ms):
                yield one
        self.repeated_ids += check.repeated

    def within(self, time_ms: int) -> bool:
        """Whether an event of this time was asked for."""
        return (self.from_ms is None or time_ms >= self.from_ms) and (self.until_ms is None or time_ms < self.until_ms)

    def tell_bad(self, line: BadLine) -> None:
        """Show the first bad lines, count all."""
        self.bad_lines += 1
        if self.rejects:
            self.rejected.append(line)
        if self.bad_lines <= BAD_LINES_SHOWN:
            echo(f"{line.file}, line {line.number}: {line.message}", err=True)
        elif self.bad_lines == BAD_LINES_SHOWN + 1:
            echo("more bad lines are counted, not shown", err=True)
        if self.as_is and not self.skip_bad_lines:
            self.write_rejects()
            fail(f"stopped at line {line.number} of {line.file}: {line.message}", self.remedy())

    def write_rejects(self) -> None:
        """Write the bad lines to the file that was asked for, if there are any."""
        if self.rejects and self.rejected and self.header:
            from streams.publish_rejects import write_rejects

            write_rejects(self.rejects, self.header, self.rejected)
            echo(f"{bad_lines_text(self.bad_lines)} written to {self.rejects}", err=True)

    def refuse_bad_lines(self) -> None:
        """End the command before anything is sent if there are bad lines, unless they may be skipped."""
        self.write_rejects()
        if self.bad_lines and not self.skip_bad_lines:
            fail(f"{bad_lines_text(self.bad_lines)}: nothing was published", self.remedy())

    def remedy(self) -> str:
        """What to do about bad lines before anything is published."""
        corrected = f"correct them in {self.rejects}" if self.rejects else "correct them (--rejects FILE copies them)"
        if self.settings.clock == "records":
            return f"{corrected}, then publish the file and the corrected lines in one call with --skip-bad-lines"
        return f"{corrected}, or publish the other lines with --skip-bad-lines"

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
