"""The command line without servers: help, exit codes, words, speed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from schemas.errors import Exit
from streams.__main__ import app

Run = Callable[..., Result]

EXAMPLES = Path("docs/examples").absolute()
NOWHERE = {"RESCORE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "RESCORE_KAFKA__LIBRDKAFKA__SOCKET_TIMEOUT_MS": "1000"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RESCORE_")]:
        monkeypatch.delenv(name)

    def invoke(*arguments: str, env: dict[str, str] | None = None, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), env=env or {}, input=typed, catch_exceptions=False)

    return invoke


def _commands(group: str = "") -> list[list[str]]:
    from typer.main import get_command

    found = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        found.append([name])
        found += [[name, inner] for inner in getattr(command, "commands", {})]
    return found


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_every_command_has_help_with_an_example_or_says_its_parts(run: Run, command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == Exit.OK
    assert "Example" in result.output or "Commands:" in result.output


def test_help_names_the_exit_codes_and_the_next_command(run: Run) -> None:
    output = " ".join(run("--help").output.split())
    assert "2 wrong usage; 3 settings refused" in output
    assert "rescore demo" in output


def test_help_costs_less_than_four_tenths_of_a_second() -> None:
    costs = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "streams", "--help"], check=True, capture_output=True)
        after = os.times()
        costs.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert min(costs) < 0.4


def test_help_does_not_import_what_is_heavy() -> None:
    heavy = "{'numpy', 'numba', 'confluent_kafka', 'redis', 'pydantic', 'rich'}"
    code = f"import sys, streams.__main__; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    )


WRONG_USAGE = """
demo | --seconds | x
demo | --nope
worker | x
learner | --nope
publish
publish | nosuch.csv
publish | nosuch.csv | --dry-run
publish | t.csv | --topic | nope
publish | t.csv | --map | nonsense
publish | t.csv | --map-file | nosuch.toml
publish | t.csv | --from | yesterday
publish | t.csv | --advance-to | x
publish | t.csv | --map-file | a.toml | --map-file | b.toml
publish | t.csv | --speed | x
subscribe | --score | statsu
subscribe | --nope
inspect
inspect | ann | --request | 1
inspect | --request | -1
inspect | --request | 99999999999999999999
explain
explain | ann | --score | nope
explain | ann | --last | x
explain | ann | --request | x
lag | --seconds | x
lag | --seconds | -1
verify | --jobs | -1
verify | --partition | x
verify | --partition | -1
verify | --request | -1
verify | --request | 99999999999999999999
verify | ann
verify | --user |
evaluate
evaluate | nope
evaluate | credit | --x
evaluate | csv | t.csv
evaluate | csv
evaluate | t.csv | nope
override
override | ann | --score | nope | --value | 1 | --until | 2099-01-01
override | ann | --score | status
override | ann | --score | status | --value | x | --until | 2099-01-01
override | ann | --score | status | --value | 3 | --until | sometime
override | ann | --score | status | --value | 3 | --until | 2020-01-01
erase
erase | ann | --request | 1
erase | --request | 99999999999999999999 | --yes
erase | ann | --wait-seconds | -1 | --yes | --prove
bench | --engine | nope
bench | --engines | nope
bench | latency | --nope
bench | scale | x | y
topics
topics | nope
topics | apply | x
dlq
dlq | list | --topic | nope
dlq | list | --limit | x
dlq | show
dlq | show | nope
dlq | show | a/b/c
dlq | replay
dlq | replay | nope
dlq | replay | --topic | nope
dlq | replay | --reason | nope
dlq | drop
dlq | drop | nope | --yes
models
models | list | x
models | promote
models | promote | v | --name | nope
models | rollback
models | declare
models | declare | nosuch.json
models | declare | bad.json
models | epochs
models | epochs | x
models | epochs | --seconds | -5
models | epochs | --adopt | never
models | envelope
models | challenge
models | challenge | risk | --kind | nope
profiles | show
profiles | show | nope | --packaged
profiles | check
profiles | check | nosuch.json
profiles | check | bad.json
profiles | publish
profiles | publish | nosuch.json
profiles | publish | bad.json
profiles | learn | --nope
config
config | show | x
config | check | --nope
publish | t.csv | --map | usr_id=a | --dry-run
replay | --jobs | -1
bench | --peers | nope
"""
"""Commands with arguments that no deployment can make right: each is refused before a server is asked."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usage")
    (folder / "t.csv").write_text(
        "user_id,transaction_amount,transaction_currency,transaction_date\nann,1,EUR,2024-01-02\n"
    )
    (folder / "bad.json").write_text("{")
    return folder


