"""Almost right times: what people and programs write when they mean ISO 8601, and the same with one thing wrong."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

ZONES = (
    "",
    "",
    "",
    "Z",
    "z",
    "+02:00",
    "-05:00",
    "+0545",
    "+14:00",
    "-00:00",
    "+24:00",
    "+5:45",
    " UTC",
    "[Europe/Prague]",
)
FRACTIONS = ("", "", "", ".5", ".123", ".123456789", ",5", ".", ".1234567890")
CLOCKS = (
    "00:00:00",
    "23:59:59",
    "24:00:00",
    "23:59:60",
    "12:60:00",
    "25:00:00",
    "02:30:00",
    "01:30:00",
    "00:30",
    "7:05:00",
)
LETTERS = "0123456789-:TZ.+ ,/tz\u0660\uff10\x00"


def almost_times(random: Random, count: int) -> Iterator[str]:
    """So many texts; about half of them are times."""
    for _ in range(count):
        text = _written(random)
        yield text if random.random() < 0.5 else _with_a_slip(text, random)


def _written(random: Random) -> str:
    year = random.choice([1900, 1969, 1970, 1999, 2011, 2018, 2024, 2026, 2199, random.randrange(1, 9_999)])
    day = f"{year:04d}-{random.randrange(1, 13):02d}-{random.choice([1, 2, 15, 28, 29, 30, 31]):02d}"
    if random.random() < 0.2:
        return day
    clock = random.choice(CLOCKS) if random.random() < 0.3 else _clock(random)
    fraction = random.choice(FRACTIONS) if clock.count(":") == 2 else ""
    return day + random.choice("TTTT ") + clock + fraction + random.choice(ZONES)


def _clock(random: Random) -> str:
    return f"{random.randrange(24):02d}:{random.randrange(60):02d}:{random.randrange(60):02d}"


def _with_a_slip(text: str, random: Random) -> str:
    at = random.randrange(len(text))
    letter = random.choice(LETTERS)
    return random.choice(
        [text[:at] + text[at + 1 :], text[:at] + letter + text[at:], text[:at] + letter + text[at + 1 :]]
    )
