"""What a sample of borrowers tell the learner, so that the cuts of class and RFM follow the population.

A customer in the sample reports status and revenue whenever they are said again, and each loan's due day: what everyone
is told anyway, so that it depends neither on batches nor on a look at the row. One customer in `SHARE` is in the
sample, by a hash of the id. Cost: 10 us a batch, 6 us a report.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

from schemas.batch import EventBatch
from schemas.codec import Encoder, encode_example
from schemas.kinds import Cause, Score
from state.calendar import day_of
from state.versions import Versions
from streams.log.message import Message
from streams.processing.case_examples import user_hash
from streams.scoring.compiled.cases import ISSUED
from streams.scoring.step import Step

SHARE = 8
TOLD = {int(Score.STATUS): "status", int(Score.REVENUE): "revenue"}
NOT_OF_LOANS = (int(Cause.ERASURE), int(Cause.OVERRIDE))
"""Causes of a change that tell nothing of what loans have made of the score."""

Said = tuple[int, int, str, float]
"""Customer (by index), time, which, value."""


def reports(
    batch: EventBatch, done: Step, versions: Versions, encoder: Encoder, key: bytes
) -> list[tuple[int, Message]]:
    """The reports of a batch, each with its time."""
    users = done.table.users
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for user, at_ms, name, value in [*_said(done), *_issued(batch, done, versions)]:
        found.setdefault((at_ms, user), {})[name] = value
    made = []
    for (at_ms, user), member in sorted(found.items()):
        hashed = user_hash(users[user], key)
        fields = {"kind": "report", "model": "value", "user_hash": hashed, "timestamp_ms": at_ms,
                  "day": day_of(versions.days, at_ms), "member": {"consistency": 0.5, **member}}  # fmt: skip
        made.append((at_ms, Message(hashed, encode_example(fields, encoder))))
    return made


def is_sampled(user: bytes) -> bool:
    """Whether this customer reports."""
    return zlib.crc32(user) % SHARE == 0


def _said(done: Step) -> list[Said]:
    """Status and revenue as they were said."""
    rows, users, found = done.changes.rows, done.table.users, []
    for i, user in zip(done.told.tolist(), rows["user"][done.told].tolist(), strict=True):
        if is_sampled(users[user]):
            row = rows[i]
            new = float(row["new"])
            if row["cause"] not in NOT_OF_LOANS and not math.isnan(new):
                found.append((user, int(row["decided_ms"]), TOLD[int(row["score"])], new))
    return found


def _issued(batch: EventBatch, done: Step, versions: Versions) -> list[Said]:
    """Due days of loans that were issued, as days from then."""
    cases, users, found = done.cases, done.table.users, []
    for i, (kind, user) in enumerate(zip(cases["kind"].tolist(), cases["user"].tolist(), strict=True)):
        if kind == ISSUED and is_sampled(users[user]):
            at_ms, due_ms = int(cases["moment_ms"][i]), int(batch.events["due_ms"][cases["event"][i]])
            days = day_of(versions.days, due_ms) - day_of(versions.days, at_ms)
            found.append((user, at_ms, "recency", float(days)))
    return found
