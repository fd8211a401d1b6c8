"""`rescore explain`: the story of a customer's scores, told from their published changes and nothing else.

What a score is now, the reasons that add up to it, how it came there step by step, until when it holds if nothing
happens; and, for a decision against a customer, what it falls short of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.kinds import SCORE_NAMES
from schemas.printable import counted
from streams.customers.changes import (
    Change,
    hit_words,
    shown_band,
    shown_cause,
    shown_value,
    why,
    words_of,
)

if TYPE_CHECKING:
    from streams.customers.counterfactuals import Way

STATUS_BEST = 5.0
CREDIT_SCORES = ("status", "revenue", "class", "risk")
"""Scores made for credit decisions; the others are for service and marketing, and give no reasons against anybody."""
SHORTFALLS_MAX = 4
SUM_TOLERANCE = 1e-6

CONTEST = (
    "You may ask for a person to look at this decision, see the data it used and have mistakes in it corrected: "
    "a correction published to the topic it came from moves the score at once."
)

TimeText = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Story:
    """One score of one customer: its changes in order, the last of them saying what holds now."""

    score: str
    changes: Sequence[Change]

    @property
    def now(self) -> Change:
        """The latest change."""
        return self.changes[-1]

    @property
    def missing(self) -> int:
        """How many changes are no longer on the topic: sequences are contiguous, so gaps can be counted."""
        return int(self.now["sequence"]) - len(self.changes)

    def reasons(self) -> list[tuple[str, float]]:
        """(words, share of the score) of each reason that has one, the largest first."""
        held = [(words_of(reason), float(reason["level"])) for reason in self.now["reasons"] if reason["level"]]
        return sorted(held, key=lambda one: -abs(one[1]))

    def adds_up(self) -> bool:
        """Whether base and reasons make the score; True for a score that has no reasons."""
        base, new = self.now["base"], self.now["new"]
        if base is None or new is None or not self.now["reasons"]:
            return True
        return math.isclose(base + math.fsum(level for _, level in self.reasons()), new, abs_tol=SUM_TOLERANCE)


def stories(user: str, changes: Iterable[Change]) -> list[Story]:
    """The story of each score of a user, in the order of the scores. Only the latest incarnation is told.

    A change that appears twice, as after a re-read, is taken once.
    """
    own = {change["change_id"]: change for change in changes if change["user_id"] == user}
    if not own:
        return []
    latest = list(own.values())[-1]["incarnation"]
    by_score: dict[str, list[Change]] = {}
    for change in own.values():
        if change["incarnation"] == latest:
            by_score.setdefault(change["score"], []).append(change)
    order = {name: place for place, name in enumerate(SCORE_NAMES)}
    told = [
        Story(score, sorted(found, key=lambda change: int(change["sequence"]))) for score, found in by_score.items()
    ]
    return sorted(told, key=lambda story: (order.get(story.score, len(order)), story.score))


def shortfalls(story: Story) -> list[tuple[str, float]]:
    """What the score falls short of the best attainable for: (words, negative number), the largest first, at most four.

    For the status score a short history is the distance from 5 that loans repaid on time alone would still leave.
    """
    negative = [(words, level) for words, level in story.reasons() if level < 0]
    if story.score == "status" and story.now["base"] is not None:
        history = sum(float(r["level"]) for r in story.now["reasons"] if str(r["code"]).lower() == "history")
        short = float(story.now["base"]) + history - STATUS_BEST
        if short < 0:
            negative.append(("short history: loans repaid on time lengthen it", short))
    return sorted(negative, key=lambda one: one[1])[:SHORTFALLS_MAX]


def as_lines(story: Story, time_text: TimeText, steps_max: int = 10, *, whole: bool = True) -> list[str]:
    """The story in lines for a terminal. `whole`: the topic holds no further change of it."""
    now = story.now
    band = f", {now['new_band']}" if now["new_band"] else ""
    lines = [
        f"{story.score} {shown_value(now, 'new')}{band}   since {time_text(now['decided_ms'])}; {holds(now, time_text)}"
    ]
    reasons = story.reasons()
    if reasons and now["base"] is not None and now["new"] is not None:
        width = max(len(words) for words, _ in reasons)
        lines.append(f"    {'base'.ljust(width)}  {float(now['base']):9.4f}")
        lines += [f"    {words.ljust(width)}  {level:+9.4f}" for words, level in reasons]
        verdict = "" if story.adds_up() else "   THESE DO NOT ADD UP: report it"
        lines.append(f"    {'together'.ljust(width)}  {float(now['new']):9.4f}{verdict}")
    lines += [f"    {hit_words(hit)}" for hit in now.get("hits") or () if hit["held"]]
    lines.append(f"    {trust(now, time_text)}")
    if story.missing:
        one = story.missing == 1
        earlier = f"{counted(story.missing, 'earlier change')} {'is' if one else 'are'}"
        lines.append(f"    {earlier} no longer on the topic" if whole else f"    {earlier} not shown: --all reads on")
    hidden = max(len(story.changes) - steps_max, 0)
    lines.append(
        "    how it came there:" + (f" (the last {steps_max} of {len(story.changes):,} steps)" if hidden else "")
    )
    lines += [f"      {step(change, time_text)}" for change in story.changes[hidden:]]
    return lines


def step(change: Change, time_text: TimeText) -> str:
    """One change of the story in a line."""
    moved = f"{shown_value(change, 'old')} -> {shown_value(change, 'new')}"
    band = f"  ({shown_band(change)})" if "->" in shown_band(change) else ""
    return f"{time_text(change['decided_ms'])}  {moved}{band}  {why(change)}{origin(change)}"


def origin(change: Change) -> str:
    """Where the event that caused a change lies in Kafka, if an event did."""
    cause = change["cause"]
    return "" if cause["offset"] is None else f"  {cause['topic']}/{cause['partition']}/{cause['offset']}"


def holds(change: Change, time_text: TimeText) -> str:
    """Until when the score stays as it is if nothing happens."""
    until = change.get("valid_until_ms")
    if until is None:
        return "time alone does not change it"
    return f"time alone does not change it before {time_text(int(until))}"


def trust(change: Change, time_text: TimeText) -> str:
    """How much stands behind the score: confidence, coverage, versions."""
    confidence = change.get("confidence")
    believed = "" if confidence is None else f"confidence {confidence:.2f}; "
    covered = "no events"
    if events := int(change["events"]):
        first, last = time_text(change["first_event_ms"]), time_text(change["last_event_ms"])
        covered = f"{events:,} events from {first} to {last}" if events > 1 else f"1 event of {first}"
    return f"{believed}{covered}; decided by {change['weights_version']}, {change['policy_version']}"


@dataclass(frozen=True, slots=True)
class Beside:
    """What an adverse decision has to say beside the reasons: the data it used, and what would have been enough."""

    used: Sequence[tuple[str, Any]] = ()
    enough: Sequence[Way] = ()


def adverse_lines(story: Story, time_text: TimeText, beside: Beside | None = None) -> list[str]:
    """What a decision against the customer has to say of this score: principal shortfalls, nothing positive."""
    if story.score not in CREDIT_SCORES:
        return [f"{story.score}: made for service and marketing; it is no ground for a credit decision"]
    now = story.now
    lines = [f"{story.score} {shown_value(now, 'new')}, decided {time_text(now['decided_ms'])} ({shown_cause(now)})"]
    found = shortfalls(story)
    lines += [f"    {number}. {words} ({amount:.3f})" for number, (words, amount) in enumerate(found, start=1)]
    if not found:
        lines.append(
            "    nothing: it is the best attainable"
            if story.score != "class"
            else "    follows from status and revenue"
        )
    if beside is not None:
        lines += [f"    would have been enough: {way.text}" for way in beside.enough]
        if beside.used:
            told = ", ".join(f"{name} {amount:,.10g}" for name, amount in beside.used)
            lines.append(f"    data used: {told}")
    lines.append(f"    {trust(now, time_text)}")
    return lines
