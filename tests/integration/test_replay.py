"""`rescore verify` on a real Kafka: equal where all is well, and whatever was tampered with is found and named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from local.generator.events import SampleEvent, events, population
from schemas.batch import Record
from schemas.codec import StaticRegistry, decode_value
from schemas.row_keys import PROGRESS_KEY
from schemas.times import iso_of
from streams.commands.verify import as_plain, compare
from tests.integration.deployment import Deployment, deployment

REGISTRY = StaticRegistry()
ERASED = ("c-000010", "c-000011")


@pytest.fixture(scope="module")
def lived(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """Two workers have taken generated data; loans came late, two customers were erased and one of them came back."""
    folder, name = tmp_path_factory.mktemp("lived"), f"lived{os.getpid()}"
    more = {"CLOCK": "records", "PARTITIONS": "2"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, **more) as where:
        story = list(events(population(13, 60, date(2025, 1, 1), 90)))
        half = len(story) // 2
        publish(where, story[:half])
        where.start_worker(0)
        where.start_worker(1)
        where.catch_up()
        publish(where, [event for event in story[half:] if event.topic != "loans"])
        where.catch_up()
        publish(where, [event for event in story[half:] if event.topic == "loans"])
        erase(where, story[-1].timestamp_ms)
        where.catch_up()
        where.stop()
        yield where


def publish(where: Deployment, story: list[SampleEvent]) -> None:
    by_topic: dict[str, list[tuple[str, bytes, int]]] = {}
    for event in story:
        value = event.value if isinstance(event.value, bytes) else json.dumps(event.value).encode()
        by_topic.setdefault(event.topic, []).append((event.key, value, event.timestamp_ms))
    # Rates first: in history, where publishers stamp, one that comes after the events it is for is late for them.
    for topic, values in sorted(by_topic.items(), key=lambda one: one[0] != "fx-rates"):
        where.send(topic, sorted(values, key=lambda value: value[2]))


def erase(where: Deployment, at_ms: int) -> None:
    back = {
        "event_id": "back", "user_id": ERASED[1], "transaction_currency": "EUR", "transaction_amount": 90.0,
        "transaction_date": iso_of(at_ms + 60_000),
    }  # fmt: skip
    commands = [SampleEvent("commands", at_ms + 10, user, {"user_id": user, "command": "erase"}) for user in ERASED]
    publish(where, [*commands, SampleEvent("transactions", at_ms + 60_000, ERASED[1], back)])


def replayed(where: Deployment, **chosen: Any) -> dict[str, Any]:
    """What the command would say as JSON."""
    return as_plain(compare(where.settings, **chosen), 1.0)


def append(where: Deployment, topic: str, records: list[Record]) -> None:
    """Write records where they lay, as nobody should."""
    producer = Producer({"bootstrap.servers": where.bootstrap_servers, "linger.ms": 5, "enable.idempotence": True})
    for record in records:
        producer.produce(
            where.settings.topic(topic), record.value, record.key, record.partition, headers=record.headers
        )
    assert producer.flush(60) == 0


def rewrite(where: Deployment, topic: str, records: list[Record]) -> None:
    """Make a topic anew with these records."""
    admin = AdminClient({"bootstrap.servers": where.bootstrap_servers})
    (deleted,) = admin.delete_topics([where.settings.topic(topic)], operation_timeout=20.0).values()
    deleted.result(20.0)
    where.wait(lambda: "made with" in where.rescore("topics", "apply").stdout, "the topic is made anew", 30)
    append(where, topic, records)


@pytest.mark.timeout(600)
def test_everything_is_equal_and_everything_was_there_to_be_compared(lived: Deployment) -> None:
    done = lived.rescore("verify", "--json", "--jobs", "2")
    found = json.loads(done.stdout)
    assert found["differences"] == []
    assert found["equal"]
    assert found["partitions"] == 2
    assert found["changes"] == len(lived.read("score-changes")) > 500
    assert found["customers"] >= 50
    assert found["cards"] > 50
    assert found["stored"] > 50
    assert found["letters"] >= 1
    assert (found["pending"], found["unprovable"], found["notes"]) == (0, 0, [])
    assert len(lived.read("rescore-journal")) > 20
    causes = {
        decode_value("ScoreChange", r.value or b"", REGISTRY)["cause"]["kind"] for r in lived.read("score-changes")
    }
    assert causes >= {"event", "time", "correction", "erasure"}


@pytest.mark.timeout(600)
def test_one_customer_is_equal_by_the_readable_formulas(lived: Deployment) -> None:
    found = replayed(lived, users=[ERASED[1].encode(), b"c-000001"], readable=True)
    assert found["equal"]
    assert found["customers"] == 2
    done = lived.rescore("verify", "--user", "c-000001")
    assert done.stdout.startswith("equal: ")
    assert "1 customer" in done.stdout
    assert lived.rescore("verify", "--user", "nobody", check=False).returncode == 1


@pytest.mark.timeout(600)
def test_one_flipped_byte_in_the_changelog_is_found_and_named(lived: Deployment) -> None:
    state = lived.read("rescore-state")
    images = {r.key: r for r in state if r.key != PROGRESS_KEY and r.value and r.partition == 0}
    progress = [r for r in state if r.key == PROGRESS_KEY and r.partition == 0][-1]
    user, image = max((key, image) for key, image in images.items() if key)
    value = image.value or b""
    flipped = value[:-20] + bytes([value[-20] ^ 1]) + value[-19:]
    append(lived, "rescore-state", [image._replace(value=flipped), progress])
    found = replayed(lived)
    first = found["differences"][0]
    assert not found["equal"]
    assert {one["user"] for one in found["differences"]} == {user.decode()}
    assert {one["what"] for one in found["differences"]} == {"row", "store"}
    assert any(f"{lived.settings.topic('rescore-state')}/0/" in one["where"] for one in found["differences"])
    assert first["field"]
    done = lived.rescore("verify", check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("DIFFERENT: 2 differences in ")
    assert f"first difference: {user.decode()}: " in done.stdout
    append(lived, "rescore-state", [image, progress])
    assert replayed(lived)["equal"]


@pytest.mark.timeout(600)
def test_a_change_doubled_removed_or_altered_is_found_and_named(lived: Deployment) -> None:
    changes = lived.read("score-changes")
    chosen = next(
        i for i, r in enumerate(changes) if decode_value("ScoreChange", r.value or b"", REGISTRY)["sequence"] == 2
    )
    said = decode_value("ScoreChange", changes[chosen].value or b"", REGISTRY)
    append(lived, "score-changes", [changes[chosen]])
    (doubled,) = replayed(lived)["differences"]
    assert (doubled["user"], doubled["score"], doubled["sequence"]) == (said["user_id"], said["score"], 2)
    assert "was committed twice" in doubled["sentence"]

    rewrite(lived, "score-changes", [*changes[:chosen], *changes[chosen + 1 :]])
    (removed,) = replayed(lived)["differences"]
    assert (removed["user"], removed["score"], removed["sequence"]) == (said["user_id"], said["score"], 2)
    assert "is missing, before" in removed["sentence"]

    later = [r for r in changes if r.key == changes[chosen].key][-1]
    rewrite(lived, "score-changes", [r for r in changes if r is not later])
    (last,) = replayed(lived)["differences"]
    assert "is missing: " in last["sentence"]

    value = changes[chosen].value or b""
    at = value.index(said["segment"].encode())
    other = value[:at] + b"x" + value[at + 1 :]
    rewrite(lived, "score-changes", [r._replace(value=other) if i == chosen else r for i, r in enumerate(changes)])
    (altered,) = replayed(lived)["differences"]
    assert altered["field"]
    assert altered["recounted"]
    rewrite(lived, "score-changes", changes)
    assert replayed(lived)["equal"]


@pytest.mark.timeout(600)
def test_a_removed_dead_letter_and_a_wrong_scorecard_are_found(lived: Deployment) -> None:
    cards = {r.key: r for r in lived.read("scorecards") if r.value}
    one, two = sorted((r for r in cards.values() if r.partition == 0), key=lambda r: r.key or b"")[:2]
    append(lived, "scorecards", [one._replace(value=two.value)])
    (card,) = replayed(lived)["differences"]
    assert (card["what"], card["user"]) == ("scorecard", (one.key or b"").decode())
    append(lived, "scorecards", [one])
    letters = lived.read("transactions.dlq")
    rewrite(lived, "transactions.dlq", [])
    found = replayed(lived)["differences"]
    assert {difference["what"] for difference in found} == {"dead letter"}
    rewrite(lived, "transactions.dlq", letters)
    assert replayed(lived)["equal"]


@pytest.mark.timeout(600)
def test_what_retention_has_removed_is_not_proven_and_no_false_alarm(lived: Deployment) -> None:
    whole = replayed(lived)
    ends = dict.fromkeys(range(2), 0)
    for record in lived.read("score-changes"):
        ends[record.partition] = record.offset
    expire(lived, "score-changes", {p: offset // 2 for p, offset in ends.items()})
    shorter = replayed(lived)
    assert shorter["equal"], shorter["differences"][:3]
    assert (shorter["customers"], shorter["unprovable"]) == (whole["customers"], 0)
    offsets = sorted(record.offset for record in lived.read("transactions") if record.partition == 0)
    expire(lived, "transactions", {0: offsets[len(offsets) // 5]})
    found = replayed(lived)
    assert found["equal"], found["differences"][:3]
    assert found["unprovable"] > 10
    assert found["customers"] + found["unprovable"] == whole["customers"]
    assert "not proven: " in lived.rescore("verify").stdout


def expire(where: Deployment, topic: str, before: dict[int, int]) -> None:
    """Retention: nothing before these offsets is there any more."""
    admin = AdminClient({"bootstrap.servers": where.bootstrap_servers})
    wanted = [TopicPartition(where.settings.topic(topic), p, offset) for p, offset in before.items()]
    for answer in admin.delete_records(wanted).values():
        answer.result(20.0)
