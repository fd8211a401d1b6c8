"""Python's search for cycles of garbage, at moments that cost nothing.

A batch makes a hundred thousand tuples and no cycle. Python's collector looks through all of them again and again while
they are made: a fifth of a worker's CPU when it was measured. So it is switched off, everything that is there at the
start is left out of sight, and what cycles libraries and errors leave are looked for every few seconds between batches.
"""

from __future__ import annotations

import gc

from streams.worker.observer import Observer

EVERY_SECONDS = 10.0


class GarbageCollector(Observer):
    """Takes over from Python's automatic collector when it is made, for the rest of the process."""

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self._every_seconds = every_seconds
        self._collected_at_seconds: float | None = None
        gc.collect()
        gc.freeze()
        gc.disable()

    def turned(self, at_seconds: float) -> None:
        """Collect where the last time is long enough ago; some milliseconds."""
        if self._collected_at_seconds is None:
            self._collected_at_seconds = at_seconds
        elif at_seconds - self._collected_at_seconds >= self._every_seconds:
            self._collected_at_seconds = at_seconds
            gc.collect()
