"""Exceptions planted at random in every stage, with real scores: each isolates its record, and nothing else changes.

The judge is the recount of the log without the isolated records, byte for byte; workers die in between.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from schemas.batch import Record
from schemas.codec import VersionNames
from schemas.kinds import INPUT_TOPICS
from state.versions import Versions
from streams.log.failures import Failure
from streams.log.protocol import STEPS
from streams.processing import processor
from streams.scoring import step as stepping
from streams.worker.observer import Observer
from tests.crash.test_crash_in_memory import Crash, die, on_hit
from tests.scoring import random_streams as streams
from tests.streams.planted import SHOWN, Place, planted, stage_of
from tests.streams.scored import LETTERS, ScoredWorld, published


class Told(Observer):
    """Keeps what failed and what halted."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.halts: list[str] = []

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)

    def halted(self, partition: int, reason: str) -> None:
        self.halts.append(reason)


def letters(world: ScoredWorld) -> dict[Place, dict[str, str]]:
    """Every dead letter by topic and offset, with what it says; each is there once."""
    found: dict[tuple[str, int, int], dict[str, str]] = {}
    for topic in LETTERS:
        for letter in world.broker.visible(topic):
            said = {name.rpartition(".")[2]: value.decode() for name, value in letter.headers or []}
            place = said["topic"], int(said["partition"]), int(said["offset"])
            assert place not in found, f"{place} has two dead letters"
            found[place] = said
    return {(topic, offset): said for (topic, _, offset), said in found.items()}


def isolated(world: ScoredWorld) -> dict[Place, dict[str, str]]:
    """The dead letters of records that were isolated."""
    return {place: said for place, said in letters(world).items() if said["exception"] == "INTERNAL_ERROR"}


def inputs(world: ScoredWorld) -> list[Record]:
    return [record for topic in INPUT_TOPICS for record in world.broker.visible(topic)]


SEEDS = range(9)
ONE_IN = (30, 8, 3)


@cache
def lived_through(seed: int, events: int = 170) -> tuple[ScoredWorld, Counter[str], Told]:
    """A world that takes a random stream with exceptions planted in it, batches of any size, and two deaths."""
    one_in = ONE_IN[seed % 3]
    print(f"seed {seed}, one record in {one_in} raises")
    rng = np.random.default_rng(seed)
    gap_days = float(rng.choice([0.02, 0.7, 3.0]))
    batch = streams.stream(seed, events, int(rng.integers(2, 9)), gap_days, 0.15, erasures=0.03)
    world, told = ScoredWorld(streams.versions(duplicates_max=int(rng.choice([3, 256])))), Told()
    records = list(published(batch))
    cuts = [0, *sorted(int(cut) for cut in rng.integers(1, events, 4)), events]
    with planted(seed, one_in) as raised:
        for piece, (start, end) in enumerate(pairwise(cuts)):
            world.publish(records[start:end])
            size = int(rng.integers(1, 120))
            if piece in (1, 3):
                step, hit = str(rng.choice(STEPS[:12])), int(rng.integers(1, 3))
                with suppress(Crash):
                    world.run(world.worker("a", on_hit(step, hit, die), size, observer=told))
            world.run(world.worker("a", records_max=size, observer=told))
        world.advance(max(timestamp_ms for *_, timestamp_ms in records) + int(rng.integers(0, 60 * streams.DAY_MS)))
        world.run(world.worker("a", observer=told))
    return world, Counter(raised), told


