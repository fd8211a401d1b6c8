"""The protocol as a small machine, explored in every order of events: what is exactly once, and what only looks so.

One partition, two workers, a log with transactions, a store that compares and sets. A state is a value; `steps` names
everything that can happen next; `explore` walks through all states there are, nearest first, so that the first broken
promise comes with the shortest story that leads to it. What can go wrong is budgeted, which bounds the walk.

A `Design` says how the worker goes about it. Three designs that people choose are here beside ours, and break:

- `recovery="rerun"`: the store is written after the commit, and what it lacks is made by running the program again from
  the offset that the store has applied. A program that has changed meanwhile makes something else than was published.
- `compare="offset"`: the store compares the offset of its last event. A timer moves no offset: the write that follows
  it looks as if it had been there.
- `timers_send_positions=False`: a transaction without positions is not checked by the group: a worker that has lost its
  partition fires a timer that its heir has fired already.

Not in here: several partitions and merging by time; writes of the store in pieces. `tests/simulation` has those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Effect = tuple[str, int]
"""An event or a timer, and the version of the program that took it. Its id must be published once."""

State = tuple[Effect, ...]
"""What a row remembers: everything that made it."""

TIMER = "timer"


@dataclass(frozen=True)
class Design:
    """How a worker goes about it."""

    recovery: Literal["changelog", "rerun"] = "changelog"
    compare: Literal["seq", "offset"] = "seq"
    timers_send_positions: bool = True
    stable_offsets: bool = True


class Budget(NamedTuple):
    """How often each thing may go wrong."""

    rebalances: int = 1
    crashes: int = 1
    lost_answers: int = 1
    rollbacks: int = 1


class Transaction(NamedTuple):
    """What a worker is about to commit."""

    effect: Effect
    seq: int
    offset: int  # next event to take
    row: State
    positions_sent: bool = False


class Held(NamedTuple):
    """What the store holds; `key` is what it compares: a seq or an offset."""

    key: int
    row: State


class Write(NamedTuple):
    """A write on its way to the store: sent by a worker that may be gone when it arrives."""

    worker: int
    expected: int | None
    held: Held


class Worker(NamedTuple):
    """One process. `phase`: away, resolving, running, saving (its write is on its way)."""

    version: int
    phase: str = "away"
    generation: int = 0
    seq: int = 0
    offset: int = 0
    row: State = ()
    key: int | None = None  # what it believes the store holds
    transaction: Transaction | None = None


class World(NamedTuple):
    """Everything."""

    workers: tuple[Worker, Worker]
    owner: int | None = None
    generation: int = 0
    committed: tuple[Transaction, ...] = ()  # visible, in order: changes, rows and positions of each
    decided: Transaction | None = None  # to be committed, markers not written yet
    store: Held | None = None
    copy: Held | None = None
    late: frozenset[Write] = frozenset()
    budget: Budget = Budget()

    @property
    def row(self) -> State:
        """The committed state."""
        return self.committed[-1].row if self.committed else ()

    @property
    def offset(self) -> int:
        """The committed position of the group: a commit never takes it back."""
        return max((t.offset for t in self.committed), default=0)


Step = tuple[str, World]


class Broken(NamedTuple):
    """A promise that does not hold, and the shortest way there."""

    promise: str
    story: list[str]


class Result(NamedTuple):
    """How many states there are, and what is broken in the first that breaks anything."""

    states: int
    broken: Broken | None


@dataclass(frozen=True)
class Model:
    """A design in a bounded world: `events` to take, a `timer` that fires once the first is taken, an `upgrade` that
    makes the second worker another program.
    """

    design: Design = Design()
    events: int = 2
    timer: bool = True
    upgrade: bool = True
    budget: Budget = field(default_factory=Budget)

    def start(self) -> World:
        """Nobody has begun; the store knows the partition, and nothing has happened."""
        workers = (Worker(0), Worker(1 if self.upgrade else 0))
        return World(workers, store=Held(0, ()), budget=self.budget)

    def steps(self, world: World) -> Iterator[Step]:
        """All that can happen next."""
        yield from self._ownership(world)
        yield from self._the_log(world)
        yield from self._the_store(world)
        for i in (0, 1):
            yield from self._worker(world, i)

    def _ownership(self, world: World) -> Iterator[Step]:
        for heir in (0, 1):
            first = world.owner is None
            if heir == world.owner or not (first or world.budget.rebalances):
                continue
            left = world.budget if first else world.budget._replace(rebalances=world.budget.rebalances - 1)
            worker = Worker(world.workers[heir].version, "resolving", world.generation + 1)
            given = world._replace(owner=heir, generation=world.generation + 1, budget=left)
            yield f"the partition goes to {heir}", _with(given, heir, worker)

    def _the_log(self, world: World) -> Iterator[Step]:
        if world.decided is not None:
            yield "markers are written", world._replace(decided=None, committed=(*world.committed, world.decided))
        for i, worker in enumerate(world.workers):
            if worker.transaction and worker.phase == "away":
                yield f"the open transaction of {i} times out", _with(world, i, worker._replace(transaction=None))

    def _the_store(self, world: World) -> Iterator[Step]:
        budget = world.budget
        if budget.rollbacks:
            used = world._replace(budget=budget._replace(rollbacks=budget.rollbacks - 1))
            if world.copy is None and world.store is not None:
                yield "a copy of the store is kept", world._replace(copy=world.store)
            if world.copy is not None and world.copy != world.store:
                yield "the copy takes over", used._replace(store=world.copy)
            if world.store is not None:
                yield "the store is emptied", used._replace(store=None)
        for write in world.late:
            yield self._arrival(world._replace(late=world.late - {write}), write)

    def _arrival(self, world: World, write: Write) -> Step:
        """A write arrives. Whoever still waits for the answer goes on, or back to RESOLVE."""
        accepted = (world.store.key if world.store else None) == write.expected
        if accepted:
            world = world._replace(store=write.held)
        worker = world.workers[write.worker]
        if worker.phase == "saving":
            after = worker._replace(phase="running" if accepted else "resolving", key=write.held.key)
            world = _with(world, write.worker, after)
        return f"the write of {write.worker} is {'taken' if accepted else 'refused'}", world

    def _worker(self, world: World, i: int) -> Iterator[Step]:
        worker = world.workers[i]
        if worker.phase == "away":
            if world.owner == i:
                back = Worker(worker.version, "resolving", world.generation + 1)
                yield f"{i} comes back", _with(world._replace(generation=world.generation + 1), i, back)
            return
        if world.budget.crashes:
            gone = Worker(worker.version, transaction=worker.transaction)
            left = world.budget._replace(crashes=world.budget.crashes - 1)
            yield f"{i} crashes", _with(world._replace(budget=left), i, gone)
        if worker.phase == "resolving":
            yield from self._resolve(world, i)
        elif worker.phase == "running" and worker.transaction is None:
            yield from self._begin(world, i)
        elif worker.phase == "running":
            yield from self._commit(world, i)
        elif worker.phase == "committed" and world.decided is None:
            write = Write(i, worker.key, Held(self._key(worker.seq, worker.offset), worker.row))
            yield f"{i} writes the store", _with(world._replace(late=world.late | {write}), i, _phase(worker, "saving"))

    def _resolve(self, world: World, i: int) -> Iterator[Step]:
        """The way back: wait until offsets are stable, find out what is committed, bring the store there."""
        worker = world.workers[i]
        if worker.generation != world.generation:
            yield f"{i} learns that it is no longer the owner", _with(world, i, Worker(worker.version))
            return
        moving = world.decided is not None or any(w.transaction and w.transaction.positions_sent for w in world.workers)
        if self.design.stable_offsets and moving:
            return
        row, key = world.row, self._key(len(world.committed), world.offset)
        if self.design.recovery == "rerun":
            applied, held = world.store or Held(0, ())
            row = held + tuple((f"event {n}", worker.version) for n in range(applied, world.offset))
            key = world.offset
        known = worker._replace(seq=len(world.committed), offset=world.offset, row=row, key=key)
        if world.store is not None and world.store.key == key:
            yield f"{i} stands where the log does", _with(world, i, _phase(known, "running"))
        else:
            write = Write(i, world.store.key if world.store else None, Held(key, row))
            yield (
                f"{i} brings the store there",
                _with(world._replace(late=world.late | {write}), i, _phase(known, "saving")),
            )

    def _begin(self, world: World, i: int) -> Iterator[Step]:
        worker = world.workers[i]
        effects = []
        if worker.offset < self.events:
            effects.append(((f"event {worker.offset}", worker.version), worker.offset + 1))
        if self.timer and worker.offset and TIMER not in [name for name, _ in worker.row]:
            effects.append(((TIMER, worker.version), worker.offset))
        for effect, offset in effects:
            made = Transaction(effect, worker.seq + 1, offset, (*worker.row, effect))
            yield f"{i} takes {effect[0]}", _with(world, i, worker._replace(transaction=made))

    def _commit(self, world: World, i: int) -> Iterator[Step]:
        worker = world.workers[i]
        made = worker.transaction
        assert made is not None
        if not made.positions_sent:
            checked = made.effect[0] != TIMER or self.design.timers_send_positions
            if checked and worker.generation != world.generation:
                yield f"the group refuses {i}", _with(world, i, Worker(worker.version))
            else:
                sent = worker._replace(transaction=made._replace(positions_sent=True))
                yield f"{i} sends {'positions' if checked else 'no positions'}", _with(world, i, sent)
        elif world.decided is None:
            decided = world._replace(decided=made)
            done = Worker(worker.version, "committed", worker.generation, made.seq, made.offset, made.row, worker.key)
            yield f"{i} commits", _with(decided, i, done)
            if world.budget.lost_answers:
                left = world.budget._replace(lost_answers=world.budget.lost_answers - 1)
                unsure = worker._replace(phase="resolving", transaction=None)
                yield f"{i} commits, the answer is lost", _with(decided._replace(budget=left), i, unsure)
            if worker.generation != world.generation:
                yield f"the open transaction of {i} times out", _with(world, i, Worker(worker.version))

    def _key(self, seq: int, offset: int) -> int:
        return seq if self.design.compare == "seq" else offset

    def broken_promise(self, world: World) -> str | None:
        """The promise that does not hold in this state, if any."""
        said = [transaction.effect for transaction in world.committed]
        names = [name for name, _ in said]
        if len(set(names)) < len(names):
            return f"something was published twice: {said}"
        if sorted(said) != sorted(world.row):
            return f"the committed row {world.row} is not made of what was published: {said}"
        rows = [(), *(transaction.row for transaction in world.committed)]
        if world.store is not None and world.store.row not in rows:
            return f"the store holds {world.store.row}, which was never committed"
        at_rest = not world.late and all(worker.phase != "committed" for worker in world.workers)
        current = self._key(len(world.committed), world.offset)
        if (
            at_rest
            and not world.decided
            and world.store
            and world.store.key == current
            and world.store.row != world.row
        ):
            return f"the store says that it is current, and holds {world.store.row} instead of {world.row}"
        for i, worker in enumerate(world.workers):
            owns = world.owner == i and worker.generation == world.generation
            idle = worker.phase == "running" and not worker.transaction and not world.decided
            if owns and idle and worker.row != world.row:
                return f"the owner goes on from {worker.row}, committed is {world.row}"
        return None


def _with(world: World, i: int, worker: Worker) -> World:
    first, second = world.workers
    return world._replace(workers=(worker, second) if i == 0 else (first, worker))


def _phase(worker: Worker, phase: str) -> Worker:
    return worker._replace(phase=phase)


def explore(model: Model, states_max: int = 10**9) -> Result:
    """Every state that can be reached, the nearest first. Memory: some 600 bytes a state."""
    start = model.start()
    came_from: dict[World, tuple[str, World] | None] = {start: None}
    waiting = deque([start])
    while waiting and len(came_from) <= states_max:
        world = waiting.popleft()
        promise = model.broken_promise(world)
        if promise is not None:
            return Result(len(came_from), Broken(promise, _story(came_from, world)))
        for name, after in model.steps(world):
            if after not in came_from:
                came_from[after] = (name, world)
                waiting.append(after)
    return Result(len(came_from), None)


def _story(came_from: dict[World, tuple[str, World] | None], world: World) -> list[str]:
    story = []
    while (step := came_from[world]) is not None:
        name, world = step
        story.append(name)
    return story[::-1]
