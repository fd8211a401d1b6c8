"""What persons decide about models, and the audit trail of what was done."""

from __future__ import annotations

from typing import NamedTuple

TIMELINE_MAX = 500
"""Lines of a timeline; older ones are in the log."""


class Happening(NamedTuple):
    """A line of the audit trail."""

    at_ms: int
    what: str  # adopted, refreshed, drift, forgot, rolled_back, promoted, frozen, thawed, refused, enveloped
    version: str
    who: str
    why: str


class Order(NamedTuple):
    """What a person decided, to be obeyed at the next boundary."""

    what: str
    version: str
    who: str
    why: str
