"""A server program as a child process: started on a free loopback port, waited for, and never left behind.

`Server` is what Kafka and Valkey share. Its owner may end in any way, `kill -9` included: see
`local/servers/launch.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from schemas.errors import RescoreError

LOOPBACK = "127.0.0.1"
PORTS = range(15_000, 30_000)
"""Where free ports are looked for: below the range from which systems take the ports of outgoing connections. A client
that keeps trying a closed port of that range can end up connected to itself, and nobody else can listen there then."""

LAUNCHER = Path(__file__).with_name("launch.py")
POLL_SECONDS = 0.01
LINES_SHOWN = 30


class StartFailed(RescoreError):
    """A server did not start. The message says which, why, and shows the end of its log."""

    in_lines = True


def free_port() -> int:
    """A loopback port on which nobody listens now."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port
    raise StartFailed(f"no free port found between {PORTS.start} and {PORTS.stop}; end what listens there")


def tail(path: Path, lines: int = LINES_SHOWN) -> str:
    """The last lines of a log, or a word that there is none."""
    try:
        kept = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        kept = []
    return "\n".join(kept) or "(empty)"


_ours: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()
"""Our ends of the watchers' pipes, and locks. A forked copy of this process must not hold them, or a watcher would wait
for its end too."""


def _close_ours() -> None:
    for file in list(_ours):
        with contextlib.suppress(OSError, ValueError):
            os.close(file.fileno())


os.register_at_fork(after_in_child=_close_ours)


LET_GO_SECONDS = 2.0
"""A server whose owner was killed has ended a moment before its watcher lets go of the folder."""


class Lock:
    """A folder taken by one server. The server holds it too: it is free when both owner and server have ended."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / "in-use.lock").open("ab")
        deadline = time.monotonic() + LET_GO_SECONDS
        while not self._taken():
            if time.monotonic() > deadline:
                self.file.close()
                raise StartFailed(f"{folder} is in use by another server; stop that one, or name another folder")
            time.sleep(0.05)
        _ours.add(self.file)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def free(self) -> None:
        """Give it back, whoever else may still hold the file open."""
        if not self.file.closed:
            fcntl.flock(self.file, fcntl.LOCK_UN)
            self.file.close()


class Child:
    """A running program that ends with its owner. `remove` is deleted if the owner ends without a word."""

    def __init__(self, command: list[str], log: Path, lock: Lock, remove: Path | None) -> None:
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(remove or "")]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal is for the owner, who stops its servers in order.
            self._process = subprocess.Popen(
                [*launcher, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(lock.file.fileno(),),
            )
        assert self._process.stdin is not None
        self._pipe: IO[bytes] = self._process.stdin
        _ours.add(self._pipe)
        self.pid = self._process.pid

    def exit_code(self) -> int | None:
        """Its exit code (minus the signal that ended it), None while it runs."""
        return self._process.poll()

    def end(self, how: signal.Signals, wait_seconds: float) -> None:
        """Send a signal and wait for the end; SIGKILL where it does not come in time."""
        if self.exit_code() is not None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(wait_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def let_go(self) -> None:
        """Send the watcher away. To be called when the program has ended, and what it left is cared for."""
        with contextlib.suppress(OSError, ValueError):
            os.write(self._pipe.fileno(), b".")
            self._pipe.close()


class Server(ABC):
    """A server with its port, its folder and its log; use it as a context manager, or call `stop`.

    `folder` keeps data from one start to the next; without one they go to a temporary folder that `stop` deletes.
    """

    name: str
    start_seconds: float = 30.0

    def __init__(self, folder: Path | str | None, port: int | None) -> None:
        self.temporary = folder is None
        made = tempfile.mkdtemp(prefix=f"rescore-{self.name}-") if folder is None else folder
        self.folder = Path(made).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.log = self.folder / f"{self.name}.log"
        self._child: Child | None = None
        self._lock: Lock | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments, its configuration written and its data made ready."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves requests by now. Called often; has to return soon."""

    @property
    def address(self) -> str:
        """host:port"""
        return f"{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._child is not None and self._child.exit_code() is None

    @property
    def pid(self) -> int:
        """Id of its process. Raises RuntimeError when it does not run."""
        if self._child is None or not self.running:
            raise RuntimeError(f"{self.name} does not run")
        return self._child.pid

    def stop(self) -> None:
        """End it in good order, for good: a temporary folder is deleted. Does nothing the second time."""
        self.end(signal.SIGKILL if self.temporary else signal.SIGTERM)
        if self._child is not None:
            self._child.let_go()
            self._child = None
        if self._lock is not None:
            self._lock.free()
            self._lock = None
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL). Port and data stay, for `restart`."""
        self.end(signal.SIGKILL)

    def restart(self) -> Self:
        """Start it again on the same port and data, having stopped it in good order if it still runs."""
        self.end(signal.SIGTERM)
        return self.launch()

    def end(self, how: signal.Signals, wait_seconds: float = 15.0) -> None:
        """Send its process a signal and wait for its end; SIGKILL where that does not come in time."""
        if self._child is not None:
            self._child.end(how, wait_seconds)

    def launch(self) -> Self:
        """Start the process and wait until it answers. Raises StartFailed, and then leaves nothing."""
        try:
            self._lock = self._lock or Lock(self.folder)
            command = self._command()
            former = self._child
            self._child = Child(command, self.log, self._lock, self.folder if self.temporary else None)
            if former is not None:
                former.let_go()
            self._await()
        except BaseException:
            self.stop()
            raise
        return self

    def _await(self) -> None:
        assert self._child is not None
        deadline = time.monotonic() + self.start_seconds
        while not self._answers():
            if (code := self._child.exit_code()) is not None:
                raise StartFailed(f"{self.name} ended with exit code {code}; the end of its log:\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.name} does not answer on {self.address} after {self.start_seconds:.0f} s; "
                    f"the end of its log:\n{tail(self.log)}"
                )
            time.sleep(POLL_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
