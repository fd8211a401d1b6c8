"""Broadcast records of any shape: each counts as never published, everywhere alike, and nobody ends because of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from schemas.batch import BEGINNING_MS, DAY_MS, Record
from schemas.codec import RegistryUnavailable, decode_value, encode_value
from schemas.times import time_ms
from streams.commands.config import as_plain
from streams.composition.versions import REFUSALS_TOLD, adopter, refused_words
from streams.learning.epochs import LearningPolicy
from streams.settings import Settings
from streams.versions.broadcast import Broadcast
from streams.versions.known import Known, UnknownFormula, first_policy, has_version, packaged_weights, reader
from streams.versions.reading import POLICY, VALUE
from streams.versions.records import config_record, first_records, rate_value, weights_value
from streams.versions.schema.base import RefusedBody
from streams.worker.observer import Observer
from tests.learner.world import BROADCAST, REGISTRY, VALUES, LearningWorld, Reports, history
from tests.streams.broadcast_cases import ENCODER, REVENUE, Case, every_case, late_loan

READ = reader(REGISTRY, "")
FIRST = [Record(t, 0, 0, 1_000, key, value) for t, key, value in first_records(first_policy("EUR", "UTC"), ENCODER)]


def known_of(*records: Record) -> Known:
    return Known.first(first_policy("EUR", "UTC")).adopt(records, READ)


def as_record(case: Case, offset: int, at_ms: int = 2_000) -> Record:
    return Record(case.topic, 0, offset, at_ms, case.key, case.value)


@pytest.mark.parametrize("case", every_case(), ids=lambda case: case.name)
def test_each_case_counts_as_never_published_and_its_field_is_named(case: Case) -> None:
    before, after = known_of(*FIRST), known_of(*FIRST, as_record(case, 1))
    (refusal,) = after.refused
    assert case.words in refusal.reason
    assert refusal.place == (case.topic, 1)
    assert after.versions.policies == before.versions.policies
    assert [one.version for one in after.versions.weights] == ["weights-1"]
    assert (after.specs, after.models, after.learning, after.decisions) == ((), {}, (), ())


class World(LearningWorld):
    """A deployment in memory whose broadcast topics hold every case, first and last."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for case in every_case():
            self.broker.write(case.topic, case.key, case.value, 1_000)

    def known(self) -> Known:
        broadcast = self.broadcast(self.learner()._log, False)
        while not broadcast.read_on():
            pass
        return broadcast.versions


def revenue_of(world: LearningWorld) -> list[float]:
    changes = [decode_value("ScoreChange", r.value or b"", REGISTRY) for r in world.broker.visible("score-changes")]
    return [round(change["new"], 6) for change in changes if change["score"] == "revenue"]


def test_worker_and_learner_start_go_on_and_start_again_and_the_packaged_policy_stays() -> None:
    world = World(partitions=1, learning=LearningPolicy())
    for fields in late_loan("ann"):
        at_ms = time_ms(fields.get("paid_at") or fields["order_date"])
        assert at_ms is not None
        world.broker.write("loans", b"ann", json.dumps(fields).encode(), at_ms)
    today_ms = time_ms("2026-11-01")
    assert today_ms is not None
    world.advance(today_ms)
    reports = Reports()
    for slot in ("a", "b"):  # the records are there at each start
        worker, learner = world.worker(slot), world.learner(observer=reports)
        for case in every_case():
            world.broker.write(case.topic, case.key, case.value, today_ms)
        world.run(worker, learner, until=lambda: bool(revenue_of(world)) and revenue_of(world)[-1] == REVENUE)
    assert len(world.known().refused) == 3 * len(every_case())
    assert reports.restarts == []


def test_every_process_refuses_the_same_records_for_the_same_reasons() -> None:
    world = World(partitions=1, learning=LearningPolicy())
    kept: list[Known] = []
    for log in (world.learner()._log, world.worker()._log):
        broadcast = world.broadcast(log, True)
        while not broadcast.read_on():
            pass
        kept.append(broadcast.versions)
    whole = Known.first(first_policy("EUR", "UTC"))
    records = [record for topic in BROADCAST for record in world.broker.visible(topic)]
    kept += [whole.adopt(records, READ), whole.adopt(records[:9], READ).adopt(records[9:], READ)]
    assert kept[0].refused
    assert all(one.refused == kept[0].refused for one in kept)


