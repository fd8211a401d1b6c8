"""Broadcast records become versions: the first counts from the beginning, none is late, nonsense is refused."""

from __future__ import annotations

import json

import pytest

from schemas.batch import BEGINNING_MS, Record
from schemas.codec import Encoder, StaticRegistry, encode_value
from schemas.times import time_ms
from schemas.zones import zone_of
from state.versions import Policy, pack_currency
from streams.scoring.models.model import ModelWeights
from streams.versions.known import (
    ADOPTION_DELAY_MS,
    Known,
    UnknownFormula,
    body_of_model,
    body_of_policy,
    body_of_weights,
    first_policy,
    first_records,
    packaged_weights,
    policy_of,
    reader,
)
from streams.versions.packaged_models import packaged_body

ENCODER = Encoder(StaticRegistry())
READ = reader(StaticRegistry(), "")


def rate(offset: int, at_ms: int, effective_at: str, value: float = 2.0, **more: object) -> Record:
    fields = {"currency": "USD", "base_currency": "EUR", "effective_at": effective_at, "rate": value} | more
    return Record("fx-rates", 0, offset, at_ms, b"USD", encode_value("FxRate", fields, ENCODER))


def policy(offset: int, at_ms: int, effective_ms: int, **body: object) -> Record:
    fields = {"name": "policy", "version": f"p{offset}", "effective_ms": effective_ms, "body": json.dumps(body)}
    return Record("rescore-config", 0, offset, at_ms, b"policy", encode_value("Config", fields, ENCODER))


def known(*records: Record) -> Known:
    return Known.first(first_policy("EUR", "UTC")).adopt(records, READ)


def test_before_anything_was_read_the_packaged_versions_are_in_force() -> None:
    versions = known().versions
    assert versions.weights_index_at(-(2**50)) == 0
    assert versions.policy_at(0).base_currency == "EUR"


def test_what_the_first_worker_publishes_reads_back_as_what_is_packaged() -> None:
    records = [
        Record(topic, 0, 0, 1_000, key, value)
        for topic, key, value in first_records(first_policy("CZK", "Europe/Prague"), ENCODER)
    ]
    found = known(*records)
    assert found.refused == ()
    (only,) = found.versions.policies
    assert (only.base_currency, only.time_zone, only.effective_ms) == ("CZK", "Europe/Prague", BEGINNING_MS)
    (weights,) = found.versions.weights
    assert body_of_weights(weights) == body_of_weights(packaged_weights())


def test_a_version_is_in_force_30_s_after_it_was_written_at_the_earliest() -> None:
    found = known(policy(0, 10, 0), policy(1, 1_000_000, 5), policy(2, 1_000_000, 9_000_000)).versions
    effective = [version.effective_ms for version in found.policies]
    assert effective == [BEGINNING_MS, 1_000_000 + ADOPTION_DELAY_MS, 9_000_000]


def test_rates_keep_their_time_or_that_of_their_record() -> None:
    table = known(rate(0, 0, "1970-01-02"), rate(1, 10**9, "1970-01-03", 3.0)).versions.rates
    assert [(r.currency, r.effective_ms, r.rate) for r in table] == [
        (pack_currency("USD"), 86_400_000, 2.0),
        (pack_currency("USD"), 10**9 + ADOPTION_DELAY_MS, 3.0),
    ]


def test_the_order_in_which_topics_are_read_makes_no_difference() -> None:
    records = [rate(0, 0, "1970-01-02"), policy(0, 10, 0), policy(1, 20, 50_000)]
    one = Known.first(first_policy("EUR", "UTC"))
    for record in reversed(records):
        one = one.adopt([record], READ)
    both = known(*records)
    assert one.versions.policies == both.versions.policies
    assert one.versions.rates == both.versions.rates


