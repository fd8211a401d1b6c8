"""How groups fare that lending law protects, from what requests kept aside. No model sees any of it.

Of each group: how many cases, how many got the favourable answer, how many were favourable in truth. Approval ratio:
the share of favourable answers against that of the best group; below 0.80 it is flagged (the four-fifths rule of the
United States' Uniform Guidelines, 29 CFR 1607.4). Gaps are of true and false positive rates to the best group's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

ATTRIBUTES_MAX, GROUPS_MAX = 8, 24
FLAGGED_BELOW = 0.80
SMALLEST = 30
"""Groups smaller than this are listed, and not judged."""

OTHER = "(other)"


@dataclass(slots=True)
class FairnessTable:
    """Counts by attribute and group: cases, answered favourably, favourable in truth, both."""

    groups: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def take(
        self,
        aside: Sequence[Mapping[str, str]],
        favoured: NDArray[np.bool_],
        labels: NDArray[np.float64],
        label_is_favourable: bool,
    ) -> None:
        """Count cases: what was kept aside of each, whether the answer was favourable, what happened."""
        true = (labels > 0.5) == label_is_favourable
        for kept, said, is_true in zip(aside, favoured.tolist(), true.tolist(), strict=True):
            for attribute, group in kept.items():
                if attribute not in self.groups and len(self.groups) >= ATTRIBUTES_MAX:
                    continue
                found = self.groups.setdefault(attribute, {})
                name = group if group in found or len(found) < GROUPS_MAX else OTHER
                counts = found.setdefault(name, [0, 0, 0, 0])
                for k, counted in enumerate((True, said, is_true, said and is_true)):
                    counts[k] += counted

    def table(self) -> list[dict[str, Any]]:
        """A line for each group: cases, approval ratio, gaps of rates, flagged."""
        lines = []
        for attribute, groups in sorted(self.groups.items()):
            judged = [counts for counts in groups.values() if counts[0] >= SMALLEST]
            best = max((said / n for n, said, _, _ in judged), default=math.nan)
            hits = max((both / true for _, _, true, both in judged if true), default=math.nan)
            misses = max(((said - both) / (n - true) for n, said, true, both in judged if n > true), default=math.nan)
            for group, (n, said, true, both) in sorted(groups.items()):
                ratio = _or_none(said / n / best if n >= SMALLEST and best > 0 else math.nan)
                lines.append({
                    "attribute": attribute,
                    "group": group,
                    "cases": n,
                    "approved": said / n,
                    "approval_ratio": ratio,
                    "true_positive_gap": _or_none(hits - both / true if true and n >= SMALLEST else math.nan),
                    "false_positive_gap": _or_none(
                        misses - (said - both) / (n - true) if n > true and n >= SMALLEST else math.nan
                    ),
                    "flagged": ratio is not None and ratio < FLAGGED_BELOW,
                })  # fmt: skip
        return lines

    def body(self) -> dict[str, Any]:
        """Its numbers."""
        return {"groups": self.groups}

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> FairnessTable:
        """What `body` said."""
        return cls({name: {group: list(n) for group, n in found.items()} for name, found in body["groups"].items()})


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number
