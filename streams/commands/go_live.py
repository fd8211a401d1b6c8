"""`rescore topics go-live`: end a history, and let the broker stamp from now on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from schemas.errors import fail
from streams.commands.common import AsJson, guarded, settings
from streams.terminal import echo, print_json

if TYPE_CHECKING:
    from streams.kafka.topics_clock import Clocks
    from streams.settings import Settings

LOOK_SECONDS = 0.5
LAG_SECONDS = 2.0
SETTLE_SECONDS = 15.0
AGAIN = "then run `rescore topics go-live` again"


@guarded
def go_live(
    wait_seconds: Annotated[
        float, typer.Option(min=0, help="How long to wait until workers have brought every clock to now.")
    ] = 120.0,
    as_json: AsJson = False,
) -> None:
    """End a history: bring every partition's clock to now, then let the broker stamp the records.

    First checks that the history is fully taken: `rescore lag` says OK, no transaction is open, and no record is
    stamped in the future. Whatever is missing is told, and nothing is changed. Workers and the learner keep running
    and follow within seconds. May be repeated; after an interruption it continues where it was.

    Example: rescore topics go-live --wait-seconds 600
    """
    from schemas.time_text import text_of_ms
    from streams.kafka.client import admin_of, require_topics
    from streams.kafka.topics_clock import CLOCKED_TOPICS, clocks_of, switch_to_live

    chosen = settings().model_copy(update={"clock": "records"})  # what the topics have by now is asked below
    require_topics(chosen.kafka, [chosen.topic(name) for name in CLOCKED_TOPICS])
    clocks = clocks_of(chosen.kafka, chosen.topic_prefix)
    to_ms = None
    if clocks.clock is None:
        fail("the topics hold no history", "`rescore topics apply` prepares topics; docs/history-to-live.md says how")
    if clocks.clock == "records":  # after an interrupted switch, "between", all of this has been done
        to_ms = _take_all_up_to_now(chosen, wait_seconds)
    switched = []
    for name in switch_to_live(admin_of(chosen.kafka), clocks.history):
        switched.append(name)
        if not as_json:
            echo(f"{name}: the broker stamps its records now")
    _settle(chosen)
    if as_json:
        print_json({"clocks_at": None if to_ms is None else text_of_ms(to_ms), "switched": switched})
    elif not switched:
        echo("the topics are live already: nothing had to be done", err=True)
    else:
        echo("the topics are live; workers and the learner follow within 10 s", err=True)
        echo("next: take RESCORE_CLOCK=records out of the settings of every process and command", err=True)


def _take_all_up_to_now(chosen: Settings, wait_seconds: float) -> int:
    """Check that all is taken, write an advance to every partition, and wait until the workers have taken it."""
    _require_all_taken(chosen)
    to_ms = _now_ms(chosen)
    _advance(chosen, to_ms)
    _wait_until_taken(chosen, to_ms, wait_seconds)
    return to_ms


def _require_all_taken(chosen: Settings) -> None:
    """Fail, naming what is missing, unless a worker has taken everything and nothing is open or halted."""
    from streams.commands.lag import answered
    from streams.kafka.client import open_transactions, require_topics
    from streams.kafka.topics import BROADCAST_TOPICS
    from streams.monitoring.lag import Verdict

    answer, _, _ = answered(chosen, LAG_SECONDS)
    if answer.verdict is not Verdict.OK:
        fail(f"the history is not fully taken: {answer.sentence}", f"{answer.next}; {AGAIN}")
    counts = require_topics(chosen.kafka, map(chosen.topic, BROADCAST_TOPICS))
    places = [(topic, partition) for topic, count in counts.items() for partition in range(count)]
    if still_open := open_transactions(chosen.kafka, places):
        one = next(iter(still_open.values()))
        fail(
            f"the history is not fully taken: {one.words(' of a publisher')}",
            f"end it: kafka-transactions.sh describe-producers --topic {one.topic} --partition {one.partition} names "
            f"its publisher; {AGAIN}",
        )


def _now_ms(chosen: Settings) -> int:
    """The present, if no record is stamped behind it: live records would be earlier than such a one."""
    from schemas.time_text import text_of_ms
    from streams.kafka.client import latest_timestamps_ms, partition_counts
    from streams.kafka.topics_clock import CLOCKED_TOPICS

    counts = partition_counts(chosen.kafka, map(chosen.topic, CLOCKED_TOPICS))
    latest, now_ms = latest_timestamps_ms(chosen.kafka, counts), time.time_ns() // 1_000_000
    for topic, at_ms in latest.items():
        if at_ms > now_ms:
            what = f"topic {topic} holds records up to {text_of_ms(at_ms)}, and it is only {text_of_ms(now_ms)}"
            fail(what, f"wait until {text_of_ms(at_ms)}; {AGAIN}")
    return now_ms


def _advance(chosen: Settings, to_ms: int) -> None:
    """Bring the clock of every partition to a time. Repeats do no harm."""
    from streams.composition.registry import values
    from streams.kafka.client import producer, require_topics
    from streams.kafka.producer import Published
    from streams.publish.publisher import advances, publish_advances

    topic = chosen.topic("commands")
    partitions = range(require_topics(chosen.kafka, [topic])[topic])
    commands = advances(to_ms, partitions, values(chosen).encoder("commands"))
    publish_advances(topic, commands, to_ms, producer(chosen.kafka), stamp=True, published=Published())


def _wait_until_taken(chosen: Settings, to_ms: int, wait_seconds: float) -> None:
    """Wait until every partition's committed clock is at this time and all up to it is learned; fail with the reason.

    What a history teaches must be published before the switch: in live topics no clock waits for it.
    """
    from schemas.time_text import text_of_ms

    echo(f"waiting until the clock of every partition is at {text_of_ms(to_ms)}", err=True)
    deadline = time.monotonic() + wait_seconds
    while missing := _missing(chosen, to_ms):
        if time.monotonic() > deadline:
            _tell_missing(chosen, missing, wait_seconds)
        time.sleep(LOOK_SECONDS)


def _missing(chosen: Settings, to_ms: int) -> str:
    """What keeps the history from being complete up to a time; empty if nothing does."""
    from schemas.batch import FOREVER_MS
    from schemas.time_text import text_of_ms
    from streams.audit.reading import last_progress_of_all
    from streams.composition.registry import values
    from streams.composition.versions import known_versions
    from streams.kafka.client import require_topics
    from streams.kafka.topics import STATE_TOPIC
    from streams.processing.wire import wire_of

    state, decode = chosen.topic(STATE_TOPIC), wire_of(values(chosen)).progress.decode
    count = require_topics(chosen.kafka, [state])[state]
    progress = last_progress_of_all(chosen.kafka, state, count, decode)
    behind = [str(p) for p in range(count) if p not in progress or progress[p].clock_ms < to_ms]
    if behind:
        who = "partition" if len(behind) == 1 else "partitions"
        return f"the clock of {who} {', '.join(behind)} has not reached {text_of_ms(to_ms)}"
    known = known_versions(chosen, tell=False)
    if known.limit_ms < FOREVER_MS and known.next_boundary_ms <= to_ms:
        return f"the learner has not learned up to {text_of_ms(known.next_boundary_ms)}"
    return ""


def _tell_missing(chosen: Settings, missing: str, wait_seconds: float) -> NoReturn:
    from streams.commands.lag import answered
    from streams.monitoring.lag import Verdict

    answer, _, _ = answered(chosen, LAG_SECONDS)
    next_ = "rescore learner, or read its log" if answer.verdict is Verdict.OK else answer.next
    fail(
        f"within {wait_seconds:g} s {missing}: {answer.sentence}; the topics still hold a history",
        f"{next_}; {AGAIN}",
    )


def _settle(chosen: Settings) -> None:
    """Wait until the brokers say that every topic is live: a broker hears of it a moment after the controller."""
    from streams.kafka.topics_clock import clocks_of

    deadline = time.monotonic() + SETTLE_SECONDS
    while (clocks := clocks_of(chosen.kafka, chosen.topic_prefix)).clock != "wall":
        if time.monotonic() > deadline:
            _tell_unsettled(clocks)
        time.sleep(LOOK_SECONDS)


def _tell_unsettled(clocks: Clocks) -> NoReturn:
    fail(
        f"the brokers still say that {', '.join(clocks.history)} hold a history, {SETTLE_SECONDS:g} s after the switch",
        "look whether all brokers are there, and run `rescore topics go-live` again",
    )
