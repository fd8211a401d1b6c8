"""Requests and customers of the same numbers, in random streams through the worker: neither ever touches the other.

The judge knows nothing of rows and their keys. What customers have to be said is what the same log says with every
stranger's record spoiled; what requests teach is what they teach under numbers that no customer has.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.codec import decode_value, encode_value
from schemas.definitions import SCHEMA_OF_TOPIC
from schemas.partitioner import Partitioner, partition_of
from schemas.row_keys import request_key, request_of
from state.layout import decode_row
from streams.processing.case_examples import case_of_request, user_hash
from tests.scoring import random_streams as streams
from tests.streams.scored import ENCODER, LETTERS, PARTITIONS, REGISTRY, ScoredWorld, published, values_by_key

Sent = tuple[str, bytes, bytes, int]
CASE = Path(__file__).parents[1] / "cases" / "request-number-is-a-customer" / "records.jsonl"
CASE_MS = 1_777_800_000_000  # 2026-05-03
NUMBERS = 3
SPOILED = b'{"command": "spoiled", "model": "", "label": true, "income": "spoiled"}'
"""A value that is refused on every input."""


def a_log(seed: int, events: int = 260) -> list[Sent]:
    """Customers 0, 1, 2 and others, requests 0, 1, 2 of nobody, and requests of customers, by numbers of their own."""
    batch = streams.stream(seed, events, 6, 0.7, 0.1, requests=NUMBERS, erasures=0.03)
    log = []
    for i, (topic, key, value, timestamp_ms) in enumerate(published(batch)):
        if topic == "applicants" and i % 2:
            fields = decode_value("Applicant", value, REGISTRY)
            number = 500 + i if fields["user_id"] is not None else fields["request_id"]
            log.append((topic, key, encode_value("Applicant", fields | {"request_id": number}, ENCODER), timestamp_ms))
        else:
            log.append((topic, key, value, timestamp_ms))
    return log


def fields_of(sent: Sent) -> dict[str, Any]:
    return dict(decode_value(SCHEMA_OF_TOPIC[sent[0]], sent[2], REGISTRY))


def is_strangers(sent: Sent) -> bool:
    """A record of a request that names no customer, by what it says and nothing else."""
    fields = fields_of(sent)
    return fields.get("user_id") is None and fields.get("request_id") is not None


def renumbered(number: int) -> int:
    """A number that no customer has, of the same partition."""
    here = partition_of(b"%d" % number, PARTITIONS, Partitioner.CRC32)
    return next(
        n for n in range(1_000 * (number + 1), 10**6) if partition_of(b"%d" % n, PARTITIONS, Partitioner.CRC32) == here
    )


def elsewhere(sent: Sent) -> Sent:
    topic, _, _, timestamp_ms = sent
    number = renumbered(fields_of(sent)["request_id"])
    value = encode_value(SCHEMA_OF_TOPIC[topic], fields_of(sent) | {"request_id": number}, ENCODER)
    return topic, b"%d" % number, value, timestamp_ms


def lived(log: list[Sent], seed: int) -> ScoredWorld:
    """A world that has taken the log: batches are cut by the seed, and new weights sweep over everyone."""
    rng = np.random.default_rng(seed)
    world = ScoredWorld(streams.versions())
    cuts = [0, *sorted(int(cut) for cut in rng.integers(1, len(log), 4)), len(log)]
    for start, end in pairwise(cuts):
        world.publish(log[start:end])
        world.run(world.worker("a", records_max=int(rng.integers(1, 60)), users_max=1_000))
    world.advance(max(timestamp_ms for *_, timestamp_ms in log) + 40 * streams.DAY_MS)
    world.run(world.worker("a"))
    return world


def rows_of_customers(world: ScoredWorld) -> dict[bytes, str]:
    """What is known of each customer at last; due times are checks, which may be others."""
    found = {}
    for partition in range(PARTITIONS):
        for record in world.broker.visible("rescore-state", partition):
            if record.key is not None and not record.key.startswith(b"\0"):
                found[record.key] = record.value
    rows = {key: decode_row(value) for key, value in found.items() if value is not None}
    for row in rows.values():
        row.due_ms = None
    return {key: repr(row) for key, row in rows.items()}


def examples_of(world: ScoredWorld, names: dict[bytes, str]) -> Counter[str]:
    """Every example but those of the journal's making, with hashes told by name where they are a request's."""
    told: Counter[str] = Counter()
    for record in world.broker.visible("rescore-examples"):
        said = decode_value("Example", record.value or b"", REGISTRY)
        said["user_hash"], said["case"] = (names.get(said[name], said[name]) for name in ("user_hash", "case"))
        said["earlier_hash"] = said["earlier_hash"] is not None
        told[repr(sorted(said.items()))] += 1
    return told


@pytest.fixture(scope="module", params=range(4))
def story(request: pytest.FixtureRequest) -> tuple[int, list[Sent], ScoredWorld]:
    log = a_log(request.param)
    return request.param, log, lived(log, request.param)


def the_case() -> list[Sent]:
    """A customer 77, a stranger's request 77 with its outcome, and a stranger's request 78, of nobody."""
    lines = [json.loads(line) for line in CASE.read_text().splitlines()]
    return [
        (line["topic"], line["key"].encode(), json.dumps(line["value"]).encode(), CASE_MS + 1_000 * i)
        for i, line in enumerate(lines)
    ]


def taken(log: list[Sent]) -> ScoredWorld:
    world = ScoredWorld(streams.versions(adoptions=False))
    world.publish(log)
    world.run(world.worker("a"))
    return world


def test_a_stranger_declares_nothing_for_the_customer_of_the_number() -> None:
    case = the_case()
    world, without = taken(case), taken(case[:2])
    said = values_by_key(world.broker.visible("score-changes"))
    assert said == values_by_key(without.broker.visible("score-changes"))
    assert said.keys() == values_by_key(world.broker.visible("scorecards")).keys() == {b"77"}
    told = [decode_value("Example", r.value or b"", REGISTRY) for r in world.broker.visible("rescore-examples")]
    cases = {(one["kind"], one["case"]) for one in told}
    hashed = [user_hash(case_of_request(number), b"key") for number in (77, 78)]
    assert cases == {("request", hashed[0]), ("outcome", hashed[0]), ("request", hashed[1])}
    assert {one["user_hash"] for one in told} == {user_hash(request_key(number), b"key") for number in (77, 78)}
    rows = {key for partition in range(PARTITIONS) for key in world.store._partitions[partition].rows}
    assert rows == {b"77", b"\0request/77", b"\0request/78"}
    assert world.check() > 0


def test_each_of_the_two_is_forgotten_by_itself() -> None:
    case, at_ms = the_case(), CASE_MS + 100_000
    for erased, key in (({"user_id": "77"}, b"77"), ({"request_id": 77}, request_key(77))):
        command = json.dumps({"command": "erase", **erased}).encode()
        world = taken([*case, ("commands", b"77", command, at_ms)])
        (told,) = [
            said["user_hash"]
            for record in world.broker.visible("rescore-examples")
            if (said := decode_value("Example", record.value or b"", REGISTRY))["kind"] == "erasure"
        ]
        assert told == user_hash(key, b"key")
        rows = {user: row for p in range(PARTITIONS) for user, row in world.store._partitions[p].rows.items()}
        assert [user for user, row in rows.items() if not decode_row(row).exists] == [key]
        tombstones = [record.key for record in world.broker.visible("scorecards") if record.value is None]
        assert tombstones == [key] * (key == b"77")
        assert world.check() > 0


def test_customers_are_said_what_the_log_says_without_strangers(story: tuple[int, list[Sent], ScoredWorld]) -> None:
    seed, log, world = story
    # Spoiled, not left out: every other record keeps its offset, and so its place in what is said.
    without = lived(
        [(t, k, SPOILED, ms) if is_strangers((t, k, v, ms)) else (t, k, v, ms) for t, k, v, ms in log], seed
    )
    said, meant = (values_by_key(one.broker.visible("score-changes")) for one in (world, without))
    assert said == meant
    # A card is of the row as its batch left it, and where batches end is chance: `world.check` judges cards.
    cards, theirs = (values_by_key(one.broker.visible("scorecards")) for one in (world, without))
    assert cards.keys() == theirs.keys()
    assert rows_of_customers(world) == rows_of_customers(without)
    assert sum(map(is_strangers, log)) > 40
    assert {b"0", b"1", b"2"} <= said.keys()


def test_nothing_is_said_under_the_key_of_a_request(story: tuple[int, list[Sent], ScoredWorld]) -> None:
    _, log, world = story
    customers = {user.encode() for sent in log if (user := fields_of(sent).get("user_id"))}
    for topic in ("score-changes", "scorecards"):
        assert values_by_key(world.broker.visible(topic)).keys() <= customers
    for topic in ("rescore-journal", *LETTERS):
        assert not any((record.key or b"").startswith(b"\0") for record in world.broker.visible(topic))
    requests = {request_key(number) for number in range(NUMBERS)}
    rows = {key for p in range(PARTITIONS) for key in world.store._partitions[p].rows}
    dues = {key: due for p in range(PARTITIONS) for key, due in world.store._partitions[p].due_ms.items()}
    assert {key for key in rows if request_of(key) is not None} <= requests
    assert rows & requests
    for p in range(PARTITIONS):
        for key, packed in world.store._partitions[p].rows.items():
            assert key in customers | requests
            assert key in customers or dues[key] is None or not decode_row(packed).exists


def test_requests_teach_what_they_teach_under_numbers_of_nobody(story: tuple[int, list[Sent], ScoredWorld]) -> None:
    seed, log, world = story
    moved = lived([elsewhere(sent) if is_strangers(sent) else sent for sent in log], seed)
    names: dict[bytes, str] = {}
    for number in range(NUMBERS):
        for one in (number, renumbered(number)):
            names[user_hash(request_key(one), b"key")] = f"request {number}"
            names[user_hash(case_of_request(one), b"key")] = f"case {number}"
    here, there = examples_of(world, names), examples_of(moved, names)
    assert here == there
    kinds = Counter(
        kind
        for kind in ("request", "outcome", "erasure")
        for said in here
        if f"'kind', '{kind}'" in said and "'request " in said
    )
    assert kinds["request"] > 5
    assert kinds["outcome"] > 5


def test_the_recount_says_the_same_of_requests(story: tuple[int, list[Sent], ScoredWorld]) -> None:
    _, _, world = story
    assert world.check() > 50
    assert world.check(compiled=True) > 50
