"""Kafka for the commands: clients made from the settings, and the few questions a command asks the broker.

The worker's own log is `streams.kafka.worker_log`; this is for publishing, reading and looking, by people.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from schemas.batch import Record
from schemas.errors import Exit, RescoreError
from streams.kafka.open_transactions import with_first_records
from streams.kafka.producer import NotDelivered, producer_settings, timestamp_option
from streams.kafka.reader import headers_of
from streams.kafka.reasons import REFUSED_LOGINS, Reasons, make, variable_of
from streams.kafka.topic_ids import topic_ids as ids_of_topics
from streams.log.dead_letters import Message as DeadLetterMessage
from streams.log.open_transactions import BehindOpenTransaction, OpenTransaction, Where
from streams.settings import KafkaSettings

ANSWER_SECONDS = 3.0
ASK_SECONDS = 1.0
TOPIC_SECONDS = 1.5
SETTLE_SECONDS = 10.0
SETTLE_PAUSE_SECONDS = 0.1
OPEN_SECONDS = 5.0
"""How long a reader waits for a transaction to end before it says that one is open."""
SILENT_SECONDS = 30.0
"""How long a reader waits for a partition that brings nothing, not even its end."""
TAIL_RECORDS = 1_000
"""How many offsets from the end of a partition are read first in search of a committed record."""
SETTLING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError._NOENT,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001 - librdkafka's own codes are named so
    }
)
"""Answers of a broker that has not yet heard of a topic's new leader, or to a client that has not."""


class KafkaUnreachable(RescoreError):
    """No broker answers at the bootstrap servers, or none that lets us in. `remedy` is empty if it is the usual one."""

    remedy = "check RESCORE_KAFKA__BOOTSTRAP_SERVERS; `rescore demo` starts a Kafka of its own"
    code = Exit.UNREACHABLE

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy or None)


class TopicMissing(RescoreError):
    """A topic that a command needs is not there."""

    remedy = "rescore topics apply creates the topics"


