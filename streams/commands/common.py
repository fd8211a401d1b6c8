"""What every command shares: settings, exit codes, the way mistakes are told, output for people and for programs."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from schemas.errors import Exit, RescoreError, fail
from streams.terminal import echo, print_json, say

if TYPE_CHECKING:
    from streams.settings import Loaded, Settings

P = ParamSpec("P")
T = TypeVar("T")


EXIT_CODES = (
    "Exit codes: 0 done; 1 something failed or differs; 2 wrong usage; 3 settings refused; "
    "4 Kafka, Redis or the registry does not answer; 5 a worker halted; 130 interrupted."
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, times in UTC.")]


def require_score(name: str) -> None:
    """Wrong usage if there is no score of that name."""
    from schemas.kinds import SCORE_NAMES

    if name not in SCORE_NAMES:
        fail(f"there is no score {name!r}", f"one of {', '.join(SCORE_NAMES)}", Exit.USAGE)


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Tell a person's mistakes and unreachable servers in a sentence, with an exit code and without a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None
        except BrokenPipeError:  # the reader of our output has seen enough, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.OK) from None
        except typer.Exit:
            raise
        except RescoreError as failure:
            first, *more = failure.what.split("\n") if failure.in_lines else [failure.what]
            say(("rescore:", "bold red"), f" {first}", err=True)
            echo(*more, err=True)
            if failure.remedy:
                say("  ", ("to do:", "bold"), f" {failure.remedy}", err=True)
            raise typer.Exit(failure.code) from None

    return run


def program_version() -> str:
    """Version of the installed program; a checkout that is not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rescore")
    except PackageNotFoundError:
        return "unversioned"


def loaded() -> Loaded:
    """Settings with their origins. Raises RefusedSettings."""
    from streams.settings import load

    return load(os.environ)


def settings() -> Settings:
    """Settings of this process. Raises RefusedSettings."""
    return loaded().settings


def show_json_or(as_json: bool, value: Any, otherwise: Callable[[], None]) -> None:
    """Print `value` as JSON where it was asked for, else let `otherwise` show it to a person."""
    if as_json:
        print_json(value)
    else:
        otherwise()
