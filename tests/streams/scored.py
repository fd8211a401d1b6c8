"""The world of `tests.streams.world` with real scores: the worker's own processor on a log and a store in memory.

`write_stream` publishes a random stream (`tests.scoring.random_streams`) as the bytes that publishers send.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from schemas.batch import DECLARED, MISSING_TIME_MS, Columns, EventBatch, Record
from schemas.categories import CATEGORY_OF_CODE, words_of_text
from schemas.codec import CloudEvents, Decoder, Encoder, Partitioner, StaticRegistry, encode_value
from schemas.definitions import SCHEMA_OF_TOPIC
from schemas.kinds import INPUT_TOPICS, SCORE_NAMES, Kind, TransactionState
from schemas.row_keys import PROGRESS_KEY, record_key, request_of
from schemas.times import iso_of
from schemas.topic_values import Values
from state.layout import due_ms_of
from state.memory_store import MemoryStore
from state.versions import Versions, unpack_currency
from streams.audit.compare import Committed
from streams.audit.compare_cards import differing_card
from streams.audit.recount_reference import Recount, Terms, recount_partition, same_row
from streams.log.memory import MemoryBroker, MemoryLog
from streams.log.progress import Progress
from streams.log.protocol import Failpoint, TopicPartition, no_failpoint
from streams.processing.guard import GuardedProcessor
from streams.processing.processor import ScoreProcessor, letter_of_failure
from streams.scoring.reasons import REASON_TEXTS
from streams.worker.loop import Worker
from streams.worker.observer import Observer, Unobserved
from streams.worker.options import Wire, WorkerOptions
from tests.streams.world import HandClock

PARTITIONS = 2
DESCRIPTIONS = {words_of_text(text)[0]: text for text in ("LIDL 4711", "Zooplus", "casino bet", "who knows")}
LETTERS = tuple(f"{topic}.dlq" for topic in INPUT_TOPICS)
OUTPUTS = ("score-changes", "scorecards", "rescore-state", "rescore-journal", "rescore-examples")
REGISTRY = StaticRegistry()
ENCODER = Encoder(REGISTRY, REASON_TEXTS)
STATES = {
    TransactionState.SUCCEEDED: "SUCCEEDED",
    TransactionState.FAILED: "FAILED",
    TransactionState.PENDING: "PENDING",
}


def wire() -> Wire:
    """The worker's words in Avro."""
    values = Values(REGISTRY)

    class Codec:
        def encode(self, progress: Progress) -> bytes:
            return values.encoder("rescore-state")(progress._asdict())

        def decode(self, value: bytes) -> Progress:
            return Progress(**values.decode("rescore-state", value))

    def advance_to(record: Record) -> int | None:
        fields = values.decode("commands", record.value or b"")
        return fields["to"] if fields["command"] == "advance" else None

    return Wire(Codec(), advance_to, lambda to_ms: None, due_ms_of)  # type: ignore[arg-type, return-value]


WIRE = wire()


