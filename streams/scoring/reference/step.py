"""The meaning of a step, in plain Python: what the compiled `streams.scoring.compiled.step` must do, to the byte.

For each record of a user: fire the user's timers that are due by its timestamp, each at its own due time; fold the
event; score; compare with what was last emitted; append changes. At last, fire what the partition's clock has passed.
Of a request without a customer the row is folded, and nothing is said: it has no scores and no timer but the end of the
marker that an erasure leaves.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import xxhash

from schemas.batch import BEGINNING_MS, FOREVER_MS, WINDOW_DAYS, Columns, EventBatch, Reject
from schemas.kinds import NO_SCORES, SCORES, Cause, Kind, Reason, RejectCode, Score, is_code
from schemas.row_keys import request_of
from state.calendar import day_of, start_of_day
from state.fold import Event, advance_row, events_of, fold_one, is_inversion, refusal_of
from state.layout import decode_row, encode_row
from state.loans import LATE_DAYS
from state.row import Pending, Row
from state.spending import ProfileMark
from state.versions import Policy, Versions
from streams.scoring.customer_risk import RISK_REASONS
from streams.scoring.profiles import (
    NO_PROFILE_DAY,
    categories_in,
    leading_category,
    measures_of,
    next_profile_day,
    shares_of,
    strength_of,
)
from streams.scoring.reference.evaluate import (
    Evaluation,
    evaluate,
    featured_forecast,
    held_by_marks,
    marks_of,
    places_of,
)
from streams.scoring.refusals import refusal
from streams.scoring.tables import model_of, profile_table
from streams.scoring.value import (
    AGE_EDGES,
    RECENCY_EDGES,
    VALUE_REASONS,
    consistency_after,
    label_of,
    pack_feature,
)

STATUS_REASONS = (Reason.HISTORY, Reason.LATE_BDR_30, Reason.LATE_BDR_30_PLUS, Reason.LATE_NPL, Reason.LATE_WO)
REVENUE_REASONS = (
    Reason.EFFICIENCY,
    Reason.LATE_COSTS,
    Reason.PROMOTIONS,
    Reason.UNPAID,
    Reason.ONGOING_COSTS,
)


class Hit(NamedTuple):
    """Why a profile holds, or holds no longer, as the columns of `schemas.batch.HIT` spell it."""

    profile: int
    held: bool
    category: int
    since_ms: int
    strength: float
    share: float
    amount_minor: int
    purchases: float


@dataclass(slots=True)
class Change:
    """One score change, as the columns of `schemas.batch.CHANGE` spell it."""

    user: int
    event: int
    score: int
    cause: Cause
    sequence: int
    old: float
    new: float
    base: float
    reasons: list[tuple[int, float, float]]
    confidence: float
    event_time_ms: int
    decided_ms: int
    segment: int
    point: bytes
    loan_id: bytes
    incarnation: tuple[int, int]
    coverage: tuple[int, int, int]
    weights_version: int
    policy_version: int
    valid_until_ms: int = 0
    hits: list[Hit] = field(default_factory=list)


@dataclass(slots=True)
class Example:
    """One training example: inputs and forecast of its day, and the label that is known now."""

    user: int
    day: int
    timestamp_ms: int
    features: list[int]
    forecast: float
    label: float


@dataclass(slots=True)
class Inversion:
    """A record taken behind its place in the merge."""

    event: int
    user: int
    incarnation: tuple[int, int]
    ordinal: int
    clock_ms: int
    after_ms: int | None = None  # without a row: it follows all that the user had up to then
    forgotten: bool = False  # not even the marker of an erasure was left


@dataclass(slots=True)
class OracleStep:
    """All that a step says, row by row."""

    rows: list[bytes | None]
    dues: list[int | None]
    changed: list[bool]
    changes: list[Change] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    inversions: list[Inversion] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    ended: dict[int, int] = field(default_factory=dict)  # by user: their clock when they were erased last
    overruns: int = 0  # event ids forgotten before their time


@dataclass(slots=True)
class Walk:
    """One user on the way through a batch."""

    user: int
    user_hash: int
    row: Row
    versions: Versions
    out: OracleStep
    due_ms: int | None
    is_request: bool = False  # of someone who is no customer: nothing is scored, and time changes nothing
    changed: bool = False
    looked_ms: int = BEGINNING_MS  # new weights up to then have been looked at
    erased_ms: int = BEGINNING_MS  # the clock when an erasure was last taken: the partition's, in this batch the user's
    passed_ms: int = BEGINNING_MS  # time that has passed: the partition's before this batch, the user's records since

    @property
    def is_scored(self) -> bool:
        """Whether there is a customer whom scores and timers are about."""
        return self.row.exists and not self.is_request


def walk_of(key: bytes, user: int, row: Row, versions: Versions, out: OracleStep, due_ms: int | None) -> Walk:
    """The walk of the row of this key (`schemas.row_keys`): a customer's, or that of a request without one."""
    is_request = request_of(key) is not None
    return Walk(user, xxhash.xxh64_intdigest(key), row, versions, out, due_ms, is_request)


