"""Publishing exactly once: events and the records of their files in the same transactions, one publisher at a time.

A file belongs to the transactional id that its record names. Whoever goes on with a file first takes that id, which
ends what its owner has open and fences it; only then is the record read for good. A new file is claimed through an id
made from its key, so that of two who begin it at once one is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from schemas.errors import RescoreError
from streams.kafka.producer import Published
from streams.kafka.publisher_protocol import Fenced, PublicationLog, Sender, Written
from streams.log.open_transactions import BehindOpenTransaction
from streams.publish.events import Event
from streams.publish.publications import Known, Part, Place, Publication, part_of_line
from streams.publish.publisher import not_back

EVENTS_MAX = 10_000
SECONDS_MAX = 0.5
"""A transaction ends after so many events or so long. Until it ends, records of others behind it are not read."""
ASK_TIME_EVERY = 250
ATTEMPTS_BEHIND_MAX = 10
"""Each waits some seconds for an open transaction; the broker ends that of a killed publisher within 45 s."""


class TakenOver(RescoreError):
    """Another publisher has the file, or has had it since this one looked."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes files through a log. `app` begins the transactional ids, `topic` is where publications are kept.

    `stamp` gives each record its event time as timestamp.
    """

    log: PublicationLog
    app: str
    topic: str
    by: str
    now_ms: Callable[[], int]
    seconds: Callable[[], float]
    stamp: bool = False
    events_max: int = EVENTS_MAX
    waiting: Callable[[str], None] = lambda _why: None

    def known(self, keys: Iterable[str] = ()) -> Known:
        """What was published. `keys` are those of the files that this call is about.

        A publisher that was killed leaves a transaction open, behind which nothing is read until its time is over.
        Where it published one of these files, it is ended at once: one that lives never has any open for so long.
        """
        read = Known()
        try:
            read.take(self.log.records())
        except BehindOpenTransaction:
            mine = [key for key in keys if not (key in read.publications and read.publications[key].complete)]
            senders = {read.publications[key].sender for key in mine if key in read.publications}
            for sender in sorted(senders | {self._id_of(key) for key in mine}):
                self.log.own(sender).close()
            read = self._known_later()
        return read

    def _known_later(self) -> Known:
        """What was published, once the transaction of somebody else is over. Raises BehindOpenTransaction."""
        for _ in range(ATTEMPTS_BEHIND_MAX):
            try:
                return Known.of(self.log.records())
            except BehindOpenTransaction as behind:
                self.waiting(str(behind))
        return Known.of(self.log.records())

    def claim(self, parts: Sequence[Part]) -> Sender:
        """Make the parts this publisher's own: from now on nobody else goes on with them, or this one is told.

        Raises TakenOver where somebody else goes on with one of them.
        """
        self._refuse_what_moves(parts)
        main_id = self._id_of(min(part.publication.key for part in parts))
        senders = {own_id: self.log.own(own_id) for own_id in sorted({self._id_of(p.publication.key) for p in parts})}
        for part in parts:
            if part.base is not None and not part.base.complete and part.base.sender not in senders:
                self.log.own(part.base.sender).close()
        self._refuse_what_moves(parts)  # read again: from here on nobody else can write
        for part in parts:
            claiming, at_ms = senders[self._id_of(part.publication.key)], self.now_ms()
            began_ms = part.publication.began_ms or at_ms
            part.publication = replace(part.publication, sender=main_id, by=self.by, began_ms=began_ms, at_ms=at_ms)
            try:
                claiming.begin()
                self._write(claiming, part.publication)
                claiming.commit()
            except Fenced:
                raise _taken_over([part]) from None
        for own_id, sender in senders.items():
            if own_id != main_id:
                sender.close()
        return senders[main_id]

    def publish(
        self,
        events: Iterable[Event],
        parts: Mapping[int, Sequence[Part]],
        sender: Sender,
        topic_name: Callable[[str], str],
        published: Published,
        told: Callable[[Published], None] = lambda _published: None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Send events in the order given, each for its part of the file (`parts`, by the number of the file).

        `at_end` is called before the last commit, when a stream of events has been read to its end.
        Whatever ends this, `published.acknowledged` events are in the topics for certain, and their records say which.
        Raises TakenOver, NotDelivered, RecordRefused, TimeGoesBack, and what reading the events does.
        """
        opened, began = 0, 0.0
        every = [part for of_file in parts.values() for part in of_file]
        try:
            for event in events:
                if opened == 0:
                    sender.begin()
                    began = self.seconds()
                if self.stamp:
                    not_back(event, published)
                sender.send(
                    Written(topic_name(event.topic), event.key, event.value, event.time_ms if self.stamp else None)
                )
                of_file = parts[event.order[0]]
                part = of_file[0] if len(of_file) == 1 else part_of_line(event.order[1], of_file)
                if part is not None:
                    part.took(place_of(event))
                published.sent, published.last_time_ms, opened = published.sent + 1, event.time_ms, opened + 1
                if opened >= self.events_max or (
                    opened % ASK_TIME_EVERY == 0 and self.seconds() - began >= SECONDS_MAX
                ):
                    self._commit(sender, every, published)
                    told(published)
                    opened = 0
            at_end()
            if opened == 0:
                sender.begin()
            self._commit(sender, every, published)
            told(published)
        except Fenced:
            raise _taken_over(every) from None
        except BaseException:
            sender.abort()
            raise

    def _commit(self, sender: Sender, parts: Sequence[Part], published: Published) -> None:
        """Commit the open transaction, with the records of the parts that it changes."""
        at_ms = self.now_ms()
        for part in parts:
            if part.changed:
                self._write(sender, part.now(at_ms))
                part.changed = False
        sender.commit()
        published.acknowledged = published.sent

    def _write(self, sender: Sender, publication: Publication) -> None:
        sender.send(Written(self.topic, publication.key.encode(), publication.encode()))

    def _id_of(self, key: str) -> str:
        return f"{self.app}.publish.{key[:32]}"

    def _refuse_what_moves(self, parts: Sequence[Part]) -> None:
        """Raise TakenOver where a publication is no longer what it was when this call looked."""
        known = self._known_later()
        for part in parts:
            found = known.publications.get(part.publication.key)
            if found is not None and found != part.base:
                raise TakenOver(
                    f"{part.publication.name} is being published by another call of rescore publish, or was a moment "
                    f"ago: {found.words()}; see `rescore publications`, and if it stands still, publish it again"
                )


def _taken_over(parts: Sequence[Part]) -> TakenOver:
    names = ", ".join(dict.fromkeys(part.publication.name for part in parts))
    return TakenOver(
        f"another call of rescore publish has taken over {names}, or this one stood still for 30 s; what it had "
        "committed stays and is counted: see `rescore publications`, and publish again what is not complete"
    )


def place_of(event: Event) -> Place:
    """Where an event stands in its file."""
    return event.time_ms, event.order[1], event.order[2]
