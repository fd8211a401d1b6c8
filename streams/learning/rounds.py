"""Epoch after epoch: which examples belong to which, in what order they are taught, when versions are closed. Pure.

The same examples, marks and decisions give the same versions, whatever the pieces they arrive in: an example belongs to
the epoch of its timestamp, or, where its partition had marked that one already, to the one under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from state.versions import Weights
from streams.learning.epochs import Epochs, moment_text
from streams.learning.value_learner import Order, ValueExample, ValueLearner


class Waiting(NamedTuple):
    """An example that waits for its epoch to end."""

    due_ms: int  # its timestamp, or the first moment after the mark that was there before it
    example: ValueExample
    partition: int
    offset: int


class Closed(NamedTuple):
    """New weights, and the boundary at which they were closed."""

    boundary_ms: int
    weights: Weights


class Decided(NamedTuple):
    """A person's decision and from when on it counts."""

    effective_ms: int
    order: Order


@dataclass(slots=True)
class Round:
    """What one step forward did."""

    until_ms: int
    epochs: int = 0
    examples: int = 0
    taught: int = 0
    late: int = 0
    closed: list[Closed] = field(default_factory=list)


@dataclass(slots=True)
class Rounds:
    """Where learning stands: done up to a boundary, a version open until another."""

    model: ValueLearner
    done_ms: int | None = None
    open_until_ms: int | None = None  # the closing boundary of the version that has new examples

    def advance(
        self, until_ms: int, waiting: Sequence[Waiting], decisions: Sequence[Decided], epochs: Epochs
    ) -> Round | None:
        """Go on to the last boundary that every partition has marked; None where that is where we are."""
        done_ms = epochs.last_until(until_ms)
        if done_ms is None or (self.done_ms is not None and done_ms <= self.done_ms):
            return None
        done = Round(done_ms)
        by_boundary: dict[int, list[Waiting]] = {}
        for one in waiting:
            if one.due_ms <= done_ms:
                by_boundary.setdefault(epochs.next_after(one.due_ms - 1), []).append(one)
        orders: dict[int, list[Order]] = {}
        for decided in decisions:
            boundary_ms = epochs.next_after(decided.effective_ms - 1)
            if boundary_ms <= done_ms and (self.done_ms is None or boundary_ms > self.done_ms):
                orders.setdefault(boundary_ms, []).append(decided.order)
        for boundary_ms in sorted(by_boundary.keys() | orders.keys()):
            self._close_before(boundary_ms, done, epochs)
            self._teach(boundary_ms, by_boundary.get(boundary_ms, []), orders.get(boundary_ms, []), done, epochs)
        self._close_before(done_ms + 1, done, epochs)
        self.done_ms = done_ms
        return done

    def _teach(
        self, boundary_ms: int, waiting: Sequence[Waiting], orders: Sequence[Order], done: Round, epochs: Epochs
    ) -> None:
        self.model.policy = epochs.policy_at(boundary_ms)
        for order in orders:
            self.model.obey(order, boundary_ms)
        ordered = sorted(waiting, key=lambda one: (one.example.timestamp_ms, one.example.user_hash, one.offset))
        done.taught += self.model.learn([one.example for one in ordered], boundary_ms)
        done.epochs += 1
        done.examples += len(ordered)
        done.late += sum(one.due_ms != one.example.timestamp_ms for one in ordered)
        self.open_until_ms = epochs.closing(boundary_ms)

    def _close_before(self, end_ms: int, done: Round, epochs: Epochs) -> None:
        """Close the version that is open, where its closing boundary lies before `end_ms`."""
        boundary_ms = self.open_until_ms
        if boundary_ms is None or boundary_ms >= end_ms:
            return
        self.open_until_ms = None
        weights = self.model.close(boundary_ms, f"value-{moment_text(boundary_ms)}")
        if weights is not None:
            rescore, at_ms = epochs.policy_at(boundary_ms).rescore_everyone, epochs.adoption_ms(boundary_ms)
            done.closed.append(Closed(boundary_ms, replace(weights, effective_ms=at_ms, rescore=rescore)))