class ScoredWorld:
    """A deployment in memory with real scores, and its recount."""

    def __init__(self, versions: Versions) -> None:
        self.versions = versions
        topics = dict.fromkeys((*INPUT_TOPICS, *LETTERS, *OUTPUTS), PARTITIONS)
        self.broker = MemoryBroker(topics)
        self.store = MemoryStore()
        self.clock = HandClock()
        self.nonces = 0
        self.decoder = Decoder(REGISTRY, PARTITIONS, Partitioner.CRC32)

    def nonce(self) -> str:
        self.nonces += 1
        return f"nonce-{self.nonces}"

    def worker(
        self,
        slot: str = "a",
        failpoint: Failpoint = no_failpoint,
        records_max: int = 50,
        timers_max: int = 3,
        users_max: int = 1_000,
        observer: Observer | None = None,
    ) -> Worker:
        """A worker that is guarded as every worker is; without an observer what fails is raised."""
        options = WorkerOptions(records_max=records_max, timers_max=timers_max, users_max=users_max, silence_ms=None)
        scores = ScoreProcessor(self.decoder, ENCODER, CloudEvents("/rescore/test"), lambda: self.versions, b"key")
        processor = GuardedProcessor(scores, letter_of_failure, (observer or Unobserved()).failed)
        log = MemoryLog(self.broker, slot, INPUT_TOPICS, failpoint)
        return Worker(
            log, self.store, processor, WIRE, self.clock, self.nonce, options, observer=observer, failpoint=failpoint
        )

    def publish(self, records: list[tuple[str, bytes, bytes, int]]) -> None:
        """(topic, key, value, timestamp)."""
        for topic, key, value, timestamp_ms in records:
            self.broker.write(topic, key, value, timestamp_ms)

    def advance(self, to_ms: int) -> None:
        """Say on every partition that it is this late."""
        value = encode_value("Command", {"command": "advance", "to": to_ms}, ENCODER)
        for partition in range(PARTITIONS):
            self.broker.write("commands", b"advance", value, to_ms, partition)

    def run(self, *workers: Worker, turns_max: int = 20_000) -> None:
        """Take turns until everything was taken and every due timer has fired."""
        for _ in range(turns_max):
            self.clock.ms += 10
            for worker in workers:
                worker.turn()
            if self.at_rest():
                return
        raise AssertionError(f"not at rest after {turns_max} turns")

    def at_rest(self) -> bool:
        progress = self.progress()
        for p in range(PARTITIONS):
            for topic in INPUT_TOPICS:
                where = TopicPartition(topic, p)
                if (self.broker.committed.get(where) or 0) < len(self.broker.entries[where]):
                    return False
            if p in progress:
                position, earliest_ms = self.store.position(p), self.store.earliest_due_ms(p)
                if position is None or not position.ready or position.seq != progress[p].seq:
                    return False
                if earliest_ms is not None and earliest_ms <= progress[p].clock_ms:
                    return False
        return True

    def progress(self) -> dict[int, Progress]:
        return {
            p: WIRE.progress.decode(record.value or b"")
            for p in range(PARTITIONS)
            for record in self.broker.visible("rescore-state", p)
            if record.key == PROGRESS_KEY
        }

    def recount(self, partition: int, compiled: bool = False, until_ms: int | None = None) -> Recount:
        """What must have been said, up to the clock of the last progress record."""
        progress = self.progress().get(partition)
        return recount_partition(
            [record for topic in INPUT_TOPICS for record in self.broker.visible(topic, partition)],
            self.broker.visible("rescore-journal"),
            [letter for topic in LETTERS for letter in self.broker.visible(topic)],
            recount_terms(self),
            until_ms if until_ms is not None else progress.clock_ms if progress else 0,
            compiled=compiled,
        )

    def check(self, compiled: bool = False) -> int:
        """Log, store and recount say the same; returns how many changes were compared."""
        compared = 0
        for p, progress in self.progress().items():
            recount, clock_ms = self.recount(p, compiled), progress.clock_ms
            assert not recount.doubts
            assert not recount.lost
            assert values_by_key(self.broker.visible("score-changes", p)) == recount.changes
            images = {r.key or b"": r.value for r in self.broker.visible("rescore-state", p) if r.key != PROGRESS_KEY}
            for user in images.keys() | recount.rows.keys():
                (stored,) = self.store.load(p, [user])
                assert stored == images.get(user)
                assert same_row(user, stored, recount.rows.get(user), self.versions, clock_ms), user
            cards = {record.key or b"": record for record in self.broker.visible("scorecards", p)}
            for user, said in recount.users.items():
                committed, names = Committed(card=cards.get(user)), recount_terms(self).names
                assert differing_card(user, committed, said, self.versions, names, ENCODER, clock_ms) is None
            compared += sum(map(len, recount.changes.values()))
        return compared


def recount_terms(world: ScoredWorld) -> Terms:
    """How the world reads and writes."""
    return Terms(world.decoder, ENCODER, world.versions)


