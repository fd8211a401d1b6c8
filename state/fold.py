"""The meaning of an event: the one readable place where an event changes a row.

Plain Python over `state.row.Row`. The compiled kernel (`state.compiled`) does the same over arrays and is compared with
this, byte for byte, on random streams. Nothing here knows scores; time passing is `streams.scoring.reference.step`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.batch import MISSING_TIME_MS, EventBatch
from schemas.kinds import Kind, RejectCode, TransactionState, is_code
from state.calendar import day_of
from state.category_text import categories_of
from state.closed_loans import closed_loan, is_known_payment, remember_closed, remember_payment
from state.currencies import LETTERS, in_unit, own_units, with_unit
from state.loans import cost_minor, fill_states, state_of_days_past_due
from state.money import MONEY, converted
from state.refusals import DATE_FIELDS, TAKEN, Refusal, Why
from state.row import (
    ROW_CURRENCIES_MAX,
    ROW_DUE_MOVES_MAX,
    ROW_LOANS_MAX,
    ROW_POINTS_MAX,
    WINDOW_DAYS_MAX,
    Account,
    Folded,
    Loan,
    Override,
    Row,
    Seen,
)
from state.spending import spend, spent_on
from state.sums import add_money, counted_state, finds_payment, finds_transaction
from state.versions import Policy, Versions

_NO_MONEY = np.zeros(1, MONEY)[0]


@dataclass(slots=True)
class Event:
    """One decoded event with its text and its money: a row of the columns, spelled out."""

    fields: np.void  # EVENT
    money: np.void  # MONEY
    category: int = 0  # Category of what was bought
    loan_id: bytes = b""
    point: bytes = b""
    province: bytes = b""
    author: bytes = b""

    @property
    def kind(self) -> Kind:
        """What kind of event this is."""
        return Kind(int(self.fields["kind"]))

    def number(self, name: str) -> int:
        """An integer column as a plain int (numpy's own would wrap around silently)."""
        return int(self.fields[name])


def events_of(batch: EventBatch, versions: Versions) -> list[Event]:
    """The batch's events, spelled out. Cost: some 10 us each; for the oracle and for people, not for the hot path."""
    money = converted(batch.events, versions.rate_table)
    categories = categories_of(batch.events, versions.text_table)

    def text(fields: np.void, name: str) -> bytes:
        return batch.slice_of_text(int(fields[f"{name}_at"]), int(fields[f"{name}_length"]))

    return [
        Event(
            fields, money[i], int(categories[i]), text(fields, "loan_id"), text(fields, "point"),
            text(fields, "province"), text(fields, "author"),
        )
        for i, fields in enumerate(batch.events)
    ]  # fmt: skip


def is_inversion(row: Row, event: Event) -> bool:
    """True for a record that replay would have merged before what the row has already taken.

    Behind the last taken (timestamp, rank), or behind the user's clock: a timer that emitted has moved it on.
    """
    at = (event.number("timestamp_ms"), event.number("rank"))
    taken_before = row.exists or row.erased_ms is not None
    return taken_before and (at < (row.last_timestamp_ms, row.last_rank) or at[0] < row.clock_ms)


def fold_one(row: Row, event: Event, versions: Versions) -> RejectCode:
    """Take one event into the row, in place; answers why it is a dead letter, or NONE.

    A dead letter leaves the row as it was (`refusal_of` says more of it). A duplicate is taken (clock, order) and
    changes nothing else; the same identity with other content is a dead letter. An erasure has no identity: it is taken
    each time it is published. The row's due timers up to the event's timestamp must have fired before.
    """
    refusal = refusal_of(row, event, versions)
    if refusal.code != RejectCode.NONE:
        return refusal.code
    clock_ms = _clock_after(row, event)
    policy = versions.policy_at(clock_ms)
    today = day_of(versions.days, clock_ms)
    seen = _find_seen(row, event, clock_ms, policy)
    repeated = seen is not None or _repeats_of_loan(row, event)
    _take(row, event, clock_ms, today, policy)
    if repeated:
        row.duplicates += 1
        return RejectCode.NONE
    _remember(row, event, policy)
    event_ms = event.number("event_time_ms")
    event_day = day_of(versions.days, event_ms)
    if event.kind == Kind.ERASE:
        _erase(row)
        return RejectCode.NONE
    if event.kind == Kind.TRANSACTION:
        _fold_transaction(row, event, today, event_day, versions)
    elif event.kind == Kind.LOAN_ISSUED:
        _fold_issued(row, event, today, versions)
    elif event.kind == Kind.LOAN_REPAID:
        _fold_repaid(row, event, today, event_day, versions)
    elif event.kind == Kind.LOAN_CANCELLED:
        _cancel(row, event.loan_id)
    elif event.kind == Kind.OVERRIDE:
        others = [other for other in row.overrides if other.score != event.number("score")]
        value = float(event.fields["value"])
        held = Override(event.number("score"), value, event.number("until_ms"), event.author)
        row.overrides = sorted([*others, held], key=lambda override: override.score)
    elif event.kind == Kind.LIFT:
        row.overrides = [other for other in row.overrides if other.score != event.number("score")]
    elif event.kind == Kind.APPLICANT and (row.declared is None or event_ms >= row.declared_time_ms):
        row.declared = [float(value) for value in event.fields["declared"]]
        row.declared_time_ms = event_ms
    return RejectCode.NONE


def advance_row(row: Row, clock_ms: int, today: int, policy: Policy) -> None:
    """Move the row's clock: days leave the window, settled loans fold into sums, old duplicates are forgotten.

    None of this moves a score by itself: what it drops, the scores of that day no longer look at.
    """
    row.clock_ms = clock_ms
    row.days = [day for day in row.days if day.day > today - WINDOW_DAYS_MAX]
    row.seen = [seen for seen in row.seen if clock_ms - seen.clock_ms <= policy.duplicate_horizon_ms]
    if row.erased_ms is not None and clock_ms > row.erased_ms + policy.duplicate_horizon_ms:
        row.erased_ms = None
    dwell_days = policy.profile_dwell_days
    row.profiles = [mark for mark in row.profiles if mark.held or today < mark.since_day + dwell_days]
    for loan in [loan for loan in row.loans if is_closed(loan, today, policy)]:
        row.loans.remove(loan)
        _fold_loan(row, loan, policy)
        remember_closed(row, loan, cancelled=False)


def is_closed(loan: Loan, today: int, policy: Policy) -> bool:
    """True once a loan has been settled for so long that it lives on in sums alone."""
    return loan.settled_day is not None and today >= loan.settled_day + policy.fold_loan_after_days


def _known(row: Row) -> bool:
    return row.exists or row.erased_ms is not None


def _clock_after(row: Row, event: Event) -> int:
    """The row's clock once the event is taken."""
    timestamp_ms = event.number("timestamp_ms")
    return max(row.clock_ms, timestamp_ms) if _known(row) else timestamp_ms


def _find_seen(row: Row, event: Event, clock_ms: int, policy: Policy) -> Seen | None:
    event_hash = event.number("event_hash")
    for seen in row.seen:
        if event_hash and seen.event_hash == event_hash and clock_ms - seen.clock_ms <= policy.duplicate_horizon_ms:
            return seen
    return None


def _repeats_of_loan(row: Row, event: Event) -> bool:
    """True for what a loan in the row has counted or replaced, however long ago: it changes nothing."""
    loan = _find_loan(row, event.loan_id) if event.kind in (Kind.LOAN_ISSUED, Kind.LOAN_REPAID) else None
    if loan is None:
        return False
    if event.kind == Kind.LOAN_ISSUED:
        return event.number("revision") < loan.revision
    return is_known_payment(loan, event.number("event_hash"), event.number("content_hash"))


def refusal_of(row: Row, event: Event, versions: Versions) -> Refusal:
    """Why this event cannot be taken; `TAKEN` where it can. Changes nothing."""
    clock_ms = _clock_after(row, event)
    policy = versions.policy_at(clock_ms)
    seen = _find_seen(row, event, clock_ms, policy)
    if seen is not None:
        same = seen.content_hash == event.number("content_hash")
        return TAKEN if same else Refusal(RejectCode.EVENT_ID_REUSED)
    if int(event.money["code"]):
        return Refusal(RejectCode(int(event.money["code"])))
    erased = row.erased_ms is not None and clock_ms <= row.erased_ms + policy.duplicate_horizon_ms
    if erased and row.erased_ms is not None and event.number("event_time_ms") < row.erased_ms:
        return Refusal(RejectCode.ERASED)
    refusal = _refuse_dates(event, versions, policy)
    if refusal is not TAKEN:
        return refusal
    today = day_of(versions.days, clock_ms)
    if event.kind == Kind.TRANSACTION:
        return _refuse_transaction(row, event, today, versions)
    if event.kind == Kind.LOAN_ISSUED:
        return _refuse_issued(row, event, today, versions, policy)
    if event.kind in (Kind.LOAN_REPAID, Kind.LOAN_CANCELLED):
        return _refuse_step(row, event, today, versions, policy)
    if event.kind == Kind.OVERRIDE:
        if not is_possible(event.number("score"), float(event.fields["value"])):
            return Refusal(RejectCode.OVERRIDE_OUT_OF_RANGE)
        if event.number("until_ms") <= clock_ms:
            return Refusal(RejectCode.OVERRIDE_EXPIRED)
    return TAKEN


def _refuse_dates(event: Event, versions: Versions, policy: Policy) -> Refusal:
    """Dates that nobody filled in, as far as the event and the policy tell."""
    if event.kind not in DATE_FIELDS:
        return TAKEN
    first_day, event_day = policy.dates_from_day, day_of(versions.days, event.number("event_time_ms"))
    if event_day < first_day:
        return Refusal(RejectCode.IMPLAUSIBLE_DATE, Why.DATE_TOO_EARLY, first_day)
    if event.fields["has_previous"] and day_of(versions.days, event.number("previous_time_ms")) < first_day:
        return Refusal(RejectCode.IMPLAUSIBLE_DATE, Why.PREVIOUS_DATE_TOO_EARLY, first_day)
    if event.kind == Kind.LOAN_ISSUED and day_of(versions.days, event.number("due_ms")) < event_day:
        return Refusal(RejectCode.IMPLAUSIBLE_DATE, Why.DUE_BEFORE_ORDER)
    return TAKEN


OVERRIDE_MAX = (5.0, 5.0, 2.0, 6.0, 555.0, 5.0, 1.0, -1.0)
"""Largest value a person may hold a score at, by score; the smallest is 0. Codes are whole, profiles are not held."""


def is_possible(score: int, value: float) -> bool:
    """Whether a score may be held at a value."""
    return 0.0 <= value <= OVERRIDE_MAX[score] and (not is_code(score) or value == int(value))


def _refuse_transaction(row: Row, event: Event, today: int, versions: Versions) -> Refusal:
    if event.fields["has_previous"]:
        amount_minor, currency = int(event.money["previous_amount"]), event.number("previous_currency")
        state = counted_state(event.number("previous_state"), float(event.fields["previous_amount"]))
        previous_day = day_of(versions.days, event.number("previous_time_ms"))
        if not finds_transaction(row, state, currency, amount_minor, min(previous_day, today), today):
            return Refusal(RejectCode.CORRECTION_OF_NOTHING)
    wanted = {event.number("currency")}
    if event.fields["has_previous"]:
        wanted.add(event.number("previous_currency"))
    known = {account.currency for account in row.accounts}
    return Refusal(RejectCode.TOO_MANY_CURRENCIES) if len(known | wanted) > ROW_CURRENCIES_MAX else TAKEN


def _refuse_issued(row: Row, event: Event, today: int, versions: Versions, policy: Policy) -> Refusal:
    loan = _find_loan(row, event.loan_id)
    if loan is None:
        closed, until_day = closed_loan(row, event.loan_id), row.closed_until_day
        if closed is not None:
            return _closed(closed.cancelled)
        if until_day is not None and day_of(versions.days, event.number("event_time_ms")) <= until_day:
            return Refusal(RejectCode.LOAN_CLOSED, Why.FORGOTTEN, until_day)
        points = {point for point, _ in row.points} | {event.point}
        full = len(row.loans) >= ROW_LOANS_MAX or len(points) > ROW_POINTS_MAX
        return Refusal(RejectCode.TOO_MANY_LOANS) if full else TAKEN
    if is_closed(loan, today, policy):
        return _closed()
    if event.number("revision") == loan.revision:
        return Refusal(RejectCode.LOAN_EXISTS)
    moved = event.number("revision") > loan.revision and day_of(versions.days, event.number("due_ms")) != loan.due_day
    if moved and len(loan.due_moves) >= ROW_DUE_MOVES_MAX:
        return Refusal(RejectCode.TOO_MANY_DUE_DATES)
    return TAKEN


def _closed(cancelled: bool = False) -> Refusal:
    return Refusal(RejectCode.LOAN_CLOSED, Why.CANCELLED if cancelled else Why.SETTLED)


def _refuse_step(row: Row, event: Event, today: int, versions: Versions, policy: Policy) -> Refusal:
    """A payment or a cancellation needs its loan in the row."""
    loan = _find_loan(row, event.loan_id)
    if loan is None:
        closed = closed_loan(row, event.loan_id)
        return Refusal(RejectCode.UNKNOWN_LOAN) if closed is None else _closed(closed.cancelled)
    if is_closed(loan, today, policy):
        return _closed()
    if event.kind == Kind.LOAN_REPAID:
        first_day = loan.order_day - policy.payment_days_before_order
        if day_of(versions.days, event.number("event_time_ms")) < first_day:
            return Refusal(RejectCode.IMPLAUSIBLE_DATE, Why.PAID_BEFORE_ORDER, loan.order_day)
        if event.fields["has_previous"] and day_of(versions.days, event.number("previous_time_ms")) < first_day:
            return Refusal(RejectCode.IMPLAUSIBLE_DATE, Why.PREVIOUS_PAID_BEFORE_ORDER, loan.order_day)
        if event.number("currency") not in (0, loan.currency & LETTERS):
            return Refusal(RejectCode.PAYMENT_CURRENCY)
        return TAKEN if _finds_payment(loan, event, versions) else Refusal(RejectCode.CORRECTION_OF_NOTHING)
    touched = today > loan.due_day or any(loan.paid)
    return Refusal(RejectCode.CANCEL_AFTER_DUE) if touched and not policy.cancel_after_due else TAKEN


def _finds_payment(loan: Loan, event: Event, versions: Versions) -> bool:
    """True unless it corrects a payment that the loan does not have; one that comes again has found its own before."""
    known = is_known_payment(loan, event.number("event_hash"), event.number("content_hash"))
    if known or not event.fields["has_previous"]:
        return True
    previous_day = day_of(versions.days, event.number("previous_time_ms"))
    return finds_payment(loan, previous_day, int(own_units(float(event.fields["previous_amount"]), loan.currency)))


def _take(row: Row, event: Event, clock_ms: int, today: int, policy: Policy) -> None:
    """What every record does: it is counted, and time comes with it."""
    if is_inversion(row, event):
        row.inversions += 1
    at = (event.number("timestamp_ms"), event.number("rank"))
    row.last_timestamp_ms, row.last_rank = max(at, (row.last_timestamp_ms, row.last_rank)) if _known(row) else at
    if not row.exists and event.kind != Kind.ERASE:
        row.incarnation_rank, row.incarnation_offset = event.number("rank"), event.number("offset")
        row.taken = 0
    row.taken += 1
    advance_row(row, clock_ms, today, policy)


def _remember(row: Row, event: Event, policy: Policy) -> None:
    event_ms = event.number("event_time_ms")
    row.first_event_ms = event_ms if row.events == 0 else min(row.first_event_ms, event_ms)
    row.last_event_ms = event_ms if row.events == 0 else max(row.last_event_ms, event_ms)
    row.events += 1
    if event.number("event_hash"):
        row.seen.append(Seen(event.number("event_hash"), event.number("content_hash"), row.clock_ms))
        if len(row.seen) > policy.duplicates_max:
            row.seen.pop(0)
            row.overruns += 1


def _erase(row: Row) -> None:
    """Forget everything but that there was an erasure, and when; of events taken before, even their hashes."""
    marker = Row(clock_ms=row.clock_ms, last_timestamp_ms=row.last_timestamp_ms, last_rank=row.last_rank)
    for name in Row.__slots__:
        setattr(row, name, getattr(marker, name))
    row.erased_ms = row.clock_ms


def _fold_transaction(row: Row, event: Event, today: int, event_day: int, versions: Versions) -> None:
    state = counted_state(event.number("state"), float(event.fields["amount"]))
    add_money(row, today, event_day, state, int(event.money["amount"]), 1)
    if event.fields["has_previous"]:
        previous = int(event.money["previous_amount"])
        previous_state = counted_state(event.number("previous_state"), float(event.fields["previous_amount"]))
        previous_day = day_of(versions.days, event.number("previous_time_ms"))
        add_money(row, today, previous_day, previous_state, previous, -1)
    _fold_spending(row, event, state, today, event_day, versions)
    if state == TransactionState.PENDING:
        return  # nothing has happened yet: the final state comes as a revision
    account = _account(row, event.number("currency"))
    if state == TransactionState.SUCCEEDED:
        account.last_day = event_day if account.last_day is None else max(account.last_day, event_day)
    at = (event.number("event_time_ms"), event.number("revision"))
    known = account.balance_time_ms
    if not np.isnan(event.fields["balance"]) and (known is None or at >= (known, account.balance_revision)):
        account.balance_minor = int(event.money["balance"])
        account.balance_time_ms, account.balance_revision = at
    if row.last_transaction_day is None or event_day >= row.last_transaction_day:
        row.last_transaction_day = event_day
        row.web = bool(event.fields["web"])
    if event.number("created_ms") != MISSING_TIME_MS:
        created_day = day_of(versions.days, event.number("created_ms"))
        row.created_day = created_day if row.created_day is None else min(row.created_day, created_day)


def _fold_spending(row: Row, event: Event, state: int, today: int, event_day: int, versions: Versions) -> None:
    """What a transaction spends, and what a correction takes back: a refund that is taken back first, as it adds."""
    amount, code = int(event.money["amount"]), event.number("category")
    spends = []
    if state == TransactionState.SUCCEEDED:
        spends.append((spent_on(event.category, code, amount), min(event_day, today), amount, 1))
    if event.fields["has_previous"]:
        previous, earlier = int(event.money["previous_amount"]), event.number("previous_category")
        previous_state = counted_state(event.number("previous_state"), float(event.fields["previous_amount"]))
        if previous_state == TransactionState.SUCCEEDED:
            category = spent_on(earlier or event.category, earlier or code, previous)
            previous_day = day_of(versions.days, event.number("previous_time_ms"))
            spends.insert(0 if previous > 0 else 1, (category, min(previous_day, today), previous, -1))
    for category, day, amount_minor, sign in spends:
        spend(row.spending, category, day, amount_minor, sign, today)


def _account(row: Row, currency: int) -> Account:
    for account in row.accounts:
        if account.currency == currency:
            return account
    row.accounts.append(Account(currency))
    return row.accounts[-1]


def _find_loan(row: Row, loan_id: bytes) -> Loan | None:
    for loan in row.loans:
        if loan.loan_id == loan_id:
            return loan
    return None


def _point(row: Row, point: bytes, province: bytes) -> int:
    for i, (known, _) in enumerate(row.points):
        if known == point:
            return i
    row.points.append((point, province))
    return len(row.points) - 1


def _fold_issued(row: Row, event: Event, today: int, versions: Versions) -> None:
    due_day = day_of(versions.days, event.number("due_ms"))
    order_day = day_of(versions.days, event.number("event_time_ms"))
    terms = Loan(
        event.loan_id, int(with_unit(event.number("currency"))),
        int(event.money["own_order_amount"]), int(event.money["own_gross_margin"]), int(event.money["own_promo"]),
        int(event.money["base_order_amount"]), int(event.money["base_gross_margin"]), int(event.money["base_promo"]),
        event.number("event_time_ms"), order_day, due_day, 0, event.number("revision"),
    )  # fmt: skip
    loan = _find_loan(row, event.loan_id)
    if loan is None:
        terms.point = _point(row, event.point, event.province)
        row.loans.append(terms)
        return
    terms.point = _point(row, event.point, event.province)
    terms.paid = [int(in_unit(amount, loan.currency, terms.currency)) for amount in loan.paid]
    terms.payments = loan.payments
    terms.due_moves, terms.settled_day = loan.due_moves, loan.settled_day
    if terms.due_day != loan.due_day:
        terms.due_moves.append((today, loan.due_day))
    row.loans[row.loans.index(loan)] = terms
    _settle(terms, today)


def _fold_repaid(row: Row, event: Event, today: int, event_day: int, versions: Versions) -> None:
    loan = _find_loan(row, event.loan_id)
    assert loan is not None  # refusal_of has looked
    row.overruns += remember_payment(loan, event.number("event_hash"), event.number("content_hash"))
    state = state_of_days_past_due(event_day - loan.due_day_on(event_day))
    loan.paid[state] += int(own_units(float(event.fields["amount"]), loan.currency))
    if event.fields["has_previous"]:
        previous_day = day_of(versions.days, event.number("previous_time_ms"))
        previous_state = state_of_days_past_due(previous_day - loan.due_day_on(previous_day))
        loan.paid[previous_state] -= int(own_units(float(event.fields["previous_amount"]), loan.currency))
    _settle(loan, today)


def _cancel(row: Row, loan_id: bytes) -> None:
    loan = _find_loan(row, loan_id)
    assert loan is not None  # refusal_of has looked
    row.loans.remove(loan)
    remember_closed(row, loan, cancelled=True)


def _settle(loan: Loan, today: int) -> None:
    """Note the day on which the loan became settled; a bounced payment reopens it."""
    settled = fill_states(loan.order_amount, loan.paid)[1] >= 0
    if not settled:
        loan.settled_day = None
    elif loan.settled_day is None:
        loan.settled_day = today


def _fold_loan(row: Row, loan: Loan, policy: Policy) -> None:
    folded = row.folded
    filled, state = fill_states(loan.order_amount, loan.paid)
    first = (loan.due_day, loan.loan_id)
    latest = (loan.order_ms, loan.loan_id)
    if folded is None:
        folded = row.folded = Folded(
            latest_due_day=loan.due_day, first_order_day=loan.order_day, first_due_day=loan.due_day,
            first_loan_id=loan.loan_id, first_defaulted=filled[0] < loan.order_amount,
            point_order_ms=loan.order_ms, point_loan_id=loan.loan_id, point=loan.point,
        )  # fmt: skip
    if first < (folded.first_due_day, folded.first_loan_id):
        folded.first_due_day, folded.first_loan_id = first
        folded.first_defaulted = filled[0] < loan.order_amount
    if latest > (folded.point_order_ms, folded.point_loan_id):
        folded.point_order_ms, folded.point_loan_id = latest
        folded.point = loan.point
    folded.latest_due_day = max(folded.latest_due_day, loan.due_day)
    folded.first_order_day = min(folded.first_order_day, loan.order_day)
    folded.counts[state] += 1
    folded.gross_margin += loan.base_gross_margin
    folded.base += max(loan.base_gross_margin, 0)
    folded.order_amount += loan.base_order_amount
    folded.promo += max(loan.base_promo, 0)
    folded.cost += cost_minor(loan.base_gross_margin, loan.order_amount, filled, policy.cost_rates)