def step(
    users: list[bytes],
    rows: list[bytes | None],
    batch: EventBatch,
    versions: Versions,
    clock_ms: int,
    swept_ms: int = BEGINNING_MS,
    erased_ms: int = BEGINNING_MS,
    before_ms: int = BEGINNING_MS,
) -> OracleStep:
    """Take a batch, user by user. `users` begins with the batch's; those behind have timers due and no event.

    Rows that exist have been looked at for all new weights up to `swept_ms` that ask for everyone. `erased_ms` is the
    partition's clock when an erasure was last taken, `before_ms` its clock now, both before this batch.
    """
    events = events_of(batch, versions)
    out = OracleStep([], [], [])
    for user, user_id in enumerate(users):
        packed = rows[user]
        row = Row() if packed is None else known_row(packed, versions)
        walk = walk_of(user_id, user, row, versions, out, row.due_ms)
        walk.erased_ms, walk.passed_ms = erased_ms, before_ms
        if walk.is_scored:
            walk.looked_ms = swept_ms
            swept = [moment for moment in versions.rescores if row.clock_ms < moment <= swept_ms]
            if swept:
                walk.due_ms = next_due(walk, swept[-1])
        for i, event in enumerate(events):
            if event.number("user") == user and event.kind != Kind.ADVANCE:
                fire_timers(walk, event.number("timestamp_ms"))
                take(walk, batch, i, event)
                walk.passed_ms = max(walk.passed_ms, event.number("timestamp_ms"))
        fire_timers(walk, clock_ms)
        gone = not walk.row.exists and walk.row.erased_ms is None
        walk.row.due_ms = walk.due_ms
        out.rows.append(packed if not walk.changed else None if gone else encode_row(walk.row, today_of(walk)))
        out.dues.append(walk.due_ms)
        out.changed.append(walk.changed)
    return out


def known_row(packed: bytes, versions: Versions) -> Row:
    """A stored row, with the code of its profiles, which it keeps by their names."""
    row = decode_row(packed)
    row.emitted[Score.PROFILES] = held_by_marks(row, versions)
    return row


def today_of(walk: Walk) -> int:
    """The user's today."""
    return day_of(walk.versions.days, walk.row.clock_ms)


