"""What is shown: nothing that a terminal obeys, hides or reorders passes, and programs get every character."""

from __future__ import annotations

import io
import json
import logging
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.padding import Padding
from rich.text import Text

from schemas.errors import Exit, RescoreError
from schemas.printable import json_text, printable, toml_text
from streams.commands.common import guarded
from streams.monitoring.logs import JsonLines, TextLines
from streams.terminal import console, echo, print_json, quoted, say, table
from streams.terminal_rich import SafeConsole
from tests.streams.hostile import HOSTILE, SHOWN, check_clean

ANY_TEXT = st.text(st.characters(), max_size=40)  # surrogates too: bytes of an argument that are no UTF-8
BAD = "\x1b\x00\x07\x7f\x9b\u202e\u2066\u200b\u2028\ufeff\udcff\ufe0f\u3164\U000e0041"


@given(ANY_TEXT)
@example(HOSTILE)
@example(BAD)
def test_everything_that_is_shown_is_printable_and_good_text_is_left_alone(text: str) -> None:
    check_clean(printable(text))
    assert printable(printable(text)) == printable(text)
    assert printable("Zoë 日本 [x] 12,5 %") == "Zoë 日本 [x] 12,5 %"
    assert not set(printable(text)) & set(BAD)


def test_escapes_are_those_of_python() -> None:
    assert printable(HOSTILE) == SHOWN
    for letter in "\x1b\x07\x9b\u202e\u200b\n\r\t\u2028":
        assert printable(letter) == repr(letter).strip("'")


@given(st.dictionaries(ANY_TEXT, st.one_of(ANY_TEXT, st.floats(allow_nan=False, allow_infinity=False), st.none())))
@example({HOSTILE: BAD})
def test_json_is_exact_and_safe(value: dict[str, object]) -> None:
    written = json_text(value)
    check_clean(written)
    assert json.loads(written) == value


@given(st.text(max_size=40))
@example(HOSTILE)
def test_toml_is_exact_and_safe(text: str) -> None:
    written = toml_text(text)
    check_clean(written)
    assert tomllib.loads(f"a = {written}") == {"a": text}


@given(ANY_TEXT)
@example(HOSTILE)
@example("[/]")
@example(":smile:")
def test_a_console_shows_what_it_is_given_whatever_it_is_given_in(text: str) -> None:
    told = io.StringIO()
    shown = SafeConsole(file=told, width=300)
    rows = table(text, title=text)
    rows.add_row(text)
    for what in (text, Text(text), rows, Padding(text, 1)):
        shown.print(what)
    check_clean(told.getvalue().replace("FAKE", "fake"))  # a text that is printed has lines; a cell has none
    cell = io.StringIO()
    SafeConsole(file=cell, width=300).print(rows)
    check_clean(cell.getvalue())


def test_lines_tables_failures_and_json_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE, "next")
    say((HOSTILE, "bold"), HOSTILE)
    rows = table("id")
    rows.add_row(HOSTILE)
    console().print(rows)
    print_json({"id": HOSTILE})

    @guarded
    def fails() -> None:
        raise RescoreError("no customer " + HOSTILE.replace("\n", " "), HOSTILE, Exit.FAILURE)

    with pytest.raises(Exception, match="1"):
        fails()
    told = capsys.readouterr()
    check_clean(told.out)
    check_clean(told.err)
    assert told.out.count(SHOWN) == 4
    assert json.loads(told.out.splitlines()[-1]) == {"id": HOSTILE}
    assert told.err.count("[red]x[/]") == 2


def test_log_lines_are_escaped_and_tracebacks_keep_their_lines() -> None:
    record = logging.LogRecord("rescore", logging.ERROR, "", 0, "halted: %s", (HOSTILE,), None)
    text = TextLines("%(levelname)s %(message)s").format(record)
    check_clean(text)
    assert text == f"ERROR halted: {SHOWN}"
    line = JsonLines().format(record)
    check_clean(line)
    assert json.loads(line)["message"] == f"halted: {HOSTILE}"


def test_an_id_in_a_command_to_be_copied_is_one_argument() -> None:
    assert quoted("c-000417") == "c-000417"
    assert quoted("a; reboot") == "'a; reboot'"
