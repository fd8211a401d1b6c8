"""The commands on a real Kafka: what is published, where, when and by whom it can be read; dead letters and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from schemas.batch import Record
from schemas.errors import Exit
from schemas.kinds import INPUT_TOPICS
from schemas.partitioner import partition_of
from schemas.topic_values import Values
from streams.__main__ import app
from streams.kafka.client import latest_timestamps_ms, producer, read, require_topics, transact
from streams.kafka.topics import PUBLICATIONS_TOPIC
from streams.log.dead_letters import Message
from streams.publish.events import time_ms
from streams.settings import KafkaSettings

PARTITIONS = 3
CSV = "user_id,transaction_amount,transaction_date,transaction_currency,event_id\n"


class House:
    """The commands against fresh topics of one test."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=bootstrap_servers)
        self.prefix = prefix
        self.values = Values()

    def run(self, *arguments: str, typed: str | None = None, clock: str = "wall", **settings: str) -> Result:
        env = {
            "RESCORE_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "RESCORE_TOPIC_PREFIX": self.prefix,
            "RESCORE_APP": self.prefix + "app",
            "RESCORE_CLOCK": clock,
            **settings,
        }
        return CliRunner().invoke(app, list(arguments), env=env, input=typed, catch_exceptions=False)

    def records(self, topic: str) -> list[Record]:
        return list(read(self.kafka, require_topics(self.kafka, [self.prefix + topic])))

    def fields(self, topic: str) -> list[dict[str, Any]]:
        return [self.values.decode(topic, record.value or b"") for record in self.records(topic)]

    def write(
        self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None, partition: int | None = None
    ) -> None:
        sender = producer(self.kafka, self.prefix + "writer")
        lines = [(name, text.encode()) for name, text in (headers or {}).items()]
        transact(sender, [Message(self.prefix + topic, key.encode(), value, lines, partition)])


