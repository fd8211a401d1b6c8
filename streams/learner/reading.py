"""What the learner reads: how far each partition of the examples is, and a training example from its record.

A record that is neither an example nor the mark of an epoch is noted as unreadable and skipped; no worker writes such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.batch import BEGINNING_MS, DAY_MS, FEATURE_SLOTS, Record
from schemas.zones import FIRST_DAY, LAST_DAY
from streams.learning.cases import CaseExample, case_of
from streams.learning.population_sample import Member
from streams.learning.rounds import Waiting
from streams.learning.text_learner import TextExample, text_of
from streams.learning.value_learner import ValueExample
from streams.log.failures import NAMED, Failure, failure_of
from streams.log.protocol import HaltPartition, TopicPartition
from streams.log.unreadable import Unreadable, refuse_infinite


@dataclass(slots=True)
class ReadPartition:
    """How far one partition of the examples was read, and what waits of it."""

    where: TopicPartition
    next_offset: int
    mark_ms: int | None
    waiting: list[Waiting] = field(default_factory=list)
    marks_before: list[int | None] = field(default_factory=list)  # of what waits: the mark in force before it

    @classmethod
    def of(cls, where: TopicPartition, first_offset: int, checkpoint: Mapping[str, Any]) -> ReadPartition:
        """Where the checkpoint says. Raises `HaltPartition` where examples have been deleted before they were read."""
        held = checkpoint.get("partitions", {}).get(str(where.partition))
        if held is None:
            return cls(where, first_offset, None)
        if held[0] < first_offset:
            raise HaltPartition(
                f"{where.topic}/{where.partition}: the next example to learn is {held[0]}, the oldest there is "
                f"{first_offset}. Examples were deleted before they were learned: raise retention.ms. To learn again "
                f"from what is there, delete rescore-learner, run `rescore topics apply`, and start the learner."
            )
        return cls(where, held[0], held[1])

    @property
    def resume_offset(self) -> int:
        """From where on a new start has to read."""
        return self.waiting[0].offset if self.waiting else self.next_offset

    @property
    def resume_mark_ms(self) -> int | None:
        """The mark in force there."""
        return self.marks_before[0] if self.waiting else self.mark_ms

    def take(
        self,
        record: Record,
        read: Callable[[bytes], Mapping[str, Any]],
        done_ms: int | None,
        unreadable: Unreadable,
    ) -> Failure | None:
        """A marker moves the mark; an example waits for the end of its epoch, unless that has been learned already.

        What is neither is noted as unreadable: no worker writes such. Answers what reading it raised, if nobody
        expected that. Raises what is named for a remedy, such as RegistryUnavailable: the record is read again then.
        """
        try:
            said = read(record.value or b"")
            at_ms = moment_of(said)
            example = None if said["kind"] == "epoch" else example_of(said)
        except NAMED:
            raise
        except ValueError as error:
            self.next_offset = record.offset + 1
            unreadable.note(record, str(error))
            return None
        except Exception as error:  # noqa: BLE001 - of any kind: the bytes may be a stranger's
            self.next_offset = record.offset + 1
            return failure_of(error, "read")
        self.next_offset = record.offset + 1
        if example is None:
            self.mark_ms = max(at_ms, BEGINNING_MS if self.mark_ms is None else self.mark_ms)
        else:
            due_ms = example.timestamp_ms if self.mark_ms is None else max(example.timestamp_ms, self.mark_ms + 1)
            if is_ahead(due_ms, done_ms):
                self.waiting.append(Waiting(due_ms, example, record.partition, record.offset))
                self.marks_before.append(self.mark_ms)
        return None

    def forget_until(self, done_ms: int) -> None:
        """Drop what has been learned."""
        kept = [i for i, one in enumerate(self.waiting) if one.due_ms > done_ms]
        self.waiting = [self.waiting[i] for i in kept]
        self.marks_before = [self.marks_before[i] for i in kept]


CASES = ("request", "outcome", "withdrawn")


def moment_of(said: Mapping[str, Any]) -> int:
    """When a training example became known. Raises ValueError for a record with none, or one outside the calendar.

    Nothing else in it may be infinite either: a mean would be so for good.
    """
    at_ms = said["timestamp_ms"]
    if at_ms is None or not FIRST_DAY * DAY_MS <= at_ms < LAST_DAY * DAY_MS:
        raise ValueError(f"its timestamp_ms is {at_ms}")
    refuse_infinite({name: value for name, value in said.items() if name not in MAY_BE_INFINITE})
    return int(at_ms)


MAY_BE_INFINITE = ("label", "inputs")
"""Fields in which a customer's own words may stand; a number that is none is absent there."""


def example_of(said: Mapping[str, Any]) -> ValueExample | CaseExample | TextExample:
    """A training example from the fields of its record. Raises ValueError for what cannot be one."""
    if said["kind"] in CASES:
        return case_of(said)
    if said["kind"] == "text":
        return text_of(said)
    if said["kind"] not in ("example", "report", "erasure") or said["timestamp_ms"] is None or not said["user_hash"]:
        raise ValueError(f"{said['kind']} without what it needs")
    at_ms, hashed = int(said["timestamp_ms"]), bytes(said["user_hash"])
    if said["kind"] == "erasure":
        return ValueExample(at_ms, hashed, None, None, None, erased=True)
    if said["kind"] == "report":
        return ValueExample(at_ms, hashed, None, None, None, _borrower(at_ms, said))
    return ValueExample(at_ms, hashed, _packed(said["features"]), said["forecast"], said["label"])


def _borrower(at_ms: int, said: Mapping[str, Any]) -> Member:
    """What a borrower reports; of a due day it says how far it is from the day of the report."""
    found, day = said["member"], said["day"]
    if found is None or day is None:
        raise ValueError("a report without member or day")
    due_day = None if found["recency"] is None else day + found["recency"]
    return Member(at_ms, None, found["consistency"], found["status"], found["revenue"], due_day)


def _packed(features: Sequence[int] | None) -> tuple[int, ...] | None:
    if features is not None and (len(features) != FEATURE_SLOTS or not all(0 <= x <= 65_535 for x in features)):
        raise ValueError("these are not the inputs of the value model")
    return None if features is None else tuple(features)


def is_ahead(moment_ms: int | None, of_ms: int | None) -> bool:
    """Whether a moment lies behind another; None is before all."""
    return moment_ms is not None and (of_ms is None or moment_ms > of_ms)
