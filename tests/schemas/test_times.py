from __future__ import annotations

import re
from datetime import UTC as IN_UTC
from datetime import datetime
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import DAY_MS, MISSING_TIME_MS
from schemas.compiled_encode import write_iso
from schemas.times import FORMS, has_zone, iso_of, plain_time_ms, time_fault, time_ms
from schemas.zones import UTC, Zone, zone_of
from tests.schemas.almost_times import almost_times

FIRST, LAST = (datetime(year, 1, 1, tzinfo=IN_UTC).replace(tzinfo=None) for year in (1, 9999))
MOMENTS = st.datetimes(min_value=FIRST, max_value=LAST).map(lambda moment: moment.replace(tzinfo=IN_UTC))
COMMON = re.compile(r"[0-9-]{10}(T[0-9:]{8}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?")
"""The forms that the fast reader takes itself."""


def plain(text: str, zone: Zone = UTC) -> int | None:
    data = np.frombuffer(b"<<" + text.encode() + b">>", np.uint8)
    found = int(plain_time_ms(data, 2, len(text.encode()), zone))
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
    expected = (moment - datetime(1970, 1, 1, tzinfo=IN_UTC)).days * DAY_MS + (
        moment.hour * 3_600_000 + moment.minute * 60_000 + moment.second * 1_000 + moment.microsecond // 1_000
    )
    for text in (moment.isoformat(), moment.isoformat(timespec="milliseconds")):
        assert time_ms(text) == expected
        assert plain(text) == expected
    assert time_ms(iso_of(expected)) == expected


@given(st.text(alphabet="0123456789-:TZ.+ ", max_size=30), st.sampled_from(["UTC", "America/New_York"]))
def test_what_the_fast_reader_reads_the_readable_one_reads_alike(text: str, name: str) -> None:
    assert plain(text, zone_of(name)) in (None, time_ms(text, zone_of(name)))


@pytest.mark.parametrize("name", ["UTC", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"])
def test_almost_right_times_are_read_alike_or_refused_in_words(name: str) -> None:
    zone, random = zone_of(name), Random(20)
    taken = {True: 0, False: 0}
    for text in almost_times(random, 4_000):
        slow, fast = time_ms(text, zone), plain(text, zone)
        assert fast in (None, slow), text
        assert fast == slow or not COMMON.fullmatch(text), text
        if slow is None:
            assert time_fault(text)
            assert not has_zone(text) or time_fault(text).startswith(("a ", "beyond", "in a zone"))
        taken[slow is not None] += 1
    assert min(taken.values()) > 400


@pytest.mark.parametrize(
    "text,words",
    [
        ("2024-02-30", "a day that no calendar has"),
        ("2023-02-29T12:00:00Z", "a day that no calendar has"),
        ("2024-06-30T24:00:00", "beyond 23:59:59: midnight is 00:00:00 of the next day"),
        ("2016-12-31T23:59:60Z", "a leap second, which clocks here do not have: write second 59"),
        ("2024-06-30T25:00", "a time that no clock shows: hours are 00 to 23, minutes and seconds 00 to 59"),
        ("2024-06-30T12:00:00+24:00", "in a zone that does not exist: offsets are -23:59 to +23:59"),
        ("20240630", f"not a time: write {FORMS}"),
    ],
)
def test_what_is_not_read_is_told_with_what_to_write(text: str, words: str) -> None:
    assert time_ms(text, zone_of("America/New_York")) is None
    assert time_fault(text) == words


@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 2**43), max_size=20))
def test_the_fast_writer_spells_a_moment_as_the_readable_one_does(moments: list[int]) -> None:
    for moment in moments:
        out = np.zeros(25, np.uint8)
        assert write_iso(out, 0, np.int64(moment)) == 24
        assert out.tobytes() == iso_of(moment).encode() + b"\0"
