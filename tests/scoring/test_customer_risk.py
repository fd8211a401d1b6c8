"""The risk of a customer in a stream is that of the model for rows of people, and explains itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import DECLARED
from streams.scoring.customer_risk import (
    RISK_FEATURES,
    RISK_LAYOUT,
    RISK_LEVELS,
    RISK_PLACES,
    Behaviour,
    band_confidence,
    credit_score,
    late_floor,
    risk_band,
    risk_inputs,
    risk_reasons,
    risk_sums,
    tempered_logit,
)
from streams.scoring.models import risk
from streams.scoring.models.additive import Additive
from streams.scoring.tables import risk_model_of
from streams.versions.known import Known, first_policy, packaged_risk
from tests.scoring.customers import Customers, of

VERSIONS = Known.first(first_policy("EUR", "UTC")).versions
FLOORS = np.array(risk.CATEGORY_FLOORS)
amounts = st.just(math.nan) | st.floats(-1e7, 1e7)


@given(
    declared=st.lists(amounts, min_size=8, max_size=8),
    seen=st.builds(
        Behaviour,
        st.just(True),
        *(st.integers(0, 10**9),) * 2,
        st.integers(-(10**9), 10**9),
        *(st.integers(0, 30),) * 2,
        st.just(math.nan) | st.floats(1.0, 5.0),
        st.sampled_from([0, 1, 31, 91, 181]),
    ),
)
def test_one_customer_in_a_stream_is_scored_like_a_row_of_people(declared: list[float], seen: Behaviour) -> None:
    people = risk.declared_of([dict(zip(DECLARED, declared, strict=True))])
    shown = risk.behaviour_of([seen._asdict()])
    weights = packaged_risk()
    model = Additive(RISK_LAYOUT._replace(knots=weights.knots), weights.mean, weights.covariance, weights.phi_mean)
    with np.errstate(invalid="ignore", divide="ignore"):
        features = risk.risk_features(people, shown)
    expected = risk.risk_of(model, features)
    inputs, levels = np.zeros(RISK_FEATURES), np.zeros(RISK_LEVELS)
    at, share = np.zeros(RISK_PLACES, np.int64), np.zeros(RISK_PLACES)
    risk_inputs(np.array(declared), seen, inputs)
    total, variance = risk_sums(inputs, risk_model_of(VERSIONS, 0), at, share)
    score = credit_score(tempered_logit(total, variance))
    base = risk_reasons(inputs, risk_model_of(VERSIONS, 0), at, share, levels)
    assert score == pytest.approx(expected.credit_score[0], abs=1e-12)
    assert risk_band(score, FLOORS) == expected.category[0]
    assert band_confidence(total, variance, FLOORS) == pytest.approx(expected.confidence[0], abs=1e-9)
    assert base + levels.sum() == pytest.approx(score, abs=1e-9)


def test_days_past_due_count_by_the_state_they_make() -> None:
    assert [late_floor(days) for days in (0, 1, 30, 31, 90, 91, 180, 181, 999)] == [0, 1, 1, 31, 31, 91, 91, 181, 181]


def test_a_customer_has_a_risk_once_something_is_declared_and_it_worsens_as_a_loan_ages() -> None:
    world = Customers()
    world.issued(0, "L-1", due=20)
    assert of(world.transaction(1, 500.0), "risk") == []
    (first,) = of(world.declared(2, income=2_500.0, debt=350.0, renta=800.0), "risk")
    assert 0.0 < first["new"] < 1.0
    levels = [level for level, _ in first["reasons"].values()]
    assert first["base"] + sum(levels) == pytest.approx(first["new"], abs=1e-9)
    later = of(world.advance(60), "risk")
    assert len(later) >= 1
    for change in later:
        assert change["new"] < change["old"]
        assert change["cause"] == "time"
        assert sum(moved for _, moved in change["reasons"].values()) == pytest.approx(change["new"] - change["old"])
    assert later[0]["day"] in (21, 51)
