"""Exceptions planted in the stages of a batch with real scores, by the record: a fault of the program, on purpose.

`planted(...)` makes some records raise, wherever their stage meets them: while they are read, within the compiled step
after it has left its scratch in disorder, in what surrounds it, while examples, changes or the journal are written.
Which record raises, and where, is read off its place in the log, so that it does so again after every crash.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from schemas.batch import EventBatch, Record
from schemas.kinds import INPUT_TOPICS
from streams.processing import processor
from streams.processing.case_examples import CreditExamples
from streams.scoring import step as stepping

Place = tuple[str, int]
"""Topic and offset: of both partitions, as far as these tests care."""

STAGES = (
    "decode", "decode", "money", "kernel", "kernel", "step", "examples", "changes", "headers", "journal", "texts",
)  # fmt: skip
EXCEPTIONS = (ZeroDivisionError, KeyError, IndexError, AssertionError, RecursionError, OverflowError, RuntimeError)
SHOWN = {
    "decode": "decode", "money": "fold", "kernel": "fold", "step": "fold", "examples": "examples", "texts": "examples",
    "changes": "encode", "headers": "encode", "journal": "journal",
}  # fmt: skip
"""What a dead letter says of these stages."""


def stage_of(place: Place, seed: int, one_in: int) -> str | None:
    """Where the record at this place raises; None for most."""
    drawn = zlib.crc32(f"{seed} {place}".encode())
    return STAGES[drawn // one_in % len(STAGES)] if drawn % one_in == 0 else None


@contextmanager
def planted(seed: int, one_in: int) -> Iterator[dict[str, int]]:
    """Plant; counts how often each stage has raised."""
    raised: dict[str, int] = {}

    def strike(stage: str, places: Iterator[Place]) -> None:
        for place in places:
            if stage_of(place, seed, one_in) == stage:
                raised[stage] = raised.get(stage, 0) + 1
                raise EXCEPTIONS[zlib.crc32(repr(place).encode()) % len(EXCEPTIONS)](f"planted in {stage} at {place}")

    with pytest.MonkeyPatch.context() as patch:
        for where, name, stage, places_of in _plan():
            patch.setattr(where, name, _striking(getattr(where, name), stage, places_of, strike))
        yield raised


Places = Callable[[tuple[Any, ...], Mapping[str, Any]], Iterator[Place]]


def _plan() -> list[tuple[Any, str, str, Places]]:
    """What is patched: where, its name, its stage, and how the records that it is about are told."""
    return [
        (processor, "decode", "decode", lambda given, _: (_place(record) for record in given[0])),
        (stepping, "converted", "money", lambda given, _: _events(given[0])),
        (stepping, "run", "kernel", lambda given, _: _events(given[5])),
        (stepping, "_result", "step", lambda given, _: _events(given[1].events)),
        (CreditExamples, "messages", "examples", lambda given, _: _events(given[1].events, given[2].cases["event"])),
        (processor, "text_examples", "texts", lambda given, _: _events(given[0].events)),
        (processor, "encode_changes", "changes", lambda given, _: _events(given[1].events, given[0].rows["event"])),
        (processor.CloudEvents, "change_headers", "headers", lambda given, _: _changed(given[1], given[2])),
        (processor, "encode_inversions", "journal", lambda given, _: _events(given[1].events, given[0]["event"])),
    ]


def _changed(changes: Any, batch: EventBatch) -> Iterator[Place]:
    return _events(batch.events, changes.rows["event"])


def _place(record: Record) -> Place:
    return record.topic, record.offset


def _events(events: Any, chosen: Any = None) -> Iterator[Place]:
    numbers = range(len(events)) if chosen is None else [int(i) for i in chosen if i >= 0]
    return ((INPUT_TOPICS[int(events[i]["rank"])], int(events[i]["offset"])) for i in numbers)


def _striking(function: Any, stage: str, places_of: Places, strike: Callable[[str, Iterator[Place]], None]) -> Any:
    def run(*given: Any, **named: Any) -> Any:
        if stage == "kernel":
            try:
                strike(stage, places_of(given, named))
            except Exception:
                function(*given, **named)  # as far as it comes
                _disorder(given)
                raise
            return function(*given, **named)
        strike(stage, places_of(given, named))
        return function(*given, **named)

    return run


def _disorder(given: tuple[Any, ...]) -> None:
    """The kernel has stopped in the middle: what it works in is full of what no row and no batch would leave there."""
    row, eyes, room = given[-3:]
    for array in (*row, *room, eyes.base):
        np.frombuffer(array.data, np.uint8)[:] = 0x5A
