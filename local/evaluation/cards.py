"""All model cards and the page's figures again: `python -m local.evaluation.cards FOLDER [SET ...] [--in-process]`.

Each set of the folder (or those named) goes through `rescore evaluate`, on an embedded Kafka and Valkey or, to the same
figures, in process; its card is written to docs/cards, its figures to docs/cards/figures.json. Sets that are not found
keep the card they have. Takes some ten minutes for all of them, in process three.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs" / "cards"
FIGURES = DOCS / "figures.json"


class Part(NamedTuple):
    """A set, the folder it is looked for in (None: it is made up), and the card it is the ground of (None: none)."""

    dataset: str
    folder: str | None
    card: str | None


PARTS = (
    Part("taiwan", "taiwan", "risk"),
    Part("hmda", "hmda", "acceptance"),
    Part("berka", "berka", None),
    Part("cdnow", "cdnow", "value"),
    Part("complete-journey", "complete_journey", None),
    Part("online-retail", "online_retail", None),
    Part("home-insurance", None, "home_insurance"),
    Part("life-insurance", None, "life_insurance"),
)
KEPT = ("dataset", "rows", "positives", "customers", "examples", "figures", "formulas_auc", "halves", "differences",
        "expected_days_differences",
        "coverage", "truth_error", "stability_index")  # fmt: skip
DIGITS = 4


def command_of(part: Part, data: Path, figures: Path, options: Sequence[str] = ()) -> list[str] | None:
    """The command line that judges a set; None where its data are not there."""
    path = [] if part.folder is None else [str(data / part.folder)]
    if path and not (data / str(part.folder)).exists():
        return None
    card = ["--card", str(DOCS / f"{part.card}.md")] if part.card else []
    return [sys.executable, "-m", "streams", "evaluate", part.dataset, *path, *options, "--json", str(figures), *card]


def rounded(value: object) -> object:
    """Figures to four decimals: what a page shows, and no more than what a run on another machine would give again."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def main(data: Path, only: Sequence[str], options: Sequence[str]) -> None:
    """Judge the sets that are there (all, or those named) and write what was found."""
    found = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    DOCS.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        made = DOCS / f".{part.dataset}.json"
        command = command_of(part, data, made, options)
        if command is None or (only and part.dataset not in only):
            print(f"{part.dataset}: left as it is", file=sys.stderr)
            continue
        subprocess.run(command, check=True)
        report = json.loads(made.read_text("utf-8"))
        made.unlink()
        found[part.dataset] = rounded({name: report[name] for name in KEPT if name in report})
        FIGURES.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    given = sys.argv[2:]
    main(Path(sys.argv[1]), [one for one in given if one[0] != "-"], [one for one in given if one[0] == "-"])
