"""Records of one partition to one batch of events: in bulk where they are plainly good, one by one where they are not.

One bad record spoils no other. Every record ends as exactly one of an event or a reject, whatever its bytes are.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import EVENT, Columns, EventBatch, Record, Reject
from schemas.compiled import compiled
from schemas.compiled_decode import ROW_BYTES, Fields, read_events
from schemas.definitions import SCHEMA_OF_TOPIC, parsed
from schemas.foreign import UnusableSchema
from schemas.hashing import word_64
from schemas.kinds import INPUT_TOPICS, Kind, Rank, RejectCode
from schemas.known_schemas import Registry
from schemas.meaning import BLANK, TEXTS, Event, event_of, request_without_user
from schemas.partitioner import Partitioner, murmur2_partition, partition_of
from schemas.plan import Plan, plan_of
from schemas.readable import Refused, read_fields
from schemas.rejects import refuse
from schemas.row_keys import number_in, request_key
from schemas.texts import Texts, copy_bytes
from schemas.zones import UTC, Zone

VALUE_BYTES_MAX = 10_000_000

NO_ENCODING, CONFLUENT_FRAMING, SINGLE_OBJECT_ENCODING = 0, 1, 2
PREFIX_BYTES = (0, 5, 10)
KEPT_AS_READ = (Rank.APPLICANTS, Rank.OUTCOMES)
GROUPS_MAX = 64
"""Different (topic, writer's schema) in one batch that are read in bulk; any beyond are read one by one."""

Group = tuple[int, int, int]
"""Rank of the topic, encoding, and id or fingerprint of the writer's schema."""


@dataclass(slots=True)
class Decoder:
    """How the inputs of a deployment are read. Keeps the plans of the schemas it has seen; one serves all partitions.

    `partitions` is the number of partitions of every input topic; `topic_prefix` stands before their names.
    """

    registry: Registry
    partitions: int
    partitioner: Partitioner = Partitioner.MURMUR2
    topic_prefix: str = ""
    value_bytes_max: int = VALUE_BYTES_MAX
    plans: dict[Group, Plan] = field(default_factory=dict)

    def rank_of(self, topic: str) -> Rank:
        """Rank of an input topic. Raises ValueError for any other: the worker subscribes to inputs alone."""
        return Rank(INPUT_TOPICS.index(topic.removeprefix(self.topic_prefix)))


def decode(records: list[Record], partition: int, decoder: Decoder, zone: Zone = UTC) -> EventBatch:
    """Events of the records of one partition, which come in merge order.

    `zone` is the policy's (`Versions.zone`): times without a zone are read in it, on every run alike.

    An `advance` belongs to no user: its `user` is -1. Raises RegistryUnavailable where a schema is needed that the
    registry does not answer for: nothing is decided then, and the same call can be made again. Cost: about 1 us an
    event of transactions and loans, 20 to 50 us for each that is read by itself (JSON, rare schemas, other topics, all
    that is bad).
    """
    decoder = replace(decoder, registry=AskedOnce(decoder.registry))
    arrived = Arrived.of(records, decoder)
    values = Texts.of(arrived.values)
    source = Source(values.packed)
    # A column of blanks: this way is five times as fast as numpy.full.
    events: Columns = np.frombuffer(bytearray(BLANK.tobytes()) * len(records), EVENT)
    good = _read_in_bulk(arrived, partition, decoder, values, events, zone)
    rejects: list[Reject] = []
    fields: dict[int, dict[str, Any]] = {}
    of_requests: dict[int, bytes] = {}
    for i in np.flatnonzero(~good).tolist():
        said = read_one(records[i], partition, Rank(arrived.ranks[i]), decoder, zone)
        if isinstance(said, Event):
            events[i], good[i] = source.put(said), True
            if said.user is not None and said.user != arrived.keys[i]:
                of_requests[i] = said.user
            if arrived.ranks[i] in KEPT_AS_READ:
                fields[i] = said.fields
        else:
            rejects.append(refuse(i, "decode", said.code, said.detail))
    events["record"] = np.arange(len(records))
    events = events[good] if rejects else events
    users = _number_users(events, _row_keys(arrived.keys, of_requests))
    return EventBatch(partition, records, events, _text_of(events, source.all()), users, rejects, fields)


class Arrived(NamedTuple):
    """The records as columns. Absent keys and values are empty, and so are values that are too long to be looked at."""

    ranks: list[int]
    keys: Sequence[bytes]
    values: Sequence[bytes]
    offsets: Sequence[int]
    timestamps_ms: Sequence[int]

    @classmethod
    def of(cls, records: list[Record], decoder: Decoder) -> Arrived:
        """The columns of records; about 0.15 us each."""
        # A list for each field: zip(*records) makes an iterator for each record, which the collector then looks after.
        topics = [record.topic for record in records]
        rank_of = {topic: int(decoder.rank_of(topic)) for topic in set(topics)}
        keys = [record.key or b"" for record in records]
        values = [record.value or b"" for record in records]
        if max(map(len, values), default=0) > decoder.value_bytes_max:
            values = [value if len(value) <= decoder.value_bytes_max else b"" for value in values]
        offsets, timestamps_ms = [record.offset for record in records], [record.timestamp_ms for record in records]
        return cls([rank_of[topic] for topic in topics], keys, values, offsets, timestamps_ms)


class AskedOnce:
    """A registry that asks another one for each schema once, for as long as a batch takes, whatever the answer is."""

    def __init__(self, registry: Registry) -> None:
        self.prefix_of = registry.prefix_of
        self.schema_of_id = cache(registry.schema_of_id)
        self.schema_of_fingerprint = cache(registry.schema_of_fingerprint)


def read_one(record: Record, partition: int, rank: Rank, decoder: Decoder, zone: Zone = UTC) -> Event | Refused:
    """One record, read in plain Python: the definition of `decode`. Raises RegistryUnavailable."""
    try:
        return _read(record, partition, rank, decoder, zone)
    except Refused as refused:
        return refused


def _read(record: Record, partition: int, rank: Rank, decoder: Decoder, zone: Zone) -> Event:
    if not record.value:
        raise Refused(RejectCode.UNDECODABLE, "the record has no value")
    if len(record.value) > decoder.value_bytes_max:
        detail = f"the value has {len(record.value):,} bytes, more than {decoder.value_bytes_max:,}"
        raise Refused(RejectCode.TOO_LARGE, detail)
    name = SCHEMA_OF_TOPIC[INPUT_TOPICS[rank]]
    event = event_of(read_fields(record.value, name, decoder.registry), rank, record, zone)
    if event.user is not None:
        _check_partition(record.key or b"", partition, decoder)
    return event


def row_key_of(record: Record, rank: Rank, registry: Registry) -> bytes | None:
    """The key of the row that a record of an input changes: a request that names no customer has a row of its own.

    None where the value cannot be read, and the key may be a customer's or a request's: it is a dead letter. Raises
    RegistryUnavailable. Cost: that of reading the value, where the key may be a request's, 0.3 us elsewhere.
    """
    key = record.key or b""
    if rank in (Rank.TRANSACTIONS, Rank.LOANS) or number_in(key.decode("utf-8", "replace")) is None:
        return key
    try:
        fields = read_fields(record.value or b"", SCHEMA_OF_TOPIC[INPUT_TOPICS[rank]], registry)
    except Refused:
        return None
    request_id = request_without_user(fields)
    return key if request_id is None else request_key(request_id)


def _check_partition(key: bytes, partition: int, decoder: Decoder) -> None:
    right = partition_of(key, decoder.partitions, decoder.partitioner)
    if right != partition:
        words = f"{decoder.partitioner.name.lower()}(key) is partition {right}, and the record is in {partition}"
        raise Refused(RejectCode.WRONG_PARTITION, words)


class Source:
    """The bytes that texts are slices of: all values, and behind them the texts of events read one by one."""

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self.values = values
        self._more: list[bytes] = []
        self._end = len(values)

    def put(self, event: Event) -> Columns:
        """The row of an event with its texts kept here."""
        for name, text in event.texts.items():
            if text:
                event.row[f"{name}_at"], event.row[f"{name}_length"] = (self._end, len(text))
                self._more.append(text)
                self._end += len(text)
        return event.row

    def all(self) -> NDArray[np.uint8]:
        """Values and texts end to end."""
        if not self._more:
            return self.values
        whole = np.concatenate([self.values, np.frombuffer(b"".join(self._more), np.uint8)])
        whole.setflags(write=False)  # as the values are: the kernel is compiled for the one or the other
        return whole


def _read_in_bulk(
    arrived: Arrived, partition: int, decoder: Decoder, values: Texts, events: Columns, zone: Zone
) -> NDArray[np.bool_]:
    """Fill the rows of all that is plainly good; returns which those are."""
    (data, starts), (packed_keys, key_starts) = values, Texts.of(arrived.keys)
    groups, found = np.empty(len(events), np.int64), np.empty((GROUPS_MAX, 3), np.uint64)
    count = _group(data, starts, np.array(arrived.ranks, np.int64), groups, found)
    plans = [_plan(tuple(found[group].tolist()), decoder) for group in range(count)]
    plan_starts = np.zeros(count + 1, np.int64)
    np.cumsum([len(plan) for plan in plans], out=plan_starts[1:])
    skips = np.array([PREFIX_BYTES[encoding] for encoding in found[:count, 1].tolist()], np.int64)
    good = np.zeros(len(events), np.bool_)
    read_events(
        data, starts, packed_keys, key_starts, groups, found[:count, 0].astype(np.int64), skips, plan_starts,
        np.concatenate([NO_PLAN, *plans]), _is_here(arrived.keys, packed_keys, key_starts, partition, decoder),
        np.array(arrived.offsets, np.int64), np.array(arrived.timestamps_ms, np.int64), events,
        events.view(np.uint8).reshape(len(events), ROW_BYTES), Fields.room(), good, zone,
    )  # fmt: skip
    return good


NO_PLAN: Plan = np.empty((0, 4), np.int64)
"""Of a group that is read one by one."""


def _plan(group: Any, decoder: Decoder) -> Plan:
    """The plan of a group, made when it is first seen. An unknown schema has none: each of its records is asked for."""
    if group not in decoder.plans:
        rank, encoding, number = group
        name = SCHEMA_OF_TOPIC[INPUT_TOPICS[rank]]
        if encoding == CONFLUENT_FRAMING:
            written = decoder.registry.schema_of_id(number)
        else:
            written = decoder.registry.schema_of_fingerprint(number.to_bytes(8, "little"))
        if written is None:
            return NO_PLAN
        plan = None if isinstance(written, UnusableSchema) else plan_of(written, parsed(name))
        decoder.plans[group] = NO_PLAN if plan is None else plan
    return decoder.plans[group]


def _is_here(
    keys: Sequence[bytes], packed: NDArray[np.uint8], starts: NDArray[np.int64], partition: int, decoder: Decoder
) -> NDArray[np.bool_]:
    """Which keys belong to the partition."""
    if decoder.partitioner == Partitioner.CRC32:
        return np.fromiter((zlib.crc32(key) % decoder.partitions == partition for key in keys), np.bool_, len(keys))
    here = np.empty(len(keys), np.bool_)
    _is_murmur2_here(packed, starts, partition, decoder.partitions, here)
    return here


@compiled
def _is_murmur2_here(packed: Any, starts: Any, partition: int, partitions: int, here: Any) -> None:
    for i in range(len(here)):
        here[i] = murmur2_partition(packed, starts[i], starts[i + 1] - starts[i], partitions) == partition


@compiled
def _group(data: Any, starts: Any, ranks: Any, groups: Any, found: Any) -> int:
    """Number the (topic, writer's schema) of each value, -1 for none; `found` says what they are; returns how many."""
    count = 0
    for i in range(len(groups)):
        at, size = starts[i], starts[i + 1] - starts[i]
        groups[i] = -1
        if size >= 5 and data[at] == 0:
            encoding = CONFLUENT_FRAMING
            number = np.uint64(data[at + 1]) << np.uint64(24) | np.uint64(data[at + 2]) << np.uint64(16)
            number |= np.uint64(data[at + 3]) << np.uint64(8) | np.uint64(data[at + 4])
        elif size >= 10 and data[at] == 0xC3 and data[at + 1] == 1:
            encoding, number = SINGLE_OBJECT_ENCODING, word_64(data, at + 2)
        else:
            continue
        group = 0
        while group < count and not (
            found[group, 0] == ranks[i] and found[group, 1] == encoding and found[group, 2] == number
        ):
            group += 1
        if group == GROUPS_MAX:
            continue
        if group == count:
            found[group, 0], found[group, 1], found[group, 2] = ranks[i], encoding, number
            count += 1
        groups[i] = group
    return count


def _row_keys(keys: Sequence[bytes], of_requests: Mapping[int, bytes]) -> Sequence[bytes]:
    """The key of the row of each record: the record's own, but for requests without a customer."""
    return [of_requests.get(i, key) for i, key in enumerate(keys)] if of_requests else keys


def _number_users(events: Columns, keys: Sequence[bytes]) -> list[bytes]:
    """The users of the events by first appearance; each event is told its own, an `advance` -1."""
    owned = events["kind"] != Kind.ADVANCE
    owners = keys if len(events) == len(keys) and owned.all() else [keys[i] for i in events["record"][owned].tolist()]
    users = list(dict.fromkeys(owners))
    number = dict(zip(users, range(len(users)), strict=True))
    events["user"] = -1
    events["user"][owned] = list(map(number.__getitem__, owners))
    return users


def _text_of(events: Columns, source: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The events' texts laid out in their order, whatever the source looked like."""
    text = np.empty(sum(int(events[f"{name}_length"].sum(dtype=np.int64)) for name in TEXTS), np.uint8)
    _lay_out(events, source, text)
    return text


@compiled
def _lay_out(events: Any, source: Any, text: Any) -> None:
    """Copy the texts of each event from `source` to `text`, one behind the other, and point the event there."""
    end = 0
    for i in range(len(events)):
        row = events[i]
        for_event_id = copy_bytes(source, row.event_id_at, row.event_id_length, text, end)
        for_loan_id = copy_bytes(source, row.loan_id_at, row.loan_id_length, text, for_event_id)
        for_point = copy_bytes(source, row.point_at, row.point_length, text, for_loan_id)
        for_province = copy_bytes(source, row.province_at, row.province_length, text, for_point)
        row.event_id_at = end if row.event_id_length else 0
        row.loan_id_at = for_event_id if row.loan_id_length else 0
        row.point_at = for_loan_id if row.point_length else 0
        row.province_at = for_point if row.province_length else 0
        end = copy_bytes(source, row.author_at, row.author_length, text, for_province)
        row.author_at = for_province if row.author_length else 0
