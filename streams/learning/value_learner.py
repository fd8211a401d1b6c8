"""The value model as it learns: two learners, the versions that were approved, who is champion, and the brakes.

All of them forecast every example before any learns from it, so their errors can be compared on the same customers. At
a closing boundary one decision is made: keep the champion, put the better learner in its place, or go back to an
approved version that does better lately. Pure: examples in, weights and happenings out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import BEGINNING_MS, DAY_MS, FEATURE_SLOTS
from state.versions import Policy, Weights
from streams.learning.decisions import TIMELINE_MAX, Happening, Order
from streams.learning.epochs import LearningPolicy
from streams.learning.monitoring import PageHinkley, RunningError, body_of, stability_index
from streams.learning.population_sample import Member, PopulationSample, cut_tables, thinned
from streams.learning.value_regression import Design, ValueRegression, design_of, usable
from streams.scoring.population import SAMPLE_MIN, percentiles, topped_up
from streams.scoring.value import RECENCY_AT, consistency_after, unpack_features, whole_basis

Floats = NDArray[np.float64]

LEARNERS = ("steady", "nimble")
"""`steady` forgets nothing, `nimble` follows a population that changes."""

APPROVED_MAX = 8
AS_GOOD_RATIO = 1.001
"""A learner whose error is within a thousandth of the champion's counts as no worse, as it knows more examples. Without
it a champion that is lucky with a few hundred customers stays for long, while its forecasts grow old."""

RECENT_SHARE = 0.15
"""Of the half-life of errors: what says whether a drift is over forgets sooner."""
ROUNDED_DIGITS = 9
EXPECTED_POINTS = 1_000
CONSISTENCY_AT_FIRST = 0.5


class ValueExample(NamedTuple):
    """Inputs of a day and what came true; or, as `member`, a borrower's report.

    `erased`: the customer has gone, nothing else counts.
    """

    timestamp_ms: int
    user_hash: bytes
    features: tuple[int, ...] | None
    forecast: float | None
    label: float | None
    member: Member | None = None
    erased: bool = False


@dataclass(slots=True)
class Approved:
    """A version that may be in force: by itself, as it was learned and did well, or by a person."""

    version: str
    beta: Floats
    adopted_ms: int
    rmse: float  # of the learner it was, when it was adopted
    error: RunningError = field(default_factory=RunningError)


class ValueLearner:
    """See the module. `first` are weights that nobody learned: the prior, and the first approved version."""

    def __init__(self, first: Weights, policy: LearningPolicy) -> None:
        self.policy, self._first = policy, first
        self.learners = {
            "steady": ValueRegression(first.beta, policy.noise, policy.residual_max),
            "nimble": ValueRegression(first.beta, policy.noise, policy.residual_max, policy.half_life_examples),
        }
        self.good = {name: model.body() for name, model in self.learners.items()}
        """The learners as they were at the last adoption: where they go back to if what came later was no good."""
        self.errors = {name: RunningError() for name in LEARNERS}
        self.approved = [Approved(first.version, first.beta, BEGINNING_MS, math.inf)]
        self.sample = PopulationSample(policy.sample_max)
        self.borrowers = PopulationSample(policy.sample_max)
        self.drift = PageHinkley()
        self.recent = RunningError()
        self.quarantine_until_ms: int | None = None
        self.calm_rmse: float | None = None  # at or below this error a drift is over
        self.frozen = False
        self.wanted: Order | None = None
        self.stability = 0.0
        self.shadow: dict[str, dict[str, int]] = {}
        """How many customers of the sample each learner would move to another band than the champion: up, down, of."""
        self.refused = 0
        self.timeline: list[Happening] = []
        self._expected = thinned(first.forecasts, EXPECTED_POINTS)
        self._today = 0

    @property
    def champion(self) -> Approved:
        """The version in force, or about to be."""
        return self.approved[-1]

    def learn(self, examples: Sequence[ValueExample], boundary_ms: int) -> int:
        """Take an epoch's examples in their order: forecast, compare, then learn. Returns how many taught something."""
        erased = {example.user_hash: example.timestamp_ms for example in examples if example.erased}
        if erased:  # what is still to be learned of them is forgotten with the rest
            examples = [e for e in examples if e.erased or e.timestamp_ms > erased.get(e.user_hash, BEGINNING_MS)]
        labelled = [e for e in examples if e.features is not None and e.label is not None]
        features = unpack_features(np.array([e.features for e in labelled], np.uint16).reshape(-1, FEATURE_SLOTS))
        labels = np.array([e.label for e in labelled], np.float64)
        good = usable(features, labels)
        self.refused += len(labelled) - int(good.sum())
        poisoned = {id(example) for example, fine in zip(labelled, good.tolist(), strict=True) if not fine}
        for example in examples:
            if id(example) not in poisoned:
                self._report(example)
        if not good.any():
            return 0
        design, labels = design_of(features[good], self._first.knots), labels[good]
        champion_squared = self._compare(design, labels)
        self._watch(champion_squared, boundary_ms)
        for model in self.learners.values():
            model.learn(design, labels)
        return len(labels)

    def _report(self, example: ValueExample) -> None:
        """The customer's report of that day; where there is none, what the example itself says."""
        if example.erased:
            self.sample.forget(example.user_hash)
            self.borrowers.forget(example.user_hash)
        elif example.member is not None:
            before_it = self.borrowers.members.get(example.user_hash)
            if is_sound(example.member):
                member = example.member if before_it is None else before_it.updated(example.member)
                self.borrowers.report(example.user_hash, member)
            else:
                self.refused += 1
        elif example.features is not None and example.label is not None and example.forecast is not None:
            before = self.sample.members.get(example.user_hash)
            steady = CONSISTENCY_AT_FIRST if before is None else before.consistency
            moved_minor = round(math.expm1(min(max(example.label, 0.0), 25.0)) * 10_000.0)
            steady = float(consistency_after(steady, example.forecast, moved_minor))
            self.sample.report(example.user_hash, Member(example.timestamp_ms, example.features, steady))

    def _compare(self, design: Design, labels: Floats) -> Floats:
        """Everyone's forecasts against the labels; returns the champion's squared errors."""
        largest, half_life = self.policy.residual_max, self.policy.error_half_life_examples
        squared: Floats = np.zeros(0)
        models = [(self.errors[name], model.beta) for name, model in self.learners.items()]
        for error, beta in [*models, *((one.error, one.beta) for one in self.approved)]:
            squared = np.clip(labels - design.predict(beta), -largest, largest) ** 2
            error.take(squared, half_life)
        self.recent.take(squared, half_life * RECENT_SHARE)  # of the champion, the last of the approved
        return squared

    def _watch(self, squared: Floats, boundary_ms: int) -> None:
        if not self.drift.take(squared, self.policy.drift_threshold, self.policy.examples_min):
            return
        before, now = math.sqrt(self.drift.before), self.recent.rmse
        calm = before * self.policy.worse_ratio**2
        if now <= calm:  # some strange months in a row; those of late are foretold as well as before
            return
        self.calm_rmse = calm
        self.quarantine_until_ms = boundary_ms + self.policy.quarantine_days * DAY_MS
        why = (
            f"its error rose from {before:.3f} to {now:.3f}; nothing new is adopted for "
            f"{self.policy.quarantine_days} days"
        )
        self._note(boundary_ms, "drift", self.champion.version, "learner", why)

    def _note(self, at_ms: int, what: str, version: str, who: str, why: str) -> None:
        self.timeline = [*self.timeline, Happening(at_ms, what, version, who, why)][-TIMELINE_MAX:]

    # Decisions.

    def obey(self, order: Order, boundary_ms: int) -> None:
        """Take a person's decision: at once where it only brakes, else at the next closing boundary."""
        if order.what in ("freeze", "thaw"):
            self.frozen = order.what == "freeze"
            self._note(boundary_ms, "frozen" if self.frozen else "thawed", self.champion.version, order.who, order.why)
        elif order.version in ("", *LEARNERS, *(one.version for one in self.approved)):
            self.wanted = order
        else:
            known = ", ".join([*LEARNERS, *(one.version for one in self.approved)])
            self._note(boundary_ms, "refused", order.version, order.who, f"there is no such version; there are {known}")

    def close(self, boundary_ms: int, name: str, today: int | None = None) -> Weights | None:
        """Decide at a closing boundary, on a day; the weights to publish under this name, None: everything stays."""
        self._today = boundary_ms // DAY_MS if today is None else today
        self.borrowers.expire(boundary_ms - self.policy.borrower_days * DAY_MS)
        self.sample.expire(boundary_ms - self.policy.sample_days * DAY_MS)
        self._end_quarantine(boundary_ms)
        if self.wanted is not None:
            order, self.wanted = self.wanted, None
            return self._obey(order, boundary_ms, name)
        if self.frozen:
            return None
        if (better := self._better_approved()) is not None:
            return self._roll_back(better, boundary_ms, name, "learner", self._worse_words(better))
        learner = min(LEARNERS, key=lambda name: self.errors[name].rmse)
        if self.quarantine_until_ms is None and self._has_earned_it(learner):
            return self._adopt(learner, boundary_ms, name, "learner", "")
        if self.champion.version == self._first.version and len(self.borrowers) < self.policy.examples_min:
            return None  # too few examples: the packaged weights with their own tables stay
        return self._publish(self.champion.beta, boundary_ms, name, "refreshed", "the population again")

    def _has_earned_it(self, learner: str) -> bool:
        examples = self.learners[learner].examples
        enough = examples >= self.policy.examples_min and examples > self.good[learner]["examples"]
        return enough and self.errors[learner].rmse <= self.champion.error.rmse * AS_GOOD_RATIO

    def _better_approved(self) -> Approved | None:
        """An approved version that did clearly better than the champion on the same examples."""
        others = [one for one in self.approved[:-1] if one.error.examples >= self.policy.examples_min]
        best = min(others, key=lambda one: one.error.rmse, default=None)
        limit = self.champion.error.rmse / self.policy.worse_ratio
        return best if best is not None and best.error.rmse < limit else None

    def _worse_words(self, better: Approved) -> str:
        return (
            f"on the same examples {self.champion.version} was off by {self.champion.error.rmse:.3f}, "
            f"{better.version} by {better.error.rmse:.3f}"
        )

    def _obey(self, order: Order, boundary_ms: int, name: str) -> Weights:
        if order.what == "promote" and order.version in LEARNERS:
            return self._adopt(order.version, boundary_ms, name, order.who, order.why)
        earlier = self.approved[-2] if len(self.approved) > 1 else self.approved[-1]
        found = next((one for one in self.approved if one.version == order.version), earlier)
        if order.what == "promote" and not order.version:
            learner = min(LEARNERS, key=lambda name: self.errors[name].rmse)
            return self._adopt(learner, boundary_ms, name, order.who, order.why)
        return self._roll_back(found, boundary_ms, name, order.who, order.why)

    def _adopt(self, learner: str, boundary_ms: int, name: str, who: str, why: str) -> Weights:
        model, error = self.learners[learner], self.errors[learner]
        words = (
            why or f"{learner} is off by {error.rmse:.3f}, {self.champion.version} by {self.champion.error.rmse:.3f}"
        )
        beta = followed(model.beta)
        self.approved.append(Approved(name, beta, boundary_ms, error.rmse, RunningError(**body_of(error))))
        self._thin_out(boundary_ms)
        self.good = {one: held.body() for one, held in self.learners.items()}
        return self._publish(beta, boundary_ms, name, "promoted" if why else "adopted", words, who)

    def _thin_out(self, now_ms: int) -> None:
        """Keep versions of all ages to go back to, recent ones denser; the first and the champion always."""
        while len(self.approved) > APPROVED_MAX:
            at = [one.adopted_ms for one in self.approved]
            gaps = {i: (at[i + 1] - at[i - 1]) / (now_ms - at[i - 1]) for i in range(1, len(at) - 1)}
            del self.approved[min(gaps, key=lambda i: gaps[i])]

    def _roll_back(self, to: Approved, boundary_ms: int, name: str, who: str, why: str) -> Weights:
        """The approved version again, under a new name; the learners begin again from it."""
        self.approved.append(Approved(name, to.beta, boundary_ms, to.rmse, RunningError(**body_of(to.error))))
        left = self.approved.pop(-2)
        if to is left:
            self.approved.insert(-1, left)
        self.drift = PageHinkley()
        for learner, model in self.learners.items():
            model.begin_at(to.beta)
            self.errors[learner] = RunningError(**body_of(to.error))
        self.good = {learner: model.body() for learner, model in self.learners.items()}
        return self._publish(to.beta, boundary_ms, name, "rolled_back", f"to {to.version}: {why}", who)

    def _end_quarantine(self, boundary_ms: int) -> None:
        """What was learned during a drift that went away again is forgotten; one that stays is the new truth."""
        if self.quarantine_until_ms is None:
            return
        calm = self.champion.rmse * self.policy.worse_ratio**2 if self.calm_rmse is None else self.calm_rmse
        if self.recent.rmse <= calm:
            self.quarantine_until_ms = self.calm_rmse = None
            for name, model in self.learners.items():
                model.restore(self.good[name])
                self.errors[name] = RunningError(**body_of(self.champion.error))
            why = "the drift is over; what was learned since the last adoption is forgotten"
            self._note(boundary_ms, "forgot", self.champion.version, "learner", why)
        elif boundary_ms >= self.quarantine_until_ms:
            self.quarantine_until_ms = self.calm_rmse = None

    # Weights.

    def _publish(self, beta: Floats, boundary_ms: int, name: str, what: str, why: str, who: str = "learner") -> Weights:
        held = list(self.sample.in_order())
        packed = [member.features for member in held if member.features is not None]
        features = unpack_features(np.array(packed, np.uint16).reshape(-1, FEATURE_SLOTS))
        design = design_of(features, self._first.knots) if packed else None
        forecasts = np.round(design.predict(beta), ROUNDED_DIGITS) if design is not None else np.zeros(0)
        consistencies = np.array([m.consistency for m in held if m.features is not None], np.float64)
        self.stability = stability_index(self._expected, forecasts)
        all_forecasts = topped_up(forecasts, self._first.forecasts, SAMPLE_MIN)
        all_consistencies = topped_up(consistencies, self._first.consistencies, SAMPLE_MIN)
        packaged = {name: getattr(self._first, name) for name in _CUTS}
        borrowers = self.borrowers.borrowers(self._today)
        tables: dict[str, Any] = cut_tables(borrowers, packaged, self.policy.examples_min)
        self._expected = thinned(all_forecasts, EXPECTED_POINTS)
        if design is not None:
            steady = percentiles(all_consistencies, consistencies)
            now = value_bands(forecasts, all_forecasts, steady)
            for learner, model in self.learners.items():
                would = np.round(design.predict(followed(model.beta)), ROUNDED_DIGITS)
                then = value_bands(would, topped_up(would, self._first.forecasts, SAMPLE_MIN), steady)
                up, down = int((then > now).sum()), int((then < now).sum())
                self.shadow[learner] = {"up": up, "down": down, "of": len(now)}
        self._note(boundary_ms, what, name, who, why)
        share = min(len(packed) / SAMPLE_MIN, 1.0)
        phi_mean = (
            self._first.phi_mean if design is None else share * design.mean() + (1 - share) * self._first.phi_mean
        )
        return Weights(
            version=name,
            effective_ms=boundary_ms,
            beta=beta,
            knots=self._first.knots,
            phi_mean=np.round(phi_mean, ROUNDED_DIGITS),
            consistency_median=float(np.median(all_consistencies)),
            forecasts=thinned(all_forecasts, self.policy.table_points_max),
            consistencies=thinned(all_consistencies, self.policy.table_points_max),
            **tables,
        )

    # To and from plain JSON.

    def body(self) -> dict[str, Any]:
        """Everything but the learners, their good states and the sample, which have records of their own."""
        return {
            "approved": [
                {"version": one.version, "beta": one.beta.tolist(), "adopted_ms": one.adopted_ms,
                 "rmse": _finite(one.rmse), "error": body_of(one.error)}
                for one in self.approved
            ],
            "errors": {name: body_of(error) for name, error in self.errors.items()},
            "drift": body_of(self.drift),
            "recent": body_of(self.recent),
            "quarantine_until_ms": self.quarantine_until_ms,
            "calm_rmse": self.calm_rmse,
            "frozen": self.frozen,
            "wanted": None if self.wanted is None else list(self.wanted),
            "stability": self.stability,
            "shadow": self.shadow,
            "refused": self.refused,
            "expected": self._expected.tolist(),
            "timeline": [list(happening) for happening in self.timeline],
        }  # fmt: skip

    def restore(self, body: Mapping[str, Any]) -> None:
        """Know again what `body` said."""
        self.approved = [
            Approved(
                one["version"],
                whole_basis(one["beta"]),
                one["adopted_ms"],
                math.inf if one["rmse"] is None else one["rmse"],
                RunningError(**one["error"]),
            )
            for one in body["approved"]
        ]
        self.errors = {name: RunningError(**error) for name, error in body["errors"].items()}
        self.drift, self.recent = PageHinkley(**body["drift"]), RunningError(**body["recent"])
        self.quarantine_until_ms, self.frozen = body["quarantine_until_ms"], body["frozen"]
        self.calm_rmse = body.get("calm_rmse")  # older ones went by the error at the adoption
        self.wanted = None if body["wanted"] is None else Order(*body["wanted"])
        self.stability, self.refused = body["stability"], body["refused"]
        self.shadow = body["shadow"]
        self._expected = np.array(body["expected"], np.float64)
        self.timeline = [Happening(*line) for line in body["timeline"]]


