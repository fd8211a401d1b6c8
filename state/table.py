"""Rows of many customers, packed: the table that a batch is folded into.

A row is a short byte string (`state.layout` says what is in it). A table lays the rows of a batch's users end to end in
one buffer, so that the compiled kernel walks them without touching a Python object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FOREVER_MS
from schemas.texts import Texts


@dataclass(slots=True)
class Table:
    """Packed rows of `users`; row i is `packed[starts[i]:starts[i + 1]]`, empty where the user has no row.

    `due_ms[i]` is when time next has to look at the row (FOREVER_MS: not at all). `changed[i]` says that the row is not
    the one that was loaded, so that its after-image has to be written.
    """

    users: list[bytes]
    names: Texts  # the users end to end
    packed: NDArray[np.uint8]
    starts: NDArray[np.int64]
    due_ms: NDArray[np.int64]
    changed: NDArray[np.bool_]

    @classmethod
    def of(cls, users: Sequence[bytes], rows: Sequence[bytes | None]) -> Table:
        """A table of rows as a store returned them (None: the user is new). Nothing is copied twice.

        >>> table = Table.of([b"ann", b"bob"], [None, b"abc"])
        >>> table.row(0), table.row(1)
        (None, b'abc')
        """
        packed, starts = Texts.of([row or b"" for row in rows])
        n = len(rows)
        names = Texts.of(users)
        return cls(list(users), names, packed, starts, np.full(n, FOREVER_MS, np.int64), np.zeros(n, np.bool_))

    def row(self, i: int) -> bytes | None:
        """The packed row of user i, None where there is none."""
        start, end = self.starts[i], self.starts[i + 1]
        return self.packed[start:end].tobytes() if end > start else None
