"""`rescore lag`: are scores current?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.common import AsJson, Exit, console, guarded, print_json, settings

if TYPE_CHECKING:
    from streams.lag import Answer, Look
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
    if answer.verdict is Verdict.STALLED and chosen.clock == "records":
        answer = _learning(chosen, answer)
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


def _learning(chosen: Settings, answer: Answer) -> Answer:
    """The same answer with what is to be learned first, where that is what everything waits for."""
    from streams.commands.versions import known_versions
    from streams.commands.wire import values
    from streams.kafka_client import require_topics
    from streams.lag import waits_for_learning
    from streams.merge import FOREVER_MS
    from streams.replay_reading import last_progress
    from streams.topics import STATE_TOPIC
    from streams.wires import wire_of

    known = known_versions(chosen)
    if known.limit_ms >= FOREVER_MS:
        return answer
    topic, decode = chosen.topic(STATE_TOPIC), wire_of(values(chosen)).progress.decode
    found = {
        p: last_progress(chosen.kafka, (topic, p), decode) for p in range(require_topics(chosen.kafka, [topic])[topic])
    }
    clocks = [progress.clock_ms for progress, _ in (one for one in found.values() if one is not None)]
    if max(clocks, default=0) < known.limit_ms:
        return answer
    marks = {p: None if one is None else one[0].marked_ms for p, one in found.items()}
    return waits_for_learning(answer, known.limit_ms + 1, known.next_boundary_ms, marks)


def _look(chosen: Settings) -> Look:
    from schemas.kinds import INPUT_TOPICS
    from streams.kafka_client import group_of, require_topics, waiting_records
    from streams.lag import Look

    counts = require_topics(chosen.kafka, [chosen.topic(name) for name in INPUT_TOPICS])
    group = group_of(chosen.kafka, chosen.app, counts)
    waiting = waiting_records(chosen.kafka, counts, group.committed)
    return Look(time.monotonic(), group.workers, group.state, group.committed, waiting)
