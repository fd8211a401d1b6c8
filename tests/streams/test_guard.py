"""The last guard by itself: which record is isolated, at which cost, and what is no record's fault."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from schemas.batch import Record
from schemas.codec import RegistryUnavailable, StaticRegistry
from schemas.topic_values import Values
from state.errors import StoreAhead
from streams.log.failures import Failure, FailureLines, failure_of, stage
from streams.log.message import Message
from streams.log.protocol import HaltPartition, PauseAndRetry
from streams.processing.guard import GuardedProcessor
from streams.processing.wire import wire_of
from streams.worker.loop import FAILURES_MAX, Worker
from streams.worker.metrics import Metrics
from streams.worker.observer import Observer, Observers
from streams.worker.output import Output, Processor, Thought, thought_through
from tests.crash.test_crash_in_memory import Crash, die, on_hit
from tests.streams.world import CountingProcessor, World

Raises = Callable[[Sequence[Record]], BaseException | None]


class Planted:
    """Counts, and raises where `raises` says so of the records: before it asks for rows, or once it has them."""

    def __init__(self, raises: Raises, *, late: bool = True) -> None:
        self.raises, self.late, self.calls = raises, late, 0

    def process(self, partition: int, records: Sequence[Record], due_users: Sequence[bytes], clock_ms: int) -> Thought:
        self.calls += 1
        if not self.late and (error := self.raises(records)) is not None:
            raise error
        output = yield from CountingProcessor().process(partition, records, due_users, clock_ms)
        if self.late and (error := self.raises(records)) is not None:
            raise error
        return output


def letter_of(record: Record, failure: Failure) -> tuple[str, Message]:
    return "loans.dlq", Message(record.key, record.value, [("place", failure.record.encode())])


def boom(records: Sequence[Record]) -> BaseException | None:
    """Some records raise, whatever is around them."""
    return ValueError("boom") if any(b"boom" in (record.value or b"") for record in records) else None


def record(offset: int, user: str = "ann", value: bytes = b"x", topic: str = "transactions") -> Record:
    return Record(topic, 0, offset, offset, user.encode(), value)


def taken(
    inner: Processor, records: Sequence[Record], due: Sequence[bytes] = (), clock_ms: int = 10**6
) -> tuple[Output, list[Failure]]:
    told: list[Failure] = []
    guarded = GuardedProcessor(inner, letter_of, told.append)
    return thought_through(guarded.process(0, records, due, clock_ms), lambda users: [None for _ in users]), told


def same(one: Output, other: Output) -> None:
    """The same is said, remembered and due."""
    assert sorted(one.changes) == sorted(other.changes)
    assert sorted(one.images) == sorted(other.images)
    due, others_due = ([check for check in each.checked if check[1] is not None] for each in (one, other))
    assert sorted(due) == sorted(others_due)  # of who is not known nothing is due, looked at or not


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_records_that_raise_are_left_out_and_the_rest_is_taken_in_order(seed: int, late: bool) -> None:
    random = Random(seed)
    print(f"seed {seed}")
    share = random.choice([0.02, 0.2, 0.7, 1.0])
    records = [
        record(
            i, f"user-{random.randrange(6)}", b"boom" if random.random() < share else random.choice([b"x", b"due=50"])
        )
        for i in range(random.randrange(1, 90))
    ]
    bad = [one for one in records if one.value == b"boom"]
    output, told = taken(Planted(boom, late=late), records)
    without, _ = taken(CountingProcessor(), [one for one in records if one not in bad])
    same(output, without)
    wanted = [f"transactions/0/{one.offset}".encode() for one in bad]
    assert [dict(letter.headers or [])["place"] for letter in output.dead_letters.get("loans.dlq", [])] == wanted
    assert [failure.record.encode() for failure in told] == wanted


def test_one_bad_record_costs_few_attempts_and_many_bad_ones_a_few_each() -> None:
    one = Planted(boom)
    taken(one, [record(i, value=b"boom" if i == 700 else b"x") for i in range(1024)])
    assert one.calls <= 2 * 10 + 6
    every = Planted(boom)
    taken(every, [record(i, value=b"boom") for i in range(256)])
    assert every.calls <= 3 * 256


def test_a_combination_of_records_that_raises_together_is_cut_and_nobody_is_to_blame() -> None:
    def together(records: Sequence[Record]) -> BaseException | None:
        offsets = [one.offset for one in records]
        return ValueError("together") if 3 in offsets and 40 in offsets else None

    records = [record(i, f"user-{i % 3}") for i in range(64)]
    output, told = taken(Planted(together), records)
    same(output, taken(CountingProcessor(), records)[0])
    assert not output.dead_letters
    assert [failure.record for failure in told] == [""]  # told all the same


def test_what_a_row_makes_of_a_record_isolates_the_record_and_those_behind_it_are_taken() -> None:
    """The second record raises on top of the first, by what it finds in the row; the third is none of that."""

    class Third:
        def process(self, partition: int, records: Sequence[Record], due: Sequence[bytes], clock_ms: int) -> Thought:
            output = yield from CountingProcessor().process(partition, records, due, clock_ms)
            if any(change.value == b"2 transactions 7" for change in output.changes):
                raise KeyError("on top of the first")
            return output

    output, _ = taken(Third(), [record(3), record(7), record(9)])
    assert [change.value for change in output.changes] == [b"1 transactions 3", b"2 transactions 9"]
    assert len(output.dead_letters["loans.dlq"]) == 1


def test_what_raises_once_is_no_fault_of_a_record() -> None:
    left = [3]

    def thrice(records: Sequence[Record]) -> BaseException | None:
        left[0] -= 1
        return ValueError("flickers") if left[0] >= 0 and records else None

    output, told = taken(Planted(thrice), [record(1), record(2)])
    assert not output.dead_letters
    assert len(output.changes) == 2
    assert len(told) == 1


@pytest.mark.parametrize(
    "error", [PauseAndRetry("asks"), HaltPartition("a person"), MemoryError(), KeyboardInterrupt()]
)
def test_exceptions_with_a_meaning_of_their_own_keep_it(error: BaseException) -> None:
    for late in (True, False):
        with pytest.raises(type(error)):
            taken(Planted(lambda records: error if len(records) == 1 else boom(records), late=late), [record(1)])
        with pytest.raises(type(error)):  # in the middle of an isolation too
            taken(
                Planted(lambda records: error if len(records) == 1 else ValueError() if records else None, late=late),
                [record(1), record(2)],
            )


@pytest.mark.parametrize("error", [ConnectionResetError("the registry"), TimeoutError(), OSError(24, "too many files")])
def test_a_machine_that_is_at_fault_is_waited_for(error: OSError) -> None:
    with pytest.raises(PauseAndRetry, match="cannot be decided now"):
        taken(Planted(lambda records: error if records else None), [record(1)])


def test_a_time_beyond_what_the_machine_can_say_is_a_records_fault() -> None:
    output, _ = taken(Planted(lambda records: OSError(75, "value too large") if records else None), [record(1)])
    assert len(output.dead_letters["loans.dlq"]) == 1


def test_what_raises_without_any_record_halts() -> None:
    with pytest.raises(HaltPartition, match="an empty batch"):
        taken(Planted(lambda records: ValueError("always")), [record(1)])


class TimersRaise(Planted):
    """Raises where a customer's timers are looked at, with or without records."""

    def __init__(self, user: bytes, from_ms: int) -> None:
        super().__init__(lambda records: None)
        self.user, self.from_ms = user, from_ms

    def process(self, partition: int, records: Sequence[Record], due_users: Sequence[bytes], clock_ms: int) -> Thought:
        output = yield from CountingProcessor().process(partition, records, due_users, clock_ms)
        moment_ms = max([clock_ms, *(one.timestamp_ms for one in records if one.key == self.user)])
        if moment_ms >= self.from_ms and (self.user in due_users or any(one.key == self.user for one in records)):
            raise ValueError("in a timer")
        return output


