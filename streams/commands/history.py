"""The changes of one customer for `rescore explain`, read back from where their row says that they end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from schemas.errors import RescoreError
from streams.terminal import remark

if TYPE_CHECKING:
    from collections.abc import Collection

    from streams.customers.history import Found, KnownRow
    from streams.settings import Settings


class Looked(NamedTuple):
    """What was found of a customer, scores whose last change was not, and what kept from reading on."""

    found: Found
    not_found: list[str]
    missing: list[str]


def changes_of(chosen: Settings, user: str, scores: Collection[str], steps: int, *, everything: bool) -> Looked:
    """The last changes of a customer; with `everything`, all that the topic holds.

    Records that cannot be read are skipped, and told on standard error. Redis is asked where the partition holds more
    than is read at most.
    """
    from streams.commands.subscribe import CHANGES
    from streams.composition.registry import partition_of, values
    from streams.customers.history import RECORDS_MAX, find, missing_scores
    from streams.kafka.client import require_topics
    from streams.kafka.history import KafkaChanges
    from streams.log.open_transactions import BehindOpenTransaction
    from streams.log.unreadable import Unreadable

    topic = chosen.topic(CHANGES)
    partition = partition_of(chosen, user, require_topics(chosen.kafka, [topic])[topic])
    decode = partial(values(chosen).decode, CHANGES)
    with (
        Unreadable(remark) as unreadable,
        KafkaChanges(chosen.kafka, topic, partition, decode, unreadable) as reader,
    ):
        size = reader.end - reader.first
        row = None if everything or size <= RECORDS_MAX else _known_row(chosen, user)
        records_max = size if everything else RECORDS_MAX
        found = find(reader, user, row, scores=scores, steps=steps, records_max=records_max)
        missing = [str(BehindOpenTransaction(reader.behind))] if reader.behind else []
    return Looked(found, [] if found.whole else missing_scores(found, row, scores), missing)


def _known_row(chosen: Settings, user: str) -> KnownRow | None:
    """What the committed row says; None without one, and then the search begins at the end of the topic."""
    from schemas.kinds import SCORE_NAMES
    from state.errors import StoreUnavailable
    from streams.composition.store import read_row
    from streams.customers.history import KnownRow

    try:
        found = read_row(chosen, user.encode())
    except (StoreUnavailable, RescoreError) as missing:
        remark(f"the search begins at the end of the topic, as the row is not to be had: {missing}")
        return None
    if found is None or not found[0].exists:
        return None
    row = found[0]
    sequences = {name: last for name, last in zip(SCORE_NAMES, row.sequences, strict=True) if last}
    return KnownRow(row.clock_ms, f"{row.incarnation_rank}-{row.incarnation_offset}", sequences)
