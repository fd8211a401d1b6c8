"""The learner's last guard: an example that no learner can take is left out, told and counted; the rest is learned.

Learning changes models in place, so an epoch that raised half-way is worth nothing: the learner goes back to its
checkpoint and takes the epoch again with this guard. Each attempt works on a copy. The shortest beginning of the epoch
that raises ends with the example to blame; it is left out, and the rest is tried again. From the ninth on, those behind
it go with it, twice as many each time: an epoch full of them ends after some hundred attempts at most.

The examples alone decide, in one order, so the same ones are left out after a crash. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from streams.learning.rounds import Waiting
from streams.log.failures import NAMED, Failure, failure_of
from streams.log.protocol import HaltPartition

ALONE_MAX = 8
"""So many examples are blamed one at a time."""

State = TypeVar("State")
Result = TypeVar("Result")


class LeftOut(NamedTuple):
    """An example that was left out, and what it raised; `failure` None: it was only close to others that raised."""

    example: Waiting
    failure: Failure | None


class Learned(NamedTuple, Generic[State, Result]):
    """The state after an epoch, what learning it came to, and who was left out."""

    state: State
    result: Result
    left_out: list[LeftOut]


def learned_without(
    attempt: Callable[[State, Sequence[Waiting]], Result], state: State, examples: Sequence[Waiting]
) -> Learned[State, Result]:
    """Learn all examples that can be learned. `attempt` changes the state that it is given; `state` stays as it is.

    Raises `HaltPartition` where it raises without any example. Cost: about log2 n attempts for each that is left out.
    """
    left = sorted(examples, key=lambda one: (one.due_ms, one.example.timestamp_ms, one.partition, one.offset))
    left_out: list[LeftOut] = []
    while True:
        tried = _try(attempt, state, left)
        if isinstance(tried, Learned):
            return tried._replace(left_out=left_out)
        of_nothing = _try(attempt, state, [])
        if not isinstance(of_nothing, Learned):
            raise HaltPartition(
                f"the learner failed on an epoch without any example: {of_nothing.clause}. Nothing is lost. Report it "
                f"with the traceback in the learner's log, install the release that fixes it, and start it again."
            )
        place, failure = _first_to_raise(attempt, state, left, tried)
        count = 1 << max(0, len(left_out) - ALONE_MAX)
        left_out.append(LeftOut(left[place], failure))
        left_out += [LeftOut(one, None) for one in left[place + 1 : place + count]]
        del left[place : place + count]


def _first_to_raise(
    attempt: Callable[[State, Sequence[Waiting]], Result], state: State, examples: Sequence[Waiting], failure: Failure
) -> tuple[int, Failure]:
    """Where the example is that ends a beginning which raises, while the one without it does not."""
    good, bad = 0, len(examples)
    while bad - good > 1:
        middle = (good + bad) // 2
        tried = _try(attempt, state, examples[:middle])
        if isinstance(tried, Failure):
            bad, failure = middle, tried
        else:
            good = middle
    return bad - 1, failure


def _try(
    attempt: Callable[[State, Sequence[Waiting]], Result], state: State, examples: Sequence[Waiting]
) -> Learned[State, Result] | Failure:
    mine = copy.deepcopy(state)
    try:
        return Learned(mine, attempt(mine, examples), [])
    except NAMED:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is: that is what a last guard is for
        return failure_of(error, "learn")
