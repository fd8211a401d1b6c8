"""What a worker says of epochs among the training examples: where its partitions have passed a boundary."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from streams.learning.epochs import Epochs, moment_text
from streams.log.message import Message
from streams.worker.options import NoMarks

MARKER_KEY = b"epoch"


class EpochMarks:
    """What a worker needs to know of epochs (`streams.worker.options.Marks`).

    `epochs` and `rescores` (ascending) are those known now, `limit_ms` says how far clocks may go until more has been
    learned.
    """

    def __init__(
        self,
        epochs: Callable[[], Epochs],
        rescores: Callable[[], Sequence[int]],
        limit_ms: Callable[[], int],
        encode: Callable[[int], bytes],
    ) -> None:
        self._epochs, self._rescores, self._limit_ms, self._encode = epochs, rescores, limit_ms, encode

    def passed_ms(self, until_ms: int) -> int | None:
        """See `Marks`."""
        return self._epochs().last_until(until_ms)

    def next_ms(self, after_ms: int) -> int:
        """See `Marks`."""
        rescores = self._rescores()
        at = bisect_right(rescores, after_ms)
        return min([self._epochs().next_after(after_ms), *rescores[at : at + 1]])

    def rescored_ms(self, until_ms: int) -> int | None:
        """See `Marks`."""
        rescores = self._rescores()
        at = bisect_right(rescores, until_ms)
        return rescores[at - 1] if at else None

    def marker(self, boundary_ms: int) -> Message:
        """See `Marks`."""
        return Message(MARKER_KEY, self._encode(boundary_ms))

    def held_by(self, until_ms: int) -> str:
        """See `Marks`."""
        if until_ms < self._limit_ms():
            return NoMarks().held_by(until_ms)
        return (
            f"what was learned comes into force at {moment_text(until_ms + 1)} and is not published yet. Is `rescore "
            f"learner` running? It says which partitions it waits for; one without further records is ended by "
            f"`rescore publish --advance-to TIME`"
        )
