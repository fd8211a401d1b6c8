"""The compiled step does what the readable one says, to the byte, on random streams with random batch cuts."""

from __future__ import annotations

import math
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from schemas.batch import FOREVER_MS, MISSING_TIME_MS, EventBatch
from schemas.kinds import Kind, RejectCode, Score
from schemas.row_keys import request_of
from state.layout import decode_row
from state.row import Row
from state.table import Table
from streams.scoring.reference import step as oracle
from streams.scoring.step import Clocks, Step, step
from tests.scoring import random_streams as streams

DATES = ("due_date", "order_date", "paid_at", "transaction_date", "declared_at")


def cut_batches(batch: EventBatch, cuts: list[int]) -> list[EventBatch]:
    """The same events in several batches, each with its own users in order of first appearance."""
    parts = []
    edges = [0, *cuts, len(batch.events)]
    for start, end in pairwise(edges):
        events = batch.events[start:end].copy()
        seen: dict[int, int] = {}
        for fields in events:
            fields["user"] = seen.setdefault(int(fields["user"]), len(seen))
        users = [batch.users[user] for user in seen]
        parts.append(EventBatch(batch.partition, batch.records, events, batch.text, users))
    return parts


def assert_same(fast: Step, slow: oracle.OracleStep) -> None:
    """Everything a step says is equal."""
    for user, row in enumerate(slow.rows):
        packed = fast.table.row(user)
        if packed != row and packed and row:
            assert decode_row(packed) == decode_row(row)
        assert packed == row
    dues = [FOREVER_MS if due is None else due for due in slow.dues]
    assert fast.table.due_ms.tolist() == dues
    assert fast.table.changed.tolist() == slow.changed
    assert fast.journal.rejects == slow.rejects
    assert fast.overruns == slow.overruns
    assert len(fast.changes.rows) == len(slow.changes)
    for said, meant in zip(fast.changes.rows, slow.changes, strict=True):
        assert_same_change(fast, said, meant)
    assert len(fast.examples) == len(slow.examples)
    for example, due in zip(fast.examples, slow.examples, strict=True):
        assert (example["user"], example["day"], example["timestamp_ms"]) == (due.user, due.day, due.timestamp_ms)
        assert example["features"].tolist() == due.features
        assert (example["forecast"], example["label"]) == (due.forecast, due.label)
    journal = [
        (int(x["event"]), int(x["user"]), (int(x["incarnation_rank"]), int(x["incarnation_offset"])), int(x["ordinal"]),
         int(x["clock_ms"]), None if x["after_ms"] == MISSING_TIME_MS else int(x["after_ms"]), bool(x["forgotten"]))
        for x in fast.journal.inversions
    ]  # fmt: skip
    assert journal == [astuple(x) for x in slow.inversions]
    assert fast.ended == slow.ended


@pytest.mark.parametrize("seed", range(4))
def test_a_request_without_a_customer_has_a_row_and_nothing_is_said_of_it(seed: int) -> None:
    batch = streams.stream(seed, events=250, users=2, requests=3, erasures=0.15)
    erased = np.flatnonzero(batch.events["kind"] == Kind.ERASE) + 1  # a marker is seen where a batch ends behind it
    cuts = sorted({20, 90, 91, 170, *erased[erased < len(batch.events)].tolist()})
    rows, taken, marked = {}, 0, 0
    for part, one in zip(cut_batches(batch, cuts), run_both(batch, cuts, streams.versions()), strict=True):
        users = one.table.users
        assert not any(request_of(users[user]) is not None for user in one.changes.rows["user"].tolist())
        assert not any(request_of(users[user]) is not None for user in one.changes.cards["user"].tolist())
        assert not any(request_of(users[user]) is not None for user in one.examples["user"].tolist())
        for i, user in enumerate(users):
            if request_of(user) is not None:
                rows[user] = one.table.row(i)
                marked += one.table.due_ms[i] != FOREVER_MS
        taken += sum(request_of(part.users[user]) is not None for user in part.events["user"].tolist())
    assert len(rows) == 3
    assert taken > 50
    assert marked  # the end of an erasure's marker is the one timer there is
    for packed in rows.values():
        row = Row() if packed is None else decode_row(packed)
        assert row.sequences == Row().sequences
        assert repr(row.emitted) == repr(Row().emitted)
        assert (row.due_ms is None) == (row.erased_ms is None or row.exists)