@pytest.mark.parametrize("seed", SEEDS)
def test_each_record_that_raises_is_one_dead_letter_and_nothing_else_changes(seed: int) -> None:
    world, _, told = lived_through(seed)
    assert not told.halts
    world.check(compiled=seed % 2 == 1)  # the recount leaves out what has a letter, and nothing else
    found, apart = letters(world), isolated(world)
    assert {failure.record for failure in told.failures} >= {f"{t}/{s['partition']}/{o}" for (t, o), s in apart.items()}
    for place, said in apart.items():
        stage = stage_of(place, seed, ONE_IN[seed % 3])
        assert stage is not None, f"{place} has done nothing"
        assert said["stage"] == SHOWN[stage]
        assert f"planted in {stage}" in said["message"]
        assert said["message"].endswith("then replay the dead letter.")
    for record in inputs(world):
        place = record.topic, record.offset
        stage = stage_of(place, seed, ONE_IN[seed % 3])
        if stage in ("decode", "money", "kernel", "step", "texts") and b"advance" not in (record.value or b""):
            assert place in found, f"{place} raises in {stage}, and was taken"


def test_every_stage_has_raised_and_has_isolated_records() -> None:
    """The comparison proves nothing about what never happens."""
    raised: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for seed in SEEDS:
        world, counts, _ = lived_through(seed)
        raised += counts
        stages.update(said["stage"] for said in isolated(world).values())
    assert raised.keys() >= set(SHOWN)
    assert stages.keys() >= set(SHOWN.values())


def one_customer(records: int = 12) -> ScoredWorld:
    """A world that has taken some records of one customer with a loan, and has a timer to come."""
    world = ScoredWorld(streams.versions(adoptions=False))
    world.publish(list(published(streams.stream(3, records, 1, 0.7, 0.0))))
    world.run(world.worker())
    return world


def test_a_timer_that_raises_halts_its_partition_and_names_the_customer(monkeypatch: pytest.MonkeyPatch) -> None:
    world, told = one_customer(), Told()
    (partition,) = world.progress()
    late_ms = world.store.earliest_due_ms(partition)
    assert late_ms is not None
    with monkeypatch.context() as patch:
        real = stepping.run

        def run(*given: Any) -> Any:
            if given[11] >= late_ms and len(given[1]) > 1:  # the partition's clock; somebody is in the table
                raise ZeroDivisionError("no record is to blame")
            return real(*given)

        patch.setattr(stepping, "run", run)
        world.advance(late_ms + streams.DAY_MS)
        worker = world.worker(observer=told)
        for _ in range(30):
            worker.turn()
    assert len(told.halts) == 1
    assert "b'user-0'" in told.halts[0]
    assert "ZeroDivisionError" in told.halts[0]
    assert not isolated(world)
    world.run(world.worker())  # the release that mends it
    assert world.check() > 0


def test_a_row_that_raises_is_no_fault_of_the_record_that_meets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world, told = one_customer(), Told()
    again = list(published(streams.stream(4, 4, 1, 0.7, 0.0)))
    with monkeypatch.context() as patch:
        real = stepping.run

        def run(*given: Any) -> Any:
            if len(given[0]):  # a row that is not empty
                raise IndexError("in the row")
            return real(*given)

        patch.setattr(stepping, "run", run)
        world.publish([(topic, key, value, at_ms + 400 * streams.DAY_MS) for topic, key, value, at_ms in again])
        worker = world.worker(observer=told)
        for _ in range(30):
            worker.turn()
    assert len(told.halts) == 1
    assert "b'user-0'" in told.halts[0]
    assert not isolated(world)
    world.run(world.worker())
    world.check()


def test_names_that_could_not_be_made_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage keeps for the next batch is kept once it is made: an attempt that raised leaves nothing behind."""
    world = ScoredWorld(streams.versions(adoptions=False))
    world.publish(list(published(streams.stream(3, 20, 2, 0.7, 0.0))))
    real, left = processor.names_of, [1]

    def names_of(versions: Versions) -> VersionNames:
        left[0] -= 1
        if left[0] == 0:
            raise KeyError("this once")
        return real(versions)

    monkeypatch.setattr(processor, "names_of", names_of)
    told = Told()
    world.run(world.worker(observer=told))
    assert world.check() > 0
    assert not isolated(world)
    assert [failure.exception for failure in told.failures] == ["KeyError"]
