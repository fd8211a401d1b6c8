"""How help names what a person types: USER, [FILE], --seconds SECONDS; no types or braces of a library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperArgument, TyperOption


class NamedArgument(TyperArgument):
    """An argument that shows its name in capitals alone: in brackets if it may be left out, with dots if repeated."""

    def _usage_display_name(self) -> str:
        return self._rich_display_name() if self.required else _bracketed(self._rich_display_name())

    def _rich_display_name(self) -> str:
        return _bare(self.display_name_raw).upper() + ("..." if self.nargs != 1 else "")

    def display_type_rich(self, ctx: Any) -> str | None:  # noqa: ARG002 - as it is called
        """See `typer`."""
        return None


def name_values(commands: Iterable[Any]) -> None:
    """Give every argument and option of these commands, and of the commands below them, a name for its value."""
    for command in commands:
        name_values(getattr(command, "commands", {}).values())
        for parameter in command.params:
            if isinstance(parameter, TyperArgument):
                parameter.__class__ = NamedArgument  # differs in what it shows alone
            elif isinstance(parameter, TyperOption) and not parameter.is_flag and parameter.metavar is None:
                parameter.metavar = _value_name(parameter)


def _value_name(option: TyperOption) -> str:
    """What stands behind an option: a count is N, a file FILE, all else is called like the option.

    A name that ends in a unit, such as --wait-seconds, is called by the unit.
    """
    kind = option.type_descriptor
    name = max(option.opts, key=len).lstrip("-")
    if kind.is_path:
        return "FILE"
    unit = name.rpartition("-")[2].upper()
    if unit in ("SECONDS", "MINUTES", "DAYS"):
        return unit
    return "N" if kind.is_ranged or option.bare_type() in ("int", "float") else name.upper().replace("-", "_")


def _bare(name: str) -> str:
    return name.strip("[].")


def _bracketed(name: str) -> str:
    return f"[{name}]"
