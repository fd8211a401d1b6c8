"""What goes wrong: traps that wait at a step of one worker, and blows that fall on the world between two steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from streams.log.memory import CommitFault
from streams.log.protocol import STEPS, TopicPartition
from tests.simulation.life import Crash, Life
from tests.simulation.servers import WRITE_FAULTS
from tests.simulation.setting import SLOTS

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

WAYS_BACK = ("K13.given_up", "K14.resolving", *("K15.restoring",) * 12)
"""Steps that a life reaches less often than others."""

STORE_CALLS = ("S.claim", "S.load", "S.position", "S.save", "S.fill", "S.index", "S.restore")
QUESTIONS = ("S.load", "S.due", "S.earliest", "S.verify", "S.follow", *("S.fill", "S.restored") * 4)


BEHIND_MS_MAX = 3_000
"""So far may the clock of one broker be behind that of another."""


class Faults:
    """All that can go wrong in one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._world = simulation
        self._random, self._seen, self._tell = simulation.random, simulation.seen, simulation.tell
        self._broker, self._server = simulation.broker, simulation.server

    def strike(self) -> None:
        """One of them."""
        alive = [life for life in self._world.lives if not life.is_over]
        if alive and self._random.random() < 0.55:
            self._lay_a_trap(self._random.choice(alive))
        else:
            often = (self._start_somebody, self._give_up_the_absent, self._wake, self._write_markers, self.deliver)
            rarely = (
                self._leave, self._keep_copy, self._put_back, self._flush, self._forget, self._lose_the_store,
                self._lose_the_brokers, self._toggle_markers, self._step_clock, self._step_the_brokers_clock,
                self._compact,
            )  # fmt: skip
            back = (self._find_the_store, self._find_the_brokers, self._keep_copy)
            self._random.choice((*often, *often, *back, *back, *rarely))()

    def _lay_a_trap(self, life: Life) -> None:
        """The next time this life reaches a step, something happens to it, or to the world."""
        random = self._random
        deeds: dict[str, tuple[Callable[[Life], None], tuple[str, ...]]] = {
            "crash": (self._crash, (*STEPS, *STEPS, *WAYS_BACK, *STORE_CALLS)),
            "freeze": (self._freeze, (*STEPS, *STEPS, *WAYS_BACK, *STORE_CALLS)),
            "lose the commit": (self._lose_the_commit, ("K8.committing",)),
            "spoil a write": (self._spoil_the_write, ("K11.saving", "K12.saved", "K14.resolving")),
            "empty the store": (self._flush, (*STEPS[1:12], *STORE_CALLS)),
            "forget some keys": (self._forget, (*STEPS[1:12], *STORE_CALLS)),
            "forget some keys under a question": (self._forget, QUESTIONS),
            "copy the store": (self._keep_copy, ("S.fill", "S.fill", "S.restored", "S.save", "S.index")),
            "roll the store back": (self._put_back, (*STEPS[1:12], *STORE_CALLS, "S.fill", "S.restored")),
            "take the slot": (self._take_the_slot, STEPS),
            "expel": (self._expel, STEPS),
        }
        name = random.choice(tuple(deeds))
        deed, steps = deeds[name]
        step = random.choice(steps)
        life.trap = (step, lambda: deed(life))
        self._tell(f"a trap for {life.name} at {step}: {name}")

    def _crash(self, life: Life) -> None:
        raise Crash

    def _freeze(self, life: Life) -> None:
        life.frozen = True
        self._seen[f"frozen at {life.at}"] += 1
        self._tell(f"{life.name} is frozen at {life.at}")
        life.pause()

    def _lose_the_commit(self, life: Life) -> None:
        fault = self._random.choice(list(CommitFault))
        self._broker.commit_faults = [fault]
        names = {
            CommitFault.REFUSED: "commit refused",
            CommitFault.COMMITTED_ANSWER_LOST: "answer lost, committed",
            CommitFault.OPEN_ANSWER_LOST: "answer lost, not committed",
        }
        self._seen[names[fault]] += 1
        self._tell(f"the commit of {life.name}: {fault.value}")

    def _spoil_the_write(self, life: Life) -> None:
        life.store.write_fault = self._random.choice(WRITE_FAULTS)
        self._tell(f"the next write of {life.name} to the store: {life.store.write_fault}")

    def _take_the_slot(self, life: Life) -> None:
        self._world.start(life.slot)
        life.pause()

    def _expel(self, life: Life) -> None:
        self._broker.expel(life.slot)
        self._seen["worker expelled"] += 1
        self._tell(f"{life.name} is expelled at {life.at}")
        life.pause()

    def _start_somebody(self) -> None:
        taken = {life.slot for life in self._world.lives if not life.is_over and not life.frozen}
        free = [slot for slot in SLOTS if slot not in taken]
        if free:
            self._world.start(self._random.choice(free))

    def _leave(self) -> None:
        able = [life for life in self._world.lives if not life.is_over and not life.frozen]
        if len(able) > 1:
            life = self._random.choice(able)
            life.leaving = True
            self._seen["worker left"] += 1
            self._tell(f"{life.name} shall leave")

    def _wake(self) -> None:
        frozen = [life for life in self._world.lives if life.frozen and not life.is_over]
        if frozen:
            life = self._random.choice(frozen)
            life.frozen = False
            self._tell(f"{life.name} wakes up at {life.at}")

    def _give_up_the_absent(self) -> None:
        """The session of a dead or frozen worker ends, or its transaction does."""
        present = {life.slot for life in self._world.lives if not life.frozen and not life.is_over}
        absent = [slot for slot in SLOTS if slot not in present]
        if absent:
            slot = self._random.choice(absent)
            if self._random.random() < 0.5:
                self._broker.expel(slot)
                self._seen["worker expelled"] += 1
                self._tell(f"slot {slot} is expelled")
            else:
                self._broker.expire_transactions(slot)
                self._tell(f"the transaction of slot {slot} times out")

    def _keep_copy(self, life: Life | None = None) -> None:
        self._server.keep_copy()
        self._tell("a copy of the store is kept")

    def _put_back(self, life: Life | None = None) -> None:
        if self._server.copies:
            self._seen["copy came back"] += 1
            held = self._server.store._partitions.values()
            self._seen["copy came back during a rebuild"] += any(
                h.parts and h.position and not h.position.ready for h in held
            )
            self._server.put_back(self._random.randrange(len(self._server.copies)))
            self._tell(f"the store falls back to an older copy: {self._positions()}")

    def _flush(self, life: Life | None = None) -> None:
        self._server.flush()
        self._seen["store emptied"] += 1
        self._tell("the store is emptied")

    def _forget(self, life: Life | None = None) -> None:
        if what := self._server.forget(self._random):
            at = "between two steps" if life is None else f"at {life.at}"
            self._seen[f"keys forgotten {at}"] += 1
            for part in ("rows", "index", "position"):
                self._seen[f"{part} forgotten"] += part in what
            self._tell(f"the store forgets {what}")

    def _positions(self) -> str:
        return str([self._server.store.position(p) for p in range(self._world.partitions)])

    def _lose_the_store(self) -> None:
        self._server.is_down = True
        self._seen["store down"] += 1
        self._tell("the store is down")

    def _find_the_store(self) -> None:
        self._server.is_down = False
        self._tell("the store is back")

    def _lose_the_brokers(self) -> None:
        self._broker.reachable = False
        self._seen["brokers away"] += 1
        self._tell("the brokers are away")

    def _find_the_brokers(self) -> None:
        self._broker.reachable = True
        self._tell("the brokers are back")

    def _toggle_markers(self) -> None:
        self._broker.markers_lag = not self._broker.markers_lag
        self._tell(f"markers {'lag' if self._broker.markers_lag else 'lag no more'}")

    def _write_markers(self) -> None:
        for _ in range(self._random.randrange(1, 5)):
            if missing := self._broker.missing_markers():
                marker = self._random.choice(missing)
                self._broker.write_marker(marker)
                self._seen["markers lagged"] += 1
                self._tell(f"a marker is written: {marker}")

    def deliver(self) -> None:
        """A write that was on its way to the store arrives."""
        if self._server.late:
            said = self._server.deliver(self._random.randrange(len(self._server.late)))
            self._seen["late write arrived"] += 1
            self._seen["late write refused"] += any(word in said for word in ("fenced", "behind", "Ahead", "not heard"))
            self._seen["write had arrived already"] += "already" in said
            self._tell(f"a late write arrives: {said}")

    def _step_clock(self) -> None:
        able = [life for life in self._world.lives if not life.is_over]
        if able:
            life = self._random.choice(able)
            life.skew_ms = self._random.choice([-3_600_000, -5_000, -300, 0, 300, 5_000, 3_600_000])
            self._seen["clock stepped"] += 1
            self._tell(f"the clock of {life.name} is {life.skew_ms} ms off")

    def _step_the_brokers_clock(self) -> None:
        """Another broker leads, and its clock is behind: timestamps go back."""
        self._world.brokers_behind_ms = self._random.choice([0, 0, 20, 300, BEHIND_MS_MAX])
        self._seen["clock of the brokers stepped"] += 1
        self._tell(f"the clock of the brokers is {self._world.brokers_behind_ms} ms behind")

    def _compact(self) -> None:
        for partition in range(self._world.partitions):
            where = TopicPartition("rescore-state", partition)
            for record in self._broker.committed_between(where, 0, self._broker.stable_end(where)):
                self._world.past[where, record.offset] = record
        self._broker.compact("rescore-state")
        self._seen["changelog compacted"] += 1
        self._tell("the changelog is compacted")

    def upgrade(self) -> None:
        """A new release: from now on programs write another layout of rows."""
        self._world.layout = 2
        self._seen["upgrade"] += 1
        self._tell("from now on workers start with layout 2")
        self._start_somebody()
