"""The category of a purchase from the words of its description: multinomial naive Bayes over hashed words.

A model is counts of (word, category); it learns by adding ones, and is as good as the log of shares of counts. Words it
has not counted say nothing. The packaged one is made of keywords by `python -m local.priors.categories`. Where its best
guess is not likely enough, the category is unknown: no guess is better than a wrong one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import BEGINNING_MS, Columns
from schemas.categories import CATEGORIES, CATEGORY_NAMES, WORDS_MAX, Category
from schemas.compiled import compiled

SMOOTHING = 0.02
"""Added to each count of a known word: what was never seen together is unlikely, and not impossible."""

CONFIDENCE_MIN = 0.6
"""A guess less likely than that is none."""

CELLS_MAX = 40_000
"""Different (word, category) a model may count."""

Counts = dict[tuple[int, int], float]
"""How many purchases of a category were described with a word, by (word, category)."""


@dataclass(frozen=True, eq=False, slots=True)
class TextWeights:
    """A version of the model: the words it knows in ascending order, and how each speaks for each category."""

    version: str
    effective_ms: int
    words: NDArray[np.int64]
    likelihoods: NDArray[np.float64]  # (words, CATEGORIES), logarithms
    possible: NDArray[np.bool_]  # (CATEGORIES,): others are never guessed
    counts: Mapping[tuple[int, int], float] = field(default_factory=dict, repr=False)  # what it is made of


def text_weights(version: str, effective_ms: int, counts: Mapping[tuple[int, int], float]) -> TextWeights:
    """The model of these counts. A category without a count is never guessed. About 10 ms for a thousand words."""
    words = np.array(sorted({word for word, _ in counts}), np.int64)
    table = np.zeros((len(words), CATEGORIES))
    for (word, category), count in counts.items():
        table[np.searchsorted(words, word), category] = count
    by_category = table.sum(axis=0)
    likelihoods = np.log(table + SMOOTHING) - np.log(by_category + SMOOTHING * max(len(words), 1))
    return TextWeights(version, effective_ms, words, likelihoods, by_category > 0, counts)


class OnlineGuesser:
    """The model while it learns: guesses from the counts as they are by now. For learning; workers use `TextTable`.

    >>> model = OnlineGuesser({})
    >>> model.guess([7]), model.learn([7, 9], Category.PETS), model.guess([9])[0].name
    ((<Category.UNKNOWN: 0>, 0.0), None, 'PETS')
    """

    def __init__(self, counts: Mapping[tuple[int, int], float]) -> None:
        self._rows: dict[int, NDArray[np.float64]] = {}
        self._totals = np.zeros(CATEGORIES)
        for (word, category), count in counts.items():
            self._add(word, category, count)

    def guess(self, words: Iterable[int]) -> tuple[Category, float]:
        """The likeliest category of hashed words, and how likely it is; UNKNOWN where none of them is known. 20 us."""
        rows = [self._rows[word] for word in words if word in self._rows]
        if not rows:
            return Category.UNKNOWN, 0.0
        norm = np.log(self._totals + SMOOTHING * len(self._rows))
        sums = np.log(np.array(rows) + SMOOTHING).sum(axis=0) - len(rows) * norm
        sums[self._totals == 0] = -np.inf
        best = int(np.argmax(sums))
        return Category(best), float(1.0 / np.exp(sums - sums[best]).sum())

    def learn(self, words: Iterable[int], category: Category) -> None:
        """One purchase whose category is known by its code, and the hashed words of its description."""
        if category != Category.UNKNOWN:
            for word in words:
                self._add(word, category, 1.0)

    @property
    def words(self) -> KeysView[int]:
        """The words it knows."""
        return self._rows.keys()

    def total(self, word: int) -> float:
        """How often it was told a word."""
        return float(self._rows[word].sum())

    def cells(self, word: int) -> list[tuple[int, float]]:
        """Category and count of a word; nothing where it does not know it."""
        row = self._rows.get(word)
        return [] if row is None else [(int(category), float(row[category])) for category in np.flatnonzero(row)]

    def drop(self, word: int) -> None:
        """Forget a word."""
        self._totals -= self._rows.pop(word)

    def counts(self, cells_max: int | None = None) -> Counts:
        """What it has learned: the `CELLS_MAX` cells with the largest counts, so that rubbish does not grow a model."""
        cells = [(-count, word, category) for word in self._rows for category, count in self.cells(word)]
        most = CELLS_MAX if cells_max is None else cells_max
        return {(word, category): -negated for negated, word, category in sorted(cells)[:most]}

    def _add(self, word: int, category: int, count: float) -> None:
        if word not in self._rows:
            self._rows[word] = np.zeros(CATEGORIES)
        self._rows[word][category] += count
        self._totals[category] += count


def counts_of(body: Mapping[str, Any]) -> Counts:
    """Counts from their JSON object {"words": [[word, category, count], ...]}. Raises ValueError with what is wrong."""
    counts: Counts = {}
    for word, category, count in body["words"]:
        if not 0 < word < 2**32 or category not in CATEGORY_NAMES or not 0.0 < count < 1e15:
            raise ValueError(f"[{word}, {category!r}, {count}] is not a word, a category and a count")
        counts[word, CATEGORY_NAMES.index(category)] = float(count)
    return counts


def body_of_counts(counts: Mapping[tuple[int, int], float]) -> dict[str, Any]:
    """The JSON object that `counts_of` reads."""
    return {"words": [[word, CATEGORY_NAMES[category], counts[word, category]] for word, category in sorted(counts)]}


@cache
def packaged_counts() -> Counts:
    """The counts that learning begins from: keywords."""
    return counts_of(json.loads((Path(__file__).parent / "packaged" / "categories-1.json").read_text("utf-8")))


@cache
def packaged_text_weights() -> TextWeights:
    """The model that serves until another one does."""
    return text_weights("categories-1", BEGINNING_MS, packaged_counts())


class TextTable(NamedTuple):
    """All versions of the model side by side, as compiled code reads them."""

    effective_ms: NDArray[np.int64]
    starts: NDArray[np.int64]  # (versions + 1,): rows of `words` and `likelihoods`
    words: NDArray[np.int64]
    likelihoods: NDArray[np.float64]
    possible: NDArray[np.bool_]  # (versions, CATEGORIES)

    @classmethod
    def of(cls, texts: Sequence[TextWeights]) -> TextTable:
        """The table of these versions, by effective time."""
        starts = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text.words) for text in texts], out=starts[1:])
        return cls(
            np.array([text.effective_ms for text in texts], np.int64),
            starts,
            np.concatenate([np.zeros(0, np.int64), *(text.words for text in texts)]),
            np.concatenate([np.zeros((0, CATEGORIES)), *(text.likelihoods for text in texts)]),
            np.array([text.possible for text in texts], np.bool_).reshape(len(texts), CATEGORIES),
        )


@compiled
def guess(words: Any, table: TextTable, version: int, sums: NDArray[np.float64]) -> tuple[int, float]:
    """The likeliest category of hashed words (zeros behind them), 0 where it knows none of them, and how likely it is.

    `sums` (CATEGORIES,) is scratch. About 0.3 us.
    """
    start, end = table.starts[version], table.starts[version + 1]
    known = 0
    sums[:] = 0.0
    for i in range(WORDS_MAX):
        word = np.int64(words[i])
        if word == 0:
            break
        at = start + np.searchsorted(table.words[start:end], word)
        if at < end and table.words[at] == word:
            known += 1
            for category in range(CATEGORIES):
                sums[category] += table.likelihoods[at, category]
    if known == 0:
        return 0, 0.0
    best = 0
    for category in range(1, CATEGORIES):
        if table.possible[version, category] and (best == 0 or sums[category] > sums[best]):
            best = category
    total = 0.0
    for category in range(1, CATEGORIES):
        if table.possible[version, category]:
            total += np.exp(sums[category] - sums[best])
    return best, 1.0 / total


@compiled
def _fill(events: Columns, table: TextTable, sums: NDArray[np.float64], out: NDArray[np.uint8]) -> None:
    for i in range(len(events)):
        event = events[i]
        out[i] = event["category"]
        if event["category"] != 0 or event["words"][0] == 0:
            continue
        version = -1
        for v in range(len(table.effective_ms)):
            if table.effective_ms[v] <= event["timestamp_ms"]:
                version = v
        if version >= 0:
            best, likelihood = guess(event["words"], table, version, sums)
            out[i] = best if likelihood >= CONFIDENCE_MIN else 0


def categories_of(events: Columns, table: TextTable) -> NDArray[np.uint8]:
    """The category of each event: that of its merchant's code, else the guess of the model in force at its timestamp.

    Cost: some nanoseconds an event, 0.3 us for one that has a description and no code.
    """
    out = np.empty(len(events), np.uint8)
    _fill(events, table, np.zeros(CATEGORIES), out)
    return out
