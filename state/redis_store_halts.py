"""Notes of halted partitions in Redis: so that everyone can be told, though a worker's own probes know it alone.

The note of partition p of an app is the text of `{app.p}:halted`, which expires by itself a while after its worker has
last repeated it. No decision of a worker rests on a note, and a server that has lost them has lost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class HaltNotes:
    """Writes and reads the notes of one app. `command` asks the server; it raises `StoreUnavailable`."""

    def __init__(self, command: Callable[..., Any], app: str) -> None:
        self._command, self._app = command, app

    def write(self, partition: int, reason: str, seconds: float) -> None:
        """Say that a partition is halted, for so many seconds from now."""
        self._command("SET", self._key(partition), reason.encode("utf-8", "replace"), "PX", round(1_000 * seconds))

    def delete(self, partition: int) -> None:
        """Say that a partition is halted no longer."""
        self._command("DEL", self._key(partition))

    def read(self, partitions: int) -> dict[int, str]:
        """Why each halted partition is halted, of the first `partitions`."""
        found = self._command("MGET", *map(self._key, range(partitions)))
        return {number: reason.decode("utf-8", "replace") for number, reason in enumerate(found) if reason is not None}

    def _key(self, partition: int) -> bytes:
        return b"{%s.%d}:halted" % (self._app.encode(), partition)
