"""The log of a publisher of files in memory: what `streams.kafka.publications` is on Apache Kafka."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from schemas.batch import Record
from streams.kafka.publisher_protocol import Fenced, Sender, Written
from streams.log.memory import MemoryBroker
from streams.log.message import Message
from streams.log.protocol import RecreateProducer, TopicPartition


class Killed(BaseException):
    """kill -9: nothing is tidied up."""


class MemoryPublicationLog:
    """One publisher's way to a broker. `step` is called before and after everything it does there."""

    def __init__(self, broker: MemoryBroker, topic: str, step: Callable[[], None] = lambda: None) -> None:
        self.broker, self.topic, self._step, self.dead = broker, topic, step, False

    def step(self) -> None:
        try:
            self._step()
        except Killed:
            self.dead = True
            raise

    def own(self, transactional_id: str) -> Sender:
        self.step()
        sender = MemorySender(self, transactional_id)
        self.step()
        return sender

    def records(self) -> Iterable[Record]:
        return self.broker.visible(self.topic)

    def topic_id(self, topic: str) -> str:
        return (self.broker.topic_ids([topic]) or {}).get(topic, "")

    def latest_timestamps_ms(self, topics: Iterable[str]) -> dict[str, int]:
        found = {topic: [record.timestamp_ms for record in self.broker.visible(topic)] for topic in topics}
        return {topic: max(times) for topic, times in found.items() if times}


class MemorySender:
    """A transactional producer in memory."""

    def __init__(self, log: MemoryPublicationLog, transactional_id: str) -> None:
        self._log, self._id = log, transactional_id
        self._epoch = log.broker.own(transactional_id)
        self._open = None

    def begin(self) -> None:
        try:
            self._open = self._log.broker.begin(self._id, self._epoch)
        except RecreateProducer as error:
            raise Fenced(str(error)) from None

    def send(self, record: Written) -> None:
        assert self._open is not None
        broker = self._log.broker
        self._log.step()
        where = TopicPartition(record.topic, zlib.crc32(record.key) % broker.counts[record.topic])
        try:
            broker.append(self._open, where, Message(record.key, record.value), record.timestamp_ms)
        except RecreateProducer as error:
            raise Fenced(str(error)) from None

    def commit(self) -> None:
        assert self._open is not None
        self._log.step()
        try:
            self._log.broker.commit(self._open)
        except RecreateProducer as error:
            raise Fenced(str(error)) from None
        self._open = None
        self._log.step()

    def abort(self) -> None:
        if self._open is not None and self._open.pending and not self._log.dead:
            self._log.broker.abort(self._open)

    def close(self) -> None:
        pass
