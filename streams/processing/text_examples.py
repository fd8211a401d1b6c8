"""Purchases that say what they were for twice, by a merchant's code and in words: what the text model learns from.

One transaction in so many (the learning policy's `texts_one_in`) is told to the learner: its hashed words and the
category of its code, under the customer's keyed hash, never the description. Which one is read off its own event id,
or its content where it has none: the same log tells the same ones, however batches are cut. A correction teaches
nothing. Cost: 10 us a batch and 0.05 us a transaction, 20 us for one that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.batch import EventBatch
from schemas.categories import CATEGORY_NAMES, words_of_text
from schemas.examples import encode_example
from schemas.kinds import Kind
from schemas.readable import read_fields
from schemas.writing import Encoder
from streams.log.message import Message
from streams.processing.case_examples import user_hash
from streams.scoring.step import Step

TEXT = "categories"
"""The model that these examples are for."""

TRANSACTION = int(Kind.TRANSACTION)
OneIn = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""One transaction in how many is told at each of these moments (n,); 0: none."""


def told_nothing(moments_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where nothing is learned from descriptions."""
    return np.zeros(len(moments_ms), np.int64)


def drawn_texts(batch: EventBatch, one_in: OneIn) -> list[int]:
    """The events that are to be told, by index: first what all have at hand, then, of the few, what they were for."""
    if one_in is told_nothing:
        return []
    events = batch.events
    hashes = events["event_hash"]
    named = np.where(hashes > 0, hashes, events["content_hash"])
    drawn = np.flatnonzero(is_drawn(named, one_in(events["timestamp_ms"]))).tolist()
    if not drawn:
        return []
    kinds, categories, revisions = events["kind"], events["category"], events["revision"]
    return [i for i in drawn if kinds[i] == TRANSACTION and categories[i] > 0 and revisions[i] == 0]


def text_examples(
    batch: EventBatch, drawn: Sequence[int], done: Step, encoder: Encoder, key: bytes
) -> list[tuple[int, Message]]:
    """The examples of a batch that was taken, each with its time."""
    if not drawn:
        return []
    rejected = {reject.record for reject in done.journal.rejects}
    told, users, made = batch.events[drawn], done.table.users, []
    columns = (told[name].tolist() for name in ("record", "user", "timestamp_ms", "category"))
    for record, user, at_ms, category in zip(*columns, strict=True):
        if record in rejected:
            continue
        fields = read_fields(batch.records[record].value or b"", "Transaction", encoder.registry)
        words = words_of_text(fields.get("description") or "")
        if not words:
            continue
        hashed = user_hash(users[user], key)
        said = {"kind": "text", "model": TEXT, "user_hash": hashed, "timestamp_ms": at_ms, "words": words,
                "category": CATEGORY_NAMES[category]}  # fmt: skip
        made.append((at_ms, Message(hashed, encode_example(said, encoder))))
    return made


def is_drawn(hashes: NDArray[np.uint64], one_in: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the events with these hashes (n,) are told, one in so many.

    >>> is_drawn(np.array([8, 9, 10], np.uint64), np.array([4, 4, 0])).tolist()
    [True, False, False]
    """
    drawn: NDArray[np.bool_] = (one_in > 0) & (hashes % np.maximum(one_in, 1).astype(np.uint64) == 0)
    return drawn
