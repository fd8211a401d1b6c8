"""What a loader hands over: rows in the order they became known, and what may and may not be looked at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import RescoreError
from streams.publish.files import BadLine, read_lines
from streams.scoring.models.manifest import Manifest


class UnusableDataset(RescoreError):
    """A data set cannot be evaluated: what is wrong with it, and what to do."""


class Labelled(NamedTuple):
    """A stream of (row, label), in the order in which it is predicted and then learned."""

    title: str
    source: str  # where the data is from, and its licence
    population: str
    label: str  # what True means, in words
    favourable: bool  # whether True is what the person wants
    manifest: Manifest
    packaged: str | None  # a packaged model to start from; None starts from nothing
    rows: Sequence[Mapping[str, Any]]
    labels: NDArray[np.float64]
    protected: Mapping[str, Sequence[str]]  # kept aside for the fairness table, value by row
    excluded: Mapping[str, int]  # rows left out, by reason
    formulas: Mapping[str, NDArray[np.float64]] = {}  # scores that learn nothing, higher means True
    truth: NDArray[np.float64] | None = None  # the log-odds of the label, where the rows are made up


def rows_of(path: Path, columns: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Rows of one CSV, JSON lines or Parquet file, compressed or not, and how many lines are none.

    Raises UnusableDataset where a column is missing.
    """
    rows: list[dict[str, Any]] = []
    bad = 0
    for line in read_lines(path, io.BytesIO()):
        if isinstance(line, BadLine):
            bad += 1
            continue
        if not rows:
            missing = [column for column in columns if column not in line.row]
            if missing:
                raise UnusableDataset(f"{path} has no column {missing[0]!r}; it has {', '.join(line.row)}")
        rows.append(line.row)
    if not rows:
        raise UnusableDataset(f"{path} has no rows")
    return rows, bad


def find(path: Path, *words: str) -> Path:
    """The file: the path itself, or the one in the folder whose name has one of the words."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise UnusableDataset(f"{path} does not exist; give the file or the folder of the data set")
    found = sorted(
        file for file in path.iterdir() if file.is_file() and any(word in file.name.lower() for word in words)
    )
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UnusableDataset(f"{path} should hold one file named like {' or '.join(words)}, it holds {names}")
    return found[0]


def find_all(path: Path, *words: str) -> list[Path]:
    """All files of a folder whose names have one of the words, in the order of their names; none is an error."""
    found = sorted(
        file for file in path.glob("*") if file.is_file() and any(word in file.name.lower() for word in words)
    )
    if not found:
        raise UnusableDataset(f"{path} should be a folder with a file named like {' or '.join(words)}")
    return found
