"""Are scores current, and if not, why? One verdict with its sentence and the next thing to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from schemas.printable import counted
from schemas.time_text import text_of_ms
from streams.log.open_transactions import OpenTransaction, Where

HUNG_MS = 60_000
"""A transaction that is open for longer is taken for one that hangs: the default timeout of clients."""
OVERDUE_MS = 60_000
"""A worker moves the clocks of partitions for which nothing arrives a second after a timer is due. So much later, none
has."""
NAMED_MAX = 5


class Verdict(Enum):
    """One word for how the workers stand."""

    OK = "OK"
    BEHIND = "BEHIND"
    STALLED = "STALLED"
    HALTED = "HALTED"
    REBALANCING = "REBALANCING"
    STOPPED = "STOPPED"


class Answer(NamedTuple):
    """The verdict, why, and what to do next."""

    verdict: Verdict
    sentence: str
    next: str


@dataclass(frozen=True, slots=True)
class Look:
    """What can be seen at one moment: the group, what waits in each (topic, partition), transactions that are open."""

    at_seconds: float
    workers: int
    group_state: str  # as Kafka names it: Stable, PreparingRebalance, CompletingRebalance, Empty, Dead, ...
    committed: dict[Where, int]
    waiting: dict[Where, int]  # committed records
    open: Mapping[Where, OpenTransaction] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Records that wait, over all partitions."""
        return sum(self.waiting.values())


@dataclass(frozen=True, slots=True)
class StoreLook:
    """What the store says about partitions: those halted and why, those being restored, those whose timers are due."""

    halted: Mapping[int, str] = field(default_factory=dict)
    restoring: tuple[int, ...] = ()
    overdue_ms: Mapping[int, int] = field(default_factory=dict)  # since when


NOTHING_SEEN = StoreLook()


def judge(first: Look, second: Look, store: StoreLook = NOTHING_SEEN, wall_ms: int = 0) -> Answer:
    """The verdict over two looks, some seconds apart, and what the store says.

    >>> look = Look(0.0, 2, "STABLE", {}, {("loans", 0): 0})
    >>> judge(look, look).verdict.value, judge(look, look, StoreLook({1: "the store is ahead"})).verdict.value
    ('OK', 'HALTED')
    """
    open_still = _open_all_the_while(first, second)
    held = "".join(f"; {one.words(' of a publisher')}" for one in open_still[:NAMED_MAX])
    waits = "1 record waits" if second.records == 1 else f"{second.records:,} records wait"
    workers = counted(second.workers, "worker")
    if "REBALANC" in second.group_state.upper():
        sentence = f"partitions are being given to {workers}; {waits}{held}"
        return Answer(Verdict.REBALANCING, sentence, "ask again in 10 s")
    if second.workers == 0:
        rest = waits if second.records or held else "nothing waits, but time moves no score"
        return Answer(Verdict.STOPPED, f"no worker runs; {rest}{held}", "rescore worker")
    if store.halted:
        return _halted(store.halted, waits, held)
    stuck = [place for place, waiting in second.waiting.items() if waiting and not _moved(first, second, place)]
    seconds = max(second.at_seconds - first.at_seconds, 1e-9)
    if stuck:
        waits = f"{waits}; in {seconds:.0f} s nothing was taken from {_named(stuck)}"
    if open_still:
        taken = waits if second.records else "all that is committed is taken"
        return _behind_open(open_still, taken + held, bool(stuck), wall_ms)
    if stuck:
        log = "read the worker's log: a halted partition says why, a held one names what does not answer"
        return Answer(Verdict.STALLED, waits, log)
    if second.records:
        rate = sum(second.committed[place] - first.committed.get(place, 0) for place in second.committed) / seconds
        left = f"; about {second.records / rate:,.0f} s at {rate:,.0f} records/s" if rate > 0 else ""
        return Answer(Verdict.BEHIND, f"{waits}{left}", "start another `rescore worker` where cores are free")
    return _by_store(store, workers)


def _open_all_the_while(first: Look, second: Look) -> list[OpenTransaction]:
    """Transactions that were open at both looks. One that has ended meanwhile is a publisher that goes on."""
    return [
        one
        for place, one in sorted(second.open.items())
        if place in first.open and first.open[place].offset == one.offset
    ]


def _halted(halted: Mapping[int, str], waits: str, held: str) -> Answer:
    number, reason = min(halted.items())
    others = ", ".join(map(str, sorted(halted)[1:]))
    also = f"; so {'is partition' if len(halted) == 2 else 'are partitions'} {others}" if others else ""
    return Answer(
        Verdict.HALTED,
        f"partition {number} is halted: {reason.rstrip('.')}{also}; {waits}{held}",
        'docs/operations.md, "A worker halted"; restart its worker when the cause is removed',
    )


def _behind_open(open_still: list[OpenTransaction], sentence: str, stuck: bool, wall_ms: int) -> Answer:
    """What is behind the transactions can be taken when their publishers have ended them; time may wait too."""
    hangs = [one for one in open_still if one.since_ms is not None and wall_ms - one.since_ms >= HUNG_MS]
    first = (hangs or open_still)[0]
    tool = f"kafka-transactions.sh describe-producers --topic {first.topic} --partition {first.partition}"
    if not hangs:
        verdict = Verdict.STALLED if stuck else Verdict.BEHIND
        return Answer(verdict, sentence, f"its publisher commits it; {tool} names a publisher that does not")
    end = (
        f"kafka-transactions.sh abort --topic {first.topic} --partition {first.partition} --start-offset {first.offset}"
    )
    return Answer(Verdict.STALLED, sentence, f"{tool} names the publisher; {end} ends a transaction that hangs")


def _by_store(store: StoreLook, workers: str) -> Answer:
    if store.restoring:
        numbers = ", ".join(map(str, store.restoring))
        return Answer(
            Verdict.BEHIND, f"nothing waits; rows are being restored: partition {numbers}", "ask again in 10 s"
        )
    if store.overdue_ms:
        number, since_ms = min(store.overdue_ms.items(), key=lambda one: one[1])
        return Answer(
            Verdict.BEHIND,
            f"nothing waits; timers of partition {number} are due since {text_of_ms(since_ms)} and not all have fired",
            "ask again in 10 s; if they stay due, read the worker's log: it says why time stands still",
        )
    return Answer(Verdict.OK, f"up to date: {workers}, no backlog", "rescore subscribe")


def _named(places: list[Where]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in sorted(places)[:NAMED_MAX])


def _moved(first: Look, second: Look, place: Where) -> bool:
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
