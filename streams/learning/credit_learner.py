"""A credit or insurance model as it learns from cases: challengers, approved versions, brakes, who may adopt what.

Everyone foretells every case before anyone learns from it: the champion and the other approved versions as they are,
each challenger as it stands. Nothing is adopted but by a person, or within an envelope that a person has approved
before; going back to an approved version that does better is automatic. Pure: cases in, versions and happenings out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import BEGINNING_MS, DAY_MS
from streams.learning.bayesian import BayesianLogisticRegression
from streams.learning.cases import CaseExample, Cases, Labelled
from streams.learning.chances import RunningChances, RunningDifference, losses
from streams.learning.decisions import TIMELINE_MAX, Happening, Order
from streams.learning.epochs import LearningPolicy
from streams.learning.fairness import FairnessTable
from streams.learning.monitoring import PageHinkley, body_of, stability_index
from streams.learning.recent_rows import RecentRows
from streams.learning.tree_challenger import TreeChallenger
from streams.scoring.models.additive import logistic, sums_of, tempered
from streams.scoring.models.model import Model, ModelWeights, read_model
from streams.scoring.models.specs import Challenger, ModelSpec, never_in_force

Floats = NDArray[np.float64]

APPROVED_MAX = 8
RECENT_SHARE = 0.15
"""Of the half-life: what says whether a drift is over forgets sooner."""
OTHER_POPULATION = 0.25
"""PSI above which those who ask are another population than the champion was adopted for."""
PEOPLE_MIN = 200
"""Fewer people say nothing about a population: their PSI is noise."""
OWN_PRIOR_VARIANCE = 0.1
DIGITS = 9


@dataclass(slots=True)
class ApprovedModel:
    """A version that may be in force. `body` is what `read_model` reads, `expected` what it said when adopted."""

    version: str
    body: Mapping[str, Any]
    adopted_ms: int
    model: Model
    lately: RunningChances = field(default_factory=RunningChances)
    expected: tuple[float, ...] = ()

    def chances(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """The chance of the label for each row (n,)."""
        return logistic(tempered(*sums_of(self.model.weights, self.model.inputs(rows))))


class CreditLearner:
    """See the module. `packaged` is the body of the packaged model that this one begins with, if it does."""

    def __init__(self, spec: ModelSpec, policy: LearningPolicy, packaged: Mapping[str, Any] | None = None) -> None:
        self.spec, self._policy, self._packaged = spec, policy, packaged
        self.cases = Cases(policy.request_days, policy.loan_days)
        self.learners = {name: self._fresh(one) for name, one in spec.challengers.items() if not one.is_grown}
        self.trees = {name: self._seed(one) for name, one in spec.challengers.items() if one.is_grown}
        """Challengers that can never be in force: they tell how much better one could be."""
        self.lately = {name: RunningChances() for name in self.challengers}
        self.against = {name: RunningDifference() for name in self.challengers}
        """Log loss of each challenger less the champion's on the same cases, since that is champion."""
        self.good = {name: learner.body() for name, learner in self.learners.items()}
        """The learners at the last closing at which nothing was wrong: where they go back to after a drift."""
        self.approved: list[ApprovedModel] = []
        if packaged is not None and _has_features(packaged, spec):
            self.approved.append(self._approved(f"{spec.name}-1", packaged, BEGINNING_MS))
        self.recent = RunningChances()  # of the champion, soon forgotten
        self.drift = PageHinkley()
        self.people = RecentRows()
        self.fairness = FairnessTable()
        self.quarantine_until_ms: int | None = None
        self.calm_loss: float | None = None  # below this log loss a drift is over
        self.frozen = False
        self.wanted: Order | None = None
        self.envelope: Order | None = None
        self.enveloped_ms = BEGINNING_MS
        self.envelope_now = ""  # why an envelope would let nothing in, as of the last closing
        self.stability = 0.0
        self.shadow: dict[str, dict[str, Any]] = {}
        """How many of the last who asked each challenger would move to a better or worse band: up, down, of; and
        `moves`, from which band to which."""
        self.timeline: list[Happening] = []

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def challengers(self) -> list[str]:
        """All who learn beside the champion."""
        return [*self.learners, *self.trees]

    @property
    def champion(self) -> ApprovedModel | None:
        """The version in force, or about to be; None where none was ever put in force."""
        return self.approved[-1] if self.approved else None

    @property
    def policy(self) -> LearningPolicy:
        """What the deployment has decided about learning."""
        return self._policy

    @policy.setter
    def policy(self, policy: LearningPolicy) -> None:
        self._policy = policy
        self.cases.wait_for(policy.request_days, policy.loan_days)

    def follow(self, spec: ModelSpec) -> None:
        """Take a declaration that is in force now: challengers come and go, what they look at is fixed."""
        if spec == self.spec:
            return
        self.good = dict(self.good)
        for name in [name for name, one in self.spec.challengers.items() if spec.challengers.get(name) != one]:
            for held in (self.learners, self.trees, self.lately, self.against, self.good, self.shadow):
                held.pop(name, None)
        self.spec = spec
        for name, one in spec.challengers.items():
            if name in self.lately:
                continue
            self.lately[name], self.against[name] = RunningChances(), RunningDifference()
            if one.is_grown:
                self.trees[name] = self._seed(one)
            else:
                self.learners[name] = self._fresh(one)
                self.good[name] = self.learners[name].body()

    def _seed(self, challenger: Challenger) -> TreeChallenger:
        return TreeChallenger(challenger, self.spec.manifest.features)

    def _fresh(self, challenger: Challenger, start: Mapping[str, Any] | None = None) -> BayesianLogisticRegression:
        """A learner before its first example: from an approved version, a packaged one, or nothing."""
        wanted = challenger.features or self.spec.manifest.names
        features = tuple(feature for feature in self.spec.manifest.features if feature.name in wanted)
        body = start or self._packaged
        if body is not None and [one["name"] for one in body["features"]] == [f.name for f in features]:
            parameters = dict(body["parameters"])
            if challenger.prior_variance is not None:
                parameters["prior_variance"] = challenger.prior_variance
            half_life = challenger.half_life_examples
            parameters["half_life_examples"] = None if math.isinf(half_life) else half_life
            return BayesianLogisticRegression.from_body({**body, "parameters": parameters})
        learner = BayesianLogisticRegression(
            features,
            prior_variance=challenger.prior_variance or OWN_PRIOR_VARIANCE,
            half_life_examples=challenger.half_life_examples,
        )
        if self._packaged is not None:
            learner.begin_with(read_model(self._packaged, self.name, self.spec.manifest.purpose, "packaged"))
        return learner

    def _approved(self, version: str, body: Mapping[str, Any], at_ms: int) -> ApprovedModel:
        return ApprovedModel(version, body, at_ms, read_model(body, self.name, self.spec.manifest.purpose, version))

    # Learning.

    def learn(self, examples: Sequence[CaseExample], boundary_ms: int) -> int:
        """Take an epoch's records in their order, and what time decides up to its end; how many taught something."""
        erased = {e.user_hash: e.timestamp_ms for e in examples if e.kind == "erasure"}
        if erased:
            self.cases.forget(erased)
            self.people.forget(erased)
            for tree in self.trees.values():
                tree.forget(erased)
        known: list[Labelled] = []
        for example in examples:
            known += self.cases.pass_time(example.timestamp_ms - 1)
            if example.timestamp_ms <= erased.get(example.user_hash, BEGINNING_MS):
                continue
            example = self._seen(example)  # noqa: PLW2901
            if example.kind == "request" and example.inputs is not None and example.case not in self.cases.held:
                self.people.take(example.user_hash, example.timestamp_ms, example.inputs)
            found = self.cases.take(example)
            if found is not None:
                known.append(found)
        known += self.cases.pass_time(boundary_ms)
        self.cases.shrink(self.policy.requests_max)
        known = [one for one in known if one.asked_ms > erased.get(one.user_hash, BEGINNING_MS)]
        known.sort(key=lambda one: (one.known_ms, one.user_hash, one.case))
        if known:
            self._teach(known, boundary_ms)
        return len(known)

    def _seen(self, example: CaseExample) -> CaseExample:
        """The record with nothing but what the manifest names: whoever wrote it, no model sees more."""
        if example.inputs is None:
            return example
        inputs = {name: example.inputs[name] for name in self.spec.manifest.names if name in example.inputs}
        return example._replace(inputs=inputs)

    def _teach(self, known: Sequence[Labelled], boundary_ms: int) -> None:
        rows, labels = [one.inputs for one in known], np.array([one.label for one in known])
        half_life = float(self.policy.error_half_life_examples)
        said: Floats | None = None
        lost: Floats | None = None
        for version in self.approved:
            said = version.chances(rows)
            version.lately.take(said, labels, half_life)
        if said is not None:  # the last one's: the champion's
            self.recent.take(said, labels, half_life * RECENT_SHARE)
            self.fairness.take([one.aside for one in known], self._favoured(said), labels, self.spec.favourable)
            lost = losses(said, labels)
            self._watch(lost, boundary_ms)
        for name, learner in self.learners.items():
            chances = logistic(tempered(*learner.learn_before(rows, labels.tolist())))
            self._compare(name, chances, labels, lost)
        for name, tree in self.trees.items():
            mine = np.array([tree.takes(one.case) for one in known])
            chances = tree.learn_before([one for one, takes in zip(known, mine.tolist(), strict=True) if takes])
            self._compare(name, chances, labels[mine], None if lost is None else lost[mine])

    def _compare(self, name: str, chances: Floats, labels: Floats, champion_lost: Floats | None) -> None:
        """How good a challenger is lately, by itself and against the champion on the same cases."""
        half_life = float(self.policy.error_half_life_examples)
        self.lately[name].take(chances, labels, half_life)
        if champion_lost is not None:
            self.against[name].take(losses(chances, labels) - champion_lost, half_life)

    def _favoured(self, chances: Floats) -> NDArray[np.bool_]:
        """Who is told what they want: the best band."""
        edge = self.spec.floors[-1] if self.spec.favourable else self.spec.floors[0]
        return chances >= edge if self.spec.favourable else chances < edge

    def _watch(self, lost: Floats, boundary_ms: int) -> None:
        champion = self.approved[-1]
        if self.drift.take(lost, self.policy.drift_threshold, self.policy.examples_min):
            calm = self.drift.before * self.policy.worse_ratio**2
            if self.recent.log_loss <= calm:  # some strange cases in a row; those of late are foretold as before
                return
            self.calm_loss = calm
            why = f"its log loss rose from {self.drift.before:.3f} to {self.recent.log_loss:.3f}"
            self._quarantine(boundary_ms, why, champion.version)

    def _quarantine(self, boundary_ms: int, why: str, version: str) -> None:
        days = self.policy.quarantine_days
        self.quarantine_until_ms = boundary_ms + days * DAY_MS
        self._note(boundary_ms, "drift", version, "learner", f"{why}; nothing is adopted by itself for {days} days")

    def _note(self, at_ms: int, what: str, version: str, who: str, why: str) -> None:
        self.timeline = [*self.timeline, Happening(at_ms, what, version, who, why)][-TIMELINE_MAX:]

    # Decisions.

    def obey(self, order: Order, boundary_ms: int) -> None:
        """Take a person's decision: at once where it only brakes or allows, else at the next closing boundary."""
        version = self.approved[-1].version if self.approved else "-"
        if order.what in ("freeze", "thaw"):
            self.frozen = order.what == "freeze"
            self._note(boundary_ms, "frozen" if self.frozen else "thawed", version, order.who, order.why)
        elif order.what in ("envelope", "no_envelope"):
            self.envelope = order if order.what == "envelope" else None
            self._note(boundary_ms, "enveloped" if self.envelope else "closed", version, order.who, order.why)
        elif refusal := self._refusal(order):
            self._note(boundary_ms, "refused", order.version or "-", order.who, refusal)
        else:
            self.wanted = order

    def _refusal(self, order: Order) -> str:
        """Why a version cannot be put in force; empty where it can."""
        if order.version in self.trees:
            return never_in_force(order.version, self.trees[order.version].kind)
        if order.what == "rollback" and (not order.version or order.version in self.learners):
            return "" if len(self.approved) > 1 and not order.version else "there is no approved version to go back to"
        if order.version in self.learners:
            taught, least = self._taught(order.version), self.policy.examples_min
            return "" if taught >= least else f"it has learned from {taught:,} outcomes, {least:,} are needed"
        known = [*self.learners, *(one.version for one in self.approved)]
        return "" if order.version in known else f"there is no such version; there are {', '.join(known)}"

    def _taught(self, learner: str) -> int:
        return self.lately[learner].examples

    def close(self, boundary_ms: int, name: str) -> ModelWeights | None:
        """Decide at a closing boundary; the version to publish under this name, None: everything stays as it is."""
        self._look_round(boundary_ms)
        if self.wanted is not None:
            order, self.wanted = self.wanted, None
            if order.version in self.learners:
                return self._adopt(order.version, boundary_ms, name, "promoted", order.who, order.why)
            found = [one for one in self.approved if one.version == order.version] or self.approved[-2:-1]
            return self._go_back(found[0], boundary_ms, name, order.who, order.why) if found else None
        if self.frozen:
            return None
        if (better := self._better_approved()) is not None:
            return self._go_back(better, boundary_ms, name, "learner", self._worse_words(better))
        found_name, self.envelope_now = self.within_envelope(boundary_ms)
        if self.envelope is not None and not self.envelope_now:
            self.enveloped_ms = boundary_ms
            why = f"within the envelope that {self.envelope.who} approved: {self.envelope.why}"
            return self._adopt(found_name, boundary_ms, name, "adopted", "learner", why)
        return None

    def _look_round(self, boundary_ms: int) -> None:
        """Is a drift over, has the population changed, what would the challengers do? Then remember the good state."""
        champion, rows = self.champion, self.people.rows()
        if champion is not None and rows:
            now = champion.chances(rows)
            if len(champion.expected) >= PEOPLE_MIN:
                before = self.stability
                self.stability = stability_index(np.array(champion.expected), now)
                if self.stability > OTHER_POPULATION >= before:
                    why = f"those who ask are others: PSI {self.stability:.2f} since it was adopted"
                    self._quarantine(boundary_ms, why, champion.version)
            elif len(rows) >= PEOPLE_MIN:
                champion.expected = _sorted(now)
            for name in self.challengers:
                self.shadow[name] = self._moves(self._bands(self._chances(name, rows)), self._bands(now))
        if self.quarantine_until_ms is None:
            self.good = {name: learner.body() for name, learner in self.learners.items()}
        elif self.stability <= OTHER_POPULATION and self._is_calm():
            self.quarantine_until_ms = self.calm_loss = None
            for name, body in self.good.items():
                self.learners[name] = BayesianLogisticRegression.from_body(body)
            words = "the drift is over; what was learned since the last good closing is forgotten"
            self._note(boundary_ms, "forgot", champion.version if champion else "-", "learner", words)
        elif boundary_ms >= self.quarantine_until_ms:
            self.quarantine_until_ms = self.calm_loss = None  # it is the new truth

    def _is_calm(self) -> bool:
        """Whether the champion is as good lately as it was before the drift."""
        return self.calm_loss is None or self.recent.log_loss <= self.calm_loss

    def _better_approved(self) -> ApprovedModel | None:
        """An approved version that did clearly better than the champion on the same cases."""
        if len(self.approved) < 2:
            return None
        others = [one for one in self.approved[:-1] if one.lately.examples >= self.policy.examples_min]
        best = min(others, key=lambda one: one.lately.log_loss, default=None)
        limit = self.approved[-1].lately.log_loss / self.policy.worse_ratio
        return best if best is not None and best.lately.log_loss < limit else None

    def _worse_words(self, better: ApprovedModel) -> str:
        champion = self.approved[-1]
        return (
            f"on the same cases {champion.version} has a log loss of {champion.lately.log_loss:.3f}, "
            f"{better.version} of {better.lately.log_loss:.3f}"
        )

    def within_envelope(self, boundary_ms: int) -> tuple[str, str]:
        """The challenger that an envelope would let in, and why it does not; the latter is empty where it does."""
        name = min(self.learners, key=lambda name: (self.lately[name].log_loss, name))
        champion, policy, lately = self.champion, self.policy, self.lately[name]
        rows = self.people.rows()
        if self._taught(name) < policy.examples_min or champion is None:
            return name, f"{name} has learned from {self._taught(name):,} outcomes, {policy.examples_min:,} are needed"
        if len(rows) < PEOPLE_MIN:
            return name, f"{len(rows)} people have asked, {PEOPLE_MIN} are needed to compare"
        if self.quarantine_until_ms is not None:
            return name, "a drift keeps it in quarantine"
        since_ms = max(self.enveloped_ms, champion.adopted_ms)
        if boundary_ms - since_ms < policy.envelope_days * DAY_MS:
            return name, f"the version in force is less than {policy.envelope_days} days old"
        if not lately.auc >= champion.lately.auc or lately.log_loss > champion.lately.log_loss:
            return name, f"AUC {lately.auc:.3f} against {champion.lately.auc:.3f} of {champion.version}"
        now, then = champion.chances(rows), self._chances(name, rows)
        stability = stability_index(np.sort(now), then)
        if not stability < policy.envelope_stability:
            return name, f"PSI {stability:.2f} against {champion.version}, at most {policy.envelope_stability}"
        moves = self._moves(self._bands(then), self._bands(now))
        moved = (moves["up"] + moves["down"]) / moves["of"]
        if not moved < policy.envelope_moves:
            return name, f"{moved:.1%} would be in another band, at most {policy.envelope_moves:.0%}"
        return name, ""

    def _chances(self, challenger: str, rows: Sequence[Mapping[str, Any]]) -> Floats:
        if challenger in self.trees:
            return self.trees[challenger].probabilities(rows)
        return self.learners[challenger].probabilities(rows)

    def _bands(self, chances: Floats) -> NDArray[np.int64]:
        """Band by the chance (n,): 0 the lowest."""
        return np.searchsorted(np.array(self.spec.floors), chances, side="right")

    def _moves(self, then: NDArray[np.int64], now: NDArray[np.int64]) -> dict[str, Any]:
        """Up is better for the person. `moves`: [from band, to band, how many], 0 the lowest chance."""
        more, less = int((then > now).sum()), int((then < now).sum())
        up, down = (more, less) if self.spec.favourable else (less, more)
        pairs = Counter(zip(now.tolist(), then.tolist(), strict=True))
        moves = [[before, after, count] for (before, after), count in sorted(pairs.items()) if before != after]
        return {"up": up, "down": down, "of": len(now), "moves": moves}

    # Versions.

    def _adopt(self, learner: str, boundary_ms: int, name: str, what: str, who: str, why: str) -> ModelWeights | None:
        body = _rounded(self.learners[learner].body())
        if "mean" not in body:
            self._note(boundary_ms, "refused", learner, who, "its knots are not known yet: too few examples")
            return None
        approved = self._approved(name, body, boundary_ms)
        approved.lately = RunningChances.of(self.lately[learner].body())
        self.approved.append(approved)
        self._thin_out(boundary_ms)
        return self._publish(approved, boundary_ms, what, f"{learner}: {why}", who)

    def _go_back(self, to: ApprovedModel, boundary_ms: int, name: str, who: str, why: str) -> ModelWeights:
        """The approved version again, under a new name; the learners begin again from it."""
        again = replace(to, version=name, adopted_ms=boundary_ms, lately=RunningChances.of(to.lately.body()))
        again.model = again.model._replace(version=name)
        left = self.approved.pop()
        if to is left:
            self.approved.append(left)
        self.approved.append(again)
        self._thin_out(boundary_ms)
        for learner in self.learners:
            self.learners[learner] = self._fresh(self.spec.challengers[learner], to.body)
            self.lately[learner] = RunningChances.of(to.lately.body())
        return self._publish(again, boundary_ms, "rolled_back", f"to {to.version}: {why}", who)

    def _publish(self, version: ApprovedModel, boundary_ms: int, what: str, why: str, who: str) -> ModelWeights:
        self.drift, self.stability = PageHinkley(), 0.0
        self.quarantine_until_ms = self.calm_loss = None
        self.recent = RunningChances()
        self.against = {name: RunningDifference() for name in self.challengers}
        version.expected = _sorted(version.chances(self.people.rows())) if self.people.rows() else ()
        self.good = {name: learner.body() for name, learner in self.learners.items()}
        self._note(boundary_ms, what, version.version, who, why)
        return ModelWeights(self.name, version.version, boundary_ms, version.body)

    def _thin_out(self, now_ms: int) -> None:
        """Keep versions of all ages to go back to, recent ones denser; the first and the champion always."""
        while len(self.approved) > APPROVED_MAX:
            at = [one.adopted_ms for one in self.approved]
            gaps = {i: (at[i + 1] - at[i - 1]) / (now_ms - at[i - 1]) for i in range(1, len(at) - 1)}
            del self.approved[min(gaps, key=lambda i: gaps[i])]

    # To and from plain JSON. Cases, versions and learners have records of their own.

    def body(self) -> dict[str, Any]:
        """What is kept beside cases, versions, learners and recent rows."""
        return {
            "approved": [
                {"version": one.version, "adopted_ms": one.adopted_ms, "lately": one.lately.body(),
                 "expected": list(one.expected)}
                for one in self.approved
            ],
            "lately": {name: one.body() for name, one in self.lately.items()},
            "against": {name: one.body() for name, one in self.against.items()},
            "recent": self.recent.body(),
            "drift": body_of(self.drift),
            "fairness": self.fairness.body(),
            "counts": dict(sorted(self.cases.counts.items())),
            "waiting": {"cases": len(self.cases), "bytes": self.cases.size_bytes},
            "quarantine_until_ms": self.quarantine_until_ms,
            "calm_loss": self.calm_loss,
            "frozen": self.frozen,
            "wanted": None if self.wanted is None else list(self.wanted),
            "envelope": None if self.envelope is None else list(self.envelope),
            "enveloped_ms": self.enveloped_ms,
            "envelope_now": self.envelope_now,
            "stability": self.stability,
            "shadow": self.shadow,
            "timeline": [list(happening) for happening in self.timeline],
        }  # fmt: skip

    def restore(self, body: Mapping[str, Any], version_body: Callable[[str], Mapping[str, Any]]) -> None:
        """Know again what `body` said; `version_body` gives the weights of a version by its name."""
        self.approved = []
        for one in body["approved"]:
            approved = self._approved(one["version"], version_body(one["version"]), one["adopted_ms"])
            approved.lately, approved.expected = RunningChances.of(one["lately"]), tuple(one["expected"])
            self.approved.append(approved)
        self.lately = {name: RunningChances.of(one) for name, one in body["lately"].items()}
        against = body.get("against", {})  # older ones did not compare case by case
        self.against = {name: RunningDifference(*against.get(name, ())) for name in self.challengers}
        self.recent, self.drift = RunningChances.of(body["recent"]), PageHinkley(**body["drift"])
        self.fairness = FairnessTable.of(body["fairness"])
        self.quarantine_until_ms, self.frozen = body["quarantine_until_ms"], body["frozen"]
        self.calm_loss = body["calm_loss"]
        self.wanted = None if body["wanted"] is None else Order(*body["wanted"])
        self.envelope = None if body["envelope"] is None else Order(*body["envelope"])
        self.enveloped_ms, self.stability = body["enveloped_ms"], body["stability"]
        self.envelope_now = body["envelope_now"]
        self.shadow = body["shadow"]
        self.timeline = [Happening(*line) for line in body["timeline"]]


def _has_features(body: Mapping[str, Any], spec: ModelSpec) -> bool:
    return [one["name"] for one in body["features"]] == list(spec.manifest.names)


def _sorted(chances: Floats) -> tuple[float, ...]:
    return tuple(np.round(np.sort(chances), DIGITS).tolist())


def _rounded(body: Mapping[str, Any]) -> dict[str, Any]:
    """Weights as they are published: nine decimals, and without what only the learner needs."""
    parts = {name: np.round(np.array(body[name]), DIGITS).tolist() for name in ("mean", "covariance", "phi_mean")
             if name in body}  # fmt: skip
    return {**body, **parts, "waiting": []}
