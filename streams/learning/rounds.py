"""Epoch after epoch: which examples belong to which, in what order they are taught, when versions are closed. Pure.

The same examples, marks and decisions give the same versions, whatever the pieces they arrive in: an example belongs to
the epoch of its timestamp, or, where its partition had marked that one already, to the one under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from schemas.batch import FOREVER_MS
from state.category_text import TextWeights
from state.versions import Weights
from streams.learning.cases import CaseExample
from streams.learning.credit_learner import CreditLearner
from streams.learning.decisions import Happening, Order
from streams.learning.epochs import Epochs, LearningPolicy, moment_text
from streams.learning.text_learner import TEXT, TextExample, TextLearner
from streams.learning.value_learner import ValueExample, ValueLearner
from streams.scoring.models.model import ModelWeights
from streams.scoring.models.specs import ModelSpec

VALUE = "value"


class Waiting(NamedTuple):
    """An example that waits for its epoch to end."""

    due_ms: int  # its timestamp, or the first moment after the mark that was there before it
    example: ValueExample | CaseExample | TextExample
    partition: int
    offset: int


class Closed(NamedTuple):
    """New weights, and the boundary at which they were closed."""

    boundary_ms: int
    weights: Weights | ModelWeights


class Decided(NamedTuple):
    """A person's decision, about which model and from when on it counts."""

    effective_ms: int
    order: Order
    model: str = VALUE


@dataclass(slots=True)
class Round:
    """What one step forward did."""

    until_ms: int
    epochs: int = 0
    examples: int = 0
    taught: int = 0
    late: int = 0
    closed: list[Closed] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)  # models that had something to learn or to obey


SpecAt = Callable[[str, int], ModelSpec | None]
"""The declaration of a model in force at a moment."""


