"""Which examples of an epoch are left out where learning raises, and how many attempts that takes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from streams.learner.guard import ALONE_MAX, learned_without
from streams.learning.rounds import Waiting
from streams.learning.value_learner import ValueExample
from streams.log.protocol import HaltPartition


def waiting(count: int) -> list[Waiting]:
    return [Waiting(i, ValueExample(i, b"%d" % i, None, None, None), 0, i) for i in range(count)]


@pytest.mark.parametrize("seed", range(8))
def test_only_what_raises_is_left_out_while_there_is_little_of_it(seed: int) -> None:
    random = Random(seed)
    print(f"seed {seed}")
    examples = waiting(random.randrange(1, 200))
    bad = set(random.sample(range(len(examples)), min(len(examples), random.randrange(ALONE_MAX))))
    tries = []

    def attempt(state: list[int], told: Sequence[Waiting]) -> int:
        tries.append(len(told))
        for one in told:
            state.append(one.offset)
            if one.offset in bad:
                raise KeyError(one.offset)
        return len(told)

    random.shuffle(examples)
    before: list[int] = []
    learned = learned_without(attempt, before, examples)
    assert [left.example.offset for left in learned.left_out] == sorted(bad)
    assert learned.state == [i for i in range(len(examples)) if i not in bad]
    assert learned.result == len(examples) - len(bad)
    assert before == []
    assert len(tries) <= (len(bad) + 1) * 11


def test_an_epoch_full_of_examples_that_raise_ends_soon() -> None:
    tries = []

    def attempt(state: list[int], told: Sequence[Waiting]) -> int:
        tries.append(len(told))
        if told:
            raise KeyError
        return 0

    learned = learned_without(attempt, [], waiting(20_000))
    assert len(learned.left_out) == 20_000
    assert sum(left.failure is not None for left in learned.left_out) < 30
    assert len(tries) < 500


def test_an_epoch_that_raises_without_any_example_halts() -> None:
    def attempt(state: list[int], told: Sequence[Waiting]) -> int:
        raise KeyError("a decision")

    with pytest.raises(HaltPartition, match=r"without any example: KeyError at .*'a decision'"):
        learned_without(attempt, [], waiting(3))
