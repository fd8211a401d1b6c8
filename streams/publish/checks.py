"""What is looked at before a file is published: what workers would refuse, and the sums of it all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count, repeat
from typing import Any

from schemas.batch import Record
from schemas.decode import Decoder, decode, read_one
from schemas.kinds import INPUT_TOPICS, Rank, TransactionState
from schemas.meaning import STATES
from schemas.readable import Refused
from schemas.rejects import refuse
from schemas.zones import UTC, Zone
from streams.publish.events import Event

SUMMED: dict[str, tuple[str, str]] = {
    "transactions": ("transaction_amount", "transaction_currency"),
    "loans": ("amount", "currency"),
}
"""The amount and the currency of the events whose money is summed."""


@dataclass(frozen=True, slots=True)
class WorkerCheck:
    """Finds events of one file that a worker would make dead letters of, by the worker's own decoder.

    What needs a customer's state (an unknown loan, a correction of nothing) only a worker can find. `now_ms` is the
    timestamp the records will have; None: their own times. Times without a zone are read in `zone`, the policy's.
    """

    decoder: Decoder
    now_ms: int | None
    zone: Zone = UTC

    def refusals(self, events: Sequence[Event]) -> dict[int, str]:
        """What is wrong with which of the events. About 1 us for each. Raises RegistryUnavailable."""
        if not events or events[0].topic not in INPUT_TOPICS:
            return {}
        times = [event.time_ms for event in events] if self.now_ms is None else repeat(self.now_ms)
        keys, values = [event.key for event in events], [event.value for event in events]
        records = list(map(Record, repeat(events[0].topic), repeat(0), count(), times, keys, values))
        if len(records) == 1:
            return self._one(records[0])
        batch = decode(records, 0, self.decoder, self.zone)
        return {reject.record: reject.message for reject in batch.rejects}

    def _one(self, record: Record) -> dict[int, str]:
        said = read_one(record, 0, Rank(INPUT_TOPICS.index(record.topic)), self.decoder, self.zone)
        return {0: refuse(0, "decode", said.code, said.detail).message} if isinstance(said, Refused) else {}


@dataclass(slots=True)
class Summary:
    """What a file holds, as `publish --check` says it. Sums are exact."""

    topic: str
    rows: set[int] = field(default_factory=set)
    events: int = 0
    left_out: int = 0
    customers: set[bytes] = field(default_factory=set)
    first_ms: int | None = None
    last_ms: int | None = None
    money_in: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    money_out: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    not_summed: Counter[str] = field(default_factory=Counter)

    def take(self, event: Event, fields: Mapping[str, Any]) -> None:
        """Add a good event."""
        happened_ms = event.time_ms
        self.events += 1
        self.rows.add(event.order[1])
        self.customers.add(event.key)
        self.first_ms = happened_ms if self.first_ms is None else min(self.first_ms, happened_ms)
        self.last_ms = happened_ms if self.last_ms is None else max(self.last_ms, happened_ms)
        amount_name, currency_name = SUMMED.get(self.topic, ("", ""))
        amount = fields.get(amount_name)
        if amount is None:
            return
        if fields.get("revision"):
            self.not_summed["corrections"] += 1
        elif STATES.get(str(fields.get("transaction_state") or "SUCCEEDED").upper()) != TransactionState.SUCCEEDED:
            self.not_summed["failed or pending"] += 1
        else:
            money = self.money_in if amount > 0 else self.money_out
            money[str(fields.get(currency_name) or "without a currency")] += Decimal(repr(amount))

    def currencies(self) -> list[tuple[str, Decimal, Decimal]]:
        """(currency, in, out) of each currency, in the order of their names."""
        names = sorted({*self.money_in, *self.money_out})
        return [(name, self.money_in.get(name, Decimal(0)), self.money_out.get(name, Decimal(0))) for name in names]