_CUTS = ("status_terciles", "status_quintiles", "revenue_terciles", "revenue_quintiles", "recency_quintiles")


def followed(beta: Floats) -> Floats:
    """Coefficients as they are published: examples are taken at the turn of a day, when nobody has been active "today"
    yet, so that the first bin of recency has no examples of its own and says what the second does."""
    done = np.round(beta, ROUNDED_DIGITS)
    done[RECENCY_AT] = done[RECENCY_AT + 1]
    return done


def value_bands(forecasts: Floats, table: Floats, steady: Floats) -> NDArray[np.int64]:
    """Band 0..3 of value scores (n,) from forecasts, the percentile table they are read in, and consistency's share."""
    policy = Policy()
    exact = 1.0 + 4.0 * (policy.value_weight * percentiles(table, forecasts) + (1.0 - policy.value_weight) * steady)
    return np.searchsorted(np.array(policy.value_band_floors), np.round(exact, 2), side="right")


def is_sound(member: Member) -> bool:
    """Whether a report can be used: finite numbers, inputs in their bins. Workers write no other."""
    numbers = (member.consistency, *(x for x in (member.status, member.revenue, member.recency) if x is not None))
    if not all(math.isfinite(number) for number in numbers):
        return False
    if member.features is None:
        return True
    return bool(usable(unpack_features(np.array([member.features], np.uint16)), np.zeros(1))[0])


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
