"""Texts in two arrays against the same texts in a list."""

from __future__ import annotations

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from schemas.texts import AsSequence, Texts

parts = st.lists(st.binary(max_size=70), max_size=20)


@given(parts)
def test_texts_come_back_as_they_went_in(texts: list[bytes]) -> None:
    packed = Texts.of(texts)
    assert packed.size == len(texts)
    assert packed.cut() == list(packed.cuts()) == texts
    assert packed.lengths.tolist() == [len(text) for text in texts]


@given(parts, st.randoms(use_true_random=False))
def test_some_of_them_are_those(texts: list[bytes], random: object) -> None:
    chosen = [random.randrange(len(texts)) for _ in texts]  # type: ignore[attr-defined]
    assert Texts.of(texts).of_those(np.array(chosen, np.int64)).cut() == [texts[i] for i in chosen]


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=600)), max_size=20))
def test_two_woven_are_one_of_each_in_turns(pairs: list[tuple[bytes, bytes]]) -> None:
    these, those = Texts.of([one for one, _ in pairs]), Texts.of([other for _, other in pairs])
    assert these.woven_with(those).cut() == [text for pair in pairs for text in pair]


@given(parts)
def test_hashes_are_those_of_xxhash(texts: list[bytes]) -> None:
    assert Texts.of(texts).hashes().tolist() == [xxhash.xxh64_intdigest(text) for text in texts]


def test_a_part_of_texts_knows_where_it_begins() -> None:
    whole = Texts.of([b"ann", b"bob", b"cem"])
    assert Texts(whole.packed, whole.starts[1:]).cut() == [b"bob", b"cem"]


class Doubled(AsSequence[int]):
    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return (2 * number for number in self.numbers)


def test_columns_are_a_sequence_like_any_other() -> None:
    columns = Doubled(1, 2, 3)
    assert (columns[0], columns[-1], columns[1:], len(columns)) == (2, 6, [4, 6], 3)
    assert columns == [2, 4, 6]
    assert columns == Doubled(1, 2, 3)
    assert columns != [2, 4]
    assert columns != 6
    assert 4 in columns
    assert not Doubled()
