"""What learning costs is measured of streams that hold all there is to learn from, beside the same without learning."""

from __future__ import annotations

import pytest

from local.bench.learner import learning, memory
from local.bench.learning import WHOLE, WITHOUT, Size, _batches, _in_turns, _sides, measure, stream
from streams.learning.cases import KEY_BYTES, Cases

SMALL = Size(customers=40, days=10, records=500, rounds=1)


def test_the_stream_of_a_bank_where_everyone_declares_has_all_that_learning_is_of():
    found = measure(SMALL, 1.0)
    assert {"example value", "request risk"} <= set(found.said)
    assert found.events > 200
    assert found.microseconds > 0
    assert len(found.rounds) == 1


def test_where_nobody_has_declared_there_are_no_cases():
    assert "request risk" not in measure(SMALL, 0.0).said


def test_without_learning_nothing_is_said_to_learners_and_as_much_to_everyone_else():
    sides = _sides()
    prelude, measured = _batches(stream(SMALL, 1.0), SMALL.records)
    _in_turns(sides, prelude)
    without, whole = (
        [sides[which].take(batch) for batch in measured] for which in (WITHOUT, WHOLE)
    )  # each has its own rows
    assert not [one for output in without for one in output.examples]
    assert [one for output in whole for one in output.examples]
    assert [image.user for output in without for image in output.images] == [
        image.user for output in whole for image in output.images
    ]


@pytest.mark.parametrize("per_epoch", [5, 20])
def test_the_learner_is_measured_by_what_it_learns_and_writes(per_epoch: int):
    found = learning(40, per_epoch)
    assert found.cases_a_second > 0
    assert found.bytes > 100


def test_waiting_cases_are_as_large_as_is_told_and_no_more_than_may_wait():
    found = memory(500, more=50)
    assert found.cases == 500
    assert 0.7 < found.bytes_told / found.bytes_held < 1.4
    assert found.bytes_told > KEY_BYTES
    assert len(Cases()) == 0
