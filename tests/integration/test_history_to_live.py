"""The page "From history to live": its commands, cut out and run in their order by a shell."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.generator.events import events, population

PAGE = Path("docs/history-to-live.md")
DAYS = 730
WORKER = "rescore worker"


def _script() -> list[str]:
    """The commands; a worker, which the page starts in a terminal of its own, goes to the background."""
    lines = [line.removeprefix("    ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("    ")]
    return [f"{line} & pid=$!" if line == WORKER else line for line in lines]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)


def _files(folder: Path) -> int:
    """The files that the page names, with two years of a few customers; how many transactions are live ones."""
    first_day = (datetime.now(UTC) - timedelta(days=DAYS + 1)).date()
    by_topic: dict[str, list[dict[str, Any]]] = {"transactions": [], "loans": [], "fx-rates": []}
    for event in events(population(12, 8, first_day, DAYS)):
        if isinstance(event.value, dict) and "revision" not in event.value:
            by_topic[event.topic].append({n: v for n, v in event.value.items() if not isinstance(v, (dict, list))})
    _write(folder / "rates.csv", by_topic["fx-rates"])
    _write(folder / "loans.csv", by_topic["loans"])
    history, since = by_topic["transactions"][:-50], by_topic["transactions"][-50:]
    _write(folder / "transactions.csv", history)
    _write(folder / "since.csv", since)
    return len(since)


@pytest.mark.timeout(500)
def test_every_command_of_the_page_does_what_it_says(kafka, valkey, prefix, tmp_path: Path) -> None:
    since = _files(tmp_path)
    own = {name: value for name, value in os.environ.items() if not name.startswith("RESCORE_")}
    environment = own | {
        "RESCORE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "RESCORE_REDIS__URL": valkey.url,
        "RESCORE_REDIS__REQUIRE_APPEND_ONLY": "false",
        "RESCORE_METRICS__PORT": "0",
        "RESCORE_PARTITIONS": "2",
        "RESCORE_TOPIC_PREFIX": prefix,
        "RESCORE_APP": prefix.rstrip("-"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    script = _script()
    assert len([line for line in script if "rescore" in line]) >= 12
    lines = ["set -euo pipefail", "trap 'kill -TERM $pid; wait $pid' EXIT", *script]
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join(lines)],
        cwd=tmp_path,
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
    assert "the broker stamps its records now" in output
    assert "all topics are configured correctly" in output
    assert f"published {since:,} records" in errors
