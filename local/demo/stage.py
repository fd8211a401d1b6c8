"""The parts of a running demo: what publishes, what scores, and the threads that watch both."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.demo.deployment import Deployment
from local.demo.feed import Feed
from local.demo.lag import Backlog
from local.demo.publisher import Clock, Pace, Publisher
from local.generator.events import Population, events, population
from local.generator.story import POISONED
from local.servers.children import Background, DemoFailed
from schemas.batch import DAY_MS
from schemas.errors import Exit
from schemas.kinds import INPUT_TOPICS
from streams.composition.registry import values
from streams.composition.versions import publish_first_versions
from streams.kafka.client import KafkaUnreachable, producer, read, require_topics
from streams.kafka.groups import group_of, waiting_records
from streams.kafka.producer import Published, finish, send
from streams.publish.publisher import advances, publish_advances
from streams.settings import Settings
from streams.versions.records import config_record

START_SECONDS = 300.0
FINISH_SECONDS = 20.0
BEHIND_EVERY_SECONDS = 0.3
LIVE_DAYS = 1_000
"""Generated days that the present is made of: at the pace of the demo's bank they last longer than a day."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo shows. `folder` is for logs; `data` are the user's own files, published instead of generated ones.

    Generated customers have a history of `history_days` that ends now. It is published at once, but for the last
    `story_days`, of which `days_per_second` pass in a second. Then `events_per_second` happen in the present.
    `seconds` None: until someone stops it. `publish_arguments` go to `rescore publish` with the files.
    """

    folder: Path
    seconds: float | None = None
    customers: int = 300
    seed: int = 1
    history_days: int = 240
    story_days: int = 42
    days_per_second: float = 3.0
    events_per_second: float = 3.0
    partitions: int = 2
    data: tuple[Path, ...] = ()
    publish_arguments: tuple[str, ...] = ()

    epoch_days: int = 7

    @property
    def learns(self) -> bool:
        """Whether a learner runs too. Not with the user's own files, which may end in one partition years before they
        do in another: clocks would wait for what cannot be learned."""
        return not self.data


class Stage:
    """The parts of a running demo."""

    def __init__(
        self, environment: Mapping[str, str], options: Options, clock: Clock, wall_ms: Callable[[], int]
    ) -> None:
        self.options, self.clock, self.wall_ms = options, clock, wall_ms
        parts = ("worker", "learner") if options.learns else ("worker",)
        self.deployment = Deployment(environment, parts, options.folder)
        self.sample = None if options.data else sample(options, wall_ms())
        self.values = values(self.settings)
        self.publisher = self._publisher(self.sample) if self.sample else None
        favourites = {beat.user_id for beat in self.sample.story} if self.sample else set()
        self.feed = Feed(lambda data: self.values.decode("score-changes", data), favourites, clock)
        self.waiting = -1  # records not taken yet; not known at first
        self.live = False
        self.began = self._first_change_at = clock()
        self._backlog = Backlog()
        self._inputs: dict[str, int] = {}
        self._quiet = threading.Event()
        self._failures: list[Exception] = []
        self._time_ended = False
        self._data: Background | None = None
        self._data_sent = 0
        self._data_taken = False

    @property
    def settings(self) -> Settings:
        """Those in force now."""
        return self.deployment.settings

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Start everything; stop it in order, whatever happens in between."""
        self._inputs = require_topics(self.settings.kafka, map(self.settings.topic, INPUT_TOPICS))
        with ExitStack() as stack:
            stack.callback(self.deployment.stop)
            self.deployment.start()
            for name, work in (("reader", self._read), ("watcher", self._watch)):
                thread = threading.Thread(target=self._guarded(work), name=f"demo-{name}", daemon=True)
                thread.start()
                stack.callback(thread.join)
            stack.callback(self._quiet.set)
            if self.publisher:
                self.publisher.start()
                stack.callback(self.publisher.stop)
            else:
                files = map(str, self.options.data)
                command = ["publish", "--skip-bad-lines", *files, *self.options.publish_arguments]
                self._data = Background(command, self.deployment.environment, self.options.folder / "publish.log")
                stack.enter_context(self._data)
            yield

    def check(self) -> None:
        """Raise what went wrong in any of the parts."""
        self.deployment.check()
        if self._data and self._data.exit_code not in (None, Exit.OK, Exit.FAILURE):
            self._data.check()  # where only some lines were bad the demo goes on, and says so
        failures = [*self._failures, *([self.publisher.failure] if self.publisher and self.publisher.failure else [])]
        if failures:
            raise failures[0]

    def decide(self) -> None:
        """The demo's committee puts in force what was learned when the story begins.

        The packaged weights were fitted on customers of the same kind, so that what is learned here is hardly better
        and would not be adopted by itself.
        """
        if self.sample is None:
            return
        publish_first_versions(self.settings)
        fields = {
            "name": "models.value",
            "version": "promote",
            "effective_ms": self.sample.story_day * DAY_MS,
            "body": json.dumps({"decision": "promote", "version": "steady"}),
            "author": "rescore demo",
            "reason": "so that one sees what was learned come into force",
        }
        sender, done = producer(self.settings.kafka), Published()
        topic, key, value = config_record(fields, self.values.encoding)
        # Known before any event; librdkafka takes a timestamp of 0 for the present.
        send(sender, done, topic=self.settings.topic(topic), key=key, value=value, timestamp=1)
        finish(sender, done)

    @property
    def sent(self) -> int:
        """Events published so far: those that Kafka has acknowledged."""
        return self.publisher.published.acknowledged if self.publisher else self._data_sent

    @property
    def lag_seconds(self) -> float | None:
        """So long at least the oldest event that is not taken has been waiting; None: not known yet."""
        return self._backlog.seconds(self.clock())

    def goes_on(self) -> bool:
        """Whether there is more to show. Raises what went wrong in any of the parts."""
        self.check()
        if not self.feed.changes:
            self._first_change_at = self.clock()
            if self.clock() - self.began > START_SECONDS and not self._data_taken:
                raise DemoFailed(f"no score change within {START_SECONDS:.0f} s; see the logs in {self.options.folder}")
        if self._data and self._data_taken and self._data_sent == 0:
            self._data.check()  # nothing could be read: its log says why
        seconds = self.options.seconds
        return seconds is None or self.clock() < self._first_change_at + seconds

    @property
    def lines_left_out(self) -> bool:
        """Whether some lines of the user's own data could not be read."""
        return self._data is not None and self._data.exit_code == Exit.FAILURE

    @property
    def all_taken(self) -> bool:
        """Whether all of the user's own data have been published and taken."""
        return self._data_taken

    @property
    def going_live(self) -> bool:
        """Whether the history is complete, and the present has not begun yet."""
        return self._time_ended and not self.live

    @property
    def starting_seconds(self) -> float | None:
        """How long the worker has been starting; None once it has made a change."""
        return None if self.feed.changes else self.clock() - self.began

    def finish(self) -> None:
        """Publish no more, and give the worker time to take what is there; `waiting` is then what it left."""
        if self.publisher:
            self.publisher.stop()
            if not self._time_ended:
                self._end_time(self.publisher.now_ms)
        if self._data:
            self._data.stop()
        self.waiting = -1
        deadline = self.clock() + FINISH_SECONDS
        while self.waiting != 0 and self.clock() < deadline:
            self.check()
            self._quiet.wait(BEHIND_EVERY_SECONDS / 3)

    def _end_time(self, now_ms: int) -> None:
        """Tell every partition how late it is: one whose last event came early holds up what is learned for all."""
        self._time_ended = True
        if now_ms:
            ends = advances(now_ms, range(self.options.partitions), self.values.encoder("commands"))
            sender = producer(self.settings.kafka)
            publish_advances(self.settings.topic("commands"), ends, now_ms, sender, True, Published())

    def _read(self) -> None:
        topic = self.settings.topic("score-changes")
        counts = require_topics(self.settings.kafka, [topic])
        for record in read(self.settings.kafka, counts, exit_at_end=False, stop=self._quiet.is_set):
            self.feed.add(record)

    def _watch(self) -> None:
        """How far behind the worker is, and so when the past has been taken, and when the history has."""
        while not self._quiet.wait(BEHIND_EVERY_SECONDS):
            data_were_out = self._data is not None and self._data.exit_code is not None
            past_was_out = self.publisher is not None and self.publisher.past_is_out.is_set()
            history_was_out, looked_at = self._time_ended, self.clock()
            try:
                committed = group_of(self.settings.kafka, self.settings.app, self._inputs).committed
                waiting = waiting_records(self.settings.kafka, self._inputs, committed)
            except KafkaUnreachable:  # a broker that has just started knows no groups yet; it is asked again
                self.waiting = -1
                continue
            self._backlog.look(looked_at, committed, waiting)
            self.waiting = sum(waiting.values())
            self._data_sent = sum(committed.values()) + self.waiting
            self._data_taken = data_were_out and self.waiting == 0
            if self.publisher and past_was_out and self.waiting == 0:
                self.publisher.caught_up.set()
                self._go_on(self.publisher, history_was_out)

    def _go_on(self, publisher: Publisher, history_was_out: bool) -> None:
        """Once the worker has taken all: end the history where it is complete, then begin the present."""
        if self.live or not publisher.history_is_out.is_set():
            return
        if not history_was_out:
            self._end_time(self.wall_ms())
            return
        self.deployment.go_live()
        while not self._quiet.is_set() and not self.deployment.takes_part(self._inputs):
            self.deployment.check()
            self._quiet.wait(BEHIND_EVERY_SECONDS / 3)
        self.live = True
        publisher.live.set()

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def keep() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told by the thread that draws
                self._failures.append(error)

        return keep

    def _publisher(self, people: Population) -> Publisher:
        encoders = {topic: self.values.encoder(topic) for topic in ("transactions", "loans", "fx-rates")}
        pace = Pace(people.story_day * DAY_MS, self.options.days_per_second, self.options.events_per_second)
        return Publisher(
            events(people),
            producer(self.settings.kafka),
            lambda topic, value: encoders[topic](value),
            self.settings.topic,
            pace,
            self.clock,
            self.wall_ms,
        )


def sample(options: Options, now_ms: int) -> Population:
    """The customers: their history ends in the day of `now_ms`, and events are there for what comes after it.

    Raises ValueError if the story's correction and duplicate, which refer to earlier events, would come after it.
    """
    if options.story_days <= POISONED:
        raise ValueError(f"story_days must be more than {POISONED}")
    first_day = datetime.fromtimestamp(now_ms / 1_000, UTC).date() - timedelta(days=options.history_days)
    days = options.history_days + LIVE_DAYS
    story_after_days = options.history_days - options.story_days
    return population(options.seed, options.customers, first_day, days, story_after_days=story_after_days)
