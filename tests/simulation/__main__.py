"""A long run by hand: `python -m tests.simulation --seeds 100000 --jobs 2`.

It can be stopped and goes on where it was, as long as no source has changed. The first failing seed ends it.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import sys
import time
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.simulation.coverage import SEEDS_FOR_EVERYTHING, Coverage, never_happened, table
from tests.simulation.seeds import how_to_replay, pieces, play_all

ROOT = Path(__file__).parents[2]
STATE = ROOT / "build" / "simulation.json"


def main() -> int:
    """Play seeds; exit code 1 where one fails."""
    options = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    options.add_argument("--seeds", type=int, default=10_000, help="how many seeds (default: %(default)s)")
    options.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    options.add_argument("--anew", action="store_true", help="forget what was played before")
    chosen = options.parse_args()
    first, end = chosen.first, chosen.first + chosen.seeds
    done, seen = (first, Coverage()) if chosen.anew else resumed(first)
    if done > first:
        print(f"Going on at seed {done:,}: the sources are those of the run before.")
    sources, began = fingerprint(), time.monotonic()
    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("seeds", total=chosen.seeds, completed=done - first)
        for verdict in play_all(pieces(done, end), chosen.jobs):
            seen.update(verdict.seen)
            if verdict.wrong:
                progress.stop()
                for seed, wrong in itertools.islice(verdict.wrong.items(), 1):
                    print(f"seed {seed}: {wrong}\nIts story: {how_to_replay(seed)}", file=sys.stderr)
                return 1
            keep(sources, first, verdict.seeds.stop, seen)
            progress.advance(task, len(verdict.seeds))
    print(table(seen))
    print(f"{chosen.seeds:,} seeds, none wrong; {time.monotonic() - began:,.0f} s for {end - done:,} of them")
    missing = never_happened(seen) if chosen.seeds >= SEEDS_FOR_EVERYTHING else []
    if missing:
        print(f"never happened: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


def fingerprint() -> str:
    """Of everything a seed's story depends on."""
    digest = hashlib.sha256()
    for folder in ("schemas", "state", "streams", "tests/simulation"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".avsc", ".json"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def keep(sources: str, first: int, done: int, seen: Coverage) -> None:
    """Note how far the run has come."""
    STATE.parent.mkdir(exist_ok=True)
    STATE.write_text(json.dumps({"sources": sources, "first": first, "done": done, "seen": seen}), "utf-8")


def resumed(first: int) -> tuple[int, Coverage]:
    """How far an earlier run of the same sources came."""
    try:
        kept = json.loads(STATE.read_text("utf-8"))
    except (OSError, ValueError):
        return first, Coverage()
    if (kept["sources"], kept["first"]) != (fingerprint(), first):
        return first, Coverage()
    return kept["done"], Coverage(kept["seen"])


if __name__ == "__main__":
    sys.exit(main())
