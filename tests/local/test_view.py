"""What a newcomer sees: full width on a terminal, plain lines elsewhere, the reasons in words."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from local.demo.view import (
    FRAME_LINES,
    Scene,
    counters,
    distributions,
    histogram,
    plain_lines,
    plain_row,
    print_plain,
    render,
    sparkline,
)
from local.demo.words import Row, row_of, why

EVENT = {"kind": "event", "event_id": "t-1", "loan_id": None}
SALARY_REASONS = [
    {"code": "active_days", "text": "more active days", "level": 0.4, "moved": 0.02},
    {"code": "deposits", "text": "deposits", "level": 0.9, "moved": 0.09},
    {"code": "balance", "text": "balance", "level": 0.1, "moved": 0.001},
]


def a_change(**fields: Any) -> dict[str, Any]:
    base = {
        "user_id": "c-001202",
        "score": "value",
        "old": 3.91,
        "new": 4.02,
        "cause": EVENT,
        "reasons": SALARY_REASONS,
    }
    return base | {"old_band": "high", "new_band": "top", "old_text": None, "new_text": None} | fields


def a_late_loan(code: str) -> dict[str, Any]:
    reasons = [
        {"code": "history", "text": "", "level": 0.0, "moved": 0.12},
        {"code": code, "text": "", "level": -0.3, "moved": -0.29},
    ]
    cause = {"kind": "time", "event_id": None, "loan_id": "L-88"}
    return a_change(score="status", old=2.78, new=2.61, cause=cause, reasons=reasons, old_band=None, new_band=None)


def a_row(number: int = 0, **fields: Any) -> Row:
    row = Row("12 Mar 10:31", f"c-{number:06d}", "value", "3.91", "4.02", "high -> top", "salary +2,450 (+0.09)", True)
    return row._replace(**fields)


def a_scene(rows: int | list[Row] = 3, **fields: Any) -> Scene:
    base: dict[str, Any] = {
        "events": 12_480,
        "changes": 3_911,
        "lag_seconds": 0.12,
        "kafka": "127.0.0.1:41873",
        "valkey": "127.0.0.1:40211",
        "rows": rows if isinstance(rows, list) else [a_row(number) for number in range(rows)],
        "values": [1, 2, 5, 7, 5, 3, 2, 1],
        "statuses": [0, 2, 7, 3, 2, 1, 0, 0],
        "classes": {1: 12, 6: 115},
        "story": ["story: Ana's salary arrives", "story: Bruno loses his job"],
        "hints": [".venv/bin/rescore explain c-000417", ".venv/bin/rescore subscribe --score status"],
    }
    return Scene(**(base | fields))


def drawn(scene: Scene, width: int, height: int, **options: Any) -> str:
    settings: dict[str, Any] = {"force_terminal": True, "color_system": "standard", "_environ": {}} | options
    console = Console(file=io.StringIO(), width=width, height=height, **settings)
    console.print(render(scene, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_happened_stands_before_the_reason_that_moved_most() -> None:
    assert why(a_change(), {"t-1": "salary +2,450"}.get) == "salary +2,450 (+0.09), more active days (+0.02)"


def test_an_event_that_is_not_its_own_reason_is_told_beside_the_reasons() -> None:
    reasons = [{"code": "recency", "text": "", "level": 0.1, "moved": 0.2}, *SALARY_REASONS]
    told = why(a_change(reasons=reasons), {"t-1": "salary +2,450"}.get)
    assert told == "salary +2,450: recency (+0.20), deposits (+0.09)"


def test_a_loan_on_its_first_day_past_due_is_told_by_its_lateness_and_not_by_the_longer_history() -> None:
    reasons = [
        {"code": "history", "text": "", "level": 0.9, "moved": 0.25},
        {"code": "late_bdr_30", "text": "", "level": -0.08, "moved": -0.08},
    ]
    told = why(a_late_loan("late_bdr_30") | {"reasons": reasons}, lambda event_id: None)
    assert told == "loan L-88 is 1 day past due (-0.08), history (+0.25)   [time passed]"


def test_without_knowing_the_event_the_reasons_speak_for_themselves() -> None:
    assert why(a_change(), lambda event_id: None) == "deposits (+0.09), more active days (+0.02)"


@pytest.mark.parametrize(
    "code,words",
    [
        ("late_bdr_30", "is 1 day past due"),
        ("LATE_BDR_30_PLUS", "is 31 days past due"),
        ("late_npl", "is 91 days past due"),
        ("late_wo", "is 181 days past due"),
    ],
)
def test_a_loan_that_ages_is_told_by_its_days_past_due(code: str, words: str) -> None:
    told = why(a_late_loan(code), lambda event_id: None)
    assert told.startswith(f"loan L-88 {words} (")
    assert told.endswith("[time passed]")


def test_a_change_without_reasons_is_told_by_its_event_or_its_cause() -> None:
    change = a_change(score="class", old=4.0, new=2.0, reasons=[])
    assert why(change, {"t-1": "loan L-24 repaid 480"}.get) == "loan L-24 repaid 480"
    assert why(change | {"cause": {"kind": "new_weights"}}, lambda event_id: None) == "[new weights]"


def test_a_correction_says_that_it_is_one() -> None:
    told = why(a_change(cause=EVENT | {"kind": "correction"}), {"t-1": "groceries -48"}.get)
    assert told.endswith("   [correction]")


def test_a_row_shows_values_as_people_read_them() -> None:
    def cells(**fields: Any) -> tuple[Any, ...]:
        return row_of(a_change(**fields), "10:31:07", lambda event_id: None)[2:6]

    assert cells() == ("value", "3.91", "4.02", "high -> top")
    assert cells(old=None, old_band=None) == ("value", "-", "4.02", "top")
    assert cells(score="class", old=4.0, new=2.0, old_band=None, new_band=None) == ("class", "4", "2", "-")
    assert cells(score="rfm", old=None, new=None, new_text="545", old_band=None, new_band=None)[:3] == (
        "rfm",
        "-",
        "545",
    )


@pytest.mark.parametrize(
    "fields,up",
    [({}, True), ({"new": 3.5}, False), ({"old": None}, None), ({"score": "class", "old": 4.0, "new": 2.0}, None)],
)
def test_only_scores_that_can_be_better_or_worse_rise_or_fall(fields: dict[str, Any], up: bool | None) -> None:
    assert row_of(a_change(**fields), "", lambda event_id: None).up is up


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("rows", [0, 3, 100])
def test_the_view_never_leaves_the_terminal(width: int, rows: int) -> None:
    lines = drawn(a_scene(rows), width, 24, color_system=None).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= width


def test_a_full_table_shows_the_latest_rows_and_keeps_the_frame() -> None:
    text = drawn(a_scene(100), 160, 20, color_system=None)
    assert f"c-{99:06d}" in text
    assert f"c-{99 - (20 - FRAME_LINES):06d}" not in text
    assert "events 12,480   changes 3,911   lag 0.1 s" in text
    assert "story: Bruno loses his job" in text
    assert "classes 1:12 2:0 3:0 4:0 5:0 6:115" in text
    assert "try: .venv/bin/rescore explain c-000417 · .venv/bin/rescore subscribe --score status" in text


def test_at_80_columns_a_reason_can_be_read_and_commands_are_whole() -> None:
    reason = "loan L-88 is 31 days past due (-0.17), costs of late payments (-0.05)"
    text = drawn(a_scene(rows=[a_row(why=reason)]), 80, 24, color_system=None)
    lines = text.splitlines()
    told = " ".join(line[42:].strip() for line in lines[2:4])
    assert told.startswith("high -> top: loan L-88 is 31 days past due (-0.17)")
    assert "costs" in told
    assert "classes 1:12 2:0 3:0 4:0 5:0 6:115" in text
    assert lines[-1].strip() == "try: .venv/bin/rescore explain c-000417"


def test_the_view_takes_the_whole_width() -> None:
    long = "groceries at a shop with a very long name, " * 3
    lines = drawn(a_scene(rows=[a_row(why=long)]), 120, 24, color_system=None).splitlines()
    assert any(len(line.rstrip()) >= 118 and line.rstrip().endswith("…") for line in lines)


def test_colours_are_there_on_a_terminal_and_not_under_no_color() -> None:
    assert "\x1b[32m" in drawn(a_scene(), 120, 24)
    assert "\x1b[32m" not in drawn(a_scene(), 120, 24, _environ={"NO_COLOR": "1"})


def test_square_brackets_in_a_description_are_shown_as_they_are() -> None:
    assert "[red]shop[/]" in drawn(a_scene(rows=[a_row(why="[red]shop[/]")]), 160, 24, color_system=None)


def test_plain_lines_begin_with_a_heading_and_go_on_with_what_is_new() -> None:
    first, second = a_scene(), a_scene(rows=1, changes=3_950)
    beginning = list(plain_lines(None, first))
    assert beginning[0].startswith("Rescore demo   events 12,480")
    assert beginning[1].split() == ["time", "customer", "score", "old", "new", "band", "why"]
    assert beginning[2:] == [*first.story, *(plain_row(row) for row in first.rows)]
    assert list(plain_lines(first, a_scene(rows=0, story=[*first.story, "story: a loan"]))) == ["story: a loan"]
    assert list(plain_lines(first, second)) == [plain_row(second.rows[0]), counters(second), distributions(second)]
    assert list(plain_lines(first, a_scene(rows=0))) == []


def test_plain_lines_are_not_wrapped_and_hold_no_escape_codes() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    print_plain(console, [plain_row(a_row(why="[x] " + "word " * 40))])
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "[x] word" in text


def test_a_lag_nobody_knows_is_a_dash() -> None:
    assert "lag -" in counters(a_scene(lag_seconds=None))
    assert "lag < 0.1 s" in counters(a_scene(lag_seconds=0.02))


def test_a_sparkline_shows_every_bin_that_holds_something() -> None:
    assert sparkline([1, 0, 1_000]) == "▁ █"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "


def test_scores_at_the_ends_and_beyond_fall_into_the_outer_bins() -> None:
    assert histogram([0.994, 1.0, 1.49, 1.5, 4.99, 5.0]) == [3, 1, 0, 0, 0, 0, 0, 2]