@pytest.mark.parametrize(
    "record,words",
    [
        (rate(0, 0, "soon"), "effective_at"),
        (rate(0, 0, "1970-01-02", -1.0), "above 0"),
        (rate(0, 0, "1970-01-02", base_currency="CZK"), "base currency is EUR"),
        (rate(0, 0, "1970-01-02", currency="dollars"), "three upper-case letters"),
        (policy(1, 0, 0, valeu_step=0.1), "valeu_step"),
        (policy(1, 0, 0, duplicates_max=10**6), "4,096"),
        (policy(1, 0, 0, dates_from="1.1.1981"), "dates_from"),
        (policy(1, 0, 0, dates_from="1981-02-29"), "does not exist"),
        (policy(1, 0, 0, dates_from="1899-12-31"), "1900-01-01"),
        (policy(1, 0, 0, dates_from=1981), "dates_from"),
        (policy(1, 0, 0, dates_from=None), "dates_from"),
        (policy(1, 0, 0, payment_days_before_order=-1), "payment_days_before_order"),
        (policy(1, 0, 0, payment_days_before_order=36_501), "36,500"),
        (policy(1, 0, 0, payment_days_before_order=1.5), "whole number"),
        (policy(1, 0, 0, count_unpaid_from_day=0), "count_unpaid_from_day"),
        (policy(1, 0, 0, count_unpaid_from_day=30), "count_unpaid_from_day"),
        (policy(1, 0, 0, count_unpaid_from_day=True), "count_unpaid_from_day"),
        (policy(1, 0, 0, time_zone="Asia/Tokyo"), "fixed for the life of the state"),
        (Record("rescore-weights", 0, 0, 0, b"w", b"\xc3\x01 noise"), "encodings"),
    ],
)
def test_what_can_not_be_used_counts_as_never_published_and_says_why(record: Record, words: str) -> None:
    found = known(policy(0, 0, 0), record)
    (refusal,) = found.refused
    assert words in refusal.reason
    assert len(found.versions.policies) == 1
    assert found.versions.rates == []


def test_an_unknown_formula_is_not_refused_but_stops_the_program() -> None:
    with pytest.raises(UnknownFormula, match="upgrade"):
        known(policy(0, 0, 0, formula="formula-9"))


def test_a_policy_comes_back_from_its_body() -> None:
    changed = Policy(value_step=0.1, cost_rates=(0.0, 0.1, 0.2, 0.3, 0.4), base_currency="USD")
    assert policy_of(json.loads(body_of_policy(changed)), changed.version, changed.effective_ms) == changed


def config(offset: int, name: str, body: object, at_ms: int = 0) -> Record:
    fields = {"name": name, "version": "1", "effective_ms": at_ms + 60_000, "body": json.dumps(body)}
    return Record("rescore-config", 0, offset, at_ms, name.encode(), encode_value("Config", fields, ENCODER))


def version(offset: int, model: str, body: object, at_ms: int = 100_000, **more: object) -> Record:
    made = ModelWeights(model, f"{model}-{offset}", at_ms + 60_000, body)  # type: ignore[arg-type]
    return Record(
        "rescore-weights", 0, offset, at_ms, b"", encode_value("Weights", body_of_model(made) | more, ENCODER)
    )


def with_feature(name: str) -> dict[str, object]:
    """The packaged home insurance model, its first feature under another name."""
    body = json.loads(json.dumps(packaged_body("home_insurance")))
    body["features"][0]["name"] = name
    return dict(body)


def test_a_version_of_a_credit_model_is_in_force_from_its_time_on() -> None:
    found = known(version(0, "acceptance", packaged_body("acceptance")))
    assert found.refused == ()
    assert found.model_at("acceptance", 159_999).version == "acceptance-1"
    assert found.model_at("acceptance", 160_000).version == "acceptance-0"
    assert len(found.versions.weights) == 1  # no version of the value model


def test_versions_of_the_model_that_reads_descriptions_come_from_the_learner_and_from_persons() -> None:
    body = {"words": [[77, "pets", 3.0]]}
    found = known(
        version(0, "categories", body, at_ms=200_000),
        version(1, "categories", {"words": [[0, "pets", 3.0]]}),
        config(0, "categories", body, at_ms=100_000),
    )
    assert [(text.version, text.effective_ms) for text in found.versions.texts[1:]] == [
        ("1", 160_000),
        ("categories-0", 260_000),
    ]
    assert found.versions.texts[-1].counts == {(77, 21): 3.0}
    (refusal,) = found.refused
    assert "words[0][0] is 0; it must be above 0" in refusal.reason
    assert found.models == {}


@pytest.mark.parametrize(
    "model, body, words",
    [
        ("home_insurance", with_feature("gender"), "is protected"),
        ("home_insurance", with_feature("postcode"), "looks at postcode"),
        ("home_insurance", {}, "format is missing"),
        ("gossip", packaged_body("risk"), "there is no model 'gossip'"),
        ("risk", packaged_body("acceptance"), "does not have the features of the stream's risk score"),
    ],
)
def test_a_version_that_may_not_be_or_can_not_be_read_counts_as_never_published(
    model: str, body: object, words: str
) -> None:
    found = known(version(0, model, body))
    (refusal,) = found.refused
    assert words in refusal.reason
    assert found.models == {}
    assert len(found.versions.risk) == 1


