"""`rescore worker`: the composition of a worker. Every adapter, clock and random source is chosen here."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from streams.commands.common import AsJson, guarded, program_version, settings
from streams.terminal import print_json

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from schemas.known_schemas import Registry
    from state.redis_store import RedisStore
    from streams.kafka.log_lines import KafkaLines
    from streams.kafka.worker_log import KafkaLog
    from streams.log.protocol import Failpoint
    from streams.settings import Settings
    from streams.versions.known import Known
    from streams.worker.health import Health, HealthServer
    from streams.worker.loop import Worker
    from streams.worker.observer import Observer
    from streams.worker.options import WorkerOptions


LETTER_FRAME_BYTES = 1_024
"""What a dead letter takes on the wire beside its key, value and headers, generously."""


@guarded
def worker(as_json: AsJson = False) -> None:
    """Keep scores true: take events, recalculate, publish each change exactly once.

    Ctrl-C or SIGTERM ends it in order. Start as many as there are cores and partitions. Metrics and probes are at
    RESCORE_METRICS__HOST and RESCORE_METRICS__PORT.

    Example: RESCORE_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 RESCORE_REDIS__URL=redis://redis:6379/0 rescore worker
    """
    from streams.composition.followed_clock import FollowedClock
    from streams.composition.slot import take_slot
    from streams.composition.versions import WRITTEN, publish_first_versions, require_schemas
    from streams.monitoring.logs import configure
    from streams.worker.garbage_collector import GarbageCollector
    from streams.worker.halts import HaltTeller
    from streams.worker.observer import Observers

    chosen = settings()
    slot = take_slot(lock_folder(), chosen.app, chosen.slot)
    logger = configure(chosen.log.level, chosen.log.format)
    partitions = require_good_topics(chosen)
    require_schemas(chosen, *WRITTEN)
    publish_first_versions(chosen)
    store = _store(chosen, partitions)
    observer, port, close_health = _observer(chosen, logger)
    _compile(logger)
    log = _log(chosen, str(slot.number))
    clock = FollowedClock(chosen, logger)
    observers = Observers(observer, GarbageCollector(), HaltTeller(store.halts))
    made = _worker(chosen, partitions, store, log, observers, clock.is_live)
    told = {
        "app": chosen.app,
        "slot": slot.number,
        "partitions": partitions,
        "clock": chosen.clock,
        "metrics_port": port,
    }
    if as_json:
        print_json({"started": told})
    logger.info(
        "worker %s.%d started: %d partition%s, clock %s, metrics at http://%s:%d/metrics",
        chosen.app, slot.number, partitions, "" if partitions == 1 else "s", chosen.clock, chosen.metrics.host, port,
    )  # fmt: skip
    try:
        with clock:
            made.run(stopped_by_signal())
    finally:
        close_health()
        store.close()
        slot.release()
        logger.info("worker %s.%d ended", chosen.app, slot.number)


def _compile(logger: logging.Logger) -> None:
    """Compile all kernels before the group is joined: a member that compiles for a minute is expelled."""
    from streams.processing.warm import warm

    began = time.monotonic()
    warm()
    logger.info("kernels are ready after %.1f s", time.monotonic() - began)


def lock_folder() -> Path:
    """Where this user's workers on this machine hold their numbers."""
    return Path(tempfile.gettempdir()) / f"rescore-{os.getuid()}"


def stopped_by_signal() -> Callable[[], bool]:
    """A flag that SIGTERM and SIGINT set."""
    seen: list[int] = []
    on_signal(seen.append)
    return lambda: bool(seen)


def on_signal(told: Callable[[int], None]) -> None:
    """Have SIGTERM and SIGINT told; a second SIGINT ends at once, which costs nothing but the batch at hand."""
    import signal

    interrupts = []

    def note(number: int, _frame: object) -> None:
        told(number)
        if number == signal.SIGINT:
            interrupts.append(number)
        if len(interrupts) > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)


def require_good_topics(chosen: Settings) -> int:
    """Number of partitions. Raises RefusedSettings that names every topic that would lose or disorder data."""
    from streams.composition.topics import options_of
    from streams.kafka.client import admin_of, partition_counts
    from streams.kafka.topics import check, refuse
    from streams.publish.stamps import require_clock

    topic = chosen.topic("transactions")
    counts = partition_counts(chosen.kafka)
    require_clock(chosen)
    refuse(check(admin_of(chosen.kafka), options_of(chosen)))
    return counts[topic]


