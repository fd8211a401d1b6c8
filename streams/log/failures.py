"""Unexpected exceptions as values: at which stage, of which type, where in the program, and who is told how often.

A bad record is a `Reject`, never an exception. What is left are faults of this program. `streams.processing.guard`
isolates the record that causes one, and the rest of the loop goes back to what is committed.
"""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from schemas.codec import RegistryUnavailable, SchemaNotRegistered
from state.errors import StoreUnavailable
from state.layout import CorruptRow
from streams.log.protocol import HaltPartition, PauseAndRetry, StopWorker

NAMED = (
    RegistryUnavailable,
    SchemaNotRegistered,
    StoreUnavailable,
    CorruptRow,
    PauseAndRetry,
    HaltPartition,
    StopWorker,
    MemoryError,
)
"""Exceptions that say by their type what has to be done: no guard takes one of them for a fault of a record.

`MemoryError` ends the process: what is short of memory cannot tell whose fault that is.
"""

ENVIRONMENT = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EAGAIN)
)
"""Errors of the operating system that no record causes: they are waited for."""

Told = TypeVar("Told")

LINE_CHARACTERS_MAX = 200
TOLD_EVERY_SECONDS = 60.0
PLACES_KEPT = 1_000


class StageFailed(Exception):
    """A stage of a batch raised what nobody expected; the exception is its cause."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"the stage {stage} failed")
        self.stage = stage


class Failure(NamedTuple):
    """An unexpected exception: the stage, the type, the last line of its message and the innermost line of code."""

    stage: str
    exception: str
    line: str
    place: str
    error: BaseException
    record: str = ""  # topic/partition/offset of the record that was isolated for it

    @property
    def clause(self) -> str:
        """What happened, without the stage.

        >>> Failure("fold", "KeyError", "'x'", "state/fold.py:7", KeyError("x")).clause
        "KeyError at state/fold.py:7: 'x'"
        """
        return f"{self.exception} at {self.place}" + (f": {self.line}" if self.line else "")

    @property
    def traceback(self) -> str:
        """For those who mend it. Costs a millisecond, so it is made where it is told."""
        try:
            return "".join(traceback.format_exception(self.error))
        except Exception:  # noqa: BLE001 - an exception that cannot even say what it is
            return "".join(traceback.format_tb(self.error.__traceback__))


class stage:  # noqa: N801 - it is used as `with stage("fold"):`
    """Names the stage in which an unexpected exception is raised. About half a microsecond.

    >>> try:
    ...     with stage("fold"):
    ...         _ = 1 // 0
    ... except StageFailed as failed:
    ...     failed.stage, failed.__cause__
    ('fold', ZeroDivisionError('integer division or modulo by zero'))
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        """Nothing is needed before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises `StageFailed` for an exception that has no meaning of its own."""
        if isinstance(error, Exception) and not isinstance(error, (StageFailed, *NAMED)):
            raise StageFailed(self._name) from error


def failure_of(error: BaseException, at: str = "process") -> Failure:
    """What is told of an exception; `at` is the stage of one that names none. Raises nothing.

    >>> failure_of(ValueError(chr(27) + "first line", "second")).line.isprintable()
    True
    """
    if isinstance(error, StageFailed) and error.__cause__ is not None:
        at, error = error.stage, error.__cause__
    try:
        said = (str(error).strip().splitlines() or [""])[-1]
    except Exception:  # noqa: BLE001 - an exception that cannot even say what it is
        said = "(its message cannot be read)"
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in said)[:LINE_CHARACTERS_MAX]
    return Failure(at, type(error).__name__, line, _place_of(error.__traceback__), error)


def forget_frames(error: BaseException) -> None:
    """Let go of the frames that an exception holds, and of all that was worked on in them."""
    error.__traceback__ = error.__cause__ = error.__context__ = None


def _place_of(trace: TracebackType | None) -> str:
    """File and line of the innermost frame: what makes two failures the same one."""
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return "/".join(Path(trace.tb_frame.f_code.co_filename).parts[-2:]) + f":{trace.tb_lineno}"


def is_of_environment(error: BaseException) -> bool:
    """Whether the machine or the network is at fault, which passes, and no record.

    >>> is_of_environment(ConnectionResetError()), is_of_environment(OSError(errno.EOVERFLOW, "a date beyond 2038"))
    (True, False)
    """
    cause = error.__cause__ if isinstance(error, StageFailed) else error
    if isinstance(cause, ConnectionError | TimeoutError):
        return True
    return isinstance(cause, OSError) and cause.errno in ENVIRONMENT


class OnceAMinute:
    """Lets one line of each kind through in a minute, and counts the others. Cost: a microsecond.

    >>> now = [0.0]
    >>> often = OnceAMinute(lambda: now[0])
    >>> [often.untold("FAIL") for _ in range(3)], now.append(now.pop() + 60.0), often.untold("FAIL")
    ([0, None, None], None, 2)
    """

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._told_seconds: dict[Hashable, float] = {}
        self._untold: dict[Hashable, int] = {}

    def untold(self, kind: Hashable) -> int | None:
        """How many of this kind were held back since the last one that was let through; None: hold back this one."""
        now_seconds = self._now_seconds()
        if now_seconds - self._told_seconds.get(kind, -TOLD_EVERY_SECONDS) < TOLD_EVERY_SECONDS:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return None
        if len(self._told_seconds) >= PLACES_KEPT:
            self._told_seconds.clear()
            self._untold.clear()
        self._told_seconds[kind] = now_seconds
        return self._untold.pop(kind, 0)


class FailureLines:
    """Tells failures to a logger with their tracebacks, each distinct place once a minute, and how often it came."""

    def __init__(self, logger: logging.Logger, now_seconds: Callable[[], float], version: str = "") -> None:
        self._logger, self._often, self._version = logger, OnceAMinute(now_seconds), version

    def tell(self, failure: Failure) -> None:
        """One failure. Cost: a microsecond where it was told less than a minute ago."""
        again = self._often.untold((failure.stage, failure.exception, failure.place))
        if again is None:
            return
        what = f"isolated the record {failure.record}" if failure.record else "isolated no record"
        self._logger.error(
            "internal error (%s): %s. The program %s%s. Report this line with the traceback, %sthe release%s\n%s",
            failure.stage,
            failure.clause,
            what,
            f"; {again} more of this kind in the last minute" if again else "",
            "the dead letter (rescore dlq show) and " if failure.record else "",
            f" {self._version}" if self._version else "",
            failure.traceback.rstrip(),
        )


def tell_each(observers: Iterable[Told], tell: Callable[[Told], None], broken: set[tuple[str, str]]) -> None:
    """Tell every observer. One that raises is told to the log, once for each type of exception; the others hear it.

    What is told is no part of what is done: an exporter's fault ends no worker. `broken` is what was told already.
    """
    for observer in observers:
        try:
            tell(observer)
        except MemoryError:
            raise
        except Exception as error:
            name = type(observer).__name__, type(error).__name__
            if name not in broken:
                broken.add(name)
                logging.getLogger("rescore").exception(
                    "internal error: the observer %s raised %s. It misses this event, the process goes on. Report "
                    "this line with the traceback",
                    *name,
                )
