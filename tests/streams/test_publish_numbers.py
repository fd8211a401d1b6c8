"""Numbers as people write them, against an oracle of its own that enumerates what a text can mean."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import times
from schemas.zones import UTC, Zone, zone_of
from streams.publish.events import Event, Source, read_events, time_ms
from streams.publish.files import BadLine, UnreadableFile
from streams.publish.mapping import FileMapping
from streams.publish.numbers import NumberColumn, Numbers

SCHEMA = {
    "type": "record",
    "name": "Transaction",
    "fields": [
        {"name": "user_id", "type": "string"},
        {"name": "transaction_amount", "type": "double"},
        {"name": "transaction_date", "type": "string"},
    ],
}


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _column(mark: str = "") -> NumberColumn:
    return Numbers(mark).of("amount")


def meanings(text: str) -> dict[str, Decimal]:
    """What a text means by decimal mark: an oracle that walks over letters and knows no pattern."""
    return {mark: number for mark in ".," if (number := _meaning(text, mark)) is not None}


def _meaning(text: str, mark: str) -> Decimal | None:
    body, signs = text.strip(), 0
    if body[:1] == "(" and body[-1:] == ")":
        body, signs = body[1:-1].strip(), 1
    negative = signs == 1
    if body[:1] in ("-", "+", "\u2212") and body:
        negative, signs, body = negative or body[0] != "+", signs + 1, body[1:].strip()
    elif body[-1:] in ("-", "+", "\u2212") and body:
        negative, signs, body = negative or body[-1] != "+", signs + 1, body[:-1].strip()
    if signs > 1:
        return None
    whole, point, fraction = body.partition(mark)
    if any(not ("0" <= one <= "9") for one in fraction):
        return None
    other = {one for one in whole if not ("0" <= one <= "9")}
    if len(other) > 1 or not other <= set(".,' ") - {mark}:
        return None
    if other:
        first, *groups = whole.split(other.pop())
        if not 1 <= len(first) <= 3 or first[0] == "0" or any(len(group) != 3 for group in groups):
            return None
        whole = first + "".join(groups)
    if not whole and not (point and fraction):
        return None
    value = Decimal(int(whole or "0"))
    for place, digit in enumerate(fraction, start=1):
        value += Decimal(int(digit)).scaleb(-place)
    return -value if negative else value


ALMOST = st.text("0123459.,' -+()\u2212", min_size=1, max_size=9) | st.from_regex(
    r"[-+(]?[0-9]{1,3}([.,' ][0-9]{3}){0,2}([.,][0-9]{0,3})?[-)]?", fullmatch=True
)


@given(ALMOST, st.sampled_from(".,"))
@example("1.234", ",")
@example("1,234.50", ",")
@example("(45.00)", ".")
@example("45.00-", ".")
@example("(-45.00)", ".")
def test_with_a_named_mark_a_number_is_what_the_oracle_says_or_refused(text: str, mark: str) -> None:
    right = meanings(text).get(mark)
    if right is None:
        with pytest.raises(ValueError, match="is not a number"):
            _column(mark).read(text)
    else:
        assert _column(mark).read(text) == right


@given(st.lists(ALMOST.filter(meanings), min_size=1, max_size=8))
@example(["1.234", "12,50"])
@example(["1,234", "1.234"])
@example(["1,234", "2"])
def test_a_column_is_read_with_the_one_mark_that_fits_it_or_refused_as_a_whole(texts: list[str]) -> None:
    told = {mark for text in texts if len(fits := meanings(text)) == 1 for mark in fits}
    lines = [
        json.dumps({"user_id": "a", "transaction_amount": text, "transaction_date": "2026-11-20"}) for text in texts
    ]
    source, file = Source(None, "transactions", FileMapping()), io.BytesIO("\n".join(lines).encode())
    ambiguous = any(len(set(meanings(text).values())) > 1 for text in texts)
    if len(told) > 1 or (not told and ambiguous):
        with pytest.raises(UnreadableFile, match="--decimal"):
            list(read_events(source, SCHEMA, _encode, standard_input=file, identify=str))
        return
    mark = next(iter(told), ".")
    events = list(read_events(source, SCHEMA, _encode, standard_input=file, identify=str))
    read = [json.loads(event.value)["transaction_amount"] for event in events if isinstance(event, Event)]
    assert read == [float(meanings(text)[mark]) for text in texts]


@pytest.mark.parametrize(
    "text, number",
    [("$1,234.56", "1234.56"), ("€ 12.50", "12.50"), ("-£5.00", "-5.00"), ("£-5.00", "-5.00"), ("12.50 €", "12.50"),
     ("\u221212.00", "-12.00"), ("1'234.50", "1234.50"), ("1\u202f234.50", "1234.50"),
     ("1e3", "1000"), ("+12.30", "12.30"),
     (".5", "0.5"), ("5.", "5")],
)  # fmt: skip
def test_a_number_with_signs_of_people_is_read_exactly(text: str, number: str) -> None:
    assert _column(".").read(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    ["", " ", "inf", "-Infinity", "nan", "0x10", "1_000", "12.50 DR", "1,23,456.00", "12,34", "--5", "(5", "$$5", "$5€",
     "\u0661\u0662",
     "1e9999", "1 2", "5%", "1.2.3"],
)  # fmt: skip
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a number|is out of range"):
        _column(".").read(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [1], Decimal("NaN")])
def test_a_typed_value_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        _column().read(value)


DATES = st.text("0123456789-T:+Z. W", min_size=8, max_size=25) | st.from_regex(
    r"(19|20)[0-9]{2}-?(0[0-9]|1[0-3]|W[0-5][0-9])-?[0-3]?[0-9]([T ][0-2][0-9]:?[0-6][0-9](:[0-6][0-9])?"
    r"([.][0-9]{1,7})?(Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    fullmatch=True,
)


@given(DATES)
@example("20261120")
@example("2026-W47-5")
@example("2026-11-20T24:00:00Z")
@example("2026-02-30T00:00:00Z")
@example("2026-11-20T10:11:12Z")
@example("2026-11-20T10:11:61Z")
def test_publish_reads_the_times_that_workers_read_and_no_others(text: str) -> None:
    for zone in (UTC, zone_of("America/New_York")):
        _compare_times(text, zone)


def _compare_times(text: str, zone: Zone) -> None:
    right = times.time_ms(text, zone)
    if right is None:
        with pytest.raises(ValueError, match=re.escape(f" is {times.time_fault(text)}")):
            time_ms(text, zone)
    else:
        assert time_ms(text, zone) == right


def test_a_bad_line_beside_a_number_that_waits_keeps_its_place() -> None:
    rows = [("a", "1,234"), ("b", "x"), ("c", "0,5"), ("d", "2,000")]
    text = "user_id;transaction_amount;transaction_date\n" + "".join(f"{u};{n};2026-11-20\n" for u, n in rows)
    source = Source(None, "transactions", FileMapping())
    found = list(read_events(source, SCHEMA, _encode, standard_input=io.BytesIO(text.encode()), identify=str))
    assert [type(one) for one in found] == [Event, BadLine, Event, Event]
    amounts = [json.loads(one.value)["transaction_amount"] for one in found if isinstance(one, Event)]
    assert amounts == [1.234, 0.5, 2.0]


def test_a_number_that_waits_is_refused_at_once_where_events_are_sent_as_they_are_read() -> None:
    text = "user_id;transaction_amount;transaction_date\na;1,234;2026-11-20\nb;0,5;2026-11-20\n"
    source, file = Source(None, "transactions", FileMapping()), io.BytesIO(text.encode())
    with pytest.raises(
        UnreadableFile, match=r"line 2: column transaction_amount: '1,234' .* events are sent as they are"
    ):
        list(read_events(source, SCHEMA, _encode, standard_input=file, identify=str, streaming=True))
