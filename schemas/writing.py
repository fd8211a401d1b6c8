"""What is written, one value at a time and in plain Python: the fields of changes and cards, and any value as Avro.

The definition of the outputs. `schemas.compiled_encode` writes the same bytes for many at once.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import fastavro

from schemas.batch import FOREVER_MS, WINDOW_DAYS, Changes, Columns, EventBatch
from schemas.categories import CATEGORY_NAMES
from schemas.definitions import parsed
from schemas.kinds import (
    CAUSE_NAMES,
    INPUT_TOPICS,
    LOAN_STATES,
    RISK_BANDS,
    SCORE_NAMES,
    SEGMENT_NAMES,
    VALUE_BANDS,
    Reason,
    Score,
)
from schemas.known_schemas import Registry
from schemas.readable import Fields, read_fields

VALUE_BAND_FLOORS = (2.0, 3.0, 4.0)
"""From which value on it is medium, high, top, where no policy says otherwise."""

RISK_BAND_FLOORS = (0.10, 0.30)
"""From which probability of default on risk is medium, high, where no policy says otherwise."""


class ProfileWords(NamedTuple):
    """What is told of a profile beside the numbers of a customer."""

    title: str
    text: str
    purpose: str
    sensitive: bool


class VersionNames(NamedTuple):
    """Names of the weights and policies that changes and cards refer to by index, and each policy's bands of value."""

    weights: tuple[str, ...]
    policies: tuple[str, ...]
    value_band_floors: tuple[tuple[float, float, float], ...] = ()
    risk_band_floors: tuple[tuple[float, float], ...] = ()
    profile_ids: tuple[str, ...] = ()  # what the bits of the score `profiles` stand for
    profiles: tuple[ProfileWords, ...] = ()  # of each version of the profiles, behind one another

    def profile_names(self, code: float) -> list[str]:
        """The profiles that a code of the score `profiles` says hold.

        >>> VersionNames((), (), profile_ids=("foodie", "gamer", "reader")).profile_names(5.0)
        ['foodie', 'reader']
        """
        return [name for i, name in enumerate(self.profile_ids) if int(code) >> i & 1]

    def risk_floors(self, policy: int) -> tuple[float, float]:
        """From which probability of default on a policy says medium, high."""
        return self.risk_band_floors[policy] if self.risk_band_floors else RISK_BAND_FLOORS

    def floors(self, policy: int) -> tuple[float, float, float]:
        """From which value on a policy says medium, high, top."""
        return self.value_band_floors[policy] if self.value_band_floors else VALUE_BAND_FLOORS


@dataclass(slots=True)
class Encoder:
    """How the outputs of a deployment are written.

    `reason_texts` are the words of reasons by code; the code's own name where there are none. `topic_prefix` stands
    before topics' names. Asks the registry for each schema once; RegistryUnavailable, SchemaNotRegistered are its own.
    """

    registry: Registry
    reason_texts: Mapping[int, str] = field(default_factory=dict)
    topic_prefix: str = ""
    prefixes: dict[str, bytes] = field(default_factory=dict)
    kept: dict[VersionNames, Any] = field(default_factory=dict, repr=False)  # what `schemas.encode` makes of these once

    def prefix_of(self, name: str) -> bytes:
        """What a value of schema `name` begins with."""
        if name not in self.prefixes:
            self.prefixes[name] = self.registry.prefix_of(name)
        return self.prefixes[name]

    def reason(self, code: int) -> tuple[str, str]:
        """Stable code and words of a reason."""
        name = Reason(code).name.lower()
        return name, self.reason_texts.get(code, name.replace("_", " "))

    def topic(self, rank: int) -> str:
        """The full name of an input topic."""
        return self.topic_prefix + INPUT_TOPICS[rank]


def encode_value(name: str, fields: Fields, encoder: Encoder) -> bytes:
    """Any value of schema `name` from its fields, about 10 us. Raises ValueError where they do not fit the schema."""
    stream = io.BytesIO()
    stream.write(encoder.prefix_of(name))
    try:
        fastavro.schemaless_writer(stream, parsed(name), fields)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"the fields do not fit the schema {name}: {error}") from error
    return stream.getvalue()


def decode_value(name: str, value: bytes, registry: Registry) -> Fields:
    """The fields of any value of schema `name`, whichever its encoding. Raises Refused, RegistryUnavailable."""
    return read_fields(value, name, registry)


