"""`rescore evaluate`: what the scores are worth on real data."""

from __future__ import annotations

import json
import math
import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import Exit, fail
from streams.commands.common import guarded, loaded
from streams.terminal import console, echo, error_console, print_json, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.evaluation.dataset import Labelled
    from local.evaluation.journey import Deployment, Terms
    from local.evaluation.report import Report
    from local.evaluation.value_report import ValueReport
    from schemas.known_schemas import Registry

LABELLED = ("taiwan", "hmda", "berka", "csv")
MADE_UP = ("home-insurance", "life-insurance")
HISTORIES = ("cdnow", "online-retail", "complete-journey")
DATASETS = (*LABELLED, *HISTORIES, *MADE_UP)


def _complete(incomplete: str) -> list[str]:
    return [name for name in DATASETS if name.startswith(incomplete)]


@guarded
def evaluate(
    dataset: Annotated[str, typer.Argument(help=f"Which data set: {', '.join(DATASETS)}.", autocompletion=_complete)],
    path: Annotated[
        Path | None, typer.Argument(help="Its file or folder; any part of the set. Made-up sets have none.")
    ] = None,
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
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Worker and learner on twins of Kafka and Redis in this process.")
    ] = False,
) -> None:
    """Evaluate a score on real data, prequentially (predict, then learn), with batch references on the same rows.

    The rows are published to an embedded Kafka, or to the one that RESCORE_KAFKA__BOOTSTRAP_SERVERS names; a worker and
    a learner take them as any history, and what they said is read from the topics. `--in-process` says the same to the
    byte, sooner. Needs the packages of `pip install '.[evaluate]'`, given in the folder of the sources.

    Examples:

      rescore evaluate cdnow CDNOW_sample.txt --pictures pictures/

      rescore evaluate taiwan credit_card_default.csv --card card.md
    """
    from local.evaluation.journey import HISTORIES as HISTORIES_TERMS
    from local.evaluation.reference import missing_libraries
    from local.evaluation.report import evaluate as run
    from local.evaluation.requests import terms_of

    if missing := missing_libraries():
        fail(
            f"evaluation needs packages that are not there: {', '.join(missing)}",
            "pip install '.[evaluate]' in the folder of the sources",
        )
    if path is None and dataset in (*LABELLED, *HISTORIES):
        fail(f"{dataset} needs its file or folder", f"rescore evaluate {dataset} PATH", Exit.USAGE)
    report: Report | ValueReport
    if path is not None and dataset in HISTORIES:
        from local.evaluation.purchases import LOADERS
        from local.evaluation.value_report import evaluate_value

        data = LOADERS[dataset](path)
        with _deployment(in_process, HISTORIES_TERMS) as (deployment, registry), _progress() as told:
            report = evaluate_value(data, deployment, registry, _say, told)
    else:
        rows = _load(dataset, path, mapping)
        with _deployment(in_process, terms_of(rows)) as (deployment, registry), _progress() as told:
            report = run(rows, deployment, registry, with_challengers=with_challengers, say=_say, told=told)
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


def _load(dataset: str, path: Path | None, mapping: Path | None) -> Labelled:
    from local.evaluation import berka, hmda, insured, mapped, taiwan

    if dataset in MADE_UP:
        return insured.load(dataset)
    if path is None or dataset not in LABELLED:
        fail(f"no data set {dataset!r}", f"there are {', '.join(DATASETS)}", Exit.USAGE)
    if dataset == "csv":
        if mapping is None:
            fail(
                "a CSV needs a mapping",
                "--mapping FILE says what its columns mean; docs/evaluation.md shows one",
                Exit.USAGE,
            )
        return mapped.load(path, mapping)
    loaders = {"taiwan": taiwan.load, "hmda": hmda.load, "berka": berka.load}
    return loaders[dataset](path)


@contextmanager
def _deployment(in_process: bool, terms: Terms) -> Iterator[tuple[Deployment, Registry]]:
    """What takes the rows: this process, or workers and a learner on the configured or on embedded servers."""
    from schemas.known_schemas import StaticRegistry

    if in_process:
        from local.evaluation.in_process import InProcess

        yield InProcess(terms), StaticRegistry()
        return
    from local.evaluation.deployment import OnKafka, environment_of
    from streams.commands.demo import servers_of
    from streams.composition.registry import registry_for

    found = loaded()
    folder = Path(tempfile.mkdtemp(prefix="rescore-evaluate-"))
    with ExitStack() as servers:
        kafka, redis_url = servers_of(found, found.settings.data_folder, servers, _say)
        _say(f"Kafka at {kafka}; logs of worker and learner: {folder}")
        made = OnKafka(environment_of(os.environ, kafka, redis_url, terms), folder, terms.declared)
        yield made, registry_for(made.settings)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("events taken"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=error_console(), transient=True, disable=not error_console().is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda taken, of: bar.update(task, completed=taken, total=of)


def _say(words: str) -> None:
    echo(words, err=True)


def _show(report: Report | ValueReport) -> None:
    shown = table("model", title=report.heading, lined=True)
    heads = list(next(iter(report.figures.values())))
    for head in heads:
        shown.add_column(head.replace("_", " "), justify="right")
    for name, figures in report.figures.items():
        shown.add_row(name, *(f"{figures[head]:.3f}" for head in heads))
    console().print(shown)
    for note in report.notes():
        echo(note)
