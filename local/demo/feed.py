"""What the demo knows of score changes while they arrive: counts, the latest of each score, a few worth showing."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, NamedTuple

from local.demo.publisher import Clock, Sent
from local.demo.view import histogram
from local.demo.words import Change, Row, row_of
from schemas.batch import Record
from streams.log.unreadable import Unreadable, readable

DECODED_PER_LOOK = 1_000
ROWS_KEPT = 60
REMARKABLE = ("correction", "override", "erasure")
SCORE_NAMES_BY_INTEREST = ("status", "revenue", "value", "risk", "profiles", "class", "segment", "rfm")


class _Seen(NamedTuple):
    at_seconds: float
    record: Record


class Look(NamedTuple):
    """What one look at the feed found; `fresh` are rows that were not there before."""

    changes: int
    lag_seconds: float | None
    rows: list[Row]
    fresh: list[Row]
    values: list[int]
    statuses: list[int]
    classes: dict[int, int]
    learned: list[tuple[int, str]]  # when learned weights came into force and what they moved, in words


class Feed:
    """Filled by the thread that reads, looked at by the one that draws.

    Only the latest change of each score is decoded, and not all at once: drawing must not slow what is drawn.
    """

    def __init__(self, decode: Callable[[bytes], dict[str, Any]], favourites: AbstractSet[str], clock: Clock) -> None:
        self.changes = 0
        self._decode, self._favourites, self._clock = decode, favourites, clock
        self._lock = threading.Lock()
        self._waiting: dict[str, _Seen] = {}
        self._latest: dict[str, dict[str, float]] = {"value": {}, "status": {}, "class": {}}
        self.unreadable = Unreadable()
        self._rows: list[Row] = []
        self._lag_seconds: float | None = None
        self._moved: dict[str, tuple[int, set[str]]] = {}  # when first, and whom, by version of weights

    def add(self, record: Record) -> None:
        """A record of score-changes. Cheap: nothing is decoded here."""
        change_id = change_id_of(record)
        score = change_id.rsplit("/", 2)[0] if change_id else f"{record.partition}/{record.offset}"
        with self._lock:
            self.changes += 1
            self._waiting.pop(score, None)  # so that it is the last in line again
            self._waiting[score] = _Seen(self._clock(), record)

    def look(self, sent: Callable[[str], Sent | None], rows_max: int) -> Look:
        """Decode what has come, and say how things stand; at most `rows_max` new rows."""
        with self._lock:
            changes = self.changes
            taken = [self._waiting.pop(score) for score in list(self._waiting)[-DECODED_PER_LOOK:]]
        at_seconds = {(seen.record.partition, seen.record.offset): seen.at_seconds for seen in taken}
        changes_read = readable((seen.record for seen in taken), self._change, self.unreadable)
        decoded = [(at_seconds[record.partition, record.offset], dict(change)) for record, change in changes_read]
        for _, change in decoded:
            self._note(change)
        self._measure_lag(decoded, sent)
        chosen = choose([change for _, change in decoded], self._favourites, rows_max)

        def happened(event_id: str) -> str | None:
            event = sent(event_id)
            return event.words if event else None

        fresh = [row_of(change, moment(change["decided_ms"]), happened) for change in chosen]
        self._rows = [*self._rows, *fresh][-ROWS_KEPT:]
        classes: dict[int, int] = {}
        for number in self._latest["class"].values():
            classes[int(number)] = classes.get(int(number), 0) + 1
        values, statuses = (histogram(self._latest[score].values()) for score in ("value", "status"))
        return Look(changes, self._lag_seconds, self._rows, fresh, values, statuses, classes, self._learned())

    def _change(self, value: bytes) -> dict[str, Any]:
        """A change of a score of ours. Raises ValueError."""
        change = self._decode(value)
        if change["score"] not in SCORE_NAMES_BY_INTEREST:
            raise ValueError(f"there is no score {change['score']!r}")
        return change

    def _learned(self) -> list[tuple[int, str]]:
        """The versions that came into force; the last one is still moving customers, and told with the next."""
        return [
            (at_ms, f"learned: {version} came into force and moved the value of {len(users):,} customers")
            for version, (at_ms, users) in list(self._moved.items())[:-1]
        ]

    def _note(self, change: Change) -> None:
        # Where the turn of a day moves a score as well the cause is time, and the weights are one of its reasons.
        if any(str(reason["code"]).lower() == "new_weights" and reason["moved"] for reason in change["reasons"]):
            _, users = self._moved.setdefault(str(change["weights_version"]), (int(change["decided_ms"]), set()))
            users.add(change["user_id"])
        if (latest := self._latest.get(change["score"])) is not None:
            if change["new"] is None:
                latest.pop(change["user_id"], None)
            else:
                latest[change["user_id"]] = change["new"]

    def _measure_lag(self, decoded: Sequence[tuple[float, Change]], sent: Callable[[str], Sent | None]) -> None:
        """From the moment an event was handed to the client to that at which its change was read here."""
        lags = []
        for at_seconds, change in decoded:
            event_id = change["cause"].get("event_id")
            event = sent(event_id) if event_id and change["cause"]["kind"] == "event" else None
            if event and event.at_seconds is not None:
                lags.append(at_seconds - event.at_seconds)
        if lags:
            self._lag_seconds = statistics.median(lags)


def change_id_of(record: Record) -> str | None:
    """The change_id, which is the CloudEvents id of the record's headers."""
    for name, value in record.headers or ():
        if name == "ce_id":
            return value.decode("utf-8", "backslashreplace")
    return None


def choose(changes: Sequence[Change], favourites: AbstractSet[str], rows_max: int) -> list[Change]:
    """The changes most worth a line, in the order in which they were decided.

    What the story tells of its customers is always among them, even beyond `rows_max`. Of each score the most
    remarkable comes first (another band, then how far it moved), lest frequent ones hide the others.
    """

    def told(change: Change) -> bool:
        return change["user_id"] in favourites and (
            change["score"] == "status" or change["cause"]["kind"] in REMARKABLE
        )

    def remarkable(change: Change) -> tuple[bool, float]:
        moved = abs(change["new"] - change["old"]) if None not in (change["new"], change["old"]) else 0.0
        return change["old_band"] is not None and change["old_band"] != change["new_band"], moved

    of_score: dict[str, int] = {}
    ranked = []
    for change in sorted(changes, key=remarkable, reverse=True):
        depth = of_score[change["score"]] = of_score.get(change["score"], -1) + 1
        ranked.append((not told(change), depth, SCORE_NAMES_BY_INTEREST.index(change["score"]), change))
    ranked.sort(key=lambda one: one[:3])
    rows = max(rows_max, sum(map(told, changes)))
    return sorted((change for *_, change in ranked[:rows]), key=lambda change: int(change["decided_ms"]))


def moment(time_ms: int) -> str:
    """A moment as the table shows it.

    >>> moment(1_741_775_460_000)
    '12 Mar 10:31'
    """
    return f"{datetime.fromtimestamp(time_ms / 1_000, UTC):%d %b %H:%M}"
