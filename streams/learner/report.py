"""What a learner has written down about its models, in words and tables. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.time_text import text_of_ms
from streams.learner.checkpoint import CHECKPOINT, CREDIT, MODEL, TEXT_MODEL, Memory, checked_checkpoint
from streams.learning.chances import RunningChances, RunningDifference
from streams.learning.fairness import FairnessTable
from streams.learning.monitoring import RunningError
from streams.learning.rounds import VALUE
from streams.learning.text_learner import LEARNER, TEXT, RunningGuesses
from streams.learning.value_learner import LEARNERS
from streams.log.protocol import HaltPartition
from streams.log.unreadable import UnreadableRecord
from streams.scoring.models.specs import ADDITIVE
from streams.terminal import table

if TYPE_CHECKING:
    from rich.table import Table


class Remembered(NamedTuple):
    """The records of the learner's memory that say how models stand, by model; value is always there."""

    learned_until_ms: int
    models: Mapping[str, Mapping[str, Any]]

    def challengers(self, name: str) -> list[str]:
        """Who learns beside the champion of a model."""
        return list(LEARNERS) if name == VALUE else list(self.models[name]["lately"])

    def kind(self, name: str, challenger: str) -> str:
        """What a challenger is: additive, tree or forest."""
        said = self.models[name].get("challengers", {}).get(challenger, [])
        return str(said[3]) if len(said) > 3 else ADDITIVE

    def versions(self, name: str) -> list[str]:
        """Everything that can be promoted or gone back to."""
        adoptable = [one for one in self.challengers(name) if self.kind(name, one) == ADDITIVE]
        return [*adoptable, *(one["version"] for one in self.models[name]["approved"])]


def remembered_of(memory: Memory) -> Remembered:
    """What a learner's memory says of its models. Raises UnreadableRecord for a record of another shape, and names it.

    Each model is shown once for nothing, so that no shape surprises whoever shows it later.
    """
    names = {VALUE: MODEL} | ({TEXT: TEXT_MODEL} if TEXT_MODEL in memory else {})
    models: dict[str, Mapping[str, Any]] = {}
    try:
        with memory.told():
            keys = sorted(key for key in memory if key.startswith(CREDIT) and b"/" not in key[len(CREDIT) :])
            names |= {key[len(CREDIT) :].decode(): key for key in keys}
            done_ms = int(checked_checkpoint(memory[CHECKPOINT])["done_ms"])
            for name, key in names.items():
                one = Remembered(done_ms, {name: memory[key]})
                for _ in (*as_tables(summary(one)), *more_lines(details(one, "", name)), *one.versions(name)):
                    pass
                models[name] = one.models[name]
    except HaltPartition as unreadable:
        raise UnreadableRecord(str(unreadable)) from unreadable
    return Remembered(done_ms, models)


def summary(remembered: Remembered) -> dict[str, Any]:
    """The models of `rescore models list`."""
    models = {
        name: _value(body) if name == VALUE else _text(body) if name == TEXT else _credit(remembered, name)
        for name, body in remembered.models.items()
    }
    return {"learned_until": text_of_ms(remembered.learned_until_ms), "models": models}


def _value(body: Mapping[str, Any]) -> dict[str, Any]:
    rows = [_row(one, _error(RunningError(**one["error"]))) for one in body["approved"]]
    for name in LEARNERS:
        moves = body.get("shadow", {}).get(name)
        rows.append(_challenger(name, moves, _error(RunningError(**body["errors"][name]))))
    return _state(body, rows) | {"refused_examples": body["refused"]}


def _text(body: Mapping[str, Any]) -> dict[str, Any]:
    rows = [_row(one, _guesses(one["lately"])) for one in body["approved"]]
    rows.append(_challenger(LEARNER, None, _guesses(body["lately"][LEARNER])))
    said = {"quarantine_until_ms": None, "stability": None, "frozen": body["frozen"]}
    return _state(said, rows) | {"words": body["words"], "waiting_words": body["waiting"]}


