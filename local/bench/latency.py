"""From the moment an event is in Kafka to the moment a subscriber has what it changed, at an even pace.

The subscriber reads committed records alone, as one that must not see what is taken back. Both moments are told by
clocks of this machine: the broker's stamp on the event (whole milliseconds, rounded down, so that figures are up to
1 ms too long) and the subscriber's clock after the fetch. Sending and receiving are done here, in two threads that do
next to nothing; what was received is looked at when all is over.
"""

from __future__ import annotations

import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition
from numpy.typing import NDArray

from local.bench.engines import Engine, Load, bare_pipe
from local.bench.population import Population, grown, user_name
from local.bench.stream import fill_state, paced, producer_of, transaction_values
from local.bench.world import Place, Positions, Watched, World, make_topics, running, worker
from local.generator.columns import benchmark_columns
from local.generator.transactions import TransactionColumns
from schemas.batch import DAY_MS
from schemas.codec import StaticRegistry, decode_value

BEGIN_MS = 1_767_247_200_000  # 2026-01-01T06:00:00Z, for days that are not today
START_SECONDS = 300.0
GIL_SWITCH_SECONDS = 0.0005
FETCH_MAX = 10_000
SETTLE_SECONDS = 2.0
SENDER_LINGER_MS = 5
"""What clients of Kafka do unless told otherwise. It is over before the broker's stamp: no part of a latency."""


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """What is measured: `seconds` at `rate` events a second, after `warm_seconds` at the same pace."""

    rate: int = 5_000
    seconds: float = 30.0
    warm_seconds: float = 10.0
    users: int = 100_000
    zipf: float | None = 1.1
    bare: bool = True
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds, of so many changes."""

    name: str
    count: int
    p50: float
    p99: float
    p999: float
    most: float
    cpu_share: float  # of one core, taken by what was measured

    @classmethod
    def of(cls, name: str, milliseconds: NDArray[np.float64], cpu_share: float = 0.0) -> Latency:
        """Of these measurements.

        >>> Latency.of("x", np.arange(1.0, 1001.0)).p99
        990.0
        """
        if not len(milliseconds):
            return cls(name, 0, 0.0, 0.0, 0.0, 0.0, cpu_share)
        quantiles = np.quantile(milliseconds, [0.5, 0.99, 0.999, 1.0], method="inverted_cdf")
        p50, p99, p999, most = (round(float(part), 1) for part in quantiles)
        return cls(name, len(milliseconds), p50, p99, p999, most, round(cpu_share, 3))


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """What was found."""

    options: LatencyOptions
    of: list[Latency]

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


class Subscriber:
    """Reads a topic from its end on, committed records alone, and notes when it had each."""

    def __init__(self, bootstrap_servers: str, place: Place) -> None:
        self.received: list[tuple[float, list[Message]]] = []
        self._stopped = False
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "bench-subscriber",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        places = [TopicPartition(place.topic, partition) for partition in range(place.partitions)]
        ends = [self._consumer.get_watermark_offsets(where, 10)[1] for where in places]
        self._consumer.assign([TopicPartition(w.topic, w.partition, end) for w, end in zip(places, ends, strict=True)])
        self._thread = threading.Thread(target=self._read, name="bench-subscriber", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stopped:
            first = self._consumer.poll(0.1)
            if first is not None:
                messages = [first, *self._consumer.consume(FETCH_MAX, 0)]
                self.received.append((time.time() * 1000, messages))

    def stop(self) -> list[tuple[float, list[Message]]]:
        """End reading; what was received, and when (milliseconds of the wall clock)."""
        self._stopped = True
        self._thread.join()
        self._consumer.close()
        return self.received


def run(here: World, options: LatencyOptions, cache: Path, now_ms: int) -> LatencyResult:
    """Rescore, then a bare pipe, at the same pace on the same topic. `here` has the wall's clock."""
    # Customers as they are today after midnight: nothing is due before the next one.
    population = grown(now_ms // DAY_MS * DAY_MS + 1_000, cache)
    state = here.settings.topic("rescore-state")
    fill_state(here.bootstrap_servers, state, population, options.users, here.partitions)
    topic = here.settings.topic("transactions")
    place = Place(topic, here.partitions)
    with worker(here, "rescore") as started:
        started.until(lambda: started.partitions_running() == here.partitions, START_SECONDS, "running")
        found = [_measure(here, options, started, Place(here.settings.topic("score-changes"), here.partitions), place)]
    if options.bare:
        engine = bare_pipe(here, Load(topic, options.users, alike=True))
        make_topics(here.bootstrap_servers, engine.topics, here.partitions)
        with running(engine.name, engine.command, here.environment, here.folder) as pipe:
            _until_caught_up(here, engine, pipe, place)
            found.append(_measure(here, options, pipe, Place(engine.topics[1], here.partitions), place))
    return LatencyResult(options, found)


def _until_caught_up(here: World, engine: Engine, started: Watched, place: Place) -> None:
    positions = Positions(here.bootstrap_servers)
    started.until(
        lambda: positions.committed(engine.group, place) >= positions.published(place), START_SECONDS, "caught up"
    )


def _measure(here: World, options: LatencyOptions, started: Watched, changes: Place, place: Place) -> Latency:
    """Send at the pace, then say how long each change took from the stamp of the event that made it."""
    seconds = options.warm_seconds + options.seconds
    begin_ms = time.time() * 1000
    columns = stream(options, round(begin_ms), seconds)
    subscriber = Subscriber(here.bootstrap_servers, changes)
    cpu: list[float] = []
    with _quick_switches():
        warm = threading.Timer(options.warm_seconds, lambda: cpu.append(started.cpu_seconds()))
        warm.start()
        measured_ms = time.time() * 1000 + options.warm_seconds * 1000
        send(here, place.topic, columns, options.rate, seconds)
        cpu.append(started.cpu_seconds())
        time.sleep(SETTLE_SECONDS)
        received = subscriber.stop()
    stamps = stamps_of(here, place)
    milliseconds = [
        at_ms - stamp
        for at_ms, messages in received
        for message in messages
        for stamp in [_stamp_of_cause(message, stamps)]
        if stamp >= measured_ms
    ]
    return Latency.of(started.name, np.array(milliseconds), (cpu[-1] - cpu[0]) / options.seconds)


def stream(options: LatencyOptions, begin_ms: int, seconds: float, seed: int = 0) -> TransactionColumns:
    """Events of that many seconds at the pace, the event times the moments at which they will be sent."""
    events = round(options.rate * seconds)
    return benchmark_columns(
        options.seed + seed, events, options.users, begin_ms, begin_ms + round(seconds * 1000), options.zipf
    )


def send(here: World, topic: str, columns: TransactionColumns, rate: float, seconds: float, shift_ms: int = 0) -> None:
    """Send a stream at an even pace, each record stamped now; `shift_ms` makes another day of now."""
    sender = producer_of(here.bootstrap_servers, **{"linger.ms": SENDER_LINGER_MS})
    values, users = transaction_values(columns), [user_name(user) for user in columns.user.tolist()]
    at = 0
    for due in paced(rate, seconds):
        now_ms = int(time.time() * 1000) + shift_ms
        for value, user in zip(values[at : at + due], users[at : at + due], strict=True):
            sender.produce(topic, value, user, timestamp=now_ms)
        at += due
        sender.poll(0)
    sender.flush(60)


def stamps_of(here: World, place: Place) -> list[NDArray[np.float64]]:
    """The stamp of each record of a topic, by partition and offset."""
    reader = Consumer(
        {"bootstrap.servers": here.bootstrap_servers, "group.id": "bench-stamps", "enable.auto.commit": False}
    )
    found: list[NDArray[np.float64]] = []
    for partition in range(place.partitions):
        where = TopicPartition(place.topic, partition, 0)
        end = reader.get_watermark_offsets(where, 10)[1]
        stamps = np.zeros(end)
        reader.assign([where])
        left = end
        while left:
            for message in reader.consume(min(FETCH_MAX, left), 1.0):
                stamps[message.offset()] = message.timestamp()[1]
                left -= 1
        found.append(stamps)
    reader.close()
    return found


def _stamp_of_cause(message: Message, stamps: Sequence[NDArray[np.float64]]) -> float:
    """The stamp of the event behind a change; 0 where time was the cause."""
    value = message.value() or b""
    if message.topic() == "bare-changes":
        return float(stamps[message.partition() or 0][struct.unpack_from("<q", value)[0]])
    cause = decode_value("ScoreChange", value, REGISTRY)["cause"]
    return float(stamps[cause["partition"]][cause["offset"]]) if cause["kind"] == "event" else 0.0


REGISTRY = StaticRegistry()


@contextmanager
def _quick_switches() -> Iterator[None]:
    """Let the two threads here take turns more often than by default: one must not wait 5 ms for the other."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(GIL_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@dataclass(frozen=True, slots=True)
class MidnightOptions:
    """What is measured: the turn of the day, at which every customer's time comes, while events go on.

    Of the seconds before it the first `warm_seconds` do not count.
    """

    rate: int = 1_000
    users: int = 1_000_000
    before_seconds: float = 30.0
    warm_seconds: float = 15.0
    seconds: float = 90.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class MidnightResult:
    """Latency of events before the turn of the day and from it on; `slides_seconds` until the last slide was taken."""

    options: MidnightOptions
    before: Latency
    after: Latency
    slides: int
    slides_seconds: float

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return asdict(self)


def midnight(here: World, options: MidnightOptions, cache: Path) -> MidnightResult:
    """Every customer is one whose time comes at the next midnight; seconds before it, events begin. Clock: records."""
    population, turn_ms = grown(BEGIN_MS, cache), BEGIN_MS // DAY_MS * DAY_MS + DAY_MS
    fill_due(here, population, options.users, turn_ms)
    place = Place(here.settings.topic("transactions"), here.partitions)
    pace = LatencyOptions(options.rate, options.seconds, options.before_seconds, options.users, None)
    seconds = options.before_seconds + options.seconds
    with worker(here) as started:
        started.until(lambda: started.partitions_running() == here.partitions, START_SECONDS, "running")
        slides = _Slides(started)
        columns = stream(pace, turn_ms - round(options.before_seconds * 1000), seconds)
        subscriber = Subscriber(here.bootstrap_servers, Place(here.settings.topic("score-changes"), here.partitions))
        with _quick_switches():
            turn_wall_ms = time.time() * 1000 + options.before_seconds * 1000
            cpu = started.cpu_seconds()
            send(here, place.topic, columns, options.rate, seconds, round(turn_ms - turn_wall_ms))
            share = (started.cpu_seconds() - cpu) / seconds
            time.sleep(SETTLE_SECONDS)
            received = subscriber.stop()
        taken, last_wall_ms = slides.stop()
    stamps = [stamp + (turn_wall_ms - turn_ms) for stamp in stamps_of(here, place)]
    sent_and_seen = np.array(
        [(stamp, at_ms) for at_ms, messages in received for message in messages for stamp in [_stamp(message, stamps)]]
    )
    begin_wall_ms = turn_wall_ms - (options.before_seconds - options.warm_seconds) * 1000
    sent_and_seen = sent_and_seen[sent_and_seen[:, 0] > begin_wall_ms]
    is_after = sent_and_seen[:, 0] >= turn_wall_ms
    is_during = is_after & (sent_and_seen[:, 0] <= last_wall_ms)
    delays = sent_and_seen[:, 1] - sent_and_seen[:, 0]
    return MidnightResult(
        options,
        Latency.of("before midnight", delays[~is_after], share),
        Latency.of("while slides are taken", delays[is_during], share),
        taken,
        round((last_wall_ms - turn_wall_ms) / 1000, 1),
    )


def fill_due(here: World, population: Population, users: int, due_until_ms: int) -> None:
    """Customers whose time comes by then."""
    state = here.settings.topic("rescore-state")
    fill_state(here.bootstrap_servers, state, population, users, here.partitions, due_until_ms)


_stamp = _stamp_of_cause


class _Slides:
    """Watches, twice a second, how many timers a worker has looked at, and when the last one was."""

    def __init__(self, started: Watched) -> None:
        self._started, self._stopped = started, threading.Event()
        self._first = self._taken = self._count()
        self._last_ms = time.time() * 1000
        self._thread = threading.Thread(target=self._watch, name="bench-slides", daemon=True)
        self._thread.start()

    def _count(self) -> float:
        return self._started.metrics().get("rescore_timers_due_total", 0.0)

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            if (taken := self._count()) > self._taken:
                self._taken, self._last_ms = taken, time.time() * 1000

    def stop(self) -> tuple[int, float]:
        """How many, and when the last was (milliseconds of the wall clock)."""
        self._stopped.set()
        self._thread.join()
        return round(self._taken - self._first), self._last_ms
