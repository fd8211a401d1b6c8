"""What publishing exactly once asks of Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from schemas.batch import Record


class Fenced(Exception):
    """Another client has taken the transactional id; nothing of the open transaction is in the topics."""


class RecordRefused(Exception):
    """A record that Kafka will never take, such as one that is too large."""


class Written(NamedTuple):
    """A record on its way to a topic, under its full name."""

    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int | None = None


class Sender(Protocol):
    """A transactional producer."""

    def begin(self) -> None:
        """Begin a transaction."""
        ...

    def send(self, record: Written) -> None:
        """Put a record into the open transaction. Raises RecordRefused."""
        ...

    def commit(self) -> None:
        """Commit it. Raises Fenced; NotDelivered where nothing of it is in the topics, or nobody knows."""
        ...

    def abort(self) -> None:
        """Leave nothing of the open transaction; says nothing where that does not succeed, as its time will end it."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class PublicationLog(Protocol):
    """The log as a publisher of files sees it."""

    def own(self, transactional_id: str) -> Sender:
        """Take a transactional id: what its owner has open is aborted, and its owner is fenced."""
        ...

    def records(self) -> Iterable[Record]:
        """All committed records of publications, up to an end that is asked for now."""
        ...

    def topic_id(self, topic: str) -> str:
        """The id of a topic, another one once it is created again; empty where the broker tells none."""
        ...

    def latest_timestamps_ms(self, topics: Iterable[str]) -> dict[str, int]:
        """The latest timestamp of a committed record of each topic that holds one."""
        ...
