"""A round of the fuzz with every run of the tests. `python -m tests.fuzz --minutes 60` goes on for an hour."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.bodies import broadcasts
from tests.fuzz.inputs import records
from tests.fuzz.play import KINDS, play

SECONDS = 12.0


def test_the_same_seed_makes_the_same_records_but_for_the_time_of_day() -> None:
    first, second = (list(islice(records(Random(3)), 2_000)) for _ in range(2))
    assert [sent.topic for sent in first] == [sent.topic for sent in second]
    assert {sent.topic for sent in first} == {"transactions", "loans", "applicants", "outcomes", "commands"}
    assert len(set(islice((sent.topic for sent in broadcasts(Random(3))), 500))) == 3


@pytest.mark.timeout(600)
def test_almost_right_input_of_every_kind_ends_nothing_and_loses_nothing(kafka, shared_valkey, tmp_path: Path) -> None:
    played = play(1, KINDS, SECONDS, kafka.bootstrap_servers, shared_valkey.url, tmp_path)
    assert played.failures == []
    assert played.verdict.words == []
    assert played.good
    assert played.verdict.letters > 200
    assert played.verdict.changes > 100
    assert played.commands
    assert played.keys_deleted