def change_to_dict(
    i: int, changes: Changes, batch: EventBatch, users: Sequence[bytes], names: VersionNames, encoder: Encoder
) -> Fields:
    """The fields of score change i, as the schema ScoreChange has them. `users` are those of the table."""
    row = changes.rows[i]
    user, score = users[row["user"]].decode(), SCORE_NAMES[row["score"]]
    incarnation = f"{row['incarnation_rank']}-{row['incarnation_offset']}"
    reasons = changes.reasons[row["reasons_at"] : row["reasons_at"] + row["reasons_count"]]
    return {
        "change_id": f"{user}/{score}/{incarnation}/{row['sequence']}",
        "user_id": user,
        "score": score,
        "sequence": int(row["sequence"]),
        "incarnation": incarnation,
        "old": number_of(row["score"], row["old"]),
        "new": number_of(row["score"], row["new"]),
        "old_text": text_of(row["score"], row["old"]),
        "new_text": text_of(row["score"], row["new"]),
        "old_band": None if row["old_band"] < 0 else VALUE_BANDS[row["old_band"]],
        "new_band": None if row["new_band"] < 0 else VALUE_BANDS[row["new_band"]],
        "cause": _cause(row, changes, batch, encoder),
        "event_time_ms": int(row["event_time_ms"]),
        "decided_ms": int(row["decided_ms"]),
        "weights_version": names.weights[row["weights_version"]],
        "policy_version": names.policies[row["policy_version"]],
        "base": or_none(row["base"]),
        "reasons": [_reason(reason, encoder) for reason in reasons],
        "confidence": or_none(row["confidence"]),
        "first_event_ms": int(row["first_event_ms"]),
        "last_event_ms": int(row["last_event_ms"]),
        "events": int(row["events"]),
        "valid_until_ms": _until(row),
        "point": _text(changes, row["point_at"], row["point_length"]),
        "segment": SEGMENT_NAMES[row["segment"]],
        "old_list": list_of(row["score"], row["old"], names),
        "new_list": list_of(row["score"], row["new"], names),
        "hits": [hit_to_dict(hit, names) for hit in changes.hits[row["hits_at"] : row["hits_at"] + row["hits_count"]]],
    }


def hit_to_dict(hit: Columns, names: VersionNames) -> Fields:
    """The fields of a hit, as the schema ProfileHit has them."""
    words = names.profiles[hit["profile"]]
    return {
        "profile": names.profile_ids[hit["profile"] % len(names.profile_ids)],
        "title": words.title,
        "held": bool(hit["held"]),
        "since_ms": int(hit["since_ms"]),
        "strength": float(hit["strength"]),
        "category": CATEGORY_NAMES[hit["category"]],
        "share": float(hit["share"]),
        "amount_minor": int(hit["amount_minor"]),
        "purchases": float(hit["purchases"]),
        "text": words.text,
        "purpose": words.purpose,
        "sensitive": words.sensitive,
    }


def list_of(score: int, value: float, names: VersionNames) -> list[str] | None:
    """A score's value where it is a list: the profiles that hold."""
    return names.profile_names(value) if score == Score.PROFILES else None


def _cause(row: Columns, changes: Changes, batch: EventBatch, encoder: Encoder) -> Fields:
    cause: Fields = {
        "kind": CAUSE_NAMES[row["cause"]],
        "loan_id": _text(changes, int(row["loan_at"]), int(row["loan_length"])),
    }
    if row["event"] < 0:
        return cause | {"topic": None, "partition": None, "offset": None, "event_id": None}
    event = batch.events[row["event"]]
    event_id = batch.slice_of_text(event["event_id_at"], event["event_id_length"])
    return cause | {
        "topic": encoder.topic(event["rank"]),
        "partition": batch.partition,
        "offset": int(event["offset"]),
        "event_id": event_id.decode() or None,
    }


def _reason(reason: Columns, encoder: Encoder) -> Fields:
    code, text = encoder.reason(int(reason["code"]))
    return {"code": code, "text": text, "level": float(reason["level"]), "moved": float(reason["moved"])}


def number_of(score: int, value: float) -> float | None:
    """A score's value where it is a number: none of rfm, segment, profiles, and nothing where there is no score."""
    return None if score in (Score.RFM, Score.SEGMENT, Score.PROFILES) else or_none(value)


