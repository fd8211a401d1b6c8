"""One row of the matrix, from the first topic to the verdict."""

from __future__ import annotations

import itertools
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from streams.commands.common import program_version
from tests.faults.rows import Row
from tests.faults.stage import KafkaBehindRoad, broker, delete_topics, small_disk, stage
from tests.faults.verdict import Verdict, judge


@dataclass
class Played:
    """What came of a row. `failure` is empty where it went as it should."""

    name: str
    fault: str
    how: str
    verdict: Verdict = field(default_factory=Verdict)
    recovered_seconds: float | None = None
    notes: list[str] = field(default_factory=list)
    failure: str = ""
    date: str = ""
    version: str = ""  # of the program

    @property
    def good(self) -> bool:
        """Played to its end, and nothing lost, doubled, wrong or out of order."""
        return not self.failure and self.verdict.clean

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """What `as_json` has written."""
        return cls(**{**fields, "verdict": Verdict(**fields["verdict"])})


_numbers = itertools.count(1)


def play(row: Row, kafka: KafkaBehindRoad, folder: Path | None = None, readable: bool = False) -> Played:
    """Play one row. What goes wrong is told in the result. `readable`: the recount is that of plain Python alone."""
    played = Played(row.name, row.fault, row.how, date=str(datetime.now(UTC).date()), version=program_version())
    if row.disk_mb:
        try:
            with small_disk(row.disk_mb) as disk, broker(disk) as own:
                return play(replace(row, disk_mb=0), own, folder, readable)
        except AssertionError as failure:
            played.failure = str(failure)
            return played
    with tempfile.TemporaryDirectory(prefix="rescore-faults-", dir=folder) as place:
        name = f"faults{os.getpid()}-{next(_numbers)}"
        with stage(
            kafka,
            Path(place),
            name,
            events=row.events,
            huge_bytes=row.huge_bytes,
            huge_every=row.huge_every,
            **row.settings,
        ) as set_up:
            try:
                row.inject(set_up)
                if set_up.mended_seconds is not None:
                    played.recovered_seconds = round(set_up.recovered(), 1)
                if row.rests:
                    set_up.rest()
                played.verdict = judge(set_up.app, compiled=not readable)
            except Exception as failure:  # noqa: BLE001 - the other rows are played whatever came of this one
                played.failure = str(failure) or repr(failure)
            played.notes = set_up.notes
        delete_topics(set_up.app)
    return played
