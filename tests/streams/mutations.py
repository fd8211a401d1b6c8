"""Mutated JSON bodies: valid ones in which one thing is wrong, or many. Seeded; the text is what a publisher sends."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple


class Raw(NamedTuple):
    """A piece of JSON text, right or wrong, as it is."""

    text: str


class Twice(NamedTuple):
    """An object in which a key stands twice."""

    fields: dict[str, Any]
    name: str


Path = tuple[Any, ...]

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 7, 1e-320, 5e-324, -5e-324, 1e-9, 0.5, 1.0, 1e6, 1e15, 1e18, 1e300, 1e308, -1e308, 2**31, 2**53,
    2**62, 2**63 - 1, -(2**63), 90.5, 90.0, -0.0,
)  # fmt: skip
RAWS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 5_000, "1" + "0" * 400, "01", "+1", ".5", "nul", "")
TEXTS = (
    "", " ", "x", "90", "true", "null", "\u0000", "\ud800", "ü" * 300, "x" * 5_000, "a\x1b[2Jb", "[/red]", "../../etc",
    "Europe/Prague", "EUR", "usd", "formula-1", "steady", "credit", "\n",
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [1], {"a": 1}, [[]], {"": None}, [None] * 3)


def dumped(value: Any) -> str:
    """JSON text of a value that may hold what JSON does not."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Twice):
        pairs = [*value.fields.items(), (value.name, value.fields[value.name])]
        return "{" + ", ".join(f"{json.dumps(k)}: {dumped(v)}" for k, v in pairs) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {dumped(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(dumped, value)) + "]"
    return json.dumps(value)


def paths(value: Any, at: Path = ()) -> list[Path]:
    """Every place in a value, itself first; of long lists a few."""
    found = [at]
    if isinstance(value, dict):
        for name, inner in value.items():
            found += paths(inner, (*at, name))
    elif isinstance(value, list):
        places = range(len(value)) if len(value) < 8 else (0, 1, len(value) // 2, len(value) - 1)
        for i in places:
            found += paths(value[i], (*at, i))
    return found


def replaced(value: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """The value with one place changed."""
    if not path:
        return change(value)
    step, *rest = path
    if isinstance(value, dict):
        return {**value, step: replaced(value[step], tuple(rest), change)}
    return [replaced(inner, tuple(rest), change) if i == step else inner for i, inner in enumerate(value)]


def removed(value: Any, path: Path) -> Any:
    """The value without one place."""
    *before, last = path

    def without(holder: Any) -> Any:
        if isinstance(holder, dict):
            return {name: inner for name, inner in holder.items() if name != last}
        return [inner for i, inner in enumerate(holder) if i != last]

    return replaced(value, tuple(before), without)


def junk(rng: random.Random) -> Any:
    """Something that is probably wrong wherever it stands."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return Raw(rng.choice(RAWS))
    if kind == 2:
        return rng.choice(TEXTS)
    if kind == 3:
        return rng.choice(OTHERS)
    return rng.uniform(-10, 10) * 10 ** rng.uniform(-12, 12)


def scaled(rng: random.Random, value: Any) -> Any:
    """A number of the same kind and another size; anything else as junk."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return junk(rng)
    factor = rng.choice([-1, 0, 0.5, 0.999999, 1.000001, 2, 10, 100, 1e3, 1e6, 1e12, 1e100])
    return int(value * factor) if isinstance(value, int) and factor >= 1 and factor <= 1e6 else value * factor


def everywhere(rng: random.Random, value: Any) -> Any:
    """A list of which every item is the same other one."""
    item = rng.choice(NUMBERS)
    return [item] * len(value) if isinstance(value, list) else item


def mutated(rng: random.Random, body: Any) -> str:
    """The body with something wrong, as text."""
    value, twice = body, rng.random() < 0.15
    for _ in range(1 + twice):
        path = rng.choice(paths(value))
        kind = rng.randrange(9)
        if kind == 0 and path:
            value = removed(value, path)
        elif kind == 1:
            value = replaced(value, path, lambda inner: scaled(rng, inner))
        elif kind == 2:
            value = replaced(value, path, lambda inner: [inner])
        elif kind == 3:
            value = replaced(value, path, lambda inner: {"a": inner})
        elif kind == 4:
            value = replaced(value, path, lambda inner: longer(rng, inner))
        elif kind == 5:
            value = replaced(value, path, lambda inner: everywhere(rng, inner))
        elif kind == 6 and isinstance(value, dict) and value:
            value = {**value, rng.choice(["x", "", "valeu_step", "__class__", "ü", "effective_at"]): junk(rng)}
        else:
            value = replaced(value, path, lambda _: junk(rng))
    text = dumped(value)
    if rng.random() < 0.06:
        text = broken(rng, text, value)
    return text


def longer(rng: random.Random, value: Any) -> Any:
    """A list or text of another length."""
    times = rng.choice([0, 2, 3, 50])
    return value * times if isinstance(value, list | str) else junk(rng)


def broken(rng: random.Random, text: str, value: Any) -> str:
    """Text that is wrong as a whole: cut, nested without end, a key twice."""
    kind = rng.randrange(4)
    if kind == 0:
        return text[: rng.randrange(len(text) + 1)]
    if kind == 1:
        return "[" * 100_000
    if kind == 2 and isinstance(value, dict) and value:
        return dumped(Twice(value, rng.choice(list(value))))
    return text + rng.choice(["x", "}", "\x00"])
