"""What every command shares: settings, exit codes, the way mistakes are told, output for people and for programs."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from streams.settings import Loaded, Settings

P = ParamSpec("P")
T = TypeVar("T")


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    FAILURE = 1  # done, but something could not be: a bad line, an open dead letter, a difference
    USAGE = 2
    REFUSED_SETTINGS = 3
    UNREACHABLE = 4
    HALTED = 5  # a worker stopped rather than damage state
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 done; 1 something failed or differs; 2 wrong usage; 3 settings refused; "
    "4 Kafka, Redis or the registry does not answer; 5 a worker halted; 130 interrupted."
)

PLAIN_WIDTH = 160

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, times in UTC.")]


class CommandFailure(Exception):
    """A command can not do what was asked: what happened, what to do, and the exit code."""

    def __init__(self, what: str, remedy: str = "", code: Exit = Exit.FAILURE) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.code = code


def fail(what: str, remedy: str = "", code: Exit = Exit.FAILURE) -> NoReturn:
    """End the command with a sentence and a remedy."""
    raise CommandFailure(what, remedy, code)


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
        except Exception as error:
            failure = as_failure(error)
            if failure is None:
                raise
            error_console().print(f"[bold red]rescore:[/] {_escaped(failure.what)}")
            if failure.remedy:
                error_console().print(f"  [bold]to do:[/] {_escaped(failure.remedy)}")
            raise typer.Exit(failure.code) from None

    return run


def as_failure(error: Exception) -> CommandFailure | None:
    """What an exception means to the person who gave the command; None where it is a mistake of ours."""
    if isinstance(error, CommandFailure):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    what = str(error) or type(error).__name__
    if "RefusedSettings" in names:
        return CommandFailure(
            str(getattr(error, "what", what)), str(getattr(error, "remedy", "")), Exit.REFUSED_SETTINGS
        )
    for name, remedy in UNREACHABLE.items():
        if name in names:
            return CommandFailure(what, remedy, Exit.UNREACHABLE)
    for name, remedy in MISSING.items():
        if name in names:
            return CommandFailure(what, remedy)
    if names & HALTED:
        return CommandFailure(what, 'see docs/operations.md, "A worker halted"', Exit.HALTED)
    if names & MISTAKES:
        return CommandFailure(what)
    return None


# By name, so that telling a mistake does not cost the import of every library that could have made it.
UNREACHABLE: dict[str, str] = {
    "KafkaUnreachable": "check RESCORE_KAFKA__BOOTSTRAP_SERVERS; `rescore demo` starts a Kafka of its own",
    "StoreUnavailable": "check RESCORE_REDIS__URL; `rescore demo` starts a Valkey of its own",
    "RegistryUnavailable": "check RESCORE_REGISTRY__URL, __USERNAME and __PASSWORD; without a registry, leave them out",
}
MISSING = {
    "SlotTaken": "",
    "StopWorker": "",
    "UnknownFormula": "",
    "DemoFailed": "",
    "BenchFailed": "",
    "TopicsInUse": "",
    "StartFailed": "",
    "JarsUnavailable": "",
    "TopicMissing": "rescore topics apply creates the topics",
    "SchemaNotRegistered": "`rescore topics apply` registers the schemas, if the registry lets it",
    "RegistrationRefused": "let this login register schemas, or have them registered from schemas/avro of this release",
    "UnreadableRecord": "",
}
HALTED = {"HaltPartition", "StoreAhead", "CorruptRow"}
MISTAKES = {
    "RefusedBody",
    "UnusableDataset",
    "MappingMistake",
    "UnreadableFile",
    "TimeGoesBack",
    "NotDelivered",
    "UnknownLetter",
}


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@functools.cache
def console() -> Console:
    """Standard output for people: coloured only on a terminal, and not where NO_COLOR is set."""
    from rich.console import Console

    # Not a terminal has no width; a table in a file should keep its lines whole.
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


@functools.cache
def error_console() -> Console:
    """Standard error for people."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def plain_cell(text: str) -> Text:
    """A cell of a table that is shown as it is: what others wrote may look like rich's markup."""
    from rich.text import Text

    return Text(text)


def told_beside(words: str) -> None:
    """A sentence on standard error, beside what a command answers."""
    error_console().print(f"[bold]rescore:[/] {_escaped(words)}")


def program_version() -> str:
    """Version of the installed program; a checkout that is not installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rescore")
    except PackageNotFoundError:
        return "unversioned"


def print_json(value: Any) -> None:
    """One JSON object on a line of standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str) + "\n")


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