def test_a_manifest_with_a_protected_attribute_counts_as_never_published() -> None:
    found = known(config(0, "manifest.leases", {"purpose": "credit", "features": [{"name": "sex"}]}))
    (refusal,) = found.refused
    assert "is protected" in refusal.reason
    assert found.specs == ()


def test_what_a_declared_model_looks_at_is_fixed() -> None:
    first = {"purpose": "credit", "features": [{"name": "dti", "knots": [0, 1]}]}
    other = {"purpose": "credit", "features": [{"name": "ltv", "knots": [0, 1]}]}
    again = first | {"challengers": {"slow": {}}}
    found = known(*(config(i, "manifest.leases", body) for i, body in enumerate([first, other, again])))
    (refusal,) = found.refused
    assert "take another name" in refusal.reason
    assert [list(spec.challengers) for spec in found.specs] == [["steady", "nimble", "tree"], ["slow"]]


def test_a_version_of_risk_is_the_streams_and_everyone_is_scored_anew_with_it() -> None:
    found = known(version(0, "risk", packaged_body("risk"), rescore=True))
    assert found.refused == ()
    assert [one.version for one in found.versions.risk] == ["risk-1", "risk-0"]
    assert found.versions.rescores == (160_000,)
    again = found.versions.weights[1]
    assert (again.version, again.effective_ms) == (found.versions.weights[0].version, 160_000)


def test_versions_of_value_and_risk_at_one_time_score_everyone_anew_once() -> None:
    value = body_of_weights(packaged_weights()) | {"version": "v2", "effective_ms": 160_000, "rescore": True}
    first = body_of_weights(packaged_weights()) | {"effective_ms": 0}
    records = [
        Record("rescore-weights", 0, i, 100_000 * i, b"", encode_value("Weights", body, ENCODER))
        for i, body in enumerate([first, value])
    ]
    found = known(*records, version(2, "risk", packaged_body("risk"), rescore=True))
    assert found.refused == ()
    assert found.versions.rescores == (160_000,)
    assert [one.version for one in found.versions.weights] == [packaged_weights().version, "v2"]


def test_a_decision_names_the_card_that_was_looked_at() -> None:
    body = {"decision": "promote", "version": "steady", "card": "card risk.md, sha256 ab"}
    (decision,) = known(config(0, "models.risk", body)).decisions
    assert (decision.model, decision.what, decision.card) == ("risk", "promote", "card risk.md, sha256 ab")


def test_a_policy_without_the_rules_of_dates_has_their_defaults() -> None:
    old = policy_of({"base_currency": "CZK"}, "old", 0)
    assert (old.dates_from, old.payment_days_before_order, old.count_unpaid_from_day) == ("1981-01-01", 366, 1)
    assert policy_of({"dates_from": "1900-01-01"}, "all", 0).dates_from_day == -25_567


def test_a_rate_without_a_zone_is_in_force_from_its_local_time_on() -> None:
    """In the zone of the first policy on the topic, whichever is read first; a rate with a zone from its own moment."""
    first = policy(0, 0, 0, base_currency="EUR", time_zone="America/New_York")
    texts = {"2026-01-10": "2026-01-10T05:00:00Z", "2026-01-10T18:00:00": "2026-01-10T23:00:00Z"}
    for text, moment in {**texts, "2026-01-10T18:00:00Z": "2026-01-10T18:00:00Z"}.items():
        for records in ([first, rate(0, 1_000, text)], [rate(0, 1_000, text), first]):
            found = known(*records)
            assert found.refused == ()
            assert [one.effective_ms for one in found.versions.rates] == [time_ms(moment)], text
        assert [one.effective_ms for one in known(rate(0, 1_000, text)).versions.rates] == [time_ms(text)]


def test_the_zone_of_the_first_policy_counts_and_another_is_refused() -> None:
    first, other = (policy(n, 0, n * 10**9, time_zone=zone) for n, zone in enumerate(["Asia/Kathmandu", "UTC"]))
    found = known(first, other)
    assert found.versions.zone == zone_of("Asia/Kathmandu")
    (refused,) = found.refused
    assert refused.reason == "policy: time_zone is fixed for the life of the state: 'Asia/Kathmandu'"
