"""A call of the Kafka client that does not keep its timeout is left behind, and its producer ends when it returns."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaException, Producer

from streams.kafka.calls import Calls, NeverReturned


@pytest.fixture
def calls() -> Calls:
    """Calls of a producer that has no broker."""
    return Calls(Producer({"bootstrap.servers": "127.0.0.1:1", "transactional.id": "nobody", "log_level": 0}))


def test_a_call_answers_or_raises_as_if_it_had_been_made_here(calls: Calls) -> None:
    assert calls.make(lambda: 7, 1.0) == 7
    with pytest.raises(KafkaException):
        calls.make(lambda: calls.of.init_transactions(0.1), 1.0)
    calls.discard().join(10)


def test_a_call_that_never_returns_is_left_behind_and_holds_nobody_up(calls: Calls) -> None:
    returned = threading.Event()
    with pytest.raises(NeverReturned, match="not returned after 0 s"):
        calls.make(returned.wait, 0.0)
    ending = calls.discard()
    assert ending.is_alive()
    returned.set()
    ending.join(10)
    assert not ending.is_alive()
