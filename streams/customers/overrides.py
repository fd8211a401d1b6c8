"""What a person may fix a score at: text to number, or words that say what is possible. Pure."""

from __future__ import annotations

from schemas.kinds import SCORE_NAMES, SEGMENT_NAMES, Score
from state.fold import OVERRIDE_MAX, is_possible

OVERRIDABLE = tuple(SCORE_NAMES[score] for score in Score if OVERRIDE_MAX[score] > 0)
"""Scores that a person may fix; profiles are not among them."""


def value_of(score: str, text: str) -> float:
    """The number that a score is fixed at: from a number, or from the name of a segment.

    Raises ValueError with the values that are possible. A worker takes every value that this returns.

    >>> value_of("status", "3.5"), value_of("segment", "very_high"), value_of("rfm", "545")
    (3.5, 5.0, 545.0)
    >>> value_of("status", "7")
    Traceback (most recent call last):
    ...
    ValueError: status can be fixed at a number from 0 to 5, not at '7'
    """
    if score not in OVERRIDABLE:
        raise ValueError(f"{score} cannot be fixed; {', '.join(OVERRIDABLE)} can")
    code = SCORE_NAMES.index(score)
    if score == "segment" and text in SEGMENT_NAMES:
        return float(SEGMENT_NAMES.index(text))
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    possible = is_possible(code, number)  # False for what is not finite
    if score == "rfm" and possible:
        possible = number == 0 or (number >= 111 and set(f"{number:.0f}") <= set("12345"))
    if not possible:
        raise ValueError(f"{score} can be fixed at {_possible(score)}, not at {text!r}")
    return number


def _possible(score: str) -> str:
    if score == "segment":
        return f"one of {', '.join(SEGMENT_NAMES)}"
    if score == "rfm":
        return "three digits from 1 to 5, such as 545, or 0 for none"
    if score == "class":
        return "a whole number from 1 to 6, or 0 for none"
    return f"a number from 0 to {OVERRIDE_MAX[SCORE_NAMES.index(score)]:g}"
