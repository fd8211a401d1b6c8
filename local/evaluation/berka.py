"""Loans of a Czech bank, 1993 to 1998 (PKDD'99): which are not paid back?

Every loan is judged with what the account had shown by the day of the grant, in the order of the grants: the product's
own risk features from the transactions before, and a few of what a bank sees beyond them. A loan counts as a default if
it ended unpaid (status B) or runs in debt (D). Loans granted after the transactions at hand end, or before the account
had any, have no history here and are left out, and counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from local.evaluation.dataset import Labelled, UnusableDataset, find_all, rows_of
from schemas.batch import DAY_MS
from schemas.times import time_ms
from streams.scoring.models.manifest import Feature, Manifest
from streams.scoring.models.risk import RISK_MANIFEST, behaviour_of, declared_of, risk_features

STALE_DAYS = 31
"""A loan granted longer after the last transaction of the whole set has no history up to its grant."""

SANCTION, HOUSEHOLD, INFLOW = "SANKC. UROK", "SIPO", "PRIJEM"

USED = (
    "dti", "renta_to_income", "loan_to_income", "trx_income", "trx_expenses", "trx_balance", "trx_active_days",
)  # fmt: skip


class Movement(NamedTuple):
    """One line of an account, in crowns: positive comes in."""

    day: int
    amount: float
    balance: float
    symbol: str


def _extra(name: str, purpose: str, knots: tuple[float, ...], expected_rise: float = 0.0) -> Feature:
    return Feature(name, purpose=purpose, source="transactions", knots=knots, expected_rise=expected_rise)


FEATURES = (
    *(feature for feature in RISK_MANIFEST.features if feature.name in USED),
    _extra("balance_least", "lowest balance of 90 days, in months of income", (-0.5, 0.0, 0.1, 0.3, 0.8, 2.0), -1.0),
    _extra("balance_least_ever", "lowest balance ever, in months of income", (-0.5, 0.0, 0.05, 0.2, 0.5), -1.0),
    _extra("sanctions", "interest charged for an overdrawn account (logarithm of times)", (0.0, 0.7, 1.6), 1.5),
    _extra("balance_swing", "how much the balance swings, in months of income", (0.0, 0.2, 0.5, 1.0, 2.0)),
    _extra("history", "months of transactions", (0.0, 6.0, 12.0, 24.0), -0.25),
    _extra("duration", "months to pay back", (12.0, 24.0, 36.0, 48.0, 60.0)),
)


def load(path: Path) -> Labelled:
    """Any part of the set: a folder with files named like trans and loan."""
    movements, bad = movements_of(path)
    loans: list[dict[str, Any]] = []
    for file in find_all(path, "loan"):
        rows, lines = rows_of(file, ("account_id", "date", "amount", "duration", "payments", "status"))
        loans, bad = [*loans, *rows], bad + lines
    loans.sort(key=lambda loan: (_day(loan["date"]), str(loan["account_id"])))
    last_day = max(lines[-1].day for lines in movements.values())
    rows_found, labels, excluded = [], [], {"unreadable line": bad, "loan without a history up to its grant": 0}
    for loan in loans:
        day = _day(loan["date"])
        before = [line for line in movements.get(str(loan["account_id"]), []) if line.day < day]
        if not before or day > last_day + STALE_DAYS:
            excluded["loan without a history up to its grant"] += 1
            continue
        rows_found.append(features_at(loan, day, before))
        labels.append(float(loan["status"] in ("B", "D")))
    if not rows_found:
        raise UnusableDataset(f"{path}: no loan was granted while the transactions at hand go on")
    return Labelled(
        title="Berka: loans of a Czech bank",
        source="PKDD'99 discovery challenge, public; licence not stated",
        population="accounts that were granted a loan, 1993 to 1998",
        label="the loan ended unpaid or runs in debt",
        favourable=False,
        manifest=Manifest("risk", "credit", FEATURES),
        packaged="risk",
        rows=rows_found,
        labels=np.array(labels),
        protected={},
        excluded={reason: number for reason, number in excluded.items() if number},
    )


def movements_of(path: Path) -> tuple[dict[str, list[Movement]], int]:
    """All lines by account, in the order of days; and how many could not be read."""
    found, bad = defaultdict[str, list[Movement]](list), 0
    for file in find_all(path, "trans"):
        rows, lines = rows_of(file, ("account_id", "date", "type", "amount", "balance", "k_symbol"))
        bad += lines
        for row in rows:
            amount = float(row["amount"])
            signed = amount if row["type"] == INFLOW else -amount
            line = Movement(_day(row["date"]), signed, float(row["balance"]), str(row["k_symbol"] or "").strip())
            found[str(row["account_id"])].append(line)
    for lines_of_account in found.values():
        lines_of_account.sort(key=lambda line: line.day)
    return found, bad


def features_at(loan: dict[str, Any], day: int, before: list[Movement]) -> dict[str, float]:
    """What the risk model looks at, as it stood on the day of the grant."""
    recent = [line for line in before if line.day >= day - 90]
    months = min(max((day - before[0].day) / 30.0, 1.0), 3.0)
    deposits = sum(line.amount for line in recent if line.amount > 0) * 3.0 / months
    income = deposits / 3.0
    household = -sum(line.amount for line in recent if line.symbol == HOUSEHOLD) / months
    declared = {
        "income": income if income > 0 else None,
        "debt": float(loan["payments"]),
        "renta": household,
        "loan_amount": float(loan["amount"]),
    }
    behaviour = {
        "deposits_90": 100.0 * deposits,
        "withdrawals_90": -100.0 * sum(line.amount for line in recent if line.amount < 0) * 3.0 / months,
        "balance": 100.0 * before[-1].balance,
        "active_days_30": float(len({line.day for line in before if line.day >= day - 30})),
    }
    product = risk_features(declared_of([declared]), behaviour_of([behaviour]))[0]
    named = {name: x for name, x in zip(RISK_MANIFEST.names, product.tolist(), strict=True) if name in USED}
    unit = income if income > 0 else math.nan
    return named | {
        "balance_least": min((line.balance for line in recent), default=before[-1].balance) / unit,
        "balance_least_ever": min(line.balance for line in before[1:] or before) / unit,
        "sanctions": math.log1p(sum(line.symbol == SANCTION for line in before)),
        "balance_swing": float(np.std([line.balance for line in recent or before])) / unit,
        "history": (day - before[0].day) / 30.0,
        "duration": float(loan["duration"]),
    }


def _day(yymmdd: Any) -> int:
    """Days since 1970 of a date as this set writes it."""
    text = f"{int(yymmdd):06}"
    moment_ms = time_ms(f"19{text[:2]}-{text[2:4]}-{text[4:]}")
    if moment_ms is None:
        raise UnusableDataset(f"{yymmdd!r} is no date; this set writes 930705 for 5 July 1993")
    return moment_ms // DAY_MS
