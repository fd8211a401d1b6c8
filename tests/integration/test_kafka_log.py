"""The log on a real Kafka, and the loop on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer

from streams.log.message import Message
from streams.log.protocol import (
    AbortAndRewind,
    Assigned,
    Lost,
    RecreateProducer,
    StopWorker,
    TooLarge,
    TopicPartition,
    Transaction,
    Unmatched,
)
from tests.integration.kafka_world import KafkaWorld, WallClock
from tests.streams.world import INPUTS


def join(log: Any, eventually: Callable[..., None]) -> tuple[int, ...]:
    owned: list[int] = []

    def assigned() -> bool:
        for change in log.poll(100, 0.05).changes:
            owned.extend(change.partitions if isinstance(change, Assigned) else ())
        return bool(owned)

    eventually(assigned, "an assignment")
    return tuple(owned)


def positions(world: KafkaWorld, offset: int = 0) -> dict[TopicPartition, int]:
    return {TopicPartition(world.prefix + topic, 0): offset for topic in INPUTS}


def test_a_story_is_said_once_and_in_the_order_of_time(world: KafkaWorld) -> None:
    world.story()
    world.producer.flush()
    world.run_for(world.worker(), 30)
    world.check()


def say(world: KafkaWorld, text: bytes, offset: int = 0) -> Transaction:
    """A transaction of partition 0 with one change, one row and the progress record."""
    state = TopicPartition(world.prefix + "rescore-state", 0)
    return Transaction(
        positions(world, offset),
        {world.prefix + "score-changes": [[Message(b"ann", text, [("h", b"1")])]]},
        {state: [Message(b"ann", b"row")]},
        {state: Message(b"progress", text)},
    )


def changes(world: KafkaWorld) -> list[bytes | None]:
    return [record.value for record in world.visible("score-changes")]


def test_a_transaction_tells_where_its_progress_record_is_and_keeps_headers(
    world: KafkaWorld, eventually: Callable[..., None]
) -> None:
    log = world.log("a")
    join(log, eventually)
    eventually(log.open, "a producer")
    state = TopicPartition(world.prefix + "rescore-state", 0)
    assert log.transact(say(world, b"one")) == {state: 1}
    assert log.transact(say(world, b"two")) == {state: 4}  # a marker lies between them
    assert changes(world) == [b"one", b"two"]
    assert world.visible("score-changes")[0].headers == [("h", b"1")]
    assert log.committed(0) == {world.prefix + topic: 0 for topic in INPUTS}
    assert log.committed(1) == dict.fromkeys([world.prefix + topic for topic in INPUTS])


def test_a_tombstone_is_written_as_one(world: KafkaWorld, eventually: Callable[..., None]) -> None:
    log = world.log("a")
    join(log, eventually)
    eventually(log.open, "a producer")
    state = TopicPartition(world.prefix + "rescore-state", 1)
    log.transact(Transaction(positions(world), placed={state: [Message(b"ann", None), Message(b"bob", b"")]}))
    assert [(r.key, r.value) for r in world.visible("rescore-state")] == [(b"ann", None), (b"bob", b"")]


@pytest.mark.parametrize("size", [2 * 2**20, 30 * 2**20])
def test_a_record_that_broker_or_client_will_never_take_is_told_with_words_and_the_next_one_goes_through(
    world: KafkaWorld, eventually: Callable[..., None], size: int
) -> None:
    log = world.log("a")
    join(log, eventually)
    eventually(log.open, "a producer")
    with pytest.raises(TooLarge, match=r"Raise max.message.bytes of \S+score-changes") as told:
        log.transact(say(world, b"x" * size))
    assert f"{size + 5:,} bytes" in str(told.value)  # with the key and a header
    eventually(log.open, "a producer")
    log.transact(say(world, b"small"))
    assert changes(world) == [b"small"]


def test_partitions_that_only_some_inputs_have_are_told_and_never_taken(
    world: KafkaWorld, topics: Any, eventually: Callable[..., None]
) -> None:
    topics.add_partitions("loans", 3)
    log = world.log("a")
    told: list[Unmatched] = []

    def unmatched() -> bool:
        told.extend(change for change in log.poll(100, 0.05).changes if isinstance(change, Unmatched))
        return bool(told)

    eventually(unmatched, "a word")
    assert told[0].partitions == (2,)
    assert set(told[0].missing_in) == {world.prefix + topic for topic in INPUTS if topic != "loans"}
    assert log._owned == {0, 1}


def test_a_member_that_was_replaced_by_a_later_generation_can_not_commit(
    world: KafkaWorld, eventually: Callable[..., None]
) -> None:
    zombie = world.log("a", session_timeout_seconds=1.0)
    join(zombie, eventually)
    eventually(zombie.open, "a producer")
    zombie._consumer.unsubscribe()  # it leaves, and does not know that it has
    zombie._owned = {0, 1}
    heir = world.log("b")
    assert join(heir, eventually) == (0, 1)
    with pytest.raises((AbortAndRewind, RecreateProducer)):
        zombie.transact(say(world, b"zombie"))
    eventually(heir.open, "a producer")
    heir.transact(say(world, b"heir"))
    assert changes(world) == [b"heir"]


def test_a_producer_whose_id_was_taken_over_can_not_commit(world: KafkaWorld, eventually: Callable[..., None]) -> None:
    first = world.log("a")
    join(first, eventually)
    eventually(first.open, "a producer")
    first.transact(say(world, b"before"))
    second = world.log("a")
    eventually(second.open, "a producer")
    with pytest.raises(RecreateProducer):
        first.transact(say(world, b"fenced"))
    assert changes(world) == [b"before"]


def test_a_member_whose_slot_was_taken_can_not_commit_though_it_takes_its_producer_back(
    world: KafkaWorld, eventually: Callable[..., None]
) -> None:
    former = world.log("a")
    join(former, eventually)
    eventually(former.open, "a producer")
    heir = world.log("a")
    join(heir, eventually)
    eventually(heir.open, "a producer")
    former._producer.discard()
    former._producer = None
    eventually(former.open, "the producer of the same name")
    with pytest.raises((AbortAndRewind, RecreateProducer)):
        former.transact(say(world, b"former"))
    with pytest.raises(RecreateProducer):
        heir.transact(say(world, b"fenced"))
    eventually(heir.open, "its producer again")
    heir.transact(say(world, b"heir"))
    assert changes(world) == [b"heir"]


def namesake(world: KafkaWorld, eventually: Callable[..., None]) -> Consumer:
    """Somebody joins the group under the static id of slot a."""
    consumer = Consumer(
        {
            "bootstrap.servers": world.bootstrap_servers,
            "group.id": f"{world.prefix}app",
            "group.instance.id": f"{world.prefix}app.a",
            "partition.assignment.strategy": "range",
        }
    )
    consumer.subscribe([world.prefix + topic for topic in INPUTS])

    def has_joined() -> bool:
        consumer.poll(0.05)
        return bool(consumer.assignment())

    eventually(has_joined, "the namesake's assignment")
    return consumer


def test_a_member_that_was_fenced_joins_once_more_and_stops_the_second_time(
    world: KafkaWorld, eventually: Callable[..., None]
) -> None:
    log = world.log("a")
    assert join(log, eventually) == (0, 1)
    first = namesake(world, eventually)
    told: list[object] = []

    def is_back() -> bool:
        told.extend(log.poll(100, 0.05).changes)
        return bool(told) and isinstance(told[-1], Assigned)

    eventually(is_back, "the assignment after the rejoin")
    assert told == [Lost((0, 1)), Assigned((0, 1))]
    eventually(log.open, "a producer")
    log.transact(say(world, b"again"))
    assert changes(world) == [b"again"]
    second = namesake(world, eventually)

    def is_stopped() -> bool:
        try:
            log.poll(100, 0.05)
        except StopWorker as stop:
            return "RESCORE_SLOT" in str(stop)
        return False

    eventually(is_stopped, "the end of a worker whose name another has")
    first.close()
    second.close()


def test_coming_back_ends_what_was_left_open(world: KafkaWorld, eventually: Callable[..., None]) -> None:
    class Crash(BaseException):
        pass

    def die(step: str) -> None:
        if step == "K8.committing":
            raise Crash

    state = TopicPartition(world.prefix + "rescore-state", 0)
    dying = world.log("a", die)
    join(dying, eventually)
    eventually(dying.open, "a producer")
    with pytest.raises(Crash):
        dying.transact(say(world, b"never seen"))
    dying._producer.of.flush(5)  # type: ignore[union-attr]

    heir = world.log("a")
    # Behind the open transaction; None while the brokers have not answered in time.
    eventually(lambda: heir.end_offsets([state]) == {state: 2}, "the end of the changelog")
    pieces = heir.read(state, 0, 2)
    assert next(pieces) == []  # not stable yet
    assert heir.committed(0) is None  # the barrier
    eventually(heir.open, "a producer")
    eventually(lambda: heir.committed(0) == dict.fromkeys(world.prefix + topic for topic in INPUTS), "the barrier")
    assert [record for piece in pieces for record in piece] == []


def test_reading_ends_at_the_offset_asked_for(world: KafkaWorld) -> None:
    where = TopicPartition(world.prefix + "loans", 1)
    for i in range(10):
        world.producer.produce(where.topic, b"%d" % i, b"", where.partition, timestamp=1_000 + i)
    world.producer.flush()
    log = world.reader
    assert [r.value for piece in log.read(where, 2, 5) for r in piece] == [b"2", b"3", b"4"]
    assert log.first_offsets([where]) == {where: 0}
    assert log.end_offsets([where]) == {where: 10}
    assert [log.offset_at(where, ms) for ms in (0, 1_004, 9_999)] == [0, 4, 10]
    assert log.partitions(where.topic) == 2


def test_what_was_sought_to_is_fetched_once_resumed_and_its_end_is_told(
    world: KafkaWorld, eventually: Callable[..., None]
) -> None:
    for i in range(6):
        world.producer.produce(world.prefix + "loans", b"%d" % i, b"", 0, timestamp=1_000 + i)
    world.producer.flush()
    log = world.log("a")
    join(log, eventually)
    places = [TopicPartition(world.prefix + topic, 0) for topic in INPUTS]
    loans = places[1]
    got: list[int] = []
    ends: dict[str, int] = {}

    def fetch() -> None:
        polled = log.poll(100, 0.05)
        got.extend(record.offset for record in polled.records)
        ends.update({end.topic: end.offset for end in polled.ends})

    fetch()
    assert not got  # newly assigned partitions rest
    log.seek({**dict.fromkeys(places, 0), loans: 2})
    log.resume(places)
    eventually(lambda: fetch() or len(ends) == 3, "three ends")
    assert got == [2, 3, 4, 5]
    assert ends == {**dict.fromkeys((w.topic for w in places), 0), loans.topic: 6}
    log.pause(places)
    world.producer.produce(loans.topic, b"6", b"", 0)
    world.producer.flush()
    fetch()
    log.seek({loans: 1})
    log.resume(places)
    eventually(lambda: fetch() or ends[loans.topic] == 7, "the new end")
    assert got == [2, 3, 4, 5, 1, 2, 3, 4, 5, 6]


def test_two_workers_share_the_partitions_and_one_takes_over_when_the_other_leaves(world: KafkaWorld) -> None:
    world.story()
    world.producer.flush()
    first = world.worker("a", session_timeout_seconds=1.0)
    second = world.worker("b", session_timeout_seconds=1.0)
    world.run_for(first, 60, lambda: second.turn() or len(world.progress()) == 2)
    world.logs[1].close()  # the first one is gone for good
    world.run_for(second, 60)
    world.check()


def test_a_timer_fires_in_silence_within_two_seconds_of_its_time_and_not_before(
    kafka: Any, topics: Any, eventually: Callable[..., None]
) -> None:
    topics.make(*INPUTS, "score-changes", partitions=2, config={"message.timestamp.type": "LogAppendTime"})
    topics.make("rescore-state", partitions=2, config={"cleanup.policy": "compact"})
    world = KafkaWorld(bootstrap_servers=kafka.bootstrap_servers, prefix=topics.prefix)
    try:
        worker = world.worker(silence_ms=1_000)
        world.write("loans", "warm", 0)
        world.producer.flush()
        eventually(lambda: worker.turn() or b"warm" in world.changes(), "a first change", seconds=20)
        due_ms = WallClock().wall_ms() + 1_500
        world.write("loans", "ann", 0, f"due={due_ms}")
        world.producer.flush()
        eventually(lambda: worker.turn() or len(world.changes().get(b"ann", [])) == 2, "the timer", seconds=20)
        (fired,) = [r for r in world.visible("score-changes") if (r.value or b"").startswith(b"2 timer")]
        assert due_ms + 1_000 <= fired.timestamp_ms <= due_ms + 2_000
    finally:
        world.close()