def take(walk: Walk, batch: EventBatch, index: int, event: Event) -> None:
    """Fold one event, the batch's at `index`, and say what it changed."""
    row, versions, out = walk.row, walk.versions, walk.out
    inverted = is_journaled(walk, event)
    after_ms = told_after_ms(walk) if row.erased_ms is None else max(row.clock_ms, told_after_ms(walk))
    before_row = copy.deepcopy(row)
    code = fold_one(row, event, versions)
    if code != RejectCode.NONE:
        out.rejects.append(refusal(batch, event.fields, refusal_of(row, event, versions), versions.days))
        return
    walk.changed = True
    out.overruns += max(row.overruns - before_row.overruns, 0)
    if inverted:
        said = row if row.exists else before_row
        incarnation = (said.incarnation_rank, said.incarnation_offset)
        ordinal = row.taken - 1 if row.exists else before_row.taken
        known = (None, False) if before_row.exists else (after_ms, before_row.erased_ms is None)
        out.inversions.append(Inversion(index, walk.user, incarnation, ordinal, row.clock_ms, *known))
    if not row.exists:
        walk.erased_ms = max(walk.erased_ms, row.clock_ms)
        if before_row.exists:
            out.ended[walk.user] = row.clock_ms
            emit_erasure(walk, index, event, before_row)
    if not walk.is_scored:
        walk.due_ms = next_due(walk)
        return
    cause = Cause.CORRECTION if event.number("revision") > 0 else Cause.EVENT
    touched = [event.number("score")] if event.kind in (Kind.OVERRIDE, Kind.LIFT) else []
    # What the scores were just before this event: the earlier row, read at the moment of the event.
    before = evaluate(before_row, row.clock_ms, versions, row.clock_ms) if before_row.exists else None
    adopted = adopted_from(before_row, row.clock_ms, versions) if before_row.exists else None
    first = len(out.changes)
    emit(walk, before, adopted, cause, index, event.number("event_time_ms"), event.loan_id, touched)
    walk.due_ms = next_due(walk)
    for change in out.changes[first:]:
        change.valid_until_ms = valid_until(walk)


def told_after_ms(walk: Walk) -> int:
    """What is stamped up to then has its place told by the journal, as an erasure left too little to tell it by.

    The user was perhaps erased, time has passed and the marker of that is gone, and the record is stamped before time
    had passed: replay would take it into the life that has ended, or find the marker. Nobody knows who was erased, only
    when somebody was: so everybody's records that are late, and stamped no later than a marker of then would go.
    """
    horizon_ms = max(policy.duplicate_horizon_ms for policy in walk.versions.policies)
    return min(walk.erased_ms + horizon_ms, walk.passed_ms - 1)


def is_journaled(walk: Walk, event: Event) -> bool:
    """True for a record whose place among its user's is not told by the order of time.

    An erasure of the very millisecond of the user's clock is one of them: so of all that is stamped then, erasures that
    are not journaled came before whatever is taken behind a marker, and the rest after.
    """
    row, at_ms = walk.row, event.number("timestamp_ms")
    known = row.exists or row.erased_ms is not None
    tied = event.kind == Kind.ERASE and known and at_ms <= row.clock_ms
    return is_inversion(row, event) or tied or at_ms <= told_after_ms(walk)


def adopted_from(row: Row, moment_ms: int, versions: Versions) -> Evaluation | None:
    """The earlier row under the versions of its own clock, where other ones are in force by now."""
    same_weights = versions.weights_index_at(row.clock_ms) == versions.weights_index_at(moment_ms)
    same_policy = versions.policy_index_at(row.clock_ms) == versions.policy_index_at(moment_ms)
    same_risk = versions.risk_index_at(row.clock_ms) == versions.risk_index_at(moment_ms)
    return None if same_weights and same_policy and same_risk else evaluate(row, moment_ms, versions, row.clock_ms)


def valid_until(walk: Walk) -> int:
    """No change by time alone before this."""
    return FOREVER_MS if walk.due_ms is None else walk.due_ms


def fire_timers(walk: Walk, until_ms: int) -> None:
    """Fire the user's timers that are due by `until_ms`, each at its own due time."""
    while (moment_ms := next_moment(walk)) <= until_ms:
        fire(walk, moment_ms)
        walk.looked_ms = moment_ms
        walk.due_ms = next_due(walk, moment_ms)
        for change in walk.out.changes[::-1]:
            if change.user != walk.user or change.valid_until_ms:
                break
            change.valid_until_ms = valid_until(walk)


def next_moment(walk: Walk) -> int:
    """When time has to look at the user: a timer, or new weights that everyone is scored with."""
    moments = [] if walk.due_ms is None else [walk.due_ms]
    if walk.is_scored:
        after_ms = max(walk.looked_ms, walk.row.clock_ms)
        moments += [moment for moment in walk.versions.rescores if moment > after_ms][:1]
    return min(moments, default=FOREVER_MS)


