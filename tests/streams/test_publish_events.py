"""Rows made events: types, times, keys, identities, order; and sending them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from streams.publish import (
    Published,
    TimeGoesBack,
    advances,
    publish,
    refuse_to_go_back,
)
from streams.publish_events import (
    Event,
    Source,
    converter,
    in_order,
    read_events,
    time_ms,
    when,
)
from streams.publish_mapping import FileMapping
from streams.publish_reading import BadLine

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Transaction",
    "fields": [
        {"name": "event_id", "type": ["null", "string"], "default": None},
        {"name": "user_id", "type": "string"},
        {"name": "transaction_amount", "type": "double"},
        {"name": "transaction_date", "type": "string"},
        {"name": "revision", "type": ["null", "int"], "default": None},
        {
            "name": "previous",
            "type": [
                "null",
                {"type": "record", "name": "P", "fields": [{"name": "transaction_amount", "type": "double"}]},
            ],
            "default": None,
        },
    ],
}


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _events(text: str, **mapping: Any) -> list[Event | BadLine]:
    source = Source(None, "transactions", FileMapping(**mapping))
    return list(read_events(source, SCHEMA, _encode, standard_input=io.BytesIO(text.encode())))


def _value(event: Event | BadLine) -> dict[str, Any]:
    assert isinstance(event, Event)
    value: dict[str, Any] = json.loads(event.value)
    return value


def test_a_row_becomes_an_event_with_time_key_and_its_place_as_identity() -> None:
    (event,) = _events("user_id,transaction_amount,transaction_date\n7,-1.5,2024-06-30T12:00:00\n")
    assert isinstance(event, Event)
    assert (event.time_ms, event.key, event.topic) == (1719748800000, b"7", "transactions")
    assert _value(event) == {
        "event_id": "-:2",
        "user_id": "7",
        "transaction_amount": -1.5,
        "transaction_date": "2024-06-30T12:00:00",
    }


def test_the_events_of_a_repeated_row_have_identities_of_their_own() -> None:
    events = _events('{"user_id":"a","transaction_amount":1,"transaction_date":"2024-01-01","k":2}', repeat="k")
    assert [_value(event)["event_id"] for event in events] == ["-:1/1", "-:1/2"]


def test_a_correction_carries_what_it_replaces() -> None:
    text = (
        '{"user_id":"a","transaction_amount":1,"transaction_date":"2024-01-01","event_id":"e","revision":1,"old":"2.5"}'
    )
    (event,) = _events(text, columns={"previous.transaction_amount": "old"})
    assert _value(event)["previous"] == {"transaction_amount": 2.5}


@pytest.mark.parametrize(
    "row, says",
    [
        ('{"transaction_amount":1,"transaction_date":"2024-01-01"}', "has no user_id"),
        ('{"user_id":"a","transaction_date":"2024-01-01"}', "has no transaction_amount: map a column"),
        ('{"user_id":"a","transaction_amount":1}', "has no transaction_date"),
        (
            '{"user_id":"a","transaction_amount":"x","transaction_date":"2024-01-01"}',
            "transaction_amount: 'x' is not a number",
        ),
        ('{"user_id":"a","transaction_amount":1,"transaction_date":"30.6.2024"}', "'30.6.2024' is not a time"),
        ('{"user_id":"a","transaction_amount":1,"transaction_date":"2024-01-01","revision":1.5}', "not a whole number"),
        ('{"user_id":"a","transaction_amount":1,"transaction_date":"2024-01-01","previous":{"x":1}}', "no field 'x'"),
    ],
)
def test_a_row_that_is_no_event_is_a_bad_line_that_says_what_to_change(row: str, says: str) -> None:
    good = '{"user_id":"a","transaction_amount":1,"transaction_date":"2024-01-01"}'
    bad, fine = _events(f"{row}\n{good}\n")
    assert isinstance(bad, BadLine)
    assert bad.number == 1
    assert says in bad.message
    assert isinstance(fine, Event)


@pytest.mark.parametrize(
    "avro, raw, value",
    [
        ("string", 576.0, "576"),
        ("long", "12345678901234567", 12345678901234567),
        ("boolean", "Yes", True),
        (["null", "string"], "", None),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "A", "A"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "7", 7),
    ],
)
def test_a_value_is_brought_to_the_type_of_its_field(avro: Any, raw: Any, value: Any) -> None:
    assert converter(avro)(raw) == value


def test_times_without_a_zone_are_utc() -> None:
    assert time_ms("2024-06-30T12:00:00") == time_ms("2024-06-30T12:00:00Z") == time_ms("2024-06-30T14:00:00+02:00")


def _event(time: int, file: int, line: int) -> Event:
    return Event(time, (file, line, 0), "transactions", b"k", b"v")


def test_files_are_merged_by_time_and_events_of_one_moment_keep_the_order_of_files_and_lines() -> None:
    first = [_event(1, 0, 2), _event(5, 0, 1)]
    second = [_event(1, 1, 1), _event(4, 1, 2), _event(5, 1, 3)]
    merged = list(in_order([first, second]))
    assert merged == sorted(first + second, key=when)
    assert [event.order[:2] for event in merged] == [(0, 2), (1, 1), (1, 2), (0, 1), (1, 3)]


class RecordedProducer:
    """Keeps what it is given, acknowledges at a flush, and has a queue that is full once."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.polls = 0

    def produce(self, topic: str, value: bytes | None = None, key: bytes | None = None, **options: Any) -> None:
        if len(self.records) == 1 and self.polls == 0:
            raise BufferError
        self.records.append({"topic": topic, "key": key, "value": value, **options})

    def poll(self, timeout: float = 0) -> int:
        self.polls += 1
        return 0

    def flush(self, timeout: float = 0) -> int:
        for record in self.records:
            record["on_delivery"](None, None)
        return 0


def test_a_full_queue_is_waited_for_and_nothing_is_sent_twice() -> None:
    producer = RecordedProducer()
    done = publish([_event(1, 0, 1), _event(2, 0, 2), _event(3, 0, 3)], producer)
    assert (done.sent, done.acknowledged, len(producer.records)) == (3, 3, 3)
    assert "timestamp" not in producer.records[0]


def test_with_the_clock_of_records_each_record_is_stamped_and_time_does_not_go_back() -> None:
    producer = RecordedProducer()
    done = Published()
    with pytest.raises(TimeGoesBack, match="--as-is"):
        publish([_event(1000, 0, 1), _event(999, 0, 2)], producer, stamp=True, published=done)
    assert [record["timestamp"] for record in producer.records] == [1000]
    assert done.last_time_ms == 1000


def test_events_before_the_end_of_what_a_topic_holds_are_refused() -> None:
    refuse_to_go_back(10, {"loans": 9, "transactions": 10})
    with pytest.raises(TimeGoesBack, match=r"topic transactions holds records up to 1970-01-01T00:00:00\.011Z"):
        refuse_to_go_back(10, {"loans": 9, "transactions": 11})


def test_an_advance_goes_to_every_partition() -> None:
    assert [partition for partition, _ in advances(5, range(3), _encode)] == [0, 1, 2]


def test_the_source_of_a_file_is_named_without_its_folder() -> None:
    assert Source(Path("/a/b.csv"), "loans", FileMapping()).name == "b.csv"
