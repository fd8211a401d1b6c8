"""Moments as text: the ISO 8601 forms that events may use, as milliseconds since 1970-01-01 UTC.

A time without a zone is that local time, and a date alone that local day, in the zone of the deployment's policy: the
moments of `schemas.zones`. Anything finer than a millisecond is cut off. The rule for people is in docs/times.md.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from schemas.batch import DAY_MS, MISSING_TIME_MS
from schemas.compiled import compiled
from schemas.zones import UTC, Zone, first_of_day_ms, instant_ms

NO_TIMESTAMP_MS = -1
"""The timestamp of a record that has none, in Kafka's protocol."""
FIRST_TIMESTAMP_MS = 1
"""The earliest timestamp to give a record: librdkafka takes 0 for the present, -1 means none, and Kafka's Java clients
refuse all below 0."""
FORMS = "YYYY-MM-DDTHH:MM:SS with optional fraction and zone (Z or +hh:mm), or YYYY-MM-DD"

_MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r"(?:(?P<zulu>[Zz])|(?P<sign>[+-])(?P<zone_hour>[0-9]{2}):?(?P<zone_minute>[0-9]{2}))?)?"
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - everything here is UTC, and says so itself
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999


def time_ms(text: str, zone: Zone = UTC) -> int | None:
    """Milliseconds of an ISO 8601 text; None where it is none of the forms above or no such moment exists.

    `zone` is that of the policy, for a text that names none.

    >>> time_ms("1970-01-02"), time_ms("2024-06-30T12:00:00.5+02:00"), time_ms("2024-02-30")
    (86400000, 1719741600500, None)
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zulu, sign, zone_hour, zone_minute = found.groups(default="0")
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second) > 59 or int(zone_hour) > 23 or int(zone_minute) > 59:
        return None
    if found["hour"] is None:
        return int(first_of_day_ms(zone, days))
    moment = ((int(hour) * 60 + int(minute)) * 60 + int(second)) * 1_000 + int(fraction.ljust(3, "0")[:3])
    if zulu == sign == "0":
        return int(instant_ms(zone, days * DAY_MS + moment))
    zone_ms = (int(zone_hour) * 60 + int(zone_minute)) * 60_000
    return days * DAY_MS + moment - (-zone_ms if sign == "-" else zone_ms)


def has_zone(text: str) -> bool:
    """Whether a text that `time_ms` reads says its own zone.

    >>> has_zone("2024-06-30T12:00:00Z"), has_zone("2024-06-30T12:00:00"), has_zone("2024-06-30")
    (True, False, False)
    """
    found = _MOMENT.fullmatch(text)
    return found is not None and (found["zulu"] or found["sign"]) is not None


def time_fault(text: str) -> str:
    """What is wrong with a text that `time_ms` does not read, as words behind it, and what to write instead.

    >>> time_fault("2024-02-30"), time_fault("2024-06-30T24:00:00")
    ('a day that no calendar has', 'beyond 23:59:59: midnight is 00:00:00 of the next day')
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        return f"not a time: write {FORMS}"
    if found["second"] == "60":
        return "a leap second, which clocks here do not have: write second 59"
    if found["hour"] == "24":
        return "beyond 23:59:59: midnight is 00:00:00 of the next day"
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    if hour > 23 or minute > 59 or second > 59:
        return "a time that no clock shows: hours are 00 to 23, minutes and seconds 00 to 59"
    if int(found["zone_hour"] or 0) > 23 or int(found["zone_minute"] or 0) > 59:
        return "in a zone that does not exist: offsets are -23:59 to +23:59"
    return "a day that no calendar has"


def iso_of(moment_ms: int) -> str:
    """The text of a moment, always with milliseconds and Z; years beyond 1 to 9999 are cut to these.

    >>> iso_of(1719741600500)
    '2024-06-30T10:00:00.500Z'
    """
    seconds, milliseconds = divmod(min(max(moment_ms, FIRST_MS), LAST_MS), 1_000)
    return f"{_iso_of_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=4_096)
