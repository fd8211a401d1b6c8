"""The recount says what the worker said, to the byte: random streams, random batches, a crash, late records."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest

from schemas.codec import decode_value
from schemas.kinds import INPUT_TOPICS
from schemas.row_keys import request_of
from state.layout import decode_row, due_ms_of
from streams.audit.recount_reference import (
    Terms,
    differing_inversions,
    inverted_of,
    letter_places,
    recount_partition,
    same_row,
    with_due,
)
from tests.crash.test_crash_in_memory import Crash, die, on_hit
from tests.scoring import random_streams as streams
from tests.streams.scored import ENCODER, LETTERS, REGISTRY, ScoredWorld, published


def lived_through(
    seed: int, events: int = 220, inversions: float = 0.08, users: int = 9, adoptions: bool = True, **more: float
) -> ScoredWorld:
    """A world that has taken a random stream, in pieces, with batches of random sizes and a worker that dies once."""
    rng = np.random.default_rng(seed)
    gap_days = float(rng.choice([0.02, 0.7, 3.0]))
    customers = int(rng.integers(2, users))
    batch = streams.stream(seed, events, customers, gap_days, inversions, requests=min(seed % 3, customers), **more)
    policy = {
        "duplicates_max": int(rng.choice([3, 256])),
        "value_step": float(rng.choice([0.05, 2.0])),
        "look_ahead_candidates": int(rng.choice([1, 8])),  # with 1 most checks find nothing to say
    }
    world = ScoredWorld(streams.versions(adoptions, **policy))
    records = list(published(batch))
    cuts = [0, *sorted(int(cut) for cut in rng.integers(1, events, 5)), events]
    for piece, (start, end) in enumerate(pairwise(cuts)):
        world.publish(records[start:end])
        if piece == 3:
            with suppress(Crash):
                world.run(world.worker("a", on_hit("K9.committed", 1, die)))
        world.run(world.worker("a", records_max=int(rng.integers(1, 60))))
    world.advance(max(timestamp_ms for *_, timestamp_ms in records) + int(rng.integers(0, 60 * streams.DAY_MS)))
    world.run(world.worker("a"))
    return world


@pytest.mark.parametrize("seed", range(8))
def test_the_recount_says_what_the_worker_said(seed: int) -> None:
    world = lived_through(seed)
    assert world.check() > 10


@pytest.mark.parametrize("seed", range(20, 32))
def test_the_compiled_recount_says_the_same(seed: int) -> None:
    world = lived_through(seed)
    assert world.check(compiled=True) > 10
    for partition in world.progress():
        slow, fast = world.recount(partition), world.recount(partition, compiled=True)
        assert slow.users.keys() == fast.users.keys()
        for user, said in slow.users.items():
            other = fast.users[user]
            assert (said.changes, said.by_records) == (other.changes, other.by_records)
            assert said.inversions == other.inversions
            for one, two in ((said.row, other.row), (said.row_by_records, other.row_by_records)):
                assert (one and without_due(one, world)) == (two and without_due(two, world))


@pytest.mark.parametrize("compiled", [False, True])
def test_what_comes_when_its_customers_erasure_is_forgotten_is_taken_behind_it(compiled: bool) -> None:
    """The marker of an erasure goes after a day; what is older still begins a new life, and the journal says where."""
    begun = 0
    for seed in range(40, 52):
        world = lived_through(
            seed, events=300, inversions=0.5, users=60, adoptions=False, behind_days=60, erasures=0.2
        )  # no adoptions: nobody sweeps here for new weights that are for everyone, and most users are seldom looked at
        assert world.check(compiled) > 10
        journal = [inverted_of(record, world.decoder) for record in world.broker.visible("rescore-journal")]
        erased = {record.key for record in world.broker.visible("commands") if b"erase" in (record.value or b"")}
        begun += sum(entry.after_ms is not None and entry.user in erased for entry in journal)
    assert begun > 5


def without_due(row: bytes, world: ScoredWorld) -> bytes:
    return with_due(decode_row(row), None, world.versions)


def test_the_worlds_reach_what_they_are_to_reach() -> None:
    """The comparison proves nothing about what never happens."""
    journaled, letters, causes, checked, requests = 0, 0, set(), 0, 0
    for seed in (0, 3, 5, 9, 11, 14, 21):
        world = lived_through(seed)
        journaled += len(world.broker.visible("rescore-journal"))
        letters += sum(len(world.broker.visible(topic)) for topic in LETTERS)
        for record in world.broker.visible("score-changes"):
            causes.add(decode_value("ScoreChange", record.value or b"", REGISTRY)["cause"]["kind"])
        for partition in world.progress():
            for user, row in world.recount(partition).rows.items():
                checked += world.store.load(partition, [user]) != [row]
                requests += request_of(user) is not None
    assert journaled > 20
    assert letters > 20
    assert causes >= {"event", "time", "correction", "override", "erasure"}
    assert requests > 2
    assert checked > 0  # images whose due time is an earlier check than the last


def test_what_the_recount_takes_behind_its_time_is_what_the_journal_says() -> None:
    world = lived_through(14)
    for partition in world.progress():
        recount = world.recount(partition)
        entries = [inverted_of(record, world.decoder) for record in world.broker.visible("rescore-journal", partition)]
        assert not differing_inversions(recount, {entry.place: entry for entry in entries})
        without = recount_partition(
            [record for topic in INPUT_TOPICS for record in world.broker.visible(topic, partition)],
            [],
            [letter for topic in LETTERS for letter in world.broker.visible(topic)],
            Terms(world.decoder, ENCODER, world.versions),
            world.progress()[partition].clock_ms,
        )
        assert bool(entries) == (without.changes != recount.changes)


def test_a_record_that_is_refused_without_a_letter_is_told() -> None:
    world = lived_through(5)
    (partition, *_) = world.progress()
    recount = recount_partition(
        [record for topic in INPUT_TOPICS for record in world.broker.visible(topic, partition)],
        world.broker.visible("rescore-journal"),
        [],
        Terms(world.decoder, ENCODER, world.versions),
        world.progress()[partition].clock_ms,
    )
    places = letter_places(letter for topic in LETTERS for letter in world.broker.visible(topic))
    assert {doubt.record[:3] for doubt in recount.doubts} == {place for place in places if place[1] == partition}


def test_a_due_time_counts_only_where_it_is_a_check_of_this_very_row() -> None:
    world = lived_through(5)
    (partition, *_) = world.progress()
    clock_ms = world.progress()[partition].clock_ms
    (user, row) = next(iter(world.recount(partition).rows.items()))
    due_ms = due_ms_of(row)
    assert due_ms is not None
    assert same_row(user, row, row, world.versions, clock_ms)
    other = with_due(decode_row(row), due_ms + 1, world.versions)
    assert not same_row(user, other, row, world.versions, clock_ms)
    assert not same_row(user, None, row, world.versions, clock_ms)
    changed = decode_row(row)
    changed.transactions += 1
    assert not same_row(user, with_due(changed, due_ms, world.versions), row, world.versions, clock_ms)
