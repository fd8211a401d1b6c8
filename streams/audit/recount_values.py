"""What the readable step says, as the values of their topics, one field at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from schemas.batch import CARD, CHANGE, HIT, REASON, Changes, EventBatch
from schemas.codec import Encoder, VersionNames, change_to_dict, encode_value
from schemas.kinds import Cause, Score
from schemas.writing import band_of, risk_band_of
from streams.scoring.reference.step import Change, Hit


def change_values(
    changes: Sequence[Change], batch: EventBatch, users: Sequence[bytes], names: VersionNames, encoder: Encoder
) -> list[bytes]:
    """Values of `score-changes`. Cost: some 60 us each."""
    columns = columns_of(changes, names)
    return [
        encode_value("ScoreChange", change_to_dict(i, columns, batch, users, names, encoder), encoder)
        for i in range(len(changes))
    ]


def columns_of(changes: Sequence[Change], names: VersionNames) -> Changes:
    """The columns that the codec writes, filled from changes as the readable step has them."""
    rows, text = np.zeros(len(changes), CHANGE), bytearray()
    reasons: list[tuple[int, float, float]] = []
    hits: list[Hit] = []
    for i, change in enumerate(changes):
        row = rows[i]
        for name in (
            "user", "event", "score", "cause", "segment", "sequence", "old", "new", "base", "confidence",
            "event_time_ms", "decided_ms", "valid_until_ms", "weights_version", "policy_version",
        ):  # fmt: skip
            row[name] = getattr(change, name)
        row["incarnation_rank"], row["incarnation_offset"] = change.incarnation
        row["first_event_ms"], row["last_event_ms"], row["events"] = change.coverage
        row["old_band"], row["new_band"] = (_band(change, value, names) for value in (change.old, change.new))
        row["reasons_at"], row["reasons_count"] = len(reasons), len(change.reasons)
        reasons += change.reasons
        row["hits_at"], row["hits_count"] = len(hits), len(change.hits)
        hits += change.hits
        for name, said in (("point", change.point), ("loan", change.loan_id)):
            row[f"{name}_at"], row[f"{name}_length"] = len(text), len(said)
            text += said
    packed = np.frombuffer(bytes(text), np.uint8)
    return Changes(rows, np.array(reasons, REASON), packed, np.zeros(0, CARD), np.array(hits, HIT))


def _band(change: Change, value: float, names: VersionNames) -> int:
    """The band of a value; -1 where the score has none, has no value, or has ended."""
    if change.cause == Cause.ERASURE or math.isnan(value):
        return -1
    if change.score == Score.RISK:
        return risk_band_of(value, names.risk_floors(change.policy_version))
    return band_of(value, names.floors(change.policy_version)) if change.score == Score.VALUE else -1
