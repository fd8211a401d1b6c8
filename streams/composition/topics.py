"""The topics that a deployment asks for, from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.kafka.topics import TopicOptions
    from streams.settings import Settings


def options_of(chosen: Settings) -> TopicOptions:
    """The topics this deployment asks for."""
    from schemas.batch import DAY_MS
    from streams.kafka.topics import FOR_EVER, TopicOptions

    return TopicOptions(
        partitions=chosen.partitions,
        replication_factor=chosen.replication_factor,
        clock=chosen.clock,
        retention_ms=FOR_EVER if chosen.retention_days < 0 else chosen.retention_days * DAY_MS,
        record_bytes_max=max(chosen.topic_record_bytes_max, chosen.record_bytes_max),
        prefix=chosen.topic_prefix,
    )
