"""`rescore demo`: topics, a worker, real data flowing, the live view, and at the end a recount.

Kafka and Redis are given; who calls decides whether they are the embedded ones. Worker and learner are processes of
their own, as in production. Everything else happens here, in three threads: one publishes, one reads score changes, one
draws.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.live import Live

from local.demo_children import Background, DemoFailed
from local.demo_feed import Feed, moment
from local.demo_publisher import Pace, Publisher
from local.demo_summary import Summary, count_again
from local.generator import Beat, Population, events, population
from local.view import Scene, plain_lines, print_plain, render
from schemas.batch import DAY_MS
from schemas.kinds import INPUT_TOPICS
from streams.commands.common import Exit
from streams.commands.topics import options_of
from streams.commands.versions import publish_first_versions
from streams.commands.wire import values
from streams.kafka_client import (
    KafkaUnreachable,
    admin_of,
    latest_timestamps_ms,
    producer,
    read,
    require_topics,
)
from streams.kafka_client_groups import group_of, waiting_records
from streams.publish import Published, advances, finish, publish_advances, send
from streams.settings import Settings, load
from streams.topics import apply
from streams.version_records import config_record

__all__ = ["DemoFailed", "Options", "Summary", "TopicsInUse", "run"]

FRAME_SECONDS = 0.25
PLAIN_SECONDS = 1.0
ROWS_PER_FRAME = 1
ROWS_PER_PLAIN_SECOND = 3
START_SECONDS = 300.0
FINISH_SECONDS = 20.0
BEHIND_EVERY_SECONDS = 0.3
PATIENCE_SECONDS = 3.0
FINISHING = "finishing: the worker takes what is still waiting, then everything is counted again"
STARTING = "the worker is starting; the first time it compiles its loops, which may take a minute or two"
FIRST_DAY = date(2025, 1, 1)


class TopicsInUse(Exception):
    """The topics hold records of somebody: use a new data folder, or another RESCORE_TOPIC_PREFIX and RESCORE_APP."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo shows. `folder` is for logs; `data` are the user's own files, published instead of generated ones.

    Generated customers have a past of `history_days`, published at once; then `days_per_second` days pass in a second.
    `publish_arguments` go to `rescore publish` with the files (`--map-file`, `--topic`, ...).
    """

    folder: Path
    seconds: float = 60.0
    customers: int = 300
    seed: int = 1
    history_days: int = 240
    days_per_second: float = 1.8
    partitions: int = 2
    data: tuple[Path, ...] = ()
    publish_arguments: tuple[str, ...] = ()

    epoch_days: int = 7

    @property
    def learns(self) -> bool:
        """Whether a learner runs too. Not with the user's own files, which may end in one partition years before they
        do in another: clocks would wait for what cannot be learned."""
        return not self.data

    @property
    def live_days(self) -> int:
        """Days that pass before the eyes of the user, with some to spare."""
        return int(self.seconds * self.days_per_second) + 7


def run(
    kafka_bootstrap: str,
    redis_url: str,
    options: Options,
    stop_event: threading.Event,
    console: Console,
    environment: Mapping[str, str],
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Show Rescore at work until `options.seconds` have passed, the data end, or `stop_event` is set; then recount.

    The seconds count from the first score change: a worker that is started for the first time may compile for a minute.
    `environment` is this process's, for the settings of the child processes. Prints to `console`: a live view on a
    terminal, plain lines elsewhere. Raises DemoFailed, TopicsInUse, and what the Kafka client raises.
    """
    inherited = dict(environment) | {
        "RESCORE_KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        "RESCORE_REDIS__URL": redis_url,
        "RESCORE_CLOCK": "records",
        "RESCORE_PARTITIONS": str(options.partitions),
        "RESCORE_METRICS__PORT": "0",
        "RESCORE_BATCH__RECORDS_MAX": "2000",  # the past comes in pieces, so that customers move at once
    }
    if options.learns:
        inherited["RESCORE_LEARNING__EPOCH_SECONDS"] = str(options.epoch_days * 86_400)
    settings = load(inherited).settings
    options.folder.mkdir(parents=True, exist_ok=True)
    apply(admin_of(settings.kafka), options_of(settings))
    _refuse_topics_in_use(settings)
    stage = _Stage(settings, options, inherited, clock)
    stage.decide()
    console.print(_invitation(kafka_bootstrap, redis_url), style="dim", highlight=False, soft_wrap=True)
    with stage.playing():
        _show(stage, console, stop_event, kafka_bootstrap, _address(redis_url))
        console.print(FINISHING, style="dim")
        waiting = stage.finish()
    if stage.lines_left_out:
        console.print(f"some lines of your data were left out: {options.folder / 'publish.log'} says which and why")
    return count_again(settings, stage.sent, waiting, options.folder)


