"""What is looked at before a file is published: what workers would refuse, repeated ids, and the sums of it all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count, repeat
from typing import Any

from schemas.batch import EventBatch, Record
from schemas.decode import Decoder, decode, read_one
from schemas.kinds import INPUT_TOPICS, Rank, TransactionState
from schemas.known_schemas import Registry
from schemas.meaning import STATES
from schemas.readable import Refused
from schemas.rejects import refuse
from streams.publish_events import Event

SUMMED: dict[str, tuple[str, str]] = {
    "transactions": ("transaction_amount", "transaction_currency"),
    "loans": ("amount", "currency"),
}
"""The amount and the currency of the events whose money is summed."""


class WorkerCheck:
    """Finds events of one file that a worker would make dead letters of, by the worker's own decoder.

    What needs a customer's state (an unknown loan, a correction of nothing) only a worker can find. `now_ms` is the
    timestamp the records will have; None: their own times. With `ids`, an event_id that comes again is found as well,
    at some 100 bytes an event.
    """

    def __init__(self, registry: Registry, now_ms: int | None, ids: bool) -> None:
        self._decoder = Decoder(registry, partitions=1)
        self._now_ms = now_ms
        self._seen: dict[int, int] | None = {} if ids else None
        self.repeated = 0  # events whose id was there before

    def refusals(self, events: Sequence[Event]) -> dict[int, str]:
        """What is wrong with which of the events. About 1 us for each. Raises RegistryUnavailable."""
        if not events or events[0].topic not in INPUT_TOPICS:
            return {}
        times = [event.time_ms for event in events] if self._now_ms is None else repeat(self._now_ms)
        keys, values = [event.key for event in events], [event.value for event in events]
        records = list(map(Record, repeat(events[0].topic), repeat(0), count(), times, keys, values))
        if len(records) == 1 and self._seen is None:
            return self._one(records[0])
        batch = decode(records, 0, self._decoder)
        wrong = {reject.record: reject.message for reject in batch.rejects}
        return wrong | self._repeated(events, batch) if self._seen is not None else wrong

    def _one(self, record: Record) -> dict[int, str]:
        said = read_one(record, 0, Rank(INPUT_TOPICS.index(record.topic)), self._decoder)
        return {0: refuse(0, "decode", said.code, said.detail).message} if isinstance(said, Refused) else {}

    def _repeated(self, events: Sequence[Event], batch: EventBatch) -> dict[int, str]:
        """Events with the identity of one before, of the same customer. Hashes of 64 bits stand for both."""
        seen = self._seen
        assert seen is not None
        known = batch.events["event_hash"] != 0
        places = batch.events["record"][known].tolist()
        identities = batch.events["event_hash"][known].tolist()
        hashes = [hash(events[at].key) ^ identity for at, identity in zip(places, identities, strict=True)]
        lines = [events[at].order[1] for at in places]
        if len(set(hashes)) == len(hashes) and seen.keys().isdisjoint(hashes):
            seen.update(zip(hashes, lines, strict=True))
            return {}
        wrong = {}
        for at, one, line in zip(places, hashes, lines, strict=True):
            if one in seen:
                self.repeated += 1
                wrong[at] = REPEATED.format(line=seen[one])
            else:
                seen[one] = line
        return wrong


REPEATED = (
    "has the event_id (and revision) of line {line}, so that workers would take one of the two only: "
    "leave the line out if it is the same event, else map an id of its own (--map 'event_id:={{COLUMN}}-{{COLUMN}}')"
)


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
