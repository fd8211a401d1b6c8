"""Why a score moved, in the words of the demo: what happened, and the two reasons that moved it most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from streams.customers.changes import turned

Change = Mapping[str, Any]
"""One decoded ScoreChange."""

Happened = Callable[[str], str | None]
"""What the event with this event_id was, in words; None where nobody knows."""

DAYS_PAST_DUE: dict[str, int] = {"late_bdr_30": 1, "late_bdr_30_plus": 31, "late_npl": 91, "late_wo": 181}
"""The day on which time moves a loan into the state that a reason speaks of."""

ITS_OWN_REASONS = frozenset({"deposits", "withdrawals"})
"""Reasons that an event moves by its own amount, so that naming the event says more than naming them."""

CAUSES: dict[str, str] = {"time": "time passed", "new_weights": "new weights"}
DECIMALS: dict[str, int] = {"value": 2, "status": 2, "revenue": 2, "class": 0, "risk": 2}
SMALLEST_MOVE = 0.005
"""Below this a move would be shown as 0.00."""


class Row(NamedTuple):
    """One change as a line of the table; `up` says whether the score rose, None where that means nothing."""

    time: str
    customer: str
    score: str
    old: str
    new: str
    band: str
    why: str
    up: bool | None


def row_of(change: Change, time: str, happened: Happened) -> Row:
    """A change in words; `time` is its moment as it is to be shown.

    >>> change = {"user_id": "c-1", "score": "status", "old": 2.784, "new": 2.64, "cause": {"kind": "time"}}
    >>> row_of(change, "10:31:07", lambda event_id: None)[:6]
    ('10:31:07', 'c-1', 'status', '2.78', '2.64', '-')
    """
    return Row(
        time=time,
        customer=change["user_id"],
        score=change["score"],
        old=shown(change, "old"),
        new=shown(change, "new"),
        band=band(change),
        why=why(change, happened),
        up=_rose(change),
    )


def shown(change: Change, which: str) -> str:
    """The `old` or `new` value as it is read, `-` where there is none."""
    if text := change.get(f"{which}_text"):
        return str(text)
    if (names := change.get(f"{which}_list")) is not None:
        return f"{len(names)}" if names else "-"
    number = change.get(which)
    if number is None or math.isnan(number):
        return "-"
    return f"{number:,.{DECIMALS.get(change['score'], 2)}f}"


def band(change: Change) -> str:
    """The band, the way from one to another, or `-` for a score without bands."""
    old, new = change.get("old_band"), change.get("new_band")
    return f"{old} -> {new}" if old and new and old != new else new or old or "-"


def why(change: Change, happened: Happened) -> str:
    """What happened and the two reasons that moved the score most.

    >>> cause = {"kind": "time", "loan_id": "L-88"}
    >>> reasons = [{"code": "late_bdr_30_plus", "text": "loans 31 to 90 days late", "level": -0.17, "moved": -0.17}]
    >>> why({"cause": cause, "reasons": reasons}, lambda event_id: None)
    'loan L-88 is 31 days past due (-0.17)   [time passed]'
    """
    cause = change["cause"]
    told = _ageing_loan(change) if cause["kind"] == "time" and cause.get("loan_id") else None
    told = (
        told or _turned(change) or _after_event(change, happened(cause["event_id"]) if cause.get("event_id") else None)
    )
    note = "" if cause["kind"] == "event" else f"[{CAUSES.get(cause['kind'], cause['kind'])}]"
    return "   ".join(part for part in (told, note) if part)


def words_of(reason: Mapping[str, Any]) -> str:
    """A reason's own text, else its code made readable."""
    return str(reason.get("text") or reason["code"].lower().replace("_", " "))


def _largest(change: Change) -> list[Mapping[str, Any]]:
    """The reasons that moved it, the largest move first."""
    moved = [reason for reason in change.get("reasons") or () if abs(reason["moved"]) >= SMALLEST_MOVE]
    return sorted(moved, key=lambda reason: -abs(reason["moved"]))


def _ageing_loan(change: Change) -> str | None:
    """Which day past due a loan has reached: the state into which it fell tells; then the largest other reason."""
    reasons = _largest(change)
    falls = [reason for reason in reasons if reason["code"].lower() in DAYS_PAST_DUE and reason["moved"] < 0]
    if not falls:
        return None
    days = DAYS_PAST_DUE[falls[0]["code"].lower()]
    loan = f"loan {change['cause']['loan_id']} is {days} day{'s' if days > 1 else ''} past due"
    others = [_with_move(words_of(reason), reason) for reason in reasons if reason is not falls[0]]
    return ", ".join([_with_move(loan, falls[0]), *others[:1]])


def _turned(change: Change) -> str:
    """The lifestyle profiles that were entered or left, and on what that rests."""
    return ", ".join(
        f"{'+' if hit['held'] else '-'} {hit['title']} ({hit['category']}, {hit['purchases']:.1f} purchases)"
        for hit in turned(change)
    )


def _after_event(change: Change, event: str | None) -> str:
    """What happened, and the two largest reasons; the event stands for the one that is the event itself."""
    reasons = _largest(change)[:2]
    parts = [_with_move(words_of(reason), reason) for reason in reasons]
    if event is None:
        return ", ".join(parts)
    if reasons and reasons[0]["code"].lower() in ITS_OWN_REASONS:
        parts[0] = _with_move(event, reasons[0])
        return ", ".join(parts)
    return f"{event}: {', '.join(parts)}" if parts else event


def _with_move(words: str, reason: Mapping[str, Any]) -> str:
    return f"{words} ({reason['moved']:+.2f})"


def _rose(change: Change) -> bool | None:
    old, new = change.get("old"), change.get("new")
    if change["score"] not in ("value", "status", "revenue", "risk") or old is None or new is None or old == new:
        return None
    return bool(new > old)