def text_of(score: int, value: float) -> str | None:
    """A score's value where it is a text: the three digits of an rfm, the name of a segment.

    >>> text_of(Score.RFM, 545.0), text_of(Score.SEGMENT, 3.0), text_of(Score.VALUE, 4.2), text_of(Score.RFM, 0.0)
    ('545', 'regular', None, None)
    """
    if math.isnan(value):
        return None
    if score == Score.RFM:
        return str(int(value)) if value else None
    return SEGMENT_NAMES[int(value)] if score == Score.SEGMENT else None


def or_none(number: float) -> float | None:
    """A number; nothing for NaN."""
    return None if math.isnan(number) else float(number)


def _until(row: Columns) -> int | None:
    return None if row["valid_until_ms"] >= FOREVER_MS else int(row["valid_until_ms"])


def _text(changes: Changes, at: int, length: int) -> str | None:
    return changes.slice_of_text(at, length).decode() or None


def card_to_dict(i: int, changes: Changes, users: Sequence[bytes], names: VersionNames) -> Fields:
    """The fields of scorecard i, as the schema Scorecard has them. `users` are those of the table."""
    card = changes.cards[i]
    value = or_none(card["score"][Score.VALUE])
    per_score = [card["score"][score] for score in Score]
    risk = or_none(per_score[Score.RISK])
    return {
        "user_id": users[card["user"]].decode(),
        "incarnation": f"{card['incarnation_rank']}-{card['incarnation_offset']}",
        "clock_ms": int(card["clock_ms"]),
        "value": value,
        "value_band": None if value is None else VALUE_BANDS[band_of(value, names.floors(card["policy_version"]))],
        "status": or_none(per_score[Score.STATUS]),
        "revenue": or_none(per_score[Score.REVENUE]),
        "class": None if math.isnan(per_score[Score.CLASS]) else int(per_score[Score.CLASS]),
        "rfm": text_of(Score.RFM, per_score[Score.RFM]),
        "segment": SEGMENT_NAMES[card["segment"]],
        "sequences": dict(zip(SCORE_NAMES, card["sequence"].tolist(), strict=True)),
        "confidence": {name: or_none(number) for name, number in zip(SCORE_NAMES, card["confidence"], strict=True)},
        "has_override": bool(card["has_override"]),
        "loans": dict(zip(LOAN_STATES, card["counts"].tolist(), strict=True)) | {"open": int(card["open_loans"])},
        "first_payment_default": None if card["first_payment_default"] < 0 else bool(card["first_payment_default"]),
        **{name: or_none(card[name]) for name in ("forecast", "consistency", "efficiency", "discipline")},
        "balance_minor": int(card["balance_minor"]),
        "windows": [
            {"days": days}
            | {name: int(card[name][w]) for name in ("deposits_minor", "withdrawals_minor", "transactions")}
            for w, days in enumerate(WINDOW_DAYS)
        ],
        **{name: int(card[name]) for name in ("first_event_ms", "last_event_ms", "events")},
        "valid_until_ms": _until(card),
        "weights_version": names.weights[card["weights_version"]],
        "policy_version": names.policies[card["policy_version"]],
        "point": _text(changes, card["point_at"], card["point_length"]),
        "risk": risk,
        "risk_band": None
        if risk is None
        else RISK_BANDS[risk_band_of(risk, names.risk_floors(card["policy_version"]))],
        "profiles": names.profile_names(per_score[Score.PROFILES]),
    }


def band_of(value: float, floors: tuple[float, float, float] = VALUE_BAND_FLOORS) -> int:
    """Band of a customer value score: a plain function of the value as it is published.

    >>> [VALUE_BANDS[band_of(value)] for value in (1.99, 2.0, 3.0, 4.0)]
    ['low', 'medium', 'high', 'top']
    """
    return sum(value >= floor for floor in floors)


def risk_band_of(risk: float, floors: tuple[float, float] = RISK_BAND_FLOORS) -> int:
    """Band of a credit risk score: how likely a default is, 1 less the score, a plain function of what is published.

    >>> [RISK_BANDS[risk_band_of(risk)] for risk in (0.95, 0.89, 0.75, 0.359)]
    ['low', 'medium', 'medium', 'high']
    """
    return sum(1.0 - risk >= floor for floor in floors)
