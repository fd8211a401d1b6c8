"""The case `redis-forgets-some-rows` on a real Kafka and a real Valkey: rows that are evicted, rows that are deleted.

The partition's own key is used by every batch and survives, so its position alone would say that nothing is missing.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis

from local.servers.valkey import Valkey
from schemas.codec import StaticRegistry, decode_value
from schemas.times import iso_of
from state.layout import decode_row
from tests.integration.deployment import Deployment, deployment

REGISTRY = StaticRegistry()
CUSTOMERS = [f"c-{number:04}" for number in range(3_000)]
AGAIN = CUSTOMERS[:200]
BEGIN_MS = 1_772_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """A Valkey whose settings change."""
    with Valkey.start() as started:
        yield started


@pytest.fixture(scope="module")
def app(kafka, server, tmp_path_factory) -> Iterator[Deployment]:
    """A deployment with one worker that runs throughout."""
    folder, name = tmp_path_factory.mktemp("forgets"), f"forgets{os.getpid()}"
    with deployment(kafka.bootstrap_servers, server.url, name, folder, CLOCK="records", PARTITIONS="2") as made:
        made.start_worker()
        made.wait(lambda: "runs from transaction" in logged(made), "the worker has its partitions")
        yield made


def logged(app: Deployment) -> str:
    """All that the worker has logged."""
    return (app.folder / f"{app.name}-0.log").read_text("utf-8")


def spend(app: Deployment, users: Sequence[str], letter: str, at_ms: int) -> None:
    """One transaction of each."""
    values = []
    for i, user in enumerate(users):
        value = {
            "event_id": letter, "user_id": user, "transaction_currency": "EUR", "transaction_amount": 20.0 + i % 7,
            "transaction_date": iso_of(at_ms + i),
        }  # fmt: skip
        values.append((user, json.dumps(value).encode(), at_ms + i))
    app.send("transactions", values)


def told(app: Deployment) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Changes by customer and score, in their order."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for record in app.read("score-changes"):
        change = decode_value("ScoreChange", record.value or b"", REGISTRY)
        found[change["user_id"]][change["score"]].append(change)
    return found


def assert_nobody_began_again(app: Deployment, users: Sequence[str]) -> None:
    changes = told(app)
    for user in users:
        lives = {change["incarnation"] for own in changes[user].values() for change in own}
        assert len(lives) == 1, f"{user} has had {len(lives)} lives: {lives}"
        for score, own in changes[user].items():
            assert [change["sequence"] for change in own] == list(range(1, len(own) + 1)), f"{user}, {score}"


@pytest.mark.timeout(600)
def test_customers_whose_rows_were_evicted_go_on_where_they_were(app: Deployment, server: Valkey) -> None:
    spend(app, CUSTOMERS, "a", BEGIN_MS)
    app.catch_up()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        spend(app, AGAIN, "b", BEGIN_MS + 60_000)
        app.catch_up()
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 200_000)
        for number in range(1_000):
            if client.info("stats")["evicted_keys"] > 100:
                break
            client.set(f"of-others-{number}", b"x" * 10_000)
        client.config_set("maxmemory", 0)
        assert client.info("stats")["evicted_keys"] > 100
    spend(app, CUSTOMERS, "c", BEGIN_MS + 120_000)
    app.catch_up()
    rows = app.rows()
    counted = {user: decode_row(rows[user.encode()]).transactions for user in CUSTOMERS}
    assert counted == {user: 3 if user in AGAIN else 2 for user in CUSTOMERS}
    assert_nobody_began_again(app, CUSTOMERS)
    app.wait(lambda: "maxmemory-policy is allkeys-lru" in logged(app), "the worker tells of the policy", 30)
    # Which keys go is the server's choice: perhaps the position as well, and then all rows are missed at once.
    assert "go back to what is committed: the store" in logged(app)


@pytest.mark.timeout(600)
def test_a_customer_whose_row_was_deleted_goes_on_where_they_were(app: Deployment, server: Valkey) -> None:
    for number in range(5):
        spend(app, ["ann"], f"ann-{number}", BEGIN_MS + 200_000 + number)
    app.catch_up()
    with redis.Redis.from_url(server.url) as client:
        [key] = [key for number in range(2) if client.exists(key := f"{{{app.name}.{number}}}:u:ann")]
        client.delete(key)
    spend(app, ["ann"], "ann-5", BEGIN_MS + 200_010)
    app.catch_up()
    row = decode_row(app.rows()[b"ann"])
    assert (row.transactions, row.events) == (6, 6)
    assert_nobody_began_again(app, ["ann"])


@pytest.mark.timeout(600)
def test_a_row_that_nobody_asks_for_comes_back_by_itself_and_readers_never_call_its_owner_unknown(
    app: Deployment, server: Valkey
) -> None:
    app.stop()
    rows = app.rows()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        keys = [key for key in client.scan_iter(match="*:u:c-00*", count=10_000) if key.endswith((b"3", b"7"))]
        assert client.delete(*keys) == len(keys) > 10
    seen = app.rescore("inspect", keys[0].decode().rpartition(":")[2], check=False)
    assert seen.returncode == 4
    assert "lost rows" in seen.stderr
    assert app.rescore("inspect", "nobody", check=False).returncode == 1
    app.start_worker()
    app.wait(lambda: app.rows() == rows, "every row is back", 120)


@pytest.mark.timeout(600)
def test_in_the_end_everything_is_as_a_replay_says(app: Deployment) -> None:
    app.catch_up()
    app.stop()
    found = json.loads(app.rescore("verify", "--json").stdout)
    assert found["differences"] == []
    assert found["equal"]
    assert found["stored"] == found["customers"] == len(CUSTOMERS) + 1
    assert found["notes"] == []
