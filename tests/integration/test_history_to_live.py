"""The page "From history to live": its commands, cut out and run in their order by a shell."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.generator.events import events, population
from tests.integration.pages import commands_of, run_page

PAGE = Path("docs/history-to-live.md")
DAYS = 730


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)


def _files(folder: Path) -> int:
    """The files that the page names, with two years of a few customers; how many transactions are live ones."""
    first_day = (datetime.now(UTC) - timedelta(days=DAYS + 1)).date()
    by_topic: dict[str, list[dict[str, Any]]] = {"transactions": [], "loans": [], "fx-rates": []}
    for event in events(population(12, 8, first_day, DAYS)):
        if isinstance(event.value, dict) and "revision" not in event.value:
            by_topic[event.topic].append({n: v for n, v in event.value.items() if not isinstance(v, (dict, list))})
    _write(folder / "rates.csv", by_topic["fx-rates"])
    _write(folder / "loans.csv", by_topic["loans"])
    history, since = by_topic["transactions"][:-50], by_topic["transactions"][-50:]
    _write(folder / "transactions.csv", history)
    _write(folder / "since.csv", since)
    return len(since)


@pytest.mark.timeout(500)
def test_every_command_of_the_page_does_what_it_says(kafka, valkey, prefix, tmp_path: Path) -> None:
    since = _files(tmp_path)
    assert len([line for line in commands_of(PAGE) if "rescore" in line]) >= 12
    output, errors = run_page(PAGE, tmp_path, kafka.bootstrap_servers, valkey.url, prefix)
    assert "the broker stamps its records now" in output
    assert "all topics are configured correctly" in output
    assert f"published {since:,} records" in errors