def fire(walk: Walk, moment_ms: int) -> None:
    """One due time is a check: one that says nothing changes no row, no clock and no log."""
    row, versions = walk.row, walk.versions
    policy = versions.policy_at(moment_ms)
    if not row.exists:
        if row.erased_ms is not None and moment_ms > row.erased_ms + policy.duplicate_horizon_ms:
            walk.row, walk.changed = Row(), True  # nothing at all is left: who comes back now is new
        return
    if not says_something(walk, moment_ms, moment_ms):
        return
    today = day_of(versions.days, moment_ms)
    earlier_ms = moment_ms - 1
    before = evaluate(row, earlier_ms, versions, moment_ms)
    adopted = None
    if adopted_from(row, moment_ms, versions) is not None:
        adopted = evaluate(row, earlier_ms, versions, row.clock_ms)
    loan_id = crossing_loan(row, today) if moment_ms == start_of_day(versions.days, today) else b""
    walk.changed = True
    advance_row(row, moment_ms, today, policy)
    ended = [held.score for held in row.overrides if held.until_ms <= moment_ms]
    row.overrides = [held for held in row.overrides if held.until_ms > moment_ms]
    if is_example_moment(walk, moment_ms):
        take_example(walk, today, moment_ms)
    emit(walk, before, adopted, Cause.TIME, -1, moment_ms, loan_id, ended)


def crossing_loan(row: Row, today: int) -> bytes:
    """The loan whose state time changes on this day: the first of them in the row."""
    for loan in row.loans:
        if loan.settled_day is None and today - loan.due_day in LATE_DAYS:
            return loan.loan_id
    return b""


def is_example_day(user_hash: int, row: Row, day: int, activity_days: int, label_days: int) -> bool:
    """True on the user's day of each 30 on which there is a label to take or an example to begin."""
    if (day - user_hash % label_days) % label_days:
        return False
    active = row.last_transaction_day is not None and row.last_transaction_day >= day - activity_days
    return row.pending is not None or active


def is_example_moment(walk: Walk, moment_ms: int) -> bool:
    """True where the moment is the turn of an example day that the row has not had yet."""
    versions = walk.versions
    policy = versions.policy_at(moment_ms)
    day = day_of(versions.days, moment_ms)
    if moment_ms != start_of_day(versions.days, day) or (walk.row.pending and walk.row.pending.day >= day):
        return False
    return is_example_day(walk.user_hash, walk.row, day, policy.example_activity_days, policy.label_days)


def take_example(walk: Walk, today: int, moment_ms: int) -> None:
    """Close the pending example with its label, and begin the next one."""
    row, versions = walk.row, walk.versions
    policy = versions.policy_at(moment_ms)
    if row.pending is not None:
        first, last = row.pending.day, row.pending.day + policy.label_days - 1
        moved = sum(day.deposits_minor + day.withdrawals_minor for day in row.days if first <= day.day <= last)
        walk.out.examples.append(
            Example(walk.user, first, moment_ms, row.pending.features, row.pending.forecast, label_of(moved))
        )
        row.consistency = consistency_after(row.consistency, row.pending.forecast, moved)
        row.labels += 1
        row.pending = None
    active = row.last_transaction_day is not None and row.last_transaction_day >= today - policy.example_activity_days
    if active:
        model = model_of(versions, versions.weights_index_at(moment_ms), versions.policy_index_at(moment_ms))
        features, forecast = featured_forecast(row, today, model)
        row.pending = Pending(today, [pack_feature(x) for x in features], forecast)


def says_something(walk: Walk, moment_ms: int, in_force_ms: int) -> bool:
    """Would the row, looked at in this moment, emit a change or an example?"""
    row, versions = walk.row, walk.versions
    if any(held.until_ms <= moment_ms for held in row.overrides) or is_example_moment(walk, moment_ms):
        return True
    seen = evaluate(row, moment_ms, versions, in_force_ms)
    return any(moves(row, seen, versions, score) for score in range(SCORES) if not is_held(row, score))


