"""Are scores current, and if not, why? One verdict with its sentence and the next thing to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from streams.publish import text_of_ms


class Verdict(Enum):
    """One word for how the workers stand."""

    OK = "OK"
    BEHIND = "BEHIND"
    STALLED = "STALLED"
    REBALANCING = "REBALANCING"
    STOPPED = "STOPPED"


class Answer(NamedTuple):
    """The verdict, why, and what to do next."""

    verdict: Verdict
    sentence: str
    next: str


@dataclass(frozen=True, slots=True)
class Look:
    """What can be seen at one moment: the group, and what waits in each (topic, partition)."""

    at_seconds: float
    workers: int
    group_state: str  # as Kafka names it: Stable, PreparingRebalance, CompletingRebalance, Empty, Dead, ...
    committed: dict[tuple[str, int], int]
    waiting: dict[tuple[str, int], int]

    @property
    def records(self) -> int:
        """Records that wait, over all partitions."""
        return sum(self.waiting.values())


def judge(first: Look, second: Look) -> Answer:
    """The verdict over two looks, some seconds apart.

    >>> look = Look(0.0, 2, "STABLE", {}, {("loans", 0): 0})
    >>> judge(look, look).verdict.value
    'OK'
    """
    waits = "1 record waits" if second.records == 1 else f"{second.records:,} records wait"
    if "REBALANC" in second.group_state.upper():
        return Answer(
            Verdict.REBALANCING, f"partitions are being given to {second.workers} workers; {waits}", "ask again in 10 s"
        )
    if second.workers == 0:
        if second.records == 0:
            return Answer(Verdict.STOPPED, "no worker runs; nothing waits, but time moves no score", "rescore worker")
        return Answer(Verdict.STOPPED, f"no worker runs; {waits}", "rescore worker")
    if second.records == 0:
        return Answer(Verdict.OK, f"scores are current: {second.workers} workers, nothing waits", "rescore subscribe")
    stuck = [place for place, waiting in second.waiting.items() if waiting and not _moved(first, second, place)]
    seconds = max(second.at_seconds - first.at_seconds, 1e-9)
    if stuck:
        names = ", ".join(f"{topic}/{partition}" for topic, partition in sorted(stuck)[:5])
        return Answer(
            Verdict.STALLED,
            f"{waits}; in {seconds:.0f} s nothing was taken from {names}",
            "read the worker's log: a halted partition says why, a held one names what does not answer",
        )
    rate = sum(second.committed[place] - first.committed.get(place, 0) for place in second.committed) / seconds
    left = f"; about {second.records / rate:,.0f} s at {rate:,.0f} records/s" if rate > 0 else ""
    return Answer(Verdict.BEHIND, f"{waits}{left}", "start another `rescore worker` where cores are free")


def _moved(first: Look, second: Look, place: tuple[str, int]) -> bool:
    """Whether records were taken between the looks; a place where nothing waited before had no reason to move."""
    return second.committed.get(place, 0) > first.committed.get(place, 0) or not first.waiting.get(place)


def waits_for_learning(answer: Answer, held_ms: int, boundary_ms: int, marked_ms: Mapping[int, int | None]) -> Answer:
    """Why clocks stand at a time: what is learned up to a boundary comes into force then and is not published yet.

    `marked_ms` says by partition up to which boundary it has said all.

    >>> stalled = Answer(Verdict.STALLED, "9 records wait", "")
    >>> print(waits_for_learning(stalled, 86_400_000, 43_200_000, {0: 43_200_000, 1: None}).sentence)
    9 records wait; time waits at 1970-01-02 for what is learned up to 1970-01-01T12:00:00Z: partition 1 is behind it
    """
    missing = [number for number, mark_ms in sorted(marked_ms.items()) if mark_ms is None or mark_ms < boundary_ms]
    held = text_of_ms(held_ms).removesuffix("T00:00:00Z")
    begin = f"time waits at {held} for what is learned up to {text_of_ms(boundary_ms)}"
    if not missing:
        said = f"{begin}: every partition has come so far, the learner has not answered"
        return Answer(answer.verdict, f"{answer.sentence}; {said}", "rescore learner, or read its log")
    named = ", ".join(map(str, missing))
    who = f"partition {named} is" if len(missing) == 1 else f"partitions {named} are"
    what = "if no further record comes there: rescore publish --advance-to TIME"
    return Answer(answer.verdict, f"{answer.sentence}; {begin}: {who} behind it", what)