@dataclass(slots=True)
class Rounds:
    """Where learning stands: done up to a boundary, versions open until another.

    `begin` makes the learner of a model that was not there before.
    """

    model: ValueLearner
    done_ms: int | None = None
    open_until: dict[str, int] = field(default_factory=dict)  # by model: where its version with new examples closes
    credit: dict[str, CreditLearner] = field(default_factory=dict)
    begin: Callable[[ModelSpec], CreditLearner] | None = None
    unknown: int = 0  # records about models that do not exist
    text: TextLearner | None = None  # made where the first description teaches

    def advance(
        self,
        until_ms: int,
        waiting: Sequence[Waiting],
        decisions: Sequence[Decided],
        epochs: Epochs,
        spec_at: SpecAt = lambda _name, _ms: None,
        texts: Sequence[TextWeights] = (),
    ) -> Round | None:
        """Go on to the last boundary that every partition has marked; None where that is where we are.

        `texts` are the versions of the model that reads descriptions that are known.
        """
        done_ms = epochs.last_until(until_ms)
        if done_ms is None or (self.done_ms is not None and done_ms <= self.done_ms):
            return None
        done = Round(done_ms)
        by_boundary: dict[int, list[Waiting]] = {}
        for one in waiting:
            if one.due_ms <= done_ms:
                by_boundary.setdefault(epochs.next_after(one.due_ms - 1), []).append(one)
        orders: dict[int, list[Decided]] = {}
        for decided in decisions:
            boundary_ms = epochs.next_after(decided.effective_ms - 1)
            if boundary_ms <= done_ms and (self.done_ms is None or boundary_ms > self.done_ms):
                orders.setdefault(boundary_ms, []).append(decided)
        told = sorted(by_boundary.keys() | orders.keys(), reverse=True)
        while (boundary_ms := min(told[-1] if told else FOREVER_MS, self._next_end_ms(epochs))) <= done_ms:
            if told and told[-1] == boundary_ms:
                told.pop()
            self._close_before(boundary_ms, done, epochs)
            for decided in orders.get(boundary_ms, []):
                self._obey(decided, boundary_ms, done, epochs, spec_at)
            ordered = sorted(
                by_boundary.get(boundary_ms, []),
                key=lambda one: (one.example.timestamp_ms, one.example.user_hash, one.offset),
            )
            self._teach(boundary_ms, ordered, done, epochs, spec_at)
            self._teach_text(boundary_ms, ordered, done, epochs, texts)
        self._close_before(done_ms + 1, done, epochs)
        self.done_ms = done_ms
        return done

    def timeline_of(self, name: str) -> Sequence[Happening]:
        """What happened to a model."""
        learner = self.model if name == VALUE else self.text if name == TEXT else self.credit[name]
        return [] if learner is None else learner.timeline

    def _next_end_ms(self, epochs: Epochs) -> int:
        """The boundary up to which time decides something next: a loan that was paid, a case nobody answers."""
        ends = [end_ms for one in self.credit.values() if (end_ms := one.cases.next_end_ms()) is not None]
        return epochs.next_after(min(ends) - 1) if ends else FOREVER_MS

    def _obey(self, decided: Decided, boundary_ms: int, done: Round, epochs: Epochs, spec_at: SpecAt) -> None:
        if decided.model == VALUE:
            self.model.policy = epochs.policy_at(boundary_ms)
            self.model.obey(decided.order, boundary_ms)
        elif decided.model == TEXT:
            self._text_learner(epochs.policy_at(boundary_ms)).obey(decided.order, boundary_ms)
        elif (learner := self._learner(decided.model, boundary_ms, epochs, spec_at)) is not None:
            learner.obey(decided.order, boundary_ms)
        else:
            return
        self._open(decided.model, boundary_ms, done, epochs)

    def _teach(
        self, boundary_ms: int, ordered: Sequence[Waiting], done: Round, epochs: Epochs, spec_at: SpecAt
    ) -> None:
        """The examples of one epoch, to every model its own, in one order."""
        values = [one.example for one in ordered if isinstance(one.example, ValueExample)]
        if values:
            self.model.policy = epochs.policy_at(boundary_ms)
            done.taught += self.model.learn(values, boundary_ms)
            self._open(VALUE, boundary_ms, done, epochs)
        erased = [_erasure_of(example) for example in values if example.erased]
        cases: dict[str, list[CaseExample]] = {name: [] for name in self.credit}
        for one in ordered:
            if isinstance(one.example, CaseExample):
                cases.setdefault(one.example.model, []).append(one.example)
        for name, mine in sorted(cases.items()):
            learner = self._learner(name, boundary_ms, epochs, spec_at)
            if learner is None:
                self.unknown += len(mine)
                continue
            before = learner.cases.next_end_ms()
            together = sorted([*mine, *erased], key=lambda e: (e.timestamp_ms, e.kind != "erasure"))
            taught = learner.learn(together, boundary_ms)
            done.taught += taught
            if together or (before is not None and before <= boundary_ms):
                self._open(name, boundary_ms, done, epochs)
        done.epochs += 1
        done.examples += len(ordered)
        done.late += sum(one.due_ms != one.example.timestamp_ms for one in ordered)

    def _teach_text(
        self, boundary_ms: int, ordered: Sequence[Waiting], done: Round, epochs: Epochs, texts: Sequence[TextWeights]
    ) -> None:
        """The descriptions of one epoch, in one order, and the erasures."""
        found = [one.example for one in ordered if isinstance(one.example, TextExample)]
        erased = {
            one.example.user_hash: one.example.timestamp_ms
            for one in ordered
            if isinstance(one.example, ValueExample) and one.example.erased
        }
        if not found and (self.text is None or not erased):
            return
        learner = self._text_learner(epochs.policy_at(boundary_ms))
        learner.follow(texts, boundary_ms)
        done.taught += learner.learn(found, erased)
        self._open(TEXT, boundary_ms, done, epochs)

    def _text_learner(self, policy: LearningPolicy) -> TextLearner:
        if self.text is None:
            self.text = TextLearner(policy)
        self.text.policy = policy
        return self.text

    def _learner(self, name: str, boundary_ms: int, epochs: Epochs, spec_at: SpecAt) -> CreditLearner | None:
        """The learner of a model, made where it was not there before; None: there is no such model."""
        spec = spec_at(name, boundary_ms)
        if spec is None or self.begin is None:
            return None
        if name not in self.credit:
            self.credit[name] = self.begin(spec)
        learner = self.credit[name]
        learner.follow(spec)
        learner.policy = epochs.policy_at(boundary_ms)
        return learner

    def _open(self, name: str, boundary_ms: int, done: Round, epochs: Epochs) -> None:
        self.open_until[name] = epochs.closing(boundary_ms)
        done.touched.add(name)

    def _close_before(self, end_ms: int, done: Round, epochs: Epochs) -> None:
        """Close the versions that are open, where their closing boundaries lie before `end_ms`."""
        for name, boundary_ms in sorted(self.open_until.items(), key=lambda item: (item[1], item[0])):
            if boundary_ms >= end_ms:
                continue
            del self.open_until[name]
            done.touched.add(name)
            version = f"{name}-{moment_text(boundary_ms)}"
            weights: Weights | ModelWeights | None
            if name == VALUE:
                weights = self.model.close(boundary_ms, version, epochs.day_of(boundary_ms))
            elif name == TEXT:
                weights = self._text_learner(epochs.policy_at(boundary_ms)).close(boundary_ms, version)
            else:
                weights = self.credit[name].close(boundary_ms, version)
            if weights is not None:
                # what was read from descriptions stays as it was read: nobody is scored again for that
                rescore = epochs.policy_at(boundary_ms).rescore_everyone and name != TEXT
                at_ms = epochs.adoption_ms(boundary_ms)
                done.closed.append(Closed(boundary_ms, _in_force(weights, at_ms, rescore)))


def _in_force(weights: Weights | ModelWeights, at_ms: int, rescore: bool) -> Weights | ModelWeights:
    if isinstance(weights, ModelWeights):
        return weights._replace(effective_ms=at_ms, rescore=rescore)
    return replace(weights, effective_ms=at_ms, rescore=rescore)


def _erasure_of(example: ValueExample) -> CaseExample:
    """An erasure is for every model, though its record names one."""
    return CaseExample(example.timestamp_ms, example.user_hash, "", "erasure", b"")