def common(kafka: KafkaSettings) -> dict[str, Any]:
    """Settings every client shares: the keys passed through, and silence about what is told by exceptions."""
    return {**kafka.librdkafka, "bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}


def admin_of(kafka: KafkaSettings) -> AdminClient:
    """The one admin client of this process for these servers, kept: the first answer to a new one comes late."""
    return _admin_and_reasons(kafka)[0]


def _admin_and_reasons(kafka: KafkaSettings) -> tuple[AdminClient, Reasons]:
    key = (kafka.bootstrap_servers, *sorted(kafka.librdkafka.items()))
    if key not in _ADMINS:
        reasons = Reasons()
        _ADMINS[key] = make(AdminClient, common(kafka) | {"error_cb": reasons.note}), reasons
    return _ADMINS[key]


_ADMINS: dict[tuple[Any, ...], tuple[AdminClient, Reasons]] = {}


def partition_counts(kafka: KafkaSettings, topics: Iterable[str] = ()) -> dict[str, int]:
    """Number of partitions of each topic that exists (of all, where none is named). Raises KafkaUnreachable."""
    try:
        metadata = admin_of(kafka).list_topics(timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise unreachable(kafka, error) from None
    wanted = set(topics)
    found = {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}
    return {name: count for name, count in found.items() if not wanted or name in wanted}


def topic_ids(kafka: KafkaSettings, topics: Iterable[str]) -> dict[str, str]:
    """Ids of those of the topics that are there and have one; none where nobody answers."""
    there = sorted(partition_counts(kafka, topics))
    return ids_of_topics(admin_of(kafka), there, ANSWER_SECONDS) or {} if there else {}


def unreachable(kafka: KafkaSettings, error: KafkaException) -> KafkaUnreachable:
    """What to raise where a broker does not answer, or does not let this login do what was asked for."""
    cause = error.args[0]
    words = cause.str() if isinstance(cause, KafkaError) else str(cause)
    if isinstance(cause, KafkaError) and cause.code() in REFUSED_LOGINS:
        return KafkaUnreachable(
            f"Kafka at {kafka.bootstrap_servers} forbids this to the login in use ({words})",
            "give this login the rights it needs (kafka-acls.sh), or correct " + variable_of("sasl.username"),
        )
    admin, reasons = _admin_and_reasons(kafka)
    admin.poll(0)  # hears what it was told meanwhile
    if reason := reasons.best():
        return KafkaUnreachable(f"Kafka does not answer at {kafka.bootstrap_servers} ({reason.what})", reason.remedy)
    return KafkaUnreachable(f"Kafka does not answer at {kafka.bootstrap_servers} ({words})")


def require_topics(kafka: KafkaSettings, topics: Iterable[str]) -> dict[str, int]:
    """Partition counts of topics that all have to be there. Raises TopicMissing, KafkaUnreachable."""
    wanted = list(topics)
    deadline = time.monotonic() + TOPIC_SECONDS  # a broker hears of a topic made a moment ago only now
    while True:
        counts = partition_counts(kafka, wanted)
        missing = [name for name in wanted if name not in counts]
        if not missing:
            return counts
        if time.monotonic() > deadline:
            raise TopicMissing(f"Kafka at {kafka.bootstrap_servers} has no topic {', '.join(missing)}")
        time.sleep(SETTLE_PAUSE_SECONDS)


def producer(kafka: KafkaSettings, transactional_id: str | None = None) -> Producer:
    """An idempotent producer; with `transactional_id` a transactional one, already initialised."""
    settings = common(kafka) | producer_settings(kafka.bootstrap_servers, kafka.partitioner, kafka.librdkafka)
    if transactional_id is None:
        return make(Producer, settings)
    made = make(Producer, settings | {"transactional.id": transactional_id, "transaction.timeout.ms": 60_000})
    try:
        made.init_transactions(30)
    except KafkaException as error:
        raise unreachable(kafka, error) from None
    return made


def latest_timestamps_ms(kafka: KafkaSettings, counts: Mapping[str, int]) -> dict[str, int]:
    """The latest timestamp of a committed record of each topic that holds one.

    The latest one that a broker knows may be that of an aborted record, or of the end of a transaction, which it stamps
    with the present. Then the last records of the partition are read.
    """
    newest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(name, p): newest for name, count in counts.items() for p in range(count)}
    told = {(one.topic, one.partition): one_told for one, one_told in (_offsets(kafka, asked) if asked else {}).items()}
    starts = {place: answer.offset for place, answer in told.items() if answer.timestamp >= 0}
    places = [TopicPartition(*place) for place in starts]
    firsts, stable = (first_offsets(kafka, places), stable_offsets(kafka, places)) if places else ({}, {})
    ends = {place: min(offset + 1, stable[place]) for place, offset in starts.items()}
    latest: dict[str, int] = {}
    length = TAIL_RECORDS
    while starts:
        read_of = set()
        for record in read_between(kafka, starts, ends):
            latest[record.topic] = max(latest.get(record.topic, 0), record.timestamp_ms)
            read_of.add((record.topic, record.partition))
        left = {place for place in starts if place not in read_of and stable[place] > firsts[place]}
        first_look = length == TAIL_RECORDS
        ends = {place: stable[place] if first_look else starts[place] for place in left}
        starts = {place: max(firsts[place], ends[place] - length) for place in left if ends[place] > firsts[place]}
        length *= 2
    return latest


def _offsets(
    kafka: KafkaSettings, asked: dict[TopicPartition, Any], isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
) -> dict[TopicPartition, Any]:
    """What the broker answers for each partition. Raises KafkaUnreachable."""
    admin = admin_of(kafka)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        futures = admin.list_offsets(asked, isolation_level=isolation, request_timeout=ASK_SECONDS)
        try:
            return {place: future.result(2 * ASK_SECONDS) for place, future in futures.items()}
        except KafkaException as error:
            # A topic made a moment ago has no leader yet that knows it is one, or none the client has heard of.
            if error.args[0].code() not in SETTLING or time.monotonic() > deadline:
                raise unreachable(kafka, error) from None
            with suppress(KafkaException):
                admin.list_topics(timeout=ASK_SECONDS)  # an epoch that has ended is else asked for again for minutes
            time.sleep(SETTLE_PAUSE_SECONDS)
        except TimeoutError:
            raise KafkaUnreachable(f"Kafka at {kafka.bootstrap_servers} does not say where its topics end") from None


def end_offsets(kafka: KafkaSettings, places: Iterable[TopicPartition]) -> dict[tuple[str, int], int]:
    """Where each partition ends as the broker says now, behind open transactions: what was acknowledged is in."""
    return _at(kafka, places, OffsetSpec.latest())  # type: ignore[no-untyped-call]


def stable_offsets(kafka: KafkaSettings, places: Iterable[TopicPartition]) -> dict[Where, int]:
    """Up to where each partition can be read committed: the first record of its oldest open transaction, or its end."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    answers = _offsets(kafka, dict.fromkeys(places, latest), IsolationLevel.READ_COMMITTED)
    return {(place.topic, place.partition): answer.offset for place, answer in answers.items()}


def stable_ends(kafka: KafkaSettings, places: Iterable[Where]) -> dict[Where, int]:
    """The same of (topic, partition)s."""
    return stable_offsets(kafka, [TopicPartition(*place) for place in places])


def open_transactions(kafka: KafkaSettings, places: Iterable[Where]) -> dict[Where, OpenTransaction]:
    """The oldest open transaction of each partition that has one, with the time of its first record."""
    asked = [TopicPartition(*place) for place in places]
    if not asked:
        return {}
    ends = end_offsets(kafka, asked)  # asked for first: what is behind a later stable offset was open then
    stable = stable_offsets(kafka, asked)
    found = [OpenTransaction(*place, offset, ends[place]) for place, offset in stable.items() if offset < ends[place]]
    return {(one.topic, one.partition): one for one in with_first_records(common(kafka), found)}


def empty_topics(kafka: KafkaSettings, topics: Iterable[str]) -> set[str]:
    """Those of the topics without a committed record; offsets alone would count aborted ones. Raises TopicMissing."""
    counts = require_topics(kafka, topics)
    return {topic for topic, count in counts.items() if next(read(kafka, {topic: count}), None) is None}


def first_offsets(kafka: KafkaSettings, places: Iterable[TopicPartition]) -> dict[tuple[str, int], int]:
    """The oldest offset each partition still has."""
    return _at(kafka, places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]


def spans(
    kafka: KafkaSettings, places: Iterable[tuple[str, int]]
) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """First and end offsets of (topic, partition)s, asked now."""
    asked = [TopicPartition(*place) for place in places]
    return first_offsets(kafka, asked), end_offsets(kafka, asked)


def _at(kafka: KafkaSettings, places: Iterable[TopicPartition], spec: Any) -> dict[tuple[str, int], int]:
    answers = _offsets(kafka, dict.fromkeys(places, spec))
    return {(place.topic, place.partition): answer.offset for place, answer in answers.items()}


def read(
    kafka: KafkaSettings,
    counts: Mapping[str, int],
    partitions: Iterable[int] | None = None,
    from_beginning: bool = True,
    exit_at_end: bool = True,
    stop: Callable[[], bool] = lambda: False,
    open_seconds: float | None = None,
) -> Iterator[Record]:
    """Committed records of topics, from their beginning or from now; to the end there was at the call, or for ever.

    No group and no commit: reading leaves no trace. Records of one partition come in order. Raises
    BehindOpenTransaction, when all that is committed was delivered, where the end lies behind a transaction that is
    still open `open_seconds` (OPEN_SECONDS) later.
    """
    chosen = None if partitions is None else set(partitions)
    places = [TopicPartition(t, p) for t, n in counts.items() for p in range(n) if chosen is None or p in chosen]
    if not places:
        return
    # Absolute offsets: librdkafka lets half a second pass before it asks for a logical one of a leader not known yet.
    ends = end_offsets(kafka, places)
    starts = first_offsets(kafka, places) if from_beginning else ends
    until = {place: end for place, end in ends.items() if end > starts[place]} if exit_at_end else None
    yield from _between(kafka, starts, until, stop, open_seconds)


def read_between(
    kafka: KafkaSettings,
    starts: Mapping[tuple[str, int], int],
    ends: Mapping[tuple[str, int], int],
    open_seconds: float | None = None,
) -> Iterator[Record]:
    """Committed records of `[start, end)` of each partition, asked for earlier: the same ones whenever it is read.

    Raises BehindOpenTransaction as `read` does.
    """
    wanted = {place: end for place, end in ends.items() if end > starts[place]}
    if wanted:
        yield from _between(kafka, starts, wanted, open_seconds=open_seconds)


def _between(
    kafka: KafkaSettings,
    starts: Mapping[tuple[str, int], int],
    ends: dict[tuple[str, int], int] | None,
    stop: Callable[[], bool] = lambda: False,
    open_seconds: float | None = None,
) -> Iterator[Record]:
    """Committed records from `starts` to `ends` (None: for ever) in no group."""
    consumer = make(
        Consumer,
        common(kafka)
        | {
            "group.id": "rescore-reader",  # librdkafka asks for one; nothing is committed under it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        },
    )
    try:
        wanted = {place: offset for place, offset in starts.items() if ends is None or place in ends}
        consumer.assign([TopicPartition(*place, offset) for place, offset in wanted.items()])
        yield from _records(kafka, consumer, ends, stop, open_seconds)
    finally:
        consumer.close()


def _records(
    kafka: KafkaSettings,
    consumer: Consumer,
    ends: dict[tuple[str, int], int] | None,
    stop: Callable[[], bool],
    open_seconds: float | None,
) -> Iterator[Record]:
    unfinished = None if ends is None else set(ends)
    wait_seconds = OPEN_SECONDS if open_seconds is None else open_seconds
    at_rest: set[Where] = set()  # read to a last stable offset, which is not the end
    quiet_seconds = 0.0  # in which a question for more was answered by nothing; not the time the caller takes
    while not stop() and (unfinished is None or unfinished):
        began = time.monotonic()
        messages = consumer.consume(1_000, 0.05)
        quiet_seconds = 0.0 if messages else quiet_seconds + time.monotonic() - began
        if ends is not None and unfinished and quiet_seconds >= wait_seconds:
            _refuse_to_wait(kafka, ends, unfinished, at_rest, quiet_seconds)
        for message in messages:
            place = (str(message.topic()), int(message.partition() or 0))
            offset = int(message.offset() or 0)
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - a name of librdkafka's
                raise unreachable(kafka, KafkaException(error))
            # The end is known by a record at or behind it or by the end of the partition being told, because the last
            # offsets of a partition may be control records, which are never delivered.
            end = None if ends is None else ends.get(place, 0)
            if unfinished is not None and end is not None and offset >= end - (error is None):
                unfinished.discard(place)
            (at_rest.discard if error is None else at_rest.add)(place)
            if error is None and (end is None or offset < end):
                yield as_record(message)


def _refuse_to_wait(
    kafka: KafkaSettings, ends: Mapping[Where, int], unfinished: set[Where], at_rest: set[Where], quiet_seconds: float
) -> None:
    """Raises BehindOpenTransaction, or KafkaUnreachable, where nothing is to be expected from what is unfinished."""
    waiting = open_transactions(kafka, unfinished & at_rest)
    if behind := [one for place, one in sorted(waiting.items()) if one.offset < ends[place]]:
        raise BehindOpenTransaction(behind)
    if quiet_seconds > SILENT_SECONDS:
        names = ", ".join(f"{topic}/{partition}" for topic, partition in sorted(unfinished))
        raise KafkaUnreachable(f"Kafka at {kafka.bootstrap_servers} brings nothing of {names}")


def as_record(message: Message[Any, Any]) -> Record:
    """A message of Kafka as a plain value."""
    _, timestamp_ms = message.timestamp()
    given = cast("list[tuple[str, bytes | None]]", headers_of(message) or [])
    headers = [(name, value or b"") for name, value in given]
    return Record(
        topic=str(message.topic()),
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        timestamp_ms=timestamp_ms,
        key=message.key(),
        value=message.value(),
        headers=headers or None,
    )


def transact(producer: Producer, messages: Iterable[DeadLetterMessage]) -> int:
    """Write messages in one transaction; returns how many. Raises NotDelivered, after which none of them is there."""
    count = 0
    try:
        producer.begin_transaction()
        for message in messages:
            _produce(producer, message)
            count += 1
        producer.commit_transaction(60)
    except KafkaException as error:
        with suppress(KafkaException):  # fenced or unreachable: the broker aborts it by itself, when its time is over
            producer.abort_transaction(60)
        raise NotDelivered(f"the transaction was not committed, nothing has changed: {error.args[0]}") from None
    return count


def _produce(producer: Producer, message: DeadLetterMessage) -> None:
    options: dict[str, Any] = {"headers": message.headers}
    if message.partition is not None:
        options["partition"] = message.partition
    options |= timestamp_option(message.timestamp_ms)
    while True:
        try:
            producer.produce(message.topic, value=message.value, key=message.key, **options)
        except BufferError:
            producer.poll(0.1)
        else:
            return
