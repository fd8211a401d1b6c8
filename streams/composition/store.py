"""Redis for the commands: one customer's committed row."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schemas.errors import Exit, fail

if TYPE_CHECKING:
    from state.row import Row
    from streams.settings import Settings


class Place(NamedTuple):
    """Which committed state a row is of."""

    partition: int
    seq: int


def read_row(chosen: Settings, key: bytes) -> tuple[Row, Place] | None:
    """The row of this key (`schemas.row_keys`) and which committed state it is; None where nothing is known of it.

    Never a default: a partition that is being rebuilt, is not there or has lost the row ends the command with a
    sentence.
    """
    from schemas.row_keys import name_of, record_key
    from state.layout import decode_row
    from state.redis_store import RedisStore
    from streams.composition.registry import partition_of
    from streams.kafka.client import require_topics

    topic = chosen.topic("transactions")
    partitions = require_topics(chosen.kafka, [topic])[topic]
    partition = partition_of(chosen, record_key(key).decode(), partitions)
    store = RedisStore(
        chosen.redis.url.get_secret_value(),
        chosen.app,
        partitions,
        timeout_seconds=chosen.redis.timeout_seconds,
        connect_timeout_seconds=chosen.redis.connect_timeout_seconds,
    )
    try:
        row, position = store.read(key, partition)
    finally:
        store.close()
    if position is None or not position.ready or (row is None and position.lost):
        state = "is not there yet" if position is None else "is being rebuilt"
        if position is not None and position.lost:
            state = "has lost rows and is to be rebuilt by a worker"
        fail(
            f"partition {partition} of {name_of(key)!r} {state} in Redis",
            "rescore lag says when it is",
            Exit.UNREACHABLE,
        )
    return None if row is None else (decode_row(row), Place(partition, position.seq))
