"""`python -m tests.crash`: write docs/faults-protections.md, the table of what each protection is good for."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from rich.progress import track

from tests.crash.protections import PROTECTIONS, Protection, caught, wrong_seeds

PAGE = Path(__file__).parents[2] / "docs" / "faults-protections.md"
INTRODUCTION = """\
# What each protection is good for

Made by `make faults-table`. Each protection is switched off in the text of the program; the test named must fail then,
and pass while it is there (`tests/crash/test_protections.py` holds both). The last column says in how many of {seeds}
seeds of the simulation something goes wrong without it: what is rare there needs a test of its own.

| protection | where it lives | what goes wrong without it | the test that notices | seeds |
|---|---|---|---|---|
"""


def main() -> None:
    """Switch everything off in turn, and write down what happened."""
    options = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    options.add_argument(
        "--seeds", type=int, default=100, help="seeds of the simulation for each (default: %(default)s)"
    )
    seeds = range(1, 1 + options.parse_args().seeds)
    rows = [row(protection, seeds) for protection in track(PROTECTIONS, "protections", transient=True)]
    PAGE.write_text(INTRODUCTION.format(seeds=len(seeds)) + "".join(rows), "utf-8")
    print(f"{PAGE.name}: {len(rows)} protections")


def row(protection: Protection, seeds: range) -> str:
    """One line of the table. Raises SystemExit where nothing notices."""
    with pytest.MonkeyPatch.context() as patch:
        protection.switch_off(patch)
        named = protection.notices is not None and caught(protection.notices, *protection.arguments)
        wrong = len(list(wrong_seeds(seeds)))
    if not named and not wrong:
        raise SystemExit(f"nothing notices that this is off: {protection.name}")
    cells = (protection.name, protection.where, protection.without, f"`{protection.test}`", str(wrong))
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    main()
