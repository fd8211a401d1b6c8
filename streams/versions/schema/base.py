"""Strict JSON, strict types, and words: the common part of all schemas of broadcast bodies.

JSON allows what no reader should accept: a key that stands twice, NaN, numbers beyond a double, nesting without end.
Types are pydantic's strict ones: a text is not a number, and an unknown field is an error, because a typo in a policy
must not be ignored. A number without fraction (90.0) counts as a whole number, as JSON does not tell them apart.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from schemas.batch import BEGINNING_MS, DAY_MS
from schemas.errors import RescoreError
from schemas.zones import LAST_DAY

BODY_CHARS_MAX = 4 * 2**20
"""Of a body: what the broadcast topics take (`max.message.bytes`)."""
DEPTH_MAX = 16
DIGITS_MAX = 19
"""Of a whole number: a 64-bit integer has no more."""
SHOWN_CHARS_MAX = 60
ITEMS_SHOWN_MAX = 8
ERRORS_SHOWN = 3

MOMENT_MS_MIN, MOMENT_MS_MAX = BEGINNING_MS, LAST_DAY * DAY_MS
"""Effective times: the calendar of scores ends with 2199, and the packaged versions begin at the lower bound."""

MAGNITUDE_MIN = 1e-12
"""Coefficients nearer to 0 are refused: a quotient of two of them may overflow a double."""


class RefusedBody(RescoreError, ValueError):
    """A broadcast body does not fit its schema. The message names the field, its value, and what it may be."""


class UnknownFormula(RescoreError):
    """A policy names a formula this program does not know: upgrade this program before that policy is due."""


class Body(BaseModel):
    """A JSON object of which every field is known, typed and bounded."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


AnyBody = TypeVar("AnyBody", bound=Body)


def _whole(value: object) -> object:
    return int(value) if type(value) is float and math.isfinite(value) and value == int(value) else value


def _encodable(text: str) -> str:
    """Refuse lone surrogates, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("has a character that UTF-8 cannot encode") from error
    return text


def _not_nearly_zero(number: float) -> float:
    if number != 0.0 and abs(number) < MAGNITUDE_MIN:
        raise ValueError(f"must be 0 or at least {MAGNITUDE_MIN:g} in magnitude")
    return number


WHOLE = BeforeValidator(_whole)
"""Of a whole number: 90.0 is one. It stands behind the bounds: before them, pydantic's description lacks them."""
Text = Annotated[str, AfterValidator(_encodable)]
Name = Annotated[str, AfterValidator(_encodable), Field(min_length=1, max_length=200)]
Moment = Annotated[int, Field(ge=MOMENT_MS_MIN, lt=MOMENT_MS_MAX), WHOLE]
Days = Annotated[int, Field(ge=0, le=36_500), WHOLE]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


NotNearlyZero = AfterValidator(_not_nearly_zero)
"""Of a coefficient: 0, or at least 1e-12 in magnitude."""


def ascending(numbers: Sequence[float], strictly: bool = False) -> bool:
    """Whether numbers never fall (never stay, where `strictly`).

    >>> ascending([1.0, 1.0, 2.0]), ascending([1.0, 1.0], strictly=True)
    (True, False)
    """
    return all(left < right if strictly else left <= right for left, right in pairwise(numbers))


