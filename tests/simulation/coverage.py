"""What the seeds have been through: a simulation that never got anywhere proves nothing."""

from __future__ import annotations

from collections import Counter

from streams.log.protocol import STEPS

CRASHES = tuple(f"crash at {step}" for step in STEPS)
FREEZES = tuple(f"frozen at {step}" for step in STEPS)
HAPPENINGS = (
    "zombie refused",
    "zombie stopped",
    "fenced by the store",
    "store was behind",
    "store was missing",
    "store moved under a batch",
    "late write arrived",
    "late write refused",
    "commit refused",
    "answer lost, committed",
    "answer lost, not committed",
    "markers lagged",
    "copy came back",
    "copy came back during a rebuild",
    "store emptied",
    "rows forgotten",
    "index forgotten",
    "position forgotten",
    "keys forgotten at S.load",
    "keys forgotten at S.fill",
    "keys forgotten at S.restored",
    "keys forgotten between two steps",
    "lost rows noticed",
    "store down",
    "brokers away",
    "rebuild",
    "catch-up",
    "worker joined",
    "worker left",
    "worker expelled",
    "slot taken over",
    "upgrade",
    "halted by a newer layout",
    "clock stepped",
    "clock of the brokers stepped",
    "silence broken",
    "publisher aborted",
    "changelog compacted",
    "inversion",
    "dead letter",
    "dead letter EVENT_ID_REUSED",
    "dead letter CORRECTION_OF_NOTHING",
    "record isolated",
    "duplicate",
    "correction",
    "erasure",
    "row deleted",
    "timer",
    "version adopted",
    "change of a real score",
    "request without a customer",
)
EVERYTHING = (*CRASHES, *FREEZES, *HAPPENINGS)

Coverage = Counter[str]


SEEDS_FOR_EVERYTHING = 1_000
"""With so many seeds all of it has happened."""


def never_happened(seen: Coverage) -> list[str]:
    """What must happen in a run of a thousand seeds, and did not."""
    return [name for name in EVERYTHING if not seen[name]]


def table(seen: Coverage) -> str:
    """The counters, for people."""
    width = max(map(len, seen), default=0)
    return "\n".join(f"{name:{width}} {seen[name]:>9,}" for name in sorted(seen))
