"""The parts of the demo: pace, feed, recount, children; on a real Kafka what is published and what is counted again."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

from local.demo.feed import Feed, choose
from local.demo.hints import invitation
from local.demo.lag import STALE_SECONDS, Backlog
from local.demo.publisher import Pace, Publisher, Sent
from local.demo.recount import recount
from local.demo.run import _address, _told, true_lag
from local.demo.stage import Options, sample
from local.demo.summary import Summary, count_again, versions_learned
from local.generator.events import SampleEvent, events, population
from local.generator.population import DAY_MS
from local.servers.children import Background, DemoFailed
from local.servers.kafka import Kafka
from local.servers.process import free_port
from local.servers.valkey import Valkey
from schemas.batch import Record
from schemas.topic_values import Values
from streams.commands.demo import servers_of
from streams.kafka.client import producer, read, require_topics
from streams.kafka.producer import NotDelivered
from streams.settings import KafkaSettings, Settings, load

VALUES = Values()
SAMPLE = population(seed=1, customers=20, first_day=date(2025, 1, 1), days=60, story_after_days=40)


def a_change(user: str, sequence: int, **fields: Any) -> dict[str, Any]:
    change = {
        "change_id": f"{user}/status/2-0/{sequence}",
        "user_id": user,
        "score": "status",
        "sequence": sequence,
        "incarnation": "2-0",
        "old": 2.5,
        "new": 2.6,
        "old_text": None,
        "new_text": None,
        "old_band": None,
        "new_band": None,
        "cause": {"kind": "event", "event_id": f"e-{user}"},
        "event_time_ms": 0,
        "decided_ms": 1_741_775_460_000 + sequence,
        "weights_version": "w",
        "policy_version": "p",
        "base": None,
        "reasons": [],
        "confidence": None,
        "first_event_ms": 0,
        "last_event_ms": 0,
        "events": 1,
        "segment": "none",
    }
    return change | fields


def a_record(change: dict[str, Any]) -> Record:
    headers = [("ce_id", change["change_id"].encode())]
    value = VALUES.encoder("score-changes")(change)
    return Record("score-changes", 0, 0, 0, change["user_id"].encode(), value, headers)


def a_feed(favourites: frozenset[str] = frozenset(), now: float = 10.0) -> Feed:
    return Feed(lambda data: VALUES.decode("score-changes", data), favourites, lambda: now)


def nothing_sent(_event_id: str) -> Sent | None:
    return None


def test_the_feed_counts_every_change_and_shows_the_latest_of_each_score() -> None:
    feed = a_feed()
    for sequence, new in ((1, 2.6), (2, 4.9)):
        feed.add(a_record(a_change("ann", sequence, new=new)))
    look = feed.look(nothing_sent, rows_max=5)
    assert look.changes == 2
    assert [row.new for row in look.fresh] == ["4.90"]
    assert (sum(look.statuses), look.statuses[-1]) == (1, 1)


def test_a_second_look_shows_only_what_is_new_and_keeps_the_rows() -> None:
    feed = a_feed()
    feed.add(a_record(a_change("ann", 1)))
    feed.look(nothing_sent, 5)
    feed.add(a_record(a_change("bob", 1)))
    look = feed.look(nothing_sent, 5)
    assert [row.customer for row in look.fresh] == ["bob"]
    assert [row.customer for row in look.rows] == ["ann", "bob"]


def test_the_feed_measures_from_sending_an_event_to_reading_its_change_and_tells_what_it_was() -> None:
    feed = a_feed(now=10.0)
    feed.add(a_record(a_change("ann", 1)))
    look = feed.look({"e-ann": Sent(9.7, "salary +2,450")}.get, 5)
    assert look.lag_seconds == pytest.approx(0.3)
    assert look.fresh[0].why == "salary +2,450"


def test_a_customer_whose_score_is_gone_leaves_the_distribution() -> None:
    feed = a_feed()
    feed.add(a_record(a_change("ann", 1)))
    assert sum(feed.look(nothing_sent, 5).statuses) == 1
    feed.add(a_record(a_change("ann", 2, new=None)))
    assert sum(feed.look(nothing_sent, 5).statuses) == 0


def test_more_changes_than_one_look_decodes_are_all_decoded_by_the_next_ones() -> None:
    feed = a_feed()
    for number in range(1_500):
        feed.add(a_record(a_change(f"user-{number}", 1)))
    assert sum(feed.look(nothing_sent, 5).statuses) == 1_000
    assert sum(feed.look(nothing_sent, 5).statuses) == 1_500


def test_the_story_comes_first_then_the_most_remarkable_change_of_each_score() -> None:
    small, far = a_change("small", 1, score="value"), a_change("far", 2, score="value", new=4.0)
    crossed = a_change("crossed", 3, score="value", old_band="high", new_band="top")
    story = a_change("story", 4)
    code = a_change("code", 5, score="class", old=1.0, new=6.0)
    everything = [small, far, crossed, story, code]

    def chosen(rows: int) -> list[str]:
        return [change["user_id"] for change in choose(everything, {"story"}, rows)]

    assert [chosen(rows) for rows in (1, 2)] == [["story"], ["crossed", "story"]]
    assert chosen(3) == ["crossed", "story", "code"]
    assert chosen(4) == ["far", "crossed", "story", "code"]
    ages = [a_change("carla", 1), a_change("bruno", 2)]
    assert choose(ages, {"bruno", "carla"}, 1) == ages


def test_events_of_the_past_say_nothing_about_the_lag() -> None:
    feed = a_feed()
    feed.add(a_record(a_change("ann", 1)))
    look = feed.look({"e-ann": Sent(None, "salary +2,450")}.get, 5)
    assert (look.lag_seconds, look.fresh[0].why) == (None, "salary +2,450")


def card(**sequences: int) -> dict[str, Any]:
    return {"incarnation": "2-0", "sequences": {"value": 0, "status": 0} | sequences}


IDS = ["ann/status/2-0/1", "bob/value/2-0/1", "ann/status/2-0/2", "ann/status/9-4/1"]
CARDS = {"ann": card(status=1) | {"incarnation": "9-4"}, "bob": card(value=1)}


def test_a_whole_log_is_exact_also_where_a_customer_came_back_after_an_erasure() -> None:
    counted = recount(IDS, CARDS)
    assert counted.exact
    assert (counted.changes, counted.customers, counted.scores, counted.scorecards) == (4, 2, 3, 2)


@pytest.mark.parametrize(
    "ids,cards,fault",
    [
        ([*IDS, IDS[0]], CARDS, "twice"),
        ([*IDS[:2], *IDS[3:], "ann/status/2-0/3"], CARDS, "gaps"),
        ([IDS[2], IDS[0], *IDS[1:2], IDS[3]], CARDS, "gaps"),
        (IDS, CARDS | {"bob": card(value=2)}, "differing"),
        (IDS, {"ann": CARDS["ann"]}, "differing"),
        (IDS, CARDS | {"eve": card(status=1)}, "differing"),
    ],
)
def test_each_way_of_not_being_exactly_once_is_found(ids: list[str], cards: dict[str, Any], fault: str) -> None:
    counted = recount(ids, cards)
    assert not counted.exact
    assert getattr(counted, fault) > 0


def test_an_erased_customer_has_no_scorecard_and_that_is_right() -> None:
    assert recount(IDS[:1], {"ann": None}).exact


class Recorder:
    """A producer that keeps what it is given, and acknowledges at once; or refuses, where it is given a reason."""

    def __init__(self, refusal: str | None = None) -> None:
        self.records: list[tuple[str, int | None, bytes, bytes]] = []
        self.refusal = refusal

    def produce(self, topic: str, value: bytes | None = None, key: bytes | None = None, **options: Any) -> None:
        assert key is not None
        assert value is not None
        self.records.append((topic, options.get("timestamp"), key, value))
        options["on_delivery"](self.refusal, None)

    def poll(self, _timeout: float = 0) -> int:
        return 0

    def flush(self, _timeout: float = 0) -> int:
        return 0

    def stamps(self) -> list[int]:
        """The timestamps of records that have one: those of the history."""
        return [stamp for _, stamp, _, _ in self.records if stamp is not None]


NOW_MS = SAMPLE.begin_ms + 50 * DAY_MS + 7_000
STORY_MS = SAMPLE.begin_ms + 40 * DAY_MS


def a_publisher(stream: Iterator[SampleEvent], to: Any, pace: Pace, clock: Callable[[], float]) -> Publisher:
    encoders = {topic: VALUES.encoder(topic) for topic in ("transactions", "loans", "fx-rates")}
    return Publisher(stream, to, lambda topic, value: encoders[topic](value), str, pace, clock, lambda: NOW_MS)


def ticking(step: float) -> Callable[[], float]:
    """A clock on which every look takes `step` seconds."""
    ticks = count()
    return lambda: next(ticks) * step


def test_the_past_goes_at_once_the_story_takes_its_time_and_the_history_ends_now() -> None:
    clock = ticking(0.001)
    recorder = Recorder()
    publisher = a_publisher(events(SAMPLE), recorder, Pace(STORY_MS, 50.0, 1.0), clock)
    publisher.caught_up.set()
    publisher.start()
    assert publisher.history_is_out.wait(30)
    history = [event.timestamp_ms for event in events(SAMPLE) if event.timestamp_ms < NOW_MS]
    assert recorder.stamps() == history
    assert len(recorder.records) == publisher.published.acknowledged == len(history)
    # Ten days of the story at fifty a second.
    assert clock() >= 0.19
    publisher.stop()


def test_after_the_history_events_happen_now_at_the_pace_of_the_bank() -> None:
    recorder, clock = Recorder(), ticking(0.001)
    publisher = a_publisher(events(SAMPLE), recorder, Pace(STORY_MS, 1e6, 200.0), clock)
    for waited in (publisher.caught_up, publisher.live):
        waited.set()
    began = clock()
    publisher.start()
    publisher.join(60)
    assert publisher.failure is None
    present = [record for record in recorder.records if record[1] is None]
    coming = [event for event in events(SAMPLE) if event.timestamp_ms >= NOW_MS and event.topic != "fx-rates"]
    assert [key.decode() for _, _, key, _ in present] == [event.key for event in coming]
    assert clock() - began >= (len(present) - 1) / 200.0
    values = [VALUES.decode(topic, value) for topic, _, _, value in present]
    times = {value.get("transaction_date") or value.get("paid_at") or value.get("order_date") for value in values}
    assert times == {"2025-02-20T00:00:07.000Z"}
    for event, value in zip(coming, values, strict=True):
        assert isinstance(event.value, dict)
        if "due_date" in event.value:
            term = date.fromisoformat(event.value["due_date"]) - date.fromisoformat(event.value["order_date"][:10])
            assert date.fromisoformat(value["due_date"]) - date(2025, 2, 20) == term


def test_the_story_waits_until_the_past_is_taken() -> None:
    recorder = Recorder()
    publisher = a_publisher(events(SAMPLE), recorder, Pace(STORY_MS, 1e6, 1.0), ticking(0.001))
    publisher.start()
    assert publisher.past_is_out.wait(30)
    assert max(recorder.stamps()) < STORY_MS
    publisher.caught_up.set()
    assert publisher.history_is_out.wait(30)
    assert STORY_MS <= max(recorder.stamps()) < NOW_MS
    publisher.stop()


def test_a_publisher_that_is_told_to_stop_stops() -> None:
    publisher = a_publisher(events(SAMPLE), Recorder(), Pace(SAMPLE.begin_ms, 1e-6, 1.0), ticking(0.001))
    publisher.start()
    publisher.stop()
    assert not publisher.is_alive()


def test_an_event_that_kafka_refuses_is_not_shown_as_published_and_ends_the_demo() -> None:
    publisher = a_publisher(
        events(SAMPLE), Recorder("INVALID_TIMESTAMP"), Pace(SAMPLE.end_ms, 1.0, 1.0), ticking(0.001)
    )
    publisher.caught_up.set()
    publisher.run()
    assert isinstance(publisher.failure, NotDelivered)
    assert "INVALID_TIMESTAMP" in str(publisher.failure)
    assert publisher.published.acknowledged == 0


def test_an_error_of_the_publisher_is_kept_for_the_one_who_watches() -> None:
    unreadable = iter([SampleEvent("transactions", 5, "ann", {"user_id": "ann"})])
    publisher = a_publisher(unreadable, Recorder(), Pace(9, 1.0, 1.0), ticking(0.001))
    publisher.start()
    publisher.join(30)
    assert isinstance(publisher.failure, ValueError | KeyError)


def test_the_story_tells_the_beats_of_the_live_part_that_have_happened() -> None:
    live_ms = SAMPLE.story_day * DAY_MS
    lost = next(beat for beat in SAMPLE.story if beat.name == "job lost")
    assert _told(SAMPLE.story, live_ms - 1, live_ms) == []
    assert _told(SAMPLE.story, lost.time_ms, live_ms)[-1] == "story: 12 Feb 16:00 Bruno loses his job (c-000002)"


def test_the_history_ends_today_whatever_the_day() -> None:
    with pytest.raises(ValueError, match="story_days must be more than 8"):
        sample(Options(Path(), story_days=8), DAY_MS * 20_000)
    for now_ms in (1_767_225_600_000, 1_780_000_000_000):
        people = sample(Options(Path(), customers=10), now_ms)
        today = now_ms // DAY_MS
        assert people.begin_ms == (today - 240) * DAY_MS
        assert people.story_day == today - 42
        assert people.end_ms > now_ms + 900 * DAY_MS
        assert max(beat.time_ms for beat in people.story if beat.name == "ageing day 31") < now_ms


def test_the_lag_is_how_long_the_oldest_event_has_been_waiting_also_while_nothing_is_taken() -> None:
    backlog, place = Backlog(), ("loans", 0)
    assert backlog.seconds(1.0) is None
    for at_seconds in range(10, 20):
        backlog.look(at_seconds, {place: 100}, {place: at_seconds})
    assert backlog.seconds(19.2) == 9
    assert backlog.seconds(19 + 2 * STALE_SECONDS) == 9 + 2 * STALE_SECONDS  # Kafka does not answer any more
    backlog.look(20, {place: 115}, {place: 4})
    assert backlog.seconds(20.0) == 4
    backlog.look(21, {place: 119}, {place: 0})
    assert backlog.seconds(21.0) == 0
    assert (true_lag(0.02, 0.0), true_lag(0.02, 9.0)) == (0.02, 9.0)


def test_what_another_terminal_is_to_type_names_this_demo_and_needs_no_active_environment() -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"), topic_prefix="t-", clock="records")
    export, *commands = invitation(settings, {"RESCORE_TOPIC_PREFIX": "t-"}, "c-7")[1:]
    assert "BOOTSTRAP=127.0.0.1:1 RESCORE_KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:1" in export
    assert "RESCORE_CLOCK=records" in export
    assert "RESCORE_TOPIC_PREFIX=t-" in export
    assert commands[0].endswith("bin/rescore explain c-7")
    assert not any("kcat" in command for command in commands)


def test_a_password_in_the_url_of_redis_is_not_shown() -> None:
    assert _address("rediss://user:secret@cache.example:6380/0") == "cache.example:6380"
    assert _address("unix:///run/valkey.sock") == "/run/valkey.sock"


def test_a_child_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path, eventually: Callable[..., None]) -> None:
    with Background(["no-such-command"], os.environ, tmp_path / "child.log") as child:
        eventually(lambda: child.exit_code is not None, "the end of the child", 30)
        with pytest.raises(DemoFailed, match=r"`rescore no-such-command` ended with exit code 2[\s\S]*No such command"):
            child.check()


@pytest.fixture
def demo_settings(topics: Any) -> Settings:
    records = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    topics.make("transactions", "loans", "fx-rates", "score-changes", partitions=2, config=records)
    topics.make(
        "scorecards",
        "rescore-weights",
        *(f"{name}.dlq" for name in ("commands", "applicants", "loans", "transactions", "outcomes")),
    )
    return Settings(kafka=KafkaSettings(bootstrap_servers=topics.bootstrap_servers), topic_prefix=topics.prefix)


def test_published_events_are_in_kafka_at_their_own_time_and_can_be_read_but_for_the_poison(
    demo_settings: Settings,
) -> None:
    encoders = {topic: VALUES.encoder(topic) for topic in ("transactions", "loans", "fx-rates")}
    publisher = Publisher(
        events(SAMPLE),
        producer(demo_settings.kafka),
        lambda topic, value: encoders[topic](value),
        demo_settings.topic,
        Pace(SAMPLE.end_ms, 1.0, 1.0),
        ticking(0.001),
        lambda: SAMPLE.end_ms,
    )
    publisher.start()
    publisher.join(60)
    assert publisher.failure is None
    counts = require_topics(demo_settings.kafka, [demo_settings.topic(name) for name in encoders])
    records = list(read(demo_settings.kafka, counts))
    assert sorted((r.topic, r.timestamp_ms) for r in records) == sorted(
        (demo_settings.topic(event.topic), event.timestamp_ms) for event in events(SAMPLE)
    )
    unreadable = 0
    for record in records:
        try:
            VALUES.decode(record.topic.removeprefix(demo_settings.topic_prefix), record.value or b"")
        except ValueError:
            unreadable += 1
    assert unreadable == 1


def test_the_summary_counts_what_the_topics_hold(demo_settings: Settings, tmp_path: Path) -> None:
    sender = producer(demo_settings.kafka)
    changes = [a_change("ann", 1), a_change("ann", 2), a_change("bob", 1)]
    for change in changes:
        record = a_record(change)
        sender.produce(
            demo_settings.topic("score-changes"), record.value, record.key, headers=[*(record.headers or [])]
        )
    for user, sequence in (("ann", 1), ("ann", 2), ("bob", 1)):
        value = VALUES.encoder("scorecards")(a_scorecard(user, sequence))
        sender.produce(demo_settings.topic("scorecards"), value, user.encode())
    letter: list[tuple[str, str | bytes | None]] = [("__streams.errors.message", b"The value cannot be decoded.")]
    sender.produce(demo_settings.topic("transactions.dlq"), b"poison", b"farid", headers=letter)
    assert sender.flush(30) == 0
    summary = count_again(demo_settings, 7, 2, tmp_path)
    assert summary.exact
    assert (summary.recount.changes, summary.recount.customers, summary.dead_letters) == (
        3,
        2,
        {"The value cannot be decoded.": 1},
    )
    lines = list(summary.lines())
    assert lines[:3] == [
        "7 events became 3 score changes of 2 customers",
        "2 events were still waiting when the worker was stopped: they are not counted below",
        (
            "exactly once, by recount: every change once, 2 sequences without a gap, "
            "2 scorecards at their customers' last changes"
        ),
    ]


def test_where_no_score_changed_the_summary_does_not_claim_exactly_once(tmp_path: Path) -> None:
    summary = Summary(5, None, recount([], {}), {"The currency is not known.": 5}, tmp_path)
    assert not summary.exact
    lines = list(summary.lines())
    assert lines[1].startswith("how many events were still waiting")
    assert lines[2:4] == [
        "no score changed, so there is nothing to recount",
        "dead letters: 5 x The currency is not known.",
    ]


def test_a_demo_that_failed_says_why_first_and_still_counts(tmp_path: Path) -> None:
    summary = Summary(5, 0, recount(["ann/value/2-0/1"], {"ann": card(value=1)}), {}, tmp_path, failure="a part ended")
    lines = list(summary.lines())
    assert lines[0] == "the demo ended before its time: a part ended"
    assert lines[2].startswith("exactly once")


def a_scorecard(user: str, status_sequence: int) -> dict[str, Any]:
    numbers: dict[str, Any] = dict.fromkeys(("value", "status", "revenue", "class", "rfm", "segment"), 0)
    loans = dict.fromkeys(("non_default", "bdr_30", "bdr_30_plus", "npl", "wo", "open"), 0)
    return {
        "user_id": user,
        "incarnation": "2-0",
        "clock_ms": 0,
        "segment": "none",
        "sequences": numbers | {"status": status_sequence},
        "confidence": {},
        "has_override": False,
        "loans": loans,
        "balance_minor": 0,
        "windows": [],
        "first_event_ms": 0,
        "last_event_ms": 0,
        "events": 1,
        "weights_version": "w",
        "policy_version": "p",
    }


def test_what_new_weights_moved_is_told_once_the_next_ones_have_come() -> None:
    feed = a_feed()
    learned = [{"code": "NEW_WEIGHTS", "text": "", "level": 0.0, "moved": 0.4}]
    for user, day, version in (("ann", 1, "value-1"), ("bob", 1, "value-1"), ("ann", 8, "value-2")):
        feed.add(a_record(a_change(user, day, decided_ms=day * DAY_MS, weights_version=version, reasons=learned)))
        look = feed.look(nothing_sent, 5)
    assert look.learned == [(DAY_MS, "learned: value-1 came into force and moved the value of 2 customers")]


def test_the_learner_runs_with_made_up_customers_and_not_with_files_that_may_end_anywhere() -> None:
    assert Options(Path()).learns
    assert not Options(Path(), data=(Path("mine.csv"),)).learns


def test_versions_learned_are_counted_without_the_packaged_one_and_the_marks() -> None:
    keys = (b"weights-1", b"epoch", b"value-2025-09-04T00:00:00Z", b"epoch", b"value-2025-09-11T00:00:00Z")
    assert versions_learned(Record("rescore-weights", 0, i, 0, key, b"") for i, key in enumerate(keys)) == 2
    assert versions_learned([]) == 0


def test_after_an_export_for_a_demo_that_has_ended_the_next_one_starts_servers_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = free_port()
    here = {
        "RESCORE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{gone}",
        "RESCORE_REDIS__URL": f"redis://:secret@localhost:{gone}/0",
    }
    started: list[str] = []

    class Started:
        bootstrap_servers, url = "own-kafka", "own-valkey"

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            started.append("ended")

    monkeypatch.setattr(Kafka, "start", lambda _folder: Started())
    monkeypatch.setattr(Valkey, "start", lambda _folder: Started())
    told: list[str] = []
    with ExitStack() as servers:
        assert servers_of(load(here), None, servers, told.append) == ("own-kafka", "own-valkey")
    assert len(told) == len(started) == 2
    assert "RESCORE_KAFKA__BOOTSTRAP_SERVERS" in told[0]
    assert not any("secret" in line for line in told)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = {name: value.replace(str(gone), str(listening.getsockname()[1])) for name, value in here.items()}
        elsewhere = here | {"RESCORE_KAFKA__BOOTSTRAP_SERVERS": "kafka.example:9092", "RESCORE_REDIS__URL": "unix:///s"}
        for environment in (there, elsewhere):
            with ExitStack() as servers:
                assert servers_of(load(environment), None, servers, told.append) == tuple(environment.values())
