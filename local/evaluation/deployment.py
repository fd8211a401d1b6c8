"""The deployment of an evaluation on a real Kafka and Valkey: worker and learner are processes of their own.

Kafka and Redis are given; who calls decides whether they are embedded ones. The topics have to be empty: time of a
history begins at its first record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from local.evaluation.dataset import UnusableDataset
from local.evaluation.journey import (
    BASE_CURRENCY,
    HISTORIES,
    PARTITIONS,
    READ_TOPICS,
    TIME_ZONE,
    Outputs,
    Sending,
    Terms,
    Told,
    is_over,
    known_of,
    progress_of,
)
from local.servers.children import Background
from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from streams.composition.registry import registry_for, values
from streams.composition.topics import options_of
from streams.composition.versions import publish_first_versions
from streams.kafka.client import (
    KafkaUnreachable,
    admin_of,
    empty_topics,
    producer,
    read,
    require_topics,
)
from streams.kafka.groups import group_of, waiting_records
from streams.kafka.producer import POLL_EVERY, Producer, Published, finish, send
from streams.kafka.topics import DEAD_LETTERS, apply
from streams.publish.publisher import advances, publish_advances
from streams.settings import Settings, load
from streams.versions.records import config_record

LOOK_SECONDS = 0.3
STILL_SECONDS = 900.0
"""A worker that is started for the first time compiles for a minute or two, on a busy machine for ten; then something
moves all the time."""


class StandsStill(Exception):
    """Nothing has been taken for minutes: the logs of worker and learner say why."""


def environment_of(
    inherited: Mapping[str, str], kafka_bootstrap: str, redis_url: str, terms: Terms = HISTORIES
) -> dict[str, str]:
    """Settings of an evaluation over what the process was started with: a deployment of its own, with its own topics,
    unless the environment names them."""
    own = {"RESCORE_APP": f"evaluation-{os.getpid()}", "RESCORE_TOPIC_PREFIX": f"evaluation-{os.getpid()}."}
    return (
        own
        | dict(inherited)
        | {
            "RESCORE_KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
            "RESCORE_REDIS__URL": redis_url,
            "RESCORE_REDIS__REQUIRE_APPEND_ONLY": "false",
            "RESCORE_CLOCK": "records",
            "RESCORE_PARTITIONS": str(PARTITIONS),
            "RESCORE_METRICS__PORT": "0",
            "RESCORE_LEARNING__EPOCH_SECONDS": str(terms.epoch_seconds),
            "RESCORE_LEARNING__ADOPT": terms.adopt,
            "RESCORE_POLICY__BASE_CURRENCY": BASE_CURRENCY,
            "RESCORE_POLICY__TIME_ZONE": TIME_ZONE,
        }
    )


class OnKafka:
    """See `local.evaluation.journey.Deployment`. `environment` is `environment_of`'s, `folder` for the parts' logs."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        declared: Sequence[Mapping[str, Any]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._declared = declared
        self.settings: Settings = load(environment).settings
        self._environment, self._folder, self._clock = environment, folder, clock
        folder.mkdir(parents=True, exist_ok=True)
        apply(admin_of(self.settings.kafka), options_of(self.settings))
        inputs = [self.settings.topic(name) for name in INPUT_TOPICS]
        used = {*inputs, *map(self.settings.topic, READ_TOPICS)}
        if full := sorted(used - empty_topics(self.settings.kafka, used)):
            raise UnusableDataset(
                f"{', '.join(full)} of Kafka at {self.settings.kafka.bootstrap_servers} hold records already; name "
                "another RESCORE_TOPIC_PREFIX and RESCORE_APP"
            )
        self._inputs = require_topics(self.settings.kafka, inputs)

    def play(self, sendings: Sequence[Sending], until_ms: int, told: Told) -> Outputs:
        """See `local.evaluation.journey.Deployment`. Raises StandsStill, DemoFailed, and what the Kafka client does."""
        sent = self._publish(sendings, until_ms)
        with ExitStack() as stack:
            children = [
                stack.enter_context(Background([part], self._environment, self._folder / f"{part}.log"))
                for part in ("worker", "learner")
            ]
            self._wait(children, sent, until_ms, told)
        kafka, letters = self.settings.kafka, [name + DEAD_LETTERS for name in INPUT_TOPICS]
        refused = list(read(kafka, require_topics(kafka, map(self.settings.topic, letters))))
        return Outputs({topic: self._read(topic) for topic in READ_TOPICS}, refused)

    def _publish(self, sendings: Sequence[Sending], until_ms: int) -> int:
        encoders = {topic: values(self.settings).encoder(topic) for topic in INPUT_TOPICS}
        sender, done = producer(self.settings.kafka), Published()
        self._declare(sender)
        for one in sendings:
            value = encoders[one.topic](dict(one.fields))
            name = self.settings.topic(one.topic)
            send(sender, done, topic=name, key=one.key.encode(), value=value, timestamp=one.time_ms)
            if done.sent % POLL_EVERY == 0:
                sender.poll(0)
        finish(sender, done)
        ends = advances(until_ms, range(PARTITIONS), encoders["commands"])
        publish_advances(self.settings.topic("commands"), ends, until_ms, sender, True, done)
        return done.sent

    def _declare(self, sender: Producer) -> None:
        """The first versions, as the first worker would write them, and then the models that are declared."""
        publish_first_versions(self.settings)
        topic, done = self.settings.topic("rescore-config"), Published()
        encoder = values(self.settings).encoding
        for fields in self._declared:
            _, key, value = config_record(fields, encoder)
            # Before any event; librdkafka takes a timestamp of 0 for the present.
            send(sender, done, topic=topic, key=key, value=value, timestamp=1)
        finish(sender, done)

    def _wait(self, children: Sequence[Background], sent: int, until_ms: int, told: Told) -> None:
        before, since = -1, self._clock()
        while True:
            for child in children:
                child.check()
            taken = self._taken(sent)
            told(taken, sent)
            if taken == sent and self._is_over(until_ms):
                return
            if taken != before:
                before, since = taken, self._clock()
            elif self._clock() - since > STILL_SECONDS:
                raise StandsStill(
                    f"{taken:,} of {sent:,} events were taken, then none for {STILL_SECONDS:.0f} s; see {self._folder}"
                )
            time.sleep(LOOK_SECONDS)

    def _taken(self, sent: int) -> int:
        kafka = self.settings.kafka
        try:
            committed = group_of(kafka, self.settings.app, self._inputs).committed
            return sent - sum(waiting_records(kafka, self._inputs, committed).values())
        except KafkaUnreachable:  # a broker that has just started knows no groups yet
            return 0

    def _is_over(self, until_ms: int) -> bool:
        rescores = known_of(self._read("rescore-weights"), registry_for(self.settings)).versions.rescores
        return is_over(progress_of(self._read("rescore-state"), values(self.settings)), rescores, until_ms)

    def _read(self, topic: str) -> list[Record]:
        kafka = self.settings.kafka
        found = read(kafka, require_topics(kafka, [self.settings.topic(topic)]))
        # Under its own name, without the prefix of this deployment.
        return sorted((r._replace(topic=topic) for r in found), key=lambda record: (record.partition, record.offset))
