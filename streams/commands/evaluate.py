"""`rescore evaluate`: what the scores are worth on real data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.common import Exit, console, fail, guarded, print_json

if TYPE_CHECKING:
    from local.evaluation.dataset import Labelled
    from local.evaluation.report import Report
    from local.evaluation.value_report import ValueReport

LABELLED = ("taiwan", "hmda", "berka", "csv")
HISTORIES = ("cdnow", "online-retail", "complete-journey")


@guarded
def evaluate(
    dataset: Annotated[str, typer.Argument(help=f"Which data set: {', '.join((*LABELLED, *HISTORIES))}.")],
    path: Annotated[Path, typer.Argument(help="Its file or folder; any part of the set.")],
    mapping: Annotated[
        Path | None, typer.Option(help="For csv: a TOML file that says what the columns mean.", metavar="FILE")
    ] = None,
    json_path: Annotated[
        str | None,
        typer.Option("--json", help="Write all figures and curves here; - is standard output.", metavar="FILE"),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Write ROC, calibration, learning curve and lift here.", metavar="FOLDER")
    ] = None,
    card_path: Annotated[Path | None, typer.Option("--card", help="Write a model card here.", metavar="FILE")] = None,
    with_challengers: Annotated[
        bool, typer.Option("--challengers", help="River's own models on the same rows too; the forest takes minutes.")
    ] = False,
) -> None:
    """Judge a score on real data: one pass, predict before learn, with batch references on the same rows.

    Needs the packages of `pip install rescore[evaluate]`.

    Example: rescore evaluate taiwan credit_card_default.csv --card card.md
    """
    from local.evaluation.reference import missing_libraries
    from local.evaluation.report import evaluate as run

    if missing := missing_libraries():
        fail(f"evaluation needs packages that are not there: {', '.join(missing)}", "pip install 'rescore[evaluate]'")
    report: Report | ValueReport
    if dataset in HISTORIES:
        from local.evaluation.purchases import LOADERS
        from local.evaluation.value_report import evaluate_value

        report = evaluate_value(LOADERS[dataset](path), _say)
    else:
        report = run(_load(dataset, path, mapping), with_challengers=with_challengers, say=_say)
    if json_path == "-":
        print_json(finite(report.as_json()))
    else:
        _show(report)
    if json_path not in (None, "-"):
        Path(str(json_path)).write_text(json.dumps(finite(report.as_json()), indent=1) + "\n", "utf-8")
    if card_path is not None:
        from local.evaluation.card import card

        card_path.parent.mkdir(parents=True, exist_ok=True)
        card_path.write_text(card(report), "utf-8")
    if pictures is not None:
        from local.evaluation.pictures import draw

        _say("wrote " + ", ".join(str(drawn) for drawn in draw(report, pictures)))


def finite(value: Any) -> Any:
    """JSON knows no NaN: a figure that does not exist is null.

    >>> finite({"auc": float("nan"), "rows": [1, 2.5]})
    {'auc': None, 'rows': [1, 2.5]}
    """
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _load(dataset: str, path: Path, mapping: Path | None) -> Labelled:
    from local.evaluation import berka, hmda, mapped, taiwan

    if dataset == "csv":
        if mapping is None:
            fail(
                "a CSV needs a mapping",
                "--mapping FILE says what its columns mean; docs/evaluation.md shows one",
                Exit.USAGE,
            )
        return mapped.load(path, mapping)
    loaders = {"taiwan": taiwan.load, "hmda": hmda.load, "berka": berka.load}
    if dataset not in loaders:
        fail(f"no data set {dataset!r}", f"there are {', '.join((*LABELLED, *HISTORIES))}", Exit.USAGE)
    return loaders[dataset](path)


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _show(report: Report | ValueReport) -> None:
    from rich.table import Table

    table = Table(title=report.heading, title_justify="left")
    table.add_column("model")
    heads = list(next(iter(report.figures.values())))
    for head in heads:
        table.add_column(head.replace("_", " "), justify="right")
    for name, figures in report.figures.items():
        table.add_row(name, *(f"{figures[head]:.3f}" for head in heads))
    console().print(table)
    for note in report.notes():
        console().print(note)
