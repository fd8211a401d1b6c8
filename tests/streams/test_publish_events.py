"""Rows made events: types, times, keys, identities, order; and sending them."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from schemas.times import FIRST_TIMESTAMP_MS, iso_of
from schemas.zones import zone_of
from streams.kafka.producer import NotDelivered, Published, timestamp_option
from streams.publish.conversion import converter
from streams.publish.events import (
    Event,
    Source,
    in_order,
    read_events,
    time_ms,
    when,
)
from streams.publish.files import BadLine
from streams.publish.mapping import FileMapping
from streams.publish.numbers import Numbers
from streams.publish.publisher import TimeGoesBack, advances, publish, publish_advances, refuse_to_go_back

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
    data = io.BytesIO(text.encode())
    return list(read_events(source, SCHEMA, _encode, standard_input=data, identify=lambda _line: "digest"))


def _value(event: Event | BadLine) -> dict[str, Any]:
    assert isinstance(event, Event)
    value: dict[str, Any] = json.loads(event.value)
    return value


def test_a_row_becomes_an_event_with_time_key_and_its_place_as_identity() -> None:
    (event,) = _events("user_id,transaction_amount,transaction_date\n7,-1.5,2024-06-30T12:00:00\n")
    assert isinstance(event, Event)
    assert (event.time_ms, event.key, event.topic) == (1719748800000, b"7", "transactions")
    assert _value(event) == {
        "event_id": "digest:2",
        "user_id": "7",
        "transaction_amount": -1.5,
        "transaction_date": "2024-06-30T12:00:00",
    }


def test_the_events_of_a_repeated_row_have_identities_of_their_own() -> None:
    events = _events('{"user_id":"a","transaction_amount":1,"transaction_date":"2024-01-01","k":2}', repeat="k")
    assert [_value(event)["event_id"] for event in events] == ["digest:1/1", "digest:1/2"]


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
    assert converter(avro)(raw, Numbers().of("x")) == value


def test_times_without_a_zone_are_those_of_the_policys_zone() -> None:
    assert time_ms("2024-06-30T12:00:00") == time_ms("2024-06-30T12:00:00Z") == time_ms("2024-06-30T14:00:00+02:00")
    assert time_ms("2024-06-30T12:00:00", zone_of("Asia/Tokyo")) == time_ms("2024-06-30T03:00:00Z")


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


ROWS = [
    ("ann", "2026-01-01"),
    ("xen", "1970-01-01T00:00:00Z"),
    ("ann", "2026-01-02"),
    ("bob", "1970-01-01T01:00:00+01:00"),
]
"""The second and the fourth happened at the moment 0."""


def _as_csv(rows: list[tuple[str, str]]) -> bytes:
    return b"user_id,transaction_amount,transaction_date\n" + b"".join(f"{u},1,{at}\n".encode() for u, at in rows)


def _as_json_lines(rows: list[tuple[str, str]]) -> bytes:
    lines = [{"user_id": user, "transaction_amount": 1, "transaction_date": at} for user, at in rows]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _as_parquet(rows: list[tuple[str, str]]) -> bytes:
    columns = {"user_id": [u for u, _ in rows], "transaction_amount": [1.0] * len(rows)}
    file = io.BytesIO()
    parquet.write_table(pa.table(columns | {"transaction_date": [at for _, at in rows]}), file)
    return file.getvalue()


FORMATS = {"csv": (_as_csv, 2), "jsonl": (_as_json_lines, 1), "parquet": (_as_parquet, 1)}  # and the first row's number


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("pipe", [False, True], ids=["file", "pipe"])
def test_the_moment_0_is_refused_with_its_line_in_every_way_a_row_can_come(
    form: str, packed: bool, pipe: bool, tmp_path: Path
) -> None:
    write, first = FORMATS[form]
    content = gzip.compress(write(ROWS)) if packed else write(ROWS)
    (tmp_path / "rows").write_bytes(content)
    source = Source(None if pipe else tmp_path / "rows", "transactions", FileMapping())
    found = list(read_events(source, SCHEMA, _encode, standard_input=io.BytesIO(content), stamp=True, identify=str))
    bad = [one for one in found if isinstance(one, BadLine)]
    assert [line.number for line in bad] == [first + 1, first + 3]
    assert all("1970-01-01T00:00:00Z, which cannot be the timestamp of a record" in line.message for line in bad)
    assert [event.key for event in found if isinstance(event, Event)] == [b"ann", b"ann"]
    live = list(read_events(source, SCHEMA, _encode, standard_input=io.BytesIO(content), identify=str))
    assert len([event for event in live if isinstance(event, Event)]) == 4  # the broker stamps them: an old date is one


@given(st.lists(st.integers(-(10**13), 10**12) | st.integers(-3, 3), max_size=5))
@example([0])
@example([-1])
@example([1])
def test_no_event_is_stamped_with_what_means_something_else(moments: list[int]) -> None:
    text = _as_csv([(f"u{i}", iso_of(moment)) for i, moment in enumerate(moments)])
    source = Source(None, "transactions", FileMapping())
    found = list(read_events(source, SCHEMA, _encode, standard_input=io.BytesIO(text), stamp=True, identify=str))
    events = sorted((one for one in found if isinstance(one, Event)), key=when)
    assert sorted(event.time_ms for event in events) == sorted(m for m in moments if m >= FIRST_TIMESTAMP_MS)
    producer = RecordedProducer()
    producer.polls = 1
    publish(events, producer, stamp=True)
    assert all(record["timestamp"] >= FIRST_TIMESTAMP_MS for record in producer.records)
    for moment in moments:
        if moment < FIRST_TIMESTAMP_MS:
            with pytest.raises(NotDelivered, match="no record can have the timestamp"):
                timestamp_option(moment)
            with pytest.raises(NotDelivered):
                publish_advances("commands", [(0, b"x")], moment, producer, True, Published())


def test_a_rate_that_holds_since_ever_is_known_from_the_first_moment_on() -> None:
    schema = {
        "type": "record",
        "name": "FxRate",
        "fields": [
            {"name": "currency", "type": "string"},
            {"name": "effective_at", "type": "string"},
            {"name": "rate", "type": "double"},
        ],
    }
    text = b"currency,effective_at,rate\nUSD,1900-01-01,0.9\nUSD,1970-01-01,0.9\nUSD,2026-01-01,0.9\n"
    source = Source(None, "fx-rates", FileMapping())
    found = list(read_events(source, schema, _encode, standard_input=io.BytesIO(text), stamp=True, identify=str))
    assert [one.time_ms for one in found if isinstance(one, Event)] == [1, 1, time_ms("2026-01-01") - 60_000]


@pytest.mark.parametrize(
    "mcc, says",
    [
        ("742", "mcc '742' is read as 0742"),
        ("5411.0", "mcc '5411.0' is read as 5411"),
        ("0", "mcc '0' is read as no code"),
        ("54", ""),  # workers refuse it: a bad line instead
        ("0742", ""),
        ("", ""),
    ],
)
def test_a_code_that_is_not_what_its_writer_meant_is_worth_a_remark(mcc: str, says: str) -> None:
    fields = [*SCHEMA["fields"], {"name": "mcc", "type": ["null", "string"], "default": None}]
    row = {"user_id": "a", "transaction_amount": 1, "transaction_date": "2024-01-01", "mcc": mcc}
    remarks: list[BadLine] = []
    source = Source(None, "transactions", FileMapping())
    line = io.BytesIO(json.dumps(row).encode())
    (event,) = read_events(
        source, SCHEMA | {"fields": fields}, _encode, standard_input=line, remark=remarks.append, identify=str
    )
    assert isinstance(event, Event)
    assert [says in remark.message for remark in remarks] == ([True] if says else [])
    assert [remark.number for remark in remarks] == ([1] if says else [])
