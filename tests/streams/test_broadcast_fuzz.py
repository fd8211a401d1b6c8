"""Mutated broadcast bodies: each is refused with its field named, or scores a stream to finite numbers in their range.

Valid bodies are those that are packaged and those our own commands make. Worker and learner read alike: both are given
what is accepted. `RESCORE_TEST_MUTATIONS` plays more of them than the suite has time for.
"""

from __future__ import annotations

import io
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
import numpy as np
import pytest

from schemas.batch import DAY_MS, EventBatch, Record
from schemas.codec import Encoder, StaticRegistry, encode_value
from schemas.definitions import parsed
from schemas.kinds import Kind, Score
from state.category_text import body_of_counts
from state.table import Table
from streams.learning.bayesian import BayesianLogisticRegression
from streams.learning.cases import CaseExample
from streams.learning.credit_learner import CreditLearner
from streams.learning.epochs import LearningPolicy
from streams.learning.value_learner import ValueLearner
from streams.scoring.models.additive import logistic, sums_of, tempered
from streams.scoring.models.specs import PACKAGED_SPECS, body_of_spec, spec_at
from streams.scoring.reference import step as oracle
from streams.scoring.step import Clocks, Step, step
from streams.versions.bodies import body_of_learning, body_of_policy, body_of_weights, packaged_weights
from streams.versions.known import REPORT, Known, UnknownFormula, first_policy, first_records, reader
from streams.versions.packaged_models import packaged_body, packaged_model
from streams.versions.packaged_profiles import packaged_profiles
from streams.versions.profile_files import body_of_profile
from streams.versions.records import weights_value
from streams.versions.schema.weights import COEFFICIENT_MAX
from tests.learner.synthetic import examples_of
from tests.scoring import random_streams
from tests.scoring.test_step_equals_oracle import assert_same, cut_batches
from tests.streams.mutations import mutated

MUTATIONS = int(os.environ.get("RESCORE_TEST_MUTATIONS", "40"))
"""Of each body."""
ENCODER, READ = Encoder(StaticRegistry()), reader(StaticRegistry(), "")
FORECAST_MAX = 49 * COEFFICIENT_MAX
PERSONS = (Kind.ERASE, Kind.OVERRIDE, Kind.LIFT)
"""What persons order: it ends a score, or holds it at any number."""


def stream() -> EventBatch:
    """A random stream without what persons order."""
    batch = random_streams.stream(7, events=200, users=4, gap_days=1.5)
    events = batch.events[~np.isin(batch.events["kind"], PERSONS)].copy()
    (part,) = cut_batches(EventBatch(0, batch.records, events, batch.text, batch.users), [])
    return part


STREAM = stream()
END_MS = int(STREAM.events["timestamp_ms"].max()) + 40 * DAY_MS
FIRST = tuple(
    Record(topic, 0, 0, 1, key, value) for topic, key, value in first_records(first_policy("EUR", "UTC"), ENCODER)
)
RANGES = {Score.VALUE: (1.0, 5.0), Score.STATUS: (1.0, 5.0), Score.REVENUE: (0.0, 2.0), Score.RISK: (0.0, 1.0),
          Score.CLASS: (0.0, 6.0)}  # fmt: skip


def config(name: str, body: str, offset: int = 1) -> Record:
    fields = {"name": name, "version": "v", "effective_ms": 0, "body": body}
    value = encode_value("Config", {**fields, "body": ""}, ENCODER)
    try:
        value = encode_value("Config", fields, ENCODER)
    except (UnicodeEncodeError, ValueError):  # a lone surrogate: only a JSON escape can carry it, and that is ASCII
        pytest.fail("dumped text is ASCII")
    return Record("rescore-config", 0, offset, 1, name.encode(), value)


def learned(model: str, body: str, offset: int = 1) -> Record:
    nothing = {**body_of_weights(packaged_weights()), "version": "v", "effective_ms": 0}
    nothing |= {name: [] for name, value in nothing.items() if isinstance(value, list)}
    value = encode_value("Weights", {**nothing, "model": model, "body": body, "consistency_median": 0.0}, ENCODER)
    return Record("rescore-weights", 0, offset, 1, b"v", value)


def whole(topic: str, text: str, offset: int = 1) -> Record:
    """A whole record as plain JSON."""
    return Record(topic, 0, offset, 1, b"v", text.encode("utf-8", "surrogatepass"))


def known_of(*records: Record) -> Known:
    return Known.first(first_policy("EUR", "UTC")).adopt(records, READ)


def scored(known: Known) -> Step:
    """A worker's side: the stream under these versions, with the time behind it."""
    rows: list[bytes | None] = [None] * len(STREAM.users)
    return step(Table.of(list(STREAM.users), rows), STREAM, known.versions, Clocks(END_MS))


