"""Pages of the docs whose commands are cut out and run, in their order, by a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

WORKER = "rescore worker"


class Ran(NamedTuple):
    """What the commands of a page printed."""

    output: str
    errors: str


def commands_of(page: Path) -> list[str]:
    """The commands; a worker, which a page starts in a terminal of its own, goes to the background."""
    lines = [line.removeprefix("    ") for line in page.read_text("utf-8").splitlines() if line.startswith("    ")]
    return [f"{line} & pid=$!" if line == WORKER else line for line in lines]


def run_page(page: Path, folder: Path, kafka: str, redis_url: str, prefix: str) -> Ran:
    """Run the commands of a page in a folder, against a deployment of its own; each of them has to succeed."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RESCORE_")}
    environment = own | {
        "RESCORE_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "RESCORE_REDIS__URL": redis_url,
        "RESCORE_REDIS__REQUIRE_APPEND_ONLY": "false",
        "RESCORE_METRICS__PORT": "0",
        "RESCORE_PARTITIONS": "2",
        "RESCORE_TOPIC_PREFIX": prefix,
        "RESCORE_APP": prefix.rstrip("-"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    lines = ["set -euo pipefail", "trap 'kill -TERM $pid; wait $pid' EXIT", *commands_of(page)]
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join(lines)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = shell.communicate(timeout=450)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, f"{output}\n{errors}"
    return Ran(output, errors)