def test_each_is_told_once_with_topic_offset_and_field_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    counted: list[dict[str, int]] = []
    adopt = adopter(Settings(), logging.getLogger("rescore.test"), lambda counts: counted.append(dict(counts)))
    known = Known.first(first_policy("EUR", "UTC"))
    cases = [as_record(case, offset) for offset, case in enumerate(every_case(), start=1)]
    with caplog.at_level("ERROR"):
        for records in (FIRST, cases[:10], cases[10:], []):
            known = adopt(known, records)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(cases)
    assert "rescore-config, offset 18 counts as never published: policy: cost_rates is null; it must be a list" in lines
    by_topic = {topic: sum(record.topic == topic for record in cases) for topic in BROADCAST}
    assert counted[-1] == by_topic
    assert refused_words(known).startswith(
        f"{len(cases)} broadcast records count as never published, first rescore-con"
    )
    assert as_plain(known)["refused"][0]["reason"] == "policy: the body is [], not an object"


def test_of_many_refused_records_the_log_tells_some_and_counts_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    many = [Record("rescore-config", 0, offset, 0, b"", b"rubbish") for offset in range(REFUSALS_TOLD + 25)]
    with caplog.at_level("ERROR"):
        known = adopter(Settings(), logging.getLogger("rescore.test"))(Known.first(first_policy("EUR", "UTC")), many)
    assert len(known.refused) == len(many)
    assert len(caplog.records) == REFUSALS_TOLD + 1
    assert caplog.records[-1].getMessage().startswith("25 more records count as never published")
    assert all(record.value is None for record in known.records)  # rubbish costs no memory


def policy(offset: int, effective_ms: int, **fields: Any) -> Record:
    said = {"name": "policy", "version": f"p{offset}", "effective_ms": effective_ms, "body": json.dumps(fields)}
    return Record("rescore-config", 0, offset, 0, b"policy", encode_value("Config", said, ENCODER))


def test_a_newer_releases_policy_stops_the_program_whatever_else_it_says() -> None:
    with pytest.raises(UnknownFormula, match="policy p1 asks for formula-2; this program knows formula-1: upgrade"):
        known_of(policy(0, 0), policy(1, 0, formula="formula-2", a_field_of_that_release=[1], value_step="text"))


def test_a_formula_that_is_none_counts_as_never_published() -> None:
    for name in ("formla-2", "formula-2 ", "formula-", "FORMULA-2", "", 5, None):
        (refusal,) = known_of(policy(0, 0), policy(1, 0, formula=name)).refused
        assert "policy: formula is" in refusal.reason


def test_the_first_policy_that_can_be_used_counts_from_the_beginning_whatever_was_before_it() -> None:
    found = known_of(policy(0, 0, cost_rates=None), policy(1, 0, value_step=0.1), policy(2, 10**12, value_step=0.2))
    assert [(one.version, one.effective_ms) for one in found.versions.policies] == [
        ("p1", BEGINNING_MS),
        ("p2", 10**12),
    ]


def test_a_topic_of_records_that_cannot_be_used_holds_no_first_version() -> None:
    rubbish = [as_record(case, offset) for offset, case in enumerate(every_case())]
    weights = [record for record in FIRST if record.topic == "rescore-weights"]
    assert not has_version([policy(0, 0, cost_rates=None), *rubbish, *weights], READ, POLICY)
    assert has_version([*rubbish, policy(99, 0)], READ, POLICY)
    assert not has_version(rubbish, READ, VALUE)
    assert has_version([*rubbish, *weights], READ, VALUE)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"name": "policy", "version": "p", "body": "{}", "effective_ms": 2**62}, "effective_ms is"),
        ({"name": "policy", "version": "", "body": "{}", "effective_ms": 0}, "version is empty"),
        (
            {"name": "polcy", "version": "p", "body": "{}", "effective_ms": 0},
            'name is "polcy"; it must be one of',
        ),
        ({"name": "manifest.Leases", "version": "p", "body": "{}", "effective_ms": 0}, "name is"),
        ({"name": "models.risk", "version": "p", "body": '{"decision": "adopt"}', "effective_ms": 0}, "decision is"),
        ({"name": "policy", "version": "p", "body": '{"value_step": 0.0}', "effective_ms": 0}, "value_step is 0.0"),
    ],
)
def test_our_own_commands_write_nothing_that_would_be_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedBody, match=words):
        config_record(fields, ENCODER)


