"""One life of one worker process, as a coroutine: it can be stopped at every step, frozen, woken and killed.

Greenlets make that possible without a thread: the real worker runs as it is, and wherever it reaches a named step or
calls the store, the scheduler decides who goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from streams.log.protocol import StopWorker
from streams.worker.loop import Worker

Deed = Callable[[], None]
TURN = "turn"


class Crash(BaseException):
    """kill -9: nothing catches it."""


class Life:
    """From start to end of one process. `make` builds the worker once the process runs.

    `trap` is what shall happen when a step is reached: (step, deed). `at` is the step reached last.
    """

    def __init__(
        self, slot: str, name: str, make: Callable[[Life], Worker], reached: Callable[[Life, str, str], None]
    ) -> None:
        self.slot, self.name = slot, name
        self.at = "start"
        self.trap: tuple[str, Deed] | None = None
        self.skew_ms = 0
        self.frozen = False
        self.leaving = False
        self.halts: dict[int, str] = {}
        self.store: Any = None
        self.log: Any = None
        self.ended: str | None = None  # in which way
        self._make = make
        self._reached = reached
        self._hub = getcurrent()
        self._fuel = 0
        self._body = greenlet(self._live)

    @property
    def is_over(self) -> bool:
        """True once the process is gone."""
        return self.ended is not None

    def go_on(self, steps: int) -> None:
        """Run for so many steps, or to the end of the turn."""
        self._fuel = steps
        self._body.switch()

    def kill(self) -> None:
        """End it where it stands. Only the scheduler can: a process that is to die in its own step raises `Crash`."""
        if self._body.dead or not self._body:
            self.ended = self.ended or "killed before it began"
            return
        self._body.throw(Crash)

    def reach(self, step: str) -> None:
        """Called by the worker and its adapters at every step."""
        before, self.at = self.at, step
        self._reached(self, before, step)
        self._fuel -= 1
        if self._fuel <= 0:
            self._hub.switch()
        if self.trap is not None and self.trap[0] == step:
            (_, deed), self.trap = self.trap, None
            deed()

    def pause(self) -> None:
        """Let others go first, whatever is left to run."""
        self._hub.switch()

    def _live(self) -> None:
        try:
            worker = self._make(self)
            while not self.leaving:
                worker.turn()
                self.at = TURN
                self._hub.switch()
            worker._log.close()
            self.ended = "left"
        except Crash:
            self.ended = "crashed"
        except StopWorker:
            self.ended = "stopped: its slot was taken"
