"""Topics that were deleted and created again: the same name, another topic.

Kafka gives every topic an id (a UUID) when it is created. The last progress record of a partition holds the ids of the
topics that its state was made from: the inputs, the changelog, the broadcast topics. An offset of one topic means
nothing in another, so where an id differs the partition halts, before a record is taken or the store is touched. What a
person decides then names the new id, so that it cannot be taken for a decision about a later one.

What is not known is not compared: brokers before Kafka 2.8 give no ids, and progress records of programs before this
one hold none. Then the ids of now are learned with the next commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streams.log.protocol import HaltPartition

FROM_BEGINNING = "RESCORE_CHANGED_TOPICS__FROM_BEGINNING"
SAME_OFFSETS = "RESCORE_CHANGED_TOPICS__SAME_OFFSETS"


class Other(NamedTuple):
    """A topic that is not the one it was."""

    topic: str
    known: str  # id in the last progress record, or in the learner's checkpoint
    found: str  # id of now


class SameTopics(NamedTuple):
    """What came of the comparison: the ids to remember, and the inputs to be taken from their first record on."""

    ids: dict[str, str]
    begun: frozenset[str]


@dataclass(frozen=True, slots=True)
class TopicIds:
    """The topics that have to stay the ones they are, and the ids that a person has decided about.

    `begins`: read from the first record on when a person says so; what is remembered in `state` cannot be, and
    `lost` says what to do then.
    """

    begins: tuple[str, ...] = ()
    state: str | None = None
    lost: str = ""
    from_beginning: frozenset[str] = frozenset()
    same_offsets: frozenset[str] = frozenset()

    @classmethod
    def of_worker(
        cls, inputs: Sequence[str], broadcast: Sequence[str], state: str,
        from_beginning: frozenset[str] = frozenset(), same_offsets: frozenset[str] = frozenset(),
    ) -> TopicIds:  # fmt: skip
        """The topics that a worker's state is made from."""
        lost = (
            f"The rows of customers were in {state}: do not empty Redis, which may hold the only copy. To make them "
            f"again, publish the inputs under another RESCORE_TOPIC_PREFIX."
        )
        return cls((*inputs, *broadcast), state, lost, from_beginning, same_offsets)

    @property
    def topics(self) -> tuple[str, ...]:
        """All of them."""
        return self.begins if self.state is None else (*self.begins, self.state)

    def others(self, known: Mapping[str, str] | None, found: Mapping[str, str]) -> list[Other]:
        """Topics that are not the ones they were, whatever a person has decided."""
        ids = known or {}
        return [
            Other(topic, ids[topic], found[topic])
            for topic in self.topics
            if topic in ids and topic in found and ids[topic] != found[topic]
        ]

    def same(self, known: Mapping[str, str] | None, found: Mapping[str, str], whose: str) -> SameTopics:
        """The ids to go on with. Raises `HaltPartition` for a topic that is another one, unless a person has decided.

        >>> topics = TopicIds(("loans",), from_beginning=frozenset(["new"]))
        >>> topics.same({"loans": "old"}, {"loans": "new"}, "partition 3")
        SameTopics(ids={'loans': 'new'}, begun=frozenset({'loans'}))
        """
        if undecided := self.undecided(known, found):
            raise HaltPartition(self.words(whose, undecided))
        begun = {o.topic for o in self.others(known, found) if o.found in self.from_beginning}
        return SameTopics({**(known or {}), **found}, frozenset(begun))

    def undecided(self, known: Mapping[str, str] | None, found: Mapping[str, str]) -> list[Other]:
        """Topics that are not the ones they were, and about which nobody has decided."""
        return [
            other
            for other in self.others(known, found)
            if other.found not in self.same_offsets
            and (other.found not in self.from_beginning or other.topic == self.state)
        ]

    def words(self, whose: str, others: Sequence[Other]) -> str:
        """What happened, and what to do."""
        return f"{whose}: " + " ".join(map(self.sentence, others)) + f" {self.remedy(others)}"

    def sentence(self, other: Other) -> str:
        """What happened to one topic."""
        return f"{other.topic} {self.what(other)}"

    def what(self, other: Other) -> str:
        """The same without the name of the topic."""
        return (
            f"is another topic now: its topic id is {other.found}, the last one that was taken had {other.known}. "
            f"It was deleted and created again, or this is another cluster."
        )

    def remedy(self, others: Sequence[Other]) -> str:
        """What a person can decide."""
        ids = ",".join(other.found for other in others)
        moved = f"If it holds the same records at the same offsets (a cluster that was moved): {SAME_OFFSETS}={ids}."
        where = "If it is the wrong topic or cluster, correct RESCORE_TOPIC_PREFIX or RESCORE_KAFKA__BOOTSTRAP_SERVERS."
        if any(other.topic == self.state for other in others):
            return f"{where} {moved} {self.lost} Nothing more is taken until then."
        begin = f"If its records are new, start the workers with {FROM_BEGINNING}={ids}: all of them are taken."
        return f"{where} {begin} {moved} Nothing more is taken until then, and nothing is lost."


NO_TOPICS = TopicIds()
"""Nothing is compared."""