def is_held(row: Row, score: int) -> bool:
    """True while a person holds the score at a value."""
    return any(held.score == score for held in row.overrides)


def model_index(score: int, weights_version: int, risk_version: int, book_version: int, versions: Versions) -> int:
    """Which version a change names: behind those of the weights come those of the risk model, then the profiles'."""
    if score == Score.RISK and versions.risk:
        return len(versions.weights) + max(risk_version, 0)
    if score == Score.PROFILES and versions.books:
        return len(versions.weights) + len(versions.risk) + max(book_version, 0)
    return weights_version


def moves(row: Row, seen: Evaluation, versions: Versions, score: int) -> bool:
    """Is the score far enough from what was last emitted?"""
    policy = versions.policies[seen.policy_version]
    new, old = seen.scores[score], row.emitted[score]
    if is_code(score):
        return new != old
    if math.isnan(new) or math.isnan(old):
        return math.isnan(new) != math.isnan(old)
    if score == Score.VALUE:
        return round(abs(new - old) * 100.0) >= round(policy.value_step * 100.0)
    if score == Score.STATUS:
        return seen.counts != row.emitted_counts or abs(new - old) >= policy.status_step
    return abs(new - old) >= (policy.risk_step if score == Score.RISK else policy.revenue_step)


def emit(
    walk: Walk,
    before: Evaluation | None,
    adopted: Evaluation | None,
    cause: Cause,
    index: int,
    event_time_ms: int,
    loan_id: bytes,
    touched: list[int],
) -> None:
    """Score the row as it is now and append a change for each score that has moved.

    `before`: the row just before, under the versions in force now; `adopted`: likewise under the earlier versions,
    where these differ. `touched`: scores whose override has just begun or ended, to be emitted whatever their distance.
    """
    row, versions = walk.row, walk.versions
    now = evaluate(row, row.clock_ms, versions, row.clock_ms)
    (row.status_level, row.revenue_level, row.recency_digit, row.frequency_digit, row.monetary_digit) = now.digits
    held = {override.score: override.value for override in row.overrides}
    for score in range(SCORES):
        old = row.emitted[score]
        new = held.get(score, now.scores[score])
        overridden = score in touched and not same(new, old)
        if not overridden and (score in held or not moves(row, now, versions, score)):
            continue
        said = Cause.OVERRIDE if overridden else cause
        base, reasons = reasons_of(score, now, before, adopted, old, new, score in held, overridden)
        row.sequences[score] += 1
        row.emitted[score] = new
        if score == Score.STATUS:
            row.emitted_counts = list(now.counts)
        hits = turn_profiles(walk, now, int(old), int(new)) if score == Score.PROFILES else []
        walk.out.changes.append(
            Change(
                walk.user, index, score, said, row.sequences[score], old, new, base, reasons, now.confidence[score],
                event_time_ms, row.clock_ms, now.segment, now.point, loan_id,
                (row.incarnation_rank, row.incarnation_offset), (row.first_event_ms, row.last_event_ms, row.events),
                model_index(score, now.weights_version, now.risk_version, now.book_version, versions),
                now.policy_version, hits=hits,
            )
        )  # fmt: skip


