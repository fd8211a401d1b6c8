"""What the README shows is true: its block of Python, cut out and run, publishes a transaction and reads the change."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.kafka import Kafka
from local.valkey import Valkey

README = Path("README.md")
STARTED_SECONDS = 240.0


def _block() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Kafka of its own, because the README's topics have no prefix, a Valkey, and one worker; its environment."""
    with Kafka.start() as kafka, Valkey.start() as valkey:
        environment = os.environ | {
            "RESCORE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "RESCORE_REDIS__URL": valkey.url,
            "RESCORE_PARTITIONS": "1",
            "RESCORE_METRICS__PORT": "0",
            "RESCORE_CONFIG": "",
        }
        rescore = [sys.executable, "-m", "streams"]
        subprocess.run([*rescore, "topics", "apply"], env=environment, check=True, capture_output=True, timeout=60)
        log = tmp_path / "worker.log"
        with log.open("wb") as output:
            worker = subprocess.Popen([*rescore, "worker"], env=environment, stdout=output, stderr=output)
        try:
            yield environment | {"BOOTSTRAP": kafka.bootstrap_servers}
        finally:
            worker.terminate()
            worker.wait(30)
            print(log.read_text(encoding="utf-8")[-4000:])


def test_the_readme_has_one_block_of_at_most_thirty_lines_that_needs_only_two_packages() -> None:
    block = _block()
    assert len([line for line in block.splitlines() if line.strip()]) <= 30
    assert set(re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE)) == {"io", "fastavro", "confluent_kafka"}


@pytest.mark.timeout(400)
def test_a_stranger_publishes_a_transaction_and_reads_the_score_change(deployment: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _block()],
        env=deployment,
        capture_output=True,
        text=True,
        timeout=STARTED_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "->" in ran.stdout


@pytest.mark.parametrize("page", [README, *sorted(Path("docs").glob("*.md"))], ids=str)
def test_every_link_of_the_docs_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert missing == []