def _guesses(numbers: Sequence[float]) -> dict[str, Any]:
    """Shares of purchases: guessed, right of those, and right less wrong of all."""
    found = RunningGuesses(*numbers)  # type: ignore[arg-type]
    if found.weight <= 0:
        return {"guessed": None, "right": None, "worth": None, "examples": 0}
    right = found.right / found.guessed if found.guessed > 0 else None
    shares = {"guessed": found.guessed / found.weight, "right": right, "worth": found.worth}
    told = {name: None if share is None else round(share, 6) for name, share in shares.items()}
    return {**told, "examples": found.examples}


def _credit(remembered: Remembered, name: str) -> dict[str, Any]:
    body = remembered.models[name]
    rows = [_row(one, _figures(RunningChances.of(one["lately"]))) for one in body["approved"]]
    for challenger in remembered.challengers(name):
        figures = _figures(RunningChances.of(body["lately"][challenger]))
        row = _challenger(challenger, body["shadow"].get(challenger), figures)
        row["role"] = "challenger" if (kind := remembered.kind(name, challenger)) == ADDITIVE else f"shadow {kind}"
        rows.append(row | {"against_champion": _against(body.get("against", {}).get(challenger))})
    envelope = body["envelope"]
    return _state(body, rows) | {
        "cases": body["counts"],
        "waiting": body["waiting"],
        "envelope": None if envelope is None else {"approved_by": envelope[2], "reason": envelope[3]},
        "envelope_now": body["envelope_now"],
    }


def _against(numbers: Sequence[float] | None) -> dict[str, Any] | None:
    """Log loss less the champion's on the same cases: below 0 is better, where it is sure by two standard errors."""
    found = RunningDifference(*(numbers or ()))
    if found.weight <= 0:
        return None
    sure = abs(found.mean) > 2.0 * found.error
    words = "no worse, no better" if not sure else "better" if found.mean < 0 else "worse"
    return {"log_loss": round(found.mean, 6), "error": round(found.error, 6), "is": words}


