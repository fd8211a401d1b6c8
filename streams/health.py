"""Probes and metrics over HTTP: /livez, /readyz, /metrics. Answers from memory; never asks Kafka or the store.

A liveness probe that asks a dependency restarts every worker when the dependency is away, which makes it worse. So:
alive means that the loop goes round; ready means that every partition of ours takes records.
"""

# ruff: noqa: ARG002 - an observer is told more than it needs
from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from streams.resolve import Standing
from streams.wiring import Observer

TURN_SECONDS_MAX = 120.0


class Health(Observer):
    """Is the loop going round, and do all partitions of ours take records? Told by the worker, asked by probes."""

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._turned_seconds = now_seconds()
        self._assigned = False
        self._restoring: set[int] = set()
        self._halted: dict[int, str] = {}

    def turned(self, at_seconds: float) -> None:
        """See `Observer`."""
        self._turned_seconds = at_seconds

    def resolving(self, partition: int) -> None:
        """See `Observer`."""
        self._restoring.add(partition)
        self._halted.pop(partition, None)

    def running(self, partition: int, standing: Standing) -> None:
        """See `Observer`."""
        self._assigned = True
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

    def live(self) -> tuple[bool, str]:
        """Whether the loop has gone round lately, and a sentence."""
        away_seconds = self._now_seconds() - self._turned_seconds
        if away_seconds > TURN_SECONDS_MAX:
            return False, f"the loop has not gone round for {away_seconds:.0f} s"
        return True, "the loop goes round"

    def ready(self) -> tuple[bool, str]:
        """Whether every partition of ours takes records, and a sentence."""
        # Copies: the worker's thread goes on while a probe is answered.
        if halted := dict(self._halted):
            return False, "halted: " + " ".join(halted.values())
        if restoring := sorted(self._restoring.copy()):
            return False, f"restoring partitions {', '.join(map(str, restoring))}"
        if not self._assigned:
            return False, "no partition has been assigned yet"
        return True, "every partition takes records"


class HealthServer:
    r"""The HTTP server, in a thread of its own; port 0 takes a free one.

    >>> server = HealthServer(Health(lambda: 0.0), CollectorRegistry(), "127.0.0.1", 0)
    >>> from urllib.request import urlopen
    >>> urlopen(f"http://127.0.0.1:{server.port}/livez").read()
    b'the loop goes round\n'
    >>> server.close()
    """

    def __init__(self, health: Health, registry: CollectorRegistry, host: str, port: int) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(health, registry))
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
