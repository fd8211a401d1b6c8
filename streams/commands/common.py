"""What every command shares: settings, exit codes, the way mistakes are told, output for people and for programs."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

from streams.terminal import echo, print_json, say

if TYPE_CHECKING:
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

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, times in UTC.")]


class CommandFailure(Exception):
    """A command cannot do what was asked: what happened, what to do, and the exit code.

    With `in_lines`, line breaks of `what` are ours; else they come from an id or a message, and are shown.
    """

    def __init__(self, what: str, remedy: str = "", code: Exit = Exit.FAILURE, in_lines: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.code = code
        self.in_lines = in_lines


def fail(what: str, remedy: str = "", code: Exit = Exit.FAILURE) -> NoReturn:
    """End the command with a sentence and a remedy."""
    raise CommandFailure(what, remedy, code)


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
        except Exception as error:
            failure = as_failure(error)
            if failure is None:
                raise
            first, *more = failure.what.split("\n") if failure.in_lines else [failure.what]
            say(("rescore:", "bold red"), f" {first}", err=True)
            echo(*more, err=True)
            if failure.remedy:
                say("  ", ("to do:", "bold"), f" {failure.remedy}", err=True)
            raise typer.Exit(failure.code) from None

    return run


def as_failure(error: Exception) -> CommandFailure | None:
    """What an exception means to the person who gave the command; None where it is a mistake of ours."""
    if isinstance(error, CommandFailure):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    what = str(error) or type(error).__name__
    if "RefusedSettings" in names:
        what, remedy = str(getattr(error, "what", what)), str(getattr(error, "remedy", ""))
        return CommandFailure(what, remedy, Exit.REFUSED_SETTINGS, in_lines=True)
    for name, remedy in UNREACHABLE.items():
        if name in names:
            return CommandFailure(what, getattr(error, "remedy", "") or remedy, Exit.UNREACHABLE)
    for name, remedy in MISSING.items():
        if name in names:
            return CommandFailure(what, remedy, in_lines=name in WITH_LOGS)
    if names & HALTED:
        return CommandFailure(what, 'see docs/operations.md, "A worker halted"', Exit.HALTED)
    if names & WRONG_USAGE:
        return CommandFailure(what, code=Exit.USAGE)
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
    "BehindOpenTransaction": (
        "ask again when its producer has committed or aborted it; kafka-transactions.sh finds and aborts one that hangs"
    ),
    "SchemaNotRegistered": "`rescore topics apply` registers the schemas, if the registry lets it",
    "RegistrationRefused": "let this login register schemas, or have them registered from schemas/avro of this release",
    "UnreadableRecord": "",
}
WITH_LOGS = {"DemoFailed", "BenchFailed", "StartFailed"}
"""They end with the last lines of a log."""
HALTED = {"HaltPartition", "StoreAhead", "CorruptRow"}
WRONG_USAGE = {"MappingMistake"}
MISTAKES = {
    "RefusedBody",
    "UnusableDataset",
    "UnreadableFile",
    "TimeGoesBack",
    "NotDelivered",
    "UnknownLetter",
    "NoIdentity",
    "TakenOver",
    "AlreadyPublished",
    "ChangedReading",
    "UnreadablePublication",
}


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
