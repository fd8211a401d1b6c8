"""Categories of purchases: from codes by a table, from descriptions by words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.priors.categories import body
from schemas.batch import EVENT, Record
from schemas.categories import (
    CATEGORY_OF_CODE,
    CODES,
    WORDS_MAX,
    Category,
    category_of_code,
    words_of_text,
)
from schemas.codec import Encoder, StaticRegistry, encode_value
from state import category_text
from state.category_text import (
    CONFIDENCE_MIN,
    OnlineGuesser,
    TextTable,
    body_of_counts,
    categories_of,
    counts_of,
    packaged_counts,
    packaged_text_weights,
    text_weights,
)
from streams.learning.text_from_topic import learned_from


@pytest.mark.parametrize(
    "code, category",
    [
        ("5411", Category.GROCERIES), ("5812", Category.RESTAURANTS), ("3058", Category.AIRLINES),
        ("3351", Category.TRAVEL), ("3700", Category.LODGING), ("5541", Category.FUEL), ("6011", Category.CASH),
        ("7995", Category.GAMBLING), ("0742", Category.PETS), ("8211", Category.EDUCATION),
        ("9311", Category.GOVERNMENT),
        ("8661", Category.OTHER), ("8651", Category.OTHER), ("8398", Category.CHARITY), ("0001", Category.OTHER),
        ("0000", Category.UNKNOWN), ("", Category.UNKNOWN), ("54", Category.UNKNOWN), ("5411 ", Category.GROCERIES),
        ("742", Category.PETS), ("742.0", Category.PETS), ("5411.0", Category.GROCERIES), ("0", Category.UNKNOWN),
        ("54l1", Category.UNKNOWN), ("٥٤١١", Category.UNKNOWN),
    ],
)  # fmt: skip
def test_a_merchants_code_has_one_category(code: str, category: Category) -> None:
    assert category_of_code(code) == category


def test_ranges_of_codes_are_ranges_and_every_category_but_unknown_has_a_code() -> None:
    assert all(0 < first <= last < 10_000 for _, codes in CODES for first, last in codes)
    assert set(CATEGORY_OF_CODE.tolist()) == {int(category) for category in Category}


def naive_words(text: str) -> list[int]:
    """The definition again, by hand."""
    words = []
    for run in re.findall(rb"[a-zA-Z\x80-\xff]+", text.encode()):
        if len(run) < 3:
            continue
        hashed = 2_166_136_261
        for byte in run.lower():
            hashed = (hashed ^ byte) * 16_777_619 % 2**32
        words.append(max(hashed, 1))
    return words[:WORDS_MAX]


@given(st.text(max_size=60) | st.text("aB cé7-", max_size=60))
def test_words_are_runs_of_letters_whatever_the_text_is(text: str) -> None:
    assert words_of_text(text) == naive_words(text)


def event_of(text: str, category: int = 0, timestamp_ms: int = 0) -> Any:
    event = np.zeros(1, EVENT)
    words = words_of_text(text)
    event["words"][0][: len(words)] = words
    event["category"], event["timestamp_ms"] = category, timestamp_ms
    return event


@pytest.mark.parametrize(
    "text, category",
    [
        ("LIDL 4711 BERLIN", Category.GROCERIES), ("Compra Mercadona, tarj. 1234", Category.GROCERIES),
        ("NETFLIX.COM", Category.DIGITAL_MEDIA), ("Tankstelle Aral 22", Category.FUEL),
        ("bwin apuestas", Category.GAMBLING), ("RYANAIR FR1234", Category.AIRLINES),
        ("DM 77 XQ", Category.UNKNOWN), ("Blorbo Inc", Category.UNKNOWN),
    ],
)  # fmt: skip
def test_a_description_is_guessed_or_is_not(text: str, category: Category) -> None:
    table = TextTable.of([packaged_text_weights()])
    assert categories_of(event_of(text), table).tolist() == [category]
    assert categories_of(event_of(text, category=Category.PETS), table).tolist() == [Category.PETS]
    assert categories_of(event_of(text), TextTable.of([])).tolist() == [Category.UNKNOWN]


def test_the_version_in_force_at_an_events_timestamp_guesses() -> None:
    model = OnlineGuesser({})
    model.learn(words_of_text("blorbo"), Category.PETS)
    later = text_weights("categories-2", 1_000, model.counts())
    table = TextTable.of([packaged_text_weights(), later])
    events = np.concatenate([event_of("Blorbo Inc", timestamp_ms=at_ms) for at_ms in (999, 1_000)])
    assert categories_of(events, table).tolist() == [Category.UNKNOWN, Category.PETS]


def test_both_forms_of_the_model_say_the_same() -> None:
    model, table = OnlineGuesser(packaged_counts()), TextTable.of([packaged_text_weights()])
    sums = np.zeros(len(Category))
    for text in ("lidl", "gas station casino", "metro bus netflix school", "nothing known"):
        event = event_of(text)
        category, likelihood = category_text.guess(event["words"][0], table, 0, sums)
        meant = model.guess(words_of_text(text))
        assert (category, likelihood) == (meant[0], pytest.approx(meant[1]))


def test_the_packaged_model_is_what_its_command_makes() -> None:
    file = Path(category_text.__file__).parent / "packaged" / "categories-1.json"
    assert json.loads(file.read_text("utf-8")) == body()


def test_counts_come_back_and_a_wrong_cell_is_named() -> None:
    assert counts_of(body_of_counts(packaged_counts())) == packaged_counts()
    for cell in ([0, "pets", 1.0], [7, "cars", 1.0], [7, "pets", 0.0]):
        with pytest.raises(ValueError, match="is not a word, a category and a count"):
            counts_of({"words": [cell]})


def test_it_learns_from_transactions_with_code_and_description() -> None:
    encoder, records = Encoder(StaticRegistry()), []
    shops = [("Blorbo Tiere", "5995"), ("Quix Brot", "5411"), ("Zorp Kino", "7832"), (None, "5411"), ("Blorbo", None)]
    for i in range(200):
        description, mcc = shops[i % len(shops)]
        fields = {"user_id": "a", "transaction_currency": "EUR", "transaction_amount": -1.0, "mcc": mcc,
                  "transaction_date": "2024-01-01", "description": description}  # fmt: skip
        records.append(Record("transactions", 0, i, i, b"a", encode_value("Transaction", fields, encoder)))
    learned = learned_from([*records, records[0]._replace(value=b"rubbish")], StaticRegistry())
    figures = learned.figures()
    assert figures["transactions"] == 120
    assert figures["guessed"] > 0.8
    assert figures["right"] > 0.95
    category, likelihood = learned.model.guess(words_of_text("BLORBO 12"))
    assert (category, likelihood >= CONFIDENCE_MIN) == (Category.PETS, True)
    backwards = learned_from(reversed(records), StaticRegistry())
    assert backwards.model.counts() == learned.model.counts()


def test_rubbish_does_not_grow_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(category_text, "CELLS_MAX", 3)
    model = OnlineGuesser({(1, 2): 9.0})
    for word in range(2, 50):
        model.learn([word], Category.PETS)
    counts = model.counts()
    assert len(counts) == 3
    assert counts[1, 2] == 9.0
