"""What the learner wrote down about its models, for the commands that show it and decide about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import fail
from streams.commands.partial import as_far_as_committed, tell_missing

if TYPE_CHECKING:
    from streams.learner.report import Remembered
    from streams.settings import Settings


def remembered(chosen: Settings, missing: list[str] | None = None) -> Remembered:
    """What the learner wrote down last about its models; `missing` hears of an open transaction, which else is raised.

    Ends the command if it has not learned yet. Raises UnreadableRecord, which names the record.
    """
    from streams.kafka.client import read, require_topics
    from streams.kafka.topics import MEMORY_TOPIC
    from streams.learner.checkpoint import MODEL, Memory
    from streams.learner.report import remembered_of

    topic = chosen.topic(MEMORY_TOPIC)
    memory = Memory(topic)
    records = read(chosen.kafka, require_topics(chosen.kafka, [topic]))
    for record in records if missing is None else as_far_as_committed(records, missing):
        memory.take(record)
    if MODEL not in memory:
        tell_missing(missing or [])
        fail("nothing has been learned yet", "rescore learner, and see `rescore models epochs --help`")
    return remembered_of(memory)
