"""Cases that wait: whatever comes, in whatever order, has one answer, is counted, and what waits stays bounded."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import DAY_MS
from streams.learning.cases import KEY_BYTES, CaseExample, Cases, case_of
from streams.learning.credit_learner import CreditLearner
from streams.learning.epochs import LearningPolicy
from streams.scoring.models.specs import PACKAGED_SPECS
from streams.versions.packaged_models import packaged_body

ANN, BOB = b"a" * 16, b"b" * 16


def request(case: bytes = b"1", at_ms: int = 0, user: bytes = ANN, **more: object) -> CaseExample:
    return CaseExample(at_ms, user, "m", "request", case, {"x": 1.0}, **more)  # type: ignore[arg-type]


def outcome(label: float | None = 1.0, case: bytes = b"1", at_ms: int = 5, user: bytes = ANN) -> CaseExample:
    return CaseExample(at_ms, user, "m", "outcome", case, label=label)


def withdrawn(case: bytes = b"1", at_ms: int = 5) -> CaseExample:
    return CaseExample(at_ms, ANN, "m", "withdrawn", case)


def taken(*examples: CaseExample, **days: int) -> tuple[Cases, list[float]]:
    cases = Cases(**days)
    return cases, [found.label for example in examples if (found := cases.take(example)) is not None]


def test_a_request_and_its_outcome_are_an_example_whichever_came_first():
    for pair in ([request(), outcome()], [request(at_ms=9), outcome(at_ms=5)], [outcome(at_ms=5), request(at_ms=9)]):
        cases = Cases()
        (found,) = [one for example in pair if (one := cases.take(example)) is not None]
        assert (found.label, found.inputs, found.case) == (1.0, {"x": 1.0}, b"1")
        assert found.known_ms == (5 if pair[-1].kind == "outcome" else 9)


@pytest.mark.parametrize(
    "more, labels, counted",
    [
        ([outcome()], [1.0], "repeated"),
        ([outcome(0.0)], [1.0], "contradicted"),
        ([request(at_ms=8)], [1.0], "repeated"),
        ([outcome(user=BOB)], [1.0], "unknown"),
    ],
)
def test_what_comes_a_second_time_changes_nothing_and_is_counted(more, labels, counted):
    cases, found = taken(request(), outcome(), *more)
    assert found == labels
    assert cases.counts[counted] == 1


def test_a_case_that_an_older_release_kept_under_the_bare_number_of_its_request_is_known_again():
    """`user_hash` of a request that names no customer was that of a customer called by its number."""
    now = {"user": BOB, "earlier_hash": ANN}
    for pair in ([request(), outcome()], [outcome(), request()]):
        then, later = pair[0], pair[1]._replace(user_hash=BOB, earlier_hash=ANN)
        assert taken(then, later)[1] == [1.0]
        assert taken(then, later._replace(earlier_hash=b""))[1] == []
    cases, found = taken(request(**now), outcome()._replace(user_hash=ANN))  # a customer of that name
    assert found == []
    assert cases.counts["unknown"] == 1


def test_two_outcomes_before_the_request_count_once():
    cases, found = taken(outcome(0.0), outcome(1.0, at_ms=6), request(at_ms=9))
    assert found == [0.0]
    assert cases.counts["contradicted"] == 1


@pytest.mark.parametrize("label", [None, 0.5, -1.0, 2.0])
def test_an_outcome_that_is_neither_true_nor_false_teaches_nothing(label):
    cases, found = taken(request(), outcome(label))
    assert found == []
    assert cases.counts["refused"] == 1
    assert len(cases) == 1  # the request still waits


def test_an_outcome_without_a_case_is_counted_as_unknown():
    cases, found = taken(outcome(case=b""))
    assert (found, len(cases), cases.counts["unknown"]) == ([], 0, 1)


def test_a_loan_that_reaches_its_end_without_a_default_was_paid():
    cases = Cases()
    cases.take(request(until_ms=7))
    assert cases.pass_time(6) == []
    (found,) = cases.pass_time(7)
    assert (found.label, found.known_ms) == (0.0, 7)
    assert cases.take(outcome(1.0, at_ms=8)) is None
    assert cases.counts["contradicted"] == 1


def test_a_loan_in_default_is_known_before_its_end():
    cases, found = taken(request(until_ms=7), outcome(1.0, at_ms=7))
    assert found == [1.0]
    assert cases.pass_time(7) == []


def test_a_corrected_loan_moves_its_end():
    cases = Cases()
    cases.take(request(until_ms=7))
    cases.take(CaseExample(2, ANN, "m", "request", b"1", None, until_ms=20))
    assert cases.pass_time(19) == []
    assert [found.label for found in cases.pass_time(20)] == [0.0]


def test_a_cancelled_loan_teaches_nothing():
    cases, _ = taken(request(until_ms=7), withdrawn())
    assert (cases.pass_time(10), len(cases), cases.counts["withdrawn"]) == ([], 0, 1)


def test_what_nobody_answers_is_dropped_in_time():
    cases, _ = taken(request(b"1"), outcome(case=b"2", at_ms=0), request(b"3", until_ms=900 * DAY_MS), request_days=10,
                     loan_days=100)  # fmt: skip
    assert cases.pass_time(10 * DAY_MS) == []
    assert (cases.counts["unanswered"], cases.counts["unknown"], len(cases)) == (1, 1, 1)
    assert cases.pass_time(100 * DAY_MS) == []
    assert (cases.counts["unanswered"], len(cases)) == (2, 0)


def test_what_was_learned_is_remembered_as_long_as_a_request_waits():
    cases, _ = taken(request(), outcome(at_ms=5), request_days=1)
    cases.pass_time(5 + DAY_MS - 1)
    assert len(cases) == 1
    cases.pass_time(5 + DAY_MS)
    assert (len(cases), cases.counts["unanswered"]) == (0, 0)


def test_the_oldest_leave_where_there_are_too_many():
    cases, _ = taken(*(request(bytes([i]), at_ms=i) for i in range(10)))
    cases.shrink(4)
    assert sorted(cases.held) == [bytes([i]) for i in range(6, 10)]
    assert cases.counts["evicted"] == 6


def test_an_erased_customer_leaves_nothing():
    cases, _ = taken(request(b"1"), request(b"2", user=BOB), request(b"3", at_ms=50))
    cases.forget({ANN: 20})
    assert sorted(cases.held) == [b"2", b"3"]  # the last was asked after the erasure


kinds = st.sampled_from(["request", "grant", "outcome", "withdrawn", "erasure"])
stories = st.lists(st.tuples(kinds, st.integers(0, 5), st.sampled_from([ANN, BOB]), st.sampled_from([0.0, 1.0])))


@given(stories, st.integers(0, 2**32))
def test_any_story_is_bounded_counted_in_bytes_and_survives_a_restart(story, seed):
    chance, cases, learned = random.Random(seed), Cases(request_days=1, loan_days=2), []
    for at, (kind, case, user, label) in enumerate(story):
        at_ms = at * DAY_MS // 4
        learned += [(one.case, one.label) for one in cases.pass_time(at_ms)]
        if kind == "erasure":
            cases.forget({user: at_ms})
            continue
        made = CaseExample(at_ms, user, "m", "request" if kind == "grant" else kind, bytes([case]),
                           {"x": 1.0} if kind in ("request", "grant") else None, None,
                           at_ms + DAY_MS if kind == "grant" else None, label)  # fmt: skip
        found = cases.take(made)
        learned += [] if found is None else [(found.case, found.label)]
        cases.shrink(3)
        assert len(cases) <= 3
        assert cases.size_bytes == sum(KEY_BYTES + len(body) for body in cases.held.values())
        if chance.random() < 0.3:
            again = Cases(request_days=1, loan_days=2)
            again.restore(cases.held.items(), cases.counts)
            assert again.next_end_ms() == cases.next_end_ms()
            cases = again
    assert len(cases._ends) + len(cases._ages) <= 4 * len(cases) + 1_002


def test_a_record_without_what_it_needs_is_refused():
    said = {"kind": "request", "model": "m", "user_hash": b"", "timestamp_ms": 1, "case": b"1", "inputs": {},
            "aside": None, "until_ms": None, "label": None}  # fmt: skip
    with pytest.raises(ValueError, match="without what it needs"):
        case_of(said)


def test_a_learner_holds_no_more_cases_than_its_policy_says_and_forgets_what_it_dropped():
    policy = LearningPolicy(epoch_ms=DAY_MS, requests_max=20)
    learner = CreditLearner(PACKAGED_SPECS["risk"], policy, packaged_body("risk"))
    kept: dict[bytes, bytes] = {}
    for day in range(5):
        asked = [request(b"%d-%d" % (day, i), day * DAY_MS + i) for i in range(15)]
        learner.learn([one._replace(model="risk", inputs={"dti": 0.2}) for one in asked], (day + 1) * DAY_MS - 1)
        for case, body in learner.cases.changed.items():
            if body is None:
                kept.pop(case, None)
            else:
                kept[case] = body
        learner.cases.changed.clear()
        assert len(learner.cases) == min(15 * (day + 1), 20)
        assert learner.cases.size_bytes == sum(KEY_BYTES + len(body) for body in learner.cases.held.values())
    assert learner.cases.counts["evicted"] == 5 * 15 - 20
    assert kept == learner.cases.held  # what is written down is what waits, and no more
    assert min(int(case.split(b"-")[0]) for case in kept) == 3  # the oldest went first
