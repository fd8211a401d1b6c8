"""Customers without a broker or a store: events by name in, changes by name out, through decoder and real step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.batch import FOREVER_MS, Record, Reject
from schemas.decode import Decoder, decode
from schemas.kinds import CAUSE_NAMES, SCORE_NAMES, Reason
from schemas.known_schemas import StaticRegistry
from schemas.writing import hit_to_dict, list_of
from state.category_text import packaged_text_weights
from state.layout import decode_row
from state.row import Row
from state.table import Table
from state.versions import Policy, Rate, Versions
from streams.scoring.step import Clocks, Step, step
from streams.scoring.version_names import names_of
from streams.versions.known import packaged_risk, packaged_weights
from streams.versions.packaged_profiles import packaged_book

START = datetime(2026, 1, 1, tzinfo=UTC)


def at_ms(day: float) -> int:
    """Milliseconds of a moment counted in days from the start."""
    return round((START + timedelta(days=day)).timestamp() * 1000)


def iso(day: float) -> str:
    """The same as text."""
    return (START + timedelta(days=day)).isoformat()


@dataclass
class Customers:
    """Rows of customers, taken forward by events."""

    policy: Policy = field(default_factory=Policy)
    rates: list[Rate] = field(default_factory=list)
    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    dues: dict[bytes, int] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    examples: list[Any] = field(default_factory=list)
    inversions: list[Any] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)  # all of them, as published
    offset: int = 0
    known_letters: int = 0  # for tests: how many they have looked at

    def __post_init__(self) -> None:
        self.versions = Versions(
            [self.policy], [packaged_weights()], self.rates, [packaged_risk()], [packaged_book()],
            [packaged_text_weights()],
        )  # fmt: skip
        self.decoder = Decoder(StaticRegistry(), partitions=1)

    def transaction(self, day: float, amount: float, user: str = "ann", **more: Any) -> list[dict[str, Any]]:
        """A transaction on a day; `known` says when it arrives, if later."""
        known = more.pop("known", day)
        fields = {
            "event_id": f"t-{self.offset}", "user_id": user, "transaction_state": "SUCCEEDED",
            "transaction_currency": "EUR", "user_balance": 1000.0, "transaction_amount": amount,
            "user_created": iso(-400), "user_category": "WEB", "transaction_date": iso(day),
        }  # fmt: skip
        return self.take("transactions", known, {**fields, **more})

    def issued(self, day: float, loan: str, due: float, user: str = "ann", **more: Any) -> list[dict[str, Any]]:
        """A loan of 100,000 with a margin of 10,000."""
        known = more.pop("known", day)
        fields = {
            "event_id": f"i-{self.offset}", "user_id": user, "event": "issued", "loan_id": loan,
            "order_amount": 100_000.0,
            "gross_margin": 10_000.0, "promo": 0.0, "currency": "EUR", "order_date": iso(day),
            "due_date": iso(due)[:10],
            "point": "p-1", "province": "north",
        }  # fmt: skip
        return self.take("loans", known, {**fields, **more})

    def repaid(
        self, day: float, loan: str, amount: float = 100_000.0, user: str = "ann", **more: Any
    ) -> list[dict[str, Any]]:
        """A payment of a loan."""
        known = more.pop("known", day)
        fields = {
            "event_id": f"r-{self.offset}", "user_id": user, "event": "repaid", "loan_id": loan, "amount": amount,
            "paid_at": iso(day),
        }  # fmt: skip
        return self.take("loans", known, {**fields, **more})

    def cancelled(self, day: float, loan: str, user: str = "ann") -> list[dict[str, Any]]:
        """A loan that is taken back."""
        fields = {
            "event_id": f"c-{self.offset}",
            "user_id": user,
            "event": "cancelled",
            "loan_id": loan,
            "order_date": iso(day),
        }
        return self.take("loans", day, fields)

    def declared(self, day: float, user: str = "ann", **more: float) -> list[dict[str, Any]]:
        """What a customer declares."""
        fields = {"event_id": f"d-{self.offset}", "user_id": user, "declared_at": iso(day)}
        return self.take("applicants", day, {**fields, **more})

    def command(self, day: float, command: str, user: str = "ann", **more: Any) -> list[dict[str, Any]]:
        """A command about a customer."""
        return self.take("commands", day, {"event_id": f"m-{self.offset}", "user_id": user, "command": command, **more})

    def take(self, topic: str, day: float, fields: dict[str, Any]) -> list[dict[str, Any]]:
        """One record, known on a day."""
        return self.take_value(topic, fields["user_id"], json.dumps(fields), at_ms(day))

    def take_value(self, topic: str, key: str, value: str, timestamp_ms: int) -> list[dict[str, Any]]:
        """One record as it was published."""
        record = Record(topic, 0, self.offset, timestamp_ms, key.encode(), value.encode())
        self.offset += 1
        self.records.append(record)
        return self._step([record], timestamp_ms)

    def advance(self, day: float) -> list[dict[str, Any]]:
        """Let time pass without an event, to the turn of a day or a moment in it."""
        return self._step([], at_ms(day))

    def row(self, user: str = "ann") -> Row:
        """What is known of a customer."""
        packed = self.rows[user.encode()]
        assert packed is not None
        return decode_row(packed)

    def _step(self, records: list[Record], clock_ms: int) -> list[dict[str, Any]]:
        batch = decode(records, 0, self.decoder, self.versions.zone)
        self.rejects += batch.rejects
        due = sorted(user for user, at in self.dues.items() if at <= clock_ms and user not in batch.users)
        users = [*batch.users, *due]
        table = Table.of(users, [self.rows.get(user) for user in users])
        self.last = done = step(table, batch, self.versions, Clocks(clock_ms))
        for i, user in enumerate(users):
            self.rows[user] = done.table.row(i)
            self.dues[user] = int(done.table.due_ms[i])
        self.rejects += done.journal.rejects
        self.inversions += list(done.journal.inversions)
        self.examples += list(done.examples)
        return [self._spell(done, change) for change in done.changes.rows]

    def _spell(self, done: Step, change: Any) -> dict[str, Any]:
        reasons = done.changes.reasons[change["reasons_at"] : change["reasons_at"] + change["reasons_count"]]
        hits = done.changes.hits[change["hits_at"] : change["hits_at"] + change["hits_count"]]
        names = names_of(self.versions)
        return {
            "user": done.table.users[change["user"]].decode(),
            "score": SCORE_NAMES[change["score"]],
            "cause": CAUSE_NAMES[change["cause"]],
            "old": float(change["old"]),
            "new": float(change["new"]),
            "base": float(change["base"]),
            "sequence": int(change["sequence"]),
            "day": (int(change["decided_ms"]) - at_ms(0)) / 86_400_000,
            "valid_until": None
            if change["valid_until_ms"] == FOREVER_MS
            else (int(change["valid_until_ms"]) - at_ms(0)) / 86_400_000,
            "loan": done.changes.slice_of_text(change["loan_at"], change["loan_length"]).decode(),
            "point": done.changes.slice_of_text(change["point_at"], change["point_length"]).decode(),
            "version": names.weights[change["weights_version"]],
            "old_list": list_of(change["score"], change["old"], names),
            "new_list": list_of(change["score"], change["new"], names),
            "hits": [hit_to_dict(hit, names) for hit in hits],
            "reasons": {Reason(int(r["code"])).name: (float(r["level"]), float(r["moved"])) for r in reasons},
        }


def of(changes: list[dict[str, Any]], score: str) -> list[dict[str, Any]]:
    """The changes of one score."""
    return [change for change in changes if change["score"] == score]
