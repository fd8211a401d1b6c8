"""The demo's last word: everything counted again from the topics, where the data are, what to read next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from local.demo.feed import change_id_of
from local.demo.recount import Recount, recount
from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from streams.composition.registry import values
from streams.kafka.client import read, require_topics
from streams.log.dead_letters import DIGITS_MAX, open_letters
from streams.log.unreadable import Fields, Unreadable, readable
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
    unreadable: tuple[str, ...] = ()  # what another program wrote to our topics, in words
    failure: str = ""  # why the demo ended before its time

    @property
    def exact(self) -> bool:
        """Whether the recount found every change once, in sequence, and every scorecard at its last change.

        Not where there was no change: a recount of nothing shows nothing.
        """
        return self.recount.exact and self.recount.changes > 0

    def lines(self) -> Iterator[str]:
        """The summary in words."""
        count = self.recount
        if self.failure:
            yield from f"the demo ended before its time: {self.failure}".splitlines()
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
        yield from self.unreadable
        for message, number in self.dead_letters.items():
            yield f"dead letters: {number:,} x {message}"
        yield f"logs of the parts: {self.folder}"
        yield "read next: README.md, docs/architecture.md; your own data: rescore demo --data FILE"


def count_again(settings: Settings, events: int, waiting: int | None, folder: Path, failure: str = "") -> Summary:
    """Read score-changes, scorecards and dead letters from their beginning, and count. Some 5 microseconds a record."""
    decode, unreadable = values(settings).decode, Unreadable()
    cards = latest_cards(_all(settings, "scorecards"), partial(decode, "scorecards"), unreadable)
    changes = change_ids(_all(settings, "score-changes"), partial(decode, "score-changes"), unreadable)
    counted = recount(changes, cards)
    letters = open_letters(_all(settings, *(f"{topic}.dlq" for topic in INPUT_TOPICS)))
    messages = dict(Counter(letter.message for letter in letters).most_common())
    learned = versions_learned(_all(settings, "rescore-weights"))
    return Summary(events, waiting, counted, messages, folder, learned, tuple(unreadable.lines()), failure)


def versions_learned(weights: Iterable[Record]) -> int:
    """How many versions stand behind the packaged one; records that say how far was learned are none."""
    return max(sum(record.key != b"epoch" for record in weights) - 1, 0)


def _all(settings: Settings, *topics: str) -> Iterator[Record]:
    return read(settings.kafka, require_topics(settings.kafka, map(settings.topic, topics)))


def latest_cards(
    records: Iterable[Record], decode: Callable[[bytes], Fields], unreadable: Unreadable
) -> dict[str, Fields | None]:
    """The last scorecard of each customer, None of one who was erased; those that cannot be read are left out."""
    latest = {record.key: record for record in records}
    gone = {_user(record): None for record in latest.values() if record.value is None}
    held = readable((record for record in latest.values() if record.value is not None), decode, unreadable)
    return {**gone, **{_user(record): card for record, card in held}}


def change_ids(records: Iterable[Record], decode: Callable[[bytes], Fields], unreadable: Unreadable) -> Iterator[str]:
    """The change_id of each change: that of its headers, else of its value; what has none is left out."""
    for record in records:
        change_id = change_id_of(record)
        found = (
            [change_id] if change_id else [str(one["change_id"]) for _, one in readable([record], decode, unreadable)]
        )
        for one in found:
            _, *parts = one.rsplit("/", 3)
            if len(parts) == 3 and parts[-1].isdigit() and len(parts[-1]) <= DIGITS_MAX:
                yield one
            else:
                unreadable.note(record, "it has no change_id")


def _user(record: Record) -> str:
    return (record.key or b"").decode("utf-8", "backslashreplace")
