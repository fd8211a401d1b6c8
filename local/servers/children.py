"""Other `rescore` commands as child processes beside the demo, never left behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from local.servers.process import LAUNCHER, tail
from schemas.errors import RescoreError

STOP_SECONDS = 15.0


class DemoFailed(RescoreError):
    """A part of the demo could not do its work. The message says which and shows the end of its log."""

    in_lines = True


def command_of(arguments: Sequence[str]) -> list[str]:
    """The command line of `rescore ...` for this Python."""
    return [sys.executable, "-m", "streams", *arguments]


def failure_of(arguments: Sequence[str], code: int, log: Path) -> str:
    """What to say of a command that ended with this exit code."""
    return f"`rescore {' '.join(arguments)}` ended with exit code {code}; the end of {log}:\n{tail(log)}"


class Background:
    """A command that runs beside the demo. It ends with it, whatever the demo dies of."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.arguments, self.log = arguments, log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal is for the demo, which stops its parts in order.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), "", *command_of(arguments)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise DemoFailed where it has ended, which it should not have by itself."""
        if (code := self.exit_code) is not None:
            raise DemoFailed(failure_of(self.arguments, code, self.log))

    def stop(self) -> int:
        """Let it finish what it is doing, end it by force where that takes too long, and return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(OSError):
                self._process.stdin.write(b".")  # the watcher may go: there is nothing left to end
                self._process.stdin.close()
        return self._process.returncode
