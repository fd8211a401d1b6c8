"""The population that scores are read against: percentiles, cuts, and the sample they are taken from.

A sample holds the customers with the smallest hashes of their ids. Such a bottom-k sample is as good as a random one,
the same whoever takes it in whatever order, merges, and counts no one twice. Definition: docs/scores.md, population.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.compiled import compiled

TERCILES = (1.0 / 3.0, 2.0 / 3.0)
QUINTILES = (0.2, 0.4, 0.6, 0.8)
SAMPLE_MAX = 100_000
SAMPLE_MIN = 1_000


@compiled
def percentile_of(sorted_sample: NDArray[np.float64], x: float) -> float:
    """(number below x + half the number equal) / n, from 0 to 1; NaN for an empty sample. Two binary searches.

    >>> percentile_of(np.array([1.0, 2.0, 2.0, 3.0]), 2.0)
    0.5
    """
    n = len(sorted_sample)
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if sorted_sample[middle] < x:
            low = middle + 1
        else:
            high = middle
    below = low
    high = n if below < n and sorted_sample[below] <= x else below  # nobody is equal: nothing to look for
    while low < high:
        middle = (low + high) // 2
        if sorted_sample[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return (below + low) / (2.0 * n)


@compiled
def _percentiles(sorted_sample: NDArray[np.float64], values: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    for i in range(len(values)):
        found[i] = math.nan if math.isnan(values[i]) else percentile_of(sorted_sample, values[i])


def percentiles(sorted_sample: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """Percentiles (n,) of values (n,) in a sorted sample (m,); NaN stays NaN. Raises `ValueError` for unsorted samples.

    >>> percentiles([1.0, 2.0, 2.0, 3.0], [0.0, 1.0, 2.5, 9.0])
    array([0.   , 0.125, 0.75 , 1.   ])
    """
    sample, values = _sample(sorted_sample), np.asarray(values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"values have the shape {values.shape}, give (n,)")
    found = np.empty(len(values))
    _percentiles(sample, values, found)
    return found


def cut(sorted_sample: ArrayLike, p: float) -> float:
    """The smallest value of the sample whose percentile is at least p; infinite where there is none.

    >>> cut([1.0, 2.0, 3.0], 1 / 3), cut([1.0, 2.0, 3.0], 0.9)
    (2.0, inf)
    """
    return float(cuts(sorted_sample, (p,))[0])


def cuts(sorted_sample: ArrayLike, shares: Sequence[float]) -> NDArray[np.float64]:
    """The cut at each of the shares, for instance TERCILES or QUINTILES; one walk over the sample."""
    values, firsts, numbers = np.unique(_sample(sorted_sample), return_index=True, return_counts=True)
    percentile = (2 * firsts + numbers) / (2.0 * max(numbers.sum(), 1))
    return np.append(values, math.inf)[np.searchsorted(percentile, np.asarray(shares, np.float64), side="left")]


class BottomSample(NamedTuple):
    """Hashes of customers, ascending, each once, and what is known of each (n,) or (n, k)."""

    hashes: NDArray[np.uint64]
    values: NDArray[np.float64]


def bottom_sample(hashes: ArrayLike, values: ArrayLike, size_max: int = SAMPLE_MAX) -> BottomSample:
    """The `size_max` customers with the smallest hashes; of one who appears twice, the later entry counts.

    >>> bottom_sample([7, 3, 5, 3], [0.7, 0.3, 0.5, 0.4], size_max=2).values
    array([0.4, 0.5])
    """
    hashes, values = np.asarray(hashes, np.uint64), np.asarray(values, np.float64)
    if hashes.ndim != 1 or values.shape[:1] != hashes.shape:
        raise ValueError(f"hashes and values have the shapes {hashes.shape} and {values.shape}, give one value a hash")
    kept, last = np.unique(hashes[::-1], return_index=True)
    return BottomSample(kept[:size_max], values[::-1][last[:size_max]])


def merged(older: BottomSample, newer: BottomSample, size_max: int = SAMPLE_MAX) -> BottomSample:
    """The sample of both populations together; of a customer in both, the newer entry counts."""
    hashes = np.concatenate([older.hashes, newer.hashes])
    return bottom_sample(hashes, np.concatenate([older.values, newer.values]), size_max)


def topped_up(values: ArrayLike, packaged: ArrayLike, size_min: int = SAMPLE_MIN) -> NDArray[np.float64]:
    """A sorted sample of one score: its values (NaN: has none), topped up to `size_min` from a packaged sample."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return np.sort(np.concatenate([known, np.asarray(packaged, np.float64)[: max(size_min - len(known), 0)]]))


def _sample(sorted_sample: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(sorted_sample, np.float64)
    if sample.ndim != 1 or np.isnan(sample).any() or (sample[1:] < sample[:-1]).any():
        raise ValueError("give a sample (m,) in ascending order, without NaN")
    return sample
