"""What stands beside the loop: broadcast versions, probes, metrics, log lines, slots."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry, generate_latest

from schemas.batch import Record
from schemas.codec import RegistryUnavailable
from state.errors import RefusedSettings, StoreUnavailable
from streams.composition.slot import SlotTaken, take_slot
from streams.kafka.log_lines import KafkaLines
from streams.log.memory import CommitFault, MemoryBroker, MemoryLog
from streams.log.message import Message
from streams.log.progress import Standing
from streams.log.protocol import HaltPartition, TopicPartition
from streams.monitoring.logs import JsonLines, TextLines
from streams.versions.broadcast import NOTICE_MS, Broadcast
from streams.worker.halts import NOTE_SECONDS, HaltTeller
from streams.worker.health import PORTS_TRIED, SILENT_SECONDS_MAX, TURN_SECONDS_MAX, Health, HealthServer
from streams.worker.metrics import SUMMARY_SECONDS, LogLines, Metrics
from streams.worker.observer import BatchReport, Observer, Observers
from tests.streams.world import World

RUNNING = Standing(3, {}, 1_000, "nonce")


def new_broadcast(broker: MemoryBroker) -> Broadcast[list[bytes]]:
    log = MemoryLog(broker, "a", ["in"])
    return Broadcast(log, ["fx-rates", "rescore-config"], [], lambda old, new: [*old, *(r.value or b"" for r in new)])


def settle(broadcast: Broadcast[list[bytes]], newest_ms: int) -> int:
    for _ in range(10):
        until_ms = broadcast.until_ms(newest_ms)
    return until_ms


def test_clocks_may_go_on_for_the_notice_after_everything_asked_for_was_read() -> None:
    broker = MemoryBroker({"in": 1, "fx-rates": 2, "rescore-config": 1})
    broker.write("fx-rates", b"EUR", b"a", 10, 0)
    broker.write("rescore-config", b"policy", b"b", 10, 0)
    broadcast = new_broadcast(broker)
    assert settle(broadcast, 1_000) == 1_000 + NOTICE_MS
    assert sorted(broadcast.versions) == [b"a", b"b"]


def test_a_version_written_meanwhile_is_read_before_a_clock_can_reach_it() -> None:
    broker = MemoryBroker({"in": 1, "fx-rates": 2, "rescore-config": 1})
    broadcast = new_broadcast(broker)
    settle(broadcast, 1_000)
    broker.write("fx-rates", b"EUR", b"new", 1_001, 1)
    # Effective at 31,001 at the earliest: no clock may pass that before the version is known.
    assert broadcast.until_ms(1_000 + NOTICE_MS // 2) == 1_000 + NOTICE_MS
    assert broadcast.versions == []
    assert settle(broadcast, 1_001 + NOTICE_MS) > 1_000 + NOTICE_MS
    assert broadcast.versions == [b"new"]


def test_live_clocks_never_wait_because_the_question_is_asked_half_a_notice_ahead() -> None:
    broker = MemoryBroker({"in": 1, "fx-rates": 2, "rescore-config": 1})
    broadcast = new_broadcast(broker)
    settle(broadcast, 1_000)
    for now_ms in range(1_000, 1_000_000, 500):
        assert broadcast.until_ms(now_ms) >= now_ms


def test_clocks_hold_while_the_brokers_do_not_answer() -> None:
    broker = MemoryBroker({"in": 1, "fx-rates": 2, "rescore-config": 1})
    broadcast = new_broadcast(broker)
    broker.reachable = False
    assert settle(broadcast, 1_000) < 1_000
    broker.reachable = True
    assert settle(broadcast, 5_000) >= 1_000 + NOTICE_MS


def test_a_worker_reads_versions_before_it_takes_what_they_may_rule() -> None:
    world = World()
    world.broker = MemoryBroker({**world.broker.counts, "fx-rates": 1, "rescore-config": 1})
    world.story()
    broadcast = Broadcast(
        MemoryLog(world.broker, "a", ["commands"]), ["fx-rates"], [0], lambda old, new: [old[0] + len(new)]
    )
    world.broker.write("fx-rates", b"EUR", b"rate", 0)
    world.run(world.worker(gate=broadcast))
    assert broadcast.versions == [1]
    world.check()


def test_ready_means_that_brokers_answer_and_every_partition_takes_records() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    assert health.ready() == (False, "no broker has answered yet")
    health.brokers(answer=True)
    assert health.ready() == (False, "the group has not assigned partitions yet")
    health.assigned((0, 1))
    health.resolving(0)
    health.resolving(1)
    health.running(0, RUNNING)
    assert health.ready() == (False, "restoring partitions 1")
    health.running(1, RUNNING)
    assert health.ready() == (True, "every partition takes records")
    now[0] = 7.0
    health.brokers(answer=False)
    assert health.ready() == (False, "the brokers do not answer, the last answer came 7 s ago")
    health.brokers(answer=True)
    assert health.ready()[0]
    now[0] += SILENT_SECONDS_MAX + 1  # the loop hangs, and asks nobody
    assert not health.ready()[0]
    health.brokers(answer=True)
    health.halted(1, "somebody has reset the offsets")
    assert health.ready() == (False, "halted: somebody has reset the offsets")
    health.given_up((0, 1), lost=False)
    assert health.ready() == (False, "the group has not assigned partitions yet")
    health.assigned(())
    assert health.ready() == (True, "standby: other workers have all partitions")


def test_a_taken_port_is_left_to_its_owner_and_the_next_one_taken_unless_it_was_asked_for() -> None:
    first = HealthServer(Health(lambda: 0.0), CollectorRegistry(), "127.0.0.1", 0)
    second = HealthServer(Health(lambda: 0.0), CollectorRegistry(), "127.0.0.1", first.port)
    try:
        assert first.port < second.port < first.port + PORTS_TRIED
        assert urlopen(f"http://127.0.0.1:{second.port}/livez").status == 200
        with pytest.raises(RefusedSettings, match=f"port {first.port} of 127.0.0.1 is taken") as refused:
            HealthServer(Health(lambda: 0.0), CollectorRegistry(), "127.0.0.1", first.port, port_is_wanted=True)
        assert "RESCORE_METRICS__PORT" in refused.value.remedy
        with pytest.raises(RefusedSettings, match=r"cannot be served at 192\.0\.2\.1:9464"):
            HealthServer(Health(lambda: 0.0), CollectorRegistry(), "192.0.2.1", 9464)
    finally:
        first.close()
        second.close()


def test_alive_means_that_the_loop_goes_round() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    now[0] = TURN_SECONDS_MAX + 1
    assert not health.live()[0]
    health.turned(now[0])
    assert health.live()[0]


def test_probes_and_metrics_are_served_over_http() -> None:
    registry = CollectorRegistry()
    health, metrics = Health(lambda: 0.0), Metrics(registry)
    server = HealthServer(health, registry, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.port}"
    try:
        assert urlopen(f"{url}/livez").status == 200
        with pytest.raises(HTTPError, match="503") as refused:
            urlopen(f"{url}/readyz")
        refused.value.close()
        world = World()
        world.story()
        world.run(world.worker(observer=Observers(health, metrics)))
        assert urlopen(f"{url}/readyz").status == 200
        text = urlopen(f"{url}/metrics").read().decode()
        assert 'rescore_partition_state{partition="0",state="running"} 1.0' in text
        assert f"rescore_score_changes_total {float(sum(map(len, world.changes().values())))}" in text
        with pytest.raises(HTTPError, match="404") as missing:
            urlopen(f"{url}/elsewhere")
        missing.value.close()
    finally:
        server.close()


def test_batches_are_summed_up_once_a_minute_and_trouble_is_told(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.story()
    world.broker.commit_faults = [CommitFault.REFUSED]
    records = sum(len(world.broker.visible(topic)) for topic in ("commands", "loans", "transactions"))
    lines = LogLines(logging.getLogger("rescore.worker"))
    caplog.set_level(logging.DEBUG, "rescore.worker")
    world.run(world.worker(observer=lines))
    batches = [record.fields for record in caplog.records if record.getMessage() == "batch"]
    assert sum(batch["records"] for batch in batches) == records
    assert {record.levelname for record in caplog.records if record.getMessage() == "batch"} == {"DEBUG"}
    assert any("go back to what is committed" in record.getMessage() for record in caplog.records)
    caplog.clear()
    lines.turned(SUMMARY_SECONDS)
    lines.turned(SUMMARY_SECONDS + 1)
    lines.close()
    (summary,) = caplog.records
    assert (summary.levelname, summary.getMessage()) == ("INFO", "summary")
    assert (summary.fields["batches"], summary.fields["records"]) == (len(batches), records)
    assert summary.fields["partitions"] == sorted({p for batch in batches for p in batch["partitions"]})
    as_json = json.loads(JsonLines().format(summary))
    assert as_json["records"] == records
    assert as_json["message"] == "summary"
    assert f"summary batches={len(batches)} partitions=" in TextLines("%(message)s").format(summary)


def test_lines_of_the_kafka_client_come_once_a_minute_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    lines = KafkaLines(logging.getLogger("rescore.worker"), lambda: now[0])
    client = Producer({"bootstrap.servers": "127.0.0.1:1", "reconnect.backoff.ms": 10, "logger": lines})
    seen, log = [], lines.log
    lines.log = lambda *line: (seen.append(line), log(*line))  # type: ignore[method-assign]
    deadline = time.monotonic() + 30
    while len(seen) < 5 and time.monotonic() < deadline:
        client.poll(0.05)
    assert len(seen) >= 5
    assert 0 < len(caplog.records) < len(seen)
    refused = [r.getMessage() for r in caplog.records if "Connection refused" in r.getMessage()]
    assert refused[0].startswith("Kafka client: FAIL: 127.0.0.1:1/bootstrap: Connect to")
    before = len(caplog.records)
    now[0] = 60.0
    log(*seen[0])
    assert len(caplog.records) == before + 1
    assert "more of this kind since the last such line" in caplog.records[-1].getMessage()


def test_dead_letters_are_counted_by_reason_and_so_are_event_ids_forgotten_early() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.batch(BatchReport(dead_letters=3, reasons={"EVENT_ID_REUSED": 2, "NULL_KEY": 1}, overruns=7))
    metrics.batch(BatchReport(dead_letters=1, reasons={"EVENT_ID_REUSED": 1}))
    text = generate_latest(registry).decode()
    assert "rescore_dead_letters_total 4.0" in text
    assert 'rescore_dead_letters_by_reason_total{reason="EVENT_ID_REUSED"} 3.0' in text
    assert 'rescore_dead_letters_by_reason_total{reason="NULL_KEY"} 1.0' in text
    assert "rescore_event_ids_forgotten_total 7.0" in text


def test_event_ids_forgotten_early_are_a_warning_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "rescore.worker")
    lines = LogLines(logging.getLogger("rescore.worker"))

    def warned(at_seconds: float, *overruns: int) -> list[str]:
        caplog.clear()
        for count in overruns:
            lines.batch(BatchReport(overruns=count))
        lines.turned(at_seconds)
        return [record.getMessage() for record in caplog.records]

    assert warned(1_000.0, 0, 0) == []
    (first,) = warned(1_001.0, 3, 4)
    assert first.startswith("7 event ids forgotten before the duplicate horizon")
    assert "duplicates_max" in first
    assert warned(1_060.0, 5) == []
    (second,) = warned(1_061.0, 1)
    assert second.startswith("6 event ids")
    assert warned(2_000.0) == []


def test_an_open_transaction_of_a_publisher_is_in_the_metrics_and_once_in_the_log(caplog) -> None:
    caplog.set_level(logging.WARNING, "rescore.worker")
    registry, world = CollectorRegistry(), World()
    worker = world.worker(observer=Observers(Metrics(registry), LogLines(logging.getLogger("rescore.worker"))))
    world.write("transactions", "ann", 100)
    where = TopicPartition("transactions", world.partition_of(b"ann"))

    def value(name: str, **labels: str) -> float:
        found = registry.get_sample_value(name, {"partition": str(where.partition)} | labels)
        return -1.0 if found is None else found

    def open_seconds() -> float:
        return value("rescore_open_transaction_seconds", topic="transactions")

    broker = world.broker
    opened = broker.begin("publisher", broker.own("publisher"))
    broker.append(opened, where, Message(b"ann", b"x"), 200)
    world.write("transactions", "ann", 300)  # of a plain producer: acknowledged, and behind it
    world.run(worker, turns_max=6_000, until=lambda: open_seconds() >= 31.0)
    assert value("rescore_lag_records", topic="transactions") == 2.0
    assert value("rescore_lag_seconds") >= 31.0
    world.run(worker, until=lambda: open_seconds() >= 36.0)
    told = [
        record.getMessage()
        for record in caplog.records
        if "a transaction of a publisher is open" in record.getMessage()
    ]
    assert len(told) == 1
    assert told[0].startswith(f"transactions/{where.partition}: ")
    broker.commit(opened)
    world.run(worker, until=lambda: open_seconds() == 0.0)
    assert value("rescore_lag_seconds") == 0.0
    world.run(worker)
    world.check()


class Board:
    """Notes, as the store keeps them."""

    def __init__(self) -> None:
        self.notes: dict[int, str] = {}
        self.written = 0
        self.away = False

    def write(self, partition: int, reason: str, seconds: float) -> None:
        if self.away:
            raise StoreUnavailable("away")
        assert seconds == NOTE_SECONDS
        self.written += 1
        self.notes[partition] = reason

    def delete(self, partition: int) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.notes.pop(partition, None)


def test_a_halted_partition_leaves_a_note_for_as_long_as_it_is_halted() -> None:
    board, world = Board(), World()
    teller = HaltTeller(board)
    teller.halted(1, "the group was reset")
    assert board.notes == {1: "the group was reset"}
    board.notes.clear()  # the server was emptied
    for seconds in range(100, 130):
        teller.turned(float(seconds))
    assert (board.notes, board.written) == ({1: "the group was reset"}, 7)
    board.away = True
    teller.turned(200.0)
    board.away = False
    teller.running(1, RUNNING)
    assert board.notes == {}
    teller.halted(0, "again")
    teller.given_up((0,), lost=True)
    board.notes.clear()
    teller.turned(300.0)
    assert board.notes == {}  # who has it now says how it stands
    world.story()
    world.run(world.worker(observer=teller))
    world.check()


def test_lost_rows_and_a_server_that_evicts_are_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rescore.worker")
    registry = CollectorRegistry()
    told = Observers(Metrics(registry), LogLines(logging.getLogger("rescore.worker")))
    for reason in ("", "maxmemory-policy is allkeys-lru", "maxmemory-policy is allkeys-lru"):
        told.evicts(reason)
    assert registry.get_sample_value("rescore_store_evicts") == 1.0
    told.evicts("")
    assert registry.get_sample_value("rescore_store_evicts") == 0.0
    told.lost_rows(3, 7, 0.0)
    told.lost_rows(3, 1, 0.5)
    assert registry.get_sample_value("rescore_store_lost_rows_total") == 8.0
    assert [record.getMessage() for record in caplog.records] == [
        "Redis: maxmemory-policy is allkeys-lru",
        "Redis: maxmemory-policy is noeviction again",
        "partition 3 has lost rows again, its rebuild begins in 0.5 s: find out who deletes its keys in Redis",
    ]


def test_a_slot_in_use_is_refused_and_the_lowest_free_one_is_taken(tmp_path: Path) -> None:
    first, second = take_slot(tmp_path, "app"), take_slot(tmp_path, "app")
    assert (first.number, second.number) == (0, 1)
    with pytest.raises(SlotTaken, match="RESCORE_SLOT"):
        take_slot(tmp_path, "app", 1)
    assert take_slot(tmp_path, "other", 1).number == 1
    first.release()
    assert take_slot(tmp_path, "app").number == 0


def test_a_version_that_could_not_be_read_is_read_again_before_clocks_pass_it() -> None:
    broker = MemoryBroker({"fx-rates": 1})
    broker.write("fx-rates", b"a", b"first", 0)
    answers = [False, True, True]

    def adopt(known: list[bytes], records: Sequence[Record]) -> list[bytes]:
        if not answers.pop(0):
            raise RegistryUnavailable("the registry does not answer")
        return [*known, *(record.value or b"" for record in records)]

    broadcast = Broadcast(MemoryLog(broker, "a", ["fx-rates"]), ["fx-rates"], list[bytes](), adopt)
    with pytest.raises(RegistryUnavailable):
        broadcast.until_ms(1_000)
    assert broadcast.until_ms(1_000) == 1_000 + NOTICE_MS
    assert broadcast.versions == [b"first"]


def test_a_registry_that_is_away_while_versions_are_read_holds_every_partition_and_halts_none() -> None:
    class Gate:
        left = 40

        def until_ms(self, newest_ms: int) -> int:
            self.left -= 1
            if self.left > 0:
                raise RegistryUnavailable("the registry does not answer")
            return newest_ms + NOTICE_MS

    class Halts(Observer):
        def __init__(self) -> None:
            self.halts: list[str] = []
            self.rewinds: list[str] = []

        def halted(self, partition: int, reason: str) -> None:
            self.halts.append(reason)

        def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
            self.rewinds.append(reason)

    world, told = World(), Halts()
    world.story()
    worker = world.worker(observer=told, gate=Gate())
    for _ in range(400):
        world.clock.ms += 500
        worker.turn()
    world.run(worker)
    world.check()
    assert not told.halts
    assert "the registry does not answer" in told.rewinds


def test_versions_that_are_gone_while_they_are_read_halt_with_words_and_end_no_worker() -> None:
    class Gone:
        def until_ms(self, newest_ms: int) -> int:
            raise HaltPartition("fx-rates/0: offset 7 is not there any more")

    class Halts(Observer):
        reasons: list[str] = []

        def halted(self, partition: int, reason: str) -> None:
            self.reasons.append(reason)

    world = World()
    world.story()
    worker = world.worker(observer=Halts(), gate=Gone())
    for _ in range(20):
        worker.turn()
    assert Halts.reasons == ["fx-rates/0: offset 7 is not there any more"] * 2
