"""Rubbish in topics of our own, in memory: no reader of any of them ends with anything but words.

Who shows records skips what cannot be read and says how many; who proves something names it; what would lose state
halts. `RESCORE_TEST_RUBBISH` plays more seeds.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from local.demo.feed import Feed
from local.demo.recount import recount
from local.demo.summary import change_ids, latest_cards
from schemas.batch import Record
from schemas.codec import StaticRegistry
from schemas.kinds import INPUT_TOPICS
from schemas.row_keys import PROGRESS_KEY
from state.table import Table
from streams.audit import partition as replay_part
from streams.audit.compare import Committed
from streams.audit.erasure import (
    card_ends,
    erased_at,
    in_examples,
    in_log,
    in_memory,
    in_table,
    is_erasure,
    kind_of,
    row_ends,
)
from streams.audit.partition import Job, compare_part
from streams.audit.reading import Fixed, Material, progress_in
from streams.commands.dead_letters import _content, _summary
from streams.commands.verify import _lines
from streams.customers.changes import line
from streams.customers.story import adverse_lines, as_lines, stories
from streams.customers.story_documents import explanation
from streams.learner.checkpoint import CHECKPOINT, MODEL, Memory
from streams.learner.loop import Learner
from streams.learner.report import as_tables, details, more_lines, remembered_of, summary, timeline_lines
from streams.log.dead_letters import UnknownLetter, open_letters, replayed
from streams.log.protocol import HaltPartition
from streams.log.unreadable import Unreadable, UnreadableRecord, readable
from streams.processing.wire import wire_of
from streams.settings import Settings
from streams.versions.known import REPORT, Known, first_policy, reader
from tests.learner.world import VALUES, LearningWorld, Reports, history
from tests.scoring import random_streams
from tests.streams.rubbish import fixed_values, headers_of, key_of, value_of
from tests.streams.scored import PARTITIONS, ScoredWorld, published
from tests.streams.test_worker import Reports as WorkerReports
from tests.streams.world import World

SEEDS = range(int(os.environ.get("RESCORE_TEST_RUBBISH", "3")))
OF_A_SEED = 150


def rubbish(seed: int, topic: str, key: bytes | None = None) -> Iterator[Record]:
    """Records for a topic: the bag, then random ones; of one key, or of any."""
    rng = random.Random(f"{topic} {seed}")
    values = [*fixed_values(topic), *(value_of(rng, topic) for _ in range(OF_A_SEED))]
    for offset, value in enumerate(values):
        yield Record(topic, 0, offset, 10**12, key_of(rng) if key is None else key, value, headers_of(rng))


def local_time(time_ms: int) -> str:
    from streams.commands.subscribe import local_time as shown

    return shown(time_ms)


@pytest.mark.parametrize("seed", SEEDS)
def test_subscribe_and_explain_skip_what_cannot_be_read_and_show_the_rest(seed: int) -> None:
    told: list[str] = []
    with Unreadable(told.append) as unreadable:
        read = readable(rubbish(seed, "score-changes"), partial(VALUES.decode, "score-changes"), unreadable)
        changes = [change for _, change in read]
    count = unreadable.counts["score-changes"]
    assert told[0].startswith("1 record of score-changes cannot be read, first at 0/0: it has no value")
    assert told[-1].startswith(f"{count} records of score-changes cannot be read, first at 0/0")
    for change in changes:
        assert line(change, local_time(change["decided_ms"]))
        assert json.dumps(dict(change), allow_nan=False)
    for user in {str(change["user_id"]) for change in changes}:
        for story in stories(user, changes):
            assert as_lines(story, local_time)
            assert adverse_lines(story, local_time)
            assert json.dumps(explanation(user, [story]), allow_nan=False)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_demo_goes_on_and_says_at_its_end_what_it_skipped(seed: int) -> None:
    feed = Feed(partial(VALUES.decode, "score-changes"), {"ann"}, lambda: 1.0)
    for record in rubbish(seed, "score-changes"):
        feed.add(record)
    for _ in range(3):
        feed.look(lambda _event_id: None, 50)
    assert feed.unreadable.counts["score-changes"] > 20
    unreadable = Unreadable()
    cards = latest_cards(rubbish(seed, "scorecards"), partial(VALUES.decode, "scorecards"), unreadable)
    ids = change_ids(rubbish(seed, "score-changes"), partial(VALUES.decode, "score-changes"), unreadable)
    assert recount(ids, cards).changes >= 0
    assert [words.split(" cannot")[0].split(" of ")[1] for words in unreadable.lines()] == [
        "scorecards",
        "score-changes",
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_proof_of_an_erasure_takes_what_cannot_be_read_for_what_it_may_be(seed: int) -> None:
    commands = [is_erasure(record, VALUES) for record in rubbish(seed, "commands", b"ann")]
    assert commands.count(False) > 20
    examples = [(record, kind_of(record, VALUES)) for record in rubbish(seed, "rescore-examples", b"hash")]
    assert in_examples(examples, {"retention.ms": "1000"}).standing in ("expires", "remains")
    ends = {"rescore-state": row_ends, "scorecards": partial(card_ends, values=VALUES)}
    for topic, reads in ends.items():
        records = list(rubbish(seed, topic, b"ann"))
        unreadable = [record for record in records if record.value is not None and record.value[:1] == b"x"]
        copy = in_table(topic, [*records, *unreadable], erased_at([*records, *unreadable], reads), {})
        assert copy.standing == "remains"
    tombstone = [Record("rescore-state", 0, 0, 5, b"ann", None), Record("rescore-state", 0, 1, 6, b"ann", b"\x09junk")]
    assert erased_at(tombstone, row_ends) is None  # what stands behind it may hold anything
    assert erased_at(tombstone[:1], row_ends) == 0
    in_memory(list(rubbish(seed, "rescore-learner")), "ab" * 8, {})
    in_log("rescore-journal", list(rubbish(seed, "rescore-journal")), {"retention.ms": "5"})


@pytest.mark.parametrize("seed", SEEDS)
def test_dead_letters_of_others_are_listed_shown_and_never_replayed_elsewhere(seed: int) -> None:
    chosen = Settings()
    letters = open_letters(rubbish(seed, "transactions.dlq"))
    assert letters
    for letter in letters:
        shown = _summary(letter) | _content(letter, chosen, VALUES.decode)
        assert json.dumps(shown, allow_nan=False, default=str)
        if letter.origin_topic in INPUT_TOPICS and letter.cut_bytes < 0:
            event, _ = replayed(letter, "eve", lambda _: None, 5)
            assert event.topic in INPUT_TOPICS
        else:
            with pytest.raises(UnknownLetter, match=r"Drop it|drop the letter"):
                replayed(letter, "eve", lambda _: None, 5)


def test_a_dead_letter_with_a_number_that_is_none_is_shown_as_json() -> None:
    value = VALUES.encoder("transactions")({
        "event_id": "a", "user_id": "ann", "transaction_state": "SUCCEEDED", "transaction_currency": "EUR",
        "transaction_amount": float("nan"), "transaction_date": "2026-01-01", "user_balance": None,
        "user_created": None, "user_category": None,
    })  # fmt: skip
    (letter,) = open_letters([Record("transactions.dlq", 0, 0, 5, b"ann", value)])
    shown = _content(letter, Settings(), VALUES.decode)
    assert json.loads(json.dumps(shown, allow_nan=False))["value"]["transaction_amount"] == "nan"


@pytest.mark.parametrize("topic", ["fx-rates", "rescore-weights", "rescore-config"])
@pytest.mark.parametrize("seed", SEEDS)
def test_rubbish_in_a_broadcast_topic_counts_as_never_published(topic: str, seed: int) -> None:
    records = list(rubbish(seed, topic))
    known = Known.first(first_policy("EUR", "UTC")).adopt(records, reader(StaticRegistry(), ""))
    assert len(known.refused) > len(records) - 10
    for refusal in known.refused:
        assert REPORT not in refusal.reason
        assert refusal.reason.isprintable()
    assert [one.version for one in known.versions.weights] == ["weights-1"]


# Replay.

COMPARED = ("score-changes", "scorecards", "rescore-state", "rescore-journal", "transactions.dlq")


@pytest.fixture(scope="module")
def lived() -> ScoredWorld:
    world = ScoredWorld(random_streams.versions(adoptions=False))
    world.publish(list(published(random_streams.stream(3, events=120, users=4, inversions=0.1))))
    world.run(world.worker())
    return world


def material_of(world: ScoredWorld, partition: int) -> tuple[Fixed, Material]:
    progress = world.progress()[partition]
    committed: dict[bytes, Committed] = {}
    for record in world.broker.visible("score-changes", partition):
        committed.setdefault(record.key or b"", Committed()).changes.append(record)
    for topic, name in (("scorecards", "card"), ("rescore-state", "image")):
        for record in world.broker.visible(topic, partition):
            if record.key != PROGRESS_KEY:
                setattr(committed.setdefault(record.key or b"", Committed()), name, record)
    found = Material(
        inputs=[record for topic in INPUT_TOPICS for record in world.broker.visible(topic, partition)],
        journal=world.broker.visible("rescore-journal", partition),
        letters=[letter for topic in INPUT_TOPICS for letter in world.broker.visible(f"{topic}.dlq")],
        committed=committed,
    )
    return Fixed(partition, progress, {}, {}), found


def compared(world: ScoredWorld, monkeypatch: pytest.MonkeyPatch, change: Any = lambda found: None) -> Any:
    fixed, found = material_of(world, 0)
    change(found)
    monkeypatch.setattr(replay_part, "material", lambda *_: found)
    chosen = Settings.model_validate({"kafka": {"partitioner": "crc32"}})
    return compare_part(Job(chosen, world.versions, PARTITIONS, fixed, with_store=False))


def test_replay_finds_nothing_where_nothing_is_wrong(lived: ScoredWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    result = compared(lived, monkeypatch)
    assert result.differing == 0, result.differences
    assert result.changes > 100


@pytest.mark.parametrize(
    "topic", ["score-changes", "scorecards", "rescore-state", "rescore-journal", "transactions.dlq"]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_replay_names_rubbish_as_a_difference_and_never_ends_otherwise(
    lived: ScoredWorld, monkeypatch: pytest.MonkeyPatch, topic: str, seed: int
) -> None:
    rng = random.Random(seed)
    users = sorted({record.key for record in lived.broker.visible("score-changes", 0) if record.key})

    def change(found: Material, record: Record) -> None:
        user = rng.choice([*users, b"nobody"])
        record = record._replace(key=user)
        one = found.committed.setdefault(user, Committed())
        if topic == "score-changes":
            one.changes.insert(rng.randrange(len(one.changes) + 1), record)
        elif topic == "scorecards":
            one.card = record
        elif topic == "rescore-state":
            one.image = record
        elif topic == "rescore-journal":
            found.journal.append(record)
        else:
            found.letters.append(record)

    different = 0
    for record in random.Random(seed).sample(list(rubbish(seed, topic)), 12):
        if record.value is None and topic in ("scorecards", "rescore-state"):
            continue  # a tombstone is no rubbish there
        result = compared(lived, monkeypatch, lambda found, record=record: change(found, record))
        different += result.differing > 0
        assert all(line_.isprintable() for line_ in _lines([result], 1.0))
        if topic != "transactions.dlq":
            assert result.differing or topic == "rescore-journal", record
    assert different >= (0 if topic == "transactions.dlq" else 5)


def test_a_progress_record_that_cannot_be_read_ends_replay_lag_and_erase_in_words() -> None:
    decode, refused = wire_of(VALUES).progress.decode, list[str]()
    for seed in SEEDS:
        for record in rubbish(seed, "rescore-state", PROGRESS_KEY):
            with suppress(UnreadableRecord):
                assert progress_in(record, decode).seq >= 1
                continue
            with pytest.raises(UnreadableRecord) as unreadable:
                progress_in(record, decode)
            refused.append(str(unreadable.value))
    assert len(refused) > 60
    assert all("rescore-state/0: the progress record at offset" in words for words in refused)


# RESOLVE: what cannot be read halts, and the store keeps what it has.


def halted(world: World, worker: Any, reports: WorkerReports) -> dict[int, str]:
    for _ in range(40):
        worker.turn()
    return dict(reports.halts)


@pytest.mark.parametrize("what", ["progress", "row"])
@pytest.mark.parametrize("value", [b"", b"rubbish", b"\xff" * 30, None], ids=["empty", "text", "bytes", "none"])
def test_rubbish_in_the_changelog_halts_its_partition_alone_and_loses_nothing(what: str, value: bytes | None) -> None:
    world = World()
    world.story()
    world.run(world.worker())
    before = {p: dict(world.store._partitions[p].rows) for p in range(2)}
    key = PROGRESS_KEY if what == "progress" else b"stranger"
    if what == "row":
        world.forget()  # the store is rebuilt from the changelog
        if value is None:
            value = b"{"
    world.broker.write("rescore-state", key, value, partition=1)
    if what == "row":  # with a progress record behind it: rows behind the last one are not restored
        last = [r for r in world.broker.visible("rescore-state", 1) if r.key == PROGRESS_KEY][-1]
        world.broker.write("rescore-state", PROGRESS_KEY, last.value, partition=1)
    world.broker.expel("a")
    reports = WorkerReports()
    worker = world.worker("b", observer=reports)
    found = halted(world, worker, reports)
    assert list(found) == [1]
    assert "cannot be read" in found[1]
    assert "docs/operations.md" in found[1]
    if what == "progress":
        assert {p: dict(world.store._partitions[p].rows) for p in range(2)} == before
    held = world.store.position(0)
    assert held is not None
    assert held.ready


@pytest.mark.parametrize("seed", SEEDS)
def test_a_row_of_rubbish_in_the_store_halts_and_is_never_taken_for_a_row(seed: int) -> None:
    from state.layout import CorruptRow
    from streams.scoring.step import Clocks, step

    batch = random_streams.stream(seed, events=10, users=2)
    versions = random_streams.versions(adoptions=False)
    rng, corrupt = random.Random(seed), 0
    for _ in range(100):
        row = bytes([rng.choice([1, 2, 3, 9])]) + rng.randbytes(rng.choice([0, 5, 40, 300]))
        try:
            step(Table.of(batch.users, [row] * len(batch.users)), batch, versions, Clocks(10**13))
        except CorruptRow:
            corrupt += 1
    assert corrupt == 100


# The learner.


@pytest.mark.parametrize("seed", SEEDS)
def test_a_learner_goes_on_over_rubbish_among_the_examples_and_counts_it(seed: int) -> None:
    class Watching(Reports):
        count, first = 0, ""

        def unreadable(self, count: int, first: str) -> None:
            self.count, self.first = count, first

    world, reports, story = LearningWorld(partitions=1), Watching(), history(12, 60)
    records = list(rubbish(seed, "rescore-examples"))
    for record in records[: len(records) // 2]:
        world.broker.write("rescore-examples", record.key, record.value, 10**12)
    world.publish(story)
    worker, learner = world.worker(), world.learner(observer=reports)
    world.run(worker, learner)
    for record in records[len(records) // 2 :]:
        world.broker.write("rescore-examples", record.key, record.value, 10**12)
    before = reports.count
    world.run(worker, learner, until=lambda: reports.count > before)
    assert reports.first
    assert reports.restarts == []
    again = Watching()
    fresh = world.learner(observer=again)
    turns(fresh)
    assert again.count > 0 or again.restarts == []


def turns(learner: Learner, count: int = 50) -> None:
    for _ in range(count):
        learner.turn()


def memory_of_a_learner() -> dict[bytes, bytes]:
    world = LearningWorld(partitions=1)
    world.publish(history(12, 60))
    world.run(world.worker(), world.learner())
    return world.memory()


@pytest.fixture(scope="module")
def remembered() -> dict[bytes, bytes]:
    return memory_of_a_learner()


SHAPES = (b"", b"{", b"[]", b"null", b"5", b'"x"', b"{}", b"\xff\xfe", b"[[[]]]", b'{"done_ms": "x"}', b"1e400", b"NaN")


@pytest.mark.parametrize("value", SHAPES, ids=repr)
def test_a_record_of_another_shape_in_the_learners_memory_halts_it_and_the_record_is_named(
    remembered: dict[bytes, bytes], value: bytes
) -> None:
    for key in (CHECKPOINT, MODEL, b"model/value/steady", b"model/value/nimble/good"):
        world = LearningWorld(partitions=1)
        for name, held in {**remembered, key: value}.items():
            world.broker.write("rescore-learner", name, held, 0)
        learner = world.learner()
        with pytest.raises(HaltPartition, match="rescore-learner, offset ") as halt:
            turns(learner)
        assert key.decode() in str(halt.value)
        assert "cannot be read" in str(halt.value)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_no_learner_wrote_into_its_memory_is_never_looked_at(seed: int, remembered: dict[bytes, bytes]) -> None:
    world = LearningWorld(partitions=1)
    for name, held in remembered.items():
        world.broker.write("rescore-learner", name, held, 0)
    rng = random.Random(seed)
    for record in rubbish(seed, "rescore-learner"):
        key = rng.choice([b"", b"x", b"\xff", b"ann", b"modelvalue", b"Checkpoint"])
        world.broker.write("rescore-learner", key, record.value, 0)
    learner = world.learner()
    turns(learner)
    assert learner.model is not None


def test_models_are_shown_or_the_record_that_cannot_be_is_named(remembered: dict[bytes, bytes]) -> None:
    def memory(**changed: bytes) -> Memory:
        made = Memory("rescore-learner")
        held = {**remembered, **{name.replace("_", "/").encode(): value for name, value in changed.items()}}
        for offset, (key, value) in enumerate(held.items()):
            made.take(Record("rescore-learner", 0, offset, 0, key, value))
        return made

    good = remembered_of(memory())
    assert list(as_tables(summary(good)))
    assert list(timeline_lines(details(good, "", "value")["timeline"])) == []
    assert list(more_lines(details(good, "", "value"))) == []
    for name in ("checkpoint", "model_value", "model_categories", "credit_risk"):
        for value in SHAPES:
            with pytest.raises(UnreadableRecord, match=f"the record of {name.replace('_', '/')} cannot be read"):
                remembered_of(memory(**{name: value}))


# The worker reads none of its outputs.


def test_rubbish_in_every_topic_it_only_writes_makes_no_difference_to_a_worker() -> None:
    def changes(with_rubbish: bool) -> list[tuple[bytes | None, bytes | None]]:
        world = ScoredWorld(random_streams.versions(adoptions=False))
        if with_rubbish:
            for topic in ("score-changes", "scorecards", "rescore-journal", "rescore-examples", "loans.dlq"):
                for record in rubbish(1, topic):
                    world.broker.write(topic, record.key, record.value, 5, 0)
        world.publish(list(published(random_streams.stream(4, events=60, users=3))))
        world.run(world.worker())
        found = world.broker.visible("score-changes")
        return [(one.key, one.value) for one in found if one.headers]

    assert changes(with_rubbish=True) == changes(with_rubbish=False)
