"""What the bank does: events, in transactions now and then, and versions that come into force."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from streams.log.message import Message
from streams.log.protocol import TopicPartition
from streams.versions.broadcast import NOTICE_MS
from tests.simulation.setting import RATES, START_MS

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

PUBLISHER = "publisher"


class Bank:
    """Publishes the workload of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._world = simulation
        self._random, self._seen, self._tell = simulation.random, simulation.seen, simulation.tell
        self._broker, self._setting, self._meaning = simulation.broker, simulation.setting, simulation.meaning
        self._workload = simulation.meaning.workload(Random(simulation.seed * 2 + 1), simulation.setting.users)
        self._to_publish = simulation.setting.events
        self._times_ms = dict.fromkeys(INPUT_TOPICS, START_MS)
        self._transaction: Any = None
        self._rates = 0

    def publish(self) -> None:
        """Some events, if there are any left."""
        random = self._random
        if self._transaction is not None and random.random() < 0.4:
            self.end_transaction(commit=random.random() < 0.6)
        if self._to_publish <= 0:
            return
        if self._setting.wall and random.random() < 0.15:
            self._world.pass_time(random.choice(self._meaning.gaps_ms))
        if self._setting.wall and random.random() < 0.05:
            self.publish_rate()
        if self._setting.wall and self._transaction is None and random.random() < 0.1:
            self._transaction = self._broker.begin(PUBLISHER, self._broker.own(PUBLISHER))
        for _ in range(random.randrange(1, 7)):
            self._to_publish -= 1
            self._write_event()

    def _write_event(self) -> None:
        number = self._setting.events - self._to_publish
        now_ms = self._world.now_ms if self._setting.wall else START_MS + number * self._meaning.tick_ms
        publication = self._workload.event(now_ms)
        time_ms = None
        if not self._setting.wall:
            behind_ms = int(self._random.choice([0, 0, 0, 0.4, 6]) * self._meaning.tick_ms)
            time_ms = self._times_ms[publication.topic] = max(self._times_ms[publication.topic], now_ms - behind_ms)
        partition = self._meaning.partitioner(publication.key or b"", self._world.partitions)
        where = TopicPartition(publication.topic, partition)
        message = Message(publication.key, publication.value)
        if self._transaction is None:
            self._broker.write(publication.topic, *message[:2], time_ms, partition)
        else:
            self._broker.append(self._transaction, where, message, time_ms)
        self._tell(f"publishes {where.topic}/{partition} {publication.key!r} {publication.value[:200]!r}")

    def end_transaction(self, *, commit: bool) -> None:
        """What is under way becomes visible, or never does."""
        if self._transaction is not None:
            # A fault that waits for a commit was set for a worker, whose transaction may have ended otherwise.
            faults, self._broker.commit_faults = self._broker.commit_faults, []
            (self._broker.commit if commit else self._broker.abort)(self._transaction)
            self._broker.commit_faults = faults
            self._seen["publisher aborted"] += not commit
            self._tell(f"the publisher's transaction is {'committed' if commit else 'aborted'}")
            self._transaction = None

    def publish_rate(self) -> None:
        """A version, in force half a minute later at the earliest."""
        self._rates += 1
        wanted_ms = self._world.now_ms + self._random.choice([0, 45_000])
        time_ms = None if self._setting.wall else START_MS - 100_000
        self._broker.write(RATES, b"rate", b"version-%d %d" % (self._rates, wanted_ms), time_ms, 0)
        self._tell(f"publishes version {self._rates} for {wanted_ms}")


def effective_times(records: Iterable[Record]) -> tuple[int, ...]:
    """When the versions in these records are in force, ascending."""
    wanted = ((int((record.value or b"0").split()[-1]), record.timestamp_ms) for record in records)
    return tuple(sorted(max(wanted_ms, written_ms + NOTICE_MS) for wanted_ms, written_ms in wanted))
