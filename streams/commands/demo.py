"""`rescore demo`: a real Kafka and a real Valkey on this machine, a small bank, scores that move."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from schemas.errors import Exit
from streams.commands.common import AsJson, guarded, loaded
from streams.terminal import console, echo, error_console, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.demo.run import Summary
    from streams.settings import Loaded

CONNECT_SECONDS = 1.0


@guarded
def demo(
    seconds: Annotated[
        float | None,
        typer.Option(min=5, help="End so long after the first score change; otherwise it runs until Ctrl-C."),
    ] = None,
    customers: Annotated[int, typer.Option(min=10, max=100_000, help="How many customers are made up.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed on the same day tells the same story.")] = 1,
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
    """Show Rescore at work: a Kafka, a Valkey and a small bank on this machine, and scores as they move.

    Loads eight months of history that end now, then goes live: events happen now, a few in a second. From then on any
    Kafka client can publish and read too; the demo prints how. At the end everything is counted again.

    Your own file (--data) keeps its own times and does not go live. Its bad lines are left out and reported at the end.

    If RESCORE_KAFKA__BOOTSTRAP_SERVERS or RESCORE_REDIS__URL is set, that server is used instead of the embedded one.
    If it names a server on this machine that no longer runs, the demo says so and starts its own.

    Examples:

      rescore demo

      rescore demo --seconds 60

      RESCORE_POLICY__BASE_CURRENCY=CZK rescore demo --data trans.csv --map-file docs/examples/berka-transactions.toml
    """
    import threading

    shown = error_console() if as_json else console()
    shown.print("Starting Kafka and Valkey ...", style="dim", highlight=False)
    from local.demo.run import Options, run
    from streams.commands.worker import on_signal

    found = loaded()
    began = time.monotonic()
    arguments = ["--topic", topic, *(part for path in map_files or [] for part in ("--map-file", str(path)))]
    options = Options(
        folder=Path(tempfile.mkdtemp(prefix="rescore-demo-")),
        seconds=seconds,
        customers=customers,
        seed=seed,
        data=tuple(data or ()),
        publish_arguments=tuple(arguments) if data else (),
    )
    stop = threading.Event()
    on_signal(lambda _number: stop.set())
    with ExitStack() as servers:
        kafka, redis_url = servers_of(found, folder or found.settings.data_folder, servers, shown.print)
        told = f"Kafka and Valkey are ready after {time.monotonic() - began:.1f} s; loading the history ..."
        shown.print(told, style="dim", highlight=False)
        summary = run(kafka, redis_url, options, stop, shown, os.environ)
    _report(summary, as_json)


def _report(summary: Summary, as_json: bool) -> None:
    """Show what the demo did; exit code 1 if a part failed or the recount did not come out exact."""
    if as_json:
        told_of = {"events": summary.events, "exact": summary.exact, "dead_letters": summary.dead_letters}
        print_json(told_of | ({"failure": summary.failure} if summary.failure else {}))
    else:
        for line in summary.lines():
            echo(line)
    if summary.failure or not summary.exact:
        raise typer.Exit(Exit.FAILURE)


def servers_of(found: Loaded, folder: Path | None, servers: ExitStack, tell: Callable[[str], None]) -> tuple[str, str]:
    """Bootstrap servers and Redis URL: the configured ones, else embedded ones that end with `servers`.

    A configured server on this machine that is gone, as after `export` for a demo that has ended, is no server.
    """
    from local.servers.kafka import Kafka
    from local.servers.valkey import Valkey

    chosen = found.settings
    kafka, redis_url = chosen.kafka.bootstrap_servers, chosen.redis.url.get_secret_value()
    url = urlsplit(redis_url)
    configured = {
        "kafka.bootstrap_servers": [one.strip().rpartition(":") for one in kafka.split(",")],
        "redis.url": [(url.hostname or "", ":", str(url.port or 6379))],
    }
    own = {name: name not in found.origins for name in configured}
    for name, addresses in configured.items():
        if not own[name] and all(_is_gone(host, port) for host, _, port in addresses):
            own[name] = True
            tell(f"nothing listens where {found.origins[name]} points to: the demo starts a server of its own")
    if own["kafka.bootstrap_servers"]:
        kafka = servers.enter_context(Kafka.start(folder / "kafka" if folder else None)).bootstrap_servers
    if own["redis.url"]:
        redis_url = servers.enter_context(Valkey.start(folder / "valkey" if folder else None)).url
    return kafka, redis_url


def _is_gone(host: str, port: str) -> bool:
    """Whether this is an address of this machine on which nothing listens."""
    if host not in ("127.0.0.1", "localhost", "::1") or not port.isdigit():
        return False
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError:
        return True
    return False