@pytest.fixture
def house(topics: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    dead = [f"{name}.dlq" for name in INPUT_TOPICS]
    topics.make(*INPUT_TOPICS, *dead, "score-changes", "fx-rates", partitions=PARTITIONS)
    topics.make(PUBLICATIONS_TOPIC)
    return House(topics.bootstrap_servers, topics.prefix)


def _csv(tmp_path: Path, name: str, *rows: str) -> str:
    path = tmp_path / name
    path.write_text(CSV + "".join(row + "\n" for row in rows))
    return str(path)


def test_events_go_where_the_java_client_would_send_them_in_order_of_time(house: House, tmp_path: Path) -> None:
    first = _csv(tmp_path, "a.csv", *(f"u{n % 7},{n},1993-01-{28 - n:02d},EUR,a{n}" for n in range(20)))
    second = _csv(tmp_path, "b.csv", "u1,99,1993-01-20,EUR,b0")
    result = house.run("publish", first, second, clock="records")
    assert result.exit_code == Exit.OK, result.output
    assert "published 21 records" in result.stderr
    records = house.records("transactions")
    assert len(records) == 21
    for record in records:
        assert record.key is not None
        assert record.partition == partition_of(record.key, PARTITIONS)
        assert record.timestamp_ms == 725846400000 + 86_400_000 * (
            int(house.values.decode("transactions", record.value or b"")["transaction_date"][-2:]) - 1
        )
    for partition in range(PARTITIONS):
        times = [record.timestamp_ms for record in records if record.partition == partition]
        assert times == sorted(times)


def test_a_live_topic_is_stamped_by_the_broker(house: House, tmp_path: Path) -> None:
    result = house.run("publish", _csv(tmp_path, "a.csv", "ann,1,1993-01-01,EUR,e"))
    assert result.exit_code == Exit.OK, result.output
    (record,) = house.records("transactions")
    assert record.timestamp_ms > 1_600_000_000_000


def test_history_is_not_published_before_history_that_is_there(house: House, tmp_path: Path) -> None:
    first = house.run("publish", _csv(tmp_path, "a.csv", "ann,1,1993-02-01,EUR,e"), clock="records")
    assert first.exit_code == Exit.OK, first.output
    result = house.run("publish", _csv(tmp_path, "b.csv", "ann,1,1993-01-31,EUR,f"), clock="records")
    assert result.exit_code == Exit.FAILURE
    assert "holds records up to 1993-02-01T00:00:00Z; these events begin at 1993-01-31T00:00:00Z" in result.stderr
    assert len(house.records("transactions")) == 1


def test_the_latest_time_is_that_of_an_event_not_of_the_end_of_a_transaction_or_of_what_was_aborted(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"u{n},1,1993-01-{n + 1:02d},EUR,e{n}" for n in range(20)]
    assert house.run("publish", _csv(tmp_path, "a.csv", *rows), clock="records").exit_code == Exit.OK
    sender = producer(house.kafka, house.prefix + "aborted")
    for _ in range(2):
        sender.begin_transaction()
        for n in range(20):
            sender.produce(house.prefix + "transactions", b"{}", f"u{n}", timestamp=time_ms("2001-01-01") + n)
        sender.flush(30)
        sender.abort_transaction(30)
    topic = house.prefix + "transactions"
    for offsets in (1, 1_000):  # read from the end in steps, or at once
        monkeypatch.setattr("streams.kafka.client.TAIL_RECORDS", offsets)
        latest = latest_timestamps_ms(house.kafka, require_topics(house.kafka, [topic, house.prefix + "loans"]))
        assert latest == {topic: time_ms("1993-01-20")}
    more = house.run("publish", _csv(tmp_path, "b.csv", "ann,1,1993-02-01,EUR,f"), clock="records")
    assert more.exit_code == Exit.OK, more.output


def test_a_stream_needs_ids_of_its_own_and_a_pipe_that_is_read_whole_does_not(house: House) -> None:
    typed = "user_id,transaction_amount,transaction_date,transaction_currency\nann,1,1993-01-01,EUR\n"
    refused = house.run("publish", "-", "--as-is", typed=typed)
    assert refused.exit_code == Exit.FAILURE
    assert "a pipe that is published with --as-is needs an event_id for each event" in refused.stderr
    assert house.records("transactions") == []
    mapped = house.run("publish", "-", "--as-is", "--map", "event_id:={user_id}-{transaction_date}", typed=typed)
    assert mapped.exit_code == Exit.OK, mapped.output
    whole = house.run("publish", "-", typed=typed)
    assert whole.exit_code == Exit.OK, whole.output
    again = house.run("publish", "-", typed=typed)
    assert again.exit_code == Exit.FAILURE
    assert "already published: 1 event of -" in again.stderr
    assert len(house.records("transactions")) == 2


def test_publications_are_listed_for_people_and_programs(house: House, tmp_path: Path) -> None:
    assert "no file was published" in house.run("publications").stdout
    path = _csv(tmp_path, "a.csv", "ann,x,1993-01-01,EUR,e", "bob,1,1993-01-01,EUR,f")
    house.run("publish", path, "--skip-bad-lines")
    again = house.run("publish", path, "--skip-bad-lines")
    assert "already published: 1 event of a.csv" in again.stderr
    shown = house.run("publications")
    assert shown.exit_code == Exit.OK
    assert "a.csv" in shown.stdout
    (listed,) = [json.loads(line) for line in house.run("publications", "--json").stdout.splitlines()]
    content = hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()
    assert (listed["events_done"], listed["events"], listed["bad_lines"], listed["complete"]) == (1, 1, 1, True)
    assert (listed["file"], listed["content_sha256"]) == ("a.csv", content)


def test_a_record_that_kafka_never_takes_is_told_and_what_was_committed_before_stays(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    row = {"user_id": "ann", "transaction_amount": 1, "transaction_currency": "EUR"}
    rows = [
        row | {"transaction_date": f"1993-01-0{n}", "description": "x" * (2_000_000 if n == 2 else 1)} for n in (1, 2)
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    too_large = house.run("publish", str(path))
    assert "a.jsonl, line 2: The value has 2,000,071 bytes, more than 1,000,000" in too_large.stderr
    result = house.run("publish", str(path), RESCORE_RECORD_BYTES_MAX="3000000")
    assert result.exit_code == Exit.FAILURE
    assert "Kafka does not take it" in result.stderr
    assert "shorten the event" in result.stderr
    assert house.records("transactions") == []


def test_a_bad_line_stops_a_publication_unless_it_may_be_skipped(house: House, tmp_path: Path) -> None:
    file = _csv(tmp_path, "a.csv", "ann,x,1993-01-01,EUR,e", "bob,1,1993-01-01,EUR,f")
    result = house.run("publish", file)
    assert result.exit_code == Exit.FAILURE
    assert "a.csv, line 2: transaction_amount: 'x' is not a number" in result.stderr
    assert "1 bad line: nothing was published" in result.stderr
    assert house.records("transactions") == []

    rejects = tmp_path / "rejects.csv"
    skipped = house.run("publish", file, "--skip-bad-lines", "--rejects", str(rejects))
    assert skipped.exit_code == Exit.FAILURE
    assert "1 bad line left out, all others are published" in skipped.stderr
    assert f"correct them in {rejects}" in skipped.stderr
    assert [one["user_id"] for one in house.fields("transactions")] == ["bob"]

    rejects.write_text(rejects.read_text().replace("ann,x", "ann,7"))
    corrected = house.run("publish", str(rejects))
    assert corrected.exit_code == Exit.OK, corrected.output
    assert sorted(one["user_id"] for one in house.fields("transactions")) == ["ann", "bob"]


def test_events_that_are_sent_as_they_are_read_stop_at_a_bad_line(house: House) -> None:
    lines = ["ann,1,1993-01-01,EUR,e", "bob,x,1993-01-02,EUR,f", "cid,1,1993-01-03,EUR,g"]
    typed = CSV + "".join(line + "\n" for line in lines)
    result = house.run("publish", "-", "--as-is", typed=typed)
    assert result.exit_code == Exit.FAILURE
    assert "stopped at line 3" in result.stderr
    assert "cid" not in [one["user_id"] for one in house.fields("transactions")]
    whole = house.run("publish", "-", typed=typed)
    assert "1 bad line: nothing was published" in whole.stderr


def test_what_workers_would_refuse_is_not_published(house: House, tmp_path: Path) -> None:
    rows = ["ann,1,20261120,EUR,e", "bob,1,2026-W47-5,EUR,f", "cid,1,2026-11-20,euro,g", "dan,1,2299-01-01,EUR,h"]
    result = house.run("publish", _csv(tmp_path, "a.csv", *rows))
    assert "4 bad lines: nothing was published" in result.stderr
    for line, says in ((2, "'20261120'"), (3, "'2026-W47-5'"), (4, "transaction_currency is 'euro'"), (5, "ahead of")):
        assert any(f"line {line}: " in told and says in told for told in result.stderr.splitlines()), result.stderr
    assert house.records("transactions") == []


def test_an_advance_reaches_every_partition_after_the_events(house: House, tmp_path: Path) -> None:
    path = _csv(tmp_path, "a.csv", "ann,1,1993-01-01,EUR,e")
    result = house.run("publish", path, "--advance-to", "1994-01-01", clock="records")
    assert result.exit_code == Exit.OK, result.output
    records = house.records("commands")
    assert sorted(record.partition for record in records) == list(range(PARTITIONS))
    assert {record.timestamp_ms for record in records} == {757382400000}
    assert [(one["command"], one["to"]) for one in house.fields("commands")] == [("advance", 757382400000)] * PARTITIONS
    back = house.run("publish", path, "--advance-to", "1992-01-01", clock="records")
    assert back.exit_code == Exit.FAILURE


def test_a_pipe_of_json_lines_and_bounds_in_time(house: House, tmp_path: Path) -> None:
    lines = [
        {"user_id": "ann", "transaction_amount": n, "transaction_date": f"1993-01-0{n}", "transaction_currency": "EUR"}
        for n in range(1, 6)
    ]
    typed = "".join(json.dumps(line) + "\n" for line in lines)
    result = house.run("publish", "-", "--from", "1993-01-02", "--until", "1993-01-04", "--json-values", typed=typed)
    assert result.exit_code == Exit.OK, result.output
    records = house.records("transactions")
    assert [json.loads(record.value or b"")["transaction_amount"] for record in records] == [2.0, 3.0]
    ids = [json.loads(record.value or b"")["event_id"] for record in records]
    assert [one.partition(":")[2] for one in ids] == ["2", "3"]


def test_a_topic_that_is_not_there_is_told_with_what_to_do(house: House, tmp_path: Path) -> None:
    house.prefix += "other-"
    result = house.run("publish", _csv(tmp_path, "a.csv", "ann,1,1993-01-01,EUR,e"))
    assert result.exit_code == Exit.FAILURE
    assert "rescore topics apply" in result.stderr


CHANGE: dict[str, Any] = {
    "user_id": "ann",
    "score": "status",
    "sequence": 1,
    "incarnation": "3-0",
    "change_id": "ann/status/3-0/1",
    "new": 2.229,
    "cause": {"kind": "event", "topic": "loans", "partition": 1, "offset": 7, "event_id": "e", "loan_id": None},
    "event_time_ms": 1,
    "decided_ms": 1,
    "weights_version": "w",
    "policy_version": "p",
    "base": 1.868,
    "reasons": [{"code": "HISTORY", "text": "loans repaid on time", "level": 0.361, "moved": 0.361}],
    "first_event_ms": 0,
    "last_event_ms": 1,
    "events": 1,
    "segment": "new",
}


def _publish_changes(house: House, *changes: dict[str, Any]) -> None:
    encode = house.values.encoder("score-changes")
    for change in changes:
        value = CHANGE | change
        value["change_id"] = f"{value['user_id']}/{value['score']}/{value['incarnation']}/{value['sequence']}"
        house.write("score-changes", value["user_id"], encode(value))


def test_subscribe_shows_committed_changes_that_were_asked_for(house: House) -> None:
    _publish_changes(
        house, {}, {"sequence": 2, "old": 2.229, "new": 2.5}, {"user_id": "bob"}, {"score": "value", "new_band": "top"}
    )
    from_start = ("subscribe", "--from-beginning", "--exit-at-end")
    result = house.run(*from_start, "--json")
    assert result.exit_code == Exit.OK, result.output
    assert len(result.stdout.splitlines()) == 4
    chosen = house.run(*from_start, "--json", "--user", "ann", "--score", "status").stdout.splitlines()
    assert [json.loads(one)["sequence"] for one in chosen] == [1, 2]
    assert "loans repaid on time (+0.36)" in house.run(*from_start, "--user", "bob").stdout
    assert len(house.run(*from_start, "--band", "top").stdout.splitlines()) == 1


def test_explain_tells_the_story_from_the_topic(house: House) -> None:
    _publish_changes(house, {}, {"user_id": "bob"})
    result = house.run("explain", "ann")
    assert result.exit_code == Exit.OK, result.output
    assert "status 2.229" in result.stdout
    assert "loans/1/7" in result.stdout
    assert json.loads(house.run("explain", "ann", "--json").stdout)["scores"][0]["adds_up"] is True
    adverse = house.run("explain", "ann", "--adverse")  # there is no Redis here: the story is told all the same
    assert "short history" in adverse.stdout
    assert "is not told" in adverse.stderr
    assert house.run("explain", "nobody").exit_code == Exit.FAILURE


def test_a_command_is_published_under_its_customer_with_an_author(house: House) -> None:
    until = ["--until", "2030-01-01", "--reason", "seen", "--create"]
    assert house.run("override", "ann", "--score", "status", "--value", "3.5", *until).exit_code == Exit.OK
    assert house.run("override", "ann", "--score", "status", "--lift", "--author", "eve").exit_code == Exit.OK
    assert house.run("erase", "ann", "--yes", "--json").exit_code == Exit.OK
    found = house.fields("commands")
    assert [one["command"] for one in found] == ["override", "lift", "erase"]
    assert (found[0]["score"], found[0]["value"], found[0]["expires_at"], found[0]["reason"]) == (
        "status",
        3.5,
        "2030-01-01",
        "seen",
    )
    assert "@" in found[0]["author"]
    assert found[1]["author"] == "eve"
    assert len({one["event_id"] for one in found}) == 3


def _refused(house: House, key: str, partition: int = 0, reason: str = "KEY_IS_NOT_USER") -> bytes:
    fields = {
        "user_id": "ann",
        "transaction_amount": 1.0,
        "transaction_date": "1993-01-01",
        "transaction_currency": "EUR",
    }
    value = house.values.encoder("transactions")(fields)
    errors = {
        "topic": house.prefix + "transactions",
        "partition": "0",
        "offset": "3",
        "stage": "decode",
        "exception": reason,
    }
    headers = {"mine": "kept"} | {f"__streams.errors.{name}": text for name, text in errors.items()}
    house.write("transactions.dlq", key, value, headers, partition)
    return value


def test_a_dead_letter_comes_back_once_with_the_right_key(house: House) -> None:
    value = _refused(house, "wrong")
    (listed,) = house.run("dlq", "list", "--json").stdout.splitlines()
    name = json.loads(listed)["letter"]
    shown = json.loads(house.run("dlq", "show", name, "--json").stdout)
    assert (shown["value"]["user_id"], shown["hex"], shown["headers"]) == ("ann", value.hex(), {"mine": "kept"})
    assert house.run("dlq", "replay", name).exit_code == Exit.OK
    (record,) = house.records("transactions")
    assert (record.key, record.value) == (b"ann", value)
    assert record.partition == partition_of(b"ann", PARTITIONS)
    assert dict(record.headers or [])["mine"] == b"kept"
    again = house.run("dlq", "replay", name)
    assert again.exit_code == Exit.FAILURE
    assert "no open dead letter" in again.stderr
    assert len(house.records("transactions")) == 1
    assert house.run("dlq", "list").stdout.strip() == "there is no open dead letter"


def test_a_dropped_letter_is_settled_after_a_yes_and_never_published(house: House) -> None:
    _refused(house, "ann", 0, "NULL_KEY")
    _refused(house, "bob", 2, "UNKNOWN_LOAN")
    assert house.run("dlq", "drop", "--reason", "NULL_KEY", typed="n\n").exit_code == Exit.FAILURE
    assert len(house.run("dlq", "list", "--json").stdout.splitlines()) == 2
    assert house.run("dlq", "drop", "--reason", "NULL_KEY", typed="y\n").exit_code == Exit.OK
    (left,) = house.run("dlq", "list", "--json").stdout.splitlines()
    assert json.loads(left)["reason"] == "UNKNOWN_LOAN"
    assert house.records("transactions") == []


def test_a_second_replayer_fences_the_first_so_that_no_letter_comes_back_twice(house: House) -> None:
    _refused(house, "ann")
    slow = producer(house.kafka, house.prefix + "app.dlq")
    assert house.run("dlq", "replay", "--all").exit_code == Exit.OK
    with pytest.raises(Exception, match="not committed"):
        transact(slow, [Message(house.prefix + "transactions", b"ann", b"x", [])])
    assert len(house.records("transactions")) == 1
