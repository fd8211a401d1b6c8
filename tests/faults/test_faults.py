"""A third of the matrix, with every run of the tests. `python -m tests.faults` plays all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults.play import play
from tests.faults.rows import ROWS
from tests.faults.stage import KafkaBehindRoad, broker


@pytest.fixture(scope="module")
def kafka_behind_road() -> Iterator[KafkaBehindRoad]:
    """A broker of its own: some rows kill it."""
    with broker() as kafka:
        yield kafka


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.quick])
def test_nothing_is_lost_doubled_wrong_or_out_of_order(name: str, kafka_behind_road: KafkaBehindRoad) -> None:
    row = ROWS[name]
    played = play(replace(row, events=min(row.events, 2_000)), kafka_behind_road)
    assert played.failure == ""
    assert played.verdict.words == []
    assert played.verdict.clean
    assert played.verdict.changes > 500
    assert played.verdict.letters > 30
