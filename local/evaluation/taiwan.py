"""Credit card clients in Taiwan, 2005: will the next payment be missed?

UCI, "Default of Credit Card Clients" (CC BY 4.0): I-C. Yeh, C. Lien, Expert Systems with Applications 36 (2009). Six
months of payment status (months late; 0 or less: paid, or revolving), bills and payments. Two scores are judged: the
status score as it is, each month counted as a loan, and the risk model, which also sees the amounts. Sex and marriage
are kept aside; age and education are not used either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.evaluation.dataset import Labelled, UnusableDataset, find, rows_of
from streams.scoring.models.manifest import Feature, Manifest
from streams.scoring.status import status_score

Floats = NDArray[np.float64]

STATUS_COLUMNS = ("PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6")
LABELS = ("default.payment.next.month", "default payment next month", "Y")
MONTHS = 6

LATE = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
SHARE_USED = (0.0, 0.1, 0.3, 0.6, 0.9, 1.05)


def load(path: Path) -> Labelled:
    """Any part of the set, as CSV."""
    file = find(path, "credit_card", "default", "taiwan", "uci")
    rows, bad = rows_of(file, ("LIMIT_BAL", *STATUS_COLUMNS[1:]))
    label = next((name for name in LABELS if name in rows[0]), None)
    if label is None:
        raise UnusableDataset(f"{file} has no column {LABELS[0]!r}, the label")
    latest = "PAY_0" if "PAY_0" in rows[0] else "PAY_1"
    late = np.array([[float(row[name]) for name in (latest, *STATUS_COLUMNS[1:])] for row in rows])
    bills, paid = _months(rows, "BILL_AMT"), _months(rows, "PAY_AMT")
    columns = features_of(np.array([float(row["LIMIT_BAL"]) for row in rows]), late, bills, paid)
    names, together = list(columns), latest_two(late)
    rows_found = [dict(zip(names, values, strict=True)) for values in np.column_stack(list(columns.values())).tolist()]
    return Labelled(
        title="Taiwan: credit card clients",
        source="UCI Default of Credit Card Clients, CC BY 4.0",
        population="holders of a credit card of one bank in Taiwan, 2005",
        label="the payment of the next month is missed",
        favourable=False,
        manifest=Manifest("risk", "credit", tuple(FEATURES[name] for name in (*names, "latest_two"))),
        packaged=None,
        rows=[{**row, "latest_two": word} for row, word in zip(rows_found, together, strict=True)],
        labels=np.array([float(row[label]) for row in rows]),
        protected={"sex": _words(rows, "SEX", SEXES), "marriage": _words(rows, "MARRIAGE", MARRIAGES)},
        excluded={"unreadable line": bad} if bad else {},
        formulas={"status score": -status_score(counts_of(late))},
    )


def counts_of(late: Floats) -> NDArray[np.int64]:
    """Six months as six loans: counts of the five states (n, 5) from months late (n, 6).

    >>> counts_of(np.array([[0.0, -1.0, 1.0, 2.0, 5.0, 8.0]])).tolist()
    [[2, 1, 1, 1, 1]]
    """
    state = np.searchsorted([0.5, 1.5, 3.5, 6.5], late, side="right")
    return np.stack([(state == k).sum(axis=1) for k in range(5)], axis=1)


def latest_two(late: Floats) -> list[str]:
    """The latest two months together, as a word for each row of months late (n, 6): late twice is more than late and
    late, and late after a month that was paid is another beginning than late again.

    >>> latest_two(np.array([[2.0, 0.0, 0.0, 0.0, 0.0, 0.0], [8.0, 3.0, 0.0, 0.0, 0.0, 0.0]]))
    ['2 after 0', '3+ after 2+']
    """
    capped = np.minimum(late[:, :2], (3.0, 2.0)).astype(np.int64)
    words = {-2: "no use", -1: "paid", 0: "0", 1: "1", 2: "2", 3: "3+"}
    before = {**words, 2: "2+"}
    return [f"{words.get(now, 'no use')} after {before.get(then, 'no use')}" for now, then in capped.tolist()]


def features_of(limit: Floats, late: Floats, bills: Floats, paid: Floats) -> dict[str, Floats]:
    """What the risk model looks at, by name; the latest month first. Amounts in logarithms, the rest as shares."""
    overdue, used = np.maximum(late, 0.0), bills / limit[:, None]
    paid_share = np.clip(paid[:, :-1] / np.maximum(bills[:, 1:], 1.0), 0.0, 1.5)
    columns = {"limit": np.log(limit)}
    for month in range(MONTHS):
        columns[f"late_{month}"] = late[:, month]
        columns[f"bill_{month}"] = _signed_log(bills[:, month])
        columns[f"paid_{month}"] = _signed_log(paid[:, month])
    latest_use = np.clip(used[:, 0], 0.0, 1.2)
    return columns | {
        "status": status_score(counts_of(late)),
        "late_mean": overdue.mean(axis=1),
        "late_worst": overdue.max(axis=1),
        "late_months": (overdue > 0).sum(axis=1).astype(np.float64),
        "revolving_months": (late == 0).sum(axis=1).astype(np.float64),
        "used": used[:, 0],
        "used_worst": used.max(axis=1),
        "used_mean": used.mean(axis=1),
        "used_trend": used[:, 0] - used[:, -1],
        # Late with a card that is full is another thing than late with one that is hardly used.
        "late_and_used": np.where(late[:, 0] > 0, 1.0 + latest_use, -latest_use),
        # What is owed by who was never late is another thing than what is owed by who was.
        "used_and_ever_late": np.where(overdue.max(axis=1) == 0, used[:, 0], -used[:, 0] - 0.3),
        "unused_months": (late == -2).sum(axis=1).astype(np.float64),
        "paid_share_mean": paid_share.mean(axis=1),
        "paid_to_billed": np.log1p(paid.sum(axis=1)) - np.log1p(np.maximum(bills.sum(axis=1), 0.0)),
        "paid_latest": np.clip(paid[:, 0] / np.maximum(bills[:, 1], 1.0), 0.0, 2.0),
        "paid_total": _signed_log(paid.sum(axis=1)),
        "paid_to_limit": _signed_log(1000.0 * paid.sum(axis=1) / limit),
        "paid_least": _signed_log(paid.min(axis=1)),
        "unpaid_months": (paid == 0).sum(axis=1).astype(np.float64),
        "room": _signed_log(limit - bills[:, 0]),
    }


def _loans(name: str, purpose: str, knots: tuple[float, ...] = (), expected_rise: float = 0.0) -> Feature:
    return Feature(name, purpose=purpose, source="loans", knots=knots, expected_rise=expected_rise)


def _payments(name: str, purpose: str, knots: tuple[float, ...] = ()) -> Feature:
    return Feature(name, purpose=purpose, source="transactions", knots=knots)


FEATURES: dict[str, Feature] = {
    feature.name: feature
    for feature in (
        _loans("limit", "the limit granted", (), -0.5),
        *(_loans(f"late_{month}", f"months late {month} months ago", LATE) for month in range(MONTHS)),
        *(_loans(f"bill_{month}", f"billed {month} months ago") for month in range(MONTHS)),
        *(_payments(f"paid_{month}", f"paid {month} months ago") for month in range(MONTHS)),
        _loans("status", "how months were paid", (1.5, 2.0, 2.4, 2.8, 3.2), -1.0),
        _loans("late_mean", "months late, mean", (0.0, 0.2, 0.5, 1.0, 2.0), 1.0),
        _loans("late_worst", "months late, worst", (0.0, 1.0, 2.0, 3.0, 5.0), 1.0),
        _loans("late_months", "months paid late", (0.0, 1.0, 2.0, 4.0, 6.0), 1.0),
        _loans("revolving_months", "months revolved", (0.0, 2.0, 4.0, 6.0)),
        _loans("used", "share of the limit used", SHARE_USED, 0.5),
        _loans("used_worst", "share used, worst", SHARE_USED),
        _loans("used_mean", "share used, mean", SHARE_USED),
        _loans("used_trend", "share used, rise", (-0.6, -0.2, 0.0, 0.2, 0.6)),
        _loans("late_and_used", "late with a full card", (-1.1, -0.6, -0.1, 0.0, 1.0, 1.6, 2.1), 1.0),
        _loans("used_and_ever_late", "share used, apart for who was ever late"),
        _loans("unused_months", "months without use", (0.0, 1.0, 3.0, 6.0)),
        Feature("latest_two", "category", "the latest two months together", "loans", slots=30),
        _payments("paid_share_mean", "share of each bill that was paid, mean"),
        _payments("paid_to_billed", "paid as a share of billed"),
        _payments("paid_latest", "share of the last bill paid", (0.0, 0.05, 0.2, 0.6, 1.0, 2.0)),
        _payments("paid_total", "paid in six months"),
        _payments("paid_to_limit", "paid as a share of the limit"),
        _payments("paid_least", "paid in the worst month"),
        _payments("unpaid_months", "months without a payment", (0.0, 1.0, 3.0, 6.0)),
        _loans("room", "what is left of the limit"),
    )
}

SEXES = {"1": "male", "2": "female"}
MARRIAGES = {"1": "married", "2": "single"}


def _months(rows: list[dict[str, Any]], name: str) -> Floats:
    return np.array([[float(row[f"{name}{month}"]) for month in range(1, MONTHS + 1)] for row in rows])


def _signed_log(amount: Floats) -> Floats:
    """Logarithmic for large amounts of either sign, linear around nothing (a thousand NT dollars is 1)."""
    found: Floats = np.sign(amount) * np.log1p(np.abs(amount) / 1000.0)
    return found


def _words(rows: list[dict[str, Any]], column: str, words: dict[str, str]) -> list[str]:
    return [words.get(str(row.get(column, "")).strip(), "other") for row in rows]