def test_neither_rates_nor_weights_are_written_that_would_be_refused() -> None:
    with pytest.raises(RefusedBody, match=r"rate is -1\.0; it must be above 0"):
        rate_value({"currency": "USD", "base_currency": "EUR", "effective_at": "2026-01-01", "rate": -1.0}, ENCODER)
    with pytest.raises(RefusedBody, match=r"beta\[0\] is 2000.0; it must be at most 100"):
        weights_value(replace(packaged_weights(), beta=packaged_weights().beta * 0 + 2_000.0), "", ENCODER)


def test_a_learner_that_learned_what_would_be_refused_publishes_it_not_and_goes_on() -> None:
    class Watching(Reports):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[tuple[str, str]] = []

        def not_published(self, version: str, reason: str) -> None:
            self.told.append((version, reason))

    world, reports, story = LearningWorld(partitions=1), Watching(), history(12, 60)
    world.publish(story)
    world.decide("rollback", story[-1][3] - 3 * DAY_MS, "weights-1")
    learner = world.learner(observer=reports)
    worker = world.worker()
    world.run(worker, learner, until=lambda: learner.model is not None)
    assert learner.model is not None
    for one in learner.model.approved:
        one.beta = one.beta * 0 + 5_000.0
    world.run(worker, learner)
    assert reports.told
    assert all("beta[0] is 5000" in reason for _, reason in reports.told)
    assert not {key.decode() for _, key, _ in world.weights()} & {version for version, _ in reports.told}
    assert world.learned_until() is not None


def test_clocks_and_the_broadcast_are_not_misled_by_a_reading_that_failed() -> None:
    """A registry that is away in the midst of a piece: nothing of it counts, and the next call reads it again."""
    world = World(partitions=1, learning=LearningPolicy())
    away = [True]

    def read(record: Record) -> Any:
        if away[0] and record.offset == 3:
            raise RegistryUnavailable("the schema registry at x does not answer as one")
        return READ(record)

    broadcast = Broadcast(
        world.learner()._log, BROADCAST, Known.first(first_policy("EUR", "UTC")), lambda k, r: k.adopt(r, read)
    )
    for _ in range(5):
        with pytest.raises(RegistryUnavailable):
            until(broadcast, 5_000)
        assert broadcast._known_until_ms < 0
    away[0] = False
    until(broadcast, 5_000)
    assert len(broadcast.versions.refused) == len(every_case())


def until(broadcast: Broadcast[Known], moment_ms: int) -> None:
    """Ask until clocks may pass a moment."""
    for _ in range(50):
        if broadcast.until_ms(moment_ms) >= moment_ms:
            return
    raise AssertionError(f"clocks may not pass {moment_ms}")


def test_a_registry_that_is_away_holds_a_running_worker_and_ends_nobody() -> None:
    class Rewinds(Observer):
        def __init__(self) -> None:
            self.reasons: list[str] = []

        def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
            self.reasons.append(reason)

    world, told, away = LearningWorld(partitions=1, learning=LearningPolicy()), Rewinds(), [True]
    world.broker.write("transactions", b"ann", json.dumps(_transaction()).encode(), 10**12)
    world.advance(10**12 + 5)
    worker = world.worker(observer=told)
    gate = worker._gate
    adopt = gate._adopt  # type: ignore[attr-defined]

    def failing(known: Known, records: Sequence[Record]) -> Known:
        if away[0]:
            raise RegistryUnavailable("the schema registry at x does not answer as one")
        return adopt(known, records)

    gate._adopt = failing  # type: ignore[attr-defined]
    for _ in range(200):
        world.clock.ms += 1_000
        worker.turn()
    assert told.reasons
    assert world.broker.visible("score-changes") == []
    away[0] = False
    world.run(worker, until=lambda: bool(world.broker.visible("score-changes")))


def _transaction() -> dict[str, Any]:
    return {"event_id": "t", "user_id": "ann", "transaction_state": "SUCCEEDED", "transaction_currency": "EUR",
            "user_balance": 5.0, "transaction_amount": 50.0, "user_created": "2001-01-01", "user_category": "WEB",
            "transaction_date": "2001-09-09T01:00:00Z"}  # fmt: skip


def test_values_written_are_read_back_by_every_kind_of_encoding() -> None:
    fields = {"name": "policy", "version": "p", "effective_ms": 0, "body": '{"value_step": 0.1}'}
    for value in (VALUES.encoder("rescore-config")(fields), json.dumps(fields).encode()):
        found = known_of(Record("rescore-config", 0, 0, 0, b"", value))
        assert (found.refused, found.versions.policies[0].value_step) == ((), 0.1)
