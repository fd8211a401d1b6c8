"""`rescore learner`: the composition of the learner. Every adapter and clock is chosen here."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from streams.commands.common import AsJson, guarded, program_version, settings
from streams.terminal import print_json

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from schemas.batch import Record
    from streams.learner.loop import Learner, LearnerObserver
    from streams.settings import Settings
    from streams.versions.known import Known


@guarded
def learner(as_json: AsJson = False) -> None:
    """Keep models learning: take examples an epoch at a time, publish new weights with the time they come into force.

    One is enough for a deployment, a second one takes the first one's place. Ctrl-C or SIGTERM ends it in order; after
    a crash it goes on where it was. When epochs end is a policy: RESCORE_LEARNING__EPOCH_SECONDS for a new deployment,
    `rescore models epochs` for one that runs.

    Example: RESCORE_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 rescore learner
    """
    from streams.commands.worker import lock_folder, require_good_topics, stopped_by_signal
    from streams.composition.followed_clock import FollowedClock
    from streams.composition.slot import take_slot
    from streams.composition.versions import publish_first_versions, require_schemas
    from streams.monitoring.logs import configure

    chosen = settings()
    # One learner of a deployment on this machine; a deployment of the same name on another Kafka is another one.
    servers = zlib.crc32(chosen.kafka.bootstrap_servers.encode())
    slot = take_slot(lock_folder(), f"{chosen.app}.learner.{servers:08x}", 0)
    logger = configure(chosen.log.level, chosen.log.format)
    require_good_topics(chosen)
    require_schemas(chosen, "rescore-config", "rescore-weights")
    publish_first_versions(chosen)
    observer, port, close_health = _observer(chosen, logger)
    clock = FollowedClock(chosen, logger)
    made = _learner(chosen, observer, clock.is_live)
    if as_json:
        print_json({"started": {"app": chosen.app, "clock": chosen.clock, "metrics_port": port}})
    logger.info("learner %s started, metrics at http://%s:%d/metrics", chosen.app, chosen.metrics.host, port)
    try:
        with clock:
            made.run(stopped_by_signal())
    finally:
        close_health()
        slot.release()
        logger.info("learner %s ended", chosen.app)


def _observer(chosen: Settings, logger: logging.Logger) -> tuple[LearnerObserver, int, Callable[[], None]]:
    """Metrics, probes and log lines; the port they are served at, and what closes it."""
    import time

    from streams.commands.worker import serve
    from streams.learner.metrics import LearnerHealth, LearnerLines, LearnerMetrics, LearnerObservers
    from streams.worker.health import Health
    from streams.worker.metrics import new_registry

    registry = new_registry()
    health = Health(time.monotonic)
    server = serve(chosen, health, registry, logger)
    observers = LearnerObservers(
        LearnerMetrics(registry), LearnerHealth(health), LearnerLines(logger, time.monotonic, program_version())
    )
    return observers, server.port, server.close


def _learner(chosen: Settings, observer: LearnerObserver, is_live: Callable[[], bool]) -> Learner:
    import logging

    from streams.commands.worker import Wall, failpoint_of, kafka_lines
    from streams.composition.registry import values
    from streams.composition.versions import adopter
    from streams.kafka.learner_log import KafkaLearnerLog, KafkaLearnerOptions
    from streams.kafka.topics import BROADCAST_TOPICS, EXAMPLES_TOPIC, MEMORY_TOPIC
    from streams.learner.loop import Learner, LearnerOptions
    from streams.learner.wire import learner_wire
    from streams.versions.broadcast import Broadcast
    from streams.versions.known import Known, first_policy

    options = KafkaLearnerOptions(
        bootstrap_servers=chosen.kafka.bootstrap_servers,
        name=f"{chosen.app}.learner",
        transaction_timeout_seconds=chosen.kafka.transaction_timeout_seconds,
        client=chosen.kafka.librdkafka | kafka_lines(),
    )
    log = KafkaLearnerLog(options, failpoint_of(chosen.failpoint))
    policy = first_policy(chosen.policy.base_currency, chosen.policy.time_zone)
    adopt: Callable[[Known, Sequence[Record]], Known] = adopter(
        chosen, logging.getLogger("rescore"), observer.refused_versions
    )
    topics = [chosen.topic(name) for name in BROADCAST_TOPICS]
    broadcast = Broadcast(log, topics, Known.first(policy), adopt)
    return Learner(
        log,
        learner_wire(values(chosen)),
        broadcast,
        Wall(),
        LearnerOptions(
            examples=chosen.topic(EXAMPLES_TOPIC),
            weights=chosen.topic("rescore-weights"),
            memory=chosen.topic(MEMORY_TOPIC),
            broadcast=tuple(topics),
            from_beginning=chosen.changed_topics.ids("from_beginning"),
            same_offsets=chosen.changed_topics.ids("same_offsets"),
            clocks_wait=lambda: not is_live(),
        ),
        observer,
        failpoint_of(chosen.failpoint),
    )
