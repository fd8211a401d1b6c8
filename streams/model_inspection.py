"""What a learner has written down about a model, in words and tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from streams.learning.monitoring import RunningError
from streams.learning.value_learner import LEARNERS
from streams.publish import text_of_ms


def versions_of(remembered: Mapping[str, Any]) -> list[str]:
    """Everything that can be promoted or gone back to."""
    return [*LEARNERS, *(one["version"] for one in remembered["approved"])]


def summary(remembered: Mapping[str, Any]) -> dict[str, Any]:
    """The models of `rescore models list`."""
    rows = [_approved_row(one) for one in remembered["approved"]]
    rows[-1]["role"] = "champion"
    for name in LEARNERS:
        error = RunningError(**remembered["errors"][name])
        moves = remembered.get("shadow", {}).get(name)
        rows.append({"version": name, "role": "challenger", "adopted": None, **_error(error), "would_move": moves})
    until_ms = remembered["quarantine_until_ms"]
    return {
        "model": "value",
        "champion": remembered["approved"][-1]["version"],
        "learned_until": text_of_ms(remembered["learned_until_ms"]),
        "frozen": remembered["frozen"],
        "quarantine_until": None if until_ms is None else text_of_ms(until_ms),
        "stability_index": remembered["stability"],
        "refused_examples": remembered["refused"],
        "versions": rows,
    }


def details(remembered: Mapping[str, Any], version: str) -> dict[str, Any]:
    """One version, None where it is not kept, and the timeline (of that version where one is named)."""
    found = next((row for row in summary(remembered)["versions"] if row["version"] == version), None)
    names = ("at", "what", "version", "who", "why")
    lines = [dict(zip(names, (text_of_ms(line[0]), *line[1:]), strict=True)) for line in remembered["timeline"]]
    shown = [line for line in lines if not version or line["version"] == version or version in line["why"]]
    return {"version": found, "timeline": shown}


def timeline_lines(timeline: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each thing that happened."""
    for line in timeline:
        yield f"{line['at']}  {line['what']:<11} {line['version']}  {line['why']}  [{line['who']}]"


def as_table(said: Mapping[str, Any]) -> Table:
    """The summary for a person."""
    state = "frozen" if said["frozen"] else f"in quarantine until {said['quarantine_until']}"
    calm = not said["frozen"] and said["quarantine_until"] is None
    title = f"{said['model']}: learned until {said['learned_until']}" + ("" if calm else f", {state}")
    table = Table(title=title, title_justify="left")
    for column in ("version", "role", "off by (ln)", "examples", "in force from", "would move"):
        table.add_column(column, justify="right" if column in ("off by (ln)", "examples") else "left")
    for row in said["versions"]:
        moves = row["would_move"]
        words = "" if not moves else f"{moves['up']:,} up, {moves['down']:,} down of {moves['of']:,}"
        rmse = "-" if row["rmse"] is None else f"{row['rmse']:.4f}"
        table.add_row(row["version"], row["role"], rmse, f"{row['examples']:,}", row["adopted"] or "-", words)
    return table


def _approved_row(one: Mapping[str, Any]) -> dict[str, Any]:
    adopted = text_of_ms(one["adopted_ms"]) if one["adopted_ms"] > 0 else None
    error = _error(RunningError(**one["error"]))
    return {"version": one["version"], "role": "approved", "adopted": adopted, **error, "would_move": None}


def _error(error: RunningError) -> dict[str, Any]:
    return {"rmse": round(error.rmse, 6) if error.examples else None, "examples": error.examples}
