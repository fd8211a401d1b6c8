"""Writes as `rescore.lua` reads them: two long strings, as thousands of short ones cost five times as much to pack."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from schemas.batch import FOREVER_MS
from state.row_columns import RowColumns
from state.store import RowWrite

DELETE, LEAVE, NOT_DUE = -1, -2, math.nan
"""How `rescore.lua` reads: the row is deleted, the row is left alone, there is no due time."""

NUMBERS = np.dtype([("user", "<u4"), ("row", "<i4"), ("due_ms", "<f8")])
"""The numbers of one write, as rescore.lua reads them: lengths of user and row, due time."""


def packed(prefix: bytes, writes: Sequence[RowWrite]) -> tuple[bytes, bytes, memoryview]:
    """Writes as `write` in rescore.lua reads them: prefix, numbers, text. Of one user the last write counts."""
    columns = RowColumns.of(writes)
    numbers = np.empty(len(columns), NUMBERS)
    numbers["user"] = columns.names.lengths
    numbers["row"] = np.where(columns.deleted, DELETE, columns.rows.lengths)
    numbers["due_ms"] = np.where(columns.due_ms == FOREVER_MS, NOT_DUE, columns.due_ms)
    return prefix, numbers.tobytes(), columns.names.woven_with(columns.rows).packed.data


def packed_dues(dues: Iterable[tuple[bytes, int | None]]) -> tuple[bytes, bytes, bytes]:
    """Due times alone, likewise."""
    last = dict(dues)
    numbers = np.empty(len(last), NUMBERS)
    numbers["user"] = [len(user) for user in last]
    numbers["row"] = LEAVE
    numbers["due_ms"] = [NOT_DUE if due_ms is None else due_ms for due_ms in last.values()]
    return b"", numbers.tobytes(), b"".join(last)
