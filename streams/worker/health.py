"""Probes and metrics over HTTP: /livez, /readyz, /metrics. Answers from memory; never asks Kafka or the store.

A liveness probe that asks a dependency restarts every worker when the dependency is away, which makes it worse. So:
alive means that the loop goes round; ready means that brokers answer, the group has assigned partitions to this worker
and each of them takes records. A standby, to which the group assigns none, is ready too: it would take over at once,
and a rolling update of more workers than partitions must come to its end.
"""

# ruff: noqa: ARG002 - an observer is told more than it needs
from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from state.errors import RefusedSettings
from streams.log.progress import Standing
from streams.worker.observer import Observer

TURN_SECONDS_MAX = 120.0
SILENT_SECONDS_MAX = 30.0
"""The loop asks the brokers something every five seconds. Without an answer for so long nobody can rely on one."""
PORTS_TRIED = 100
PORT_MAX = 65_535


class Health(Observer):
    """Does the loop go round, do brokers answer, do all partitions of ours take records? Told by the worker."""

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._turned_seconds = now_seconds()
        self._answered_seconds: float | None = None
        self._answering = False
        self._assigned: set[int] | None = None
        self._restoring: set[int] = set()
        self._halted: dict[int, str] = {}

    def turned(self, at_seconds: float) -> None:
        """See `Observer`."""
        self._turned_seconds = at_seconds

    def brokers(self, *, answer: bool) -> None:
        """See `Observer`."""
        self._answering = answer
        if answer:
            self._answered_seconds = self._now_seconds()

    def assigned(self, partitions: tuple[int, ...]) -> None:
        """See `Observer`. What the group decides, a broker has said."""
        self.brokers(answer=True)
        self._assigned = (self._assigned or set()) | set(partitions)

    def resolving(self, partition: int) -> None:
        """See `Observer`."""
        self._restoring.add(partition)
        self._halted.pop(partition, None)

    def running(self, partition: int, standing: Standing) -> None:
        """See `Observer`."""
        self._restoring.discard(partition)

    def halted(self, partition: int, reason: str) -> None:
        """See `Observer`."""
        self._restoring.discard(partition)
        self._halted[partition] = reason

    def given_up(self, partitions: tuple[int, ...], *, lost: bool) -> None:
        """See `Observer`."""
        for partition in partitions:
            self._restoring.discard(partition)
            self._halted.pop(partition, None)
        self._assigned = None  # until the group has decided again, which it says to standbys too

    def live(self) -> tuple[bool, str]:
        """Whether the loop has gone round lately, and a sentence."""
        away_seconds = self._now_seconds() - self._turned_seconds
        if away_seconds > TURN_SECONDS_MAX:
            return False, f"the loop has not gone round for {away_seconds:.0f} s"
        return True, "the loop goes round"

    def ready(self) -> tuple[bool, str]:
        """Whether brokers answer and every partition of ours takes records, and a sentence."""
        # Copies: the worker's thread goes on while a probe is answered.
        if halted := dict(self._halted):
            return False, "halted: " + " ".join(halted.values())
        if restoring := sorted(self._restoring.copy()):
            return False, f"restoring partitions {', '.join(map(str, restoring))}"
        if self._answered_seconds is None:
            return False, "no broker has answered yet"
        silent_seconds = self._now_seconds() - self._answered_seconds
        if not self._answering or silent_seconds > SILENT_SECONDS_MAX:
            return False, f"the brokers do not answer, the last answer came {silent_seconds:.0f} s ago"
        if (assigned := self._assigned) is None:
            return False, "the group has not assigned partitions yet"
        if not assigned:
            return True, "standby: other workers have all partitions"
        return True, "every partition takes records"


class HealthServer:
    r"""The HTTP server, in a thread of its own; port 0 takes a free one.

    If the port is taken, it is the next free one, unless `port_is_wanted`. Raises `RefusedSettings` if no port is to be
    had.

    >>> server = HealthServer(Health(lambda: 0.0), CollectorRegistry(), "127.0.0.1", 0)
    >>> from urllib.request import urlopen
    >>> urlopen(f"http://127.0.0.1:{server.port}/livez").read()
    b'the loop goes round\n'
    >>> server.close()
    """

    def __init__(
        self, health: Health, registry: CollectorRegistry, host: str, port: int, *, port_is_wanted: bool = False
    ) -> None:
        ports = range(port, port + 1 if port == 0 or port_is_wanted else min(port + PORTS_TRIED, PORT_MAX + 1))
        self._server = _listening(host, ports, _handler(health, registry))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="rescore-health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _listening(host: str, ports: range, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server at the first of these ports that is free. Raises `RefusedSettings`."""
    for port in ports:
        try:
            return ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            reason = error.strerror or error
            raise RefusedSettings(
                f"metrics and probes cannot be served at {host}:{port} ({reason})",
                "set RESCORE_METRICS__HOST to an address of this machine, RESCORE_METRICS__PORT to a port you may use",
            ) from None
    raise RefusedSettings(
        f"port {ports[0]} of {host} is taken"
        if len(ports) == 1
        else f"ports {ports[0]} to {ports[-1]} of {host} are taken",
        "set RESCORE_METRICS__PORT to a free port, or to 0 for any free one",
    )


def _handler(health: Health, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    probes: dict[str, Callable[[], tuple[bool, str]]] = {"/livez": health.live, "/readyz": health.ready}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif path in probes:
                good, sentence = probes[path]()
                self._answer(200 if good else 503, "text/plain; charset=utf-8", f"{sentence}\n".encode())
            else:
                self._answer(404, "text/plain; charset=utf-8", b"there are /livez, /readyz and /metrics here\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Probes come every second: they are not worth a line."""

    return Handler
