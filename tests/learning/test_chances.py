"""Figures of chances that fade, and the fairness table: against their definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from local.evaluation.figures import auc, log_loss
from streams.learning.chances import RunningChances
from streams.learning.fairness import FairnessTable


def drawn(n: int = 4_000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    chances = 1 / (1 + np.exp(-rng.normal(-1.0, 1.5, n)))
    return chances, (rng.random(n) < chances).astype(np.float64)


def test_without_fading_the_figures_are_those_of_their_definitions():
    chances, labels = drawn()
    lately = RunningChances()
    for piece in np.array_split(np.arange(len(labels)), 7):
        lately.take(chances[piece], labels[piece], 1e12)
    assert lately.log_loss == pytest.approx(log_loss(labels, chances), abs=1e-6)
    assert lately.auc == pytest.approx(auc(labels, chances), abs=0.003)
    assert lately.calibration_error < 0.03


def test_chances_that_are_too_bold_are_seen_in_the_calibration():
    chances, labels = drawn()
    bold = RunningChances()
    bold.take(np.clip(chances**0.4, 0, 1), labels, 1e12)
    assert bold.calibration_error > 0.1
    said = [group.said for group in bold.calibration()]
    assert said == sorted(said)


def test_old_examples_count_less():
    lately = RunningChances()
    lately.take(np.full(1_000, 0.9), np.zeros(1_000), 50.0)
    lately.take(np.full(500, 0.9), np.ones(500), 50.0)
    assert lately.log_loss == pytest.approx(-np.log(0.9), abs=0.01)


def test_a_certain_and_wrong_chance_is_not_infinitely_bad():
    lately = RunningChances()
    lately.take(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 50.0)
    assert lately.log_loss < 14


def test_figures_survive_as_json():
    chances, labels = drawn(100)
    lately = RunningChances()
    lately.take(chances, labels, 50.0)
    again = RunningChances.of(json.loads(json.dumps(lately.body())))
    assert json.dumps(again.body()) == json.dumps(lately.body())


def test_a_group_that_is_approved_less_often_is_flagged():
    table = FairnessTable()
    aside = [{"sex": "female"}] * 100 + [{"sex": "male"}] * 100 + [{"sex": "other"}] * 5
    favoured = np.array([i % 2 == 0 for i in range(100)] + [i % 4 != 0 for i in range(100)] + [True] * 5)
    table.take(aside, favoured, np.ones(205), label_is_favourable=True)
    female, male, other = table.table()
    assert (female["flagged"], male["flagged"]) == (True, False)
    assert female["approval_ratio"] == pytest.approx(0.5 / 0.75)
    assert female["true_positive_gap"] == pytest.approx(0.25)
    assert (other["approval_ratio"], other["flagged"]) == (None, False)  # too few to judge
    assert FairnessTable.of(json.loads(json.dumps(table.body()))).table() == table.table()


def test_the_number_of_groups_is_bounded():
    table = FairnessTable()
    for i in range(100):
        table.take([{"sex": f"word {i}", f"race {i}": "x"}], np.array([True]), np.array([1.0]), True)
    assert len(table.groups) <= 8
    assert len(table.groups["sex"]) <= 25
