"""A message that a transaction writes."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """One record to be written: key, value (None: a tombstone) and headers (None: none, which is cheaper to send)."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] | None = None
