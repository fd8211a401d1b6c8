"""The tables of docs/versions.md, from the schemas: every field with its type, bounds, default and meaning.

    python -m streams.versions.schema.page docs/versions.md

writes them between the markers of the page. A test holds that the page is what this writes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streams.versions.schema.base import MOMENT_MS_MAX, Body
from streams.versions.schema.models import AdditiveBody, ChallengerBody, FeatureBody, ParametersBody, SpecBody
from streams.versions.schema.policies import DecisionBody, LearningBody, PolicyBody
from streams.versions.schema.profiles import ProfileBody, TriggerBody
from streams.versions.schema.records import ConfigFields, LearnedFields, RateFields
from streams.versions.schema.weights import TextBody, WeightsBody

PAGES: dict[str, type[Body]] = {
    "config": ConfigFields,
    "policy": PolicyBody,
    "learning": LearningBody,
    "decision": DecisionBody,
    "spec": SpecBody,
    "feature": FeatureBody,
    "challenger": ChallengerBody,
    "profile": ProfileBody,
    "trigger": TriggerBody,
    "text": TextBody,
    "learned": LearnedFields,
    "weights": WeightsBody,
    "additive": AdditiveBody,
    "parameters": ParametersBody,
    "rate": RateFields,
}
"""Schemas by the name of their markers."""

LONG_MS = 2**53
"""Bounds beyond are those of the calendar, and told in words."""


def table(schema: type[Body]) -> str:
    """The table of a schema in Markdown.

    >>> print(table(RateFields).splitlines()[-1])
    | `rate` | number above 0 below 1e+12 | required | units of base_currency for one of currency |
    """
    described = schema.model_json_schema()
    definitions = described.get("$defs", {})
    lines = ["| field | type and bounds | default | what it is |", "|---|---|---|---|"]
    for name, field in described["properties"].items():
        default = _default(field["default"]) if "default" in field else "required"
        kind = _kind(field, definitions)
        lines.append(f"| `{name}` | {kind} | {default} | {field.get('description', '')} |")
    return "\n".join(lines)


def _default(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, int) and abs(value) > LONG_MS:
        return "the beginning of time"
    return f"`{json.dumps(value)}`"


def _kind(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return f"object: {_short(field['$ref'])}"
    if branches := field.get("anyOf") or field.get("oneOf"):
        kinds = [_kind(branch, definitions) for branch in branches if branch.get("type") != "null"]
        return " or ".join(kinds)
    if "const" in field or "enum" in field:
        return " or ".join(f"`{one}`" if one != "" else "empty" for one in field.get("enum", [field.get("const")]))
    kind = _KINDS[str(field["type"])]
    if field["type"] == "array":
        return _list(field, definitions)
    if field["type"] == "object":
        patterns: Mapping[str, Any] = field.get("patternProperties", {})
        inner: Mapping[str, Any] = field.get("additionalProperties") or next(iter(patterns.values()), {})
        return f"object of {_kind(inner, definitions)}{_count(field, 'Properties')}"
    return kind + _bounds(field)


def _list(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    inner = field.get("items") or {}
    if prefix := field.get("prefixItems"):
        return "list of " + ", ".join(_kind(one, definitions) for one in prefix)
    items = re.sub(r"\bnumber\b", "numbers", _kind(inner, definitions)) if inner else "anything"
    return f"list of {items}{_count(field, 'Items')}"


def _count(field: Mapping[str, Any], what: str) -> str:
    least, most = field.get(f"min{what}"), field.get(f"max{what}")
    if least is not None and least == most:
        return f", {least:,} of them"
    parts = [f"at least {least:,}"] if least else []
    parts += [f"at most {most:,}"] if most is not None else []
    return f", {' and '.join(parts)} of them" if parts else ""


def _bounds(field: Mapping[str, Any]) -> str:
    least, most = field.get("minLength"), field.get("maxLength")
    if most is not None:
        return f" of {least:,} to {most:,} characters" if least else f" of at most {most:,} characters"
    if least:
        return " that is not empty"
    limits = {key: field[key] for key in _BOUNDS if abs(field.get(key, LONG_MS + 1)) <= LONG_MS}
    words = [f"{_BOUNDS[key]} {_time(limit) if _is_time(field) else _limit(limit)}" for key, limit in limits.items()]
    return f" {' '.join(words)}" if words else ""


def _is_time(field: Mapping[str, Any]) -> bool:
    return field.get("exclusiveMaximum") == MOMENT_MS_MAX


def _time(_limit_ms: float) -> str:
    return "the year 2200, in milliseconds since 1970"


def _limit(limit: float) -> str:
    return f"{int(limit):,}" if limit == int(limit) and abs(limit) < 1e12 else f"{limit:g}"


def _short(reference: str) -> str:
    return reference.rpartition("/")[2].removesuffix("Body").lower()


_KINDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
}
_BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "exclusiveMaximum": "below",
}


def written(page: str) -> str:
    """The page with its tables made again. Raises KeyError for a marker of no schema."""

    def filled(found: re.Match[str]) -> str:
        return f"<!-- schema: {found[1]} -->\n{table(PAGES[found[1]])}\n<!-- end -->"

    return re.sub(r"<!-- schema: (\w+) -->\n.*?<!-- end -->", filled, page, flags=re.DOTALL)


def main(path: Path) -> None:
    """Write the tables of a page."""
    path.write_text(written(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
