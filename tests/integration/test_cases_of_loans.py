"""The case folders about loans on a real Kafka and Valkey: loans that come again, dates that nobody filled in."""

from __future__ import annotations

import math
import os

import pytest

from schemas.kinds import Score
from state.layout import decode_row
from tests.integration.deployment import Deployment, deployment
from tests.scoring.cases_of_loans import (
    AFTERWARDS,
    COMES_AGAIN,
    DEFAULT_DATES,
    Known,
    check_comes_again,
    check_default_dates,
    records_of,
)


@pytest.mark.timeout(600)
def test_loans_that_come_again_count_once_and_default_dates_are_letters(kafka, shared_valkey, tmp_path) -> None:
    cases = {case: records_of(case) for case in (COMES_AGAIN, DEFAULT_DATES)}
    name, history = f"loans{os.getpid()}", {"CLOCK": "records", "PARTITIONS": "1"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, tmp_path, **history) as made:
        records = sorted([one for case in cases.values() for one in case], key=lambda one: one.timestamp_ms)
        made.send("loans", [(one.key, one.value.encode(), one.timestamp_ms) for one in records])
        made.rescore("publish", "--advance-to", AFTERWARDS)
        made.start_worker()
        made.catch_up()
        known = known_of(made, {one.key for one in records})
        made.stop()
    check_comes_again({user: known[user] for user in {one.key for one in cases[COMES_AGAIN]}})
    check_default_dates({user: known[user] for user in {one.key for one in cases[DEFAULT_DATES]}})


def known_of(made: Deployment, users: set[str]) -> dict[str, Known]:
    """What came of each customer."""
    letters: dict[str, list[tuple[str, str]]] = {user: [] for user in users}
    for letter in made.read("loans.dlq"):
        headers = dict(letter.headers or [])
        code, words = (headers[f"__streams.errors.{part}"].decode() for part in ("exception", "message"))
        letters[(letter.key or b"").decode()].append((code, words))
    rows, found = made.rows(), {}
    for user in users:
        counts, numbers = (0, 0, 0, 0, 0), [math.nan, math.nan]
        if user.encode() in rows:
            row = decode_row(rows[user.encode()])
            counts, numbers = tuple(row.emitted_counts), row.emitted[Score.STATUS : Score.REVENUE + 1]
        status, revenue = (None if math.isnan(number) else number for number in numbers)
        found[user] = Known(counts, status, revenue, tuple(letters[user]))
    return found
