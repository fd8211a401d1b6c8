"""`python -m tests.faults`: play the matrix, show it, and write docs/faults.md.

python -m tests.faults                   # all of it, some 15 minutes on an idle machine
python -m tests.faults --only store      # rows whose name begins so: these are written anew, the others stay
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console

from tests.faults.play import Played, play
from tests.faults.report import page, table
from tests.faults.rows import ROWS
from tests.faults.stage import broker

DOCS = Path(__file__).parents[2] / "docs" / "faults.md"
KNOWN = DOCS.with_suffix(".json")


def main() -> int:
    """The exit code is 1 where something was lost, doubled, wrong or out of order, or a row could not be played."""
    given = _arguments()
    chosen = [row for name, row in ROWS.items() if not given.only or any(name.startswith(o) for o in given.only)]
    chosen = [row for row in chosen if row.quick or not given.quick]
    console = Console(stderr=True)
    done: list[Played] = []
    with broker() as kafka:
        for number, row in enumerate(chosen, 1):
            began = time.monotonic()
            console.print(f"[{number}/{len(chosen)}] {row.name}: {row.fault} ...", markup=False, highlight=False)
            played = play(row, kafka, readable=given.readable)
            done.append(played)
            seconds = time.monotonic() - began
            told = "good" if played.good else played.failure or "; ".join(played.verdict.words)
            console.print(f"    {seconds:.0f} s, recovered in {played.recovered_seconds} s: {told}", markup=False)
            for note in played.notes:
                console.print(f"    {note}", markup=False)
            if not given.keep:
                _write_docs(played)
    Console().print(table(done))
    if given.json:
        given.json.write_text(json.dumps([played.as_json() for played in done], indent=2), "utf-8")
    return 0 if all(played.good for played in done) else 1


def _write_docs(played: Played) -> None:
    """A row that was played takes the place of what was known of it; the page is made from all."""
    known = json.loads(KNOWN.read_text("utf-8")) if KNOWN.exists() else {}
    known[played.name] = played.as_json()
    known = {name: known[name] for name in ROWS if name in known}
    KNOWN.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    told = [fields | {"fault": ROWS[name].fault, "how": ROWS[name].how} for name, fields in known.items()]
    DOCS.write_text(page([Played.of(fields) for fields in told]), "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=main.__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="rows whose name begins so; repeatable")
    parser.add_argument("--quick", action="store_true", help="the third of the rows that `make test` plays")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found to a file too")
    parser.add_argument("--keep", action="store_true", help="leave docs/faults.md and .json as they are")
    parser.add_argument("--readable", action="store_true", help="recount in plain Python alone, 1 ms an event")
    parser.add_argument("--list", action="store_true", help="name the rows, play nothing")
    given = parser.parse_args()
    if given.list:
        for name, row in ROWS.items():
            print(f"{name:24} {row.fault}")
        sys.exit(0)
    return given


if __name__ == "__main__":
    sys.exit(main())
