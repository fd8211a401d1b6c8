"""Merging by time: the order is that of a naive head-by-head merge, whatever the fetches bring when."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import FOREVER_MS, Record
from streams.worker.merge import Merge

INPUTS = ("commands", "loans", "transactions")


def record(topic: str, offset: int, timestamp_ms: int, key: bytes = b"ann", value: bytes = b"") -> Record:
    return Record(topic, 0, offset, timestamp_ms, key, value)


def advance_to(record: Record) -> int | None:
    value = record.value or b""
    return int(value[3:]) if value.startswith(b"to=") else None


def new_merge(clock_ms: int = 0) -> Merge:
    return Merge(INPUTS, dict.fromkeys(INPUTS, 0), clock_ms, advance_to)


def all_at_end(merge: Merge, offset: int = 0) -> None:
    for topic in INPUTS:
        merge.reached_end(topic, max(offset, merge.next_offsets[topic]))


@dataclass
class NaiveMerge:
    """The rule, word for word: look at the heads, take the smallest if every other input allows it.

    A record behind a later one of its own input counts as that one: its input could not bring it any earlier.
    """

    waiting: dict[str, list[Record]] = field(default_factory=lambda: {topic: [] for topic in INPUTS})
    at_end: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(INPUTS, False))
    latest: dict[str, int] = field(default_factory=lambda: dict.fromkeys(INPUTS, 0))

    def take(self) -> list[Record]:
        taken = []
        while heads := {topic: rows[0] for topic, rows in self.waiting.items() if rows}:
            time = {topic: max(self.latest[topic], head.timestamp_ms) for topic, head in heads.items()}
            first = min(heads, key=lambda topic: (time[topic], INPUTS.index(topic)))
            if any(not self.waiting[topic] and not self.at_end[topic] for topic in INPUTS):
                break
            taken.append(self.waiting[first].pop(0))
            self.latest[first] = time[first]
        return taken


fetches = st.lists(
    st.tuples(st.sampled_from(INPUTS), st.lists(st.integers(0, 8), max_size=5), st.booleans()), max_size=12
)


@given(fetches)
def test_any_sequence_of_fetches_is_taken_in_the_order_of_the_naive_merge(
    sequence: list[tuple[str, list[int], bool]],
) -> None:
    merge, naive, offsets = new_merge(), NaiveMerge(), dict.fromkeys(INPUTS, 0)
    for topic, timestamps, end in sequence:
        rows = [record(topic, offsets[topic] + i, ms) for i, ms in enumerate(timestamps)]
        offsets[topic] += len(rows)
        merge.add(rows)
        naive.waiting[topic] += rows
        naive.at_end[topic] &= not rows
        if end:
            merge.reached_end(topic, offsets[topic])
            naive.at_end[topic] = True
        assert merge.take().records == naive.take()


@given(fetches, st.integers(1, 3), st.integers(1, 2))
def test_cutting_into_small_batches_changes_no_order(
    sequence: list[tuple[str, list[int], bool]], records_max: int, users_max: int
) -> None:
    whole, cut, offsets = new_merge(), new_merge(), dict.fromkeys(INPUTS, 0)
    for topic, timestamps, _ in sequence:
        rows = [record(topic, offsets[topic] + i, ms, b"user-%d" % (ms % 3)) for i, ms in enumerate(timestamps)]
        offsets[topic] += len(rows)
        whole.add(rows)
        cut.add(rows)
    for merge in (whole, cut):
        all_at_end(merge, 100)
    pieces = []
    while (taken := cut.take(records_max, users_max)).count:
        assert taken.count <= records_max
        assert len({row.key for row in taken.records}) <= users_max
        pieces += taken.records
    assert pieces == whole.take().records
    assert cut.clock_ms == whole.clock_ms


def test_a_batch_ends_before_it_touches_one_user_too_many() -> None:
    merge = new_merge()
    merge.add([record("loans", i, i, b"user-%d" % (i // 2)) for i in range(10)])
    all_at_end(merge, 10)
    assert len(merge.take(users_max=3).records) == 6


def test_nothing_is_taken_while_an_input_may_still_bring_an_earlier_record() -> None:
    merge = new_merge()
    merge.add([record("transactions", 0, 50)])
    merge.reached_end("commands", 0)
    assert merge.take().count == 0
    merge.add([record("loans", 0, 60)])
    assert [r.topic for r in merge.take().records] == ["transactions"]


def test_an_end_that_was_reached_before_a_later_record_came_no_longer_counts() -> None:
    merge = new_merge()
    all_at_end(merge)
    merge.add([record("loans", 0, 10), record("transactions", 0, 20)])
    merge.reached_end("loans", 0)  # a late memory of an older fetch
    merge.reached_end("transactions", 1)
    assert [r.topic for r in merge.take().records] == ["loans"]
    merge.reached_end("loans", 1)
    assert [r.topic for r in merge.take().records] == ["transactions"]


def test_records_of_one_millisecond_are_taken_by_the_rank_of_their_topic() -> None:
    merge = new_merge()
    merge.add([record("transactions", 0, 5), record("loans", 0, 5), record("commands", 0, 5)])
    all_at_end(merge, 1)
    assert [r.topic for r in merge.take().records] == ["commands", "loans", "transactions"]


def test_a_record_fetched_twice_is_taken_once() -> None:
    merge = new_merge()
    merge.add([record("loans", 0, 5), record("loans", 1, 6)])
    merge.add([record("loans", 0, 5), record("loans", 1, 6), record("loans", 2, 7)])
    all_at_end(merge, 3)
    assert [r.offset for r in merge.take().records] == [0, 1, 2]


def test_the_clock_is_the_largest_timestamp_taken_and_never_goes_back() -> None:
    merge = new_merge(clock_ms=40)
    merge.add([record("loans", 0, 30), record("loans", 1, 70), record("loans", 2, 60)])
    all_at_end(merge, 3)
    assert merge.take(records_max=1).clock_ms == 40
    assert merge.take().clock_ms == 70


def test_nothing_that_moves_time_past_the_limit_is_taken() -> None:
    merge = new_merge()
    merge.add([record("loans", 0, 10), record("loans", 1, 20), record("loans", 2, 30)])
    all_at_end(merge, 3)
    assert merge.take(until_ms=20).clock_ms == 20
    assert merge.take(until_ms=20).count == 0
    assert merge.take(until_ms=FOREVER_MS).clock_ms == 30


def test_the_next_offset_of_an_input_without_records_is_the_end_that_was_found() -> None:
    merge = new_merge()
    merge.reached_end("loans", 17)  # the markers of other people's transactions take offsets too
    merge.add([record("transactions", 3, 1), record("transactions", 9, 2)])
    merge.reached_end("commands", 0)
    assert merge.take(records_max=1).count == 1
    assert merge.next_offsets == {"commands": 0, "loans": 17, "transactions": 9}


def test_an_advance_waits_until_the_ends_asked_for_after_it_came_are_read() -> None:
    merge = new_merge()
    all_at_end(merge)
    merge.asked_ends({"loans": 0, "transactions": 0})  # before the advance came: worth nothing
    merge.add([record("commands", 0, 100, b"", b"to=90")])
    merge.reached_end("commands", 1)
    assert merge.wants_ends
    assert merge.take().count == 0
    merge.asked_ends({"loans": 1, "transactions": 0})
    assert not merge.wants_ends
    assert merge.take().count == 0  # a record of `loans` is on its way
    merge.add([record("loans", 0, 80)])
    merge.reached_end("loans", 1)
    taken = merge.take()
    assert [r.topic for r in taken.records] == ["loans"]
    assert (taken.count, taken.clock_ms) == (2, 90)


def test_an_advance_that_has_later_records_everywhere_needs_no_question() -> None:
    merge = new_merge()
    merge.add([record("commands", 0, 100, b"", b"to=100"), record("loans", 0, 101), record("transactions", 0, 102)])
    merge.reached_end("commands", 1)
    assert not merge.wants_ends
    assert merge.take().clock_ms == 101


def test_an_advance_can_not_claim_more_than_its_own_timestamp() -> None:
    merge = new_merge()
    merge.add([record("commands", 0, 100, b"", b"to=4102444800000")])
    all_at_end(merge, 1)
    merge.asked_ends({"loans": 0, "transactions": 0})
    assert merge.take().clock_ms == 100


def test_an_advance_holds_the_records_behind_it() -> None:
    merge = new_merge()
    merge.add([record("commands", 0, 50, b"", b"to=50"), record("loans", 0, 60)])
    for topic in ("commands", "loans", "transactions"):
        merge.reached_end(topic, 1)
    assert merge.take().count == 0
    merge.asked_ends({"loans": 1, "transactions": 1})
    assert merge.take().count == 2


def test_what_was_buffered_and_the_newest_time_received_can_be_asked_for() -> None:
    merge = new_merge()
    merge.add([record("loans", 0, 60), record("loans", 1, 50)])
    assert (merge.buffered("loans"), merge.buffered("transactions"), merge.newest_ms) == ((2, 0), (0, 0), 60)
