from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import DAY_MS, MISSING_TIME_MS
from schemas.times import iso_of, plain_time_ms, time_ms
from schemas.write_kernel import write_iso

FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (1, 9999))
MOMENTS = st.datetimes(min_value=FIRST, max_value=LAST).map(lambda moment: moment.replace(tzinfo=UTC))


def plain(text: str) -> int | None:
    data = np.frombuffer(b"<<" + text.encode() + b">>", np.uint8)
    found = int(plain_time_ms(data, 2, len(text.encode())))
    return None if found == MISSING_TIME_MS else found


@pytest.mark.parametrize(
    "text,expected",
    [
        ("1970-01-01", 0),
        ("2024-06-30T12:00:00", 1719748800000),
        ("2024-06-30T12:00:00Z", 1719748800000),
        ("2024-06-30T12:00:00+02:00", 1719741600000),
        ("2024-06-30T12:00:00-00:30", 1719750600000),
        ("2024-06-30T12:00:00.25", 1719748800250),
        ("2024-06-30T12:00:00.123999Z", 1719748800123),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2000-02-29", 951782400000),
        ("0001-01-01", -62135596800000),
    ],
)
def test_both_readers_read_the_common_forms(text: str, expected: int) -> None:
    assert time_ms(text) == expected
    assert plain(text) == expected


@pytest.mark.parametrize("text", ["2024-06-30 12:00", "2024-06-30T12:00+0200", "2024-06-30T12:00:00,5z"])
def test_rarer_forms_are_left_to_the_readable_reader(text: str) -> None:
    assert time_ms(text) is not None
    assert plain(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2024", "2023-02-29", "1900-02-29", "2024-13-01", "2024-00-10", "2024-01-00", "0000-01-01",
        "2024-04-31", "2024-06-30T24:00:00", "2024-06-30T12:60:00", "2024-06-30T12:00:60", "2024-06-30T12:00:00.",
        "2024-06-30T12:00:00+2:00", "2024-06-30T12:00:00.1234567890", "2024-06-30T12:00:00Z ", "20240630",
        "\uff12\uff10\uff12\uff14-06-30", "2024-06-30T12:00:00+24:00", "2024-06-30T12:00:00.5.5", "2024/06/30",
        "-024-06-30", "2024-06-30T",
    ],
)  # fmt: skip
def test_what_is_no_moment_is_none_for_both(text: str) -> None:
    assert time_ms(text) is None
    assert plain(text) is None


@given(MOMENTS)
def test_both_readers_agree_with_the_standard_library(moment: datetime) -> None:
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)).days * DAY_MS + (
        moment.hour * 3_600_000 + moment.minute * 60_000 + moment.second * 1_000 + moment.microsecond // 1_000
    )
    for text in (moment.isoformat(), moment.isoformat(timespec="milliseconds")):
        assert time_ms(text) == expected
        assert plain(text) == expected
    assert time_ms(iso_of(expected)) == expected


@given(st.text(alphabet="0123456789-:TZ.+ ", max_size=30))
def test_what_the_fast_reader_reads_the_readable_one_reads_alike(text: str) -> None:
    assert plain(text) in (None, time_ms(text))


@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 2**43), max_size=20))
def test_the_fast_writer_spells_a_moment_as_the_readable_one_does(moments: list[int]) -> None:
    for moment in moments:
        out = np.zeros(25, np.uint8)
        assert write_iso(out, 0, np.int64(moment)) == 24
        assert out.tobytes() == iso_of(moment).encode() + b"\0"
