"""After-images of many rows as columns: from the step that made them to the changelog and the store, as they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.batch import FOREVER_MS
from schemas.texts import AsSequence, Texts
from state.store import RowWrite


@dataclass(frozen=True, eq=False)
class RowColumns(AsSequence[RowWrite]):
    """A sequence of `RowWrite`: of one user after the other, each once.

    `deleted[i]` says that nothing is left of user i, whose row is then empty; `due_ms[i]` is FOREVER_MS where time does
    not come back to the row.
    """

    users: Sequence[bytes]
    rows: Texts
    deleted: NDArray[np.bool_]
    due_ms: NDArray[np.int64]

    @classmethod
    def of(cls, writes: Sequence[RowWrite]) -> RowColumns:
        """Any writes as columns; of one user the last one counts. About 1 us each, nothing where they are already.

        >>> writes = [RowWrite(b"ann", b"old", 1), RowWrite(b"bob", None, None), RowWrite(b"ann", b"", 2)]
        >>> list(RowColumns.of(writes))
        [RowWrite(user=b'ann', row=b'', due_ms=2), RowWrite(user=b'bob', row=None, due_ms=None)]
        """
        if isinstance(writes, RowColumns):
            return writes
        last = {write.user: write for write in writes}
        dues = [FOREVER_MS if write.due_ms is None else write.due_ms for write in last.values()]
        rows = [write.row for write in last.values()]
        return cls(
            list(last),
            Texts.of([row or b"" for row in rows]),
            np.array([row is None for row in rows], np.bool_),
            np.array(dues, np.int64),
        )

    @cached_property
    def names(self) -> Texts:
        """The users end to end."""
        return Texts.of(self.users)

    @property
    def earliest_due_ms(self) -> int:
        """When time comes back to the first of them; FOREVER_MS where it does to none."""
        return int(self.due_ms.min(initial=FOREVER_MS))

    def __len__(self) -> int:
        return len(self.users)

    def __iter__(self) -> Iterator[RowWrite]:
        columns = zip(self.users, self.rows.cuts(), self.deleted.tolist(), self.due_ms.tolist(), strict=True)
        for user, row, deleted, due_ms in columns:
            yield RowWrite(user, None if deleted else row, None if due_ms == FOREVER_MS else due_ms)