@pytest.mark.parametrize("line", WRONG_USAGE.strip().splitlines())
def test_wrong_usage_is_2(run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(workplace)
    result = run(*(part.strip() for part in line.split("|")), env=NOWHERE)
    assert result.exit_code == Exit.USAGE, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_an_option_that_does_not_exist_is_2(run: Run, command: list[str]) -> None:
    assert run(*command, "--nope").exit_code == Exit.USAGE


def test_the_former_name_of_verify_says_the_new_one(run: Run) -> None:
    result = run("replay", env=NOWHERE)
    assert result.exit_code == Exit.UNREACHABLE
    assert "`rescore replay` is now `rescore verify`" in result.stderr
    assert "replay" not in run("--help").output


@pytest.mark.parametrize(
    "variable, value, words",
    [
        ("SASL_PASWORD", "x", 'No such configuration property: "sasl.pasword"'),
        ("NOPE", "x", 'No such configuration property: "nope"'),
        ("SECURITY_PROTOCOL", "tls", 'Invalid value "tls" for configuration property "security.protocol"'),
        ("SOCKET_TIMEOUT_MS", "soon", 'Invalid value for configuration property "socket.timeout.ms"'),
    ],
)
@pytest.mark.parametrize("command", [["lag"], ["worker"], ["topics", "apply"]], ids=" ".join)
def test_settings_that_the_kafka_client_refuses_are_3_and_named(
    run: Run, command: list[str], variable: str, value: str, words: str
) -> None:
    result = run(*command, env={f"RESCORE_KAFKA__LIBRDKAFKA__{variable}": value})
    assert result.exit_code == Exit.REFUSED_SETTINGS
    assert words in result.stderr
    assert f"correct RESCORE_KAFKA__LIBRDKAFKA__{variable}" in result.stderr
    assert "does not answer" not in result.stderr


def test_a_login_without_a_password_is_3_and_names_what_is_missing(run: Run) -> None:
    secure = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "ann"}
    result = run("lag", env={f"RESCORE_KAFKA__LIBRDKAFKA__{name}": value for name, value in secure.items()})
    assert result.exit_code == Exit.REFUSED_SETTINGS
    assert "sasl.username and sasl.password must be set" in result.stderr
    assert "RESCORE_KAFKA__LIBRDKAFKA__SASL_PASSWORD" in result.stderr


def test_help_names_values_and_shows_no_notation_of_a_library(run: Run) -> None:
    pages = {tuple(path): run(*path, "--help").stdout for path in [[], *_commands()]}
    assert len(pages) > 40
    for path, page in pages.items():
        assert not re.search(r"<[a-z\[\]| ]+>|\{[a-z_]+\}|\[\[", page), (path, page)
    assert "Usage: rescore explain [OPTIONS] [USER]" in pages["explain",]
    assert "Usage: rescore override [OPTIONS] USER" in pages["override",]
    assert "Usage: rescore dlq show [OPTIONS] [LETTER...]" in pages["dlq", "show"]
    assert "--steps N " in pages["explain",]
    assert "--wait-seconds SECONDS" in pages["erase",]