def check_scores(done: Step, what: str) -> None:
    """Everything that is said is finite and in its range; a value and a risk never end."""
    rows = done.changes.rows
    for row in rows:
        score, new = int(row["score"]), float(row["new"])
        if score in (Score.VALUE, Score.RISK):
            assert np.isfinite(new), (what, score, new)
        if score in RANGES and not np.isnan(new):
            low, high = RANGES[Score(score)]
            assert low <= new <= high, (what, Score(score).name, new)
        for name in ("base", "confidence"):
            assert np.isnan(row[name]) or abs(row[name]) < 1e6, (what, name, row[name])
    for name in ("level", "moved"):
        assert np.isfinite(done.changes.reasons[name]).all(), (what, name)
    forecasts = done.changes.cards["forecast"]
    assert (np.isnan(forecasts) | (np.abs(forecasts) <= FORECAST_MAX)).all(), (what, forecasts)
    consistency = done.changes.cards["consistency"]
    assert (np.isnan(consistency) | ((consistency >= 0) & (consistency <= 1))).all(), what
    for hits in ("strength", "share"):
        assert np.isfinite(done.changes.hits[hits]).all(), (what, hits)


def check_learner(known: Known) -> None:
    """A learner's side: it begins with these versions, learns, and publishes nothing that would be refused."""
    policy = known.epochs.policy_at(END_MS)
    model = ValueLearner(known.versions.weights[0], policy)
    taught = model.learn([one.example for one in examples_of(1, 30, lambda _, x: 0.8 * x + 1.2)], END_MS)
    assert taught == 30
    for learner in model.learners.values():
        assert np.isfinite(learner.beta).all()
    made = model.close(END_MS, "made")
    if made is not None:
        weights_value(made, "cause", ENCODER)
    for spec in known.specs:
        check_credit(CreditLearner(spec, policy, packaged_body(spec.begins_with) if spec.begins_with else None))


def check_credit(learner: CreditLearner) -> None:
    """Some cases of a declared model: chances are chances."""
    rng = random.Random(5)
    cases = []
    for i in range(12):
        at_ms, key = 19_000 * DAY_MS + i, i.to_bytes(16, "big")
        inputs = {name: rng.choice([0.0, 1.0, -3.5, 1e9, 0.25]) for name in learner.spec.manifest.names}
        cases.append(CaseExample(at_ms, key, learner.name, "request", key, inputs, {}, None, None))
        cases.append(CaseExample(at_ms + 1, key, learner.name, "outcome", key, None, None, None, float(i % 2)))
    learner.learn(cases, END_MS)
    rows = [dict.fromkeys(learner.spec.manifest.names, 1.0), {}]
    for one in learner.learners.values():
        chances = one.probabilities(rows)
        assert ((chances >= 0) & (chances <= 1)).all()


def check_models(known: Known) -> None:
    """What functions score with."""
    for name, versions in known.models.items():
        model = versions[-1].model
        spec = spec_at(known.specs, name, END_MS)
        assert spec is not None
        rows = [{}, *({f.name: x for f in model.manifest.features} for x in (0.0, 1e300, -1e300, 5e-324, "A"))]
        sums, variances = sums_of(model.weights, model.inputs(rows))
        chances = logistic(tempered(sums, variances))
        assert np.isfinite(sums).all()
        assert np.isfinite(variances).all()
        assert ((chances >= 0) & (chances <= 1)).all()


def learned_risk() -> dict[str, Any]:
    """A version of risk as a learner publishes it: with a covariance."""
    model = BayesianLogisticRegression.from_body(packaged_body("risk"))
    names = [feature.name for feature in packaged_model("risk").manifest.features]
    for i in range(40):
        model.learn_one({name: float((i * 7 + j) % 5) for j, name in enumerate(names)}, i % 3 == 0)
    return json.loads(json.dumps(model.body()))


def decisions() -> dict[str, Any]:
    return {"decision": "promote", "version": "steady", "card": "card risk.md, sha256 ab"}


def leases() -> dict[str, Any]:
    return {"purpose": "credit", "inputs": "attributes", "favourable": False, "begins_with": "",
            "features": [{"name": "dti", "knots": [0, 0.3, 0.6], "expected_rise": 1.0},
                         {"name": "type", "kind": "category", "slots": 5}],
            "challengers": {"steady": {}, "nimble": {"half_life_examples": 5000, "prior_variance": 0.2},
                            "tree": {"kind": "tree", "window_examples": 500, "one_in": 2}}}  # fmt: skip