def _refuse_topics_in_use(settings: Settings) -> None:
    counts = require_topics(settings.kafka, map(settings.topic, INPUT_TOPICS))
    if latest_timestamps_ms(settings.kafka, counts):
        raise TopicsInUse(
            f"the input topics of Kafka at {settings.kafka.bootstrap_servers} hold records already; "
            "use a new data folder, or another RESCORE_TOPIC_PREFIX and RESCORE_APP"
        )


def _address(redis_url: str) -> str:
    """Host and port of a Redis URL, without a password that may be in it.

    >>> _address("redis://:secret@127.0.0.1:6379/0")
    '127.0.0.1:6379'
    """
    parts = urlsplit(redis_url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path


class _Stage:
    """The parts of a running demo."""

    def __init__(
        self, settings: Settings, options: Options, environment: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        self.settings, self.options, self.environment, self.clock = settings, options, environment, clock
        self.sample = None if options.data else _sample(options)
        self.values = values(settings)
        self.publisher = self._publisher(self.sample) if self.sample else None
        favourites = {beat.user_id for beat in self.sample.story} if self.sample else set()
        self.feed = Feed(lambda data: self.values.decode("score-changes", data), favourites, clock)
        self.waiting = -1  # records not taken yet; not known at first
        self.began = self._first_change_at = clock()
        self._inputs = require_topics(settings.kafka, map(settings.topic, INPUT_TOPICS))
        self.lines: list[str] = []  # of the story, in the order in which they were told
        self._quiet = threading.Event()
        self._failures: list[Exception] = []
        self._children: list[Background] = []
        self._data: Background | None = None
        self._data_sent = 0
        self._data_taken = False

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Start everything; stop it in order, whatever happens in between."""
        with ExitStack() as stack:
            for part in ["worker", *(["learner"] if self.options.learns else [])]:
                child = Background([part], self.environment, self.options.folder / f"{part}.log")
                self._children.append(stack.enter_context(child))
            reader = threading.Thread(target=self._guarded(self._read), name="demo-reader", daemon=True)
            watcher = threading.Thread(target=self._guarded(self._watch), name="demo-watcher", daemon=True)
            for thread in (reader, watcher):
                thread.start()
                stack.callback(thread.join)
            stack.callback(self._quiet.set)
            if self.publisher:
                self.publisher.start()
                stack.callback(self.publisher.stop)
            else:
                files = map(str, self.options.data)
                command = ["publish", "--skip-bad-lines", *files, *self.options.publish_arguments]
                self._data = Background(command, self.environment, self.options.folder / "publish.log")
                stack.enter_context(self._data)
            yield

    def check(self) -> None:
        """Raise what went wrong in any of the parts."""
        for child in self._children:
            child.check()
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
        """Events published so far."""
        return self.publisher.published.sent if self.publisher else self._data_sent

    def goes_on(self) -> bool:
        """Whether there is more to show. Raises what went wrong in any of the parts."""
        self.check()
        if not self.feed.changes:
            if self.clock() - self.began > START_SECONDS:
                raise DemoFailed(f"no score change within {START_SECONDS:.0f} s; see the logs in {self.options.folder}")
            self._first_change_at = self.clock()
        if self._data and self._data_taken and self._data_sent == 0:
            self._data.check()  # nothing could be read: its log says why
        return self.clock() < self._first_change_at + self.options.seconds and not self._data_taken

    @property
    def lines_left_out(self) -> bool:
        """Whether some lines of the user's own data could not be read."""
        return self._data is not None and self._data.exit_code == Exit.FAILURE

    @property
    def starting_seconds(self) -> float | None:
        """How long the worker has been starting; None once it has made a change."""
        return None if self.feed.changes else self.clock() - self.began

    def finish(self) -> int | None:
        """Publish no more, give the worker time to take what is there, and return how much it left; None: not known."""
        if self.publisher:
            self.publisher.stop()
            self._end_time(self.publisher.now_ms)
        if self._data:
            self._data.stop()
        self.waiting = -1
        deadline = self.clock() + FINISH_SECONDS
        while self.waiting != 0 and self.clock() < deadline:
            self.check()
            self._quiet.wait(BEHIND_EVERY_SECONDS / 3)
        return None if self.waiting < 0 else self.waiting

    def _end_time(self, now_ms: int) -> None:
        """Tell every partition how late it is: one whose last event came early holds up what is learned for all."""
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
        """How far behind the worker is, and so when the past has been taken."""
        kafka, past = self.settings.kafka, self.publisher.past_is_out if self.publisher else threading.Event()
        while not self._quiet.wait(BEHIND_EVERY_SECONDS):
            past_was_out, data_were_out = past.is_set(), self._data is not None and self._data.exit_code is not None
            try:
                committed = group_of(kafka, self.settings.app, self._inputs).committed
                self.waiting = sum(waiting_records(kafka, self._inputs, committed).values())
            except KafkaUnreachable:  # a broker that has just started knows no groups yet; it is asked again
                self.waiting = -1
                continue
            self._data_sent = sum(committed.values()) + self.waiting
            if self.publisher and past_was_out and self.waiting == 0:
                self.publisher.caught_up.set()
            self._data_taken = data_were_out and self.waiting == 0

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def keep() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told by the thread that draws
                self._failures.append(error)

        return keep

    def _publisher(self, sample: Population) -> Publisher:
        encoders = {topic: self.values.encoder(topic) for topic in ("transactions", "loans", "fx-rates")}
        live_ms = sample.story_day * DAY_MS
        return Publisher(
            events(sample),
            producer(self.settings.kafka),
            lambda topic, value: encoders[topic](value),
            self.settings.topic,
            Pace(live_ms, self.options.days_per_second),
            self.clock,
        )


def _sample(options: Options) -> Population:
    days = options.history_days + options.live_days
    return population(options.seed, options.customers, FIRST_DAY, days, story_after_days=options.history_days)


def _show(stage: _Stage, console: Console, stop_event: threading.Event, kafka: str, valkey: str) -> None:
    """Draw until the time is over. On a terminal four times a second, elsewhere a few lines a second."""
    if not console.is_terminal:
        before: Scene | None = None
        while stage.goes_on() and not stop_event.wait(PLAIN_SECONDS):
            scene = _scene(stage, kafka, valkey, fresh_only=True)
            print_plain(console, plain_lines(before, scene))
            before = scene
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while stage.goes_on() and not stop_event.wait(FRAME_SECONDS):
            live.update(render(_scene(stage, kafka, valkey), console.height), refresh=True)


def _scene(stage: _Stage, kafka: str, valkey: str, fresh_only: bool = False) -> Scene:
    publisher = stage.publisher
    rows_max = ROWS_PER_PLAIN_SECOND if fresh_only else ROWS_PER_FRAME
    look = stage.feed.look(publisher.sent if publisher else lambda _event_id: None, rows_max)
    now_ms = publisher.now_ms if publisher else 0
    return Scene(
        events=stage.sent,
        changes=look.changes,
        lag_seconds=look.lag_seconds,
        kafka=kafka,
        valkey=valkey,
        today=f"{datetime.fromtimestamp(now_ms / 1_000, UTC):%a %d %b %Y}" if now_ms else "",
        rows=look.fresh if fresh_only else look.rows,
        values=look.values,
        statuses=look.statuses,
        classes=look.classes,
        story=_story(stage, now_ms, look.learned),
        hints=_hints(look.rows[-1].customer if look.rows else "c-000002", kafka),
    )


def _story(stage: _Stage, now_ms: int, learned: list[tuple[int, str]]) -> list[str]:
    """What has been told so far: beats of the story, and what was learned, each in its turn."""
    seconds = stage.starting_seconds
    if seconds is not None or stage.sample is None:
        return [STARTING] if seconds is not None and seconds > PATIENCE_SECONDS else []
    live_ms = stage.sample.story_day * DAY_MS
    lines = _told(stage.sample.story, now_ms, live_ms)
    lines += [words for at_ms, words in learned if at_ms >= live_ms]
    stage.lines += [line for line in lines if line not in stage.lines]
    return list(stage.lines)


def _told(story: tuple[Beat, ...], now_ms: int, live_ms: int) -> list[str]:
    """The beats of the story that have happened."""
    told = [beat for beat in story if live_ms <= beat.time_ms <= now_ms]
    return [f"story: {moment(beat.time_ms)} {beat.text} ({beat.user_id})" for beat in told]


def _invitation(kafka: str, redis_url: str) -> str:
    """How another terminal joins in. A URL with a password is not repeated."""
    redis = "..." if "@" in redis_url else redis_url
    variables = f"RESCORE_KAFKA__BOOTSTRAP_SERVERS={kafka} RESCORE_REDIS__URL={redis} RESCORE_CLOCK=records"
    return f"to use rescore in another terminal meanwhile: export {variables}"


def _hints(customer: str, kafka: str) -> list[str]:
    commands = [f"rescore explain {customer}", "rescore models list", "rescore subscribe --score status"]
    return [*commands, f"kcat -b {kafka} -t score-changes"]
