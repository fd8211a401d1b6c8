"""A bank west of Greenwich on a real Kafka: a date is its local day, from files and topics to rows and the audit."""

from __future__ import annotations

import os
from datetime import date

import pytest
from typer.testing import CliRunner, Result

from schemas.errors import Exit
from schemas.kinds import Score
from schemas.times import time_ms
from streams.__main__ import app
from tests.integration.cases import CASES, changes_of, letters_of, publish, records_of, row_of
from tests.integration.deployment import Deployment, deployment

CASE = "date-alone-west-of-utc"
WAYS = ("date", "naive", "zoned", "noon")
HISTORY = {"CLOCK": "records", "PARTITIONS": "2", "POLICY__TIME_ZONE": "America/New_York"}
RATES = """currency,base_currency,effective_at,rate
USD,EUR,2026-01-01,0.5
USD,EUR,2026-11-21,9.0
"""
"""The second rate counts from local midnight on: from 05:00 UTC, behind the last transaction of the 20th."""


def day_number(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def run(bank: Deployment, *arguments: str, **changed: str) -> Result:
    """A command in this process, with other settings where some are named."""
    environment = {name: value for name, value in bank.environment.items() if name.startswith("RESCORE_")} | changed
    return CliRunner().invoke(app, list(arguments), env=environment, catch_exceptions=False)


@pytest.mark.timeout(600)
def test_dates_are_local_days_through_every_door(kafka, shared_valkey, tmp_path) -> None:
    with deployment(kafka.bootstrap_servers, shared_valkey.url, f"ny{os.getpid()}", tmp_path, **HISTORY) as bank:
        (tmp_path / "rates.csv").write_text(RATES)
        assert run(bank, "publish", str(tmp_path / "rates.csv"), "--topic", "fx-rates").exit_code == Exit.OK
        publish(bank, records_of(CASE))
        assert run(bank, "publish", "--advance-to", "2026-03-20T12:00:00-04:00").exit_code == Exit.OK
        bank.start_worker()
        bank.catch_up()
        check_the_case(bank)
        check_files_and_options(bank)
        bank.stop()
        for how in ([], ["--readable"]):
            assert run(bank, "replay", *how).stdout.startswith("equal:")


def check_the_case(bank: Deployment) -> None:
    for way in WAYS:
        paid, unpaid = row_of(bank, way), row_of(bank, f"{way}-unpaid")
        assert letters_of(bank, way) == letters_of(bank, f"{way}-unpaid") == []
        assert {paid.loans[0].due_day, unpaid.loans[0].due_day} == {day_number("2026-03-16")}, way
        assert paid.emitted_counts == [1, 0, 0, 0, 0]
        assert round(paid.emitted[Score.STATUS], 3) == 2.229
        first, *_ = [change for change in changes_of(bank, f"{way}-unpaid") if change["score"] == "status"]
        assert first["decided_ms"] == time_ms("2026-03-17T04:00:00Z"), way
        assert unpaid.emitted_counts == [0, 1, 0, 0, 0]
    assert [day.day for day in row_of(bank, "spend").days] == [day_number("2026-03-10")] == [20522]


def check_files_and_options(bank: Deployment) -> None:
    """Three ways of writing one local day. The policy's zone counts, whatever the settings at hand say."""
    elsewhere = {"RESCORE_POLICY__TIME_ZONE": "UTC"}
    file, bounds = str(CASES / CASE / "ny.csv"), ["--from", "2026-11-20", "--until", "2026-11-21"]
    published = run(bank, "publish", file, *bounds, "--advance-to", "2026-11-21", **elsewhere)
    assert (published.exit_code, "published 5 records" in published.stderr) == (Exit.OK, True), published.stderr
    stamps = sorted(record.timestamp_ms for record in bank.read("transactions"))[-3:]
    assert stamps == [time_ms("2026-11-20T05:00:00Z")] + [time_ms("2026-11-21T04:30:00Z")] * 2
    assert max(record.timestamp_ms for record in bank.read("commands")) == time_ms("2026-11-21T05:00:00Z")
    held = ["override", "ny-1", "--score", "status", "--value", "3", "--reason", "seen", "--until"]
    assert run(bank, *held, "2026-11-21", **elsewhere).exit_code == Exit.USAGE  # local midnight: now
    assert run(bank, *held, "2026-11-22", **elsewhere).exit_code == Exit.OK
    bank.catch_up()
    row = row_of(bank, "ny-1")
    assert [(day.day, day.withdrawals_minor) for day in row.days] == [(day_number("2026-11-20"), 9_00)]
    assert [hold.until_ms for hold in row.overrides] == [time_ms("2026-11-22T05:00:00Z")]
    shown = run(bank, "publish", file, "--dry-run")
    assert '"timestamp": "2026-11-20T05:00:00Z"' in shown.stdout
