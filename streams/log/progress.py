"""The progress record: how far a partition is, written in the same transaction as its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

NO_OFFSET = -1
DUE_MS_MAX = 2**53
"""Of a due time: what a score of Redis's sorted sets holds exactly."""


class Progress(NamedTuple):
    """What the last record of each transaction in a changelog partition says."""

    seq: int  # counts the partition's transactions from 1
    next_offsets: Mapping[str, int]  # by input topic
    clock_ms: int  # the partition's clock
    nonce: str  # the session that wrote it
    code_version: str
    marked_ms: int | None = None  # the last boundary of an epoch that was marked among the examples
    swept_ms: int | None = None  # everyone has been scored again with all weights up to then that ask for it
    erased_ms: int | None = None  # the clock when an erasure was last taken
    topic_ids: Mapping[str, str] | None = None  # of the topics that the state was made from


class ProgressCodec(Protocol):
    """Progress records to bytes and back."""

    def encode(self, progress: Progress) -> bytes:
        """The value of a progress record."""
        ...

    def decode(self, value: bytes) -> Progress:
        """The progress in the value of a progress record."""
        ...


class Standing(NamedTuple):
    """Where a partition stands: the log and the store agree on it, and `nonce` may write."""

    seq: int
    next_offsets: dict[str, int]
    clock_ms: int
    nonce: str
    marked_ms: int | None = None
    swept_ms: int | None = None
    erased_ms: int | None = None
    topic_ids: Mapping[str, str] | None = None
