"""The world of `tests.streams.world` on a real Kafka: the same story, the same questions, topics of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from confluent_kafka import Producer

from schemas.batch import Record
from streams.kafka.worker_log import KafkaLog, KafkaLogOptions
from streams.log.protocol import Failpoint, TopicPartition, no_failpoint
from streams.worker.loop import Worker
from streams.worker.observer import Observer
from streams.worker.options import WorkerOptions
from streams.worker.output import Processor
from tests.streams.world import INPUTS, WIRE, CountingProcessor, World


class WallClock:
    """The clock of this machine."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_seconds(self) -> float:
        return time.monotonic()


@dataclass
class KafkaWorld(World):
    """`prefix` keeps this test's topics, group and ids apart from those of others."""

    bootstrap_servers: str = ""
    prefix: str = ""
    logs: list[KafkaLog] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.producer = Producer({"bootstrap.servers": self.bootstrap_servers, "partitioner": "murmur2_random"})
        self.reader = self.log("reader")
        self.partition_cache: dict[bytes, int] = {}

    def log(self, slot: str, failpoint: Failpoint = no_failpoint, session_timeout_seconds: float = 6.0) -> KafkaLog:
        options = KafkaLogOptions(
            bootstrap_servers=self.bootstrap_servers,
            app=self.prefix + ("app" if slot != "reader" else "reader"),
            slot=slot,
            inputs=tuple(self.prefix + topic for topic in INPUTS) if slot != "reader" else (self.prefix + "none",),
            session_timeout_seconds=session_timeout_seconds,
        )
        self.logs.append(KafkaLog(options, failpoint))
        return self.logs[-1]

    def worker(  # type: ignore[override]
        self,
        slot: str = "a",
        failpoint: Failpoint = no_failpoint,
        observer: Observer | None = None,
        silence_ms: int | None = None,
        session_timeout_seconds: float = 6.0,
        processor: Processor | None = None,
        from_beginning: Iterable[str] = (),
    ) -> Worker:
        options = replace(self.options(silence_ms), from_beginning=frozenset(from_beginning))
        return Worker(
            self.log(slot, failpoint, session_timeout_seconds),
            self.store,
            processor or PrefixedProcessor(self.prefix),
            WIRE,
            WallClock(),
            self.nonce,
            options,
            None,
            observer,
            failpoint,
        )

    def options(self, silence_ms: int | None) -> WorkerOptions:
        return WorkerOptions(
            inputs=tuple(self.prefix + topic for topic in INPUTS),
            commands=self.prefix + "commands",
            changes=self.prefix + "score-changes",
            state=self.prefix + "rescore-state",
            silence_ms=silence_ms,
            idle_seconds=0.02,
            users_max=4,
            look_round_seconds=1.0,
        )

    def write(self, topic: str, user: str, timestamp_ms: int, value: str = "x") -> None:
        # A timestamp of 0 would mean "now" to the client.
        self.producer.produce(self.prefix + topic, value.encode(), user.encode(), timestamp=timestamp_ms + 1)

    def advance(self, to_ms: int) -> None:
        for partition in range(2):
            value = b"advance=%d" % to_ms
            self.producer.produce(self.prefix + "commands", value, b"", partition, timestamp=to_ms)

    def visible(self, topic: str, partition: int | None = None) -> list[Record]:
        places = [TopicPartition(self.prefix + topic, p) for p in (range(2) if partition is None else [partition])]
        ends = None
        while ends is None:
            ends = self.reader.end_offsets(places)
        return [
            record._replace(topic=record.topic.removeprefix(self.prefix))
            for where, end in ends.items()
            for records in self.reader.read(where, 0, end)
            for record in records
        ]

    def partition_of(self, user: bytes) -> int:
        if not self.partition_cache:
            for topic in INPUTS:
                for record in self.visible(topic):
                    self.partition_cache[record.key or b""] = record.partition
        return self.partition_cache[user]

    def run_for(self, worker: Worker, seconds: float, until: object = None) -> None:
        """Take turns until nothing is left to do, or fail after so long."""
        deadline = time.monotonic() + seconds
        done = until if callable(until) else self.at_rest
        asked = 0.0
        while True:
            worker.turn()
            if time.monotonic() > asked + 0.3:
                asked = time.monotonic()
                if done():
                    return
            assert time.monotonic() < deadline, f"not at rest after {seconds} s: {self.progress()}"

    def at_rest(self) -> bool:
        progress = self.progress()
        for p in range(2):
            places = [TopicPartition(self.prefix + topic, p) for topic in INPUTS]
            ends = self.reader.end_offsets(places)
            if p not in progress or ends is None:
                return False
            # The end of a topic may be a marker, which nobody takes.
            if any(progress[p].next_offsets[w.topic] < end - 1 for w, end in ends.items()):
                return False
            records = {w.topic: [r for piece in self.reader.read(w, 0, ends[w]) for r in piece] for w in places}
            if any(rows and progress[p].next_offsets[topic] <= rows[-1].offset for topic, rows in records.items()):
                return False
            position, earliest = self.store.position(p), self.store.earliest_due_ms(p)
            if position is None or position.seq != progress[p].seq:
                return False
            if earliest is not None and earliest <= progress[p].clock_ms:
                return False
        return True

    def close(self) -> None:
        for log in self.logs:
            log.close()


class PrefixedProcessor(CountingProcessor):
    """Says the short names of topics, so that its words are those of the recount."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def process(self, partition, records, due_users, clock_ms):  # type: ignore[no-untyped-def]
        short = [record._replace(topic=record.topic.removeprefix(self.prefix)) for record in records]
        output = yield from super().process(partition, short, due_users, clock_ms)
        output.dead_letters = {self.prefix + topic: letters for topic, letters in output.dead_letters.items()}
        return output