@pytest.mark.parametrize("words, completed", [
    ("explain ann --score st", {"status"}), ("override ann --score r", {"revenue", "rfm", "risk"}),
    ("subscribe --band t", {"top"}), ("dlq list --topic l", {"loans"}), ("evaluate h", {"hmda", "home-insurance"}),
    ("profiles show pet", {"pet_owner"}),
])  # fmt: skip
def test_a_shell_completes_values(words: str, completed: set[str]) -> None:
    environment = {"_RESCORE_COMPLETE": "complete_bash", "COMP_WORDS": f"rescore {words}",
                   "COMP_CWORD": str(len(words.split()))}  # fmt: skip
    code = "from streams.__main__ import main; main()"
    env = os.environ | environment
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == completed, done


def test_refused_settings_are_3_and_say_what_to_do(run: Run) -> None:
    result = run("config", "show", env={"RESCORE_CLOK": "wall"})
    assert result.exit_code == Exit.REFUSED_SETTINGS
    assert "did you mean 'clock'?" in result.stderr
    assert "to do:" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [["explain", "ann"], ["erase", "ann", "--yes"]], ids=lambda a: a[0])
def test_a_kafka_that_does_not_answer_is_4(run: Run, arguments: list[str]) -> None:
    result = run(*arguments, env=NOWHERE)
    assert result.exit_code == Exit.UNREACHABLE
    assert "Kafka does not answer at 127.0.0.1:1" in result.stderr
    assert "RESCORE_KAFKA__BOOTSTRAP_SERVERS" in result.stderr


def test_config_show_is_json_where_asked(run: Run) -> None:
    result = run("config", "show", "--json", env={"RESCORE_CLOCK": "records"})
    assert json.loads(result.stdout)["clock"] == {"value": "records", "origin": "RESCORE_CLOCK"}


def test_a_settings_file_is_named_before_the_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCORE_CONFIG", "")  # so that it is put back after the test
    (tmp_path / "a.toml").write_text('app = "other"\n')
    assert json.loads(run("--config", "a.toml", "config", "show", "--json").stdout)["app"]["value"] == "other"


def test_nothing_is_erased_or_dropped_without_a_yes(run: Run) -> None:
    result = run("erase", "ann", typed="n\n")
    assert result.exit_code == Exit.FAILURE
    assert "nothing was erased" in result.stderr


