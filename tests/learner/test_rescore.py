"""New weights that ask for everyone are a due moment of every customer, in slices, once, whatever happens meanwhile."""

from __future__ import annotations

import pytest

from schemas.batch import Record
from schemas.codec import Decoder, StaticRegistry, decode, decode_value
from schemas.kinds import INPUT_TOPICS, Cause
from schemas.partitioner import Partitioner
from schemas.row_keys import request_key, request_of
from state.memory_store import MemoryStore
from state.table import Table
from streams.processing.processor import ScoreProcessor
from streams.scoring.step import Clocks, step
from streams.versions.known import Known, first_policy, reader
from tests.learner.world import LearningWorld, history

STORY = history(30, 75)
REGISTRY = StaticRegistry()


@pytest.fixture(scope="module")
def learned() -> LearningWorld:
    world = LearningWorld()
    world.publish(STORY)
    world.run(world.worker(records_max=60), world.learner())
    return world


def versions(world: LearningWorld):
    read = reader(REGISTRY, "")
    records = [record for topic in ("rescore-weights", "rescore-config") for record in world.broker.visible(topic)]
    return Known.first(first_policy("EUR", "UTC")).adopt(records, read).versions


def merged(world: LearningWorld, partition: int) -> list[Record]:
    """The inputs of a partition in the order of the merge."""
    records = [r for topic in INPUT_TOPICS for r in world.broker.visible(topic, partition)]
    return sorted(records, key=lambda r: (r.timestamp_ms, INPUT_TOPICS.index(r.topic), r.offset))


def test_silent_customers_change_at_the_moment_new_weights_come_into_force(learned):
    in_force = set(versions(learned).rescores)
    found = [
        change
        for values in learned.outputs()["score-changes"].values()
        for value in values
        if (change := decode_value("ScoreChange", value, REGISTRY))["decided_ms"] in in_force
        and change["cause"]["kind"] == "time"
    ]
    assert len(found) > 5
    assert any(reason["code"] == "new_weights" for change in found for reason in change["reasons"])


def test_what_was_said_is_what_one_step_over_the_whole_log_says(learned):
    """The slices, the batches and who was swept when have altered nothing."""
    known, said = versions(learned), learned.outputs()["score-changes"]
    for partition in range(learned.partitions):
        records = merged(learned, partition)
        batch = decode(records, partition, Decoder(REGISTRY, learned.partitions, Partitioner.MURMUR2))
        done = step(Table.of(batch.users, [None] * len(batch.users)), batch, known, Clocks(learned.clocks()[partition]))
        meant: dict[bytes, list[tuple[object, ...]]] = {}
        for row in done.changes.rows:
            line = (int(row["sequence"]), float(row["new"]), int(row["decided_ms"]), int(row["cause"]))
            meant.setdefault(batch.users[row["user"]], []).append(line)
        for user, lines in meant.items():
            changes = [decode_value("ScoreChange", value, REGISTRY) for value in said[user]]
            assert [(c["sequence"], c["decided_ms"]) for c in changes] == [(line[0], line[2]) for line in lines]
            assert [Cause(line[3]).name.lower() for line in lines] == [c["cause"]["kind"] for c in changes]


def test_a_sweep_goes_in_slices_beside_the_events(learned):
    assert learned.swept()
    assert all(progress.swept_ms for progress in learned.progress().values())


def test_everyone_is_named_in_pieces_and_once_by_the_store():
    world = LearningWorld()
    world.publish(STORY)
    world.run(world.worker(), world.learner())
    store: MemoryStore = world.store
    for partition in range(world.partitions):
        named, cursor, calls = [], b"", 0
        while calls == 0 or cursor:
            users, cursor, _ = store.users_at(partition, cursor, 4)
            named += users
            calls += 1
        owners = {r.key for t in ("transactions", "loans") for r in world.broker.visible(t, partition)}
        assert calls > 1
        assert len(named) == len(set(named))
        assert set(named) <= owners
        assert named == sorted(named)


def test_requests_that_name_no_customer_are_not_looked_at_for_new_weights(monkeypatch):
    """Everyone else is."""
    begin_ms = STORY[0][3]
    strangers = [("applicants", b"%d" % n, b'{"request_id": %d, "income": 600.0}' % n, begin_ms + n) for n in range(40)]
    asked: list[bytes] = []
    process = ScoreProcessor.process

    def noted(self, partition, records, due_users, *more, **named):
        asked.extend(due_users)
        return process(self, partition, records, due_users, *more, **named)

    monkeypatch.setattr(ScoreProcessor, "process", noted)
    world = LearningWorld()
    world.publish(tuple(sorted([*STORY, *strangers], key=lambda event: event[3])))
    world.run(world.worker(records_max=60), world.learner())
    assert world.swept()
    rows = {user for partition in range(world.partitions) for user in world.store.users_at(partition, b"", 1_000)[0]}
    assert {request_key(n) for n in range(40)} <= rows
    assert len(asked) > 100
    assert not [user for user in asked if request_of(user) is not None]
    assert not [user for user in world.outputs()["score-changes"] if request_of(user) is not None or user.isdigit()]
