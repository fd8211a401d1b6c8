"""What a worker is given by the composition root, and what it tells: options, clock, wire formats, observer."""

# ruff: noqa: ARG002 - what a default does not look at belongs to the protocol
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from schemas.batch import FOREVER_MS, Record
from streams.log.message import Message
from streams.log.progress import ProgressCodec


class Gate(Protocol):
    """How far clocks may go: no further than the versions in force are known (`streams.versions.broadcast`)."""

    def until_ms(self, newest_ms: int) -> int:
        """Clocks may pass times up to this one. `newest_ms` is the largest timestamp received from any input."""
        ...


class OpenGate:
    """A gate for inputs that no broadcast version has a say in."""

    def until_ms(self, newest_ms: int) -> int:
        """No limit."""
        return FOREVER_MS


class Marks(Protocol):
    """Boundaries of epochs, which workers mark among the training examples (`streams.processing.epoch_markers`)."""

    def passed_ms(self, until_ms: int) -> int | None:
        """The last boundary up to a time; None where there is none."""
        ...

    def next_ms(self, after_ms: int) -> int:
        """When there is something to do after a time, a boundary or a re-score; `FOREVER_MS` where there is not."""
        ...

    def rescored_ms(self, until_ms: int) -> int | None:
        """The last time up to this one at which everyone is scored again; None where there is none."""
        ...

    def marker(self, boundary_ms: int) -> Message:
        """What says that a partition has no more examples up to a boundary."""
        ...

    def held_by(self, until_ms: int) -> str:
        """Why clocks may not pass a time, where a boundary is the reason."""
        ...


class NoMarks:
    """Nobody learns: no boundaries."""

    def passed_ms(self, until_ms: int) -> int | None:
        """None."""
        return None

    def next_ms(self, after_ms: int) -> int:
        """Never."""
        return FOREVER_MS

    def rescored_ms(self, until_ms: int) -> int | None:
        """Never."""
        return None

    def marker(self, boundary_ms: int) -> Message:
        """Never asked for."""
        return Message(None, None)

    def held_by(self, until_ms: int) -> str:
        """Only the reading of versions holds clocks here."""
        return "a broadcast topic does not answer, or a transaction is open on it; time stands still until that ends"


@dataclass(frozen=True, slots=True)
class Wire:
    """The few words the motion itself must read and write; the composition root takes them from `schemas` and `state`.

    `advance_to` reads the clock out of an `advance` command (None: another command), `advance` writes one, `due_ms`
    reads the next due time out of a row.
    """

    progress: ProgressCodec
    advance_to: Callable[[Record], int | None]
    advance: Callable[[int], Message]
    due_ms: Callable[[bytes], int | None]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Names and limits. `silence_ms` None: time arrives as records alone.

    So it does while `is_live` says no (`RESCORE_CLOCK=records`); it is asked in every turn, as a history may go live.
    """

    inputs: tuple[str, ...] = ("commands", "applicants", "loans", "transactions", "outcomes")
    commands: str = "commands"
    changes: str = "score-changes"
    scorecards: str = "scorecards"
    state: str = "rescore-state"
    journal: str = "rescore-journal"
    examples: str = "rescore-examples"
    broadcast: tuple[str, ...] = ()  # topics of versions
    from_beginning: frozenset[str] = frozenset()  # topic ids that a person decided about, see `streams.log.topic_ids`
    same_offsets: frozenset[str] = frozenset()
    code_version: str = "unversioned"
    records_max: int = 20_000
    users_max: int = 1_000
    timers_max: int = 250  # users whose timers fire beside a batch of records
    partitions_max: int | None = None  # that share a transaction while little waits; None: half of ours
    bytes_max: int = 16 * 2**20  # of a partition's records in one batch; a single record may have more
    buffered_max: int = 20_000  # records of one input waiting for the others before it is paused
    buffered_bytes_max: int = 16 * 2**20  # likewise: memory is bounded whatever the size of records
    idle_seconds: float = 0.1
    silence_ms: int | None = 1_000
    is_live: Callable[[], bool] = lambda: True
    look_round_seconds: float = 5.0
