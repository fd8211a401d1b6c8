"""Days that are as they were read are written by copying their bytes: the same bytes as writing each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from local.bench.population import first_versions
from schemas.kinds import TransactionState
from state import fold, sums
from state.compiled import fold as compiled_fold
from state.compiled import sums as compiled_sums
from state.compiled.layout import read_row, row_bytes_max, write_row
from state.compiled.row import scratch
from state.layout import decode_row, encode_row
from state.row import Day, Row
from streams.scoring.tables import tables_of

TODAY, DAY_MS = 20_000, 86_400_000
VERSIONS = first_versions()
POLICY, FIELDS = VERSIONS.policies[0], tables_of(VERSIONS).policies[0]
HELD = scratch()

days = st.lists(
    st.builds(
        Day, st.integers(TODAY - 364, TODAY), st.integers(1, 2**40), st.integers(0, 300), st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=30, unique_by=lambda day: day.day,
)  # fmt: skip
moves = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 40, 200, 400]),  # days that pass before
        st.integers(0, 380),  # how many days ago it was
        st.sampled_from([TransactionState.SUCCEEDED, TransactionState.FAILED]),
        st.integers(-20_000, 20_000),
        st.sampled_from([1, 1, -1]),
        st.booleans(),  # packed and read again behind it
    ),
    max_size=8,
)


def packed(row: Any) -> bytes:
    out = np.zeros(row_bytes_max(row), np.uint8)
    return out[: write_row(row, out, 0)].tobytes()


@settings(max_examples=300)
@given(days, moves)
def test_a_row_is_written_as_the_readable_writer_does_whatever_became_of_its_days(
    given_days: list[Day], steps: Any
) -> None:
    today = TODAY
    row = Row(incarnation_offset=1, clock_ms=today * DAY_MS, last_timestamp_ms=today * DAY_MS)
    row.days = sorted(given_days, key=lambda day: day.day)
    before = np.frombuffer(encode_row(row, today), np.uint8)
    assert read_row(before, 0, len(before), HELD)
    for pause, ago, state, amount, sign, again in steps:
        today += pause
        fold.advance_row(row, today * DAY_MS, today, POLICY)
        compiled_fold.advance_row(HELD, today * DAY_MS, today, FIELDS)
        sums.add_money(row, today, today - ago, state, amount, sign)
        compiled_sums.add_money(HELD, today, today - ago, int(state), amount, sign)
        said = packed(HELD)
        assert said == encode_row(row, today)
        if again:
            assert read_row(np.frombuffer(said, np.uint8), 0, len(said), HELD)
    assert decode_row(packed(HELD)) == row