def turn_profiles(walk: Walk, now: Evaluation, old: int, new: int) -> list[Hit]:
    """Mark the profiles that are entered or left today; answers why each holds, or holds no longer."""
    row, versions, today = walk.row, walk.versions, now.day
    profiles, places = profile_table(versions)[1][now.book_version], places_of(row)
    marks, hits = {mark.key: mark for mark in row.profiles}, []
    first = now.book_version * len(profiles)
    for i, profile in enumerate(profiles):
        if not (old | new) >> i & 1:
            continue
        held, key = bool(new >> i & 1), int(profile["key"])
        if held != bool(old >> i & 1):
            marks[key] = ProfileMark(key, today, held)
        since_ms = start_of_day(versions.days, marks[key].since_day)
        if not profile["triggers"]:
            hits.append(Hit(first + i, held, 0, since_ms, 0.0, 0.0, 0, 0.0))
            continue
        strength, trigger = strength_of(places, len(places), int(categories_in(places, len(places))), profile, today)
        categories, half_life_days = int(profile["categories"][trigger]), float(profile["half_life_days"])
        amount, purchases = measures_of(places, len(places), categories, half_life_days, today)
        share, _ = shares_of(places, len(places), categories, half_life_days)
        category = leading_category(places, len(places), categories, half_life_days, today)
        hits.append(
            Hit(
                first + i, held, int(category), since_ms, float(strength), float(share), round(amount), float(purchases)
            )
        )
    row.profiles = sorted(marks.values(), key=lambda mark: mark.key)
    return hits


def same(a: float, b: float) -> bool:
    """Equal, or both missing."""
    return a == b or (math.isnan(a) and math.isnan(b))


def reasons_of(
    score: int,
    now: Evaluation,
    before: Evaluation | None,
    adopted: Evaluation | None,
    old: float,
    new: float,
    held: bool,
    overridden: bool,
) -> tuple[float, list[tuple[int, float, float]]]:
    """Base and signed reasons: levels sum to new - base, moves to new - old (to new - base where there was none).

    A score without a number, or one that is a code, has none: it carries its cause. `overridden`: an override has just
    begun, or (not `held`) ended.
    """
    if is_code(score) or math.isnan(new):
        return math.nan, []
    if held:
        return 0.0, [(Reason.OVERRIDE, new, new if math.isnan(old) else new - old)]
    codes, levels = levels_of(score, now)
    base = now.bases[score]
    had = before is not None and not math.isnan(before.scores[score]) and not math.isnan(old)
    earlier = levels_of(score, before)[1] if before is not None and had else [0.0] * len(levels)
    reasons = []
    if before is not None and had:
        under_old = adopted if adopted is not None else before
        small = under_old.scores[score] - old
        if small != 0.0:
            why = Reason.OVERRIDE_ENDED if overridden else Reason.EARLIER_SMALL_MOVES
            reasons.append((int(why), 0.0, small))
        new_weights = before.scores[score] - under_old.scores[score]
        if new_weights != 0.0:
            reasons.append((int(Reason.NEW_WEIGHTS), 0.0, new_weights))
    for code, level, level_before in zip(codes, levels, earlier, strict=True):
        if level != 0.0 or level_before != 0.0:
            reasons.append((int(code), level, level - level_before))
    return base, reasons


def levels_of(score: int, seen: Evaluation) -> tuple[tuple[int, ...], list[float]]:
    """Codes and levels of a numeric score."""
    if score == Score.VALUE:
        return tuple(int(code) for code in VALUE_REASONS), seen.value_levels
    if score == Score.STATUS:
        return STATUS_REASONS, seen.status_levels
    if score == Score.RISK:
        return tuple(int(code) for code in RISK_REASONS), seen.risk_levels
    return REVENUE_REASONS, seen.revenue_levels


def emit_erasure(walk: Walk, index: int, event: Event, before: Row) -> None:
    """Every score that had been emitted ends: subscribers learn that there is none any more."""
    versions, clock_ms = walk.versions, walk.row.clock_ms
    for score in range(SCORES):
        none = NO_SCORES[score]
        if before.sequences[score] == 0 or same(before.emitted[score], none):
            continue
        walk.out.changes.append(
            Change(
                walk.user, index, score, Cause.ERASURE, before.sequences[score] + 1, before.emitted[score], none,
                math.nan, [], math.nan, event.number("event_time_ms"), clock_ms, 0, b"", b"",
                (before.incarnation_rank, before.incarnation_offset), (0, 0, 0),
                model_index(
                    score, versions.weights_index_at(clock_ms), versions.risk_index_at(clock_ms),
                    versions.book_index_at(clock_ms), versions,
                ),
                versions.policy_index_at(clock_ms), FOREVER_MS,
            )
        )  # fmt: skip


