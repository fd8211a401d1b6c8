"""The bytes of a row: what is written is read again, by both readers, and the layout does not change unnoticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.kinds import NO_SCORES, Score
from state.closed_loans import id_hash
from state.compiled.layout import read_row, row_bytes_max, write_row
from state.compiled.row import scratch
from state.layout import LAYOUT_VERSION, CorruptRow, Reader, Writer, decode_row, due_ms_of, encode_row, upgraded
from state.row import Account, ClosedLoan, Day, Folded, Loan, Override, Pending, Row, Seen
from state.spending import ProfileMark, Spending

TODAY = 20_000
CLOCK_MS = TODAY * 86_400_000 + 12_345
EUR = 0x455552


def full_row() -> Row:
    """A row with something in every field."""
    return Row(
        incarnation_rank=3, incarnation_offset=77, clock_ms=CLOCK_MS, last_timestamp_ms=CLOCK_MS - 5, last_rank=2,
        taken=9, due_ms=CLOCK_MS + 1000, first_event_ms=CLOCK_MS - 10**10, last_event_ms=CLOCK_MS - 3, events=8,
        last_transaction_day=TODAY, created_day=TODAY - 900, web=True, deposits_minor=123_456_789,
        withdrawals_minor=98_765,
        transactions=100, failed=2, duplicates=1, conflicts=1, overruns=1, inversions=3, erased_ms=CLOCK_MS - 40_000,
        consistency=0.25, labels=2,
        days=[Day(TODAY - 300, 5, 0, 1), Day(TODAY - 4, -3, 7, 2, 1), Day(TODAY, 100, 100, 2)],
        accounts=[Account(EUR, TODAY, -500, CLOCK_MS - 1, 2), Account(0x555344)],
        points=[(b"point-1", b"north"), (b"", b"")],
        loans=[
            Loan(b"L-1", EUR, 1000, 100, 0, 1000, 100, 0, CLOCK_MS - 10**9, TODAY - 12, TODAY + 3, 1),
            Loan(b"L-2", 0x555344, 2000, -5, 7, 1800, -4, 6, CLOCK_MS, TODAY, TODAY - 40, 0, 3, [5, 0, -7, 0, 9],
                 TODAY - 1, [(TODAY - 9, TODAY - 60), (TODAY - 5, TODAY - 50)], [2**40 - 1, 7]),
        ],
        folded=Folded([4, 3, 2, 1, 0], 10, 20, 30, 4, 5, TODAY - 5, TODAY - 500, TODAY - 470, b"L-0", True,
                      CLOCK_MS - 10**8, b"L-00", 1),
        seen=[Seen(2**64 - 1, 2**32 - 1, CLOCK_MS - 7), Seen(1, 0, CLOCK_MS)],
        sequences=[3, 2, 1, 1, 0, 1, 2, 5], emitted=[3.21, 2.17, 0.97, 4.0, 0.0, 3.0, 0.75, 0.0],
        emitted_counts=[1, 0, 2, 0, 1],
        status_level=2, revenue_level=-1, recency_digit=4, frequency_digit=0, monetary_digit=3,
        pending=Pending(TODAY - 3, list(range(19)), 5.5),
        overrides=[Override(1, 4.5, CLOCK_MS + 5000, b"ann")],
        spending=[Spending(0, TODAY, 12_345, 150), Spending(21, TODAY - 70, 0, 37), Spending(42, TODAY, 10**13, 1)],
        profiles=[ProfileMark(7, TODAY - 3, False), ProfileMark(2**32 - 1, TODAY - 400, True)],
        declared=[1.0, float("inf"), 0.0, -1.0, 2.5, 3.0, 4.0, 5.0], declared_time_ms=CLOCK_MS - 99,
        closed=[ClosedLoan(5, TODAY - 900, True), ClosedLoan(2**47 - 1, TODAY - 500), ClosedLoan(0, TODAY - 499)],
        closed_until_day=TODAY - 901,
    )  # fmt: skip


GOLDEN_1 = bytes.fromhex(
    "01ff01034ef2c09dcdca64c0b8020a0209e9078090dfc04a060800880e80f104aab4de759a870cc8010401010103020000000000"
    "00d03f0303c801c80137050e02f198020a024555520300e7070202555344000207706f696e742d31056e6f72746800000200034c"
    "2d31455552d00fc8010080a8d6b90718050100af01034c2d32555344a01f090e901c070c00005000030a0d12020212780a640403"
    "02010014283c080a0ae807ac07034c2d30018084af5f044c2d30300102ffffffffffffffffffffffff0e01000000000000000000"
    "00000003ae47e17a14ae0940025c8fc2f5285c0140010ad7a3703d0aef3f01040001030100020001ee1f06000001000200030004"
    "00050006000700080009000a000b000c000d000e000f00100011001200000000000000164001010000000000001240904e03616e"
    "6ec601000000000000f03f000000000000f07f0000000000000000000000000000f0bf0000000000000440000000000000084000"
    "000000000010400000000000001440"
)


GOLDEN_2 = b"\x02\xff\x03" + GOLDEN_1[3:] + bytes.fromhex("02000000000000e83f")
GOLDEN_3 = (
    b"\x03\xff\x0f"
    + GOLDEN_2[3:]
    + bytes.fromhex("030000b9609601154600252a0080c0caf384a3020105020700000006ffffffffa106")
)
GOLDEN = bytes.fromhex(
    "04ff1f034ef2c09dcdca64c0b8020a0209e9078090dfc04a060800880e80f104aab4de759a870cc801040101010302000000"
    "000000d03f0303c801c80137050e02f198020a024555520300e7070202555344000207706f696e742d31056e6f7274680000"
    "0200034c2d31455552d00fc8010080a8d6b9071805010000af01034c2d32555344a01f090e901c070c00005000030a0d1202"
    "0212780a6402ffffffffff0700000000040302010014283c080a0ae807ac07034c2d30018084af5f044c2d30300102ffffff"
    "ffffffffffffffffff0e0100000000000000000000000003ae47e17a14ae0940025c8fc2f5285c0140010ad7a3703d0aef3f"
    "01040001030100020001ee1f0600000100020003000400050006000700080009000a000b000c000d000e000f001000110012"
    "00000000000000164001010000000000001240904e03616e6ec601000000000000f03f000000000000f07f00000000000000"
    "00000000000000f0bf000000000000044000000000000008400000000000001040000000000000144002000000000000e83f"
    "030000b9609601154600252a0080c0caf384a3020105020700000006ffffffffa106078a0e000000000000e607feffffffff"
    "ff010b00000000009003"
)


def row_of_version_3() -> Row:
    """The row with all that version 3 knew, and what its sums let know of closed loans."""
    row = full_row()
    for loan in row.loans:
        loan.payments = []
    newest_day = (CLOCK_MS - 10**8) // 86_400_000
    row.closed_until_day = newest_day + 1
    row.closed = [ClosedLoan(id_hash(b"L-0"), TODAY - 500), ClosedLoan(id_hash(b"L-00"), newest_day)]
    return row


def test_the_bytes_of_version_4_are_these_for_ever() -> None:
    assert encode_row(full_row(), TODAY).hex() == GOLDEN.hex()
    assert decode_row(GOLDEN) == full_row()


def test_the_bytes_of_version_3_are_read_for_ever() -> None:
    row = row_of_version_3()
    assert decode_row(GOLDEN_3) == row
    assert due_ms_of(GOLDEN_3) == row.due_ms
    assert upgraded(GOLDEN_3) == encode_row(row, TODAY)


def test_the_bytes_of_version_2_are_read_for_ever() -> None:
    row = row_of_version_3()
    row.spending, row.profiles, row.sequences[Score.PROFILES] = [], [], 0
    assert decode_row(GOLDEN_2) == row
    assert due_ms_of(GOLDEN_2) == row.due_ms
    assert upgraded(GOLDEN_2) == encode_row(row, TODAY)


def test_the_bytes_of_version_1_are_read_for_ever() -> None:
    row = row_of_version_3()
    row.sequences[Score.RISK], row.emitted[Score.RISK] = 0, NO_SCORES[Score.RISK]
    row.spending, row.profiles, row.sequences[Score.PROFILES] = [], [], 0
    assert str(decode_row(GOLDEN_1)) == str(row)  # as text: NaN is not equal to itself
    assert due_ms_of(GOLDEN_1) == row.due_ms
    assert upgraded(GOLDEN_1) == encode_row(row, TODAY)


def test_an_empty_row_takes_few_bytes() -> None:
    row = Row(clock_ms=CLOCK_MS, last_timestamp_ms=CLOCK_MS)
    assert len(encode_row(row, TODAY)) < 70


def test_the_compiled_reader_and_writer_agree_with_the_readable_ones() -> None:
    for row in (
        full_row(),
        Row(incarnation_offset=1),
        Row(clock_ms=CLOCK_MS, erased_ms=CLOCK_MS, last_timestamp_ms=CLOCK_MS),
    ):
        packed = np.frombuffer(encode_row(row, TODAY), np.uint8)
        held = scratch()
        assert read_row(packed, 0, len(packed), held)
        assert row_bytes_max(held) >= len(packed)
        out = np.zeros(row_bytes_max(held), np.uint8)
        end = write_row(held, out, 0)
        assert out[:end].tobytes() == packed.tobytes()


def test_every_cut_of_a_row_is_noticed_by_both_readers() -> None:
    held = scratch()
    for end in range(len(GOLDEN)):
        with pytest.raises(CorruptRow):
            decode_row(GOLDEN[:end])
        assert not read_row(np.frombuffer(GOLDEN, np.uint8), 0, end, held)
    with pytest.raises(CorruptRow, match="bytes follow"):
        decode_row(GOLDEN + b"\x00")


@given(st.binary(max_size=300))
def test_no_bytes_can_break_the_compiled_reader(data: bytes) -> None:
    held = scratch_of_this_module()
    packed = np.frombuffer(bytes([LAYOUT_VERSION]) + data, np.uint8)
    if read_row(packed, 0, len(packed), held):
        assert decode_row(packed.tobytes()) is not None


def scratch_of_this_module(kept: list = []) -> object:  # noqa: B006 - made once: a scratch is 5 MB
    if not kept:
        kept.append(scratch())
    return kept[0]


@given(st.integers(-(2**62), 2**62), st.none() | st.integers(0, 2**40), st.integers(0, 2**62), st.integers(0, 255))
def test_the_due_time_read_alone_is_that_of_the_row(
    clock_ms: int, due_in_ms: int | None, offset: int, web: int
) -> None:
    due_ms = None if due_in_ms is None else clock_ms + due_in_ms
    row = Row(web, offset, clock_ms, clock_ms, taken=offset, due_ms=due_ms, web=bool(web % 2))
    assert due_ms_of(encode_row(row, clock_ms // 86_400_000)) == due_ms


def test_a_due_time_that_is_cut_off_is_noticed() -> None:
    row = encode_row(Row(due_ms=0), 0)
    for end in range(1, 10):
        with pytest.raises(CorruptRow):
            due_ms_of(row[:end])


def test_an_unknown_version_says_what_to_do() -> None:
    with pytest.raises(CorruptRow, match="upgrade this program"):
        decode_row(b"\xfe" + GOLDEN[1:])
    assert upgraded(GOLDEN) is GOLDEN


@given(st.integers(-(2**62), 2**62))
def test_signed_numbers_come_back(value: int) -> None:
    out = Writer()
    out.signed(value)
    assert Reader(bytes(out.bytes)).signed() == value
