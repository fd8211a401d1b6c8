"""What the README shows is true: each of its snippets is run as it is printed, against a demo that runs."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.demo.run import LIVE, Options, Summary, run
from local.servers.kafka import Kafka
from local.servers.valkey import Valkey
from streams.terminal_rich import SafeConsole

README = Path("README.md")
LIVE_SECONDS = 300.0  # a busy machine may compile first
SHORT = {"customers": 10, "history_days": 40, "story_days": 10, "days_per_second": 20.0}

KCAT = """\
import os, sys
from confluent_kafka import Producer
words = dict(zip(sys.argv[1:], sys.argv[2:]))
name, value = words["-X"].removeprefix("topic.").split("=")
producer = Producer({"bootstrap.servers": words["-b"], name: value})
for line in sys.stdin:
    key, _, message = line.rstrip("\\n").partition(words["-K"])
    producer.produce(words["-t"], message, key)
sys.exit(producer.flush(30))
"""
"""As much of kcat as the README uses, for machines that lack it."""


def _python() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


def _shell(word: str) -> str:
    """The indented command of the README with this word in it."""
    (block,) = [
        block
        for block in re.findall(r"(?:^    .*\n)+", README.read_text(encoding="utf-8"), re.MULTILINE)
        if f" {word} " in block
    ]
    return str(block)


@dataclass
class Demo:
    """A demo that is live, and what it has printed."""

    output: io.StringIO
    environment: dict[str, str]  # of another terminal, in which the printed `export` was run
    kafka: Kafka
    valkey: Valkey
    end: Callable[[], Summary]

    def runs(self, command: str, timeout_seconds: float = 120.0) -> str:
        """What a command of a shell prints in the other terminal, once it has succeeded."""
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
        return ran.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A short history, then live, on servers of its own, because the README's topics have no prefix."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESCORE_")}
    output, stop, is_live = io.StringIO(), threading.Event(), threading.Event()
    ended: list[Summary | Exception] = []

    class Output(io.TextIOBase):
        def write(self, text: str) -> int:
            output.write(text)
            if "models list\n" in text:
                is_live.set()
            return len(text)

    with Kafka.start() as kafka, Valkey.start() as valkey:

        def play() -> None:
            options = Options(folder, **SHORT)
            console = SafeConsole(file=Output(), width=200, force_terminal=False)
            try:
                ended.append(run(kafka.bootstrap_servers, valkey.url, options, stop, console, environment))
            except Exception as error:  # noqa: BLE001 - raised by whoever ends the demo
                ended.append(error)
            is_live.set()

        def end() -> Summary:
            stop.set()
            thread.join(120)
            (one,) = ended
            if isinstance(one, Exception):
                raise one
            return one

        thread = threading.Thread(target=play)
        thread.start()
        try:
            assert is_live.wait(LIVE_SECONDS), output.getvalue()
            (export,) = re.findall(r"^  export (.*)$", output.getvalue(), re.MULTILINE)
            joined = dict(word.split("=", 1) for word in shlex.split(export))
            bin_folder = folder / "bin"
            bin_folder.mkdir()
            (bin_folder / "kcat").write_text(f"#!{sys.executable}\n{KCAT}", encoding="utf-8")
            (bin_folder / "kcat").chmod(0o755)
            path = f"{bin_folder}:{Path(sys.executable).parent}:{environment['PATH']}"
            yield Demo(output, environment | joined | {"PATH": path, "RESCORE_CONFIG": ""}, kafka, valkey, end)
        finally:
            stop.set()
            thread.join(120)


def test_the_readme_has_one_block_of_at_most_thirty_lines_that_needs_only_two_packages() -> None:
    block = _python()
    assert len([line for line in block.splitlines() if line.strip()]) <= 30
    assert set(re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE)) == {"io", "fastavro", "confluent_kafka"}


@pytest.mark.timeout(600)
def test_every_snippet_works_against_a_running_demo_which_counts_exactly_once_at_the_end(
    demo: Demo, tmp_path: Path
) -> None:
    assert LIVE in demo.output.getvalue()
    assert "->" in demo.runs(f"{shlex.quote(sys.executable)} -c {shlex.quote(_python())}")

    demo.runs(_shell("kcat"))
    (tmp_path / "transactions.csv").write_text(
        "account,transaction_amount,transaction_date\nann,12.5,2026-11-30T10:00:00Z\n", encoding="utf-8"
    )
    (publish,) = re.findall(r"`(rescore publish [^`]*)`", README.read_text(encoding="utf-8"))
    demo.runs(publish.replace(" transactions.csv", f" {tmp_path / 'transactions.csv'}"))

    printed = re.findall(r"^  (\S*/rescore .*)$", demo.output.getvalue(), re.MULTILINE)
    assert len(printed) == 5
    for command in printed:
        if "subscribe" not in command:  # which goes on for ever
            demo.runs(command)

    summary = demo.end()
    assert (summary.failure, summary.waiting) == ("", 0)
    assert list(summary.dead_letters.values()) == [1]  # the story's damaged event; nothing else was refused
    assert summary.exact
    assert summary.recount.changes > 0
    assert "equal" in demo.runs("rescore verify").lower()


@pytest.mark.parametrize("page", [README, *sorted(Path("docs").glob("*.md"))], ids=str)
def test_every_link_of_the_docs_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert missing == []