def rate() -> dict[str, Any]:
    return {"currency": "USD", "base_currency": "EUR", "effective_at": "1970-01-02T00:00:00Z", "rate": 0.85}


def weights_record() -> dict[str, Any]:
    body = {**body_of_weights(packaged_weights()), "version": "v", "effective_ms": 0}
    return {**body, "forecasts": body["forecasts"][::50], "consistencies": body["consistencies"][::50]}


def config_record() -> dict[str, Any]:
    return {"name": "policy", "version": "v", "effective_ms": 0, "body": body_of_policy(first_policy("EUR", "UTC")),
            "author": "ann", "reason": "so"}  # fmt: skip


Make = Callable[[str], Record]
BODIES: dict[str, tuple[Callable[[], Any], Make]] = {
    "policy": (lambda: json.loads(body_of_policy(first_policy("EUR", "UTC"))), lambda text: config("policy", text)),
    "learning": (
        lambda: json.loads(body_of_learning(LearningPolicy(epoch_ms=DAY_MS, examples_min=10))),
        lambda text: config("learning", text),
    ),
    "decision": (decisions, lambda text: config("models.risk", text)),
    "spec": (leases, lambda text: config("manifest.leases", text)),
    "packaged spec": (lambda: body_of_spec(PACKAGED_SPECS["risk"]), lambda text: config("manifest.risk", text)),
    "profile": (lambda: body_of_profile(packaged_profiles()[3]), lambda text: config(f"profile.{PROFILE}", text)),
    "categories": (
        lambda: body_of_counts({(77, 21): 3.0, (99, 4): 1.0, (5_000, 9): 2.5}),
        lambda text: config("categories", text),
    ),
    "risk": (learned_risk, lambda text: learned("risk", text)),
    "acceptance": (lambda: packaged_body("acceptance"), lambda text: learned("acceptance", text)),
    "home_insurance": (lambda: packaged_body("home_insurance"), lambda text: learned("home_insurance", text)),
    "rate": (rate, lambda text: whole("fx-rates", text)),
    "weights": (weights_record, lambda text: whole("rescore-weights", text)),
    "config": (config_record, lambda text: whole("rescore-config", text)),
}
PROFILE = packaged_profiles()[3].profile_id


def first_of(name: str) -> tuple[Record, ...]:
    """The records before: none of the kind that is mutated, so that it is in force from the beginning."""
    if name in ("policy", "config"):
        return FIRST[1:]
    return FIRST[:1] if name == "weights" else FIRST


def mutants(name: str) -> Iterator[tuple[int, str]]:
    body = BODIES[name][0]()
    for seed in range(MUTATIONS):
        yield seed, mutated(random.Random(f"{name} {seed}"), body)


@pytest.mark.parametrize("name", BODIES)
def test_each_valid_body_is_accepted_and_scores(name: str) -> None:
    make_body, make = BODIES[name]
    known = known_of(*first_of(name), make(json.dumps(make_body())))
    assert known.refused == ()
    check_scores(scored(known), name)
    check_models(known)
    check_learner(known)


@pytest.mark.parametrize("name", BODIES)
def test_a_mutated_body_is_refused_with_its_field_named_or_scores_to_finite_numbers_in_range(name: str) -> None:
    make, counts, seen = BODIES[name][1], Counter[str](), dict[str, int]()
    for seed, text in mutants(name):
        what = f"{name}, seed {seed}: {text[:300]}"
        try:
            known = known_of(*first_of(name), make(text))
        except UnknownFormula:
            counts["stopped"] += 1
            continue
        for refusal in known.refused:
            assert REPORT not in refusal.reason, (what, refusal.reason)
            assert len(refusal.reason) < 1_000, what
            assert refusal.reason.isprintable(), what
            assert says_where(refusal.reason), (what, refusal.reason)
        counts["refused" if known.refused else "accepted"] += 1
        if not known.refused:
            check_models(known)
            check_scores(scored(known), what)
            if counts["accepted"] % 5 == 0 or name in ("learning", "spec", "packaged spec"):
                check_learner(known)
            seen[str(known.versions)] = seed
    print(name, dict(counts))
    assert counts["refused"] > MUTATIONS / 4
    assert counts["accepted"] > 0 or name in ("profile", "categories")  # hardly a change of these leaves one good


SAYS = (
    " is ", " has ", " must ", " appears ", " not JSON", " nested ", "there is no field", " do not ", " does not ",
    "there is no model", "stands twice", "may not", "is protected", "cannot be", "needs ",
)  # fmt: skip


def says_where(reason: str) -> bool:
    """Whether a reason names what is wrong: a field with what it is, or what the whole text is."""
    return any(words in reason for words in SAYS)


