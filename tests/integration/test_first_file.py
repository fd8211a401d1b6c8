"""The page "Your first file": its commands run in their order, and each of its examples is an event."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.__main__ import app
from tests.integration.pages import run_page

PAGE = Path("docs/first-file.md")
EXAMPLES = re.findall(r"^\| \w+ \| `([a-z-]+)` \| `(\{.*\})` \|$", PAGE.read_text("utf-8"), re.MULTILINE)


@pytest.mark.timeout(500)
def test_every_command_of_the_page_does_what_it_says(kafka, valkey, prefix, tmp_path: Path) -> None:
    output, errors = run_page(PAGE, tmp_path, kafka.bootstrap_servers, valkey.url, prefix)
    assert "a mapping is needed" in output
    assert "nothing was sent" in output
    assert "one line is bad" in output
    assert "published 5 records" in errors
    assert errors.count("published 1 record ") == 2
    assert "already published" in errors
    assert "31.11.2026" in output  # the rejected line, with the reason above it
    assert "salary" in output.lower() or "value" in output


def test_there_is_an_example_of_each_kind() -> None:
    assert [topic for topic, _ in EXAMPLES] == ["transactions", "loans", "loans", "applicants", "fx-rates"]


@pytest.mark.parametrize("topic, line", EXAMPLES)
def test_each_example_is_an_event(topic: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(line + "\n")
    result = CliRunner().invoke(app, ["publish", str(tmp_path / "one.jsonl"), "--topic", topic, "--check"])
    assert result.exit_code == 0, result.output
    assert re.search(r"rows +1\n", result.output)