def assert_same_change(fast: Step, said: np.void, meant: oracle.Change) -> None:
    for name in (
        "user", "event", "score", "cause", "sequence", "old", "new", "base", "confidence", "event_time_ms",
        "decided_ms", "segment", "weights_version", "policy_version", "valid_until_ms",
    ):  # fmt: skip
        a, b = said[name], getattr(meant, name)
        assert a == b or (math.isnan(a) and math.isnan(b)), (name, a, b)
    assert (said["incarnation_rank"], said["incarnation_offset"]) == meant.incarnation
    assert (said["first_event_ms"], said["last_event_ms"], said["events"]) == meant.coverage
    assert fast.changes.slice_of_text(said["point_at"], said["point_length"]) == meant.point
    assert fast.changes.slice_of_text(said["loan_at"], said["loan_length"]) == meant.loan_id
    reasons = fast.changes.reasons[said["reasons_at"] : said["reasons_at"] + said["reasons_count"]]
    assert [(int(r["code"]), float(r["level"]), float(r["moved"])) for r in reasons] == meant.reasons
    hits = fast.changes.hits[said["hits_at"] : said["hits_at"] + said["hits_count"]]
    assert [tuple(hit[name].item() for name in oracle.Hit._fields) for hit in hits] == [
        tuple(hit) for hit in meant.hits
    ]


def run_both(batch: EventBatch, cuts: list[int], versions) -> list[Step]:  # type: ignore[no-untyped-def]
    """Both through the same batches, each over its own rows."""
    store: dict[bytes, bytes | None] = {}
    dues: dict[bytes, int] = {}
    clock_ms, swept_ms, erased_ms, steps = 0, -(2**62), -(2**62), []
    for part in cut_batches(batch, cuts):
        before_ms, clock_ms = clock_ms, max(clock_ms, int(part.events["timestamp_ms"].max(initial=clock_ms)))
        sweeps = any(swept_ms < moment <= clock_ms for moment in versions.rescores)
        others = sorted(u for u, due in dues.items() if (due <= clock_ms or sweeps) and u not in part.users)
        users = [*part.users, *others]
        rows = [store.get(user) for user in users]
        slow = oracle.step(users, rows, part, versions, clock_ms, erased_ms=erased_ms, before_ms=before_ms)
        # The fast one is told that nobody has to be looked at again for what the last sweep was for: it is the same.
        fast = step(Table.of(users, rows), part, versions, Clocks(clock_ms, swept_ms, erased_ms, before_ms))
        assert_same(fast, slow)
        swept_ms = clock_ms
        if (part.events["kind"] == Kind.ERASE).any():
            erased_ms = clock_ms
        for i, user in enumerate(users):
            store[user] = fast.table.row(i)
            dues[user] = int(fast.table.due_ms[i])
        steps.append(fast)
    return steps