@pytest.mark.parametrize("records", [[], [record(1, "bob"), record(2)], [record(1, "bob"), record(1_000, "ann")]])
def test_timers_that_raise_halt_and_name_the_customer(records: list[Record]) -> None:
    with pytest.raises(HaltPartition, match=r"customer b'ann'.*ValueError.*in a timer"):
        taken(TimersRaise(b"ann", 900), records, [b"bob", b"ann", b"eve"], 1_000)


def test_a_record_before_which_its_customers_timers_raise_is_not_to_blame() -> None:
    """Nobody else looks at this customer: without the look at the timers the record would be a dead letter."""
    with pytest.raises(HaltPartition, match="customer b'ann'"):
        taken(TimersRaise(b"ann", 900), [record(1, "bob"), record(950, "ann")], clock_ms=950)


# In a worker.


class Told(Observer):
    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.halts: list[str] = []
        self.rewinds: list[str] = []

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)

    def halted(self, partition: int, reason: str) -> None:
        self.halts.append(reason)

    def rewound(self, partitions: tuple[int, ...], reason: str) -> None:
        self.rewinds.append(reason)


class Guarded(World):
    """A world whose records with `boom` in them raise, and whose letters are counted."""

    raises: Raises = staticmethod(boom)

    def guarded(self, slot: str = "a", failpoint: Callable[[str], None] = lambda _: None, size: int = 7) -> Worker:
        processor = GuardedProcessor(Planted(self.raises), letter_of)
        return self.worker(slot, failpoint, Told(), records_max=size, processor=processor)

    def check(self) -> None:
        letters = [dict(letter.headers or [])["place"] for letter in self.visible("loans.dlq")]
        bad = [r for topic in ("loans", "transactions") for r in self.visible(topic) if b"boom" in (r.value or b"")]
        assert sorted(letters) == sorted(f"{r.topic}/{r.partition}/{r.offset}".encode() for r in bad)
        said: dict[bytes, list[str]] = {}
        places = {(r.topic, r.offset, r.key) for r in bad}
        for topic in ("loans", "transactions"):
            for one in self.visible(topic):
                if (one.topic, one.offset, one.key) not in places:
                    said.setdefault(one.key or b"", []).append(f"{one.topic} {one.offset}")
        for user, lines in self.changes().items():
            told = [line.split(" ", 1)[1] for line in lines if "timer" not in line]
            assert sorted(told) == sorted(said[user]), user
            assert [int(line.split(" ")[0]) for line in lines] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize("step", [f"K{i}" for i in range(1, 13)])
