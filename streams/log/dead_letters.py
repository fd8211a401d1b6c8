"""Dead letters: what was refused, byte for byte, and its way back once the cause is fixed.

A dead-letter topic holds letters (the record as received and headers that say why) and notes, written by `replay` and
`drop` in one transaction with what they do: a note names a letter that is settled. So a letter comes back at most once
whatever crashes, and the open ones are those without a note. Nothing is ever taken out of the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from schemas.batch import Record
from schemas.errors import RescoreError
from schemas.kinds import INPUT_TOPICS

ERROR_PREFIX = "__streams.errors."
NOTE = "__rescore.note"  # value: what was done, "replayed" or "dropped"
NOTE_OF = "__rescore.note.of"  # value: the offset of the letter, in this partition of this topic
NOTE_BY = "__rescore.note.by"
REPLAYED_FROM = "__rescore.replayed.from"  # on the event that came back: which letter it was
SUFFIX = ".dlq"
DIGITS_MAX = 19
"""Of an offset: what another program put into a header may be of any length."""


class UnknownLetter(RescoreError):
    """A letter was named that is not open."""


class DeadLetter(NamedTuple):
    """One refused record. `topic`, `partition`, `offset` say where the letter lies, `origin_*` where the record lay.

    `cut_bytes` is the size of a record that does not fit its dead-letter topic, and whose value is not here; else -1.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]  # as received
    origin_topic: str
    origin_partition: int
    origin_offset: int
    stage: str
    exception: str
    message: str
    cut_bytes: int = -1

    @property
    def name(self) -> str:
        """What the letter is called on the command line: where it lies, `transactions.dlq/0/17`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Message(NamedTuple):
    """A record to be written; `partition` None leaves the choice to the partitioner, a time of None to the broker."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None
    timestamp_ms: int | None = None


def open_letters(records: Iterable[Record]) -> list[DeadLetter]:
    """Letters of dead-letter topics that have no note, in order of time. `records` are all records of these topics.

    Memory: the open letters, and the places of the settled ones.
    """
    letters: dict[tuple[str, int, int], DeadLetter] = {}
    settled: set[tuple[str, int, int]] = set()
    for record in records:
        headers = dict(record.headers or [])
        if NOTE in headers:
            settled.add((record.topic, record.partition, _number(headers, NOTE_OF)))
        else:
            letters[record.topic, record.partition, record.offset] = _letter(record, headers)
    found = [letter for place, letter in letters.items() if place not in settled]
    return sorted(found, key=lambda letter: (letter.timestamp_ms, letter.topic, letter.partition, letter.offset))


def _letter(record: Record, headers: Mapping[str, bytes]) -> DeadLetter:
    def text(name: str) -> str:
        return headers.get(ERROR_PREFIX + name, b"").decode("utf-8", "replace")

    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        key=record.key,
        value=record.value,
        headers=[(name, value) for name, value in record.headers or [] if not name.startswith(ERROR_PREFIX)],
        origin_topic=text("topic") or record.topic.removesuffix(SUFFIX),
        origin_partition=_number(headers, ERROR_PREFIX + "partition"),
        origin_offset=_number(headers, ERROR_PREFIX + "offset"),
        stage=text("stage"),
        exception=text("exception"),
        message=text("message"),
        cut_bytes=_number(headers, ERROR_PREFIX + "cut"),
    )


def _number(headers: Mapping[str, bytes], name: str) -> int:
    """A number in a header; -1 where there is none, so that a foreign record in the topic is shown, not fatal."""
    text = headers.get(name, b"")
    return int(text) if text.isdigit() and len(text) <= DIGITS_MAX else -1


def chosen(
    letters: Iterable[DeadLetter], names: Iterable[str] = (), topic: str = "", exception: str = "", user: str = ""
) -> list[DeadLetter]:
    """Letters that fit every choice made; `names` are `topic/partition/offset`, all letters if there is none.

    A topic without `.dlq` is taken for its dead-letter topic: letters were called so in earlier releases.
    Raises UnknownLetter for a name no open letter has.
    """
    wanted = {_with_suffix(name) for name in names}
    open_ones = list(letters)
    if unknown := sorted(wanted - {letter.name for letter in open_ones}):
        raise UnknownLetter(f"there is no open dead letter {', '.join(unknown)}: it was settled, or never there")
    return [
        letter
        for letter in open_ones
        if (not wanted or letter.name in wanted)
        and (not topic or letter.topic.removesuffix(SUFFIX) == topic)
        and (not exception or letter.exception.lower() == exception.lower())
        and (not user or letter.key == user.encode())
    ]


def _with_suffix(name: str) -> str:
    topic, slash, place = name.partition("/")
    return name if topic.endswith(SUFFIX) or not slash else f"{topic}{SUFFIX}/{place}"


def replayed(
    letter: DeadLetter,
    by: str,
    user_of: Callable[[DeadLetter], bytes | None],
    timestamp_ms: int | None,
    inputs: Collection[str] = INPUT_TOPICS,
) -> tuple[Message, Message]:
    """The event as it comes back, and the note that settles its letter.

    Value and headers are those received, byte for byte. The key is the user the value names (`user_of`), where it names
    one: a letter with a wrong key, or in a wrong partition, comes back at its right place. `timestamp_ms` is for
    topics whose records carry their own time; it becomes known when it comes back, so time does not go back either.
    Raises UnknownLetter for one whose value was too large to be kept, or which is of none of the `inputs`.
    """
    if letter.origin_topic not in inputs:
        raise UnknownLetter(
            f"the dead letter {letter.name} names {letter.origin_topic!r}, which is no input: another program wrote "
            f"it. Drop it"
        )
    if letter.cut_bytes >= 0:
        origin_place = f"{letter.origin_topic}/{letter.origin_partition}/{letter.origin_offset}"
        raise UnknownLetter(
            f"the dead letter {letter.name} holds no value: the record of {letter.cut_bytes:,} bytes is at "
            f"{origin_place}. Publish the event again, shorter, and drop the letter"
        )
    origin = (REPLAYED_FROM, letter.name.encode())
    headers = [header for header in letter.headers if header[0] != REPLAYED_FROM] + [origin]
    key = user_of(letter) or letter.key
    event = Message(letter.origin_topic, key, letter.value, headers, timestamp_ms=timestamp_ms)
    return event, note(letter, "replayed", by, timestamp_ms)


def note(letter: DeadLetter, done: str, by: str, timestamp_ms: int | None = None) -> Message:
    """The note that settles a letter; it lies in the letter's own partition."""
    headers = [(NOTE, done.encode()), (NOTE_OF, str(letter.offset).encode()), (NOTE_BY, by.encode())]
    return Message(letter.topic, letter.key, None, headers, letter.partition, timestamp_ms)
