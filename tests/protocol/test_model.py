"""Ours keeps every promise in every order of events; designs that look as good break one."""

from __future__ import annotations

import pytest

from tests.protocol.model import Budget, Design, Model, explore


@pytest.mark.parametrize(
    "model",
    [
        Model(),
        Model(events=1, budget=Budget(rebalances=2, crashes=0)),
        Model(events=1, upgrade=False, budget=Budget(crashes=2, rollbacks=0)),
    ],
    ids=["everything once", "two rebalances", "two crashes"],
)
def test_our_design_keeps_every_promise_in_every_order_of_events(model: Model) -> None:
    result = explore(model)
    assert result.broken is None
    assert result.states > 5_000


def test_running_the_program_again_from_the_applied_offset_makes_what_was_never_committed() -> None:
    result = explore(Model(Design(recovery="rerun", compare="offset"), timer=False))
    assert result.broken is not None
    assert "never committed" in result.broken.promise


def test_a_store_that_compares_offsets_does_not_see_that_a_timer_has_fired() -> None:
    result = explore(Model(Design(compare="offset"), upgrade=False))
    assert result.broken is not None
    assert "says that it is current" in result.broken.promise


def test_a_transaction_of_timers_that_sends_no_positions_is_a_zombies_chance() -> None:
    result = explore(Model(Design(timers_send_positions=False), upgrade=False))
    assert result.broken is not None
    assert any("sends no positions" in step for step in result.broken.story)


def test_offsets_that_are_not_stable_yet_hide_what_is_decided() -> None:
    result = explore(Model(Design(stable_offsets=False)))
    assert result.broken is not None
    assert "the owner goes on" in result.broken.promise