def read_object(text: object, what: str) -> dict[str, Any]:
    """The JSON object of a body. Raises RefusedBody, with `what` it is the body of.

    >>> read_object('{"epoch_ms": 5}', "learning")
    {'epoch_ms': 5}
    >>> read_object('{"a": 1, "a": 2}', "policy")
    Traceback (most recent call last):
        ...
    streams.versions.schema.base.RefusedBody: policy: a appears twice in one object
    """
    if not isinstance(text, str) or len(text) > BODY_CHARS_MAX:
        size = f"has {len(text):,} characters" if isinstance(text, str) else "is missing"
        raise RefusedBody(f"{what}: the body {size}; it must be a JSON object of at most {BODY_CHARS_MAX:,} characters")
    _refuse_nesting(text, what)
    try:
        found = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_double,
            parse_constant=_constant,
        )
    except RefusedBody as error:
        raise RefusedBody(f"{what}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise RefusedBody(f"{what}: the body is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise RefusedBody(f"{what}: the body is {shown(found)}, not an object")
    return cast("dict[str, Any]", found)


_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def _refuse_nesting(text: str, what: str) -> None:
    depth = 0
    for found in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > DEPTH_MAX:
            raise RefusedBody(f"{what}: the body is nested more than {DEPTH_MAX} levels deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise RefusedBody(f"{_name(name)} appears twice in one object")
        made[name] = value
    return made


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX + 1:
        raise RefusedBody(f"{shown_text(text)} is a number of {len(text):,} digits; 64 bits hold at most {DIGITS_MAX}")
    return int(text)


def _double(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise RefusedBody(f"{shown_text(text)} is not a number that 64 bits hold")
    return number


def _constant(text: str) -> float:
    raise RefusedBody(f"{text} is not a JSON number")


def checked(schema: type[AnyBody], fields: Mapping[str, Any], what: str) -> AnyBody:
    """Fields as their schema types them. Raises RefusedBody that names each field that does not fit (three at most)."""
    try:
        return schema.model_validate(dict(fields))
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        told = [_words(mistake, schema) for mistake in mistakes[:ERRORS_SHOWN]]
        if len(mistakes) > ERRORS_SHOWN:
            told.append(f"{len(mistakes) - ERRORS_SHOWN:,} more")
        raise RefusedBody(f"{what}: {'; '.join(told)}") from None


def read_body(schema: type[AnyBody], text: object, what: str) -> AnyBody:
    """A body from its JSON text. Raises RefusedBody."""
    return checked(schema, read_object(text, what), what)


def _words(mistake: Any, schema: type[Body]) -> str:
    """One of pydantic's errors in a sentence that begins with the field."""
    kind, at, given = mistake["type"], _place(mistake["loc"]), mistake["input"]
    limits = mistake.get("ctx", {})
    if kind == "extra_forbidden":
        known = ", ".join(schema.model_fields) if len(mistake["loc"]) == 1 else ""
        return f"there is no field {at}" + (f"; the fields are {known}" if known else "")
    if kind == "missing":
        return f"{at} is missing"
    if kind == "value_error":
        return f"{at} {limits['error']}".strip()
    if kind in ("too_short", "too_long"):
        count = limits["actual_length"]
        bound = limits.get("min_length", limits.get("max_length"))
        least = "at least" if kind == "too_short" else "at most"
        return f"{at} has {'too many' if count is None else f'{count:,}'} items; it must have {least} {bound:,}"
    must = _MUST.get(kind)
    return f"{at} is {shown(given)}; " + (f"it must be {must(limits)}" if must else str(mistake["msg"]).lower())


_MUST: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "string_type": lambda _: "a text",
    "bool_type": lambda _: "true or false",
    "list_type": lambda _: "a list",
    "tuple_type": lambda _: "a list",
    "dict_type": lambda _: "an object",
    "model_type": lambda _: "an object",
    "literal_error": lambda limits: str(limits["expected"]),
    "greater_than": lambda limits: f"above {_number(limits['gt'])}",
    "greater_than_equal": lambda limits: f"at least {_number(limits['ge'])}",
    "less_than": lambda limits: f"below {_number(limits['lt'])}",
    "less_than_equal": lambda limits: f"at most {_number(limits['le'])}",
    "string_too_long": lambda limits: f"at most {limits['max_length']:,} characters",
    "string_too_short": lambda limits: f"at least {limits['min_length']:,} characters",
    "string_pattern_mismatch": lambda limits: f"of the form {limits['pattern']}",
}
"""What a value must be, by the name pydantic gives the error."""


TAG = "@"
"""Begins a step of a path that names a branch of a union and no field."""


def _place(path: tuple[int | str, ...]) -> str:
    """A path in the body as people write it.

    >>> _place(("features", 2, "knots"))
    'features[2].knots'
    """
    text = ""
    for step in path:
        if isinstance(step, str) and step.startswith(TAG):
            continue
        text += f"[{step}]" if isinstance(step, int) else f".{_name(step)}"
    return text.removeprefix(".") or "the body"


def _name(name: str) -> str:
    """The name of a field; one that is no plain word is quoted and cut."""
    return name if re.fullmatch(r"\w{1,60}", name) else shown(name)


def _number(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def printable(text: str) -> str:
    r"""A text on one line, without what a terminal would obey.

    >>> printable("a\tb")
    'a\\tb'
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shown(value: object) -> str:
    """A value as JSON in a line, cut to 60 characters; what a terminal would obey is escaped."""
    if isinstance(value, list | dict) and len(value) > ITEMS_SHOWN_MAX:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,} items"
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return shown_text(text)


def shown_text(text: str) -> str:
    """A text cut to 60 characters."""
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "..."
