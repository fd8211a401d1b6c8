"""What somebody's example says, in numbers and words: whatever cannot be read is absent, never an error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streams.scoring.models.manifest import Feature


def discovered(waiting: Sequence[tuple[Mapping[str, float | str], float]]) -> Iterable[Feature]:
    """A feature for every name the examples have, in the names' order: a category where a value is a word."""
    kinds: dict[str, str] = {}
    for x, _ in waiting:
        for name, value in x.items():
            kinds[name] = "category" if isinstance(value, str) else kinds.get(name, "number")
    return [Feature(name, "category" if kinds[name] == "category" else "number") for name in sorted(kinds)]


def plain(x: Mapping[str, Any]) -> dict[str, float | str]:
    """What an example says, in types JSON has; what is absent or no number or word is left out."""
    said: dict[str, float | str] = {}
    for name, value in x.items():
        if isinstance(value, str):
            said[str(name)] = value
        elif math.isfinite(number := number_of(value)):
            said[str(name)] = number
    return said


def is_number(value: Any) -> bool:
    return not isinstance(value, str) and not math.isnan(number_of(value))


def number_of(value: Any) -> float:
    """A double; NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def word_of(value: Any) -> str | None:
    """A category's value as a word, None where it is absent; 1, 1.0 and True are the same.

    >>> word_of(1.0), word_of("A"), word_of(""), word_of(math.nan)
    ('1', 'A', None, None)
    """
    if isinstance(value, str):
        return value or None
    number = number_of(value)
    if math.isnan(number):
        return None if value is None or isinstance(value, float) else str(value)
    return f"{number:g}"
