"""Local times in every zone against the standard library: what was skipped, what was repeated, days that never were."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from schemas.batch import DAY_MS, EventBatch
from schemas.decode import Decoder, decode
from schemas.definitions import schema
from schemas.times import time_ms
from schemas.zones import first_of_day_ms, zone_of
from tests.schemas.almost_times import almost_times
from tests.schemas.samples import REGISTRY, Fields, loan, record, transaction
from tests.schemas.test_decode import NoPlans, assert_same
from tests.schemas.test_writers_schemas import Ids, framed

ZONES = ("America/New_York", "America/Sao_Paulo", "Pacific/Honolulu", "Europe/Prague", "Asia/Kathmandu")
RARE = (
    "America/St_Johns",
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Toronto",
    "Antarctica/Troll",
)
LATER_MS = 2**43
"""A timestamp that no event of these tests is ahead of."""


def ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def first_moment(day: date, zone: ZoneInfo) -> int:
    """The first minute of a local day, or of what comes after it where there is no such day: looked for one by one."""
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=26)
    while moment.astimezone(zone).date() < day:
        moment += timedelta(minutes=1)
    return ms(moment)


def both(text: str, name: str) -> int:
    """The event time and the due date that both decoders make of a text."""
    issued = loan(order_date=text, due_date=text)
    records = [record(transaction(transaction_date=text)), record(issued, "loans")]
    records = [one._replace(timestamp_ms=LATER_MS) for one in records]
    batch = decode(records, 0, Decoder(REGISTRY, 1), zone_of(name))
    assert_same(batch, decode(records, 0, Decoder(REGISTRY, 1, plans=NoPlans()), zone_of(name)))
    found = {*batch.events["event_time_ms"].tolist(), int(batch.events["due_ms"][1])}
    assert len(found) == 1, (batch.rejects, found)
    return int(found.pop())


@pytest.mark.parametrize("name", [*ZONES, *RARE])
def test_random_local_times_are_the_moments_of_the_standard_library(name: str) -> None:
    random, zone = Random(name), ZoneInfo(name)
    for _ in range(200):
        local = datetime(1972, 1, 1) + timedelta(seconds=random.randrange(200 * 365 * 86_400))  # noqa: DTZ001
        assert time_ms(local.isoformat(), zone_of(name)) == ms(local.replace(tzinfo=zone)), local


@pytest.mark.parametrize("name", [*ZONES, *RARE])
def test_a_date_is_the_first_moment_of_its_local_day(name: str) -> None:
    random, zone = Random(name), ZoneInfo(name)
    for _ in range(20):
        day = date(1972, 2, 1) + timedelta(days=random.randrange(100 * 365))
        assert time_ms(day.isoformat(), zone_of(name)) == first_moment(day, zone), day


@pytest.mark.parametrize(
    "name,text,instant",
    [
        ("America/New_York", "2026-11-20", "2026-11-20T05:00:00Z"),
        ("America/New_York", "2026-11-20T23:30:00", "2026-11-21T04:30:00Z"),
        ("Asia/Kathmandu", "2026-11-20", "2026-11-19T18:15:00Z"),
        # Skipped: 02:30 does not exist on the day the clocks go forward. It is read as if they had not yet.
        ("America/New_York", "2026-03-08T02:30:00", "2026-03-08T07:30:00Z"),
        ("Europe/Prague", "2026-03-29T02:30:00", "2026-03-29T01:30:00Z"),
        # Repeated: 01:30 comes twice on the day they go back. The first one counts.
        ("America/New_York", "2026-11-01T01:30:00", "2026-11-01T05:30:00Z"),
        ("Europe/Prague", "2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
        # Midnight itself skipped: the day begins at 01:00.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
        ("America/Sao_Paulo", "2018-11-04T00:30:00", "2018-11-04T03:30:00Z"),
        # Skipped from 23:30 to 00:30: the day begins at 00:30.
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00Z"),
        # A day that Samoa did not have: it is empty, and is read as the beginning of the next.
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"),
        # Midnight twice, as Newfoundland went back at 00:01: the first one begins the day.
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z"),
        # Rules go on for ever: the summer time of 2150.
        ("Europe/Prague", "2150-07-01", "2150-06-30T22:00:00Z"),
    ],
)
def test_skipped_and_repeated_local_times(name: str, text: str, instant: str) -> None:
    expected = time_ms(instant)
    assert time_ms(text, zone_of(name)) == expected
    assert both(text, name) == expected


CORRECTED = {"event_id": "e", "revision": 1}
DOORS: list[tuple[str, str, dict[str, Any]]] = [
    ("event_time_ms", "transactions", transaction(transaction_date="DATE")),
    ("created_ms", "transactions", transaction(user_created="DATE")),
    (
        "previous_time_ms",
        "transactions",
        transaction(**CORRECTED, previous=transaction(transaction_date="DATE") | {"mcc": None}),
    ),
    ("event_time_ms", "loans", loan(order_date="DATE", due_date="2030-01-01")),
    ("due_ms", "loans", loan(due_date="DATE")),
    ("event_time_ms", "loans", loan("repaid", paid_at="DATE")),
    ("previous_time_ms", "loans", loan("repaid", **CORRECTED, previous={"amount": 1.0, "paid_at": "DATE"})),
    ("event_time_ms", "loans", loan("cancelled", cancelled_at="DATE")),
    ("event_time_ms", "applicants", {"event_id": "a", "user_id": "ann", "declared_at": "DATE"}),
    (
        "event_time_ms",
        "outcomes",
        {"user_id": "ann", "request_id": 7, "model": "risk", "label": 1.0, "known_at": "DATE"},
    ),
    (
        "until_ms",
        "commands",
        {"command": "override", "user_id": "ann", "score": "status", "value": 3.0, "expires_at": "DATE"},
    ),
]


@pytest.mark.parametrize("text", ["2026-11-20", "2026-11-20T23:30:00", "2026-11-20T23:30:00.5", "2026-11-20 23:30"])
@pytest.mark.parametrize("column,topic,fields", DOORS)
def test_every_field_of_time_is_read_in_the_zone(column: str, topic: str, fields: Fields, text: str) -> None:
    said = json.loads(json.dumps(fields).replace("DATE", text))
    as_json = record(said, topic, as_json=True, timestamp_ms=LATER_MS)
    written = (
        [as_json] if topic not in ("transactions", "loans") else [as_json, record(said, topic, timestamp_ms=LATER_MS)]
    )
    for name in ("America/New_York", "Asia/Kathmandu"):
        batch = decode(written, 0, Decoder(REGISTRY, 1), zone_of(name))
        assert batch.rejects == []
        assert {int(event[column]) for event in batch.events} == {time_ms(text, zone_of(name))}


@pytest.mark.parametrize("text", ["2026-03-08T02:30:00Z", "2026-03-08T02:30:00-05:00", "2026-11-01T01:30:00+05:45"])
def test_a_text_with_a_zone_is_the_same_moment_everywhere(text: str) -> None:
    assert {time_ms(text, zone_of(name)) for name in [*ZONES, *RARE, "UTC"]} == {time_ms(text)}
    assert {both(text, name) for name in ZONES} == {time_ms(text)}


@pytest.mark.parametrize("name", ["America/New_York", "Asia/Kathmandu", "UTC"])
@pytest.mark.parametrize(
    "written,value,same_as",
    [
        ({"type": "int", "logicalType": "date"}, 20_777, "2026-11-20"),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, 1_795_217_400_000, "2026-11-20T23:30:00"),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, 1_795_217_400_000_999, "2026-11-20T23:30:00"),
        ({"type": "long", "logicalType": "timestamp-millis"}, 1_795_217_400_000, "2026-11-20T23:30:00Z"),
        ({"type": "long", "logicalType": "timestamp-micros"}, 1_795_217_400_000_999, "2026-11-20T23:30:00Z"),
    ],
)
def test_avro_dates_and_local_timestamps_are_local_and_timestamps_are_moments(
    name: str, written: Any, value: int, same_as: str
) -> None:
    theirs = copy.deepcopy(schema("Transaction"))
    next(field for field in theirs["fields"] if field["name"] == "transaction_date")["type"] = written
    registry = Ids(theirs)
    one = record(transaction())._replace(
        value=framed(1, theirs, transaction(transaction_date=value)), timestamp_ms=LATER_MS
    )
    batch = decode([one], 0, Decoder(registry, 1), zone_of(name))
    assert_same(batch, decode([one], 0, Decoder(registry, 1, plans=NoPlans()), zone_of(name)))
    assert [event["event_time_ms"] for event in batch.events] == [time_ms(same_as, zone_of(name))]


@pytest.mark.parametrize("name", ZONES)
def test_the_days_of_a_zone_begin_in_their_order(name: str) -> None:
    starts = [int(first_of_day_ms(zone_of(name), day)) for day in range(-25_567, 84_006)]
    lengths = np.diff(np.array(starts))
    assert lengths.min() >= 0.9 * DAY_MS
    assert lengths.max() <= 1.1 * DAY_MS


@pytest.mark.parametrize("name", ["America/New_York", "Asia/Kathmandu"])
def test_records_with_almost_right_times_are_read_alike_by_both_decoders(name: str) -> None:
    random = Random(name)
    texts = almost_times(random, 1_500)
    records = []
    for offset, text in enumerate(texts):
        fields = random.choice([transaction(transaction_date=text), transaction(user_created=text)])
        issued, paid = random.choice([loan(order_date=text), loan(due_date=text)]), loan("repaid", paid_at=text)
        topic = random.choice(["transactions", "loans"])
        value = fields if topic == "transactions" else random.choice([issued, paid])
        records.append(record(value, topic, as_json=random.random() < 0.2, offset=offset, timestamp_ms=LATER_MS))
    bulk = decode(records, 0, Decoder(REGISTRY, 1), zone_of(name))
    assert_same(bulk, decode(records, 0, Decoder(REGISTRY, 1, plans=NoPlans()), zone_of(name)))
    assert min(len(bulk.events), len(bulk.rejects)) > 300
    assert_zone_matters(bulk, decode(records, 0, Decoder(REGISTRY, 1)))


def assert_zone_matters(local: EventBatch, in_utc: EventBatch) -> None:
    """That these records would be read otherwise in UTC: else nothing would have been compared."""
    assert local.events.tobytes() != in_utc.events.tobytes()
