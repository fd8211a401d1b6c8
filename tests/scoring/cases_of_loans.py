"""The case folders about loans: their records, and what is right of what came of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from schemas.times import time_ms

CASES = Path(__file__).parents[1] / "cases"
AFTERWARDS = "2026-06-01"
COMES_AGAIN, DEFAULT_DATES = "folded-loan-comes-again", "default-dates-of-loans"
ON_TIME = (1, 0, 0, 0, 0)


class Published(NamedTuple):
    """One line of a case."""

    topic: str
    key: str
    value: str
    timestamp_ms: int


class Known(NamedTuple):
    """What came of a customer: counts by state, status and revenue, and the letters (code and words) in their order."""

    counts: tuple[int, ...]
    status: float | None
    revenue: float | None
    letters: tuple[tuple[str, str], ...]


def records_of(case: str) -> list[Published]:
    """The records of a case in the order of publishing."""
    lines = (CASES / case / "records.jsonl").read_text("utf-8").splitlines()
    return [_published(json.loads(line)) for line in lines]


def _published(line: dict[str, Any]) -> Published:
    timestamp_ms = time_ms(line["time"])
    assert timestamp_ms is not None
    return Published(line["topic"], line["key"], json.dumps(line["value"]), timestamp_ms)


def check_comes_again(known: dict[str, Known]) -> None:
    """Each of the five has one settled loan, and whatever came again is a letter that says that the loan is closed."""
    assert set(known) == {"ann", "bob", "cid", "dan", "eve"}
    for name, one in known.items():
        assert one.counts == ON_TIME, name
        assert one.status is not None
        assert one.revenue is not None
        assert (round(one.status, 3), round(one.revenue, 2)) == (2.229, 1.10), name
        assert [code for code, _ in one.letters] == ["LOAN_CLOSED"] * (2 if name == "bob" else 1)
        for _, words in one.letters:
            assert words.startswith("The loan was settled long ago and is closed")
            assert "issued event" not in words


def check_default_dates(known: dict[str, Known]) -> None:
    """Nobody is written off or paid by a date that was never filled in."""
    dates = ("0001-01-01", "1899-12-30", "1900-01-01", "1970-01-01")
    for date in dates:
        one = known[f"due-{date}"]
        assert (one.counts, one.status, one.revenue) == ((0, 0, 0, 0, 0), None, None)
        ((code, words),) = one.letters
        assert code == "IMPLAUSIBLE_DATE"
        assert "due_date is" in words
        assert date in words
    for date in dates[2:]:
        one = known[f"paid-{date}"]
        assert one.counts == (0, 0, 0, 0, 1)  # half a year overdue, and unpaid
        ((code, words),) = one.letters
        assert code == "IMPLAUSIBLE_DATE"
        assert words.startswith(f"paid_at is {date}, before 1981-01-01")
