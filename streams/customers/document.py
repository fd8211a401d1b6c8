"""What is known of one customer as JSON: the answer of `rescore inspect --json` and of the HTTP to come.

Pure: a row and the versions in, plain values out, by the rules of `streams.customers.story_documents`. Fields:
docs/customer-json.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from schemas.batch import DECLARED
from schemas.categories import CATEGORY_NAMES
from schemas.kinds import LOAN_STATES, RISK_BANDS, SCORE_NAMES, SEGMENT_NAMES, VALUE_BANDS, Score
from schemas.writing import band_of, risk_band_of
from state.calendar import day_of
from state.currencies import LETTERS
from state.row import Loan, Override, Row
from state.spending import EVERYTHING, ONE_PURCHASE
from state.versions import Versions, unpack_currency
from streams.customers.row_view import expected_of, profiles_held
from streams.customers.story_documents import Document, coverage_of, date_of, money_of, number_of, text_of, time_of
from streams.scoring.reference.evaluate import Evaluation, evaluate

LEVELS = ("low", "average", "high")


def customer_document(
    user_id: str, row: Row, partition: int, transaction: int, versions: Versions, profiles: Mapping[int, str]
) -> Document:
    """Everything Redis holds of a customer, as of one committed transaction of their partition.

    `profiles` are names of profiles by the hashes that rows know them by. Of an erased customer the row keeps when that
    was, and nothing else is told. Cost: about 1 ms.
    """
    head: Document = {
        "user_id": user_id,
        "as_of": _as_of(row, partition, transaction),
        "erased_at": time_of(row.erased_ms),
    }
    if not row.exists:
        return head | {"scores": []}
    seen = evaluate(row, row.clock_ms, versions, row.clock_ms)
    expected = expected_of(row)
    return head | {
        "incarnation": f"{row.incarnation_rank}-{row.incarnation_offset}",
        "valid_until": time_of(row.due_ms),
        "base_currency": versions.policies[0].base_currency,
        "coverage": coverage_of(row.events, row.first_event_ms, row.last_event_ms),
        "versions": {
            "weights": versions.weights[seen.weights_version].version,
            "policy": versions.policies[seen.policy_version].version,
        },
        "scores": [_score(row, score, seen, versions, profiles) for score in Score if row.sequences[score]],
        "customer_since": date_of(row.created_day),
        "channel": "web" if row.web else None,
        "lifetime": {
            "in": money_of(row.deposits_minor),
            "out": money_of(row.withdrawals_minor),
            "transactions": str(row.transactions),
            "failed_attempts": str(row.failed),
        },
        "expected_30d": None
        if expected is None
        else {"days": expected.days, "still_customer": number_of(expected.still_customer)},
        "consistency": number_of(row.consistency),
        "currencies": _currencies(row),
        "days": _days(row),
        "loans": [_loan(row, loan, day_of(versions.days, row.clock_ms)) for loan in row.loans],
        "loans_settled_long_ago": _folded(row),
        "spending": _spending(row),
        "declared": _declared(row),
        "records": _records(row),
    }


def request_document(request_id: int, row: Row, partition: int, transaction: int) -> Document:
    """What is known of a request that names no customer: what it declares. A request_id is below 2^53."""
    return {
        "request_id": request_id,
        "as_of": _as_of(row, partition, transaction),
        "erased_at": time_of(row.erased_ms),
        "declared": _declared(row),
        "records": _records(row),
    }


def _as_of(row: Row, partition: int, transaction: int) -> Document:
    return {"clock": time_of(row.clock_ms), "partition": partition, "transaction": str(transaction)}


def _records(row: Row) -> Document:
    return {
        "taken": str(row.taken),
        "duplicates": str(row.duplicates),
        "out_of_order": str(row.inversions),
        "ids_forgotten_early": str(row.overruns),
    }


def _score(row: Row, score: Score, seen: Evaluation, versions: Versions, profiles: Mapping[int, str]) -> Document:
    held = next((override for override in row.overrides if override.score == score), None)
    levels = {Score.STATUS: row.status_level, Score.REVENUE: row.revenue_level}
    level = levels.get(score, -1)
    return {
        "score": SCORE_NAMES[score],
        "value": sorted(profiles_held(row, profiles)) if score == Score.PROFILES else _value(row, score),
        "band": _band(row, score, seen, versions),
        "level": LEVELS[level] if level >= 0 else None,
        "sequence": str(row.sequences[score]),
        "confidence": number_of(seen.confidence[score]),
        "override": None if held is None else _override(held),
    }


def _value(row: Row, score: Score) -> float | int | str | None:
    """What was last published of a score; None where there is none any more."""
    value = row.emitted[score]
    if math.isnan(value):
        return None
    if score == Score.SEGMENT:
        return SEGMENT_NAMES[int(value)]
    if score in (Score.CLASS, Score.RFM):
        return (f"{value:.0f}" if score == Score.RFM else int(value)) if value else None
    return float(value)


def _band(row: Row, score: Score, seen: Evaluation, versions: Versions) -> str | None:
    value, policy = row.emitted[score], versions.policies[seen.policy_version]
    if math.isnan(value) or score not in (Score.VALUE, Score.RISK):
        return None
    if score == Score.VALUE:
        return VALUE_BANDS[band_of(value, policy.value_band_floors)]
    return RISK_BANDS[risk_band_of(value, policy.risk_band_floors)]


def _override(held: Override) -> Document:
    return {"value": held.value, "until": time_of(held.until_ms), "author": text_of(held.author)}


def _currencies(row: Row) -> list[Document]:
    return [
        {
            "currency": unpack_currency(account.currency),
            "balance": None if account.balance_time_ms is None else money_of(account.balance_minor),
            "balance_at": time_of(account.balance_time_ms),
            "last_transaction": date_of(account.last_day),
        }
        for account in row.accounts
    ]


def _days(row: Row) -> list[Document]:
    return [
        {
            "date": date_of(day.day),
            "in": money_of(day.deposits_minor),
            "out": money_of(day.withdrawals_minor),
            "transactions": day.transactions,
            "failed_attempts": day.failed,
        }
        for day in row.days
    ]


def _loan(row: Row, loan: Loan, today: int) -> Document:
    point, province = row.points[loan.point]
    money = {"amount": loan.order_amount, "gross_margin": loan.gross_margin, "promo": loan.promo}
    return {
        "loan_id": text_of(loan.loan_id),
        "currency": unpack_currency(loan.currency & LETTERS),
        **{name: money_of(units, loan.currency) for name, units in money.items()},
        "ordered_at": time_of(loan.order_ms),
        "due": date_of(loan.due_day),
        "earlier_due": [date_of(due) for _, due in loan.due_moves],
        "settled": date_of(loan.settled_day),
        "days_past_due": max(today - loan.due_day, 0) if loan.settled_day is None else 0,
        "paid": {state: money_of(units, loan.currency) for state, units in zip(LOAN_STATES, loan.paid, strict=True)},
        "point": text_of(point) or None,
        "province": text_of(province) or None,
        "revision": loan.revision,
    }


def _folded(row: Row) -> Document:
    """Loans that live on in sums, and those that are known one by one should they come again."""
    counts = row.folded.counts if row.folded else [0] * len(LOAN_STATES)
    return {
        "by_state": dict(zip(LOAN_STATES, counts, strict=True)),
        "amount": money_of(row.folded.order_amount if row.folded else 0),
        "closed_known": len(row.closed),
        "of_them_cancelled": sum(closed.cancelled for closed in row.closed),
        "closed_forgotten_up_to": date_of(row.closed_until_day),
    }


def _spending(row: Row) -> list[Document]:
    """By category, and of all of them together (`all`), as they weigh on the day of the last purchase of each."""
    return [
        {
            "category": "all" if place.category == EVERYTHING else CATEGORY_NAMES[place.category],
            "spent": money_of(place.amount_minor),
            "purchases": place.purchases / ONE_PURCHASE,
            "weighed_on": date_of(place.day),
        }
        for place in row.spending
    ]


def _declared(row: Row) -> dict[str, Any] | None:
    if row.declared is None:
        return None
    told = zip(DECLARED, row.declared, strict=True)
    return {"at": time_of(row.declared_time_ms)} | {name: value for name, value in told if not math.isnan(value)}
