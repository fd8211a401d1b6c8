"""`rescore lag`: are scores current?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.common import AsJson, Exit, console, guarded, print_json, settings

if TYPE_CHECKING:
    from streams.lag import Look
    from streams.settings import Settings


@guarded
def lag(
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="How long to watch whether records are taken.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Say in one word whether scores are current, why not, and what to do next; exit code 0 where they are.

    OK, BEHIND (being taken, not all yet), STALLED (not being taken), REBALANCING, STOPPED (no worker).

    Example: rescore lag --json | jq -r .verdict
    """
    from streams.lag import Verdict, judge

    chosen = settings()
    first = _look(chosen)
    if first.records:
        time.sleep(seconds)
    second = _look(chosen) if first.records else first
    answer = judge(first, second)
    if as_json:
        waiting = {f"{topic}/{partition}": count for (topic, partition), count in second.waiting.items() if count}
        print_json(
            {"verdict": answer.verdict.value, "sentence": answer.sentence, "next": answer.next, "waiting": waiting}
        )
    else:
        console().print(f"[bold]{answer.verdict.value}[/]  {answer.sentence}")
        typer.echo(f"next: {answer.next}", err=True)
    if answer.verdict is not Verdict.OK:
        raise typer.Exit(Exit.FAILURE)


def _look(chosen: Settings) -> Look:
    from schemas.kinds import INPUT_TOPICS
    from streams.kafka_client import group_of, require_topics, waiting_records
    from streams.lag import Look

    counts = require_topics(chosen.kafka, [chosen.topic(name) for name in INPUT_TOPICS])
    group = group_of(chosen.kafka, chosen.app, counts)
    waiting = waiting_records(chosen.kafka, counts, group.committed)
    return Look(time.monotonic(), group.workers, group.state, group.committed, waiting)
