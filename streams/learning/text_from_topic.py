"""Teaching the model that reads descriptions: each transaction is guessed before it is learned from. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.batch import Record
from schemas.categories import Category, category_of_code, words_of_text
from schemas.known_schemas import Registry
from schemas.readable import Refused, read_fields
from state.category_text import CONFIDENCE_MIN, OnlineGuesser, packaged_counts


@dataclass(slots=True)
class Learned:
    """What was learned, and how well each transaction was guessed just before."""

    model: OnlineGuesser = field(default_factory=lambda: OnlineGuesser(packaged_counts()))
    transactions: int = 0  # with both code and description
    guessed: int = 0  # of these, with a likelihood of `CONFIDENCE_MIN` or more
    right: int = 0  # of those

    def figures(self) -> dict[str, Any]:
        """For people and programs."""
        share = self.guessed / self.transactions if self.transactions else None
        accuracy = self.right / self.guessed if self.guessed else None
        return {
            "transactions": self.transactions,
            "guessed": None if share is None else round(share, 4),
            "right": None if accuracy is None else round(accuracy, 4),
            "words": len({word for word, _ in self.model.counts()}),
        }


def learned_from(records: Iterable[Record], registry: Registry) -> Learned:
    """What these records of `transactions` teach. Their order makes no difference to the model.

    Records that cannot be read teach nothing. Cost: some 120 us each.
    """
    learned = Learned()
    for record in records:
        try:
            fields = read_fields(record.value or b"", "Transaction", registry)
        except Refused:
            continue
        category = category_of_code(fields.get("mcc") or "")
        words = words_of_text(fields.get("description") or "")
        if category == Category.UNKNOWN or not words:
            continue
        guess, likelihood = learned.model.guess(words)
        learned.transactions += 1
        learned.guessed += likelihood >= CONFIDENCE_MIN
        learned.right += likelihood >= CONFIDENCE_MIN and guess == category
        learned.model.learn(words, category)
    return learned
