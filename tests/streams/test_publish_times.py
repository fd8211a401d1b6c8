"""Times in files: the rule of docs/times.md for each format and filter, and one reader for `publish` and the worker."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from schemas.definitions import schema
from schemas.times import time_ms
from schemas.zones import zone_of
from streams.publish.columns import Columns
from streams.publish.events import Event, Source, read_events
from streams.publish.files import BadLine
from streams.publish.filters import FILTERS, Of
from streams.publish.mapping import FileMapping
from tests.schemas.almost_times import almost_times

NEW_YORK = zone_of("America/New_York")
OF = Of("booked", Columns())
SEEDS = 600
ENCODE = lambda value: json.dumps(value).encode()  # noqa: E731
BY_LINE = lambda _line: "file"  # noqa: E731
NAIVE, ALONE, ZONED = "2026-11-20T23:30:00", "2026-11-20", "2026-11-20T23:30:00-05:00"


def events(path: Path, **mapping: Any) -> list[Event | BadLine]:
    source = Source(path, "transactions", FileMapping(**mapping))
    return list(read_events(source, schema("Transaction"), ENCODE, zone=NEW_YORK, identify=BY_LINE))


def row(moment: Any) -> dict[str, Any]:
    return {"user_id": "ann", "transaction_amount": 1.0, "transaction_currency": "USD", "transaction_date": moment}


def write_csv(path: Path, moments: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row(""))
        writer.writeheader()
        writer.writerows(map(row, moments))
    return path


def times(found: list[Event | BadLine]) -> list[Any]:
    return [one.time_ms if isinstance(one, Event) else one.message for one in found]


EXPECTED = [time_ms("2026-11-20T05:00:00Z"), time_ms("2026-11-21T04:30:00Z"), time_ms("2026-11-21T04:30:00Z")]


def test_csv_and_json_lines_are_read_in_the_policys_zone(tmp_path: Path) -> None:
    moments = [ALONE, NAIVE, ZONED]
    assert times(events(write_csv(tmp_path / "a.csv", moments))) == EXPECTED
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row(moment)) + "\n" for moment in moments))
    assert times(events(tmp_path / "a.jsonl")) == EXPECTED


def test_parquet_dates_are_dates_and_timestamps_local_or_moments_as_their_type_says(tmp_path: Path) -> None:
    values = [date(2026, 11, 20), datetime(2026, 11, 20, 23, 30), datetime(2026, 11, 21, 4, 30, tzinfo=UTC)]  # noqa: DTZ001
    types = [pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")]
    for value, kind, expected in zip(values, types, EXPECTED, strict=True):
        columns = {name: [one] for name, one in row(value).items()}
        columns["transaction_date"] = pa.array([value], kind)
        parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
        assert times(events(tmp_path / "a.parquet")) == [expected]


@pytest.mark.parametrize(
    "written,pattern,expected",
    [
        ("20.11.2026", "%d.%m.%Y", EXPECTED[0]),
        ("11/20/2026 11:30 PM", "%m/%d/%Y %I:%M %p", EXPECTED[1]),
        ("20261120 233000 -0500", "%Y%m%d %H%M%S %z", EXPECTED[1]),
        ("2026-11-21 04:30 UTC", "%Y-%m-%d %H:%M %Z", EXPECTED[1]),
        ("2026-11-21 04:30 gmt", "%Y-%m-%d %H:%M %Z", EXPECTED[1]),
    ],
)
def test_a_date_that_a_filter_reads_is_local_unless_it_names_a_zone(written: str, pattern: str, expected: int) -> None:
    assert time_ms(FILTERS["date"](OF, pattern)(written, {}), NEW_YORK) == expected


@pytest.mark.parametrize(
    "written,unit,expected",
    [
        ("20777", "days", EXPECTED[0]),
        ("1795235400", "seconds", EXPECTED[1]),
        ("1795235400000", "milliseconds", EXPECTED[1]),
    ],
)
def test_a_day_since_1970_is_a_local_date_and_smaller_units_are_moments(written: str, unit: str, expected: int) -> None:
    assert time_ms(FILTERS["epoch"](OF, unit)(written, {}), NEW_YORK) == expected


def test_a_part_of_a_day_since_1970_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'20777\.5' is not a whole number of days"):
        FILTERS["epoch"](OF, "days")("20777.5", {})


def test_the_name_of_a_zone_is_refused_unless_it_is_that_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    # Names that this machine's own zone has are read by strptime; elsewhere they would not be.
    monkeypatch.setattr("time.tzname", ("EST", "EDT"))
    with pytest.raises(ValueError, match=r"EST|not a date written"):
        FILTERS["date"](OF, "%Y-%m-%d %H:%M %Z")("2026-11-20 23:30 EST", {})


def test_a_zone_can_be_put_behind_a_column(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ["2026-11-21T04:30:00"])
    assert times(events(path, texts={"transaction_date": "{transaction_date}Z"})) == EXPECTED[1:2]


def test_publish_takes_the_times_that_the_worker_takes_and_no_others(tmp_path: Path) -> None:
    texts = [text for text in almost_times(Random(8), SEEDS) if text and "\0" not in text]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row(text)) + "\n" for text in texts))
    found, bad = events(tmp_path / "a.jsonl"), 0
    assert len(found) == len(texts)
    for text, one in zip(texts, found, strict=True):
        expected = time_ms(text, NEW_YORK)
        bad += expected is None
        assert isinstance(one, BadLine) == (expected is None), text
        assert isinstance(one, BadLine) or one.time_ms == expected
    assert 100 < bad < SEEDS - 100


@pytest.mark.parametrize("text", ["20261120", "2026-W47-5", "2026-11-20T24:00:00", "2026-11-20T12", "2026-02-30"])
def test_what_only_python_would_read_is_a_bad_line_that_says_what_to_write(tmp_path: Path, text: str) -> None:
    (one,) = events(write_csv(tmp_path / "a.csv", [text]))
    assert isinstance(one, BadLine)
    assert one.message.startswith(f"'{text}' is ")


def test_a_pipe_is_read_in_the_policys_zone_too() -> None:
    source = Source(None, "transactions", FileMapping())
    pipe = io.BytesIO((json.dumps(row(ALONE)) + "\n").encode())
    found = read_events(source, schema("Transaction"), ENCODE, standard_input=pipe, zone=NEW_YORK, identify=BY_LINE)
    assert times(list(found)) == [EXPECTED[0]]
