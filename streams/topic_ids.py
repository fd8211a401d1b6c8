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

from streams.log import HaltPartition

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

    `begins`: read from the first record on when a person says so; the changelog `state` cannot be.
    """

    begins: tuple[str, ...] = ()
    state: str | None = None
    from_beginning: frozenset[str] = frozenset()
    same_offsets: frozenset[str] = frozenset()

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
        others = self.others(known, found)
        begun = {other.topic for other in others if other.found in self.from_beginning and other.topic != self.state}
        undecided = [o for o in others if o.topic not in begun and o.found not in self.same_offsets]
        if undecided:
            raise HaltPartition(self.words(whose, undecided))
        return SameTopics({**(known or {}), **found}, frozenset(begun))

    def words(self, whose: str, others: Sequence[Other]) -> str:
        """What happened, and what to do."""
        return f"{whose}: " + " ".join(map(self.sentence, others)) + f" {self.remedy(others)}"

    def sentence(self, other: Other) -> str:
        """What happened to one topic."""
        return (
            f"{other.topic} is another topic now: its topic id is {other.found}, the last one that was taken had "
            f"{other.known}. It was deleted and created again, or this is another cluster."
        )

    def remedy(self, others: Sequence[Other]) -> str:
        """What a person can decide."""
        ids = ",".join(other.found for other in others)
        moved = f"If it holds the same records at the same offsets (a cluster that was moved): {SAME_OFFSETS}={ids}."
        where = "If it is the wrong topic or cluster, correct RESCORE_TOPIC_PREFIX or RESCORE_KAFKA__BOOTSTRAP_SERVERS."
        if any(other.topic == self.state for other in others):
            return (
                f"The rows of customers were in it: do not empty Redis, which may hold the only copy. {where} {moved} "
                f"Otherwise start a new RESCORE_APP and replay the inputs. Nothing more is taken until then."
            )
        begin = f"If its records are new, start the workers with {FROM_BEGINNING}={ids}: all of them are taken."
        return f"{where} {begin} {moved} Nothing more is taken until then, and nothing is lost."


NO_TOPICS = TopicIds()
"""Nothing is compared."""
