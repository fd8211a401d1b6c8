"""Histories of purchases: CDNOW, Online Retail, Complete Journey. What is a customer worth next?

Each set is cut in the middle of its time. The first half goes event by event through a deployment; every example it
gives was forecast before it was learned. At the cut every customer has a forecast, compared with what the customer then
did, beside BG/NBD fitted on the whole first half.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from local.evaluation.dataset import UnusableDataset, find, find_all, rows_of
from schemas.batch import DAY_MS
from schemas.times import time_ms

HOUSEHOLD_UNITS = 10.0


class Purchase(NamedTuple):
    """One visit to the till."""

    time_ms: int
    customer: str
    amount: float  # in the set's own currency; a return is negative


class Purchases(NamedTuple):
    """A set of histories, in the order of time."""

    title: str
    source: str
    population: str
    purchases: Sequence[Purchase]
    excluded: dict[str, int]
    base_units: float = 1.0
    """What one unit of the set's money is published as: 10 where a shop sees about a tenth of what an account moves."""

    @property
    def cut_ms(self) -> int:
        """Midnight in the middle of the time they span."""
        first, last = self.purchases[0].time_ms, self.purchases[-1].time_ms
        return (first + (last - first) // 2) // DAY_MS * DAY_MS


def cdnow(path: Path) -> Purchases:
    """Lines of id, (id in the sample,) date, units and dollars, apart by spaces; all of the set or a sample."""
    found, excluded = [], 0
    for line in _bytes_of(find(path, "cdnow")).decode("ascii", "replace").splitlines():
        fields = line.split()
        day = time_ms(f"{fields[-3][:4]}-{fields[-3][4:6]}-{fields[-3][6:]}") if len(fields) in (4, 5) else None
        if day is None:
            excluded += bool(fields)
            continue
        found.append(Purchase(day, fields[0], float(fields[-1])))
    return _set(
        "CDNOW: an early music shop",
        "CDNOW data set (P. Fader, B. Hardie), for academic use",
        "customers whose first purchase was in the first quarter of 1997",
        found,
        {"unreadable line": excluded},
        HOUSEHOLD_UNITS,
    )


def online_retail(path: Path) -> Purchases:
    """Invoice lines; those of one customer and minute are one purchase. Lines without a customer say nothing of one."""
    rows, bad = rows_of(find(path, "online_retail", "retail"), ("Quantity", "InvoiceDate", "UnitPrice", "CustomerID"))
    known = [row for row in rows if row["CustomerID"] not in (None, "")]
    lines = (
        (
            _moment(row["InvoiceDate"]),
            f"{float(row['CustomerID']):.0f}",
            float(row["Quantity"]) * float(row["UnitPrice"]),
        )
        for row in known
    )
    return _set(
        "Online Retail: a British wholesaler of gifts",
        "UCI Online Retail (D. Chen), CC BY 4.0",
        "customers, many of them shops, December 2010 to December 2011",
        baskets(lines),
        {"unreadable line": bad, "line without a customer": len(rows) - len(known)},
    )


def complete_journey(path: Path) -> Purchases:
    """Grocery items of households; those of one till and moment are one purchase."""
    rows, bad = rows_of(find_all(path, "transactions")[0], ("household_id", "sales_value", "transaction_timestamp"))
    lines = (
        (_moment(row["transaction_timestamp"]), str(row["household_id"]), float(row["sales_value"])) for row in rows
    )
    return _set(
        "Complete Journey: groceries of households",
        "dunnhumby, The Complete Journey, as in the R package completejourney, CC0",
        "households that shop often, 2017",
        baskets(lines),
        {"unreadable line": bad},
        HOUSEHOLD_UNITS,
    )


LOADERS: dict[str, Callable[[Path], Purchases]] = {
    "cdnow": cdnow,
    "online-retail": online_retail,
    "complete-journey": complete_journey,
}


def baskets(lines: Iterable[tuple[int, str, float]]) -> list[Purchase]:
    """Lines of one customer at one moment, summed."""
    sums: dict[tuple[int, str], float] = defaultdict(float)
    for moment_ms, customer, amount in lines:
        sums[moment_ms, customer] += amount
    return [Purchase(moment_ms, customer, amount) for (moment_ms, customer), amount in sums.items()]


def _set(
    title: str,
    source: str,
    population: str,
    found: list[Purchase],
    excluded: dict[str, int],
    base_units: float = 1.0,
) -> Purchases:
    kept = sorted(purchase for purchase in found if purchase.amount != 0)
    if not kept or kept[-1].time_ms - kept[0].time_ms < 60 * DAY_MS:
        raise UnusableDataset(f"{title}: there are less than 60 days of purchases; give a longer part")
    excluded = {**excluded, "purchase of nothing": len(found) - len(kept)}
    counted = {reason: number for reason, number in excluded.items() if number}
    return Purchases(title, source, population, kept, counted, base_units)


def _bytes_of(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def _moment(value: Any) -> int:
    text = value.isoformat() if isinstance(value, datetime) else str(value).strip().replace(" ", "T")
    moment_ms = time_ms(text[:19])
    if moment_ms is None:
        raise UnusableDataset(f"{value!r} is no moment; write it as 2011-12-09 12:50:00")
    return moment_ms
