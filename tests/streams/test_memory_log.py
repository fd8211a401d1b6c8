"""The log in memory keeps the protocol's promises: atomic, fenced, read committed only when it is stable."""

from __future__ import annotations

import pytest

from streams.log.memory import CommitFault, MemoryBroker, MemoryLog
from streams.log.message import Message
from streams.log.protocol import (
    AbortAndRewind,
    Assigned,
    End,
    Lost,
    RecreateProducer,
    Revoked,
    TopicPartition,
    Transaction,
)

OUT = TopicPartition("out", 0)
IN = TopicPartition("in", 0)


def new_broker() -> MemoryBroker:
    return MemoryBroker({"in": 2, "out": 1})


def member(broker: MemoryBroker, slot: str = "a") -> MemoryLog:
    log = MemoryLog(broker, slot, ["in"])
    log.poll(10, 0)
    log.open()
    return log


def say(text: bytes) -> Transaction:
    return Transaction({IN: 5}, placed={OUT: [Message(b"k", text)]}, progress={OUT: Message(b"p", text)})


def said(broker: MemoryBroker) -> list[bytes | None]:
    return [record.value for record in broker.visible("out")]


def test_a_transaction_is_seen_whole_and_moves_the_group() -> None:
    broker = new_broker()
    log = member(broker)
    assert log.transact(say(b"one")) == {OUT: 1}
    assert said(broker) == [b"one", b"one"]
    assert log.committed(0) == {"in": 5}
    assert log.committed(1) == {"in": None}


@pytest.mark.parametrize(
    "fault, error, seen",
    [
        (CommitFault.REFUSED, AbortAndRewind, 0),
        (CommitFault.COMMITTED_ANSWER_LOST, RecreateProducer, 2),
        (CommitFault.OPEN_ANSWER_LOST, RecreateProducer, 0),
    ],
)
def test_a_commit_can_fail_in_three_ways(fault: CommitFault, error: type[Exception], seen: int) -> None:
    broker = new_broker()
    log = member(broker)
    broker.commit_faults = [fault]
    with pytest.raises(error):
        log.transact(say(b"one"))
    assert len(said(broker)) == seen
    assert log.open()
    log.transact(say(b"two"))
    assert len(said(broker)) == seen + 2


def test_an_open_transaction_holds_back_readers_and_the_barrier_until_its_owner_comes_back() -> None:
    broker = new_broker()
    log = member(broker)
    broker.commit_faults = [CommitFault.OPEN_ANSWER_LOST]
    with pytest.raises(RecreateProducer):
        log.transact(say(b"lost"))
    broker.write("out", b"k", b"behind it")
    assert said(broker) == []
    assert log.committed(0) is None
    assert log.end_offsets([OUT]) == {OUT: 3}
    pieces = log.read(OUT, 0, 3)
    assert next(pieces) == []
    member(broker)
    assert [record.value for piece in pieces for record in piece] == [b"behind it"]
    assert log.committed(0) == {"in": None}


def test_while_markers_lag_nothing_is_seen_yet() -> None:
    broker = new_broker()
    log = member(broker)
    broker.markers_lag = True
    log.transact(say(b"one"))
    assert said(broker) == []
    assert log.committed(0) is None
    broker.write_markers()
    assert said(broker) == [b"one", b"one"]


def test_a_member_of_an_earlier_generation_is_refused_only_if_it_sends_positions() -> None:
    broker = new_broker()
    zombie = member(broker)
    broker.expel("a")
    member(broker, "b")
    with pytest.raises(AbortAndRewind):
        zombie.transact(say(b"zombie"))
    zombie.transact(Transaction({}, placed={OUT: [Message(b"k", b"unfenced")]}))
    assert said(broker) == [b"unfenced"]


def test_a_producer_whose_id_was_taken_is_refused() -> None:
    broker = new_broker()
    first = member(broker)
    member(broker)
    with pytest.raises(RecreateProducer):
        first.transact(say(b"fenced"))


def test_partitions_are_shared_by_range_and_change_hands_as_values() -> None:
    broker = new_broker()
    first = MemoryLog(broker, "a", ["in"])
    assert first.poll(10, 0).changes == [Assigned((0, 1))]
    second = MemoryLog(broker, "b", ["in"])
    assert first.poll(10, 0).changes == [Revoked((0, 1)), Assigned((0,))]
    assert second.poll(10, 0).changes == [Assigned((1,))]
    broker.expel("a")
    assert second.poll(10, 0).changes == [Revoked((1,)), Assigned((0, 1))]
    assert first.poll(10, 0).changes == [Lost((0,))]


def test_newly_assigned_partitions_rest_until_they_are_sought_and_resumed() -> None:
    broker = new_broker()
    for i in range(4):
        broker.write("in", b"", b"%d" % i, 100 + i, 0)
    log = member(broker)
    log.seek({IN: 1})
    assert log.poll(10, 0).records == []
    log.resume([IN])
    polled = log.poll(2, 0)
    assert [record.offset for record in polled.records] == [1, 2]
    assert polled.ends == []
    polled = log.poll(2, 0)
    assert [record.offset for record in polled.records] == [3]
    assert polled.ends == [End("in", 0, 4)]
    log.pause([IN])
    assert log.poll(2, 0) == ([], [], [])


def test_compaction_keeps_the_last_of_each_key_at_its_offset() -> None:
    broker = new_broker()
    log = member(broker)
    for text in (b"one", b"two"):
        log.transact(say(text))
    broker.compact("out")
    assert [(record.offset, record.value) for record in broker.visible("out")] == [(3, b"two"), (4, b"two")]


def test_brokers_that_do_not_answer_answer_nothing() -> None:
    broker = new_broker()
    log = member(broker)
    broker.reachable = False
    assert log.end_offsets([IN]) is log.first_offsets([IN]) is log.offset_at(IN, 0) is log.partitions("in") is None
    assert not MemoryLog(broker, "b", ["in"]).open()
