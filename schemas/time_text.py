"""Moments as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def text_of_ms(time_ms: int) -> str:
    """A time as ISO 8601 in UTC, without needless zeros.

    >>> text_of_ms(725846400000)
    '1993-01-01T00:00:00Z'
    """
    moment = datetime.fromtimestamp(time_ms / 1_000, UTC)
    return moment.isoformat(timespec="milliseconds" if time_ms % 1_000 else "seconds").replace("+00:00", "Z")
