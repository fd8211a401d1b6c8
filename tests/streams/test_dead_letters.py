"""Dead letters: which are open, how one comes back, and that it does so once."""

from __future__ import annotations

import pytest

from schemas.batch import Record
from streams.log.dead_letters import (
    REPLAYED_FROM,
    DeadLetter,
    Message,
    UnknownLetter,
    chosen,
    note,
    open_letters,
    replayed,
)


def _record(
    offset: int, topic: str = "transactions.dlq", key: bytes | None = b"ann", reason: str = "UNKNOWN_LOAN"
) -> Record:
    headers = [
        ("traceparent", b"00-1"),
        ("__streams.errors.topic", topic.removesuffix(".dlq").encode()),
        ("__streams.errors.partition", b"2"),
        ("__streams.errors.offset", b"77"),
        ("__streams.errors.stage", b"fold"),
        ("__streams.errors.exception", reason.encode()),
        ("__streams.errors.message", b"the loan is not known"),
    ]
    return Record(topic, 2, offset, 1000 + offset, key, b"\xc3\x01bytes", headers)


def _as_record(message: Message, offset: int) -> Record:
    assert message.partition is not None
    return Record(message.topic, message.partition, offset, 2000, message.key, message.value, message.headers)


def _only(records: list[Record]) -> DeadLetter:
    (letter,) = open_letters(records)
    return letter


def test_a_letter_keeps_bytes_headers_and_origin_apart_from_why_it_was_refused() -> None:
    letter = _only([_record(5)])
    assert (letter.name, letter.key, letter.value) == ("transactions.dlq/2/5", b"ann", b"\xc3\x01bytes")
    assert letter.headers == [("traceparent", b"00-1")]
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("transactions", 2, 77)
    assert (letter.stage, letter.exception, letter.message) == ("fold", "UNKNOWN_LOAN", "the loan is not known")


def test_a_letter_comes_back_byte_for_byte_under_the_key_its_value_names() -> None:
    event, settled = replayed(_only([_record(5, key=b"wrong")]), "eve", lambda letter: b"ann", None)
    assert (event.topic, event.key, event.value, event.partition) == ("transactions", b"ann", b"\xc3\x01bytes", None)
    assert event.headers == [("traceparent", b"00-1"), (REPLAYED_FROM, b"transactions.dlq/2/5")]
    assert (settled.topic, settled.partition, settled.value) == ("transactions.dlq", 2, None)


def test_a_letter_whose_value_was_too_large_to_be_kept_can_not_come_back() -> None:
    record = _record(5)
    cut = record._replace(value=None, headers=[*(record.headers or []), ("__streams.errors.cut", b"90000000")])
    with pytest.raises(UnknownLetter, match="90,000,000 bytes is at transactions/2/77"):
        replayed(_only([cut]), "eve", lambda letter: None, None)


@pytest.mark.parametrize("topic", ["score-changes", "nowhere", "transactions.dlq"])
def test_a_foreign_letter_never_comes_back_to_a_topic_that_is_no_input(topic: str) -> None:
    headers = [("__streams.errors.topic", topic.encode()), ("__streams.errors.offset", b"9" * 5_000)]
    (letter,) = open_letters([_record(5)._replace(headers=headers)])
    assert letter.origin_offset == -1
    with pytest.raises(UnknownLetter, match=f"names '{topic}', which is no input"):
        replayed(letter, "eve", lambda letter: None, None)


def test_a_letter_whose_value_names_nobody_keeps_its_key() -> None:
    event, _ = replayed(_only([_record(5, key=None)]), "eve", lambda letter: None, 9)
    assert (event.key, event.timestamp_ms) == (None, 9)


def test_a_settled_letter_is_not_open_and_the_others_are() -> None:
    first, second = open_letters([_record(5), _record(6)])
    _, settled = replayed(first, "eve", lambda letter: None, None)
    assert open_letters([_record(5), _record(6), _as_record(settled, 7)]) == [second]
    dropped = note(second, "dropped", "eve")
    assert open_letters([_record(5), _record(6), _as_record(settled, 7), _as_record(dropped, 8)]) == []


def test_a_note_settles_only_the_letter_of_its_own_topic_and_partition() -> None:
    letter = _only([_record(5)])
    elsewhere = _as_record(note(letter, "dropped", "eve"), 9)._replace(topic="loans.dlq")
    assert open_letters([_record(5), elsewhere]) == [letter]


def test_an_event_that_is_refused_again_is_a_new_letter_with_its_latest_origin() -> None:
    event, settled = replayed(_only([_record(5)]), "eve", lambda letter: None, None)
    again = _record(9)._replace(headers=[*event.headers, *(_record(9).headers or [])[1:]])
    letter = _only([_record(5), _as_record(settled, 7), again])
    assert letter.name == "transactions.dlq/2/9"
    second_event, _ = replayed(letter, "eve", lambda letter: None, None)
    assert [value for name, value in second_event.headers if name == REPLAYED_FROM] == [b"transactions.dlq/2/9"]


def test_letters_are_chosen_by_name_topic_reason_and_key_together() -> None:
    letters = open_letters([_record(1), _record(2, topic="loans.dlq"), _record(3, reason="NULL_KEY", key=None)])
    assert [letter.offset for letter in chosen(letters)] == [1, 2, 3]
    assert [letter.offset for letter in chosen(letters, topic="transactions")] == [1, 3]
    assert [letter.offset for letter in chosen(letters, exception="null_key")] == [3]
    assert [letter.offset for letter in chosen(letters, user="ann", topic="loans")] == [2]
    assert [letter.offset for letter in chosen(letters, ["transactions/2/1"])] == [1]
    assert [letter.offset for letter in chosen(letters, ["transactions.dlq/2/1"])] == [1]
    with pytest.raises(UnknownLetter, match=r"transactions\.dlq/2/9"):
        chosen(letters, ["transactions/2/9"])


def test_a_foreign_record_in_the_topic_is_shown_and_not_fatal() -> None:
    letter = _only([Record("loans.dlq", 0, 3, 5, None, None, None)])
    assert (letter.name, letter.origin_topic, letter.origin_offset, letter.message) == (
        "loans.dlq/0/3",
        "loans",
        -1,
        "",
    )
