"""The demo's last word: everything counted again from the topics, where the data are, what to read next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.demo_feed import change_id_of
from local.demo_recount import Recount, recount
from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from streams.commands.wire import values
from streams.dead_letters import open_letters
from streams.kafka_client import read, require_topics
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo did. `dead_letters` counts the refused events by their message."""

    events: int
    waiting: int | None  # events that the worker had not taken when it was stopped; None: not known
    recount: Recount
    dead_letters: dict[str, int]
    folder: Path
    versions: int = 0  # of weights that were learned and came into force

    @property
    def exact(self) -> bool:
        """Whether the recount found every change once, in sequence, and every scorecard at its last change.

        Not where there was no change: a recount of nothing shows nothing.
        """
        return self.recount.exact and self.recount.changes > 0

    def lines(self) -> Iterator[str]:
        """The summary in words."""
        count = self.recount
        yield f"{self.events:,} events became {count.changes:,} score changes of {count.customers:,} customers"
        if self.waiting is None:
            yield "how many events were still waiting when the worker was stopped is not known: Kafka did not say"
        elif self.waiting:
            yield f"{self.waiting:,} events were still waiting when the worker was stopped: they are not counted below"
        if not count.changes:
            yield "no score changed, so there is nothing to recount"
        elif count.exact:
            yield (
                f"exactly once, by recount: every change once, {count.scores:,} sequences without a gap, "
                f"{count.scorecards:,} scorecards at their customers' last changes"
            )
        else:
            yield (
                f"NOT exactly once: {count.twice:,} changes twice, {count.gaps:,} gaps, "
                f"{count.differing:,} scorecards differ; please report it with the logs in {self.folder}"
            )
        if self.versions:
            yield f"{self.versions:,} versions of weights were learned on the way: rescore models list --help"
        for message, number in self.dead_letters.items():
            yield f"dead letters: {number:,} x {message}"
        yield f"logs of the parts: {self.folder}"
        yield "read next: README.md, docs/architecture.md; your own data: rescore demo --data FILE"


def count_again(settings: Settings, events: int, waiting: int | None, folder: Path) -> Summary:
    """Read score-changes, scorecards and dead letters from their beginning, and count. Some 5 microseconds a record."""
    decode = values(settings).decode
    latest = {(record.key or b"").decode(): record.value for record in _all(settings, "scorecards")}
    cards = {user: None if data is None else decode("scorecards", data) for user, data in latest.items()}
    counted = recount((_change_id(record, decode) for record in _all(settings, "score-changes")), cards)
    letters = open_letters(_all(settings, *(f"{topic}.dlq" for topic in INPUT_TOPICS)))
    messages = dict(Counter(letter.message for letter in letters).most_common())
    return Summary(events, waiting, counted, messages, folder, versions_learned(_all(settings, "rescore-weights")))


def versions_learned(weights: Iterable[Record]) -> int:
    """How many versions stand behind the packaged one; records that say how far was learned are none."""
    return max(sum(record.key != b"epoch" for record in weights) - 1, 0)


def _all(settings: Settings, *topics: str) -> Iterator[Record]:
    return read(settings.kafka, require_topics(settings.kafka, map(settings.topic, topics)))


def _change_id(record: Record, decode: Any) -> str:
    return change_id_of(record) or str(decode("score-changes", record.value)["change_id"])
