"""Installs locked packages, each checked by its hash, and this project itself, into the environment that runs it.

    .venv/bin/python -m local.packages requirements-runtime.lock

`uv` does it, which comes from the lock as well and takes seconds where pip takes half a minute. pip takes over where
uv cannot, as with an index behind a login that pip alone knows. Imports the standard library only.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
INSTALLER = ("uv", "setuptools")
"""What installs the others, and what installs the project itself."""

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
UV_OF_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""Settings of pip, and the variables in which uv looks for the same."""


def pinned(lock: str, names: tuple[str, ...]) -> Iterator[str]:
    r"""The lines of a lock file that pin these packages, with their hashes.

    >>> list(pinned("a==1 \\\n    --hash=x\nuv==2 \\\n    --hash=y\n    # via b\n", ("uv",)))
    ['uv==2 \\', '    --hash=y']
    """
    wanted = False
    for line in lock.splitlines():
        if not line.startswith((" ", "#")):
            wanted = line.partition("==")[0] in names
        if wanted and not line.lstrip().startswith("#"):
            yield line


def uv_settings(pip: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for uv that say what `pip config list` printed; what the environment says already stays.

    >>> uv_settings("global.index-url='simple'", {})
    {'UV_DEFAULT_INDEX': 'simple'}
    """
    found: dict[str, str] = {}
    for line in pip.splitlines():
        name, _, text = line.partition("=")
        variable = UV_OF_PIP.get(name.rpartition(".")[2])
        if variable and variable not in environment:
            parts = str(ast.literal_eval(text)).split()
            if variable == "UV_FIND_LINKS":
                parts = [part for part in parts if "://" in part or Path(part).exists()]
            if parts:
                found[variable] = ("," if variable == "UV_FIND_LINKS" else " ").join(parts)
    return found


def install(lock: Path) -> None:
    """Install all that `lock` names, then the project. Raises CalledProcessError where pip cannot either."""
    installer = Path(sys.prefix) / "installer.lock"
    installer.write_text("\n".join(pinned(LOCK.read_text(encoding="utf-8"), INSTALLER)) + "\n", encoding="utf-8")
    _run(*PIP, "install", "--require-hashes", "--no-deps", "-r", str(installer))
    said = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False).stdout
    environment = {**os.environ, **uv_settings(said, os.environ)}
    locked = ["--require-hashes", "-r", str(lock)]
    itself = ["--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)]
    for options in (locked, itself):
        uv = [str(Path(sys.prefix) / "bin" / "uv"), "pip", "install", "--python", sys.executable, *options]
        if subprocess.run(uv, env=environment, check=False).returncode:
            print("uv cannot install this; pip tries", flush=True)
            _run(*PIP, "install", *options)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def main() -> None:
    """Install the lock file that is named."""
    try:
        install(Path(sys.argv[1]).absolute())
    except subprocess.CalledProcessError as error:
        sys.exit(f"local.packages: {' '.join(error.cmd[:5])} ... ended with exit code {error.returncode}")


if __name__ == "__main__":
    main()
