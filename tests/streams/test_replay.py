"""What was committed against the recount: equal at every moment of a worker's life, and no tampering goes unnamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from schemas.batch import Record
from schemas.codec import decode_value
from schemas.kinds import INPUT_TOPICS
from schemas.row_keys import PROGRESS_KEY
from state.layout import decode_row
from streams.audit.compare import Committed, Comparison, Difference, Until, first_field
from streams.audit.compare_cards import differing_card
from streams.audit.recount_reference import (
    Recount,
    Said,
    Story,
    entries_of,
    letter_places,
    recount_stories,
    recount_user,
    told_by_user,
)
from streams.log.progress import Progress
from streams.log.protocol import TopicPartition
from tests.scoring import random_streams as streams
from tests.streams.scored import ENCODER, LETTERS, REGISTRY, ScoredWorld, published, recount_terms


class Moment(NamedTuple):
    """Where a partition is compared up to: its progress record, and where its topics ended then."""

    progress: Progress
    ends: dict[str, int]


def moment_of(world: ScoredWorld, partition: int) -> Moment:
    topics = ("score-changes", "scorecards", "rescore-state")
    ends = {topic: len(world.broker.entries[TopicPartition(topic, partition)]) for topic in topics}
    return Moment(world.progress()[partition], ends)


def compared(
    world: ScoredWorld, partition: int, moment: Moment | None = None
) -> Iterator[tuple[bytes, Committed, Said, Comparison]]:
    """Every customer of a partition as `rescore verify` has them before it, up to the last progress record.

    With a moment that has passed: up to the progress record of then, though more was written since.
    """
    progress, ends = moment or moment_of(world, partition)
    broker, terms = world.broker, recount_terms(world)
    inputs = [
        record
        for topic in INPUT_TOPICS
        for record in broker.visible(topic, partition)
        if record.offset < progress.next_offsets[topic]
    ]
    entries, strays = entries_of(broker.visible("rescore-journal", partition), world.decoder, progress.clock_ms)
    assert not strays
    letters = letter_places(letter for topic in LETTERS for letter in broker.visible(topic))
    stories, lost = told_by_user(inputs, entries, letters, world.decoder)
    assert all(entry.offset >= progress.next_offsets[entry.topic] for entry in lost)
    recount = Recount()
    recount_stories(stories, terms, progress.clock_ms, recount, compiled=True)

    def recounted_at(user: bytes, clock_ms: int) -> Said:
        again = Recount()
        recount_user(user, stories.get(user, Story()), terms, clock_ms, again)
        return again.users.get(user, Said())

    until = Until(progress.clock_ms, progress.next_offsets)
    comparison = Comparison(until, REGISTRY, world.versions, recounted_at)
    committed: dict[bytes, Committed] = {}
    for topic, end in ends.items():
        for record in broker.visible(topic, partition):
            if record.key in (None, PROGRESS_KEY):
                continue
            one, is_settled = committed.setdefault(record.key, Committed()), record.offset < end
            if topic == "score-changes":
                one.changes.append(record)
                one.changes_unsettled += not is_settled
            elif topic == "scorecards" and not is_settled:
                one.later_cards.append(record)
            elif is_settled:
                setattr(one, "card" if topic == "scorecards" else "image", record)
    for user in sorted(recount.users.keys() | committed.keys()):
        yield user, committed.get(user, Committed()), recount.users.get(user, Said()), comparison


def differences(world: ScoredWorld, moments: dict[int, Moment] | None = None) -> tuple[list[Difference], int]:
    found, pending = [], 0
    versions, names = world.versions, recount_terms(world).names
    for partition in world.progress() if moments is None else moments:
        moment = None if moments is None else moments[partition]
        for user, committed, said, comparison in compared(world, partition, moment):
            result = comparison.of(user, committed, said)
            found += [*result.differences, *result.doubtful]
            pending += result.pending
            if moment is not None and not result.pending:
                card = differing_card(user, committed, said, versions, names, ENCODER, moment.progress.clock_ms)
                found += [card] if card else []
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


@pytest.mark.parametrize("seed", range(2))
def test_what_a_worker_writes_while_it_is_read_is_evidence_for_nothing(seed: int) -> None:
    world = a_world(seed)
    last_ms = max(r.timestamp_ms for topic in INPUT_TOPICS for r in world.broker.visible(topic))
    world.advance(last_ms + 40 * streams.DAY_MS)
    worker, moments, later, waited = world.worker("a", records_max=40, timers_max=1, users_max=2), {}, 0, 0
    for turn in range(400):
        worker.turn()
        if turn % 6 == 4:  # fixed a few turns ago, read now
            found, pending = differences(world, moments)
            assert found == []
            later += sum(moment.progress != world.progress()[p] for p, moment in moments.items())
            waited += pending
        if turn % 6 == 0:
            moments = {partition: moment_of(world, partition) for partition in world.progress()}
        if world.at_rest():
            break
    assert world.at_rest()
    assert later > 10
    assert waited > 0


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
        return comparison.of(user, Committed(changes, committed.image), said).differences

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
            found = comparison.of(user, Committed(committed.changes, flipped), said)
            assert [one.what for one in found.doubtful] == ["row"], byte
        stored = Committed(committed.changes, image, stored=value[:-1])
        assert [one.what for one in comparison.of(user, stored, said).differences] == ["store"]
        return
    raise AssertionError("no row to flip bytes of")


def test_the_first_field_is_named_by_its_path() -> None:
    one = {"a": 1, "reasons": [{"level": 1.0}, {"level": 2.0}]}
    assert first_field(one, {"a": 1, "reasons": [{"level": 1.0}, {"level": 3.0}]}) == ("reasons[1].level", "2.0", "3.0")
    assert first_field(one, {"a": 1, "reasons": []})[0] == "reasons"
    assert first_field(one, one)[0] == "encoding"
