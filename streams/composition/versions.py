"""Broadcast versions for the processes and commands: the first ones, those in force, those that cannot be used."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from streams.terminal import remark

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from schemas.batch import Record
    from schemas.writing import Encoder
    from schemas.zones import Zone
    from streams.settings import Settings
    from streams.versions.known import Known

FIRST_VERSIONS_ATTEMPTS = 10
"""So many workers may start at the same moment on new topics, each fencing the one before."""


def publish_first_versions(chosen: Settings) -> None:
    """Publish the packaged policy and weights where there are none, so that the topics say what has been in force.

    A record that counts as never published is none: else a policy of much later would be the first, and count from the
    beginning of time. A transactional producer of a fixed name comes first: of two workers that start at once the
    slower one is fenced, or reads what the quicker one has written.
    """
    from schemas.times import FIRST_TIMESTAMP_MS
    from schemas.writing import Encoder
    from streams.composition.registry import registry_for
    from streams.kafka.client import producer, transact
    from streams.kafka.producer import NotDelivered
    from streams.log.dead_letters import Message
    from streams.log.open_transactions import BehindOpenTransaction
    from streams.versions.known import first_policy
    from streams.versions.records import first_records

    policy = first_policy(chosen.policy.base_currency, chosen.policy.time_zone)
    encoder = Encoder(registry_for(chosen))
    records = [*first_records(policy, encoder), *_learning(chosen, encoder)]
    for attempts_left in reversed(range(FIRST_VERSIONS_ATTEMPTS)):
        # A worker that died here has left its transaction open: the producer of the same name ends it.
        with suppress(BehindOpenTransaction):
            if not _without_versions(chosen):
                return
        sender = producer(chosen.kafka, transactional_id=f"{chosen.app}.versions")
        empty = _without_versions(chosen)
        # Learning has no first version that counts from the beginning: for history it is known before any record.
        stamps = {b"learning": FIRST_TIMESTAMP_MS} if chosen.clock == "records" else {}
        missing = [
            Message(chosen.topic(t), key, value, [], timestamp_ms=stamps.get(key))
            for t, key, value in records
            if t in empty
        ]
        try:
            transact(sender, missing)
        except NotDelivered:  # another worker has just taken this name to do the same: look again
            if not attempts_left:
                raise
        else:
            return


def _without_versions(chosen: Settings) -> set[str]:
    """Broadcast topics without the version that counts from the beginning: a policy, weights of the value model."""
    from streams.composition.registry import registry_for
    from streams.kafka.client import read, require_topics
    from streams.versions.known import has_version
    from streams.versions.reading import POLICY, VALUE, reader

    found, ask = set(), reader(registry_for(chosen), chosen.topic_prefix)
    for name, kind in (("rescore-config", POLICY), ("rescore-weights", VALUE)):
        records = read(chosen.kafka, require_topics(chosen.kafka, [chosen.topic(name)]))
        if not has_version(records, ask, kind):
            found.add(name)
    return found


def require_schemas(chosen: Settings, *topics: str) -> None:
    """Ask the registry for the schemas of topics that are written. Raises SchemaNotRegistered, RegistryUnavailable.

    At the start, where it can be told: a process that lacks one of them would stand still for good.
    """
    from schemas.definitions import SCHEMA_OF_TOPIC
    from streams.composition.registry import registry_for

    registry = registry_for(chosen)
    for topic in topics:
        registry.prefix_of(SCHEMA_OF_TOPIC[topic])


WRITTEN = (
    "score-changes", "scorecards", "rescore-state", "rescore-journal", "rescore-examples", "commands",
    "rescore-config", "rescore-weights",
)  # fmt: skip
"""Topics that a worker writes values of a schema to."""


def _learning(chosen: Settings, encoder: Encoder) -> list[tuple[str, bytes, bytes]]:
    """The learning policy of a new deployment, if it is to learn."""
    from streams.learning.epochs import LearningPolicy
    from streams.versions.known import learning_record

    if not chosen.learning.epoch_seconds:
        return []
    policy = LearningPolicy(
        effective_ms=0,
        epoch_ms=chosen.learning.epoch_seconds * 1_000,
        adopt=chosen.learning.adopt,
        rescore_everyone=chosen.learning.rescore_everyone,
        examples_min=chosen.learning.examples_min,
        texts_one_in=chosen.learning.texts_one_in,
    )
    return [learning_record(policy, "rescore", "first learning policy of this deployment", encoder)]


def adopter(
    chosen: Settings, logger: logging.Logger, count: Callable[[Mapping[str, int]], None] = lambda _: None
) -> Callable[[Known, Sequence[Record]], Known]:
    """Takes broadcast records in, tells those that cannot be used, each once, and counts them by topic."""
    from streams.composition.registry import registry_for
    from streams.kafka.topics import BROADCAST_TOPICS
    from streams.versions.known import reader

    read = reader(registry_for(chosen), chosen.topic_prefix)

    def adopt(known: Known, records: Sequence[Record]) -> Known:
        after = known.adopt(records, read)
        before = {refusal.place for refusal in known.refused}
        new = [refusal for refusal in after.refused if refusal.place not in before]
        for refusal in new[:REFUSALS_TOLD]:
            where = f"{refusal.record.topic}, offset {refusal.record.offset}"
            logger.error("%s counts as never published: %s", where, refusal.reason)
        if len(new) > REFUSALS_TOLD:
            more = len(new) - REFUSALS_TOLD
            logger.error("%d more records count as never published: `rescore config check` lists them", more)
        counts = Counter(refusal.record.topic for refusal in after.refused)
        count({chosen.topic(name): counts[chosen.topic(name)] for name in BROADCAST_TOPICS})
        return after

    return adopt


REFUSALS_TOLD = 50
"""Of one piece of a topic; more are counted."""


def known_versions(chosen: Settings, *, tell: bool = True, open_seconds: float | None = None) -> Known:
    """What the broadcast topics say now. Records that count as never published are told in one line.

    Raises BehindOpenTransaction, by default after the seconds of `read`.
    """
    from streams.composition.registry import registry_for
    from streams.kafka.client import read, require_topics
    from streams.kafka.topics import BROADCAST_TOPICS
    from streams.versions.known import Known, first_policy, reader

    policy = first_policy(chosen.policy.base_currency, chosen.policy.time_zone)
    counts = require_topics(chosen.kafka, [chosen.topic(name) for name in BROADCAST_TOPICS])
    ask = reader(registry_for(chosen), chosen.topic_prefix)
    known = Known.first(policy).adopt(list(read(chosen.kafka, counts, open_seconds=open_seconds)), ask)
    if known.refused and tell:
        remark(refused_words(known))
    return known


def policy_zone(chosen: Settings) -> Zone:
    """The time zone of this deployment's policy, in which times without a zone are read.

    Where the topic has no policy, or we may not read it, that of the settings, which the first worker will write there.
    """
    from schemas.zones import zone_of
    from streams.composition.registry import registry_for
    from streams.kafka.client import partition_counts, read
    from streams.versions.known import Known, first_policy, reader

    policy = first_policy(chosen.policy.base_currency, chosen.policy.time_zone)
    records = read(chosen.kafka, partition_counts(chosen.kafka, [chosen.topic("rescore-config")]))
    known = Known.first(policy).adopt(list(records), reader(registry_for(chosen), chosen.topic_prefix))
    return zone_of(known.versions.policies[0].time_zone)


def refused_words(known: Known) -> str:
    """How many broadcast records count as never published, and where to see them."""
    first, count = known.refused[0], len(known.refused)
    records = "1 broadcast record counts" if count == 1 else f"{count:,} broadcast records count"
    return (
        f"{records} as never published, first {first.record.topic}, offset {first.record.offset}: {first.reason}; "
        "`rescore config check` lists them"
    )