def _iso_of_second(seconds: int) -> str:
    """Many moments share a second."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()


@compiled
def _digits(text: Any, at: int, count: int) -> int:
    """The number that `count` digits spell; below 0 where one of them is no digit."""
    number = 0
    first = np.uint64(at)  # unsigned positions cannot count from the end, which spares a look at each digit
    for i in range(np.uint64(count)):
        digit = int(text[first + i]) - 48
        if digit < 0 or digit > 9:
            return -1_000_000_000
        number = number * 10 + digit
    return number


@compiled
def _days_of(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar; MISSING_TIME_MS where there is no such day."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1 or month < 1 or month > 12 or day < 1:
        return MISSING_TIME_MS
    longest = 31
    if month == 2:
        longest = 29 if leap else 28
    elif month in (4, 6, 9, 11):
        longest = 30
    if day > longest:
        return MISSING_TIME_MS
    # Years begin in March here, so that the day a leap year has more is the last of its year.
    shifted_year = year - 1 if month <= 2 else year
    shifted_month = month + 9 if month <= 2 else month - 3
    before_month = (153 * shifted_month + 2) // 5
    return (
        365 * shifted_year
        + shifted_year // 4
        - shifted_year // 100
        + shifted_year // 400
        + before_month
        + day
        - 719_469
    )


@compiled
def plain_time_ms(text: Any, at: int, length: int, zone: Zone) -> int:
    """`time_ms` of `text[at:at + length]` (UTF-8) in its commonest forms, about 30 ns; MISSING_TIME_MS for any other.

    Those are YYYY-MM-DD and YYYY-MM-DDTHH:MM:SS with optional fraction after a point and zone Z or +hh:mm.
    """
    if length < 10 or (10 < length < 19) or text[at + 4] != 45 or text[at + 7] != 45:
        return MISSING_TIME_MS
    days = _days_of(_digits(text, at, 4), _digits(text, at + 5, 2), _digits(text, at + 8, 2))
    if days == MISSING_TIME_MS or length == 10:
        return days if days == MISSING_TIME_MS else first_of_day_ms(zone, days)
    if text[at + 10] != 84 or text[at + 13] != 58 or text[at + 16] != 58:
        return MISSING_TIME_MS
    hour, minute, second = _digits(text, at + 11, 2), _digits(text, at + 14, 2), _digits(text, at + 17, 2)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return MISSING_TIME_MS
    fraction_ms, end = _fraction_ms(text, at + 19, at + length)
    if fraction_ms < 0:
        return MISSING_TIME_MS
    local_ms = days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000 + fraction_ms
    if end == at + length:
        return instant_ms(zone, local_ms)
    zone_ms = _zone_ms(text, end, at + length)
    return MISSING_TIME_MS if zone_ms == MISSING_TIME_MS else local_ms - zone_ms


@compiled
def _fraction_ms(text: Any, at: int, end: int) -> tuple[int, int]:
    """Milliseconds of an optional fraction and where it ends; milliseconds below 0 where it is malformed."""
    if at == end or text[at] != 46:
        return 0, at
    first = at + 1
    at = first
    fraction, scale = 0, 100
    while at < end and 48 <= text[at] <= 57:
        fraction += scale * (int(text[at]) - 48)
        scale //= 10
        at += 1
    return fraction if 1 <= at - first <= 9 else -1, at


@compiled
def _zone_ms(text: Any, at: int, end: int) -> int:
    """Offset of a zone that is written out; MISSING_TIME_MS where it is malformed."""
    if end - at == 1 and text[at] == 90:
        return 0
    if end - at != 6 or (text[at] != 43 and text[at] != 45) or text[at + 3] != 58:
        return MISSING_TIME_MS
    hours, minutes = _digits(text, at + 1, 2), _digits(text, at + 4, 2)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return MISSING_TIME_MS
    offset_ms = (hours * 60 + minutes) * 60_000
    return -offset_ms if text[at] == 45 else offset_ms
