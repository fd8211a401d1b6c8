"""Files published exactly once on a real Kafka: killed publishers, two at once, and what a worker makes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from schemas.errors import Exit
from streams.__main__ import app
from tests.integration.cases import CASES, row_of
from tests.integration.deployment import RESCORE, Deployment, deployment

CASE = CASES / "publish-files-of-one-name"
HEAD = "user_id,transaction_amount,transaction_currency,transaction_date\n"
MANY = 400  # of one customer: more than the ids that a worker remembers


@pytest.fixture(scope="module")
def bank(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """A deployment whose worker has not started yet."""
    folder = tmp_path_factory.mktemp("bank")
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"pub{os.getpid()}", folder, PARTITIONS="2") as made:
        yield made


def _run(bank: Deployment, *arguments: str, typed: bytes = b"") -> Result:
    """A command of ours in this process."""
    environment = {**bank.environment, "RESCORE_CONFIG": ""}
    return CliRunner().invoke(app, list(arguments), env=environment, input=typed, catch_exceptions=False)


def _file(path: Path, user: str, events: int) -> Path:
    rows = [f"{user}-{n % 7},{n % 10}.10,EUR,2026-01-01T00:{n % 60:02d}:00Z\n" for n in range(events)]
    path.write_text(HEAD + "".join(rows))
    return path


def _sums(bank: Deployment, user: str) -> Counter[str]:
    """Events and cents of customers whose names begin so, as a reader of the topic adds them up."""
    sums: Counter[str] = Counter()
    for record in bank.read("transactions"):
        value = json.loads(record.value or b"")
        if value["user_id"].startswith(user):
            sums["events"] += 1
            sums["cents"] += round(value["transaction_amount"] * 100)
    return sums


def _expected(events: int) -> Counter[str]:
    return Counter(events=events, cents=sum(n % 10 * 100 + 10 for n in range(events)))


@pytest.mark.parametrize("moment, nth", [("sending", 38), ("committing", 3), ("committed", 3)])
def test_a_publisher_that_was_killed_is_gone_on_after_by_the_same_command(
    bank, tmp_path, moment: str, nth: int
) -> None:
    path = _file(tmp_path / "k.csv", moment, 60)
    victim = [sys.executable, "-m", "tests.integration.publish_victim", moment, str(nth)]
    killed = subprocess.run(
        [*victim, "publish", str(path), "--json-values"], env=bank.environment, capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    listed = [json.loads(line) for line in _run(bank, "publications", "--json").stdout.splitlines()]
    assert [(one["file"], one["events"]) for one in listed if not one["complete"]] == [("k.csv", 60)]
    went_on = _run(bank, "publish", str(path), "--json-values")
    assert went_on.exit_code == Exit.OK, went_on.stderr
    assert "published 60 " not in went_on.stderr
    assert _sums(bank, moment) == _expected(60)
    again = _run(bank, "publish", str(path))
    assert again.exit_code == Exit.FAILURE
    assert "already published: 60 events of k.csv" in again.stderr
    assert "--again" in again.stderr


def test_of_two_publishers_of_one_file_at_once_one_is_told_and_nothing_comes_twice(bank, tmp_path) -> None:
    path = _file(tmp_path / "two.csv", "two", 3_000)
    both = [
        subprocess.Popen(
            [*RESCORE, "publish", str(path), "--json-values"], env=bank.environment, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert all(process.returncode in (Exit.OK, Exit.FAILURE) for process in both), said
    assert [process.returncode for process in both] != [Exit.OK, Exit.OK], said
    for process, words in zip(both, said, strict=True):
        told = ("already published", "is being published by another call", "has taken over")
        assert process.returncode == Exit.OK or any(one in words for one in told), words
    _run(bank, "publish", str(path), "--json-values")
    assert _sums(bank, "two") == _expected(3_000)


def test_every_file_of_the_case_counts_and_no_file_counts_twice(bank, tmp_path) -> None:
    def publish(*arguments: object, code: int = Exit.OK, typed: Path | None = None) -> None:
        pipe = typed.read_bytes() if typed else b""
        done = _run(bank, "publish", *map(str, arguments), "--json-values", typed=pipe)
        assert done.exit_code == code, done.stderr

    export = tmp_path / "export.csv"
    many = tmp_path / "many.csv"
    many.write_text(HEAD + "may,1.00,EUR,2026-02-01\n" * MANY)
    for code in (Exit.OK, Exit.FAILURE):  # the second time everything was published
        publish(CASE / "jan/tx.csv", CASE / "feb/tx.csv", code=code)
        publish(CASE / "jan/loans.csv", CASE / "feb/loans.csv", "--topic", "loans", code=code)
        publish(many, code=code)
        for pipe in ("pipe-1.csv", "pipe-2.csv"):
            publish("-", typed=CASE / pipe, code=code)
        for hour in ("hour-1.csv", "hour-2.csv"):
            shutil.copy(CASE / hour, export)
            publish(export, code=code)
    bank.start_worker()
    bank.catch_up()
    bank.stop()
    found = {name: row_of(bank, name) for name in ("ann", "bob", "cid", "dan", "eve", "may")}
    sums = {name: (row.transactions, row.deposits_minor) for name, row in found.items() if name != "eve"}
    expected = {"ann": (2, 3_000), "bob": (2, 3_000), "cid": (2, 300), "dan": (2, 1_100), "may": (MANY, MANY * 100)}
    assert sums == expected
    assert len(found["eve"].loans) == 2
