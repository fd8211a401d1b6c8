"""What was committed against the recount: equal at every moment of a worker's life, and no tampering goes unnamed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from schemas.batch import Record
from schemas.codec import decode_value
from schemas.kinds import INPUT_TOPICS
from state.layout import decode_row
from streams.recount import Recount, Said, inverted_of, letter_places, recount_stories, recount_user, told_by_user
from streams.replay import Committed, Comparison, Difference, Until, first_field
from streams.resolve import PROGRESS_KEY
from tests.scoring import random_streams as streams
from tests.streams.scored import LETTERS, REGISTRY, ScoredWorld, published, recount_terms


def compared(world: ScoredWorld, partition: int) -> Iterator[tuple[bytes, Committed, Said, Comparison]]:
    """Every customer of a partition as `rescore replay` has them before it, up to the last progress record."""
    broker, terms, progress = world.broker, recount_terms(world), world.progress()[partition]
    inputs = [
        record
        for topic in INPUT_TOPICS
        for record in broker.visible(topic, partition)
        if record.offset < progress.next_offsets[topic]
    ]
    journal = [inverted_of(record, world.decoder) for record in broker.visible("rescore-journal", partition)]
    letters = letter_places(letter for topic in LETTERS for letter in broker.visible(topic))
    stories, lost = told_by_user(inputs, journal, letters, world.decoder)
    assert not lost
    recount = Recount()
    recount_stories(stories, terms, progress.clock_ms, recount, compiled=True)

    def recounted_at(user: bytes, clock_ms: int) -> Said:
        again = Recount()
        recount_user(user, stories[user], terms, clock_ms, again)
        return again.users.get(user, Said())

    until = Until(progress.clock_ms, progress.next_offsets)
    comparison = Comparison(until, REGISTRY, world.versions, recounted_at)
    committed: dict[bytes, Committed] = {}
    for topic, name in (("score-changes", "changes"), ("rescore-state", "image")):
        for record in broker.visible(topic, partition):
            if record.key not in (None, PROGRESS_KEY):
                one = committed.setdefault(record.key, Committed())
                if name == "changes":
                    one.changes.append(record)
                else:
                    one.image = record
    for user in sorted(recount.users.keys() | committed.keys()):
        yield user, committed.get(user, Committed()), recount.users.get(user, Said()), comparison


def differences(world: ScoredWorld) -> tuple[list[Difference], int]:
    found, pending = [], 0
    for partition in world.progress():
        for user, committed, said, comparison in compared(world, partition):
            differs, waiting = comparison.of(user, committed, said)
            found += differs
            pending += waiting
    return found, pending


def a_world(seed: int, users: int = 12, events: int = 120) -> ScoredWorld:
    world = ScoredWorld(streams.versions(look_ahead_candidates=int(np.random.default_rng(seed).choice([1, 8]))))
    world.publish(list(published(streams.stream(seed, events, users, 0.5, requests=seed % 3))))
    return world


@pytest.mark.parametrize("seed", range(3))
def test_a_worker_that_is_still_at_it_is_never_called_different(seed: int) -> None:
    world = a_world(seed)
    last_ms = max(r.timestamp_ms for topic in INPUT_TOPICS for r in world.broker.visible(topic))
    world.advance(last_ms + 40 * streams.DAY_MS)  # many timers are due at once, and are fired in slices
    worker, waited = world.worker("a", records_max=40, timers_max=1, users_max=2), 0
    for turn in range(400):
        worker.turn()
        if turn % 5 == 0:
            found, pending = differences(world)
            assert found == []
            waited += pending
        if world.at_rest():
            break
    assert world.at_rest()
    assert waited > 0
    assert differences(world) == ([], 0)


@pytest.fixture(scope="module")
def settled() -> ScoredWorld:
    world = a_world(4, users=4)
    world.run(world.worker("a"))
    return world


def test_each_way_of_tampering_with_changes_is_named(settled: ScoredWorld) -> None:
    user, committed, said, comparison = next(one for one in compared(settled, 0) if len(one[1].changes) > 5)
    own = committed.changes
    names = [decode_value("ScoreChange", record.value or b"", REGISTRY)["change_id"] for record in own]

    def told(changes: list[Record]) -> list[Difference]:
        return comparison.of(user, Committed(changes, committed.image), said)[0]

    assert told(own) == []
    for at in (0, len(own) // 2, len(own) - 1):
        (missing,) = told(own[:at] + own[at + 1 :])
        assert f"({names[at]}) is missing" in missing.sentence
        (twice,) = told([*own[: at + 1], own[at], *own[at + 1 :]])
        assert f"({names[at]}) was committed twice" in twice.sentence
        value = own[at].value or b""
        for byte in range(12, len(value), 17):
            flipped = own[at]._replace(value=value[:byte] + bytes([value[byte] ^ 1]) + value[byte + 1 :])
            assert told([*own[:at], flipped, *own[at + 1 :]]), byte
    (swapped,) = told([own[1], own[0], *own[2:]])
    assert "is missing, before" in swapped.sentence
    other = next(record for record in settled.broker.visible("score-changes") if record.key != user)
    (foreign,) = told([*own, other])
    assert "does not follow from the log" in foreign.sentence


def test_each_flipped_byte_of_a_row_is_noticed(settled: ScoredWorld) -> None:
    for user, committed, said, comparison in compared(settled, 0):
        image = committed.image
        assert image is not None
        value = image.value or b""
        if not decode_row(value).exists:
            continue
        for byte in range(0, len(value), 3):
            flipped = image._replace(value=value[:byte] + bytes([value[byte] ^ (0x80 >> byte % 8)]) + value[byte + 1 :])
            found, _ = comparison.of(user, Committed(committed.changes, flipped), said)
            assert [one.what for one in found] == ["row"], byte
        stored = Committed(committed.changes, image, stored=value[:-1])
        assert [one.what for one in comparison.of(user, stored, said)[0]] == ["store"]
        return
    raise AssertionError("no row to flip bytes of")


def test_the_first_field_is_named_by_its_path() -> None:
    one = {"a": 1, "reasons": [{"level": 1.0}, {"level": 2.0}]}
    assert first_field(one, {"a": 1, "reasons": [{"level": 1.0}, {"level": 3.0}]}) == ("reasons[1].level", "2.0", "3.0")
    assert first_field(one, {"a": 1, "reasons": []})[0] == "reasons"
    assert first_field(one, one)[0] == "encoding"
