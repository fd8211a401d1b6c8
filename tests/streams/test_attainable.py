"""What would have been enough is true: done, it leads to the score and the band that were told."""

from __future__ import annotations

import math

import pytest

from state.row import Override, Row
from streams.customers.counterfactuals import WORDS, Way, data_used, ways
from streams.scoring.status import status_of_counts
from tests.scoring.customers import Customers, at_ms, of

POOR = {"income": 1_500.0, "debt": 900.0, "renta": 700.0, "debt_total": 40_000.0, "loan_amount": 20_000.0}


def told(world: Customers, score: str) -> list[Way]:
    return [way for way in ways(world.row("ann"), world.versions) if way.score == score]


def account() -> Customers:
    world = Customers()
    world.transaction(0, 1_400.0)
    return world


def world_of(**declared: float) -> Customers:
    world = account()
    world.declared(1, **declared)
    return world


def test_declaring_what_would_have_been_enough_leads_to_the_band_and_score_that_were_told() -> None:
    (first,) = of(account().declared(1, **POOR), "risk")
    assert first["new"] <= 0.70  # high: a chance of default of 0.30 or more
    near = told(world_of(**POOR), "risk")
    assert near
    for way in near:
        assert way.then_band == "medium"
        assert way.needed is not None
        changed = dict(POOR) if way.name == "together" else {**POOR, way.name: way.needed}
        if way.name == "together":
            changed |= {name: POOR[name] * way.needed for name in POOR if name != "income"}
        (done,) = of(account().declared(1, **changed), "risk")
        assert 0.70 < done["new"] <= 0.90
        assert done["new"] == pytest.approx(way.then, abs=1e-9)


def test_who_has_the_best_band_needs_nothing_and_who_declared_nothing_has_no_way() -> None:
    best = {"income": 9_000.0, "debt": 0.0, "renta": 300.0, "debt_total": 0.0, "working_time": 5_000.0, "moroso": 0.0}
    world = world_of(**best)
    assert [way.then_band for way in told(world, "risk")] in ([], ["low"])
    empty = Customers()
    empty.transaction(0, 10.0)
    assert ways(empty.row("ann"), empty.versions) == []
    assert ways(Row(), empty.versions) == []


def test_paying_what_is_past_due_leads_to_the_revenue_that_was_told() -> None:
    world = Customers()
    world.issued(0, "L-1", due=5)
    world.issued(0, "L-2", due=60)
    world.advance(20)
    (way,) = told(world, "revenue")
    assert way.name == "past_due"
    found = of(world.repaid(20, "L-1"), "revenue")
    assert found[-1]["new"] == pytest.approx(way.then, abs=1e-9)
    assert told(world, "revenue") == []


def test_as_many_loans_on_time_as_were_told_reach_the_next_level() -> None:
    world = Customers()
    world.issued(0, "L-1", due=5)
    world.repaid(40, "L-1")
    (way,) = told(world, "status")
    assert way.needed is not None
    assert way.words == f"{way.needed:.0f} more loans repaid on time" or way.needed == 1
    before = world.row("ann").status_level
    for number in range(int(way.needed)):
        assert world.row("ann").status_level == before
        world.issued(41 + number, f"N-{number}", due=60 + number)
        last = of(world.repaid(42 + number, f"N-{number}"), "status")
    assert world.row("ann").status_level == before + 1
    assert last[-1]["new"] == pytest.approx(way.then, abs=1e-9)


def test_the_status_that_would_be_is_the_formulas_value_and_not_the_threshold() -> None:
    world = Customers()
    world.issued(0, "L-1", due=5)
    world.repaid(40, "L-1")
    (way,) = told(world, "status")
    threshold = float(world.versions.weights[-1].status_terciles[0]) + world.policy.status_margin
    counts = (int(way.needed or 0), 0, 1, 0, 0)
    assert way.then == pytest.approx(status_of_counts(*counts))
    assert way.then > threshold + 0.001
    assert way.text.endswith(f"status would be {status_of_counts(*counts):.3f}, average")


def applied(declared: dict[str, float], words: str) -> dict[str, float]:
    """What was declared, with what the words of a way say."""
    if "smaller by" in words:
        left = 1.0 - float(words.rpartition(" ")[2].rstrip("%")) / 100
        return declared | {name: declared[name] * left for name in declared if name != "income"}
    thing, _, numbers = words.partition(" of ") if " of housing" not in words else words.partition(" housing of ")
    name = next(name for name, text in WORDS.items() if text.startswith(thing))
    return declared | {name: float(numbers.split()[0].replace(",", ""))}


@pytest.mark.parametrize("income", [1_200.0, 1_333.33, 1_871.0])
def test_a_way_applied_as_it_is_worded_leads_to_the_score_that_was_told(income: float) -> None:
    declared = {**POOR, "income": income, "debt": 871.31}
    near = told(world_of(**declared), "risk")
    assert near
    for way in near:
        (done,) = of(account().declared(1, **applied(declared, way.words)), "risk")
        assert done["new"] == pytest.approx(way.then, abs=1e-9), way
        assert done["new"] > 0.70


def test_a_score_that_a_person_holds_has_no_way() -> None:
    world = world_of(**POOR)
    row = world.row("ann")
    row.overrides.append(Override(6, 0.5, row.clock_ms + 1, b"kim"))
    assert [way for way in ways(row, world.versions) if way.score == "risk"] == []


def test_the_data_used_are_told_with_their_words_and_nothing_that_was_not_declared() -> None:
    used = dict(data_used(world_of(**POOR).row("ann"), "risk"))
    assert used["a monthly income"] == 1_500.0
    assert used["transactions"] == 1
    assert "days in employment" not in used
    assert not any(isinstance(value, float) and math.isnan(value) for value in used.values())
    way = Way("risk", "debt", "monthly payments on debts of 300.00 instead of 900.00", 900.0, 300.0, 0.75, "medium")
    assert way.text.endswith("instead of 900.00: risk would be 0.750, medium")
    assert at_ms(0) > 0