@pytest.mark.parametrize("seed", range(12))
def test_the_compiled_step_says_what_the_oracle_says(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    users, gap_days = int(rng.integers(1, 6)), float(rng.choice([0.05, 0.7, 3.0]))
    batch = streams.stream(seed, events=250, users=users, gap_days=gap_days, requests=seed % 4)
    cuts = sorted(int(cut) for cut in rng.integers(1, 250, int(rng.integers(0, 12))))
    rules = {
        "duplicates_max": int(rng.choice([3, 256])),
        "fold_loan_after_days": int(rng.choice([2, 90])),
        "count_unpaid_from_day": int(rng.choice([1, 31])),
        "payment_days_before_order": int(rng.choice([20, 366])),
    }
    run_both(batch, sorted(set(cuts)), streams.versions(**rules))


def test_the_streams_reach_what_they_are_to_reach() -> None:
    """The comparison proves nothing about what never happens: the streams make everything happen."""
    reasons, causes, codes, scores, rejects = set(), set(), set(), set(), []
    examples, inversions, corrected = 0, 0, 0
    for seed in range(8):
        batch = streams.stream(seed, events=400, users=3, gap_days=0.7)
        (one,) = run_both(batch, [], streams.versions(fold_loan_after_days=10))
        reasons |= set(one.changes.reasons["code"].tolist())
        causes |= set(one.changes.rows["cause"].tolist())
        scores |= set(one.changes.rows["score"].tolist())
        codes |= {reject.code for reject in one.journal.rejects}
        rejects += one.journal.rejects
        examples += len(one.examples)
        inversions += len(one.journal.inversions)
        refused = {reject.record for reject in one.journal.rejects}
        corrected += sum(event["has_previous"] and event["record"] not in refused for event in batch.events)
    assert scores == set(Score)
    assert causes == {0, 1, 3, 4, 5}
    assert len(codes) >= 9
    assert codes >= {RejectCode.EVENT_ID_REUSED, RejectCode.CORRECTION_OF_NOTHING}
    assert codes >= {RejectCode.LOAN_CLOSED, RejectCode.LOAN_EXISTS, RejectCode.IMPLAUSIBLE_DATE}
    assert {why for reject in rejects for why in ("settled long ago", "was cancelled") if why in reject.message} == {
        "settled long ago",
        "was cancelled",
    }
    assert {field for reject in rejects for field in DATES if reject.message.startswith(f"{field} is")} == set(DATES)
    assert corrected > 10
    assert len(reasons) >= 20
    assert examples > 10
    assert inversions > 10


@pytest.mark.parametrize("seed", range(6))
def test_batch_cuts_and_other_users_change_nothing(seed: int) -> None:
    batch = streams.stream(seed, events=300, users=4, inversions=0.0)
    versions = streams.versions()
    rng = np.random.default_rng(seed)
    whole = run_both(batch, [], versions)
    cut = run_both(batch, sorted({int(cut) for cut in rng.integers(1, 300, 20)}), versions)
    assert_array_equal(said_of(whole, batch.users), said_of(cut, batch.users))


def said_of(steps: list[Step], users: list[bytes]) -> np.ndarray:
    """All changes of all users in order, without what depends on the batch (indices of user and event)."""
    rows = []
    for one in steps:
        for change in one.changes.rows:
            reasons = one.changes.reasons[change["reasons_at"] : change["reasons_at"] + change["reasons_count"]]
            user = one.table.users[change["user"]]
            rows.append((user, change["sequence"], change["score"], repr(change["new"]), change["decided_ms"],
                         change["valid_until_ms"], reasons.tobytes()))  # fmt: skip
    return np.array(sorted(rows), object)


def test_whoever_comes_back_after_an_erasure_is_forgotten_is_new_wherever_batches_end() -> None:
    world = streams.stream(3, events=12, users=1, gap_days=0.01, inversions=0.0)
    fields = world.events
    again = fields[0].copy()
    for i, at_day in enumerate((0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 3.0, 3.1)):
        fields[i] = again
        fields[i]["kind"], fields[i]["rank"] = Kind.APPLICANT, streams.RANKS[Kind.APPLICANT]
        fields[i]["event_hash"], fields[i]["record"], fields[i]["offset"] = 100 + i, i, 10 * i
        fields[i]["timestamp_ms"] = fields[i]["event_time_ms"] = streams.START_MS + round(at_day * streams.DAY_MS)
    fields[8]["kind"], fields[8]["rank"], fields[8]["event_hash"] = Kind.ERASE, streams.RANKS[Kind.ERASE], 0
    fields[9] = fields[8]
    fields[9]["record"], fields[9]["offset"] = 9, 90  # the erasure again: it is carried out again
    versions = streams.versions()
    whole, parts = (run_both(world, cuts, versions)[-1] for cuts in ([], [10, 11]))
    assert whole.table.row(0) == parts.table.row(0)
