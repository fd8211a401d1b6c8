"""Messages of one topic as columns: from the writers that made them to the broker, as they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

from schemas.cloud_events import Headers
from schemas.texts import AsSequence, Texts
from streams.log.message import Message


@dataclass(frozen=True, eq=False)
class MessageColumns(AsSequence[Message]):
    """A sequence of `Message`: key i, value i and, where there are headers, row i of them.

    >>> list(MessageColumns(Texts.of([b"ann"]), Texts.of([b"..."])))
    [Message(key=b'ann', value=b'...', headers=None)]
    """

    keys: Texts
    values: Texts
    headers: Headers | None = None

    def __len__(self) -> int:
        return self.keys.size

    def __iter__(self) -> Iterator[Message]:
        headers = repeat(None) if self.headers is None else self.headers.rows()
        yield from map(Message, self.keys.cuts(), self.values.cuts(), headers)
