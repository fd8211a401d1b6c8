"""The population that scores are read against, as the learner keeps it: the latest report of each sampled customer.

Every active customer reports once in 30 days, with each training example: the inputs of the value model. Borrowers
report status, revenue and due days when they change; they are a sample of their own, for the cuts of class and RFM.
Kept are the customers with the smallest hashes, each once, until they have not reported for `sample_days`, or borrowers
for `borrower_days`. Definition: docs/scores.md, population; docs/learning.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.scoring.population import QUINTILES, TERCILES, cuts

Floats = NDArray[np.float64]
LEFTOVERS_MAX = 1_000


class Member(NamedTuple):
    """What one customer reported last. A score that the customer does not have is None.

    Of a borrower, `recency` is the latest due day as it was reported, counted from 1970-01-01.
    """

    reported_ms: int
    features: tuple[int, ...] | None  # packed, None: no transactions
    consistency: float
    status: float | None = None
    revenue: float | None = None
    recency: float | None = None

    def updated(self, report: Member) -> Member:
        """A borrower's report on top of the earlier ones: what it does not say stays, the latest due day counts."""
        status = self.status if report.status is None else report.status
        revenue = self.revenue if report.revenue is None else report.revenue
        days = [day for day in (self.recency, report.recency) if day is not None]
        return Member(report.reported_ms, None, report.consistency, status, revenue, max(days, default=None))


class PopulationSample:
    """The `size_max` customers with the smallest hashes among those who reported lately."""

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self.members: dict[bytes, Member] = {}
        self.changed: dict[bytes, Member | None] = {}
        """What the last calls changed, None: left; whoever keeps the sample elsewhere empties this."""
        self._largest: list[bytes] = []  # a heap of inverted hashes, with leftovers of customers who left

    def __len__(self) -> int:
        return len(self.members)

    def report(self, hashed: bytes, member: Member) -> None:
        """Take a customer's report; whoever has the largest hash may have to leave for it."""
        if hashed not in self.members:
            heapq.heappush(self._largest, _inverted(hashed))
        self.members[hashed] = member
        self.changed[hashed] = member
        while len(self.members) > self.size_max:
            self.forget(_inverted(heapq.heappop(self._largest)))
        if len(self._largest) > 2 * len(self.members) + LEFTOVERS_MAX:
            self._order()

    def forget(self, hashed: bytes) -> None:
        """Drop a customer: erased, silent for too long, or above the others' hashes."""
        if self.members.pop(hashed, None) is not None:
            self.changed[hashed] = None

    def expire(self, before_ms: int) -> None:
        """Drop everyone whose last report is older."""
        for hashed in [hashed for hashed, member in self.members.items() if member.reported_ms < before_ms]:
            self.forget(hashed)

    def in_order(self) -> Iterator[Member]:
        """Members by hash: the same order whatever the order of their reports."""
        return (self.members[hashed] for hashed in sorted(self.members))

    def restore(self, members: Iterable[tuple[bytes, Member]]) -> None:
        """Begin with these members."""
        self.members = dict(members)
        self._order()
        self.changed.clear()

    def borrowers(self, today: int) -> list[Member]:
        """Members that reported loans, recency as it is on a day: days since the latest due day, negated."""
        return [
            member if member.recency is None else member._replace(recency=member.recency - today)
            for member in self.in_order()
        ]

    def _order(self) -> None:
        self._largest = [_inverted(hashed) for hashed in self.members]
        heapq.heapify(self._largest)


def _inverted(hashed: bytes) -> bytes:
    """Bytes that sort the other way round, for a heap whose first is the largest; its own inverse."""
    return bytes(255 - byte for byte in hashed)


def thinned(sorted_sample: Floats, points_max: int) -> Floats:
    """At most so many values with the percentiles of the whole: quantiles at even steps, ends included.

    A percentile read from it differs from the sample's by at most 1 / points_max.

    >>> thinned(np.arange(10.0), 4).tolist()
    [0.0, 3.0, 6.0, 9.0]
    """
    if len(sorted_sample) <= points_max:
        return sorted_sample
    return sorted_sample[np.rint(np.linspace(0, len(sorted_sample) - 1, points_max)).astype(np.int64)]


def cut_tables(members: Iterable[Member], packaged: dict[str, Floats], size_min: int) -> dict[str, Floats]:
    """Terciles and quintiles of status, revenue and recency; the packaged ones for a score too few customers have."""
    held = list(members)
    tables = {}
    for name, wanted in (("status", True), ("revenue", True), ("recency", False)):
        found = sorted(value for member in held if (value := getattr(member, name)) is not None)
        own = np.array(found, np.float64) if len(found) >= size_min else None
        if wanted:
            tables[f"{name}_terciles"] = packaged[f"{name}_terciles"] if own is None else cuts(own, TERCILES)
        tables[f"{name}_quintiles"] = packaged[f"{name}_quintiles"] if own is None else cuts(own, QUINTILES)
    return tables


def member_body(member: Member) -> list[Any]:
    """A member as plain JSON."""
    return list(member)


def member_of(body: list[Any]) -> Member:
    """A member from its body."""
    at, features, *rest = body
    return Member(at, None if features is None else tuple(features), *rest)