DOUBLES = (float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, 1e-300, 101.0, -0.0, 1e16)


@pytest.mark.parametrize("value", DOUBLES, ids=str)
def test_numbers_that_only_avro_can_carry_are_refused_or_score(value: float) -> None:
    rng, counts = random.Random(str(value)), Counter[str]()
    for name in ("beta", "phi_mean", "knots", "forecasts", "consistencies", "consistency_median",
                 "status_terciles", "recency_quintiles", "revenue_quintiles"):  # fmt: skip
        for everywhere in (False, True):
            fields = weights_record()
            fields[name] = with_number(fields[name], value, rng, everywhere=everywhere)
            stream = io.BytesIO()
            stream.write(ENCODER.prefix_of("Weights"))
            fastavro.schemaless_writer(stream, parsed("Weights"), fields)
            known = known_of(FIRST[0], Record("rescore-weights", 0, 0, 1, b"v", stream.getvalue()))
            for refusal in known.refused:
                assert name in refusal.reason, (name, value, refusal.reason)
            counts["refused" if known.refused else "accepted"] += 1
            check_scores(scored(known), f"{name} {value} {everywhere}")
    assert counts["refused"] >= (0 if value == 0.0 else 4)


def with_number(old: Any, value: float, rng: random.Random, *, everywhere: bool) -> Any:
    if not isinstance(old, list):
        return value
    if isinstance(old[0], list):
        return [with_number(inner, value, rng, everywhere=everywhere) for inner in old]
    at = rng.randrange(len(old))
    return [value if everywhere or i == at else inner for i, inner in enumerate(old)]


@pytest.mark.parametrize("seed", range(6))
def test_at_the_bounds_of_every_policy_field_the_compiled_step_says_what_the_readable_one_says(seed: int) -> None:
    from streams.versions.schema.policies import PolicyBody

    rng, described = random.Random(seed), PolicyBody.model_json_schema()["properties"]
    body: dict[str, Any] = {}
    for name, field in described.items():
        low, high = field.get("minimum"), field.get("maximum")
        if low is not None and high is not None and rng.random() < 0.6:
            body[name] = rng.choice([low, high])
    body["cost_rates"] = [rng.choice([0.0, 1.0]) for _ in range(5)]
    if body.get("profile_leave", 0.45) > body.get("profile_enter", 0.6):
        body["profile_leave"] = body.get("profile_enter", 0.6)
    if body.get("high_segment_loans", 20) > body.get("very_high_segment_loans", 50):
        body["high_segment_loans"] = body.get("very_high_segment_loans", 50)
    known = known_of(FIRST[1], config("policy", json.dumps(body), 0))
    assert known.refused == (), body
    print(seed, body)
    fast = scored(known)
    rows: list[bytes | None] = [None] * len(STREAM.users)
    slow = oracle.step(list(STREAM.users), rows, STREAM, known.versions, END_MS)
    assert_same(fast, slow)
    check_scores(fast, str(body))


@pytest.mark.parametrize("seed", range(40))
def test_no_forecast_is_larger_than_the_bounds_on_coefficients_allow(seed: int) -> None:
    """The largest coefficients there may be, of random signs, and inputs at both ends of what a row can hold."""
    from streams.scoring.tables import model_of
    from streams.scoring.value import TERMS, VALUE_LEVELS, forecast_of, value_of

    rng = np.random.default_rng(seed)
    fields = weights_record()
    for name in ("beta", "phi_mean"):
        fields[name] = (rng.choice([-1.0, 1.0], 111) * rng.choice([COEFFICIENT_MAX, 1e-12, 0.0], 111)).tolist()
    fields["knots"] = [sorted((rng.choice([-1.0, 1.0], 6) * 10.0 ** rng.uniform(-6, 6, 6)).tolist()) for _ in range(15)]
    known = known_of(FIRST[0], whole("rescore-weights", json.dumps(fields), 0))
    assert known.refused == ()
    model = model_of(known.versions, 0, 0)
    for _ in range(50):
        features = rng.choice([-12.0, 0.0, 1e-4, 3.0, 20.0], 19)
        features[11] = rng.choice([0.0, 5.0, 16.0])
        features[15], features[16] = rng.integers(0, 10), rng.integers(0, 8)
        features[17], features[18] = rng.integers(0, 2), rng.integers(0, 2)
        assert abs(forecast_of(features, model, np.zeros(TERMS))) <= FORECAST_MAX
        score, base, _ = value_of(
            features, float(rng.random()), model, np.zeros(TERMS), levels := np.zeros(VALUE_LEVELS)
        )
        assert 1.0 <= score <= 5.0
        assert np.isfinite(levels).all()
        assert np.isfinite(base)
