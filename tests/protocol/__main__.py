"""`python -m tests.protocol`: walk further than `make test` does; about 1 GB and some minutes for the default."""

from __future__ import annotations

import argparse
import sys
import time

from tests.protocol.model import Budget, Model, explore


def main() -> int:
    """Explore our design; exit code 1 where a promise breaks."""
    options = argparse.ArgumentParser(prog="python -m tests.protocol", description=__doc__)
    options.add_argument("--events", type=int, default=2)
    for name, often in (("rebalances", 2), ("crashes", 1), ("lost-answers", 1), ("rollbacks", 1)):
        options.add_argument(f"--{name}", type=int, default=often)
    chosen = options.parse_args()
    budget = Budget(chosen.rebalances, chosen.crashes, chosen.lost_answers, chosen.rollbacks)
    began = time.monotonic()
    result = explore(Model(events=chosen.events, budget=budget))
    print(f"{result.states:,} states in {time.monotonic() - began:,.0f} s")
    if result.broken is not None:
        print(result.broken.promise, *result.broken.story, sep="\n  ", file=sys.stderr)
    return int(result.broken is not None)


if __name__ == "__main__":
    sys.exit(main())