def _state(body: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    until_ms, approved = body["quarantine_until_ms"], [row for row in rows if row["role"] == "approved"]
    if approved:
        approved[-1]["role"] = "champion"
    return {
        "champion": approved[-1]["version"] if approved else None,
        "frozen": body["frozen"],
        "quarantine_until": None if until_ms is None else text_of_ms(until_ms),
        "stability_index": body["stability"],
        "versions": rows,
    }


def details(remembered: Remembered, version: str, name: str = "") -> dict[str, Any]:
    """One version, None where it is not kept, what else is known of its model, and the timeline.

    The timeline is that of the version where one is named, of the model where that is, else of all models.
    """
    said = summary(remembered)["models"]
    chosen = [model for model in said if name in ("", model)]
    found = [(model, row) for model in chosen for row in said[model]["versions"] if row["version"] == version]
    if version and found:
        chosen = [found[0][0]]
    lines = [
        {"model": model, "at": text_of_ms(line[0]), "what": line[1], "version": line[2], "who": line[3], "why": line[4]}
        for model in chosen
        for line in remembered.models[model]["timeline"]
    ]
    shown = [line for line in lines if not version or line["version"] == version or version in line["why"]]
    more: dict[str, Any] = {}
    if len(chosen) == 1 and chosen[0] not in (VALUE, TEXT):
        body = remembered.models[chosen[0]]
        lately = {one["version"]: one["lately"] for one in body["approved"]} | body["lately"]
        more = {"model": said[chosen[0]], "fairness": FairnessTable.of(body["fairness"]).table()}
        if version in lately:
            groups = RunningChances.of(lately[version]).calibration()
            more["calibration"] = [group._asdict() for group in groups]
            more["moves"] = (body["shadow"].get(version) or {}).get("moves", [])
    return {
        "version": found[0][1] if found else None,
        "timeline": sorted(shown, key=lambda one: str(one["at"])),
        **more,
    }


def timeline_lines(timeline: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each thing that happened."""
    for line in timeline:
        version = line["version"] if line["version"].startswith(line["model"]) else f"{line['model']} {line['version']}"
        yield f"{line['at']}  {line['what']:<11} {version}  {line['why']}  [{line['who']}]"


def more_lines(said: Mapping[str, Any]) -> Iterator[str]:
    """What `details` knows beside the version: cases, envelope, calibration, fairness."""
    if model := said.get("model"):
        waiting = model["waiting"]
        yield f"cases        {', '.join(f'{n:,} {word}' for word, n in model['cases'].items()) or 'none yet'}"
        yield f"remembered   {waiting['cases']:,} cases, {waiting['bytes']:,} bytes"
        approved = model["envelope"]
        yield "envelope     " + (f"approved by {approved['approved_by']}: {approved['reason']}" if approved else "none")
        if model["envelope_now"]:
            yield f"             would let nothing in now: {model['envelope_now']}"
    for before, after, count in said.get("moves", ()):
        yield f"band change  {count:,} people from band {before} of the chance to band {after} (0 is the lowest)"
    for group in said.get("calibration", ()):
        outcomes = f"{group['weight']:,.0f} outcomes"
        yield f"calibration  said {group['said']:.3f}, happened {group['happened']:.3f} ({outcomes})"
    for line in said.get("fairness", ()):
        ratio = "too few" if line["approval_ratio"] is None else f"approval ratio {line['approval_ratio']:.2f}"
        flagged = "  FLAGGED: below 0.80" if line["flagged"] else ""
        yield f"fairness     {line['attribute']} {line['group']}: {line['cases']:,} cases, {ratio}{flagged}"


FIGURES = {
    VALUE: (["RMSE (ln)"], ["rmse"]),
    TEXT: (["coverage", "accuracy", "net accuracy"], ["guessed", "right", "worth"]),
}
CREDIT_FIGURES = (["log loss", "AUC", "calibration error"], ["log_loss", "auc", "calibration_error"])
"""Columns of a model's table, and where their numbers are."""


def as_tables(said: Mapping[str, Any]) -> Iterator[Table]:
    """The summary for a person, a table a model."""
    for name, model in said["models"].items():
        state = "frozen" if model["frozen"] else f"in quarantine until {model['quarantine_until']}"
        calm = not model["frozen"] and model["quarantine_until"] is None
        title = f"{name}: learned until {said['learned_until']}" + ("" if calm else f", {state}")
        figures, keys = FIGURES.get(name, CREDIT_FIGURES)
        shown = table(title=title, lined=True)
        compared = [] if name in FIGURES else ["log loss against champion's"]
        for column in ("version", "role", *figures, "examples", *compared, "in force from", "band changes"):
            shown.add_column(column, justify="right" if column in (*figures, "examples") else "left")
        for row in model["versions"]:
            numbers = ["-" if row[key] is None else f"{row[key]:.4f}" for key in keys]
            moves = _moves(row["would_move"])
            against = [] if name in FIGURES else [_against_words(row.get("against_champion"))]
            examples, adopted = f"{row['examples']:,}", row["adopted"] or "-"
            shown.add_row(row["version"], row["role"], *numbers, examples, *against, adopted, moves)
        yield shown


def _against_words(against: Mapping[str, Any] | None) -> str:
    return "" if against is None else f"{against['log_loss']:+.4f} ± {against['error']:.4f}: {against['is']}"


def _moves(moves: Mapping[str, Any] | None) -> str:
    return "" if not moves else f"{moves['up']:,} up, {moves['down']:,} down of {moves['of']:,}"


def _row(one: Mapping[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    adopted = text_of_ms(one["adopted_ms"]) if one["adopted_ms"] > 0 else None
    return {"version": one["version"], "role": "approved", "adopted": adopted, **figures, "would_move": None}


def _challenger(name: str, moves: Mapping[str, Any] | None, figures: dict[str, Any]) -> dict[str, Any]:
    return {"version": name, "role": "challenger", "adopted": None, **figures, "would_move": moves}


def _error(error: RunningError) -> dict[str, Any]:
    return {"rmse": round(error.rmse, 6) if error.examples else None, "examples": error.examples}


def _figures(lately: RunningChances) -> dict[str, Any]:
    numbers = {"log_loss": lately.log_loss, "auc": lately.auc, "calibration_error": lately.calibration_error}
    told = {name: round(x, 6) if math.isfinite(x) else None for name, x in numbers.items()}
    return {**told, "examples": lately.examples}
