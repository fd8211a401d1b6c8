"""`rescore subscribe`: score changes as people and programs read them, from decoded `ScoreChange` records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.kinds import SCORE_NAMES, VALUE_BANDS
from state.currencies import money_text

Change = Mapping[str, Any]
"""One decoded ScoreChange."""

DECIMALS: dict[str, int] = {"value": 2, "status": 3, "revenue": 3, "class": 0, "rfm": 0, "segment": 0, "risk": 3}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes are asked for; an empty set asks for all."""

    users: frozenset[str] = field(default_factory=frozenset)
    scores: frozenset[str] = field(default_factory=frozenset)
    bands: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, users: Iterable[str] = (), scores: Iterable[str] = (), bands: Iterable[str] = ()) -> Wanted:
        """Raises ValueError that lists the scores or bands there are."""
        wanted = cls(frozenset(users), frozenset(scores), frozenset(bands))
        for chosen, known, what in ((wanted.scores, SCORE_NAMES, "score"), (wanted.bands, VALUE_BANDS, "band")):
            if unknown := sorted(chosen - set(known)):
                raise ValueError(f"there is no {what} {unknown[0]!r}; there are {', '.join(known)}")
        return wanted

    def has(self, change: Change) -> bool:
        """Whether this change was asked for; a band is the one before or after."""
        return (
            (not self.users or change["user_id"] in self.users)
            and (not self.scores or change["score"] in self.scores)
            and (not self.bands or bool(self.bands & {change.get("old_band"), change.get("new_band")}))
        )


def shown_value(change: Change, which: str) -> str:
    """The `old` or `new` value of a change in words.

    >>> shown_value({"score": "status", "new": 2.2294}, "new"), shown_value({"score": "status", "new": None}, "new")
    ('2.229', '-')
    """
    if text := change.get(f"{which}_text"):
        return str(text)
    if (names := change.get(f"{which}_list")) is not None:
        return ", ".join(names) or "-"
    number = change.get(which)
    if number is None or (change["score"] == "class" and number == 0):
        return "-"
    return f"{number:,.{DECIMALS.get(change['score'], 3)}f}"


def shown_band(change: Change) -> str:
    """The band, or the way from one to the other; nothing for a score without bands.

    >>> shown_band({"old_band": "high", "new_band": "top"})
    'high -> top'
    """
    old, new = change.get("old_band"), change.get("new_band")
    if old == new or not old:
        return new or ""
    return f"{old} -> {new}" if new else old


def shown_cause(change: Change) -> str:
    """Why it changed, in a word or two."""
    kind: str = change["cause"]["kind"]
    return {"event": "an event", "time": "time passed", "new_weights": "new weights"}.get(kind, kind)


def moved_reasons(change: Change, limit: int = 2) -> list[tuple[str, float]]:
    """The reasons that moved the score most: (words, how far), the largest first."""
    moved = [(words_of(reason), float(reason["moved"])) for reason in change["reasons"] if reason["moved"]]
    return sorted(moved, key=lambda one: -abs(one[1]))[:limit]


def turned(change: Change) -> list[Mapping[str, Any]]:
    """The hits of the profiles that were entered or left with a change."""
    before, now = set(change.get("old_list") or ()), set(change.get("new_list") or ())
    return [hit for hit in change.get("hits") or () if hit["profile"] in before ^ now]


def hit_words(hit: Mapping[str, Any]) -> str:
    """Why a profile holds, or holds no longer, in a line.

    >>> hit = {"title": "Gamer", "held": True, "text": "plays", "category": "games", "purchases": 4.2, "share": 0.051}
    >>> hit_words(hit | {"amount_minor": 12_345, "sensitive": False})
    '+ Gamer: plays (games: 123.45 in 4.2 purchases, 5.1% of spending)'
    """
    seen = f"{hit['category']}: {money_text(hit['amount_minor'])} in {hit['purchases']:.1f} purchases"
    mark = " [sensitive]" if hit["sensitive"] else ""
    return f"{'+' if hit['held'] else '-'} {hit['title']}{mark}: {hit['text']} ({seen}, {hit['share']:.1%} of spending)"


def words_of(reason: Mapping[str, Any]) -> str:
    """The words of a reason: its own text, else its code made readable."""
    return reason.get("text") or str(reason["code"]).lower().replace("_", " ")


def why(change: Change) -> str:
    """One line: the reasons that moved it most, and the cause.

    >>> cause = {"kind": "time", "loan_id": "L-88"}
    >>> why({"reasons": [{"code": "late_npl", "text": "", "level": -0.2, "moved": -0.2}], "cause": cause})
    'loan L-88: late npl (-0.20)   [time passed]'
    """
    reasons = ", ".join(f"{words} ({moved:+.2f})" for words, moved in moved_reasons(change))
    reasons = reasons or "; ".join(hit_words(hit) for hit in turned(change))
    loan = f"loan {change['cause']['loan_id']}" if change["cause"].get("loan_id") else ""
    told = ": ".join(part for part in (loan, reasons) if part)
    return f"{told}   [{shown_cause(change)}]".strip()


def line(change: Change, time_text: str) -> str:
    """A change on one line, in columns."""
    columns: Sequence[tuple[str, int]] = (
        (time_text, 19),
        (change["user_id"], 12),
        (change["score"], 8),
        (shown_value(change, "old").rjust(8), 8),
        (shown_value(change, "new").rjust(8), 8),
        (shown_band(change), 14),
    )
    return "  ".join(text.ljust(width) for text, width in columns) + "  " + why(change)
