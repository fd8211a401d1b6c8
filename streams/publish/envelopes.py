"""Rows of change streams (Debezium): an insert is an event, an update its correction, a delete its reversal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streams.publish.columns import Row

Fields = dict[str, Any]

NEW, UPDATE, DELETE = ("c", "r"), "u", "d"
FULL = "log whole rows (for PostgreSQL: ALTER TABLE ... REPLICA IDENTITY FULL)"


class Change(NamedTuple):
    """A change of a row: its columns now (those before it for a delete), those before it, and when it was made."""

    op: str
    row: Row
    before: Row | None
    known_ms: int | None


def looks_wrapped(row: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a change of Debezium's, with or without its schema.

    >>> looks_wrapped({"payload": {"op": "c", "before": None, "after": {}}}), looks_wrapped({"op": "c"})
    (True, False)
    """
    inner = row.get("payload", row)
    return isinstance(inner, Mapping) and "op" in inner and "after" in inner


def unwrap(row: Row) -> Change:
    """The change in an envelope. The rest of the envelope is in the columns `debezium.op`, `debezium.source.table`...

    Raises ValueError, in words, for what changes no row.

    >>> unwrap({"op": "c", "before": None, "after": {"id": 7}, "ts_ms": 5}).row["id"]
    7
    """
    if not looks_wrapped(row):
        raise ValueError("is no change of Debezium's (before, after, op)")
    inner = row.get("payload", row)
    op, before, after = inner["op"], inner.get("before"), inner["after"]
    if op not in (*NEW, UPDATE, DELETE):
        raise ValueError(f"is an operation {op!r}, which is no insert, update or delete of a row: leave the line out")
    columns = before if op == DELETE else after
    if not isinstance(columns, dict):
        raise ValueError(  # noqa: TRY004 - a bad line, told as all others are
            f"is a {'delete without `before`' if op == DELETE else 'change without `after`'}: {FULL}"
        )
    if op == UPDATE and not isinstance(before, dict):
        raise ValueError(f"is an update without `before`: nothing says what it replaces; {FULL}")
    known_ms = (inner.get("source") or {}).get("ts_ms") or inner.get("ts_ms")
    about = {name: value for name, value in inner.items() if name not in ("before", "after")}
    return Change(op, columns | {"debezium": about}, before, known_ms if isinstance(known_ms, int) else None)


def as_correction(topic: str, fields: Fields, before: Fields, is_delete: bool, replaced: tuple[str, ...]) -> Fields:
    """The fields of a correction, without its revision. `replaced` are the names within `previous`.

    Raises ValueError for events that cannot be corrected.
    """
    if not fields.get("event_id"):
        raise ValueError("has no event_id, which says what is corrected: map the key of the table (event_id=id)")
    if not replaced or (topic == "loans" and fields.get("event") != "repaid"):
        raise ValueError(f"events of {topic} cannot be corrected, except repayments: publish what it means as an event")
    previous = {name: before[name] for name in replaced if before.get(name) is not None}
    if missing := [name for name in replaced if name in fields and name not in previous]:
        raise ValueError(f"its `before` has no {', '.join(missing)}: {FULL}")
    change: Fields = {"previous": previous}
    if is_delete:
        change |= {"amount": 0.0} if topic == "loans" else {"transaction_state": "REVERSED"}
    return fields | change


@dataclass(slots=True)
class Revisions:
    """The revision of each next correction of an event, counted in the file from 1."""

    latest: dict[tuple[str, str], int] = field(default_factory=dict)

    def give(self, owner: str, fields: Fields) -> None:
        """Set the revision of a correction, unless the file names one."""
        name = (owner, fields["event_id"])
        self.latest[name] = fields.get("revision") or self.latest.get(name, 0) + 1
        fields["revision"] = self.latest[name]
