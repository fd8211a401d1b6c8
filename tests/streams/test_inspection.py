"""`rescore inspect` says what a row remembers of closed loans."""

from __future__ import annotations

from streams.customers.row_view import closed_text, tables
from tests.scoring.customers import Customers


def test_closed_loans_are_shown() -> None:
    ann = Customers()
    ann.issued(0, "L-1", 10)
    ann.repaid(5, "L-1")
    ann.issued(20, "L-2", 40)
    ann.cancelled(21, "L-2")
    ann.transaction(200, 5.0)
    row = ann.row()
    assert closed_text(row) == ("closed: 2 known", "", "", "1 of them cancelled", "")
    row.closed_until_day = 0
    assert closed_text(row)[-1] == "others ordered up to 1970-01-01"
    assert any("Loans" in str(table.title) for table in tables(row, {}))
