"""Looking at a whole file before it is published: --check, repeated ids, rejected lines, columns that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

from schemas.decode import Decoder
from schemas.errors import Exit
from schemas.known_schemas import StaticRegistry
from schemas.times import time_ms
from schemas.topic_values import encode_json
from schemas.zones import zone_of
from streams.__main__ import app
from streams.publish.checks import WorkerCheck
from streams.publish.events import Event

HEADER = "event_id,user_id,transaction_amount,transaction_currency,transaction_date,transaction_state\n"


def publish(*arguments: str | Path, clock: str = "wall") -> Result:
    return CliRunner().invoke(
        app, ["publish", *map(str, arguments)], env={"RESCORE_CLOCK": clock}, catch_exceptions=False
    )


def _file(tmp_path: Path, *rows: str, name: str = "tx.csv") -> Path:
    path = tmp_path / name
    path.write_text(HEADER + "".join(row + "\n" for row in rows))
    return path


def test_check_says_what_a_file_holds(tmp_path: Path) -> None:
    rows = [f"e{n},u{n % 7},0.1,EUR,2026-01-{n % 28 + 1:02d}," for n in range(100)]
    rows += [
        "x,ann,-3.005,BHD,2026-02-01,",
        "y,ann,5,EUR,2026-02-02,FAILED",
        "z,ann,bad,EUR,2026-02-03,",
        "e0,u0,0.1,EUR,2026-01-01,",
    ]
    result = publish(_file(tmp_path, *rows), "--check")
    assert result.stdout.splitlines() == [
        "tx.csv: transactions",
        "  rows            103",
        "  customers       8",
        "  from            2026-01-01T00:00:00Z",
        "  to              2026-02-02T00:00:00Z",
        "  BHD in          0.00",
        "  BHD out         -3.005",
        "  EUR in          10.10",
        "  EUR out         0.00",
        "  not in the sums 1 failed or pending",
        "  bad lines       1",
        "  repeated ids    1",
    ]
    assert "tx.csv, line 104: transaction_amount: 'bad' is not a number" in result.stderr
    assert "1 bad line cannot be published" in result.stderr
    assert result.exit_code == Exit.FAILURE


@pytest.mark.parametrize("look", ["--check", "--dry-run"])
def test_one_id_with_two_contents_is_refused_and_copies_are_told(look: str, tmp_path: Path) -> None:
    rows = ["x,ann,1,EUR,2026-02-01,", "y,ann,1,EUR,2026-02-01,", "x,ann,2,EUR,2026-02-01,"]
    path = _file(tmp_path, *rows)
    refused = publish(path, look)
    assert refused.exit_code == Exit.FAILURE
    assert "1 event has the event_id of another event" in refused.stderr
    assert "'x' in tx.csv, line 2 and tx.csv, line 4" in refused.stderr
    copies = publish(_file(tmp_path, *rows[:2], rows[0]), look)
    assert copies.exit_code == Exit.OK, copies.stderr
    assert "1 event is a copy of another one with the same event_id" in copies.stderr
    two = publish(_file(tmp_path, *rows[:2], name="a.csv"), _file(tmp_path, rows[2], name="b.csv"), look)
    assert "'x' in a.csv, line 2 and b.csv, line 2" in two.stderr


def test_check_reads_times_without_a_zone_in_the_policys_zone(tmp_path: Path) -> None:
    path = _file(tmp_path, "x,ann,1,EUR,2026-02-01,", "y,ann,1,EUR,2026-02-01T23:00:00,")
    result = CliRunner().invoke(
        app, ["publish", str(path), "--check"], env={"RESCORE_POLICY__TIME_ZONE": "America/New_York"}
    )
    assert "  from            2026-02-01T05:00:00Z\n  to              2026-02-02T04:00:00Z\n" in result.stdout


def test_the_workers_check_reads_times_in_the_policys_zone() -> None:
    fields = {"user_id": "a", "transaction_amount": 1.0, "transaction_currency": "EUR"}
    value = encode_json(fields | {"transaction_date": "2026-01-01T00:30:00"})
    event = Event(1_767_225_600_000, (0, 2, 0), "transactions", b"a", value)
    decoder, now_ms = Decoder(StaticRegistry(), 1), time_ms("2026-01-01T00:00:00Z")
    for count in (1, 2):  # alone, and with others through the compiled decoder
        events = [event] * count
        assert WorkerCheck(decoder, now_ms, zone_of("Pacific/Kiritimati")).refusals(events) == {}
        refused = WorkerCheck(decoder, now_ms, zone_of("Pacific/Honolulu")).refusals(events)
        assert len(refused) == count
        assert "ahead of" in refused[0]


def test_check_counts_rows_that_a_condition_leaves_out(tmp_path: Path) -> None:
    mapping = tmp_path / "map.toml"
    mapping.write_text('same_names = true\nwhere = ["user_id is_not u1"]\n')
    path = _file(tmp_path, "a,u1,1,EUR,2026-01-01,", "b,u2,1,EUR,2026-01-01,")
    result = publish(path, "--check", "--map-file", mapping)
    assert "  rows            1\n  left out        1 by where or a lookup\n" in result.stdout
    assert result.exit_code == Exit.OK


def test_the_same_id_of_another_customer_or_revision_is_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "tx.jsonl"
    one = {
        "event_id": "e",
        "user_id": "a",
        "transaction_amount": 1,
        "transaction_currency": "EUR",
        "transaction_date": "2026-01-01",
    }
    previous = {"transaction_amount": 1, "transaction_currency": "EUR", "transaction_date": "2026-01-01"}
    rows = [
        one,
        one | {"user_id": "b"},
        one | {"revision": 1, "previous": previous},
        one | {"event_id": " "},
        one | {"event_id": " "},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert publish(path, "--check").exit_code == Exit.OK
    path.write_text(path.read_text() + json.dumps(one) + "\n")
    assert "1 event is a copy of another one" in publish(path, "--check").stderr


def test_an_event_that_workers_refuse_is_found_alone_too() -> None:
    fields = {"user_id": "a", "transaction_currency": "EUR", "transaction_date": "2026-01-01"}
    nan = encode_json(fields | {"transaction_amount": float("nan")})
    check = WorkerCheck(Decoder(StaticRegistry(), 1), None)
    assert list(check.refusals([Event(0, (0, 1, 0), "transactions", b"a", nan)])) == [0]


def test_rejected_lines_are_kept_as_they_were_and_can_be_corrected_and_published_by_the_same_command(
    tmp_path: Path,
) -> None:
    path, rejects = tmp_path / "export.csv", tmp_path / "rejects.csv"
    top = "Bank;X\r\n\r\n"
    header = "user_id;transaction_amount;transaction_currency;transaction_date;description\r\n"
    bad = ['a;1,5;EUR;2026-01-32;"Köln; Süd\r\nzwei"\r\n', "b;1,5;EUR\r\n", "c;x;EUR;2026-01-02;\r\n"]
    path.write_bytes((top + header + bad[0] + "d;1,5;EUR;2026-01-03;\r\n" + bad[1] + bad[2]).encode("cp1252"))
    options = ["--encoding", "cp1252", "--skip-lines", "2", "--check"]
    result = publish(path, *options, "--rejects", rejects)
    assert result.exit_code == Exit.FAILURE
    assert f"3 bad lines written to {rejects}" in result.stderr
    text = rejects.read_bytes().decode("cp1252")
    lines = text.split("# rescore: line ")
    assert [lines[0], *(one.partition("\n")[2] for one in lines[1:])] == [top + header, *bad]
    assert [int(one.partition(":")[0]) for one in lines[1:]] == [5, 7, 8]
    again = publish(path, *options, "--rejects", rejects)
    assert again.exit_code == Exit.USAGE
    assert "exists already" in again.stderr
    for wrong, right in (("2026-01-32", "2026-01-31"), ("b;1,5;EUR\r\n", "b;1,5;EUR;2026-01-04;\r\n"), ("c;x", "c;2")):
        text = text.replace(wrong, right)
    rejects.write_bytes(text.encode("cp1252"))
    corrected = publish(rejects, *options)
    assert corrected.exit_code == Exit.OK, corrected.stderr
    assert "  rows            3\n" in corrected.stdout


def test_rejected_rows_of_a_file_without_lines_become_json_lines(tmp_path: Path) -> None:
    path, rejects = tmp_path / "tx.parquet", tmp_path / "rejects.jsonl"
    columns = {"user_id": ["a", "b"], "transaction_amount": [1.0, float("nan")], "transaction_currency": ["EUR"] * 2}
    parquet.write_table(pa.table(columns | {"transaction_date": ["2026-01-01"] * 2}), path)
    assert publish(path, "--check", "--rejects", rejects).exit_code == Exit.FAILURE
    comment, row = rejects.read_text().splitlines()
    assert comment.startswith("# rescore: line 2: transaction_amount: nan is not a number")
    rejects.write_text(f"{comment}\n{row.replace('NaN', '2.5')}\n")
    assert "EUR in          2.50" in publish(rejects, "--check").stdout


@pytest.mark.parametrize(
    "mapping, says",
    [
        (["category=Kategory"], "has no column 'Kategory': did you mean 'Category'? Its columns are "),
        (["transaction_currency=EUR"], "For the word itself write transaction_currency:=EUR."),
        (["transaction_amount=transaction_amount | plus Fee"], "has no column 'Fee'"),
        (["transaction_amount=transaction_amount | negative_when Typ A | positive_when Typ B"], "has no column 'Typ'"),
        (["event_id:={transaction_date}-{Nr}"], "has no column 'Nr'"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_column_that_is_not_there_is_refused_before_anything_else(
    mapping: list[str], says: str, form: str, tmp_path: Path
) -> None:
    path = tmp_path / f"tx.{form}"
    row = {
        "user_id": "a",
        "transaction_amount": "1",
        "transaction_currency": "EUR",
        "transaction_date": "2026-01-01",
        "Category": "x",
    }
    path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n" if form == "csv" else json.dumps(row) + "\n")
    result = publish(path, *(word for one in mapping for word in ("--map", one)), "--check")
    assert says in result.stderr
    assert result.exit_code == Exit.FAILURE


def test_a_key_that_only_some_json_lines_have_is_fine(tmp_path: Path) -> None:
    row = {"user_id": "a", "transaction_amount": 1, "transaction_currency": "EUR", "transaction_date": "2026-01-01"}
    path = tmp_path / "tx.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"text": "x"}) + "\n")
    result = publish(path, "--map", "description=text", "--dry-run")
    assert result.exit_code == Exit.OK, result.stderr
    assert [json.loads(line)["value"].get("description") for line in result.stdout.splitlines()] == [None, "x"]


def test_a_file_nobody_mapped_is_refused_once_with_all_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "tx.csv"
    path.write_text("Account,Amount,Day\n" + "a,1,2026-01-01\n" * 50)
    result = publish(path, "--check")
    assert result.stderr.count("\n") == 1
    missing = "transaction_amount, transaction_currency, transaction_date, user_id"
    assert f"nothing is mapped to {missing}: tx.csv has the columns Account, Amount, Day." in result.stderr


def test_rejects_of_several_files_and_wrong_options_are_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "a,u1,1,EUR,2026-01-01,")
    assert publish(path, path, "--rejects", tmp_path / "r.csv").exit_code == Exit.USAGE
    assert "the decimal mark is ';'" in publish(path, "--check", "--decimal", ";").stderr
    assert "there is no encoding 'klingon'" in publish(path, "--check", "--encoding", "klingon").stderr
    assert "the envelope is 'paper'" in publish(path, "--check", "--envelope", "paper").stderr
