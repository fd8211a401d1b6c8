"""What a score change and an explanation are as JSON: the answers of `rescore explain --json` and of the HTTP to come.

Pure: decoded records in, plain values out. Whole numbers of 64 bits are decimal text, since JavaScript and others read
JSON numbers as doubles; codes are names; times are RFC 3339 in UTC. Fields: docs/customer-json.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from state.currencies import scale_of
from streams.customers.story import CONTEST, CREDIT_SCORES, shortfalls

if TYPE_CHECKING:
    from streams.customers.changes import Change
    from streams.customers.counterfactuals import Way
    from streams.customers.requests import Verdict
    from streams.customers.story import Beside, Story

Document = dict[str, Any]
"""A JSON object."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(time_ms: int | None) -> str | None:
    """A time in milliseconds since 1970 as RFC 3339 in UTC; None for None and for what no calendar holds.

    >>> time_of(1_764_000_000_123), time_of(None), time_of(2**62)
    ('2025-11-24T16:00:00.123Z', None, None)
    """
    if time_ms is None:
        return None
    try:
        return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        return None


def date_of(day: int | None) -> str | None:
    """A day since 1970-01-01, in the policy's time zone, as YYYY-MM-DD.

    >>> date_of(0), date_of(None)
    ('1970-01-01', None)
    """
    return None if day is None else (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def money_of(units: int, loan_currency: int = 0) -> str:
    """An amount as exact decimal text in major units; without a currency, hundredths of the base currency.

    >>> money_of(-123_456), money_of(5)
    ('-1234.56', '0.05')
    """
    scale = scale_of(loan_currency)
    whole, rest = divmod(abs(units), scale)
    return f"{'-' if units < 0 else ''}{whole}.{rest:0{len(str(scale)) - 1}d}"


def text_of(data: bytes) -> str:
    """Bytes of an id as text; what is not UTF-8 as backslash escapes."""
    return data.decode("utf-8", "backslashreplace")


def number_of(value: float | None) -> float | None:
    """A number, or None for what JSON cannot say."""
    return None if value is None or not math.isfinite(value) else float(value)


def change_document(change: Change) -> Document:
    """One score change. `old` and `new` are a number, a text or a list, by the score; None where there is none."""
    cause = change["cause"]
    return {
        "change_id": change["change_id"],
        "score": change["score"],
        "sequence": str(change["sequence"]),
        "incarnation": change["incarnation"],
        "old": _value(change, "old"),
        "new": _value(change, "new"),
        "old_band": change["old_band"],
        "new_band": change["new_band"],
        "cause": {
            "kind": cause["kind"],
            "topic": cause["topic"],
            "partition": cause["partition"],
            "offset": None if cause["offset"] is None else str(cause["offset"]),
            "event_id": cause["event_id"],
            "loan_id": cause["loan_id"],
        },
        "event_at": time_of(change["event_time_ms"]),
        "decided_at": time_of(change["decided_ms"]),
        "valid_until": time_of(change["valid_until_ms"]),
        "base": number_of(change["base"]),
        "reasons": [dict(reason) for reason in change["reasons"]],
        "profiles": [_hit(hit) for hit in change.get("hits") or ()],
        "confidence": number_of(change["confidence"]),
        "coverage": coverage_of(change["events"], change["first_event_ms"], change["last_event_ms"]),
        "versions": {"model": change["weights_version"], "policy": change["policy_version"]},
        "point": change["point"],
        "segment": change["segment"],
    }


def coverage_of(events: int, first_ms: int, last_ms: int) -> Document:
    """The events that something rests on; no times where there is none."""
    first, last = (time_of(first_ms), time_of(last_ms)) if events else (None, None)
    return {"events": str(events), "first_event_at": first, "last_event_at": last}


def explanation(
    user_id: str,
    stories: Sequence[Story],
    besides: Mapping[str, Beside] | None = None,
    *,
    whole: bool = True,
    not_found: Sequence[str] = (),
) -> Document:
    """How each score came to be. `besides`, by score: what an adverse decision says beside the reasons; else none is.

    `whole`: all that the topic holds of the customer was looked for; else `not_found` are scores of which even the last
    change lies further back than was read.
    `besides` lacks a score whose row was not to be had: its `data_used` and `enough` are then null, not empty.
    """
    return {
        "user_id": user_id,
        "scores": [_story(story, besides) for story in stories],
        "whole": whole,
        "not_found": list(not_found),
        "contest": None if besides is None else CONTEST,
    }


def request_explanation(user_id: str | None, request_id: int, asked_ms: int, said: Verdict) -> Document:
    """What a model says of a request. A request_id is below 2^53 and stays a number."""
    from streams.customers.requests import way_words

    return {
        "user_id": user_id,
        "request_id": request_id,
        "asked_at": time_of(asked_ms),
        "model": said.model,
        "version": said.version,
        "chance": said.chance,
        "declined": said.declined,
        "shortfalls": [{"code": one.code, "text": one.words, "amount": one.shortfall} for one in said.shortfalls],
        "enough": [{**way._asdict(), "text": way_words(way)} for way in said.enough],
        "data_used": _used(said.used.items()),
        "contest": CONTEST,
    }


def _story(story: Story, besides: Mapping[str, Beside] | None) -> Document:
    adverse = None
    if besides is not None and story.score in CREDIT_SCORES:
        beside = besides.get(story.score)
        adverse = {
            "shortfalls": [{"text": words, "amount": -amount} for words, amount in shortfalls(story)],
            "data_used": None if beside is None else _used(beside.used),
            "enough": None if beside is None else [_way(way) for way in beside.enough],
        }
    return {
        "score": story.score,
        "now": change_document(story.now),
        "adds_up": story.adds_up(),
        "changes": [change_document(change) for change in story.changes],
        "missing_changes": str(story.missing),
        "adverse": adverse,
    }


def _used(used: Iterable[tuple[str, Any]]) -> list[Document]:
    return [{"name": name, "value": value} for name, value in used]


def _way(way: Way) -> Document:
    return {
        "name": way.name,
        "text": way.text,
        "now": number_of(way.now),
        "needed": number_of(way.needed),
        "score_then": way.then,
        "band_then": way.then_band or None,
    }


def _value(change: Change, which: str) -> float | int | str | list[str] | None:
    if (names := change.get(f"{which}_list")) is not None:
        return list(names)
    if (text := change.get(f"{which}_text")) is not None:
        return str(text)
    number = number_of(change[which])
    if number is None or change["score"] != "class":
        return number
    return int(number) or None  # class 0: none


def _hit(hit: Mapping[str, Any]) -> Document:
    names = ("profile", "title", "held", "strength", "category", "share", "purchases", "text", "purpose", "sensitive")
    return {name: hit[name] for name in names} | {
        "since": time_of(hit["since_ms"]),
        "spent": money_of(hit["amount_minor"]),
    }
