"""The mapping language: what each filter does, and that its mistakes are told before the first row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from streams.publish.filters import FILTERS, USAGE
from streams.publish.mapping import (
    FileMapping,
    Lookup,
    Mapper,
    MappingMistake,
    condition,
    expression,
    read_mapping,
    template,
)

ROW = {"amount": "1 234,50", "type": "VYDAJ", "date": "930131", "n": 2, "empty": "", "when": "1993-01-31"}


@pytest.mark.parametrize(
    "text, value",
    [
        ("amount", "1 234,50"),
        ("absent", None),
        ("amount | number", Decimal("1234.50")),
        ("amount | negate", Decimal("-1234.50")),
        ("amount | negate | abs", Decimal("1234.50")),
        ("amount | negative_when type VYDAJ VYBER", Decimal("-1234.50")),
        ("amount | positive_when type VYDAJ | negative_when type PRIJEM", Decimal("1234.50")),
        ("amount | times 0.01 | round 2", Decimal("12.34")),  # 12.345, half to even
        ("amount | times n", Decimal("2469.00")),
        ("n | plus 1", 3),
        ("n | plus n", 4),
        ("empty | plus n", 2),
        ("empty | minus amount", Decimal("-1234.50")),
        ("empty | minus empty", None),
        ("empty | negate | number", None),
        ("empty | first_of empty type n", "VYDAJ"),
        ("n | first_of type", 2),
        ("date | date %y%m%d", "1993-01-31"),
        ("date | date %y%m%d | plus_days 1", "1993-02-01"),
        ("date | date %y%m%d | plus_months 1", "1993-02-28"),
        ("date | date %y%m%d | plus_months n", "1993-03-31"),
        ("date | date %y%m%d | next_day_of_month 12", "1993-02-12"),
        ("when | next_day_of_month 28", "1993-02-28"),
        ("type | translate VYDAJ=withdrawal PRIJEM=deposit", "withdrawal"),
        ("type | translate PRIJEM=deposit", "VYDAJ"),
        ("empty | or SUCCEEDED", "SUCCEEDED"),
        ("type | or SUCCEEDED | lower", "vydaj"),
    ],
)
def test_an_expression_gives_the_value_of_a_column_through_its_filters(text: str, value: object) -> None:
    assert expression(text)(ROW) == value


def test_months_after_counts_whole_calendar_months() -> None:
    months = expression("later | months_after earlier")
    assert months({"later": "1994-01-12", "earlier": "1993-12-12"}) == 1
    assert months({"later": "1994-01-11", "earlier": "1993-12-12"}) == 0
    assert months({"later": "1993-12-12", "earlier": "1993-12-12"}) == 0


def test_a_template_puts_expressions_between_words() -> None:
    assert template("L-{n}/{n | plus 1}!")(ROW) == "L-2/3!"
    assert template("CZK")(ROW) == "CZK"


def test_a_value_that_neither_list_of_signs_names_is_refused() -> None:
    sign = expression("amount | negative_when Type DR | positive_when Type CR")
    assert [sign({"amount": "12.00", "Type": word}) for word in ("DR", "CR")] == [Decimal(-12), Decimal(12)]
    for word in ("dr", "Debit", "", None):
        with pytest.raises(ValueError, match=r"which neither negative_when nor positive_when names .named are CR, DR."):
            sign({"amount": "12.00", "Type": word})
    with pytest.raises(ValueError, match="has a minus of its own"):
        sign({"amount": "-12.00", "Type": "DR"})


@pytest.mark.parametrize(
    "text, keeps",
    [("type is VYDAJ A", True), ("type is_not VYDAJ", False), ("empty present", False), ("absent absent", True)],
)
def test_a_condition_keeps_or_leaves_out_a_row(text: str, keeps: bool) -> None:
    assert condition(text)(ROW) is keeps


@pytest.mark.parametrize(
    "text, says",
    [
        ("amount | nubmer", "unknown filter 'nubmer'"),
        ("amount | times", "times NUMBER|COLUMN"),
        ("amount | negative_when type A | positive_when type A", "is not negative_when COLUMN VALUE"),
        ("when | epoch fortnights", "epoch days|seconds"),
        ("| number", "does not begin with a column"),
    ],
)
def test_a_mistake_in_an_expression_is_refused_with_the_way_it_is_written(text: str, says: str) -> None:
    with pytest.raises(MappingMistake, match=says.replace("|", r"\|")):
        expression(text)


def test_every_filter_says_how_it_is_written() -> None:
    assert FILTERS.keys() == USAGE.keys()


def test_an_option_of_the_command_line_goes_over_the_file() -> None:
    mapping = FileMapping(columns={"user_id": "a"}, texts={"currency": "CZK"}).with_options(
        ["user_id:=x", "currency=c"]
    )
    assert (mapping.columns, mapping.texts) == ({"currency": "c"}, {"user_id": "x"})


def test_a_field_that_is_not_ours_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        MappingMistake, match=r"there is no field 'usre_id': did you mean 'user_id'. This topic has amount, user_id"
    ):
        Mapper.of(FileMapping(columns={"usre_id": "a"}), ["user_id", "amount"], {})


def test_a_column_of_our_own_name_needs_no_mapping() -> None:
    mapper = Mapper.of(FileMapping(), ["user_id", "amount"], {})
    assert list(mapper.rows({"user_id": "ann", "amount": "", "other": 1})) == [{"user_id": "ann"}]


def test_a_row_is_joined_repeated_and_filtered() -> None:
    mapping = FileMapping(
        columns={"user_id": "account", "due": "loan.start | plus_months n"},
        texts={"loan_id": "{loan.id}/{n}"},
        derive={"odd": "n | translate 2=no"},
        where=("odd is_not no",),
        lookups={"loan": Lookup("loans.csv", "account", "account")},
        repeat="loan.times",
    )
    mapper = Mapper.of(
        mapping, ["user_id", "loan_id", "due"], {"loan": {"7": {"id": "L", "start": "1993-01-31", "times": "3"}}}
    )
    assert list(mapper.rows({"account": "7"})) == [
        {"user_id": "7", "loan_id": "L/1", "due": "1993-02-28"},
        {"user_id": "7", "loan_id": "L/3", "due": "1993-04-30"},
    ]
    assert list(mapper.rows({"account": "8"})) == []


def test_an_unknown_entry_of_a_mapping_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('topic = "loans"\n[colums]\nuser_id = "a"\n')
    with pytest.raises(MappingMistake, match="unknown entry 'colums'"):
        read_mapping(path)


@pytest.mark.parametrize("path", sorted(Path("docs/examples").glob("*.toml")), ids=lambda path: path.name)
def test_a_shipped_mapping_can_be_read(path: Path) -> None:
    assert read_mapping(path).topic in ("transactions", "loans")