def test_a_worker_that_dies_while_it_isolates_isolates_the_same_records_when_it_is_back(step: str) -> None:
    from streams.log.protocol import STEPS

    (full,) = [name for name in STEPS if name.split(".")[0] == step]
    for seed in range(4):
        random, world = Random(zlib.crc32(f"{step} {seed}".encode())), Guarded()
        for i in range(60):
            user, value = f"user-{random.randrange(5)}", random.choice(["x", "x", f"due={i * 9 + 30}", "boom"])
            world.write(random.choice(["loans", "transactions"]), user, i * 10, value)
        with suppress(Crash):
            world.run(world.guarded("a", on_hit(full, random.randrange(1, 4), die), random.randrange(1, 30)))
        world.run(world.guarded("a", size=random.randrange(1, 30)))
        world.check()


def test_an_exception_that_no_record_causes_goes_back_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world, told = World(), Told()
    world.story()
    real, left = world.store.save, [3]

    def save(*given: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise RuntimeError("the adapter has a fault")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(world.store, "save", save)
    world.run(world.worker(observer=told))
    world.check()
    assert [failure.exception for failure in told.failures] == ["RuntimeError"]
    assert any("internal error: RuntimeError" in reason for reason in told.rewinds)
    assert not told.halts


def test_an_exception_that_always_comes_halts_with_words_and_ends_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    world, told = World(), Told()
    world.story()
    monkeypatch.setattr(world.store, "load_all", lambda wanted: 1 // 0)
    worker = world.worker(observer=told)
    for _ in range(2_000):
        world.clock.ms += 10
        worker.turn()
    assert len(told.halts) == 2
    assert all(f"{FAILURES_MAX + 1} times in a row" in words and "ZeroDivisionError" in words for words in told.halts)
    monkeypatch.undo()
    world.run(world.worker())
    world.check()


def test_one_partition_whose_way_back_raises_halts_and_the_other_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world, told = World(), Told()
    world.story()
    real = world.store.claim

    def claim(partition: int, nonce: str) -> object:
        if partition == 1:
            raise StoreAhead("the store is ahead") if world.clock.ms > 5_000 else KeyError("a fault")
        return real(partition, nonce)

    monkeypatch.setattr(world.store, "claim", claim)
    worker = world.worker(observer=told)
    for _ in range(1_000):
        world.clock.ms += 10
        worker.turn()
    assert len(told.halts) == 1
    assert world.progress().keys() == {0}
    monkeypatch.undo()
    world.run(world.worker())
    world.check()


def test_a_command_that_the_merge_fails_on_halts_its_partition_alone() -> None:
    """The wire of this world raises for such a value: a fault, as one of ours may have. See the next test for ours."""
    world, told = World(), Told()
    world.story()
    world.broker.write("commands", b"ann", b"advance=rubbish", 5, partition=1)
    worker = world.worker(observer=told)
    for _ in range(800):
        world.clock.ms += 10
        worker.turn()
    assert len(told.halts) == 1
    assert "invalid literal" in told.halts[0]
    assert world.progress()[0].next_offsets["commands"] == 1  # the other one has taken everything


@pytest.mark.parametrize("error", [ValueError, KeyError, RecursionError, TypeError])
def test_a_command_of_any_bytes_ends_no_worker(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    values = Values()
    wire = wire_of(values)
    assert wire.advance_to(record(0, value=(wire.advance(7).value or b""), topic="commands")) == 7
    random = Random(7)
    for _ in range(200):
        wire.advance_to(record(0, value=random.randbytes(random.randrange(40)), topic="commands"))

    def decode(topic: str, data: bytes) -> dict[str, object]:
        raise error("whatever the bytes make of the reader")

    monkeypatch.setattr(values, "decode", decode)
    assert wire.advance_to(record(0, topic="commands")) is None


def test_a_registry_that_is_away_holds_the_partition_whose_commands_need_it() -> None:
    class Away(StaticRegistry):
        def schema_of_id(self, schema_id: int) -> None:
            raise RegistryUnavailable("the registry does not answer")

    command = record(0, value=b"\x00\x00\x00\x00\x07" + b"x" * 20, topic="commands")
    with pytest.raises(PauseAndRetry, match="does not answer"):
        wire_of(Values(Away())).advance_to(command)


# Those who are told.


def test_a_failure_is_in_the_log_once_a_minute_for_each_place(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "rescore.test")
    now = [100.0]
    lines = FailureLines(logging.getLogger("rescore.test"), lambda: now[0], "9.9")
    first = failure_of(failing(1))
    for _ in range(5):
        lines.tell(first._replace(record="loans/0/7"))
    lines.tell(first._replace(place="elsewhere.py:1"))
    assert len(caplog.records) == 2
    now[0] += 61
    lines.tell(first)
    said = [entry.getMessage() for entry in caplog.records]
    assert len(said) == 3
    assert "isolated the record loans/0/7" in said[0]
    assert "4 more of this kind" in said[2]
    assert "isolated no record" in said[2]
    assert all("ZeroDivisionError" in one and "Traceback" in one and "release 9.9" in one for one in said)


def failing(at: int) -> BaseException:
    try:
        with stage("fold"):
            at // 0
    except Exception as error:  # noqa: BLE001 - that is the point
        return error
    raise AssertionError


def test_an_exception_that_cannot_say_what_it_is_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    failure = failure_of(Mute())
    assert (failure.exception, failure.line) == ("Mute", "(its message cannot be read)")
    assert failure_of(ValueError("first\nsecond\x1b[2J\ud800" + "x" * 999)).line.startswith("second\\x1b[2J\\ud800xxx")


def test_an_observer_that_raises_ends_no_worker_and_keeps_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Observer):
        def batch(self, report: object) -> None:
            raise OSError("the exporter's disk is full")

    told = Told()
    registry = CollectorRegistry()
    world = World()
    world.story()
    world.run(world.worker(observer=Observers(Broken(), told, Metrics(registry))))
    world.check()
    assert registry.get_sample_value("rescore_records_taken_total")
    assert [entry.levelname for entry in caplog.records] == ["ERROR"]  # once, not once a batch


def test_the_metric_counts_by_stage() -> None:
    registry = CollectorRegistry()
    Metrics(registry).failed(failure_of(failing(1)))
    assert registry.get_sample_value("rescore_internal_errors_total", {"stage": "fold"}) == 1.0
