"""`rescore bench`: how fast a worker is on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from streams.commands.common import AsJson, console, guarded, print_json


@guarded
def bench(
    users: Annotated[int, typer.Option(min=100, help="How many customers.")] = 20_000,
    events: Annotated[int, typer.Option(min=10_000, help="How many transactions are measured.")] = 200_000,
    past: Annotated[int, typer.Option(min=0, help="Transactions of each customer before that.")] = 10,
    uniform: Annotated[bool, typer.Option("--uniform", help="All customers alike, instead of Zipf 1.1.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a worker on a Kafka and a Valkey of its own: every score computed, every output written, exactly once.

    Says events per CPU-second of the worker's process; machines differ, so compare figures of one machine.

    Example: rescore bench --users 100000 --events 1000000 --json
    """
    from local.bench import BenchOptions, run
    from local.kafka import Kafka
    from local.valkey import Valkey

    options = BenchOptions(users=users, events=events, past_per_user=past, zipf=None if uniform else 1.1)
    with (
        tempfile.TemporaryDirectory(prefix="rescore-bench-") as folder,
        Kafka.start() as kafka,
        Valkey.start() as valkey,
    ):
        found = run(
            kafka.bootstrap_servers, valkey.url, options, Path(folder), lambda words: typer.echo(words, err=True)
        )
    if as_json:
        print_json(found.as_json())
        return
    console().print(f"{found.events_per_cpu_second:,} events per CPU-second of the worker, all scores, exactly once")
    console().print(f"{found.events_per_wall_second:,} events per second of wall time, one worker beside its broker")
    console().print(f"{found.redis_bytes_per_user:,} bytes of Redis per customer, all overhead counted")
