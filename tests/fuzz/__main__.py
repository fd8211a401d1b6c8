"""`python -m tests.fuzz`: rounds of almost-right input of every kind against real servers, for as long as you like.

python -m tests.fuzz --minutes 60           # seeds from 1 on, kinds by turns and all together
python -m tests.fuzz --seed 17 --rounds 1   # one round again
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from local.servers.kafka import Kafka
from local.servers.valkey import Valkey
from tests.fuzz.play import KINDS, play


def kinds_of(seed: int) -> tuple[str, ...]:
    """By turns: each disturbance alone beside the values, then all of them together."""
    alone = seed % (len(KINDS) + 1)
    return KINDS if alone >= len(KINDS) else tuple(dict.fromkeys(("values", KINDS[alone])))


def main() -> int:
    """The exit code is 1 where a round failed."""
    given = _arguments()
    began, failed, seed = time.monotonic(), 0, given.seed
    with Kafka.start() as kafka, Valkey.start() as valkey:
        while seed < given.seed + given.rounds and time.monotonic() - began < 60 * given.minutes:
            with tempfile.TemporaryDirectory(prefix="rescore-fuzz-") as folder:
                kinds = tuple(given.kinds) or kinds_of(seed)
                played = play(seed, kinds, given.seconds, kafka.bootstrap_servers, valkey.url, Path(folder))
            print(f"{time.monotonic() - began:6.0f} s  {played.line()}", flush=True)
            for words in (*played.failures, *played.verdict.words):
                print(f"        {words}", flush=True)
            failed += not played.good
            seed += 1
    print(f"{seed - given.seed - failed} rounds good, {failed} failed, seeds {given.seed} to {seed - 1}")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no further round after this long")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--rounds", type=int, default=1_000_000, help="so many rounds at most")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long a round is disturbed")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"these kinds in each round: {', '.join(KINDS)}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
