"""What runs beside Rescore on the same topic: the bare pipe and other engines, each a process of its own.

The others keep one rolling sum of the amounts of each customer and write it out for each transaction: far less than a
worker of Rescore does. They are programs in `benchmarks/`, made with what is on this machine; one that can not be made
here is left out, and the reason told.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.bench_world import ROOT, World

PROGRAMS = ROOT / "benchmarks"


class NotHere(Exception):
    """This engine can not be made on this machine. The message says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One that takes the topic: how it is started, and under which group it says how far it is.

    `events_max` bounds what a slow one is given of each round; `topics` are those it writes to.
    """

    name: str
    says: str
    group: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    events_max: int = sys.maxsize
    start_seconds: float = 120.0
    is_rescore: bool = False


def rescore(here: World) -> Engine:
    """The worker, as it is shipped."""
    return Engine(
        "rescore",
        "every score, exactly once, rows in Redis",
        here.settings.app,
        (sys.executable, "-m", "streams", "worker"),
        start_seconds=300.0,
        is_rescore=True,
    )


def bare_pipe(here: World, topic: str, users: int) -> Engine:
    """The least that the protocol costs from Python."""
    script = PROGRAMS / "bare_pipe.py"
    if not script.is_file():
        raise NotHere(f"{script} is not there: run this from a checkout of the project")
    arguments = (here.bootstrap_servers, here.redis_url, topic, str(here.partitions), "bare-pipe", str(users))
    return Engine(
        "bare pipe",
        "no thinking: consume, decode, MGET, one transaction, MSET",
        "bare-pipe",
        (sys.executable, str(script), *arguments),
        topics=("bare-images", "bare-changes"),
    )


Maker = Callable[[World, str, int, Path], list[Engine]]
"""Makes the engines of one kind for a topic and so many customers; what is kept goes to the folder. Raises NotHere."""

PEERS: dict[str, Maker] = {}
"""By the name `--peers` knows it by."""
