"""The last changes of a customer are found in a large topic, and what is not found is known to be missing."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.customers.history import CHUNK_RECORDS, KnownRow, behind, find, missing_scores
from streams.kafka.client import admin_of
from streams.kafka.history import KafkaChanges
from streams.log.unreadable import Unreadable
from streams.settings import KafkaSettings

LIFE = "3-0"


def change(user: str, score: str, sequence: int, decided_ms: int) -> dict[str, Any]:
    return {"user_id": user, "score": score, "sequence": sequence, "incarnation": LIFE, "decided_ms": decided_ms,
            "change_id": f"{user}/{score}/{sequence}"}  # fmt: skip


class Listed:
    """A partition in memory that counts what is read; every third offset is a marker of a transaction."""

    def __init__(self, changes: list[dict[str, Any]], first: int = 0) -> None:
        self.kept = {first + 3 * i: one for i, one in enumerate(changes)}
        self.first, self.end = first, first + 3 * len(changes)
        self.read = self.probes = 0

    def decided_ms(self, offset: int) -> int | None:
        self.probes += 1
        few = (self.kept[at] for at in range(offset, min(offset + 12, self.end)) if at in self.kept)
        return max((one["decided_ms"] for one in few), default=None)

    def of_user(self, user: str, start: int, end: int) -> list[Any]:
        self.read += end - start
        found = (self.kept.get(offset) for offset in range(start, end))
        return [one for one in found if one is not None and one["user_id"] == user]


def population(of_ann: dict[int, list[tuple[str, int]]], records: int = 200_000) -> list[dict[str, Any]]:
    """A change a second of others, and those of ann at some of the seconds."""
    changes = []
    for second in range(records):
        changes += [change("ann", score, sequence, second * 1_000) for score, sequence in of_ann.get(second, ())]
        changes.append(change("other", "value", second, second * 1_000))
    return changes


OF_ANN = {100: [("status", 1)], 20_000: [("value", 1)], 20_001: [("value", 2), ("status", 2)]}
ROW = KnownRow(20_500_000, LIFE, {"value": 2, "status": 2})


def test_the_last_changes_of_who_has_been_silent_for_long_are_found_by_few_records() -> None:
    reader = Listed(population(OF_ANN), first=7)
    found = find(reader, "ann", ROW, steps=1, records_max=100_000)
    assert [(one["score"], one["sequence"]) for one in found.changes][-2:] == [("value", 2), ("status", 2)]
    assert reader.probes < 20
    assert found.records == reader.read < 8 * CHUNK_RECORDS
    assert not found.whole
    assert missing_scores(found, ROW) == []


def test_more_steps_are_looked_for_up_to_a_bound_and_what_is_not_found_is_known() -> None:
    reader = Listed(population(OF_ANN))
    found = find(reader, "ann", ROW, steps=10, records_max=50_000)
    assert [(one["score"], one["sequence"]) for one in found.changes] == [("value", 1), ("value", 2), ("status", 2)]
    assert reader.read == found.records <= 50_000
    assert find(Listed(population(OF_ANN)), "ann", ROW, steps=10, records_max=100_000).changes[0]["sequence"] == 1
    rare = KnownRow(20_500_000, LIFE, {"value": 2, "status": 2, "class": 1})
    assert missing_scores(find(Listed(population(OF_ANN)), "ann", rare, records_max=50_000), rare) == ["class"]
    assert missing_scores(found, rare, ["value"]) == []


def test_everything_is_read_where_it_is_asked_for_or_not_much() -> None:
    for reader, row in ((Listed(population(OF_ANN, 30_000)), None), (Listed(population(OF_ANN, 30_000)), ROW)):
        found = find(reader, "ann", row, steps=10**9, records_max=reader.end)
        assert (len(found.changes), found.whole) == (4, row is None or found.records == reader.end)
    assert find(Listed([]), "ann", None).changes == []
    assert find(Listed([]), "ann", None).whole


@pytest.mark.parametrize("seed", range(5))
def test_the_search_by_time_is_right_to_a_chunk_where_time_is_nearly_in_order(seed: int) -> None:
    random = Random(seed)
    changes = population({}, 60_000)
    for _ in range(200):  # changes behind their time
        one = random.choice(changes)
        one["decided_ms"] = max(0, one["decided_ms"] - random.randrange(10**7))
    reader = Listed(changes)
    for _ in range(20):
        second = random.randrange(60_000)
        at = behind(reader, second * 1_000)
        later = [offset for offset, one in reader.kept.items() if one["decided_ms"] == second * 1_000]
        assert all(offset < at + CHUNK_RECORDS for offset in later)
        assert at - 3 * second < 2 * CHUNK_RECORDS + 3 * 200


def test_a_partition_of_kafka_is_read_at_any_place(kafka, prefix) -> None:
    from confluent_kafka.admin import NewTopic

    settings, topic = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers), f"{prefix}changes"
    for future in admin_of(settings).create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()
    sender = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": f"{prefix}t"})
    sender.init_transactions()
    for second in range(300):
        sender.begin_transaction()
        aborted = second % 7 == 3
        for user in ("ann", "bob", "ann2"):
            value = b"what is this" if user == "ann" and second == 200 else f"{user}/{second}".encode()
            sender.produce(topic, value, user, partition=0)
        sender.flush(30)
        sender.abort_transaction(30) if aborted else sender.commit_transaction(30)

    def decode(value: bytes) -> dict[str, Any]:
        user, _, second = value.decode().partition("/")
        return change(user, "value", int(second), int(second) * 1_000)

    lines: list[str] = []
    with Unreadable(lines.append) as unreadable, KafkaChanges(settings, topic, 0, decode, unreadable) as reader:
        assert (reader.first, reader.end, reader.behind) == (0, 1_200, [])
        taken = [one["sequence"] for one in reader.of_user("ann", reader.first, reader.end)]
        assert taken == [second for second in range(300) if second % 7 != 3 and second != 200]
        assert [one["sequence"] for one in reader.of_user("ann", 40, 48)] == [11]  # 10 was aborted
        assert reader.of_user("ann", 1_199, 1_200) == reader.of_user("ann", 5, 5) == []
        assert reader.decided_ms(41) == 13_000
        assert reader.decided_ms(1_199) is None
        halves = [*reader.of_user("bob", 0, 601), *reader.of_user("bob", 601, 1_200)]
        assert [one["sequence"] for one in halves] == [second for second in range(300) if second % 7 != 3]
    assert len(lines) == 1
    assert "cannot be read" in lines[0]
