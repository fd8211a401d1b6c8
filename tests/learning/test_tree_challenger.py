"""Trees as challengers: the same to the bit however often they are grown again, bounded, and they unlearn."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.learning.cases import Labelled
from streams.learning.tree_challenger import TreeChallenger
from streams.scoring.models.manifest import Feature
from streams.scoring.models.specs import Challenger

FEATURES = (Feature("dti", knots=(-2.0, 0.0, 2.0)), Feature("ltv"), Feature("type", kind="category"))
KINDS = {"tree": Challenger(kind="tree", window_examples=60), "forest": Challenger(kind="forest", window_examples=60)}


def people(count: int, first: int = 0) -> list[Labelled]:
    rng = np.random.default_rng((3, first))
    found = []
    for i in range(first, first + count):
        dti, ltv = rng.normal(0, 1, 2).round(6).tolist()
        row = {"dti": dti, "ltv": ltv, "type": ("car", "van")[i % 2]}
        label = float(rng.random() < 1 / (1 + np.exp(-3 * dti)))
        found.append(Labelled(i, b"user%02d" % (i % 40), b"case%012d" % i, row, {}, label, i))
    return found


def grown_again(tree: TreeChallenger, kind: str) -> TreeChallenger:
    again = TreeChallenger(KINDS[kind], FEATURES)
    rows = [(number, json.loads(row)) for number, row in tree.rows.items()]
    again.restore(json.loads(json.dumps(tree.body())), rows)
    return again


@pytest.mark.parametrize("kind", KINDS)
def test_grown_again_after_any_number_of_examples_it_says_the_same_to_the_bit(kind):
    calm, restarted, asked = TreeChallenger(KINDS[kind], FEATURES), TreeChallenger(KINDS[kind], FEATURES), people(20)
    rows = [one.inputs for one in asked]
    for start in range(0, 200, 23):
        part = people(23, start)
        assert calm.learn_before(part).tolist() == restarted.learn_before(part).tolist()
        restarted = grown_again(restarted, kind)
        assert calm.probabilities(rows).tolist() == restarted.probabilities(rows).tolist()
        assert calm.rows == restarted.rows
        assert len(calm.rows) <= 60


@pytest.mark.parametrize("erased", [[0], [4, 30, 31], list(range(20)), list(range(40))])
def test_an_erased_customer_is_unlearned_and_a_restart_makes_no_difference(erased):
    calm = TreeChallenger(KINDS["tree"], FEATURES)
    calm.learn_before(people(130))
    gone = {b"user%02d" % user: 1_000 for user in erased}
    calm.forget(gone)
    assert not [row for row in calm.rows.values() if bytes.fromhex(json.loads(row)[1]) in gone]
    restarted, rows = grown_again(calm, "tree"), [one.inputs for one in people(30)]
    assert calm.probabilities(rows).tolist() == restarted.probabilities(rows).tolist()
    for start in (130, 170, 200):
        more = people(35, start)
        assert calm.learn_before(more).tolist() == restarted.learn_before(more).tolist()
        restarted = grown_again(restarted, "tree")
    assert calm.probabilities(rows).tolist() == restarted.probabilities(rows).tolist()


def test_what_is_known_after_an_erasure_stays():
    tree = TreeChallenger(KINDS["tree"], FEATURES)
    tree.learn_before(people(50))
    tree.forget({b"user03": 20})
    assert [number for number in range(50) if number not in tree.rows] == [3]
    assert tree.changed[3] is None


def test_a_tree_that_was_unlearned_is_the_tree_that_never_saw_them():
    tree, never = TreeChallenger(KINDS["tree"], FEATURES), TreeChallenger(KINDS["tree"], FEATURES)
    tree.learn_before(people(25))
    tree.forget({b"user07": 100})
    never.learn_before([one for one in people(25) if one.user_hash != b"user07"])
    rows = [one.inputs for one in people(30)]
    assert tree.probabilities(rows).tolist() == never.probabilities(rows).tolist()


def test_it_finds_what_made_the_labels_and_forgets_no_later_than_its_window():
    tree = TreeChallenger(Challenger(kind="tree", window_examples=2_000), FEATURES)
    tree.learn_before(people(1_500))
    low, high = tree.probabilities([{"dti": -1.5, "ltv": 0.0}, {"dti": 1.5, "ltv": 0.0}])
    assert low < 0.2
    assert high > 0.8
    assert max(tree.probabilities([{"dti": 2.0}])) <= 0.99


def test_one_case_in_so_many_is_taken_by_its_hash_alone():
    tree = TreeChallenger(Challenger(kind="forest", window_examples=100, one_in=4), FEATURES)
    cases = [hashlib.blake2b(b"%d" % i, digest_size=16).digest() for i in range(2_000)]
    taken = [case for case in cases if tree.takes(case)]
    assert 400 < len(taken) < 600
    assert taken == [case for case in cases if tree.takes(case)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(), st.sampled_from([1e308, -1e308, 5e-324, float("nan"), float("inf")]), st.text()),
            st.one_of(st.floats(), st.integers(-(10**400), 10**400).map(str)),
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_no_input_breaks_a_tree_and_every_chance_is_one(rows):
    tree = TreeChallenger(Challenger(kind="tree", window_examples=20), FEATURES)
    for i, (dti, ltv, label) in enumerate(rows):
        one = Labelled(i, b"u", b"case%012d" % i, {"dti": dti, "ltv": ltv}, {}, float(label), i)
        tree.learn_before([one] * 15)
    chances = tree.probabilities([{"dti": dti, "ltv": ltv} for dti, ltv, _ in rows])
    assert ((chances >= 0.01) & (chances <= 0.99)).all()


SAY = """
from tests.learning.test_tree_challenger import KINDS, FEATURES, TreeChallenger, people
tree = TreeChallenger(KINDS["forest"], FEATURES)
print(tree.learn_before(people(90)).tolist())
"""


def test_the_order_in_which_a_process_hashes_words_makes_no_difference():
    said = {
        subprocess.run(
            [sys.executable, "-c", SAY], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "77")
    }  # fmt: skip
    assert len(said) == 1
