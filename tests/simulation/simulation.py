"""One seed, one story: workload, batch cuts, workers, faults and who goes on when are all drawn from it.

First the storm: so many steps in which the publisher publishes, workers go on for a few steps or a turn, and faults
strike. Then the calm: what was cut off comes back, what was late arrives, frozen processes wake up, dead ones are given
up. When everything is at rest the judge (`tests.simulation.judge`) looks at what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from schemas.batch import Record
from schemas.kinds import INPUT_TOPICS
from schemas.row_keys import PROGRESS_KEY
from streams.log.memory import MemoryBroker, MemoryLog
from streams.log.progress import Progress
from streams.log.protocol import TopicPartition
from streams.versions.broadcast import Broadcast
from streams.worker.loop import Worker
from streams.worker.options import WorkerOptions
from tests.simulation.bank import Bank, effective_times
from tests.simulation.coverage import Coverage
from tests.simulation.faults import Faults
from tests.simulation.life import Life
from tests.simulation.servers import StoreClient, StoreServer
from tests.simulation.setting import RATES, SLOTS, START_MS, Meaning, Setting
from tests.simulation.watcher import Clock, Watcher

CALM_ROUNDS_MAX = 1_000
TRANSACTION_TIMEOUT_ROUNDS = 150


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
        self.brokers_behind_ms = 0
        self.failures: list[str] = []  # that no planted fault explains
        self._nonces = 0
        self._born = 0
        self._bank = Bank(self)
        self._faults = Faults(self)
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
                self._bank.publish_rate()
        for slot in SLOTS[: self.setting.workers]:
            self.start(slot)
        for _ in range(self.setting.storm_steps):
            self.step += 1
            self.pass_time(self.random.choice([0, 1, 5, 20, 100]))
            if self.step == self.setting.upgrade_at:
                self._faults.upgrade()
            fate = self.random.random()
            if fate < self.setting.fault_share:
                self._faults.strike()
            elif fate < self.setting.fault_share + 0.25:
                self._bank.publish()
            else:
                self._let_somebody_go_on()
        self._calm_down()
        self._come_to_rest()
        self._let_time_run_out()
        self._come_to_rest()
        for life in self.lives:
            life.kill()

    def pass_time(self, passed_ms: int) -> None:
        """The wall goes on, and the clock of the brokers with it."""
        self.now_ms += passed_ms
        self.broker.now_ms = self.now_ms - self.brokers_behind_ms

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
        broadcast: Broadcast[tuple[Record, ...]] = Broadcast(log, [RATES], (), lambda known, new: (*known, *new))
        options = WorkerOptions(
            code_version=f"layout {layout}",
            records_max=setting.records_max,
            users_max=setting.users_max,
            timers_max=setting.timers_max,
            partitions_max=1 if self.seed % 3 == 1 else 4,
            buffered_max=setting.buffered_max,
            silence_ms=1_000 if setting.wall else None,
        )
        watcher = Watcher(self, life)
        return Worker(
            log,
            life.store,
            self.meaning.processor(lambda: effective_times(broadcast.versions), layout, watcher.failed),
            self.meaning.wire,
            Clock(self, life),
            self._nonce,
            options,
            broadcast,
            watcher,
            life.reach,
        )

    def _nonce(self) -> str:
        self._nonces += 1
        return f"nonce-{self._nonces}"

    def _reached(self, life: Life, before: str, step: str) -> None:
        self.seen["rebuild"] += step == "S.restore"
        self.seen["catch-up"] += (before, step) == ("K14.resolving", "S.save")
        if self._story is not None and step != "K1.polled":
            self.tell(f"    {life.name} at {step}")

    # The end.

    def _calm_down(self) -> None:
        """What is away comes back, what is late arrives, who is frozen wakes up, who is dead is given up."""
        self.tell("calm")
        self._bank.end_transaction(commit=True)
        self.broker.reachable, self.broker.markers_lag, self.broker.commit_faults = True, False, []
        self.server.is_down, self.brokers_behind_ms = False, 0
        self.broker.write_markers()
        while self.server.late:
            self._faults.deliver()
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
            self.pass_time(100)
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
        """Late enough for every timer, every forgetting, and the timeout of transactions that nobody has ended."""
        self.pass_time(self.meaning.patience_ms)
        self.broker.expire_transactions()
        if not self.setting.wall:
            for partition in range(self.partitions):
                self.broker.write("commands", b"", self.meaning.wire.advance(self.now_ms).value, self.now_ms, partition)

    def progress(self, partition: int) -> Progress | None:
        """The last committed progress record of a partition."""
        where = TopicPartition("rescore-state", partition)
        for entry in reversed(self.broker.entries[where][: self.broker.stable_end(where)]):
            committed = entry.record is not None and (entry.transaction is None or entry.transaction.visible_in(where))
            if entry.record is not None and committed and entry.record.key == PROGRESS_KEY:
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
            if lost := self.server.lost(partition):
                return f"partition {partition}: {lost}"
            due_ms = self.server.store.earliest_due_ms(partition)
            clock_ms = latest.clock_ms if latest else 0
            if due_ms is not None and due_ms <= (self.now_ms - 1_500 if self.setting.wall else clock_ms):
                return f"partition {partition} has a timer due at {due_ms}, its clock is {clock_ms}"
        return None
