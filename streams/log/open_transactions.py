"""Open transactions as a reader of committed records meets them: where one is, since when, and how to say so. Pure.

A reader with `isolation.level=read_committed` gets nothing behind the last stable offset: the first record of the
oldest transaction that is neither committed nor aborted. Brokers tell that offset and the high watermark to every
client. They tell the producer's id and transactional id by DescribeProducers and ListTransactions alone, which
librdkafka does not speak: `kafka-transactions.sh` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.errors import RescoreError
from schemas.time_text import text_of_ms

Where = tuple[str, int]
"""Topic, partition."""


class OpenTransaction(NamedTuple):
    """The oldest open transaction of one partition, and what waits for its end."""

    topic: str
    partition: int
    offset: int  # of its first record: the last stable offset
    end: int  # the high watermark
    first_ms: int | None = None  # the timestamp of its first record; None: not read in time
    by_broker: bool = False  # the broker has stamped it, so that this is when the transaction wrote first

    @property
    def place(self) -> str:
        """Topic and partition as everywhere in words."""
        return f"{self.topic}/{self.partition}"

    @property
    def since_ms(self) -> int | None:
        """When its first record was written; None where only the record's own time is known."""
        return self.first_ms if self.by_broker else None

    def words(self, whose: str = "") -> str:
        """What is open where, since when, and how much waits behind it.

        >>> OpenTransaction("loans", 0, 17, 19, 1_764_547_200_000, True).words(" of a publisher")
        'a transaction of a publisher on loans/0 is open since 2025-12-01T00:00:00Z: 2 offsets from 17 on wait for it'
        """
        since = ""
        if self.first_ms is not None:
            moment = text_of_ms(self.first_ms)
            since = f" since {moment}" if self.by_broker else f" (its first record is of {moment})"
        count = self.end - self.offset
        waits = (
            f"{count:,} offset{'' if count == 1 else 's'} from {self.offset} on wait{'s' if count == 1 else ''} for it"
        )
        return f"a transaction{whose} on {self.place} is open{since}: {waits}"


class BehindOpenTransaction(RescoreError):
    """What was to be read lies behind transactions that are open still; everything before them was delivered."""

    remedy = (
        "ask again when its producer has committed or aborted it; kafka-transactions.sh finds and aborts one that hangs"
    )

    def __init__(self, transactions: Sequence[OpenTransaction]) -> None:
        what = "; ".join(one.words() for one in transactions)
        super().__init__(f"what lies behind an open transaction cannot be read: {what}")
        self.transactions = tuple(transactions)
