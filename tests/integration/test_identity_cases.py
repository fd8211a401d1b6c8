"""What an event is known by, on a real Kafka and a real Valkey: three cases in one deployment, then its audit."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from schemas.times import time_ms
from tests.integration.cases import (
    changes_of,
    in_time_order,
    latest_of,
    letters_of,
    publish,
    records_of,
    row_of,
)
from tests.integration.deployment import Deployment, deployment

TABLES, EMPTY, NOTHING = "tables-", "empty-", "nothing-"


@pytest.fixture(scope="module")
def bank(kafka, shared_valkey, tmp_path_factory) -> Iterator[Deployment]:
    """A deployment of two partitions that has taken all cases; what can be mended is, then time passes."""
    folder, name = tmp_path_factory.mktemp("identity"), f"identity{os.getpid()}"
    records = in_time_order(
        records_of("event-ids-of-two-tables", TABLES),
        records_of("event-id-empty", EMPTY),
        records_of("correction-of-nothing", NOTHING),
    )
    more = {"CLOCK": "records", "PARTITIONS": "2"}
    with deployment(kafka.bootstrap_servers, shared_valkey.url, name, folder, **more) as made:
        publish(made, records)
        made.start_worker()
        made.catch_up()
        yield made
        made.stop()


@pytest.mark.timeout(600)
def test_an_event_id_counts_within_its_topic_and_kind(bank) -> None:
    assert latest_of(bank, f"{TABLES}cid")["value"] == 4.5
    assert latest_of(bank, f"{TABLES}dan")["risk"] is not None
    assert latest_of(bank, f"{TABLES}eve")["status"] == pytest.approx(2.229, abs=5e-4)
    bob = f"{TABLES}bob".encode()
    assert [record.value for record in bank.read("scorecards") if record.key == bob][-1] is None
    assert changes_of(bank, f"{TABLES}bob")[-1]["cause"]["kind"] == "erasure"
    for user in ("ann", "bob", "cid", "dan", "eve"):
        assert letters_of(bank, TABLES + user) == []


def test_other_content_under_a_known_id_is_a_dead_letter_that_names_it(bank) -> None:
    (letter,) = letters_of(bank, f"{TABLES}fay")
    assert (letter.exception, letter.stage) == ("EVENT_ID_REUSED", "fold")
    assert letter.message.startswith("event_id '1' is that of another repayment of a loan, with other content: ")
    # The publisher is mended: the same payment with an id of its own, in order of time.
    *_, last = records_of("event-ids-of-two-tables", TABLES)
    mended = (last.value or b"").replace(b'"event_id": "1"', b'"event_id": "2"')
    publish(bank, [last._replace(value=mended, time_ms=(last.time_ms or 0) + 1_000)])
    bank.catch_up()
    assert latest_of(bank, f"{TABLES}fay")["status"] == pytest.approx(2.533, abs=5e-4)


def test_a_blank_event_id_is_no_identity(bank) -> None:
    rows = {user: row_of(bank, EMPTY + user) for user in ("ann", "bob", "cid")}
    assert (rows["ann"].deposits_minor, rows["ann"].transactions) == (3_300, 3)
    assert (rows["cid"].deposits_minor, rows["cid"].transactions) == (1_000, 2)
    assert latest_of(bank, f"{EMPTY}bob")["status"] == pytest.approx(2.229, abs=5e-4)
    assert [letter for user in rows for letter in letters_of(bank, EMPTY + user)] == []


def test_a_correction_that_came_first_is_delivered_by_a_replay_and_a_wrong_one_changes_nothing(bank) -> None:
    letters = {user: letters_of(bank, NOTHING + user) for user in ("gus", "hal", "ida")}
    assert [[letter.exception for letter in found] for found in letters.values()] == [["CORRECTION_OF_NOTHING"]] * 3
    assert "a payment of 100.0 at 2026-03-10T09:00:00.000Z, which loan 'L' does not have" in letters["hal"][0].message
    assert row_of(bank, f"{NOTHING}gus").deposits_minor == 10_000
    bank.rescore("dlq", "replay", letters["gus"][0].name)
    bank.catch_up()
    assert letters_of(bank, f"{NOTHING}gus") == []
    gus, hal, ida = (row_of(bank, NOTHING + user) for user in ("gus", "hal", "ida"))
    assert (gus.deposits_minor, gus.transactions) == (12_000, 1)
    assert hal.loans[0].paid == [0, 0, 0, 0, 0]
    assert (ida.deposits_minor, ida.transactions) == (10_000, 1)


def test_time_moves_on_and_the_audit_finds_no_difference(bank) -> None:
    bank.rescore("publish", "--advance-to", "2026-04-02")
    bank.catch_up()
    first_day_late = [
        change for change in changes_of(bank, f"{TABLES}ann") if change["score"] == "status" and change["old"] is None
    ]
    assert [(change["cause"]["kind"], change["cause"]["loan_id"]) for change in first_day_late] == [("time", "L1")]
    assert first_day_late[0]["decided_ms"] == time_ms("2026-04-01")
    bank.stop()
    assert bank.rescore("verify", "--readable").stdout.startswith("equal: ")
