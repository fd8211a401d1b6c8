"""Seeds by the thousand: played, judged, counted; in as many processes as there are cores to spare."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.simulation.coverage import Coverage
from tests.simulation.judge import judge
from tests.simulation.ledger_meaning import Ledger
from tests.simulation.scores import Scores
from tests.simulation.setting import Meaning
from tests.simulation.simulation import Simulation

SEEDS_PER_PIECE = 50
SCORES_EVERY = 10
"""Every so many seeds the real scores are at work, else the ledger that stands for them."""


class Verdict(NamedTuple):
    """How seeds went: what is wrong, by seed, and what they have been through."""

    seeds: range
    wrong: dict[int, str]
    seen: Coverage


def play(seed: int, story: Callable[[str], None] | None = None) -> Verdict:
    """Play one seed to its end and judge it. `story` is told what happens, line by line."""
    meaning: Meaning = Scores() if seed % SCORES_EVERY == 0 else Ledger()
    simulation = Simulation(seed, meaning, story)
    wrong = {}
    try:
        simulation.run()
        judge(simulation)
        meaning.judge(simulation)
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed has found something
        wrong[seed] = f"{type(error).__name__}: {error}"
    return Verdict(range(seed, seed + 1), wrong, simulation.seen)


def play_piece(seeds: range) -> Verdict:
    """Several seeds, one after the other."""
    wrong, seen = {}, Coverage()
    for seed in seeds:
        verdict = play(seed)
        wrong |= verdict.wrong
        seen.update(verdict.seen)
    return Verdict(seeds, wrong, seen)


def pieces(first: int, end: int) -> list[range]:
    """The seeds of `[first, end)`, cut."""
    return [range(at, min(end, at + SEEDS_PER_PIECE)) for at in range(first, end, SEEDS_PER_PIECE)]


def play_all(todo: Iterable[range], jobs: int) -> Iterator[Verdict]:
    """Every piece, in order, in so many processes."""
    if jobs == 1:
        yield from map(play_piece, todo)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(play_piece, todo)


def how_to_replay(seed: int) -> str:
    """The command that tells a seed's story."""
    return f"python -m pytest tests/simulation --simulate-seed {seed}"
