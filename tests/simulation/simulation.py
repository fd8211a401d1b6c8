"""One seed, one story: workload, batch cuts, workers, faults and who goes on when are all drawn from it.

First the storm: so many steps in which the publisher publishes, workers go on for a few steps or a turn, and faults
strike. Then the calm: what was cut off comes back, what was late arrives, frozen processes wake up, dead ones are given
up. When everything is at rest the judge (`tests.simulation.judge`) looks at what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from streams.broadcast import Broadcast
from streams.log import STEPS, TopicPartition
from streams.memory_log import CommitFault, MemoryBroker, MemoryLog, Partitioner
from streams.output import Message, Processor
from streams.resolve import Progress, Standing
from streams.wiring import BatchReport, Observer, Wire, WorkerOptions
from streams.worker import Worker
from tests.simulation.coverage import Coverage
from tests.simulation.life import Crash, Life
from tests.simulation.servers import WRITE_FAULTS, StoreClient, StoreServer
from tests.simulation.workload import Publication

START_MS = 1_767_225_600_000  # 2026-01-01
RATES = "fx-rates"
SLOTS = ("a", "b", "c")
PUBLISHER = "publisher"
CALM_ROUNDS_MAX = 400
TRANSACTION_TIMEOUT_ROUNDS = 150
WAYS_BACK = ("K13.given_up", "K14.resolving", *("K15.restoring",) * 12)
"""Steps that a life reaches less often than others."""

STORE_CALLS = ("S.claim", "S.load", "S.position", "S.save", "S.fill", "S.index", "S.restore")


class Known(NamedTuple):
    """Versions read so far: effective times of the records of `fx-rates`."""

    rates: tuple[int, ...] = ()


class Workload(Protocol):
    """Makes events for one meaning."""

    def event(self, now_ms: int) -> Publication:
        """The next one."""
        ...


class Meaning(Protocol):
    """What events mean: the real scores, or the ledger that stands for them."""

    topics: dict[str, int]
    partitioner: Partitioner
    wire: Wire

    def workload(self, random: Random, users: int) -> Workload:
        """Events to publish."""
        ...

    def rate(self, number: int) -> bytes:
        """A version to broadcast."""
        ...

    def processor(self, rates: Callable[[], tuple[int, ...]], layout: int) -> Processor:
        """The thinking part of a worker."""
        ...


@dataclass(frozen=True)
class Setting:
    """What a seed chooses before anything happens."""

    users: int
    workers: int
    wall: bool  # time is the brokers'; else it is in the records
    events: int
    storm_steps: int
    fault_share: float
    records_max: int
    users_max: int
    timers_max: int
    buffered_max: int
    upgrade_at: int  # step from which on programs start with the newer layout

    @classmethod
    def of(cls, random: Random) -> Setting:
        """Drawn."""
        return cls(
            users=random.choice([1, 2, 4, 4, 9]),
            workers=random.choice([1, 2, 2, 3]),
            wall=random.random() < 0.75,
            events=random.randrange(15, 120),
            storm_steps=random.randrange(100, 500),
            fault_share=random.choice([0.0, 0.05, 0.15, 0.3]),
            records_max=random.choice([1, 3, 8, 50]),
            users_max=random.choice([1, 2, 5, 1_000]),
            timers_max=random.choice([1, 3, 250]),
            buffered_max=random.choice([2, 10, 20_000]),
            upgrade_at=random.choice([0, 10, 60, 150, 10**9]),
        )


class Watcher(Observer):
    """Counts what workers tell, and puts it into the story."""

    def __init__(self, simulation: Simulation, life: Life) -> None:
        self._simulation, self._life = simulation, life

    def _tell(self, words: str, *counted: str) -> None:
        for name in counted:
            self._simulation.seen[name] += 1
        self._simulation.tell(f"{self._life.name} {words}")

    def batch(self, report: BatchReport) -> None:
        """See `Observer`."""
        self._tell(
            f"batch of {report.records} records, {report.due_users} due: {report.changes} changes, seq {report.seq}"
        )

    def running(self, partition: int, standing: Standing) -> None:
        """See `Observer`."""
        self._tell(f"runs partition {partition} from transaction {standing.seq}")

    def given_up(self, partitions: tuple[int, ...], *, lost: bool) -> None:
        """See `Observer`."""
        self._tell(f"gives up {partitions}{' (lost)' if lost else ''}")

    def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
        """See `Observer`."""
        counted = {
            "the group has gone on": "zombie refused",
            "the store answered fenced": "fenced by the store",
            "the store answered behind": "store was behind",
            "the store answered missing": "store was missing",
            "the store is at": "store moved under a batch",
        }
        self._tell(
            f"rewinds {partitions}: {reason}", *(name for said, name in counted.items() if reason.startswith(said))
        )

    def halted(self, partition: int, reason: str) -> None:
        """See `Observer`."""
        self._life.halts[partition] = reason
        self._tell(f"halts partition {partition}: {reason}")


class Clock:
    """The clock of one machine: that of the world, and a little beside it."""

    def __init__(self, simulation: Simulation, life: Life) -> None:
        self._simulation, self._life = simulation, life

    def wall_ms(self) -> int:
        """See `streams.wiring.Clock`."""
        return self._simulation.now_ms + self._life.skew_ms

    def monotonic_seconds(self) -> float:
        """See `streams.wiring.Clock`."""
        return self._simulation.now_ms / 1000


class Simulation:
    """The world of one seed, and all that happens in it. `story`: where each line of it goes, if anywhere."""

    def __init__(self, seed: int, meaning: Meaning, story: Callable[[str], None] | None = None) -> None:
        self.seed, self.meaning, self._story = seed, meaning, story
        self.random = Random(seed)
        self.setting = Setting.of(self.random)
        self.seen: Coverage = Coverage()
        self.now_ms = START_MS
        self.step = 0
        self.broker = MemoryBroker(meaning.topics, meaning.partitioner)
        self.broker.now_ms = START_MS
        self.server = StoreServer()
        self.lives: list[Life] = []
        self.past: dict[tuple[TopicPartition, int], Record] = {}  # what compaction took out of the changelog
        self.layout = 1
        self.partitions = meaning.topics[INPUT_TOPICS[0]]
        self._workload = meaning.workload(Random(seed * 2 + 1), self.setting.users)
        self._to_publish = self.setting.events
        self._times_ms = dict.fromkeys(INPUT_TOPICS, START_MS)
        self._publishing: object | None = None
        self._nonces = 0
        self._born = 0
        self._rates = 0
        self.tell(str(self.setting))

    def tell(self, line: str) -> None:
        """One line of the story."""
        if self._story is not None:
            self._story(f"{self.step:4} {(self.now_ms - START_MS) / 1000:9.3f} s  {line}")

    # The play.

    def run(self) -> None:
        """Storm, calm, and time running out for every timer."""
        if not self.setting.wall:
            for _ in range(2):
                self._publish_rate()
        for slot in SLOTS[: self.setting.workers]:
            self.start(slot)
        for _ in range(self.setting.storm_steps):
            self.step += 1
            self._pass_time(self.random.choice([0, 1, 5, 20, 100]))
            if self.step == self.setting.upgrade_at:
                self._upgrade()
            fate = self.random.random()
            if fate < self.setting.fault_share:
                self._strike()
            elif fate < self.setting.fault_share + 0.25:
                self._publish()
            else:
                self._let_somebody_go_on()
        self._calm_down()
        self._come_to_rest()
        self._let_time_run_out()
        self._come_to_rest()
        for life in self.lives:
            life.kill()

    def _pass_time(self, passed_ms: int) -> None:
        self.now_ms += passed_ms
        self.broker.now_ms = max(self.broker.now_ms, self.now_ms)

    def _let_somebody_go_on(self) -> None:
        able = [life for life in self.lives if not life.frozen and not life.is_over]
        if able:
            steps = 10**9 if self.random.random() < 0.6 else self.random.randrange(1, 12)
            self._go_on(self.random.choice(able), steps)

    def _go_on(self, life: Life, steps: int) -> None:
        life.go_on(steps)
        if life.is_over:
            self.tell(f"{life.name} is over: {life.ended} at {life.at}")
            if life.ended == "crashed":
                self.seen[f"crash at {life.at}"] += 1
            elif life.ended != "left":
                self.seen["zombie stopped"] += 1

    # Processes.

    def start(self, slot: str) -> None:
        """A new process in a slot; one that is still there finds out that it was replaced."""
        if any(life.slot == slot and not life.is_over for life in self.lives):
            self.seen["slot taken over"] += 1
        self._born += 1
        life = Life(slot, f"{slot}{self._born}", self._worker, self._reached)
        self.lives = [other for other in self.lives if not other.is_over] + [life]
        self.seen["worker joined"] += 1
        self.tell(f"{life.name} starts with layout {self.layout}")

    def _worker(self, life: Life) -> Worker:
        layout, setting = self.layout, self.setting
        life.store = StoreClient(self.server, life.reach)
        log = life.log = MemoryLog(self.broker, life.slot, INPUT_TOPICS, life.reach)
        broadcast = Broadcast(log, [RATES], Known(), self._adopt)
        options = WorkerOptions(
            code_version=f"layout {layout}",
            records_max=setting.records_max,
            users_max=setting.users_max,
            timers_max=setting.timers_max,
            buffered_max=setting.buffered_max,
            silence_ms=1_000 if setting.wall else None,
        )
        return Worker(
            log,
            life.store,
            self.meaning.processor(lambda: broadcast.versions.rates, layout),
            self.meaning.wire,
            Clock(self, life),
            self._nonce,
            options,
            broadcast,
            Watcher(self, life),
            life.reach,
        )

    def _adopt(self, known: Known, records: list[Record]) -> Known:
        effective = [max(int((r.value or b"0").split()[-1]), r.timestamp_ms + 30_000) for r in records]
        return Known(tuple(sorted([*known.rates, *effective])))

    def _nonce(self) -> str:
        self._nonces += 1
        return f"nonce-{self._nonces}"

    def _reached(self, life: Life, before: str, step: str) -> None:
        self.seen["rebuild"] += step == "S.restore"
        self.seen["catch-up"] += (before, step) == ("K14.resolving", "S.save")
        if self._story is not None and step != "K1.polled":
            self.tell(f"    {life.name} at {step}")

    # What the bank does.

    def _publish(self) -> None:
        random = self.random
        if self._publishing is not None and random.random() < 0.4:
            self._end_publishing(commit=random.random() < 0.6)
        if self._to_publish <= 0:
            return
        if self.setting.wall and random.random() < 0.15:
            self._pass_time(random.choice([400, 3_000, 70_000]))
        if self.setting.wall and random.random() < 0.05:
            self._publish_rate()
        if self.setting.wall and self._publishing is None and random.random() < 0.1:
            self._publishing = self.broker.begin(PUBLISHER, self.broker.own(PUBLISHER))
        for _ in range(random.randrange(1, 7)):
            self._to_publish -= 1
            self._write_event()

    def _write_event(self) -> None:
        topic_ms = self.now_ms if self.setting.wall else START_MS + (self.setting.events - self._to_publish) * 700
        publication = self._workload.event(topic_ms)
        time_ms = None
        if not self.setting.wall:
            behind_ms = self.random.choice([0, 0, 0, 300, 4_000])
            time_ms = self._times_ms[publication.topic] = max(self._times_ms[publication.topic], topic_ms - behind_ms)
        partition = self.meaning.partitioner(publication.key or b"", self.partitions)
        where = TopicPartition(publication.topic, partition)
        message = Message(publication.key, publication.value)
        if self._publishing is None:
            self.broker.write(publication.topic, *message[:2], time_ms, partition)
        else:
            self.broker.append(self._publishing, where, message, time_ms)  # type: ignore[arg-type]
        self.tell(f"publishes {where.topic}/{partition} {publication.key!r} {publication.value[:200]!r}")

    def _end_publishing(self, *, commit: bool) -> None:
        if self._publishing is not None:
            (self.broker.commit if commit else self.broker.abort)(self._publishing)  # type: ignore[arg-type]
            self.seen["publisher aborted"] += not commit
            self.tell(f"the publisher's transaction is {'committed' if commit else 'aborted'}")
            self._publishing = None

    def _publish_rate(self) -> None:
        self._rates += 1
        wanted_ms = self.now_ms + self.random.choice([0, 45_000])
        time_ms = None if self.setting.wall else START_MS - 100_000
        self.broker.write(RATES, b"rate", b"%s %d" % (self.meaning.rate(self._rates), wanted_ms), time_ms, 0)
        self.tell(f"publishes version {self._rates} for {wanted_ms}")

    # Faults.

    def _strike(self) -> None:
        alive = [life for life in self.lives if not life.is_over]
        if alive and self.random.random() < 0.55:
            self._lay_a_trap(self.random.choice(alive))
        else:
            often = (self._start_somebody, self._give_up_the_absent, self._wake, self._write_markers, self._deliver)
            rarely = (
                self._leave, self._keep_copy, self._put_back, self._flush, self._lose_the_store, self._lose_the_brokers,
                self._toggle_markers, self._step_clock, self._compact,
            )  # fmt: skip
            back = (self._find_the_store, self._find_the_brokers, self._keep_copy)
            self.random.choice((*often, *often, *back, *back, *rarely))()

    def _lay_a_trap(self, life: Life) -> None:
        """The next time this life reaches a step, something happens to it, or to the world."""
        random = self.random
        deeds: dict[str, tuple[Callable[[Life], None], tuple[str, ...]]] = {
            "crash": (self._crash, (*STEPS, *STEPS, *WAYS_BACK, *STORE_CALLS)),
            "freeze": (self._freeze, (*STEPS, *STEPS, *WAYS_BACK, *STORE_CALLS)),
            "lose the commit": (self._lose_the_commit, ("K8.committing",)),
            "spoil a write": (self._spoil_the_write, ("K11.saving", "K12.saved", "K14.resolving")),
            "empty the store": (self._flush, (*STEPS[1:12], *STORE_CALLS)),
            "copy the store": (self._keep_copy, ("S.fill", "S.fill", "S.restored", "S.save", "S.index")),
            "roll the store back": (self._put_back, (*STEPS[1:12], *STORE_CALLS, "S.fill", "S.restored")),
            "take the slot": (self._take_the_slot, STEPS),
            "expel": (self._expel, STEPS),
        }
        name = random.choice(tuple(deeds))
        deed, steps = deeds[name]
        step = random.choice(steps)
        life.trap = (step, lambda: deed(life))
        self.tell(f"a trap for {life.name} at {step}: {name}")

    def _crash(self, life: Life) -> None:
        raise Crash

    def _freeze(self, life: Life) -> None:
        life.frozen = True
        self.seen[f"frozen at {life.at}"] += 1
        self.tell(f"{life.name} is frozen at {life.at}")
        life.pause()

    def _lose_the_commit(self, life: Life) -> None:
        fault = self.random.choice(list(CommitFault))
        self.broker.commit_faults = [fault]
        names = {
            CommitFault.REFUSED: "commit refused",
            CommitFault.COMMITTED_ANSWER_LOST: "answer lost, committed",
            CommitFault.OPEN_ANSWER_LOST: "answer lost, not committed",
        }
        self.seen[names[fault]] += 1
        self.tell(f"the commit of {life.name}: {fault.value}")

    def _spoil_the_write(self, life: Life) -> None:
        life.store.write_fault = self.random.choice(WRITE_FAULTS)
        self.tell(f"the next write of {life.name} to the store: {life.store.write_fault}")

    def _take_the_slot(self, life: Life) -> None:
        self.start(life.slot)
        life.pause()

    def _expel(self, life: Life) -> None:
        self.broker.expel(life.slot)
        self.seen["worker expelled"] += 1
        self.tell(f"{life.name} is expelled at {life.at}")
        life.pause()

    def _start_somebody(self) -> None:
        taken = {life.slot for life in self.lives if not life.is_over and not life.frozen}
        free = [slot for slot in SLOTS if slot not in taken]
        if free:
            self.start(self.random.choice(free))

    def _leave(self) -> None:
        able = [life for life in self.lives if not life.is_over and not life.frozen]
        if len(able) > 1:
            life = self.random.choice(able)
            life.leaving = True
            self.seen["worker left"] += 1
            self.tell(f"{life.name} shall leave")

    def _wake(self) -> None:
        frozen = [life for life in self.lives if life.frozen and not life.is_over]
        if frozen:
            life = self.random.choice(frozen)
            life.frozen = False
            self.tell(f"{life.name} wakes up at {life.at}")

    def _give_up_the_absent(self) -> None:
        """The session of a dead or frozen worker ends, or its transaction does."""
        present = {life.slot for life in self.lives if not life.frozen and not life.is_over}
        absent = [slot for slot in SLOTS if slot not in present]
        if absent:
            slot = self.random.choice(absent)
            if self.random.random() < 0.5:
                self.broker.expel(slot)
                self.seen["worker expelled"] += 1
                self.tell(f"slot {slot} is expelled")
            else:
                self.broker.expire_transactions(slot)
                self.tell(f"the transaction of slot {slot} times out")

    def _keep_copy(self, life: Life | None = None) -> None:
        self.server.keep_copy()
        self.tell("a copy of the store is kept")

    def _put_back(self, life: Life | None = None) -> None:
        if self.server.copies:
            self.seen["copy came back"] += 1
            held = self.server.store._partitions.values()
            self.seen["copy came back during a rebuild"] += any(h.parts and not h.position.ready for h in held)
            self.server.put_back(self.random.randrange(len(self.server.copies)))
            self.tell(f"the store falls back to an older copy: {self._positions()}")

    def _flush(self, life: Life | None = None) -> None:
        self.server.flush()
        self.seen["store emptied"] += 1
        self.tell("the store is emptied")

    def _positions(self) -> str:
        return str([self.server.store.position(p) for p in range(self.partitions)])

    def _lose_the_store(self) -> None:
        self.server.is_down = True
        self.seen["store down"] += 1
        self.tell("the store is down")

    def _find_the_store(self) -> None:
        self.server.is_down = False
        self.tell("the store is back")

    def _lose_the_brokers(self) -> None:
        self.broker.reachable = False
        self.seen["brokers away"] += 1
        self.tell("the brokers are away")

    def _find_the_brokers(self) -> None:
        self.broker.reachable = True
        self.tell("the brokers are back")

    def _toggle_markers(self) -> None:
        self.broker.markers_lag = not self.broker.markers_lag
        self.tell(f"markers {'lag' if self.broker.markers_lag else 'lag no more'}")

    def _write_markers(self) -> None:
        for _ in range(self.random.randrange(1, 5)):
            if missing := self.broker.missing_markers():
                marker = self.random.choice(missing)
                self.broker.write_marker(marker)
                self.seen["markers lagged"] += 1
                self.tell(f"a marker is written: {marker}")

    def _deliver(self) -> None:
        if self.server.late:
            said = self.server.deliver(self.random.randrange(len(self.server.late)))
            self.seen["late write arrived"] += 1
            self.seen["late write refused"] += any(word in said for word in ("fenced", "behind", "Ahead", "not heard"))
            self.seen["write had arrived already"] += "already" in said
            self.tell(f"a late write arrives: {said}")

    def _step_clock(self) -> None:
        able = [life for life in self.lives if not life.is_over]
        if able:
            life = self.random.choice(able)
            life.skew_ms = self.random.choice([-3_600_000, -5_000, -300, 0, 300, 5_000, 3_600_000])
            self.seen["clock stepped"] += 1
            self.tell(f"the clock of {life.name} is {life.skew_ms} ms off")

    def _compact(self) -> None:
        for partition in range(self.partitions):
            where = TopicPartition("rescore-state", partition)
            for record in self.broker.committed_between(where, 0, self.broker.stable_end(where)):
                self.past[where, record.offset] = record
        self.broker.compact("rescore-state")
        self.seen["changelog compacted"] += 1
        self.tell("the changelog is compacted")

    def _upgrade(self) -> None:
        self.layout = 2
        self.seen["upgrade"] += 1
        self.tell("from now on workers start with layout 2")
        self._start_somebody()

    # The end.

    def _calm_down(self) -> None:
        """What is away comes back, what is late arrives, who is frozen wakes up, who is dead is given up."""
        self.tell("calm")
        self._end_publishing(commit=True)
        self.broker.reachable, self.broker.markers_lag, self.broker.commit_faults = True, False, []
        self.server.is_down = False
        self.broker.write_markers()
        while self.server.late:
            self._deliver()
        for life in list(self.lives):
            life.frozen, life.trap, life.leaving, life.skew_ms = False, None, False, 0
            if life.store is not None:
                life.store.write_fault = None

    def _give_up_the_dead(self) -> None:
        """Sessions and transactions of processes that are gone end."""
        alive = [life for life in self.lives if not life.is_over]
        for slot in SLOTS:
            if self.broker.holder(slot) not in [life.log for life in alive]:
                self.broker.expel(slot)
            if slot not in [life.slot for life in alive]:
                self.broker.expire_transactions(slot)
        if not alive:
            self.start("a")

    def _come_to_rest(self) -> None:
        """Turns for everybody until nothing is left to do."""
        for rounds in range(CALM_ROUNDS_MAX):
            self._pass_time(100)
            if rounds == TRANSACTION_TIMEOUT_ROUNDS:
                self.broker.expire_transactions()
            self.step += 1
            self._give_up_the_dead()
            for life in [life for life in self.lives if not life.is_over]:
                self._go_on(life, 10**9)
            self._replace_the_outdated()
            if self.unfinished() is None:
                return
        raise AssertionError(f"not at rest after {CALM_ROUNDS_MAX} rounds: {self.unfinished()}")

    def _replace_the_outdated(self) -> None:
        """A rolling upgrade goes on until every process is new: a halt for a newer layout ends with the process."""
        for life in self.lives:
            if any("newer layout" in reason for reason in life.halts.values()) and not life.is_over:
                self.seen["halted by a newer layout"] += 1
                life.kill()
                self.start(life.slot)
                return

    def _let_time_run_out(self) -> None:
        """Late enough for every timer and every forgetting."""
        self._pass_time(2 * 3_600_000)
        if not self.setting.wall:
            for partition in range(self.partitions):
                self.broker.write("commands", b"", self.meaning.wire.advance(self.now_ms).value, self.now_ms, partition)

    def progress(self, partition: int) -> Progress | None:
        """The last committed progress record of a partition."""
        where = TopicPartition("rescore-state", partition)
        for entry in reversed(self.broker.entries[where][: self.broker.stable_end(where)]):
            committed = entry.record is not None and (entry.transaction is None or entry.transaction.visible_in(where))
            if entry.record is not None and committed and entry.record.key == b"\x00progress":
                return self.meaning.wire.progress.decode(entry.record.value or b"")
        return None

    def unfinished(self) -> str | None:
        """What is still to be done; None if nothing is."""
        for life in self.lives:
            if life.halts and not life.is_over:
                return f"{life.name} has halted: {life.halts}"
        for partition in range(self.partitions):
            for topic in INPUT_TOPICS:
                where = TopicPartition(topic, partition)
                committed = self.broker.committed.get(where) or 0
                if self.broker.committed_between(where, committed, len(self.broker.entries[where])):
                    return f"{where} is taken up to {committed}"
            latest = self.progress(partition)
            position = self.server.store.position(partition)
            seq = latest.seq if latest else 0
            if position is None or not position.ready or position.seq != seq:
                return f"partition {partition} is at {seq} in the log, at {position} in the store"
            due_ms = self.server.store.earliest_due_ms(partition)
            clock_ms = latest.clock_ms if latest else 0
            if due_ms is not None and due_ms <= (self.now_ms - 1_500 if self.setting.wall else clock_ms):
                return f"partition {partition} has a timer due at {due_ms}, its clock is {clock_ms}"
        return None
