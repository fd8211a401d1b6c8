"""Time alone moves a score: on a real Kafka, at the turn of the day, with no event, within two seconds."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from schemas.codec import StaticRegistry, decode_value
from state.redis_store import RedisStore
from streams.commands.worker import _log, _worker
from streams.worker.observer import Observer
from tests.integration.deployment import deployment

TURN = datetime(2026, 3, 10, tzinfo=UTC)
TURN_MS = round(TURN.timestamp() * 1000)


class JustBeforeMidnight:
    """A wall that stands two seconds before a midnight until it is let go."""

    def __init__(self) -> None:
        self._began: float | None = None

    def go(self) -> None:
        self._began = time.monotonic()

    def wall_ms(self) -> int:
        gone_seconds = 0.0 if self._began is None else time.monotonic() - self._began
        return TURN_MS - 2_000 + round(1000 * gone_seconds)

    def monotonic_seconds(self) -> float:
        return time.monotonic()


class Running(Observer):
    """Knows when the partition takes records."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def running(self, partition, standing) -> None:
        self.event.set()


@pytest.mark.timeout(400)
def test_a_loan_due_yesterday_moves_the_status_within_two_seconds_of_the_turn_of_the_day(
    kafka, valkey, tmp_path
) -> None:
    name = f"quiet{os.getpid()}"
    history = {"CLOCK": "records", "PARTITIONS": "1"}  # so that the events may lie in March
    with deployment(kafka.bootstrap_servers, valkey.url, name, tmp_path, **history) as quiet:
        loan = {
            "event_id": "i-1", "user_id": "ann", "event": "issued", "loan_id": "L-88", "order_amount": 1000.0,
            "gross_margin": 100.0, "currency": "EUR", "order_date": (TURN - timedelta(days=9)).isoformat(),
            "due_date": (TURN - timedelta(days=1)).date().isoformat(), "point": "p-1", "province": "north",
        }  # fmt: skip
        quiet.send("loans", [("ann", json.dumps(loan).encode(), TURN_MS - 12 * 3_600_000)])
        chosen = quiet.settings.model_copy(update={"clock": "wall"})
        store = RedisStore(valkey.url, name, 1, require_append_only=False)
        store.check()
        observer, stop = Running(), threading.Event()
        worker = _worker(chosen, 1, store, _log(chosen, "0"), observer)
        worker._clock = clock = JustBeforeMidnight()
        thread = threading.Thread(target=worker.run, args=(stop.is_set,))
        thread.start()
        try:
            quiet.wait(lambda: quiet.waiting() == 0, "the loan is taken")
            assert [change["score"] for change in changes(quiet)] == ["segment"]
            before = time.monotonic()
            changes(quiet)
            look_ms = round(1000 * (time.monotonic() - before))  # how long it takes to see anything on this machine
            clock.go()
            quiet.wait(lambda: len(changes(quiet)) > 1, "the turn of the day", seconds=20)
            seen_ms = clock.wall_ms()
        finally:
            stop.set()
            thread.join(30)
            store.close()
        status = next(change for change in changes(quiet) if change["score"] == "status")
        assert status["cause"]["kind"] == "time"
        assert status["cause"]["loan_id"] == "L-88"
        assert status["decided_ms"] == TURN_MS
        assert status["new"] == pytest.approx(2.171, abs=5e-4)
        assert TURN_MS < seen_ms <= TURN_MS + 2_000 + 3 * look_ms


def changes(quiet) -> list[dict]:
    registry = StaticRegistry()
    return [decode_value("ScoreChange", record.value or b"", registry) for record in quiet.read("score-changes")]
