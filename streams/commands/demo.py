"""`rescore demo`: a real Kafka and a real Valkey on this machine, data that flows, scores that move."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.common import AsJson, Exit, guarded, loaded
from streams.terminal import console, echo, error_console, print_json

if TYPE_CHECKING:
    from streams.settings import Loaded

TERMINAL_SECONDS = 60.0
PLAIN_SECONDS = 20.0


@guarded
def demo(
    seconds: Annotated[
        float | None, typer.Option(min=5, help="How long; 60 on a terminal, 20 elsewhere. Ctrl-C ends it before.")
    ] = None,
    customers: Annotated[int, typer.Option(min=10, max=100_000, help="How many customers are made up.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed tells the same story.")] = 1,
    data: Annotated[list[Path] | None, typer.Option("--data", metavar="FILE", help="Your own file instead.")] = None,
    map_files: Annotated[
        list[Path] | None, typer.Option("--map-file", metavar="TOML", help="How to read it, as in rescore publish.")
    ] = None,
    topic: Annotated[str, typer.Option(help="Where your own file goes.")] = "transactions",
    folder: Annotated[
        Path | None, typer.Option(help="Keep Kafka's and Valkey's data here; otherwise nothing is left behind.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show Rescore at work: starts everything it needs, streams a year of bank customers, shows scores as they move.

    Any Kafka client can connect meanwhile. Where RESCORE_KAFKA__BOOTSTRAP_SERVERS or RESCORE_REDIS__URL is set, that
    server is used instead of the embedded one.

    Examples:

      rescore demo

      RESCORE_POLICY__BASE_CURRENCY=CZK rescore demo --data trans.csv --map-file docs/examples/berka-transactions.toml
    """
    import threading

    from local.demo import Options, run
    from streams.commands.worker import on_signal

    found = loaded()
    terminal = sys.stdout.isatty()
    lasts = seconds or (TERMINAL_SECONDS if terminal else PLAIN_SECONDS)
    arguments = ["--topic", topic, *(part for path in map_files or [] for part in ("--map-file", str(path)))]
    logs = Path(tempfile.mkdtemp(prefix="rescore-demo-"))
    options = Options(
        folder=logs,
        seconds=lasts,
        customers=customers,
        seed=seed,
        data=tuple(data or ()),
        publish_arguments=tuple(arguments) if data else (),
    )
    stop = threading.Event()
    on_signal(lambda _number: stop.set())
    with ExitStack() as servers:
        kafka, redis_url = servers_of(found, folder or found.settings.data_folder, servers)
        shown = error_console() if as_json else console()
        summary = run(kafka, redis_url, options, stop, shown, os.environ)
    if as_json:
        print_json({"events": summary.events, "exact": summary.exact, "dead_letters": summary.dead_letters})
    else:
        for line in summary.lines():
            echo(line)
    if not summary.exact:
        raise typer.Exit(Exit.FAILURE)


def servers_of(found: Loaded, folder: Path | None, servers: ExitStack) -> tuple[str, str]:
    """Bootstrap servers and Redis URL: the configured ones, else embedded ones that end with `servers`."""
    from local.kafka import Kafka
    from local.valkey import Valkey

    chosen = found.settings
    kafka, redis_url = chosen.kafka.bootstrap_servers, chosen.redis.url.get_secret_value()
    if "kafka.bootstrap_servers" not in found.origins:
        kafka = servers.enter_context(Kafka.start(folder / "kafka" if folder else None)).bootstrap_servers
    if "redis.url" not in found.origins:
        redis_url = servers.enter_context(Valkey.start(folder / "valkey" if folder else None)).url
    return kafka, redis_url
