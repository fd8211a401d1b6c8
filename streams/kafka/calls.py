"""Calls of a Kafka client that may not return when they should: made in threads that can be left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from confluent_kafka import KafkaException, Producer

from streams.kafka.bulk_producer import Bulk

Answer = TypeVar("Answer")

CLOSING_SAYS = (KafkaException, RuntimeError, SystemError)
"""What a client may raise when it is closed without a broker; nothing of it matters any more."""


class NeverReturned(Exception):
    """A call of librdkafka that did not keep its own timeout: whatever it was to do may still happen."""


class Calls:
    """The calls of one producer that wait for brokers, made in a thread of its own, which can be left behind.

    `name` is its `client.id`; `bulk` its queue for columns, where that is to be had.

    Seen with librdkafka 2.16: where the connection to a coordinator is reset at the wrong moment, sending positions
    within a transaction never returns, long after its timeout and with the brokers back. Cost: 50 us a call.
    """

    def __init__(self, producer: Producer, name: str = "") -> None:
        self.of = producer
        self.bulk = Bulk.of(producer, name)
        self._asked: SimpleQueue[tuple[Callable[[], object], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="rescore-producer", daemon=True)
        self._thread.start()

    def make(self, call: Callable[[], Answer], seconds: float) -> Answer:
        """Make a call that is to return within so many seconds. Raises `NeverReturned` a second later."""
        answer: Future[Answer] = Future()
        self._asked.put((call, answer))
        done, _ = wait([answer], seconds + 1.0)
        if not done:
            raise NeverReturned(f"a call of the Kafka client has not returned after {seconds:.0f} s")
        return answer.result()

    def discard(self) -> threading.Thread:
        """Throw the producer away without waiting, once its last call has returned; the thread that does so."""
        self.of.purge(blocking=False)
        self._asked.put(None)
        return self._thread

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            call, answer = asked
            try:
                answer.set_result(call())
            except BaseException as failure:  # noqa: BLE001 - raised where it was asked for
                answer.set_exception(failure)
        with suppress(*CLOSING_SAYS):
            self.of.close()


def aside(close: Callable[[], object]) -> threading.Thread:
    """Run a call that may hang in a thread of its own, which ends with the process at the latest."""

    def run() -> None:
        with suppress(*CLOSING_SAYS):
            close()

    thread = threading.Thread(target=run, name="rescore-closing", daemon=True)
    thread.start()
    return thread