def test_a_dry_run_shows_events_as_they_would_be_sent_and_the_lines_that_would_not(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("account,what,when\n7,12.5,2024-01-02\n7,x,2024-01-03\n")
    mapped = ["user_id=account", "transaction_amount=what", "transaction_date=when", "transaction_currency:=EUR"]
    options = [part for one in mapped for part in ("--map", one)]
    result = run("publish", "t.csv", *options, "--dry-run", env={"RESCORE_CLOCK": "records"})
    assert result.exit_code == Exit.FAILURE
    assert json.loads(result.stdout) == {
        "topic": "transactions",
        "key": "7",
        "timestamp": "2024-01-02T00:00:00Z",
        "value": {
            "event_id": json.loads(result.stdout)["value"]["event_id"],
            "user_id": "7",
            "transaction_amount": 12.5,
            "transaction_date": "2024-01-02",
            "transaction_currency": "EUR",
        },
    }
    assert re.fullmatch("[0-9a-f]{16}:2", json.loads(result.stdout)["value"]["event_id"])
    assert "t.csv, line 3: transaction_amount: 'x' is not a number" in result.stderr
    assert "1 bad line cannot be published" in result.stderr


def test_a_dry_run_reads_all_lines_and_says_what_is_odd_with_which(run: Run, tmp_path: Path) -> None:
    head = "user_id,transaction_amount,transaction_currency,transaction_date,mcc\n"
    rows = [f"ann,1,EUR,2024-01-{day:02d},5411\n" for day in range(1, 29)]
    odd = ["ann,1,EUR,2024-02-01,742\n", "ann,1,EUR,2024-02-02,GROC\n", "ann,1,EUR,1970-01-01T01:00:00+01:00,\n"]
    (tmp_path / "t.csv").write_text(head + "".join([*rows, *odd]))
    result = run("publish", "t.csv", "--dry-run", env={"RESCORE_CLOCK": "records"})
    assert len(result.stdout.splitlines()) == 10
    assert "t.csv, line 30: mcc '742' is read as 0742" in result.stderr
    assert "t.csv, line 31: Mcc is 'GROC'" in result.stderr
    assert "t.csv, line 32: happened on or before 1970-01-01T00:00:00Z" in result.stderr
    assert result.exit_code == Exit.FAILURE
    (tmp_path / "t.csv").write_text(head + "".join([*rows, odd[0], odd[2]]))
    # The broker stamps live topics, and what was not asked for needs no timestamp.
    assert run("publish", "t.csv", "--dry-run").exit_code == Exit.OK
    late = run("publish", "t.csv", "--dry-run", "--from", "2000-01-01", env={"RESCORE_CLOCK": "records"})
    assert late.exit_code == Exit.OK


def test_an_override_until_the_past_is_refused_before_it_is_sent(run: Run) -> None:
    result = run(
        "override",
        "ann",
        "--score",
        "status",
        "--value",
        "3",
        "--until",
        "2020-01-01T00:00:00Z",
        "--reason",
        "x",
        env=NOWHERE,
    )
    assert result.exit_code == Exit.USAGE
    assert "an override until 2020-01-01T00:00:00Z would have expired: it is 20" in result.stderr


def test_a_mistake_in_a_mapping_is_told_before_any_row(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    result = run("publish", "t.csv", "--map", "usr_id=a", "--dry-run")
    assert result.exit_code == Exit.USAGE
    assert "there is no field 'usr_id'" in result.stderr


BERKA_TRANSACTIONS = """"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"
1;7;930705;"PRIJEM";"VKLAD";900.00;900.00;"";;
2;7;930712;"VYDAJ";"PREVOD NA UCET";100.20;799.80;"UVER";"OP";"3"
3;7;930812;"VYDAJ";"PREVOD NA UCET";100.20;699.60;"UVER";"OP";"3"
4;8;930812;"VYBER";"VYBER";50.00;10.00;" ";;
"""


def test_the_shipped_maps_make_events_of_a_czech_bank(run: Run, tmp_path: Path) -> None:
    import gzip

    (tmp_path / "trans.csv").write_text(BERKA_TRANSACTIONS)
    tables = {
        "account.csv.gz": '"account_id";"district_id";"frequency";"date"\n7;1;"x";930101\n8;1;"x";930102\n',
        "loan_1993-96.csv.gz": '"loan_id";"account_id";"date";"amount";"duration";"payments";"status"\n'
        '5;7;930706;200;2;100.00;"A"\n',
    }
    for name, text in tables.items():
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))

    def events(file: str, mapping: str) -> list[dict[str, object]]:
        result = run("publish", file, "--map-file", str(EXAMPLES / mapping), "--dry-run")
        assert result.exit_code == Exit.OK, result.stderr
        return [json.loads(line)["value"] for line in result.stdout.splitlines()]

    transactions = events("trans.csv", "berka-transactions.toml")
    assert [one["transaction_amount"] for one in transactions] == [900.0, -100.2, -100.2, -50.0]
    assert transactions[0]["user_created"] == "1993-01-01"
    issued = events("loan_1993-96.csv.gz", "berka-loans.toml")
    assert [(one["loan_id"], one["due_date"], one["order_amount"]) for one in issued] == [
        ("5/1", "1993-07-12", 100.0),
        ("5/2", "1993-08-12", 100.0),
    ]
    repaid = events("trans.csv", "berka-repayments.toml")
    assert [(one["loan_id"], one["paid_at"], one["amount"]) for one in repaid] == [
        ("5/1", "1993-07-12", 100.0),
        ("5/2", "1993-08-12", 100.0),
    ]


def test_the_page_of_the_commands_is_what_make_docs_writes(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/commands.md"
    fresh = tmp_path / "commands.md"
    command = [
        "typer",
        "streams.__main__",
        "utils",
        "docs",
        "--name",
        "rescore",
        "--title",
        "Commands",
        "--output",
        str(fresh),
    ]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True, cwd=page.parents[1])
    assert fresh.read_text() == page.read_text(), "run `make docs`"