def next_due(walk: Walk, after_ms: int | None = None) -> int | None:
    """When time next has to look at the row: the first candidate that would emit, or the last one looked at.

    Judged with the versions in force now: a version yet to come takes effect where it takes effect, at the check.
    """
    row, versions = walk.row, walk.versions
    now_ms = row.clock_ms if after_ms is None else max(after_ms, row.clock_ms)
    policy = versions.policy_at(now_ms)
    if not row.exists:
        return None if row.erased_ms is None else row.erased_ms + policy.duplicate_horizon_ms + 1
    if walk.is_request:
        return None
    last = None
    for moment_ms, _ in zip(candidates(walk, now_ms), range(policy.look_ahead_candidates), strict=False):
        last = moment_ms
        if says_something(walk, moment_ms, now_ms):
            break
    return last


def candidates(walk: Walk, now_ms: int) -> Iterator[int]:
    """The moments after now at which time could move a score, earliest first."""
    row, versions = walk.row, walk.versions
    today = day_of(versions.days, now_ms)
    days = {day for day in candidate_days(walk, today, now_ms) if day > today}
    moments = {start_of_day(versions.days, day) for day in days}
    moments |= {held.until_ms for held in row.overrides if held.until_ms > now_ms}
    return iter(sorted(moment for moment in moments if moment > now_ms))


def candidate_days(walk: Walk, today: int, now_ms: int) -> Iterator[int]:
    """The days on which a window, a bin, a loan's state, a digit, the segment or the example day turns."""
    row, versions = walk.row, walk.versions
    policy = versions.policy_at(now_ms)
    for entry in row.days:
        for window in WINDOW_DAYS[1:]:
            yield entry.day + window
    active = [entry.day for entry in row.days if entry.transactions > 0]
    if active:
        for edge in RECENCY_EDGES[1:]:
            yield active[-1] + int(edge)
    if row.created_day is not None and row.last_transaction_day is not None:
        for edge in AGE_EDGES[1:]:
            yield row.created_day + int(edge)
    for account in row.accounts:
        if account.last_day is not None:
            yield account.last_day + 90
    for loan in row.loans:
        if loan.settled_day is None:
            for late in LATE_DAYS:
                yield loan.due_day + late
    yield from recency_days(walk, now_ms)
    first_order_day = first_order(row)
    if first_order_day is not None:
        yield first_order_day + policy.new_segment_days
    if versions.books and (row.spending or row.profiles):
        yield profile_day(row, today, policy, profile_table(versions)[1][versions.book_index_at(now_ms)])
    day = today + 1 + (walk.user_hash % policy.label_days - today - 1) % policy.label_days
    if is_example_day(walk.user_hash, row, day, policy.example_activity_days, policy.label_days):
        yield day


def profile_day(row: Row, today: int, policy: Policy, profiles: Columns) -> int:
    """The first day after today on which a profile is entered or left if nothing more is bought; 0 for none."""
    places, marks = places_of(row), marks_of(row)
    rule = (policy.profile_enter, policy.profile_leave, policy.profile_dwell_days)
    day = int(next_profile_day(places, len(places), marks, len(marks), profiles, today, *rule))
    return 0 if day == NO_PROFILE_DAY else day


def first_order(row: Row) -> int | None:
    """Day of the customer's first loan order."""
    days = [loan.order_day for loan in row.loans]
    if row.folded is not None:
        days.append(row.folded.first_order_day)
    return min(days, default=None)


def recency_days(walk: Walk, now_ms: int) -> Iterator[int]:
    """The days on which R, sinking a day at a time, falls below a cut by more than its margin."""
    row, versions = walk.row, walk.versions
    dues = [loan.due_day for loan in row.loans]
    if row.folded is not None:
        dues.append(row.folded.latest_due_day)
    if not dues:
        return
    margin = versions.policy_at(now_ms).recency_margin_days
    for cut in versions.weights[versions.weights_index_at(now_ms)].recency_quintiles:
        if math.isfinite(cut):
            yield max(dues) + math.floor(margin - cut) + 1
