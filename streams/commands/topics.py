"""`rescore topics`: make the topics, or say what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from streams.commands.common import AsJson, Exit, guarded, settings
from streams.terminal import echo, print_json

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.topics import TopicOptions

app = typer.Typer(help="Kafka topics: as they have to be, or what is wrong with them.", no_args_is_help=True)

DAY_MS = 86_400_000


@app.command()
@guarded
def apply(as_json: AsJson = False) -> None:
    """Make missing topics and set what is set otherwise; register schemas where a registry is configured.

    May be repeated: what is right is left alone. Numbers of partitions of topics that are there are never changed.

    Example: RESCORE_PARTITIONS=12 rescore topics apply
    """
    from streams.kafka_client import admin_of, partition_counts
    from streams.topics import apply as apply_topics

    chosen = settings()
    partition_counts(chosen.kafka)
    done = apply_topics(admin_of(chosen.kafka), options_of(chosen))
    if chosen.registry.url is not None:
        from streams.commands.wire import registry_of

        done += [f"schema {subject}: id {number}" for subject, number in registry_of(chosen).register().items()]
    if as_json:
        print_json({"done": done})
    else:
        for line in done:
            echo(line)
        echo("the topics are as they have to be; next: rescore worker" if done else "nothing had to be done", err=True)


@app.command()
@guarded
def check(as_json: AsJson = False) -> None:
    """Say what is wrong with the topics and what to do about it; exit code 1 where anything is.

    Example: rescore topics check --json | jq .problems
    """
    from streams.kafka_client import admin_of, partition_counts
    from streams.topics import check as check_topics

    chosen = settings()
    partition_counts(chosen.kafka)
    problems = check_topics(admin_of(chosen.kafka), options_of(chosen))
    if as_json:
        print_json({"problems": [problem._asdict() for problem in problems]})
    else:
        for problem in problems:
            echo(str(problem))
        if not problems:
            echo("the topics are as they have to be")
    if problems:
        raise typer.Exit(Exit.FAILURE)


def options_of(chosen: Settings) -> TopicOptions:
    """The topics this deployment asks for."""
    from streams.topics import FOR_EVER, TopicOptions

    return TopicOptions(
        partitions=chosen.partitions,
        replication_factor=chosen.replication_factor,
        clock=chosen.clock,
        retention_ms=FOR_EVER if chosen.retention_days < 0 else chosen.retention_days * DAY_MS,
        record_bytes_max=max(chosen.topic_record_bytes_max, chosen.record_bytes_max),
        prefix=chosen.topic_prefix,
    )
