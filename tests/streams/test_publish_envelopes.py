"""Change streams: what can be translated is, and what cannot is told."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from schemas.definitions import schema
from streams.publish.events import Event, Source, read_events
from streams.publish.files import BadLine
from streams.publish.mapping import FileMapping

PAID = {"id": 1, "who": "ann", "loan": "L", "sum": 5, "day": "2026-11-20"}
COLUMNS = {"event_id": "id", "user_id": "who", "loan_id": "loan", "amount": "sum", "paid_at": "day"}


def _change(op: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "ts_ms": 1_800_000_000_000, "source": {"table": "t"}}


def _loans(*changes: dict[str, Any], event: str = "repaid", where: tuple[str, ...] = ()) -> list[Event | BadLine]:
    mapping = FileMapping(columns=COLUMNS, texts={"event": event}, envelope="debezium", same_names=False, where=where)
    file = io.BytesIO("".join(json.dumps(change) + "\n" for change in changes).encode())
    source = Source(None, "loans", mapping)
    return list(
        read_events(
            source, schema("LoanEvent"), lambda value: json.dumps(value).encode(), standard_input=file, identify=str
        )
    )


def test_changes_of_a_repayment_count_its_revisions_and_a_delete_takes_it_back() -> None:
    more, moved = PAID | {"sum": 7}, PAID | {"sum": 7, "day": "2026-11-21"}
    changes = [("c", None, PAID), ("u", PAID, more), ("u", more, moved), ("d", moved, None)]
    read = [json.loads(one.value) for one in _loans(*(_change(*one) for one in changes)) if isinstance(one, Event)]
    assert [(one.get("revision"), one["amount"], one["paid_at"]) for one in read] == [
        (None, 5.0, "2026-11-20"), (1, 7.0, "2026-11-20"), (2, 7.0, "2026-11-21"), (3, 0.0, "2026-11-21"),
    ]  # fmt: skip
    assert read[2]["previous"] == {"amount": 7.0, "paid_at": "2026-11-20"}


@pytest.mark.parametrize(
    "change, says",
    [
        (_change("u", None, PAID), "update without `before`"),
        (_change("d", None, None), "delete without `before`"),
        (_change("u", {"id": 1}, PAID), "its `before` has no amount, paid_at"),
        (_change("t", None, None), "an operation 't', which is no insert, update or delete"),
        (_change("u", PAID, PAID | {"id": None}), "has no event_id"),
        ({"id": 1}, "is no change of Debezium's"),
    ],
)
def test_a_change_that_cannot_be_translated_is_a_bad_line(change: dict[str, Any], says: str) -> None:
    first, bad = _loans(_change("c", None, PAID), change)
    assert isinstance(first, Event)
    assert isinstance(bad, BadLine)
    assert says in bad.message


def test_a_change_of_an_issued_loan_or_over_the_edge_of_a_condition_is_a_bad_line() -> None:
    (bad,) = _loans(_change("u", PAID, PAID | {"sum": 6}), event="issued")
    assert isinstance(bad, BadLine)
    assert "cannot be corrected, except repayments" in bad.message
    (edge,) = _loans(_change("u", PAID, PAID | {"loan": "M"}), where=("loan is L",))
    assert isinstance(edge, BadLine)
    assert "takes the row only before this change or only after it" in edge.message
