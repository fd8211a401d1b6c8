"""`rescore demo`: topics, a worker, a history that ends today, the present, the live view, and at the end a recount.

Kafka and Redis are given; who calls decides whether they are the embedded ones. Worker and learner are processes of
their own, as in production. Everything else happens here, in four threads: one publishes, one reads score changes, one
watches the worker (`local.demo.stage`), one draws.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from rich.console import Console
from rich.live import Live

from local.demo.feed import moment
from local.demo.hints import commands, invitation
from local.demo.stage import Options, Stage
from local.demo.summary import Summary, count_again
from local.demo.view import Scene, plain_lines, print_plain, render
from local.generator.events import Beat
from local.servers.children import DemoFailed
from local.servers.process import tail
from schemas.batch import DAY_MS
from schemas.errors import RescoreError
from schemas.kinds import INPUT_TOPICS
from streams.kafka.client import latest_timestamps_ms, require_topics
from streams.settings import Settings

__all__ = ["DemoFailed", "Options", "Summary", "TopicsInUse", "run"]

FRAME_SECONDS = 0.25
PLAIN_SECONDS = 1.0
ROWS_PER_FRAME = 1
ROWS_PER_PLAIN_SECOND = 3
PATIENCE_SECONDS = 3.0
FINISHING = "finishing: the worker takes what is still waiting, then everything is counted again"
STARTING = "the worker is starting; the first time it compiles its loops, which may take a minute or two"
GOING_LIVE = "the history ends here: going live"
LIVE = "live: from now on every event happens now"
ALL_TAKEN = "all of your data have been taken; Ctrl-C ends the demo"
SOMEBODY = "c-000002"


class TopicsInUse(RescoreError):
    """The topics hold records of somebody: use a new data folder, or another RESCORE_TOPIC_PREFIX and RESCORE_APP."""


def wall_ms() -> int:
    """The time on the wall."""
    return time.time_ns() // 1_000_000


def run(
    kafka_bootstrap: str,
    redis_url: str,
    options: Options,
    stop_event: threading.Event,
    console: Console,
    environment: Mapping[str, str],
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Show Rescore at work until `options.seconds` have passed or `stop_event` is set; then recount.

    The seconds count from the first score change: a worker that is started for the first time may compile for a minute.
    `environment` is this process's, for the settings of the child processes. Prints to `console`: a live view on a
    terminal, plain lines elsewhere. Where a part fails the summary says so, and what had been done by then.
    Raises TopicsInUse, and what the Kafka client raises.
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
    options.folder.mkdir(parents=True, exist_ok=True)
    stage = Stage(inherited, options, clock, wall_ms)
    stage.deployment.make_topics()
    _refuse_topics_in_use(stage.settings)
    stage.decide()
    failure = ""
    with stage.playing():
        try:
            _Show(stage, console, environment).run(stop_event)
            console.print(FINISHING, style="dim")
            stage.finish()
        except Exception as error:  # noqa: BLE001 - whatever it is: the summary comes, and says it
            failure = str(error) or type(error).__name__
    if stage.lines_left_out:
        log = options.folder / "publish.log"
        console.print(f"some lines of your data were left out; the end of {log}:\n{tail(log)}", markup=False)
    waiting = None if stage.waiting < 0 else stage.waiting
    return count_again(stage.settings, stage.sent, waiting, options.folder, failure)


def _refuse_topics_in_use(settings: Settings) -> None:
    counts = require_topics(settings.kafka, map(settings.topic, INPUT_TOPICS))
    if latest_timestamps_ms(settings.kafka, counts):
        raise TopicsInUse(
            f"the input topics of Kafka at {settings.kafka.bootstrap_servers} hold records already; "
            "use a new data folder, or another RESCORE_TOPIC_PREFIX and RESCORE_APP; or unset "
            "RESCORE_KAFKA__BOOTSTRAP_SERVERS and RESCORE_REDIS__URL, and the demo starts its own servers"
        )


def _address(redis_url: str) -> str:
    """Host and port of a Redis URL, without a password that may be in it.

    >>> _address("redis://:secret@127.0.0.1:6379/0")
    '127.0.0.1:6379'
    """
    parts = urlsplit(redis_url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path


class _Show:
    """Draws what happens on the stage."""

    def __init__(self, stage: Stage, console: Console, environment: Mapping[str, str]) -> None:
        self.stage, self.console, self.environment = stage, console, environment
        self.lines: list[str] = []  # of the story, in the order in which they were told
        self._customer = SOMEBODY
        self._invited = False

    def run(self, stop_event: threading.Event) -> None:
        """Draw until the time is over. On a terminal four times a second, elsewhere a few lines a second."""
        stage, console = self.stage, self.console
        if not console.is_terminal:
            before: Scene | None = None
            while stage.goes_on() and not stop_event.wait(PLAIN_SECONDS):
                scene = self.scene(fresh_only=True)
                print_plain(console, plain_lines(before, scene))
                self._invite()
                before = scene
            return
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while stage.goes_on() and not stop_event.wait(FRAME_SECONDS):
                self._invite()
                live.update(render(self.scene(), console.width, console.height), refresh=True)

    def _invite(self) -> None:
        """Say once how to join, when that does no harm: what others published now would end a history that is loading.

        The user's own data do not go live; commands for them need the records' clock.
        """
        ready = self.stage.live or (self.stage.sample is None and self.stage.feed.changes > 0)
        if ready and not self._invited:
            self._invited = True
            print_plain(self.console, invitation(self.stage.settings, self.environment, self._customer))

    def scene(self, fresh_only: bool = False) -> Scene:
        """All that there is to show now."""
        stage, publisher = self.stage, self.stage.publisher
        rows_max = ROWS_PER_PLAIN_SECOND if fresh_only else ROWS_PER_FRAME
        look = stage.feed.look(publisher.sent if publisher else lambda _event_id: None, rows_max)
        now_ms = wall_ms() if stage.live else publisher.now_ms if publisher else 0
        if look.rows:
            self._customer = look.rows[-1].customer
        return Scene(
            events=stage.sent,
            changes=look.changes,
            lag_seconds=None if stage.going_live else true_lag(look.lag_seconds, stage.lag_seconds),
            kafka=stage.settings.kafka.bootstrap_servers,
            valkey=_address(stage.settings.redis.url.get_secret_value()),
            today=f"{datetime.fromtimestamp(now_ms / 1_000, UTC):%a %d %b %Y}" if now_ms else "",
            rows=look.fresh if fresh_only else look.rows,
            values=look.values,
            statuses=look.statuses,
            classes=look.classes,
            story=self._story(now_ms, look.learned),
            hints=commands(self._customer) if self._invited else (),
        )

    def _story(self, now_ms: int, learned: list[tuple[int, str]]) -> list[str]:
        """What has been told so far: beats of the story, and what was learned, each in its turn."""
        stage = self.stage
        seconds = stage.starting_seconds
        if seconds is not None:
            return [STARTING] if seconds > PATIENCE_SECONDS and not stage.all_taken else []
        lines = [ALL_TAKEN] if stage.all_taken else []
        if stage.sample is not None:
            story_ms = stage.sample.story_day * DAY_MS
            lines = [] if stage.live else _told(stage.sample.story, now_ms, story_ms)
            lines += [words for at_ms, words in learned if at_ms >= story_ms]
            lines += [GOING_LIVE] if stage.going_live else [LIVE] if stage.live else []
        self.lines += [line for line in lines if line not in self.lines]
        return list(self.lines)


def true_lag(measured_seconds: float | None, waiting_seconds: float | None) -> float | None:
    """The lag to show: of what was taken last, or of what has been waiting for longer.

    >>> true_lag(0.02, 0.0), true_lag(0.02, 12.5), true_lag(None, None)
    (0.02, 12.5, None)
    """
    known = [seconds for seconds in (measured_seconds, waiting_seconds) if seconds is not None]
    return max(known, default=None)


def _told(story: tuple[Beat, ...], now_ms: int, story_ms: int) -> list[str]:
    """The beats of the story that have happened."""
    told = [beat for beat in story if story_ms <= beat.time_ms <= now_ms]
    return [f"story: {moment(beat.time_ms)} {beat.text} ({beat.user_id})" for beat in told]