def _store(chosen: Settings, partitions: int) -> RedisStore:
    from state.redis_store import RedisStore

    store = RedisStore(
        chosen.redis.url.get_secret_value(),
        chosen.app,
        partitions,
        timeout_seconds=chosen.redis.timeout_seconds,
        connect_timeout_seconds=chosen.redis.connect_timeout_seconds,
        require_append_only=chosen.redis.require_append_only,
    )
    store.check()
    return store


def _log(chosen: Settings, slot: str) -> KafkaLog:
    from schemas.kinds import INPUT_TOPICS
    from streams.kafka.topics import DEAD_LETTER_ROOM_BYTES
    from streams.kafka.worker_log import KafkaLog, KafkaLogOptions

    options = KafkaLogOptions(
        bootstrap_servers=chosen.kafka.bootstrap_servers,
        app=chosen.app,
        slot=slot,
        inputs=tuple(chosen.topic(name) for name in INPUT_TOPICS),
        partitioner="murmur2_random" if chosen.kafka.partitioner == "murmur2" else "consistent_random",
        session_timeout_seconds=chosen.kafka.session_timeout_seconds,
        transaction_timeout_seconds=chosen.kafka.transaction_timeout_seconds,
        record_bytes_max=max(chosen.topic_record_bytes_max, chosen.record_bytes_max) + 2 * DEAD_LETTER_ROOM_BYTES,
        client=chosen.kafka.librdkafka | kafka_lines(),
    )
    return KafkaLog(options, failpoint_of(chosen.failpoint))


def failpoint_of(wanted: str | None) -> Failpoint:
    """A crash as by kill -9 when a step of the protocol is reached; nowhere, where none is named.

    `STEP[:NTH[:SIGNAL]]`: `K9.committed:20` at the 20th time, `K8.committing:20:STOP` freezes instead, as a machine
    does that swaps or moves. Raises `RefusedSettings` for a step that does not exist.
    """
    import signal

    from state.errors import RefusedSettings
    from streams.log.protocol import STEPS, no_failpoint

    if wanted is None:
        return no_failpoint
    step, _, rest = wanted.partition(":")
    nth, _, name = rest.partition(":")
    number = getattr(signal, f"SIG{name or 'KILL'}", None)
    if step not in STEPS or number is None or not (nth or "1").isdigit():
        remedy = f"write STEP[:NTH[:SIGNAL]], a signal by its name without SIG, a step of {', '.join(STEPS)}"
        raise RefusedSettings(f"RESCORE_FAILPOINT={wanted!r} names no step of the protocol", remedy)
    left = [int(nth or 1)]

    def reach(reached: str) -> None:
        if reached == step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)

    return reach


def _observer(chosen: Settings, logger: logging.Logger) -> tuple[Observer, int, Callable[[], None]]:
    """Metrics, probes and log lines; the port they are served at, and what closes it."""
    from prometheus_client import CollectorRegistry

    from streams.worker.health import Health
    from streams.worker.metrics import LogLines, Metrics
    from streams.worker.observer import Observers

    registry = CollectorRegistry()
    health = Health(time.monotonic)
    server = serve(chosen, health, registry, logger)
    lines = LogLines(logger, time.monotonic, program_version())

    def close() -> None:
        server.close()
        lines.close()

    return Observers(Metrics(registry), health, lines), server.port, close


def serve(chosen: Settings, health: Health, registry: CollectorRegistry, logger: logging.Logger) -> HealthServer:
    """Metrics and probes, at the next free port if the default one is taken. Raises `RefusedSettings`."""
    from streams.worker.health import HealthServer

    host, port = chosen.metrics.host, chosen.metrics.port
    is_wanted = "port" in chosen.metrics.model_fields_set
    server = HealthServer(health, registry, host, port, port_is_wanted=is_wanted)
    if port not in (0, server.port):
        logger.warning("port %d is taken: metrics and probes are at http://%s:%d", port, host, server.port)
    return server


def kafka_lines() -> dict[str, KafkaLines]:
    """The setting that has Kafka's clients write to our log."""
    import logging

    from streams.kafka.log_lines import KafkaLines

    return {"logger": KafkaLines(logging.getLogger("rescore"), time.monotonic)}


