"""What the bank publishes: events of a few users on all inputs, with everything that goes wrong before Kafka."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from schemas.kinds import INPUT_TOPICS

FAILS = b"boom"
"""A value on which the program under test raises: a fault of its own, planted."""

WORDS = ("line", "line", "line", "due", "due", "check", "erase")
WORD_TOPICS = {"erase": "commands", "due": "loans", "check": "applicants"}


class Publication(NamedTuple):
    """One record to be written; it knows no offset yet."""

    topic: str
    key: bytes | None
    value: bytes


@dataclass
class LedgerWorkload:
    """Events for `tests.simulation.ledger`. Times are given by whoever publishes."""

    random: Random
    users: int
    made: int = 0
    published: list[Publication] = field(default_factory=list)

    def event(self, now_ms: int) -> Publication:
        """The next event: mostly new, now and then one that was published before, a correction, or rubbish."""
        random = self.random
        fate = random.random()
        if fate < 0.08 and self.published:
            return random.choice(self.published)
        if fate < 0.14:
            rubbish = random.choice([b"", b"\xff\xfe", b"e1 0 12 shout 3", FAILS])
            return Publication(random.choice(INPUT_TOPICS), self._user(), rubbish)
        self.made += 1
        revision = 1 if fate < 0.2 else 0
        number = random.randrange(self.made) if revision else self.made
        word = random.choice(WORDS)
        if word == "erase" and random.random() < 0.6:
            word = "line"
        argument = now_ms + random.choice([1, 500, 5_000, 60_000, 600_000]) * random.randrange(1, 4)
        made_ms = now_ms - random.choice([0, 0, 0, 50, 4_000])
        value = f"e{number} {revision} {made_ms} {word} {argument}".encode()
        topic = WORD_TOPICS.get(word) or random.choice(INPUT_TOPICS)
        publication = Publication(topic, self._user(), value)
        self.published.append(publication)
        return publication

    def _user(self) -> bytes:
        return b"user-%d" % self.random.randrange(self.users)
