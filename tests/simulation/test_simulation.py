"""A thousand seeds: whatever happens in whatever order, every change is said once and every state is the log's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.coverage import SEEDS_FOR_EVERYTHING, Coverage, never_happened, table
from tests.simulation.seeds import how_to_replay, pieces, play, play_all

ROOT = Path(__file__).parents[2]


def test_a_thousand_seeds_say_everything_once_and_go_through_everything(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Coverage()
    for verdict in play_all(pieces(0, SEEDS_FOR_EVERYTHING), jobs=min(2, os.cpu_count() or 1)):
        for seed, wrong in verdict.wrong.items():
            pytest.fail(f"seed {seed}: {wrong}\nIts story: {how_to_replay(seed)}")
        seen.update(verdict.seen)
    with capsys.disabled():
        print(f"\n{table(seen)}")
    assert not never_happened(seen)


def test_a_seed_tells_the_same_story_every_time(simulated_seed: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    seed = 2 if simulated_seed is None else simulated_seed
    story: list[str] = []
    verdict = play(seed, story.append)
    if simulated_seed is not None:
        with capsys.disabled():
            print("", *story, *verdict.wrong.values(), table(verdict.seen), sep="\n")
    assert not verdict.wrong
    again: list[str] = []
    play(seed, again.append)
    assert again == story
    assert len(story) > 100
    code = f"from tests.simulation.seeds import play; play({seed}, print)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == story
