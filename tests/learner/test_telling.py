"""What the learner tells of credit models: metrics by model and version, a log line for what is out of the ordinary."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from streams.learner.loop import LearnerReport
from streams.learner.metrics import LearnerLines, LearnerMetrics, LearnerObservers
from streams.learning.rounds import Round
from tests.learner.credit_synthetic import FIRST_DAY, Lender
from tests.learner.test_credit_governance import PROMOTE, flipped


def test_figures_cases_and_drifts_of_credit_models_are_told(caplog: pytest.LogCaptureFixture):
    lender, registry = Lender(flipped(40, 44)), CollectorRegistry()
    told = LearnerObservers(LearnerMetrics(registry), LearnerLines(logging.getLogger("told")))
    lender.live(30)
    lender.live(1, PROMOTE)
    lender.live(14)
    with caplog.at_level(logging.INFO, "told"):
        told.learned(LearnerReport(Round(FIRST_DAY), lender.rounds.model, lender.rounds.credit))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"rescore_learner_{name}", {"model": "leases", **labels})

    for version in ("steady", "nimble", "champion"):
        assert 0.6 < (value("auc", version=version) or 0) < 0.95
        assert 0.2 < (value("log_loss", version=version) or 0) < 1.5
    assert value("cases") == len(lender.model.cases)
    assert value("cases_bytes") == lender.model.cases.size_bytes
    assert value("case_ends", end="requests") == 45 * 40
    assert value("quarantine") == 1
    assert "its log loss rose" in caplog.text
    assert "leases: 7 outcomes taught nothing: their label is neither 0 nor 1" not in caplog.text
    lender.model.cases.counts.update(refused=7)
    with caplog.at_level(logging.INFO, "told"):
        told.learned(LearnerReport(Round(FIRST_DAY), lender.rounds.model, lender.rounds.credit, unknown=3))
        told.learned(LearnerReport(Round(FIRST_DAY), lender.rounds.model, lender.rounds.credit, unknown=3))
    assert caplog.text.count("leases: 7 outcomes taught nothing: their label is neither 0 nor 1") == 1
    assert caplog.text.count("3 requests or outcomes name a model that does not exist") == 1
    assert registry.get_sample_value("rescore_learner_unknown_model_records") == 3
    told.started(FIRST_DAY, 1)  # what an earlier life of the learner has told is not told again
    caplog.clear()
    with caplog.at_level(logging.INFO, "told"):
        told.learned(LearnerReport(Round(FIRST_DAY), lender.rounds.model, lender.rounds.credit, unknown=5))
    assert "taught nothing" not in caplog.text
    assert "does not exist" not in caplog.text
