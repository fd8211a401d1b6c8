"""Exports of banks in many shapes, through the command: what comes of each file of `tests/cases/exports*`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from schemas.errors import Exit
from streams.__main__ import app

CASES = Path(__file__).parent.parent / "cases"
EXPORTS, MORE = CASES / "exports", CASES / "exports-more"


def publish(*arguments: str | Path, clock: str = "wall") -> Result:
    return CliRunner().invoke(
        app, ["publish", *map(str, arguments)], env={"RESCORE_CLOCK": clock}, catch_exceptions=False
    )


def maps(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--map", pair)]


def values(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line)["value"] for line in result.stdout.splitlines()]


def amounts(result: Result) -> list[float]:
    return [value["transaction_amount"] for value in values(result)]


def test_debit_and_credit_columns_are_added_to_the_cent() -> None:
    mapping = maps(
        "user_id=Account", "transaction_date=Date | date %m/%d/%Y", "transaction_amount=Credit | minus Debit",
        "transaction_currency:=USD", "user_balance=Balance", "description=Description",
    )  # fmt: skip
    result = publish(EXPORTS / "us_debit_credit.csv", *mapping, "--dry-run")
    assert result.exit_code == Exit.OK, result.stderr
    assert amounts(result) == [-1234.50, 2500.00, -45.00, 12.00]
    assert [value["user_balance"] for value in values(result)] == [8765.5, 11265.5, 11220.5, 11208.5]
    check = publish(EXPORTS / "us_debit_credit.csv", *mapping, "--check")
    assert "  USD in          2,512.00\n  USD out         -1,279.50\n" in check.stdout


def test_a_column_with_two_decimal_marks_is_refused_and_the_named_one_decides() -> None:
    refused = publish(EXPORTS / "amounts.csv", "--dry-run")
    assert refused.exit_code == Exit.FAILURE
    assert not refused.stdout
    assert (
        "'$1,234.56' has a decimal point and '€ 12,50' a decimal comma. Name the mark with --decimal" in refused.stderr
    )

    point = publish(EXPORTS / "amounts.csv", "--dry-run", "--decimal", ".")
    read = {value["event_id"]: value["transaction_amount"] for value in values(point)}
    assert read == {
        "a1": 1234.56, "a2": -45.0, "a3": -45.0, "a6": 1234.5, "a7": 1234.0, "a8": 1.234, "a10": -12.0,
        "a11": 1000.0, "a16": 12.3,
    }  # fmt: skip
    for line in (5, 6, 10, 13, 14, 15, 16, 18, 19, 20, 21):
        assert f"amounts.csv, line {line}: " in point.stderr
    assert point.exit_code == Exit.FAILURE

    comma = publish(EXPORTS / "amounts.csv", "--dry-run", *maps("transaction_amount=transaction_amount | number ,"))
    read = {value["event_id"]: value["transaction_amount"] for value in values(comma)}
    assert read == {"a4": 12.5, "a7": 1.234, "a8": 1234.0, "a9": 1234567.0, "a14": 12.3456, "a17": 1234.5}


@pytest.mark.parametrize("number", ["1.234", '"1,234"'])
def test_a_number_that_nothing_explains_is_refused_before_anything_is_sent(number: str, tmp_path: Path) -> None:
    path = tmp_path / "tx.csv"
    path.write_text(
        f"user_id,transaction_amount,transaction_currency,transaction_date\na,5,EUR,2026-11-20\na,{number},EUR,2026-11-20\n"
    )
    result = publish(path)  # there is no Kafka: it would fail otherwise if anything were sent
    shown = publish(path, "--dry-run")
    assert result.exit_code != Exit.OK
    assert "tx.csv, line 3: column transaction_amount" in shown.stderr
    assert "may have thousands or decimals, and no other value of the column tells which" in shown.stderr
    assert "--decimal ," in shown.stderr


def test_a_word_of_sign_that_nobody_named_is_refused() -> None:
    mapping = maps("user_id=User", "transaction_date=Date", "transaction_currency:=EUR")
    signs = maps("transaction_amount=Amount | negative_when Type DR | positive_when Type CR")
    result = publish(EXPORTS / "drcr.csv", *mapping, *signs, "--dry-run")
    assert amounts(result) == [-12.0, 13.0]
    assert "drcr.csv, line 4: Type is 'dr', which neither negative_when nor positive_when names" in result.stderr
    assert result.exit_code == Exit.FAILURE


DE = (
    "user_id=Kontonummer", "transaction_date=Buchungstag | date %d.%m.%Y", "transaction_amount=Betrag (EUR)",
    "transaction_currency:=EUR", "description=Auftraggeber / Begünstigter",
)  # fmt: skip


def test_lines_above_the_header_are_skipped_and_the_line_that_sums_up_is_told() -> None:
    result = publish(EXPORTS / "de_utf8.csv", "--skip-lines", "6", *maps(*DE), "--dry-run")
    assert amounts(result) == [-1054.30, 3200.00, -89.90, -60.00, -45.10]
    assert "de_utf8.csv, line 13: 'Summe' is not a date written %d.%m.%Y" in result.stderr
    without = publish(EXPORTS / "de_utf8.csv", *maps(*DE), "--dry-run")
    assert "has no column" in without.stderr
    assert not without.stdout


def test_starling_and_n26_are_read() -> None:
    mapping = maps(
        "user_id:=me", "transaction_currency:=GBP", "transaction_amount=Amount (GBP)", "user_balance=Balance (GBP)"
    )
    starling = publish(EXPORTS / "starling.csv", *mapping, *maps("transaction_date=Date | date %d/%m/%Y"), "--dry-run")
    assert amounts(starling) == [-15.20, 1020.00, -8.10]
    mapping = maps("user_id=Account Name", "transaction_currency:=EUR", "transaction_amount=Amount (EUR)")
    n26 = publish(EXPORTS / "n26.csv", *mapping, *maps("transaction_date=Booking Date"), "--dry-run")
    assert amounts(n26) == [-3.50, 650.00, -22.10]
    assert "columns that are not read: Value Date, Partner Name" in n26.stderr


def test_nested_fields_are_mapped_by_path() -> None:
    mapping = maps(
        "event_id=transaction_id", "user_id=account_id", "transaction_amount=amount | negate",
        "transaction_currency=iso_currency_code", "transaction_date=datetime | first_of date",
        "category=personal_finance_category.primary", "country=location.country",
        "transaction_state=pending | translate true=PENDING false=SUCCEEDED",
    )  # fmt: skip
    result = publish(EXPORTS / "plaid.jsonl", *mapping, "--dry-run")
    assert result.exit_code == Exit.OK, result.stderr
    assert amounts(result) == [-23.45, 2000.0, -9.99]
    assert [value["transaction_state"] for value in values(result)] == ["SUCCEEDED", "SUCCEEDED", "PENDING"]
    assert [value["category"] for value in values(result)] == ["FOOD_AND_DRINK", "INCOME", "ENTERTAINMENT"]
    assert [value["transaction_date"] for value in values(result)] == [
        "2026-11-20T14:03:00-05:00",
        "2026-11-21",
        "2026-11-22T01:00:00Z",
    ]
    typo = publish(EXPORTS / "plaid.jsonl", *mapping, *maps("category=personal_finance_category.primry"), "--dry-run")
    assert "has no column 'personal_finance_category.primry'" in typo.stderr
    assert typo.exit_code == Exit.FAILURE


def test_a_change_stream_becomes_events_corrections_and_reversals() -> None:
    mapping = maps(
        "event_id=id", "user_id=account", "transaction_amount=amount_cents | times 0.01",
        "transaction_currency=currency", "transaction_date=booked_at | epoch microseconds",
    )  # fmt: skip
    assert "Add --envelope debezium" in publish(EXPORTS / "debezium.jsonl", *mapping, "--dry-run").stderr
    result = publish(EXPORTS / "debezium.jsonl", *mapping, "--envelope", "debezium", "--dry-run", clock="records")
    assert result.exit_code == Exit.OK, result.stderr
    first, second, update, delete = values(result)
    assert (first["transaction_amount"], second["transaction_amount"]) == (-12.99, 2500.0)
    assert (update["event_id"], update["revision"], update["transaction_amount"]) == ("9001", 1, -13.99)
    old = {"transaction_currency": "EUR", "transaction_date": "2026-11-18T11:06:40.123Z"}
    assert {name: one for name, one in update["previous"].items() if one is not None} == {
        "transaction_amount": -12.99,
        **old,
    }
    assert (delete["event_id"], delete["revision"], delete["transaction_state"]) == ("9002", 1, "REVERSED")
    assert delete["previous"]["transaction_amount"] == 2500.0
    stamps = [json.loads(line)["timestamp"] for line in result.stdout.splitlines()]
    assert stamps[2] == stamps[3] == "2026-11-20T18:40:00.600Z"  # when they became known, after what they correct


@pytest.mark.parametrize("unit, good", [("seconds", ["e1"]), ("milliseconds", ["e2"]), ("microseconds", ["e3"])])
def test_times_since_1970_are_read_in_the_unit_that_is_named_and_in_no_other(unit: str, good: list[str]) -> None:
    result = publish(EXPORTS / "epoch.csv", *maps(f"transaction_date=transaction_date | epoch {unit}"), "--dry-run")
    assert [value["event_id"] for value in values(result)] == good
    assert {value["transaction_date"][:19] for value in values(result)} == {"2026-11-18T11:06:40"}
    assert result.stderr.count("the unit is another one") == 2
    assert "or `epoch UNIT`" in publish(EXPORTS / "epoch.csv", "--dry-run").stderr


def test_camt_is_read_and_qif_is_told() -> None:
    result = publish(EXPORTS / "camt.xml", *maps("user_id:=c-1"), "--dry-run")
    assert result.exit_code == Exit.OK, result.stderr
    (value,) = values(result)
    assert (value["transaction_amount"], value["transaction_currency"], value["transaction_date"]) == (
        -45.0,
        "EUR",
        "2026-11-20",
    )
    assert "nothing is mapped to user_id" in publish(EXPORTS / "camt.xml", "--dry-run").stderr
    qif = publish(EXPORTS / "a.qif", "--dry-run")
    assert "is QIF: ask the bank for CAMT.053, MT940 or CSV" in qif.stderr
    assert qif.exit_code == Exit.FAILURE


def test_two_files_of_one_name_and_times_of_new_york_are_read_whole() -> None:
    both = publish(EXPORTS / "oct" / "export.csv", EXPORTS / "nov" / "export.csv", "--dry-run")
    assert amounts(both) == [-10.0, -11.0, -20.0, -21.0]
    assert amounts(publish(EXPORTS / "ny.csv", "--dry-run")) == [-5.0, -6.0, -7.0]


def test_a_dutch_export_with_a_word_of_sign() -> None:
    mapping = maps(
        "user_id=Rekening", "transaction_date=Datum | date %Y%m%d", "transaction_currency:=EUR",
        "user_balance=Saldo na mutatie",
        "transaction_amount=Bedrag (EUR) | negative_when 'Af Bij' Af | positive_when 'Af Bij' Bij",
    )  # fmt: skip
    result = publish(MORE / "af_bij.csv", *mapping, "--dry-run")
    assert result.exit_code == Exit.OK, result.stderr
    assert amounts(result) == [-15.20, 2400.00]
    assert [value["user_balance"] for value in values(result)] == [1984.80, 4384.80]
    assert [value["transaction_date"] for value in values(result)] == ["2026-11-20", "2026-11-21"]


def test_a_table_separated_by_spaces_with_zeros_in_the_column_that_is_not_meant() -> None:
    mapping = maps(
        "user_id=AccountNo", "transaction_date=PostDate | date %d-%b-%Y", "transaction_currency=Currency",
        "transaction_amount=Deposit | minus Withdrawal",
    )  # fmt: skip
    result = publish(MORE / "wide.txt", *mapping, "--dry-run")
    assert result.exit_code == Exit.OK, result.stderr
    assert amounts(result) == [-1250.00, 60000.00]
    assert {value["user_id"] for value in values(result)} == {"00417"}


def test_a_page_of_an_api_with_minor_units() -> None:
    mapping = maps(
        "event_id=id", "user_id=customer.no", "transaction_amount=money.minor", "transaction_currency=money.currency",
        "transaction_date=at | epoch milliseconds",
    )  # fmt: skip
    result = publish(MORE / "ledger.json", *mapping, "--dry-run")
    assert result.exit_code == Exit.OK, result.stderr
    assert [(value["user_id"], value["transaction_amount"]) for value in values(result)] == [
        ("17", -1299.0),
        ("17", 250000.0),
    ]


@pytest.mark.parametrize(
    "name, said, dates",
    [
        ("statement.sta", [-45.50, 2500.00, -10.00, 5.00], ["2026-11-20", "2026-11-21", "2026-12-31", "2026-12-31"]),
        ("statement.camt.xml", [-45.10, 1500.00, -9.99], ["2026-11-20", "2026-11-21T09:30:00+01:00", "2026-11-22"]),
    ],
)
def test_a_statement_is_read_whole_and_its_balances_are_held_against_its_entries(
    name: str, said: list[float], dates: list[str], tmp_path: Path
) -> None:
    mapping = maps("user_id=account", "event_id:={account}-{reference}")
    options = [*mapping, "--dry-run"]
    result = publish(MORE / name, *options, clock="records")
    assert result.exit_code == Exit.OK, result.stderr
    assert amounts(result) == said
    assert [value["transaction_date"] for value in values(result)] == dates
    cut = tmp_path / name
    text = (MORE / name).read_text()
    cut.write_text(text.replace("45,50", "45,05").replace(">45.10<", ">45.01<"))
    changed = publish(cut, *options, clock="records")
    assert changed.exit_code == Exit.FAILURE
    assert "entries are missing or damaged" in changed.stderr


def test_a_document_type_in_a_statement_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.xml"
    bomb.write_text('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><Document>BkToCstmrStmt &a;</Document>')
    result = publish(bomb, *maps("user_id:=c"), "--dry-run")
    assert "declares a document type" in result.stderr
    assert result.exit_code == Exit.FAILURE


@pytest.mark.parametrize(
    "name, lines, good", [("nan.csv", [3], "ac"), ("inf.csv", [3, 4], "ad"), ("nan.jsonl", [1], "k")]
)
def test_a_number_that_is_none_is_told_with_its_line_and_the_others_are_shown(
    name: str, lines: list[int], good: str
) -> None:
    result = publish(CASES / "publish-look-at-nan" / name, "--dry-run")
    assert result.exit_code == Exit.FAILURE
    assert [value["user_id"] for value in values(result)] == list(good)
    for line in lines:
        assert f"{name}, line {line}: " in result.stderr
    assert "Traceback" not in result.stderr
