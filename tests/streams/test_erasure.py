"""What counts as forgotten: gone, going by a known day, or remaining."""

from __future__ import annotations

from schemas.batch import DAY_MS, Record
from state.row import Row
from streams.audit.erasure import (
    Copy,
    in_examples,
    in_log,
    in_memory,
    in_store,
    in_table,
    in_workers,
    is_through,
    to_do,
)

LAG = {"max.compaction.lag.ms": str(7 * DAY_MS)}


def record(timestamp_ms: int, value: bytes | None = b"x") -> Record:
    return Record("topic", 0, timestamp_ms, timestamp_ms, b"ann", value)


def test_a_marker_in_the_store_goes_with_the_horizon_of_duplicates() -> None:
    row, index = in_store(Row(erased_ms=1_000), 1_000 + DAY_MS + 1, 1_000, DAY_MS)
    assert (row.standing, row.until_ms) == ("expires", 1_000 + DAY_MS + 1)
    assert (index.standing, index.until_ms) == ("expires", 1_000 + DAY_MS + 1)
    assert is_through(in_store(None, None, 1_000, DAY_MS))


def test_a_row_that_is_still_there_remains_unless_it_began_after_the_erasure() -> None:
    old = Row(incarnation_offset=3, first_event_ms=500, events=7)
    assert [copy.standing for copy in in_store(old, None, 1_000, DAY_MS)] == ["remains", "gone"]
    new = Row(incarnation_offset=9, first_event_ms=2_000, events=1)
    assert is_through(in_store(new, 5_000, 1_000, DAY_MS))
    assert not is_through(in_store(None, 5_000, 1_000, DAY_MS))  # in the index without a row


def test_earlier_words_of_a_compacted_topic_go_by_its_limit() -> None:
    words = [record(1), record(2), record(3, None)]
    copy = in_table("scorecards", words, 2, LAG)
    assert (copy.standing, copy.until_ms) == ("expires", 3 + 8 * DAY_MS)
    assert in_table("scorecards", words, 2, {}).standing == "remains"
    assert in_table("scorecards", words[2:], 0, {}).standing == "gone"
    assert in_table("scorecards", words[:2], None, LAG).standing == "remains"
    assert in_table("scorecards", words[:2], None, LAG, new_life=True).standing == "gone"
    assert in_table("scorecards", [], None, LAG) == Copy("scorecards", "gone", "nothing")


def test_a_log_says_by_which_day_it_has_forgotten() -> None:
    settings = {"retention.ms": str(10 * DAY_MS), "segment.ms": str(2 * DAY_MS)}
    assert in_log("score-changes", [record(5), record(9)], settings).until_ms == 9 + 12 * DAY_MS
    assert in_log("loans", [record(5)], {"retention.ms": "-1"}).standing == "remains"
    assert in_log("loans", [], {"retention.ms": "-1"}).standing == "gone"


def test_examples_count_as_forgotten_once_learners_are_told() -> None:
    settings = {"retention.ms": str(DAY_MS), "segment.ms": str(DAY_MS)}
    examples = [(record(1), "example"), (record(2), "example")]
    assert in_examples(examples, settings).standing == "remains"
    told = in_examples([*examples, (record(3), "erasure")], settings)
    assert (told.standing, told.until_ms) == ("expires", 2 + 2 * DAY_MS)
    assert in_examples([(record(3), "erasure"), (record(4), "example")], settings).standing == "gone"
    assert in_examples([], settings).standing == "gone"
    for kind in ("request", "report", "text"):
        assert in_examples([(record(1), kind)], settings).standing == "remains"


def test_what_the_learner_remembers_is_found_under_the_keyed_hash_until_it_is_dropped() -> None:
    def said(key: bytes, value: bytes | None, at_ms: int) -> Record:
        return Record("rescore-learner", 0, at_ms, at_ms, key, value)

    case, row = said(b"credit/risk/case/01", b'[1,"ab12",{}]', 1), said(b"sample/ab12", b"{}", 2)
    other = said(b"credit/risk/case/02", b'[1,"ffff",{}]', 3)
    held = in_memory([case, row, other], "ab12", LAG)
    assert (held.standing, held.what.split(";")[0]) == ("remains", "2 records")
    assert in_memory([case, row], "ab12", LAG, new_life=True).standing == "gone"
    gone = [said(b"credit/risk/case/01", None, 4), said(b"sample/ab12", None, 5)]
    dropped = in_memory([case, row, other, *gone], "ab12", LAG)
    assert (dropped.standing, dropped.until_ms) == ("expires", 5 + 8 * DAY_MS)
    assert in_memory([case, row, *gone], "ab12", {}).standing == "remains"
    assert in_memory([other], "ab12", LAG).standing == "gone"


def test_what_remains_says_what_to_do() -> None:
    for_ever = {"retention.ms": "-1"}
    kept = [in_log("loans", [record(5)], for_ever), in_log("actions", [record(5)], for_ever), in_workers()]
    first, second, third = to_do(kept, {"loans"}, "Set RESCORE_RETENTION_DAYS=400")
    assert first == "Set RESCORE_RETENTION_DAYS=400"
    assert second == "set a finite retention.ms of actions (kafka-configs.sh)"
    assert third == "look again with --prove-only"
    assert to_do([in_log("loans", [record(5)], {"retention.ms": str(DAY_MS)})], {"loans"}, "") == []
