"""Credit acceptance and insurance: the source's request, households, swaps, and answers from anything."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.scoring.models.acceptance import (
    ACCEPTANCE_MANIFEST,
    OPTIONAL_FEATURES,
    accepted,
    household_row,
    monthly_instalment,
    request_id_of,
)
from streams.scoring.models.insurance import answer, home_row, life_row, offered
from streams.versions.packaged_models import packaged_estimator, packaged_model

MODEL = packaged_model("acceptance")

REQUEST = {
    "credit": {
        "lender": "Banco Sabadell", "value": 180000, "loan": 80000, "time": 30, "tin": 3.0, "type": "First Residence",
    },
    "client1": {
        "income": 7000, "renta": 120000, "document": "nie", "contract": "Funcionario",
        "time": 0, "age": 22, "debt_total": 5000, "debt_month": 50,
    },
}  # fmt: skip
"""The source's request."""


def test_the_sources_request_is_accepted():
    found = accepted(MODEL, [household_row(REQUEST)])
    assert found.prediction.tolist() == [1]
    assert 0.5 < found.probability[0] < 1
    assert 0.5 <= found.confidence[0] <= 1


def test_contributions_and_base_sum_to_the_logit_of_the_probability():
    rows = [household_row(REQUEST), {}, household_row({"credit": {"loan": 1e9, "value": 1}, "client1": {"income": 1}})]
    found = accepted(MODEL, rows)
    logits = np.log(found.probability / (1 - found.probability))
    assert np.abs(found.base_logit + found.contributions.sum(axis=1) - logits).max() < 1e-9


def test_features_of_a_household_of_two():
    second = {"income": 3000, "renta": 30000, "contract": "Indefinido", "time": 4, "age": 40, "debt_total": 1000}
    row = household_row({**REQUEST, "client2": second})
    assert row["ltv"] == pytest.approx(80000 / 180000)
    assert row["dti"] == pytest.approx((monthly_instalment(80000, 3.0, 30) + 50) / 10000)
    assert row["loan_to_yearly_income"] == pytest.approx(80000 / 150000)
    assert row["debt_to_income"] == pytest.approx(6000 / 120000)
    assert row["employment"] == 0.0
    assert row["age"] == 31
    assert row["applicants"] == 2
    assert row["contract"] == "Funcionario + Indefinido"


clients = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.floats(0, 1e6) for name in ("income", "renta", "time", "age", "debt_total", "debt_month")},
        "contract": st.sampled_from(["Funcionario", "Indefinido", ""]),
        "document": st.sampled_from(["nie", "dni"]),
    },
)


@given(clients, clients)
def test_swapping_the_clients_changes_nothing(first, second):
    one = household_row({**REQUEST, "client1": first, "client2": second})
    other = household_row({**REQUEST, "client1": second, "client2": first})
    assert one == other


anything = st.one_of(
    st.none(), st.floats(), st.integers(), st.text(max_size=5), st.booleans(), st.lists(st.integers(), max_size=2)
)


@given(
    st.dictionaries(st.sampled_from(["lender", "value", "loan", "time", "tin", "type"]), anything), anything, anything
)
def test_whatever_a_request_says_the_answer_is_a_probability(credit, client1, income):
    row = household_row({"credit": credit, "client1": client1, "client2": {"income": income, "contract": income}})
    found = accepted(MODEL, [row])
    assert 0.0 <= found.probability[0] <= 1.0
    assert not any(isinstance(value, float) and math.isnan(value) for value in row.values())


def test_a_loan_above_the_propertys_value_and_debts_beyond_the_income_speak_against():
    plain = household_row(REQUEST)
    found = accepted(MODEL, [plain, plain | {"ltv": 1.2}, plain | {"dti": 0.8}])
    assert found.probability[0] > max(found.probability[1:])
    names = [*ACCEPTANCE_MANIFEST.names]
    assert found.contributions[1, names.index("ltv")] < 0
    assert found.contributions[2, names.index("dti")] < 0


def test_age_and_document_are_carried_and_not_looked_at():
    names = {feature.name for feature in OPTIONAL_FEATURES}
    assert names <= household_row(REQUEST).keys()
    assert not names & {*ACCEPTANCE_MANIFEST.names}


def test_the_two_rentas_never_share_a_feature():
    more = {**REQUEST, "client1": {**REQUEST["client1"], "renta": 60000}}
    before, after = household_row(REQUEST), household_row(more)
    assert {name for name in before if before[name] != after[name]} == {"loan_to_yearly_income"}


def test_feedback_teaches_a_lenders_strictness():
    model = packaged_estimator("acceptance")
    row = household_row(REQUEST)
    other = row | {"lender": "Another"}
    before = model.probabilities([row, other])
    for _ in range(60):
        model.learn_one(row, False)
    after = model.probabilities([row, other])
    assert after[0] < before[0]
    assert after[0] < after[1]


def test_request_numbers_are_below_two_to_the_53_and_differ():
    numbers = {request_id_of(f"partition 3, offset {i}".encode()) for i in range(10_000)}
    assert len(numbers) == 10_000
    assert all(0 <= number < 2**53 for number in numbers)
    assert request_id_of(b"x") == request_id_of(b"x")


@pytest.mark.parametrize(
    "body", [{"bank": "Sabadell", "appraisal_amount": 0}, {}, {"appraisal_amount": "much"}, {"bank": 7}]
)
def test_home_insurance_answers_anything(body):
    found, probability = offered(packaged_model("home_insurance"), [home_row(body)])
    assert answer(bool(found[0])) in ("true", "false")
    assert found[0] == (probability[0] >= 0.5)


def test_life_insurance_at_the_standard_premium_is_for_the_younger():
    ages = [30, 50, 75, 0]
    rows = [
        life_row({"bank": "Sabadell", "mortgage_amount": 150000, "age": age, "applicants_count": 1}) for age in ages
    ]
    found, probability = offered(packaged_model("life_insurance"), rows)
    assert found[0]
    assert not found[2]
    assert probability[0] > probability[1] > probability[2]
    assert "age" not in rows[3]
