"""A set goes through the real deployment: Kafka and Valkey, worker and learner as processes, the same as in memory."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest

from local.evaluation import hmda, purchases
from local.evaluation.dataset import UnusableDataset
from local.evaluation.deployment import OnKafka, environment_of
from local.evaluation.in_process import InProcess
from local.evaluation.journey import HISTORIES, journey_of
from local.evaluation.requests import answers_of, ask, terms_of
from local.evaluation.requests import sendings_of as requests_of
from local.evaluation.value_report import evaluate_value, sendings_of
from schemas.batch import DAY_MS
from schemas.known_schemas import StaticRegistry
from schemas.topic_values import Values
from streams.learning.value_regression import design_of
from tests.evaluation.test_histories import write_cdnow
from tests.evaluation.test_labelled import write_hmda


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("cdnow") / "cdnow_sample.txt.gz"
    return purchases.cdnow(write_cdnow(path, customers=300, days=150))


def on_kafka(kafka, valkey, prefix, folder, terms=HISTORIES):
    own = {name: value for name, value in os.environ.items() if not name.startswith("RESCORE_")}
    named = {"RESCORE_TOPIC_PREFIX": f"{prefix}.", "RESCORE_APP": prefix.strip("-")}
    return OnKafka(environment_of(own | named, kafka.bootstrap_servers, valkey.url, terms), folder, terms.declared)


def test_a_set_through_kafka_and_in_this_process_gives_the_same_to_the_byte(data, kafka, valkey, prefix, tmp_path):
    told = Counter()
    deployment = on_kafka(kafka, valkey, prefix, tmp_path)
    there = evaluate_value(data, deployment, told=lambda taken, of: told.update({taken: 1, "of": of - told["of"]}))
    here = evaluate_value(data, InProcess())
    assert there.figures == here.figures
    assert there.coverage() == here.coverage()
    for name in ("inputs", "forecasts", "labels"):
        assert getattr(there.journey, name).tobytes() == getattr(here.journey, name).tobytes()
    assert there.journey.weights.beta.tobytes() == here.journey.weights.beta.tobytes()
    assert there.journey.rows == here.journey.rows
    assert there.journey.versions > 1  # something was learned and came into force on the way
    events = sum(p.time_ms < data.cut_ms for p in data.purchases)
    assert told["of"] == events + 2  # and the end of time in both partitions
    assert max(taken for taken in told if taken != "of") == events + 2
    with pytest.raises(UnusableDataset, match="hold records already"):
        on_kafka(kafka, valkey, prefix, tmp_path)


def test_an_example_was_forecast_before_any_label_of_its_days_was_known(data):
    """What comes thirty days after the inputs cannot have moved the forecast that was made with them."""
    cut_ms = data.cut_ms
    before = [p for p in data.purchases if p.time_ms < cut_ms]
    journey = journey_of(InProcess().play(sendings_of(before, 10.0), cut_ms, lambda *_: None), StaticRegistry(), cut_ms)
    early = cut_ms - 8 * DAY_MS
    until = [p for p in before if p.time_ms < early]
    part = journey_of(InProcess().play(sendings_of(until, 10.0), early, lambda *_: None), StaticRegistry(), early)
    same = len(part.labels)
    assert 50 < same < len(journey.labels)
    assert np.array_equal(part.forecasts, journey.forecasts[:same])
    assert np.array_equal(part.labels, journey.labels[:same])


def test_forecasts_at_the_end_are_those_of_the_published_weights(data):
    report = evaluate_value(data, InProcess())
    journey = report.journey
    some = journey.customers[:5]
    weights = journey.weights
    assert np.allclose(journey.forecast(some), design_of(journey.present(some), weights.knots).predict(weights.beta))
    assert set(journey.scores) == set(journey.customers)
    assert all(1.0 <= score <= 5.0 for score in journey.scores.values())


def test_rows_through_kafka_and_in_this_process_are_answered_the_same(kafka, valkey, prefix, tmp_path):
    data = hmda.load(write_hmda(tmp_path / "hmda.csv", 150))
    deployment = on_kafka(kafka, valkey, prefix, tmp_path, terms_of(data))
    there = ask(data, deployment, StaticRegistry(), lambda *_: None)
    here = ask(data, InProcess(terms_of(data)), StaticRegistry(), lambda *_: None)
    assert np.array_equal(there.chances, here.chances)
    assert np.array_equal(there.logit_variances, here.logit_variances)
    assert np.array_equal(there.labels, data.labels)
    assert (there.states, there.refused) == (here.states, 0)
    assert there.states >= 15


def test_a_row_is_answered_before_its_own_outcome_and_those_of_its_epoch_are_learned(tmp_path):
    data = hmda.load(write_hmda(tmp_path / "hmda.csv", 200))

    def answers(labels):
        turned = data._replace(labels=labels)
        outputs = InProcess(terms_of(turned))
        return ask(turned, outputs, StaticRegistry(), lambda *_: None).chances

    chances = answers(data.labels)
    turned = answers(np.where(np.arange(200) >= 100, 1 - data.labels, data.labels))
    same = np.flatnonzero(turned != chances)[0]
    assert 100 < same <= 110  # the first who asked after the first turned outcomes had been learned


def test_what_is_protected_stands_aside_and_a_model_is_answered_by_the_latest_state(tmp_path):
    data = hmda.load(write_hmda(tmp_path / "hmda.csv", 60))
    outputs = InProcess(terms_of(data)).play(requests_of(data), 1_704_067_200_000 + 4_200_000, lambda *_: None)
    said = answers_of(data, outputs, StaticRegistry())
    assert len(said.chances) == 60
    values = Values(StaticRegistry())
    told = [values.decode("rescore-examples", record.value) for record in outputs.records["rescore-examples"]]
    requests = [one for one in told if one["kind"] == "request"]
    assert {*requests[0]["aside"]} >= {"race", "marital status"} - set(data.manifest.names)
    assert not set(requests[0]["inputs"]) - set(data.manifest.names)
    with pytest.raises(ValueError, match="61 rows were sent; 60 requests"):
        answers_of(data._replace(rows=[*data.rows, data.rows[0]]), outputs, StaticRegistry())
