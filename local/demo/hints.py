"""How another terminal joins the demo: lines that work there as they are printed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from streams.settings import Settings

SHARED = ("RESCORE_APP", "RESCORE_TOPIC_PREFIX")
"""Settings of the demo's own environment that another terminal needs as well."""


def program(executable: Path, folder: Path) -> str:
    """What starts `rescore` in another terminal in the same folder, where no environment is active.

    >>> program(Path("/src/rescore/.venv/bin/python"), Path("/src/rescore"))
    '.venv/bin/rescore'
    >>> program(Path("/opt/rescore/bin/python"), Path("/home/ann"))
    '/opt/rescore/bin/rescore'
    """
    script = executable.with_name("rescore")
    return shlex.quote(str(script.relative_to(folder) if script.is_relative_to(folder) else script))


def this_program() -> str:
    """The same for the Python that runs this."""
    return program(Path(sys.executable), Path.cwd())


def invitation(settings: Settings, environment: Mapping[str, str], customer: str) -> list[str]:
    """What to type in another terminal. A URL with a password is not repeated.

    `BOOTSTRAP` is for the README's examples.
    """
    url = settings.redis.url.get_secret_value()
    kafka = settings.kafka.bootstrap_servers
    variables = {"BOOTSTRAP": kafka, "RESCORE_KAFKA__BOOTSTRAP_SERVERS": kafka}
    variables["RESCORE_REDIS__URL"] = "..." if "@" in url else url
    variables |= {"RESCORE_CLOCK": "records"} if settings.clock == "records" else {}
    variables |= {name: environment[name] for name in SHARED if name in environment}
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    return [
        "In another terminal, in this folder:",
        f"  export {exports}",
        *(f"  {command}" for command in commands(customer, "dlq list", "models list")),
    ]


def commands(customer: str, *more: str) -> list[str]:
    """Commands that show something while the demo runs."""
    shown = [f"explain {shlex.quote(customer)}", "subscribe --score status", "lag", *more]
    return [f"{this_program()} {command}" for command in shown]