def values_by_key(records: list[Record]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for record in records:
        found.setdefault(record.key or b"", []).append(record.value or b"")
    return found


def published(batch: EventBatch) -> Iterator[tuple[str, bytes, bytes, int]]:
    """The records that publishers would have sent for these events."""
    for event in batch.events:
        topic = INPUT_TOPICS[int(event["rank"])]
        user = record_key(batch.users[int(event["user"])])
        fields = _set(fields_of(event, batch))
        yield topic, user, encode_value(SCHEMA_OF_TOPIC[topic], fields, ENCODER), int(event["timestamp_ms"])


def fields_of(event: np.void, batch: EventBatch) -> dict[str, Any]:
    """The fields of one event; None for those that are not said."""
    kind, user = Kind(int(event["kind"])), batch.users[int(event["user"])]
    revision = int(event["revision"]) or None
    said: dict[str, Any] = {"event_id": _text(event, "event_id", batch) if event["event_hash"] else None}
    said |= {"user_id": user.decode()} if request_of(user) is None else {"request_id": request_of(user)}
    at = iso_of(int(event["event_time_ms"]))
    if kind in (Kind.ERASE, Kind.OVERRIDE, Kind.LIFT, Kind.ADVANCE):
        return said | _command(event, kind, batch)
    if revision and said["event_id"] is None:
        revision = None
    if kind == Kind.APPLICANT:
        declared = {name: _number(event["declared"][i]) for i, name in enumerate(DECLARED)}
        return said | declared | {"declared_at": at}
    if kind == Kind.OUTCOME:
        of_loan = {"loan_id": f"L-{int(event['event_hash']) % 5}"} if request_of(user) is None else {}
        return said | of_loan | {"model": "risk", "label": 1.0, "known_at": at}
    if kind == Kind.TRANSACTION:
        return said | _transaction(event, at, revision)
    return said | _loan(event, kind, at, revision, batch)


def _command(event: np.void, kind: Kind, batch: EventBatch) -> dict[str, Any]:
    if kind == Kind.ADVANCE:
        return {"command": "advance", "to": int(event["timestamp_ms"]), "event_id": None, "user_id": None}
    said: dict[str, Any] = {"command": kind.name.lower(), "author": "ann"}
    if kind in (Kind.OVERRIDE, Kind.LIFT):
        said["score"] = SCORE_NAMES[int(event["score"])]
    if kind == Kind.OVERRIDE:
        said |= {"value": float(event["value"]), "expires_at": iso_of(int(event["until_ms"]))}
    return said


def _transaction(event: np.void, at: str, revision: int | None) -> dict[str, Any]:
    said = {
        "transaction_state": STATES.get(TransactionState(int(event["state"]))),
        "transaction_currency": unpack_currency(int(event["currency"])),
        "transaction_amount": float(event["amount"]),
        "transaction_date": at,
        "user_balance": _number(event["balance"]),
        "user_category": "WEB" if event["web"] else None,
        "user_created": iso_of(int(event["created_ms"])) if event["created_ms"] != MISSING_TIME_MS else None,
        "mcc": code_of(int(event["category"])),
        "description": DESCRIPTIONS.get(int(event["words"][0])),
    }
    if revision:
        before_ms = min(int(event["previous_time_ms"]), int(event["timestamp_ms"]))
        said |= {
            "revision": revision,
            "previous": {
                "transaction_state": STATES.get(TransactionState(int(event["previous_state"]))),
                "transaction_currency": unpack_currency(int(event["previous_currency"])),
                "transaction_amount": float(event["previous_amount"]),
                "transaction_date": iso_of(before_ms),
                "mcc": code_of(int(event["previous_category"])),
            },
        }
    return said


def code_of(category: int) -> str | None:
    """A merchant's code of a category."""
    return f"{np.flatnonzero(category == CATEGORY_OF_CODE)[0]:04}" if category else None


def _loan(event: np.void, kind: Kind, at: str, revision: int | None, batch: EventBatch) -> dict[str, Any]:
    said: dict[str, Any] = {"event": kind.name.removeprefix("LOAN_").lower(), "loan_id": _text(event, "loan_id", batch)}
    if kind == Kind.LOAN_CANCELLED:
        return said | {"cancelled_at": at}
    if kind == Kind.LOAN_ISSUED:
        return said | {
            "order_amount": float(event["order_amount"]),
            "gross_margin": float(event["gross_margin"]),
            "promo": float(event["promo"]),
            "currency": unpack_currency(int(event["currency"])),
            "order_date": at,
            "due_date": iso_of(int(event["due_ms"])),
            "point": _text(event, "point", batch),
            "province": _text(event, "province", batch),
            "revision": revision,
        }
    said |= {"amount": float(event["amount"]), "paid_at": at}
    if event["currency"]:
        said["currency"] = unpack_currency(int(event["currency"]))
    if revision:
        before = {"amount": float(event["previous_amount"]), "paid_at": iso_of(int(event["previous_time_ms"]))}
        said |= {"revision": revision, "previous": before}
    return said


def _text(event: Columns, name: str, batch: EventBatch) -> str:
    return batch.slice_of_text(int(event[f"{name}_at"]), int(event[f"{name}_length"])).decode()


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
