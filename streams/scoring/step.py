"""One batch of one partition, without I/O: rows and events in; rows, changes, examples and journal out.

`step` is the fast path (one compiled loop); `streams.scoring.oracle.step` says in plain Python what it must do, and the
tests hold the two together to the byte.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.batch import Changes, Columns, EventBatch, Journal
from state.table import Table
from state.versions import Versions


class Clocks(NamedTuple):
    """`partition_ms`: the partition's clock once this batch is taken; timers due by then fire."""

    partition_ms: int


class Step(NamedTuple):
    """What a batch did."""

    table: Table
    changes: Changes
    examples: Columns  # EXAMPLE
    journal: Journal


def step(table: Table, batch: EventBatch, versions: Versions, clocks: Clocks) -> Step:
    """Take a batch: per user and record fire timers, fold, score, compare; at last fire what the clock has passed.

    `batch.users[i]` is `table.users[i]`; the table may have more users behind them (those whose timers are due).
    """
    raise NotImplementedError
