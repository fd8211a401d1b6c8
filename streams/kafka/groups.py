"""What a consumer group has taken and what waits for it, as the brokers say it now: for commands and for waiting."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition

from streams.kafka.client import (
    ANSWER_SECONDS,
    SETTLE_PAUSE_SECONDS,
    TOPIC_SECONDS,
    admin_of,
    end_offsets,
    first_offsets,
    open_transactions,
    read_between,
    stable_offsets,
    unreachable,
)
from streams.log.open_transactions import OpenTransaction, Where
from streams.settings import KafkaSettings

CONTROL_RECORDS_MAX = 100


def are_open(kafka: KafkaSettings, transactions: Iterable[OpenTransaction]) -> bool:
    """Whether one of these transactions is still open."""
    known = {(one.topic, one.partition): one.offset for one in transactions}
    stable = stable_offsets(kafka, [TopicPartition(*place) for place in known])
    return any(stable[place] == offset for place, offset in known.items())


class Group(NamedTuple):
    """A consumer group as the broker sees it now."""

    workers: int
    state: str
    committed: dict[tuple[str, int], int]


NOT_YET = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
"""What a broker answers about groups while it is still reading them, as after its start or for its first group."""


def group_of(kafka: KafkaSettings, name: str, counts: Mapping[str, int]) -> Group:
    """State, members and committed offsets of a group; an unknown group has no members. Raises KafkaUnreachable."""
    deadline = time.monotonic() + TOPIC_SECONDS
    while True:
        try:
            return _group_of(kafka, name, counts)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return Group(0, "DEAD", {})
            if code not in NOT_YET or time.monotonic() > deadline:
                raise unreachable(kafka, error) from None
        time.sleep(SETTLE_PAUSE_SECONDS)


def _group_of(kafka: KafkaSettings, name: str, counts: Mapping[str, int]) -> Group:
    admin = admin_of(kafka)
    places = [TopicPartition(topic, p) for topic, count in counts.items() for p in range(count)]
    answer = admin.describe_consumer_groups([name], request_timeout=ANSWER_SECONDS)[name]
    described = answer.result(2 * ANSWER_SECONDS)
    asked = [ConsumerGroupTopicPartitions(name, places)]
    offsets = admin.list_consumer_group_offsets(asked, request_timeout=ANSWER_SECONDS)[name].result(2 * ANSWER_SECONDS)
    found = [place for place in offsets.topic_partitions if place.offset >= 0]
    committed = {(place.topic, place.partition): place.offset for place in found}
    return Group(len(described.members), described.state.name, committed)


class Waiting(NamedTuple):
    """What is not taken: committed records by partition, and the transactions that are open there."""

    records: dict[Where, int]
    open: dict[Where, OpenTransaction]


def waiting_of(kafka: KafkaSettings, counts: Mapping[str, int], committed: Mapping[Where, int]) -> Waiting:
    """How many committed records wait in each partition behind what the group has taken, and what is open.

    Offsets also count control records, which nobody takes: where only a few offsets are left, they are looked at.
    """
    places = [TopicPartition(topic, p) for topic, count in counts.items() for p in range(count)]
    ends, firsts = end_offsets(kafka, places), first_offsets(kafka, places)
    still_open = open_transactions(kafka, ends)
    ends |= {place: one.offset for place, one in still_open.items()}
    starts = {place: max(committed.get(place, 0), firsts[place]) for place in ends}
    waiting = {place: max(end - starts[place], 0) for place, end in ends.items()}
    doubtful = {place: ends[place] for place, count in waiting.items() if 0 < count <= CONTROL_RECORDS_MAX}
    if doubtful:
        waiting |= dict.fromkeys(doubtful, 0)
        for record in read_between(kafka, starts, doubtful):
            waiting[record.topic, record.partition] += 1
    return Waiting(waiting, still_open)


def waiting_records(
    kafka: KafkaSettings, counts: Mapping[str, int], committed: Mapping[Where, int]
) -> dict[Where, int]:
    """How many records wait in each partition behind what is committed; those of open transactions are counted too."""
    waiting, still_open = waiting_of(kafka, counts, committed)
    return {
        p: count + (still_open[p].end - still_open[p].offset if p in still_open else 0) for p, count in waiting.items()
    }