def _worker(
    chosen: Settings,
    partitions: int,
    store: RedisStore,
    log: KafkaLog,
    observer: Observer,
    is_live: Callable[[], bool] | None = None,
) -> Worker:
    import logging
    import uuid
    from functools import partial

    from schemas.batch import FOREVER_MS
    from schemas.codec import CloudEvents, Decoder, Encoder
    from schemas.partitioner import Partitioner
    from schemas.topic_values import Values
    from streams.composition.registry import registry_for
    from streams.composition.versions import adopter
    from streams.kafka.topics import BROADCAST_TOPICS, DEAD_LETTER_ROOM_BYTES
    from streams.processing.epoch_markers import EpochMarks
    from streams.processing.guard import GuardedProcessor
    from streams.processing.processor import ScoreProcessor, letter_of_failure
    from streams.processing.wire import marker_of, wire_of
    from streams.scoring.reasons import REASON_TEXTS
    from streams.versions.broadcast import Broadcast
    from streams.versions.known import Known, first_policy
    from streams.worker.loop import Worker

    registry: Registry = registry_for(chosen)
    values = Values(registry)
    policy = first_policy(chosen.policy.base_currency, chosen.policy.time_zone)
    topics = [chosen.topic(name) for name in BROADCAST_TOPICS]
    is_live = is_live or (lambda: chosen.clock == "wall")

    def limit_ms(known: Known) -> int:
        # In a history time waits for what is learned; live it never does.
        return FOREVER_MS if is_live() else known.limit_ms

    adopt = adopter(chosen, logging.getLogger("rescore"), observer.refused_versions)
    broadcast = Broadcast(log, topics, Known.first(policy), adopt, limit_ms)
    marks = EpochMarks(
        epochs=lambda: broadcast.versions.epochs,
        rescores=lambda: broadcast.versions.versions.rescores,
        limit_ms=lambda: limit_ms(broadcast.versions),
        encode=partial(marker_of, values),
    )
    key = chosen.examples_key.get_secret_value().encode() if chosen.examples_key else b""
    letter_bytes_max = chosen.topic_record_bytes_max + DEAD_LETTER_ROOM_BYTES - LETTER_FRAME_BYTES
    processor = ScoreProcessor(
        decoder=Decoder(
            registry,
            partitions,
            Partitioner[chosen.kafka.partitioner.upper()],
            chosen.topic_prefix,
            value_bytes_max=chosen.record_bytes_max,
        ),
        encoder=Encoder(registry, REASON_TEXTS, chosen.topic_prefix),
        events=CloudEvents(f"/rescore/{chosen.app}"),
        versions=lambda: broadcast.versions.versions,
        examples_key=key,
        specs=lambda: broadcast.versions.specs,
        texts_one_in=lambda: broadcast.versions.epochs.texts_one_in,
        letter_bytes_max=letter_bytes_max,
    )
    letter_of = partial(letter_of_failure, bytes_max=letter_bytes_max)
    return Worker(
        log,
        store,
        GuardedProcessor(processor, letter_of, observer.failed),
        wire_of(values),
        Wall(),
        new_nonce=lambda: uuid.uuid4().hex,
        options=_options(chosen, is_live),
        gate=broadcast,
        observer=observer,
        failpoint=failpoint_of(chosen.failpoint),
        marks=marks,
    )


class Wall:
    """The clocks of this machine."""

    def wall_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000

    def monotonic_seconds(self) -> float:
        """See `Clock`."""
        return time.monotonic()


def _options(chosen: Settings, is_live: Callable[[], bool]) -> WorkerOptions:
    from schemas.kinds import INPUT_TOPICS
    from streams.kafka.topics import BROADCAST_TOPICS, JOURNAL_TOPIC, STATE_TOPIC
    from streams.worker.options import WorkerOptions

    return WorkerOptions(
        inputs=tuple(chosen.topic(name) for name in INPUT_TOPICS),
        commands=chosen.topic("commands"),
        changes=chosen.topic("score-changes"),
        scorecards=chosen.topic("scorecards"),
        state=chosen.topic(STATE_TOPIC),
        journal=chosen.topic(JOURNAL_TOPIC),
        examples=chosen.topic("rescore-examples"),
        broadcast=tuple(chosen.topic(name) for name in BROADCAST_TOPICS),
        from_beginning=chosen.changed_topics.ids("from_beginning"),
        same_offsets=chosen.changed_topics.ids("same_offsets"),
        code_version=program_version(),
        records_max=chosen.batch.records_max,
        users_max=chosen.batch.users_max,
        partitions_max=chosen.batch.partitions_max,
        idle_seconds=chosen.batch.wait_seconds,
        is_live=is_live,
    )
