"""Topics that are deleted and created again: halted with words, or all taken; never skipped in silence."""

from __future__ import annotations

import io
from contextlib import suppress
from random import Random

import fastavro
import pytest

from schemas.definitions import fingerprint_of, parse, released
from schemas.known_schemas import SINGLE_OBJECT
from schemas.topic_values import Values
from streams.log.progress import Progress
from streams.log.protocol import STEPS
from streams.log.topic_ids import TopicIds
from streams.processing.wire import wire_of
from streams.worker.loop import Worker
from streams.worker.observer import Observer
from tests.crash.test_crash_in_memory import Crash, die, on_hit
from tests.streams.world import INPUTS, JsonProgress, World

LENGTHS = {"shorter": 12, "equal": 20, "longer": 30}


class Halts(Observer):
    """Keeps why partitions halted."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def halted(self, partition: int, reason: str) -> None:
        self.reasons[partition] = reason

    def running(self, partition: int, standing: object) -> None:
        self.reasons.pop(partition, None)


def turns(world: World, worker: Worker, seconds: float) -> None:
    for _ in range(round(seconds * 100)):
        world.clock.ms += 10
        worker.turn()


def events(world: World, user: str, count: int, from_ms: int) -> None:
    for i in range(count):
        world.write("transactions", user, from_ms + i)
    for partition in range(2):
        world.broker.write("commands", b"", b"advance=%d" % (from_ms + count), from_ms + count, partition)


def taken(world: World, user: str = "ann") -> int:
    return len(world.changes().get(user.encode(), []))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("while_up", [False, True])
def test_an_input_that_was_created_again_halts_its_partitions_and_names_both_ids(length: str, while_up: bool) -> None:
    world, halts = World(), Halts()
    events(world, "ann", 20, 1_000)
    worker = world.worker(observer=halts)
    world.run(worker)
    before = world.progress(), world.rows()
    if not while_up:
        worker._log.close()
    world.broker.create_again("transactions")
    events(world, "ann", LENGTHS[length], 2_000)
    turns(world, worker if while_up else world.worker(observer=halts), 8)
    assert halts.reasons.keys() == {0, 1}
    ann = world.partition_of(b"ann")
    for partition, words in halts.reasons.items():
        assert words.startswith(
            f"partition {partition}: transactions is another topic now: its topic id is transactions-2"
        )
        assert "the last one that was taken had transactions-1" in words
        assert "RESCORE_CHANGED_TOPICS__FROM_BEGINNING=transactions-2" in words
    if not while_up:
        assert world.progress() == before[0]
        assert world.rows() == before[1]
    if length != "longer" or not while_up:
        assert world.progress()[ann].next_offsets["transactions"] == 20


@pytest.mark.parametrize("length", LENGTHS)
def test_a_person_who_names_the_new_id_has_all_of_it_taken(length: str) -> None:
    world, halts = World(), Halts()
    events(world, "ann", 20, 1_000)
    world.run(world.worker())
    world.broker.create_again("transactions")
    events(world, "ann", LENGTHS[length], 2_000)
    for _ in range(2):  # the second time nothing is new, though the setting is still there
        world.run(world.worker(observer=halts, from_beginning=["transactions-2"]))
        assert not halts.reasons
        assert taken(world) == 20 + LENGTHS[length]
        assert {p.topic_ids["transactions"] for p in world.progress().values() if p.topic_ids} == {"transactions-2"}
    world.broker.create_again("transactions")  # what was decided about one topic says nothing of the next one
    turns(world, world.worker(observer=halts, from_beginning=["transactions-2"]), 1)
    assert halts.reasons.keys() == {0, 1}


def test_a_cluster_that_was_moved_with_its_offsets_goes_on() -> None:
    world, halts = World(), Halts()
    world.story()
    world.run(world.worker())
    for topic in (*INPUTS, "rescore-state"):
        world.broker.created[topic] += 1  # the same records under another id
    worker = world.worker(observer=halts)
    turns(world, worker, 1)
    assert halts.reasons.keys() == {0, 1}
    assert "RESCORE_CHANGED_TOPICS__SAME_OFFSETS=commands-2,loans-2,transactions-2,rescore-state-2" in halts.reasons[0]
    world.write("transactions", "user-1", 5_000)
    moved = ["commands-2", "loans-2", "transactions-2", "rescore-state-2"]
    world.run(world.worker(observer=halts, same_offsets=moved))
    assert not halts.reasons
    world.check()


def test_what_is_remembered_cannot_begin_again() -> None:
    """The changelog: rows that it lacks are in Redis alone."""
    topics = TopicIds(("loans",), "rescore-state", "lost words", frozenset(["new"]))
    with pytest.raises(Exception, match="lost words") as halt:
        topics.same({"rescore-state": "old"}, {"rescore-state": "new"}, "partition 0")
    assert "FROM_BEGINNING" not in str(halt.value)


@pytest.mark.parametrize("topic", ["rescore-state", "fx-rates"])
@pytest.mark.parametrize("while_up", [False, True])
def test_changelog_and_versions_have_to_stay_the_same_too(topic: str, while_up: bool) -> None:
    world, halts = World(), Halts()
    world.story()
    worker = world.worker(observer=halts, broadcast=("fx-rates",))
    world.run(worker)
    rows = world.rows()
    world.broker.create_again(topic)
    if not while_up:
        worker = world.worker(observer=halts, broadcast=("fx-rates",))
    world.write("transactions", "user-1", 5_000)
    turns(world, worker, 8)
    assert set(halts.reasons) >= {world.partition_of(b"user-1")}
    if while_up or topic == "fx-rates":
        assert f"{topic}-1" in halts.reasons[0]
        assert f"{topic}-2" in halts.reasons[0]
    if not while_up:
        assert world.rows() == rows
    halts.reasons.clear()  # and again at the next start, whatever was written meanwhile
    turns(world, world.worker(observer=halts, broadcast=("fx-rates",)), 1)
    assert halts.reasons


@pytest.mark.parametrize("silent", ["no ids", "no answer"])
def test_a_server_that_gives_no_ids_or_does_not_answer_halts_nothing(silent: str) -> None:
    world, halts = World(), Halts()
    world.story()
    worker = world.worker(observer=halts)
    world.run(worker)
    known = world.progress()[0].topic_ids
    assert known is not None
    if silent == "no ids":
        world.broker.has_topic_ids = False
    else:
        world.broker.reachable = False
    turns(world, worker, 12)
    turns(world, world.worker(observer=halts), 3)
    world.broker.reachable = True
    world.write("transactions", "user-1", 5_000)
    world.run(world.worker(observer=halts))
    assert not halts.reasons
    world.check()
    assert world.progress()[0].topic_ids == known  # what is known stays known


def test_a_deployment_of_a_server_without_ids_learns_them_when_it_has_some() -> None:
    world, halts = World(), Halts()
    world.broker.has_topic_ids = False
    world.story()
    world.run(world.worker(observer=halts))
    assert world.progress()[0].topic_ids is None
    world.broker.has_topic_ids = True
    for i in range(6):
        world.write("transactions", f"user-{i}", 5_000)
    world.run(world.worker(observer=halts))
    assert not halts.reasons
    assert world.progress()[0].topic_ids == {topic: f"{topic}-1" for topic in (*INPUTS, "rescore-state")}


def test_a_progress_record_of_the_program_before_has_no_ids_and_halts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, halts = World(), Halts()
    world.story()

    def encode(self: JsonProgress, progress: Progress) -> bytes:
        return real(self, progress._replace(topic_ids=None))

    real = JsonProgress.encode
    with monkeypatch.context() as patch:
        patch.setattr(JsonProgress, "encode", encode)
        world.run(world.worker())
    assert world.progress()[0].topic_ids is None
    for i in range(6):
        world.write("transactions", f"user-{i}", 5_000)
    world.run(world.worker(observer=halts))
    assert not halts.reasons
    assert world.progress()[0].topic_ids is not None
    world.check()


@pytest.mark.parametrize("version", released("Progress"))
def test_progress_as_it_was_released_is_read_and_so_is_what_is_written_now(version: int) -> None:
    codec = wire_of(Values()).progress
    progress = Progress(3, {"loans": 7}, 9, "nonce", "1.0", 1, 2, 3, {"loans": "YuY0QI7kQcSY5PvTRYOaog"})
    assert codec.decode(codec.encode(progress)) == progress
    written, stream = released("Progress")[version], io.BytesIO()
    fastavro.schemaless_writer(stream, parse(written), progress._asdict())
    missing = progress._fields[len(written["fields"]) :]
    read = codec.decode(SINGLE_OBJECT + fingerprint_of(written) + stream.getvalue())
    assert read == progress._replace(**dict.fromkeys(missing))
    assert "topic_ids" in missing


@pytest.mark.parametrize("seed", range(40))
def test_topics_created_again_at_any_moment_halt_or_are_taken_whole(seed: int) -> None:
    """Whoever is in the new topic was taken, or their partition has halted and says why; two workers, crashes."""
    random, world, halts = Random(seed), World(), Halts()
    print(f"seed {seed}")
    topic = random.choice(INPUTS[1:])
    for i in range(40):
        world.write(
            random.choice(INPUTS[1:]),
            f"user-{i % 6}",
            1_000 + 10 * i,
            random.choice(["x", "x", f"due={1_100 + 10 * i}"]),
        )
    if random.random() < 0.8:  # else it is created again before anything was committed
        size = random.randrange(1, 25)
        with suppress(Crash):
            step, hit = random.choice(STEPS[:12]), random.randrange(1, 4)
            turns(world, world.worker("a", on_hit(step, hit, die), records_max=size), random.random())
    worker = world.worker("a", observer=halts, records_max=random.randrange(1, 25))
    up = random.random() < 0.5
    if up:
        turns(world, worker, 2 * random.random())
    known = {n: p.topic_ids for n, p in world.progress().items()}
    world.broker.create_again(topic)
    new = [f"new-{i}" for i in range(random.randrange(0, 60))]
    for i, user in enumerate(new):
        world.write(topic, user, 3_000 + i)
    world.advance(4_000)
    if not up:
        worker = world.worker("a", observer=halts)
    turns(world, worker, 12)
    said = world.changes()
    for user in new:
        if user.encode() not in said:
            assert f"{topic} is another topic now" in halts.reasons[world.partition_of(user.encode())]
    for number, ids in known.items():
        assert ids is None or halts.reasons[number].startswith(f"partition {number}: {topic} is another topic now")
    before = {user: list(lines) for user, lines in said.items()}
    decided = [f"{topic}-2"]
    last = world.worker("a", observer=halts, from_beginning=decided)
    world.run(last, until=lambda: world.changes().keys() >= {user.encode() for user in new} and world.at_rest())
    assert not halts.reasons
    after = world.changes()
    for user, lines in before.items():
        assert after[user][: len(lines)] == lines, "what was said is not said again"
