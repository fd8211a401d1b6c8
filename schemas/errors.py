"""The base of every error of ours, and the exit codes of the commands.

An error is named by its remedy: it says what happened, what to do, and with which code a command ends that meets it.
A bad event is never one of these: it is a `Reject`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NoReturn


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    FAILURE = 1  # done, but something could not be: a bad line, an open dead letter, a difference
    USAGE = 2
    REFUSED_SETTINGS = 3
    UNREACHABLE = 4
    HALTED = 5  # a worker stopped rather than damage state
    INTERRUPTED = 130


class RescoreError(Exception):
    """Something that a person, or the loop around it, can do something about.

    `remedy`: what to do; `code`: the exit code of a command that ends with it. `in_lines`: line breaks of `what` are
    ours, such as the end of a log; otherwise they come from an id or a message, and are escaped.

    >>> try:
    ...     fail("no customer 'bob' is known", "check the user_id")
    ... except RescoreError as error:
    ...     print(error.what, "|", error.remedy, "|", int(error.code))
    no customer 'bob' is known | check the user_id | 1
    """

    remedy: str = ""
    code: Exit = Exit.FAILURE
    in_lines: bool = False

    def __init__(
        self, what: str = "", remedy: str | None = None, code: Exit | None = None, in_lines: bool | None = None
    ) -> None:
        super().__init__(what)
        if remedy is not None:
            self.remedy = remedy
        if code is not None:
            self.code = code
        if in_lines is not None:
            self.in_lines = in_lines

    @property
    def what(self) -> str:
        """What happened, in a sentence."""
        return str(self) or type(self).__name__


def fail(what: str, remedy: str = "", code: Exit = Exit.FAILURE) -> NoReturn:
    """End what was asked for with a sentence, a remedy and an exit code."""
    raise RescoreError(what, remedy, code)
